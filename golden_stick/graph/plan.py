"""
The pruning plan: what is kept, as plain data; and what a network costs before and after it.

One fused multiply-add (MAC) counts as one. Convolutions and matrix products are counted; all that works number by
number (normalization, activation, pooling, sums) is not, as usual in the field.
"""
import math
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Collection, Dict, Iterable, List, Mapping, Sequence, Tuple

import numpy as np

from golden_stick.base.errors import ArgumentError
from golden_stick.graph.flow import number
from golden_stick.graph.groups import CellSite, Grouping, ParameterSlice
from golden_stick.graph.ir import Graph, Node, Parameter, flatten
from golden_stick.graph.layers import (
    CONVOLUTION,
    DENSE,
    EMBEDDING,
    NORMALIZATIONS,
    NORMALIZERS,
    OPERATORS,
    TRANSPOSED,
    Form,
)
from golden_stick.graph.rules.arithmetic import einsum_letters

__all__ = ["KeptAxis", "KeptChannels", "KeptWidth", "LayerWidth", "PruningPlan", "Untouched", "cause_and_place",
           "count_macs", "count_parameters", "einsum_macs", "first_three", "in_words", "parameters_in", "plan_without",
           "remedy_of", "removed_channels", "shrink", "shrunk_shapes", "untouched_by"]


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
    """A width that the Cell at `path` holds in attribute `name`, in tuples and dicts there at the keys `item`."""

    path: str
    name: str
    item: Tuple[Any, ...]
    before: int
    after: int


@dataclass(frozen=True)
class Untouched:
    """Parameters that keep their shapes: why, what would let them shrink, and whether evaluation reads them at all."""

    parameters: Tuple[str, ...]
    reasons: Tuple[str, ...]
    remedy: str
    reached: bool = True


