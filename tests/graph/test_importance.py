"""Criteria by hand, and how the scores of layers become those of a group."""
import numpy as np
import pytest

from golden_stick.graph.groups import find_groups
from golden_stick.prune.importance import CRITERIA, group_importance
from tests.graph.build import Builder

WEIGHT = np.array([[3.0, -4.0], [0.0, 0.0], [-1.0, 1.0]])
SCALE = np.array([-2.0, 0.5, 0.0])


def score(name, scale=SCALE, seed=0):
    return CRITERIA[name](WEIGHT, scale, np.random.default_rng(seed))


def shared_group():
    """Layers 'a' and 'b' make the same 4 channels, 'b' two more that always stay."""
    b = Builder()
    x = b.input(2, 3, 4, 4)
    padded = b.node("PadV3", [b.convolution("a", x, 4), (0, 0, 0, 0, 1, 1), 0.0], (2, 6, 4, 4))
    return find_groups(b.graph(b.convolution("c", b.add(padded, b.convolution("b", x, 6)), 2)))[0]


@pytest.mark.parametrize("name, wanted", [("l1", [7, 0, 2]), ("l2", [5, 0, np.sqrt(2)]), ("bn_scale", [2, 0.5, 0])])
def test_criteria_by_hand(name, wanted):
    np.testing.assert_allclose(score(name), wanted)


def test_without_a_normalization_all_scales_count_as_one():
    assert score("bn_scale", None).tolist() == [1, 1, 1]


def test_random_scores_are_those_of_their_generator():
    np.testing.assert_array_equal(score("random", seed=3), np.random.default_rng(3).random(3))
    assert (score("random", seed=3) != score("random", seed=4)).all()


def test_every_criterion_gives_one_finite_score_per_filter():
    for name in CRITERIA:
        assert score(name).shape == (3,)
        assert np.isfinite(score(name)).all()


def test_scores_are_divided_by_their_mean_magnitude_and_averaged_over_layers():
    scores = {"a.weight": np.array([1.0, 2.0, 3.0, 2.0]), "b.weight": np.array([60.0, 10.0, 20.0, 30.0, 0.0, 0.0])}
    # a: divided by 2; b: by 20, its positions 1 to 4 are the channels of a.
    wanted = np.array([(0.5 + 0.5) / 2, (1.0 + 1.0) / 2, (1.5 + 1.5) / 2, (1.0 + 0.0) / 2])
    np.testing.assert_allclose(group_importance(shared_group(), scores), wanted)


def test_negative_scores_keep_their_sign():
    np.testing.assert_allclose(group_importance(shared_group(), {"a.weight": np.array([-1.0, 1.0, -2.0, 0.0])}),
                               [-1, 1, -2, 0])


def test_a_layer_without_scores_has_no_say():
    scores = {"b.weight": np.array([9.0, 1.0, 2.0, 3.0, 4.0, 9.0])}
    np.testing.assert_allclose(group_importance(shared_group(), scores) * np.mean(scores["b.weight"]), [1, 2, 3, 4])


def test_without_any_scores_there_is_no_importance():
    assert group_importance(shared_group(), {"c.weight": np.ones(2)}) is None


def test_scores_that_are_all_zero_stay_zero():
    assert group_importance(shared_group(), {"a.weight": np.zeros(4)}).tolist() == [0, 0, 0, 0]


def test_the_unit_of_a_layer_does_not_matter():
    generator = np.random.default_rng(0)
    first, second = generator.random(4), generator.random(6)
    one = group_importance(shared_group(), {"a.weight": first, "b.weight": second})
    other = group_importance(shared_group(), {"a.weight": first * 1e6, "b.weight": second * 1e-6})
    np.testing.assert_allclose(one, other)


def test_channels_that_several_filters_of_a_layer_make_take_their_mean():
    b = Builder()
    made = b.convolution("a", b.input(2, 3, 4, 4), 4)
    (group,) = find_groups(b.graph(b.convolution("b", made, 2, group=2)))
    np.testing.assert_allclose(group_importance(group, {"a.weight": np.array([1.0, 2.0, 3.0, 2.0])}), [1.0, 1.0])
