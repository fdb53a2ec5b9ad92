"""What `find_groups` makes of the labels: groups, slices, sites, and why the rest stays."""
import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError
from golden_stick.graph.flow import Flow
from golden_stick.graph.groups import find_groups, groups_without
from golden_stick.graph.rules import RULES
from tests.graph.build import Builder
from tests.graph.test_every_operator import attention


def chain():
    """a -> norm -> relu -> b, whose outputs are the network's"""
    b = Builder()
    first = b.relu(b.normalization("norm", b.convolution("a", b.input(2, 3, 4, 4), 6)))
    return b.graph(b.convolution("b", first, 4))


def block():
    """stem -> (conv1 -> conv2) + stem -> head"""
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 6)
    total = b.add(stem, b.convolution("conv2", b.convolution("conv1", stem, 5), 6))
    return b.graph(b.convolution("head", total, 2))


def test_a_chain_has_one_group_with_every_slice_of_its_channels():
    grouping = find_groups(chain())
    assert len(grouping) == 1
    group = grouping[0]
    assert (group.name, group.layers, len(group.channels)) == ("a", ("a",), 6)
    assert str(group) == "a: 6 removable channels made by a"
    slices = {(item.parameter, item.axis): item for item in grouping.slices}
    assert {key: item.role for key, item in slices.items()} == {
        ("a.weight", 0): "filter", ("norm.gamma", 0): "channel", ("norm.beta", 0): "channel",
        ("norm.moving_mean", 0): "channel", ("norm.moving_variance", 0): "channel", ("b.weight", 1): "input",
    }
    for item in grouping.slices:
        np.testing.assert_array_equal(item.channels, group.channels)


def test_a_grouping_is_a_sequence():
    grouping = find_groups(chain())
    assert list(grouping) == [grouping[0]] == list(grouping.groups)
    assert grouping[-1] is grouping.groups[0]


def test_fixed_layers_say_how_many_filters_stay_and_why():
    (layer,) = find_groups(chain()).fixed
    assert (layer.path, layer.filters, layer.fixed, layer.reasons) == ("b", 4, 4, ("output of the network",))


def test_masks_are_where_removable_channels_are_summed_up():
    (site,) = find_groups(chain()).masks
    assert (site.path, site.trailing) == ("b", 2)
    np.testing.assert_array_equal(site.channels, find_groups(chain())[0].channels)


def test_a_residual_sum_makes_one_group_of_its_layers():
    grouping = find_groups(block())
    assert [(group.name, group.layers) for group in grouping] == [("stem", ("stem", "conv2")), ("conv1", ("conv1",))]
    for item in grouping[0].filters:
        np.testing.assert_array_equal(item.channels, grouping[0].channels)


def test_scatter_lists_the_site_and_keeps_the_stream():
    grouping = find_groups(block(), "scatter")
    assert [group.layers for group in grouping] == [("conv1",), ("conv2",)]
    assert [(site.path, site.trailing, len(site.channels)) for site in grouping.scatters] == [("conv2", 2, 6)]
    assert [layer.path for layer in grouping.fixed] == ["stem", "head"]


def test_keep_leaves_only_what_no_stream_sees():
    grouping = find_groups(block(), "keep")
    assert [group.layers for group in grouping] == [("conv1",)]
    assert grouping.scatters == ()


def test_a_layer_that_is_concatenated_with_another_is_a_group_of_its_own():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    both = b.concat((b.convolution("a", x, 6), b.convolution("b", x, 4)))
    grouping = find_groups(b.graph(b.convolution("c", both, 2)))
    assert [(group.name, len(group.channels)) for group in grouping] == [("a", 6), ("b", 4)]
    slices = {(item.parameter, item.axis): item.channels for item in grouping.slices}
    np.testing.assert_array_equal(slices["c.weight", 1], np.concatenate([group.channels for group in grouping]))


def test_layers_that_share_some_channels_are_ranked_together():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    both = b.concat((b.convolution("a", x, 3), b.convolution("b", x, 4)))
    total = b.add(both, b.convolution("c", x, 7))
    grouping = find_groups(b.graph(b.convolution("d", total, 2)))
    assert [(group.name, group.layers, len(group.channels)) for group in grouping] == [("a", ("a", "b", "c"), 7)]


def test_a_partly_fixed_layer_keeps_those_channels_alone():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    padded = b.node("PadV3", [b.convolution("a", x, 4), (0, 0, 0, 0, 0, 2), 0.0], (2, 6, 4, 4))
    total = b.add(padded, b.convolution("b", x, 6))
    grouping = find_groups(b.graph(b.convolution("c", total, 2)))
    (group,) = grouping
    np.testing.assert_array_equal(group.filters[1].channels, [*group.channels, -1, -1])
    layers = {layer.path: layer for layer in grouping.fixed}
    assert (layers["b"].filters, layers["b"].fixed) == (6, 2)
    assert layers["b"].reasons[0].startswith("padded with a number of channels that is written in the code")


