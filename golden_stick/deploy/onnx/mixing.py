"""ONNX rules of operators that mix positions: products with weights, normalizations, reductions, orders."""
import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from golden_stick.deploy.onnx.batch import FixedBatch, grows
from golden_stick.deploy.onnx.writer import Expression, Writer, is_none
from golden_stick.graph.ir import Constant, Node, Value, flatten
from golden_stick.graph.layers import CONVOLUTION, DENSE, NORMALIZERS, OPERATORS, TRANSPOSED

__all__ = ["MIXING", "along_channels", "spatial_numbers", "check_layout"]


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


def spatial_numbers(numbers: Union[int, Sequence[int]], rank: int) -> Tuple[int, ...]:
    """One number for each of the last `rank` axes, from one for all or one for every axis."""
    given = (numbers,) if isinstance(numbers, int) else tuple(numbers)
    return given[-rank:] if len(given) >= rank else given * rank


def along_channels(writer: Writer, value: Value, rank: int) -> str:
    """A vector as a tensor that meets axis 1 of one of that rank."""
    shape = (-1,) + (1,) * (rank - 2)
    array = writer.weight(value)
    return writer.reshape(writer.of(value), shape) if array is None else writer.constant(array.reshape(shape))


def _argument(writer: Writer, node: Node, name: str, default: Any = None) -> Any:
    """What a node says of ``'stride'``, ``'padding'``, ``'dilation'`` or ``'group'``, where the record has it."""
    at = getattr(OPERATORS[node.operator], name)
    return node.attributes.get(at, default) if isinstance(at, str) else writer.number(node, at, default)


def _padding(writer: Writer, node: Node, rank: int) -> Tuple[Tuple[int, ...], Tuple[int, ...]]:
    """At the beginning and at the end of every axis: an attribute holds pairs, an input one number for both."""
    padding = _argument(writer, node, "padding")
    if isinstance(OPERATORS[node.operator].padding, str):
        return tuple(padding[0::2]), tuple(padding[1::2])
    return (spatial_numbers(padding, rank),) * 2


def _convolution(writer: Writer, node: Node) -> str:
    """Of a transposed one, padding at the ends and what is added to the output give the shape of the trace."""
    check_layout(writer, node)
    operator, rank = OPERATORS[node.operator], len(node.shapes[0]) - 2
    stride, dilation = (spatial_numbers(_argument(writer, node, name), rank) for name in ("stride", "dilation"))
    begin, ends = _padding(writer, node, rank)
    attributes: Dict[str, Any] = {}
    if operator.form is TRANSPOSED:
        shape, kernel = writer.shape(node.inputs[0])[2:], writer.shape(node.inputs[1])[2:]
        full = [(size - 1) * step + spread * (width - 1) + 1
                for size, step, spread, width in zip(shape, stride, dilation, kernel)]
        left = [one - first - made for one, first, made in zip(full, begin, node.shapes[0][2:])]
        ends = tuple(max(end, 0) for end in left)
        attributes["output_padding"] = tuple(max(-end, 0) for end in left)
    inputs = [writer.of(value) for value in node.inputs[:2 if operator.bias is None else 3] if not is_none(value)]
    return writer.emit(operator.form.onnx, inputs, strides=stride, dilations=dilation, pads=begin + ends,
                       group=_argument(writer, node, "group", 1), **attributes)


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


def _batch_normalization(writer: Writer, node: Node) -> str:
    record = NORMALIZERS[node.operator]
    statistics = [node.inputs[at] for at in (record.mean, record.variance) if at is not None]
    if writer.number(node, record.training, False) or any(is_none(value) for value in statistics):
        raise writer.refuse(node, "it normalizes by the statistics of the batch")
    check_layout(writer, node, {0: "NCHW", 1: "NHWC", 2: "NCDHW"}.get(writer.number(node, 8, 0), "NCHW"))
    ones = np.ones(writer.shape(statistics[0]), node.types[0])
    gamma, beta = (writer.constant(fill) if is_none(node.inputs[at]) else writer.of(node.inputs[at])
                   for at, fill in ((record.gamma, ones), (record.beta, 0 * ones)))
    return writer.emit("BatchNormalization", [writer.of(node.inputs[0]), gamma, beta, *map(writer.of, statistics)],
                       epsilon=float(writer.number(node, record.epsilon)))


