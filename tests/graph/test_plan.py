"""From scores to what is kept: numbers by hand."""
import json

import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.graph.groups import find_groups
from golden_stick.graph.plan import KeptAxis, KeptChannels, LayerWidth, PruningPlan
from golden_stick.prune.plan import make_plan
from tests.graph.build import Builder


def chain(filters=6, group=1):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), filters)
    return find_groups(b.graph(b.convolution("b", b.relu(first), 4, group=group)))


def kept(plan, parameter, axis=0):
    return next(item.kept for item in plan.axes if (item.parameter, item.axis) == (parameter, axis))


def partly_fixed():
    """'b' makes 6 filters, of which the first 4 are summed with those of 'a' and the last 2 with padding."""
    b = Builder()
    x = b.input(2, 3, 4, 4)
    padded = b.node("PadV3", [b.convolution("a", x, 4), (0, 0, 0, 0, 0, 2), 0.0], (2, 6, 4, 4))
    return find_groups(b.graph(b.convolution("c", b.add(padded, b.convolution("b", x, 6)), 2)))


def test_the_least_important_go_and_the_rest_keep_their_order():
    plan = make_plan(chain(), {"a": np.array([0.5, 0.1, 0.9, 0.2, 0.8, 0.3])}, 0.5)
    assert plan == PruningPlan(
        axes=(KeptAxis("a.weight", 0, 6, (0, 2, 4)), KeptAxis("b.weight", 1, 6, (0, 2, 4))),
        masks=(KeptChannels("b", 6, (0, 2, 4), 2),), scatters=(), layers=(LayerWidth("a", 6, 3),),
    )


@pytest.mark.parametrize("count, rate, removed", [
    (6, 0.0, 0), (6, 0.1, 0), (6, 0.17, 1), (6, 0.49, 2), (6, 0.5, 3), (6, 0.999, 5), (100, 0.29, 29), (100, 0.57, 57),
    (10, 0.7, 7), (10, 0.3, 3), (1000, 0.289, 289), (2, 0.5, 1), (2, 0.49, 0), (3, 0.99, 2),
])
def test_the_rate_is_rounded_down_and_not_by_the_noise_of_floats(count, rate, removed):
    plan = make_plan(chain(count), {"a": np.arange(count, dtype=float)}, rate)
    gone = count - len(kept(plan, "a.weight")) if plan.axes else 0
    assert gone == removed


def test_every_percentage_of_a_hundred_is_met_exactly():
    grouping = chain(100)
    for removed in range(100):
        plan = make_plan(grouping, {"a": np.ones(100)}, removed / 100)
        assert sum(layer.before - layer.after for layer in plan.layers) == removed


def test_of_equal_scores_the_last_go_first():
    plan = make_plan(chain(), {"a": np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])}, 0.5)
    assert kept(plan, "a.weight") == (0, 2, 3)
    assert kept(make_plan(chain(), {"a": np.zeros(6)}, 0.34), "a.weight") == (0, 1, 2, 3)


def test_scores_may_be_a_list_and_negative():
    assert kept(make_plan(chain(), {"a": [-3, -1, -2, 0, -5, -4]}, 0.5), "a.weight") == (1, 2, 3)


def test_a_group_without_scores_stays():
    plan = make_plan(chain(), {}, 0.9)
    assert plan == PruningPlan((), (), (), ())


def test_nothing_removed_is_an_empty_plan():
    assert make_plan(chain(), {"a": np.ones(6)}, 0.0) == PruningPlan((), (), (), ())


def test_every_layer_of_a_group_keeps_its_best_filter():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    both = b.concat((b.convolution("a", x, 3), b.convolution("b", x, 3)))
    grouping = find_groups(b.graph(b.convolution("d", b.add(both, b.convolution("c", x, 6)), 2)))
    # The three worst are all of layer a: its best stays, and the next worst goes.
    plan = make_plan(grouping, {"a": np.array([0.1, 0.3, 0.2, 0.4, 0.5, 0.6])}, 0.5)
    assert kept(plan, "a.weight") == (1,)
    assert kept(plan, "b.weight") == (1, 2)
    assert kept(plan, "c.weight") == (1, 4, 5)


def test_a_layer_with_filters_that_stay_anyway_may_lose_all_others():
    grouping = partly_fixed()
    plan = make_plan(grouping, {"a": np.array([0.1, 0.4, 0.3, 0.2])}, 0.99)
    assert kept(plan, "a.weight") == (1,)
    assert kept(plan, "b.weight") == (1, 4, 5)
    assert {layer.path: (layer.before, layer.after) for layer in plan.layers} == {"a": (4, 1), "b": (6, 3)}


