"""ONNX rules of operators that mix positions: products with weights, normalizations, reductions, orders."""
import math
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import numpy as np

from golden_stick.deploy.onnx.writer import Writer, is_none
from golden_stick.graph.ir import Constant, Node, Value, flatten
from golden_stick.graph.layers import CONVOLUTION, DENSE, NORMALIZERS, OPERATORS, TRANSPOSED, spatial_numbers

__all__ = ["MIXING", "along_channels", "spatial_numbers", "check_layout"]


def check_layout(writer: Writer, node: Node, layout: str = "") -> None:
    """Refuse what does not have its channels on axis 1."""
    layout = layout or node.attributes.get("format", node.attributes.get("data_format", "NCHW"))
    if layout not in ("NCHW", "NCDHW", "NCW", "NCL"):
        raise writer.refuse(node, f"its layout is '{layout}', and ONNX has channels first only")


def along_channels(writer: Writer, value: Value, rank: int) -> str:
    """A vector as a tensor that meets axis 1 of one of that rank."""
    shape = (-1,) + (1,) * (rank - 2)
    array = writer.weight(value)
    return writer.reshape(writer.of(value), shape) if array is None else writer.constant(array.reshape(shape))


def _argument(writer: Writer, node: Node, name: str, default: Any = None) -> Any:
    """What a node says of ``'stride'``, ``'padding'``, ``'dilation'`` or ``'group'``, where the record has it."""
    at = getattr(OPERATORS[node.operator], name)
    return node.attributes.get(at, default) if isinstance(at, str) else writer.number(node, at, default)


def _convolution(writer: Writer, node: Node) -> str:
    """Of a transposed one, padding at the ends and what is added to the output give the shape of the trace."""
    check_layout(writer, node)
    operator, rank = OPERATORS[node.operator], len(node.shapes[0]) - 2
    stride, dilation = (spatial_numbers(_argument(writer, node, name), rank) for name in ("stride", "dilation"))
    padding = _argument(writer, node, "padding")
    if isinstance(operator.padding, str):  # an attribute holds pairs
        begin, ends = tuple(padding[0::2]), tuple(padding[1::2])
    else:
        begin = ends = spatial_numbers(padding, rank)
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


def _by_channel(operator: str) -> Callable:
    """Of a tensor and a vector, a number for each channel."""
    def rule(writer: Writer, node: Node) -> str:
        vector = along_channels(writer, node.inputs[1], len(node.shapes[0]))
        return writer.emit(operator, [writer.of(node.inputs[0]), vector])
    return rule


def _turned(writer: Writer, value: Value) -> str:
    rank, array = len(writer.shape(value)), writer.weight(value)
    if array is not None:
        return writer.constant(np.swapaxes(array, -1, -2))
    return writer.emit("Transpose", [writer.of(value)], perm=(*range(rank - 2), rank - 1, rank - 2))


def _matrix_product(writer: Writer, node: Node) -> str:
    """Inputs 2 and 3 of one without bias say which factors are turned; otherwise it is the weight."""
    dense = OPERATORS[node.operator].bias is not None
    turned = (False, True) if dense else [bool(writer.number(node, at, False)) for at in (2, 3)]
    made = writer.emit("MatMul", [_turned(writer, value) if turn else writer.of(value)
                                  for value, turn in zip(node.inputs, turned)])
    bias = node.inputs[2] if dense and len(node.inputs) > 2 else Constant(None)
    return made if is_none(bias) else writer.emit("Add", [made, writer.of(bias)])


def _einsum(writer: Writer, node: Node) -> str:
    return writer.emit("Einsum", [writer.of(value) for value in flatten(node.inputs)],
                       equation=node.attributes["equation"])


def _batch_normalization(writer: Writer, node: Node) -> str:
    record = NORMALIZERS[node.operator]
    statistics = [node.inputs[at] for at in (record.mean, record.variance) if at is not None]
    if writer.number(node, record.training, False) or any(is_none(value) for value in statistics):
        raise writer.refuse(node, "it normalizes by the statistics of the batch")
    check_layout(writer, node, {1: "NHWC", 2: "NCDHW"}.get(writer.number(node, 8, 0), "NCHW"))
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


