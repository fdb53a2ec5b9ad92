"""ONNX rules of operators that sum channels up: convolutions, products of matrices, and what adds to them."""
from typing import Sequence, Tuple

import numpy as np

from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Constant, Node, Value, flatten

__all__ = ["PRODUCTS", "along_channels", "spatial_numbers", "check_layout", "is_none"]


def is_none(value: Value) -> bool:
    """Whether an input is left out."""
    return isinstance(value, Constant) and value.value is None


def check_layout(writer: Writer, node: Node, layout: str = "") -> None:
    """
    Refuse what does not have its channels on axis 1.

    Raises:
        ExportError: If the layout is another one.
    """
    layout = layout or node.attributes.get("format", node.attributes.get("data_format", "NCHW"))
    if layout not in ("NCHW", "NCDHW", "NCW", "NCL"):
        error = writer.refuse(node, f"its layout is '{layout}', and ONNX has channels first only")
        raise error


def spatial_numbers(numbers, rank: int) -> Tuple[int, ...]:
    """One number for each of the last `rank` axes, from one for all or one for every axis."""
    numbers = tuple(numbers) if isinstance(numbers, (tuple, list)) else (numbers,)
    return numbers[-rank:] if len(numbers) >= rank else numbers * rank


def along_channels(writer: Writer, value: Value, rank: int) -> str:
    """A vector as a tensor that meets axis 1 of one of that rank."""
    shape = (-1,) + (1,) * (rank - 2)
    array = writer.weight(value)
    return writer.reshape(writer.of(value), shape) if array is None else writer.constant(array.reshape(shape))


def _pads(padding: Sequence[int]) -> Tuple[int, ...]:
    """MindSpore names (begin, end) axis by axis, ONNX all begins, then all ends."""
    return tuple(padding[0::2]) + tuple(padding[1::2])


def _convolution(writer: Writer, node: Node) -> str:
    check_layout(writer, node)
    attributes, rank = node.attributes, len(node.shapes[0]) - 2
    return writer.emit(
        "Conv", [writer.of(node.inputs[0]), writer.of(node.inputs[1])], group=attributes.get("group", 1),
        strides=spatial_numbers(attributes["stride"], rank), dilations=spatial_numbers(attributes["dilation"], rank),
        pads=_pads(attributes["pad_list"]))


def _mint_convolution(writer: Writer, node: Node) -> str:
    """Inputs: data, weight, bias, stride, padding, dilation, groups."""
    rank = len(node.shapes[0]) - 2
    stride, padding, dilation = (spatial_numbers(writer.number(node, at), rank) for at in (3, 4, 5))
    inputs = [writer.of(value) for value in node.inputs[:3] if not is_none(value)]
    return writer.emit("Conv", inputs, strides=stride, dilations=dilation, pads=padding * 2,
                       group=writer.number(node, 6, 1))


def _transposed(writer: Writer, node: Node, inputs, stride, begin, dilation, group) -> str:
    """The padding at the ends, and what is added to the output, are those that give the shape of the trace."""
    shape, kernel = writer.shape(node.inputs[0])[2:], writer.shape(node.inputs[1])[2:]
    full = [(size - 1) * step + spread * (width - 1) + 1
            for size, step, spread, width in zip(shape, stride, dilation, kernel)]
    ends = [one - first - made for one, first, made in zip(full, begin, node.shapes[0][2:])]
    return writer.emit(
        "ConvTranspose", inputs, strides=stride, dilations=dilation, group=group,
        pads=tuple(begin) + tuple(max(end, 0) for end in ends), output_padding=tuple(max(-end, 0) for end in ends))


def _transposed_convolution(writer: Writer, node: Node) -> str:
    check_layout(writer, node)
    attributes, rank = node.attributes, len(node.shapes[0]) - 2
    return _transposed(writer, node, [writer.of(value) for value in node.inputs[:2]],
                       spatial_numbers(attributes["stride"], rank), attributes["pad_list"][0::2],
                       spatial_numbers(attributes["dilation"], rank), attributes.get("group", 1))


