"""Multiply-accumulates (MACs) and parameters of a traced network, and of the one that a plan would leave of it.

One fused multiply-add counts as one. Convolutions and matrix products are counted; all that works number by number
(normalization, activation, pooling, sums) is not, as usual in the field.
"""
import math
from dataclasses import replace
from typing import Any, Callable, Dict, Mapping, Sequence, Tuple

import numpy as np

from golden_stick.graph.flow import number
from golden_stick.graph.groups import Grouping
from golden_stick.graph.ir import Graph, Node, Parameter, flatten
from golden_stick.graph.layers import CONVOLUTION, DENSE, EMBEDDING, NORMALIZERS, OPERATORS, TRANSPOSED, Form
from golden_stick.graph.rules.products import einsum_letters

__all__ = ["count_macs", "count_parameters", "einsum_macs", "shrink", "shrunk_shapes"]


def _convolution(graph: Graph, node: Node) -> int:
    # weight is (C_out, C_in / group, *kernel): each output number sums C_in / group * kernel products.
    return math.prod(node.shapes[0]) * math.prod(graph.shape(node.inputs[1])[1:])


def _transposed_convolution(graph: Graph, node: Node) -> int:
    # weight is (C_in, C_out / group, *kernel): each input number enters C_out / group * kernel products.
    return math.prod(graph.shape(node.inputs[0])) * math.prod(graph.shape(node.inputs[1])[1:])


def _product(graph: Graph, node: Node) -> int:
    first, turned = graph.shape(node.inputs[0]), bool(len(node.inputs) > 2 and number(node.inputs[2]))
    return math.prod(node.shapes[0]) * first[-2 if turned else -1]


def _einsum(graph: Graph, node: Node) -> int:
    return einsum_macs(node.attributes["equation"], [graph.shape(value) for value in flatten(node.inputs)])


def einsum_macs(equation: str, shapes: Sequence[Tuple[int, ...]]) -> int:
    """MACs of an Einstein sum of tensors of these shapes: over all letters, a product for each after the first."""
    terms, _ = einsum_letters(equation, [len(shape) for shape in shapes])
    sizes: Dict[str, int] = {}
    for term, shape in zip(terms, shapes):
        for letter, size in zip(term, shape):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values()) * (len(shapes) - 1)


_BY_FORM: Mapping[Form, Callable[[Graph, Node], int]] = {
    CONVOLUTION: _convolution, TRANSPOSED: _transposed_convolution, DENSE: _product, EMBEDDING: lambda graph, node: 0}
_MACS: Mapping[str, Callable[[Graph, Node], int]] = {
    "Einsum": _einsum, **{operator.name: _BY_FORM[operator.form] for operator in OPERATORS.values()}}


def count_macs(graph: Graph) -> int:
    """
    MACs of one sample.

    Args:
        graph (Graph): A network, traced with the samples along the first axis of its first input.

    Returns:
        int, MACs of the whole batch over its number of samples.
    """
    total = sum(_MACS[node.operator](graph, node) for node in graph.nodes if node.operator in _MACS)
    return total // graph.inputs[0].shape[0]


def count_parameters(graph: Graph) -> int:
    """Numbers in the parameters that the graph reads, moving statistics of normalizations left out."""
    buffers = {
        value.name
        for node in graph.nodes if node.operator in NORMALIZERS
        for value in (node.inputs[at] for at in NORMALIZERS[node.operator].statistics)
        if isinstance(value, Parameter)
    }
    return sum(math.prod(item.shape) for item in graph.parameters if item.name not in buffers)


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
