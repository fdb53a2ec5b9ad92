"""ONNX rules of operators that mix the positions of some axes: reductions, softmax, normalizations."""
import math
from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np

from golden_stick.deploy.onnx.arithmetic import scalar
from golden_stick.deploy.onnx.batch import FixedBatch, grows
from golden_stick.deploy.onnx.products import along_channels, is_none
from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Node, Value

__all__ = ["NORMALIZING"]


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
    power = float(node.attributes.get("p", 2))
    if power not in (1.0, 2.0):
        raise writer.refuse(node, f"ONNX has norms of order 1 and 2, but the order is {power:g}")
    return writer.reduce(f"ReduceL{power:.0f}", writer.of(node.inputs[0]), _axes(writer, node), _keeps(writer, node))


def _vector_norm(writer: Writer, node: Node) -> str:
    """Inputs: data, order, axes, whether they stay, type."""
    power = float(writer.number(node, 1, 2.0))
    if power not in (1.0, 2.0):
        raise writer.refuse(node, f"ONNX has norms of order 1 and 2, but the order is {power:g}")
    data = writer.of(node.inputs[0], node.types[0])
    return writer.reduce(f"ReduceL{power:.0f}", data, _axes(writer, node, 2), _keeps(writer, node))


def _index(operator: str, values: str = "", index_first: bool = True) -> Callable:
    """Places of the largest or smallest numbers, with the numbers themselves where `values` names their reduction."""
    def rule(writer: Writer, node: Node):
        data, axis = writer.of(node.inputs[0]), _one_axis(writer, node)
        keep = _keeps(writer, node)
        kind = node.types[0 if index_first else 1]
        places = writer.cast(writer.emit(operator, [data], axis=axis, keepdims=int(keep)), kind)
        if not values:
            return places
        found = writer.reduce(values, data, [axis], keep)
        return (places, found) if index_first else (found, places)
    return rule


def _moments(writer: Writer, node: Node, correction: float, root: bool) -> Tuple[str, str]:
    """Variance, or its root, and mean, over the axes of input 1."""
    shape, axes = writer.shape(node.inputs[0]), _axes(writer, node)
    data, keep = writer.of(node.inputs[0]), _keeps(writer, node)
    axes = list(range(len(shape))) if axes is None else axes
    if any(grows(shape[axis]) for axis in axes):
        raise FixedBatch(f"{node} is taken over the batch")
    count = math.prod(shape[axis] for axis in axes)
    mean = writer.reduce("ReduceMean", data, axes, True)
    away = writer.emit("Sub", [data, mean])
    total = writer.reduce("ReduceSum", writer.emit("Mul", [away, away]), axes, keep)
    spread = writer.emit("Div", [total, scalar(writer, node, max(count - correction, 0))])
    return (writer.emit("Sqrt", [spread]) if root else spread,
            mean if keep else writer.squeeze(mean, axes))


def _spread(root: bool) -> Callable:
    """Inputs: data, axes, what is taken off the count, whether the axes stay."""
    def rule(writer: Writer, node: Node):
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


def _sort(writer: Writer, node: Node):
    """Inputs of the newer one: data, axis, whether it descends."""
    axis = _one_axis(writer, node) % len(node.shapes[0])
    down = bool(node.attributes.get("descending", writer.number(node, 2, False)))
    values, places = writer.emit("TopK", [writer.of(node.inputs[0]), writer.vector([node.shapes[0][axis]])], outputs=2,
                                 axis=axis, largest=int(down), sorted=1)
    return values, writer.cast(places, node.types[1])


def _top(writer: Writer, node: Node):
    """Inputs: data, how many, axis, whether the largest, whether in order."""
    values, places = writer.emit(
        "TopK", [writer.of(node.inputs[0]), writer.vector([writer.number(node, 1)])], outputs=2,
        axis=writer.number(node, 2, -1), largest=int(writer.number(node, 3, True)),
        sorted=int(writer.number(node, 4, True)))
    return values, writer.cast(places, node.types[1])


