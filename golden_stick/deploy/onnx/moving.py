"""ONNX rules of operators that only move numbers."""
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

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
    """Input 1 is the order."""
    axes = range(len(node.shapes[0]))
    return writer.emit("Transpose", [writer.of(node.inputs[0])], perm=[axes[axis] for axis in writer.number(node, 1)])


def _concat(writer: Writer, node: Node) -> str:
    values, axis = node.inputs[:-1], writer.number(node, len(node.inputs) - 1)
    return writer.emit("Concat", [writer.of(value, node.types[0]) for value in flatten(values)], axis=axis)


def _stack(writer: Writer, node: Node) -> str:
    axis = node.attributes["axis"] % len(node.shapes[0])
    parts = [writer.unsqueeze(writer.of(value, node.types[0]), [axis]) for value in flatten(node.inputs)]
    return writer.emit("Concat", parts, axis=axis)


def _pieces(writer: Writer, node: Node, axis: int, sizes: Sequence[int]) -> Tuple[str, ...]:
    return writer.emit_several("Split", [writer.of(node.inputs[0]), writer.vector(sizes)], len(sizes), axis=axis)


def _unstack(writer: Writer, node: Node) -> Tuple[str, ...]:
    axis = node.attributes["axis"] % len(writer.shape(node.inputs[0]))
    return tuple(writer.squeeze(part, [axis]) for part in _pieces(writer, node, axis, [1] * len(node.shapes)))


def _split(writer: Writer, node: Node) -> Tuple[str, ...]:
    """Into pieces of the sizes in the trace."""
    axis = writer.number(node, 1, 0) % len(node.shapes[0])
    return _pieces(writer, node, axis, [shape[axis] for shape in node.shapes])


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
            if (first, last, step) != (0, _END, 1):
                cuts.append((first, last, axis, step))
            axis, place = axis + 1, place + 1
    if cuts:
        data = writer.emit("Slice", [data, *map(writer.vector, zip(*cuts))])
    if gone:
        data = writer.squeeze(data, gone)
    return writer.unsqueeze(data, new) if new else data


def _piece(writer: Writer, node: Node) -> str:
    """Inputs: data, where it begins, how long it is; -1 is to the end."""
    begin, sizes = (writer.number(node, at) for at in (1, 2))
    ends = [_END if size == -1 else first + size for first, size in zip(begin, sizes)]
    axes = range(len(begin))
    return writer.emit("Slice", [writer.of(node.inputs[0]), *map(writer.vector, (begin, ends, axes))])


def _triangle(upper: int) -> Callable:
    """Zeros on the other side of a diagonal."""
    def rule(writer: Writer, node: Node) -> str:
        if writer.opset < 14:
            raise writer.refuse(node, "ONNX has 'Trilu' since opset 14")
        diagonal = node.attributes.get("diagonal", writer.number(node, 1, 0))
        return writer.emit("Trilu", [writer.of(node.inputs[0]), writer.constant(np.asarray(diagonal, np.int64))],
                           upper=upper)
    return rule


def _identity_matrix(writer: Writer, node: Node) -> str:
    return writer.constant(np.eye(node.shapes[0][0], node.shapes[0][1]), node.types[0])


def _block(operator: str) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        return writer.emit(operator, [writer.of(node.inputs[0])], blocksize=node.attributes["block_size"])
    return rule


def _gather(data: int, places: int, axis: Optional[int], batch: Optional[int] = None) -> Callable:
    """By which input is what; `batch` says how many axes are the batch's, and axis 0 is the default."""
    def rule(writer: Writer, node: Node) -> str:
        if writer.number(node, batch, 0):
            raise writer.refuse(node, "it reads other places in every row of the batch")
        index = node.inputs[places]
        indices = writer.of(index, None if writer.type(index) in ("int32", "int64") else "int64")
        return writer.emit("Gather", [writer.of(node.inputs[data]), indices], axis=writer.number(node, axis, 0))
    return rule


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
    multiples = [1] * (axis + 1) + [writer.number(node, 1)] + [1] * (len(shape) - axis - 1)
    return writer.reshape(writer.emit("Tile", [data, writer.vector(multiples)]), node.shapes[0])


