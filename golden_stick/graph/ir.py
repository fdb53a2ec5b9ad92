"""The traced network as frozen data: nodes, and the values that flow between them."""
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Optional, Set, Tuple, Union

__all__ = ["CONTROL_FLOW", "Owner", "Input", "Parameter", "Constant", "Result", "Value", "Node", "Graph"]


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
    """

    number: int
    operator: str
    inputs: Tuple[Value, ...]
    attributes: Mapping[str, Any]
    shapes: Tuple[Shape, ...]
    scope: str
    types: Tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.operator} in '{self.scope}'" if self.scope else self.operator


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
    """

    nodes: Tuple[Node, ...]
    inputs: Tuple[Input, ...]
    parameters: Tuple[Parameter, ...]
    outputs: Tuple[Value, ...]
    evaluated: Optional[int] = None

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
