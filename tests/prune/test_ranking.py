"""Which channels go, and how many: numbers by hand."""
import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.graph.groups import find_groups
from golden_stick.prune.budget import pools_of
from golden_stick.prune.plan import make_plan
from tests.graph.build import Builder

SCORES = {"a": np.array([1.0, 2, 3, 4]), "b": np.array([10.0, 20, 0.5, 40]), "c": np.array([5.0, 6, 7, 8])}


def chain():
    """a -> relu -> b -> relu -> c -> sigmoid -> d; c's channels pass another operator than those of a and b."""
    b = Builder()
    value = b.input(2, 3, 4, 4)
    for name, activation in (("a", "ReLU"), ("b", "ReLU"), ("c", "Tanh")):
        value = b.pointwise(activation, b.convolution(name, value, 4))
    graph = b.graph(b.convolution("d", value, 2))
    return graph, find_groups(graph)


def left(plan):
    widths = {"a": 4, "b": 4, "c": 4}
    widths.update({layer.path: layer.after for layer in plan.layers})
    return tuple(widths.values())


def test_global_ranking_takes_the_least_of_all_groups():
    graph, grouping = chain()
    plan = make_plan(grouping, SCORES, 0.5, pools=pools_of("global", graph, grouping))
    # 6 of 12 go: 0.5, 1, 2, 3, then 5 and 6; each layer keeps its best.
    assert left(plan) == (1, 3, 2)


def test_local_ranking_takes_the_same_share_of_each():
    graph, grouping = chain()
    assert left(make_plan(grouping, SCORES, 0.5, pools=pools_of("local", graph, grouping))) == (2, 2, 2)


def test_isomorphic_ranking_compares_groups_of_one_topology():
    graph, grouping = chain()
    pools = pools_of("isomorphic", graph, grouping)
    assert pools["a"] == pools["b"] != pools["c"]
    # 4 of the 8 of a and b: 0.5, 1, 2, 3; 2 of the 4 of c.
    assert left(make_plan(grouping, SCORES, 0.5, pools=pools)) == (1, 3, 2)


def test_rates_by_pattern_first_that_fits_and_nothing_without_one():
    _, grouping = chain()
    assert left(make_plan(grouping, SCORES, {"a": 0.25, "[ab]": 0.5})) == (3, 2, 4)
    assert left(make_plan(grouping, SCORES, {"b": 0.75, "*": 0.25})) == (3, 1, 3)


def test_caps_hold_in_every_ranking():
    graph, grouping = chain()
    pools = pools_of("global", graph, grouping)
    # a may lose 1 of 4 and c 2: then b's 10, 20 go instead of a's 2 and 3.
    assert left(make_plan(grouping, SCORES, 0.5, pools=pools, max_rate={"a": 0.25, "c": 0.5})) == (3, 1, 2)
    assert left(make_plan(grouping, SCORES, 0.75, max_rate=0.5)) == (2, 2, 2)


@pytest.mark.parametrize("rate, direction, width", [
    (0.4, "up", 8), (0.4, "down", 8), (0.45, "down", 4), (0.4, "nearest", 8), (0.6, "up", 8), (0.6, "nearest", 4),
    (0.5, "nearest", 8), (0.3, "nearest", 8), (0.2, "up", 12), (0.7, "nearest", 4), (0.9, "down", 4), (0.9, "up", 4),
])
def test_rounding_of_twelve_filters_to_multiples_of_four(rate, direction, width):
    b = Builder()
    grouping = find_groups(b.graph(b.convolution("b", b.convolution("a", b.input(2, 3, 4, 4), 12), 2)))
    plan = make_plan(grouping, {"a": np.arange(12.0)}, rate, round_to=4, round=direction)
    assert (plan.layers[0].after if plan.layers else 12) == width


def test_refusals():
    _, grouping = chain()
    with pytest.raises(ArgumentError, match="every pattern in 'prune_rate' must fit the path of a layer with filters, "
                                            r"but got 'layer1\.\*': layers are a, b, c"):
        make_plan(grouping, SCORES, {"layer1.*": 0.5})
    with pytest.raises(ArgumentError, match="every pattern in 'max_rate' must fit the path of a layer"):
        make_plan(grouping, SCORES, 0.5, max_rate={"z": 0.5})
    with pytest.raises(ArgumentError, match=r"'prune_rate\['a'\]' must be in \[0, 1\), but got 1.5"):
        make_plan(grouping, SCORES, {"a": 1.5})
    with pytest.raises(ArgumentTypeError, match=r"'max_rate' must be a number in \[0, 1\], but got 'all'"):
        make_plan(grouping, SCORES, 0.5, max_rate="all")
    with pytest.raises(ArgumentError, match="'round' must be one of 'nearest', 'up', 'down', but got 'off'"):
        make_plan(grouping, SCORES, 0.5, round="off")
