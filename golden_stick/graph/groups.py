"""Channel groups: what must shrink together, found by following labels through the graph. No name is looked at."""
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Set, Tuple

import numpy as np

from golden_stick.base.errors import ArgumentError
from golden_stick.graph.flow import (
    FILTER,
    HEAD_POLICIES,
    INPUT,
    NORMALIZATION_POLICIES,
    RESIDUAL_POLICIES,
    Binding,
    Flow,
    Place,
    Site,
    Stay,
)
from golden_stick.graph.ir import Graph, Node, Parameter, Result, Solution, components
from golden_stick.graph.layers import layer_of
from golden_stick.graph.rules import RULES

__all__ = ["ParameterSlice", "ChannelGroup", "CellSite", "FixedLayer", "Grouping", "WidthAttribute", "find_groups",
           "groups_without"]


@dataclass(frozen=True, eq=False)
class ParameterSlice:
    """
    One axis of one parameter that shrinks with channels.

    Args:
        parameter (str): Name of the parameter.
        axis (int): The axis.
        role (str): ``'filter'`` (makes the channels), ``'input'`` (sums them up), ``'channel'`` (one entry for each).
        channels (numpy.ndarray): int64, shape (length of the axis,): the channel each position belongs to, as a
            number that is unique in the network; -1 for a position that always stays.
    """

    parameter: str
    axis: int
    role: str
    channels: np.ndarray


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """
    Channels that some layers produce together. Each can be removed without the others.

    Args:
        name (str): Path of the first layer that produces them, such as ``'layer1.0.conv1'``.
        channels (numpy.ndarray): int64, shape (removable channels,): their numbers, ascending.
        filters (tuple[ParameterSlice]): The filter axes that produce them. Some positions may be -1, which stay.
        layers (tuple[str]): Path of the layer of each of `filters`, in an order of execution; a Cell with two such
            weights stands there twice.
    """

    name: str
    channels: np.ndarray
    filters: Tuple[ParameterSlice, ...]
    layers: Tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {len(self.channels)} removable channels made by {', '.join(dict.fromkeys(self.layers))}"


@dataclass(frozen=True, eq=False)
class CellSite:
    """A Cell whose input is masked, or whose output is scattered: its path, channels, and axes behind the channels'."""

    path: str
    channels: np.ndarray
    trailing: int


@dataclass(frozen=True, eq=False)
class WidthAttribute:
    """How many `channels` there are: a number that a Cell holds, or in tuples and dicts that at the keys `item`."""

    path: str
    name: str
    item: Tuple[Any, ...]
    channels: np.ndarray


@dataclass(frozen=True)
class FixedLayer:
    """A layer some of whose filters always stay, how many, and why."""

    path: str
    filters: int
    fixed: int
    reasons: Tuple[str, ...]
    weight: str = ""  # the parameter that holds the filters


