"""
THE table: operator -> its rule.

A rule says which labels belong together, which must stay, and which axis of which parameter carries them. An operator
without a rule is a barrier: nothing that it reads is pruned, and the report names it.
"""
from typing import Callable, Dict

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.graph.flow import Rule, always_zero, never_zero, zero_as_first, zero_as_joined
from golden_stick.graph.ir import CONTROL_FLOW
from golden_stick.graph.layers import CONVOLUTION, OPERATORS, TRANSPOSED, Form
from golden_stick.graph.rules import arithmetic, shapes

__all__ = ["RULES", "add_rule"]


def _of_form(form: Form) -> str:
    return " ".join(operator.name for operator in OPERATORS.values() if operator.form is form)


# A rule, how zero goes through it, and the operators that follow it.
_KINDS = (
    (arithmetic.elementwise, any, "Mul Muls LogicalAnd"),
    (arithmetic.elementwise, zero_as_first, "Div RealDiv Divs DivMod FloorDiv Mod FloorMod"),
    (arithmetic.elementwise, all, "Sub SubExt Maximum Minimum LogicalOr NotEqual Addcmul"),
    (arithmetic.elementwise, never_zero,
     "Pow PowTensorScalar PowScalarTensor Atan2 Equal Greater GreaterEqual Less LessEqual LessScalar "
     "GreaterEqualScalar GreaterScalar LessEqualScalar EqualScalar NotEqualScalar Select MaskedFill Subs SubScalar "
     "Lerp ClampTensor ClampScalar SquaredDifference"),
    (arithmetic.residual_sum, all, "Add AddExt Adds AddN AccumulateNV2 InplaceAddExt"),
    (arithmetic.convolution, always_zero, _of_form(CONVOLUTION)),
    (arithmetic.transposed_convolution, always_zero, _of_form(TRANSPOSED)),
    (arithmetic.matrix_product, never_zero, "MatMul MatMulExt BatchMatMul BatchMatMulExt"),
    (arithmetic.dense_product, never_zero, "Dense"),
    (arithmetic.einsum, never_zero, "Einsum"),
    (shapes.embedding, always_zero, "Embedding"),
    (arithmetic.channel_parameters, always_zero, "BatchNorm BatchNormExt"),
    (arithmetic.channel_parameters, zero_as_first, "BiasAdd PReLU InstanceNorm"),
    (arithmetic.spatial, zero_as_first,
     "MaxPool AvgPool MaxPool3D AvgPool3D AdaptiveAvgPool2D AdaptiveMaxPool2D AdaptiveAvgPool2DExt AdaptiveAvgPool3D "
     "AvgPool2D MaxPoolWithMask MaxPoolWithIndices MaxPoolWithArgmaxV2 MaxPool3DWithArgmax ResizeBilinear "
     "ResizeBilinearV2 ResizeNearestNeighbor ResizeNearestNeighborV2 ResizeBicubic ResizeLinear1D UpsampleNearest2D "
     "UpsampleBilinear2D UpsampleNearest1D UpsampleNearest3D UpsampleTrilinear3D Im2Col AvgPool1D "
     "AvgPool3DExt AdaptiveAvgPool3DExt AdaptiveMaxPool3D"),
    (arithmetic.sampled, zero_as_first, "GridSampler2D GridSampler3D ROIAlign DeformableOffsets"),
    (arithmetic.along_axes, never_zero, "Softmax LogSoftmax LogSoftmaxExt CumSum CumsumExt CumProd Sort "
     "SortExt ArgSort"),
    (arithmetic.sum_of_powers, zero_as_first, "L2Normalize"),
    (arithmetic.reduction, zero_as_first,
     "ReduceMean MeanExt ReduceMax ReduceMin Max Min AMax AMin ReduceProd ReduceAll ReduceAny ArgMaxWithValue "
     "ArgMinWithValue Argmax Argmin ReduceStd VarMean Var Std MaxDim MinDim ArgMaxExt ArgMinExt"),
    (arithmetic.reduction, never_zero, "LogSumExp"),
    (arithmetic.reduced_sum, zero_as_first, "ReduceSum SumExt LpNorm LinalgVectorNorm"),
    (arithmetic.layer_normalization, never_zero, "LayerNorm LayerNormExt LayerNormV3"),
    (arithmetic.layer_normalization, zero_as_first, "RmsNorm"),
    (arithmetic.group_normalization, never_zero, "GroupNorm"),
    (arithmetic.control_flow, never_zero, CONTROL_FLOW),
    (arithmetic.lstm, never_zero, "LSTM"),
    (arithmetic.recurrent, never_zero, "LSTMV2 DynamicRNN DynamicGRUV2 GRUV2 CudnnGRU"),
    (shapes.reshape, zero_as_first, "Reshape Flatten ExpandDims Squeeze"),
    (shapes.split, zero_as_first, "Split"),
    (shapes.strided_slice, zero_as_first, "StridedSlice"),
    (shapes.slice_of, zero_as_first, "Slice"),
    (shapes.depth_to_space, zero_as_first, "DepthToSpace"),
    (shapes.space_to_depth, zero_as_first, "SpaceToDepth"),
    (shapes.broadcast_to, zero_as_first, "BroadcastTo"),
    (shapes.transpose, zero_as_first, "Transpose"),
    (shapes.concat, zero_as_joined, "Concat"),
    (shapes.stack, all, "Stack"),
    (shapes.unstack, zero_as_first, "Unstack"),
    (shapes.gather, zero_as_first, "Gather"),
    (shapes.reverse, zero_as_first, "ReverseV2"),
    (shapes.roll, zero_as_first, "Roll"),
    (shapes.tile, zero_as_first, "Tile"),
    (shapes.repeat, zero_as_first, "RepeatInterleaveInt"),
    (shapes.channel_shuffle, zero_as_first, "ChannelShuffle"),
    (shapes.top, never_zero, "TopK TopkExt"),
    (shapes.unfold, zero_as_first, "Im2ColExt"),
    (shapes.gated, zero_as_first, "GLU Swiglu"),
    (shapes.pad, zero_as_first, "Pad PadV3 MirrorPad ReflectionPad1D ReflectionPad2D ReflectionPad3D ReplicationPad1D "
     "ReplicationPad2D ReplicationPad3D"),
    (arithmetic.first_input, zero_as_first,
     "ReLU ReLU6 SiLU GeLU Tanh Mish Elu SeLU LeakyReLU Sqrt Abs Neg Square Erf Cast Dropout Softsign ReLUExt SiLUExt "
     "EluExt HSwish FastGeLU GeluExt Sin Tan Atan Asin Sinh Asinh Sign Floor Ceil Round Trunc Expm1 Log1p HShrink "
     "SoftShrink Identity IsNan IsInf DropoutExt CeLU InplaceReLU LeakyReLUExt"),
    (arithmetic.first_input, never_zero,
     "Sigmoid HSigmoid Softplus SoftplusExt Exp Log Rsqrt Cos Cosh Reciprocal LogicalNot LogSigmoid Inv Erfc ACos "
     "Acosh Atanh Rint LogSigmoidExt HSigmoidExt ZerosLike OnesLike IsFinite BitwiseNot Threshold HardTanh "
     "Exp2 Hardtanh Log10 Log2"),
)

# How rules go through weights. Where none is given, weights stay.
_OF_WEIGHTS: Dict[Callable, Callable] = {
    **dict.fromkeys((shapes.reshape, shapes.split, shapes.strided_slice, shapes.broadcast_to, shapes.transpose,
                     shapes.concat, shapes.stack, shapes.unstack, shapes.reverse, shapes.tile), shapes.moved),
    **dict.fromkeys((arithmetic.first_input, arithmetic.elementwise, arithmetic.residual_sum), shapes.pointwise),
    **dict.fromkeys((arithmetic.reduction, arithmetic.reduced_sum, arithmetic.sum_of_powers, arithmetic.along_axes),
                    shapes.reduced),
}

RULES: Dict[str, Rule] = {operator: Rule(flow, zero, _OF_WEIGHTS.get(flow))
                          for flow, zero, operators in _KINDS for operator in operators.split()}


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
    RULES[operator] = Rule(flow, all if keeps_zero else never_zero)
