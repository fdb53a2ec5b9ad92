"""`gs.sensitivity` against networks that numpy prunes by hand; evaluations not to be trusted; rates of a budget."""
import json
import os

import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, StateError
from golden_stick.base.files import network_digest
from golden_stick.compare import Curve, Sensitivity, draw_sensitivity, sensitivity
from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.prune.plan import rates_of
from tests import networks
from tests.compare.problem import unwarned

X = np.random.default_rng(0).normal(size=(32, 4)).astype(np.float32)
SHAPE, RATES = (1, 4), (0.25, 0.3, 0.75)


def dense():
    """Two groups, of eight channels and of three: of the latter, none can go below a third."""
    return networks.randomize(nn.SequentialCell(nn.Dense(4, 8), nn.ReLU(), nn.Dense(8, 3), nn.ReLU(), nn.Dense(3, 2)))


def by_hand(network, lost=None, count=0):
    """What the network gives without the `count` filters of layer `lost` whose weights are smallest."""
    values = X.astype(np.float64)
    for at in (0, 2, 4):
        weight = network[at].weight.asnumpy()
        values = values @ weight.T + network[at].bias.asnumpy()
        if at < 4:
            values = np.maximum(values, 0)
        if at == lost:
            values[:, np.argsort(np.abs(weight).sum(1))[:count]] = 0
    return values


class Evaluate:
    """How near a network is to what it was; counts how often it was asked."""

    def __init__(self, network, enough=99):
        self.wanted, self.calls, self.enough = by_hand(network), 0, enough

    def __call__(self, network):
        if self.calls == self.enough:
            raise KeyboardInterrupt
        self.calls += 1
        assert not network.training
        return self.of(network(Tensor(X)).asnumpy())

    def of(self, outputs):
        return -float(np.square(outputs - self.wanted).mean())


@pytest.fixture(name="measured", scope="module")
def fixture_measured():
    network = dense()
    digest, evaluate = network_digest(network), Evaluate(network)
    optimizer = nn.SGD(network.trainable_params())
    with unwarned():
        found = gs.sensitivity(network, SHAPE, evaluate, rates=RATES)
    assert optimizer.parameters[0] is network[0].weight  # it was alive
    assert network_digest(network) == digest
    return network, found, evaluate


def test_every_point_by_hand(measured):
    network, found, evaluate = measured
    assert (found.rates, found.base) == (RATES, pytest.approx(0, abs=1e-9))
    assert [curve.layers for curve in found.curves] == [("0",), ("2",)] and found.stayed == ()
    for layer, curve, counts in zip((0, 2), found.curves, ((2, 2, 6), (0, 0, 2))):
        wanted = [evaluate.of(by_hand(network, layer, count)) for count in counts]
        np.testing.assert_allclose(curve.accuracies, wanted, rtol=1e-4, atol=1e-9)
    # Twice the network itself, and once each network that is another.
    assert evaluate.calls == 2 + 2 + 1


def test_what_cannot_lose_a_channel_is_named():
    network = dense()
    found = gs.sensitivity(network, SHAPE, Evaluate(network), rates=(0.25,))
    assert [curve.layers for curve in found.curves] == [("0",)] and found.stayed == ("2",)
    assert "Cannot lose a channel at any of these rates: 2." in str(found)


