"""Every operator in the table, between a layer that is pruned and one that reads it: masked equals slim."""
import math

import numpy as np
import pytest

from golden_stick.graph.ir import Result
from golden_stick.graph.rules import RULES
from golden_stick.graph.rules.arithmetic import (
    along_axes,
    channel_parameters,
    elementwise,
    first_input,
    reduced_sum,
    reduction,
    residual_sum,
    sampled,
    spatial,
)
from tests.graph.build import Builder
from tests.graph.interpreter import assert_masked_equals_slim

SHAPE = (2, 6, 4, 4)


def first_layer(b, filters=6, path="a"):
    return b.convolution(path, b.input(2, 3, 4, 4), filters)


def last_layer(b, value):
    shape = b.shape(value)
    if len(shape) == 5:
        value = b.node("ReduceMean", [value, (2, 3, 4), False], shape[:2])
    return b.dense("last", value, 2) if len(b.shape(value)) == 2 else b.convolution("last", value, 2)


def of_rule(rule):
    return [operator for operator, found in RULES.items() if found.flow is rule]


def with_axis(operator, shape, axes, keep):
    left = tuple(1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes)
    order = (2.0,) if operator == "LinalgVectorNorm" else ()
    return lambda b: b.node(operator, [first_layer(b), *order, axes, keep], left)


def slice_inputs(begin, end, strides=None, begin_mask=0, end_mask=0, shrink=0):
    return [begin, end, strides or (1,) * len(begin), begin_mask, end_mask, 0, 0, shrink]


