"""One walk over the graph, in which every operator's rule says how labels flow through it."""
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from golden_stick.graph.ir import Constant, Graph, Input, Node, Parameter, Result, Shape, Value, flatten
from golden_stick.graph.labels import Labels
from golden_stick.graph.layers import LAYERS, NORMALIZATIONS, Form, layer_of
from golden_stick.graph.types import CHANNEL, INPUT, WIDTH, Binding, Labeled, Rule, Site

__all__ = ["Flow"]


class Flow:
    """
    What the rules read and write.

    Args:
        graph (Graph): The network.
        residual (str): What a sum of two feature maps does to their channels: ``'group'``, ``'scatter'``, ``'keep'``.
        rejected_readings (Mapping): Number of a node -> how many readings of its numbers were wrong.
        approximate (bool): Whether normalizations over channels may lose some, although that changes what they give.
        whole (Collection): Numbers of the nodes that split channels into heads which go as a whole.
    """

    def __init__(self, graph: Graph, residual: str, rejected_readings: Optional[Mapping[int, int]] = None,
                 approximate: bool = False, whole: Collection[int] = ()):
        self.graph = graph
        self.residual = residual
        self.approximate = approximate
        self.whole = whole
        self.labels = Labels()
        self.bindings: Dict[Tuple[str, int], Binding] = {}
        self.masks: List[Site] = []
        self.scatters: List[Site] = []
        self.without_rule: List[Node] = []
        self.computed: List[Tuple[Parameter, str]] = []
        self.zeroed: List[np.ndarray] = []
        self.bare: Set[Tuple[str, int]] = set()
        self.inexact: List[Tuple[str, np.ndarray]] = []
        self.read_numbers: Set[int] = set()
        self.splits: Dict[int, Tuple[np.ndarray, bool]] = {}
        self.attended: List[np.ndarray] = []
        self._rejected_readings = rejected_readings or {}
        self._known: Dict[Result, Labeled] = {}
        self._place: Dict[int, str] = {}
        self._depth: Dict[int, int] = {}
        self._moving = graph.moving()
        self._held: Set[str] = set()
        self._read: Set[str] = set()  # parameters of the node at hand that its rule has not bound yet
        self._consumers = graph.consumers()

    def run(self, rules: Mapping[str, Rule]) -> "Flow":
        """Walk the graph once, then fix the network's outputs and every parameter that is read in an unlabelled way."""
        for node in self.graph.nodes:
            self._locate(node)
            self._read = {value.name for value in flatten(node.inputs) if isinstance(value, Parameter)}
            rule = rules.get(node.operator)
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
                self._known[Result(node.number, index)] = Labeled(labels, shape, zero)
        for value in self.graph.outputs:
            if isinstance(value, Parameter):
                self.hold(value)
            self.labels.fix(self.of(value).labels, "output of the network")
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

    def rejected_readings(self, node: Node) -> int:
        """How many readings of the numbers at a node have proven wrong."""
        return self._rejected_readings.get(node.number, 0)

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
        path = self._place[node.number]
        if any(isinstance(value, Parameter) for value in node.inputs):
            return f"{node.operator} in '{path}'"
        return f"{node.operator} after '{path}'" if path else node.operator

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
            self.bindings[key] = Binding(parameter, axis, role, np.array(labels))

    def hold(self, parameter: Parameter) -> None:
        """Say that a parameter's shape must stay as it is."""
        self._held.add(parameter.name)

    def pin(self, node: Node) -> None:
        """Fix the channels that a node reads, or else the nearest ones before it."""
        values = flatten(node.inputs)
        while values and not any(self.of(value).axes for value in values if isinstance(value, Result)):
            before = [self.graph.nodes[value.node] for value in values if isinstance(value, Result)]
            values = tuple(value for earlier in before for value in flatten(earlier.inputs))
        for value in values:
            if isinstance(value, Result):
                self.labels.fix(self.of(value).labels, f"{WIDTH} ({self.place(node)})")

    def barrier(self, node: Node, reason: str) -> np.ndarray:
        """Fix all that a node reads, and put out labels that nothing can be removed from."""
        text = f"{reason} ({self.place(node)})"
        for value in flatten(node.inputs):
            if isinstance(value, Parameter):
                self.hold(value)
            elif isinstance(value, Result):
                self.labels.fix(self.of(value).labels, text)
        return self.none(node.shapes[0])

    def weights_stay(self, node: Node, reason: str) -> np.ndarray:
        """A barrier that also names the weights from which a node's inputs are computed: no layer of theirs does."""
        made = self.barrier(node, reason)
        values, seen = list(flatten(node.inputs)), set()
        while values:
            value = values.pop()
            if isinstance(value, Parameter) and len(value.shape) > 1:
                self.computed.append((value, f"{reason} ({self.place(node)})"))
            elif isinstance(value, Result) and value.node not in seen and value.node not in self._moving:
                seen.add(value.node)
                values.extend(flatten(self.graph.nodes[value.node].inputs))
        return made

    def sum_up(self, weight: Parameter, axis: int, labels: np.ndarray, form: Optional[Form],
               entering: Optional[np.ndarray] = None) -> None:
        """
        Say that an axis of a weight sums these channels up, so that removed ones must not reach it.

        The masked network masks the input of the Cell, where that is what the weight reads: in layers of this form.
        Elsewhere it has zeros in the weight. `entering` are the labels of the Cell's input, where the weight's axis
        covers only a part of them.
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