def _axes(writer: Writer, node: Node, at: int = 1) -> Optional[List[int]]:
    """The axes that the attribute 'axis' or input number `at` names, counted from the first; None for all of them."""
    rank = len(writer.shape(node.inputs[0]))
    axes = node.attributes.get("axis", writer.number(node, at))
    if axes is None or np.size(axes) == 0:
        return None
    return [int(axis) % rank for axis in np.ravel(axes)]


def _one_axis(writer: Writer, node: Node, at: int = 1, default: int = -1) -> int:
    axes = node.attributes.get("axis", writer.number(node, at, default))
    axes = [default] if axes is None else np.ravel(axes).tolist()
    if len(axes) != 1:
        raise writer.refuse(node, f"ONNX takes one axis there, but got {axes}")
    return int(axes[0])


def _keeps(writer: Writer, node: Node) -> bool:
    return len(node.shapes[0]) == len(writer.shape(node.inputs[0]))


def _reduction(operator: str) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        data = writer.of(node.inputs[0], node.types[0])
        return writer.reduce(operator, data, _axes(writer, node), _keeps(writer, node))
    return rule


def _sum(writer: Writer, node: Node) -> str:
    """Input 3 of MindSpore's own operator says whether no axes mean none, not all."""
    axes = _axes(writer, node)
    data = writer.of(node.inputs[0], node.types[0])
    if axes is None and node.operator == "ReduceSum" and writer.number(node, 3, False):
        return data
    return writer.reduce("ReduceSum", data, axes, _keeps(writer, node))


def _truth(operator: str) -> Callable:
    """All and any, as the least and the largest of zeros and ones."""
    def rule(writer: Writer, node: Node) -> str:
        data = writer.of(node.inputs[0], "int32")
        return writer.cast(writer.reduce(operator, data, _axes(writer, node), _keeps(writer, node)), "bool")
    return rule


def _norm(writer: Writer, node: Node) -> str:
    """Inputs of the newer one: data, order, axes, whether they stay, type."""
    newer = node.operator == "LinalgVectorNorm"
    power = float(writer.number(node, 1, 2.0) if newer else node.attributes.get("p", 2))
    if power not in (1.0, 2.0):
        raise writer.refuse(node, f"ONNX has norms of order 1 and 2, but the order is {power:g}")
    data = writer.of(node.inputs[0], node.types[0])
    return writer.reduce(f"ReduceL{power:.0f}", data, _axes(writer, node, 2 if newer else 1), _keeps(writer, node))


def _index(operator: str, values: str = "", index_first: bool = True) -> Callable:
    """Places of the largest or smallest numbers, with the numbers themselves where `values` names their reduction."""
    def rule(writer: Writer, node: Node) -> Union[str, Tuple[str, str]]:
        data, axis = writer.of(node.inputs[0]), _one_axis(writer, node)
        keep = _keeps(writer, node)
        kind = node.types[0 if index_first else 1]
        places = writer.cast(writer.emit(operator, [data], axis=axis, keepdims=int(keep)), kind)
        if not values:
            return places
        found = writer.reduce(values, data, [axis], keep)
        return (places, found) if index_first else (found, places)
    return rule


def _reduced(writer: Writer, node: Node, operator: str, x: Expression, axes: Optional[Sequence[int]],
             keep: bool = True) -> Expression:
    return writer.expression(node, writer.reduce(operator, x.name, axes, keep))


