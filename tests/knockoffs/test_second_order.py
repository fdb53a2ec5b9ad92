"""Second-order knockoffs against what defines them, and the distances against brute force."""
import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError
from golden_stick.knockoffs.second_order import (
    METHODS,
    Moments,
    SecondOrder,
    equicorrelated,
    minimum_variance,
    moments_of,
    semidefinite,
)


def correlated(variables, correlation):
    return correlation ** np.abs(np.subtract.outer(np.arange(variables), np.arange(variables)))


def random_correlation(variables, seed):
    generator = np.random.default_rng(seed)
    factors = generator.normal(size=(variables, 2 * variables))
    made = factors @ factors.T
    deviation = np.sqrt(np.diag(made))
    return made / np.outer(deviation, deviation)


def test_moments_in_one_pass_are_those_of_the_whole():
    generator = np.random.default_rng(0)
    data = generator.normal(size=(103, 5)) @ generator.normal(size=(5, 5)) + 1e3
    seen = []
    found = moments_of(np.array_split(data, (1, 20, 50)), seen.append)
    np.testing.assert_allclose(found.mean, data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(data, rowvar=False), rtol=1e-9)
    assert found.count == 103 and seen == [1, 20, 50, 103]


@pytest.mark.parametrize("batches, message", [
    ([], "at least 2 samples, but got 0"), ([np.ones((1, 3))], "at least 2 samples, but got 1"),
    ([np.array([[1.0, np.nan]])], "finite, but got NaN"),
])
def test_what_has_no_moments(batches, message):
    with pytest.raises(ArgumentError, match=f"For 'moments_of', .*{message}"):
        moments_of(batches)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(4))
def test_the_joint_covariance_has_no_negative_eigenvalue(method, seed):
    correlation = random_correlation(7, seed)
    distances = METHODS[method](correlation)
    assert distances.shape == (7,) and (distances >= 0).all() and (distances <= 1).all() and distances.sum() > 0.5
    assert np.linalg.eigvalsh(2 * correlation - np.diag(distances))[0] >= -1e-9


def test_uncorrelated_variables_have_knockoffs_that_are_independent_of_them():
    for method in METHODS.values():
        np.testing.assert_allclose(method(np.eye(5)), 1.0, atol=1e-5)


def grid_of_two(correlation):
    """All pairs of distances that are allowed for two variables."""
    axis = np.linspace(0.001, 1.0, 400)
    first, second = np.meshgrid(axis, axis)
    allowed = (2 - first) * (2 - second) >= (2 * correlation) ** 2
    return first[allowed], second[allowed]


def trace_of_inverse(first, second, correlation):
    determinant = (2 - first) * (2 - second) - 4 * correlation ** 2
    return (4 - first - second) / np.maximum(determinant, 1e-12) + 1 / first + 1 / second


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.8, -0.9])
def test_distances_of_two_variables_are_the_best_of_all(correlation):
    matrix = np.array([[1.0, correlation], [correlation, 1.0]])
    first, second = grid_of_two(correlation)
    assert semidefinite(matrix).sum() >= (first + second).max() - 2e-3
    best = trace_of_inverse(first, second, correlation).min()
    assert trace_of_inverse(*minimum_variance(matrix), correlation) <= best * (1 + 1e-4)
    np.testing.assert_allclose(equicorrelated(matrix), min(1.0, 2 * (1 - abs(correlation))), rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_draws_have_the_moments_that_knockoffs_need(method):
    generator = np.random.default_rng(1)
    scale, mean = np.array([1.0, 5.0, 0.1, 2.0]), np.array([0.0, 3.0, -2.0, 100.0])
    covariance = correlated(4, 0.6) * np.outer(scale, scale)
    data = generator.multivariate_normal(mean, covariance, 60_000)
    sampler = SecondOrder(Moments(mean, covariance, 2), method)
    made = sampler.draw(data, np.random.default_rng(2))
    joint = np.cov(np.concatenate([data, made], 1) / np.tile(scale, 2), rowvar=False)
    wanted = correlated(4, 0.6)
    np.testing.assert_allclose(joint[4:, 4:], wanted, atol=0.03)
    np.testing.assert_allclose(joint[:4, 4:], wanted - np.diag(sampler.distances), atol=0.03)
    np.testing.assert_allclose((made.mean(0) - mean) / scale, 0, atol=0.03)


def test_draws_follow_the_generator():
    data = np.random.default_rng(0).normal(size=(50, 3))
    sampler = SecondOrder(moments_of([data]))
    first, again, other = (sampler.draw(data, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).min() > 0


def test_refusals():
    moments = Moments(np.zeros(2), np.eye(2), 10)
    with pytest.raises(ArgumentError, match="'method' must be a way to choose distances"):
        SecondOrder(moments, "asdp")
    with pytest.raises(ArgumentError, match="every variable must vary, but variable 1 is constant"):
        SecondOrder(Moments(np.zeros(2), np.diag([1.0, 0.0]), 10))
