"""ONNX rules of pooling and resizing."""
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

from golden_stick.deploy.onnx.mixing import check_layout, spatial_numbers
from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Node

__all__ = ["SPATIAL"]


Sizes = Sequence[int]
# How MindSpore counts the ways to pad.
_PAD_MODES = {0: "PAD", 1: "SAME", 2: "VALID"}


def _ends(sizes: Sizes, made: Sizes, kernel: Sizes, stride: Sizes, begin: Sizes, dilation: Sizes = ()
          ) -> Tuple[int, ...]:
    """Padding at the ends that gives as many windows as the trace has, whatever rounding the code asks for."""
    windows = zip(sizes, made, kernel, stride, begin, dilation or (1,) * len(sizes))
    return tuple(max((count - 1) * step + spread * (width - 1) + 1 - size - first, 0)
                 for size, count, width, step, first, spread in windows)


def _begin(writer: Writer, node: Node, mode: str, padding: Sizes, kernel: Sizes, stride: Sizes) -> Sizes:
    """Padding at the beginning; where windows cover all, it is the smaller half of what is missing."""
    if mode.upper() != "SAME":
        return padding
    sizes, made = writer.shape(node.inputs[0])[2:], node.shapes[0][2:]
    return [total // 2 for total in _ends(sizes, made, kernel, stride, (0,) * len(sizes))]


def _max_pool(writer: Writer, node: Node, kernel: Sizes, stride: Sizes, begin: Sizes, dilation: Sizes = ()) -> str:
    given, made, data = writer.shape(node.inputs[0]), node.shapes[0], writer.of(node.inputs[0])
    one_deep = len(made) == 5 and (given[2], made[2], kernel[0], begin[0]) == (1, 1, 1, 0)
    if one_deep:
        # As MindSpore lays out nn.MaxPool2d with padding. Runtimes are faster in two dimensions.
        planes = given[:2] + given[3:]
        data, given, made = writer.reshape(data, planes, given), planes, made[:2] + made[3:]
        kernel, stride, begin, dilation = kernel[1:], stride[1:], begin[1:], dilation[1:]
    if writer.maker(data) == "Pad":
        # ONNX Runtime takes a padding before this for the pooling's own, whatever it is filled with: keep them apart.
        data = writer.emit("Max", [data, writer.constant(np.finfo(node.types[0]).min, node.types[0])])
    ends = _ends(given[2:], made[2:], kernel, stride, begin, dilation)
    pooled = writer.emit("MaxPool", [data], kernel_shape=kernel, strides=stride, pads=tuple(begin) + ends,
                         dilations=dilation or None)
    return writer.reshape(pooled, node.shapes[0], made) if one_deep else pooled


def _own_window(writer: Writer, node: Node) -> Tuple[Sizes, Sizes, Sizes]:
    """Kernel, stride and padding at the beginning, where attributes hold them."""
    check_layout(writer, node)
    attributes, rank = node.attributes, len(node.shapes[0]) - 2
    kernel, stride = (spatial_numbers(attributes[key], rank) for key in ("kernel_size", "strides"))
    padding = attributes.get("pad_list", (0,) * (2 * rank))[0::2]
    return kernel, stride, _begin(writer, node, attributes["pad_mode"], padding, kernel, stride)


def _mint_max_pool(writer: Writer, node: Node) -> str:
    """Inputs: data, kernel, stride, padding, dilation."""
    rank = len(node.shapes[0]) - 2
    kernel, stride, padding, dilation = (spatial_numbers(writer.number(node, at), rank) for at in (1, 2, 3, 4))
    return _max_pool(writer, node, kernel, stride or kernel, padding, dilation)


def _max_pool_with_places(writer: Writer, node: Node) -> str:
    given = {"ksize": node.attributes.get("kernel_size"), **node.attributes}
    return _max_pool(writer, node, *(spatial_numbers(given[key], len(node.shapes[0]) - 2)
                                     for key in ("ksize", "strides", "pads", "dilation")))


def _covered(count: int, width: int, step: int, first: int, low: int, high: int) -> np.ndarray:
    """How many positions in [low, high) each window of an axis covers."""
    starts = np.arange(count) * step - first
    return np.minimum(starts + width, high) - np.maximum(starts, low)


def _average(writer: Writer, node: Node, kernel: Sizes, stride: Sizes, begin: Sizes, end: Sizes, counted: bool,
             divisor: Optional[int] = None) -> str:
    """
    The mean of what every window covers of the data, and where the code divides by another number, times the quotient:
    a constant of the shape of the windows: ONNX Runtime's own ways to count padding, and to round up,
    depend on the opset, and for uneven padding some are wrong.
    """
    sizes, made = writer.shape(node.inputs[0])[2:], node.shapes[0][2:]
    pooled = writer.emit("AveragePool", [writer.of(node.inputs[0])], kernel_shape=kernel, strides=stride,
                         pads=tuple(begin) + _ends(sizes, made, kernel, stride, begin), count_include_pad=0)
    if not counted and not divisor:
        return pooled
    quotient = np.full((1,) * len(sizes), 1 / (divisor or 1))
    for axis, (size, first, last) in enumerate(zip(sizes, begin, end)):
        window = made[axis], kernel[axis], stride[axis], first
        own = _covered(*window, 0, size) / (1 if divisor else _covered(*window, -first, size + last))
        quotient = quotient * own.reshape((-1,) + (1,) * (len(sizes) - axis - 1))
    return pooled if (quotient == 1).all() else writer.emit("Mul", [pooled, writer.constant(quotient, node.types[0])])


def _own_average_pool(writer: Writer, node: Node) -> str:
    """Inputs: data, kernel, stride, how it pads, layout. What it pads is not counted."""
    if writer.number(node, 4, 0) not in (0, "NCHW"):
        check_layout(writer, node, "NHWC")
    kernel, stride = (spatial_numbers(writer.number(node, at), 2) for at in (1, 2))
    mode = writer.number(node, 3)
    begin = _begin(writer, node, _PAD_MODES.get(mode, mode), (0, 0), kernel, stride)
    return _average(writer, node, kernel, stride, begin, (0, 0), False)


def _average_pool_3d(writer: Writer, node: Node) -> str:
    counted, divisor = (node.attributes[key] for key in ("count_include_pad", "divisor_override"))
    return _average(writer, node, *_own_window(writer, node), node.attributes["pad_list"][1::2], counted, divisor)


def _mint_average_pool(writer: Writer, node: Node) -> str:
    """Inputs: data, kernel, stride, padding, whether it rounds up, whether padding counts, divisor."""
    kernel, stride, padding = (spatial_numbers(writer.number(node, at), 2) for at in (1, 2, 3))
    counted, divisor = (writer.number(node, at) for at in (5, 6))
    return _average(writer, node, kernel, stride or kernel, padding, padding, counted, divisor)


def _shares(size: int, made: int) -> List[Tuple[int, int]]:
    """Start and end of every share of an axis: a start rounded down, an end rounded up."""
    return [(at * size // made, -(-(at + 1) * size // made)) for at in range(made)]


def _adaptive_pool(operator: str, uneven: Callable[[Writer, Node, str, int, int, int], str]) -> Callable:
    """Even shares are a pooling; others go axis by axis."""
    def rule(writer: Writer, node: Node) -> str:
        sizes, made = writer.shape(node.inputs[0])[2:], node.shapes[0][2:]
        data = writer.of(node.inputs[0])
        if all(count == 1 for count in made):
            return writer.emit(f"Global{operator}", [data])
        if all(size % count == 0 for size, count in zip(sizes, made)):
            widths = [size // count for size, count in zip(sizes, made)]
            return writer.emit(operator, [data], kernel_shape=widths, strides=widths)
        for axis, (size, count) in enumerate(zip(sizes, made), 2):
            data = uneven(writer, node, data, axis, size, count)
        return data
    return rule


def _mean_shares(writer: Writer, node: Node, data: str, axis: int, size: int, made: int) -> str:
    """A product with the matrix of shares."""
    matrix = np.zeros((made, size))
    for row, (start, stop) in enumerate(_shares(size, made)):
        matrix[row, start:stop] = 1 / (stop - start)
    letters = "ncdhw"[:len(node.shapes[0])]
    after = letters.replace(letters[axis], "o")
    return writer.emit("Einsum", [data, writer.constant(matrix, node.types[0])],
                       equation=f"{letters},o{letters[axis]}->{after}")


def _largest_shares(writer: Writer, node: Node, data: str, axis: int, size: int, made: int) -> str:
    parts = [writer.reduce("ReduceMax", writer.slice(data, axis, start, stop), [axis], True)
             for start, stop in _shares(size, made)]
    return writer.emit("Concat", parts, axis=axis)


def _coordinates(writer: Writer, node: Node) -> str:
    """Inputs 2 and 3 of MindSpore's own: whether corners meet corners, and whether a pixel's middle is its place."""
    if writer.number(node, 2, False):
        return "align_corners"
    return "half_pixel" if writer.number(node, 3, False) else "asymmetric"


def _resize(mode: str, coordinates: Callable[[Writer, Node], str] = _coordinates) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        inputs, how = [writer.of(node.inputs[0]), "", "", writer.vector(node.shapes[0])], coordinates(writer, node)
        rounding = "floor" if how == "asymmetric" else "round_prefer_ceil"
        return writer.emit("Resize", inputs, mode=mode, coordinate_transformation_mode=how,
                           nearest_mode=rounding if mode == "nearest" else None)
    return rule


def _cubic_weights(size: int, made: int, coordinates: str) -> np.ndarray:
    """The matrix of one axis. MindSpore rounds places to 1/1024 pixel and has a curve of its own for half pixels."""
    middle, one = coordinates == "half_pixel", np.float32(1)
    bend = -0.5 if middle else -0.75
    corners = coordinates == "align_corners" and made > 1
    step = one * (size - 1) / (one * (made - 1)) if corners else one * size / (one * made)
    at = np.arange(made, dtype=np.float32)
    place = (at + one / 2) * step - one / 2 if middle else at * step
    left = np.floor(place).astype(int)
    right = np.rint((place - left) * 1024) / 1024
    away = np.stack((1 + right, right, 1 - right, 2 - right), 1)
    inner = ((bend + 2) * away - (bend + 3)) * away ** 2 + 1
    outer = ((bend * away - 5 * bend) * away + 8 * bend) * away - 4 * bend
    weights = np.where(away <= 1, inner, outer)
    columns = left[:, None] + np.arange(-1, 3)
    if middle:
        weights = weights * ((columns >= 0) & (columns < size))
        weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((made, size))
    np.add.at(matrix, (np.arange(made)[:, None], columns.clip(0, size - 1)), weights)
    return matrix


def _bicubic(writer: Writer, node: Node) -> str:
    """ONNX's Resize does not round as MindSpore does; two products with constant matrices are exact."""
    coordinates = _coordinates(writer, node)
    rows, columns = (writer.constant(_cubic_weights(size, made, coordinates), node.types[0])
                     for size, made in zip(writer.shape(node.inputs[0])[2:], node.shapes[0][2:]))
    turned = writer.emit("Transpose", [columns], perm=(1, 0))
    return writer.emit("MatMul", [writer.emit("MatMul", [rows, writer.of(node.inputs[0])]), turned])


SPATIAL = (
    (lambda writer, node: _max_pool(writer, node, *_own_window(writer, node)), "MaxPool MaxPool3D"),
    (_mint_max_pool, "MaxPoolWithMask MaxPoolWithIndices"),
    (_max_pool_with_places, "MaxPoolWithArgmaxV2 MaxPool3DWithArgmax"),
    (_own_average_pool, "AvgPool"),
    (_average_pool_3d, "AvgPool3D"),
    (_mint_average_pool, "AvgPool2D"),
    (_adaptive_pool("AveragePool", _mean_shares), "AdaptiveAvgPool2D AdaptiveAvgPool2DExt AdaptiveAvgPool3D"),
    (_adaptive_pool("MaxPool", _largest_shares), "AdaptiveMaxPool2D"),
    (_resize("linear"), "ResizeBilinear ResizeBilinearV2"),
    (_resize("nearest"), "ResizeNearestNeighbor ResizeNearestNeighborV2"),
    (_bicubic, "ResizeBicubic"),
    # Input 2 counts the ways: neither, corners on corners, a pixel's middle as its place.
    (_resize("linear", lambda writer, node: {0: "asymmetric", 1: "align_corners", 2: "half_pixel"}.get(
        way := writer.number(node, 2, 1), way)), "ResizeLinear1D"),
    (_resize("nearest", lambda writer, node: "asymmetric"), "UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D"),
    # Inputs: data, size, scales, whether corners meet corners.
    (_resize("linear", lambda writer, node: "align_corners" if writer.number(node, 3, False) else "half_pixel"),
     "UpsampleLinear1D UpsampleBilinear2D UpsampleTrilinear3D"),
    (_resize("cubic", lambda writer, node: "align_corners" if writer.number(node, 3, False) else "half_pixel"),
     "UpsampleBicubic2D"),
)
