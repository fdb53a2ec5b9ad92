"""The budget `max_drop`: the smallest network that loses no more, against every network that there is; and refusals."""
import json
import math

import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.files import network_digest
from golden_stick.prune.drop import smallest_within
from tests import networks

SHAPE = (1, 4)
DATA = [np.random.default_rng(seed).normal(size=(32, 4)).astype(np.float32) for seed in range(2)]
SEEN = Tensor(np.random.default_rng(9).normal(size=(64, 4)).astype(np.float32))


def dense():
    return networks.randomize(nn.SequentialCell(nn.Dense(4, 8), nn.ReLU(), nn.Dense(8, 3)))


def evaluate_of(network):
    wanted = network(SEEN).asnumpy()
    return lambda slim: -float(np.abs(slim(SEEN).asnumpy() - wanted).mean())


@pytest.fixture(name="every", scope="module")
def fixture_every():
    """The network, and what each width of its hidden layer scores, with recovery and without."""
    network = dense()
    evaluate, scores = evaluate_of(network), {}
    for lost in range(1, 8):
        algorithm = gs.OneShot({"prune_rate": (lost + 0.5) / 8})
        masked = algorithm.apply(network, SHAPE)
        scores[8 - lost] = [evaluate(algorithm.convert(masked, calibration_data=data)) for data in (None, DATA)]
    return network, evaluate, scores


@pytest.mark.parametrize("recovered", [0, 1])
def test_the_smallest_of_all_widths_that_is_within_the_drop(every, recovered):
    network, evaluate, scores = every
    lost = {width: -of_width[recovered] for width, of_width in scores.items()}
    # A width that loses less than all smaller ones, and a drop between: no smaller one is within it.
    wanted = next(width for width in range(3, 8) if all(lost[width] < lost[less] for less in range(1, width)))
    bound = (lost[wanted] + min(lost[less] for less in range(1, wanted))) / 2
    digest, algorithm = network_digest(network), gs.OneShot({"max_drop": bound})
    masked = algorithm.apply(network, SHAPE)
    np.testing.assert_allclose(masked(SEEN).asnumpy(), network(SEEN).asnumpy(), rtol=1e-6)
    slim = algorithm.convert(masked, calibration_data=iter(DATA) if recovered else None, evaluate=evaluate)
    target, = algorithm.report.targets
    assert slim[0].out_channels == wanted and -evaluate(slim) <= bound
    assert target.met and target.reached == pytest.approx(-evaluate(slim)) and target.base == pytest.approx(0, abs=1e-6)
    assert len(target.attempts) <= 6 and {one.kept for one in target.attempts} == {True, False}
    assert all(one.kept == (-one.score <= bound) for one in target.attempts)
    assert min(one.macs for one in target.attempts if one.kept) == algorithm.report.macs_after / (8 * 7)
    assert "% of the MACs: -" in str(target) and ", too low" in str(algorithm.report)
    assert network_digest(network) == digest
    json.dumps(algorithm.report.to_dict())


def test_bisection_ends_within_a_64th_of_what_is_wanted():
    asked = []

    def attempt(share):
        asked.append(share)
        return share, 1.0 - 0.1 * (share < 0.337), share

    target, made = smallest_within("it", 0.05, 1.0, 0.1, attempt)
    assert 0.337 <= made < 0.337 + 1 / 64 and len(asked) <= 6
    assert (target.reached, target.base, len(target.attempts)) == (0.0, 1.0, len(asked))
    # Nothing is taken that was not tried, and a drop of zero allows roundings.
    assert smallest_within("it", 0.0, 1.0, 0.1, lambda share: (share, 1.0 - 1e-8, "made"))[1] == "made"
    with pytest.raises(ArgumentError, match="For 'it', 'max_drop' must be at least 0.5, .* with 98.* but got 0.1"):
        smallest_within("it", 0.1, 1.0, 0.1, lambda share: (share, 0.5, None))


def test_scop_searches_by_its_scales():
    network = dense()
    algorithm = gs.SCOP({"max_drop": 1e6, "mixing": "joint", "score": "scale"})
    phase = algorithm.apply(network, SHAPE)
    scales = np.linspace(0.55, 0.95, 8).astype(np.float32)
    phase.trainable_params()[0].set_data(Tensor(scales))
    phase.set_train(False)
    np.testing.assert_allclose(phase(SEEN).asnumpy(), network(SEEN).asnumpy(), rtol=1e-5, atol=1e-6)
    slim = algorithm.convert(phase, evaluate=evaluate_of(network))
    # All is within the drop; the best filter stays.
    np.testing.assert_array_equal(slim[0].weight.asnumpy(), network[0].weight.asnumpy()[-1:])


@pytest.mark.parametrize("config, given, kind, message", [
    ({"max_drop": 0.1}, {}, ArgumentError, "'max_drop' and an 'evaluate' .* must stand together, but got only the bud"),
    ({}, {"evaluate": lambda network: 1.0}, ArgumentError, "stand together, but got no such budget"),
    ({"max_drop": 0.1}, {"evaluate": 3}, ArgumentTypeError, "For 'OneShot', 'evaluate' must be a function"),
    ({"max_drop": 0.1}, {"evaluate": lambda network: math.nan}, ArgumentError, "For 'OneShot', .* finite number"),
    ({"max_drop": 0.1}, {"evaluate": lambda network: -float(8 - network[0].out_channels)}, ArgumentError,
     "'max_drop' must be at least 1, which the mildest network that was tried loses"),
])
def test_what_cannot_be_searched_is_refused(config, given, kind, message):
    algorithm = gs.OneShot(config)
    masked = algorithm.apply(dense(), SHAPE)
    with pytest.raises(kind, match=message):
        algorithm.convert(masked, **given)


def test_one_budget_at_a_time():
    with pytest.raises(ArgumentError, match="the budget must be one of .* but got 'target_macs' and 'max_drop'"):
        gs.OneShot({"max_drop": 0.1, "target_macs": 0.5})
    with pytest.raises(ArgumentError, match="'max_drop' must be in .*, but got -1"):
        gs.OneShot({"max_drop": -1})
    with pytest.raises(ArgumentError, match="spread over the steps, but got 'max_drop'"):
        gs.prune_in_steps(dense(), SHAPE, {"max_drop": 0.1}, 2, lambda slim, step: None)
    with pytest.raises(ArgumentError, match="'config' must leave to it which channels go and how many, but got 'max_d"):
        gs.sensitivity(dense(), SHAPE, lambda network: 1.0, {"max_drop": 0.1})
