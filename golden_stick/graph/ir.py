"""
The traced network as frozen data: nodes, and the values that flow between them; and labels, which rules put on values.

What is said of labels is only collected, and the conclusions are drawn once, at the end, so that a graph of n operators
costs about n steps however densely it is connected.
"""
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Set, Tuple, Union

import numpy as np

__all__ = ["CONTROL_FLOW", "Shape", "Owner", "Input", "Parameter", "Constant", "FIXED", "Result", "Value", "Node",
           "Graph", "Labels", "Solution", "components", "flatten", "joined", "segments_of", "usual"]


Shape = Tuple[int, ...]

# The operator that stands for a branch or loop which a tensor's values decide. It reads all that its code reads.
CONTROL_FLOW = "ControlFlow"


@dataclass(frozen=True)
class Owner:
    """The Cell that holds a parameter: its dotted path, its kind (``'nn.Conv2d'``) and the attribute's name."""

    path: str
    kind: str
    attribute: str


@dataclass(frozen=True)
class Input:
    """An argument of the network's `construct`. `type` is numpy's name of its numbers' type."""

    name: str
    shape: Shape
    type: str = "float32"


@dataclass(frozen=True)
class Parameter:
    """
    A weight of the network. `name` is MindSpore's `Parameter.name`; a shared one has several owners. `type` is numpy's
    name of that which it is cast to where it is read, '' where it is read as it is.
    """

    name: str
    shape: Shape
    owners: Tuple[Owner, ...] = ()
    type: str = field(default="", compare=False)


@dataclass(frozen=True, eq=False)
class Constant:
    """A number, tuple, string or array that is written in the code."""

    value: Any


@dataclass(frozen=True)
class Result:
    """Output number `index` of node number `node`."""

    node: int
    index: int = 0


Value = Union[Input, Parameter, Constant, Result, Tuple["Value", ...]]


@dataclass(frozen=True, eq=False)
class Node:
    """
    One operator call.

    Args:
        number (int): Its place in `Graph.nodes`, which is an order of execution.
        operator (str): MindSpore's name of the primitive, such as ``'Conv2D'``.
        inputs (tuple[Value]): What it reads; a tuple within stands for a tuple argument.
        attributes (Mapping): Attributes of the primitive, such as ``{'group': 1}``.
        shapes (tuple[tuple[int]]): One shape per output.
        scope (str): Where in the Cell tree the call stands, such as ``'layer1.0.conv1'``.
        types (tuple[str]): One per output, numpy's name of its numbers' type, such as ``'float32'``; '' if unknown.
        source (str): File and line of the user's code that calls it, such as ``'net.py:12'``; '' if not looked for.
    """

    number: int
    operator: str
    inputs: Tuple[Value, ...]
    attributes: Mapping[str, Any]
    shapes: Tuple[Shape, ...]
    scope: str
    types: Tuple[str, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.operator} in '{self.scope}'" if self.scope else self.operator
        return f"{place}, {self.source}" if self.source else place


# What the functions of mint call, beside operators that do the same with the same arguments.
_RENAMED = {"AcosExt": "ACos", "AcoshExt": "Acosh", "AsinExt": "Asin", "AsinhExt": "Asinh", "AtanExt": "Atan",
            "Atan2Ext": "Atan2", "BroadcastToView": "BroadcastTo", "ConstantPadND": "PadV3",
            "ExpandDimsView": "ExpandDims", "FlattenExt": "Flatten", "ProdExt": "ReduceProd",
            "TransposeView": "Transpose", "View": "Reshape"}


