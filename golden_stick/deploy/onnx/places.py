"""ONNX rules of operators that read or write at places which are computed: scatters, samples, boxes; and of LSTM."""
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

from golden_stick.deploy.onnx.writer import Expression, Writer
from golden_stick.graph.ir import Node, Value

__all__ = ["PLACES"]


def _places(writer: Writer, value: Value) -> str:
    return writer.of(value, None if writer.type(value) in ("int32", "int64") else "int64")


def _need(writer: Writer, node: Node, what: str, opset: int) -> None:
    if writer.opset < opset:
        raise writer.refuse(node, f"ONNX has {what} since opset {opset}")


def _gather_elements(writer: Writer, node: Node) -> str:
    """Inputs: data, axis, places."""
    return writer.emit("GatherElements", [writer.of(node.inputs[0]), _places(writer, node.inputs[2])],
                       axis=writer.number(node, 1))


# What a scatter does where something is already; as a number where MindSpore counts the ways. None replaces.
_REDUCTIONS = {"none": None, "update": None, "add": "add", "sub": "sub", "mul": "mul", "max": "max", "min": "min",
               0: None, 1: "add"}


def _scatter(operator: str, reduction: Optional[str] = None, order: Sequence[int] = (0, 1, 2),
             axis: Optional[int] = None) -> Callable:
    """`order` has the places of data, indices and updates among the inputs; `reduction` as ONNX calls it."""
    def rule(writer: Writer, node: Node) -> str:
        way = reduction
        if operator == "ScatterElements":
            given = node.attributes.get("reduction", node.attributes.get("reduce", writer.number(node, 4, 0)))
            if given not in _REDUCTIONS:
                raise writer.refuse(node, f"it reduces by {given!r}")
            way = reduction or _REDUCTIONS[given]
        if way is not None:
            _need(writer, node, f"'{operator}' that reduces by '{way}'", 18 if way in ("max", "min") else 16)
        kind, (data, places, updates) = node.types[0], (node.inputs[at] for at in order)
        attributes = {} if operator == "ScatterND" else {
            "axis": node.attributes.get("axis", 0 if axis is None else writer.number(node, axis, 0))}
        changes = writer.of(updates, kind)
        if operator == "ScatterElements" and writer.shape(updates) != writer.shape(places):
            changes = writer.emit("Expand", [changes, writer.vector(writer.shape(places))])
        return writer.emit(operator, [writer.of(data, kind), writer.of(places, "int64"), changes], reduction=way,
                           **attributes)
    return rule


def _scatter_into_zeros(writer: Writer, node: Node) -> str:
    """Inputs: indices, updates, shape. Updates of one place are added."""
    _need(writer, node, "'ScatterND' that reduces by 'add'", 16)
    zeros = writer.emit("Expand", [writer.scalar(node, 0), writer.vector(node.shapes[0])])
    return writer.emit("ScatterND", [zeros, writer.of(node.inputs[0], "int64"), writer.of(node.inputs[1])],
                       reduction="add")


def _one_hot(writer: Writer, node: Node) -> str:
    """By comparison: ONNX's own counts negative places from the end. Inputs: places, depth, on, off, axis."""
    rank = len(node.shapes[0])
    axis = node.attributes.get("axis", writer.number(node, 4, -1)) % rank
    count = np.arange(node.shapes[0][axis]).reshape((-1,) + (1,) * (rank - axis - 1))
    places = writer.unsqueeze(writer.of(node.inputs[0], "int64"), [axis])
    on, off = (writer.of(value, node.types[0]) for value in node.inputs[2:4])
    return writer.emit("Where", [writer.emit("Equal", [places, writer.constant(count, np.int64)]), on, off])


