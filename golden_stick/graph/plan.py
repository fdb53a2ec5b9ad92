"""The pruning plan: what is kept, as plain data. All that follows only carries it out."""
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable, Dict, Iterable, Mapping, Tuple

import numpy as np

from golden_stick.base.errors import ArgumentError
from golden_stick.graph.groups import CellSite, Grouping, ParameterSlice

__all__ = ["KeptAxis", "KeptChannels", "LayerWidth", "PruningPlan", "plan_without", "removed_channels"]


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
        def read(kind: Callable[..., Any], key: str) -> Tuple[Any, ...]:
            return tuple(kind(**{**item, **({"kept": tuple(item["kept"])} if "kept" in item else {})})
                         for item in data.get(key, ()))

        return PruningPlan(read(KeptAxis, "axes"), read(KeptChannels, "masks"), read(KeptChannels, "scatters"),
                           read(LayerWidth, "layers"), read(KeptAxis, "zeros"))


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