def usual(node: Node, shape: Shape) -> Tuple[Node, ...]:
    """
    The node in the operators that all else knows: functions of mint call others that do the same, with arguments of
    their own. Several nodes of one output each stand for a node of several. `shape` is that of what it reads first.
    """
    operator = node.operator[:-len("View")] if node.operator.endswith("View") else node.operator
    told = all(isinstance(value, Constant) for value in node.inputs[1:])
    if node.operator in _RENAMED:
        return (replace(node, operator=_RENAMED[node.operator]),)
    if operator == "ExpandAs":
        return (replace(node, operator="BroadcastTo", inputs=(node.inputs[0], Constant(node.shapes[0]))),)
    if operator == "IndexSelect":
        data, axis, places = node.inputs
        return (replace(node, operator="Gather", inputs=(data, places, axis, Constant(0))),)
    return _USUAL[operator](node, shape) if operator in _USUAL and told else (node,)


def _told(node: Node, shape: Shape) -> Tuple[Any, ...]:
    """The arguments behind the data; the first, an axis, counted from the first of the data's."""
    axis, *others = (value.value for value in node.inputs[1:] if isinstance(value, Constant))
    return (axis % len(shape), *others)


def _transposed(node: Node, shape: Shape) -> Tuple[Node, ...]:
    order = list(range(len(shape)))
    one, two = _told(node, shape)
    order[one], order[two] = order[two], order[one]
    return (replace(node, operator="Transpose", inputs=(node.inputs[0], Constant(tuple(order)))),)


def _stacked(node: Node, _: Shape) -> Tuple[Node, ...]:
    axis = _told(node, node.shapes[0])[0]
    return (replace(node, operator="Stack", inputs=node.inputs[:1], attributes={**node.attributes, "axis": axis}),)


def _unstacked(node: Node, shape: Shape) -> Tuple[Node, ...]:
    return (replace(node, operator="Unstack", inputs=node.inputs[:1],
                    attributes={**node.attributes, "axis": _told(node, shape)[0]}),)


def _pieces(node: Node, shape: Shape) -> Tuple[Node, ...]:
    """Of a split: the outputs tell how long each is. Argument 2 is the axis."""
    axis = _told(replace(node, inputs=(node.inputs[0], node.inputs[2])), shape)[0]
    sizes = [made[axis] for made in node.shapes]
    if len(set(sizes)) == 1:
        return (replace(node, operator="Split", inputs=(node.inputs[0], Constant(axis), Constant(len(sizes)))),)
    return tuple(_piece(replace(node, shapes=node.shapes[at:at + 1], types=node.types[at:at + 1]), shape, axis,
                        last - sizes[at], last) for at, last in enumerate(accumulate(sizes)))


def _piece(node: Node, shape: Shape, axis: int, first: int, last: int, step: int = 1, drop: bool = False) -> Node:
    """A slice of one axis, which may go where it is one position."""
    ends = [tuple(own if at == axis else other for at, other in enumerate(others))
            for own, others in ((first, (0,) * len(shape)), (last, shape), (step, (1,) * len(shape)))]
    return replace(node, operator="StridedSlice", inputs=(node.inputs[0], *map(Constant, (*ends, 0, 0, 0, 0,
                                                                                       drop << axis))))


def _narrowed(node: Node, shape: Shape) -> Tuple[Node, ...]:
    axis, first, count = _told(node, shape)
    return (_piece(node, shape, axis, first, first + count),)


def _selected(node: Node, shape: Shape) -> Tuple[Node, ...]:
    axis, place = _told(node, shape)
    return (_piece(node, shape, axis, place % shape[axis], place % shape[axis] + 1, drop=True),)


def _sliced(node: Node, shape: Shape) -> Tuple[Node, ...]:
    return (_piece(node, shape, *_told(node, shape)),)


_USUAL: Dict[str, Callable[[Node, Shape], Tuple[Node, ...]]] = {
    "Chunk": _pieces, "SplitTensor": _pieces, "SplitWithSize": _pieces, "Narrow": _narrowed, "SelectExt": _selected,
    "SliceExt": _sliced, "StackExt": _stacked, "TransposeExt": _transposed, "UnstackExt": _unstacked}


