"""Criteria: how much a filter matters, from its weights. Scores and nothing else; higher means keep."""
from typing import Callable, Mapping, Optional

import numpy as np

from golden_stick.graph.groups import ChannelGroup

__all__ = ["CRITERIA", "group_importance"]

Criterion = Callable[[np.ndarray, Optional[np.ndarray], np.random.Generator], np.ndarray]


def _l1(weight: np.ndarray, scale: Optional[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    return np.abs(weight).sum(axis=1)


def _l2(weight: np.ndarray, scale: Optional[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    return np.sqrt(np.square(weight).sum(axis=1))


def _bn_scale(weight: np.ndarray, scale: Optional[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    return np.ones(len(weight)) if scale is None else np.abs(scale)


def _random(weight: np.ndarray, scale: Optional[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    return generator.random(len(weight))


# Each takes a weight of shape (filters, numbers per filter), the scale (gamma, shape (filters,)) of the normalization
# that follows or None, and a generator. Each returns float scores of shape (filters,).
CRITERIA: Mapping[str, Criterion] = {"l1": _l1, "l2": _l2, "bn_scale": _bn_scale, "random": _random}


def group_importance(group: ChannelGroup, layer_scores: Mapping[str, np.ndarray]) -> Optional[np.ndarray]:
    """
    One importance per channel of a group.

    A layer's scores are divided by their mean magnitude, so that no layer outweighs another by its unit; a channel's
    importance is the mean over all the filters that make it.

    Args:
        group (ChannelGroup): The group.
        layer_scores (Mapping): Weight name -> scores, float, shape (filters,). Layers without scores have no say.

    Returns:
        numpy.ndarray, float64, shape (channels of the group,), or None if none of its layers has scores.
    """
    total, count = np.zeros(len(group.channels)), np.zeros(len(group.channels))
    for item in group.filters:
        if item.parameter not in layer_scores:
            continue
        scores = np.asarray(layer_scores[item.parameter], np.float64)
        scores = scores / (np.abs(scores).mean() or 1.0)
        live = item.channels >= 0
        index = np.searchsorted(group.channels, item.channels[live])
        np.add.at(total, index, scores[live])
        np.add.at(count, index, 1)
    if not count.any():
        return None
    return total / np.maximum(count, 1)
