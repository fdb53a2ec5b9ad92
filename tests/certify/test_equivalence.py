"""Tests of equivalence and the rate of false discoveries, against examples by hand and by simulation."""
import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError
from golden_stick.certify import discoveries, equivalence_p_values


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
