"""Rules of operators that work number by number, or on every channel alone."""
from typing import Tuple, Union

import numpy as np

from golden_stick.graph.flow import Flow, is_data
from golden_stick.graph.ir import Constant, Input, Node, Parameter, Value, flatten
from golden_stick.graph.types import CHANNEL, Labeled, Site

__all__ = ["elementwise", "residual_sum", "channel_parameters", "spatial", "first_input", "CHANNELS_FIRST"]


CHANNELS_FIRST = ("NCHW", "NCDHW")


def elementwise(flow: Flow, node: Node) -> np.ndarray:
    """Position by position: channels that meet belong together; an axis of length 1 is broadcast and binds nothing."""
    if flow.rejected_readings(node):
        flow.pin(node)
    shape, values = node.shapes[0], flatten(node.inputs)
    rank = len(shape)
    carriers = [(value, flow.of(value)) for value in values if is_data(value)]
    axes = {axis + rank - len(seen.shape) for _, seen in carriers for axis in seen.axes}
    if len(axes) > 1:
        return flow.barrier(node, "channels of two axes meet")
    if not axes:
        return _of_parameters(flow, node, values)
    axis = axes.pop()
    lead = next(seen.labels for _, seen in carriers if seen.axes).ravel()
    for value in values:
        seen = flow.of(value)
        own = axis - rank + len(seen.shape)
        if own < 0 or seen.shape[own] == 1:
            if isinstance(value, Parameter):
                flow.hold(value)
        elif isinstance(value, Parameter):
            flow.bind(value, own, lead, CHANNEL)
        elif seen.axes:
            flow.labels.unite(lead, seen.labels.ravel())
        else:
            what = ("a constant" if isinstance(value, Constant) else
                    "the network's input" if isinstance(value, Input) else "a tensor that keeps its width")
            flow.labels.fix(lead, f"meets {what} ({flow.place(node)})")
    return flow.on(axis, lead, rank)


def _of_parameters(flow: Flow, node: Node, values: Tuple[Value, ...]) -> np.ndarray:
    """No feature map with channels takes part: a vector of weights, scaled or shifted, is still one."""
    vectors = [value for value in values if isinstance(value, Parameter)]
    others = [value for value in values if not isinstance(value, Parameter)]
    if len(vectors) == 1 and vectors[0].shape == node.shapes[0] and all(isinstance(item, Constant) for item in others):
        return flow.of_vector(vectors[0]).labels
    return flow.barrier(node, "nothing to prune meets a parameter")


def residual_sum(flow: Flow, node: Node) -> np.ndarray:
    """A sum. Where two feature maps of different channels meet, the residual policy decides."""
    operands = [(value, flow.of(value)) for value in flatten(node.inputs) if is_data(value)]
    maps = [seen.labels for _, seen in operands if seen.axes]
    if flow.residual == "group" or not maps or any(seen.shape != node.shapes[0] for _, seen in operands):
        return elementwise(flow, node)
    if len(operands) == 1 or (len(maps) == len(operands) and all(np.array_equal(maps[0], other) for other in maps)):
        return elementwise(flow, node)
    if flow.rejected_readings(node):
        flow.pin(node)
    stream = f"residual stream that keeps its width ({flow.place(node)})"
    if flow.residual == "scatter":
        # The paper prunes the block's convolutions and leaves the shortcut alone: the deepest operand is the branch.
        branch, seen = max(operands, key=lambda operand: flow.depth(operand[0]))
        site = flow.scatter_site(branch) if seen.axes == (1,) else None
        if site is not None:
            flow.scatters.append(Site(site, len(seen.shape) - 2, seen.labels.ravel()))
            operands = [operand for operand in operands if operand[0] != branch]
    for _, seen in operands:
        flow.labels.fix(seen.labels, stream)
    return flow.none(node.shapes[0])


def channel_parameters(flow: Flow, node: Node) -> Union[np.ndarray, Labeled]:
    """Batch normalization, bias, PReLU: every parameter holds one number per channel of axis 1, or one for all."""
    data = flow.of(node.inputs[0])
    if node.attributes.get("format", "NCHW") not in CHANNELS_FIRST:
        return flow.barrier(node, "the channel axis is not axis 1")
    if data.axes not in ((), (1,)):
        # What can go lies along another axis, whose positions are all treated alike; but none of them is zero then.
        return Labeled(data.labels, data.shape)
    channels = data.along(1)
    for value in node.inputs[1:]:
        if isinstance(value, Parameter) and value.shape == (len(channels),):
            flow.bind(value, 0, channels, CHANNEL)
        elif isinstance(value, Parameter):
            flow.hold(value)
        elif is_data(value) and flow.of(value).axes:
            flow.labels.unite(channels, flow.of(value).labels.ravel())
        elif flow.graph.shape(value) == (len(channels),):
            flow.labels.fix(channels, f"meets a constant or computed vector ({flow.place(node)})")
    return flow.on(1, channels, len(data.shape))


def spatial(flow: Flow, node: Node) -> np.ndarray:
    """Pooling and resizing work on every channel of axis 1 alone."""
    data = flow.of(node.inputs[0])
    if data.axes not in ((), (1,)) or node.attributes.get("format", "NCHW") not in CHANNELS_FIRST:
        return flow.barrier(node, "the channel axis is not axis 1")
    return data.labels


def first_input(flow: Flow, node: Node) -> np.ndarray:
    """One number to one number: activations, casts, dropout in evaluation."""
    return flow.of_vector(node.inputs[0]).labels
