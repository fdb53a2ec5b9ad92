"""ONNX rules of operators that turn one number into one number: activations, roundings, casts."""
import math
from typing import Callable

from golden_stick.deploy.onnx.arithmetic import scalar, truncated
from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Node

__all__ = ["POINTWISE"]


def _unary(operator: str, since: int = 0) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        if writer.opset < since:
            raise writer.refuse(node, f"ONNX has '{operator}' since opset {since}")
        return writer.emit(operator, [writer.of(node.inputs[0], node.types[0])])
    return rule


def _test(operator: str) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        return writer.emit(operator, [writer.of(node.inputs[0])])
    return rule


def _trunc(writer: Writer, node: Node) -> str:
    return truncated(writer, writer.of(node.inputs[0]))


def _square(writer: Writer, node: Node) -> str:
    data = writer.of(node.inputs[0])
    return writer.emit("Mul", [data, data])


def _silu(writer: Writer, node: Node) -> str:
    data = writer.of(node.inputs[0])
    return writer.emit("Mul", [data, writer.emit("Sigmoid", [data])])


def _relu6(writer: Writer, node: Node) -> str:
    return writer.emit("Clip", [writer.of(node.inputs[0]), scalar(writer, node, 0), scalar(writer, node, 6)])


def _gelu(writer: Writer, data: str, node: Node, approximate: bool) -> str:
    if writer.opset >= 20:
        return writer.emit("Gelu", [data], approximate="tanh" if approximate else "none")
    if approximate:
        cube = writer.emit("Mul", [writer.emit("Mul", [data, data]), data])
        inner = writer.emit("Add", [data, writer.emit("Mul", [cube, scalar(writer, node, 0.044715)])])
        curve = writer.emit("Tanh", [writer.emit("Mul", [inner, scalar(writer, node, math.sqrt(2 / math.pi))])])
    else:
        curve = writer.emit("Erf", [writer.emit("Div", [data, scalar(writer, node, math.sqrt(2))])])
    whole = writer.emit("Mul", [data, writer.emit("Add", [curve, scalar(writer, node, 1)])])
    return writer.emit("Mul", [whole, scalar(writer, node, 0.5)])


def _gelu_tanh(writer: Writer, node: Node) -> str:
    """MindSpore's GeLU is the approximation by tanh."""
    return _gelu(writer, writer.of(node.inputs[0]), node, True)


def _gelu_by_mode(writer: Writer, node: Node) -> str:
    return _gelu(writer, writer.of(node.inputs[0]), node, writer.number(node, 1, 0) == 1)


def _fast_gelu(writer: Writer, node: Node) -> str:
    """x * sigmoid(1.702 x)."""
    data = writer.of(node.inputs[0])
    return writer.emit("Mul", [data, writer.emit("Sigmoid", [
        writer.emit("Mul", [data, scalar(writer, node, 1.702)])])])


def _hard_sigmoid(writer: Writer, node: Node) -> str:
    return writer.emit("HardSigmoid", [writer.of(node.inputs[0])], alpha=1 / 6, beta=0.5)


def _hard_swish(writer: Writer, node: Node) -> str:
    return writer.emit("Mul", [writer.of(node.inputs[0]), _hard_sigmoid(writer, node)])


def _mish(writer: Writer, node: Node) -> str:
    data = writer.of(node.inputs[0])
    return writer.emit("Mul", [data, writer.emit("Tanh", [writer.emit("Softplus", [data])])])


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
    data = writer.of(node.inputs[0])
    bound, value = (scalar(writer, node, writer.number(node, at)) for at in (1, 2))
    return writer.emit("Where", [writer.emit("Greater", [data, bound]), data, value])


def _softplus(writer: Writer, node: Node) -> str:
    """With a slope, and the identity above a bound."""
    data, slope, bound = writer.of(node.inputs[0]), writer.number(node, 1, 1), writer.number(node, 2, 20)
    steep = writer.emit("Mul", [data, scalar(writer, node, slope)])
    curve = writer.emit("Div", [writer.emit("Softplus", [steep]), scalar(writer, node, slope)])
    return writer.emit("Where", [writer.emit("Greater", [steep, scalar(writer, node, bound)]), data, curve])


def _log_sigmoid(writer: Writer, node: Node) -> str:
    made = writer.emit("Softplus", [writer.emit("Neg", [writer.of(node.inputs[0])])])
    return writer.emit("Neg", [made])


