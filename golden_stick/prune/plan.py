"""The pruning plan: what is kept, as plain data. Made from scores and a rate; all that follows only carries it out."""
from dataclasses import asdict, dataclass, replace
from typing import Any, Dict, Hashable, Iterable, List, Mapping, Optional, Tuple

import numpy as np

from golden_stick.config import Interval, OneOf, PerPattern, Whole, check_value
from golden_stick.errors import ArgumentError
from golden_stick.graph.groups import CellSite, ChannelGroup, Grouping, ParameterSlice
from golden_stick.prune.ranking import (
    ROUNDINGS,
    Rates,
    cap_of,
    rate_of_groups,
    removable_first,
    round_counts,
    shares_of_pools,
)

__all__ = ["KeptAxis", "KeptChannels", "LayerWidth", "PruningPlan", "make_plan", "plan_of_counts", "plan_of_rates",
           "plan_without", "removed_channels"]


@dataclass(frozen=True)
class KeptAxis:
    """Of `size` positions on axis `axis` of parameter `parameter`, those in `kept` stay (ascending)."""

    parameter: str
    axis: int
    size: int
    kept: Tuple[int, ...]


@dataclass(frozen=True)
class KeptChannels:
    """Of `size` channels at the Cell `path`, those in `kept` stay; `trailing` axes follow the channel axis."""

    path: str
    size: int
    kept: Tuple[int, ...]
    trailing: int


@dataclass(frozen=True)
class LayerWidth:
    """Filters of the layer at `path`, before and after."""

    path: str
    before: int
    after: int


@dataclass(frozen=True)
class PruningPlan:
    """
    What a network keeps.

    Args:
        axes (tuple[KeptAxis]): Every axis of every parameter that shrinks.
        masks (tuple[KeptChannels]): Where the masked network hides what the slim one lacks: at these Cells' inputs.
        scatters (tuple[KeptChannels]): Cells whose output is put back into its full width.
        layers (tuple[LayerWidth]): The layers that shrink, for the report.
        zeros (tuple[KeptAxis]): Where the masked network has zeros instead of masks: on these axes, but for `kept`.
    """

    axes: Tuple[KeptAxis, ...]
    masks: Tuple[KeptChannels, ...]
    scatters: Tuple[KeptChannels, ...]
    layers: Tuple[LayerWidth, ...]
    zeros: Tuple[KeptAxis, ...] = ()

    def renamed(self, names: Mapping[str, str]) -> "PruningPlan":
        """The plan for a network whose parameters have other names: name here -> name there."""
        axes, zeros = (tuple(replace(item, parameter=names.get(item.parameter, item.parameter)) for item in items)
                       for items in (self.axes, self.zeros))
        return replace(self, axes=axes, zeros=zeros)

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "PruningPlan":
        """The plan that `to_dict` made `data` of."""
        def read(kind, key):
            return tuple(kind(**{**item, **({"kept": tuple(item["kept"])} if "kept" in item else {})})
                         for item in data.get(key, ()))

        return PruningPlan(read(KeptAxis, "axes"), read(KeptChannels, "masks"), read(KeptChannels, "scatters"),
                           read(LayerWidth, "layers"), read(KeptAxis, "zeros"))


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


def plan_without(grouping: Grouping, removed: Iterable[int]) -> PruningPlan:
    """
    The plan that removes certain channels, and nothing else.

    Args:
        grouping (Grouping): What can be removed.
        removed (Iterable[int]): Numbers of channels, as in the groups' `channels`.

    Returns:
        PruningPlan.

    Raises:
        ArgumentError: If a number is not that of a removable channel, or a layer would lose all its filters.
    """
    gone = np.unique(np.fromiter(removed, np.int64))
    known = np.concatenate([group.channels for group in grouping] or [np.zeros(0, np.int64)])
    if not np.isin(gone, known).all():
        raise ArgumentError(f"For 'plan_without', 'removed' must hold numbers of removable channels, but got "
                            f"{gone[~np.isin(gone, known)].tolist()[:5]}.")
    axes, layers = [], []
    zeros = tuple(axis for axis in (_axis(item, gone) for item in grouping.zeroed) if len(axis.kept) < axis.size)
    paths = {item.parameter: path for group in grouping for item, path in zip(group.filters, group.layers)}
    for item in grouping.slices:
        axis = _axis(item, gone)
        if len(axis.kept) < axis.size:
            axes.append(axis)
            if item.role == "filter":
                if not axis.kept:
                    raise ArgumentError(f"For 'plan_without', every layer must keep a filter, but "
                                        f"'{paths[item.parameter]}' would lose all {axis.size}.")
                layers.append(LayerWidth(paths[item.parameter], axis.size, len(axis.kept)))
    return PruningPlan(tuple(axes), _sites(grouping.masks, gone), _sites(grouping.scatters, gone), tuple(layers), zeros)


def removed_channels(grouping: Grouping, plan: PruningPlan) -> np.ndarray:
    """The channels that a plan removes, by their numbers in the grouping it was made for: int64, ascending."""
    kept = {(axis.parameter, axis.axis): list(axis.kept) for axis in plan.axes}
    gone = [np.delete(item.channels, kept[item.parameter, item.axis])
            for item in grouping.slices if (item.parameter, item.axis) in kept]
    return np.unique(np.concatenate(gone or [np.zeros(0, np.int64)]))


def _axis(item: ParameterSlice, gone: np.ndarray) -> KeptAxis:
    return KeptAxis(item.parameter, item.axis, len(item.channels), _kept(item.channels, gone))


def _kept(channels: np.ndarray, gone: np.ndarray) -> Tuple[int, ...]:
    return tuple(np.flatnonzero(~np.isin(channels, gone)).tolist())


def _sites(sites: Tuple[CellSite, ...], gone: np.ndarray) -> Tuple[KeptChannels, ...]:
    found = (KeptChannels(site.path, len(site.channels), _kept(site.channels, gone), site.trailing) for site in sites)
    return tuple(site for site in found if len(site.kept) < site.size)
