"""What the diagnostics say of draws whose nature is known."""
import json

import numpy as np
import pytest
from mindspore import Tensor

import golden_stick as gs
from golden_stick.errors import ArgumentError
from golden_stick.knockoffs.exchangeability import _covariances, _energy
from golden_stick.knockoffs.second_order import METHODS, Moments, SecondOrder

VARIABLES = 12
COVARIANCE = 0.6 ** np.abs(np.subtract.outer(np.arange(VARIABLES), np.arange(VARIABLES)))


def sample(count=800, seed=0):
    return np.random.default_rng(seed).multivariate_normal(np.zeros(VARIABLES), COVARIANCE, count)


def valid(data, method="mvr", seed=1):
    return SecondOrder(Moments(np.zeros(VARIABLES), COVARIANCE, 2), method).draw(data, np.random.default_rng(seed))


@pytest.mark.parametrize("method", METHODS)
def test_second_order_knockoffs_of_gaussian_data_pass(method):
    data = sample(3000)
    found = gs.exchangeability(data, valid(data, method), max_samples=3000, permutations=199)
    assert found.verdict == "knockoff"
    assert found.moment_gap <= 0.05 and found.cross_gap <= 0.05
    assert min(found.full_swap, found.partial_swap) >= 0.01 and found.label_leak is None
    distances = SecondOrder(Moments(np.zeros(VARIABLES), COVARIANCE, 2), method).distances
    assert abs(found.self_correlation - (1 - distances.mean())) < 0.06
    assert "No test tells" in str(found) and "not tested: no labels" in str(found)


def test_another_sample_of_the_batch_is_a_control():
    data = sample()
    found = gs.exchangeability(data, np.roll(data, 1, 0))
    assert found.verdict == "control"
    assert found.moment_gap <= 0.05 and 0.9 < found.cross_gap < 1.1 and found.self_correlation < 0.06
    # The pair as a whole can be swapped; a part of it cannot.
    assert found.full_swap > 0.05 > 0.01 > found.partial_swap
    assert "covariances across are off by" in str(found) and "swapping some variables shows" in str(found)


def test_another_sample_is_a_knockoff_where_variables_are_independent():
    data = np.random.default_rng(3).normal(size=(800, VARIABLES))
    assert gs.exchangeability(data, np.roll(data, 1, 0)).verdict == "knockoff"


@pytest.mark.parametrize("change, fault", [
    (lambda made: made + 0.5, "swapping all variables shows"),
    (lambda made: 1.5 * made, "covariances of the knockoffs"),
])
def test_other_marginals_are_found(change, fault):
    data = sample()
    found = gs.exchangeability(data, change(valid(data)))
    assert found.verdict == "control" and fault in str(found)


def test_labels_that_leak_are_found():
    data = sample()
    labels = (data[:, 0] + np.random.default_rng(5).normal(size=len(data)) > 0).astype(int)
    made = valid(data)
    clean, leaky = (gs.exchangeability(data, draw, labels) for draw in (made, made + 0.5 * labels[:, None]))
    assert clean.label_leak > 0.01 and clean.verdict == "knockoff"
    assert leaky.label_leak < 0.01 and "knockoffs know of the labels" in str(leaky)


def test_false_alarms_are_as_rare_as_their_level():
    found = []
    for seed in range(30):
        data = sample(200, 100 + seed)
        result = gs.exchangeability(data, valid(data, seed=seed), permutations=99)
        found.append((result.full_swap, result.partial_swap))
    # 60 tests at a level of 0.1: more than 12 of them would be chance once in 100 times.
    assert (np.array(found) <= 0.1).sum() <= 12


def test_tensors_images_and_more_than_is_looked_at():
    images = np.random.default_rng(0).normal(size=(1200, 3, 6, 6)).astype(np.float32)
    found = gs.exchangeability(Tensor(images), Tensor(np.roll(images, 1, 0)), permutations=19)
    assert (found.samples, found.variables) == (1000, 64)
    again = gs.exchangeability(images, np.roll(images, 1, 0), permutations=19)
    assert found == again and json.loads(json.dumps(found.to_dict()))["verdict"] == found.verdict


def test_the_statistics_by_hand():
    generator = np.random.default_rng(0)
    pooled, first = generator.normal(size=(9, 3)), np.arange(9) < 4
    one, other = pooled[first], pooled[~first]

    def mean_distance(a, b):
        return np.mean([np.linalg.norm(x - y) for x in a for y in b])
    wanted = 2 * mean_distance(one, other) - mean_distance(one, one) - mean_distance(other, other)
    np.testing.assert_allclose(_energy(pooled, first[None].astype(float)), [wanted], rtol=1e-6)
    difference = np.cov(one.T) - np.cov(other.T)
    np.testing.assert_allclose(_covariances(pooled, first), np.linalg.norm(difference) ** 2)


@pytest.mark.parametrize("real, made, labels, message", [
    (np.ones((30, 2)), np.ones((30, 3)), None, r"'knockoffs' must have the shape of 'real', \(30, 2\), but got"),
    (np.ones((5, 2)), np.ones((5, 2)), None, "at least 20 samples, but got 5"),
    (np.ones((30, 2)), np.full((30, 2), np.nan), None, "'knockoffs' must hold no NaN and no infinity"),
    (np.ones((30, 2)), np.ones((30, 2)), np.ones(3), "'labels' must be one number for each of 30 samples"),
])
def test_refusals(real, made, labels, message):
    with pytest.raises(ArgumentError, match=f"For 'exchangeability', .*{message}"):
        gs.exchangeability(real, made, labels)
