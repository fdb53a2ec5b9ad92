"""The smallest network that loses no more than a drop by a user's own `evaluate`; and whether that can be trusted."""
import math
from dataclasses import dataclass
from numbers import Real
from typing import Callable, Tuple, TypeVar

from mindspore import nn

from golden_stick.base.devices import from_first
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.files import network_digest
from golden_stick.base.inputs import progress, shown
from golden_stick.cells.wrappers import copy_network
from golden_stick.prune.report import Target

__all__ = ["Attempt", "DropTarget", "Evaluate", "alike", "checked_evaluate", "score_of", "smallest_within",
           "trusted_score"]

Evaluate = Callable[[nn.Cell], float]  # a network, in evaluation -> a number: the higher, the better
Made = TypeVar("Made")

_SAME = 1e-6  # so far apart may what `evaluate` gives twice be, by roundings
# Each network tried is slimmed, recovered and evaluated: so near, as a fraction of the MACs, is near enough.
_PRECISION = 1 / 64


@dataclass(frozen=True)
class Attempt:
    """A network that was tried: what is left of the MACs, what `evaluate` gave, and whether that is within the drop."""

    macs: float
    score: float
    kept: bool


@dataclass(frozen=True)
class DropTarget(Target):
    """
    A drop that was allowed, and what became of it.

    Args:
        base (float): What `evaluate` gave before pruning.
        attempts (tuple[Attempt]): The networks that were tried, in their order.
    """

    base: float = math.nan
    attempts: Tuple[Attempt, ...] = ()

    def __str__(self) -> str:
        rows = [f"  {100 * one.macs:5.1f} % of the MACs: {one.score:.6g}{'' if one.kept else ', too low'}"
                for one in self.attempts]
        return "\n".join([f"{self.name} {self.wanted:g}: reached: evaluate gives {self.reached:.4g} less than the "
                          f"{self.base:.6g} before pruning; tried, each after its recovery:", *rows])


def checked_evaluate(owner: str, evaluate: Evaluate) -> None:
    """Refuse what cannot be called."""
    if not callable(evaluate):
        raise ArgumentTypeError(f"For '{owner}', 'evaluate' must be a function of a network, but got "
                                f"{type(evaluate).__name__}.")


@progress("evaluating")
def score_of(owner: str, evaluate: Evaluate, network: nn.Cell) -> float:
    """What `evaluate` gives, which must be a finite number; of several processes, in the first."""
    network.set_train(False)
    value = evaluate(network)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ArgumentTypeError(f"For '{owner}', 'evaluate' must return a number, but got a "
                                f"{type(value).__name__}: of a Tensor, return float(tensor).")
    if not math.isfinite(value):
        raise ArgumentError(f"For '{owner}', 'evaluate' must return a finite number, but got {float(value)}.")
    return from_first(float(value))


def trusted_score(owner: str, evaluate: Evaluate, network: nn.Cell) -> float:
    """What `evaluate` gives for a network, after it was tried twice on a copy."""
    copied = copy_network(network, owner)
    before = network_digest(copied)
    first, second = score_of(owner, evaluate, copied), score_of(owner, evaluate, copied)
    if network_digest(copied) != before:
        raise ArgumentError(f"For '{owner}', 'evaluate' must leave the network as it is, but its parameters are "
                            f"others afterwards: do not train in it.")
    if not alike(first, second):
        raise ArgumentError(f"For '{owner}', 'evaluate' must give the same number twice for the same network, but "
                            f"got {first:.6g} and {second:.6g}: always take the same data, and nothing random.")
    return first


def alike(one: float, other: float) -> bool:
    """Whether two scores differ by roundings alone."""
    return math.isclose(one, other, rel_tol=_SAME, abs_tol=_SAME)


def smallest_within(owner: str, max_drop: float, base: float, least: float,
                    attempt: Callable[[float], Tuple[float, float, Made]]) -> Tuple[DropTarget, Made]:
    """
    Bisect fractions of the MACs in (`least`, 1) for the smallest network that scores no less than `base` - `max_drop`.
    `attempt` takes a fraction that may be left at most, and gives what is left, the score, and what it made.
    """
    low, high, tried, best = least, 1.0, [], None
    steps = max(1, math.ceil(math.log2((1.0 - least) / _PRECISION)))
    for _ in shown(range(steps), "networks tried", steps):
        if high - low <= _PRECISION and best is not None:
            break
        macs, score, made = attempt((low + high) / 2)
        kept = score >= base - max_drop or alike(score, base - max_drop)
        tried.append(Attempt(macs, score, kept))
        if kept:
            best, reached, high = made, base - score, macs
        else:
            low = (low + high) / 2
    if best is None:
        mildest = max(tried, key=lambda one: one.macs)
        raise ArgumentError(f"For '{owner}', 'max_drop' must be at least {base - mildest.score:.4g}, which the mildest "
                            f"network that was tried loses, with {100 * mildest.macs:.1f} % of the MACs left, but got "
                            f"{max_drop:g}: allow more, or give 'calibration_data', or more of them.")
    return DropTarget("max_drop", max_drop, reached, True, base, tuple(tried)), best