@dataclass(frozen=True, eq=False)
class Graph:
    """
    A traced network.

    Args:
        nodes (tuple[Node]): In an order of execution.
        inputs (tuple[Input]): The arguments of `construct`.
        parameters (tuple[Parameter]): Every parameter of the network that the graph reads.
        outputs (tuple[Value]): What `construct` returns, tuples flattened.
        evaluated (int): So many of the nodes are what evaluation computes. What follows is hidden: layers whose result
            nobody reads, and what only training runs. Default: ``None``, all.
        unread (tuple[Parameter]): The other parameters of the network, such as those of a branch for training alone.
    """

    nodes: Tuple[Node, ...]
    inputs: Tuple[Input, ...]
    parameters: Tuple[Parameter, ...]
    outputs: Tuple[Value, ...]
    evaluated: Optional[int] = None
    unread: Tuple[Parameter, ...] = ()

    @property
    def hidden(self) -> Tuple[Node, ...]:
        """The nodes that evaluation does not need."""
        return () if self.evaluated is None else self.nodes[self.evaluated:]

    @cached_property
    def _by_name(self) -> Mapping[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name."""
        return self._by_name[name]

    def shape(self, value: Value) -> Shape:
        """Shape of a tensor value; a scalar constant has shape ``()``."""
        if isinstance(value, Result):
            return self.nodes[value.node].shapes[value.index]
        if isinstance(value, Constant):
            return tuple(getattr(value.value, "shape", ()))
        assert not isinstance(value, tuple)
        return value.shape

    def moving(self) -> FrozenSet[int]:
        """Numbers of the nodes that depend on the network's inputs. Weights that are computed from others do not."""
        numbers: Set[int] = set()
        for node in self.nodes:
            if any(isinstance(value, Input) or isinstance(value, Result) and value.node in numbers
                   for value in flatten(node.inputs)):
                numbers.add(node.number)
        return frozenset(numbers)

    def constant(self) -> FrozenSet[int]:
        """Numbers of the nodes that compute with numbers in the code alone, such as a grid of positions."""
        numbers: Set[int] = set()
        for node in self.nodes:
            values = flatten(node.inputs)
            if values and all(isinstance(value, Constant) or isinstance(value, Result) and value.node in numbers
                              for value in values):
                numbers.add(node.number)
        return frozenset(numbers)

    def packing(self) -> FrozenSet[int]:
        """Numbers of the nodes that pack the weights of a recurrent operator into one."""
        moving, found = self.moving(), set()
        values = [value for node in self.nodes if node.operator == "LSTM" for value in node.inputs[3:]]
        while values:
            value = values.pop()
            if isinstance(value, Result) and value.node not in moving and value.node not in found:
                found.add(value.node)
                values.extend(flatten(self.nodes[value.node].inputs))
        return frozenset(found)

    def meets_again(self, node: Node, consumers: Mapping[Result, Tuple[int, ...]]) -> bool:
        """Whether what a node takes over an axis meets the data again, number by number: a normalization by hand."""
        data, size = self.shape(node.inputs[0]), np.prod(node.shapes[0])
        waiting, seen = [node.number], {-1}
        while waiting:
            at = waiting.pop()
            results = [Result(at, index) for index in range(len(self.nodes[at].shapes))]
            for reader in {number for result in results for number in consumers.get(result, ())} - seen:
                seen.add(reader)
                if not any(isinstance(value, Parameter) for value in flatten(self.nodes[reader].inputs)):
                    if self.nodes[reader].shapes[0] == data:
                        return True
                    if np.prod(self.nodes[reader].shapes[0]) == size:
                        waiting.append(reader)
        return False

    def consumers(self) -> Mapping[Result, Tuple[int, ...]]:
        """Which nodes read each result; the network's own output counts as node -1."""
        readers: Dict[Result, List[int]] = {}
        for number, values in (*((node.number, node.inputs) for node in self.nodes), (-1, self.outputs)):
            for value in flatten(values):
                if isinstance(value, Result):
                    readers.setdefault(value, []).append(number)
        return {value: tuple(numbers) for value, numbers in readers.items()}


def flatten(values: Iterable[Value]) -> Tuple[Value, ...]:
    """Values with nested tuples opened."""
    opened: List[Value] = []
    for value in values:
        opened.extend(flatten(value) if isinstance(value, tuple) else (value,))
    return tuple(opened)


def joined(graph: Graph, other: Graph) -> Graph:
    """A graph, followed by the nodes of another that it lacks."""
    known: Dict[Any, int] = {}
    for node in graph.nodes:
        known.setdefault(_identity(node, node.inputs), node.number)
    nodes = list(graph.nodes)
    number_of: Dict[int, int] = {}

    def here(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(here, value))
        return Result(number_of[value.node], value.index) if isinstance(value, Result) else value

    for node in other.nodes:
        if node.operator == "Print":
            continue
        inputs = here(node.inputs)
        number_of[node.number] = known.setdefault(_identity(node, inputs), len(nodes))
        if number_of[node.number] == len(nodes):
            nodes.append(replace(node, number=len(nodes), inputs=inputs))
    parameters = {item.name: item for item in (*other.parameters, *graph.parameters)}
    outputs = tuple(value for value in here(other.outputs) if value not in graph.outputs)
    return Graph(tuple(nodes), graph.inputs, tuple(parameters.values()), graph.outputs + outputs, len(graph.nodes),
                 tuple(item for item in graph.unread if item.name not in parameters))


def _identity(node: Node, inputs: Tuple[Value, ...]) -> Any:
    """Equal for nodes that compute the same."""
    def of(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(of, value))
        value = value.value if isinstance(value, Constant) else value
        return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)

    return node.operator, of(inputs), node.shapes, tuple(sorted((name, of(value)) for name, value in
                                                                node.attributes.items()))


