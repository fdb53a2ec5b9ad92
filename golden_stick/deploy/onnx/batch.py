"""
What depends on the batch size: that which changes when the batch does.

A network is traced for two batch sizes. Where the two graphs differ by numbers only, every number that differs is a
`Size`, a line through the two; where they differ otherwise, the batch size is fixed, and the reason is named.
"""
from dataclasses import dataclass, replace
from typing import Any, Dict, Sequence, Tuple

import numpy as np

from golden_stick.graph.ir import Constant, Graph, Input, Node, Parameter, Value

__all__ = ["FixedBatch", "Size", "Repeated", "merge", "grows", "line", "sizes_of"]


class FixedBatch(Exception):
    """Why a network takes one batch size only. Never leaves this package."""


class Size(int):
    """A number at the first batch size; at another it is ``offset + per_sample * batch``."""

    offset: int
    per_sample: int

    def __new__(cls, value: int, offset: int, per_sample: int) -> "Size":
        made = super().__new__(cls, value)
        made.offset, made.per_sample = offset, per_sample
        return made


@dataclass(frozen=True, eq=False)
class Repeated:
    """An array whose rows are equal along the axes that follow the batch: one of them, and the full shape."""

    row: np.ndarray
    shape: Tuple[int, ...]


def grows(number: object) -> bool:
    """Whether a number depends on the batch size."""
    return isinstance(number, Size)


def line(number: int) -> Tuple[int, int]:
    """Offset and growth of a number: it is ``offset + per_sample * batch``."""
    return (number.offset, number.per_sample) if isinstance(number, Size) else (int(number), 0)


def sizes_of(shape: Sequence[int]) -> Tuple[Tuple[int, int], ...]:
    """A shape such that two are equal only if they are at every batch size."""
    return tuple(map(line, shape))


def merge(graph: Graph, other: Graph, batches: Tuple[int, int]) -> Graph:
    """One graph for all batch sizes, from those of two, if they differ only in numbers that grow evenly."""
    if [node.operator for node in graph.nodes] != [node.operator for node in other.nodes]:
        raise FixedBatch("the network computes in another way when the batch size changes")
    merger = _Merger(batches)
    for one, two in zip(graph.inputs, other.inputs):
        merger.inputs[one.name] = replace(one, shape=merger.numbers(one.shape, two.shape, "an input"))
    nodes = tuple(merger.node(one, two) for one, two in zip(graph.nodes, other.nodes))
    outputs = tuple(merger.value(one, two, "an output") for one, two in zip(graph.outputs, other.outputs))
    return Graph(nodes, tuple(merger.inputs.values()), graph.parameters, outputs)


class _Merger:

    def __init__(self, batches: Tuple[int, int]):
        self._first, self._second = batches
        self.inputs: Dict[str, Input] = {}

    def node(self, one: Node, two: Node) -> Node:
        place = str(one)
        if len(one.inputs) != len(two.inputs) or set(one.attributes) != set(two.attributes):
            raise FixedBatch(f"{place} is called in another way when the batch size changes")
        return replace(
            one,
            inputs=tuple(self.value(*pair, place) for pair in zip(one.inputs, two.inputs)),
            attributes={key: self.numbers(one.attributes[key], two.attributes[key], place) for key in one.attributes},
            shapes=tuple(self.numbers(*pair, place) for pair in zip(one.shapes, two.shapes)),
        )

    def value(self, one: Value, two: Value, place: str) -> Value:
        if isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two):
            return tuple(self.value(*pair, place) for pair in zip(one, two))
        if isinstance(one, Constant) and isinstance(two, Constant):
            return Constant(self.numbers(one.value, two.value, place))
        if type(one) is not type(two) or (not isinstance(one, (Input, Parameter)) and one != two):
            raise FixedBatch(f"{place} reads something else when the batch size changes")
        return self.inputs[one.name] if isinstance(one, Input) else one

    def numbers(self, one: Any, two: Any, place: str) -> Any:
        if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
            return self._array(one, two, place)
        if isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two):
            return tuple(self.numbers(*pair, place) for pair in zip(one, two))
        if type(one) is type(two) and (one == two or one != one):
            return one
        if type(one) is int and type(two) is int:
            per_sample, rest = divmod(two - one, self._second - self._first)
            if rest == 0:
                return Size(one, one - per_sample * self._first, per_sample)
        raise FixedBatch(f"a number in the code of {place} does not grow evenly with the batch size")

    def _array(self, one: np.ndarray, two: np.ndarray, place: str) -> Any:
        if one.shape == two.shape:
            if one.dtype == two.dtype and np.array_equal(one, two, equal_nan=one.dtype.kind == "f"):
                return one
            raise FixedBatch(f"an array in the code of {place} holds numbers that depend on the batch size")
        if one.ndim == two.ndim:
            axes = [axis for axis in range(one.ndim) if one.shape[axis] != two.shape[axis]]
            row = one[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(one.ndim))]
            if (one == row).all() and (two == row).all():
                return Repeated(row, self.numbers(one.shape, two.shape, place))
        raise FixedBatch(f"an array in the code of {place} has other rows when the batch size changes")
