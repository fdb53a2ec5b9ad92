"""ONNX rules of operators that only move numbers."""
from typing import Any, Callable, List, Sequence, Tuple

import numpy as np

from golden_stick.deploy.onnx.batch import FixedBatch, grows, line
from golden_stick.deploy.onnx.writer import Writer, is_none
from golden_stick.graph.ir import Constant, Node, Value, flatten

__all__ = ["MOVING"]


# What ONNX takes for "to the end", forwards and backwards.
_END, _START = 2 ** 63 - 1, -(2 ** 63)
_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "replicate": "edge", "circular": "wrap"}


def _reshape(writer: Writer, node: Node) -> str:
    """To the shape of the trace: all that the code says of it is in there."""
    return writer.reshape(writer.of(node.inputs[0]), node.shapes[0], writer.shape(node.inputs[0]))


def _transpose(writer: Writer, node: Node) -> str:
    order = [int(axis) % len(node.shapes[0]) for axis in writer.number(node, 1)]
    return writer.emit("Transpose", [writer.of(node.inputs[0])], perm=order)


def _swapped(writer: Writer, node: Node) -> str:
    order = list(range(len(node.shapes[0])))
    one, two = writer.number(node, 1), writer.number(node, 2)
    order[one], order[two] = order[two], order[one]
    return writer.emit("Transpose", [writer.of(node.inputs[0])], perm=order)


def _concat(writer: Writer, node: Node) -> str:
    values, axis = node.inputs[:-1], writer.number(node, len(node.inputs) - 1)
    return writer.emit("Concat", [writer.of(value, node.types[0]) for value in flatten(values)], axis=axis)


def _stack(writer: Writer, node: Node) -> str:
    axis = node.attributes.get("axis", writer.number(node, 1, 0)) % len(node.shapes[0])
    values = node.inputs[0] if isinstance(node.inputs[0], tuple) else node.inputs
    parts = [writer.unsqueeze(writer.of(value, node.types[0]), [axis]) for value in flatten(values)]
    return writer.emit("Concat", parts, axis=axis)


def _pieces(writer: Writer, node: Node, axis: int, sizes: Sequence[int]) -> Tuple[str, ...]:
    return writer.emit_several("Split", [writer.of(node.inputs[0]), writer.vector(sizes)], len(sizes), axis=axis)


def _unstack(writer: Writer, node: Node) -> Tuple[str, ...]:
    axis = node.attributes.get("axis", writer.number(node, 1, 0)) % len(writer.shape(node.inputs[0]))
    if grows(writer.shape(node.inputs[0])[axis]):
        raise FixedBatch(f"{node} takes the batch apart")
    return tuple(writer.squeeze(part, [axis]) for part in _pieces(writer, node, axis, [1] * len(node.shapes)))


def _split(axis_at: int) -> Callable:
    """Into pieces of the sizes in the trace."""
    def rule(writer: Writer, node: Node) -> Tuple[str, ...]:
        axis = writer.number(node, axis_at, 0) % len(node.shapes[0])
        return _pieces(writer, node, axis, [shape[axis] for shape in node.shapes])
    return rule


def _strided_slice(writer: Writer, node: Node) -> str:
    """A slice as MindSpore writes it, read axis by axis; masks have one bit for each."""
    begin, end, steps = (list(writer.number(node, at)) for at in (1, 2, 3))
    begin_mask, end_mask, ellipsis, new_axis, shrink = (int(writer.number(node, at, 0)) for at in range(4, 9))
    data, shape = writer.of(node.inputs[0]), writer.shape(node.inputs[0])
    cuts: List[Tuple[int, int, int, int]] = []  # start, stop, axis, step
    gone, new = [], []
    skipped = len(shape) - sum(not (new_axis | ellipsis) >> at & 1 for at in range(len(begin)))
    axis = place = 0
    for at, (first, last, step) in enumerate(zip(begin, end, steps)):
        if ellipsis >> at & 1:
            axis, place = axis + skipped, place + skipped
        elif new_axis >> at & 1:
            new.append(place)
            place += 1
        elif shrink >> at & 1:
            cuts.append((first, _END if first == -1 else first + 1, axis, 1))
            gone.append(axis)
            axis += 1
        else:
            first = (0 if step > 0 else _END) if begin_mask >> at & 1 else first
            if end_mask >> at & 1:
                last = _END if step > 0 else _START
            elif line(last) == line(shape[axis]):
                last = _END  # that of the axis at any batch size
            if (first, last, step) != (0, _END, 1):
                cuts.append((first, last, axis, step))
            axis, place = axis + 1, place + 1
    if cuts:
        data = writer.emit("Slice", [data, *map(writer.vector, zip(*cuts))])
    if gone:
        data = writer.squeeze(data, gone)
    return writer.unsqueeze(data, new) if new else data