def _meshgrid(writer: Writer, node: Node) -> Tuple[str, ...]:
    """Each input along an axis of its own. Of the ways to index, the second changes the places of two axes."""
    values = node.inputs[0] if isinstance(node.inputs[0], tuple) else node.inputs
    way = node.attributes.get("indexing", writer.number(node, 1, "ij") if values is node.inputs[0] else "ij")
    axes = list(range(len(values)))
    if way in (1, "xy"):
        axes[:2] = axes[:2][::-1]
    shape = node.shapes[0]
    lines = [writer.reshape(writer.of(value), [shape[axis] if at == axis else 1 for at in range(len(shape))])
             for value, axis in zip(values, axes)]
    return tuple(writer.emit("Expand", [line, writer.vector(shape)]) for line in lines)


# As MindSpore counts them; the ways in opset 16 and from 20 on.
_SAMPLES = (("bilinear", "linear"), ("nearest", "nearest"))
_OUTSIDE = ("zeros", "border", "reflection")


def _grid_sample(writer: Writer, node: Node) -> str:
    """Inputs: data, grid, way, what is outside, whether corners meet corners."""
    volume = len(node.shapes[0]) == 5
    _need(writer, node, "'GridSample'" + " of volumes" * volume, 20 if volume else 16)
    given = [node.attributes.get(key, writer.number(node, at, 0)) for key, at in
             (("interpolation_mode", 2), ("padding_mode", 3), ("align_corners", 4))]
    ways = next(names for number, names in enumerate(_SAMPLES) if given[0] in (number, *names))
    outside = given[1] if given[1] in _OUTSIDE else _OUTSIDE[given[1]]
    return writer.emit("GridSample", [writer.of(value) for value in node.inputs[:2]], mode=ways[writer.opset >= 20],
                       padding_mode=outside, align_corners=int(given[2]))


