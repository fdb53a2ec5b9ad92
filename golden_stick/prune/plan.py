"""The pruning plan: what is kept, as plain data. Made from scores and a rate; all that follows only carries it out."""
import math
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, Set, Tuple

import numpy as np

from golden_stick.config import Interval, check_value
from golden_stick.errors import ArgumentError
from golden_stick.graph.groups import CellSite, ChannelGroup, Grouping, ParameterSlice

__all__ = ["KeptAxis", "KeptChannels", "LayerWidth", "PruningPlan", "make_plan"]


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


def make_plan(grouping: Grouping, importance: Mapping[str, np.ndarray], prune_rate: float) -> PruningPlan:
    """
    Remove the least important channels of every group.

    Args:
        grouping (Grouping): What can be removed.
        importance (Mapping): Name of a group -> float, shape (channels of the group,). Groups without an entry stay.
        prune_rate (float): Fraction of each group's removable channels to remove, in [0, 1). Rounded down. Every
            layer keeps at least one filter.

    Returns:
        PruningPlan.

    Raises:
        ArgumentTypeError: If `prune_rate` is not a number.
        ArgumentError: If `prune_rate` is outside [0, 1), or a group has another number of channels than scores.
    """
    check_value("make_plan", "prune_rate", prune_rate, Interval(0.0, 1.0))
    removed: Set[int] = set()
    for group in grouping:
        if group.name in importance:
            if len(importance[group.name]) != len(group.channels):
                raise ArgumentError(
                    f"For 'make_plan', 'importance' of group '{group.name}' must have {len(group.channels)} scores, "
                    f"but got {len(importance[group.name])}."
                )
            removed.update(_least(group, importance[group.name], prune_rate))
    gone = np.fromiter(sorted(removed), np.int64, len(removed))
    axes, layers = [], []
    zeros = tuple(axis for axis in (_axis(item, gone) for item in grouping.zeroed) if len(axis.kept) < axis.size)
    paths = {item.parameter: path for group in grouping for item, path in zip(group.filters, group.layers)}
    for item in grouping.slices:
        axis = _axis(item, gone)
        if len(axis.kept) < axis.size:
            axes.append(axis)
            if item.role == "filter":
                layers.append(LayerWidth(paths[item.parameter], axis.size, len(axis.kept)))
    return PruningPlan(tuple(axes), _sites(grouping.masks, gone), _sites(grouping.scatters, gone), tuple(layers), zeros)


def _axis(item: ParameterSlice, gone: np.ndarray) -> KeptAxis:
    return KeptAxis(item.parameter, item.axis, len(item.channels), _kept(item.channels, gone))


def _least(group: ChannelGroup, scores: np.ndarray, prune_rate: float) -> np.ndarray:
    """The channels to remove; of equal ones the last go first, so that the asked number is met exactly."""
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


def _kept(channels: np.ndarray, gone: np.ndarray) -> Tuple[int, ...]:
    return tuple(np.flatnonzero(~np.isin(channels, gone)).tolist())


def _sites(sites: Tuple[CellSite, ...], gone: np.ndarray) -> Tuple[KeptChannels, ...]:
    found = (KeptChannels(site.path, len(site.channels), _kept(site.channels, gone), site.trailing) for site in sites)
    return tuple(site for site in found if len(site.kept) < site.size)
