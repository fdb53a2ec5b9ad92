"""Plans made from scores and a rate: which channels go, least important first."""
import fnmatch
import math
from dataclasses import dataclass
from typing import Any, Callable, Dict, Hashable, List, Mapping, Optional, Sequence, Union

import numpy as np

from golden_stick.base.config import Interval, OneOf, PerPattern, Whole, check_value
from golden_stick.base.errors import ArgumentError
from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.graph.plan import PruningPlan, plan_without

__all__ = ["PRICES", "RANKINGS", "REDUCTIONS", "ROUNDINGS", "Rates", "Widths", "caps_of", "group_importance",
           "make_plan", "plan_of_counts", "plan_of_rates", "rates_of", "refuse_unfitting", "removable_first",
           "rounded_down"]


RANKINGS = ("local", "global", "isomorphic")
PRICES = ("channel", "macs", "params")
ROUNDINGS = ("nearest", "up", "down")

# A fraction for all groups, or by pattern of their layers' paths.
Rates = Union[float, Mapping[str, float]]

# The tiny addend undoes what float multiplication loses: 0.29 * 100 is 28.999...
_NOISE = 1e-9


def rounded_down(channels: float) -> int:
    """The whole number of channels in a product of a rate."""
    return math.floor(channels + _NOISE)


@dataclass(frozen=True)
class Widths:
    """Which widths the layers that shrink may have, as `make_plan` takes them."""

    round_to: int = 1
    min_width: int = 1
    round: str = "up"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Widths":
        """Those of a pruner's configuration."""
        return cls(config["round_to"], config["min_width"], config["round"])

    def nearest(self, group: ChannelGroup, order: np.ndarray, count: int) -> int:
        """How many of the channels in `order`, near `count`, can go so that every layer has a width that is allowed."""
        fits = np.ones(len(order) + 1, bool)
        for item in group.filters:
            # A channel may stand at several positions of one layer, as in grouped convolutions.
            stands = np.bincount(np.searchsorted(group.channels, item.channels[item.channels >= 0]),
                                 minlength=len(group.channels))
            lost = np.array([0, *np.cumsum(stands[order])])
            width = len(item.channels) - lost
            fits &= (lost == 0) | ((width % self.round_to == 0) & (width >= self.min_width))
        fitting = np.flatnonzero(fits)
        fewer, more = fitting[fitting <= count].max(), fitting[fitting >= count]
        if self.round == "up" or not len(more) or (self.round == "nearest" and count - fewer <= more.min() - count):
            return int(fewer)
        return int(more.min())


def rates_of(owner: str, name: str, grouping: Grouping, rates: Rates, otherwise: float = 0.0) -> Dict[str, float]:
    """
    Name of a group -> the fraction that is meant for it: the one for all, or that of the first pattern, in the syntax
    of `fnmatch`, that fits any of its layers. A pattern that fits no layer of the network is refused.
    """
    if not isinstance(rates, Mapping):
        return {group.name: rates for group in grouping}
    refuse_unfitting(owner, name, [path for group in grouping for path in group.layers] +
                     [layer.path for layer in grouping.fixed], rates)
    return {group.name: next((rate for pattern, rate in rates.items() if fnmatch.filter(group.layers, pattern)),
                             otherwise) for group in grouping}


def refuse_unfitting(owner: str, name: str, paths: Sequence[str], rates: Mapping[str, float]) -> None:
    """Refuse a pattern that fits none of the paths of layers."""
    for pattern in rates:
        if not fnmatch.filter(paths, pattern):
            raise ArgumentError(f"For '{owner}', every pattern in '{name}' must fit the path of a layer with filters, "
                                f"but got {pattern!r}: layers are {', '.join(dict.fromkeys(paths[:6]))} and so on.")


def caps_of(grouping: Grouping, max_rate: Rates) -> Dict[str, int]:
    """Name of a group -> how many of its channels may go at most."""
    rates = rates_of("make_plan", "max_rate", grouping, max_rate, otherwise=1.0)
    return {group.name: rounded_down(rates[group.name] * len(group.channels)) for group in grouping}


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
    rates = rates_of("make_plan", "prune_rate", grouping, prune_rate)
    for group in (group for group in grouping if group.name in importance):
        if len(importance[group.name]) != len(group.channels):
            raise ArgumentError(f"For 'make_plan', 'importance' of group '{group.name}' must have "
                                f"{len(group.channels)} scores, but got {len(importance[group.name])}.")
    return plan_of_rates(grouping, importance, rates, caps_of(grouping, max_rate), pools or {},
                         Widths(round_to, min_width, round))


