"""What a sum of two feature maps does to their channels: group, scatter, keep."""
import numpy as np
import pytest

from golden_stick.graph.groups import find_groups
from tests.graph.build import Builder, bound, walk
from tests.graph.interpreter import assert_masked_equals_slim

STREAM = "residual stream that keeps its width"


def block(shortcut=None, filters=6, with_bias=False):
    """stem -> (conv1 -> relu -> conv2) + shortcut -> relu -> head"""
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    branch = b.convolution("conv2", b.relu(b.convolution("conv1", stem, 5)), filters)
    branch = b.bias("conv2", branch) if with_bias else branch
    other = stem if shortcut is None else shortcut(b, stem)
    total = b.add(branch, other)
    head = b.convolution("head", b.relu(total), 2)
    return b.graph(head), branch, other


def removable(flow, *paths):
    solution = flow.labels.solve()
    return [bool(bound(flow, solution, f"{path}.weight", 0).any()) for path in paths]


@pytest.mark.parametrize("residual, wanted", [
    ("group", [True, True, True]), ("scatter", [False, True, True]), ("keep", [False, True, False]),
])
def test_identity_shortcut(residual, wanted):
    flow = walk(block()[0], residual)
    assert removable(flow, "stem", "conv1", "conv2") == wanted


def test_group_makes_branch_and_shortcut_lose_the_same_channels():
    flow = walk(block()[0], "group")
    solution = flow.labels.solve()
    np.testing.assert_array_equal(bound(flow, solution, "conv2.weight", 0), bound(flow, solution, "stem.weight", 0))
    np.testing.assert_array_equal(bound(flow, solution, "head.weight", 1), bound(flow, solution, "stem.weight", 0))
    assert flow.scatters == []


@pytest.mark.parametrize("residual", ["scatter", "keep"])
def test_the_stream_that_keeps_its_width_says_so(residual):
    graph, _, other = block()
    flow = walk(graph, residual)
    assert flow.labels.solve().why_fixed(flow.of(other).labels) == (f"{STREAM} (Add after 'conv2')",)


def test_scatter_puts_the_branch_back_at_the_cell_that_made_it():
    graph, branch, _ = block()
    flow = walk(graph, "scatter")
    assert [site.path for site in flow.scatters] == ["conv2"]
    np.testing.assert_array_equal(flow.scatters[0].labels, flow.of(branch).along(1))


def test_scatter_of_a_convolution_with_a_bias():
    flow = walk(block(with_bias=True)[0], "scatter")
    assert [site.path for site in flow.scatters] == ["conv2"]


def test_scatter_takes_the_deepest_operand_not_the_projection():
    graph, _, _ = block(shortcut=lambda b, stem: b.convolution("projection", stem, 6))
    flow = walk(graph, "scatter")
    assert [site.path for site in flow.scatters] == ["conv2"]
    assert removable(flow, "projection", "conv2") == [False, True]
    # The stem reaches the sum through the projection only, and keeps no width of its own.
    assert removable(flow, "stem") == [True]


def test_scatter_takes_the_deepest_operand_though_it_comes_second():
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    branch = b.convolution("conv2", b.relu(b.convolution("conv1", stem, 5)), 6)
    flow = walk(b.graph(b.convolution("head", b.add(stem, branch), 2)), "scatter")
    assert [site.path for site in flow.scatters] == ["conv2"]


def test_a_branch_that_is_read_twice_is_not_scattered():
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    branch = b.convolution("conv2", stem, 6)
    total = b.add(branch, stem)
    flow = walk(b.graph(b.convolution("head", total, 2), b.convolution("other", branch, 2)), "scatter")
    assert flow.scatters == []
    assert removable(flow, "stem", "conv2") == [False, False]


def test_a_branch_that_is_also_an_output_is_not_scattered():
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    branch = b.convolution("conv2", stem, 6)
    flow = walk(b.graph(b.convolution("head", b.add(branch, stem), 2), branch), "scatter")
    assert flow.scatters == []


def test_a_cell_that_runs_twice_is_not_scattered():
    b = Builder()
    value = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    for _ in range(2):
        value = b.add(value, b.convolution("shared", b.relu(value), 6))
    flow = walk(b.graph(b.convolution("head", value, 2)), "scatter")
    assert flow.scatters == []
    assert removable(flow, "stem", "shared") == [False, False]


def test_a_branch_behind_an_activation_is_not_scattered():
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    flow = walk(b.graph(b.convolution("head", b.add(stem, b.relu(b.convolution("conv2", stem, 6))), 2)), "scatter")
    assert flow.scatters == []
    assert removable(flow, "conv2") == [False]


def test_a_branch_made_by_a_cell_of_another_class_is_not_scattered():
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    branch = b.convolution("own", b.relu(stem), 6, kind="Cell")
    flow = walk(b.graph(b.convolution("head", b.add(stem, branch), 2)), "scatter")
    assert flow.scatters == []


@pytest.mark.parametrize("residual", ["group", "scatter", "keep"])
def test_a_map_added_to_itself_is_no_residual_sum(residual):
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    flow = walk(b.graph(b.convolution("head", b.add(stem, b.relu(stem)), 2)), residual)
    assert removable(flow, "stem") == [True]


@pytest.mark.parametrize("residual", ["group", "scatter", "keep"])
@pytest.mark.parametrize("other", [
    lambda b, stem: 1.0, lambda b, stem: b.parameter("shift", (6, 1, 1)), lambda b, stem: b.input(2, 1, 4, 4),
    lambda b, stem: b.node("ReduceMean", [stem, (2, 3), True], (2, 6, 1, 1)),
])
def test_numbers_biases_and_broadcast_maps_are_no_residual_stream(residual, other):
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    total = b.node("Add", [stem, other(b, stem)], (2, 6, 4, 4))
    flow = walk(b.graph(b.convolution("head", total, 2)), residual)
    assert removable(flow, "stem") == [True]


@pytest.mark.parametrize("residual, wanted", [
    ("group", [False, False]), ("scatter", [False, True]), ("keep", [False, False]),
])
def test_the_networks_input_as_a_shortcut(residual, wanted):
    b = Builder()
    stem = b.input(2, 6, 4, 4)
    branch = b.convolution("conv2", b.convolution("conv1", stem, 5), 6)
    graph = b.graph(b.convolution("head", b.add(branch, stem), 2))
    assert removable(walk(graph, residual), "head", "conv2") == wanted


def sum_of_three():
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    branches = (b.convolution("short", stem, 6), b.convolution("deep", b.relu(b.convolution("conv1", stem, 5)), 6))
    total = b.node("AddN", [(stem, *branches)], (2, 6, 4, 4))
    return b.graph(b.convolution("head", total, 2))


@pytest.mark.parametrize("residual, wanted", [
    ("group", [True, True, True]), ("scatter", [False, False, True]), ("keep", [False, False, False]),
])
def test_the_policy_holds_for_a_sum_of_many(residual, wanted):
    flow = walk(sum_of_three(), residual)
    assert removable(flow, "stem", "short", "deep") == wanted
    assert [site.path for site in flow.scatters] == (["deep"] if residual == "scatter" else [])


def test_a_dense_branch_is_scattered_along_its_last_axis():
    b = Builder()
    stem = b.dense("stem", b.input(2, 5), 6)
    branch = b.dense("dense2", b.relu(b.dense("dense1", stem, 4)), 6)
    graph = b.graph(b.dense("head", b.add(stem, branch), 2))
    assert [(site.path, site.trailing) for site in find_groups(graph, "scatter").scatters] == [("dense2", 0)]
    for seed in range(5):
        assert_masked_equals_slim(graph, "scatter", seed)