def cases():
    """(operator, what, builder of the value between the layers, whether the first layer can be pruned)."""
    found = []

    def case(operator, what, build, prunable=True):
        found.append(pytest.param(operator, build, prunable, id=f"{operator}-{what}"))

    for operator in of_rule(first_input):
        case(operator, "alone", lambda b, o=operator: b.pointwise(o, first_layer(b)))
    for operator in of_rule(elementwise):
        case(operator, "number", lambda b, o=operator: b.node(o, [first_layer(b), 2.0], SHAPE))
        case(operator, "layer", lambda b, o=operator: b.add(first_layer(b), first_layer(b, path="b"), o))
        case(operator, "vector", lambda b, o=operator: b.node(
            o, [first_layer(b), np.arange(6.0).reshape(6, 1, 1)], SHAPE), False)
    for operator in [name for name in of_rule(residual_sum) if name != "AddN"]:
        case(operator, "number", lambda b, o=operator: b.node(o, [first_layer(b), 2.0], SHAPE))
        case(operator, "layer", lambda b, o=operator: b.add(first_layer(b), first_layer(b, path="b"), o))
        case(operator, "input", lambda b, o=operator: b.add(first_layer(b), b.input(*SHAPE), o), False)
    case("AddN", "layers", lambda b: b.node("AddN", [(first_layer(b), first_layer(b, path="b"))], SHAPE))
    for operator in of_rule(spatial):
        case(operator, "alone", lambda b, o=operator: b.node(o, [first_layer(b)], (2, 6, 2, 2)))
        case(operator, "channels last", lambda b, o=operator: b.node(o, [first_layer(b)], SHAPE, format="NHWC"), False)
    for operator in of_rule(sampled):
        case(operator, "alone", lambda b, o=operator: b.node(o, [first_layer(b), b.input(2, 2, 2, 2)], (2, 6, 2, 2)))
        case(operator, "channels last", lambda b, o=operator: b.node(
            o, [first_layer(b), b.input(2, 2, 2, 2)], SHAPE, format="NHWC"), False)
    assert set(of_rule(spatial)) and set(of_rule(along_axes))
    for operator in of_rule(along_axes):
        case(operator, "space", lambda b, o=operator: b.node(o, [first_layer(b)], SHAPE, axis=(-1,)))
        case(operator, "space as an input", lambda b, o=operator: b.node(o, [first_layer(b), 2], SHAPE))
        case(operator, "channels", lambda b, o=operator: b.node(o, [first_layer(b)], SHAPE, axis=(-3,)), False)
    for operator in of_rule(reduction) + of_rule(reduced_sum):
        case(operator, "space", with_axis(operator, SHAPE, (2, 3), False))
        case(operator, "space kept", with_axis(operator, SHAPE, (2, 3), True))
    for operator in of_rule(reduction):
        case(operator, "channels", with_axis(operator, SHAPE, (1,), True), False)
    vectors = {"BatchNorm": lambda b: b.normalization("n", first_layer(b)),
               "BiasAdd": lambda b: b.bias("n", first_layer(b)),
               "PReLU": lambda b: b.node("PReLU", [first_layer(b), b.parameter("n.w", (6,))], SHAPE),
               **{name: lambda b, o=name: b.node(o, [first_layer(b), b.parameter("n.g", (6,)),
                                                     b.parameter("n.b", (6,))], SHAPE)
                  for name in ("BatchNormExt", "InstanceNorm")}}
    assert set(vectors) == set(of_rule(channel_parameters))
    for operator, build in vectors.items():
        case(operator, "channels", build)
    case("PReLU", "shared slope", lambda b: b.node("PReLU", [first_layer(b), b.parameter("n.w", (1,))], SHAPE))
    case("Conv2D", "plain", lambda b: b.convolution("b", first_layer(b), 4, kernel=2))
    case("Conv2D", "grouped", lambda b: b.convolution("b", first_layer(b), 4, group=2))
    case("Conv2D", "depthwise", lambda b: b.convolution("b", first_layer(b), 6, group=6, kernel=2))
    case("Conv2D", "multiplier", lambda b: b.convolution("b", first_layer(b), 12, group=6))
    case("Conv3D", "first", lambda b: b.convolution("a", b.input(2, 3, 2, 2, 2), 6, operator="Conv3D"))
    case("MatMul", "turned", lambda b: b.dense("a", b.input(2, 5), 6))
    case("MatMul", "plain", lambda b: b.dense("b", b.dense("a", b.input(2, 5), 6), 4, turned=False))
    case("MatMul", "data turned", lambda b: b.node("MatMul", [b.dense("a", b.input(3, 5), 3), b.parameter(
        "b.weight", (4, 3), "nn.Dense"), True, True], (3, 4)), False)
    case("Reshape", "to a vector", lambda b: b.reshape(first_layer(b), 2, 96))
    case("Flatten", "to a vector", lambda b: b.node("Flatten", [first_layer(b)], (2, 96)))
    case("ExpandDims", "and back", lambda b: b.node("Squeeze", [b.node(
        "ExpandDims", [first_layer(b), 1], (2, 1, 6, 4, 4))], SHAPE))
    case("Squeeze", "space", lambda b: b.node("Squeeze", [with_axis("ReduceMean", SHAPE, (2, 3), True)(b)], (2, 6)))
    case("Transpose", "there and back", lambda b: b.node("Transpose", [b.pointwise("ReLU", b.node(
        "Transpose", [first_layer(b), (0, 2, 3, 1)], (2, 4, 4, 6))), (0, 3, 1, 2)], SHAPE))
    case("Concat", "two", lambda b: b.concat((first_layer(b), first_layer(b, 4, "b"))))
    case("StridedSlice", "space", lambda b: b.node(
        "StridedSlice", [first_layer(b), *slice_inputs((0, 0, 1, 0), (2, 6, 4, 4), (1, 1, 2, 1))], (2, 6, 2, 4)))
    case("Pad", "space", lambda b: b.node(
        "Pad", [first_layer(b)], (2, 6, 6, 4), paddings=((0, 0), (0, 0), (1, 1), (0, 0))))
    for mode in ("REFLECT", "SYMMETRIC"):
        case("MirrorPad", f"space, {mode}", lambda b, mode=mode: b.node(
            "MirrorPad", [first_layer(b), np.array([(0, 0), (0, 0), (1, 1), (0, 2)])], (2, 6, 6, 6), mode=mode))
    for operator in ("ReflectionPad", "ReplicationPad"):
        for axes, pairs in ((1, (1, 2)), (2, (1, 2, 1, 0)), (3, (1, 1, 1, 1, 0, 0))):
            made = [size + sum(pairs[6 - 2 * at:8 - 2 * at]) for at, size in enumerate(SHAPE)]
            case(f"{operator}{axes}D", "space", lambda b, o=f"{operator}{axes}D", p=pairs, s=tuple(made): b.node(
                o, [first_layer(b), p], s))
        case(f"{operator}3D", "channels", lambda b, o=operator: b.node(
            f"{o}3D", [first_layer(b), (0, 0, 0, 0, 1, 2)], (2, 9, 4, 4)), False)
    case("PadV3", "channels", lambda b: b.node("PadV3", [first_layer(b), (0, 0, 0, 0, 1, 2), 0.0], (2, 9, 4, 4)))
    return found + shape_cases() + product_cases()


