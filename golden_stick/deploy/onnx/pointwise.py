"""ONNX rules of operators that work number by number, on one tensor or on several."""
import math
from typing import Callable, List, Sequence

import numpy as np

from golden_stick.deploy.onnx.writer import Expression, Writer, is_none
from golden_stick.graph.ir import Constant, Node, Value, flatten

__all__ = ["POINTWISE"]


def _formula(function: Callable[..., Expression]) -> Callable:
    """A rule from a formula of as many inputs as the function has, each in the type that the node puts out."""
    count = function.__code__.co_argcount

    def rule(writer: Writer, node: Node) -> str:
        return function(*(writer.expression(node, value) for value in node.inputs[:count])).name
    return rule


def _same_name(operator: str, since: int = 0) -> Callable:
    """One ONNX operator, of the inputs in the type that the node puts out."""
    def rule(writer: Writer, node: Node) -> str:
        if writer.opset < since:
            raise writer.refuse(node, f"ONNX has '{operator}' since opset {since}")
        return writer.emit(operator, [writer.of(node.inputs[0], node.types[0])])
    return rule


def _arithmetic(operator: str, kind: str = "", **attributes: int) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        return writer.emit(operator, _operands(writer, node, kind), **attributes)
    return rule


def _operands(writer: Writer, node: Node, kind: str = "") -> List[str]:
    return [writer.of(value, kind or node.types[0]) for value in node.inputs[:2]]


def _common(writer: Writer, values: Sequence[Value]) -> str:
    """The type that MindSpore computes in: the widest, where any float is wider than any whole number."""
    kinds = [np.dtype(writer.type(value)) for value in values]
    tensors = [kind for value, kind in zip(values, kinds) if not isinstance(value, Constant)] or kinds
    floats = [kind for kind in tensors if kind.kind == "f"]
    if not floats and any(kind.kind == "f" for kind in kinds):
        return "float32"
    return np.result_type(*(floats or tensors)).name


def _comparison(operator: str, negated: bool = False) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        made = writer.emit(operator, _operands(writer, node, _common(writer, node.inputs[:2])))
        return writer.emit("Not", [made]) if negated else made
    return rule


def _test(operator: str) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        return writer.emit(operator, [writer.of(node.inputs[0])])
    return rule


def _scaled(operator: str) -> Callable:
    """Sums and differences whose third input scales the second."""
    def rule(writer: Writer, node: Node) -> str:
        first, second = (writer.expression(node, value) for value in node.inputs[:2])
        alpha = writer.number(node, 2, 1)
        return first(operator, second if alpha == 1 else second * alpha).name
    return rule


def _sum(writer: Writer, node: Node) -> str:
    return writer.emit("Sum", [writer.of(value, node.types[0]) for value in flatten(node.inputs[:1])])


def _is_float(node: Node) -> bool:
    return np.dtype(node.types[0]).kind == "f"


def _floor_division(writer: Writer, node: Node) -> str:
    """ONNX cuts the fraction off where numbers are whole, but its remainder has the divisor's sign."""
    first, second = (writer.expression(node, value) for value in node.inputs[:2])
    return ((first / second)("Floor") if _is_float(node) else (first - first("Mod", second)) / second).name


def _floor_remainder(writer: Writer, node: Node) -> str:
    """Of the divisor's sign. ONNX's Mod of floats has the dividend's."""
    first, second = (writer.expression(node, value) for value in node.inputs[:2])
    return (first - (first / second)("Floor") * second if _is_float(node) else first("Mod", second)).name


def _square(x: Expression) -> Expression:
    return x * x


def _truncated(x: Expression) -> Expression:
    """Without its fraction, towards zero."""
    return x("Sign") * x("Abs")("Floor")


def _division_by_mode(writer: Writer, node: Node) -> str:
    """MindSpore's modes: none, 1 cuts the fraction off, 2 takes the floor."""
    first, second = (writer.expression(node, value) for value in node.inputs[:2])
    made, mode = first / second, writer.number(node, 2)
    if mode in (None, 0) or not _is_float(node):
        return made.name
    return (made("Floor") if mode == 2 else _truncated(made)).name


def _angle(writer: Writer, node: Node) -> str:
    """atan(y / x), turned round where x is negative."""
    rise, run = (writer.expression(node, value) for value in node.inputs[:2])
    zero, half = writer.scalar(node, 0), writer.scalar(node, math.pi)
    turn = writer.emit("Where", [rise("Less", 0).name, writer.scalar(node, -math.pi), half])
    turn = writer.emit("Where", [run("Less", 0).name, turn, zero])
    made = writer.emit("Add", [(rise / run)("Atan").name, turn])
    return writer.emit("Where", [rise("Equal", 0)("And", run("Equal", 0)).name, zero, made])


