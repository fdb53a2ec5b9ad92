"""The deployment benchmark: its twins are the slim networks, and its page says what the times say."""

import numpy as np
import pytest

import golden_stick as gs

pytestmark = pytest.mark.usefixtures("benchmarks")
# Of `a_row`, called as a module and frozen: original, Torch-Pruning at our widths, as it comes.
TORCH_TIMES = "3,000.0, 2,000.0, 1,500.0 | 2,000.0, 1,250.0, 800.0 |"


@pytest.mark.parametrize("name, size", [("resnet20", 16), pytest.param("resnet18", 32, marks=pytest.mark.long),
                                        pytest.param("resnet50", 32, marks=pytest.mark.long),
                                        ("vit_toy", 32), pytest.param("vgg16_bn", 32, marks=pytest.mark.long),
                                        pytest.param("mobilenet_v2", 32, marks=pytest.mark.long)])
def test_the_twin_at_the_slim_widths_is_the_slim_network(name, size):
    from deployment_parts.measure import make
    networks, widths = make(name, size, {"prune_rate": 0.45, "round_to": 8, "round": "down"})
    values = {parameter.name: parameter.value() for parameter in networks["slim"].get_parameters()}
    for parameter in networks["twin"].get_parameters():
        parameter.set_data(values[parameter.name])
    assert gs.verify(networks["slim"], networks["twin"], (1, 3, size, size)).largest_difference == 0.0
    assert min(width % 8 for width in widths.values()) == 0
    original = [parameter.size for parameter in networks["original"].get_parameters()]
    assert sum(value.size for value in values.values()) < sum(original)


def a_row(**changes):
    seconds = {"MindIR, original": [4.0, 8.0, 12.0], "MindIR, slim": [2.0, 4.0, 6.0], "MindIR, twin": [2.0, 4.0, 7.0],
               "PyTorch, original": [3.0] * 3, "PyTorch, slim": [2.0] * 3, "PyTorch, own": [1.5] * 3,
               "PyTorch, frozen, original": [2.0] * 3, "PyTorch, frozen, slim": [1.25] * 3,
               "PyTorch, frozen, own": [0.8] * 3}
    return {"settings": {"network": "resnet50", "batch": 1}, "macs": {"original": 200, "slim": 80}, "rounds": 3,
            "machine": {"processor": "P"}, "torch": {"same_widths": True, "versions": {"torch": "2"},
                                                   "macs": {"original": 200, "slim": 80, "own": 50}},
            "memory": {"MindIR, original": 2**21},
            "pairs": {"MindIR": {"slim": [2.0, 4.0, 6.0], "twin": [2.0, 4.0, 6.0]}},
            "foreign_load": 0.6, "torch_cpu": 5.0, "wall": 10.0, "seconds": seconds, "cpu_seconds": {},
            "bytes": {"slim file": 3e6, "MindIR, original": 9e6}, **changes}


def test_speed_ups_efficiencies_and_twins_are_medians_of_ratios_within_rounds():
    from deployment_parts.page import facts, foreign
    found = facts(a_row())
    assert found["macs_ratio"] == 2.5
    assert found["speed_up"] == {"MindIR": [2.0] * 3, "PyTorch": [1.5] * 3, "PyTorch, frozen": [1.6] * 3}
    assert found["efficiency"] == {"MindIR": 0.8, "PyTorch": pytest.approx(0.6),
                                   "PyTorch, frozen": pytest.approx(0.64)}
    assert found["twin"] == {"MindIR": [1.0] * 3}
    assert found["best"] == 0.8
    assert found["over_rival"] == pytest.approx({"PyTorch": 0.8 / 0.6, "PyTorch, frozen": 0.8 / 0.64})
    assert found["own"]["PyTorch"] == {"macs_ratio": 4.0, "speed_up": [2.0] * 3, "efficiency": 0.5}
    assert found["own"]["PyTorch, frozen"] == {"macs_ratio": 4.0, "speed_up": [2.5] * 3, "efficiency": 0.625}
    assert found["over_own"] == pytest.approx({"PyTorch": 1.6, "PyTorch, frozen": 1.28})
    ours = {name: times for name, times in a_row()["seconds"].items() if "PyTorch" not in name}
    alone = facts(a_row(seconds=ours))
    assert (alone["best"], alone["own"], alone["over_own"], alone["over_rival"]) == (0.8, {}, {}, {})
    # Half a processor was PyTorch's own.
    assert foreign(a_row()) == pytest.approx(0.1)


