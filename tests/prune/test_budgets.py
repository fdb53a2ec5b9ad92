"""Budgets and criteria from data: the cost that is promised at `apply` is that of the slim network's trace."""
import re
from collections import Counter

import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError
from golden_stick.bench.latency import latency_ratio
from golden_stick.graph.groups import find_groups
from golden_stick.graph.plan import count_macs
from golden_stick.prune import pruner as pruner_module
from golden_stick.prune.budget import BudgetBaseline, PruningTask, choose, pools_of, shrunk_by
from golden_stick.prune.plan import make_plan
from golden_stick.prune.report import Target
from tests import networks
from tests.graph.build import Builder

SHAPE = networks.SMALL_INPUT


def data():
    generator = np.random.default_rng(0)
    return [(generator.normal(size=(n, 3, 8, 8)).astype(np.float32), generator.integers(0, 4, n).astype(np.int32))
            for n in (4, 3)]


@pytest.mark.parametrize("config", [
    {"criterion": "taylor"}, {"criterion": "hessian"}, {"criterion": "activation"}, {"criterion": "reconstruction"},
    {"criterion": "taylor", "ranking": "global", "target_macs": 0.5},
    {"ranking": "isomorphic", "target_params": 0.5, "residual": "scatter"},
], ids=str)
def test_cost_promised_at_apply_is_that_of_the_slim_network(config):
    algorithm = gs.OneShot(config)
    masked = algorithm.apply(networks.randomize(networks.SmallNet()), SHAPE, data=data(), loss=nn.CrossEntropyLoss())
    promised = algorithm.report
    algorithm.convert(masked)
    done = algorithm.report
    assert (promised.macs_after, promised.parameters_after) == (done.macs_after, done.parameters_after)
    assert done.macs_after < done.macs_before
    assert all(target.met and target.reached <= target.wanted for target in done.targets)
    assert [target.name for target in done.targets] == [*(key for key in config if "target" in key)] or ["prune_rate"]


def chain():
    """Layers of 10, 12 and 8 filters before a last one that stays."""
    return networks.randomize(nn.SequentialCell(
        nn.Conv2d(3, 10, 3), nn.ReLU(), nn.Conv2d(10, 12, 3), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.ReLU(),
        nn.Conv2d(8, 4, 3)))


@pytest.mark.parametrize("config, reached, held", [
    ({"prune_rate": 0.4}, 4 + 4 + 3, {}),
    ({"prune_rate": 0.4, "max_rate": {"2": 0.2}}, 4 + 2 + 3, {"'max_rate'": "2"}),
    ({"prune_rate": 0.4, "round_to": 4}, 2 + 4 + 0, {"'round_to'": "0, 4"}),
    ({"prune_rate": 0.4, "round_to": 64}, 0, {"'round_to'": "0, 2, 4"}),
    ({"prune_rate": 0.4, "round_to": 4, "round": "down"}, 6 + 4 + 4, {}),
    ({"prune_rate": 0.5, "min_width": 7}, 3 + 5 + 1, {"'min_width'": "0, 2, 4"}),
    ({"prune_rate": {"[02]": 0.5, "4": 0.25}, "max_rate": 0.25}, 2 + 3 + 2, {"'max_rate'": "0, 2"}),
    ({"prune_rate": 0.9, "ranking": "global", "max_rate": {"0": 0.5}, "min_width": 2}, 5 + 10 + 6,
     {"'max_rate'": "0", "'min_width'": "2, 4"}),
    ({"prune_rate": 0.0}, 0, {}),
], ids=str)
def test_a_rate_is_said_to_be_met_or_what_holds_it_back(config, reached, held):
    algorithm = gs.OneShot(config)
    algorithm.convert(algorithm.apply(chain(), SHAPE))
    (target,) = algorithm.report.targets
    wanted = config["prune_rate"]
    if isinstance(wanted, dict):
        wanted = (0.5 * 10 + 0.5 * 12 + 0.25 * 8) / 30
    assert (target.name, target.met) == ("prune_rate", not held)
    np.testing.assert_allclose((target.wanted, target.reached), (wanted, reached / 30))
    assert [note for note in algorithm.report.notes if "reached" in note] == [
        f"prune_rate {wanted:.4g} is not reached, held back by {reason}: {names}" for reason, names in held.items()]
    verdict = "NOT reached" if held else "reached"
    line = f"prune_rate {wanted:.4g}: {verdict}: {reached / 30:.4f} of the removable channels are gone"
    if wanted and not reached:
        line = f"prune_rate {wanted:.4g}: NOTHING was removed: what held it back is below"
    assert line in str(algorithm.report).splitlines()


@pytest.mark.parametrize("algorithm", [gs.OneShot, gs.SCOP])
@pytest.mark.parametrize("key", ["target_macs", "target_params"])
def test_a_target_out_of_reach_is_refused_with_the_range_that_is_not(algorithm, key):
    network = networks.randomize(networks.SmallNet())
    message = f"'{key}' must be in .*, 1. for this network, since so much is left.*got 0.01"
    with pytest.raises(ArgumentError, match=message) as error:
        algorithm({key: 0.01, "min_width": 4}).apply(network, SHAPE)
    least = float(re.search(r"in \[([.0-9]+), 1\)", str(error.value))[1])
    with pytest.raises(ArgumentError, match="must be in"):
        algorithm({key: least - 1e-3, "min_width": 4}).apply(network, SHAPE)
    one = algorithm({key: least, "min_width": 4})
    one.apply(network, SHAPE)
    assert least - 1e-4 <= one.report.targets[0].reached <= least and one.report.targets[0].met


