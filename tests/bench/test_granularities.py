"""The page of granularities, from fixed numbers."""
import pytest

pytestmark = pytest.mark.usefixtures("benchmarks")


def test_a_line_for_every_granularity():
    from granularities import page
    original = {"date": "2026-01-01", "files": "0", "pruned": 0.985, "bytes": 1000, "onnx": 900, "macs": 1.0,
                "nonzero": 270000}
    sparse = {**original, "pruned": 0.5, "recovered": 0.912, "finetuned": 0.981, "bytes": 140, "nonzero": 27000}
    times = {(name, batch): (0.001 * batch, 0.002 * batch) for name in ("original", "90 %") for batch in (1, 32)}
    facts = {"load": 0.0, "versions": {"onnxruntime": "1.2"}, "images": 360, "calibration": 1280, "epochs": 2,
             "rounds": 30}
    text = page({"original": original, "90 %": sparse}, times, facts)
    assert "| original | 270,000 | 1.00 | 98.5 |  |  | 1,000 | 1.000 | 900 | 1.00 | 32.00 | 2.00 | 64.00 |" in text
    assert "| 90 % | 27,000 | 1.00 | 50.0 | 91.2 | 98.1 | 140 | 0.140 | 900 | 1.00 | 32.00 | 2.00 | 64.00 |" in text
    assert '{"prune_rate": 0.9}' in text and "not quiet" not in text
    assert "not quiet" in page({"original": original}, times, {**facts, "load": 1.5})
