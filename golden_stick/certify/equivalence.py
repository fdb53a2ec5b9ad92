"""
Several candidates, one error: tested in an order fixed beforehand, until the first that fails.

Fixed-sequence testing in Learn then Test (Angelopoulos et al., <https://arxiv.org/abs/2110.01052>): each test may use
the whole error, because a wrong certificate needs the first candidate that is truly worse to pass its own test.
"""
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np

from golden_stick.base.config import Interval, OneOf, check_value
from golden_stick.base.errors import ArgumentError
from golden_stick.certify.distributions import student_t_cdf
from golden_stick.certify.drop import drop_p_value

__all__ = ["equivalence_p_values", "discoveries", "CORRECTIONS", "PairedCounts", "compare_predictions",
           "certify_in_sequence"]


# Benjamini and Hochberg, J. R. Stat. Soc. B 1995: for tests that are independent or positively dependent. Benjamini and
# Yekutieli, Ann. Statist. 2001: for any dependence, at the price of a factor of about log(number of tests).
CORRECTIONS = ("bh", "by")


def equivalence_p_values(mean: np.ndarray, deviation: np.ndarray, images: int, eps: float) -> np.ndarray:
    """
    P-values of "the mean is `eps` or more", by one-sided t-tests.

    They are exact for normal numbers and, by the central limit theorem, close for means of many images. A filter whose
    removal changed nothing on any image gets 0.

    Args:
        mean (numpy.ndarray): Mean difference over the images, shape (filters,).
        deviation (numpy.ndarray): Standard deviation of one difference, shape (filters,).
        images (int): How many, at least 2.
        eps (float): The bound, positive.

    Returns:
        numpy.ndarray, float64, shape (filters,).

    Raises:
        ArgumentError: If there are fewer than two images.
    """
    if images < 2:
        raise ArgumentError(f"For 'equivalence_p_values', 'images' must be at least 2, but got {images}.")
    mean, error = np.asarray(mean, np.float64), np.asarray(deviation, np.float64) / np.sqrt(images)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(error > 0, (mean - eps) / error, np.where(mean < eps, -np.inf, np.inf))
    return student_t_cdf(statistic, images - 1)


def discoveries(p_values: np.ndarray, q: float, correction: str = "bh") -> np.ndarray:
    """
    The tests to reject so that the expected share of wrong rejections among them is at most `q`.

    Args:
        p_values (numpy.ndarray): Shape (tests,).
        q (float): The false discovery rate, in (0, 1).
        correction (str): ``'bh'``, for tests that are independent or positively dependent, or ``'by'``, for any.
            Default: ``'bh'``.

    Returns:
        numpy.ndarray, bool, shape (tests,).

    Raises:
        ArgumentTypeError: If `q` is not a number.
        ArgumentError: If `q` is out of range or `correction` unknown.
    """
    check_value("safe_filters", "q", q, Interval(1e-9, 1.0))
    check_value("safe_filters", "correction", correction, OneOf(CORRECTIONS))
    p_values = np.asarray(p_values, np.float64)
    count = len(p_values)
    if not count:
        return np.zeros(0, bool)
    ranks = np.arange(1, count + 1)
    level = q / (np.sum(1 / ranks) if correction == "by" else 1)
    ordered = np.sort(p_values)
    passed = np.flatnonzero(ordered <= level * ranks / count)
    return p_values <= (ordered[passed[-1]] if len(passed) else -1.0)


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
    Test in the order given, each at the full error, and stop at the first that fails.

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
    check_value("certify", "confidence", confidence, Interval(1e-6, 1.0))
    error = 1 - confidence
    tested, going = [], True
    for item in comparisons:
        if not going:
            tested.append(PairedCounts(item.lost, item.gained, item.images))
            continue
        # A hundredth of the error for the confidence set: fixed before any image was seen.
        p_value = drop_p_value(item.lost, item.gained, item.images, max_drop, error / 100)
        going = p_value <= error
        tested.append(PairedCounts(item.lost, item.gained, item.images, p_value, going))
    return tuple(tested)