def _deformable_offsets(writer: Writer, node: Node) -> str:
    """
    Every window of the data beside the other, each position read where its offset points to: a sample of the data, by
    groups of channels. Offsets are those of columns, of rows, and the weights, each group by group, window by window.
    """
    _need(writer, node, "'GridSample'", 16)
    attributes, (batch, channels, rows, columns) = node.attributes, writer.shape(node.inputs[0])
    groups, (high, wide), made = attributes["deformable_groups"], attributes["ksize"], writer.shape(node.inputs[1])[2:]
    top, left = attributes["pads"][0], attributes["pads"][2]
    steps, spread = attributes["strides"][-2:], attributes["dilations"][-2:]
    # Offsets in the order of the result: groups, rows and rows of the window, columns and columns of the window.
    offsets = writer.reshape(writer.of(node.inputs[1]), (batch, 3, groups, high, wide, *made))
    offsets = writer.emit("Transpose", [offsets], perm=(1, 0, 2, 5, 3, 6, 4))
    offsets = writer.reshape(offsets, (3, batch * groups, made[0] * high, made[1] * wide))
    windows = [(np.arange(count) * step - first)[:, None] + np.arange(width) * space for count, step, first, width,
               space in zip(made, steps, (top, left), (high, wide), spread)]
    across, down, weights = (writer.squeeze(writer.slice(offsets, 0, at, at + 1), [0]) for at in range(3))

    def place(moved: str, base: np.ndarray, size: int) -> str:
        x = writer.expression(node, moved) + writer.expression(node, writer.constant(base, node.types[0]))
        return writer.unsqueeze((x * (2 / max(size - 1, 1)) - 1).name, [3])
    grid = writer.emit("Concat", [place(across, windows[1].reshape(1, 1, -1), columns),
                                  place(down, windows[0].reshape(1, -1, 1), rows)], axis=3)
    data = writer.reshape(writer.of(node.inputs[0]), (batch * groups, channels // groups, rows, columns))
    read = writer.emit("GridSample", [data, grid], align_corners=1, padding_mode="zeros")
    return writer.reshape(writer.emit("Mul", [read, writer.unsqueeze(weights, [1])]), node.shapes[0])


def _roi_align(writer: Writer, node: Node) -> str:
    """
    Boxes (sample, left, top, right, bottom), whose ends MindSpore moves by one pixel in mode 1, and makes one pixel
    wide in mode 0 where they are empty. ONNX takes half a pixel off, and knows no least width then.
    """
    _need(writer, node, "'RoiAlign' without a least width", 16)
    attributes, boxes = node.attributes, writer.expression(node, node.inputs[1])
    scale, mode = float(attributes["spatial_scale"]), attributes.get("roi_end_mode", 1)
    sample, starts, ends = (Expression(writer, node, writer.slice(boxes.name, 1, *part)) for part in
                            ((0, 1), (1, 3), (3, 5)))
    if mode:
        ends = ends + 1
    else:
        empty = ((ends - starts) * scale)("Greater", 1e-4)("Not")
        ends = empty("Where", starts + 1 / scale, ends)
    corners = writer.emit("Concat", [(starts + 0.5 / scale).name, (ends + 0.5 / scale).name], axis=1)
    return writer.emit("RoiAlign", [writer.of(node.inputs[0]), corners,
                                    writer.cast(writer.squeeze(sample.name, [1]), "int64")],
                       coordinate_transformation_mode="half_pixel", mode="avg", spatial_scale=scale,
                       output_height=attributes["pooled_height"], output_width=attributes["pooled_width"],
                       sampling_ratio=attributes.get("sample_num", 2))


def _overlap(writer: Writer, node: Node) -> str:
    """Of boxes (left, top, right, bottom), whose last pixels are theirs: a row for each of the second input's."""
    ways = {"iou": False, "iof": True, 0: False, 1: True}
    boxes = [writer.unsqueeze(writer.of(value, node.types[0]), [axis]) for axis, value in enumerate(node.inputs[:2])]
    (first, last), (begin, finish) = ([Expression(writer, node, writer.slice(box, 2, *part))
                                       for part in ((0, 2), (2, 4))] for box in boxes)

    def area(start: Expression, end: Expression) -> Expression:
        sides = (end - start + 1)("Max", 0)
        across, down = (Expression(writer, node, writer.slice(sides.name, 2, *part)) for part in ((0, 1), (1, 2)))
        return across * down
    shared, own, other = area(first("Max", begin), last("Min", finish)), area(first, last), area(begin, finish)
    whole = other if ways[node.attributes.get("mode", writer.number(node, 2, 0))] else own + other - shared
    return writer.squeeze((shared / whole).name, [2])


def _suppress(writer: Writer, boxes: str, scores: str, numbers: Sequence[str]) -> str:
    """Which boxes stay, the best first, as a column of ONNX's triples. `numbers`: how many at most, overlap, least."""
    given = [writer.unsqueeze(boxes, [0]), writer.unsqueeze(scores, [0, 1])]
    found = writer.emit("NonMaxSuppression", [*given, *numbers])
    return writer.slice(found, 1, 2, 3)


def _sorted_suppression(writer: Writer, node: Node) -> Tuple[str, str, str]:
    """Boxes with scores, the best first; their numbers in this order; and which stay."""
    count = node.shapes[0][0]
    data = writer.of(node.inputs[0])
    scores = writer.squeeze(writer.slice(data, 1, 4, 5), [1])
    best, places = writer.emit_several("TopK", [scores, writer.vector([count])], 2, axis=0)
    ordered = writer.emit("Gather", [data, places], axis=0)
    overlap = writer.constant(np.asarray([node.attributes["iou_threshold"]], np.float32))
    kept = _suppress(writer, writer.slice(ordered, 1, 0, 4), best, [writer.vector([count]), overlap])
    none, one = (writer.constant(np.asarray(number, np.bool_)) for number in (False, True))
    ones = writer.emit("Expand", [one, writer.emit("Slice", [writer.emit("Shape", [kept]), *map(
        writer.vector, ([0], [1]))])])
    mask = writer.emit("ScatterND", [writer.emit("Expand", [none, writer.vector([count])]), kept, ones])
    return ordered, writer.constant(np.arange(count), node.types[1]), mask


def _suppression(writer: Writer, node: Node) -> str:
    """Inputs: boxes, scores, how many at most, overlap, least score."""
    numbers = [writer.reshape(writer.of(value, kind), [1])
               for value, kind in zip(node.inputs[2:5], ("int64", "float32", "float32"))]
    kept = _suppress(writer, writer.of(node.inputs[0], "float32"), writer.of(node.inputs[1], "float32"), numbers)
    return writer.cast(writer.squeeze(kept, [1]), node.types[0])


def _lstm(writer: Writer, node: Node) -> Tuple[Optional[str], ...]:
    """
    Inputs: data, state, cell, and all weights in one: those of the data, of the state, and the bias, each with the
    gates in, forget, cell, out; ONNX wants in, out, forget, cell.
    """
    attributes = node.attributes
    inputs, hidden, has_bias = (attributes[key] for key in ("input_size", "hidden_size", "has_bias"))
    if attributes.get("num_layers", 1) != 1 or attributes.get("bidirectional") or attributes.get("proj_size", 0):
        raise writer.refuse(node, "it has several layers or directions, or a projection")
    blob, order = writer.reshape(writer.of(node.inputs[3]), [-1]), writer.vector((0, 3, 1, 2))
    parts: List[str] = []
    start = 0
    for width in (inputs, hidden, 1)[:2 + bool(has_bias)]:
        stop = start + 4 * hidden * width
        part = writer.reshape(writer.slice(blob, 0, start, stop), (4, hidden, width))
        parts.append(writer.reshape(writer.emit("Gather", [part, order], axis=0), (1, 4 * hidden, width)))
        start = stop
    bias = ""
    if has_bias:
        flat = writer.squeeze(parts.pop(), [2])
        bias = writer.emit("Concat", [flat, writer.constant(np.zeros((1, 4 * hidden)), node.types[0])], axis=1)
    found, state, cell = writer.emit_several("LSTM", [writer.of(node.inputs[0]), *parts, bias, "",
                                                      *map(writer.of, node.inputs[1:3])], 3, hidden_size=hidden)
    return writer.squeeze(found, [1]), state, cell, None, None


def _affine_grid(writer: Writer, node: Node) -> str:
    """Places of the middles of pixels, or of points from corner to corner, moved by a matrix for each sample."""
    sizes, corners = node.shapes[0][1:-1], node.attributes.get("align_corners", False)
    lines = [np.linspace(-1, 1, size) * (1 if corners else (size - 1) / size) if size > 1 else np.zeros(1)
             for size in sizes]
    places = np.stack([*np.meshgrid(*lines, indexing="ij")[::-1], np.ones(sizes)], -1).reshape(-1, len(sizes) + 1)
    turned = writer.emit("Transpose", [writer.of(node.inputs[0])], perm=(0, 2, 1))
    made = writer.emit("MatMul", [writer.constant(places, node.types[0]), turned])
    return writer.reshape(made, node.shapes[0])


PLACES: Tuple[Tuple[Callable, str], ...] = (
    (_gather_elements, "GatherD GatherDExt"),
    (_scatter("ScatterND"), "TensorScatterUpdate"),
    *((_scatter("ScatterND", way), f"TensorScatter{way.capitalize()}") for way in ("add", "mul", "max", "min")),
    (_scatter("ScatterElements", axis=3), "TensorScatterElements"),
    (_scatter("ScatterElements", order=(0, 2, 3), axis=1), "Scatter ScatterValue"),
    (_scatter("ScatterElements", "add", order=(0, 2, 3), axis=1), "ScatterAddExt"),
    (_scatter_into_zeros, "ScatterNd"),
    (_one_hot, "OneHot OneHotExt"),
    (_meshgrid, "Meshgrid"),
    (_grid_sample, "GridSampler2D GridSampler3D"),
    (_affine_grid, "AffineGrid"),
    (_deformable_offsets, "DeformableOffsets"),
    (_roi_align, "ROIAlign"),
    (_overlap, "IOU"),
    (_sorted_suppression, "NMSWithMask"),
    (_suppression, "NonMaxSuppressionV3"),
    (_lstm, "LSTM"),
)