def _select(writer: Writer, node: Node) -> str:
    where = writer.of(node.inputs[0], "bool")
    return writer.emit("Where", [where, *(writer.of(value, node.types[0]) for value in node.inputs[1:3])])


def _masked_fill(writer: Writer, node: Node) -> str:
    data, mask, value = node.inputs[:3]
    return writer.emit("Where", [writer.of(mask, "bool"), writer.of(value, node.types[0]),
                                 writer.of(data, node.types[0])])


def _clamp(writer: Writer, node: Node) -> str:
    data = writer.of(node.inputs[0], node.types[0])
    for operator, value in zip(("Max", "Min"), node.inputs[1:3]):
        if not is_none(value):
            data = writer.emit(operator, [data, writer.of(value, node.types[0])])
    return data


def _gelu(approximate: Callable[[Writer, Node], bool]) -> Callable:
    """By tanh or by erf; ONNX has both since opset 20."""
    def rule(writer: Writer, node: Node) -> str:
        x, tanh = writer.expression(node, node.inputs[0]), approximate(writer, node)
        if writer.opset >= 20:
            return x("Gelu", approximate="tanh" if tanh else "none").name
        if tanh:
            curve = ((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi))("Tanh")
        else:
            curve = (x / math.sqrt(2))("Erf")
        return (x * (curve + 1) * 0.5).name
    return rule


def _with_alpha(operator: str, attribute: str, default: float) -> Callable:
    """An activation with one number, which MindSpore gives as an input or an attribute."""
    def rule(writer: Writer, node: Node) -> str:
        alpha = node.attributes.get(attribute, writer.number(node, 1, default))
        return writer.emit(operator, [writer.of(node.inputs[0])], alpha=float(alpha))
    return rule


def _shrink(soft: bool) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        bound = float(node.attributes.get("lambd", writer.number(node, 1, 0.5)))
        return writer.emit("Shrink", [writer.of(node.inputs[0])], lambd=bound, bias=bound if soft else 0.0)
    return rule


def _threshold(writer: Writer, node: Node) -> str:
    x = writer.expression(node, node.inputs[0])
    bound, value = (writer.number(node, at) for at in (1, 2))
    return writer.emit("Where", [x("Greater", bound).name, x.name, writer.scalar(node, value)])


def _softplus(writer: Writer, node: Node) -> str:
    """With a slope, and the identity above a bound."""
    x, slope, bound = writer.expression(node, node.inputs[0]), writer.number(node, 1, 1), writer.number(node, 2, 20)
    steep = x * slope
    curve = steep("Softplus") / slope
    return writer.emit("Where", [steep("Greater", bound).name, x.name, curve.name])


def _logarithm(writer: Writer, node: Node) -> str:
    attributes = node.attributes
    if (attributes.get("base", -1.0), attributes.get("scale", 1.0), attributes.get("shift", 0.0)) != (-1.0, 1.0, 0.0):
        raise writer.refuse(node, "a logarithm with a base, scale or shift of its own")
    return writer.emit("Log", [writer.of(node.inputs[0], node.types[0])])


def _round(writer: Writer, node: Node) -> str:
    if writer.number(node, 1, 0) not in (0, None):
        raise writer.refuse(node, "ONNX rounds to whole numbers only")
    return writer.emit("Round", [writer.of(node.inputs[0])])


def _finite(writer: Writer, node: Node) -> str:
    data = writer.of(node.inputs[0])
    return writer.emit("Not", [writer.emit("Or", [writer.emit("IsNaN", [data]), writer.emit("IsInf", [data])])])


def _cast(writer: Writer, node: Node) -> str:
    return writer.of(node.inputs[0], node.types[0])


def _same(writer: Writer, node: Node) -> str:
    return writer.of(node.inputs[0])


def _filled(number: float) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        shape = writer.emit("Shape", [writer.of(node.inputs[0])])
        return writer.emit("Expand", [writer.scalar(node, number), shape])
    return rule


_SAME_NAMES = ("Softplus Softsign Sigmoid Tanh Sqrt Abs Neg Sign Erf Exp Reciprocal Sin Cos Tan Asin Acos Atan Sinh "
               "Cosh Asinh Acosh Atanh Floor Ceil").split()

