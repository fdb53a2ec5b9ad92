"""Convolutions, dense layers and normalizations: which axis of which weight carries which channels."""
import numpy as np
import pytest

from golden_stick.graph.flow import CHANNEL, FILTER, INPUT
from golden_stick.graph.groups import find_groups
from golden_stick.graph.ir import Result
from golden_stick.graph.rules.arithmetic import einsum_letters
from tests.graph.build import Builder, bound, spread, walk


def solved(b, *outputs):
    flow = walk(b.graph(*outputs))
    return flow, flow.labels.solve()


def test_a_convolution_binds_its_input_and_makes_channels():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    second = b.convolution("b", first, 4, kernel=3)
    flow, solution = solved(b)
    np.testing.assert_array_equal(bound(flow, solution, "b.weight", 1), flow.of(first).along(1))
    np.testing.assert_array_equal(bound(flow, solution, "b.weight", 0), flow.of(second).along(1))
    assert flow.of(first).axes == flow.of(second).axes == (1,)
    assert set(flow.of(first).along(1)).isdisjoint(flow.of(second).along(1))
    roles = {key: binding.role for key, binding in flow.bindings.items()}
    assert roles == {("a.weight", 1): INPUT, ("a.weight", 0): FILTER, ("b.weight", 1): INPUT, ("b.weight", 0): FILTER}


def test_the_networks_input_keeps_its_channels():
    b = Builder()
    b.convolution("a", b.input(2, 3, 4, 4), 6)
    flow, solution = solved(b)
    assert not bound(flow, solution, "a.weight", 1).any()
    assert solution.removable(flow.bindings["a.weight", 0].labels).all()


def test_a_three_dimensional_convolution_binds_as_a_flat_one():
    b = Builder()
    made = b.convolution("a", b.input(2, 3, 4, 4, 4), 6, operator="Conv3D")
    flow, solution = solved(b)
    np.testing.assert_array_equal(bound(flow, solution, "a.weight", 0), flow.of(made).along(1))


def test_groups_of_a_convolution_shrink_by_the_same_positions():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    second = b.convolution("b", first, 8, group=2)
    flow, solution = solved(b)
    before, after = solution.classes[flow.of(first).along(1)], solution.classes[flow.of(second).along(1)]
    np.testing.assert_array_equal(before[:3], before[3:])
    np.testing.assert_array_equal(after[:4], after[4:])
    assert len(set(before)) == 3
    assert len(set(after)) == 4
    np.testing.assert_array_equal(bound(flow, solution, "b.weight", 1), before[:3])
    np.testing.assert_array_equal(bound(flow, solution, "b.weight", 0), after)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
def test_depthwise_filters_go_with_their_channel(multiplier):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 4)
    second = b.convolution("b", first, 4 * multiplier, group=4, kernel=3)
    flow, solution = solved(b)
    wanted = np.repeat(flow.of(first).along(1), multiplier)
    np.testing.assert_array_equal(flow.of(second).along(1), wanted)
    np.testing.assert_array_equal(bound(flow, solution, "b.weight", 0), wanted)
    assert flow.bindings["b.weight", 0].role == CHANNEL
    assert ("b.weight", 1) not in flow.bindings
    assert "b" not in [site.path for site in flow.masks]


def test_one_input_channel_is_not_depthwise():
    b = Builder()
    made = b.convolution("a", b.input(2, 1, 4, 4), 6, group=1)
    flow, solution = solved(b)
    assert flow.bindings["a.weight", 0].role == FILTER
    assert solution.removable(flow.of(made).along(1)).all()


def test_depthwise_on_the_networks_input_keeps_all():
    b = Builder()
    made = b.convolution("a", b.input(2, 3, 4, 4), 6, group=3)
    flow, _ = solved(b)
    assert not spread(flow, made).any()


def test_a_single_filter_stays():
    b = Builder()
    made = b.convolution("a", b.input(2, 3, 4, 4), 1)
    flow, _ = solved(b)
    assert not spread(flow, made).any()


def test_a_computed_weight_keeps_the_channels():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    weight = b.node("Pad", [b.parameter("w", (4, 6, 1, 1))], (4, 6, 1, 1), paddings=((0, 0),) * 4)
    made = b.node("Conv2D", [first, weight], (2, 4, 4, 4), group=1, format="NCHW")
    flow, solution = solved(b)
    assert not spread(flow, made).any()
    assert solution.why_fixed(flow.of(first).labels)[0].startswith("the weight is computed, not a parameter")