@pytest.mark.parametrize("config, least", [
    ({"prune_rate": 0.05}, 1 / 12), ({"prune_rate": 0.02, "ranking": "global"}, 1 / 30),
    ({"prune_rate": {"*": 0.08}}, 1 / 12)], ids=str)
def test_a_rate_that_rounds_to_nothing_says_what_to_set(config, least):
    algorithm = gs.OneShot(config)
    algorithm.apply(chain(), SHAPE)
    text = str(algorithm.report.targets[0])
    assert "NOTHING was removed: it is less than one channel" in text and "0.0000" not in str(algorithm.report)
    said = float(re.search("set ([.0-9]+) or more", text)[1])
    assert least <= said <= least + 1e-4
    if "ranking" in config:
        algorithm = gs.OneShot({**config, "prune_rate": said})
        algorithm.apply(chain(), SHAPE)
        assert algorithm.report.parameters_after < algorithm.report.parameters_before


def test_the_mildest_plan_that_meets_a_target_is_taken():
    b = Builder()
    value = b.input(2, 3, 8, 8)
    for name, width in (("a", 7), ("b", 12), ("c", 9)):
        value = b.relu(b.convolution(name, value, width))
    graph = b.graph(value)
    grouping = find_groups(graph)
    generator = np.random.default_rng(0)
    config = {**gs.OneShot().config, "prune_rate": None, "ranking": "global", "target_macs": 0.6}
    task = PruningTask(None, (), graph, grouping, config, BudgetBaseline(None, graph, grouping))
    scores = {name: generator.random(len(item.channels)) for name, item in task.filters.items()}
    chosen = choose("test", task, scores, "none", latency=lambda plan: 1.0)
    pools = pools_of("global", graph, grouping)
    costs = [count_macs(shrunk_by(task, make_plan(grouping, chosen.importance, rate, pools=pools)))
             for rate in np.arange(0.0, 1.0, 0.01)]
    assert count_macs(shrunk_by(task, chosen.plan)) == max(cost for cost in costs if cost <= 0.6 * costs[0])


class TestLatency:
    """The clock is replaced: what is measured is tested where it is measured."""

    @pytest.fixture
    def clock(self, monkeypatch):
        request = []

        def ratio(network, other, inputs, **_):
            found = (sum(p.size for p in network.get_parameters()) / sum(p.size for p in other.get_parameters()))
            request.append(found)
            return found

        monkeypatch.setattr("golden_stick.prune.pruner.latency_ratio", ratio)
        return request

    def test_the_mildest_rate_that_meets_it(self, clock):
        algorithm = gs.OneShot({"target_latency": 0.6})
        masked = algorithm.apply(networks.randomize(networks.SmallNet()), SHAPE)
        algorithm.convert(masked)
        (target,) = algorithm.report.targets
        assert target.met and target.name == "target_latency"
        assert target.reached == max(found for found in clock if found <= 0.6)
        assert len(clock) <= 12

    def test_out_of_reach(self, clock):
        with pytest.raises(ArgumentError, match="'target_latency' must be in .*, but got 0.001"):
            gs.OneShot({"target_latency": 0.001}).apply(networks.randomize(networks.SmallNet()), SHAPE)

    @pytest.mark.parametrize("algorithm, options", [(gs.OneShot, {}), (gs.SCOP, {"mixing": "joint"})])
    def test_what_is_reported_is_the_measurement_that_accepted_the_plan(self, clock, monkeypatch, algorithm, options):
        ratio, noise = pruner_module.latency_ratio, Counter()

        def jittering(*arguments, **named):
            found = ratio(*arguments, **named)
            noise[found] += 0.2
            return found * (0.8 + noise[found])

        monkeypatch.setattr(pruner_module, "latency_ratio", jittering)
        algorithm = algorithm({"target_latency": 0.6, **options})
        applied = algorithm.apply(networks.randomize(networks.SmallNet()), SHAPE)
        for step in ("apply", "convert"):
            if step == "convert":
                for parameter in applied.get_parameters():
                    if parameter.name.endswith(("_scale", ".squared_gradients")):
                        value = np.linspace(0, 1, parameter.size, dtype=np.float32)
                        parameter.set_data(Tensor(value.reshape(parameter.shape)))
                algorithm.convert(applied)
            (target,) = algorithm.report.targets
            assert algorithm.report.step == step and target.met and target.reached <= 0.6
            assert "target_latency 0.6: reached: 0." in str(algorithm.report)


def test_a_target_that_is_missed():
    assert str(Target("target_macs", 0.5, 0.51, False)) == "target_macs 0.5: NOT reached: 0.5100 of the original"


def test_a_network_takes_as_long_as_itself_and_its_latency_is_a_ratio():
    network = networks.randomize(networks.SmallNet())
    inputs = (Tensor(np.ones(SHAPE, np.float32)),)
    assert 0.2 < latency_ratio(network, network, inputs, rounds=15) < 5
    wide = nn.SequentialCell(*(nn.Conv2d(c, 512, 3) for c in (3, 512, 512, 512)))
    assert latency_ratio(network, wide, inputs, rounds=15) < 1


def test_budgets_that_contradict_each_other():
    with pytest.raises(ArgumentError, match="the budget must be one of 'prune_rate', 'target_macs', 'target_params', "
                                            "'target_latency' and 'max_drop', but got 'prune_rate' and 'target_macs'"):
        gs.OneShot({"prune_rate": 0.4, "target_macs": 0.5})
    with pytest.raises(ArgumentError, match="'ranking' must be 'local' where 'prune_rate' is a dict, but got 'global'"):
        gs.OneShot({"prune_rate": {"*": 0.4}, "ranking": "global"})
    with pytest.raises(ArgumentError, match=r"'target_macs' must be in \(0, 1\), but got 0"):
        gs.OneShot({"target_macs": 0})
