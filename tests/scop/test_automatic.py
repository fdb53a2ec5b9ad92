"""The number of filters by knockoff+: which go, and what must hold."""
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, StateError
from golden_stick.graph.groups import find_groups
from golden_stick.knockoffs.selection import select, select_derandomized
from golden_stick.prune.plan import Widths, caps_of, plan_of_counts
from golden_stick.scop.report import conditions_of, selected_filters, unselected_channels
from golden_stick.scop.scales import Mixing
from tests import networks
from tests.graph.build import Builder


def automatic_plan(grouping, found, rate=0.2, **widths):
    importance, counts = unselected_channels(grouping, found, rate)
    return plan_of_counts(grouping, importance, counts, caps_of(grouping, 1.0), Widths(**widths))


def chain(*widths):
    b = Builder()
    value = b.input(2, 3, 4, 4)
    for name, width in zip("abc", widths):
        value = b.relu(b.convolution(name, value, width))
    return find_groups(b.graph(b.convolution("last", value, 2)))


def statistics(*layers):
    return {f"{name}.weight": np.array([values], float) for name, values in zip("abc", layers)}


def test_layers_are_pooled_in_one_unit():
    """The second layer's unit is a thousand times the first's: nothing changes."""
    first, second = np.array([3.0, 2, 4, 5, -0.1, 3]), np.array([2.0, 3, -0.2, 4, 0.1, 6])
    pooled = np.concatenate([first / np.abs(first).mean(), second / np.abs(second).mean()])
    for unit in (1.0, 1000.0):
        chosen = selected_filters(statistics(first, second * unit), 0.2)
        np.testing.assert_array_equal(np.concatenate(list(chosen.values())), select(pooled, 0.2))
    assert chosen["a.weight"].tolist() == [True, True, True, True, False, True]


def test_what_is_not_selected_goes():
    found = statistics([3, 2, 4, 5, -0.1, 3], [2, 3, -0.2, 4, 0.05, 6])
    plan = automatic_plan(chain(6, 6), found)
    kept = {item.parameter: item.kept for item in plan.axes if item.axis == 0}
    assert kept == {"a.weight": (0, 1, 2, 3, 5), "b.weight": (0, 1, 3, 5)}
    # To a multiple of three, upwards: none of the first layer's, and none of the second's but two would do.
    plan = automatic_plan(chain(6, 6), found, round_to=3)
    assert {item.parameter for item in plan.axes if item.axis == 0} == set()


def test_without_a_selection_nothing_is_decided():
    with pytest.raises(StateError, match="knockoff\\+ must select a filter .* but selects none of 4 at 'fdr' 0.2, of "
                                         "which at least 5 must pass where 'draws' is 1: raise 'fdr', let it decide"):
        automatic_plan(chain(4), statistics([-1, -2, 3, -4]))
    with pytest.raises(StateError, match="selects none of 9 at .* of which at least 10 must pass where 'draws' is 3"):
        automatic_plan(chain(9), {"a.weight": np.ones((3, 9))})


def test_a_layer_of_which_nothing_is_selected_keeps_its_best():
    plan = automatic_plan(chain(6, 4), statistics([9, 9, 9, 9, 9, 9], [-1, -2, 0.1, -4]), 0.5)
    assert [(item.parameter, item.kept) for item in plan.axes if item.axis == 0] == [("b.weight", (2,))]


def test_a_channel_of_several_filters_stays_if_one_is_selected():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    total = b.add(b.convolution("a", x, 4), b.convolution("b", x, 4))
    grouping = find_groups(b.graph(b.convolution("last", total, 2)))
    found = {"a.weight": np.array([[5.0, 5, -1, -0.5]]), "b.weight": np.array([[5.0, -1, 5, -0.5]])}
    plan = automatic_plan(grouping, found, 0.9)
    assert {item.kept for item in plan.axes} == {(0, 1, 2)}


def test_several_draws_are_derandomized():
    generator = np.random.default_rng(0)
    rows = np.concatenate([generator.normal(3, 1, (5, 40)), generator.normal(0, 1, (5, 20))], axis=1)
    chosen = selected_filters({"a.weight": rows}, 0.3)["a.weight"]
    np.testing.assert_array_equal(chosen, select_derandomized(list(rows / np.abs(rows).mean(1, keepdims=True)), 0.3))
    assert 20 < chosen.sum() <= 45


def states(sampler="permutation", held_out=False, mixing=None, found=None, weights=None):
    mixing = mixing or Mixing("blocks", {"a": 0, "b": 0, "c": 1}, 10, 1)
    found = found or {"a.weight": np.array([[1.0, 2, -1]])}
    weights = weights or {"a.weight": np.random.default_rng(0).normal(size=(3, 8))}
    return {condition.name: condition for condition in conditions_of(0.2, held_out, sampler, mixing, found, weights)}