def _narrow(writer: Writer, node: Node) -> str:
    axis, start, count = (writer.number(node, at) for at in (1, 2, 3))
    return writer.slice(writer.of(node.inputs[0]), axis, start, start + count)


def _one_position(writer: Writer, node: Node) -> str:
    axis, place = (writer.number(node, at) for at in (1, 2))
    index = writer.constant(np.asarray(place, np.int64))
    return writer.emit("Gather", [writer.of(node.inputs[0]), index], axis=axis)


def _indices(writer: Writer, value: Value) -> str:
    return writer.of(value, None if writer.type(value) in ("int32", "int64") else "int64")


def _gather(writer: Writer, node: Node) -> str:
    """Inputs: data, places, axis, how many axes are the batch's."""
    if writer.number(node, 3, 0):
        raise writer.refuse(node, "it reads other places in every row of the batch")
    return writer.emit("Gather", [writer.of(node.inputs[0]), _indices(writer, node.inputs[1])],
                       axis=writer.number(node, 2))


def _index_select(writer: Writer, node: Node) -> str:
    return writer.emit("Gather", [writer.of(node.inputs[0]), _indices(writer, node.inputs[2])],
                       axis=writer.number(node, 1))


def _embedding(writer: Writer, node: Node) -> str:
    """Inputs: places, weight."""
    return writer.emit("Gather", [writer.of(node.inputs[1]), _indices(writer, node.inputs[0])], axis=0)


def _gather_nd(writer: Writer, node: Node) -> str:
    return writer.emit("GatherND", [writer.of(node.inputs[0]), writer.of(node.inputs[1], "int64")])


def _tile(writer: Writer, node: Node) -> str:
    multiples = tuple(np.atleast_1d(np.asarray(writer.number(node, 1), object)))
    shape, data = writer.shape(node.inputs[0]), writer.of(node.inputs[0])
    if len(multiples) > len(shape):
        data = writer.unsqueeze(data, range(len(multiples) - len(shape)))
    return writer.emit("Tile", [data, writer.vector((1,) * (len(shape) - len(multiples)) + multiples)])


def _repeat(writer: Writer, node: Node) -> str:
    """Every position several times, one copy beside the other. Inputs: data, how often, axis."""
    shape, axis = writer.shape(node.inputs[0]), writer.number(node, 2)
    if axis is None:
        raise writer.refuse(node, "it repeats over no axis of its own")
    axis %= len(shape)
    data = writer.unsqueeze(writer.of(node.inputs[0]), [axis + 1])
    multiples = [1] * (len(shape) + 1)
    multiples[axis + 1] = writer.number(node, 1)
    return writer.reshape(writer.emit("Tile", [data, writer.vector(multiples)]), node.shapes[0])


def _broadcast(writer: Writer, node: Node) -> str:
    return writer.emit("Expand", [writer.of(node.inputs[0], node.types[0]), writer.vector(node.shapes[0])])


def _reverse(writer: Writer, node: Node) -> str:
    axes = np.ravel(node.attributes.get("axis", writer.number(node, 1))).tolist()
    numbers = ([-1] * len(axes), [_START] * len(axes), axes, [-1] * len(axes))
    return writer.emit("Slice", [writer.of(node.inputs[0]), *(writer.vector(item) for item in numbers)])


