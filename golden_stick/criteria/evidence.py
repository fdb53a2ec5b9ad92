"""What a criterion may look at: one layer's filters, and what data say about them."""
from dataclasses import dataclass, field
from typing import Optional

import numpy as np

__all__ = ["Evidence"]


@dataclass(frozen=True, eq=False)
class Evidence:
    """
    The filters of one layer.

    Args:
        weight (numpy.ndarray): float, shape (filters, numbers per filter).
        scale (numpy.ndarray): float, shape (filters,): gamma of the batch normalization behind the layer, or None.
        generator (numpy.random.Generator): For criteria that draw.
        gate_gradients (numpy.ndarray): float, shape (samples, filters), or None without data: the derivative of each
            sample's loss by a factor of one on the filter's output, which is the sum of activation times gradient.
        squared_gradients (numpy.ndarray): float, of the shape of `weight`, or None without data: the squared derivative
            of one sample's loss by each weight, mean over the samples. It is the diagonal of the empirical Fisher
            information.
        activations (numpy.ndarray): float, shape (filters,), or None without data: mean magnitude of the channel that
            the filter makes, where the next layers read it.
    """

    weight: np.ndarray
    scale: Optional[np.ndarray] = None
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    gate_gradients: Optional[np.ndarray] = None
    squared_gradients: Optional[np.ndarray] = None
    activations: Optional[np.ndarray] = None
