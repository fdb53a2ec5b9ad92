"""Where a network can be cut: the points that all data must pass, and the stretches between them."""
from typing import Dict

from golden_stick.graph.ir import Graph, Input, Parameter, Result, flatten

__all__ = ["segments_of"]


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
