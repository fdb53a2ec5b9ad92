"""What the diagnostics say of draws whose nature is known."""
import json

import numpy as np
import pytest
from mindspore import Tensor

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.knockoffs.exchangeability import _covariances, _energy, _half_of
from golden_stick.knockoffs.second_order import METHODS, Moments, SecondOrder

VARIABLES = 12
COVARIANCE = 0.6 ** np.abs(np.subtract.outer(np.arange(VARIABLES), np.arange(VARIABLES)))


def sample(count=800, seed=0):
    return np.random.default_rng(seed).multivariate_normal(np.zeros(VARIABLES), COVARIANCE, count)


def valid(data, method="mvr", seed=1):
    return SecondOrder(Moments(np.zeros(VARIABLES), COVARIANCE, 2), method).draw(data, np.random.default_rng(seed))


@pytest.mark.parametrize("method", METHODS)
def test_second_order_knockoffs_of_gaussian_data_pass(method):
    data = sample(2000, 10)
    found = gs.exchangeability(data, valid(data, method, 11), max_samples=2000, permutations=800)
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


def dependent_pair(count, seed):
    """Two variables of which one is the other up to its sign: uncorrelated, and far from independent."""
    generator = np.random.default_rng(seed)
    first = generator.normal(size=count)
    return np.stack([first, first * generator.choice([-1.0, 1.0], count)], 1)


def test_moments_that_match_do_not_make_a_knockoff():
    data = dependent_pair(2000, 0)
    # An independent draw has all moments up to the second right, since the variables are not correlated.
    found = gs.exchangeability(data, dependent_pair(2000, 1), max_samples=2000)
    assert found.moment_gap <= 0.2 and found.cross_gap <= 0.2
    assert found.full_swap > 0.01 > found.partial_swap and found.verdict == "control"
    assert "swapping some variables shows" in str(found) and "covariances" not in str(found).rpartition("verdict")[2]
    # The same variable, its sign drawn once more, is one: whichever are swapped, the law is the same.
    signs = np.random.default_rng(2).choice([-1.0, 1.0], data.shape)
    assert gs.exchangeability(data, data * signs).verdict == "knockoff"


def test_the_fewest_permutations_are_enough_to_find_a_partial_swap():
    data = sample()
    found = gs.exchangeability(data, np.roll(data, 1, 0), permutations=800)
    assert found.partial_swap == pytest.approx(8 / 801) and found.partial_swap < 0.01
    assert gs.exchangeability(data, data + 5, permutations=800).full_swap == pytest.approx(2 / 801)


@pytest.mark.parametrize("value, kind, message", [
    (799, ArgumentError, "must be a whole number of at least 800, but got 799"),
    (1e3, ArgumentTypeError, "must be a whole number of at least 800, but got 1000.0 of type float"),
])
def test_permutations_too_few_to_reject(value, kind, message):
    with pytest.raises(kind, match=f"For 'exchangeability', 'permutations' {message}"):
        gs.exchangeability(sample(40), sample(40), permutations=value)


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_halves_of_the_variables(count):
    generator = np.random.default_rng(0)
    assert {int(_half_of(count, generator).sum()) for _ in range(20)} == {max(1, count // 2)}


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
        result = gs.exchangeability(data, valid(data, seed=seed), permutations=800)
        found.append((result.full_swap, result.partial_swap))
    # 60 tests at a level of 0.1: more than 12 of them would be chance once in 100 times.
    assert (np.array(found) <= 0.1).sum() <= 12


def test_tensors_images_and_more_than_is_looked_at():
    images = np.random.default_rng(0).normal(size=(1200, 3, 6, 6)).astype(np.float32)
    found = gs.exchangeability(Tensor(images), Tensor(np.roll(images, 1, 0)), permutations=800)
    assert (found.samples, found.variables) == (1000, 64)
    again = gs.exchangeability(images, np.roll(images, 1, 0), permutations=800)
    assert found == again and json.loads(json.dumps(found.to_dict()))["verdict"] == found.verdict


def test_the_statistics_by_hand():
    generator = np.random.default_rng(0)
    pooled, first = generator.normal(size=(10, 3)) + 2.0, generator.permutation(10) < 5
    one, other = pooled[first], pooled[~first]

    def mean_distance(a, b):
        return np.mean([np.linalg.norm(x - y) for x in a for y in b])
    wanted = 2 * mean_distance(one, other) - mean_distance(one, one) - mean_distance(other, other)
    signs = np.where(first, 1.0, -1.0)[None]
    np.testing.assert_allclose(_energy(pooled, signs), [wanted], rtol=1e-6)
    # By the products of three variables, which are fewer than the rows, and by those of the rows.
    for wide in (pooled, np.concatenate([pooled, pooled ** 2], 1)):
        difference = np.cov(wide[first].T) - np.cov(wide[~first].T)
        np.testing.assert_allclose(_covariances(wide, signs), [np.linalg.norm(difference) ** 2])


@pytest.mark.parametrize("real, made, labels, message", [
    (np.ones((30, 2)), np.ones((30, 3)), None, r"'knockoffs' must have the shape of 'real', \(30, 2\), but got"),
    (np.ones((5, 2)), np.ones((5, 2)), None, "at least 20 samples, but got 5"),
    (np.ones((30, 2)), np.full((30, 2), np.nan), None, "'knockoffs' must hold no NaN and no infinity"),
    (np.ones((30, 2)), np.ones((30, 2)), np.ones(3), "'labels' must be one number for each of 30 samples"),
])
def test_refusals(real, made, labels, message):
    with pytest.raises(ArgumentError, match=f"For 'exchangeability', .*{message}"):
        gs.exchangeability(real, made, labels)


@pytest.mark.parametrize("real, made, name, kind", [
    (np.ones((30, 2)), None, "knockoffs", "NoneType"), (3.0, np.ones((30, 2)), "real", "float"),
    (["a", "b"], np.ones((30, 2)), "real", "list")])
def test_what_is_no_array(real, made, name, kind):
    message = f"For 'exchangeability', '{name}' must be an array of numbers, samples along axis 0, but got {kind}"
    with pytest.raises(ArgumentTypeError, match=message):
        gs.exchangeability(real, made)
