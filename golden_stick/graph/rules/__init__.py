"""
THE table: operator -> its rule.

A rule says which labels belong together, which must stay, and which axis of which parameter carries them. An operator
without a rule is a barrier: nothing that it reads is pruned, and the report names it.
"""
from typing import Callable, Dict, Sequence

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.graph.ir import CONTROL_FLOW
from golden_stick.graph.layers import CONVOLUTION, OPERATORS, TRANSPOSED, Form
from golden_stick.graph.rules.mixing import (
    along_axes,
    control_flow,
    group_normalization,
    layer_normalization,
    recurrent,
    reduced_sum,
    reduction,
    sum_of_powers,
)
from golden_stick.graph.rules.pointwise import channel_parameters, elementwise, first_input, residual_sum, spatial
from golden_stick.graph.rules.products import (
    convolution,
    dense_product,
    einsum,
    embedding,
    matrix_product,
    transposed_convolution,
)
from golden_stick.graph.rules.shapes import (
    broadcast_to,
    concat,
    gather,
    pad,
    reshape,
    reverse,
    roll,
    split,
    stack,
    strided_slice,
    tile,
    transpose,
    unstack,
)
from golden_stick.graph.types import Rule

__all__ = ["RULES", "add_rule"]


def _first(zero: Sequence[bool]) -> bool:
    return bool(zero) and zero[0]


def _made(zero: Sequence[bool]) -> bool:
    """Removed channels are zero behind the layer that makes them, and behind one that scales them by a weight."""
    return True


def _lost(zero: Sequence[bool]) -> bool:
    return False


def _of_form(form: Form) -> str:
    return " ".join(operator.name for operator in OPERATORS.values() if operator.form is form)


