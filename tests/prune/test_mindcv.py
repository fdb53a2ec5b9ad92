"""
The networks of mindcv, pruned and compared as `benchmarks/mindcv_coverage.py` does.

    pip install --no-deps mindcv==0.3.0
"""
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

mindcv = pytest.importorskip("mindcv", reason="mindcv is absent: pip install --no-deps mindcv==0.3.0")

import golden_stick as gs  # noqa: E402
from golden_stick.graph.plan import Untouched  # noqa: E402
from tests.marks import quick  # noqa: E402
from tests.prune.test_accounting import check_names, half  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import mindcv_coverage as coverage  # noqa: E402
from mindcv_parts.networks import all_variants, table  # noqa: E402

LIGHT = ("googlenet", "mobilenet_v3_small_075")
TABLE = table()
# Families of which nothing can be removed exactly, by how their names begin, and why.
WHOLE = {"bit_": "a weight is computed from all of it", "convnextv2": "normalized over the channels"}
OTHERS = {name: where for name, where in all_variants().items() if name not in TABLE}


@pytest.fixture(autouse=True)
def pynative_mode():
    """Each network runs a few times only: compiling it takes longer than all the rest."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)


def check_exact(row):
    """Pruned, equal to the masked network, and unlike the original, without which equality would be worth nothing."""
    assert row["outcome"] == "exact", row
    assert row["difference"] <= coverage.TOLERANCE < 0.01 < row["effect"]
    assert row["unaccounted"] == []
    for before, after in (row["parameters"], row["macs"]):
        assert after < before


def check(name, row):
    """Pruned exactly, or left as it is for the reason that the family is known for."""
    reason = next((why for start, why in WHOLE.items() if name.lower().startswith(start)), None)
    if reason is None:
        check_exact(row)
    else:
        assert row["outcome"] == "nothing to prune" and reason in row["failure"] and row["unaccounted"] == [], row


@pytest.mark.parametrize("name", quick(LIGHT, ["mobilenet_v3_small_075"]))
def test_light_networks_are_pruned_exactly(name):
    row = coverage.measure(name, TABLE[name][1])
    check_exact(row)
    # All but the 1000 classes, and what shares channels with the image.
    assert row["removable"] > 0.7 and row["macs"][1] < 0.6 * row["macs"][0]
    assert row["without_rule"] == []


@pytest.mark.long
def test_networks_are_built_alike_with_normalizations_that_fit_and_nothing_at_its_default():
    ms.set_context(mode=ms.GRAPH_MODE)
    one, other = (coverage.build("ghostnet_050", 64) for _ in range(2))
    assert ms.get_context("mode") == ms.GRAPH_MODE
    ms.set_context(mode=ms.PYNATIVE_MODE)
    values = {item.name: item.asnumpy() for item in one.get_parameters()}
    for item in other.get_parameters():
        np.testing.assert_array_equal(item.asnumpy(), values[item.name])
        assert np.ptp(values[item.name]) > 0, item.name
    # With statistics drawn at random, numbers of this network grew to 11,521.
    outputs = coverage.run(one, ms.Tensor(np.random.default_rng(7).normal(size=(2, 3, 64, 64)).astype(np.float32)))
    assert 0.1 < np.abs(outputs[0]).max() < 10


def test_the_table_holds_networks_of_mindcv_with_the_families_that_mindcv_gives_them():
    assert len(TABLE) == 58
    assert all(name in mindcv.list_models(module=family) for name, (family, _) in TABLE.items())
    assert set(TABLE) | set(OTHERS) == set(mindcv.list_models())


@pytest.mark.parametrize("name, size", [
    ("resnet50", 64), ("resnet152", 64), ("mobilenet_v2_140", 64), ("mobilenet_v2_035_224", 64), ("vgg19", 224),
    ("cait_s24_384", 384), ("cmt_base", 256), ("repmlp_t256", 256), ("swinv2_base_window16", 256), ("pvt_tiny", 224),
])
def test_sizes_come_from_the_table_the_name_or_mindcv(name, size):
    assert all_variants()[name][1] == size


def test_what_cannot_be_built_is_a_row_as_well():
    row = coverage.measure("mae_b_16_224_pretrain", 224)
    assert row["outcome"] == "not built" and "KeyError" in row["failure"]


def test_what_ends_without_a_row_is_a_crash():
    row = coverage.measure_apart("squeezenet1_1", 64, seconds=0.1)
    assert row == {"outcome": "crash", "failure": "no end after 0.1 s"}
    assert coverage.measure_apart("squeezenet1_1", "no size")["outcome"] == "crash"


def test_a_process_that_the_system_kills_for_its_memory_is_no_crash(monkeypatch):
    ended = SimpleNamespace(returncode=-9, stdout="", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    assert coverage.measure_apart("squeezenet1_1", 64)["outcome"] == "not enough memory"


def test_other_shapes_and_nan_are_no_equality():
    ones = np.ones(3, np.float32)
    assert coverage.distance([ones, 2 * ones], [ones, ones]) == 0.5
    assert coverage.distance([ones], [ones[:2]]) == coverage.distance([ones], [ones, ones]) == float("inf")
    assert not coverage.distance([ones], [ones * np.nan]) <= coverage.TOLERANCE


def test_the_page_counts_outcomes_and_names_failures_and_reasons():
    common = {"family": "f", "input": 64, "date": "2026-01-01"}
    rows = {
        "good": {**common, "outcome": "exact", "removable": 0.4, "difference": 1e-7, "effect": 0.5, "seconds": [1, 2],
                 "parameters": [4_000_000, 1_000_000], "macs": [8_000_000, 4_000_000],
                 "without_rule": ["Odd in 'a'", "Odd in 'b'"], "reasons": {"is odd": 2}, "unaccounted": ["a.weight"]},
        "bad": {**common, "outcome": "refused", "failure": "SlimError: a | b"},
        "whole": {**common, "outcome": "nothing to prune", "failure": "none", "unaccounted": []},
    }
    text = coverage.page(rows)
    assert ("3 networks: 1 pruned, 1 of them exact; refused: 1; nothing to prune: 1. Parameters unaccounted for: 1. "
            "Operators without a rule: Odd (1 networks).") in text
    assert "| 40 % | 4.00 → 1.00 (-75 %) | 8.00 → 4.00 (-50 %) | 1 | 1.0e-07 | 5.0e-01 | 1 + 2 |" in text
    assert "| unaccounted: a.weight; no rule: Odd; is odd (2 layers) |" in text and "| SlimError: a \\| b |" in text
    assert "| nothing to prune |  |  |  | 0 |  |  |  | none |" in text


def test_what_a_report_leaves_out_or_tells_otherwise_is_unaccounted_for():
    whole, cut = nn.SequentialCell(nn.Conv2d(3, 4, 3), nn.Dense(4, 5)), nn.SequentialCell(nn.Conv2d(3, 2, 3),
                                                                                          nn.Dense(2, 5))
    shapes = {"0.weight": ((4, 3, 3, 3), (2, 3, 3, 3)), "1.weight": ((5, 4), (5, 2))}
    why = (Untouched(("1.weight",), ("output of the network",), "nothing to do"),)
    assert coverage.unaccounted(whole, cut, shapes, ()) == []
    assert coverage.unaccounted(whole, cut, {}, ()) == ["0.weight", "1.weight"]
    assert coverage.unaccounted(whole, cut, shapes, why) == ["1.weight"]
    assert coverage.unaccounted(whole, whole, {}, why) == ["0.weight"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "squeezenet1_1" else pytest.mark.long)
                                  for name in TABLE])
def test_every_parameter_is_accounted_for(name):
    size = TABLE[name][1]
    network = coverage.build(name, size)
    graph = gs.trace(network, (1, 3, size, size))
    check_names(network, graph, half(graph))


@pytest.mark.long
@pytest.mark.parametrize("name", TABLE)
def test_one_network_of_every_kind(name):
    check(name, coverage.measure_apart(name, TABLE[name][1]))


@pytest.mark.long
@pytest.mark.parametrize("name", OTHERS)
def test_every_other_variant(name):
    row = coverage.measure_apart(name, OTHERS[name][1], seconds=1200)
    if row["outcome"] in ("not built", "not compiled", "not enough memory"):
        pytest.skip(f"mindcv's own does not run here: {row['failure']}")
    check(name, row)
