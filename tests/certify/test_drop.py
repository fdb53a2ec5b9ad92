"""The exact test against enumeration of every outcome, and against what theory says of it."""
import itertools
import math

import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.certify import PairedCounts, certify_in_sequence, compare_predictions, drop_p_value
from golden_stick.certify.drop import binomial_interval, drop_score, outcome_probability, rejection_boundary


def outcomes(images):
    return [(lost, gained) for lost in range(images + 1) for gained in range(images + 1 - lost)]


def probability(lost, gained, images, lost_rate, gained_rate):
    """Of one outcome, by the multinomial formula."""
    rest = images - lost - gained
    ways = math.factorial(images) / (math.factorial(lost) * math.factorial(gained) * math.factorial(rest))
    return ways * lost_rate ** lost * gained_rate ** gained * max(0.0, 1 - lost_rate - gained_rate) ** rest


def likelihood(rate, lost, gained, images, max_drop):
    values = np.array([rate + max_drop, rate, 1 - 2 * rate - max_drop])
    counts = np.array([lost, gained, images - lost - gained])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts > 0, counts * np.log(values), 0.0).sum()


@pytest.mark.parametrize("lost, gained", [(0, 0), (3, 5), (1, 9), (10, 9), (0, 4), (2, 0)])
def test_the_score_uses_the_most_likely_rate_of_the_null(lost, gained):
    images, eps = 40, 0.15
    rates = np.linspace(0, (1 - eps) / 2, 400_001)
    best = max(rates[::100], key=lambda rate: likelihood(rate, lost, gained, images, eps))
    best = max(rates[np.abs(rates - best) < 2e-4], key=lambda rate: likelihood(rate, lost, gained, images, eps))
    variance = images * (2 * best + eps - eps * eps)
    expected = min(0.0, (lost - gained - images * eps) / math.sqrt(variance))
    assert drop_score(lost, gained, images, eps) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("images, eps", [(7, 0.3), (25, 0.0), (25, 0.1), (60, 0.01), (60, 0.5)])
def test_the_score_is_monotone_where_it_is_negative(images, eps):
    for lost, gained in outcomes(images - 1):
        here = drop_score(lost, gained, images, eps)
        if here < 0:
            assert drop_score(lost, gained + 1, images, eps) < here
            assert drop_score(lost + 1, gained, images, eps) > here


@pytest.mark.parametrize("images, eps", [(6, 0.2), (12, 0.1), (12, 0.0)])
def test_the_boundary_encloses_the_outcomes_at_least_as_extreme(images, eps):
    for score in (-0.3, -1.0, -2.0):
        boundary = rejection_boundary(score, images, eps)
        for lost, gained in outcomes(images):
            assert (gained >= boundary[lost]) == (drop_score(lost, gained, images, eps) <= score + 1e-9)


@pytest.mark.parametrize("lost_rate, gained_rate", [(0.1, 0.0), (0.2, 0.1), (0.55, 0.45), (0.6, 0.2), (1.0, 0.0)])
def test_probabilities_are_those_of_enumeration(lost_rate, gained_rate):
    images, eps = 14, 0.1
    for score in (-0.2, -0.9, -1.7):
        boundary = rejection_boundary(score, images, eps)
        wanted = sum(probability(lost, gained, images, lost_rate, gained_rate)
                     for lost, gained in outcomes(images) if gained >= boundary[lost])
        got = outcome_probability(boundary, lost_rate, gained_rate)
        assert wanted <= got <= wanted + 2e-8


def test_clopper_pearson():
    # The textbook case of no success in n: the upper end solves (1 - p)^n = error / 2.
    assert binomial_interval(0, 50, 0.05) == pytest.approx((0.0, 1 - 0.025 ** (1 / 50)), abs=1e-9)
    assert binomial_interval(50, 50, 0.05) == pytest.approx((0.025 ** (1 / 50), 1.0), abs=1e-9)
    assert binomial_interval(5, 50, 0.05) == pytest.approx((0.03327509, 0.21813537), abs=1e-7)


def null_rates(eps, steps=60):
    """Rates on the null and its boundary, fine enough to come near its worst."""
    for gained in np.linspace(0, (1 - eps) / 2, steps):
        yield gained + eps, gained
        yield min(1 - gained, gained + 1.5 * eps + 0.02), gained


