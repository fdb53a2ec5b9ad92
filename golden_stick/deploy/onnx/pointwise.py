"""ONNX rules of operators that work number by number, on one tensor or on several."""
import math
from typing import Any, Callable, Optional, Sequence, Union

import numpy as np

from golden_stick.deploy.onnx.writer import Expression, Writer, is_none
from golden_stick.graph.ir import Constant, Node, Value, flatten

__all__ = ["POINTWISE"]


def _formula(function: Callable[..., Expression], own_type: bool = False, **numbers: Any) -> Callable:
    """
    A rule from a formula of as many inputs as the function has, each in the type that the node puts out or in its own.
    `numbers` are its arguments that are no tensors: an attribute of that name, or the input at a place, or a default.
    """
    count = function.__code__.co_argcount - len(numbers)

    def rule(writer: Writer, node: Node) -> str:
        operands = [None if is_none(value) else writer.expression(node, writer.of(value) if own_type else value)
                    for value in node.inputs[:count]]
        return function(*operands, **{name: node.attributes.get(name, writer.number(node, at, default))
                                      for name, (at, default) in numbers.items()}).name
    return rule


def _call(operator: str, count: int = 1, kind: Union[str, Callable] = "", since: int = 0,
          **attributes: int) -> Callable:
    """One ONNX operator of that many inputs, in the type that the node puts out, or in another `kind`."""
    def rule(writer: Writer, node: Node) -> str:
        if writer.opset < since:
            raise writer.refuse(node, f"ONNX has '{operator}' since opset {since}")
        values = flatten(node.inputs[:count])
        wanted = kind(writer, values) if callable(kind) else kind or node.types[0]
        return writer.emit(operator, [writer.of(value, wanted) for value in values], **attributes)
    return rule


def _common(writer: Writer, values: Sequence[Value]) -> str:
    """The type that MindSpore computes in: the widest, where any float is wider than any whole number."""
    kinds = [np.dtype(writer.type(value)) for value in values]
    tensors = [kind for value, kind in zip(values, kinds) if not isinstance(value, Constant)] or kinds
    floats = [kind for kind in tensors if kind.kind == "f"]
    if not floats and any(kind.kind == "f" for kind in kinds):
        return "float32"
    return np.result_type(*(floats or tensors)).name


def _different(writer: Writer, node: Node) -> str:
    return writer.emit("Not", [_call("Equal", 2, _common)(writer, node)])


def _where(*places: int) -> Callable:
    """Places of the condition among the inputs, of what is taken where it holds, and of what is taken elsewhere."""
    def rule(writer: Writer, node: Node) -> str:
        kinds = ("bool", node.types[0], node.types[0])
        return writer.emit("Where", [writer.of(node.inputs[at], kind) for at, kind in zip(places, kinds)])
    return rule


def _is_float(x: Expression) -> bool:
    return np.dtype(x.node.types[0]).kind == "f"


def _floor_division(x: Expression, y: Expression) -> Expression:
    """ONNX cuts the fraction off where numbers are whole, but its remainder has the divisor's sign."""
    return (x / y)("Floor") if _is_float(x) else (x - x("Mod", y)) / y


def _floor_remainder(x: Expression, y: Expression) -> Expression:
    """Of the divisor's sign. ONNX's Mod of floats has the dividend's."""
    return x - (x / y)("Floor") * y if _is_float(x) else x("Mod", y)


def _truncated(x: Expression) -> Expression:
    """Without its fraction, towards zero."""
    return x("Sign") * x("Abs")("Floor")


def _division_by_mode(x: Expression, y: Expression, rounding_mode: Optional[int]) -> Expression:
    """MindSpore's modes: none, 1 cuts the fraction off, 2 takes the floor."""
    if rounding_mode in (None, 0) or not _is_float(x):
        return x / y
    return (x / y)("Floor") if rounding_mode == 2 else _truncated(x / y)


def _angle(rise: Expression, run: Expression) -> Expression:
    """atan(y / x), turned round where x is negative."""
    turn = run("Less", 0)("Where", rise("Less", 0)("Where", -math.pi, math.pi), 0)
    return rise("Equal", 0)("And", run("Equal", 0))("Where", 0, (rise / run)("Atan") + turn)


