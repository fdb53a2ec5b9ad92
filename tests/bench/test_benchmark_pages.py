"""The pages of the seconds to trace, plan and slim and of the paper's residual sums: from fixed numbers."""

import pytest

pytestmark = pytest.mark.usefixtures("benchmarks")


def test_seconds_to_trace_plan_and_slim():
    from trace_plan_slim import page
    steps = {"trace": [1.0, 2.0], "plan": [0.5, 0.25], "slim": [0.5, 0.25], "apply and convert": [6.0, 4.0],
             "prove": [4.0, 1.5], "Torch-Pruning trace": [3.0, 1.0], "Torch-Pruning step": [1.0, 4.0]}
    found = {"machine": {"processor": "P", "mindspore": "2"}, "foreign_load": 0.1, "rounds": 5,
             "sizes": {"resnet56": 32}, "seconds": {"resnet56": steps}}
    text = page(found)
    wall, cpu = text.partition("CPU seconds:")[::2]
    assert "| resnet56, 32 x 32 | 1.00 | 0.50 | 0.50 | 2.00 | 4.00 | 6.00 | 3.00 | 1.00 | 4.00 | 0.50 |" in wall
    assert "| resnet56, 32 x 32 | 2.00 | 0.25 | 0.25 | 2.50 | 1.50 | 4.00 | 1.00 | 4.00 | 5.00 | 0.50 |" in cpu
    alone = {step: value for step, value in steps.items() if not step.startswith("Torch")}
    assert "| 4.00 | 6.00 | - | - | - | - |" in page({**found, "seconds": {"resnet56": alone}})


def test_the_price_of_residual_sums():
    from scatter import FORMS, page
    forms = {form.__name__: {"median_ms": 2.0 + number, "least_ms": 1.0} for number, form in enumerate(FORMS)}
    one = {"name": "scatter", "batch_size": 16, "latency": 0.004, "quartiles": [0.003, 0.005], "cpu": 0.008,
           "speed_up": 1.5, "macs_ratio": 2.25}
    found = {"machine": {"processor": "P"}, "rounds": 30, "foreign_load": 0.1, "forms": {"1 x 64 x 32 x 32": forms},
             "networks": {"foreign_load": None, "measurements": [one]}}
    text = page(found)
    assert "| 1 x 64 x 32 x 32 | 2.000 | 3.000 (1.5) | 4.000 (2.0) | 5.000 (2.5) |" in text
    assert "| scatter | 16 | 4.00 | 3.00, 5.00 | 8.00 | 1.50 | 2.25 |" in text


def test_accuracy_after_recovery():
    from recovery import page
    row = {"date": "2026-01-01", "none": 0.3, "statistics": 0.652, "weights": 0.8314, "macs": 0.613,
           "none seconds": [1.0, 2.0], "weights seconds": [21.0, 32.0]}
    original = {"date": "2026-01-01", "accuracy": 0.88, "made": "adapted", "images": 5000}
    other = {"original": {**original, "accuracy": 0.83, "made": "not adapted"}}
    rows = {"original": original, "l1:inside 0.61 1024 0": row, "fpgm:inside 0.61 1024 0": row,
            "fpgm:inside 0.61 1024 1": {**row, "none": 0.5, "weights": 0.8514, "weights seconds": [23.0, 34.0]}}
    trained = {"date": "2026-01-01", "weights": 0.79, "macs": 0.408, "trained": 0.845, "trained seconds": 420.0}
    rows |= {"l1:inside 0.41 1024 0 1": trained, "l1:inside 0.41 1024 1 1": {**trained, "trained": 0.855}}
    text = page({"resnet20": rows, "resnet56": other}, 2)
    assert "| l1 | inside | 0.613 | 1,024 | 1 | 30.0 | 65.2 | **83.1** | 4.9 | 20 | 30 |" in text
    # Two seeds, two points apart: the standard error of the mean is half of the distance.
    assert "| fpgm | inside | 0.613 | 1,024 | 2 | 40.0 | 65.2 | **84.1** ± 1.0 | 3.9 | 21 | 31 |" in text
    assert "| l1 | inside | 0.408 | 1 | 2 | 79.0 | **85.0** ± 0.5 | 3.0 | 7.0 |" in text
    assert "| l1 | inside | 0.408 | 1,024" not in text and text.count("Trained further, on") == 1
    assert "Before pruning: 88.0, on 5,000 test images; adapted." in text
    assert "Before pruning: 83.0, on 5,000 test images; not adapted." in text
    assert "- `scop`: score fisher, SGD at 0.03, 180 steps in turns of 20\n" in text


def test_the_cost_of_apply_and_convert():
    pytest.importorskip("mindcv", reason="mindcv is absent: pip install --no-deps mindcv==0.3.0")
    from cost import row
    found = {"compile": 10.0, "trace": 11.0, "apply": 21.0, "apply ratio": 2.1, "apply compiled": 2, "convert": 15.5,
             "convert ratio": 1.55, "convert compiled": 1}
    assert row("net", found) == ["net", "10.0", "11.0", "21.0", "2.10", "2", "15.5", "1.55", "1"]
