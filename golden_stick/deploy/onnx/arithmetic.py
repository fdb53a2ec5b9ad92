"""ONNX rules of operators that join tensors number by number."""
import math
from typing import Callable, List, Sequence

import numpy as np

from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Constant, Node, Value, flatten

__all__ = ["ARITHMETIC", "scalar", "truncated"]


def _common(writer: Writer, values: Sequence[Value]) -> str:
    """The type that MindSpore computes in: the widest, where any float is wider than any whole number."""
    kinds = [np.dtype(writer.type(value)) for value in values]
    tensors = [kind for value, kind in zip(values, kinds) if not isinstance(value, Constant)] or kinds
    floats = [kind for kind in tensors if kind.kind == "f"]
    if not floats and any(kind.kind == "f" for kind in kinds):
        return "float32"
    found = (floats or tensors)[0]
    for kind in floats or tensors:
        found = np.promote_types(found, kind)
    return found.name


def _operands(writer: Writer, node: Node, kind: str = "", count: int = 2) -> List[str]:
    return [writer.of(value, kind or node.types[0]) for value in node.inputs[:count]]


def scalar(writer: Writer, node: Node, number: float) -> str:
    """A number of the type that the node puts out."""
    return writer.constant(np.asarray(number, node.types[0]))


def _arithmetic(operator: str) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        return writer.emit(operator, _operands(writer, node))
    return rule


def _scaled(operator: str) -> Callable:
    """Sums and differences whose third input scales the second."""
    def rule(writer: Writer, node: Node) -> str:
        first, second = _operands(writer, node)
        alpha = writer.number(node, 2, 1)
        if alpha != 1:
            second = writer.emit("Mul", [second, scalar(writer, node, alpha)])
        return writer.emit(operator, [first, second])
    return rule


def _comparison(operator: str, negated: bool = False) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        made = writer.emit(operator, _operands(writer, node, _common(writer, node.inputs[:2])))
        return writer.emit("Not", [made]) if negated else made
    return rule


def _logical(operator: str) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        return writer.emit(operator, _operands(writer, node, "bool"))
    return rule


def _power(writer: Writer, node: Node) -> str:
    return writer.emit("Pow", _operands(writer, node))


def _sum(writer: Writer, node: Node) -> str:
    return writer.emit("Sum", [writer.of(value, node.types[0]) for value in flatten(node.inputs[:1])])


def _floor_division(writer: Writer, node: Node) -> str:
    """ONNX cuts the fraction off where numbers are whole, but its remainder has the divisor's sign."""
    first, second = _operands(writer, node)
    if np.dtype(node.types[0]).kind == "f":
        return writer.emit("Floor", [writer.emit("Div", [first, second])])
    return writer.emit("Div", [writer.emit("Sub", [first, writer.emit("Mod", [first, second])]), second])


def _division_by_mode(writer: Writer, node: Node) -> str:
    """MindSpore's modes: none, 1 cuts the fraction off, 2 takes the floor."""
    made, mode = writer.emit("Div", _operands(writer, node)), writer.number(node, 2)
    if mode in (None, 0) or np.dtype(node.types[0]).kind != "f":
        return made
    return writer.emit("Floor", [made]) if mode == 2 else truncated(writer, made)


def truncated(writer: Writer, name: str) -> str:
    """Without its fraction, towards zero."""
    return writer.emit("Mul", [writer.emit("Sign", [name]), writer.emit("Floor", [writer.emit("Abs", [name])])])


def _floor_remainder(writer: Writer, node: Node) -> str:
    """Of the divisor's sign. ONNX's Mod of floats has the dividend's."""
    first, second = _operands(writer, node)
    if np.dtype(node.types[0]).kind != "f":
        return writer.emit("Mod", [first, second])
    parts = writer.emit("Floor", [writer.emit("Div", [first, second])])
    return writer.emit("Sub", [first, writer.emit("Mul", [parts, second])])


def _remainder(writer: Writer, node: Node) -> str:
    return writer.emit("Mod", _operands(writer, node), fmod=1)


def _angle(writer: Writer, node: Node) -> str:
    """atan(y / x), turned round where x is negative."""
    rise, run = _operands(writer, node)
    zero, half = scalar(writer, node, 0), scalar(writer, node, math.pi)
    below = writer.emit("Less", [rise, zero])
    turn = writer.emit("Where", [below, scalar(writer, node, -math.pi), half])
    turn = writer.emit("Where", [writer.emit("Less", [run, zero]), turn, zero])
    made = writer.emit("Add", [writer.emit("Atan", [writer.emit("Div", [rise, run])]), turn])
    at_zero = writer.emit("And", [writer.emit("Equal", [rise, zero]), writer.emit("Equal", [run, zero])])
    return writer.emit("Where", [at_zero, zero, made])


def _select(writer: Writer, node: Node) -> str:
    where = writer.of(node.inputs[0], "bool")
    return writer.emit("Where", [where, *(writer.of(value, node.types[0]) for value in node.inputs[1:3])])


def _masked_fill(writer: Writer, node: Node) -> str:
    data, mask, value = node.inputs[:3]
    return writer.emit("Where", [writer.of(mask, "bool"), writer.of(value, node.types[0]),
                                 writer.of(data, node.types[0])])


def _lerp(writer: Writer, node: Node) -> str:
    first, second, weight = _operands(writer, node, count=3)
    return writer.emit("Add", [first, writer.emit("Mul", [weight, writer.emit("Sub", [second, first])])])


def _clamp(writer: Writer, node: Node) -> str:
    data = writer.of(node.inputs[0], node.types[0])
    for operator, value in zip(("Max", "Min"), node.inputs[1:3]):
        if not (isinstance(value, Constant) and value.value is None):
            data = writer.emit(operator, [data, writer.of(value, node.types[0])])
    return data


def _squared_difference(writer: Writer, node: Node) -> str:
    made = writer.emit("Sub", _operands(writer, node))
    return writer.emit("Mul", [made, made])


ARITHMETIC = (
    (_arithmetic("Mul"), "Mul Muls"),
    (_arithmetic("Div"), "Div RealDiv Divs"),
    (_arithmetic("Sub"), "Sub Subs"),
    (_arithmetic("Add"), "Add Adds"),
    (_scaled("Add"), "AddExt InplaceAddExt"),
    (_scaled("Sub"), "SubExt SubScalar"),
    (_arithmetic("Max"), "Maximum"),
    (_arithmetic("Min"), "Minimum"),
    (_power, "Pow PowTensorScalar PowScalarTensor"),
    (_sum, "AddN AccumulateNV2"),
    (_floor_division, "FloorDiv"),
    (_division_by_mode, "DivMod"),
    (_floor_remainder, "FloorMod RemainderTensorScalar RemainderTensorTensor"),
    (_remainder, "Mod FmodScalar FmodTensor"),
    (_angle, "Atan2"),
    (_squared_difference, "SquaredDifference"),
    (_lerp, "Lerp LerpScalar"),
    (_comparison("Equal"), "Equal EqualScalar"),
    (_comparison("Equal", negated=True), "NotEqual NotEqualScalar"),
    (_comparison("Greater"), "Greater GreaterScalar"),
    (_comparison("GreaterOrEqual"), "GreaterEqual GreaterEqualScalar"),
    (_comparison("Less"), "Less LessScalar"),
    (_comparison("LessOrEqual"), "LessEqual LessEqualScalar"),
    (_logical("And"), "LogicalAnd"),
    (_logical("Or"), "LogicalOr"),
    (_select, "Select"),
    (_masked_fill, "MaskedFill"),
    (_clamp, "ClampTensor ClampScalar HardTanh Hardtanh"),
)
