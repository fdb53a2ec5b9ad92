"""How the scores of layers become those of a group, by hand."""
import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError
from golden_stick.graph.groups import find_groups
from golden_stick.prune.plan import group_importance
from tests.graph.build import Builder


def shared_group():
    """Layers 'a' and 'b' make the same 4 channels, 'b' two more that always stay."""
    b = Builder()
    x = b.input(2, 3, 4, 4)
    padded = b.node("PadV3", [b.convolution("a", x, 4), (0, 0, 0, 0, 1, 1), 0.0], (2, 6, 4, 4))
    return find_groups(b.graph(b.convolution("c", b.add(padded, b.convolution("b", x, 6)), 2)))[0]


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


@pytest.mark.parametrize("reduction, wanted", [
    ("mean", [1.5, -1.0, 5.0]), ("sum", [3.0, -2.0, 10.0]), ("max", [2.0, 1.0, 6.0]),
    ("norm", [np.sqrt(5), np.sqrt(10), np.sqrt(52)]),
])
def test_reductions(reduction, wanted):
    """The norm is of scores that are not negative, here the magnitudes."""
    b = Builder()
    x = b.input(2, 3, 4, 4)
    both = b.add(b.convolution("a", x, 3), b.convolution("b", x, 3))
    (group,) = find_groups(b.graph(b.convolution("c", both, 2)))
    scores = {"a.weight": np.array([1.0, 1.0, 4.0]), "b.weight": np.array([2.0, -3.0, 6.0])}
    if reduction == "norm":
        with pytest.raises(ArgumentError, match="scores must not be negative for 'reduction' 'norm', but those of 'b"):
            group_importance(group, scores, reduction, "none")
        scores = {name: np.abs(values) for name, values in scores.items()}
    np.testing.assert_allclose(group_importance(group, scores, reduction, "none"), wanted)


@pytest.mark.parametrize("normalizer, unit", [("mean", 2.0), ("sum", 8.0), ("max", 4.0), ("none", 1.0)])
def test_normalizers(normalizer, unit):
    scores = np.array([-1.0, 0.0, 3.0, 4.0])
    np.testing.assert_allclose(group_importance(shared_group(), {"a.weight": scores}, normalizer=normalizer),
                               scores / unit)
