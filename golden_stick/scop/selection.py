"""From SCOP's scales to scores, and how much they say beyond the normalization's scale."""
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from golden_stick.base.errors import StateError
from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.graph.plan import PruningPlan
from golden_stick.knockoffs.selection import least_passing, select, select_derandomized
from golden_stick.prune.plan import plan_of_counts

__all__ = ["automatic_plan", "selected_filters", "unselected_channels", "describe_scales", "scop_importance",
           "rank_correlation"]


def automatic_plan(grouping: Grouping, statistics: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> PruningPlan:
    """
    The plan that removes what knockoff+ does not select. Every layer keeps a filter, and widths are rounded as always.

    Args:
        grouping (Grouping): What can be removed.
        statistics (Mapping): Weight name -> W, float, shape (draws, filters).
        config (Mapping): With `fdr`, `round_to`, `round`, `min_width` and `max_rate`.

    Returns:
        PruningPlan. A channel that several filters make goes if none of them is selected.

    Raises:
        StateError: If knockoff+ selects nothing: that says that it can tell nothing apart, not that all may go.
    """
    importance, counts = unselected_channels(grouping, statistics, config["fdr"])
    return plan_of_counts(grouping, importance, counts, config["round_to"], config["min_width"], config["round"],
                          config["max_rate"])


def unselected_channels(grouping: Grouping, statistics: Mapping[str, np.ndarray], rate: float
                        ) -> Tuple[Dict[str, np.ndarray], Dict[str, int]]:
    """
    How many channels knockoff+ does not select, and in which order they go.

    Args:
        grouping (Grouping): What can be removed.
        statistics (Mapping): Weight name -> W, float, shape (draws, filters).
        rate (float): The false discovery rate.

    Returns:
        tuple, two dicts by the names of groups: importance, shape (channels of the group,), and how many go. Groups
        without statistics have no entry.

    Raises:
        StateError: If knockoff+ selects nothing.
    """
    chosen = selected_filters(statistics, rate)
    if not any(kept.any() for kept in chosen.values()):
        draws = len(next(iter(statistics.values())))
        raise StateError(f"For 'SCOP', knockoff+ must select a filter for 'prune_rate' 'auto' to say what goes, but "
                         f"selects none of {sum(map(len, chosen.values())):,} at 'fdr' {rate:g}, of which at "
                         f"least {least_passing(rate, draws)} must pass where 'draws' is {draws}: raise "
                         f"'fdr', let it decide over more layers, take fewer draws, train the scales for longer, or "
                         f"set 'prune_rate' to a number.")
    importance, counts = {}, {}
    for group in grouping:
        if not any(item.parameter in chosen for item in group.filters):
            continue
        kept, score = _of_channels(group, chosen, statistics)
        # All that are selected stand above all that are not.
        importance[group.name] = score + np.where(kept, 1.0 + np.ptp(score), 0.0)
        counts[group.name] = int((~kept).sum())
    return importance, counts


def selected_filters(statistics: Mapping[str, np.ndarray], rate: float) -> Dict[str, np.ndarray]:
    """
    Weight name -> which of its filters knockoff+ selects, of all layers together: bool, shape (filters,).

    A layer's statistics are divided by their mean magnitude, which knows nothing of signs, so that no layer outweighs
    another by its unit.
    """
    draws = np.concatenate([_in_one_unit(rows) for rows in statistics.values()], axis=1)
    chosen = select(draws[0], rate) if len(draws) == 1 else select_derandomized(list(draws), rate)
    ends = np.cumsum([rows.shape[1] for rows in statistics.values()])
    return dict(zip(statistics, np.split(chosen, ends[:-1])))


def _in_one_unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.where((unit := np.abs(rows).mean(axis=1, keepdims=True)) > 0, unit, 1.0)


def _of_channels(group: ChannelGroup, chosen: Mapping[str, np.ndarray], statistics: Mapping[str, np.ndarray]):
    """Of each channel of a group: whether it stays, and the mean score of the filters that make it."""
    kept, scored = np.zeros(len(group.channels), bool), np.zeros(len(group.channels), bool)
    total, count = np.zeros(len(group.channels)), np.zeros(len(group.channels))
    for item in group.filters:
        live = item.channels >= 0
        index = np.searchsorted(group.channels, item.channels[live])
        if item.parameter in chosen:
            scored[index] = True
            np.logical_or.at(kept, index, chosen[item.parameter][live])
            np.add.at(total, index, _in_one_unit(statistics[item.parameter]).mean(axis=0)[live])
            np.add.at(count, index, 1)
    return kept | ~scored, total / np.maximum(count, 1)


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