@pytest.mark.parametrize("operator", ["Conv2D", "BatchNorm", "BiasAdd", "MaxPool"])
def test_channels_last_keeps_the_channels(operator):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 4)
    extra = {"Conv2D": [b.parameter("b.weight", (4, 4, 1, 1), "nn.Conv2d")], "MaxPool": [],
             "BatchNorm": [b.parameter("b.gamma", (4,))], "BiasAdd": [b.parameter("b.bias", (4,))]}[operator]
    made = b.node(operator, [first, *extra], (2, 4, 4, 4), group=1, format="NHWC")
    flow, solution = solved(b)
    assert not spread(flow, made).any()
    assert solution.why_fixed(flow.of(first).labels)[0].startswith("the channel axis is not axis 1")


@pytest.mark.parametrize("operator", ["Conv2D", "MaxPool"])
def test_channels_that_were_moved_off_axis_1_stay(operator):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 4)
    turned = b.node("Transpose", [first, (0, 2, 3, 1)], (2, 4, 4, 4))
    extra = {"Conv2D": [b.parameter("b.weight", (4, 4, 1, 1), "nn.Conv2d")], "MaxPool": []}[operator]
    b.node(operator, [turned, *extra], (2, 4, 4, 4), group=1, format="NCHW")
    flow, solution = solved(b)
    assert solution.why_fixed(flow.of(first).labels)[0].startswith("the channel axis is not axis 1")


@pytest.mark.parametrize("operator", ["BatchNorm", "BiasAdd"])
def test_vectors_along_another_axis_keep_their_shape_and_let_the_channels_pass_but_not_their_zeros(operator):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 4)
    turned = b.node("Transpose", [first, (0, 2, 3, 1)], (2, 4, 4, 4))
    made = b.node(operator, [turned, b.parameter("b.vector", (4,))], (2, 4, 4, 4), format="NCHW")
    flow, solution = solved(b)
    np.testing.assert_array_equal(spread(flow, made), spread(flow, turned))
    assert flow.of(turned).zero and not flow.of(made).zero
    assert not bound(flow, solution, "b.vector", 0).any()


@pytest.mark.parametrize("turned, filter_axis", [(True, 0), (False, 1)])
def test_a_dense_layer_binds_both_axes_of_its_weight(turned, filter_axis):
    b = Builder()
    first = b.dense("a", b.input(2, 3), 5)
    second = b.dense("b", first, 4, turned=turned)
    flow, solution = solved(b)
    np.testing.assert_array_equal(bound(flow, solution, "b.weight", filter_axis), flow.of(second).along(1))
    np.testing.assert_array_equal(bound(flow, solution, "b.weight", 1 - filter_axis), flow.of(first).along(1))
    assert flow.bindings["b.weight", filter_axis].role == FILTER
    assert flow.bindings["b.weight", 1 - filter_axis].role == INPUT


def test_a_product_of_two_feature_maps_keeps_what_it_sums_up_and_the_other_lacks():
    b = Builder()
    first, second = b.dense("a", b.input(4, 3), 5), b.dense("b", b.input(5, 3), 6)
    made = b.node("MatMul", [first, second, False, False], (4, 6))
    flow, solution = solved(b)
    np.testing.assert_array_equal(spread(flow, made)[0], flow.of(second).along(1))
    assert solution.removable(flow.of(second).labels).all()
    assert solution.why_fixed(flow.of(first).labels)[0].startswith("meets a tensor that keeps its width")


def test_a_product_along_another_axis_keeps_the_channels():
    b = Builder()
    first = b.dense("a", b.input(4, 3), 5)
    turned = b.node("Transpose", [first, (1, 0)], (5, 4))
    b.node("MatMul", [turned, b.parameter("b.weight", (2, 4), "nn.Dense"), False, True], (5, 2))
    flow, solution = solved(b)
    assert not solution.removable(flow.of(first).labels).any()


def test_a_flattened_map_binds_every_position_of_a_channel():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 2, 2), 6)
    b.dense("b", b.reshape(first, 2, 24), 4)
    flow, solution = solved(b)
    np.testing.assert_array_equal(bound(flow, solution, "b.weight", 1), np.repeat(flow.of(first).along(1), 4))