def _one_axis(writer: Writer, node: Node) -> int:
    axes = node.attributes.get("axis", writer.number(node, 1))
    axes = [-1] if axes is None else np.ravel(axes).tolist()
    if len(axes) != 1:
        raise writer.refuse(node, f"ONNX takes one axis there, but got {axes}")
    return int(axes[0])


def _keeps(writer: Writer, node: Node) -> bool:
    return len(node.shapes[0]) == len(writer.shape(node.inputs[0]))


def _reduction(operator: str) -> Callable:
    """All and any are the least and the largest of zeros and ones."""
    def rule(writer: Writer, node: Node) -> str:
        kind, axes = node.types[0], _axes(writer, node)
        data = writer.of(node.inputs[0], "int32" if kind == "bool" else kind)
        # Input 3 of MindSpore's own sum says whether no axes mean none, not all.
        if axes is None and node.operator == "ReduceSum" and writer.number(node, 3, False):
            return data
        made = writer.reduce(operator, data, axes, _keeps(writer, node))
        return writer.cast(made, kind) if kind == "bool" else made
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
        data, axis, keep = writer.of(node.inputs[0]), _one_axis(writer, node), _keeps(writer, node)
        kind = node.types[0 if index_first else 1]
        places = writer.cast(writer.emit(operator, [data], axis=axis, keepdims=int(keep)), kind)
        if not values:
            return places
        found = writer.reduce(values, data, [axis], keep)
        return (places, found) if index_first else (found, places)
    return rule


def _spread(root: bool) -> Callable:
    """Variance, or its root, and mean. Inputs: data, axes, what is taken off the count, whether the axes stay."""
    def rule(writer: Writer, node: Node) -> Tuple[str, str]:
        shape, axes, keep = writer.shape(node.inputs[0]), _axes(writer, node), _keeps(writer, node)
        axes = list(range(len(shape))) if axes is None else axes
        x, count = writer.expression(node, node.inputs[0]), math.prod(shape[axis] for axis in axes)
        mean = x.reduced("ReduceMean", axes)
        away = x - mean
        spread = (away * away).reduced("ReduceSum", axes, keep) / max(count - float(writer.number(node, 2, 1)), 0)
        return (spread("Sqrt") if root else spread).name, mean.name if keep else writer.squeeze(mean.name, axes)
    return rule


def _softmax(operator: str) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        return writer.emit(operator, [writer.of(node.inputs[0], node.types[0])], axis=_one_axis(writer, node))
    return rule


def _among_channels(writer: Writer, node: Node) -> str:
    """Divided by a power of the squares of the channels beside it. ONNX takes the mean of squares, not the sum."""
    given, size = node.attributes, 2 * node.attributes["depth_radius"] + 1
    return writer.emit("LRN", [writer.of(node.inputs[0])], size=size, alpha=float(given["alpha"] * size),
                       beta=float(given["beta"]), bias=float(given["bias"]))


def _running_sum(writer: Writer, node: Node) -> str:
    axis = writer.constant(np.asarray(_one_axis(writer, node), np.int64))
    flags = [False, False] if node.operator == "CumsumExt" else [bool(writer.number(node, at, False)) for at in (2, 3)]
    return writer.emit("CumSum", [writer.of(node.inputs[0], node.types[0]), axis], exclusive=int(flags[0]),
                       reverse=int(flags[1]))


def _top(writer: Writer, node: Node, count: int, axis: int, largest: bool, in_order: bool) -> Tuple[str, str]:
    values, places = writer.emit_several("TopK", [writer.of(node.inputs[0]), writer.vector([count])], 2, axis=axis,
                                         largest=int(largest), sorted=int(in_order))
    return values, writer.cast(places, node.types[-1])


