"""
Several candidates, one error: tested in an order fixed beforehand, until the first that fails.

Fixed-sequence testing in Learn then Test (Angelopoulos et al., <https://arxiv.org/abs/2110.01052>): each test may use
the whole error, because a wrong certificate needs the first candidate that is truly worse to pass its own test.
"""
from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np

from golden_stick.certify.drop import drop_p_value
from golden_stick.config import Interval, check_value
from golden_stick.errors import ArgumentError

__all__ = ["Comparison", "compare_predictions", "certify_in_sequence"]


@dataclass(frozen=True)
class Comparison:
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


def compare_predictions(base_right: np.ndarray, candidate_right: np.ndarray) -> Comparison:
    """
    Count the images on which a candidate and the base differ.

    Args:
        base_right (numpy.ndarray): bool, shape (images,): whether the base is right.
        candidate_right (numpy.ndarray): bool, shape (images,): whether the candidate is.

    Returns:
        Comparison, not tested.

    Raises:
        ArgumentError: If the shapes differ or there is no image.
    """
    base_right, candidate_right = np.asarray(base_right, bool), np.asarray(candidate_right, bool)
    if base_right.shape != candidate_right.shape or base_right.ndim != 1 or not len(base_right):
        raise ArgumentError(f"For 'compare_predictions', both must be of one length, at least 1, but got shapes "
                            f"{base_right.shape} and {candidate_right.shape}.")
    lost, gained = int((base_right & ~candidate_right).sum()), int((~base_right & candidate_right).sum())
    return Comparison(lost, gained, len(base_right))


def certify_in_sequence(comparisons: Sequence[Comparison], max_drop: float, confidence: float
                        ) -> Tuple[Comparison, ...]:
    """
    Test in the order given, each at the full error, and stop at the first that fails.

    If the order does not depend on the images, the probability that any certified candidate's accuracy is truly lower
    by `max_drop` or more is at most ``1 - confidence``.

    Args:
        comparisons (Sequence[Comparison]): In the order of testing.
        max_drop (float): The bound on the drop, as a fraction, in [0, 1).
        confidence (float): In (0, 1).

    Returns:
        tuple[Comparison], with p-values up to the first failure, none behind it.

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
            tested.append(Comparison(item.lost, item.gained, item.images))
            continue
        # A hundredth of the error for the confidence set: fixed before any image was seen.
        p_value = drop_p_value(item.lost, item.gained, item.images, max_drop, error / 100)
        going = p_value <= error
        tested.append(Comparison(item.lost, item.gained, item.images, p_value, going))
    return tuple(tested)