def segments_of(graph: Graph) -> Dict[str, int]:
    """
    Name of a weight -> number of the stretch of the network in which it is used first. Numbers rise, with gaps.

    Two weights are in one stretch if no single tensor stands between them that all data must pass. So each residual
    branch is a stretch, together with the branches beside it; in a chain, each layer is one.
    """
    moving = graph.moving()
    last = _last_readers(graph)
    # The node after which nothing that was made so far is read any more, but for what the latest node made.
    needed_until = max((node.number for node in graph.nodes
                        if any(isinstance(value, Input) for value in flatten(node.inputs))), default=-1)
    stretches: Dict[str, int] = {}
    number = 0
    for node in graph.nodes:
        if node.number not in moving:
            continue
        for value in flatten(node.inputs):
            if isinstance(value, Parameter):
                stretches.setdefault(value.name, number)
        if needed_until <= node.number:
            number += 1
        needed_until = max(needed_until, last.get(node.number, -1))
    return stretches


def _last_readers(graph: Graph) -> Dict[int, int]:
    """Number of a node -> of the last one that reads it; what the network gives is read after all."""
    last = {value.node: node.number for node in graph.nodes for value in flatten(node.inputs)
            if isinstance(value, Result)}
    last.update({value.node: len(graph.nodes) for value in flatten(graph.outputs) if isinstance(value, Result)})
    return last


FIXED = 0

_STAYS = "belongs together with a channel that always stays"


@dataclass(frozen=True, eq=False)
class Solution:
    """What the statements amount to."""

    classes: np.ndarray  # int64: label -> smallest label of its class
    fixed: np.ndarray  # bool: label -> whether its class must stay
    why: np.ndarray  # int64: class -> which of `reasons` are its own
    reasons: Tuple[Tuple[str, ...], ...]  # texts that say why a class is fixed, first reason first; at 0: it is not

    def removable(self, labels: np.ndarray) -> np.ndarray:
        """bool, shape of `labels`: True where the channel can be removed."""
        return ~self.fixed[labels]

    def why_fixed(self, labels: np.ndarray) -> Tuple[str, ...]:
        """The distinct reasons that fix any of `labels`, in the order in which they arose."""
        distinct = dict.fromkeys(self.why[np.unique(self.classes[labels])].tolist())
        return tuple(dict.fromkeys(reason for number in distinct for reason in self.reasons[number]))


