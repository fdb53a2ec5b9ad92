"""Criteria that need no data. Each takes the evidence of one layer and returns float scores, shape (filters,)."""
import numpy as np

from golden_stick.criteria.evidence import Evidence

__all__ = ["bn_scale", "fpgm", "l1", "l2", "lamp", "random"]


def l1(layer: Evidence) -> np.ndarray:
    """Sum of a filter's absolute weights. Li et al. 2017, https://arxiv.org/abs/1608.08710."""
    return np.abs(layer.weight).sum(axis=1)


def l2(layer: Evidence) -> np.ndarray:
    """Euclidean norm of a filter's weights. He et al. 2018, https://arxiv.org/abs/1808.06866."""
    return np.sqrt(np.square(layer.weight).sum(axis=1))


def bn_scale(layer: Evidence) -> np.ndarray:
    """Magnitude of the scale of the normalization behind a filter, one without it. Liu et al. 2017,
    https://arxiv.org/abs/1708.06519; they train with a penalty on the scales first."""
    return np.ones(len(layer.weight)) if layer.scale is None else np.abs(layer.scale)


def random(layer: Evidence) -> np.ndarray:
    """Uniform in [0, 1): the control that every criterion must beat."""
    return layer.generator.random(len(layer.weight))


def fpgm(layer: Evidence) -> np.ndarray:
    """Sum of a filter's distances to all filters of its layer: least at their geometric median, which the others can
    stand in for. He et al. 2019, https://arxiv.org/abs/1811.00250."""
    weight = layer.weight.astype(np.float64)
    squares = np.square(weight).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * weight @ weight.T
    # Rounding can leave less than nothing of the distance of equal filters.
    return np.sqrt(np.maximum(distances, 0.0)).sum(axis=1)


def lamp(layer: Evidence) -> np.ndarray:
    """A filter's squared norm over the sum of those that are no smaller. Lee et al. 2021,
    https://arxiv.org/abs/2010.07611, score single weights; here the unit is the filter. The order within a layer is
    that of l2; what it adds is that scores of different layers compare, so it is made for ranking them together."""
    squares = np.square(layer.weight.astype(np.float64)).sum(axis=1)
    order = np.argsort(squares, kind="stable")
    no_smaller = np.cumsum(squares[order][::-1])[::-1]
    scores = np.zeros(len(squares))
    scores[order] = squares[order] / np.where(no_smaller > 0, no_smaller, 1.0)
    return scores
