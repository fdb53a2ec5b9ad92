r"""
An exact test of how much accuracy a network has lost, from paired predictions.

Of n images drawn independently, `lost` (B) are those that only the candidate gets wrong, `gained` (C) those that only
the base gets wrong. (B, C, rest) is trinomial with rates :math:`p_+, p_-` and the drop in accuracy is
:math:`p_+ - p_-`. The hypothesis to reject is :math:`p_+ - p_- \ge \epsilon`.

The test orders outcomes by the score statistic (Nam, Biometrics 1997; the null's maximum likelihood estimate in its
variance) and takes the largest probability, over a confidence set for the unknown discordance, of an outcome at least
as extreme, plus the error of that set: Hsueh, Liu and Chen, Biometrics 2001, for the exact test; Berger and Boos,
J. Am. Stat. Assoc. 1994, for the confidence set. docs/certificates.md says why it is valid, step by step.
"""
from typing import Tuple

import numpy as np

from golden_stick.base.config import Interval, Whole, check_value
from golden_stick.base.errors import ArgumentError
from golden_stick.certify.distributions import binomial_interval, binomial_tail

__all__ = ["drop_score", "drop_p_value", "outcome_probability", "rejection_boundary"]


# Outcomes whose scores differ by less are counted as equal: rounding shall not leave one out.
_TIE = 1e-9
# What the sum of a few thousand rounded probabilities may be off by, several times over.
_ROUNDING = 1e-8
# The bound on the largest probability is tightened until it is within this fraction of it.
_TIGHTNESS = 0.01
_LARGEST_BATCH = 400_000


def drop_score(lost: np.ndarray, gained: np.ndarray, images: int, max_drop: float) -> np.ndarray:
    """
    The score statistic of a drop of `max_drop`: how many standard deviations the observed drop is above it.

    It rises with `lost` and falls with `gained` wherever it is negative (shown in docs/certificates.md).

    Args:
        lost (numpy.ndarray): Images that only the candidate gets wrong.
        gained (numpy.ndarray): Images that only the base gets wrong. Broadcasts with `lost`.
        images (int): All images.
        max_drop (float): The bound on the drop, in [0, 1).

    Returns:
        numpy.ndarray, float64; 0 where the observed drop is not below the bound.
    """
    lost, gained = np.asarray(lost, np.float64), np.asarray(gained, np.float64)
    # The estimate of p_- under p_+ = p_- + max_drop: the larger root of 2 n p^2 - u p - gained * eps * (1 - eps).
    u = lost + gained + max_drop * (lost - gained) - 2 * images * max_drop
    product = gained * max_drop * (1 - max_drop)
    root = np.sqrt(u * u + 8 * images * product)
    # The same root twice, each free of cancellation for one sign of u.
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(u >= 0, (u + root) / (4 * images), np.where(root - u > 0, 2 * product / (root - u), 0.0))
    variance = images * (2 * rate + max_drop * (1 - max_drop))
    below = images * max_drop + gained - lost
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, -below / np.sqrt(variance), 0.0)


def drop_p_value(lost: int, gained: int, images: int, max_drop: float, set_error: float = 1e-3) -> float:
    """
    A p-value, valid for every number of images, of "accuracy drops by `max_drop` or more".

    Under that hypothesis it is at most p with probability at most p, for every p, whatever the discordance.

    Args:
        lost (int): Images that only the candidate gets wrong.
        gained (int): Images that only the base gets wrong.
        images (int): All images, at least 1; drawn independently.
        max_drop (float): The bound on the drop, as a fraction, in [0, 1).
        set_error (float): Probability, at most, that the confidence set misses the discordance, in (0, 1). It must
            not depend on the outcome; the p-value is never below it. Default: 0.001.

    Returns:
        float, in [set_error, 1].

    Raises:
        ArgumentTypeError: If a count is not a whole number, or `max_drop` or `set_error` not a number.
        ArgumentError: If a value is out of range, or there are more discordant images than images.

    Examples:
        >>> from golden_stick.certify.drop import drop_p_value
        >>> print(f"{drop_p_value(lost=120, gained=110, images=5000, max_drop=0.01):.3f}")
        0.006
    """
    for name, value, least in (("lost", lost, 0), ("gained", gained, 0), ("images", images, 1)):
        check_value("drop_p_value", name, value, Whole(least))
    check_value("drop_p_value", "max_drop", max_drop, Interval(0.0, 1.0))
    check_value("drop_p_value", "set_error", set_error, Interval(1e-15, 1.0))
    if lost + gained > images:
        raise ArgumentError(f"For 'drop_p_value', 'lost' and 'gained' together must be at most 'images', but got "
                            f"{lost} + {gained} of {images}.")
    score = float(drop_score(lost, gained, images, max_drop))
    if score >= 0:
        return 1.0
    low, high = binomial_interval(lost + gained, images, set_error)
    boundary = rejection_boundary(score, images, max_drop)
    return float(min(1.0, _largest_probability(boundary, images, max_drop, max(low, max_drop), high) + set_error))


def rejection_boundary(score: float, images: int, max_drop: float) -> np.ndarray:
    """
    The outcomes at least as extreme as a score: for each number of lost images, the least number of gained ones.

    Args:
        score (float): Negative.
        images (int): All images.
        max_drop (float): The bound on the drop, in [0, 1).

    Returns:
        numpy.ndarray, int64, shape (images + 1,): not falling; above ``images - lost`` where no outcome is.
    """
    lost = np.arange(images + 1)
    low, high = np.zeros(images + 1, np.int64), images - lost + 1
    while (low < high).any():
        middle = (low + high) // 2
        extreme = drop_score(lost, middle, images, max_drop) <= score + _TIE
        low, high = np.where(extreme | (low == high), low, middle + 1), np.where(extreme, middle, high)
    return low