def tokens(b, path="a", width=12):
    """A dense layer over a sequence: (2, 4, width)."""
    flat = b.reshape(b.input(2, 4, 5), 8, 5)
    return b.reshape(b.dense(path, flat, width), 2, 4, width)


def heads(b, path, axis_of_width=3):
    """Queries, keys or values: (2, 3, 4, 4), the heads before the positions."""
    split = b.reshape(tokens(b, path), 2, 4, 3, 4)
    return b.node("Transpose", [split, (0, 2, 1, 3)], (2, 3, 4, 4))


def attention(b, operator="BatchMatMul"):
    scores = b.node(operator, [heads(b, "q"), heads(b, "k"), False, True], (2, 3, 4, 4))
    mixed = b.node(operator, [b.node("Softmax", [scores], (2, 3, 4, 4), axis=(-1,)), heads(b, "a"), False, False],
                   (2, 3, 4, 4))
    return b.reshape(b.node("Transpose", [mixed, (0, 2, 1, 3)], (2, 4, 3, 4)), 8, 12)


def shape_cases():
    """Operators that move numbers."""
    found = []

    def case(operator, what, build, prunable=True):
        found.append(pytest.param(operator, build, prunable, id=f"{operator}-{what}"))

    def half(b, at):
        return b.node("StridedSlice", [first_layer(b), *slice_inputs((0, at, 0, 0), (2, at + 3, 4, 4))], (2, 3, 4, 4))

    def parts(b):
        b.node("Split", [first_layer(b), 1, 2], (2, 3, 4, 4), (2, 3, 4, 4))
        return len(b._nodes) - 1

    case("Split", "halves", lambda b: (lambda n: b.add(Result(n, 0), b.relu(Result(n, 1))))(parts(b)))
    case("Split", "second half", lambda b: (lambda n: Result(n, 1))(parts(b)))
    case("Split", "space", lambda b: b.node("Split", [first_layer(b), 2, 2], (2, 6, 2, 4), (2, 6, 2, 4)))
    case("StridedSlice", "to the end, by the mask", lambda b: b.node(
        "StridedSlice", [first_layer(b), (0, 0, 1, 0), (0, 0, 4, 0), (1, 1, 1, 1), 0, 0b1011, 0, 0, 0], (2, 6, 3, 4)))
    case("StridedSlice", "halves", lambda b: b.concat((half(b, 3), half(b, 0))))
    case("StridedSlice", "what is before the last", lambda b: b.node(
        "StridedSlice", [first_layer(b), *slice_inputs((0, 1, 0, 0), (2, 5, 4, 4))], (2, 4, 4, 4)))
    case("Unstack", "space", lambda b: b.node("Unstack", [first_layer(b)], *[(2, 6, 4)] * 4, axis=2) and b.node(
        "ExpandDims", [Result(len(b._nodes) - 1, 2), 3], (2, 6, 4, 1)))
    case("Unstack", "channels", lambda b: b.node("Unstack", [first_layer(b)], *[(2, 4, 4)] * 6, axis=1) and b.node(
        "ExpandDims", [Result(len(b._nodes) - 1, 2), 1], (2, 1, 4, 4)), False)
    case("Stack", "and summed", lambda b: b.node("ReduceSum", [b.node(
        "Stack", [(first_layer(b), first_layer(b, path="b"))], (2, 2, 6, 4, 4), axis=1), (1,), False], SHAPE))
    case("Stack", "with the input", lambda b: b.node("ReduceSum", [b.node(
        "Stack", [(first_layer(b), b.input(*SHAPE))], (2, 2, 6, 4, 4), axis=1), (1,), False], SHAPE), False)
    case("Concat", "in space", lambda b: b.node(
        "Concat", [(first_layer(b), first_layer(b, path="b")), 2], (2, 6, 8, 4)))
    case("Gather", "space", lambda b: b.node("Gather", [first_layer(b), np.array([2, 0]), 2], (2, 6, 2, 4)))
    case("Gather", "channels", lambda b: b.node("Gather", [first_layer(b), np.array([2, 0]), 1], (2, 2, 4, 4)), False)
    case("Gather", "of a table", lambda b: b.node(
        "Gather", [b.parameter("a.embedding_table", (9, 6)), np.array([3, 1]), 0], (2, 6)))
    case("Gather", "of a table by columns", lambda b: b.node(
        "Gather", [b.parameter("a.embedding_table", (6, 9)), np.array([3, 1]), 1], (6, 2)), False)
    case("Slice", "space", lambda b: b.node("Slice", [first_layer(b), (0, 0, 1, 0), (2, 6, 2, 4)], (2, 6, 2, 4)))
    case("Slice", "half of the channels", lambda b: b.node(
        "Slice", [first_layer(b), (0, 3, 0, 0), (2, 3, 4, 4)], (2, 3, 4, 4)))
    case("Slice", "some channels", lambda b: b.node(
        "Slice", [first_layer(b), (0, 1, 0, 0), (2, 4, 4, 4)], (2, 4, 4, 4)))
    case("DepthToSpace", "channels", lambda b: b.node("DepthToSpace", [first_layer(b, 12)], (2, 3, 8, 8), block_size=2))
    case("SpaceToDepth", "channels", lambda b: b.node("SpaceToDepth", [first_layer(b)], (2, 24, 2, 2), block_size=2))
    case("Tile", "channels", lambda b: b.node("Tile", [first_layer(b), (1, 2, 1, 1)], (2, 12, 4, 4)))
    for axis, shape in ((1, (2, 12, 4, 4)), (-1, (2, 6, 4, 8))):
        case("RepeatInterleaveInt", f"axis {axis}", lambda b, a=axis, s=shape: b.node(
            "RepeatInterleaveInt", [first_layer(b), 2, a, None], s))
    case("RepeatInterleaveInt", "all", lambda b: b.reshape(b.node(
        "RepeatInterleaveInt", [first_layer(b), 2, None, None], (384,)), 2, 12, 4, 4), False)
    case("ChannelShuffle", "two groups", lambda b: b.node("ChannelShuffle", [first_layer(b), 2], SHAPE))
    case("ChannelShuffle", "of another axis", lambda b: b.node("ChannelShuffle", [b.node(
        "Transpose", [first_layer(b), (0, 2, 3, 1)], (2, 4, 4, 6)), 2], (2, 4, 4, 6)), False)
    case("Im2ColExt", "windows", lambda b: b.reshape(b.node("Im2ColExt", [first_layer(b), (2, 2)], (2, 24, 9)),
                                                     2, 24, 9, 1))
    case("Im2ColExt", "of another axis", lambda b: b.reshape(b.node("Im2ColExt", [b.node(
        "Transpose", [first_layer(b), (0, 2, 3, 1)], (2, 4, 4, 6)), (2, 2)], (2, 16, 15)), 2, 16, 15, 1), False)
    for operator in ("GLU", "Swiglu"):
        case(operator, "channels", lambda b, o=operator: b.node(o, [first_layer(b), 1], (2, 3, 4, 4)))
        case(operator, "space", lambda b, o=operator: b.node(o, [first_layer(b), -1], (2, 6, 4, 2)))
    case("TopK", "space", lambda b: b.node("TopK", [first_layer(b), 3, True], (2, 6, 4, 3), (2, 6, 4, 3)))
    for axis, shape, prunable in ((2, (2, 6, 3, 4), True), (1, (2, 3, 4, 4), False)):
        case("TopkExt", f"axis {axis}", lambda b, a=axis, s=shape: b.node(
            "TopkExt", [first_layer(b), 3, a, True, True], s, s), prunable)
    case("BroadcastTo", "space", lambda b: b.node("BroadcastTo", [with_axis(
        "ReduceMean", SHAPE, (2, 3), True)(b), SHAPE], SHAPE))
    case("ReverseV2", "channels", lambda b: b.node("ReverseV2", [first_layer(b)], SHAPE, axis=(1, 2)))
    case("Roll", "space", lambda b: b.node("Roll", [first_layer(b)], SHAPE, axis=(2,), shift=(1,)))
    case("Roll", "channels", lambda b: b.node("Roll", [first_layer(b)], SHAPE, axis=(1,), shift=(1,)), False)
    case("Reshape", "channel shuffle", lambda b: b.reshape(b.node("Transpose", [b.reshape(
        first_layer(b), 2, 2, 3, 4, 4), (0, 2, 1, 3, 4)], (2, 3, 2, 4, 4)), *SHAPE))
    case("Reshape", "pixels from channels", lambda b: b.reshape(b.node("Transpose", [b.reshape(
        first_layer(b, 12), 2, 3, 2, 2, 4, 4), (0, 1, 4, 2, 5, 3)], (2, 3, 4, 2, 4, 2)), 2, 3, 8, 8))
    return found