def test_positions_of_a_grouped_convolution_go_together():
    plan = make_plan(chain(8, group=2), {"a": np.array([0.4, 0.1, 0.3, 0.2])}, 0.5)
    assert kept(plan, "a.weight") == (0, 2, 4, 6)
    assert kept(plan, "b.weight", 1) == (0, 2)


def test_scatters_list_the_places_of_what_is_left():
    b = Builder()
    stem = b.convolution("stem", b.input(2, 3, 4, 4), 4)
    graph = b.graph(b.convolution("head", b.add(stem, b.convolution("branch", stem, 4)), 2))
    plan = make_plan(find_groups(graph, "scatter"), {"branch": np.array([3.0, 1.0, 2.0, 4.0])}, 0.5)
    assert plan.scatters == (KeptChannels("branch", 4, (0, 3), 2),)
    assert plan.masks == ()


@pytest.mark.parametrize("seed", range(20))
def test_a_plan_survives_json(seed):
    generator = np.random.default_rng(seed)
    grouping = partly_fixed() if seed % 2 else chain(8, group=2)
    plan = make_plan(grouping, {"a": generator.random(4)}, generator.random())
    assert PruningPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_two_filter_axes_of_one_cell_go_by_the_path_of_the_cell():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    weights = [b.parameter(f"pair.{name}", (6, 3, 1, 1)) for name in ("left", "right")]
    left, right = (b.node("Conv2D", [x, weight], (2, 6, 4, 4), group=1, format="NCHW") for weight in weights)
    grouping = find_groups(b.graph(b.convolution("d", b.add(left, right), 2)))
    plan = make_plan(grouping, {"pair": np.arange(6.0)}, 0.5)
    assert {(layer.path, layer.before, layer.after) for layer in plan.layers} == {("pair", 6, 3)}


@pytest.mark.parametrize("rate, kind, message", [
    (1.0, ArgumentError, r"For 'make_plan', 'prune_rate' must be in \[0, 1\), but got 1.0"),
    ("half", ArgumentTypeError, "For 'make_plan', 'prune_rate' must be"),
])
def test_rates_are_checked(rate, kind, message):
    with pytest.raises(kind, match=message):
        make_plan(chain(), {"a": np.ones(6)}, rate)


def test_scores_of_another_length():
    with pytest.raises(ArgumentError, match="'importance' of group 'a' must have 6 scores, but got 5"):
        make_plan(chain(), {"a": np.ones(5)}, 0.5)


@pytest.mark.parametrize("filters, rate, round_to, min_width, left", [
    (24, 0.5, 8, 1, 16), (24, 0.7, 8, 1, 8), (24, 0.2, 8, 1, 24), (24, 0.34, 8, 1, 16), (20, 0.5, 8, 1, 16),
    (20, 0.1, 8, 1, 20), (6, 0.9, 8, 1, 6), (24, 0.9, 1, 10, 10), (24, 0.9, 4, 10, 12), (6, 0.5, 1, 8, 6),
])
def test_widths_are_rounded_up_and_kept_above_the_least(filters, rate, round_to, min_width, left):
    plan = make_plan(chain(filters), {"a": np.arange(filters, dtype=float)}, rate, round_to, min_width)
    assert (len(kept(plan, "a.weight")) if plan.axes else filters) == left


def test_every_layer_of_a_group_is_rounded_and_one_that_cannot_be_keeps_the_group():
    scores = {"a": np.arange(4, dtype=float)}
    # 'a' has 4 channels and 'b' the same 4 and 2 that stay: widths of 2 and 4 are both even, of 3 and 5 neither.
    plan = make_plan(partly_fixed(), scores, 0.9, round_to=2)
    assert [len(kept(plan, name)) for name in ("a.weight", "b.weight")] == [2, 4]
    assert make_plan(partly_fixed(), scores, 0.9, round_to=4).axes == ()


def test_grouped_convolutions_are_rounded_by_all_their_filters():
    b = Builder()
    grouped = b.convolution("g", b.input(2, 4, 4, 4), 16, group=2)
    groups = find_groups(b.graph(b.convolution("c", b.relu(grouped), 4)))
    plan = make_plan(groups, {"g": np.arange(8, dtype=float)}, 0.5, round_to=4)
    assert len(kept(plan, "g.weight")) == 8
    assert len(kept(make_plan(groups, {"g": np.arange(8, dtype=float)}, 0.3, round_to=4), "g.weight")) == 12


@pytest.mark.parametrize("options, kind, message", [
    ({"round_to": 0}, ArgumentError, "For 'make_plan', 'round_to' must be"),
    ({"min_width": 2.5}, ArgumentTypeError, "For 'make_plan', 'min_width' must be"),
])
def test_widths_are_checked(options, kind, message):
    with pytest.raises(kind, match=message):
        make_plan(chain(), {"a": np.ones(6)}, 0.5, **options)