def test_an_interrupted_one_goes_on(measured, tmp_path):
    network, whole, _ = measured
    folder = str(tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        gs.sensitivity(network, SHAPE, Evaluate(network, enough=3), rates=RATES, folder=folder)
    record = json.loads((tmp_path / "kept" / "sensitivity.json").read_text())
    assert [len(curve["accuracies"]) for curve in record["curves"]] == [2]
    with pytest.raises(StateError, match="the sensitivity must be complete, but it was interrupted: call"):
        Sensitivity.from_dict(record).budget_rates(network, SHAPE, {"target_macs": 0.5})
    again = Evaluate(network)
    assert gs.sensitivity(network, SHAPE, again, rates=RATES, folder=folder) == whole and again.calls == 2 + 2
    assert sorted(os.listdir(folder)) == ["sensitivity.json", "sensitivity.md", "sensitivity.png", "sensitivity.svg"]
    assert (tmp_path / "kept" / "sensitivity.md").read_text() == str(whole)
    assert "| layers | 0.25 | 0.3 | 0.75 |\n|---|---:|---:|---:|\n| 0 | " in str(whole)
    figure = (tmp_path / "kept" / "sensitivity.svg").read_text()
    draw_sensitivity(whole, str(tmp_path / "again.svg"))
    assert (tmp_path / "again.svg").read_text() == figure and "<!-- 2 -->" in figure
    finished = Evaluate(network)
    assert gs.sensitivity(network, SHAPE, finished, rates=RATES, folder=folder) == whole and finished.calls == 2
    assert Sensitivity.from_dict(json.loads((tmp_path / "kept" / "sensitivity.json").read_text())) == whole
    for change, key in (({"rates": (0.5,)}, "rates"), ({"config": {"criterion": "l2"}}, "config"),
                        ({"evaluate": lambda network: 5.0}, "base")):
        with pytest.raises(StateError, match=f"'folder' must be new or hold the same sensitivity, .* another '{key}'"):
            gs.sensitivity(**{"network": network, "inputs": SHAPE, "evaluate": Evaluate(network), "rates": RATES,
                              "folder": folder, **change})
    record.pop("curves")
    (tmp_path / "kept" / "sensitivity.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="must be a sensitivity that was begun here, but it is damaged"):
        gs.sensitivity(network, SHAPE, Evaluate(network), rates=RATES, folder=folder)
    with pytest.raises(CheckpointError, match="For 'sensitivity', 'folder' must be a folder that can be made and"):
        gs.sensitivity(network, SHAPE, Evaluate(network), folder=str(tmp_path / "again.svg"))


def test_groups_that_share_a_layer():
    """As weights of one Cell do: a rate is given by layer, so it is that of all of them, and of no other group."""
    def group(name, *layers):
        return ChannelGroup(name, np.arange(4), (), layers)

    groups = (group("a", "one"), group("b", "two", "three"), group("c", "four"), group("d", "three", "one"),
              group("e", "block[0].five"))
    grouping = Grouping(groups, (), (), (), (), ())
    units = sensitivity._units(grouping)
    assert [unit.layers for unit in units] == [("four",), ("one", "two", "three"), ("block[0].five",)]
    assert [rates_of("x", "y", grouping, dict.fromkeys(unit.patterns, 0.5)) for unit in units] == [
        {name: 0.5 * (name in names) for name in "abcde"} for names in ("c", "abd", "e")]


def test_what_convert_recovers():
    network = networks.randomize(nn.SequentialCell(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1),
                                                   nn.ReLU(), nn.Conv2d(6, 2, 1)))
    network.set_train(False)
    data = np.random.default_rng(1).normal(size=(2, 16, 3, 4, 4)).astype(np.float32)
    wanted = network(Tensor(data[0])).asnumpy()

    def evaluate(given):
        return -float(np.square(given(Tensor(data[0])).asnumpy() - wanted).mean())

    config = {"criterion": "activation"}
    found = gs.sensitivity(network, (1, 3, 4, 4), evaluate, config, (0.5,), data=list(data), calibration_data=data)
    assert [curve.layers for curve in found.curves] == [("0",), ("3",)]
    for curve in found.curves:
        algorithm = gs.OneShot({**config, "prune_rate": dict.fromkeys(curve.patterns, 0.5)})
        slim = algorithm.convert(algorithm.apply(network, (1, 3, 4, 4), data=list(data)), calibration_data=data)
        assert {layer.path for layer in algorithm.report.layers if layer.after < layer.before} == {*curve.layers}
        assert curve.accuracies == (pytest.approx(evaluate(slim), rel=1e-4),)
    plain = gs.sensitivity(network, (1, 3, 4, 4), evaluate, config, (0.5,), data=list(data))
    assert all(with_data.accuracies > without.accuracies for with_data, without in zip(found.curves, plain.curves))


def test_the_largest_rate_by_hand():
    """On straight lines through (0, 1), (0.2, 0.9), (0.5, 0.9), (0.8, 0.3), whatever a higher rate gives by luck."""
    curve = Curve(("0",), ("0",), (0.9, 0.95, 0.3))
    for least, rate in ((1.0, 0.0), (0.95, 0.1), (0.9, 0.5), (0.6, 0.65), (0.3, 0.8), (0.1, 0.8)):
        assert curve.largest_rate((0.2, 0.5, 0.8), 1.0, least) == pytest.approx(rate)


@pytest.mark.parametrize("target", [{"target_macs": 0.7}, {"target_params": 0.5}, {"target_macs": 0.97}])
def test_rates_that_meet_a_budget(measured, target):
    network, found, _ = measured
    rates = found.budget_rates(network, SHAPE, target)
    algorithm = gs.OneShot({"prune_rate": rates})
    algorithm.apply(network, SHAPE)
    report, (wanted,) = algorithm.report, target.values()
    left = (report.macs_after / report.macs_before if "target_macs" in target else
            report.parameters_after / report.parameters_before)
    assert wanted - 0.25 < left <= wanted and set(rates) == {"0", "2"}
    # Neither group alone falls below the other by more than a step of its channels.
    assert all(0 <= rate <= 0.75 for rate in rates.values())


def test_without_loss_no_more_goes_than_is_asked_for(measured):
    network, found, _ = measured
    flat = Sensitivity.from_dict({**found.to_dict(), "curves": [
        {"layers": [name], "patterns": [name], "accuracies": [found.base] * 3} for name in "02"]})
    rates = flat.budget_rates(network, SHAPE, {"target_macs": 0.6})
    assert rates["0"] == rates["2"] < 0.75


def test_budgets_that_are_refused(measured):
    network, found, _ = measured
    with pytest.raises(ArgumentError, match="'budget' must hold one key of target_macs, target_params, but got none"):
        found.budget_rates(network, SHAPE, {})
    with pytest.raises(ArgumentError, match=r"'target_macs' must be at least 0\.\d+, which is left at the highest"):
        found.budget_rates(network, SHAPE, {"target_macs": 0.01})
    with pytest.raises(ArgumentError, match=r"For 'budget_rates', 'target_macs' must be in \(0, 1\), but got 2"):
        found.budget_rates(network, SHAPE, {"target_macs": 2})
    other = networks.randomize(dense(), seed=3)
    with pytest.raises(ArgumentError, match="'network' must be the one whose sensitivity was measured, but got"):
        found.budget_rates(other, SHAPE, {"target_macs": 0.5})


GENERATOR = np.random.default_rng(0)


def trains(network):
    network[0].weight.set_data(network[0].weight + 1)
    return 1.0


@pytest.mark.parametrize("evaluate, kind, message", [
    (0.5, ArgumentTypeError, "'evaluate' must be a function of a network, but got float"),
    (lambda network: Tensor(1.0), ArgumentTypeError, "'evaluate' must return a number, but got a Tensor"),
    (lambda network: True, ArgumentTypeError, "'evaluate' must return a number, but got a bool"),
    (lambda network: np.float32("nan"), ArgumentError, "'evaluate' must return a finite number, but got nan"),
    (lambda network: GENERATOR.random(), ArgumentError,
     r"'evaluate' must give the same number twice for the same network, but got 0\.\d+ and 0\.\d+: always"),
    (trains, ArgumentError, "'evaluate' must leave the network as it is, but its parameters are others"),
])
def test_evaluations_that_cannot_be_trusted(evaluate, kind, message):
    with pytest.raises(kind, match=f"For 'sensitivity', {message}"):
        gs.sensitivity(dense(), SHAPE, evaluate, rates=(0.5,))


def test_other_refusals():
    network = dense()
    for config in ({"prune_rate": 0.5}, {"target_macs": 0.5}, {"ranking": "global"}):
        with pytest.raises(ArgumentError, match="'config' must leave to it which channels go and how many, but got '"):
            gs.sensitivity(network, SHAPE, Evaluate(network), config)
    with pytest.raises(ArgumentTypeError, match="'rates' must be a list of at least one rate, but got 0.5"):
        gs.sensitivity(network, SHAPE, Evaluate(network), rates=0.5)
    with pytest.raises(ArgumentError, match=r"For 'sensitivity', 'rates' must be in \(0, 1\), but got 1.0"):
        gs.sensitivity(network, SHAPE, Evaluate(network), rates=[1.0])
    with pytest.raises(ArgumentError, match="For 'sensitivity', 'recovery' must be one of"):
        gs.sensitivity(network, SHAPE, Evaluate(network), recovery="all")