def plan_of_rates(grouping: Grouping, importance: Mapping[str, np.ndarray], rates: Mapping[str, float],
                  caps: Mapping[str, int], pools: Mapping[str, Hashable], widths: Widths) -> PruningPlan:
    """
    `make_plan`, with a rate for each group: the fraction of its channels that it adds to what its pool loses. It loses
    as many as its cap says at most; groups without a pool are ranked alone.
    """
    members: Dict[Hashable, List[ChannelGroup]] = {}
    for group in grouping:
        if group.name in importance:
            members.setdefault(pools.get(group.name, group.name), []).append(group)
    counts: Dict[str, int] = {}
    for groups in members.values():
        total = rounded_down(sum(rates[group.name] * len(group.channels) for group in groups))
        counts.update(_lowest(groups, importance, caps, total))
    return plan_of_counts(grouping, importance, counts, caps, widths)


def plan_of_counts(grouping: Grouping, importance: Mapping[str, np.ndarray], counts: Mapping[str, int],
                   caps: Mapping[str, int], widths: Widths) -> PruningPlan:
    """Remove so many of each group's least important channels, up to its cap and as near as widths allow."""
    removed = [np.zeros(0, np.int64)]
    for group in (group for group in grouping if group.name in importance):
        order = removable_first(group, importance[group.name])[:caps[group.name]]
        count = widths.nearest(group, order, min(counts[group.name], len(order)))
        removed.append(group.channels[order[:count]])
    return plan_without(grouping, np.concatenate(removed))


def removable_first(group: ChannelGroup, scores: np.ndarray) -> np.ndarray:
    """Indices of the channels that can go, the least important first; of equal ones the last. Each layer that could
    lose all its filters keeps its best."""
    order = np.lexsort((-np.arange(len(scores)), scores))
    protected = set()
    for item in group.filters:
        if (item.channels >= 0).all():
            mine = np.isin(group.channels, item.channels)
            protected.add(int(order[mine[order]][-1]))
    return np.array([index for index in order.tolist() if index not in protected], np.int64)


def _lowest(groups: Sequence[ChannelGroup], scores: Mapping[str, np.ndarray], caps: Mapping[str, int], total: int
            ) -> Dict[str, int]:
    """How many channels each of some groups loses when all of them, in their groups' orders, are ranked together."""
    candidates = [removable_first(group, scores[group.name])[:caps[group.name]] for group in groups]
    number = np.repeat(np.arange(len(groups)), [len(order) for order in candidates])
    place = np.concatenate([np.arange(len(order)) for order in candidates])
    score = np.concatenate([np.asarray(scores[group.name], np.float64)[order]
                            for group, order in zip(groups, candidates)])
    first = number[np.lexsort((place, number, score))[:total]]
    return {group.name: int((first == index).sum()) for index, group in enumerate(groups)}


# One over the filters that make a channel: score and how many there are, both of shape (channels,).
_FINISH: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": lambda total, count: total / np.maximum(count, 1),
    "sum": lambda total, count: total,
    "max": lambda total, count: np.where(count > 0, total, 0.0),
    "norm": lambda total, count: np.sqrt(total),
}
REDUCTIONS = tuple(_FINISH)


def group_importance(group: ChannelGroup, layer_scores: Mapping[str, np.ndarray], reduction: str = "mean",
                     normalizer: str = "mean", owner: str = "group_importance") -> Optional[np.ndarray]:
    """
    One importance per channel of a group.

    A layer's scores are brought to one unit, so that no layer outweighs another by its own; then those of all the
    filters that make a channel are reduced to one number. Layers without scores have no say; None if none has any.
    Negative scores are refused for the reduction ``'norm'``: their squares would rank them high.
    """
    total = np.full(len(group.channels), -np.inf if reduction == "max" else 0.0)
    count = np.zeros(len(group.channels))
    for item in group.filters:
        if item.parameter not in layer_scores:
            continue
        scores = np.asarray(layer_scores[item.parameter], np.float64)
        if reduction == "norm" and (scores < 0).any():
            raise ArgumentError(f"For '{owner}', scores must not be negative for 'reduction' 'norm', but "
                                f"those of '{item.parameter}' go down to {scores.min():.4g}: use 'mean' or 'max'.")
        if normalizer != "none":  # what else one is called, arrays call it too
            scores = scores / (getattr(np.abs(scores), normalizer)() or 1.0)
        live = item.channels >= 0
        index = np.searchsorted(group.channels, item.channels[live])
        if reduction == "max":
            np.maximum.at(total, index, scores[live])
        else:
            np.add.at(total, index, np.square(scores[live]) if reduction == "norm" else scores[live])
        np.add.at(count, index, 1)
    return _FINISH[reduction](total, count) if count.any() else None