@dataclass(frozen=True, eq=False)
class Grouping(Sequence[ChannelGroup]):
    """
    All that `find_groups` found. As a sequence it holds the groups.

    Args:
        groups (tuple[ChannelGroup]): Every set of removable channels, in an order of execution.
        slices (tuple[ParameterSlice]): Every axis that shrinks with any of them.
        masks (tuple[CellSite]): The Cells whose inputs carry removable channels into a sum.
        scatters (tuple[CellSite]): The Cells whose outputs enter a residual sum that keeps its width.
        fixed (tuple[FixedLayer]): Layers with filters that always stay.
        without_rule (tuple[str]): Operators that have no rule, and where.
        zeroed (tuple[ParameterSlice]): Axes that the masked network must have zeros on, where no mask can stand.
        inexact (tuple[str]): Normalizations that lose channels although that changes what they give, and where.
        outputs (tuple): Per node of the graph, per output: each axis that shrinks, and the int64 channels along it.
            Tells the shapes that the slim network must have.
        read_numbers (Mapping): Node whose arguments were read as widths that can change -> path of the nearest Cell
            with parameters at it or before it.
        stuck (frozenset[int]): Nodes that split channels none of which can go, and that could be read otherwise.
        readable (frozenset[int]): Nodes that split channels and could be read otherwise.
        untold (frozenset[int]): Nodes of whose shapes the labels say nothing.
        widths (Mapping): Node of `read_numbers` -> int64 channels of the rows whose lengths its numbers may be.
        counts (Mapping): Node -> which argument, at which axis if it has several numbers, must be the length of a row
                of channels; and that row.
        attributes (tuple[WidthAttribute]): Numbers in Cells that shrink with channels.
        kept (Mapping): Name of every parameter that can lose nothing -> why.
        unread (tuple[str]): Names of the parameters that the graph does not read.
        other_heads (tuple[str]): Where channels are split into heads which lose something else than was asked for.
    """

    groups: Tuple[ChannelGroup, ...]
    slices: Tuple[ParameterSlice, ...]
    masks: Tuple[CellSite, ...]
    scatters: Tuple[CellSite, ...]
    fixed: Tuple[FixedLayer, ...]
    without_rule: Tuple[str, ...]
    zeroed: Tuple[ParameterSlice, ...] = ()
    inexact: Tuple[str, ...] = ()
    outputs: Tuple[Tuple[Tuple[Tuple[int, np.ndarray], ...], ...], ...] = ()
    read_numbers: Mapping[int, str] = field(default_factory=dict)
    stuck: FrozenSet[int] = frozenset()
    readable: FrozenSet[int] = frozenset()
    untold: FrozenSet[int] = frozenset()
    widths: Mapping[int, Tuple[np.ndarray, ...]] = field(default_factory=dict)
    counts: Mapping[int, Tuple[int, Optional[int], np.ndarray]] = field(default_factory=dict)
    attributes: Tuple[WidthAttribute, ...] = ()
    kept: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    unread: Tuple[str, ...] = ()
    other_heads: Tuple[str, ...] = ()

    def __getitem__(self, index: Any) -> Any:
        return self.groups[index]

    def __len__(self) -> int:
        return len(self.groups)


def find_groups(graph: Graph, residual: str = "group", normalization: str = "exact", heads: str = "width") -> Grouping:
    """
    The channels of a network that can be removed, in the groups that belong together.

    Args:
        graph (Graph): A traced network.
        residual (str): What becomes of feature maps that are added up. ``'group'``: all of them lose the same channels.
            ``'scatter'``: the sum keeps its width, each branch has channels of its own that are added back into their
            places, as in the SCOP paper. ``'keep'``: the sum and all that enters it keep their width.
            Default: ``'group'``, which gives the fastest network.
        normalization (str): What becomes of channels that a layer or group normalization takes mean and variance of.
            ``'exact'``: they stay, but for whole groups of a group normalization. ``'approximate'``: they can go, and
            the slim network is not equal to the masked one. Default: ``'exact'``.
        heads (str): What an attention loses. ``'width'``: the same positions of every head. ``'whole'``: heads.
            Default: ``'width'``. Where the code forbids the one, the other is taken.

    Returns:
        Grouping, a sequence of ChannelGroup.

    Raises:
        ArgumentError: If `residual`, `normalization` or `heads` is none of these.

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> for group in gs.find_groups(gs.trace(net, (1, 3, 16, 16))):
        ...     print(group)
        0: 8 removable channels made by 0
    """
    return groups_without(graph, {}, residual, normalization, heads)


def groups_without(graph: Graph, rejected_readings: Mapping[int, int], residual: str = "group",
                   normalization: str = "exact", heads: str = "width", ties: Sequence[Tuple[Place, Place]] = (),
                   hidden_stays: bool = False, stays: Sequence[Stay] = ()) -> Grouping:
    """What `find_groups` finds where slimming for trial has shown how many readings of a node's numbers are wrong, and
    which widths one attribute of a Cell holds; `hidden_stays` and `stays` are those of a flow."""
    for name, policy, known in (("residual", residual, RESIDUAL_POLICIES), ("heads", heads, HEAD_POLICIES),
                                ("normalization", normalization, NORMALIZATION_POLICIES)):
        if policy not in known:
            listed = ", ".join(repr(item) for item in known)
            raise ArgumentError(f"For 'find_groups', '{name}' must be one of {listed}, but got {policy!r}.")
    approximate = normalization == "approximate"
    whole: Set[int] = set()
    if heads == "whole":
        whole = _heads(Flow(graph, residual, rejected_readings, approximate, (), (), hidden_stays, stays).run(RULES))
    flow = Flow(graph, residual, rejected_readings, approximate, whole, ties, hidden_stays, stays).run(RULES)
    return _grouping(flow, heads)


def _heads(flow: Flow) -> Set[int]:
    """The nodes that split channels which a product of two feature maps then reads: those of attentions."""
    classes = flow.labels.solve().classes
    attended = np.unique(np.concatenate([classes[labels] for labels in flow.attended] or [np.zeros(0, np.int64)]))
    return {number for number, (labels, _) in flow.splits.items() if np.isin(classes[labels], attended).any()}


