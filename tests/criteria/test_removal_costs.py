"""What it costs that channels go, against numpy's least squares by brute force, and where redundancy was planted."""
import itertools

import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError
from golden_stick.criteria.least_squares import Regression, refitted, removal_costs
from tests import networks

GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(200, 8)) @ GENERATOR.normal(size=(8, 8))
OWNERS = np.array([5, 5, 7, 7, 9, 9, -1, 2])
CHANNELS = np.array([2, 5, 7, 9])


def regression(seed, owners=OWNERS):
    rows = ROWS - ROWS.mean(0)
    return Regression(rows.T @ rows / len(rows), np.random.default_rng(seed).normal(size=(8, 3)), owners)


def residual(one, gone):
    """By numpy's least squares with a bias: the mean square that is left of what a layer gave."""
    wanted = ROWS @ one.matrix
    rows = np.concatenate([ROWS[:, ~np.isin(one.channels, gone)], np.ones((len(ROWS), 1))], 1)
    return float(np.square(wanted - rows @ np.linalg.lstsq(rows, wanted, rcond=None)[0]).sum() / len(ROWS))


def test_each_step_is_what_a_refit_by_brute_force_loses_and_the_cheapest():
    several = [regression(1), regression(2, OWNERS[::-1].copy())]
    costs = removal_costs(several, CHANNELS, damping=1e-12)
    gone, before, least = [], 0.0, 0.0
    for _ in CHANNELS:
        left = [channel for channel in CHANNELS if channel not in gone]
        after = {channel: sum(residual(one, [*gone, channel]) for one in several) for channel in left}
        first = min(after, key=after.get)
        least = max(least, after[first] - before)
        np.testing.assert_allclose(costs[CHANNELS == first], least, rtol=1e-6)
        gone, before = [*gone, first], after[first]


def test_refitted_is_the_least_squares_without_the_columns():
    one = regression(1)
    gone = one.channels == 7
    matrix = refitted(one.covariance, one.matrix, gone, damping=1e-12)
    assert (matrix[gone] == 0).all()
    off = (ROWS - ROWS.mean(0)) @ (one.matrix - matrix)
    np.testing.assert_allclose(np.square(off).sum() / len(ROWS), residual(one, [7]), rtol=1e-6)
    np.testing.assert_allclose(refitted(one.covariance, one.matrix, gone & False), one.matrix, rtol=1e-6)


class Planted(nn.Cell):
    """Channel 1 is channel 4 twice, 2 is never above zero, 3 is read by nothing; l1 would keep 1, 2 and 3."""

    def __init__(self, kind):
        super().__init__()
        networks_of = {"conv": (nn.Conv2d(2, 6, 3, has_bias=True), nn.Conv2d(6, 4, 3, has_bias=True)),
                       "dense": (nn.Dense(5, 6), nn.Dense(6, 4))}
        self.first, self.second = networks_of[kind]
        self.relu = nn.ReLU()

    def construct(self, x):
        return self.second(self.relu(self.first(x)))


def planted(kind):
    network = networks.randomize(Planted(kind))
    weight, bias, last = (item.asnumpy().copy() for item in
                          (network.first.weight, network.first.bias, network.second.weight))
    weight[1], bias[1] = 2 * weight[4], 2 * bias[4]
    weight[2], bias[2] = 9 * weight[2], -1e4
    weight[3], last[:, 3] = 9 * weight[3], 0
    for held, value in ((network.first.weight, weight), (network.first.bias, bias), (network.second.weight, last)):
        held.set_data(Tensor(value))
    shape = (64, 2, 7, 7) if kind == "conv" else (64, 5)
    return network, np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)


@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_what_is_redundant_goes_first_and_costs_nothing(kind, mode):
    network, data = planted(kind)
    algorithm = gs.OneShot({"criterion": "reconstruction", "prune_rate": 0.5})
    masked = algorithm.apply(network, (1, *data.shape[2:]), data=data)
    scores = algorithm.filter_scores()["first.weight"]
    twins, others = scores[[1, 4]], np.sort(scores[[0, 5]])
    assert scores[[2, 3]].max() < 1e-2 * others[0] and twins.min() < 1e-2 * others[0] < twins.max()
    slim = algorithm.convert(masked, calibration_data=data)
    outputs = network(Tensor(data[1])).asnumpy()
    np.testing.assert_allclose(slim(Tensor(data[1])).asnumpy(), outputs, rtol=0.02, atol=0.02)


