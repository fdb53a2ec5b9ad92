"""Plans made from scores and a rate: which channels go."""
from typing import Callable, Dict, Hashable, Iterable, List, Mapping, Optional

import numpy as np

from golden_stick.base.config import Interval, OneOf, PerPattern, Whole, check_value
from golden_stick.base.errors import ArgumentError
from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.graph.plan import PruningPlan, plan_without
from golden_stick.prune.ranking import (
    ROUNDINGS,
    Rates,
    cap_of,
    rate_of_groups,
    removable_first,
    round_counts,
    shares_of_pools,
)

__all__ = ["make_plan", "plan_of_counts", "plan_of_rates", "REDUCTIONS", "group_importance"]


def make_plan(grouping: Grouping, importance: Mapping[str, np.ndarray], prune_rate: Rates, round_to: int = 1,
              min_width: int = 1, round: str = "up", max_rate: Rates = 1.0,
              pools: Optional[Mapping[str, Hashable]] = None) -> PruningPlan:
    """
    Remove the least important channels.

    Args:
        grouping (Grouping): What can be removed.
        importance (Mapping): Name of a group -> float, shape (channels of the group,). Groups without an entry stay.
        prune_rate (Union[float, Mapping]): Fraction of each group's removable channels to remove, in [0, 1), rounded
            down; or pattern of layer paths -> fraction, such as ``{"layer1.*": 0.2, "*": 0.4}``: the first that fits
            any layer of a group is the group's, and groups that none fits stay. Every layer keeps at least one filter.
        round_to (int): Layers that shrink keep a multiple of so many filters; where no number of channels fits all
            layers of a group, it stays. Default: 1.
        min_width (int): Every layer keeps so many filters, or all that it has. Default: 1.
        round (str): To which multiple of `round_to` widths go: ``'up'``, ``'down'`` or ``'nearest'`` (of two, up).
            Where there is none below, up. Default: ``'up'``.
        max_rate (Union[float, Mapping]): No group loses more than this fraction of its removable channels, in [0, 1];
            or pattern -> fraction, groups that none fits have no cap. It also holds where widths are rounded.
            Default: 1.0.
        pools (Mapping): Name of a group -> the pool in which its channels are ranked; `prune_rate` then is the
            fraction of a pool's channels. Default: ``None``, each group is ranked alone.

    Returns:
        PruningPlan.

    Raises:
        ArgumentTypeError: If a rate is not a number, or `round_to` or `min_width` not an int, or `round` not a str.
        ArgumentError: If a value is out of range, a pattern fits no layer, or a group has another number of channels
            than scores.
    """
    for name, value, constraint in (
            ("prune_rate", prune_rate, PerPattern(Interval(0.0, 1.0))), ("round_to", round_to, Whole(1)),
            ("max_rate", max_rate, PerPattern(Interval(0.0, 1.0, closed=True))), ("min_width", min_width, Whole(1)),
            ("round", round, OneOf(ROUNDINGS))):
        check_value("make_plan", name, value, constraint)
    rates = rate_of_groups("make_plan", "prune_rate", grouping, prune_rate, otherwise=0.0)
    most = rate_of_groups("make_plan", "max_rate", grouping, max_rate, otherwise=1.0)
    for group in (group for group in grouping if group.name in importance):
        if len(importance[group.name]) != len(group.channels):
            raise ArgumentError(
                f"For 'make_plan', 'importance' of group '{group.name}' must have {len(group.channels)} scores, "
                f"but got {len(importance[group.name])}."
            )
    return plan_of_rates(grouping, importance, rates, most, pools or {}, round_to, min_width, round)


def plan_of_rates(grouping: Grouping, importance: Mapping[str, np.ndarray], rates: Mapping[str, float],
                  most: Mapping[str, float], pools: Mapping[str, Hashable], round_to: int = 1, min_width: int = 1,
                  round: str = "up") -> PruningPlan:
    """
    `make_plan`, with a rate for each group.

    Args:
        grouping (Grouping): What can be removed.
        importance (Mapping): As of `make_plan`.
        rates (Mapping): Name of a group -> the fraction of its channels that it adds to what its pool loses.
        most (Mapping): Name of a group -> the fraction of its channels that it loses at most.
        pools (Mapping): Name of a group -> its pool; groups without an entry are ranked alone.
        round_to (int): As of `make_plan`. Default: 1.
        min_width (int): As of `make_plan`. Default: 1.
        round (str): As of `make_plan`. Default: ``'up'``.

    Returns:
        PruningPlan.
    """
    ranked = [group for group in grouping if group.name in importance]
    orders = _orders(ranked, importance, most)
    members: Dict[Hashable, List[ChannelGroup]] = {}
    for group in ranked:
        members.setdefault(pools.get(group.name, group.name), []).append(group)
    counts = shares_of_pools(members, importance, orders, rates)
    return _plan_of_orders(grouping, orders, counts, round_to, min_width, round)