def _grouping(flow: Flow, heads: str) -> Grouping:
    solution = flow.labels.solve()
    for binding in flow.bindings.values():
        channels = np.unique(solution.classes[binding.labels])
        if binding.role == FILTER and len(channels) == 1 and solution.removable(channels).all():
            flow.labels.fix(channels, "all filters of a layer belong together: it cannot lose one of them")
    for binding in flow.hidden:
        classes = solution.classes[binding.labels]
        flow.labels.fix(classes[classes >= flow.first_hidden], "evaluation does not read what it makes")
    solution = flow.labels.solve()
    filters = [binding for binding in flow.bindings.values() if binding.role == FILTER]
    slices = tuple(_slice(binding, solution) for binding in flow.bindings.values())
    kept = _kept(flow, solution)
    return Grouping(
        groups=_groups(filters, solution),
        slices=tuple(item for item in slices if (item.channels >= 0).any()),
        masks=_sites(flow.masks, solution),
        scatters=_sites(flow.scatters, solution),
        fixed=tuple(layer for layer in (_fixed(binding, solution) for binding in filters + flow.hidden) if layer.fixed)
        + _without_filters(flow.graph, kept, {binding.parameter.name for binding in filters}),
        without_rule=tuple(dict.fromkeys(flow.place(node) for node in flow.without_rule)),
        zeroed=_zeroed(flow, solution),
        inexact=tuple(dict.fromkeys(place for place, labels in flow.inexact if solution.removable(labels).any())),
        outputs=tuple(_outputs(flow, node, solution) for node in flow.graph.nodes),
        read_numbers={number: flow.path(flow.graph.nodes[number]) for number in sorted(flow.numbers)},
        widths={number: tuple(_channels(row, solution) for row in rows) for number, rows in flow.numbers.items()},
        counts={number: (at, axis, _channels(row, solution)) for number, (at, axis, row) in flow.counts.items()},
        attributes=tuple(WidthAttribute(owner.path, name, (), _channels(row, solution))
                         for owner, name, row in flow.attributes if solution.removable(row).any()),
        stuck=frozenset(number for number, (labels, more) in flow.splits.items()
                        if more and not solution.removable(labels).any()),
        readable=frozenset(number for number, (_, more) in flow.splits.items() if more),
        untold=flow.untold,
        kept={name: reasons for name, reasons in kept.items() if reasons},
        unread=tuple(item.name for item in flow.graph.unread) + tuple(name for name, why in kept.items() if not why),
        other_heads=tuple(dict.fromkeys(
            flow.place(flow.graph.nodes[number]) for number in sorted(_heads(flow))
            if flow.heads_lose.get(number, heads) != heads and solution.removable(flow.splits[number][0]).any())),
    )


def _zeroed(flow: Flow, solution: Solution) -> Tuple[ParameterSlice, ...]:
    """Inputs of weights that no mask guards, and what makes the channels that an operator without weights sums up."""
    classes = np.unique(np.concatenate([solution.classes[labels] for labels in flow.zeroed] or [np.zeros(0, np.int64)]))
    found = []
    for key, binding in flow.bindings.items():
        item = _slice(binding, solution)
        if key not in flow.bare:
            gone = np.isin(item.channels, classes) & (binding.role != INPUT)
            item = replace(item, channels=np.where(gone, item.channels, -1))
        if (item.channels >= 0).any():
            found.append(item)
    return tuple(found)


def _outputs(flow: Flow, node: Node, solution: Solution) -> Tuple[Tuple[Tuple[int, np.ndarray], ...], ...]:
    results = (Result(node.number, index) for index in range(len(node.shapes)))
    return tuple(tuple((axis, _channels(labels, solution)) for axis, labels in flow.shrinking(result)
                       if solution.removable(labels).any()) for result in results)


def _channels(labels: np.ndarray, solution: Solution) -> np.ndarray:
    return np.where(solution.removable(labels), solution.classes[labels], -1)


def _slice(binding: Binding, solution: Solution) -> ParameterSlice:
    return ParameterSlice(binding.parameter.name, binding.axis, binding.role, _channels(binding.labels, solution))


