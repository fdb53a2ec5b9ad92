"""Configurations: what is accepted, and the exact words for what is not."""
import json
import re
from fractions import Fraction

import numpy as np
import pytest

from golden_stick.base.config import Interval, OneOf, Option, Whole, check_config, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError

OPTIONS = {
    "prune_rate": Option(0.4, Interval(0.0, 1.0)),
    "threshold": Option(1.0, Interval(0.0, 1.0, closed=True)),
    "seed": Option(0, Whole(0)),
    "residual": Option("group", OneOf(("group", "scatter", "keep"))),
}


def refused(error, message):
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def check(**config):
    return check_config("Algorithm", config, OPTIONS)


def test_defaults_fill_what_is_not_given():
    wanted = {"prune_rate": 0.4, "threshold": 1.0, "seed": 0, "residual": "group"}
    assert check_config("Algorithm", None, OPTIONS) == check_config("Algorithm", {}, OPTIONS) == wanted
    assert check(seed=3) == {**wanted, "seed": 3}


def test_the_users_dict_is_not_changed():
    config = {"seed": 3}
    check_config("Algorithm", config, OPTIONS)
    assert config == {"seed": 3}


@pytest.mark.parametrize("value", [
    0, 0.999, Fraction(1, 3), np.float32(0.5), np.int64(0),
])
def test_every_real_number_in_the_interval_is_accepted(value):
    assert check(prune_rate=value)["prune_rate"] == value


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1.0)])
def test_only_a_closed_interval_holds_its_end(value):
    assert check(threshold=value)["threshold"] == 1
    with refused(ArgumentError, f"For 'Algorithm', 'prune_rate' must be in [0, 1), but got {value!r}."):
        check(prune_rate=value)


@pytest.mark.parametrize("value", [
    -0.1, 1.5, float("nan"), -float("inf"), np.float32("nan"), pytest.param(10 ** 400, id="huge"),
])
def test_numbers_outside_an_interval_are_refused(value):
    with refused(ArgumentError, f"For 'Algorithm', 'prune_rate' must be in [0, 1), but got {value!r}."):
        check(prune_rate=value)
    with refused(ArgumentError, f"For 'Algorithm', 'threshold' must be in [0, 1], but got {value!r}."):
        check(threshold=value)


@pytest.mark.parametrize("value", [
    "0.4", True, np.bool_(True), None, [0.4], np.array([0.4]),
])
def test_what_is_no_number_is_refused_by_its_type(value):
    kind = type(value).__name__
    with refused(ArgumentTypeError, f"For 'Algorithm', 'prune_rate' must be a number in [0, 1), but got {value!r} of "
                                    f"type {kind}."):
        check(prune_rate=value)


@pytest.mark.parametrize("value", [0, 10 ** 30, np.uint64(7)])
def test_every_whole_number_from_the_lowest_on_is_accepted(value):
    assert check(seed=value)["seed"] == value


@pytest.mark.parametrize("value", [-1, np.int8(-3)])
def test_whole_numbers_below_the_lowest_are_refused(value):
    with refused(ArgumentError, f"For 'Algorithm', 'seed' must be a whole number of at least 0, but got {value!r}."):
        check(seed=value)


@pytest.mark.parametrize("value", [1.0, True, "1", None])
def test_what_is_no_whole_number_is_refused_by_its_type(value):
    kind = type(value).__name__
    with refused(ArgumentTypeError, f"For 'Algorithm', 'seed' must be a whole number of at least 0, but got {value!r} "
                                    f"of type {kind}."):
        check(seed=value)


def test_a_choice_is_accepted():
    assert check(residual="keep")["residual"] == "keep"
    assert check(residual=np.str_("keep"))["residual"] == "keep"


@pytest.mark.parametrize("value", ["Group", ""])
def test_another_string_is_refused(value):
    with refused(ArgumentError, "For 'Algorithm', 'residual' must be one of 'group', 'scatter', 'keep', but got "
                                f"{value!r}."):
        check(residual=value)


@pytest.mark.parametrize("value", [None, 0, ["group"]])
def test_what_is_no_string_is_refused_by_its_type(value):
    kind = type(value).__name__
    with refused(ArgumentTypeError, "For 'Algorithm', 'residual' must be one of 'group', 'scatter', 'keep', but got "
                                    f"{value!r} of type {kind}."):
        check(residual=value)


@pytest.mark.parametrize("key, nearest", [
    ("prunerate", "prune_rate"), ("rate", "prune_rate"), ("Seed", "seed"),
])
def test_an_unknown_key_names_the_nearest(key, nearest):
    with refused(ArgumentError, f"For 'Algorithm', 'config' has an unknown key {key!r}: did you mean '{nearest}'? "
                                "Known keys: prune_rate, residual, seed, threshold."):
        check(**{key: 1})


def test_a_key_of_another_type_is_unknown():
    with pytest.raises(ArgumentError, match=r"^For 'Algorithm', 'config' has an unknown key 3: .*Known keys: prune_ra"):
        check_config("Algorithm", {3: 1}, OPTIONS)


def test_where_no_key_is_known_none_is_proposed():
    with refused(ArgumentError, "For 'Algorithm', 'config' has an unknown key 'seed': Known keys: ."):
        check_config("Algorithm", {"seed": 1}, {})


@pytest.mark.parametrize("config, kind", [
    ("prune_rate", "str"), ([("seed", 1)], "list"), (0.4, "float"),
])
def test_a_config_that_is_no_mapping_is_refused(config, kind):
    with refused(ArgumentTypeError, f"For 'Algorithm', 'config' must be a dict, but got {kind}."):
        check_config("Algorithm", config, OPTIONS)


def test_every_value_is_checked_though_another_is_right():
    with pytest.raises(ArgumentError, match="'seed' must be a whole number"):
        check(prune_rate=0.1, seed=-1)


def test_a_config_of_numpy_numbers_is_fit_for_json():
    config = check(prune_rate=np.float32(0.5), seed=np.int64(3))
    assert json.loads(json.dumps(config)) == {"prune_rate": 0.5, "threshold": 1.0, "seed": 3, "residual": "group"}


def test_a_single_value_is_checked_in_the_same_words():
    assert check_value("verify", "tolerance", 0.5, Interval(0, 1)) is None
    with refused(ArgumentError, "For 'verify', 'tolerance' must be in [0, 1), but got 2."):
        check_value("verify", "tolerance", 2, Interval(0, 1))


@pytest.mark.parametrize("constraint, words", [
    (Interval(0, 0.5), "a number in [0, 0.5)"), (Interval(-1, 1, closed=True), "a number in [-1, 1]"),
    (Whole(2), "a whole number of at least 2"), (OneOf(("a", "b")), "one of 'a', 'b'"),
])
def test_constraints_say_what_they_accept(constraint, words):
    assert str(constraint) == words


def test_an_interval_without_an_upper_end_holds_every_finite_number():
    assert Interval(0, float("inf")).check(1e300) is None
    assert Interval(0, float("inf"), closed=True).check(float("inf")) == "value"
