"""Knockoff+ by its definition, and its promise kept in simulation."""
import json
import re

import numpy as np
import pytest

from benchmarks.simulations import fdr
from golden_stick.base.errors import ArgumentError
from golden_stick.knockoffs.selection import knockoff_threshold, least_passing, select, select_derandomized


def by_definition(statistics, rate):
    found = [t for t in np.abs(statistics) if t > 0
             and (1 + sum(w <= -t for w in statistics)) / max(1, sum(w >= t for w in statistics)) <= rate]
    return min(found, default=np.inf)


@pytest.mark.parametrize("seed", range(4))
def test_threshold_is_what_its_definition_says(seed):
    generator = np.random.default_rng(seed)
    statistics = np.round(generator.normal(1.0, 1.0, 40), 1)
    for rate in (0.05, 0.1, 0.3, 0.9):
        assert knockoff_threshold(statistics, rate) == by_definition(statistics, rate)


def test_selection_by_hand():
    statistics = np.array([5.0, 4.0, 3.0, 2.0, -1.0, 0.0])
    # At 2: (1 + 0) / 4 = 0.25. At 1: (1 + 1) / 4 = 0.5.
    np.testing.assert_array_equal(select(statistics, 0.25), [True, True, True, True, False, False])
    assert not select(statistics, 0.24).any()
    assert not select(np.zeros(5), 0.5).any()


@pytest.mark.parametrize("statistics, rate, message", [
    ([1.0], 0.0, r"'rate' must be in \(0, 1\), but got 0"), ([1.0], 1.0, "'rate' must be in"),
    ([np.nan], 0.1, "'statistics' must be numbers, but got NaN"),
])
def test_what_has_no_threshold(statistics, rate, message):
    with pytest.raises(ArgumentError, match=f"For 'knockoff_threshold', {message}"):
        knockoff_threshold(np.array(statistics), rate)


def test_draws_that_agree_select_what_e_values_allow():
    draw = np.array([9.0] * 20 + [-0.5] * 3 + [0.1] * 7)
    # T at 0.05 is 9: 20 pass, none is against; each has e = 30, and 30 >= 30 / (0.1 * 20).
    np.testing.assert_array_equal(select_derandomized([draw, draw], 0.1), np.arange(30) < 20)
    # Another draw that selects nothing halves the evidence: 15 >= 15 still; a third and fourth end it.
    nothing = np.zeros(30)
    assert select_derandomized([draw, nothing], 0.1).sum() == 20
    assert select_derandomized([draw] + [nothing] * 19, 0.1).sum() == 0


@pytest.mark.parametrize("draws", [[], [np.ones(2), np.ones(3)]])
def test_draws_must_fit_each_other(draws):
    with pytest.raises(ArgumentError, match="For 'select_derandomized', 'draws' must be at least one, all of the same"):
        select_derandomized(draws, 0.1)


@pytest.fixture(scope="module")
def rows():
    return {(row["correlation"], row["fitted_on"], row["knockoffs"]): row for row in fdr.simulate(40)}


@pytest.mark.parametrize("correlation", fdr.CORRELATIONS)
def test_valid_knockoffs_on_held_out_data_keep_the_rate(rows, correlation):
    for kind in ("valid", f"valid, {fdr.DRAWS} draws"):
        row = rows[correlation, "held-out", kind]
        assert 0.45 <= row["mean"][0] <= 0.55
        for at, rate in ((1, 0.1), (3, 0.2)):
            assert row["mean"][at] <= rate + 3 * row["error"][at]
    assert rows[correlation, "held-out", "valid"]["mean"][4] > 0.5


@pytest.mark.parametrize("correlation", fdr.CORRELATIONS)
def test_reused_data_break_the_rate(rows, correlation):
    row = rows[correlation, "reused", "valid"]
    assert row["mean"][0] < 0.4 and row["mean"][1] >= 0.4 and row["mean"][3] >= 0.5


def test_independent_copies_break_the_rate_where_variables_are_correlated(rows):
    valid, copy = (rows[0.8, "held-out", kind]["mean"][3] for kind in ("valid", "independent copy"))
    assert copy > 0.2 and copy > valid + 0.03


def test_the_command_writes_rows_and_page(tmp_path, monkeypatch, capsys):
    arguments = ["fdr.py", "--repetitions", "2", "--output", str(tmp_path / "a.json"), "--page", str(tmp_path / "a.md")]
    monkeypatch.setattr("sys.argv", arguments)
    fdr.main()
    assert len(json.loads((tmp_path / "a.json").read_text())["rows"]) == 15
    page = (tmp_path / "a.md").read_text()
    assert len(re.findall(r"^\| 0\.[058] \|", page, re.M)) == 15 and page.count("reused") == 6
    assert capsys.readouterr().out.count("held-out") == 9


@pytest.mark.parametrize("rate", [0.1, 0.3, 1 / 49, 0.07])
def test_so_many_must_pass(rate):
    """One fewer, and even the best statistics select nothing."""
    least = least_passing(rate, 1)
    assert select(np.ones(least), rate).all() and not select(np.ones(least - 1), rate).any()
    least = least_passing(rate, 3)
    assert select_derandomized([np.ones(least)] * 3, rate).all()
    assert not select_derandomized([np.ones(least - 1)] * 3, rate).any()
