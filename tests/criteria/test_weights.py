"""Criteria from weights, each against the definition of its paper written out."""
import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.criteria import CRITERIA, FilterStatistics, add_criterion

WEIGHT = np.array([[3.0, -4.0], [0.0, 0.0], [-1.0, 1.0]])
SCALE = np.array([-2.0, 0.5, 0.0])
FROM_WEIGHTS = [name for name, criterion in CRITERIA.items() if criterion.needs == "nothing"]


def score(name, weight=WEIGHT, scale=SCALE, seed=0):
    return CRITERIA[name].score(FilterStatistics(weight, scale, np.random.default_rng(seed)))


@pytest.mark.parametrize("name, wanted", [
    ("l1", [7, 0, 2]), ("l2", [5, 0, np.sqrt(2)]), ("bn_scale", [2, 0.5, 0]),
    # Distances: 5 between the first two, sqrt(16 + 25) between first and third, sqrt(2) between the others.
    ("fpgm", [5 + np.sqrt(41), 5 + np.sqrt(2), np.sqrt(41) + np.sqrt(2)]),
    # Squared norms 25, 0, 2: the largest is all that is no smaller than itself.
    ("lamp", [1, 0, 2 / 27]),
])
def test_criteria_by_hand(name, wanted):
    np.testing.assert_allclose(score(name), wanted)


def test_without_a_normalization_all_scales_count_as_one():
    assert score("bn_scale", scale=None).tolist() == [1, 1, 1]


def test_random_scores_are_those_of_their_generator():
    np.testing.assert_array_equal(score("random", seed=3), np.random.default_rng(3).random(3))
    assert (score("random", seed=3) != score("random", seed=4)).all()


@pytest.mark.parametrize("name", FROM_WEIGHTS)
def test_every_criterion_gives_one_finite_score_per_filter(name):
    for weight in (WEIGHT, np.zeros((3, 2)), WEIGHT.astype(np.float32)):
        assert score(name, weight).shape == (3,)
        assert np.isfinite(score(name, weight)).all()


@pytest.mark.parametrize("seed", range(5))
def test_fpgm_and_lamp_follow_their_definitions(seed):
    weight = np.random.default_rng(seed).normal(size=(7, 12)).astype(np.float32)
    fpgm = [sum(np.linalg.norm(weight[i].astype(float) - weight[j]) for j in range(7)) for i in range(7)]
    squares = np.square(weight.astype(float)).sum(1)
    lamp = [squares[i] / squares[squares >= squares[i]].sum() for i in range(7)]
    np.testing.assert_allclose(score("fpgm", weight), fpgm)
    np.testing.assert_allclose(score("lamp", weight), lamp)
    assert np.argsort(score("lamp", weight)).tolist() == np.argsort(score("l2", weight)).tolist()


def test_fpgm_finds_the_duplicates_that_a_norm_does_not():
    weight = np.array([[10.0, 0.0], [10.0, 0.0], [10.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
    assert score("fpgm", weight).argmin() == 0
    assert score("l2", weight).argmin() == 3


class TestAddCriterion:
    def test_adds(self):
        add_criterion("first_weight", lambda layer: layer.weight[:, 0], normalizer="max")
        try:
            assert score("first_weight").tolist() == [3, 0, -1]
            assert (CRITERIA["first_weight"].needs, CRITERIA["first_weight"].normalizer) == ("nothing", "max")
        finally:
            del CRITERIA["first_weight"]

    def test_refuses(self):
        before = dict(CRITERIA)
        with pytest.raises(ArgumentError, match="'name' must be a new name, but got 'l1', which is taken"):
            add_criterion("l1", abs)
        with pytest.raises(ArgumentTypeError, match="'name' must be a str, but got int"):
            add_criterion(3, abs)
        with pytest.raises(ArgumentTypeError, match="'score' must be a function, but got float"):
            add_criterion("x", 0.5)
        with pytest.raises(ArgumentError, match="'needs' must be one of 'nothing', 'gate_gradients'"):
            add_criterion("x", abs, needs="gradients")
        with pytest.raises(ArgumentError, match="'normalizer' must be one of 'mean', 'sum', 'max', 'none'"):
            add_criterion("x", abs, normalizer="median")
        assert before == CRITERIA