def _clamp(x: Expression, low: Optional[Expression] = None, high: Optional[Expression] = None) -> Expression:
    x = x if low is None else x("Max", low)
    return x if high is None else x("Min", high)


def _gelu(x: Expression, approximate: int) -> Expression:
    """By tanh (1) or by erf; ONNX has both since opset 20."""
    if x.writer.opset >= 20:
        return x("Gelu", approximate="tanh" if approximate == 1 else "none")
    if approximate == 1:
        return x * (((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi))("Tanh") + 1) * 0.5
    return x * ((x / math.sqrt(2))("Erf") + 1) * 0.5


def _softplus(x: Expression, beta: float, threshold: float) -> Expression:
    """With a slope, and the identity above a bound."""
    steep = x * beta
    return steep("Greater", threshold)("Where", x, steep("Softplus") / beta)


def _logarithm(x: Expression, base: float, scale: float, shift: float) -> Expression:
    if (base, scale, shift) != (-1.0, 1.0, 0.0):
        raise x.writer.refuse(x.node, "a logarithm with a base, scale or shift of its own")
    return x("Log")


def _round(x: Expression, decimals: Optional[int]) -> Expression:
    if decimals not in (0, None):
        raise x.writer.refuse(x.node, "ONNX rounds to whole numbers only")
    return x("Round")


def _filled(number: float) -> Callable:
    def rule(writer: Writer, node: Node) -> str:
        shape = writer.emit("Shape", [writer.of(node.inputs[0])])
        return writer.emit("Expand", [writer.scalar(node, number), shape])
    return rule


_SAME_NAMES = ("Softplus Softsign Sigmoid Tanh Sqrt Abs Neg Sign Erf Exp Reciprocal Sin Cos Tan Asin Acos Atan Sinh "
               "Cosh Asinh Acosh Atanh Floor Ceil").split()

