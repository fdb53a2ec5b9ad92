"""Pruning in steps: the budget is that of the whole, and every step scores anew."""
import re
import warnings

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.cells.slim import recipe_of
from tests import networks

SHAPE = networks.SMALL_INPUT
# Most tests have nothing to train.
pytestmark = pytest.mark.filterwarnings("ignore:.*no weight of it changed")


def wide():
    return networks.randomize(nn.SequentialCell(nn.Conv2d(3, 100, 3), nn.ReLU(), nn.Conv2d(100, 4, 3)))


@pytest.mark.parametrize("schedule, widths", [("linear", [84, 67, 50]), ("cubic", [65, 52, 50])])
def test_widths_follow_the_schedule(schedule, widths):
    """50 % of 100 go in three steps: a third of them a step, or 1 - (1 - done)^3."""
    seen = []
    slim, reports = gs.prune_in_steps(wide(), SHAPE, {"prune_rate": 0.5}, 3,
                                      lambda net, step: seen.append((step, net[0].out_channels)), schedule)
    assert [step for step, _ in seen] == [0, 1, 2] and len(reports) == 3
    assert [width for _, width in seen] == widths
    assert len(recipe_of(slim).steps) == 3


@pytest.mark.parametrize("key", ["target_macs", pytest.param("target_params", marks=pytest.mark.long)])
def test_a_target_is_that_of_the_whole(key):
    network = networks.randomize(networks.SmallNet())
    slim, reports = gs.prune_in_steps(network, SHAPE, {key: 0.5, "ranking": "global"}, 2, lambda net, step: None)
    name = "macs" if key == "target_macs" else "parameters"
    left = getattr(reports[-1], f"{name}_after") / getattr(reports[0], f"{name}_before")
    assert left <= 0.5
    whole = gs.OneShot({key: 0.5, "ranking": "global"})
    whole.apply(network, SHAPE)
    assert left > 0.8 * getattr(whole.report, f"{name}_after") / getattr(whole.report, f"{name}_before")


def widths_of(network):
    return {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}


def chain():
    return networks.randomize(nn.SequentialCell(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 13, 3), nn.ReLU(),
                                                nn.Conv2d(13, 4, 3)))


@pytest.mark.parametrize("config, steps", [
    ({"prune_rate": 0.3, "max_rate": {"0": 0.2}}, 2), ({"prune_rate": 0.6, "round_to": 4, "round": "nearest"}, 2),
    *(pytest.param(*case, marks=pytest.mark.long) for case in (
        ({"prune_rate": 0.3}, 3), ({"prune_rate": 0.98, "min_width": 2}, 2)))], ids=str)
def test_as_much_goes_as_at_once(config, steps):
    """Nothing is lost to rounding, step by step: the widths are those of one pruning."""
    once = gs.OneShot(config)
    wanted = once.convert(once.apply(chain(), SHAPE))
    slim, _ = gs.prune_in_steps(chain(), SHAPE, config, steps, lambda net, step: None)
    assert widths_of(slim) == widths_of(wanted)


def test_as_many_channels_of_all_layers_go_as_at_once():
    """Which ones differs: a filter's norm shrinks with the inputs that it loses."""
    config = {"prune_rate": 0.4, "ranking": "global"}
    slim, _ = gs.prune_in_steps(chain(), SHAPE, config, 3, lambda net, step: None)
    assert slim[0].out_channels + slim[2].out_channels == 16 + 13 - 11


def test_a_budget_out_of_reach_is_refused_before_anything_is_trained():
    config = {"target_params": 0.1, "min_width": 6}
    with pytest.raises(ArgumentError, match="For 'prune_in_steps', 'target_params' must be in .0.2533, 1. for this"):
        gs.prune_in_steps(chain(), SHAPE, config, 2, lambda net, step: pytest.fail("trained"))


def test_what_earlier_steps_have_put_out_of_reach_is_no_error_and_said():
    """Scattered branches lose channels in the first step only: what was trained since is not to be lost."""
    def prune(target):
        config = {"target_params": target, "residual": "scatter"}
        return gs.prune_in_steps(networks.randomize(networks.SmallNet()), SHAPE, config, 2, lambda net, step: None)[1]

    with pytest.raises(ArgumentError, match="since so much is left") as error:
        prune(0.001)
    assert not prune(float(re.search(r"in \[([.0-9]+)", str(error.value))[1]) + 0.01)[-1].targets[0].met


