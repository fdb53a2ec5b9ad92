"""The graph that a slim network would have, from the labels alone: nothing is slimmed or compiled."""
from dataclasses import replace
from typing import Any, Dict, Tuple

import numpy as np

from golden_stick.graph.groups import Grouping
from golden_stick.graph.ir import Graph, Node, Parameter

__all__ = ["shrink", "shrunk_shapes"]


def shrink(graph: Graph, grouping: Grouping, gone: np.ndarray) -> Graph:
    """
    A traced network without some channels: the same nodes, with the shapes that they have in the slim network.

    Args:
        graph (Graph): The traced network.
        grouping (Grouping): What `find_groups` found in it.
        gone (numpy.ndarray): int64: the channels that are removed, by their numbers in `grouping`.

    Returns:
        Graph, fit for counting costs. Numbers among the arguments of its nodes are those of the original. Operators
        that the slim network has besides, which put a branch back into its full width, are not in it.
    """
    lost: Dict[str, Dict[int, int]] = {}
    for item in grouping.slices:
        lost.setdefault(item.parameter, {})[item.axis] = int(np.isin(item.channels, gone).sum())
    parameters = {item.name: replace(item, shape=tuple(size - lost.get(item.name, {}).get(axis, 0)
                                                       for axis, size in enumerate(item.shape)))
                  for item in graph.parameters}

    def read(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(read(item) for item in value)
        return parameters[value.name] if isinstance(value, Parameter) else value

    nodes = tuple(replace(node, inputs=read(node.inputs), shapes=shrunk_shapes(node, found, gone))
                  for node, found in zip(graph.nodes, grouping.outputs))
    return Graph(nodes, graph.inputs, tuple(parameters.values()), graph.outputs)


def shrunk_shapes(node: Node, found: Tuple, gone: np.ndarray) -> Tuple[Tuple[int, ...], ...]:
    """The shapes of a node's outputs without the channels `gone`; `found` is the node's entry in `Grouping.outputs`."""
    shapes = []
    for shape, shrinking in zip(node.shapes, found):
        if shrinking is not None:
            axis, channels = shrinking
            shape = shape[:axis] + (shape[axis] - int(np.isin(channels, gone).sum()),) + shape[axis + 1:]
        shapes.append(shape)
    return tuple(shapes)
