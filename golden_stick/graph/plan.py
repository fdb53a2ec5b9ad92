"""
The pruning plan: what is kept, as plain data; and what a network costs before and after it.

One fused multiply-add (MAC) counts as one. Convolutions and matrix products are counted; all that works number by
number (normalization, activation, pooling, sums) is not, as usual in the field.
"""
import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable, Dict, Iterable, Mapping, Sequence, Tuple

import numpy as np

from golden_stick.base.errors import ArgumentError
from golden_stick.graph.flow import number
from golden_stick.graph.groups import CellSite, Grouping, ParameterSlice
from golden_stick.graph.ir import Graph, Node, Parameter, flatten
from golden_stick.graph.layers import CONVOLUTION, DENSE, EMBEDDING, NORMALIZERS, OPERATORS, TRANSPOSED, Form
from golden_stick.graph.rules.arithmetic import einsum_letters

__all__ = ["KeptAxis", "KeptChannels", "KeptWidth", "LayerWidth", "PruningPlan", "count_macs", "count_parameters",
           "einsum_macs", "plan_without", "removed_channels", "shrink", "shrunk_shapes"]


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
class KeptWidth:
    """A width that the Cell at `path` holds in attribute `name`, or in item `item` of it (-1: all of it)."""

    path: str
    name: str
    item: int
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
        attributes (tuple[KeptWidth]): Numbers in Cells that are other ones in the slim network.
    """

    axes: Tuple[KeptAxis, ...]
    masks: Tuple[KeptChannels, ...]
    scatters: Tuple[KeptChannels, ...]
    layers: Tuple[LayerWidth, ...]
    zeros: Tuple[KeptAxis, ...] = ()
    attributes: Tuple[KeptWidth, ...] = ()

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
                           read(LayerWidth, "layers"), read(KeptAxis, "zeros"), read(KeptWidth, "attributes"))


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
    widths = tuple(KeptWidth(item.path, item.name, item.item, len(item.channels), len(_kept(item.channels, gone)))
                   for item in grouping.attributes)
    return PruningPlan(tuple(axes), _sites(grouping.masks, gone), _sites(grouping.scatters, gone), tuple(layers), zeros,
                       tuple(item for item in widths if item.after < item.before))


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


def _convolution(graph: Graph, node: Node) -> int:
    # weight is (C_out, C_in / group, *kernel): each output number sums C_in / group * kernel products.
    return math.prod(node.shapes[0]) * math.prod(graph.shape(node.inputs[1])[1:])


def _transposed_convolution(graph: Graph, node: Node) -> int:
    # weight is (C_in, C_out / group, *kernel): each input number enters C_out / group * kernel products.
    return math.prod(graph.shape(node.inputs[0])) * math.prod(graph.shape(node.inputs[1])[1:])


def _product(graph: Graph, node: Node) -> int:
    first, turned = graph.shape(node.inputs[0]), bool(len(node.inputs) > 2 and number(node.inputs[2]))
    return math.prod(node.shapes[0]) * first[-2 if turned else -1]


def _einsum(graph: Graph, node: Node) -> int:
    return einsum_macs(node.attributes["equation"], [graph.shape(value) for value in flatten(node.inputs)])


def einsum_macs(equation: str, shapes: Sequence[Tuple[int, ...]]) -> int:
    """MACs of an Einstein sum of tensors of these shapes: over all letters, a product for each after the first."""
    terms, _ = einsum_letters(equation, [len(shape) for shape in shapes])
    sizes: Dict[str, int] = {}
    for term, shape in zip(terms, shapes):
        for letter, size in zip(term, shape):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values()) * (len(shapes) - 1)


def _lstm(graph: Graph, node: Node) -> int:
    # Four gates for every unit, each a sum over the input and the state before.
    return 4 * math.prod(node.shapes[0]) * (graph.shape(node.inputs[0])[-1] + node.shapes[0][-1])


_BY_FORM: Mapping[Form, Callable[[Graph, Node], int]] = {
    CONVOLUTION: _convolution, TRANSPOSED: _transposed_convolution, DENSE: _product, EMBEDDING: lambda graph, node: 0}
_MACS: Mapping[str, Callable[[Graph, Node], int]] = {
    "Einsum": _einsum, "LSTM": _lstm, **{operator.name: _BY_FORM[operator.form] for operator in OPERATORS.values()}}


def count_macs(graph: Graph) -> int:
    """MACs of one sample of a network that was traced with the samples along the first axis of its first input."""
    total = sum(_MACS[node.operator](graph, node) for node in graph.nodes if node.operator in _MACS)
    return total // graph.inputs[0].shape[0]


def count_parameters(graph: Graph) -> int:
    """Numbers in the parameters that the graph reads, moving statistics of normalizations left out."""
    buffers = {
        value.name
        for node in graph.nodes if node.operator in NORMALIZERS
        for value in (node.inputs[at] for at in NORMALIZERS[node.operator].statistics)
        if isinstance(value, Parameter)
    }
    return sum(math.prod(item.shape) for item in graph.parameters if item.name not in buffers)


def shrink(graph: Graph, grouping: Grouping, gone: np.ndarray) -> Graph:
    """
    A traced network without channels (int64 numbers in `grouping`): the same nodes, with the shapes of the slim one.

    It is fit for counting costs: numbers among the arguments of its nodes are those of the original, and operators that
    the slim network has besides, which put a branch back into its full width, are not in it.
    """
    lost: Dict[str, Dict[int, int]] = {}
    for item in grouping.slices:
        lost.setdefault(item.parameter, {})[item.axis] = int(np.isin(item.channels, gone).sum())
    parameters = {item.name: replace(item, shape=tuple(size - lost.get(item.name, {}).get(axis, 0)
                                                       for axis, size in enumerate(item.shape)))
                  for item in graph.parameters}

    def read(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(read(item) for item in value)
        return parameters[value.name] if isinstance(value, Parameter) else value

    nodes = tuple(replace(node, inputs=read(node.inputs), shapes=shrunk_shapes(node, found, gone))
                  for node, found in zip(graph.nodes, grouping.outputs))
    return Graph(nodes, graph.inputs, tuple(parameters.values()), graph.outputs)


def shrunk_shapes(node: Node, found: Tuple, gone: np.ndarray) -> Tuple[Tuple[int, ...], ...]:
    """The shapes of a node's outputs without the channels `gone`; `found` is the node's entry in `Grouping.outputs`."""
    shapes = [list(shape) for shape in node.shapes]
    for shape, shrinking in zip(shapes, found):
        for axis, channels in shrinking:
            shape[axis] -= int(np.isin(channels, gone).sum())
    return tuple(map(tuple, shapes))