# A rule, how zero goes through it, and the operators that follow it.
_KINDS = (
    (elementwise, any, "Mul Muls LogicalAnd"),
    (elementwise, _first, "Div RealDiv Divs DivMod FloorDiv Mod FloorMod"),
    (elementwise, all, "Sub SubExt Maximum Minimum LogicalOr NotEqual"),
    (elementwise, _lost, "Pow PowTensorScalar PowScalarTensor Atan2 Equal Greater GreaterEqual Less LessEqual "
                         "LessScalar GreaterEqualScalar GreaterScalar LessEqualScalar EqualScalar NotEqualScalar "
                         "Select MaskedFill Subs SubScalar Lerp ClampTensor ClampScalar SquaredDifference"),
    (residual_sum, all, "Add AddExt Adds AddN AccumulateNV2 InplaceAddExt"),
    (convolution, _made, _of_form(CONVOLUTION)),
    (transposed_convolution, _made, _of_form(TRANSPOSED)),
    (matrix_product, _lost, "MatMul MatMulExt BatchMatMul BatchMatMulExt"),
    (dense_product, _lost, "Dense"),
    (einsum, _lost, "Einsum"),
    (embedding, _made, "Embedding"),
    (channel_parameters, _made, "BatchNorm BatchNormExt"),
    (channel_parameters, _first, "BiasAdd PReLU InstanceNorm"),
    (spatial, _first, "MaxPool AvgPool MaxPool3D AvgPool3D AdaptiveAvgPool2D AdaptiveMaxPool2D "
                      "AdaptiveAvgPool2DExt AdaptiveAvgPool3D AvgPool2D MaxPoolWithMask MaxPoolWithIndices "
                      "MaxPoolWithArgmaxV2 MaxPool3DWithArgmax "
                      "ResizeBilinear ResizeBilinearV2 ResizeNearestNeighbor ResizeNearestNeighborV2 ResizeBicubic "
                      "ResizeLinear1D UpsampleNearest2D UpsampleBilinear2D UpsampleNearest1D UpsampleNearest3D "
                      "UpsampleTrilinear3D"),
    (along_axes, _lost, "Softmax LogSoftmax LogSoftmaxExt CumSum CumsumExt CumProd Sort SortExt"),
    (sum_of_powers, _first, "L2Normalize"),
    (reduction, _first, "ReduceMean MeanExt ReduceMax ReduceMin Max Min AMax AMin ReduceProd ReduceAll ReduceAny "
                        "ArgMaxWithValue ArgMinWithValue Argmax Argmin ReduceStd VarMean"),
    (reduced_sum, _first, "ReduceSum SumExt LpNorm"),
    (layer_normalization, _lost, "LayerNorm LayerNormExt LayerNormV3"),
    (group_normalization, _lost, "GroupNorm"),
    (control_flow, _lost, CONTROL_FLOW),
    (recurrent, _lost, "LSTM LSTMV2 DynamicRNN DynamicGRUV2 GRUV2 CudnnGRU"),
    (reshape, _first, "Reshape Flatten ExpandDims Squeeze"),
    (split, _first, "Split"),
    (strided_slice, _first, "StridedSlice"),
    (broadcast_to, _first, "BroadcastTo"),
    (transpose, _first, "Transpose"),
    (concat, all, "Concat"),
    (stack, all, "Stack"),
    (unstack, _first, "Unstack"),
    (gather, _lost, "Gather"),
    (reverse, _first, "ReverseV2"),
    (roll, _first, "Roll"),
    (tile, _first, "Tile"),
    (pad, _first, "Pad PadV3"),
    (first_input, _first, "ReLU ReLU6 SiLU GeLU Tanh Mish Elu SeLU LeakyReLU Sqrt Abs Neg Square Erf Cast Dropout "
                          "Softsign ReLUExt SiLUExt EluExt HSwish FastGeLU GeluExt Sin Tan Atan Asin Sinh Asinh "
                          "Sign Floor Ceil Round Trunc Expm1 Log1p HShrink SoftShrink Identity IsNan IsInf "
                          "DropoutExt CeLU InplaceReLU"),
    (first_input, _lost, "Sigmoid HSigmoid Softplus SoftplusExt Exp Log Rsqrt Cos Cosh Reciprocal LogicalNot "
                         "LogSigmoid Inv Erfc ACos Acosh Atanh Rint LogSigmoidExt HSigmoidExt ZerosLike OnesLike "
                         "IsFinite BitwiseNot Threshold HardTanh"),
)

RULES: Dict[str, Rule] = {
    operator: Rule(flow, zero) for flow, zero, operators in _KINDS for operator in operators.split()
}


def add_rule(operator: str, flow: Callable, keeps_zero: bool = False) -> None:
    """
    Teach golden_stick an operator of your own.

    Args:
        operator (str): MindSpore's name of the primitive, as `golden-stick trace` prints it.
        flow (Callable): Takes a :class:`golden_stick.graph.flow.Flow` and a :class:`golden_stick.graph.ir.Node`, and
            returns the labels of the node's output: an int64 array of the output's rank, 0 where nothing can be
            removed. `flow.of(value).labels` are those of an input; `flow.barrier(node, reason)` keeps all channels.
        keeps_zero (bool): Whether a channel that is zero in all inputs is zero in the output. Default: ``False``.

    Raises:
        ArgumentTypeError: If `operator` is not a str, or `flow` cannot be called.
        ArgumentError: If the operator has a rule already.

    Examples:
        >>> from golden_stick.graph.rules import add_rule
        >>> add_rule("MyActivation", lambda flow, node: flow.of(node.inputs[0]).labels, keeps_zero=True)
    """
    if not isinstance(operator, str):
        raise ArgumentTypeError(f"For 'add_rule', 'operator' must be a str, but got {type(operator).__name__}.")
    if not callable(flow):
        raise ArgumentTypeError(f"For 'add_rule', 'flow' must be a function, but got {type(flow).__name__}.")
    if operator in RULES:
        raise ArgumentError(f"For 'add_rule', 'operator' must be one without a rule, but got '{operator}'.")
    RULES[operator] = Rule(flow, all if keeps_zero else _lost)
