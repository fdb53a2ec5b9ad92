"""Every parameter is accounted for: it shrinks, or it is named with the reason and what would let it shrink."""
import numpy as np
import pytest

from golden_stick.graph.groups import find_groups
from golden_stick.graph.ir import Graph
from golden_stick.graph.plan import PruningPlan, cause_and_place, in_words, plan_without
from tests.graph.build import Builder
from tests.graph.test_random_graphs import Grower

IMAGE = (2, 3, 4, 4)


def check_accounts(graph, plan):
    """The names of all parameters are those that shrink and those that are named, each once, none without a reason."""
    named = [name for item in plan.untouched for name in item.parameters]
    everything = [item.name for item in (*graph.parameters, *graph.unread)]
    assert sorted([*named, *{axis.parameter for axis in plan.axes}]) == sorted(everything)
    for item in plan.untouched:
        assert item.parameters and item.reasons and all(item.reasons) and item.remedy
    assert set(plan.shapes(graph)) == set(everything)
    for name, (before, after) in plan.shapes(graph).items():
        assert (before == after) == (name in named)


def accounts(graph, share=0.5):
    """The plan that removes a share of every group's channels; and why parameters stay, by name."""
    grouping = find_groups(graph)
    plan = plan_without(grouping, np.concatenate([group.channels[:int(share * len(group.channels))]
                                                  for group in grouping] or [np.zeros(0, int)]))
    check_accounts(graph, plan)
    return plan, {name: in_words(item.reasons) for item in plan.untouched for name in item.parameters}


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_random_graphs_add_up(share):
    for seed in range(120):
        accounts(Grower(seed).grow(seed % 12 + 1), share)


def joined_along_the_batch(b, x):
    return b.concat((x, b.input(*IMAGE)), 0)


def stacked(b, x):
    both = b.node("Stack", [(x, b.input(*IMAGE))], (2, *IMAGE), axis=0)
    return b.reshape(both, 4, *IMAGE[1:])


def padded(b, x):
    return b.node("PadV3", [x, (1, 1), 0.0], (*IMAGE[:3], 6))


@pytest.mark.parametrize("source", [joined_along_the_batch, stacked, padded])
def test_what_reads_the_images_however_they_are_joined_makes_channels(source):
    b = Builder()
    first = b.convolution("a", source(b, b.input(*IMAGE)), 6)
    plan, why = accounts(b.graph(b.convolution("b", first, 4)))
    assert {layer.path: layer.after for layer in plan.layers} == {"a": 3}
    assert why == {}


def test_a_convolution_over_steps_of_time_makes_channels_and_keeps_the_steps_features():
    """(batch, steps, features) is read as if the steps were channels."""
    b = Builder()
    made = b.dense("d", b.input(6, 5), 8)
    steps = b.reshape(made, 2, 3, 8, 1)
    plan, why = accounts(b.graph(b.convolution("b", b.convolution("time", steps, 6), 4)))
    assert {layer.path: layer.after for layer in plan.layers} == {"time": 3}
    assert why["d.weight"].startswith("the channel axis is not axis 1 (Conv2D in 'time')")


def test_a_weight_that_reaches_its_operator_through_others_is_named_by_what_stops_it():
    b = Builder()
    x = b.input(2, 6)
    packed = b.parameter("packed", (18, 6))
    sliced = b.node("Mystery", [packed], (6, 6))
    made = b.node("Dense", [b.dense("a", x, 6), sliced, b.parameter("vector", (6,))], (2, 6))
    _, why = accounts(b.graph(made))
    assert {"packed", "a.weight", "vector"} <= set(why)
    assert why["packed"].startswith("operator 'Mystery' has no rule")


def test_each_kind_of_parameter_is_named_with_its_own_reason():
    b = Builder()
    x = b.input(2, 4)
    moved = b.node("Mul", [b.dense("a", x, 6), b.parameter("scalar", (1,))], (2, 6))
    image = b.node("Mul", [x, b.parameter("for_image", (4,))], (2, 4))
    graph = b.graph(b.dense("head", moved, 3), image, b.parameter("given", (3, 3)))
    unread = Builder().parameter("training.weight", (5, 5))
    plan, why = accounts(Graph(graph.nodes, graph.inputs, graph.parameters, graph.outputs, unread=(unread,)))
    assert why["scalar"].startswith("no axis of it follows channels that can go (Mul")
    assert why["for_image"].startswith("nothing to prune meets a parameter")
    assert why["given"] == "output of the network"
    assert why["training.weight"] == "evaluation does not read it"
    assert [item.reached for item in plan.untouched if "training.weight" in item.parameters] == [False]


def test_what_was_not_chosen_says_so_and_what_to_set():
    b = Builder()
    plan, why = accounts(b.graph(b.convolution("b", b.convolution("a", b.input(*IMAGE), 6), 4)), 0.0)
    assert why == {"a.weight": "none of its channels was chosen to go", "b.weight": "none of its channels was chosen "
                   "to go"}
    assert "prune_rate" in plan.untouched[-1].remedy


def test_accounts_survive_plain_data_and_other_names_and_do_not_tell_plans_apart():
    b = Builder()
    plan, _ = accounts(b.graph(b.convolution("b", b.convolution("a", b.input(*IMAGE), 6), 4, group=2)))
    assert PruningPlan.from_dict(plan.to_dict()).untouched == plan.untouched
    renamed = plan.renamed({item.parameter: f"net.{item.parameter}" for item in plan.axes})
    assert all(axis.parameter.startswith("net.") for axis in renamed.axes)
    assert PruningPlan(plan.axes, plan.masks, plan.scatters, plan.layers, plan.zeros) == plan


def test_reasons_are_said_once_with_the_first_places():
    reasons = [f"mixes the channels (Softmax in 'head{number}')" for number in range(5)] + ["output of the network"]
    assert in_words(reasons) == ("mixes the channels (Softmax in 'head0', Softmax in 'head1', Softmax in 'head2' and 2 "
                                 "more); output of the network")
    assert cause_and_place("is odd") == ("is odd", "")