def _sort(writer: Writer, node: Node, places_only: bool = False) -> Union[str, Tuple[str, str]]:
    """Inputs of the newer one: data, axis, whether it descends."""
    axis = _one_axis(writer, node) % len(node.shapes[0])
    down = node.attributes.get("descending", writer.number(node, 2, False))
    found = _top(writer, node, node.shapes[0][axis], axis, down, True)
    return found[1] if places_only else found


def _top_numbers(writer: Writer, node: Node) -> Tuple[str, str]:
    """Inputs: data, how many, axis, whether the largest, whether in order."""
    given = (writer.number(node, at, default) for at, default in ((1, None), (2, -1), (3, True), (4, True)))
    return _top(writer, node, *given)


def _unit_length(writer: Writer, node: Node) -> str:
    """Divided by the root of the sum of squares, which epsilon keeps off zero."""
    x = writer.expression(node, node.inputs[0])
    total = (x * x).reduced("ReduceSum", _axes(writer, node))
    return (x / total("Max", node.attributes["epsilon"])("Sqrt")).name


def _layer_normalization(writer: Writer, node: Node) -> str:
    """ONNX has it since opset 17. Input 3 of MindSpore's own operators is the first axis, input 1 of mint's lengths."""
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
    away = x - x.reduced("ReduceMean", range(first, rank))
    made = away / ((away * away).reduced("ReduceMean", range(first, rank)) + epsilon)("Sqrt")
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
    power = (x * x).reduced("ReduceMean", [len(node.shapes[0]) - 1])
    return (x / (power + writer.number(node, 2, 1e-6))("Sqrt") * scale).name


MIXING: Tuple[Tuple[Callable, str], ...] = (
    *((_convolution, name) for name, record in OPERATORS.items() if record.form in (CONVOLUTION, TRANSPOSED)),
    *((_matrix_product, name) for name, record in OPERATORS.items() if record.form is DENSE),
    *((_batch_normalization, name) for name, record in NORMALIZERS.items() if record.over == "batch"),
    *((_layer_normalization, name) for name, record in NORMALIZERS.items() if record.over == "layer"),
    (_by_channel("Add"), "BiasAdd"),
    (_einsum, "Einsum"),
    (_by_channel("PRelu"), "PReLU"),
    (_reduction("ReduceMean"), "ReduceMean MeanExt"),
    (_reduction("ReduceMax"), "ReduceMax Max AMax ReduceAny"),
    (_reduction("ReduceMin"), "ReduceMin Min AMin ReduceAll"),
    (_reduction("ReduceProd"), "ReduceProd"),
    (_reduction("ReduceSum"), "ReduceSum SumExt"),
    (_reduction("ReduceLogSumExp"), "LogSumExp"),
    (_norm, "LpNorm LinalgVectorNorm"),
    (_index("ArgMax"), "Argmax ArgMaxExt"),
    (_index("ArgMin"), "Argmin ArgMinExt"),
    (_index("ArgMax", "ReduceMax"), "ArgMaxWithValue"),
    (_index("ArgMin", "ReduceMin"), "ArgMinWithValue"),
    (_index("ArgMax", "ReduceMax", index_first=False), "MaxDim"),
    (_index("ArgMin", "ReduceMin", index_first=False), "MinDim"),
    (_spread(root=False), "VarMean Var"),
    (_spread(root=True), "ReduceStd Std"),
    (_softmax("Softmax"), "Softmax"),
    (_softmax("LogSoftmax"), "LogSoftmax LogSoftmaxExt"),
    (_running_sum, "CumSum CumsumExt"),
    (_among_channels, "LRN"),
    (_sort, "Sort SortExt"),
    (_top_numbers, "TopkExt"),
    (lambda writer, node: _top(writer, node, writer.number(node, 1), -1, True, node.attributes.get("sorted", True)),
     "TopK"),
    (lambda writer, node: _sort(writer, node, places_only=True), "ArgSort"),
    (_unit_length, "L2Normalize"),
    (_group_normalization, "GroupNorm"),
    (_instance_normalization, "InstanceNorm"),
    (_root_mean_square, "RmsNorm"),
)
