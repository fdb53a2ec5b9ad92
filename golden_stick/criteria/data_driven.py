"""Criteria that look at data. Each takes the evidence of one layer and returns float scores, shape (filters,)."""
import numpy as np

from golden_stick.criteria.evidence import Evidence

__all__ = ["activation", "hessian", "taylor"]


def taylor(layer: Evidence) -> np.ndarray:
    """Squared first-order estimate of what a sample's loss changes by without the filter, mean over the samples: the
    square of the derivative by a gate on the filter's output. Molchanov et al. 2019, https://arxiv.org/abs/1906.10771;
    at a gate it is also the Fisher criterion of Theis et al. 2018, https://arxiv.org/abs/1801.05787, but for a factor.
    """
    return np.square(layer.gate_gradients.astype(np.float64)).mean(axis=0)


def hessian(layer: Evidence) -> np.ndarray:
    """Second-order estimate of what the loss rises by without the filter, ``sum(weight^2 * H) / 2`` with the diagonal
    of the empirical Fisher information for the diagonal H. LeCun et al. 1990, `Optimal Brain Damage
    <https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html>`_."""
    return 0.5 * (np.square(layer.weight.astype(np.float64)) * layer.squared_gradients).sum(axis=1)


def activation(layer: Evidence) -> np.ndarray:
    """Mean magnitude of the channel that a filter makes, where the next layers read it. Molchanov et al. 2017,
    https://arxiv.org/abs/1611.06440, section 2.2."""
    return layer.activations
