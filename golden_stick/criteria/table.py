"""Criteria: how much a filter matters. One table of small functions; `add_criterion` takes one's own."""
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import numpy as np

from golden_stick.base.config import OneOf, Registry, check_value
from golden_stick.base.errors import ArgumentTypeError

__all__ = ["FilterStatistics", "bn_scale", "fpgm", "l1", "l2", "lamp", "random", "activation", "hessian",
           "reconstruction", "taylor", "CRITERIA", "NEEDS", "Criterion", "NORMALIZERS", "add_criterion", "filter_rows"]


@dataclass(frozen=True, eq=False)
class FilterStatistics:
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
        removal_costs (numpy.ndarray): float, shape (filters,), or None without data: what the network's outputs are off
            by without the channel, once the layers that read it are refitted, as a fraction of what they vary by.
    """

    weight: np.ndarray
    scale: Optional[np.ndarray] = None
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    gate_gradients: Optional[np.ndarray] = None
    squared_gradients: Optional[np.ndarray] = None
    activations: Optional[np.ndarray] = None
    removal_costs: Optional[np.ndarray] = None


def filter_rows(array: np.ndarray, axis: int) -> np.ndarray:
    """A weight, or what belongs to it, as a matrix: a row for each position on `axis`."""
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def l1(layer: FilterStatistics) -> np.ndarray:
    """Sum of a filter's absolute weights. Li et al. 2017, https://arxiv.org/abs/1608.08710."""
    return np.abs(layer.weight).sum(axis=1)


def l2(layer: FilterStatistics) -> np.ndarray:
    """Euclidean norm of a filter's weights. He et al. 2018, https://arxiv.org/abs/1808.06866."""
    return np.sqrt(np.square(layer.weight).sum(axis=1))


def bn_scale(layer: FilterStatistics) -> np.ndarray:
    """Magnitude of the scale of the normalization behind a filter, one without it. Liu et al. 2017,
    https://arxiv.org/abs/1708.06519; they train with a penalty on the scales first."""
    return np.ones(len(layer.weight)) if layer.scale is None else np.abs(layer.scale)


def random(layer: FilterStatistics) -> np.ndarray:
    """Uniform in [0, 1): the control that every criterion must beat."""
    return layer.generator.random(len(layer.weight))


def fpgm(layer: FilterStatistics) -> np.ndarray:
    """Sum of a filter's distances to all filters of its layer: least at their geometric median, which the others can
    stand in for. He et al. 2019, https://arxiv.org/abs/1811.00250."""
    weight = layer.weight.astype(np.float64)
    squares = np.square(weight).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * weight @ weight.T
    # Rounding can leave less than nothing of the distance of equal filters.
    return np.sqrt(np.maximum(distances, 0.0)).sum(axis=1)


def lamp(layer: FilterStatistics) -> np.ndarray:
    """A filter's squared norm over the sum of those that are no smaller. Lee et al. 2021,
    https://arxiv.org/abs/2010.07611, score single weights; here the unit is the filter. The order within a layer is
    that of l2; what it adds is that scores of different layers compare, so it is made for ranking them together."""
    squares = np.square(layer.weight.astype(np.float64)).sum(axis=1)
    order = np.argsort(squares, kind="stable")
    no_smaller = np.cumsum(squares[order][::-1])[::-1]
    scores = np.zeros(len(squares))
    scores[order] = squares[order] / np.where(no_smaller > 0, no_smaller, 1.0)
    return scores


def taylor(layer: FilterStatistics) -> np.ndarray:
    """Squared first-order estimate of what a sample's loss changes by without the filter, mean over the samples: the
    square of the derivative by a gate on the filter's output. Molchanov et al. 2019, https://arxiv.org/abs/1906.10771;
    at a gate it is also the Fisher criterion of Theis et al. 2018, https://arxiv.org/abs/1801.05787, but for a factor.
    """
    return np.square(np.asarray(layer.gate_gradients, np.float64)).mean(axis=0)


def hessian(layer: FilterStatistics) -> np.ndarray:
    """Second-order estimate of what the loss rises by without the filter, ``sum(weight^2 * H) / 2`` with the diagonal
    of the empirical Fisher information for the diagonal H. LeCun et al. 1990, `Optimal Brain Damage
    <https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html>`_."""
    return 0.5 * (np.square(layer.weight.astype(np.float64)) * layer.squared_gradients).sum(axis=1)


