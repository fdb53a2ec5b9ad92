"""
Labels, and how they flow: one walk over the graph, in which every operator's rule says what it does to them.

A tensor's labels are an integer array of the tensor's rank whose every axis is either as long as the tensor's or 1
(constant along it). 0 stands for "not prunable". Statements such as "these two are the same channel" and "this one must
stay" are only collected here; `Labels.solve` draws the conclusions once, at the end, so that a graph of n operators
costs about n steps however densely it is connected.
"""
from collections import Counter
from dataclasses import dataclass
from typing import Any, Callable, Collection, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np

from golden_stick.graph.ir import Constant, Graph, Input, Node, Owner, Parameter, Result, Shape, Value, flatten
from golden_stick.graph.layers import LAYERS, NORMALIZATIONS, Form, layer_of

__all__ = ["Binding", "CHANNEL", "FILTER", "FIXED", "Flow", "HEAD_POLICIES", "INPUT", "Labeled", "Labels",
           "NORMALIZATION_POLICIES", "NUMBER", "Place", "RESIDUAL_POLICIES", "Rule", "Site", "Solution", "WIDTH",
           "always_zero", "components", "never_zero", "zero_as_first"]


# What an axis of a parameter is to the operator that reads it.
FILTER = "filter"  # weight[i] makes channel i
INPUT = "input"  # channel i is summed up by this axis
CHANNEL = "channel"  # one number (or filter) for channel i alone, as in a bias or a normalization

RESIDUAL_POLICIES = ("group", "scatter", "keep")
NORMALIZATION_POLICIES = ("exact", "approximate")
HEAD_POLICIES = ("width", "whole")

# Why a channel stays that the code cannot do without, once slimming for trial has shown it.
NUMBER = "a number written in the code fits these widths only"
WIDTH = "a number that the code computes from a width enters the results"


@dataclass(frozen=True, eq=False)
class Labeled:
    """What is known of a tensor."""

    labels: np.ndarray  # int64, of the tensor's rank, every axis as long as the tensor's or 1
    shape: Shape
    zero: bool = False  # whether a removed channel is exactly zero here once the layers that make it give zero

    @property
    def axes(self) -> Tuple[int, ...]:
        """The axes along which labels differ: at most one for what rules put out."""
        return tuple(axis for axis, size in enumerate(self.labels.shape) if size > 1)

    def along(self, axis: int) -> np.ndarray:
        """Labels along one axis, shape (shape[axis],); zeros where the labels lie along another."""
        if self.axes in ((), (axis,)):
            return np.broadcast_to(self.labels.ravel(), (self.shape[axis],))
        return np.zeros(self.shape[axis], np.int64)


@dataclass(frozen=True, eq=False)
class Binding:
    """Axis `axis` of a parameter carries these labels, int64, shape (parameter.shape[axis],)."""

    parameter: Parameter
    axis: int
    role: str
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Site:
    """What enters (or leaves) the Cell at `path` carries `labels` on an axis that is followed by `trailing` others."""

    path: str
    trailing: int
    labels: np.ndarray


class Rule(NamedTuple):
    """What one operator does."""

    # Takes the flow and the node; returns the labels of the first output, a tuple with those of every output, or a
    # `Labeled` where it knows more than `zero` can say.
    flow: Callable[[Any, Node], Union[np.ndarray, Tuple[np.ndarray, ...], Labeled]]
    # Takes one bool per operand (whether removable channels are there, and zero when removed): whether they are zero
    # in the outputs.
    zero: Callable[[Sequence[bool]], bool]


def zero_as_first(zero: Sequence[bool]) -> bool:
    """Removed channels are zero where they are in the first operand."""
    return bool(zero) and zero[0]


def always_zero(zero: Sequence[bool]) -> bool:
    """Removed channels are zero behind the layer that makes them, and behind one that scales them by a weight."""
    return True


def never_zero(zero: Sequence[bool]) -> bool:
    """Whatever removed channels were, they are something else behind the operator."""
    return False


FIXED = 0

# A row of `Flow.numbers`: the node, and which of its rows.
Place = Tuple[int, int]


@dataclass(frozen=True, eq=False)
class Solution:
    """What the statements amount to."""

    classes: np.ndarray  # int64: label -> smallest label of its class
    fixed: np.ndarray  # bool: label -> whether its class must stay
    reasons: Mapping[int, Tuple[str, ...]]  # class -> texts that say why it is fixed, first reason first

    def removable(self, labels: np.ndarray) -> np.ndarray:
        """bool, shape of `labels`: True where the channel can be removed."""
        return ~self.fixed[labels]

    def why_fixed(self, labels: np.ndarray) -> Tuple[str, ...]:
        """The distinct reasons that fix any of `labels`, in the order in which they arose."""
        members = np.unique(self.classes[labels]).tolist()
        return tuple(dict.fromkeys(reason for member in members for reason in self.reasons.get(member, ())))


