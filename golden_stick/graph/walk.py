"""Short walks over a graph."""
from typing import Dict

from golden_stick.graph.ir import Graph, Parameter, Result

__all__ = ["normalization_after"]

_CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "MatMul"})
# What may stand between a convolution and its normalization without changing which channel is which.
_BETWEEN = frozenset({"BiasAdd", "Squeeze", "Reshape"})


def normalization_after(graph: Graph) -> Dict[str, str]:
    """Name of a weight -> name of the scale (gamma) of the batch normalization that reads what the weight makes."""
    found: Dict[str, str] = {}
    maker: Dict[Result, str] = {}
    for node in graph.nodes:
        if node.operator in _CONVOLUTIONS and isinstance(node.inputs[1], Parameter):
            maker[Result(node.number)] = node.inputs[1].name
        source = node.inputs[0] if node.inputs else None
        weight = maker.get(source) if isinstance(source, Result) else None
        if weight is None:
            continue
        if node.operator in _BETWEEN:
            maker[Result(node.number)] = weight
        elif node.operator == "BatchNorm" and isinstance(node.inputs[1], Parameter):
            found.setdefault(weight, node.inputs[1].name)
    return found
