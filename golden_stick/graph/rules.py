"""
THE table: operator -> how labels flow through it.

A rule is a function of the flow and the node. It returns the labels of the node's first output, having said which
labels belong together, which must stay, and which axis of which parameter carries them. An operator without a rule is
a barrier: nothing that it reads is pruned, and the report names it. To add an operator, add a rule.
"""
from typing import Callable, Mapping

import numpy as np

from golden_stick.graph.flow import CHANNEL, FILTER, INPUT, Flow, ScatterSite, is_data, number
from golden_stick.graph.ir import Constant, Node, Parameter, flatten

__all__ = ["RULES"]

# Cells whose own input is what their weight reads: how many axes follow the channel axis there.
_CONVOLUTION_CELLS = {"Conv2d": 2, "Conv1d": 1}
_DENSE_CELLS = {"Dense": 0}


def elementwise(flow: Flow, node: Node) -> np.ndarray:
    """Position by position: channels that meet belong together; an axis of length 1 is broadcast and binds nothing."""
    shape, values = node.shapes[0], flatten(node.inputs)
    rank = len(shape)
    carriers = [(value, flow.of(value)) for value in values if is_data(value)]
    axes = {axis + rank - len(seen.shape) for _, seen in carriers for axis in seen.axes}
    if len(axes) > 1:
        return flow.barrier(node, "channels of two axes meet")
    if not axes:
        return flow.barrier(node, "nothing to prune meets a parameter")
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
            what = "a constant" if isinstance(value, Constant) else "a tensor that keeps its width"
            flow.labels.fix(lead, f"meets {what} ({flow.place(node)})")
    return flow.on(axis, lead, rank)


def residual_sum(flow: Flow, node: Node) -> np.ndarray:
    """A sum. Where two feature maps of different channels meet, the residual policy decides."""
    operands = [(value, flow.of(value)) for value in flatten(node.inputs) if is_data(value)]
    maps = [seen.labels for _, seen in operands if seen.axes]
    if flow.residual == "group" or not maps or any(seen.shape != node.shapes[0] for _, seen in operands):
        return elementwise(flow, node)
    if len(operands) == 1 or (len(maps) == len(operands) and all(np.array_equal(maps[0], other) for other in maps)):
        return elementwise(flow, node)
    stream = f"residual stream that keeps its width ({flow.place(node)})"
    if flow.residual == "scatter":
        # The paper prunes the block's convolutions and leaves the shortcut alone: the deepest operand is the branch.
        branch, seen = max(operands, key=lambda operand: flow.depth(operand[0]))
        site = flow.scatter_site(branch) if seen.axes == (1,) else None
        if site is not None:
            flow.scatters.append(ScatterSite(site, len(seen.shape) - 2, seen.labels.ravel()))
            operands = [operand for operand in operands if operand[0] != branch]
    for _, seen in operands:
        flow.labels.fix(seen.labels, stream)
    return flow.none(node.shapes[0])


