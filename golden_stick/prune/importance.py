"""How the scores of layers become the importance of a group's channels."""
from typing import Callable, Mapping, Optional

import numpy as np

from golden_stick.errors import ArgumentError
from golden_stick.graph.groups import ChannelGroup

__all__ = ["REDUCTIONS", "group_importance"]

# One over the filters that make a channel: score and how many there are, both of shape (channels,).
_FINISH: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": lambda total, count: total / np.maximum(count, 1),
    "sum": lambda total, count: total,
    "max": lambda total, count: np.where(count > 0, total, 0.0),
    "norm": lambda total, count: np.sqrt(total),
}
REDUCTIONS = tuple(_FINISH)

_UNITS: Mapping[str, Callable[[np.ndarray], float]] = {
    "mean": lambda scores: np.abs(scores).mean(),
    "sum": lambda scores: np.abs(scores).sum(),
    "max": lambda scores: np.abs(scores).max(),
    "none": lambda scores: 1.0,
}


def group_importance(group: ChannelGroup, layer_scores: Mapping[str, np.ndarray], reduction: str = "mean",
                     normalizer: str = "mean") -> Optional[np.ndarray]:
    """
    One importance per channel of a group.

    A layer's scores are brought to one unit, so that no layer outweighs another by its own; then those of all the
    filters that make a channel are reduced to one number.

    Args:
        group (ChannelGroup): The group.
        layer_scores (Mapping): Weight name -> scores, float, shape (filters,). Layers without scores have no say.
        reduction (str): Over the filters that make a channel: ``'mean'``, ``'sum'``, ``'max'`` or ``'norm'`` (root of
            the sum of squares). Default: ``'mean'``.
        normalizer (str): What a layer's scores are divided by: their ``'mean'``, ``'sum'`` or ``'max'`` magnitude, or
            ``'none'``. Default: ``'mean'``.

    Returns:
        numpy.ndarray, float64, shape (channels of the group,), or None if none of its layers has scores.

    Raises:
        ArgumentError: If the reduction is ``'norm'`` and a score is negative: its square would rank it high.
    """
    total = np.full(len(group.channels), -np.inf if reduction == "max" else 0.0)
    count = np.zeros(len(group.channels))
    for item in group.filters:
        if item.parameter not in layer_scores:
            continue
        scores = np.asarray(layer_scores[item.parameter], np.float64)
        if reduction == "norm" and (scores < 0).any():
            raise ArgumentError(f"For 'group_importance', scores must not be negative for 'reduction' 'norm', but "
                                f"those of '{item.parameter}' go down to {scores.min():.4g}: use 'mean' or 'max'.")
        scores = scores / (_UNITS[normalizer](scores) or 1.0)
        live = item.channels >= 0
        index = np.searchsorted(group.channels, item.channels[live])
        if reduction == "max":
            np.maximum.at(total, index, scores[live])
        else:
            np.add.at(total, index, np.square(scores[live]) if reduction == "norm" else scores[live])
        np.add.at(count, index, 1)
    return _FINISH[reduction](total, count) if count.any() else None
