"""Knockoffs of features: made per layer, from the channels after their activation, and mixed in where they are read."""
from typing import Any, Dict, Mapping, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.cells.wrappers import TemporaryCell, find_cell, replace_cells
from golden_stick.deploy.fold.plan import find_fusions
from golden_stick.graph.groups import CellSite, ChannelGroup, Grouping
from golden_stick.graph.ir import Graph
from golden_stick.knockoffs.second_order import SecondOrder
from golden_stick.scop.cells import (
    AbsorbedNormalization,
    KnockoffConv,
    KnockoffConvNormalized,
    KnockoffInput,
    PhaseNetwork,
)
from golden_stick.scop.samplers import FeatureSampler, as_sampler
from golden_stick.scop.scales import RealScale, Schedule, make_schedule

__all__ = ["InputPhase", "FeatureKnockoff", "FeatureNetwork", "FeaturePhase", "FeatureSampler"]


class InputPhase:
    """
    Puts knockoffs of the inputs into a network, and reads the scales of its convolutions.

    Args:
        graph (Graph): The traced network.
        grouping (Grouping): What can be removed.
        config (Mapping): Of `SCOP`.
    """

    def __init__(self, graph: Graph, grouping: Grouping, config: Mapping[str, Any]):
        self._graph = graph
        self.layers = _controlled(graph, grouping)
        self.schedule: Schedule = make_schedule(graph, self.layers, config)
        self.sampler = config["sampler"]

    def build(self, inner: nn.Cell) -> nn.Cell:
        """The network of the phase, around `inner`, which is changed."""
        self.sampler, clock = as_sampler(self.sampler, self._graph.inputs), self.schedule.clock()
        behind = _absorbable(self._graph, inner, set(self.layers.values()))

        def wrapper(path: str):
            def wrap(conv: nn.Cell) -> nn.Cell:
                scale = self.schedule.scale(path, conv.out_channels, clock)
                if path in behind:
                    return KnockoffConvNormalized(conv, scale, find_cell(inner, behind[path]))
                return KnockoffConv(conv, scale)
            return wrap

        replace_cells(inner, {path: wrapper(path) for path in self.layers.values()})
        replace_cells(inner, {path: AbsorbedNormalization for path in behind.values()})
        return KnockoffInput(inner, self.sampler, clock)

    def why_unscored(self, group: ChannelGroup) -> str:
        """Why a group that can lose channels has no scales."""
        return "stays: SCOP scores filters of nn.Conv2d only, but for a FeatureSampler"

    def scales(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Weight name -> trained scales, shape (draws, filters), from the phase's parameters by name."""
        return {weight: self.schedule.final(path, values) for weight, path in self.layers.items()}


def _controlled(graph: Graph, grouping: Grouping) -> Dict[str, str]:
    """Weight name -> path of its convolution, for every nn.Conv2d with filters that can be removed."""
    found = {}
    for group in grouping:
        for item in group.filters:
            owners = graph.parameter(item.parameter).owners
            if owners and owners[0].kind == "nn.Conv2d" and owners[0].attribute == "weight":
                found[item.parameter] = owners[0].path
    return found


def _absorbable(graph: Graph, network: nn.Cell, paths) -> Dict[str, str]:
    """Path of a convolution -> path of the normalization behind it, where the first can do the work of both."""
    sites, _ = find_fusions(graph, lambda site: "" if _fits(site, network, paths) else "it stays")
    return {site.layers[0][0].path: site.normalization.path for site in sites}


def _fits(site, network: nn.Cell, paths) -> bool:
    (layer, channels), *others = site.layers
    if not site.before or others or layer.path not in paths:
        return False
    conv, norm = find_cell(network, layer.path), find_cell(network, site.normalization.path)
    # Subclasses may compute something else.
    return (type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d
            and np.array_equal(channels, np.arange(conv.out_channels)))


# More channels than these at one place, and their covariance is no longer cheap.
_WIDEST = 2048


class FeatureKnockoff(TemporaryCell):
    """
    A Cell that in training reads its input mixed with a second-order knockoff of it, channel by channel.

    At every position, the knockoff of the vector of channels is drawn anew. No gradient flows through the draw.

    Args:
        cell (nn.Cell): The Cell, used and not copied; its parameters keep their names.
        scale (RealScale): The scales of the channels that it reads.
        name (str): Of the parameters that hold the knockoffs' law.
        law (tuple[numpy.ndarray]): Mean and deviation, shape (channels,); what a standardized vector loses and what
            noise it gets, by products from the right, shape (channels, channels).
        trailing (int): Axes behind that of the channels.
        repeats (int): How many neighbours on that axis are one channel's.
        seed (int): Of the draws, at least 1.

    Inputs:
        - **x** (Tensor) - What `cell` takes.

    Outputs:
        What `cell` gives.

    Supported Platforms:
        ``CPU``
    """

    mixes = True

    def __init__(self, cell: nn.Cell, scale: RealScale, name: str, law: Tuple[np.ndarray, ...], trailing: int,
                 repeats: int, seed: int):
        super().__init__()
        self.cell, self.scale = cell, scale
        self.mean, self.deviation, self.shift, self.root = (
            Parameter(Tensor(np.ascontiguousarray(array, np.float32)), name=f"{name}.knockoff_{key}",
                      requires_grad=False)
            for key, array in zip(("mean", "deviation", "shift", "root"), law))
        self.channels, self.repeats = len(law[0]), repeats
        self.trailing = trailing if repeats == 1 else 1
        self.normal = ops.StandardNormal(seed=seed, seed2=1)

    def construct(self, x):
        if not self.training:
            return self.cell(x)
        feature = x if self.repeats == 1 else x.reshape(x.shape[:-1] + (self.channels, self.repeats))
        scale = self.scale().reshape((-1,) + (1,) * self.trailing)
        feature = feature + (1.0 - scale) * self._change(feature)
        return self.cell(feature.reshape(x.shape).astype(x.dtype))

    def _change(self, feature):
        """What the knockoff of a feature map is more than the map itself."""
        axis = feature.ndim - 1 - self.trailing
        # The channels last; then back to where they were.
        there = tuple(i for i in range(feature.ndim) if i != axis) + (axis,)
        back = tuple(range(axis)) + (feature.ndim - 1,) + tuple(range(axis, feature.ndim - 1))
        moved = ops.stop_gradient(feature).astype(ms.float32).transpose(there)
        standard = ((moved - self.mean) / self.deviation).reshape((-1, self.channels))
        change = ops.matmul(self.normal(standard.shape), self.root) - ops.matmul(standard, self.shift)
        return ops.stop_gradient((change.reshape(moved.shape) * self.deviation).transpose(back))


class FeatureNetwork(PhaseNetwork):
    """
    A network with knockoffs of its features in it, which stays in evaluation but for these.

    Args:
        network (nn.Cell): The network, with `FeatureKnockoff` in it. Its parameters keep their names.
        clock (BlockSchedule): Ticks in every step of training, or None: all layers mix at once.

    Inputs:
        - **inputs** (Tensor) - What the network takes.

    Outputs:
        What the network gives.

    Supported Platforms:
        ``CPU``
    """

    def construct(self, *inputs):
        if self.training and self.clock is not None:
            self.clock()
        return self.network(*inputs)


class FeaturePhase:
    """
    Puts knockoffs of features into a network, and reads the scales of its channels.

    Args:
        graph (Graph): The traced network.
        grouping (Grouping): What can be removed.
        config (Mapping): Of `SCOP`, with a FeatureSampler.
    """

    def __init__(self, graph: Graph, grouping: Grouping, config: Mapping[str, Any]):
        self.sampler: FeatureSampler = config["sampler"]
        self._sites = {site.path: site for site in grouping.masks if _width(site)}
        self._wide = [site for site in grouping.masks if not _width(site)]
        measured = np.unique(np.concatenate([site.channels for site in self._sites.values()] or [np.zeros(0, int)]))
        self._filters = {item.parameter: item.channels for group in grouping for item in group.filters
                         if np.isin(item.channels, measured).any()}
        self.layers = {item.parameter: path for group in grouping for item, path in zip(group.filters, group.layers)
                       if item.parameter in self._filters}
        readers = {owner.path: parameter.name for parameter in reversed(graph.parameters)
                   for owner in parameter.owners if owner.attribute == "weight"}
        self.schedule: Schedule = make_schedule(
            graph, {readers.get(path, path): path for path in self._sites}, config)

    def build(self, inner: nn.Cell) -> nn.Cell:
        """The network of the phase, around `inner`, which is changed."""
        clock = self.schedule.clock()
        widths = {path: _width(site) for path, site in self._sites.items()}
        moments = self.sampler.moments(inner, {path: (site.trailing, len(site.channels) // widths[path])
                                                for path, site in self._sites.items()}, widths)

        def wrapper(number: int, site: CellSite):
            def wrap(cell: nn.Cell) -> nn.Cell:
                width = widths[site.path]
                return FeatureKnockoff(
                    cell, self.schedule.scale(site.path, width, clock), site.path,
                    _law(moments[site.path], self.sampler.method), site.trailing,
                    len(site.channels) // width, self.sampler.seed + number + 1)
            return wrap

        replace_cells(inner, {path: wrapper(number, site) for number, (path, site) in enumerate(self._sites.items())})
        return FeatureNetwork(inner, clock)

    def why_unscored(self, group: ChannelGroup) -> str:
        """Why a group that can lose channels has no scales."""
        if any(np.isin(site.channels, group.channels).any() for site in self._wide):
            return f"stays: it is read among more than {_WIDEST:,} channels, too many for their covariance"
        return "stays: no Cell reads it in which knockoffs can be mixed"

    def scales(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Weight name -> trained scales, shape (draws, filters): the means over the places where a channel is read.
        Filters that always stay count as 1."""
        seen: Dict[int, list] = {}
        for path, site in self._sites.items():
            columns = self.schedule.final(path, values).T
            for channel, column in zip(site.channels[::len(site.channels) // len(columns)].tolist(), columns):
                seen.setdefault(channel, []).append(column)
        kept = np.ones(self.schedule.draws)
        means = {channel: np.mean(columns, axis=0) for channel, columns in seen.items() if channel >= 0}
        return {weight: np.stack([means.get(channel, kept) for channel in channels.tolist()], axis=1)
                for weight, channels in self._filters.items()}


def _width(site: CellSite) -> int:
    """How many channels are read at a site: neighbours of one channel, as a flattened map has them, count once; 0 if
    there are too many."""
    count = len(site.channels)
    for repeats in (count // len(np.unique(site.channels)), 1):
        width = count // repeats
        if width <= _WIDEST and width * repeats == count and np.array_equal(
                np.repeat(site.channels[::repeats], repeats), site.channels):
            return width
    return 0


def _law(moments: Any, method: str) -> Tuple[np.ndarray, ...]:
    """What `FeatureKnockoff` needs to know. Channels that never vary, such as dead ones, are their own knockoffs."""
    size = len(moments.mean)
    live = np.flatnonzero(np.diag(moments.covariance) > 0)
    deviation, shift, root = np.ones(size), np.zeros((size, size)), np.zeros((size, size))
    if len(live):
        inner = type(moments)(moments.mean[live], moments.covariance[np.ix_(live, live)], moments.count)
        deviation[live], shift[np.ix_(live, live)], root[np.ix_(live, live)] = SecondOrder(inner, method).parts()
    return moments.mean, deviation, shift, root