@pytest.mark.parametrize("build, name", [
    (lambda b, x: b.normalization("n", x), "n.gamma"), (lambda b, x: b.normalization("n", x), "n.beta"),
    (lambda b, x: b.normalization("n", x), "n.moving_mean"),
    (lambda b, x: b.normalization("n", x), "n.moving_variance"),
    (lambda b, x: b.bias("n", x), "n.bias"),
    (lambda b, x: b.node("PReLU", [x, b.parameter("n.w", (6,))], (2, 6, 4, 4)), "n.w"),
])
def test_vectors_of_channel_width_shrink_with_the_channels(build, name):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    made = build(b, first)
    flow, solution = solved(b)
    np.testing.assert_array_equal(bound(flow, solution, name, 0), flow.of(first).along(1))
    np.testing.assert_array_equal(spread(flow, made), spread(flow, first))
    assert flow.bindings[name, 0].role == CHANNEL


def test_further_outputs_of_a_normalization_carry_no_labels():
    b = Builder()
    made = b.normalization("n", b.convolution("a", b.input(2, 3, 4, 4), 6))
    flow, _ = solved(b)
    assert not flow.of(type(made)(made.node, 1)).labels.any()


@pytest.mark.parametrize("vector", [np.ones(6), "computed"])
def test_a_vector_that_is_no_parameter_fixes_the_channels(vector):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    if isinstance(vector, str):
        vector = b.node("Mul", [b.input(6), 2.0], (6,))
    b.node("BiasAdd", [first, vector], (2, 6, 4, 4))
    flow, solution = solved(b)
    assert solution.why_fixed(flow.of(first).labels)[0].startswith("meets a constant or computed vector")


def test_a_vector_that_is_computed_from_a_parameter_goes_with_the_channels():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    b.node("BiasAdd", [first, b.node("Mul", [b.parameter("v", (6,)), 2.0], (6,))], (2, 6, 4, 4))
    flow, solution = solved(b)
    np.testing.assert_array_equal(bound(flow, solution, "v", 0), solution.classes[flow.of(first).along(1)])


def test_a_slope_for_all_channels_is_left_alone():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    b.node("PReLU", [first, b.parameter("p.w", (1,))], (2, 6, 4, 4))
    flow, solution = solved(b)
    assert ("p.w", 0) not in flow.bindings
    assert solution.removable(flow.of(first).labels).all()


def test_a_cell_that_runs_twice_binds_both_uses():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    second = b.convolution("b", first, 6)
    third = b.convolution("b", second, 6)
    flow, solution = solved(b)
    classes = [solution.classes[flow.of(value).along(1)] for value in (first, second, third)]
    np.testing.assert_array_equal(classes[0], classes[1])
    np.testing.assert_array_equal(classes[1], classes[2])
    assert solution.removable(classes[0]).all()


def test_a_weight_that_two_cells_share_binds_both():
    b = Builder()
    first, second = b.dense("a", b.input(2, 3), 5), b.dense("b", b.input(2, 3), 5)
    third = b.node("MatMul", [second, b.parameter("a.weight", (5, 3)), False, False], (2, 3))
    flow, solution = solved(b)
    np.testing.assert_array_equal(solution.classes[flow.of(second).along(1)], solution.classes[flow.of(first).along(1)])
    assert not solution.removable(flow.of(third).along(1)).any()


@pytest.mark.parametrize("kind, trailing", [("nn.Conv2d", 2), ("nn.Conv1d", 1)])
def test_the_input_of_a_convolution_is_masked(kind, trailing):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    b.convolution("b", first, 4, kind=kind)
    flow, _ = solved(b)
    assert [(site.path, site.trailing) for site in flow.masks] == [("a", 2), ("b", trailing)]
    np.testing.assert_array_equal(flow.masks[1].labels, flow.of(first).along(1))


def test_the_input_of_a_dense_layer_is_masked():
    b = Builder()
    b.dense("b", b.dense("a", b.input(2, 3), 6), 4)
    flow, _ = solved(b)
    assert [(site.path, site.trailing) for site in flow.masks] == [("b", 0)]


