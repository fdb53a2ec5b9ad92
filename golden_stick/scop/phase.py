"""The knockoff phase: which layers of a traced network mix, the network to train, and its scales read again."""
import inspect
from functools import partial
from typing import Any, Callable, Collection, Dict, List, Mapping, Optional, Set, Tuple, Union

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from golden_stick.cells.wrappers import TemporaryCell, find_cell, replace_cells
from golden_stick.deploy.fold.plan import Fusion, find_fusions
from golden_stick.graph.groups import CellSite, ChannelGroup, Grouping
from golden_stick.graph.ir import Graph, Input, Owner, Parameter, Result, flatten
from golden_stick.graph.layers import LAYERS, Layer
from golden_stick.knockoffs.second_order import Moments, SecondOrder
from golden_stick.scop.cells import (
    Gates,
    KnockoffInput,
    KnockoffLayer,
    MixingLayer,
    OneKnockoffInput,
    PhaseNetwork,
    PhaseOfOneInput,
    Scaled,
    gates_of,
)
from golden_stick.scop.samplers import FeatureSampler, FeatureSite, KnockoffChange, as_sampler, moments_at
from golden_stick.scop.scales import WHOLE, FullPrecision, Mixing, RealScale, plan_mixing

__all__ = ["FeaturePhase", "InputPhase"]


