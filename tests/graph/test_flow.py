"""The walk itself: barriers, what is reported, and where a node stands in words."""
import numpy as np
import pytest

from golden_stick.graph.flow import Flow
from golden_stick.graph.ir import Constant, Result
from golden_stick.graph.rules import RULES
from tests.graph.build import Builder, spread, walk


def layer_and(operator, *extra):
    b = Builder()
    first = b.convolution("body.conv", b.input(2, 3, 4, 4), 6)
    made = b.node(operator, [first, *(build(b) for build in extra)], (2, 6, 4, 4))
    return b, first, made


def test_an_unknown_operator_is_a_barrier_that_is_reported():
    b, first, made = layer_and("Mystery")
    flow = walk(b.graph(made))
    solution = flow.labels.solve()
    assert not spread(flow, made).any()
    assert not solution.removable(flow.of(first).labels).any()
    assert solution.why_fixed(flow.of(first).labels)[0] == "operator 'Mystery' has no rule (Mystery after 'body.conv')"
    assert [node.operator for node in flow.without_rule] == ["Mystery"]


def test_known_operators_are_not_reported():
    b, _, made = layer_and("ReLU")
    assert walk(b.graph(made)).without_rule == []


def test_an_unknown_operator_fixes_all_that_it_reads_within_tuples_too():
    b = Builder()
    first, second = (b.convolution(path, b.input(2, 3, 4, 4), 6) for path in "ab")
    b.node("Mystery", [(first, second)], (2, 6, 4, 4))
    flow = walk(b.graph())
    solution = flow.labels.solve()
    assert not solution.removable(flow.of(first).labels).any()
    assert not solution.removable(flow.of(second).labels).any()


def test_a_parameter_that_an_unknown_operator_reads_keeps_its_shape():
    b, first, made = layer_and("ReLU")
    b.node("Mystery", [b.parameter("body.conv.weight", (6, 3, 1, 1))], (6, 3, 1, 1))
    flow = walk(b.graph(made))
    assert "parameter 'body.conv.weight' is also read in a way that fixes its shape" in \
        flow.labels.solve().why_fixed(flow.of(first).labels)


def test_outputs_of_the_network_keep_their_channels():
    b, first, made = layer_and("ReLU")
    flow = walk(b.graph(made, Constant(1.0), b.input(2, 3)))
    assert flow.labels.solve().why_fixed(flow.of(first).labels) == ("output of the network",)


def test_several_outputs_are_all_fixed():
    b = Builder()
    first, second = (b.convolution(path, b.input(2, 3, 4, 4), 6) for path in "ab")
    flow = walk(b.graph((first, second)))
    solution = flow.labels.solve()
    assert not solution.removable(flow.of(first).labels).any()
    assert not solution.removable(flow.of(second).labels).any()


def test_further_outputs_of_a_node_carry_its_labels_if_they_have_its_shape():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    dropped = b.node("Dropout", [first], (2, 6, 4, 4), (2, 6, 4, 4), (6,))
    flow = walk(b.graph(dropped))
    assert flow.of(dropped).labels.any()
    np.testing.assert_array_equal(flow.of(Result(dropped.node, 1)).labels, flow.of(dropped).labels)
    assert not flow.of(Result(dropped.node, 2)).labels.any()


@pytest.mark.parametrize("operator, wanted", [("ReLU", "ReLU after 'body.conv'"), ("PReLU", "PReLU in 'act'")])
def test_place_names_the_cell_of_a_node_or_the_one_before_it(operator, wanted):
    extra = [lambda b: b.parameter("act.w", (6,), "PReLU")] if operator == "PReLU" else []
    b, _, made = layer_and(operator, *extra)
    graph = b.graph(made)
    flow = walk(graph)
    assert flow.place(graph.nodes[made.node]) == wanted
    assert flow.path(graph.nodes[made.node]) == wanted.split("'")[1]


def test_place_of_a_node_before_any_cell_is_the_operator_alone():
    b = Builder()
    made = b.relu(b.input(2, 3))
    graph = b.graph(made)
    flow = walk(graph)
    assert flow.place(graph.nodes[0]) == "ReLU"
    assert flow.path(graph.nodes[0]) == ""


def test_depth_counts_operators_with_parameters_on_the_longest_way():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    first = b.convolution("a", x, 6)
    second = b.relu(b.normalization("n", first))
    third = b.convolution("b", second, 6)
    total = b.add(first, third)
    flow = walk(b.graph(total))
    assert [flow.depth(value) for value in (x, first, second, third, total)] == [0, 1, 2, 3, 3]


def test_place_after_a_sum_is_that_of_the_deepest_operand():
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    total = b.add(first, b.convolution("b", first, 6))
    graph = b.graph(b.relu(total))
    assert walk(graph).place(graph.nodes[-1]) == "ReLU after 'b'"


def test_a_rule_of_ones_own_is_enough_for_a_new_operator():
    b, first, made = layer_and("Mystery")
    flow = Flow(b.graph(), "group").run({**RULES, "Mystery": RULES["ReLU"]})
    assert spread(flow, made).tolist() == spread(flow, first).tolist()
    assert flow.without_rule == []


def test_labels_along_an_axis_they_do_not_lie_on_are_fixed():
    b, first, _ = layer_and("ReLU")
    flow = walk(b.graph())
    assert flow.of(first).along(1).all()
    assert flow.of(first).along(2).tolist() == [0, 0, 0, 0]
