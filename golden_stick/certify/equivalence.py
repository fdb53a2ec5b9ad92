"""Equivalence tests of many filters at once: t-tests of "removing it costs the bound or more", and their selection."""
import numpy as np

from golden_stick.certify.distributions import student_t_cdf
from golden_stick.config import Interval, OneOf, check_value
from golden_stick.errors import ArgumentError

__all__ = ["equivalence_p_values", "discoveries", "CORRECTIONS"]

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
