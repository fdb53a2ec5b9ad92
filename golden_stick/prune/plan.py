"""The pruning plan: what is kept, as plain data. Made from scores and a rate; all that follows only carries it out."""
import math
from dataclasses import asdict, dataclass
from typing import Any, Dict, Iterable, Mapping, Set, Tuple

import numpy as np

from golden_stick.config import Interval, Whole, check_value
from golden_stick.errors import ArgumentError
from golden_stick.graph.groups import CellSite, ChannelGroup, Grouping, ParameterSlice

__all__ = ["KeptAxis", "KeptChannels", "LayerWidth", "PruningPlan", "make_plan", "plan_without"]


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


def make_plan(grouping: Grouping, importance: Mapping[str, np.ndarray], prune_rate: float, round_to: int = 1,
              min_width: int = 1) -> PruningPlan:
    """
    Remove the least important channels of every group.

    Args:
        grouping (Grouping): What can be removed.
        importance (Mapping): Name of a group -> float, shape (channels of the group,). Groups without an entry stay.
        prune_rate (float): Fraction of each group's removable channels to remove, in [0, 1). Rounded down. Every
            layer keeps at least one filter.
        round_to (int): Layers that shrink keep a multiple of so many filters, by losing fewer of them; where no number
            of channels fits all layers of a group, it stays. Default: 1.
        min_width (int): Every layer keeps so many filters, or all that it has. Default: 1.

    Returns:
        PruningPlan.

    Raises:
        ArgumentTypeError: If `prune_rate` is not a number, or `round_to` or `min_width` not an int.
        ArgumentError: If `prune_rate` is outside [0, 1), `round_to` or `min_width` less than 1, or a group has another
            number of channels than scores.
    """
    check_value("make_plan", "prune_rate", prune_rate, Interval(0.0, 1.0))
    check_value("make_plan", "round_to", round_to, Whole(1))
    check_value("make_plan", "min_width", min_width, Whole(1))
    removed: Set[int] = set()
    for group in grouping:
        if group.name in importance:
            if len(importance[group.name]) != len(group.channels):
                raise ArgumentError(
                    f"For 'make_plan', 'importance' of group '{group.name}' must have {len(group.channels)} scores, "
                    f"but got {len(importance[group.name])}."
                )
            order = _least_first(group, importance[group.name], prune_rate)
            removed.update(order[:_count_that_fits(group, order, round_to, min_width)].tolist())
    return plan_without(grouping, removed)


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


def _axis(item: ParameterSlice, gone: np.ndarray) -> KeptAxis:
    return KeptAxis(item.parameter, item.axis, len(item.channels), _kept(item.channels, gone))


def _least_first(group: ChannelGroup, scores: np.ndarray, prune_rate: float) -> np.ndarray:
    """The channels to remove, the least important first; of equal ones the last, so that the number is met exactly."""
    # The tiny addend undoes what float multiplication loses: 0.29 * 100 is 28.999...
    count = math.floor(prune_rate * len(group.channels) + 1e-9)
    order = np.lexsort((-np.arange(len(scores)), scores))
    protected = set()
    for item in group.filters:
        if (item.channels >= 0).all():
            mine = np.isin(group.channels, item.channels)
            protected.add(int(order[mine[order]][-1]))
    free = [index for index in order.tolist() if index not in protected]
    return group.channels[free[:count]]


def _count_that_fits(group: ChannelGroup, order: np.ndarray, round_to: int, min_width: int) -> int:
    """How many of the channels, taken in this order, can go so that every layer keeps a width that is allowed."""
    fits = np.ones(len(order) + 1, bool)
    for item in group.filters:
        # A channel may stand at several positions of one layer, as in grouped convolutions.
        lost = np.array([0, *np.cumsum([(item.channels == channel).sum() for channel in order])])
        width = len(item.channels) - lost
        fits &= (lost == 0) | ((width % round_to == 0) & (width >= min_width))
    return int(np.flatnonzero(fits).max())


def _kept(channels: np.ndarray, gone: np.ndarray) -> Tuple[int, ...]:
    return tuple(np.flatnonzero(~np.isin(channels, gone)).tolist())


def _sites(sites: Tuple[CellSite, ...], gone: np.ndarray) -> Tuple[KeptChannels, ...]:
    found = (KeptChannels(site.path, len(site.channels), _kept(site.channels, gone), site.trailing) for site in sites)
    return tuple(site for site in found if len(site.kept) < site.size)