def _sites(sites: List[Site], solution: Solution) -> Tuple[CellSite, ...]:
    found = (CellSite(site.path, _channels(site.labels, solution), site.trailing) for site in sites)
    return tuple({site.path: site for site in found if (site.channels >= 0).any()}.values())


def _path(parameter: Parameter) -> str:
    # A weight at the top of the network has an owner of path '': its own name says more.
    return (parameter.owners[0].path if parameter.owners else "") or parameter.name


def _fixed(binding: Binding, solution: Solution) -> FixedLayer:
    stays = ~solution.removable(binding.labels)
    return FixedLayer(_path(binding.parameter), len(stays), int(stays.sum()), _why_fixed(binding, solution),
                      binding.parameter.name)


def _why_fixed(binding: Binding, solution: Solution) -> Tuple[str, ...]:
    stays = ~solution.removable(binding.labels)
    reasons = solution.why_fixed(binding.labels[stays])
    single = binding.role == FILTER and stays.any() and not reasons
    return ("a single channel cannot be removed",) if single else reasons


def _kept(flow: Flow, solution: Solution) -> Dict[str, Tuple[str, ...]]:
    """Name of every parameter that can lose nothing -> why, its filters first; () if nothing reads it."""
    bound: Dict[str, List[Binding]] = {}
    for binding in sorted(flow.bindings.values(), key=lambda binding: binding.role != FILTER):
        bound.setdefault(binding.parameter.name, []).append(binding)
    kept = {}
    for parameter in flow.graph.parameters:
        bindings = bound.get(parameter.name, [])
        if any(solution.removable(binding.labels).any() for binding in bindings):
            continue
        reasons = [reason for binding in bindings for reason in _why_fixed(binding, solution)]
        kept[parameter.name] = tuple(dict.fromkeys(reasons)) or _why_unbound(flow, parameter)
    return kept


def _why_unbound(flow: Flow, parameter: Parameter) -> Tuple[str, ...]:
    """
    Why no axis of a parameter follows channels: what is said where it, or what is computed of it alone, meets data;
    () if nothing reads it.
    """
    waiting, readers = list(flow.readers.get(parameter.name, ())), set()
    while waiting:
        number = waiting.pop()
        if number not in readers:
            readers.add(number)
            if number not in flow.moving and number >= 0:
                waiting += [reader for index in range(len(flow.graph.nodes[number].shapes))
                            for reader in flow.consumers.get(Result(number, index), ())]
    said = {number in flow.moving: flow.stopped[number]
            for number in sorted(readers & flow.stopped.keys(), reverse=True)}
    if said:
        return (said.get(True, said.get(False, "")),)
    if -1 in readers or parameter in flow.graph.outputs:
        return ("output of the network",)
    return tuple(f"no axis of it follows channels that can go ({flow.place(flow.graph.nodes[number])})"
                 for number in sorted(readers)[:1])


def _without_filters(graph: Graph, kept: Mapping[str, Tuple[str, ...]], made: Set[str]) -> Tuple[FixedLayer, ...]:
    """Layers that can lose nothing and make no channels of their own, as where a weight is computed."""
    found = []
    for parameter in graph.parameters:
        layer = layer_of(parameter)
        if layer and kept.get(parameter.name) and parameter.name not in made:
            filters = parameter.shape[layer.form.filter_axis]
            found.append(FixedLayer(_path(parameter), filters, filters, kept[parameter.name], parameter.name))
    return tuple(found)


def _groups(filters: List[Binding], solution: Solution) -> Tuple[ChannelGroup, ...]:
    """Channels that one layer produces are ranked together, and so are those of layers that share any."""
    slices = [_slice(binding, solution) for binding in filters]
    # A layer and the channels that it makes are one component: layers first, then channels.
    edges = [np.stack(np.broadcast_arrays(number, len(filters) + item.channels[item.channels >= 0]))
             for number, item in enumerate(slices)]
    roots = components(len(filters) + len(solution.classes), np.concatenate([np.zeros((2, 0), int), *edges], axis=1))
    members: Dict[int, List[int]] = {}
    for number, item in enumerate(slices):
        if (item.channels >= 0).any():
            members.setdefault(int(roots[number]), []).append(number)
    groups = []
    for numbers in members.values():
        channels = np.unique(np.concatenate([slices[number].channels for number in numbers]))
        layers = tuple(_path(filters[number].parameter) for number in numbers)
        groups.append(ChannelGroup(layers[0], channels[channels >= 0], tuple(slices[n] for n in numbers), layers))
    return tuple(groups)
