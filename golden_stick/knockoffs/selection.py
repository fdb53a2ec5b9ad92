"""Selection by knockoffs: the knockoff+ threshold, and several draws made into one selection."""
import math
from typing import Sequence

import numpy as np

from golden_stick.base.errors import ArgumentError

__all__ = ["knockoff_threshold", "least_passing", "select", "select_derandomized"]


def knockoff_threshold(statistics: np.ndarray, rate: float) -> float:
    """
    The smallest threshold at which the estimated share of false discoveries is at most `rate`: knockoff+.

    ``T = min { t > 0 : (1 + #{W <= -t}) / max(1, #{W >= t}) <= rate }``. At least ``1 / rate`` statistics must pass,
    or none does.

    Source: Barber, Candes, *Controlling the false discovery rate via knockoffs*, 2015,
    https://arxiv.org/abs/1404.5609

    `statistics` are W, shape (hypotheses,): positive where the variable beats its knockoff; swapping both must turn the
    sign. `rate` is in (0, 1). Infinite where no threshold will do.
    """
    values = np.asarray(statistics, np.float64).ravel()
    if not 0.0 < rate < 1.0:
        raise ArgumentError(f"For 'knockoff_threshold', 'rate' must be in (0, 1), but got {rate}.")
    if np.isnan(values).any():
        raise ArgumentError("For 'knockoff_threshold', 'statistics' must be numbers, but got NaN.")
    for threshold in np.unique(np.abs(values[values != 0])):
        against, passing = (values <= -threshold).sum(), (values >= threshold).sum()
        if (1 + against) / max(1, passing) <= rate:
            return float(threshold)
    return float("inf")


def select(statistics: np.ndarray, rate: float) -> np.ndarray:
    """
    What knockoff+ selects, bool, shape (hypotheses,): of these, on average, at most `rate` are false, if the knockoffs
    are valid and the data were not used before.
    """
    return np.asarray(statistics) >= knockoff_threshold(statistics, rate)


def select_derandomized(draws: Sequence[np.ndarray], rate: float) -> np.ndarray:
    """
    One selection from several draws of knockoffs, with the same guarantee: by e-values.

    Each draw gives hypothesis j the e-value ``m * 1{W_j >= T} / (1 + #{W <= -T})``, with T at half of `rate`. Their
    means enter the e-BH procedure. It selects less than one draw does, and does not depend on luck.

    Source: Ren, Barber, *Derandomised knockoffs: leveraging e-values for false discovery rate control*, 2024,
    https://arxiv.org/abs/2205.15461
    """
    if not draws or len({len(draw) for draw in draws}) != 1:
        raise ArgumentError("For 'select_derandomized', 'draws' must be at least one, all of the same length.")
    count = len(draws[0])
    evidence = np.mean([_evidence(np.asarray(draw, np.float64), rate / 2) for draw in draws], 0)
    order = np.argsort(-evidence, kind="stable")
    enough = evidence[order] >= count / (rate * np.arange(1, count + 1))
    chosen = np.zeros(count, bool)
    if enough.any():
        chosen[order[:np.flatnonzero(enough)[-1] + 1]] = True
    return chosen


def least_passing(rate: float, draws: int) -> int:
    """How many statistics must pass in a draw before it can select any: ``1 / rate``, twice as many with several."""
    # What division adds must not cost one.
    return math.ceil((2.0 if draws > 1 else 1.0) / rate - 1e-9)


def _evidence(statistics: np.ndarray, rate: float) -> np.ndarray:
    threshold = knockoff_threshold(statistics, rate)
    return len(statistics) * (statistics >= threshold) / (1.0 + (statistics <= -threshold).sum())
