"""The table of criteria."""
from dataclasses import dataclass
from typing import Callable, Dict

import numpy as np

from golden_stick.config import OneOf, check_value
from golden_stick.criteria import data_driven, weights
from golden_stick.criteria.evidence import Evidence
from golden_stick.errors import ArgumentError, ArgumentTypeError

__all__ = ["CRITERIA", "NEEDS", "Criterion", "NORMALIZERS", "add_criterion"]

NEEDS = ("nothing", "gate_gradients", "squared_gradients", "activations")
NORMALIZERS = ("mean", "sum", "max", "none")


@dataclass(frozen=True)
class Criterion:
    """
    One way to score filters.

    Args:
        score (Callable): Takes an `Evidence`, returns float scores of shape (filters,); higher means keep.
        needs (str): What of the evidence is to be computed from data: ``'nothing'``, ``'gate_gradients'``,
            ``'squared_gradients'`` or ``'activations'``.
        normalizer (str): What a layer's scores are divided by before layers are compared: their ``'mean'``, ``'sum'``
            or ``'max'`` magnitude, or ``'none'`` where they have one unit in all layers, such as the loss.
    """

    score: Callable[[Evidence], np.ndarray]
    needs: str = "nothing"
    normalizer: str = "mean"


CRITERIA: Dict[str, Criterion] = {
    "l1": Criterion(weights.l1),
    "l2": Criterion(weights.l2),
    "bn_scale": Criterion(weights.bn_scale),
    "random": Criterion(weights.random),
    "fpgm": Criterion(weights.fpgm),
    "lamp": Criterion(weights.lamp, normalizer="none"),
    "taylor": Criterion(data_driven.taylor, "gate_gradients", "none"),
    "hessian": Criterion(data_driven.hessian, "squared_gradients", "none"),
    "activation": Criterion(data_driven.activation, "activations"),
}


def add_criterion(name: str, score: Callable[[Evidence], np.ndarray], needs: str = "nothing",
                  normalizer: str = "mean") -> None:
    """
    Make a criterion of one's own known under a name, for the key `criterion` of `OneShot`.

    Args:
        name (str): Its name; one that is taken is refused.
        score (Callable): Takes an :class:`Evidence`, returns float scores, shape (filters,); higher means keep.
        needs (str): What of the evidence it reads that comes from data: ``'gate_gradients'``, ``'squared_gradients'``
            or ``'activations'``. Default: ``'nothing'``.
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
    if not isinstance(name, str) or not callable(score):
        raise ArgumentTypeError(
            f"For 'add_criterion', 'name' must be a str and 'score' a function, but got {type(name).__name__} and "
            f"{type(score).__name__}."
        )
    if name in CRITERIA:
        raise ArgumentError(f"For 'add_criterion', 'name' must be a new name, but got {name!r}, which is taken.")
    check_value("add_criterion", "needs", needs, OneOf(NEEDS))
    check_value("add_criterion", "normalizer", normalizer, OneOf(NORMALIZERS))
    CRITERIA[name] = Criterion(score, needs, normalizer)