POINTWISE = (
    *((_call(name), name) for name in _SAME_NAMES),
    (_call("Not"), "LogicalNot"),
    (_formula(lambda x: x("Log") / math.log(2)), "Log2"),
    (_formula(lambda x: x("Log") / math.log(10)), "Log10"),
    (_formula(lambda x: (x * math.log(2))("Exp")), "Exp2"),
    (_formula(lambda x, y, z, value: x + y * z * value, value=(3, 1)), "Addcmul"),
    (_call("BitwiseNot", since=18), "BitwiseNot"),
    (_call("Relu"), "ReLU ReLUExt InplaceReLU"),
    (_call("Selu"), "SeLU"),
    (_call("Reciprocal"), "Inv"),
    (_call("Acos"), "ACos"),
    (_call("Round"), "Rint"),
    (_call("Mul", 2), "Mul Muls"),
    (_call("Div", 2), "Div RealDiv Divs"),
    (_call("Sub", 2), "Sub Subs"),
    (_call("Add", 2), "Add Adds"),
    (_call("Max", 2), "Maximum"),
    (_call("Min", 2), "Minimum"),
    (_call("Pow", 2), "Pow PowTensorScalar PowScalarTensor"),
    (_call("Mod", 2, fmod=1), "Mod FmodScalar FmodTensor"),
    (_call("And", 2, "bool"), "LogicalAnd"),
    (_call("Or", 2, "bool"), "LogicalOr"),
    (_formula(lambda x, y, alpha: x + (y if alpha == 1 else y * alpha), alpha=(2, 1)), "AddExt InplaceAddExt"),
    (_formula(lambda x, y, alpha: x - (y if alpha == 1 else y * alpha), alpha=(2, 1)), "SubExt SubScalar"),
    (_call("Sum"), "AddN AccumulateNV2"),
    (_formula(_floor_division), "FloorDiv"),
    (_formula(_division_by_mode, rounding_mode=(2, None)), "DivMod"),
    (_formula(_floor_remainder), "FloorMod RemainderTensorScalar RemainderTensorTensor"),
    (_formula(_angle), "Atan2"),
    (_call("Equal", 2, _common), "Equal EqualScalar"),
    (_different, "NotEqual NotEqualScalar"),
    (_call("Greater", 2, _common), "Greater GreaterScalar"),
    (_call("GreaterOrEqual", 2, _common), "GreaterEqual GreaterEqualScalar"),
    (_call("Less", 2, _common), "Less LessScalar"),
    (_call("LessOrEqual", 2, _common), "LessEqual LessEqualScalar"),
    (_where(0, 1, 2), "Select"),
    (_where(1, 2, 0), "MaskedFill"),
    (_formula(_clamp), "ClampTensor ClampScalar HardTanh Hardtanh"),
    (_formula(lambda x, y: (away := x - y) * away), "SquaredDifference"),
    (_formula(lambda x, y, weight: x + weight * (y - x)), "Lerp LerpScalar"),
    (_formula(lambda x: x("Clip", 0, 6)), "ReLU6"),
    (_formula(lambda x: x * x("Sigmoid")), "SiLU SiLUExt"),
    (_formula(lambda x: x * (x * 1.702)("Sigmoid")), "FastGeLU"),
    (_formula(lambda x: x("HardSigmoid", alpha=1 / 6, beta=0.5)), "HSigmoid HSigmoidExt"),
    (_formula(lambda x: x * x("HardSigmoid", alpha=1 / 6, beta=0.5)), "HSwish"),
    (_formula(lambda x: x * x("Softplus")("Tanh")), "Mish MishExt"),
    (_formula(lambda x: x("Neg")("Softplus")("Neg")), "LogSigmoid LogSigmoidExt"),
    (_formula(lambda x: x("Sqrt")("Reciprocal")), "Rsqrt"),
    (_formula(lambda x: x * x), "Square"),
    (_formula(lambda x: 1 - x("Erf")), "Erfc"),
    (_formula(lambda x: x("Exp") - 1), "Expm1"),
    (_formula(lambda x: (x + 1)("Log")), "Log1p"),
    (_formula(_truncated), "Trunc"),
    # MindSpore's GeLU is the approximation by tanh; of GeluExt, input 1 says.
    (_formula(lambda x: _gelu(x, 1)), "GeLU"),
    (_formula(_gelu, approximate=(1, 0)), "GeluExt"),
    (_formula(lambda x, alpha: x("Elu", alpha=float(alpha)), alpha=(1, 1.0)), "Elu EluExt"),
    (_formula(lambda x, alpha: x("Celu", alpha=float(alpha)), alpha=(1, 1.0)), "CeLU"),
    (_formula(lambda x, negative_slope: x("LeakyRelu", alpha=float(negative_slope)), negative_slope=(1, 0.01)),
     "LeakyReLU LeakyReLUExt"),
    (_formula(lambda x, lambd: x("Shrink", lambd=float(lambd), bias=0.0), lambd=(1, 0.5)), "HShrink"),
    (_formula(lambda x, lambd: x("Shrink", lambd=float(lambd), bias=float(lambd)), lambd=(1, 0.5)), "SoftShrink"),
    (_formula(lambda x, threshold, value: x("Greater", threshold)("Where", x, value), threshold=(1, None),
              value=(2, None)), "Threshold"),
    (_formula(_softplus, beta=(1, 1), threshold=(2, 20)), "SoftplusExt"),
    (_formula(_logarithm, base=(None, -1.0), scale=(None, 1.0), shift=(None, 0.0)), "Log"),
    (_formula(_round, decimals=(1, 0)), "Round"),
    (_formula(lambda x: x("IsNaN"), own_type=True), "IsNan"),
    (_formula(lambda x: x("IsInf"), own_type=True), "IsInf"),
    (_formula(lambda x: x("IsNaN")("Or", x("IsInf"))("Not"), own_type=True), "IsFinite"),
    (_formula(lambda x: x), "Cast"),
    (_formula(lambda x: x, own_type=True), "Identity Dropout DropoutExt"),
    (_filled(0), "ZerosLike ZerosLikeExt"),
    (_filled(1), "OnesLike OnesLikeExt"),
)