def _channel_shuffle(writer: Writer, node: Node) -> str:
    """One channel of each group in turn."""
    count, channels, *rest = writer.shape(node.inputs[0])
    groups = node.attributes.get("group") or writer.number(node, 1)
    apart = (count, groups, channels // groups, *rest)
    made = writer.reshape(writer.of(node.inputs[0]), apart, writer.shape(node.inputs[0]))
    made = writer.emit("Transpose", [made], perm=[0, 2, 1, *range(3, len(apart))])
    return writer.reshape(made, node.shapes[0])


def _gated(function: Callable[[Writer, str, str], str]) -> Callable:
    """A function of both halves of an axis."""
    def rule(writer: Writer, node: Node) -> str:
        shape = writer.shape(node.inputs[0])
        axis = writer.number(node, 1, -1) % len(shape)
        return function(writer, *_pieces(writer, node, axis, [shape[axis] // 2] * 2))
    return rule


def _sigmoid_of_second(writer: Writer, one: str, two: str) -> str:
    return writer.emit("Mul", [one, writer.emit("Sigmoid", [two])])


def _swish_of_first(writer: Writer, one: str, two: str) -> str:
    return writer.emit("Mul", [writer.emit("Mul", [one, writer.emit("Sigmoid", [one])]), two])


def _broadcast(writer: Writer, node: Node) -> str:
    return writer.emit("Expand", [writer.of(node.inputs[0], node.types[0]), writer.vector(node.shapes[0])])


def _reverse(writer: Writer, node: Node) -> str:
    axes = np.ravel(node.attributes.get("axis", writer.number(node, 1))).tolist()
    cuts = ([-1] * len(axes), [_START] * len(axes), axes, [-1] * len(axes))
    return writer.emit("Slice", [writer.of(node.inputs[0]), *map(writer.vector, cuts)])


def _roll(writer: Writer, node: Node) -> str:
    """What leaves at one end enters at the other. Inputs: data, by how much, axes."""
    shape, data = writer.shape(node.inputs[0]), writer.of(node.inputs[0])
    shifts = np.ravel(node.attributes.get("shift", writer.number(node, 1))).tolist()
    axes = node.attributes.get("axis", writer.number(node, 2))
    if axes is None or np.size(axes) == 0:
        raise writer.refuse(node, "it rolls over no axis of its own")
    for shift, axis in zip(shifts, np.ravel(axes).tolist()):
        cut = -shift % shape[axis]
        if cut:
            parts = [writer.slice(data, axis, cut, _END), writer.slice(data, axis, 0, cut)]
            data = writer.emit("Concat", parts, axis=axis)
    return data


def _padded(writer: Writer, node: Node, pairs: Sequence[Tuple[int, int]], mode: str, value: Value) -> str:
    if mode not in _PAD_MODES or (mode == "circular" and writer.opset < 19):
        raise writer.refuse(node, f"opset {writer.opset} does not pad in mode '{mode}'")
    filler = [writer.of(value, node.types[0])] if mode == "constant" else []
    sizes = writer.vector([size for side in zip(*pairs) for size in side])
    return writer.emit("Pad", [writer.of(node.inputs[0]), sizes, *filler], mode=_PAD_MODES[mode])


def _pad_last_axes(mode: str = "") -> Callable:
    """Inputs: data, pairs from the last axis backwards, what fills."""
    def rule(writer: Writer, node: Node) -> str:
        flat = np.ravel(writer.number(node, 1)).tolist()
        half = len(flat) // 2
        contiguous = node.attributes.get("paddings_contiguous", True)
        pairs = list(zip(flat[::2], flat[1::2]) if contiguous else zip(flat[:half], flat[half:]))
        pairs = [(0, 0)] * (len(node.shapes[0]) - len(pairs)) + pairs[::-1]
        value = node.inputs[2] if len(node.inputs) > 2 and not is_none(node.inputs[2]) else Constant(0)
        return _padded(writer, node, pairs, mode or node.attributes.get("mode", "constant"), value)
    return rule


def _pad_first_axes(writer: Writer, node: Node) -> str:
    """Pairs from the first axis, which mirror or fill with zeros."""
    pairs = node.attributes.get("paddings", writer.number(node, 1))
    return _padded(writer, node, pairs, node.attributes.get("mode", "constant").lower(), Constant(0))


MOVING = (
    (_reshape, "Reshape Flatten ExpandDims Squeeze"),
    (_transpose, "Transpose"),
    (_concat, "Concat"),
    (_stack, "Stack"),
    (_unstack, "Unstack"),
    (_split, "Split"),
    (_strided_slice, "StridedSlice"),
    (_piece, "Slice"),
    (_identity_matrix, "Eye"),
    (_triangle(0), "Tril TrilExt"),
    (_triangle(1), "Triu"),
    (_block("DepthToSpace"), "DepthToSpace"),
    (_block("SpaceToDepth"), "SpaceToDepth"),
    (_gather(0, 1, 2, batch=3), "Gather"),
    (_gather(1, 0, None), "Embedding"),
    (_gather_nd, "GatherNd"),
    (_tile, "Tile Repeat"),
    (_repeat, "RepeatInterleaveInt"),
    (_channel_shuffle, "ChannelShuffle"),
    (_gated(_sigmoid_of_second), "GLU"),
    (_gated(_swish_of_first), "Swiglu"),
    (_broadcast, "BroadcastTo"),
    (_reverse, "ReverseV2"),
    (_roll, "Roll"),
    (_pad_last_axes(), "PadV3"),
    (_pad_last_axes("reflect"), "ReflectionPad1D ReflectionPad2D ReflectionPad3D"),
    (_pad_last_axes("replicate"), "ReplicationPad1D ReplicationPad2D ReplicationPad3D"),
    (_pad_first_axes, "Pad MirrorPad"),
)