def _mint_transposed_convolution(writer: Writer, node: Node) -> str:
    """Inputs: data, weight, bias, stride, padding, output padding, groups, dilation; found by what the table says."""
    rank = len(node.shapes[0]) - 2
    stride, padding = (spatial_numbers(writer.number(node, at), rank) for at in (3, 4))
    dilation = spatial_numbers(writer.number(node, 7), rank)
    inputs = [writer.of(value) for value in node.inputs[:3] if not is_none(value)]
    return _transposed(writer, node, inputs, stride, padding, dilation, writer.number(node, 6, 1))


def _bias(writer: Writer, node: Node) -> str:
    rank = len(node.shapes[0])
    return writer.emit("Add", [writer.of(node.inputs[0]), along_channels(writer, node.inputs[1], rank)])


def _turned(writer: Writer, value: Value) -> str:
    rank = len(writer.shape(value))
    array = writer.weight(value)
    if array is not None:
        return writer.constant(np.swapaxes(array, -1, -2))
    return writer.emit("Transpose", [writer.of(value)], perm=(*range(rank - 2), rank - 1, rank - 2))


def _matrix_product(writer: Writer, node: Node) -> str:
    turned = [bool(writer.number(node, at, False)) for at in (2, 3)]
    return writer.emit("MatMul", [_turned(writer, value) if turn else writer.of(value)
                                  for value, turn in zip(node.inputs, turned)])


def _dense(writer: Writer, node: Node) -> str:
    made = writer.emit("MatMul", [writer.of(node.inputs[0]), _turned(writer, node.inputs[1])])
    bias = node.inputs[2] if len(node.inputs) > 2 else Constant(None)
    return made if is_none(bias) else writer.emit("Add", [made, writer.of(bias)])


def _einsum(writer: Writer, node: Node) -> str:
    return writer.emit("Einsum", [writer.of(value) for value in flatten(node.inputs)],
                       equation=node.attributes["equation"])


def _slope(writer: Writer, node: Node) -> str:
    rank = len(node.shapes[0])
    slope = along_channels(writer, node.inputs[1], rank) if rank > 1 else writer.of(node.inputs[1])
    return writer.emit("PRelu", [writer.of(node.inputs[0]), slope])


def _batch_normalization(training_at: int, epsilon_at: int):
    def rule(writer: Writer, node: Node) -> str:
        if writer.number(node, training_at, False) or any(is_none(value) for value in node.inputs[3:5]):
            raise writer.refuse(node, "it normalizes by the statistics of the batch")
        check_layout(writer, node, {0: "NCHW", 1: "NHWC", 2: "NCDHW"}.get(writer.number(node, 8, 0), "NCHW"))
        ones = np.ones(writer.shape(node.inputs[3]), node.types[0])
        vectors = [writer.constant(fill) if is_none(value) else writer.of(value)
                   for value, fill in zip(node.inputs[1:5], (ones, 0 * ones, ones, ones))]
        return writer.emit("BatchNormalization", [writer.of(node.inputs[0]), *vectors],
                           epsilon=float(writer.number(node, epsilon_at)))
    return rule


PRODUCTS = (
    (_convolution, "Conv2D Conv3D"),
    (_mint_convolution, "Conv1DExt Conv2DExt Conv3DExt"),
    (_transposed_convolution, "Conv2DTranspose Conv2DBackpropInput Conv3DTranspose"),
    (_mint_transposed_convolution, "ConvTranspose2D"),
    (_bias, "BiasAdd"),
    (_matrix_product, "MatMul MatMulExt BatchMatMul BatchMatMulExt"),
    (_dense, "Dense"),
    (_einsum, "Einsum"),
    (_slope, "PReLU"),
    (_batch_normalization(5, 6), "BatchNorm"),
    (_batch_normalization(5, 7), "BatchNormExt"),
)