class Labels:
    """Makes labels and collects what is said of them."""

    def __init__(self) -> None:
        self._count = 1
        self._unions = [np.zeros((2, 0), np.int64)]
        self._fixed: List[Tuple[np.ndarray, str]] = []

    @property
    def count(self) -> int:
        """The next label."""
        return self._count

    def fresh(self, count: int) -> np.ndarray:
        """`count` new labels, int64, shape (count,). A single channel cannot be removed, so one alone is fixed."""
        if count < 2:
            return np.zeros(count, np.int64)
        self._count += count
        return np.arange(self._count - count, self._count, dtype=np.int64)

    def unite(self, first: np.ndarray, second: np.ndarray) -> None:
        """Say that labels of two arrays (broadcast to each other) are kept or removed together."""
        self._unions.append(np.stack(np.broadcast_arrays(first, second)).reshape(2, -1))

    def fix(self, labels: np.ndarray, reason: str) -> None:
        """Say that these labels must stay, and why."""
        labels = np.unique(labels)
        if labels.any():
            self._fixed.append((labels, reason))

    def solve(self) -> Solution:
        """Draw the conclusions."""
        # FIXED takes no part in the classes: two streams that are both united with it have nothing else in common.
        edges = np.concatenate(self._unions, axis=1)
        classes = components(self._count, edges[:, (edges != FIXED).all(axis=0)])
        fixed = np.zeros(self._count, bool)
        half = edges[:, (edges == FIXED).any(axis=0)]
        fixed[classes[half.max(axis=0)]] = True
        reasons: Dict[int, Tuple[str, ...]] = {}
        for labels, reason in self._fixed:
            members = np.unique(classes[labels])
            fixed[members] = True
            for member in members[members != FIXED]:
                reasons[int(member)] = reasons.get(int(member), ()) + (reason,)
        for member in np.setdiff1d(classes[half.max(axis=0)], FIXED).tolist():
            reasons.setdefault(member, ("belongs together with a channel that always stays",))
        fixed[FIXED] = True
        return Solution(classes, fixed[classes], reasons)


def components(count: int, edges: np.ndarray) -> np.ndarray:
    """Smallest member of every element's connected component, by hooking and pointer jumping."""
    parent = np.arange(count, dtype=np.int64)
    while edges.size:
        low, high = np.sort(parent[edges], axis=0)
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


