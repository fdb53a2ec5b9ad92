"""Operators that work number by number: channels that meet belong together, an axis of length 1 binds nothing."""
import numpy as np
import pytest

from golden_stick.graph.flow import Flow
from golden_stick.graph.rules import RULES
from golden_stick.graph.rules.arithmetic import elementwise, first_input, residual_sum
from tests.graph.build import Builder, bound, spread, walk

SHAPE = (2, 6, 4, 4)
ELEMENTWISE = [name for name, rule in RULES.items() if rule.flow is elementwise]
SUMS = [name for name, rule in RULES.items() if rule.flow is residual_sum and name != "AddN"]


def two_layers():
    b = Builder()
    return b, b.convolution("a", b.input(2, 3, 4, 4), 6), b.convolution("b", b.input(2, 3, 4, 4), 6)


def solved(b, *outputs):
    flow = walk(b.graph(*outputs))
    return flow, flow.labels.solve()


@pytest.mark.parametrize("operator", ELEMENTWISE + SUMS)
def test_channels_that_meet_are_one_class_position_by_position(operator):
    b, one, other = two_layers()
    made = b.node(operator, [one, other], SHAPE)
    flow, solution = solved(b)
    classes = [solution.classes[flow.of(value).along(1)] for value in (one, other, made)]
    np.testing.assert_array_equal(classes[0], classes[1])
    np.testing.assert_array_equal(classes[0], classes[2])
    assert len(set(classes[0])) == 6
    assert solution.removable(classes[0]).all()


def test_a_sum_of_many_unites_all_of_them():
    b, one, other = two_layers()
    third = b.convolution("c", b.input(2, 3, 4, 4), 6)
    b.node("AddN", [(one, other, third)], SHAPE)
    flow, solution = solved(b)
    for name in ("b.weight", "c.weight"):
        np.testing.assert_array_equal(bound(flow, solution, name, 0), bound(flow, solution, "a.weight", 0))


@pytest.mark.parametrize("operator", [name for name, rule in RULES.items() if rule.flow is first_input])
def test_one_number_to_one_number_keeps_the_labels(operator):
    b, one, _ = two_layers()
    made = b.node(operator, [one], SHAPE, SHAPE)
    flow, _ = solved(b)
    np.testing.assert_array_equal(spread(flow, made), spread(flow, one))


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (1, 1, 4, 4), (4, 4), (4,), (1, 1, 1, 1), (1,)])
def test_a_map_of_one_channel_does_not_tie_the_channels(shape):
    b, one, _ = two_layers()
    mask = b.input(*shape)
    for inputs in ([one, mask], [mask, one]):
        made = b.node("Mul", inputs, SHAPE)
    flow, solution = solved(b)
    np.testing.assert_array_equal(spread(flow, made), spread(flow, one))
    assert solution.removable(flow.of(one).labels).all()
    assert len(set(solution.classes[flow.of(one).labels].ravel())) == 6


def test_a_map_of_one_channel_that_a_layer_made_does_not_tie_the_channels():
    b, one, _ = two_layers()
    gate = b.convolution("gate", one, 1)
    made = b.node("Mul", [gate, one], SHAPE)
    flow, solution = solved(b)
    np.testing.assert_array_equal(spread(flow, made), spread(flow, one))
    assert solution.removable(flow.of(one).labels).all()
    assert not solution.removable(flow.of(gate).labels).any()


def test_a_gate_of_channel_width_belongs_to_the_channels():
    b, one, _ = two_layers()
    pooled = b.node("ReduceMean", [one, (2, 3), True], (2, 6, 1, 1))
    made = b.node("Mul", [one, b.convolution("gate", pooled, 6)], SHAPE)
    flow, solution = solved(b, made)
    np.testing.assert_array_equal(bound(flow, solution, "gate.weight", 0), bound(flow, solution, "a.weight", 0))


@pytest.mark.parametrize("shape, axis", [((6, 1, 1), 0), ((1, 6, 1, 1), 1), ((6, 4, 4), 0)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_parameter_of_channel_width_shrinks_with_the_channels(shape, axis, turned):
    b, one, _ = two_layers()
    scale = b.parameter("s.scale", shape)
    b.node("Mul", [scale, one] if turned else [one, scale], SHAPE)
    flow, solution = solved(b)
    np.testing.assert_array_equal(bound(flow, solution, "s.scale", axis), flow.of(one).along(1))
    assert {(name, place) for name, place in flow.bindings if name == "s.scale"} == {("s.scale", axis)}


def test_a_vector_parameter_meets_the_last_axis():
    b = Builder()
    one = b.dense("a", b.input(2, 5), 6)
    b.node("Mul", [one, b.parameter("s.scale", (6,))], (2, 6))
    flow, solution = solved(b)
    np.testing.assert_array_equal(bound(flow, solution, "s.scale", 0), flow.of(one).along(1))


@pytest.mark.parametrize("shape", [(4, 4), (4,), (1, 4, 4), (1,), ()])
def test_a_parameter_without_a_channel_axis_binds_nothing(shape):
    b, one, _ = two_layers()
    b.node("Mul", [one, b.parameter("s.scale", shape)], SHAPE)
    flow, solution = solved(b)
    assert not [key for key in flow.bindings if key[0] == "s.scale"]
    assert solution.removable(flow.of(one).labels).all()


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (2, 6, 4, 4)])
def test_a_constant_of_channel_width_fixes_the_channels(shape):
    b, one, _ = two_layers()
    b.node("Mul", [one, np.arange(float(np.prod(shape))).reshape(shape)], SHAPE)
    flow, solution = solved(b)
    assert solution.why_fixed(flow.of(one).labels) == ("meets a constant (Mul after 'a')",)


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (2, 6, 4, 4)])
def test_a_constant_that_is_one_number_all_over_is_as_wide_as_what_it_meets(shape):
    b, one, _ = two_layers()
    met = b.node("Mul", [one, np.ones(shape)], SHAPE)
    flow, solution = solved(b)
    assert solution.removable(flow.of(one).labels).all()
    np.testing.assert_array_equal(flow.numbers[met.node], [flow.of(one).labels.ravel()])
    flow = Flow(b.graph(met), "group", {met.node: 1}).run(RULES)
    assert not flow.labels.solve().removable(flow.of(one).labels).any()