def activation(layer: FilterStatistics) -> np.ndarray:
    """Mean magnitude of the channel that a filter makes, where the next layers read it. Molchanov et al. 2017,
    https://arxiv.org/abs/1611.06440, section 2.2."""
    return np.asarray(layer.activations)


def reconstruction(layer: FilterStatistics) -> np.ndarray:
    """What a filter is missed by once the layers that read its channel are refitted by least squares without it:
    channels go one by one, the cheapest first. The error of each reader is that of the block optimal brain surgeon,
    Hassibi and Stork 1992; it counts by what a like error does to the outputs of the network. Neither labels nor
    gradients. It has one unit in all layers, so it is made for ranking them together."""
    return np.asarray(layer.removal_costs)


NEEDS = ("nothing", "gate_gradients", "squared_gradients", "activations", "removal_costs")
NORMALIZERS = ("mean", "sum", "max", "none")


@dataclass(frozen=True)
class Criterion:
    """
    One way to score filters.

    Args:
        score (Callable): Takes `FilterStatistics`, returns float scores of shape (filters,); higher means keep.
        needs (str): What of the evidence is to be computed from data: ``'nothing'``, ``'gate_gradients'``,
            ``'squared_gradients'``, ``'activations'`` or ``'removal_costs'``.
        normalizer (str): What a layer's scores are divided by before layers are compared: their ``'mean'``, ``'sum'``
            or ``'max'`` magnitude, or ``'none'`` where they have one unit in all layers, such as the loss.
    """

    score: Callable[[FilterStatistics], np.ndarray]
    needs: str = "nothing"
    normalizer: str = "mean"


def _accepted(item: Any) -> Criterion:
    if not isinstance(item, Criterion):
        item = Criterion(item)
    if not callable(item.score):
        raise ArgumentTypeError(f"For 'add_criterion', 'score' must be a function, but got "
                                f"{type(item.score).__name__}.")
    return item


#: The criteria by name; an installed package adds one, a Criterion or its `score`, by an entry point.
CRITERIA: Registry[Criterion] = Registry("criterion", "golden_stick.criteria", {
    "l1": Criterion(l1),
    "l2": Criterion(l2),
    "bn_scale": Criterion(bn_scale),
    "random": Criterion(random),
    "fpgm": Criterion(fpgm),
    "lamp": Criterion(lamp, normalizer="none"),
    "taylor": Criterion(taylor, "gate_gradients", "none"),
    "hessian": Criterion(hessian, "squared_gradients", "none"),
    "activation": Criterion(activation, "activations"),
    "reconstruction": Criterion(reconstruction, "removal_costs", "none"),
}, _accepted)


def add_criterion(name: str, score: Callable[[FilterStatistics], np.ndarray], needs: str = "nothing",
                  normalizer: str = "mean") -> None:
    """
    Make a criterion of one's own known under a name, for the key `criterion` of `OneShot`.

    Args:
        name (str): Its name; one that is taken is refused.
        score (Callable): Takes an :class:`FilterStatistics`, returns float scores, shape (filters,); higher means keep.
        needs (str): What of the evidence it reads that comes from data: ``'gate_gradients'``, ``'squared_gradients'``,
            ``'activations'`` or ``'removal_costs'``. Default: ``'nothing'``.
        normalizer (str): What a layer's scores are divided by before layers are compared: their ``'mean'``, ``'sum'``
            or ``'max'`` magnitude, or ``'none'``. Default: ``'mean'``.

    Raises:
        ArgumentTypeError: If `name`, `needs` or `normalizer` is not a str, or `score` cannot be called.
        ArgumentError: If `name` is taken, or `needs` or `normalizer` is none of these.

    Examples:
        >>> import numpy as np
        >>> from golden_stick.criteria import CRITERIA, add_criterion
        >>> def largest(layer):
        ...     return np.abs(layer.weight).max(axis=1)
        >>> add_criterion("largest", largest)
        >>> del CRITERIA["largest"]
    """
    check_value("add_criterion", "needs", needs, OneOf(NEEDS))
    check_value("add_criterion", "normalizer", normalizer, OneOf(NORMALIZERS))
    CRITERIA.add("add_criterion", name, Criterion(score, needs, normalizer))
