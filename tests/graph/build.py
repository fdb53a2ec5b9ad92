"""Graphs by hand: what a trace would give, without MindSpore."""
import math
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from golden_stick.graph.flow import Flow
from golden_stick.graph.ir import Constant, Graph, Input, Node, Owner, Parameter, Result, Solution, Value, flatten
from golden_stick.graph.rules import RULES

SPATIAL = {"Conv2D": 2, "Conv3D": 3}


class Builder:
    """Collects nodes; `graph` closes it. Plain Python values among a node's inputs become constants."""

    def __init__(self):
        self._nodes: List[Node] = []
        self._inputs: List[Input] = []
        self._parameters: Dict[str, Parameter] = {}

    def input(self, *shape: int) -> Input:
        self._inputs.append(Input(f"x{len(self._inputs)}", shape))
        return self._inputs[-1]

    def parameter(self, name: str, shape: Sequence[int], kind: Optional[str] = "Cell") -> Parameter:
        """A parameter 'path.attribute' of a Cell of that kind; `kind` None for one that no Cell holds."""
        if name not in self._parameters:
            path, _, attribute = name.rpartition(".")
            owners = () if kind is None else (Owner(path, kind, attribute),)
            self._parameters[name] = Parameter(name, tuple(shape), owners)
        return self._parameters[name]

    def node(self, operator: str, inputs: Sequence[Any], *shapes: Tuple[int, ...], **attributes: Any) -> Result:
        values = tuple(self._value(item) for item in inputs)
        self._nodes.append(Node(len(self._nodes), operator, values, attributes, tuple(map(tuple, shapes)), ""))
        return Result(len(self._nodes) - 1)

    def shape(self, value: Value) -> Tuple[int, ...]:
        return self._nodes[value.node].shapes[value.index] if isinstance(value, Result) else value.shape

    def pointwise(self, operator: str, source: Value) -> Result:
        return self.node(operator, [source], self.shape(source))

    def relu(self, source: Value) -> Result:
        return self.pointwise("ReLU", source)

    def add(self, first: Value, second: Value, operator: str = "Add") -> Result:
        return self.node(operator, [first, second], np.broadcast_shapes(self.shape(first), self.shape(second)))

    def concat(self, values: Sequence[Value], axis: int = 1) -> Result:
        shape = list(self.shape(values[0]))
        shape[axis] = sum(self.shape(value)[axis] for value in values)
        return self.node("Concat", [tuple(values), axis], shape)

    def reshape(self, source: Value, *shape: int) -> Result:
        assert math.prod(shape) == math.prod(self.shape(source))
        return self.node("Reshape", [source, shape], shape)

    def convolution(self, path: str, source: Value, filters: int, group: int = 1, kind: Optional[str] = "nn.Conv2d",
                    kernel: int = 1, operator: str = "Conv2D") -> Result:
        """Without padding and stride."""
        batch, channels, *sizes = self.shape(source)
        weight = self.parameter(f"{path}.weight", (filters, channels // group) + (kernel,) * SPATIAL[operator], kind)
        shape = (batch, filters, *(size - kernel + 1 for size in sizes))
        return self.node(operator, [source, weight], shape, group=group, format="NCHW")

    def dense(self, path: str, source: Value, filters: int, kind: Optional[str] = "nn.Dense",
              turned: bool = True) -> Result:
        batch, channels = self.shape(source)
        shape = (filters, channels) if turned else (channels, filters)
        weight = self.parameter(f"{path}.weight", shape, kind)
        return self.node("MatMul", [source, weight, False, turned], (batch, filters))

    def normalization(self, path: str, source: Value) -> Result:
        shape = self.shape(source)
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        vectors = [self.parameter(f"{path}.{name}", (shape[1],), "nn.BatchNorm2d") for name in names]
        return self.node("BatchNorm", [source, *vectors], shape, *[(shape[1],)] * 4, format="NCHW")

    def bias(self, path: str, source: Value) -> Result:
        shape = self.shape(source)
        return self.node("BiasAdd", [source, self.parameter(f"{path}.bias", (shape[1],), "nn.Conv2d")], shape)

    def graph(self, *outputs: Value) -> Graph:
        return Graph(tuple(self._nodes), tuple(self._inputs), tuple(self._parameters.values()), flatten(outputs))

    @staticmethod
    def _value(item: Any) -> Value:
        if isinstance(item, (Input, Parameter, Constant, Result)):
            return item
        if isinstance(item, tuple) and any(isinstance(part, (Input, Parameter, Result)) for part in item):
            return item
        return Constant(item)


def walk(graph: Graph, residual: str = "group") -> Flow:
    """The flow after every rule has run."""
    return Flow(graph, residual).run(RULES)


def spread(flow: Flow, value: Value) -> np.ndarray:
    """Labels of a value, in the value's full shape."""
    seen = flow.of(value)
    assert seen.labels.ndim == len(seen.shape)
    return np.broadcast_to(seen.labels, seen.shape)


def bound(flow: Flow, solution: Solution, name: str, axis: int) -> np.ndarray:
    """Class of every position on an axis of a parameter, 0 where it is fixed or was never bound."""
    binding = flow.bindings.get((name, axis))
    if binding is None:
        return np.zeros(next(item.shape[axis] for item in flow.graph.parameters if item.name == name), np.int64)
    return np.where(solution.removable(binding.labels), solution.classes[binding.labels], 0)
