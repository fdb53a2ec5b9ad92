"""From SCOP's scales to scores, and how much they say beyond the normalization's scale."""
from typing import Mapping, Optional

import numpy as np

__all__ = ["describe_scales", "scop_importance", "rank_correlation"]


def scop_importance(real_scale: np.ndarray, gamma: Optional[np.ndarray]) -> np.ndarray:
    """
    Importance of filters: ``|gamma| * (s - (1 - s))``.

    Source: Tang et al., SCOP, NeurIPS 2020, https://arxiv.org/abs/2010.10732, as in the authors' released code.

    Args:
        real_scale (numpy.ndarray): s, float, shape (filters,), in [0, 1].
        gamma (numpy.ndarray): Scale of the normalization behind the convolution, shape (filters,); None if there is
            no normalization, which counts as 1.

    Returns:
        numpy.ndarray, float64, shape (filters,), in [-|gamma|, |gamma|]. Negative where the knockoff does better.
    """
    weight = 1.0 if gamma is None else np.abs(gamma.astype(np.float64))
    return weight * (2.0 * real_scale.astype(np.float64) - 1.0)


def rank_correlation(scores: Mapping[str, np.ndarray], gammas: Mapping[str, np.ndarray]) -> float:
    """
    Median over layers of Spearman's rank correlation between scores and ``|gamma|``.

    At 1 the knockoffs have said nothing that the normalization's scale had not.

    Args:
        scores (Mapping): Layer -> scores, shape (filters,).
        gammas (Mapping): Layer -> gamma, shape (filters,); layers without one are left out.

    Returns:
        float in [-1, 1], NaN if no layer has a gamma with differing values.
    """
    found = []
    for layer, gamma in gammas.items():
        first, second = _ranks(scores[layer]), _ranks(np.abs(gamma))
        if first.std() > 0 and second.std() > 0:
            found.append(float(np.corrcoef(first, second)[0, 1]))
    return float(np.median(found)) if found else float("nan")


def describe_scales(scales: Mapping[str, np.ndarray]) -> str:
    """How many of the scales say that the knockoff does better, and how many have run into their bound."""
    pooled = np.concatenate([values.ravel() for values in scales.values()])
    worse, bound = (pooled < 0.5).mean(), (pooled > 0.99).mean()
    return (f"scales: {worse:.0%} below 0.5, where the knockoff does better; {bound:.0%} above 0.99, where scores are "
            f"no more than |gamma|")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties at their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[inverse]