class Labels:
    """Makes labels and collects what is said of them."""

    def __init__(self) -> None:
        self._count = 1
        self._unions = [np.zeros((2, 0), np.int64)]
        self._fixed: List[Tuple[np.ndarray, str]] = []
        self._halves: List[Tuple[np.ndarray, str]] = []  # what was united with FIXED, and where
        self.place = ""  # what the walk has come to, in words
        self._classes: Optional[np.ndarray] = None  # as of the last `solve`, if no label was made or united since
        self._solution: Optional[Solution] = None  # the same, if none was fixed either

    @property
    def count(self) -> int:
        """The next label."""
        return self._count

    def fresh(self, count: int) -> np.ndarray:
        """`count` new labels, int64, shape (count,). A single channel cannot be removed, so one alone is fixed."""
        if count < 2:
            return np.zeros(count, np.int64)
        self._classes = self._solution = None
        self._count += count
        return np.arange(self._count - count, self._count, dtype=np.int64)

    def unite(self, first: np.ndarray, second: np.ndarray) -> None:
        """Say that labels of two arrays (broadcast to each other) are kept or removed together."""
        pairs = np.stack(np.broadcast_arrays(first, second)).reshape(2, -1)
        pairs = pairs[:, pairs[0] != pairs[1]]
        self._classes = self._solution = None
        self._unions.append(pairs)
        half = pairs.max(axis=0)[(pairs == FIXED).any(axis=0)]
        if half.any():
            self._halves.append((half, self.place))

    def fix(self, labels: np.ndarray, reason: str) -> None:
        """Say that these labels must stay, and why."""
        labels = np.unique(labels)
        if labels.any():
            self._solution = None
            self._fixed.append((labels, reason))

    def solve(self) -> Solution:
        """Draw the conclusions."""
        if self._classes is None:
            # FIXED takes no part in the classes: two streams that are both united with it have nothing else in common.
            edges = np.concatenate(self._unions, axis=1)
            self._classes = components(self._count, edges[:, (edges != FIXED).all(axis=0)])
        if self._solution is None:
            self._solution = self._concluded(self._classes)
        return self._solution

    def _concluded(self, classes: np.ndarray) -> Solution:
        """What is fixed, and why, where the classes are known."""
        fixed = np.zeros(self._count, bool)
        reasons: List[Tuple[str, ...]] = [()]
        why = np.zeros(self._count, np.int64)  # many classes share few tuples of reasons
        for labels, reason in self._fixed:
            members = np.unique(classes[labels])
            members = members[members != FIXED]
            fixed[members] = True
            before, place = np.unique(why[members], return_inverse=True)
            why[members] = len(reasons) + place
            reasons += [(*reasons[number], reason) for number in before]
        for labels, place in self._halves:
            members = np.unique(classes[labels])
            fixed[members] = True
            why[members[(why[members] == 0) & (members != FIXED)]] = len(reasons)
            reasons.append((_STAYS + (f" ({place})" if place else ""),))
        fixed[FIXED] = True
        return Solution(classes, fixed[classes], why, tuple(reasons))


def components(count: int, edges: np.ndarray) -> np.ndarray:
    """Smallest member of every element's connected component, by hooking and pointer jumping."""
    parent = np.arange(count, dtype=np.int64)
    while edges.size:
        roots = parent[edges]
        low, high = roots.min(axis=0), roots.max(axis=0)
        different = low != high
        if not different.any():
            break
        edges = edges[:, different]
        np.minimum.at(parent, high[different], low[different])
        while True:
            grand = parent[parent]
            if np.array_equal(grand, parent):
                break
            parent = grand
    return parent
