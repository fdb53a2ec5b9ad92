"""Distribution functions against tabulated values, exact sums, and scipy where it is installed."""
import math

import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError
from golden_stick.certify.distributions import binomial_interval, binomial_tail, incomplete_beta, student_t_cdf
from golden_stick.certify.equivalence import discoveries, equivalence_p_values


@pytest.mark.parametrize("degrees, quantile, probability", [
    # The upper quantiles of any printed table of Student's t; half a unit of their last digit moves 2e-4 at most.
    (1, 6.314, 0.95), (1, 31.82, 0.99), (5, 2.015, 0.95), (10, 2.764, 0.99), (30, 1.310, 0.90), (120, 2.617, 0.995),
])
def test_student_t_has_the_tabulated_quantiles(degrees, quantile, probability):
    assert student_t_cdf(quantile, degrees) == pytest.approx(probability, abs=2e-4)
    assert student_t_cdf(-quantile, degrees) == pytest.approx(1 - probability, abs=2e-4)


def test_student_t_at_the_ends():
    assert student_t_cdf(np.array([-np.inf, 0.0, np.inf]), 9).tolist() == [0.0, 0.5, 1.0]


def test_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    special = pytest.importorskip("scipy.special")
    generator = np.random.default_rng(0)
    first, second = np.exp(generator.uniform(-2, 9, 500)), np.exp(generator.uniform(-2, 9, 500))
    at = np.clip(generator.beta(first, second), 1e-12, 1 - 1e-12)
    np.testing.assert_allclose(incomplete_beta(first, second, at), special.betainc(first, second, at), atol=1e-10)
    for degrees in (1, 2, 7, 100, 4999):
        values = generator.normal(size=200) * 4
        np.testing.assert_allclose(student_t_cdf(values, degrees), stats.t.cdf(values, degrees), rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("trials, rate", [(1, 0.3), (12, 0.01), (30, 0.5), (30, 1.0), (30, 0.0)])
def test_binomial_tails_are_sums(trials, rate):
    for least in range(-1, trials + 2):
        wanted = sum(math.comb(trials, count) * rate ** count * (1 - rate) ** (trials - count)
                     for count in range(max(0, least), trials + 1))
        assert binomial_tail(least, trials, rate) == pytest.approx(wanted, abs=1e-12)


def test_clopper_pearson():
    # The textbook case of no success in n: the upper end solves (1 - p)^n = error / 2.
    assert binomial_interval(0, 50, 0.05) == pytest.approx((0.0, 1 - 0.025 ** (1 / 50)), abs=1e-9)
    assert binomial_interval(50, 50, 0.05) == pytest.approx((0.025 ** (1 / 50), 1.0), abs=1e-9)
    assert binomial_interval(5, 50, 0.05) == pytest.approx((0.03327509, 0.21813537), abs=1e-7)


def test_equivalence_by_hand():
    # 4 images, mean 0, deviation 2: t = (0 - 2.353363) / 1, the 5 % quantile of 3 degrees of freedom.
    assert equivalence_p_values(np.array([0.0]), np.array([2.0]), 4, 2.353363)[0] == pytest.approx(0.05, abs=1e-6)
    assert equivalence_p_values(np.zeros(1), np.zeros(1), 4, 0.1).tolist() == [0.0]
    assert equivalence_p_values(np.full(1, 0.2), np.zeros(1), 4, 0.1).tolist() == [1.0]
    with pytest.raises(ArgumentError, match="'images' must be at least 2"):
        equivalence_p_values(np.zeros(1), np.zeros(1), 1, 0.1)


def test_benjamini_hochberg_by_hand():
    # The example of Benjamini and Hochberg 1995, section 3.2: at q = 0.05 the four smallest of fifteen.
    p_values = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719,
                         0.6528, 0.7590, 1.0])
    assert discoveries(p_values, 0.05).sum() == 4
    assert discoveries(p_values[::-1], 0.05).tolist() == [False] * 11 + [True] * 4
    # Benjamini and Yekutieli divide q by 1 + 1/2 + ... + 1/15 = 3.318: level 0.01507, times 3/15 is 0.00301.
    assert discoveries(p_values, 0.05, "by").sum() == 3
    assert discoveries(np.array([0.2, 0.9]), 0.1).sum() == 0 and len(discoveries(np.zeros(0), 0.1)) == 0
    # A step-up: a p-value above its own line is taken if a larger one is below its.
    assert discoveries(np.array([0.06, 0.08]), 0.1).all()


def test_false_discoveries_stay_rare():
    generator = np.random.default_rng(3)
    shares = []
    for _ in range(400):
        p_values = generator.random(100)
        p_values[:30] = generator.beta(0.2, 8, 30)
        found = discoveries(p_values, 0.2)
        shares.append(found[30:].sum() / max(1, found.sum()))
    # Benjamini-Hochberg attains q times the share of true hypotheses.
    assert np.mean(shares) == pytest.approx(0.2 * 0.7, abs=3 * np.std(shares) / 20)