def test_channels_that_meet_those_of_the_input_stay_and_the_reason_is_not_that_they_are_single():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    total = b.add(b.concat((b.convolution("a", x, 4), x)), b.convolution("b", x, 7))
    layers = {layer.path: layer for layer in find_groups(b.graph(b.convolution("c", total, 2))).fixed}
    assert (layers["b"].filters, layers["b"].fixed) == (7, 3)
    assert layers["b"].reasons
    assert "a single channel cannot be removed" not in layers["b"].reasons


def test_a_single_filter_stays_and_says_so():
    b = Builder()
    grouping = find_groups(b.graph(b.convolution("b", b.convolution("a", b.input(2, 3, 4, 4), 1), 4)))
    assert grouping.fixed[0].path == "a"
    assert grouping.fixed[0].reasons == ("a single channel cannot be removed",)
    assert len(grouping) == 0


def test_operators_without_a_rule_are_named_once():
    b = Builder()
    value = b.convolution("a", b.input(2, 3, 4, 4), 6)
    for _ in range(3):
        value = b.pointwise("Mystery", value)
    grouping = find_groups(b.graph(b.convolution("b", value, 2)))
    assert grouping.without_rule == ("Mystery after 'a'",)


def test_a_weight_without_a_cell_goes_by_its_own_name():
    b = Builder()
    made = b.convolution("free", b.input(2, 3, 4, 4), 6, kind=None)
    (group,) = find_groups(b.graph(b.convolution("b", made, 2)))
    assert group.name == "free.weight"


def test_two_filter_axes_of_one_cell_are_two_slices():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    weights = [b.parameter(f"pair.{name}", (6, 3, 1, 1)) for name in ("left", "right")]
    left, right = (b.node("Conv2D", [x, weight], (2, 6, 4, 4), group=1, format="NCHW") for weight in weights)
    total = b.add(b.add(left, right), b.convolution("c", x, 6))
    (group,) = find_groups(b.graph(b.convolution("d", total, 2)))
    assert [item.parameter for item in group.filters] == ["pair.left", "pair.right", "c.weight"]
    assert list(dict.fromkeys(group.layers)) == ["pair", "c"]


def test_a_network_without_layers_has_no_groups():
    b = Builder()
    grouping = find_groups(b.graph(b.relu(b.input(2, 3, 4, 4))))
    assert (len(grouping), grouping.slices, grouping.masks, grouping.fixed) == (0, (), (), ())


@pytest.mark.parametrize("fixed, rejected, stuck", [(False, 0, False), (True, 0, True), (True, 1, False)])
def test_a_split_is_stuck_if_none_of_its_channels_can_go_and_it_can_be_read_otherwise(fixed, rejected, stuck):
    b = Builder()
    heads = b.reshape(b.convolution("a", b.input(2, 3, 4, 4), 6), 2, 2, 3, 4, 4)
    mixed = b.reshape(heads, 2, 6, 4, 4)
    graph = b.graph(heads if fixed else b.convolution("b", mixed, 4))
    grouping = groups_without(graph, {heads.node: rejected})
    assert (len(grouping) == 0) == fixed
    assert (heads.node in grouping.stuck) == stuck


@pytest.mark.parametrize("residual", ["add", "", "GROUP", None, 3])
def test_an_unknown_residual_policy_is_refused(residual):
    message = f"For 'find_groups', 'residual' must be one of 'group', 'scatter', 'keep', but got {residual!r}"
    with pytest.raises(ArgumentError, match=message):
        find_groups(chain(), residual)


def test_heads_of_an_attention_are_cut_in_their_width_or_go_whole():
    b = Builder()
    made = attention(b)
    graph = b.graph(b.dense("out", made, 5))
    width, whole = find_groups(graph), find_groups(graph, heads="whole")
    # Three heads of four channels: the same position of every head, or every position of one head.
    assert [len(group.channels) for group in width.groups] == [4, 4]
    assert [len(group.channels) for group in whole.groups] == [3]


def test_a_product_whose_numbers_were_refuted_more_often_than_it_has_readings_keeps_its_last():
    b = Builder()
    x = b.dense("x", b.input(4, 8), 6)
    turned = b.node("Transpose", [x, (1, 0)], (6, 4))
    made = b.node("BatchMatMul", [turned, b.dense("y", b.input(4, 8), 5), False, False], (6, 5))
    flows = [Flow(b.graph(made), "group", {made.node: often}).run(RULES) for often in range(4)]
    assert [flow.of(made).axes for flow in flows] == [(1,), (0,), (0,), (0,)]
    assert [flow.splits[made.node][1] for flow in flows] == [True, False, False, False]


def test_channels_of_the_first_operator_are_all_in_its_group():
    b = Builder()
    rows = b.node("Gather", [b.parameter("table.embedding_table", (9, 6)), b.input(3), 0], (3, 6))
    grouping = find_groups(b.graph(b.dense("out", rows, 5)))
    assert [(group.name, len(group.channels)) for group in grouping.groups] == [("table", 6)]