class Flow:
    """
    What the rules read and write.

    `residual` is one of `RESIDUAL_POLICIES`, `rejected_readings` the number of a node -> how many readings of its
    numbers were wrong, `approximate` whether normalizations over channels may lose some although that changes what
    they give, `whole` the nodes that split channels into heads which go as a whole, `ties` the rows of `numbers` that
    one attribute of a Cell gives the length of, `hidden_stays` whether what the graph's hidden nodes read must stay.
    """

    def __init__(self, graph: Graph, residual: str, rejected_readings: Optional[Mapping[int, int]] = None,
                 approximate: bool = False, whole: Collection[int] = (), ties: Sequence[Tuple[Place, Place]] = (),
                 hidden_stays: bool = False):
        self.graph = graph
        self.residual = residual
        self.approximate = approximate
        self.whole = whole
        self._ties = ties
        self._hidden_stays = hidden_stays
        self._hiding = False  # whether the walk has come to the hidden nodes
        self.first_hidden = 0  # the first label that these make
        self.hidden: List[Binding] = []  # filters of theirs
        self.labels = Labels()
        self.bindings: Dict[Tuple[str, int], Binding] = {}
        self.masks: List[Site] = []
        self.scatters: List[Site] = []
        self.without_rule: List[Node] = []
        self.stopped: Dict[int, str] = {}  # number of a node that is a barrier -> why
        self.zeroed: List[np.ndarray] = []
        self.bare: Set[Tuple[str, int]] = set()
        self.inexact: List[Tuple[str, np.ndarray]] = []
        # A node -> channels (labels of a row of them each) whose number the code may have said there.
        self.numbers: Dict[int, List[np.ndarray]] = {}
        self.counts: Dict[int, Tuple[int, np.ndarray]] = {}
        self.attributes: List[Tuple[Owner, str, np.ndarray]] = []
        self.splits: Dict[int, Tuple[np.ndarray, bool]] = {}
        self.heads_lose: Dict[int, str] = {}  # number of a node that splits channels -> of HEAD_POLICIES, what went
        self.attended: List[np.ndarray] = []
        self.rejected_readings = Counter(rejected_readings)  # of a node that is not there: 0
        self._known: Dict[Result, Labeled] = {}
        self.untold = graph.constant() | _packed(graph)
        self._place: Dict[int, str] = {}
        self._depth: Dict[int, int] = {}
        self._moving = graph.moving()
        self._held: Set[str] = set()
        self._read: Set[str] = set()  # parameters of the node at hand that its rule has not bound yet
        self._consumers = graph.consumers()
        self._readers: Dict[str, List[int]] = {}  # name of a parameter -> numbers of the nodes that read it

    def run(self, rules: Mapping[str, Rule]) -> "Flow":
        """Walk the graph once, then fix the network's outputs and every parameter that is read in an unlabelled way."""
        for node in self.graph.nodes:
            self._locate(node)
            self._read = {value.name for value in flatten(node.inputs) if isinstance(value, Parameter)}
            for name in self._read:
                self._readers.setdefault(name, []).append(node.number)
            if node.number == self.graph.evaluated:
                self._hiding, self.first_hidden = True, self.labels.count
            rule = _STAYS if self._hiding and self._hidden_stays else rules.get(node.operator)
            if node.number in self.untold:
                # What packs weights moves none of them: the operator that reads the pack says what they are.
                self._known.update({Result(node.number, index): Labeled(self.none(shape), shape)
                                    for index, shape in enumerate(node.shapes)})
                continue
            if rule is None:
                self.without_rule.append(node)
            made: Any = rule.flow(self, node) if rule else self.barrier(
                node, f"operator '{node.operator}' has no rule")
            zero = rule is not None and rule.zero([self._is_zero(value) for value in flatten(node.inputs)])
            self._held |= self._read
            if isinstance(made, Labeled):
                made, zero = made.labels, made.zero
            # Further outputs of the same shape, as an argmax beside its maximum, have the same channels.
            every = made if isinstance(made, tuple) else tuple(
                made if shape == node.shapes[0] else self.none(shape) for shape in node.shapes)
            for index, (shape, labels) in enumerate(zip(node.shapes, every)):
                self._known[Result(node.number, index)] = Labeled(
                    labels if labels.any() else self.none(shape), shape, zero)
        for value in self.graph.outputs:
            if isinstance(value, Parameter):
                self.hold(value)
            self.labels.fix(self.of(value).labels, "output of the network")
        for one, other in self._ties:
            self.labels.unite(*(self.numbers[number][row] for number, row in (one, other)))
        for (name, _), binding in self.bindings.items():
            if name in self._held:
                self.labels.fix(binding.labels, f"parameter '{name}' is also read in a way that fixes its shape")
        return self

    def of(self, value: Value) -> Labeled:
        """Labels of a value. Inputs, constants and parameters carry none of their own."""
        if isinstance(value, Result):
            return self._known[value]
        shape = self.graph.shape(value)
        return Labeled(self.none(shape), shape)

    def of_vector(self, value: Value) -> Labeled:
        """Labels of a value; a parameter with one axis longer than 1 gets labels there, bound to it."""
        if not isinstance(value, Parameter) or sum(size > 1 for size in value.shape) != 1:
            return self.of(value)
        axis = next(axis for axis, size in enumerate(value.shape) if size > 1)
        if (value.name, axis) not in self.bindings:
            self.bind(value, axis, self.labels.fresh(value.shape[axis]), CHANNEL)
        self._read.discard(value.name)
        labels = self.bindings[value.name, axis].labels
        return Labeled(self.on(axis, labels, len(value.shape)), value.shape, True)

    def _is_zero(self, value: Value) -> bool:
        if isinstance(value, Result):
            return self._known[value].zero and bool(self._known[value].axes)
        # A parameter that is bound is zeroed with its channel; one that is held is not.
        return isinstance(value, Parameter) and value.name not in self._read and value.name not in self._held

    @staticmethod
    def none(shape: Shape) -> np.ndarray:
        """Labels of a tensor that nothing can be removed from."""
        return np.zeros((1,) * len(shape), np.int64)

    @staticmethod
    def on(axis: int, labels: np.ndarray, rank: int) -> np.ndarray:
        """Labels of a tensor of that rank, which lie along one axis."""
        return labels.reshape((1,) * axis + (-1,) + (1,) * (rank - axis - 1))

    def place(self, node: Node) -> str:
        """Where a node stands, in words: the Cell whose parameter it reads, or the nearest such before it."""
        path, source = self._place[node.number], f", {node.source}" if node.source else ""
        if any(isinstance(value, Parameter) for value in node.inputs):
            return f"{node.operator} in '{path}'{source}"
        return (f"{node.operator} after '{path}'" if path else node.operator) + source

    def path(self, node: Node) -> str:
        """Path of the nearest Cell with parameters, at the node or before it; '' if there is none."""
        return self._place[node.number]

    def depth(self, value: Value) -> int:
        """The largest number of parameter-reading operators on a way from the network's inputs to a value."""
        return self._depth[value.node] if isinstance(value, Result) else 0

    def bind(self, parameter: Parameter, axis: int, labels: np.ndarray, role: str) -> None:
        """Say that an axis of a parameter carries these labels; a second binding is united with the first."""
        key = (parameter.name, axis)
        self._read.discard(parameter.name)
        if key in self.bindings:
            self.labels.unite(self.bindings[key].labels, labels)
        else:
            if self._hiding and role == FILTER:
                # Nothing scores these filters: they go with channels of evaluation, or stay.
                role = CHANNEL
                self.hidden.append(Binding(parameter, axis, FILTER, np.array(labels)))
            self.bindings[key] = Binding(parameter, axis, role, np.array(labels))

    def hold(self, parameter: Parameter) -> None:
        """Say that a parameter's shape must stay as it is."""
        self._held.add(parameter.name)

    def reads(self, node: Node, *rows: np.ndarray) -> None:
        """Say that numbers among a node's arguments may be how many channels these rows of labels hold."""
        self.numbers.setdefault(node.number, []).extend(rows)

    def fills(self, node: Node, value: Value) -> bool:
        """Whether a value is one number all over, as zeros are that the code makes as wide as what they meet."""
        return not self.rejected_readings[node.number] and self._uniform(value)

    def _uniform(self, value: Value) -> bool:
        if isinstance(value, Constant):
            return np.ndim(value.value) > 0 and len(np.unique(value.value)) == 1
        if not isinstance(value, Result):
            return False
        node = self.graph.nodes[value.node]
        return node.operator in _FILLED or node.operator in _MOVED and self._uniform(node.inputs[0])

    def pin(self, node: Node) -> None:
        """Fix the channels that a node reads, or else the nearest ones before it."""
        values = flatten(node.inputs)
        while values and not any(self.of(value).axes for value in values if isinstance(value, Result)):
            before = [self.graph.nodes[value.node] for value in values if isinstance(value, Result)]
            values = tuple(value for earlier in before for value in flatten(earlier.inputs))
        for value in values:
            if isinstance(value, Result):
                self.labels.fix(self.of(value).labels, f"{WIDTH} ({self.place(node)})")

    def barrier(self, node: Node, reason: str, numbers: str = "") -> np.ndarray:
        """
        Fix all that a node reads, and put out labels that nothing can be removed from; `numbers` are those in the code
        that call for it, in words.
        """
        self.stopped[node.number] = text = f"{reason} ({self.place(node)}{numbers and f', {numbers}'})"
        values, seen = list(flatten(node.inputs)), set()
        while values:
            value = values.pop()
            if isinstance(value, Parameter):
                self.hold(value)
            elif isinstance(value, Result):
                self.labels.fix(self.of(value).labels, text)
                if value.node not in self._moving and value.node not in seen:  # computed of weights alone
                    seen.add(value.node)
                    values.extend(flatten(self.graph.nodes[value.node].inputs))
        return self.none(node.shapes[0])

    def why_unbound(self, parameter: Parameter) -> Tuple[str, ...]:
        """
        Why no axis of a parameter follows channels: what is said where it, or what is computed of it alone, meets data;
        () if nothing reads it.
        """
        waiting, readers = list(self._readers.get(parameter.name, ())), set()
        while waiting:
            number = waiting.pop()
            if number not in readers:
                readers.add(number)
                if number not in self._moving and number >= 0:
                    waiting += [reader for index in range(len(self.graph.nodes[number].shapes))
                                for reader in self._consumers.get(Result(number, index), ())]
        said = {number in self._moving: self.stopped[number]
                for number in sorted(readers & self.stopped.keys(), reverse=True)}
        if said:
            return (said.get(True, said.get(False, "")),)
        if -1 in readers or parameter in self.graph.outputs:
            return ("output of the network",)
        return tuple(f"no axis of it follows channels that can go ({self.place(self.graph.nodes[number])})"
                     for number in sorted(readers)[:1])

    def sum_up(self, weight: Parameter, axis: int, labels: np.ndarray, form: Optional[Form],
               entering: Optional[np.ndarray] = None) -> None:
        """
        Say that an axis of a weight sums these channels up, so that removed ones must not reach it.

        In layers of this form, where the weight reads the Cell's input, the masked network masks that; elsewhere it has
        zeros in the weight. `entering` are the labels of the input, where the weight's axis covers only a part of them.
        """
        # Whether a second reader is the Cell once more or some other code is not visible: zeros serve both.
        again = (weight.name, axis) in self.bindings
        self.bind(weight, axis, labels, INPUT)
        layer = layer_of(weight)
        if layer and layer.form is form:
            self.masks.append(Site(weight.owners[0].path, layer.spatial, labels if entering is None else entering))
        else:
            again = True
        if again:
            self.bare.add((weight.name, axis))

    def sum_up_values(self, node: Node, operands: Sequence[Labeled], labels: np.ndarray) -> None:
        """Say that an operator without a weight sums these channels up: exact if they are zero in some operand."""
        if any(operand.zero for operand in operands):
            self.zeroed.append(labels)
        else:
            self.labels.fix(labels, f"summed up where a removed channel is not zero ({self.place(node)})")

    def scatter_site(self, value: Value) -> Optional[str]:
        """Path of the Cell whose output is `value` and nothing else, read by one node only; else None."""
        if not isinstance(value, Result) or len(self._consumers.get(value, ())) != 1:
            return None
        node = self.graph.nodes[value.node]
        held = [item for item in node.inputs if isinstance(item, Parameter) and item.owners]
        if not held or len(held[0].owners) != 1:
            return None
        owner = held[0].owners[0]
        readers = [other for other in self.graph.nodes if other.operator == node.operator and held[0] in other.inputs]
        # A Cell that runs twice would scatter both of its outputs, and only one of them is known to need it.
        known = owner.kind in LAYERS or owner.kind in NORMALIZATIONS and NORMALIZATIONS[owner.kind].over == "batch"
        return owner.path if known and len(readers) == 1 else None

    def _locate(self, node: Node) -> None:
        values = flatten(node.inputs)
        owned = [value for value in values if isinstance(value, Parameter) and value.owners]
        deepest = max((value for value in values if isinstance(value, Result)), key=self.depth, default=None)
        self._depth[node.number] = (0 if deepest is None else self.depth(deepest)) + bool(owned)
        before = "" if deepest is None else self._place[deepest.node]
        self._place[node.number] = owned[0].owners[0].path if owned else before