@pytest.mark.parametrize("kind", ["Cell", None])
def test_a_weight_of_a_cell_that_cannot_be_masked_has_zeros_instead(kind):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    made = b.convolution("b", first, 4, kind=kind)
    grouping = find_groups(b.graph(made))
    assert not grouping.masks
    assert [(item.parameter, item.axis) for item in grouping.zeroed] == [("b.weight", 1)]
    assert (grouping.zeroed[0].channels == grouping[0].channels).all()


@pytest.mark.parametrize("operator, reason", [
    ("Conv2D", "the weight is computed, not a parameter"), ("Conv2DTranspose", "the weight is computed"),
    ("LSTM", "a recurrent layer"), ("ControlFlow", "enters control flow"),
])
def test_layers_whose_weights_are_computed_are_named(operator, reason):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    weight, scale = b.parameter("w.weight", (6, 6, 1, 1), "nn.Conv2d"), b.parameter("w.gain", (6,), "nn.Conv2d")
    scaled = b.node("Mul", [weight, b.reshape(scale, 6, 1, 1, 1)], (6, 6, 1, 1))
    scaled = b.node("Pad", [scaled], (6, 6, 1, 1), paddings=((0, 0), (0, 0), (0, 0), (0, 0)))
    made = b.node(operator, [first, scaled], (2, 6, 4, 4), group=1)
    fixed = {layer.path: layer for layer in find_groups(b.graph(b.convolution("last", made, 2))).fixed}
    assert set(fixed) == {"a", "w", "last"}
    assert (fixed["w"].filters, fixed["w"].fixed) == (6, 6)
    assert [text.startswith(reason) for text in fixed["w"].reasons] == [True]


def test_experts_make_channels_by_the_last_axis_of_their_weight():
    b = Builder()
    made = b.node("BatchMatMul", [b.input(3, 4, 6), b.parameter("w", (3, 6, 5)), False, False], (3, 4, 5))
    flow, solution = solved(b)
    assert flow.of(made).axes == (2,) and solution.removable(flow.bindings["w", 2].labels).all()
    assert {key: binding.role for key, binding in flow.bindings.items()} == {
        ("w", 0): CHANNEL, ("w", 1): INPUT, ("w", 2): FILTER}
    assert not any(solution.removable(flow.bindings["w", axis].labels).any() for axis in (0, 1))


def test_a_weight_that_another_reads_is_data_whose_last_axis_it_makes():
    b = Builder()
    made = b.node("MatMul", [b.parameter("q", (4, 8)), b.parameter("w", (6, 8)), False, True], (4, 6))
    flow, solution = solved(b)
    np.testing.assert_array_equal(bound(flow, solution, "q", 1), bound(flow, solution, "w", 1))
    assert flow.bindings["q", 1].role == FILTER and solution.removable(flow.bindings["q", 1].labels).all()
    assert flow.of(made).axes == (1,) and ("q", 0) not in flow.bindings


def test_a_weight_that_is_computed_from_the_data_is_nobodys():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    first = b.convolution("a", x, 6)
    kernel = b.reshape(b.dense("d", b.node("ReduceMean", [x, (2, 3), False], (2, 3)), 18), 6, 6, 1, 1)
    b.node("Conv2D", [first, kernel], (2, 6, 4, 4), group=1)
    grouping = find_groups(b.graph(Result(len(b._nodes) - 1)))
    assert {layer.path for layer in grouping.fixed} == {"a", "d"}


@pytest.mark.parametrize("equation, ranks, terms, result", [
    ("ij,jk->ik", (2, 2), ["ij", "jk"], "ik"), ("ji,jk", (2, 2), ["ji", "jk"], "ik"),
    ("...i , ij -> ...j", (3, 2), ["\u0391\u0392i", "ij"], "\u0391\u0392j"),
    ("...i,...i", (3, 2), ["\u0391\u0392i", "\u0392i"], "\u0391\u0392"),
])
def test_axes_under_the_dots_of_an_einsum_are_the_last_ones(equation, ranks, terms, result):
    assert einsum_letters(equation, ranks) == (terms, result)


def test_a_convolution_of_one_sample_stays_as_it_is():
    """mint takes samples without an axis for them: their channels are on axis 0."""
    b = Builder()
    weight = b.parameter("a.weight", (6, 3, 1, 1), "mint.nn.Conv2d")
    made = b.node("Conv2DExt", [b.input(3, 4, 4), weight, None, (1, 1), (0, 0), (1, 1), 1], (6, 4, 4))
    assert walk(b.graph(b.relu(made))).bindings == {}
