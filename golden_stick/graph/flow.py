"""One walk over the graph, in which every operator's rule says how labels flow through it."""
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Set, Tuple

import numpy as np

from golden_stick.graph.ir import Constant, Graph, Input, Node, Parameter, Result, Shape, Value, flatten
from golden_stick.graph.labels import Labels

__all__ = ["FILTER", "INPUT", "CHANNEL", "RESIDUAL_POLICIES", "Labeled", "Binding", "MaskSite", "ScatterSite", "Flow"]

# What an axis of a parameter is to the operator that reads it.
FILTER = "filter"  # weight[i] makes channel i
INPUT = "input"  # channel i is summed up by this axis
CHANNEL = "channel"  # one number (or filter) for channel i alone, as in a bias or a normalization

RESIDUAL_POLICIES = ("group", "scatter", "keep")

_CELLS_WITH_OUTPUT = frozenset({"BatchNorm2d", "BatchNorm1d", "Conv2d", "Conv1d", "Dense"})


@dataclass(frozen=True, eq=False)
class Labeled:
    """A tensor's labels (int64, of the tensor's rank, every axis as long as the tensor's or 1) and its shape."""

    labels: np.ndarray
    shape: Shape

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
class MaskSite:
    """The input of the Cell at `path` carries `labels` on an axis that is followed by `trailing` others."""

    path: str
    trailing: int
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class ScatterSite:
    """The output of the Cell at `path`, with `labels` on axis 1 and `trailing` axes behind, enters such a sum."""

    path: str
    trailing: int
    labels: np.ndarray


class Flow:
    """
    What the rules read and write.

    Args:
        graph (Graph): The network.
        residual (str): What a sum of two feature maps does to their channels: ``'group'``, ``'scatter'``, ``'keep'``.
    """

    def __init__(self, graph: Graph, residual: str):
        self.graph = graph
        self.residual = residual
        self.labels = Labels()
        self.bindings: Dict[Tuple[str, int], Binding] = {}
        self.masks: List[MaskSite] = []
        self.scatters: List[ScatterSite] = []
        self.without_rule: List[Node] = []
        self._known: Dict[Result, Labeled] = {}
        self._place: Dict[int, str] = {}
        self._depth: Dict[int, int] = {}
        self._held: Set[str] = set()
        self._read: Set[str] = set()  # parameters of the node at hand that its rule has not bound yet
        self._consumers = graph.consumers()

    def run(self, rules: Mapping[str, Callable]) -> "Flow":
        """Walk the graph once, then fix the network's outputs and every parameter that is read in an unlabelled way."""
        for node in self.graph.nodes:
            self._locate(node)
            self._read = {value.name for value in flatten(node.inputs) if isinstance(value, Parameter)}
            rule = rules.get(node.operator)
            if rule is None:
                self.without_rule.append(node)
                made = self.barrier(node, f"operator '{node.operator}' has no rule")
            else:
                made = rule(self, node)
            self._held |= self._read
            for index, shape in enumerate(node.shapes):
                labels = made if index == 0 else self.none(shape)
                self._known[Result(node.number, index)] = Labeled(labels, shape)
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

    def barrier(self, node: Node, reason: str) -> np.ndarray:
        """Fix all that a node reads, and put out labels that nothing can be removed from."""
        text = f"{reason} ({self.place(node)})"
        for value in flatten(node.inputs):
            if isinstance(value, Parameter):
                self.hold(value)
            elif isinstance(value, Result):
                self.labels.fix(self.of(value).labels, text)
        return self.none(node.shapes[0])

    def mask_input(self, node: Node, weight: Parameter, labels: np.ndarray, trailing: Mapping[str, int]) -> None:
        """Say that removed channels must not reach this weight: the masked network masks its Cell's input."""
        kind = weight.owners[0].kind if weight.owners else "no Cell"
        if kind in trailing:
            self.masks.append(MaskSite(weight.owners[0].path, trailing[kind], labels))
        else:
            self.labels.fix(labels, f"read by a Cell of class '{kind}', which cannot be masked ({self.place(node)})")

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
        return owner.path if owner.kind in _CELLS_WITH_OUTPUT and len(readers) == 1 else None

    def _locate(self, node: Node) -> None:
        values = flatten(node.inputs)
        owned = [value for value in values if isinstance(value, Parameter) and value.owners]
        sources = [value for value in values if isinstance(value, Result)]
        deepest = max(sources, key=self.depth, default=None)
        self._depth[node.number] = (0 if deepest is None else self.depth(deepest)) + bool(owned)
        if owned:
            self._place[node.number] = owned[0].owners[0].path
        else:
            self._place[node.number] = "" if deepest is None else self._place[deepest.node]


def is_data(value: Value) -> bool:
    """Whether a value is a tensor that flows, rather than a weight or a constant."""
    return isinstance(value, (Result, Input))


def number(value: Value):
    """The Python value of a constant, None for anything else."""
    return value.value if isinstance(value, Constant) else None