def _moments(writer: Writer, node: Node, correction: float, root: bool) -> Tuple[str, str]:
    """Variance, or its root, and mean, over the axes of input 1."""
    shape, axes, keep = writer.shape(node.inputs[0]), _axes(writer, node), _keeps(writer, node)
    axes = list(range(len(shape))) if axes is None else axes
    if any(grows(shape[axis]) for axis in axes):
        raise FixedBatch(f"{node} is taken over the batch")
    x, count = writer.expression(node, node.inputs[0]), math.prod(shape[axis] for axis in axes)
    mean = _reduced(writer, node, "ReduceMean", x, axes)
    away = x - mean
    spread = _reduced(writer, node, "ReduceSum", away * away, axes, keep) / max(count - correction, 0)
    return (spread("Sqrt") if root else spread).name, mean.name if keep else writer.squeeze(mean.name, axes)


def _spread(root: bool) -> Callable:
    """Inputs: data, axes, what is taken off the count, whether the axes stay."""
    def rule(writer: Writer, node: Node) -> Tuple[str, str]:
        return _moments(writer, node, float(writer.number(node, 2, 1)), root)
    return rule


def _softmax(operator: str) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        return writer.emit(operator, [writer.of(node.inputs[0], node.types[0])], axis=_one_axis(writer, node))
    return rule


def _running_sum(writer: Writer, node: Node) -> str:
    axis = writer.constant(np.asarray(_one_axis(writer, node), np.int64))
    flags = [False, False] if node.operator == "CumsumExt" else [bool(writer.number(node, at, False)) for at in (2, 3)]
    return writer.emit("CumSum", [writer.of(node.inputs[0], node.types[0]), axis], exclusive=int(flags[0]),
                       reverse=int(flags[1]))


def _sort(writer: Writer, node: Node) -> Tuple[str, str]:
    """Inputs of the newer one: data, axis, whether it descends."""
    axis = _one_axis(writer, node) % len(node.shapes[0])
    down = bool(node.attributes.get("descending", writer.number(node, 2, False)))
    values, places = writer.emit_several("TopK", [writer.of(node.inputs[0]), writer.vector([node.shapes[0][axis]])], 2,
                                         axis=axis, largest=int(down), sorted=1)
    return values, writer.cast(places, node.types[1])


def _top(writer: Writer, node: Node) -> Tuple[str, str]:
    """Inputs: data, how many, axis, whether the largest, whether in order."""
    values, places = writer.emit_several(
        "TopK", [writer.of(node.inputs[0]), writer.vector([writer.number(node, 1)])], 2,
        axis=writer.number(node, 2, -1), largest=int(writer.number(node, 3, True)),
        sorted=int(writer.number(node, 4, True)))
    return values, writer.cast(places, node.types[1])


def _unit_length(writer: Writer, node: Node) -> str:
    """Divided by the root of the sum of squares, which epsilon keeps off zero."""
    x = writer.expression(node, node.inputs[0])
    total = _reduced(writer, node, "ReduceSum", x * x, _axes(writer, node))
    return (x / total("Max", node.attributes["epsilon"])("Sqrt")).name


def _layer_normalization(writer: Writer, node: Node) -> str:
    """
    ONNX has this since opset 17, with a scale that covers just the normalized axes.

    Input 3 of MindSpore's own operators is the first of these axes, input 1 of mint's their lengths.
    """
    record, rank = NORMALIZERS[node.operator], len(node.shapes[0])
    scale, shift = node.inputs[record.gamma], node.inputs[record.beta]
    if record.gamma == 1:
        first = writer.number(node, 3, node.attributes.get("begin_norm_axis", -1)) % rank
    else:
        first = rank - len(writer.number(node, 1))
    epsilon = writer.number(node, record.epsilon, node.attributes.get("epsilon", 1e-7))
    x = writer.expression(node, node.inputs[0])
    if writer.opset >= 17 and not is_none(scale) and len(writer.shape(scale)) == rank - first:
        inputs = [x.name, *(writer.of(value) for value in (scale, shift) if not is_none(value))]
        return writer.emit("LayerNormalization", inputs, axis=first, epsilon=float(epsilon))
    away = x - _reduced(writer, node, "ReduceMean", x, range(first, rank))
    made = away / (_reduced(writer, node, "ReduceMean", away * away, range(first, rank)) + epsilon)("Sqrt")
    made = made if is_none(scale) else made * writer.expression(node, scale)
    return (made if is_none(shift) else made + writer.expression(node, shift)).name


