"""What is added to what a layer gives, as in residual networks, and where it can be seen while the network runs."""
from dataclasses import dataclass
from typing import Mapping, Optional, Tuple

from golden_stick.graph.ir import Constant, Graph, Node, Parameter, Result, flatten
from golden_stick.graph.layers import NORMALIZERS
from golden_stick.graph.rules import RULES
from golden_stick.graph.rules.arithmetic import residual_sum

__all__ = ["Addend", "addend_of"]


@dataclass(frozen=True)
class Addend:
    """
    A feature map that is added to what a layer gives.

    Args:
        path, call (str, int): The Cell, and which of its calls, that reads it first or gives it.
        enters (bool): Whether the Cell reads it.
        normalization (tuple): Names of scale and variance of a batch normalization between the layer and the sum, and
            its epsilon; None if there is none.
    """

    path: str
    call: int
    enters: bool
    normalization: Optional[Tuple[str, str, float]]


def addend_of(graph: Graph, layer: Node, counts: Mapping[str, int]) -> Optional[Addend]:
    """
    What is added to what a node gives, with nothing between them but a bias and a batch normalization; None if nothing
    is, or it cannot be seen. `counts` says how often every Cell is called.
    """
    readers, value, normalization = graph.consumers(), Result(layer.number), None
    while len(readers.get(value, ())) == 1 and readers[value][0] >= 0:
        node = graph.nodes[readers[value][0]]
        if node.operator in RULES and RULES[node.operator].flow is residual_sum:
            others = [item for item in flatten(node.inputs) if not isinstance(item, Constant) and item != value]
            other = others[0] if len(others) == 1 else None
            if isinstance(other, Result) and graph.shape(other) == graph.shape(value) == node.shapes[0]:
                place = _place(graph, other, counts)
                return place and Addend(*place, normalization)
            # A bias may be a sum of its own.
            if not isinstance(other, Parameter):
                return None
            value = Result(node.number)
            continue
        if node.operator != "BiasAdd":
            normalization = _normalization(node) if normalization is None else None
            if normalization is None:
                return None
        value = Result(node.number)
    return None


def _normalization(node: Node) -> Optional[Tuple[str, str, float]]:
    operator = NORMALIZERS.get(node.operator)
    if operator is None or operator.over != "batch" or operator.variance is None:
        return None
    gamma, variance = node.inputs[operator.gamma], node.inputs[operator.variance]
    if not isinstance(gamma, Parameter) or not isinstance(variance, Parameter):
        return None
    return gamma.name, variance.name, float(operator.argument(node, "epsilon", 1e-5))


def _place(graph: Graph, value: Result, counts: Mapping[str, int]) -> Optional[Tuple[str, int, bool]]:
    """A Cell, the outermost one, and which of its calls, that gives a value; or one that reads it first."""
    readers = graph.consumers()
    parts = graph.nodes[value.node].scope.split(".")
    for path in (".".join(parts[:size]) for size in range(1, len(parts) + 1)):
        given = [node.number for node in graph.nodes if _within(node, path) and any(
            at < 0 or not _within(graph.nodes[at], path)
            for at in readers.get(Result(node.number), ()))]
        if len(given) == counts.get(path, 0) and value.node in given and value.index == 0:
            return path, given.index(value.node), False
    for number in readers.get(value, ()):
        path = graph.nodes[number].scope if number >= 0 else ""
        read = {item for node in graph.nodes if _within(node, path) for item in flatten(node.inputs)
                if isinstance(item, Result) and not _within(graph.nodes[item.node], path)}
        if path and counts.get(path) == 1 and read == {value}:
            return path, 0, True
    return None


def _within(node: Node, path: str) -> bool:
    return node.scope == path or node.scope.startswith(f"{path}.")