@pytest.mark.parametrize("images, eps", [(5, 0.2), (9, 0.05), (14, 0.15), (14, 0.0)])
def test_the_p_value_is_valid_at_every_level_whatever_the_discordance(images, eps):
    """The definition, by brute force: under the null, P(p-value <= a) <= a, for every a that a p-value can be."""
    p_values = {outcome: drop_p_value(*outcome, images, eps, 0.01) for outcome in outcomes(images)}
    levels = sorted(set(p_values.values()))
    for lost_rate, gained_rate in null_rates(eps):
        weights = {outcome: probability(*outcome, images, lost_rate, gained_rate) for outcome in p_values}
        for level in levels:
            assert sum(weight for outcome, weight in weights.items() if p_values[outcome] <= level) <= level + 1e-7


@pytest.mark.parametrize("images, eps", [(9, 0.05), (14, 0.15), (20, 0.3)])
def test_the_p_value_is_not_wasteful(images, eps):
    """It is the largest probability that enumeration finds in the confidence set, within 1 %, and the set's error."""
    for lost, gained in itertools.islice(outcomes(images), 0, None, images):
        score = drop_score(lost, gained, images, eps)
        extreme = [one for one in outcomes(images) if drop_score(*one, images, eps) <= score + 1e-9]
        low, high = binomial_interval(lost + gained, images, 0.02)
        rates = (np.linspace(max(low, eps), high, 200) - eps) / 2 if high > eps else ()
        largest = max((sum(probability(*one, images, rate + eps, rate) for one in extreme) for rate in rates),
                      default=0.0) if score < 0 else 1.0
        got = drop_p_value(lost, gained, images, eps, 0.02) - 0.02 * (score < 0)
        assert largest * 0.9999 - 1e-9 <= got <= min(largest * 1.011 + 1e-6, 1.0)


@pytest.mark.parametrize("images, lost, gained, certified", [
    (5000, 140, 111, True), (5000, 140, 110, False), (1000, 25, 25, True), (1000, 26, 25, False),
    (10000, 285, 214, True), (10000, 287, 213, False),
])
def test_sizes_that_certify_at_five_percent_discordance(images, lost, gained, certified):
    """Drops of 0.58, 0, 0.71 points pass at 90 % for a bound of 1 point; 0.6, 0.1, 0.74 do not."""
    assert (drop_p_value(lost, gained, images, 0.01) <= 0.1) == certified


def test_extremes():
    assert drop_p_value(50, 0, 100, 0.1) == 1.0
    assert drop_p_value(0, 0, 100_000, 0.01) == pytest.approx(1e-3, abs=2e-8)
    assert drop_p_value(0, 100, 100, 0.01) == pytest.approx(1e-3, abs=2e-8)
    assert drop_p_value(0, 0, 10, 0.0) == 1.0
    # Without discordance, (1 - eps)^n is the probability of the outcome at the only rates that make it likely.
    assert drop_p_value(0, 0, 20, 0.1, 1e-12) == pytest.approx(0.9 ** 20, rel=0.011)


@pytest.mark.parametrize("arguments, error, message", [
    ((-1, 0, 10, 0.1), ArgumentError, "'lost' must be a whole number of at least 0"),
    ((0, 0.5, 10, 0.1), ArgumentTypeError, "'gained' must be a whole number"),
    ((0, 0, 0, 0.1), ArgumentError, "'images' must be a whole number of at least 1"),
    ((0, 0, 10, 1.0), ArgumentError, r"'max_drop' must be in \[0, 1\)"),
    ((6, 5, 10, 0.1), ArgumentError, r"'lost' and 'gained' together must be at most 'images', but got 6 \+ 5 of 10"),
])
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        drop_p_value(*arguments)


def test_the_sequence_stops_at_the_first_failure():
    good, bad = PairedCounts(10, 10, 1000), PairedCounts(60, 10, 1000)
    seen = PairedCounts(10, 10, 1000, 0.01, True)  # what another sequence said of it
    first, second, third = certify_in_sequence([good, bad, seen], 0.01, 0.9)
    assert first.certified and first.p_value <= 0.1
    assert not second.certified and second.p_value == 1.0
    assert not third.certified and third.p_value is None and third.drop == 0


def test_the_confidence_decides():
    item = PairedCounts(20, 20, 1000)
    p_value = certify_in_sequence([item], 0.01, 0.9)[0].p_value
    assert 0.01 < p_value < 0.1
    assert not certify_in_sequence([item], 0.01, 0.999)[0].certified
    with pytest.raises(ArgumentError, match="'confidence' must be in"):
        certify_in_sequence([item], 0.01, 1.0)


def test_counts_of_disagreement():
    base, candidate = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert compare_predictions(base, candidate) == PairedCounts(2, 1, 5)
    with pytest.raises(ArgumentError, match="both must be of one length, at least 1"):
        compare_predictions(base, candidate[:3])