_STAYS = Rule(lambda flow, node: flow.barrier(node, "read by a branch that fits these widths only"), never_zero)

# Operators that make a tensor of one number, and that only move what they read first.
_FILLED = frozenset({"Zeros", "Ones", "ZerosLike", "OnesLike", "ZerosLikeExt", "OnesLikeExt", "FillV2", "Fill",
                     "FillScalar", "FullLike"})
_MOVED = frozenset({"StridedSlice", "Slice", "Reshape", "ExpandDims", "Squeeze", "Transpose", "Tile", "BroadcastTo",
                    "Cast"})


def _packed(graph: Graph) -> Set[int]:
    """The nodes that pack the weights of a recurrent operator into one."""
    moving, found = graph.moving(), set()
    values = [value for node in graph.nodes if node.operator == "LSTM" for value in node.inputs[3:]]
    while values:
        value = values.pop()
        if isinstance(value, Result) and value.node not in moving and value.node not in found:
            found.add(value.node)
            values.extend(flatten(graph.nodes[value.node].inputs))
    return found


def is_data(value: Value) -> bool:
    """Whether a value is a tensor that flows, rather than a weight or a constant."""
    return isinstance(value, (Result, Input))


def axes_of(node: Node, rank: int, at: int = 1) -> Set[int]:
    """The axes that the attribute 'axis' or input number `at` names; all of them where nothing is named."""
    axes = node.attributes.get("axis", number(node.inputs[at]) if len(node.inputs) > at else None)
    if axes is None or np.size(axes) == 0:
        return set(range(rank))
    return {int(axis) % rank for axis in np.ravel(axes)}


def number(value: Value) -> Any:
    """The Python value of a constant, None for anything else."""
    return value.value if isinstance(value, Constant) else None