def outcome_probability(boundary: np.ndarray, lost_rate: np.ndarray, gained_rate: np.ndarray) -> np.ndarray:
    """
    The probability of the outcomes that a boundary encloses.

    Args:
        boundary (numpy.ndarray): From `rejection_boundary`, shape (images + 1,).
        lost_rate (numpy.ndarray): Rates of images that only the candidate gets wrong, shape (points,).
        gained_rate (numpy.ndarray): Rates of those that only the base gets wrong, shape (points,).

    Returns:
        numpy.ndarray, float64, shape (points,): rounded up by at most 1e-8.
    """
    images = len(boundary) - 1
    lost_rate, gained_rate = np.asarray(lost_rate, np.float64)[:, None], np.asarray(gained_rate, np.float64)[:, None]
    lost = np.arange(*_likely(images, float(lost_rate.min()), float(lost_rate.max())))
    share = np.minimum(1.0, gained_rate / np.maximum(1 - lost_rate, 1e-300))
    weight = _binomial(lost, images, lost_rate)
    inner = _tails(np.maximum.accumulate(boundary)[lost], images - lost, share)
    # What lies outside the likely range counts as if it were all enclosed.
    missing = np.maximum(0.0, 1 - weight.sum(1))
    return np.minimum(1.0, (weight * inner).sum(1) + missing + _ROUNDING)


def _tails(least: np.ndarray, trials: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """
    `binomial_tail` along a path on which `trials` falls by one at each place and `least` never falls.

    Only the first is computed; each further one differs by single probabilities: with one trial less, by that of
    ``least - 1`` successes before a last one; with one success more asked for, by that of exactly as many.

    Args:
        least (numpy.ndarray): Shape (places,).
        trials (numpy.ndarray): Shape (places,).
        rate (numpy.ndarray): Shape (points, 1).

    Returns:
        numpy.ndarray, shape (points, places).
    """
    rises = np.diff(least)
    owner = np.repeat(np.arange(1, len(least)), rises)
    # What a place demands more than the one before: least[place - 1], least[place - 1] + 1, ...
    asked = least[owner - 1] + np.arange(len(owner)) - np.repeat(np.cumsum(rises) - rises, rises)
    fewer = _binomial(least[:-1] - 1, trials[1:], rate) * rate
    more = np.concatenate([np.zeros((len(rate), 1)), np.cumsum(_binomial(asked, trials[owner], rate), 1)], 1)
    lost = np.cumsum(fewer, 1) + more[:, np.cumsum(rises)]
    first = binomial_tail(least[0], trials[0], rate)
    return np.concatenate([first, np.maximum(0.0, first - lost)], 1)


def _likely(images: int, low: float, high: float) -> Tuple[int, int]:
    """A range that a binomial number with a rate in [low, high] leaves with a probability below 1e-12."""
    def reach(rate: float) -> float:
        return 8 * np.sqrt(images * rate * (1 - rate)) + 40

    return (max(0, int(images * low - reach(low))), min(images, int(images * high + reach(high))) + 1)


def _binomial(count: np.ndarray, trials: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """The probability of exactly `count` successes; 0 where `count` is not in [0, trials]."""
    trials = np.broadcast_to(trials, np.shape(count))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials.max(initial=0) + 1)))])
    possible = (count >= 0) & (count <= trials)
    yes = np.where(possible, count, 0)
    no = np.where(possible, trials - yes, 0)
    ways = logs[yes + no] - logs[yes] - logs[no]
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = np.where(yes > 0, yes * np.log(rate), 0.0) + np.where(no > 0, no * np.log1p(-rate), 0.0)
    return np.where(possible, np.exp(ways + powers), 0.0)


def _largest_probability(boundary: np.ndarray, images: int, max_drop: float, low: float, high: float) -> float:
    """
    A bound, never below and at most 1 % above, on the largest probability over discordances in [low, high].

    Within a piece of that range, fewer losses and more gains only make the outcomes more likely: so the piece's least
    rate of loss with its largest rate of gain bounds it. The pieces that could hold the largest value are halved.
    """
    if low > high:
        return 0.0
    edges = np.linspace(low, high, 17) if high > low else np.array([low, high])
    starts, ends = edges[:-1], edges[1:]
    settled, reached = 0.0, 0.0
    while len(starts):
        inside = _batched(boundary, images, (starts + max_drop) / 2, (starts - max_drop) / 2)
        above = _batched(boundary, images, (starts + max_drop) / 2, (ends - max_drop) / 2)
        reached = max(reached, float(inside.max()))
        fine = above <= reached * (1 + _TIGHTNESS) + _ROUNDING
        settled = max(settled, float(above[fine].max(initial=0.0)))
        starts, ends = starts[~fine], ends[~fine]
        middles = (starts + ends) / 2
        starts, ends = np.concatenate([starts, middles]), np.concatenate([middles, ends])
    return settled


def _batched(boundary: np.ndarray, images: int, lost_rate: np.ndarray, gained_rate: np.ndarray) -> np.ndarray:
    """`outcome_probability` of many points, sorted and in portions that memory holds."""
    order = np.argsort(lost_rate)
    size = max(1, int(_LARGEST_BATCH / (16 * np.sqrt(images * 0.25) + 80)))
    found = np.empty(len(order))
    for begin in range(0, len(order), size):
        part = order[begin:begin + size]
        found[part] = outcome_probability(boundary, lost_rate[part], np.maximum(0.0, gained_rate[part]))
    return found