def _unit_length(writer: Writer, node: Node) -> str:
    """Divided by the root of the sum of squares, which epsilon keeps off zero."""
    data = writer.of(node.inputs[0])
    total = writer.reduce("ReduceSum", writer.emit("Mul", [data, data]), _axes(writer, node), True)
    floor = scalar(writer, node, node.attributes["epsilon"])
    return writer.emit("Div", [data, writer.emit("Sqrt", [writer.emit("Max", [total, floor])])])


def _normalized(writer: Writer, node: Node, data: str, axes: Sequence[int], epsilon: Any) -> str:
    away = writer.emit("Sub", [data, writer.reduce("ReduceMean", data, axes, True)])
    spread = writer.reduce("ReduceMean", writer.emit("Mul", [away, away]), axes, True)
    return writer.emit("Div", [away, writer.emit("Sqrt", [writer.emit("Add", [spread,
                                                                              scalar(writer, node, epsilon)])])])


def _over_last_axes(writer: Writer, node: Node, first: int, scale: Value, shift: Value, epsilon: float) -> str:
    """ONNX has this since opset 17, with a scale that covers just the normalized axes."""
    shape, data = writer.shape(node.inputs[0]), writer.of(node.inputs[0])
    rank = len(shape)
    plain = not is_none(scale) and len(writer.shape(scale)) == rank - first
    if writer.opset >= 17 and plain:
        inputs = [data, writer.of(scale)] + ([] if is_none(shift) else [writer.of(shift)])
        return writer.emit("LayerNormalization", inputs, axis=first, epsilon=float(epsilon))
    made = _normalized(writer, node, data, range(first, rank), epsilon)
    made = made if is_none(scale) else writer.emit("Mul", [made, writer.of(scale)])
    return made if is_none(shift) else writer.emit("Add", [made, writer.of(shift)])


def _layer_normalization(writer: Writer, node: Node) -> str:
    """Inputs: data, scale, shift, first normalized axis, first axis of the parameters, epsilon."""
    first = writer.number(node, 3, node.attributes.get("begin_norm_axis", -1)) % len(node.shapes[0])
    return _over_last_axes(writer, node, first, *node.inputs[1:3],
                           writer.number(node, 5, node.attributes.get("epsilon", 1e-7)))


def _mint_layer_normalization(writer: Writer, node: Node) -> str:
    """Inputs: data, the shape that is normalized, scale, shift, epsilon."""
    first = len(node.shapes[0]) - len(writer.number(node, 1))
    return _over_last_axes(writer, node, first, *node.inputs[2:4], writer.number(node, 4, 1e-5))


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
    data = writer.of(node.inputs[0])
    power = writer.reduce("ReduceMean", writer.emit("Mul", [data, data]), [len(node.shapes[0]) - 1], True)
    floor = scalar(writer, node, writer.number(node, 2, 1e-6))
    made = writer.emit("Div", [data, writer.emit("Sqrt", [writer.emit("Add", [power, floor])])])
    return writer.emit("Mul", [made, writer.of(node.inputs[1])])


NORMALIZING = (
    (_reduction("ReduceMean"), "ReduceMean MeanExt"),
    (_reduction("ReduceMax"), "ReduceMax Max AMax"),
    (_reduction("ReduceMin"), "ReduceMin Min AMin"),
    (_reduction("ReduceProd"), "ReduceProd ProdExt"),
    (_sum, "ReduceSum SumExt"),
    (_truth("ReduceMin"), "ReduceAll"),
    (_truth("ReduceMax"), "ReduceAny"),
    (_norm, "LpNorm"),
    (_vector_norm, "LinalgVectorNorm"),
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
    (_layer_normalization, "LayerNorm LayerNormV3"),
    (_mint_layer_normalization, "LayerNormExt"),
    (_group_normalization, "GroupNorm"),
    (_instance_normalization, "InstanceNorm"),
    (_root_mean_square, "RmsNorm"),
)
