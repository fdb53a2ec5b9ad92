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
from dataclasses import dataclass, replace
from typing import Optional, Sequence, Tuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from golden_stick.base.config import FRACTION, Interval, Whole, check_value
from golden_stick.base.errors import ArgumentError

__all__ = ["PairedCounts", "binomial_interval", "certify_in_sequence", "compare_predictions", "drop_p_value",
           "drop_score", "outcome_probability", "rejection_boundary"]


# Outcomes whose scores differ by less are counted as equal: rounding shall not leave one out.
_TIE = 1e-9
# What the sum of a few thousand rounded probabilities may be off by, several times over.
_ROUNDING = 1e-8
# The bound on the largest probability is tightened until it is within this fraction of it.
_TIGHTNESS = 0.01


def drop_score(lost: ArrayLike, gained: ArrayLike, images: int, max_drop: float) -> np.ndarray:
    """
    The score statistic of a drop of `max_drop`: how many standard deviations the observed drop is above it; 0 where the
    observed drop is not below the bound. Where it is negative, it rises with `lost` and falls with `gained` (shown in
    docs/certificates.md), which broadcast.
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
    check_value("drop_p_value", "set_error", set_error, FRACTION)
    if lost + gained > images:
        raise ArgumentError(f"For 'drop_p_value', 'lost' and 'gained' together must be at most 'images', but got "
                            f"{lost} + {gained} of {images}.")
    score = float(drop_score(lost, gained, images, max_drop))
    if score >= 0:
        return 1.0
    low, high = binomial_interval(lost + gained, images, set_error)
    boundary = rejection_boundary(score, images, max_drop)
    return min(1.0, _largest_probability(boundary, max_drop, max(low, max_drop), high) + set_error)


def binomial_interval(successes: int, trials: int, error: float) -> Tuple[float, float]:
    """
    The exact interval of Clopper and Pearson for a rate (Biometrika 1934, <https://doi.org/10.1093/biomet/26.4.404>),
    which misses it with a probability of at most `error`, half of it on each side. Rounded outwards by 1e-12.
    """
    rest = trials - successes
    low = special.betaincinv(successes, rest + 1, error / 2) - 1e-12 if successes else 0.0
    high = 1 - special.betaincinv(rest, successes + 1, error / 2) + 1e-12 if rest else 1.0
    return max(0.0, float(low)), min(1.0, float(high))


def rejection_boundary(score: float, images: int, max_drop: float) -> np.ndarray:
    """
    The outcomes at least as extreme as a negative score: for each number of lost images, from 0 to all, the least
    number of gained ones; ``images - lost + 1`` where no outcome is.
    """
    lost = np.arange(images + 1)
    low, high = np.zeros(images + 1, np.int64), images - lost + 1
    while (low < high).any():
        middle = (low + high) // 2
        extreme = drop_score(lost, middle, images, max_drop) <= score + _TIE
        low, high = np.where(extreme | (low == high), low, middle + 1), np.where(extreme, middle, high)
    return low


def outcome_probability(boundary: np.ndarray, lost_rate: float, gained_rate: float) -> float:
    """
    The probability of the outcomes that a boundary encloses, where `lost_rate` and `gained_rate` are the rates of
    images that only the candidate, or only the base, gets wrong. Rounded up, by little more than 1e-8.
    """
    images = len(boundary) - 1
    # A binomial number leaves this range with a probability below 1e-12.
    reach = 8 * np.sqrt(images * lost_rate * (1 - lost_rate)) + 40
    lost = np.arange(max(0, int(images * lost_rate - reach)), min(images, int(images * lost_rate + reach)) + 1)
    ways = -special.betaln(lost + 1, images - lost + 1) - np.log1p(images)
    weight = np.exp(ways + special.xlogy(lost, lost_rate) + special.xlog1py(images - lost, -lost_rate))
    # Of at least so many gained images among those not lost; a boundary above all of them is reached by none.
    share = min(1.0, gained_rate / max(1 - lost_rate, 1e-300))
    inner = special.bdtrc(np.minimum(boundary[lost] - 1, images - lost), images - lost, share)
    # What lies outside the range counts as if it were all enclosed.
    return min(1.0, float(weight @ inner) + max(0.0, 1 - float(weight.sum())) + _ROUNDING)


def _largest_probability(boundary: np.ndarray, max_drop: float, low: float, high: float) -> float:
    """
    A bound, never below and at most 1 % above, on the largest probability over discordances in [low, high].

    Within a piece of that range, fewer losses and more gains only make the outcomes more likely: so the piece's least
    rate of loss with its largest rate of gain bounds it. The pieces that could hold the largest value are halved.
    """
    def probability(start: float, end: float) -> float:
        return outcome_probability(boundary, (start + max_drop) / 2, max(0.0, (end - max_drop) / 2))

    edges = np.linspace(low, high, 17).tolist()
    pieces = list(zip(edges[:-1], edges[1:])) if low < high else [(low, high)] if low == high else []
    settled, reached = 0.0, 0.0
    while pieces:
        reached = max([reached, *(probability(start, start) for start, _ in pieces)])
        bounds = [probability(start, end) for start, end in pieces]
        coarse = [bound > reached * (1 + _TIGHTNESS) + _ROUNDING for bound in bounds]
        settled = max([settled, *(bound for bound, again in zip(bounds, coarse) if not again)])
        pieces = [half for (start, end), again in zip(pieces, coarse) if again
                  for half in ((start, (start + end) / 2), ((start + end) / 2, end))]
    return settled


@dataclass(frozen=True)
class PairedCounts:
    """
    A candidate against the base on the same images.

    Args:
        lost (int): Images that only the candidate gets wrong.
        gained (int): Images that only the base gets wrong.
        images (int): All images.
        p_value (float, None): Of "the drop is the bound or more"; None if the candidate was not tested.
        certified (bool): Whether the drop is certified to be below the bound.
    """

    lost: int
    gained: int
    images: int
    p_value: Optional[float] = None
    certified: bool = False

    @property
    def drop(self) -> float:
        """The observed drop in accuracy, as a fraction."""
        return (self.lost - self.gained) / self.images


def compare_predictions(base_right: np.ndarray, candidate_right: np.ndarray) -> PairedCounts:
    """
    Count the images on which a candidate and the base differ.

    Args:
        base_right (numpy.ndarray): bool, shape (images,): whether the base is right.
        candidate_right (numpy.ndarray): bool, shape (images,): whether the candidate is.

    Returns:
        PairedCounts, not tested.

    Raises:
        ArgumentError: If the shapes differ or there is no image.
    """
    base_right, candidate_right = np.asarray(base_right, bool), np.asarray(candidate_right, bool)
    if base_right.shape != candidate_right.shape or base_right.ndim != 1 or not len(base_right):
        raise ArgumentError(f"For 'compare_predictions', both must be of one length, at least 1, but got shapes "
                            f"{base_right.shape} and {candidate_right.shape}.")
    lost, gained = int((base_right & ~candidate_right).sum()), int((~base_right & candidate_right).sum())
    return PairedCounts(lost, gained, len(base_right))


def certify_in_sequence(comparisons: Sequence[PairedCounts], max_drop: float, confidence: float
                        ) -> Tuple[PairedCounts, ...]:
    """
    Test in the order given, and stop at the first that fails: fixed-sequence testing in Learn then Test (Angelopoulos
    et al., <https://arxiv.org/abs/2110.01052>). Each test may use the whole error, because a wrong certificate needs
    the first candidate that is truly worse to pass its own test.

    If the order does not depend on the images, the probability that any certified candidate's accuracy is truly lower
    by `max_drop` or more is at most ``1 - confidence``.

    Args:
        comparisons (Sequence[PairedCounts]): In the order of testing.
        max_drop (float): The bound on the drop, as a fraction, in [0, 1).
        confidence (float): In (0, 1).

    Returns:
        tuple[PairedCounts], with p-values up to the first failure, none behind it.

    Raises:
        ArgumentTypeError: If `max_drop` or `confidence` is not a number.
        ArgumentError: If `max_drop` is outside [0, 1), or `confidence` outside (0, 1).
    """
    check_value("certify", "max_drop", max_drop, Interval(0.0, 1.0))
    check_value("certify", "confidence", confidence, FRACTION)
    tested = [replace(item, p_value=None, certified=False) for item in comparisons]
    for place, item in enumerate(comparisons):
        # A hundredth of the error for the confidence set: fixed before any image was seen.
        p_value = drop_p_value(item.lost, item.gained, item.images, max_drop, (1 - confidence) / 100)
        tested[place] = replace(item, p_value=p_value, certified=p_value <= 1 - confidence)
        if not tested[place].certified:
            break
    return tuple(tested)