def test_conditions_that_do_not_hold():
    found = states()
    assert [name for name, condition in found.items() if condition.holds is False] == ["C4", "C5", "C6", "C7", "C9"]
    assert "C5 does NOT hold: one layer must mix at a time, and up to 2 do ('mixing' is 'blocks')" in str(found["C5"])
    assert "C7 does NOT hold: at least 5 filters must pass for any to be selected, and 0 were" in str(found["C7"])


def test_several_draws_must_each_find_twice_as_many():
    several = Mixing("layers", {"a": 0}, 10, 3)
    none = str(states(mixing=several, found={"a.weight": np.ones((3, 9))})["C7"])
    assert "C7 does NOT hold: at least 10 filters must pass in a draw for any to be selected, and 0 were" in none
    # Each of four draws finds the first 7 and 3 of its own: together they select the 7, fewer than each must find.
    draws = np.full((4, 19), -0.5)
    draws[:, :7] = 1.0
    for number, row in enumerate(draws):
        row[7 + 3 * number:10 + 3 * number] = 1.0
    some = str(states(mixing=Mixing("layers", {"a": 0}, 10, 4), found={"a.weight": draws})["C7"])
    assert "C7 holds: at least 10 filters must pass in a draw for any to be selected, and 7 were" in some


def test_conditions_that_hold():
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(30, 8))
    found = states("feature", True, Mixing("layers", {"a": 0, "b": 1}, 10, 5),
                   {"a.weight": np.array([[3.0] * 29 + [-1.0]] * 5)}, {"a.weight": weight})
    assert [name for name, condition in found.items() if condition.holds] == ["C3", "C4", "C5", "C7", "C8", "C9"]
    assert [name for name, condition in found.items() if condition.holds is None] == ["C1", "C2", "C6"]
    weight[7] = 2.0 * weight[3]
    assert "C3 does NOT hold: 1 pairs of filters" in str(states(weights={"a.weight": weight})["C3"])
    assert "C8 does NOT hold: 0.0% of the statistics" in str(states(found={"a.weight": np.ones((1, 3))})["C8"])
    assert states("gaussian")["C6"].holds is None


def test_a_whole_phase():
    generator = np.random.default_rng(0)
    algorithm = gs.SCOP({"prune_rate": "auto", "fdr": 0.5, "draws": 2, "turn_steps": 2, "held_out": True})
    phase = algorithm.apply(networks.randomize(networks.SmallNet()), inputs=(4, 3, 8, 8))
    assert algorithm.report.macs_after == algorithm.report.macs_before
    step = nn.TrainOneStepCell(nn.WithLossCell(phase, nn.CrossEntropyLoss()),
                               nn.Adam(phase.trainable_params(), 0.1)).set_train()
    for _ in range(12):
        step(Tensor(generator.normal(size=(6, 3, 8, 8)).astype(np.float32)), Tensor(np.arange(6, dtype=np.int32) % 4))
        algorithm.after_step()
    algorithm.convert(phase)
    text = str(algorithm.report)
    assert all(f"C{number} " in text for number in range(1, 10))
    assert "scales trained on data that the weights have not seen, as the configuration states" in text


def test_a_phase_that_selects_nothing_leaves_the_network_as_it_was():
    """14 filters cannot make 100 pass."""
    algorithm = gs.SCOP({"prune_rate": "auto", "fdr": 0.01, "mixing": "joint"})
    phase = algorithm.apply(networks.randomize(networks.SmallNet()), inputs=(4, 3, 8, 8))
    for parameter in phase.trainable_params():
        parameter.set_data(Tensor(np.full(parameter.shape, 0.75, np.float32)))
    before = {parameter.name: parameter.asnumpy().copy() for parameter in phase.get_parameters()}
    with pytest.raises(StateError, match="knockoff\\+ must select a filter"):
        algorithm.convert(phase)
    assert before.keys() == {parameter.name for parameter in phase.get_parameters()}
    for parameter in phase.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])


def test_refusals():
    with pytest.raises(ArgumentError, match="'fdr' must stand with 'prune_rate' 'auto', but got 'prune_rate' 0.4"):
        gs.SCOP({"fdr": 0.1})
    with pytest.raises(ArgumentError, match=r"'fdr' must be in \(0, 1\), but got 0"):
        gs.SCOP({"prune_rate": "auto", "fdr": 0.0})
    with pytest.raises(ArgumentError, match="'reduction' must be one of 'mean', 'sum', 'max', but got 'norm'"):
        gs.SCOP({"reduction": "norm"})
