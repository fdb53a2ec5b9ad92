"""
Labels, and how they flow: one walk over the graph, in which every operator's rule says what it does to them.

A tensor's labels are an integer array of the tensor's rank whose every axis is either as long as the tensor's or 1
(constant along it). 0 stands for "not prunable".
"""
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Callable, Collection, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

import numpy as np

from golden_stick.graph.ir import (
    Constant,
    Graph,
    Input,
    Labels,
    Node,
    Owner,
    Parameter,
    Result,
    Shape,
    Value,
    flatten,
)
from golden_stick.graph.layers import Form, layer_of

__all__ = ["BESIDE", "Binding", "CHANNEL", "FAILS", "FILTER", "Face", "Faces", "Flow", "HEAD_POLICIES", "INPUT",
           "Labeled", "NORMALIZATION_POLICIES", "NUMBER", "Place", "RESIDUAL_POLICIES", "Rule", "Site", "Stay", "WIDTH",
           "always_zero", "axes_of", "is_data", "never_zero", "number", "zero_as_first", "zero_as_joined"]


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
BESIDE = "may meet a result that nobody reads, which keeps its width"
FAILS = "the network's code fails without them"


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
class Face:
    """An axis of a weight, or of what is computed from weights alone, such as its transpose."""

    labels: np.ndarray  # int64, as long as the axis
    keys: Tuple[Tuple[str, int], ...]  # name and axis of the parameters whose positions these are
    zero: bool = True  # whether it is zero where they are


Faces = Tuple[Optional[Face], ...]  # one for each axis; None where nothing can go


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
    # Takes the flow, a node that reads weights alone, and this; returns the faces of every output. None: they stay.
    weights: Optional[Callable[[Any, Node, Any], Sequence[Faces]]] = None


def zero_as_first(zero: Sequence[bool]) -> bool:
    """Removed channels are zero where they are in the first operand."""
    return bool(zero) and zero[0]


def zero_as_joined(zero: Sequence[bool]) -> bool:
    """Removed channels are zero where they are in every operand; the last argument is an axis."""
    return all(zero[:-1])


def always_zero(zero: Sequence[bool]) -> bool:
    """Removed channels are zero behind the layer that makes them, and behind one that scales them by a weight."""
    return True


def never_zero(zero: Sequence[bool]) -> bool:
    """Whatever removed channels were, they are something else behind the operator."""
    return False


# A row of `Flow.numbers`: the node, and which of its rows.
Place = Tuple[int, int]
# What must stay: the name of a parameter, its axis, the positions there (bool), and why.
Stay = Tuple[str, int, np.ndarray, str]