def plan_of_counts(grouping: Grouping, importance: Mapping[str, np.ndarray], counts: Mapping[str, int],
                   round_to: int = 1, min_width: int = 1, round: str = "up", max_rate: Rates = 1.0) -> PruningPlan:
    """
    Remove so many of each group's least important channels, as near as widths allow.

    Args:
        grouping (Grouping): What can be removed.
        importance (Mapping): Name of a group -> float, shape (channels of the group,). Groups without an entry stay.
        counts (Mapping): Name of a group -> how many of its channels are to go.
        round_to (int): As of `make_plan`. Default: 1.
        min_width (int): As of `make_plan`. Default: 1.
        round (str): As of `make_plan`. Default: ``'up'``.
        max_rate (Union[float, Mapping]): As of `make_plan`. Default: 1.0.

    Returns:
        PruningPlan.
    """
    ranked = [group for group in grouping if group.name in importance]
    orders = _orders(ranked, importance, rate_of_groups("make_plan", "max_rate", grouping, max_rate, otherwise=1.0))
    return _plan_of_orders(grouping, orders, counts, round_to, min_width, round)


def _plan_of_orders(grouping: Grouping, orders: Mapping[str, np.ndarray], counts: Mapping[str, int], round_to: int,
                    min_width: int, round: str) -> PruningPlan:
    """The plan that removes so many of the first channels in each group's order, as near as widths allow."""
    gone = [np.zeros(0, np.int64)]
    for group in grouping:
        if group.name in orders:
            order = orders[group.name]
            count = round_counts(group, order, min(counts[group.name], len(order)), round_to, min_width, round)
            gone.append(group.channels[order[:count]])
    return plan_without(grouping, np.concatenate(gone))


def _orders(groups: Iterable[ChannelGroup], importance: Mapping[str, np.ndarray],
            most: Mapping[str, float]) -> Dict[str, np.ndarray]:
    """Name of a group -> indices of the channels that may go, the least important first."""
    return {group.name: removable_first(group, importance[group.name])[:cap_of(group, most[group.name])]
            for group in groups}


# One over the filters that make a channel: score and how many there are, both of shape (channels,).
_FINISH: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": lambda total, count: total / np.maximum(count, 1),
    "sum": lambda total, count: total,
    "max": lambda total, count: np.where(count > 0, total, 0.0),
    "norm": lambda total, count: np.sqrt(total),
}
REDUCTIONS = tuple(_FINISH)

_UNITS: Mapping[str, Callable[[np.ndarray], float]] = {
    "mean": lambda scores: np.abs(scores).mean(),
    "sum": lambda scores: np.abs(scores).sum(),
    "max": lambda scores: np.abs(scores).max(),
    "none": lambda scores: 1.0,
}


def group_importance(group: ChannelGroup, layer_scores: Mapping[str, np.ndarray], reduction: str = "mean",
                     normalizer: str = "mean") -> Optional[np.ndarray]:
    """
    One importance per channel of a group.

    A layer's scores are brought to one unit, so that no layer outweighs another by its own; then those of all the
    filters that make a channel are reduced to one number.

    Args:
        group (ChannelGroup): The group.
        layer_scores (Mapping): Weight name -> scores, float, shape (filters,). Layers without scores have no say.
        reduction (str): Over the filters that make a channel: ``'mean'``, ``'sum'``, ``'max'`` or ``'norm'`` (root of
            the sum of squares). Default: ``'mean'``.
        normalizer (str): What a layer's scores are divided by: their ``'mean'``, ``'sum'`` or ``'max'`` magnitude, or
            ``'none'``. Default: ``'mean'``.

    Returns:
        numpy.ndarray, float64, shape (channels of the group,), or None if none of its layers has scores.

    Raises:
        ArgumentError: If the reduction is ``'norm'`` and a score is negative: its square would rank it high.
    """
    total = np.full(len(group.channels), -np.inf if reduction == "max" else 0.0)
    count = np.zeros(len(group.channels))
    for item in group.filters:
        if item.parameter not in layer_scores:
            continue
        scores = np.asarray(layer_scores[item.parameter], np.float64)
        if reduction == "norm" and (scores < 0).any():
            raise ArgumentError(f"For 'group_importance', scores must not be negative for 'reduction' 'norm', but "
                                f"those of '{item.parameter}' go down to {scores.min():.4g}: use 'mean' or 'max'.")
        scores = scores / (_UNITS[normalizer](scores) or 1.0)
        live = item.channels >= 0
        index = np.searchsorted(group.channels, item.channels[live])
        if reduction == "max":
            np.maximum.at(total, index, scores[live])
        else:
            np.add.at(total, index, np.square(scores[live]) if reduction == "norm" else scores[live])
        np.add.at(count, index, 1)
    return _FINISH[reduction](total, count) if count.any() else None