def convolution(flow: Flow, node: Node) -> np.ndarray:
    """`weight` is (C_out, C_in / group, ...). Groups lose equal positions; a depthwise filter goes with its channel."""
    data, weight = flow.of(node.inputs[0]), node.inputs[1]
    if not isinstance(weight, Parameter):
        return flow.barrier(node, "the weight is computed, not a parameter")
    if node.attributes.get("format", "NCHW") not in ("NCHW", "NCDHW") or data.axes not in ((), (1,)):
        return flow.barrier(node, "the channel axis is not axis 1")
    group, filters, source = node.attributes.get("group", 1), weight.shape[0], data.along(1)
    if group == len(source) and group > 1:
        made = np.repeat(source, filters // group)
        flow.bind(weight, 0, made, CHANNEL)
        return flow.on(1, made, len(node.shapes[0]))
    flow.mask_input(node, weight, source, _CONVOLUTION_CELLS)
    parts = source.reshape(group, -1)
    flow.labels.unite(parts[:1], parts)
    flow.bind(weight, 1, parts[0], INPUT)
    made = flow.labels.fresh(filters)
    flow.labels.unite(made.reshape(group, -1)[:1], made.reshape(group, -1))
    flow.bind(weight, 0, made, FILTER)
    return flow.on(1, made, len(node.shapes[0]))


def matrix_product(flow: Flow, node: Node) -> np.ndarray:
    """`x @ weight`, or `x @ weight.T`: the last axis of x is summed up, the weight's other axis makes new channels."""
    data, weight = flow.of(node.inputs[0]), node.inputs[1]
    turned, weight_turned = number(node.inputs[2]), number(node.inputs[3])
    last = len(data.shape) - 1
    if not isinstance(weight, Parameter) or len(weight.shape) != 2 or turned or data.axes not in ((), (last,)):
        return flow.barrier(node, "a product of two feature maps, or one along an axis other than the last")
    filter_axis, input_axis = (0, 1) if weight_turned else (1, 0)
    source = data.along(last)
    flow.mask_input(node, weight, source, _DENSE_CELLS)
    flow.bind(weight, input_axis, source, INPUT)
    made = flow.labels.fresh(weight.shape[filter_axis])
    flow.bind(weight, filter_axis, made, FILTER)
    return flow.on(last, made, last + 1)


def channel_parameters(flow: Flow, node: Node) -> np.ndarray:
    """Batch normalization, bias, PReLU: every parameter holds one number per channel of axis 1, or one for all."""
    data = flow.of(node.inputs[0])
    if data.axes not in ((), (1,)) or node.attributes.get("format", "NCHW") not in ("NCHW", "NCDHW"):
        return flow.barrier(node, "the channel axis is not axis 1")
    channels = data.along(1)
    for value in node.inputs[1:]:
        if isinstance(value, Parameter) and value.shape == (len(channels),):
            flow.bind(value, 0, channels, CHANNEL)
        elif isinstance(value, Parameter):
            flow.hold(value)
        elif flow.graph.shape(value) == (len(channels),):
            flow.labels.fix(channels, f"meets a constant or computed vector ({flow.place(node)})")
    return flow.on(1, channels, len(data.shape))


def spatial(flow: Flow, node: Node) -> np.ndarray:
    """Pooling and resizing work on every channel of axis 1 alone."""
    data = flow.of(node.inputs[0])
    if data.axes not in ((), (1,)) or node.attributes.get("format", "NCHW") not in ("NCHW", "NCDHW"):
        return flow.barrier(node, "the channel axis is not axis 1")
    return data.labels


def along_one_axis(flow: Flow, node: Node) -> np.ndarray:
    """Softmax mixes the positions of one axis, which must not be that of the channels."""
    data = flow.of(node.inputs[0])
    axis = node.attributes.get("axis", number(node.inputs[1]) if len(node.inputs) > 1 else None)
    axis = axis[0] if isinstance(axis, tuple) else axis
    if axis is None or axis % len(data.shape) in data.axes:
        return flow.barrier(node, "mixes the channels")
    return data.labels


def reduction(flow: Flow, node: Node) -> np.ndarray:
    """A mean, sum, maximum ... over axes that are not the channels'."""
    data, axes = flow.of(node.inputs[0]), number(node.inputs[1])
    rank = len(data.shape)
    axes = (axes,) if isinstance(axes, int) else axes
    axes = {axis % rank for axis in axes} if axes else set(range(rank))
    if axes & set(data.axes):
        return flow.barrier(node, "mixes the channels")
    if len(node.shapes[0]) == rank:
        return data.labels
    return np.squeeze(data.labels, tuple(sorted(axes)))


def reshape(flow: Flow, node: Node) -> np.ndarray:
    """Labels are reshaped as the data are. An axis may merge channels with others, but not split them."""
    data, shape = flow.of(node.inputs[0]), node.shapes[0]
    if not data.axes:
        return flow.none(shape)
    source, target = _block(data.shape, shape, data.axes[0])
    full = np.broadcast_to(data.labels, tuple(size if axis in source else 1 for axis, size in enumerate(data.shape)))
    inner = full.reshape([shape[axis] for axis in target])
    labels = inner.reshape([shape[axis] if axis in target else 1 for axis in range(len(shape))])
    for axis in target:
        first = labels.take([0], axis)
        labels = first if (labels == first).all() else labels
    if sum(size > 1 for size in labels.shape) > 1:
        return flow.barrier(node, "splits the channel axis")
    return labels


def _block(old, new, axis):
    """The smallest ranges of old and new axes, around `axis`, that hold the same number of elements."""
    starts_old = np.cumprod((1,) + tuple(old))
    starts_new = np.cumprod((1,) + tuple(new))
    low = max(i for i in range(axis + 1) if starts_old[i] in starts_new)
    high = min(i for i in range(axis + 1, len(old) + 1) if starts_old[i] in starts_new)
    begin = int(np.flatnonzero(starts_new == starts_old[low]).max())
    end = int(np.flatnonzero(starts_new == starts_old[high]).min())
    return range(low, high), range(begin, end)


def transpose(flow: Flow, node: Node) -> np.ndarray:
    """Labels are transposed as the data are."""
    return np.transpose(flow.of(node.inputs[0]).labels, number(node.inputs[1]))


def concat(flow: Flow, node: Node) -> np.ndarray:
    """Labels are concatenated as the data are, along the channel axis."""
    values, axis = flatten(node.inputs[:-1]), number(node.inputs[-1])
    seen = [flow.of(value) for value in values]
    axis %= len(node.shapes[0])
    if any(isinstance(value, Parameter) for value in values) or any(item.axes not in ((), (axis,)) for item in seen):
        return flow.barrier(node, "joins parameters, or along an axis other than the channels'")
    return flow.on(axis, np.concatenate([item.along(axis) for item in seen]), len(node.shapes[0]))


def strided_slice(flow: Flow, node: Node) -> np.ndarray:
    """A slice that leaves the channel axis whole passes; numbers on the channel axis are hard-coded."""
    data = flow.of(node.inputs[0])
    if not data.axes:
        return flow.none(node.shapes[0])
    begin, end, strides, begin_mask, end_mask, ellipsis, new_axis, shrink = (number(v) for v in node.inputs[1:9])
    axis = data.axes[0]
    if ellipsis or new_axis or shrink & ((1 << axis) - 1):
        return flow.barrier(node, "a slice that inserts or drops axes before the channels'")
    if axis < len(begin):
        whole_begin = begin_mask >> axis & 1 or begin[axis] == 0
        whole_end = end_mask >> axis & 1 or end[axis] >= data.shape[axis]
        if not (whole_begin and whole_end and strides[axis] == 1) or shrink >> axis & 1:
            return flow.barrier(node, "cuts the channels at a number that is written in the code")
    dropped = tuple(i for i in range(axis + 1, len(data.shape)) if shrink >> i & 1)
    return np.squeeze(data.labels, dropped) if dropped else data.labels


def pad(flow: Flow, node: Node) -> np.ndarray:
    """Padded channels are as many as the code says: they stay. Padding of other axes passes."""
    data = flow.of(node.inputs[0])
    rank = len(data.shape)
    axis = data.axes[0] if data.axes else None
    before, after = (0, 0) if axis is None else _padding(node, rank)[axis]
    if axis is None or (before, after) == (0, 0):
        return data.labels
    mode = node.attributes.get("mode", "constant")
    if mode != "constant" or min(before, after) < 0:
        return flow.barrier(node, f"pads the channels in mode '{mode}', or by a negative number")
    # One label more than needed: a single fresh one would be the unnamed FIXED, and the report would lack its reason.
    edges = [flow.labels.fresh(count + 1)[:count] for count in (before, after)]
    for edge in edges:
        flow.labels.fix(edge, f"padded with a number of channels that is written in the code ({flow.place(node)})")
    return flow.on(axis, np.concatenate((edges[0], data.labels.ravel(), edges[1])), rank)


def _padding(node: Node, rank: int):
    """(before, after) per axis. PadV3 counts pairs from the last axis, Pad from the first."""
    paddings = node.attributes.get("paddings")
    if paddings is not None:
        return [tuple(pair) for pair in paddings]
    flat = [int(item) for item in np.ravel(number(node.inputs[1]))]
    pairs = [tuple(flat[i:i + 2]) for i in range(0, len(flat), 2)]
    return [(0, 0)] * (rank - len(pairs)) + pairs[::-1]


def first_input(flow: Flow, node: Node) -> np.ndarray:
    """One number to one number: activations, casts, dropout in evaluation."""
    return flow.of(node.inputs[0]).labels


def _table() -> Mapping[str, Callable]:
    table = {}
    groups = {
        elementwise: "Mul Div RealDiv Sub SubExt Muls Divs Maximum Minimum Pow",
        residual_sum: "Add AddExt Adds AddN InplaceAddExt",
        convolution: "Conv2D Conv3D",
        matrix_product: "MatMul",
        channel_parameters: "BatchNorm BiasAdd PReLU",
        spatial: "MaxPool AvgPool MaxPool3D AvgPool3D AdaptiveAvgPool2D AdaptiveMaxPool2D ResizeBilinearV2 "
                 "ResizeNearestNeighbor ResizeNearestNeighborV2 ResizeBicubic",
        along_one_axis: "Softmax LogSoftmax",
        reduction: "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd MeanExt SumExt",
        reshape: "Reshape Flatten ExpandDims Squeeze",
        transpose: "Transpose",
        concat: "Concat",
        strided_slice: "StridedSlice",
        pad: "Pad PadV3",
        first_input: "ReLU ReLU6 Sigmoid HSigmoid HSwish SiLU GeLU Tanh Mish Elu SeLU Softplus LeakyReLU Exp Log Sqrt "
                     "Rsqrt Abs Neg Square Erf Cast Dropout Softsign ReLUExt SiLUExt EluExt",
    }
    for rule, operators in groups.items():
        for operator in operators.split():
            table[operator] = rule
    return table


RULES: Mapping[str, Callable] = _table()
