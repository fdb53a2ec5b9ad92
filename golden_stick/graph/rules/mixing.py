"""Rules of operators that mix the positions of some axes: reductions, softmax, normalizations."""
from typing import Set

import numpy as np

from golden_stick.graph.flow import Flow, axes_of, number
from golden_stick.graph.ir import Node, Parameter
from golden_stick.graph.types import CHANNEL

__all__ = ["along_axes", "sum_of_powers", "reduction", "reduced_sum", "layer_normalization", "group_normalization",
           "recurrent", "control_flow"]


_MIXES = "mixes the channels"


def along_axes(flow: Flow, node: Node) -> np.ndarray:
    """Softmax, a running sum ... mix the positions of one axis, which must not be that of the channels."""
    data = flow.of(node.inputs[0])
    return flow.barrier(node, _MIXES) if axes_of(node, len(data.shape)) & set(data.axes) else data.labels


def sum_of_powers(flow: Flow, node: Node) -> np.ndarray:
    """Division by a norm: over the channels, it is exact where a removed channel is zero."""
    data = flow.of(node.inputs[0])
    if axes_of(node, len(data.shape)) & set(data.axes):
        flow.sum_up_values(node, [data], data.labels.ravel())
    return data.labels


def reduction(flow: Flow, node: Node) -> np.ndarray:
    """A mean, maximum ... over axes that are not the channels'."""
    data = flow.of(node.inputs[0])
    axes = axes_of(node, len(data.shape))
    return flow.barrier(node, _MIXES) if axes & set(data.axes) else _without(data.labels, axes, node)


def reduced_sum(flow: Flow, node: Node) -> np.ndarray:
    """A sum or norm over any axes; over the channels, it is exact where a removed channel is zero."""
    data = flow.of(node.inputs[0])
    axes = axes_of(node, len(data.shape))
    if axes & set(data.axes):
        flow.sum_up_values(node, [data], data.labels.ravel())
        return flow.none(node.shapes[0])
    return _without(data.labels, axes, node)


def _without(labels: np.ndarray, axes: Set[int], node: Node) -> np.ndarray:
    return labels if len(node.shapes[0]) == labels.ndim else np.squeeze(labels, tuple(sorted(axes)))


def layer_normalization(flow: Flow, node: Node) -> np.ndarray:
    """Mean and variance over the last axes. Over channels they change with every one that goes."""
    data = flow.of(node.inputs[0])
    rank = len(data.shape)
    parameters = [value for value in node.inputs[1:] if isinstance(value, Parameter)]
    first = rank - max((len(value.shape) for value in parameters), default=rank)
    if not any(axis >= first for axis in data.axes):
        return data.labels
    if not flow.approximate:
        return flow.barrier(node, "normalized over the channels, whose mean and variance would change")
    for value in parameters:
        flow.bind(value, data.axes[0] - first, data.labels.ravel(), CHANNEL)
    flow.inexact.append((flow.place(node), data.labels.ravel()))
    return data.labels


def group_normalization(flow: Flow, node: Node) -> np.ndarray:
    """Mean and variance over groups of channels, which change with every one that goes."""
    data = flow.of(node.inputs[0])
    if not data.axes:
        return data.labels
    if not flow.approximate or data.axes != (1,):
        return flow.barrier(node, "normalized over groups of channels, whose mean and variance would change")
    channels = data.labels.ravel()
    rows = channels.reshape(number(node.inputs[1]), -1)
    flow.labels.unite(rows[:1], rows)
    for value in node.inputs[2:]:
        if isinstance(value, Parameter):
            flow.bind(value, 0, channels, CHANNEL)
    flow.inexact.append((flow.place(node), channels))
    return data.labels


def recurrent(flow: Flow, node: Node) -> np.ndarray:
    """LSTM, GRU and the like hold all weights in one, and read their own outputs: their widths stay."""
    return flow.weights_stay(node, "a recurrent layer, whose widths stay")


def control_flow(flow: Flow, node: Node) -> np.ndarray:
    """A branch or loop: what it reads stays, and so do the weights in it."""
    return flow.weights_stay(node, "enters control flow that a tensor's values decide")