def _roll(writer: Writer, node: Node) -> str:
    """What leaves at one end enters at the other. Inputs: data, by how much, axes."""
    shape, data = writer.shape(node.inputs[0]), writer.of(node.inputs[0])
    shifts = np.ravel(node.attributes.get("shift", writer.number(node, 1))).tolist()
    axes = node.attributes.get("axis", writer.number(node, 2))
    if axes is None or np.size(axes) == 0:
        raise writer.refuse(node, "it rolls over no axis of its own")
    for shift, axis in zip(shifts, np.ravel(axes).tolist()):
        if grows(shape[axis]):
            raise FixedBatch(f"{node} rolls the batch")
        cut = -shift % shape[axis]
        if cut:
            parts = [writer.slice(data, axis, cut, _END), writer.slice(data, axis, 0, cut)]
            data = writer.emit("Concat", parts, axis=axis)
    return data


def _padded(writer: Writer, node: Node, pairs: Sequence[Tuple[int, int]], mode: str, value: Any) -> str:
    if mode not in _PAD_MODES or (mode == "circular" and writer.opset < 19):
        raise writer.refuse(node, f"opset {writer.opset} does not pad in mode '{mode}'")
    inputs = [writer.of(node.inputs[0]), writer.vector([one for one, _ in pairs] + [two for _, two in pairs])]
    if mode == "constant":
        inputs.append(value)
    return writer.emit("Pad", inputs, mode=_PAD_MODES[mode])


def _pad(writer: Writer, node: Node) -> str:
    """Pairs from the first axis, filled with zeros."""
    return _padded(writer, node, node.attributes["paddings"], "constant", writer.scalar(node, 0))


def _pad_last_axes(mode: str = "") -> Callable:
    """Inputs: data, pairs from the last axis backwards, what fills."""
    def rule(writer: Writer, node: Node) -> str:
        flat = [int(item) for item in np.ravel(writer.number(node, 1))]
        pairs = list(zip(flat[::2], flat[1::2]))
        if not node.attributes.get("paddings_contiguous", True):
            half = len(flat) // 2
            pairs = list(zip(flat[:half], flat[half:]))
        pairs = [(0, 0)] * (len(node.shapes[0]) - len(pairs)) + pairs[::-1]
        value = node.inputs[2] if len(node.inputs) > 2 else Constant(None)
        filler = writer.scalar(node, 0) if is_none(value) else writer.of(value, node.types[0])
        return _padded(writer, node, pairs, mode or node.attributes.get("mode", "constant"), filler)
    return rule


def _mirror_pad(writer: Writer, node: Node) -> str:
    pairs = [tuple(pair) for pair in writer.number(node, 1)]
    return _padded(writer, node, pairs, node.attributes["mode"].lower(), "")


MOVING = (
    (_reshape, "Reshape Flatten FlattenExt ExpandDims ExpandDimsView Squeeze View"),
    (_transpose, "Transpose TransposeView"),
    (_swapped, "TransposeExtView"),
    (_concat, "Concat"),
    (_stack, "Stack StackExt"),
    (_unstack, "Unstack UnstackExtView"),
    (_split(1), "Split"),
    (_split(2), "ChunkView Chunk SplitTensorView SplitTensor SplitWithSizeView SplitWithSize"),
    (_strided_slice, "StridedSlice"),
    (_narrow, "NarrowView Narrow"),
    (_one_position, "SelectExtView SelectExt"),
    (_gather, "Gather"),
    (_index_select, "IndexSelect"),
    (_embedding, "Embedding"),
    (_gather_nd, "GatherNd"),
    (_tile, "Tile Repeat"),
    (_repeat, "RepeatInterleaveInt"),
    (_broadcast, "BroadcastTo BroadcastToView"),
    (_reverse, "ReverseV2"),
    (_roll, "Roll"),
    (_pad, "Pad"),
    (_pad_last_axes(), "PadV3 ConstantPadND"),
    (_pad_last_axes("reflect"), "ReflectionPad1D ReflectionPad2D ReflectionPad3D"),
    (_pad_last_axes("replicate"), "ReplicationPad1D ReplicationPad2D ReplicationPad3D"),
    (_mirror_pad, "MirrorPad"),
)