def products(b, equation):
    """The first layer's (2, 6, 4, 4) and whatever else the equation reads, multiplied and summed up."""
    operands = (first_layer(b), first_layer(b, path="b"))[:1 + equation.count(",")]
    if "oc" in equation:
        operands = operands[:1] + (b.parameter("w.weight", (3, 5, 6) if "eoc" in equation else (5, 6)),)
    made = np.einsum(equation, *(np.zeros(b.shape(value)) for value in operands)).shape
    result = b.node("Einsum", [operands], made, equation=equation)
    return result if len(made) == 4 else b.reshape(result, *made, *(1,) * (4 - len(made)))


EQUATIONS = (
    ("space", "bchw->bc", True), ("two maps", "bchw, bchw -> bc", True), ("turned", "b c h w -> b w c h", False),
    ("channels", "bchw->bhw", True), ("scores", "bchw,bcij->bhwi", True), ("dots", "...hw,...hw->...", True),
    ("a weight", "bchw,oc->bohw", True), ("experts", "bchw,eoc->boe", True), ("a diagonal", "bchh->bch", False),
    ("no arrow", "bchw,bcij", True), ("dots, implied", "...w,...w", True),
    ("channels of two axes", "bchw,bdhw->bcd", False),
)


def rows_of_six(b):
    """The first layer's pixels in rows of their channels, (2, 16, 6)."""
    return b.node("Transpose", [b.reshape(first_layer(b), 2, 6, 16), (0, 2, 1)], (2, 16, 6))