def _logarithm(writer: Writer, node: Node) -> str:
    attributes = node.attributes
    if (attributes.get("base", -1.0), attributes.get("scale", 1.0), attributes.get("shift", 0.0)) != (-1.0, 1.0, 0.0):
        raise writer.refuse(node, "a logarithm with a base, scale or shift of its own")
    return writer.emit("Log", [writer.of(node.inputs[0], node.types[0])])


def _exponential(writer: Writer, node: Node) -> str:
    return writer.emit("Exp", [writer.of(node.inputs[0], node.types[0])])


def _rsqrt(writer: Writer, node: Node) -> str:
    return writer.emit("Reciprocal", [writer.emit("Sqrt", [writer.of(node.inputs[0])])])


def _exponential_minus_one(writer: Writer, node: Node) -> str:
    return writer.emit("Sub", [writer.emit("Exp", [writer.of(node.inputs[0])]), scalar(writer, node, 1)])


def _logarithm_plus_one(writer: Writer, node: Node) -> str:
    return writer.emit("Log", [writer.emit("Add", [writer.of(node.inputs[0]), scalar(writer, node, 1)])])


def _error_complement(writer: Writer, node: Node) -> str:
    return writer.emit("Sub", [scalar(writer, node, 1), writer.emit("Erf", [writer.of(node.inputs[0])])])


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
        return writer.emit("Expand", [scalar(writer, node, number), shape])
    return rule


POINTWISE = (
    (_unary("Not"), "LogicalNot"),
    (_unary("BitwiseNot", since=18), "BitwiseNot"),
    (_unary("Relu"), "ReLU ReLUExt InplaceReLU"),
    (_relu6, "ReLU6"),
    (_silu, "SiLU SiLUExt"),
    (_gelu_tanh, "GeLU"),
    (_gelu_by_mode, "GeluExt"),
    (_fast_gelu, "FastGeLU"),
    (_hard_sigmoid, "HSigmoid HSigmoidExt"),
    (_hard_swish, "HSwish"),
    (_mish, "Mish MishExt"),
    (_with_alpha("Elu", "alpha", 1.0), "Elu EluExt"),
    (_with_alpha("Celu", "alpha", 1.0), "CeLU"),
    (_with_alpha("LeakyRelu", "negative_slope", 0.01), "LeakyReLU LeakyReLUExt"),
    (_unary("Selu"), "SeLU"),
    (_shrink(soft=False), "HShrink"),
    (_shrink(soft=True), "SoftShrink"),
    (_threshold, "Threshold"),
    (_softplus, "SoftplusExt"),
    (_unary("Softplus"), "Softplus"),
    (_unary("Softsign"), "Softsign"),
    (_log_sigmoid, "LogSigmoid LogSigmoidExt"),
    (_unary("Sigmoid"), "Sigmoid"),
    (_unary("Tanh"), "Tanh"),
    (_unary("Sqrt"), "Sqrt"),
    (_rsqrt, "Rsqrt"),
    (_square, "Square"),
    (_unary("Abs"), "Abs"),
    (_unary("Neg"), "Neg"),
    (_unary("Sign"), "Sign"),
    (_unary("Erf"), "Erf"),
    (_error_complement, "Erfc"),
    (_exponential, "Exp"),
    (_exponential_minus_one, "Expm1"),
    (_logarithm, "Log"),
    (_logarithm_plus_one, "Log1p"),
    (_unary("Reciprocal"), "Reciprocal Inv"),
    (_unary("Sin"), "Sin"),
    (_unary("Cos"), "Cos"),
    (_unary("Tan"), "Tan"),
    (_unary("Asin"), "Asin"),
    (_unary("Acos"), "Acos ACos"),
    (_unary("Atan"), "Atan"),
    (_unary("Sinh"), "Sinh"),
    (_unary("Cosh"), "Cosh"),
    (_unary("Asinh"), "Asinh"),
    (_unary("Acosh"), "Acosh"),
    (_unary("Atanh"), "Atanh"),
    (_unary("Floor"), "Floor"),
    (_unary("Ceil"), "Ceil"),
    (_round, "Round"),
    (_unary("Round"), "Rint"),
    (_trunc, "Trunc"),
    (_test("IsNaN"), "IsNan"),
    (_test("IsInf"), "IsInf"),
    (_finite, "IsFinite"),
    (_cast, "Cast"),
    (_same, "Identity Dropout DropoutExt"),
    (_filled(0), "ZerosLike ZerosLikeExt"),
    (_filled(1), "OnesLike OnesLikeExt"),
)