@pytest.mark.parametrize("key", [pytest.param("target_macs", marks=pytest.mark.long), "target_params"])
def test_the_last_report_says_whether_the_whole_budget_was_met(key):
    config = {key: 0.5}
    slim, reports = gs.prune_in_steps(chain(), SHAPE, config, 2, lambda net, step: None)
    (target,) = reports[-1].targets
    name = "macs" if key == "target_macs" else "parameters"
    left = getattr(reports[-1], f"{name}_after") / getattr(reports[0], f"{name}_before")
    assert (target.wanted, target.reached, target.met) == (config[key], left, True)
    goals = [report.targets[0].wanted for report in reports]
    np.testing.assert_allclose(goals, [1 - (1 - config[key]) * step / 2 for step in (1, 2)])


def test_the_whole_rate_is_met_and_what_scattering_leaves_is_named():
    """Scattered branches lose channels in the first step only."""
    _, reports = gs.prune_in_steps(chain(), SHAPE, {"prune_rate": 0.3}, 2, lambda net, step: None)
    assert [(report.targets[0].wanted, report.targets[0].met) for report in reports] == [(0.15, True), (0.3, True)]
    assert [report.targets[0].reached for report in reports] == [(2 + 1) / 29, (4 + 3) / 29]
    config = {"prune_rate": 0.6, "residual": "scatter"}
    _, reports = gs.prune_in_steps(networks.randomize(networks.SmallNet()), SHAPE, config, 2, lambda net, step: None)
    assert not reports[-1].targets[0].met
    assert "prune_rate 0.6 is not reached, held back by what an earlier step left: b" in reports[-1].notes


def test_every_step_scores_what_training_left():
    """The filter that training makes the least is none of the least before, and goes in the step after."""
    network = wide()
    strongest = int(np.abs(network[0].weight.asnumpy()).sum((1, 2, 3)).argmax())
    wanted, zeros = network[0].weight.asnumpy()[strongest], []

    def train(net, step):
        weight = net[0].weight.asnumpy().copy()
        zeros.append(int((weight == 0).all((1, 2, 3)).sum()))
        if step == 0:
            weight[[np.array_equal(row, wanted) for row in weight].index(True)] = 0
            net[0].weight.set_data(Tensor(weight))

    slim, _ = gs.prune_in_steps(network, SHAPE, {"prune_rate": 0.02}, 2, train)
    assert slim[0].out_channels == 98 and zeros == [0, 0]
    kept = {row.tobytes() for row in slim[0].weight.asnumpy()}
    least = np.abs(network[0].weight.asnumpy()).sum((1, 2, 3)).argsort()[:2]
    assert [row.tobytes() in kept for row in network[0].weight.asnumpy()[least]] == [False, True]


def test_data_are_asked_for_in_every_step():
    request = []

    def data():
        request.append(1)
        return [(np.ones((2, 3, 8, 8), np.float32), np.arange(2, dtype=np.int32))]

    gs.prune_in_steps(networks.randomize(networks.SmallNet()), SHAPE, {"criterion": "taylor"}, 2,
                      lambda net, step: None, data=data, loss=nn.CrossEntropyLoss())
    assert len(request) == 2


def two_widths():
    return networks.randomize(nn.SequentialCell(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(),
                                                nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 4, 1)))


def test_rounded_widths_take_turns_and_empty_steps_train_nothing():
    """1.6 and 3.2 filters a step: each width goes to the nearest multiple of 8, of two to the larger one."""
    seen = []
    _, reports = gs.prune_in_steps(two_widths(), SHAPE, {"prune_rate": 0.5, "round_to": 8}, 10,
                                   lambda net, step: seen.append((step, net[0].out_channels, net[3].out_channels)))
    assert seen == [(1, 32, 56), (3, 24, 56), (4, 24, 48), (6, 24, 40), (8, 16, 40), (9, 16, 32)]
    assert len(reports) == 10
    assert [report.parameters_before == report.parameters_after for report in reports] == [
        step not in (1, 3, 4, 6, 8, 9) for step in range(10)]


@pytest.mark.parametrize("build, config", [
    (chain, {"prune_rate": 0.45, "round_to": 4}), (two_widths, {"target_params": 0.5, "round_to": 16}),
    *(pytest.param(*case, marks=pytest.mark.long) for case in (
        (chain, {"prune_rate": 0.55, "round_to": 3, "round": "down"}),
        (networks.SmallNet, {"prune_rate": 0.7, "round_to": 2}))),
], ids=lambda item: getattr(item, "__name__", str(item)))
def test_rounded_steps_go_no_further_than_one_pruning_does(build, config):
    """However near the schedule the steps between come. At a rate, the end is the same; a target may need less."""
    once, trained = gs.OneShot(config), []
    wanted = widths_of(once.convert(once.apply(networks.randomize(build()), SHAPE)))
    slim, reports = gs.prune_in_steps(networks.randomize(build()), SHAPE, config, 4,
                                      lambda net, step: trained.append(step))
    got = widths_of(slim)
    assert all(np.greater_equal(shape, wanted[name]).all() for name, shape in got.items())
    assert reports[-1].targets[0].met == once.report.targets[0].met
    assert got == wanted or "target_params" in config
    assert trained == [step for step, report in enumerate(reports)
                       if report.parameters_after < report.parameters_before]