def experts(b, operator):
    """Three dense layers in one weight."""
    made = b.node(operator, [b.reshape(rows_of_six(b), 2, 1, 16, 6), b.parameter("w.weight", (3, 6, 5)), False, False],
                  (2, 3, 16, 5))
    return b.node("Transpose", [made, (0, 3, 1, 2)], (2, 5, 3, 16))


def learned(b):
    """A weight that a dense layer reads, added to what data make."""
    rows = b.node("MatMul", [b.parameter("q", (16, 8)), b.parameter("w.weight", (6, 8)), False, True], (16, 6))
    summed = b.add(rows_of_six(b), rows)
    return b.reshape(b.node("Transpose", [summed, (0, 2, 1)], (2, 6, 16)), *SHAPE)


def recurrent_layer(b, bias=True, state=None):
    """Tokens of 6 channels into 5 hidden units, with their weights packed as MindSpore packs them."""
    entering = b.node("Transpose", [b.reshape(first_layer(b), 2, 6, 16), (2, 0, 1)], (16, 2, 6))
    weights = [b.parameter("r.weight_ih", (20, 6)), b.parameter("r.weight_hh", (20, 5))]
    if bias:
        weights.append(b.add(b.parameter("r.bias_ih", (20,)), b.parameter("r.bias_hh", (20,))))
    packed = b.concat([b.reshape(item, math.prod(b.shape(item)), 1, 1) for item in weights], 0)
    state = b.node("ExpandDims", [np.zeros((2, 5)), 0], (1, 2, 5)) if state is None else state
    made = b.node("LSTM", [entering, state, state, packed], (16, 2, 5), (1, 2, 5), (1, 2, 5), (1, 1), (1, 1))
    return b.reshape(b.node("Transpose", [made, (1, 2, 0)], (2, 5, 16)), 2, 5, 4, 4)