POINTWISE = (
    *((_same_name(name), name) for name in _SAME_NAMES),
    (_same_name("Not"), "LogicalNot"),
    (_same_name("BitwiseNot", since=18), "BitwiseNot"),
    (_same_name("Relu"), "ReLU ReLUExt InplaceReLU"),
    (_same_name("Selu"), "SeLU"),
    (_same_name("Reciprocal"), "Inv"),
    (_same_name("Acos"), "ACos"),
    (_same_name("Round"), "Rint"),
    (_arithmetic("Mul"), "Mul Muls"),
    (_arithmetic("Div"), "Div RealDiv Divs"),
    (_arithmetic("Sub"), "Sub Subs"),
    (_arithmetic("Add"), "Add Adds"),
    (_arithmetic("Max"), "Maximum"),
    (_arithmetic("Min"), "Minimum"),
    (_arithmetic("Pow"), "Pow PowTensorScalar PowScalarTensor"),
    (_arithmetic("Mod", fmod=1), "Mod FmodScalar FmodTensor"),
    (_arithmetic("And", "bool"), "LogicalAnd"),
    (_arithmetic("Or", "bool"), "LogicalOr"),
    (_scaled("Add"), "AddExt InplaceAddExt"),
    (_scaled("Sub"), "SubExt SubScalar"),
    (_sum, "AddN AccumulateNV2"),
    (_floor_division, "FloorDiv"),
    (_division_by_mode, "DivMod"),
    (_floor_remainder, "FloorMod RemainderTensorScalar RemainderTensorTensor"),
    (_angle, "Atan2"),
    (_comparison("Equal"), "Equal EqualScalar"),
    (_comparison("Equal", negated=True), "NotEqual NotEqualScalar"),
    (_comparison("Greater"), "Greater GreaterScalar"),
    (_comparison("GreaterOrEqual"), "GreaterEqual GreaterEqualScalar"),
    (_comparison("Less"), "Less LessScalar"),
    (_comparison("LessOrEqual"), "LessEqual LessEqualScalar"),
    (_select, "Select"),
    (_masked_fill, "MaskedFill"),
    (_clamp, "ClampTensor ClampScalar HardTanh Hardtanh"),
    (_formula(lambda x, y: _square(x - y)), "SquaredDifference"),
    (_formula(lambda x, y, weight: x + weight * (y - x)), "Lerp LerpScalar"),
    (_formula(lambda x: x("Clip", 0, 6)), "ReLU6"),
    (_formula(lambda x: x * x("Sigmoid")), "SiLU SiLUExt"),
    (_formula(lambda x: x * (x * 1.702)("Sigmoid")), "FastGeLU"),
    (_formula(lambda x: x("HardSigmoid", alpha=1 / 6, beta=0.5)), "HSigmoid HSigmoidExt"),
    (_formula(lambda x: x * x("HardSigmoid", alpha=1 / 6, beta=0.5)), "HSwish"),
    (_formula(lambda x: x * x("Softplus")("Tanh")), "Mish MishExt"),
    (_formula(lambda x: x("Neg")("Softplus")("Neg")), "LogSigmoid LogSigmoidExt"),
    (_formula(lambda x: x("Sqrt")("Reciprocal")), "Rsqrt"),
    (_formula(_square), "Square"),
    (_formula(lambda x: 1 - x("Erf")), "Erfc"),
    (_formula(lambda x: x("Exp") - 1), "Expm1"),
    (_formula(lambda x: (x + 1)("Log")), "Log1p"),
    (_formula(_truncated), "Trunc"),
    # MindSpore's GeLU is the approximation by tanh; of GeluExt, input 1 says.
    (_gelu(lambda writer, node: True), "GeLU"),
    (_gelu(lambda writer, node: writer.number(node, 1, 0) == 1), "GeluExt"),
    (_with_alpha("Elu", "alpha", 1.0), "Elu EluExt"),
    (_with_alpha("Celu", "alpha", 1.0), "CeLU"),
    (_with_alpha("LeakyRelu", "negative_slope", 0.01), "LeakyReLU LeakyReLUExt"),
    (_shrink(soft=False), "HShrink"),
    (_shrink(soft=True), "SoftShrink"),
    (_threshold, "Threshold"),
    (_softplus, "SoftplusExt"),
    (_logarithm, "Log"),
    (_round, "Round"),
    (_test("IsNaN"), "IsNan"),
    (_test("IsInf"), "IsInf"),
    (_finite, "IsFinite"),
    (_cast, "Cast"),
    (_same, "Identity Dropout DropoutExt"),
    (_filled(0), "ZerosLike ZerosLikeExt"),
    (_filled(1), "OnesLike OnesLikeExt"),
)