def test_training_is_told_what_its_step_removed_and_from_what():
    network, told = chain(), []
    optimizers = [nn.Momentum(network.trainable_params(), 0.01, 0.9)]

    def train(slim, number, step):
        optimizers.append(gs.slim_optimizer(optimizers[-1], step.network, slim))
        told.append((number, step))
        optimizers[-1](tuple(parameter * 0.1 for parameter in optimizers[-1].parameters))

    slim, reports = gs.prune_in_steps(network, SHAPE, {"prune_rate": 0.5}, 3, train)
    assert [number for number, _ in told] == [0, 1, 2] and told[0][1].network is network
    assert [step.report for _, step in told] == list(reports)
    assert [sum(step.removed[path] for _, step in told) for path in ("0", "2")] == [8, 6]
    assert "4" not in told[0][1].removed
    # The moments went along: three steps in one direction, for what is left of each weight.
    moments = optimizers[-1].moments
    assert [item.shape for item in moments] == [item.shape for item in slim.trainable_params()]
    left = slim[0].weight.asnumpy()
    assert (np.sign(moments[0].asnumpy()) == np.sign(left)).mean() > 0.99


@pytest.mark.parametrize("train", [lambda net: None, lambda: None, lambda net, step, done, more: None])
def test_a_train_that_takes_other_arguments_is_refused_before_anything_is_pruned(train):
    with pytest.raises(ArgumentTypeError, match=r"'train' must take the slim network, .* but it is train\(.*\): "):
        gs.prune_in_steps(None, SHAPE, {}, 2, train)


def test_an_optional_argument_is_the_users_own():
    seen = []
    gs.prune_in_steps(chain(), SHAPE, {"prune_rate": 0.5}, 1, lambda net, step, rate=0.1: seen.append(rate))
    gs.prune_in_steps(chain(), SHAPE, {"prune_rate": 0.5}, 1, lambda *given: seen.append(len(given)))
    assert seen == [0.1, 2]


def test_a_training_that_changes_nothing_is_told_of():
    network = chain()
    old = nn.SGD(network.trainable_params(), 0.1)

    def train(slim, step):
        old(tuple(ms.ops.ones_like(parameter) for parameter in old.parameters))

    with pytest.warns(UserWarning, match="For 'prune_in_steps', .* no weight of it changed: an optim") as told:
        gs.prune_in_steps(network, SHAPE, {"prune_rate": 0.5}, 2, train)
    assert sum("no weight of it changed" in str(item.message) for item in told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gs.prune_in_steps(network, SHAPE, {"prune_rate": 0.5}, 1,
                          lambda slim, step: slim[0].weight.set_data(2 * slim[0].weight))


def test_refusals():
    with pytest.raises(ArgumentError, match="For 'prune_in_steps', 'steps' must be a whole number of at least 1"):
        gs.prune_in_steps(wide(), SHAPE, {}, 0, print)
    with pytest.raises(ArgumentError, match="'schedule' must be one of 'linear', 'cubic', but got 'steep'"):
        gs.prune_in_steps(wide(), SHAPE, {}, 2, print, "steep")
    with pytest.raises(ArgumentTypeError, match="For 'prune_in_steps', 'config' must be a dict, but got NoneType"):
        gs.prune_in_steps(chain(), SHAPE, None, 2, lambda net, step: None)
    with pytest.raises(ArgumentTypeError, match="'data' must be a function that gives batches, in every step anew"):
        gs.prune_in_steps(chain(), SHAPE, {"criterion": "taylor"}, 2, lambda net, step: None, data=[1])
    with pytest.raises(ArgumentTypeError, match="'train' must be a function of a network and a step, but got NoneType"):
        gs.prune_in_steps(wide(), SHAPE, {}, 2, None)
    with pytest.raises(ArgumentError, match="'prune_rate' must be a number, which is spread over the steps, but got"):
        gs.prune_in_steps(wide(), SHAPE, {"prune_rate": {"*": 0.5}}, 2, print)