def _group_normalization(writer: Writer, node: Node) -> str:
    """Every group is one channel of an instance normalization. Inputs: data, groups, scale, shift, epsilon."""
    shape, groups = writer.shape(node.inputs[0]), writer.number(node, 1)
    # A zero in ONNX's Reshape copies the size of the input.
    data = writer.emit("Reshape", [writer.of(node.inputs[0]), writer.vector([0, groups, -1])])
    ones = np.ones(groups, node.types[0])
    data = writer.emit("InstanceNormalization", [data, writer.constant(ones), writer.constant(0 * ones)],
                       epsilon=float(writer.number(node, 4, 1e-5)))
    data = writer.reshape(data, shape)
    for operator, value in zip(("Mul", "Add"), node.inputs[2:4]):
        if not is_none(value):
            data = writer.emit(operator, [data, along_channels(writer, value, len(shape))])
    return data


def _instance_normalization(writer: Writer, node: Node) -> str:
    return writer.emit("InstanceNormalization", [writer.of(value) for value in node.inputs[:3]],
                       epsilon=float(node.attributes["epsilon"]))


def _root_mean_square(writer: Writer, node: Node) -> str:
    """Inputs: data, scale, epsilon; over the last axis."""
    x, scale = (writer.expression(node, value) for value in node.inputs[:2])
    power = _reduced(writer, node, "ReduceMean", x * x, [len(node.shapes[0]) - 1])
    return (x / (power + writer.number(node, 2, 1e-6))("Sqrt") * scale).name


MIXING = (
    *((_convolution, name) for name, record in OPERATORS.items() if record.form in (CONVOLUTION, TRANSPOSED)),
    *((_matrix_product if record.bias is None else _dense, name) for name, record in OPERATORS.items()
      if record.form is DENSE),
    *((_batch_normalization, name) for name, record in NORMALIZERS.items() if record.over == "batch"),
    *((_layer_normalization, name) for name, record in NORMALIZERS.items() if record.over == "layer"),
    (_bias, "BiasAdd"),
    (_einsum, "Einsum"),
    (_slope, "PReLU"),
    (_reduction("ReduceMean"), "ReduceMean MeanExt"),
    (_reduction("ReduceMax"), "ReduceMax Max AMax"),
    (_reduction("ReduceMin"), "ReduceMin Min AMin"),
    (_reduction("ReduceProd"), "ReduceProd ProdExt"),
    (_sum, "ReduceSum SumExt"),
    (_truth("ReduceMin"), "ReduceAll"),
    (_truth("ReduceMax"), "ReduceAny"),
    (_norm, "LpNorm LinalgVectorNorm"),
    (_index("ArgMax"), "Argmax"),
    (_index("ArgMin"), "Argmin"),
    (_index("ArgMax", "ReduceMax"), "ArgMaxWithValue"),
    (_index("ArgMin", "ReduceMin"), "ArgMinWithValue"),
    (_index("ArgMax", "ReduceMax", index_first=False), "MaxDim"),
    (_index("ArgMin", "ReduceMin", index_first=False), "MinDim"),
    (_spread(root=False), "VarMean Var"),
    (_spread(root=True), "ReduceStd Std"),
    (_softmax("Softmax"), "Softmax"),
    (_softmax("LogSoftmax"), "LogSoftmax LogSoftmaxExt"),
    (_running_sum, "CumSum CumsumExt"),
    (_sort, "Sort SortExt"),
    (_top, "TopkExt"),
    (_unit_length, "L2Normalize"),
    (_group_normalization, "GroupNorm"),
    (_instance_normalization, "InstanceNorm"),
    (_root_mean_square, "RmsNorm"),
)
