"""Every operator in the table, between a layer that is pruned and one that reads it: masked equals slim."""
import numpy as np
import pytest

from golden_stick.graph.rules import (
    RULES,
    along_one_axis,
    channel_parameters,
    elementwise,
    first_input,
    reduction,
    residual_sum,
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
    return [operator for operator, found in RULES.items() if found is rule]


def with_axis(operator, shape, axes, keep):
    left = tuple(1 if axis in axes else size for axis, size in enumerate(shape) if keep or axis not in axes)
    return lambda b: b.node(operator, [first_layer(b), axes, keep], left)


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
        case(operator, "vector", lambda b, o=operator: b.node(o, [first_layer(b), np.ones((6, 1, 1))], SHAPE), False)
    for operator in [name for name in of_rule(residual_sum) if name != "AddN"]:
        case(operator, "number", lambda b, o=operator: b.node(o, [first_layer(b), 2.0], SHAPE))
        case(operator, "layer", lambda b, o=operator: b.add(first_layer(b), first_layer(b, path="b"), o))
        case(operator, "input", lambda b, o=operator: b.add(first_layer(b), b.input(*SHAPE), o), False)
    case("AddN", "layers", lambda b: b.node("AddN", [(first_layer(b), first_layer(b, path="b"))], SHAPE))
    for operator in of_rule(spatial):
        case(operator, "alone", lambda b, o=operator: b.node(o, [first_layer(b)], (2, 6, 2, 2)))
        case(operator, "channels last", lambda b, o=operator: b.node(o, [first_layer(b)], SHAPE, format="NHWC"), False)
    for operator in of_rule(along_one_axis):
        case(operator, "space", lambda b, o=operator: b.node(o, [first_layer(b)], SHAPE, axis=(-1,)))
        case(operator, "space as an input", lambda b, o=operator: b.node(o, [first_layer(b), 2], SHAPE))
        case(operator, "channels", lambda b, o=operator: b.node(o, [first_layer(b)], SHAPE, axis=(-3,)), False)
    for operator in of_rule(reduction):
        case(operator, "space", with_axis(operator, SHAPE, (2, 3), False))
        case(operator, "space kept", with_axis(operator, SHAPE, (2, 3), True))
    vectors = {"BatchNorm": lambda b: b.normalization("n", first_layer(b)),
               "BiasAdd": lambda b: b.bias("n", first_layer(b)),
               "PReLU": lambda b: b.node("PReLU", [first_layer(b), b.parameter("n.w", (6,))], SHAPE)}
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
        "b.weight", (4, 3), "Dense"), True, True], (3, 4)), False)
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
    case("PadV3", "channels", lambda b: b.node("PadV3", [first_layer(b), (0, 0, 0, 0, 1, 2), 0.0], (2, 9, 4, 4)))
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