def test_zeros_that_a_weight_sums_up_have_channels_of_its_own():
    b = Builder()
    state = b.node("StridedSlice", [np.zeros((1, 2, 6)), (0,), (1,), (1,)], (2, 6))
    first = b.dense("r", state, 6)
    second = b.dense("r", b.node("Sub", [state, first], (2, 6)), 6)
    flow, solution = solved(b)
    assert solution.removable(flow.of(second).labels).all()
    np.testing.assert_array_equal(bound(flow, solution, "r.weight", 1), bound(flow, solution, "r.weight", 0))


@pytest.mark.parametrize("constant", [2.0, np.float32(2.0), np.ones(4), np.ones((4, 4)), np.ones((1, 4, 4))])
def test_a_constant_without_a_channel_axis_fixes_nothing(constant):
    b, one, _ = two_layers()
    b.node("Mul", [one, constant], SHAPE)
    flow, solution = solved(b)
    assert solution.removable(flow.of(one).labels).all()


def test_an_input_of_channel_width_fixes_the_channels():
    b, one, _ = two_layers()
    b.node("Mul", [one, b.input(*SHAPE)], SHAPE)
    flow, solution = solved(b)
    assert solution.why_fixed(flow.of(one).labels) == ("meets the network's input (Mul after 'a')",)


def test_channels_of_two_axes_that_meet_are_fixed():
    b = Builder()
    one, other = b.convolution("a", b.input(2, 3, 4, 4), 4), b.convolution("b", b.input(2, 3, 4, 4), 4)
    turned = b.node("Transpose", [other, (0, 2, 1, 3)], (2, 4, 4, 4))
    made = b.node("Mul", [one, turned], (2, 4, 4, 4))
    flow, solution = solved(b)
    assert not spread(flow, made).any()
    for value in (one, other):
        assert solution.why_fixed(flow.of(value).labels)[0].startswith("channels of two axes meet")


def test_channels_meet_on_the_right_axis_though_ranks_differ():
    b = Builder()
    one = b.convolution("a", b.input(2, 3, 4, 4), 6)
    turned = b.node("Transpose", [one, (0, 2, 3, 1)], (2, 4, 4, 6))
    pooled = b.node("ReduceMean", [b.convolution("b", b.input(1, 3, 4, 4), 6), (0, 2, 3), False], (6,))
    made = b.node("Mul", [turned, pooled], (2, 4, 4, 6))
    flow, solution = solved(b)
    assert flow.of(made).axes == (3,)
    np.testing.assert_array_equal(bound(flow, solution, "b.weight", 0), bound(flow, solution, "a.weight", 0))


@pytest.mark.parametrize("operator", ELEMENTWISE + SUMS)
def test_parameters_that_meet_no_channels_keep_their_shape(operator):
    b, one, _ = two_layers()
    weight = b.parameter("a.weight", (6, 3, 1, 1))
    made = b.node(operator, [weight, 2.0], weight.shape)
    flow, solution = solved(b, made)
    assert solution.why_fixed(flow.of(one).labels) == ("output of the network",)


@pytest.mark.parametrize("operator, inputs, shape", [
    ("Reshape", [(18,)], (18,)), ("Transpose", [(1, 0, 2, 3)], (3, 6, 1, 1)), ("Square", [], (6, 3, 1, 1)),
    ("Softmax", [0], (6, 3, 1, 1)), ("PadV3", [(0, 1), 0.0], (6, 3, 1, 2)),
    ("StridedSlice", [(0,), (2,), (1,), 0, 0, 0, 0, 0], (2, 3, 1, 1)), ("AvgPool", [], (6, 3, 1, 1)),
    ("BatchNorm", [], (6, 3, 1, 1)), ("Conv2D", [(2, 3, 4, 4)], (6, 2, 1, 1)),
])
def test_a_weight_that_another_operator_reads_as_data_keeps_its_shape(operator, inputs, shape):
    b, one, _ = two_layers()
    weight = b.parameter("a.weight", (6, 3, 1, 1))
    if operator == "Conv2D":
        inputs = [b.parameter("c.weight", (2, 3, 1, 1), "nn.Conv2d")]
    made = b.node(operator, [weight, *inputs], shape)
    flow, solution = solved(b, made)
    assert not solution.removable(flow.of(one).labels).any()
    assert solution.why_fixed(flow.of(one).labels)


def test_a_weight_that_is_itself_an_output_keeps_its_shape():
    b, one, _ = two_layers()
    last = b.convolution("c", one, 2)
    flow, solution = solved(b, last, b.parameter("a.weight", (6, 3, 1, 1)))
    assert not solution.removable(flow.of(one).labels).any()