class Flow:
    """
    What the rules read and write.

    `residual` is one of `RESIDUAL_POLICIES`, `rejected_readings` the number of a node -> how many readings of its
    numbers were wrong, `approximate` whether normalizations over channels may lose some although that changes what
    they give, `whole` the nodes that split channels into heads which go as a whole, `ties` the rows of `numbers` that
    one attribute of a Cell gives the length of, `hidden_stays` whether what the graph's hidden nodes read must stay,
    `stays` what else must, and why.
    """

    def __init__(self, graph: Graph, residual: str, rejected_readings: Optional[Mapping[int, int]] = None,
                 approximate: bool = False, whole: Collection[int] = (), ties: Sequence[Tuple[Place, Place]] = (),
                 hidden_stays: bool = False, stays: Sequence[Stay] = ()):
        self.graph = graph
        self.residual = residual
        self.approximate = approximate
        self.whole = whole
        self._ties = ties
        self._hidden_stays, self._stays = hidden_stays, stays
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
        self.counts: Dict[int, Tuple[int, Optional[int], np.ndarray]] = {}
        self.attributes: List[Tuple[Owner, str, np.ndarray]] = []
        self.splits: Dict[int, Tuple[np.ndarray, bool]] = {}
        self.heads_lose: Dict[int, str] = {}  # number of a node that splits channels -> of HEAD_POLICIES, what went
        self.attended: List[np.ndarray] = []
        self.rejected_readings = Counter(rejected_readings)  # of a node that is not there: 0
        self._known: Dict[Result, Labeled] = {}
        self.untold = graph.constant() | graph.packing()
        self._place: Dict[int, str] = {}
        self._depth: Dict[int, int] = {}
        self.moving = graph.moving()
        self._held: Set[str] = set()
        self._read: Set[str] = set()  # parameters of the node at hand that its rule has not bound yet
        self._faces: Dict[Result, Faces] = {}
        self._unbound: Set[Tuple[Result, int]] = set()  # faces of the node at hand that its rule has not bound yet
        self.shown: Mapping[Value, Labeled] = {}  # weights as data, with labels of one axis, while a rule moves them
        self._unused: Set[Tuple[str, int]] = set()  # bound axes that no operator has given a role yet
        self.consumers = graph.consumers()
        self.readers: Dict[str, List[int]] = {}  # name of a parameter -> numbers of the nodes that read it

    def run(self, rules: Mapping[str, Rule]) -> "Flow":
        """Walk the graph once, then fix the network's outputs and every parameter that is read in an unlabelled way."""
        for node in self.graph.nodes:
            self._locate(node)
            self.labels.place = self.place(node)
            self._read = {value.name for value in flatten(node.inputs) if isinstance(value, Parameter)}
            for name in self._read:
                self.readers.setdefault(name, []).append(node.number)
            if node.number == self.graph.evaluated:
                self._hiding, self.first_hidden = True, self.labels.count
            self._unbound = {(value, axis) for value in flatten(node.inputs) if isinstance(value, Result)
                             for axis, face in enumerate(self._faces.get(value, ())) if face}
            rule = _STAYS if self._hiding and self._hidden_stays else rules.get(node.operator)
            if node.number in self.untold:
                # What packs weights moves none of them: the operator that reads the pack says what they are.
                self._known.update({Result(node.number, index): Labeled(self.none(shape), shape)
                                    for index, shape in enumerate(node.shapes)})
                continue
            if rule and rule.weights and self._reads_weights_alone(node):
                for index, faces in enumerate(rule.weights(self, node, rule)):
                    self._known[Result(node.number, index)] = Labeled(self.none(node.shapes[index]), node.shapes[index])
                    self._faces[Result(node.number, index)] = faces
                continue
            if rule is None:
                self.without_rule.append(node)
            made: Any = rule.flow(self, node) if rule else self.barrier(
                node, f"operator '{node.operator}' has no rule")
            zero = rule is not None and rule.zero([self._is_zero(value) for value in flatten(node.inputs)])
            self._held |= self._read
            self._hold_unbound(node)
            if isinstance(made, Labeled):
                made, zero = made.labels, made.zero
            # Further outputs of the same shape, as an argmax beside its maximum, have the same channels.
            every = made if isinstance(made, tuple) else tuple(
                made if shape == node.shapes[0] else self.none(shape) for shape in node.shapes)
            for index, (shape, labels) in enumerate(zip(node.shapes, every)):
                self._known[Result(node.number, index)] = Labeled(
                    labels if labels.any() else self.none(shape), shape, zero)
        self._finish()
        return self

    def _finish(self) -> None:
        self.labels.place = ""
        for value in self.graph.outputs:
            if isinstance(value, Parameter):
                self.hold(value)
            for _, labels in self.shrinking(value) if isinstance(value, Result) else ():
                self.labels.fix(labels, "output of the network")
        for name, axis, positions, reason in self._stays:
            self.labels.fix(self.bindings[name, axis].labels[positions], reason)
        for one, other in self._ties:
            self.labels.unite(*(self.numbers[number][row] for number, row in (one, other)))
        for key in self._unused:  # such as the taps of a kernel
            self.labels.fix(self.bindings.pop(key).labels, "no operator says what this axis is")
        for (name, _), binding in self.bindings.items():
            if name in self._held:
                self.labels.fix(binding.labels, f"parameter '{name}' is also read in a way that fixes its shape")

    def _reads_weights_alone(self, node: Node) -> bool:
        """Whether a node computes from weights, of which one has more axes than a vector has."""
        return node.number not in self.moving and any(
            value in self._faces or isinstance(value, Parameter) and sum(size > 1 for size in value.shape) > 1
            for value in flatten(node.inputs))

    def _hold_unbound(self, node: Node) -> None:
        for value, axis in self._unbound:
            face = self._faces[value][axis]
            if face:
                self.labels.fix(face.labels, f"a weight is read in a way that fixes its shape ({self.place(node)})")

    def is_weight(self, value: Value) -> bool:
        """Whether a value is a parameter, or computed from such alone in a way that can be followed."""
        return isinstance(value, Parameter) or isinstance(value, Result) and value in self._faces

    def faces(self, value: Value) -> Faces:
        """What is known of every axis of a weight; a parameter's axes are bound at first sight."""
        if isinstance(value, Parameter):
            self._read.discard(value.name)
            return tuple(self._face(value, axis) if size > 1 else None for axis, size in enumerate(value.shape))
        if isinstance(value, Result) and value in self._faces:
            return self._faces[value]
        seen = self.of(value)
        return tuple(Face(seen.labels.ravel(), (), seen.zero) if axis in seen.axes else None
                     for axis in range(len(seen.shape)))

    def _face(self, parameter: Parameter, axis: int) -> Face:
        key = (parameter.name, axis)
        if key not in self.bindings:
            self.bindings[key] = Binding(parameter, axis, CHANNEL, self.labels.fresh(parameter.shape[axis]))
            self._unused.add(key)
        return Face(self.bindings[key].labels, (key,))

    def shrinking(self, result: Result) -> Tuple[Tuple[int, np.ndarray], ...]:
        """The axes of a value along which something may go, and their labels."""
        if result in self._faces:
            return tuple((axis, face.labels) for axis, face in enumerate(self._faces[result]) if face)
        seen = self.of(result)
        return tuple((axis, seen.labels.ravel()) for axis in seen.axes)

    def of(self, value: Value) -> Labeled:
        """Labels of a value. Inputs, constants and parameters carry none of their own."""
        if self.shown and value in self.shown:
            return self.shown[value]
        if isinstance(value, Result):
            return self._known[value]
        shape = self.graph.shape(value)
        return Labeled(self.none(shape), shape)

    def of_vector(self, value: Value) -> Labeled:
        """Labels of a value; a parameter with one axis longer than 1 gets labels there, bound to it."""
        if not isinstance(value, Parameter) or value in self.shown or sum(size > 1 for size in value.shape) != 1:
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
        own = [value.name for value in node.inputs if isinstance(value, Parameter)]
        read = f" in '{path}'" if path else f" of '{own[0]}'" if own else ""
        return node.operator + (read if own or not path else f" after '{path}'") + source

    def path(self, node: Node) -> str:
        """Path of the nearest Cell with parameters, at the node or before it; '' if there is none."""
        return self._place[node.number]

    def depth(self, value: Value) -> int:
        """The largest number of parameter-reading operators on a way from the network's inputs to a value."""
        return self._depth[value.node] if isinstance(value, Result) else 0

    def bind(self, weight: Value, axis: int, labels: np.ndarray, role: str) -> None:
        """Say that an axis of a weight carries these labels; a second binding is united with the first."""
        hidden = self._hiding and role == FILTER
        if isinstance(weight, Parameter):
            keys: Tuple[Tuple[str, int], ...] = ((weight.name, axis),)
            self._read.discard(weight.name)
            if keys[0] not in self.bindings:
                self.bindings[keys[0]] = Binding(weight, axis, role, np.array(labels))
                self._unused.add(keys[0])
            self.labels.unite(self.bindings[keys[0]].labels, labels)
        else:
            assert isinstance(weight, Result)
            self._unbound.discard((weight, axis))
            face = self._faces[weight][axis]
            keys = face.keys if face else ()
            self.labels.unite(face.labels if face else np.zeros(1, np.int64), labels)
        for key in self._unused.intersection(keys):
            self._unused.discard(key)
            bound = replace(self.bindings[key], role=role)
            # Nothing scores filters of hidden nodes: they go with channels of evaluation, or stay.
            self.bindings[key] = replace(bound, role=CHANNEL) if hidden else bound
            self.hidden.extend([bound] if hidden else ())

    def hold(self, weight: Value) -> None:
        """Say that a weight's shape must stay as it is."""
        if isinstance(weight, Parameter):
            self._held.add(weight.name)

    def is_zero_with(self, weight: Value, axis: int) -> bool:
        """Whether a weight is zero at positions of an axis where its parameters are."""
        face = self._faces[weight][axis] if isinstance(weight, Result) else None
        return not isinstance(weight, Result) or bool(face and face.zero)

    def reads(self, node: Node, *rows: np.ndarray) -> None:
        """Say that numbers among a node's arguments may be how many channels these rows of labels hold."""
        self.numbers.setdefault(node.number, []).extend(rows)

    def fills(self, node: Node, value: Value) -> bool:
        """Whether a value is one number all over, as zeros are that the code makes as wide as what they meet."""
        return not self.rejected_readings[node.number] and self.uniform(value)

    def uniform(self, value: Value) -> bool:
        """Whether a value is a tensor of one number all over, which the code makes."""
        if isinstance(value, Constant):
            return np.ndim(value.value) > 0 and len(np.unique(value.value)) == 1
        if not isinstance(value, Result):
            return False
        node = self.graph.nodes[value.node]
        return node.operator in _FILLED or node.operator in _MOVED and self.uniform(node.inputs[0])

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
        values: List[Value] = list(flatten(node.inputs))
        seen: Set[int] = set()
        while values:
            value = values.pop()
            if value in self.shown:
                self.labels.fix(self.shown[value].labels, text)
            elif isinstance(value, Parameter):
                self.hold(value)
            elif isinstance(value, Result):
                for _, labels in self.shrinking(value):
                    self.labels.fix(labels, text)
                if value.node not in self.moving | seen and value not in self._faces:  # computed of weights alone
                    seen.add(value.node)
                    values.extend(flatten(self.graph.nodes[value.node].inputs))
        return self.none(node.shapes[0])

    def sum_up(self, weight: Value, axis: int, labels: np.ndarray, form: Optional[Form],
               entering: Optional[np.ndarray] = None) -> None:
        """
        Say that an axis of a weight sums these channels up, so that removed ones must not reach it.

        In layers of this form, where the weight reads the Cell's input, the masked network masks that; elsewhere it has
        zeros in the weight. `entering` are the labels of the input, where the weight's axis covers only a part of them.
        """
        if not isinstance(weight, Parameter):
            self._sum_up_computed(weight, axis, labels)
            return
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

    def _sum_up_computed(self, weight: Value, axis: int, labels: np.ndarray) -> None:
        assert isinstance(weight, Result)
        self.bind(weight, axis, labels, INPUT)
        face = self._faces[weight][axis]
        if face and face.zero:
            self.bare.update(face.keys)
        else:
            self.labels.fix(labels, "summed up by a weight that is computed, and not zero where its parameter is")

    def sum_up_values(self, node: Node, operands: Sequence[Labeled], labels: np.ndarray) -> None:
        """Say that an operator without a weight sums these channels up: exact if they are zero in some operand."""
        if any(operand.zero for operand in operands):
            self.zeroed.append(labels)
        else:
            self.labels.fix(labels, f"summed up where a removed channel is not zero ({self.place(node)})")

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
