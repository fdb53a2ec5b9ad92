"""What safe filters cost together: against masked networks, twins, and how often the statement is wrong."""
import json
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.cells.wrappers import masked_network
from golden_stick.certify import equivalence_p_values
from golden_stick.certify.safe_filters import sets_passed
from golden_stick.graph.plan import plan_without

LOSS = nn.CrossEntropyLoss(reduction="none")
SHAPE = (1, 4)
EPS = 0.02


def network():
    """Of eight hidden units, 0 and 1 enter nothing, and 2 and 3 are twins that each do half of the work of one."""
    generator = np.random.default_rng(2)
    net = nn.SequentialCell(nn.Dense(4, 8), nn.ReLU(), nn.Dense(8, 3))
    first, last = generator.normal(size=(8, 4)), generator.normal(size=(3, 8))
    first[3], last[:, 2] = first[2], 0.1 * last[:, 2]
    last[:, :2], last[:, 3] = 0, last[:, 2]
    for parameter, values in ((net[0].weight, first), (net[2].weight, last), (net[0].bias, np.zeros(8)),
                              (net[2].bias, np.zeros(3))):
        parameter.set_data(Tensor(values.astype(np.float32)))
    return net


def images(seed, count=300):
    """Labels are the network's own answers, so that whatever it loses costs."""
    x = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return x, network().set_train(False)(Tensor(x)).asnumpy().argmax(1).astype(np.int32)


@pytest.fixture(name="found", scope="module")
def found_():
    return gs.safe_filters(network(), SHAPE, [images(2, 2000)], LOSS, eps=EPS)


def test_costs_are_those_of_networks_masked_by_the_sets(mode, found):
    net, (x, y) = network(), images(3)
    together = gs.safe_together(net, found, [(x[:150], y[:150]), (Tensor(x[150:]), Tensor(y[150:]))], LOSS, eps=EPS)
    assert together.sizes == tuple(range(1, len(together.order) + 1)) and len(together.order) >= 4
    net.set_train(False)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    whole = LOSS(net(Tensor(x)), Tensor(y)).asnumpy().astype(np.float64)
    for size, cost in zip(together.sizes, together.cost):
        masked = masked_network(net, plan_without(found.grouping, together.order[:size])).set_train(False)
        assert cost == pytest.approx((LOSS(masked(Tensor(x)), Tensor(y)).asnumpy() - whole).mean(), abs=1e-5)


def test_twins_are_safe_one_at_a_time_and_one_of_them_stays(found, tmp_path):
    hidden = found.channels.tolist()
    assert found.safe[:4].all(), "both twins are safe alone"
    assert set(hidden[2:4]) <= set(found.removable())
    together = gs.safe_together(network(), found, [images(4, 2000)], LOSS, eps=EPS)
    assert set(hidden[:2]) <= set(together.removed)
    assert len(set(hidden[2:4]) & set(together.removed)) < 2
    assert together.cost[together.sizes.index(together.certified)] < EPS
    assert max(together.cost) > EPS, "all of them at once are not safe"
    slim = gs.slim(network(), together.plan())
    assert slim[0].weight.shape[0] == 8 - together.certified
    assert f"{together.certified} of {len(together.order)} channels go together" in str(together)
    record = json.loads(open(together.save(str(tmp_path / "set.json"))).read())
    assert record["removed"] == list(together.removed) and record["images"] == 2000
    assert record["kind"] == "golden_stick safe set" and record["statement"] == str(together)


def test_the_surest_go_first_and_few_tests_are_sizes_evenly_apart(found):
    together = gs.safe_together(network(), found, [images(5)], LOSS, eps=EPS, tests=2)
    assert together.sizes == (1, len(together.order))
    doubts = dict(zip(found.channels.tolist(), found.p_values))
    assert [doubts[channel] for channel in together.order] == sorted(doubts[channel] for channel in together.order)
    assert set(together.order[:2]) == set(found.channels[:2].tolist()), "those that enter nothing"


def test_nothing_goes_where_the_first_test_fails(found):
    x, labels = images(6)
    costly = found.channels[np.argsort(found.cost)[-2:]]
    worst = replace(found, safe=np.isin(found.channels, costly))
    together = gs.safe_together(network(), worst, [(x, labels)], LOSS, eps=1e-6)
    assert together.certified == 0 and together.removed == ()
    assert "none of 2 channels can go with the mean loss shown to rise by less than 1e-06" in str(together)


def test_the_sequence_ends_with_the_first_test_that_fails():
    assert sets_passed(np.array([0.05, 0.09, 0.11, 0.0]), 0.9) == 2
    assert sets_passed(np.array([0.2, 0.0]), 0.9) == 0


def test_the_statement_is_wrong_no_more_often_than_it_says():
    """Sets of growing cost, the third exactly at the bound: certifying that or more is the error."""
    generator, runs, wrong = np.random.default_rng(0), 2000, 0
    for _ in range(runs):
        loss_increase = generator.exponential(1.0, (400, 5)) - 1.0 + np.array([0.0, 0.5, 1.0, 1.1, 1.2]) * 0.1
        p_values = equivalence_p_values(loss_increase.mean(0), loss_increase.std(0, ddof=1), 400, 0.1)
        wrong += sets_passed(p_values, 0.9) >= 3
    # Three standard errors; a t-test of skewed numbers is not exact either.
    assert wrong / runs <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / runs)


@pytest.mark.parametrize("changed, error, message", [
    ({"network": 3}, ArgumentTypeError, "both 'network' and 'loss' must be Cells, but got int and"),
    ({"found": None}, ArgumentTypeError, "'found' must be what 'safe_filters' returns, but got NoneType"),
    ({"eps": 0.0}, ArgumentError, "For 'safe_together', 'eps' must be in"),
    ({"confidence": 1.0}, ArgumentError, "For 'safe_together', 'confidence' must be in"),
    ({"tests": 0}, ArgumentError, "For 'safe_together', 'tests' must be"),
    ({"data": [images(2, 2000)]}, ArgumentError, "no image of 'data' must have been used to find the filters, but 2,0"),
    ({"network": nn.SequentialCell(nn.Dense(4, 8), nn.ReLU(), nn.Dense(8, 3))}, ArgumentError,
     "'found' must be of 'network' as it is"),
])
def test_wrong_arguments(found, changed, error, message):
    arguments = {"network": network(), "found": found, "data": [images(7)], "loss": LOSS, **changed}
    with pytest.raises(error, match=message):
        gs.safe_together(**arguments)


def test_nothing_safe_is_an_error(found):
    with pytest.raises(ArgumentError, match="'found' must hold a safe filter that can go, but holds none"):
        gs.safe_together(network(), replace(found, safe=np.zeros(8, bool)), [images(8)], LOSS)