class InputPhase:
    """Puts knockoffs of the inputs into a network, and reads the scales of its layers."""

    def __init__(self, graph: Graph, grouping: Grouping, config: Mapping[str, Any]):
        self._graph, self._grouping = graph, grouping
        self._filters = {item.parameter: len(item.channels) for group in grouping for item in group.filters}
        read = _meeting_samples(graph)
        found = {weight: _channel_axes(graph.parameter(weight), weight in read) for weight in self._filters}
        self._unmixed = {weight: why for weight, why in found.items() if isinstance(why, str)}
        self._axes = {weight: axes for weight, axes in found.items() if isinstance(axes, dict)}
        self.layers = {weight: next(iter(axes)) for weight, axes in self._axes.items()}  # weight name -> path
        self.mixing = plan_mixing(graph, {path: weight for weight, path in self.layers.items()}, config)
        self.sampler = as_sampler(config["sampler"], len(graph.inputs))

    def build(self, inner: nn.Cell) -> nn.Cell:
        """The network of the phase, around `inner`, which is changed."""
        schedule = self.mixing.schedule()
        behind = _absorbable(self._graph, inner, self.layers.values())
        wrappers: Dict[str, Callable[[nn.Cell], nn.Cell]] = {}
        for weight, path in self.layers.items():
            scale = self.mixing.scale(path, self._filters[weight], schedule)
            # A weight that several Cells share is one layer to mix, wherever it is read.
            for place, axis in self._axes[weight].items():
                wrappers[place] = partial(KnockoffLayer, scale=scale, axis=axis)
            if path in behind:
                wrappers[path] = partial(_KnockoffConvNormalized, scale=scale, conv=find_cell(inner, path),
                                         normalization=find_cell(inner, behind[path]))
        wrappers.update(dict.fromkeys(behind.values(), _AbsorbedNormalization))
        self.gates = _wrap(inner, wrappers, self._grouping)
        return (OneKnockoffInput if _takes_one(inner) else KnockoffInput)(inner, self.sampler, schedule)

    def why_unscored(self, group: ChannelGroup) -> str:
        """Why a group that can lose channels has no scales."""
        return "stays: " + self._unmixed[group.filters[0].parameter]

    def scales(self, mixing: Mixing, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Weight name -> trained scales, shape (draws, filters), from the phase's parameters by name, and how they
        were mixed."""
        return {weight: mixing.final(path, values) for weight, path in self.layers.items()}

    def squared_gradients(self, mixing: Mixing, values: Mapping[str, np.ndarray], half: slice = WHOLE
                          ) -> Dict[str, np.ndarray]:
        """Weight name -> the mean of a sample's squared gradient by each scale, over all passes or a half of them,
        shape (draws, filters)."""
        return {weight: mixing.squared_gradients(path, values, half) for weight, path in self.layers.items()}


def _layer(owner: Owner) -> Optional[Layer]:
    """The kind of layer whose weight a Cell holds."""
    layer = LAYERS.get(owner.kind)
    return layer if layer and layer.weight == owner.attribute else None


def _meeting_samples(graph: Graph) -> Set[str]:
    """The parameters that are combined with what is computed from the samples, not from what is the same for all."""
    rows = graph.inputs[0].shape[:1]
    moving: Set[int] = set()
    names: Set[str] = set()
    for node in graph.nodes:
        values = flatten(node.inputs)
        if any(isinstance(value, Input) and value.shape[:1] == rows or
               isinstance(value, Result) and value.node in moving for value in values):
            moving.add(node.number)
            names.update(value.name for value in values if isinstance(value, Parameter))
    return names


def _channel_axes(weight: Parameter, read: bool) -> Union[Dict[str, int], str]:
    """Path of every Cell that has a weight -> axis of the channels that it makes; or why they cannot be mixed."""
    axes: Dict[str, int] = {}
    for owner in weight.owners:
        layer = _layer(owner)
        if layer is None:
            return "SCOP mixes what layers make, and its weight is of no kind of layer that is known"
        if layer.form.input_axis is None:
            return "what it reads are indices, which have no knockoffs"
        axes[owner.path] = layer.form.channel_axis
    if not axes:
        return "SCOP mixes what layers make, and its weight is no Cell's"
    return axes if read else "nothing that it reads depends on the samples"


class _KnockoffConvNormalized(MixingLayer):
    """
    A `KnockoffLayer` that in training also does what the batch normalization behind it does.

    In evaluation that normalization multiplies each channel by a number and adds another, which commutes with mixing.
    Done by the weights, it costs nothing per pixel. The normalization itself is `_AbsorbedNormalization` then.
    """

    def __init__(self, cell: nn.Cell, scale: RealScale, conv: nn.Conv2d, normalization: nn.BatchNorm2d):
        super().__init__(cell, scale)
        self.folded, self.convolve = _NormalizedWeight(conv, normalization), conv.conv2d

    def construct(self, x):
        if not self.training:
            return self.cell(x)
        weight, shift = self.folded()
        weight = weight.astype(x.dtype)
        real, knockoff = ops.split(x, x.shape[0] // 2)
        mixed = self.mixed(self.convolve(real, weight), self.convolve(knockoff, weight))
        return ops.bias_add(mixed, shift.astype(x.dtype))


class _NormalizedWeight(FullPrecision):
    """Weight and bias of a convolution that does what the batch normalization behind it does, too."""

    def __init__(self, conv: nn.Conv2d, normalization: nn.BatchNorm2d):
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.gamma, self.beta = normalization.gamma, normalization.beta
        self.mean, self.variance = normalization.moving_mean, normalization.moving_variance
        self.epsilon = normalization.eps

    def construct(self):
        factor = self.gamma * ops.rsqrt(self.variance + self.epsilon)
        mean = self.mean if self.bias is None else self.mean - self.bias
        return self.weight * factor.reshape((-1, 1, 1, 1)), self.beta - mean * factor


class _AbsorbedNormalization(TemporaryCell):
    """A normalization that the convolution before it does in training, and that does it itself in evaluation."""

    def __init__(self, normalization: nn.BatchNorm2d):
        super().__init__()
        self.cell = normalization

    def construct(self, x):
        return x if self.training else self.cell(x)


def _absorbable(graph: Graph, network: nn.Cell, paths: Collection[str]) -> Dict[str, str]:
    """Path of a convolution -> path of the normalization behind it, where the first can do the work of both."""
    def why_not(fusion: Fusion) -> str:
        (layer, channels), *others = fusion.layers
        conv, norm = find_cell(network, layer.path), find_cell(network, fusion.normalization.path)
        # Of other kinds the normalization stays where it is: that costs a little time and changes nothing. Subclasses
        # may compute something else.
        fits = (fusion.before and not others and layer.path in paths and type(conv) is nn.Conv2d
                and type(norm) is nn.BatchNorm2d and np.array_equal(channels, np.arange(conv.out_channels)))
        return "" if fits else "it stays"

    fusions, _ = find_fusions(graph, why_not)
    return {fusion.layers[0][0].path: fusion.normalization.path for fusion in fusions}


def _takes_one(network: nn.Cell) -> bool:
    """Whether a network's `construct` takes one argument and no others."""
    parameters = inspect.signature(network.construct).parameters.values()
    return len(parameters) == 1 and all(item.kind is item.POSITIONAL_OR_KEYWORD for item in parameters)


def _wrap(network: nn.Cell, wrappers: Mapping[str, Callable[[nn.Cell], nn.Cell]], grouping: Grouping) -> Gates:
    """Put wrappers by path into a network, with gates for evaluation inside them or by themselves."""
    gates, gated = gates_of(grouping)

    def both(path: str, cell: nn.Cell) -> nn.Cell:
        cell = gated[path](cell) if path in gated else cell
        return wrappers[path](cell) if path in wrappers else cell

    replace_cells(network, {path: partial(both, path) for path in {**gated, **wrappers}})
    return gates


# More channels than these at one place, and their covariance is no longer cheap.
_WIDEST = 2048


class FeaturePhase:
    """Puts knockoffs of features into a network, by a FeatureSampler, and reads the scales of its channels."""

    def __init__(self, graph: Graph, grouping: Grouping, config: Mapping[str, Any]):
        self.sampler: FeatureSampler = config["sampler"]
        self._grouping = grouping
        places = {site.path: (site, _feature_site(site)) for site in grouping.masks}
        self._wide = [site for site, place in places.values() if place is None]
        self._sites = {path: place for path, (_, place) in places.items() if place is not None}
        # Path of a Cell -> the channels that it reads, as many as it has scales.
        self._channels = {path: places[path][0].channels[::place.repeats] for path, place in self._sites.items()}
        measured = np.unique(np.concatenate([*self._channels.values(), np.zeros(0, np.int64)]))
        self._filters = {item.parameter: item.channels for group in grouping for item in group.filters
                         if np.isin(item.channels, measured).any()}
        self.layers = {item.parameter: path for group in grouping for item, path in zip(group.filters, group.layers)
                       if item.parameter in self._filters}
        readers = {owner.path: parameter.name for parameter in reversed(graph.parameters)
                   for owner in parameter.owners if _layer(owner)}
        self.mixing = plan_mixing(graph, {path: readers.get(path, path) for path in self._sites}, config)

    def build(self, inner: nn.Cell) -> nn.Cell:
        """The network of the phase, around `inner`, which is changed."""
        schedule, moments, wrappers = self.mixing.schedule(), moments_at(self.sampler, inner, self._sites), {}
        for seed, (path, site) in enumerate(self._sites.items(), self.sampler.seed + 1):
            scale = self.mixing.scale(path, site.width, schedule)
            change = KnockoffChange(f"{path}.knockoff_", _law(moments[path], self.sampler.method), seed)
            wrappers[path] = partial(_FeatureKnockoff, scale=scale, change=change, site=site)
        self.gates = _wrap(inner, wrappers, self._grouping)
        return (PhaseOfOneInput if _takes_one(inner) else PhaseNetwork)(inner, schedule)

    def why_unscored(self, group: ChannelGroup) -> str:
        """Why a group that can lose channels has no scales."""
        if any(np.isin(site.channels, group.channels).any() for site in self._wide):
            return f"stays: it is read among more than {_WIDEST:,} channels, too many for their covariance"
        return "stays: no Cell reads it in which knockoffs can be mixed"

    def scales(self, mixing: Mixing, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Weight name -> trained scales, shape (draws, filters): the means over the places where a channel is read.
        Filters that always stay count as 1."""
        return self._of_filters(partial(mixing.final, values=values), np.mean, np.ones(mixing.draws))

    def squared_gradients(self, mixing: Mixing, values: Mapping[str, np.ndarray], half: slice = WHOLE
                          ) -> Dict[str, np.ndarray]:
        """Weight name -> the sums over these places of the mean of a sample's squared gradient by each scale, over all
        passes or a half of them, shape (draws, filters). Filters that always stay count as 0."""
        return self._of_filters(partial(mixing.squared_gradients, values=values, half=half), np.sum,
                                np.zeros(mixing.draws))

    def _of_filters(self, of_place: Callable[[str], np.ndarray], together: Callable, kept: np.ndarray
                    ) -> Dict[str, np.ndarray]:
        seen: Dict[int, List[np.ndarray]] = {}
        for path, channels in self._channels.items():
            for channel, column in zip(channels.tolist(), of_place(path).T):
                seen.setdefault(channel, []).append(column)
        seen.pop(-1, None)
        return {weight: np.stack([together(seen.get(channel, [kept]), axis=0) for channel in channels.tolist()], axis=1)
                for weight, channels in self._filters.items()}


class _FeatureMixing(TemporaryCell):
    """What a Cell's input is mixed by; out of the reach of automatic mixed precision, as in a `MixingLayer`."""

    def __init__(self, cell: nn.Cell, scale: RealScale, change: KnockoffChange, site: FeatureSite):
        super().__init__()
        self.cell, self.scale, self.change = cell, scale, change
        self.repeats = site.repeats
        self.axis = -1 - (site.trailing if site.repeats == 1 else 1)
        self.times = Scaled(self.axis)

    def mixed(self, x):
        """The input, mixed with a knockoff of it."""
        feature = x if self.repeats == 1 else x.reshape(x.shape[:-1] + (-1, self.repeats))
        vectors = ops.movedim(ops.stop_gradient(feature), self.axis, -1)
        change = self.change(vectors.reshape((-1, vectors.shape[-1]))).reshape(vectors.shape)
        change = ops.stop_gradient(ops.movedim(change, -1, self.axis)).astype(ms.float32)
        feature = feature + self.times(change, 1.0 - self.scale(), self.scale.drawn(), self.scale.squared_gradients)
        return feature.reshape(x.shape).astype(x.dtype)


class _FeatureKnockoff(_FeatureMixing):
    """
    A Cell that in training reads its input mixed with a second-order knockoff of it, channel by channel.

    At every position, the knockoff of the vector of channels is drawn anew. No gradient flows through the draw.
    """

    def construct(self, x):
        return self.cell(self.mixed(x) if self.training else x)


def _feature_site(site: CellSite) -> Optional[FeatureSite]:
    """Where a Cell reads channels: neighbours of one channel count once. None if there are too many."""
    count = len(site.channels)
    for repeats in (count // len(np.unique(site.channels)), 1):
        width = count // repeats
        if width <= _WIDEST and np.array_equal(np.repeat(site.channels[::repeats], repeats), site.channels):
            return FeatureSite(width, site.trailing, repeats)
    return None


def _law(moments: Moments, method: str) -> Tuple[np.ndarray, ...]:
    """What a `KnockoffChange` draws by. Channels that never vary, such as dead ones, are their own knockoffs."""
    size = len(moments.mean)
    live = np.flatnonzero(np.diag(moments.covariance) > 0)
    deviation, shift, root = np.ones(size), np.zeros((size, size)), np.zeros((size, size))
    if len(live):
        inner = Moments(moments.mean[live], moments.covariance[np.ix_(live, live)], moments.count)
        _, deviation[live], shift[np.ix_(live, live)], root[np.ix_(live, live)] = SecondOrder(inner, method).law
    return moments.mean, deviation, shift, root