def product_cases():
    """Operators that sum channels up, and normalizations."""
    found = []

    def case(operator, what, build, prunable=True):
        found.append(pytest.param(operator, build, prunable, id=f"{operator}-{what}"))

    def extended(b, operator, group=1, bias=True):
        weight = b.parameter("b.weight", (6, 6 // group, 1, 1)[:len(b.shape(first_layer(b)))])
        switched = [False, (0, 0)] if operator == "Convolution" else []
        rest = [b.parameter("b.bias", (6,)) if bias else None, (1, 1), (0, 0), (1, 1), *switched, group]
        return b.node(operator, [first_layer(b), weight, *rest], SHAPE)

    def transposed(b, operator="Conv2DTranspose", group=1, filters=4):
        weight = b.parameter("b.weight", (6, filters, 1, 1), "nn.Conv2dTranspose")
        shape = (2, filters * group, 4, 4)
        if operator == "ConvTranspose2D":
            bias = b.parameter("b.bias", (filters * group,))
            return b.node(operator, [first_layer(b), weight, bias, (1, 1), (0, 0), (0, 0), group, (1, 1)], shape)
        return b.node(operator, [first_layer(b), weight, shape], shape, group=group)

    for operator in ("Conv1DExt", "Conv2DExt", "Conv3DExt", "Convolution"):
        case(operator, "with a bias", lambda b, o=operator: extended(b, o))
        case(operator, "grouped", lambda b, o=operator: extended(b, o, group=2, bias=False))
    for operator in ("Conv2DTranspose", "Conv2DBackpropInput", "Conv3DTranspose", "ConvTranspose2D"):
        case(operator, "plain", lambda b, o=operator: transposed(b, o))
        case(operator, "grouped", lambda b, o=operator: transposed(b, o, 2, 2))
        case(operator, "depthwise", lambda b, o=operator: transposed(b, o, 6, 1))
        case(operator, "multiplier", lambda b, o=operator: transposed(b, o, 6, 2))
    case("Convolution", "transposed", lambda b: b.node(
        "Convolution", [first_layer(b), b.parameter("b.weight", (6, 6, 1, 1)), None, (1, 1), (0, 0), (1, 1), True,
                        (0, 0), 1], SHAPE), False)
    case("Embedding", "of a table", lambda b: b.node(
        "Embedding", [np.array([3, 1]), b.parameter("a.weight", (9, 6)), None, None, 2.0, False], (2, 6)))
    for operator in ("BatchMatMul", "BatchMatMulExt", "MatMulExt"):
        case(operator, "attention", lambda b, o=operator: attention(b, o))
        case(operator, "where zero is lost", lambda b, o=operator: b.reshape(b.node(o, [
            b.pointwise("Sigmoid", heads(b, "a")), b.pointwise("Sigmoid", heads(b, "b")), False, True],
            (2, 3, 4, 4)), 2, 48), False)
        case(operator, "of experts", lambda b, o=operator: experts(b, o))
    case("MatMul", "of two weights", learned)
    for name, equation, prunable in EQUATIONS:
        case("Einsum", name, lambda b, e=equation: products(b, e), prunable)
    case("Dense", "of rank 3", lambda b: b.reshape(b.node("Dense", [tokens(b), b.parameter("b.weight", (6, 12)),
         b.parameter("b.bias", (6,))], (2, 4, 6)), 8, 6))
    for operator in ("ReduceSum", "SumExt", "LinalgVectorNorm"):
        case(operator, "of channels", lambda b, o=operator: with_axis(o, SHAPE, (1,), True)(b))
    case("LpNorm", "of channels", lambda b: b.node("LpNorm", [first_layer(b)], (2, 1, 4, 4), axis=(1,)))
    case("LpNorm", "behind a sigmoid", lambda b: b.node("LpNorm", [b.pointwise("Sigmoid", first_layer(b))],
                                                        (2, 1, 4, 4), axis=(1,)), False)
    case("L2Normalize", "of channels", lambda b: b.node("L2Normalize", [first_layer(b)], SHAPE, axis=(1,)))
    case("L2Normalize", "of space", lambda b: b.node("L2Normalize", [first_layer(b)], SHAPE, axis=(3,)))
    for operator in ("LayerNorm", "LayerNormExt", "LayerNormV3"):
        case(operator, "of space", lambda b, o=operator: b.node(
            o, [first_layer(b), b.parameter("n.gamma", (4,))], SHAPE))
        case(operator, "of channels", lambda b, o=operator: b.node(
            o, [first_layer(b), b.parameter("n.gamma", (6, 4, 4))], SHAPE), False)
    for shape, prunable in (((4,), True), ((6, 4, 4), False)):
        case("RmsNorm", f"{shape}", lambda b, s=shape: b.node("RmsNorm", [first_layer(b), b.parameter("n.gamma", s)],
                                                              SHAPE), prunable)
    for name, groups, prunable in (("whole groups", 2, True), ("of one channel", 6, True), ("one group", 1, False)):
        case("GroupNorm", name, lambda b, n=groups: b.node("GroupNorm", [
            first_layer(b), n, b.parameter("n.gamma", (6,)), b.parameter("n.beta", (6,))], SHAPE), prunable)
    case("ControlFlow", "input", lambda b: b.node("ControlFlow", [first_layer(b)], SHAPE), False)
    case("LSTM", "a layer", recurrent_layer)
    case("LSTM", "without a bias", lambda b: recurrent_layer(b, bias=False))
    case("LSTM", "with a state that is given", lambda b: recurrent_layer(b, state=b.input(1, 2, 5)))
    for operator in ("LSTM", "LSTMV2", "DynamicRNN", "DynamicGRUV2", "GRUV2", "CudnnGRU"):
        case(operator, "input", lambda b, o=operator: b.node(o, [first_layer(b)], SHAPE), False)
    return found


CASES = cases()


@pytest.mark.parametrize("operator, build, prunable", CASES)
def test_masked_equals_slim_across(operator, build, prunable):
    b = Builder()
    value = build(b)
    graph = b.graph(last_layer(b, value))
    assert operator in [node.operator for node in graph.nodes]
    for seed in range(3):
        grouping = assert_masked_equals_slim(graph, seed=seed)
    assert ("a" in [layer for group in grouping for layer in group.layers]) == prunable


def test_every_operator_in_the_table_has_a_case():
    assert {case.values[0] for case in CASES} == set(RULES)