def test_costs_are_errors_of_the_outputs():
    network, data = planted("dense")
    algorithm = gs.OneShot({"criterion": "reconstruction", "prune_rate": 0.5})
    data = data[:1]
    algorithm.apply(network, (1, 5), data=data)
    scores = algorithm.filter_scores()["first.weight"]
    rows = np.maximum(np.concatenate(data) @ network.first.weight.asnumpy().T + network.first.bias.asnumpy(), 0)
    matrix = network.second.weight.asnumpy().T

    def off(gone):
        left = np.concatenate([np.delete(rows, gone, 1), np.ones((len(rows), 1))], 1)
        made = left @ np.linalg.lstsq(left, rows @ matrix, rcond=None)[0]
        return np.square(made - rows @ matrix).sum() / np.square(rows @ matrix - (rows @ matrix).mean(0)).sum()

    order = np.argsort(scores)
    cheapest = min(off(list(gone)) for gone in itertools.combinations(range(6), 4))
    np.testing.assert_allclose(off(order[:4].tolist()), cheapest, rtol=1e-6)
    np.testing.assert_allclose(np.sort(scores)[:4].sum(), cheapest, rtol=0.02)


def test_behind_a_normalization_errors_count_by_what_it_gives():
    network = networks.randomize(nn.SequentialCell(nn.Dense(4, 6), nn.ReLU(), nn.Dense(6, 5), nn.BatchNorm1d(5)))
    gamma = np.array([3.0, 0.1, 1.0, 0.5, 2.0], np.float32)
    network[3].gamma.set_data(Tensor(gamma))
    data = np.random.default_rng(0).normal(size=(1, 64, 4)).astype(np.float32)
    algorithm = gs.OneShot({"criterion": "reconstruction"})
    algorithm.apply(network, (1, 4), data=data)
    scores = algorithm.filter_scores()["0.weight"]
    rows = np.maximum(data[0] @ network[0].weight.asnumpy().T + network[0].bias.asnumpy(), 0).astype(np.float64)
    covariance, matrix = np.cov(rows.T, bias=True), network[2].weight.asnumpy().T.astype(np.float64)
    scaled = matrix * gamma / np.sqrt(np.diag(matrix.T @ covariance @ matrix))
    wanted = removal_costs([Regression(covariance, scaled, np.arange(6))], np.arange(6))
    np.testing.assert_allclose(scores / scores.sum(), wanted / wanted.sum(), rtol=1e-3)


@pytest.mark.parametrize("per, shares", [("macs", (14, 9)), ("params", (15, 10)), ("channel", (1, 1))])
def test_scores_over_what_goes_with_a_channel(per, shares):
    network = networks.randomize(nn.SequentialCell(
        nn.Dense(4, 6), nn.ReLU(), nn.Dense(6, 10), nn.ReLU(), nn.Dense(10, 3)))
    algorithm = gs.OneShot({"per": per, "ranking": "global", "prune_rate": 0.5, "normalizer": "none"})
    algorithm.apply(network, (1, 4))
    prices = [np.abs(network[at].weight.asnumpy()).sum(1) / share for at, share in zip((0, 2), shares)]
    # Half of the sixteen; each layer keeps its best.
    best = [values.argmax() for values in prices]
    order = sorted((value, layer) for layer, values in enumerate(prices) for at, value in enumerate(values)
                   if at != best[layer])
    lost = [layer for _, layer in order[:8]]
    assert [layer.after for layer in algorithm.report.layers][:2] == [6 - lost.count(0), 10 - lost.count(1)]


def test_channels_that_no_layer_sums_up_stay_and_the_report_says_so():
    class Product(nn.Cell):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.head = nn.Dense(4, 6), nn.Dense(4, 6), nn.Dense(3, 2)
            self.inner, self.out = nn.Dense(4, 6), nn.Dense(6, 3)

        def construct(self, x):
            product = (self.one(x) * self.other(x)).sum(-1, keepdims=True)
            return self.head(self.out(self.inner(x))) + product

    data = np.random.default_rng(0).normal(size=(1, 16, 4)).astype(np.float32)
    algorithm = gs.OneShot({"criterion": "reconstruction", "prune_rate": 0.5})
    algorithm.apply(networks.randomize(Product()), (2, 4), data=data)
    after = {layer.path: (layer.after, layer.reasons) for layer in algorithm.report.layers}
    assert after["inner"][0] == 3 and after["one"] == (6, (
        "the criterion 'reconstruction' sees no layer that sums these channels up",))

    class Alone(Product):
        def construct(self, x):
            return (self.one(x) * self.other(x)).sum(-1, keepdims=True)

    with pytest.raises(ArgumentError, match="channels must be read by layers that sum them up, for this criterion"):
        gs.OneShot({"criterion": "reconstruction"}).apply(networks.randomize(Alone()), (2, 4), data=data)
    with pytest.raises(ArgumentError, match="'data' must be batches for this criterion"):
        gs.OneShot({"criterion": "reconstruction"}).apply(networks.randomize(Product()), (2, 4))
