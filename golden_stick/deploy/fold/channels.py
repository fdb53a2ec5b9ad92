"""Channel numbers of a traced tensor: an array of its shape that says which channel stands at every place."""
from typing import Optional, Tuple, Union

import numpy as np

from golden_stick.graph.flow import number
from golden_stick.graph.ir import Node

__all__ = ["data_movement", "moved", "spread", "along", "places"]


_RESHAPES = frozenset({"Reshape", "Flatten", "ExpandDims", "Squeeze"})


def data_movement(node: Node) -> bool:
    """Whether an operator puts the numbers of one tensor elsewhere: it changes and adds none. A slice leaves some."""
    return node.operator in _RESHAPES or node.operator == "Transpose" or _index(node) is not None


def moved(node: Node, channels: np.ndarray) -> np.ndarray:
    """Channel numbers behind an operator: one that moves them, or one that leaves each where it is."""
    if node.operator == "Transpose":
        return np.transpose(channels, number(node.inputs[1]))
    index = _index(node)
    return channels.reshape(node.shapes[0]) if index is None else channels[index]


def _index(node: Node) -> Optional[Tuple[Union[slice, int], ...]]:
    """What a slice takes, as numpy would write it; None for other operators and for slices that insert axes."""
    if node.operator != "StridedSlice":
        return None
    begin, end, strides, open_begin, open_end, ellipsis, inserted, single = (number(value) for value in node.inputs[1:])
    if begin is None or end is None or strides is None or ellipsis or inserted:
        return None
    return tuple(begin[axis] if single >> axis & 1 else
                 slice(None if open_begin >> axis & 1 else begin[axis], None if open_end >> axis & 1 else end[axis],
                       strides[axis]) for axis in range(len(begin)))


def spread(channels: np.ndarray, axis: int, shape: Tuple[int, ...]) -> np.ndarray:
    """Channel numbers along an axis, as an array of a tensor's shape."""
    lengths = [1] * len(shape)
    lengths[axis] = -1
    return np.broadcast_to(channels.reshape(lengths), shape)


def along(channels: np.ndarray, axis: int) -> Optional[np.ndarray]:
    """Channel numbers along an axis, if they are the same at every place of the others."""
    rows = np.moveaxis(channels, axis, 0).reshape(channels.shape[axis], -1)
    return rows[:, 0].copy() if (rows == rows[:, :1]).all() else None


def places(channels: np.ndarray, axis: int, count: int) -> np.ndarray:
    """For each of `count` channel numbers, where along an axis it stands; -1 if nowhere or at more than one place."""
    positions = spread(np.arange(channels.shape[axis]), axis, channels.shape)
    found = np.full(count, -1)
    found[channels] = positions
    found[channels[found[channels] != positions]] = -1
    return found