# What a reason says -> what would let the channels go. The first that fits is taken.
_REMEDIES: Tuple[Tuple[str, str], ...] = (
    ("a result that nobody reads", "leave out the code that makes it, such as a sum in the last round of a loop"),
    ("code fails without", "take the numbers there from the input's shape, or write -1 for them"),
    ("output of the network", "nothing to do: it is as wide as the result"),
    ("has no rule", "teach the operator by golden_stick.graph.rules.add_rule"),
    ("reads channels by numbers", "put the chosen filters into the layer's weight, or cut equal parts by 'split'"),
    ("cuts the channels", "take where it begins and ends from attributes or the input's shape, or give each part a "
                          "layer of its own"),
    ("rolls the channels", "put the filters into that order in the layer's weight"),
    ("whose width is written", "take the width from a layer or an attribute, such as self.conv.out_channels"),
    ("written in the code", "take the number from the input's shape, or write -1 for it"),
    ("computes from a width", "write the number itself, which then stays while the width shrinks"),
    ("normalized over", "'normalization': 'approximate' lets it go, and the report says what that changes"),
    ("residual stream", "'residual': 'group' lets all that is added up lose the same channels"),
    ("axis 1", "bring the channels to axis 1"),
    ("meets a constant", "hold the constant in a Parameter, which need not be trained: it then shrinks as well"),
    ("nothing to prune meets", "nothing to do: no channels that can go come here"),
    ("no axis of it follows", "nothing to do: no channels that can go come here"),
    ("network's input", "nothing to do: it is as wide as what the network reads"),
    ("computed from what", "nothing to set: filters that are mixed anew for every input stay"),
    ("computed", "store what is computed as the layer's weight before pruning"),
    ("recurrent", "nothing to set: what a recurrent layer holds stays"),
    ("control flow", "decide by a shape or an attribute, not by a tensor's values"),
    ("single channel", "nothing to do: a layer keeps one filter"),
    ("chosen to go", "a larger 'prune_rate', or a smaller 'round_to' or 'min_width'"),
    ("keeps its width", "nothing to set here: what keeps its width has a reason of its own, and is named with it"),
    ("always stays", "nothing to set here: what always stays has a reason of its own, and is named with it"),
    ("evaluation does not read what", "nothing to do: it trains on, and reads what is left"),
    ("evaluation does not read", "a branch for training alone stays as it is: leave it out of fine-tuning"),
)
_NO_REMEDY = "nothing to set: this place in the network would have to be written otherwise"
_NOT_REACHED = "evaluation does not read it"
_NOT_CHOSEN = "none of its channels was chosen to go"


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
        untouched (tuple[Untouched]): Every parameter that has no entry in `axes`, by why. Plans that differ in nothing
            else are equal.
    """

    axes: Tuple[KeptAxis, ...]
    masks: Tuple[KeptChannels, ...]
    scatters: Tuple[KeptChannels, ...]
    layers: Tuple[LayerWidth, ...]
    zeros: Tuple[KeptAxis, ...] = ()
    attributes: Tuple[KeptWidth, ...] = ()
    untouched: Tuple[Untouched, ...] = field(default=(), compare=False)

    def renamed(self, names: Mapping[str, str]) -> "PruningPlan":
        """The plan for a network whose parameters have other names: name here -> name there."""
        axes, zeros = (tuple(replace(item, parameter=names.get(item.parameter, item.parameter)) for item in items)
                       for items in (self.axes, self.zeros))
        untouched = tuple(replace(item, parameters=tuple(names.get(name, name) for name in item.parameters))
                          for item in self.untouched)
        return replace(self, axes=axes, zeros=zeros, untouched=untouched)

    def with_paths(self, change: Callable[[str], str]) -> "PruningPlan":
        """The plan for a network whose Cells have other paths."""
        def there(items: Sequence[Any]) -> Tuple[Any, ...]:
            return tuple(replace(item, path=change(item.path)) for item in items)

        return replace(self, masks=there(self.masks), scatters=there(self.scatters), attributes=there(self.attributes))

    def shapes(self, graph: Graph) -> Dict[str, Tuple[Tuple[int, ...], Tuple[int, ...]]]:
        """Name of every parameter of the network, whose graph this is -> its shape before and after."""
        kept = {(axis.parameter, axis.axis): len(axis.kept) for axis in self.axes}
        return {item.name: (item.shape, tuple(kept.get((item.name, at), size) for at, size in enumerate(item.shape)))
                for item in (*graph.parameters, *graph.unread)}

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {key: tuple(dict(vars(item)) for item in items) for key, items in vars(self).items()}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "PruningPlan":
        """The plan that `to_dict` made `data` of."""
        def read(kind: Callable[..., Any], key: str) -> Tuple[Any, ...]:
            return tuple(kind(**{name: tuple(value) if isinstance(value, list) else value
                                 for name, value in item.items()}) for item in data.get(key, ()))

        return PruningPlan(read(KeptAxis, "axes"), read(KeptChannels, "masks"), read(KeptChannels, "scatters"),
                           read(LayerWidth, "layers"), read(KeptAxis, "zeros"), read(KeptWidth, "attributes"),
                           read(Untouched, "untouched"))


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
                       tuple(item for item in widths if item.after < item.before),
                       untouched_by(grouping, {axis.parameter for axis in axes}))


def untouched_by(grouping: Grouping, shrunk: Collection[str]) -> Tuple[Untouched, ...]:
    """Every parameter but those in `shrunk`, by why it stays: together they are all that the network has."""
    why: Dict[Tuple[str, ...], List[str]] = {}
    for name, reasons in grouping.kept.items():
        why.setdefault(reasons, []).append(name)
    why[_NOT_CHOSEN,] = [name for name in dict.fromkeys(item.parameter for item in grouping.slices)
                         if name not in shrunk]
    why[_NOT_REACHED,] = list(grouping.unread)
    return tuple(Untouched(tuple(names), reasons, remedy_of(reasons[0]), reasons != (_NOT_REACHED,))
                 for reasons, names in why.items() if names)


def remedy_of(reason: str) -> str:
    """What would let the channels go that stay for a reason."""
    return next((remedy for words, remedy in _REMEDIES if words in reason), _NO_REMEDY)


def in_words(reasons: Iterable[str]) -> str:
    """Reasons in a sentence, each cause once, with the first places where it holds."""
    places: Dict[str, List[str]] = {}
    for cause, place in map(cause_and_place, reasons):
        places.setdefault(cause, []).extend([place] * bool(place))
    return "; ".join(cause + (f" ({first_three(found)})" if found else "") for cause, found in places.items())


def first_three(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def cause_and_place(reason: str) -> Tuple[str, str]:
    """The two parts of a reason such as ``'mixes the channels (Softmax in 'head')'``; '' for a place that it lacks."""
    cause, separator, place = reason.rpartition(" (")
    return (cause, place[:-1]) if separator and place.endswith(")") else (reason, "")


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


def parameters_in(shapes: Mapping[str, Sequence[int]]) -> int:
    """As `count_parameters`, of names and shapes alone, as files have them: moving statistics by their names."""
    statistics = {name for kind in NORMALIZATIONS.values() for name in (kind.mean, kind.variance)}
    return sum(math.prod(shape) for name, shape in shapes.items() if name.rpartition(".")[2] not in statistics)


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