def test_the_page_says_what_was_reached_and_what_not():
    from deployment_parts.page import page
    failed = {"settings": {"network": "vgg16_bn", "batch": 16}, "error": "took longer than 9 s"}
    text = page([a_row(), failed], 0.45, 16)
    assert "| resnet50, batch 1: speed-up at least 0.85 of the MACs ratio | 0.80 | **no** |" in text
    assert "batch 1: efficiency at least 1.2 of Torch-Pruning's at our widths in PyTorch | 1.33 | yes |" in text
    claim = "| resnet50, batch 1: slim at most 2% slower than its twin, MindIR (median [quartiles]) | "
    assert "| resnet50 | 1 | 2.50 | 8,000.0, 4,000.0, 4,000.0 | -, -, - | " + TORCH_TIMES in text
    # 200 MACs in 8 s and 80 in 4 s; a batch of 16 is 16 times as many.
    assert "| resnet50 | 1 | 2.5e-08, 2e-08 | -, - | 6.67e-08, 4e-08 | 1e-07, 6.4e-08 |" in text
    assert "| resnet50 | 16 | 4e-07, 3.2e-07 | -, - | 1.07e-06, 6.4e-07 | 1.6e-06, 1.02e-06 |" in page(
        [a_row(settings={"network": "resnet50", "batch": 16})], 0.45, 16)
    assert "Not measured: vgg16_bn, batch 16: NOT MEASURED, took longer than 9 s" in text and "not quiet" not in text
    assert "**The machine was not quiet** for 1 of 1 rows" in page([a_row(foreign_load=1.0)], 0.45, 16)
    for ratios, verdict in (((1.00, 1.018, 1.10), "1.018 [1.009, 1.059] | yes"),
                            ((1.00, 1.022, 1.03), "1.022 [1.011, 1.026] | **no**")):
        row = a_row(pairs={"MindIR": {"slim": [2.0, 4.0, 6.0], "twin": list(np.divide([2.0, 4.0, 6.0], ratios))}})
        assert f"{claim}{verdict} |" in page([row], 0.45, 16)
    assert page([failed], 0.45, 16) == "# Deployment\n\nNothing was measured.\n"


def test_the_seconds_decide_how_many_rounds_there_are(monkeypatch):
    from deployment_parts import measure
    ticks = iter([0.0, 0.05] * 3)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(measure, "interleave", lambda turns, rounds, warm_up: None)
    settings = {"rounds": (10, 2000)}
    # Two rounds took 50 ms.
    assert [measure.rounds_in({}, {**settings, "seconds": seconds}) for seconds in (25, 0.1, 120)] == [1000, 10, 2000]


def test_the_slim_network_and_its_twin_meet_again_alone():
    from deployment_parts.measure import pairs_of
    taken = []

    def turn(name, seconds):
        def take():
            taken.append(name)
            return seconds, seconds
        return take

    turns = {name: turn(name, seconds) for name, seconds in (
        ("MindIR, original", 3.0), ("MindIR, slim", 1.0), ("MindIR, twin", 2.0), ("PyTorch, slim", 5.0))}
    found = pairs_of(turns, {"seconds": 0.0, "rounds": (2, 2000)})
    assert found == {"MindIR": {"slim": [1.0] * 6, "twin": [2.0] * 6}}
    assert set(taken) == {"MindIR, slim", "MindIR, twin"}


def test_mindspore_gs_has_its_columns_or_the_reason_why_not():
    from deployment_parts.page import foreign, page
    times = {"mindspore-gs, original": [0.002] * 3, "mindspore-gs, masked": [0.005] * 3}
    row = a_row(gs={"wrapped": 48, "versions": {"mindspore-gs": "1"}}, gs_cpu=1.0,
                seconds={**a_row()["seconds"], **times})
    text = page([row], 0.45, 16)
    assert f"| {TORCH_TIMES} 2.0, 5.0 |" in text and "processor P, torch 2, mindspore-gs 1." in text
    # As much as PyTorch used, and a tenth of a processor of mindspore-gs's own.
    assert foreign(row) == pytest.approx(0.0, abs=1e-9)
    assert "| did not run: it ended |" in page([a_row(gs={"error": "it ended"})], 0.45, 16)
