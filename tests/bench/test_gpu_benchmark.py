"""The benchmark on a GPU: files without weights are the networks, and its page says what the seconds say."""
import json
from pathlib import Path

import numpy as np
import pytest

import golden_stick as gs

pytestmark = pytest.mark.usefixtures("benchmarks")


def test_files_travel_without_weights_and_become_the_networks(tmp_path, monkeypatch):
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    import gpu_latency
    from deployment_parts.networks import build
    from gpu_parts.stubs import read
    widths = {f"blocks.0.{layer}": 32 for layer in ("attention.query", "attention.key", "attention.value", "enter")}
    monkeypatch.setattr(gpu_latency, "variants_of", lambda name, size: {"slim heads": build(name, size, widths)})
    slim = gpu_latency.export("vit_toy", 32, tmp_path)["variants"]["slim heads"]
    assert slim["widths"] == [64, 32, 32, 32, 64, 32, 64]
    # Four tokens of 64: patches, queries, keys, values and what follows them, scores and sums of values, MLP, head.
    assert slim["macs"] == 4 * (768 * 64 + 4 * 64 * 32 + 2 * 4 * 32 + 2 * 64 * 32) + 64 * 1000
    path = tmp_path / slim["file"]
    assert path.stat().st_size < 0.05 * 4 * slim["parameters"]
    model = read(path)
    drawn = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    assert sum(np.prod(tensor.dims) for tensor in drawn) >= slim["parameters"]
    image = np.random.default_rng(0).standard_normal((2, 3, 32, 32), np.float32)
    found, = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {model.graph.input[0].name: image})
    assert found.shape == (2, 1000) and np.isfinite(found).all() and np.ptp(found) > 0


def test_weights_are_drawn_with_the_mean_and_the_deviation_of_those_left_out():
    helper = pytest.importorskip("onnx").helper
    from gpu_parts.stubs import KEPT, draw, stub
    from onnx import numpy_helper
    generator = np.random.default_rng(0)
    values = {"weight": generator.normal(0.5, 2.0, (300, 70)).astype(np.float32), "shape": np.arange(2 * KEPT),
              "gamma": np.full(100, 1.5, np.float32), "small": generator.normal(size=KEPT).astype(np.float32)}
    model = helper.make_model(helper.make_graph([], "g", [], [], [numpy_helper.from_array(value, name)
                                                                for name, value in values.items()]))
    bare = stub(model).SerializeToString()
    assert len(bare) < 0.02 * values["weight"].nbytes
    drawn = draw(type(model).FromString(bare)).graph.initializer
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in drawn}
    for name in ("small", "shape", "gamma"):
        np.testing.assert_array_equal(found[name], values[name])
    assert found["weight"].shape == (300, 70) and not np.array_equal(found["weight"], values["weight"])
    assert abs(found["weight"].mean() - 0.5) < 0.1 and abs(found["weight"].std() - 2.0) < 0.1


def a_record(**row):
    variants = {name: {"macs": macs, "widths": [768, 336]} for name, macs in
                (("original", 4e9), ("slim", 2e9), ("slim16", 1.6e9), ("slim64", 1e9), ("twin", 1.6e9))}
    seconds = {"original": [4e-3, 8e-3, 12e-3], "slim": [4e-3, 8e-3, 12e-3], "slim16": [2e-3, 4e-3, 6e-3],
               "slim64": [1e-3, 2e-3, 3e-3], "twin": [2e-3, 4e-3, 6e-3]}
    first = {"network": "resnet50", "precision": "float16", "batch": 1, "rounds": 3, "seconds": seconds,
             "differences": {"original": 1e-3, "slim": 4e-3}, "state": {"clock": 1980, "power": 301.2}, **row}
    return {"machine": {"GPU": "G"}, "date": "2026-01-01", "made by": {"golden_stick": "1"},
            "networks": {"resnet50": {"size": 224, "channels_last": True, "variants": variants}},
            "rows": [first, {"network": "resnet50", "precision": "float32", "batch": 256, "error": "the time was up"}]}


def test_the_page_says_times_efficiencies_and_what_multiples_do():
    from gpu_parts.page import page
    text = page(a_record())
    assert "| ResNet-50 | 4 | 2 (2.00) | 1.6 (2.50) | 1 (4.00) | - |" in text
    assert "| float16 | 1 | 8.000 [6.000, 10.000] | 8.000 [6.000, 10.000] | 4.000 [3.000, 5.000] |" in text
    assert "| float16 | 1 | 1.00 (0.50) | 2.00 (0.80) | 4.00 (1.00) | 1.000 [1.000, 1.000] |" in text
    assert "float16 0.50 (any width), 0.80 (multiples of 16), 1.00 (multiples of 64)." in text
    assert "| 1980; 301; - |" in text and "lay apart by\n0.004 (float16)" in text
    assert "slower than its twin (median [quartiles]) | 1.000 [1.000, 1.000] | yes |" in text
    assert "Not measured: ResNet-50, float32, batch 256: the time was up" in text
    slow = {**a_record()["rows"][0]["seconds"], "twin": [1.9e-3, 3.9e-3, 5.8e-3]}
    assert "| 1.034 [1.030, 1.044] | **no** |" in page(a_record(seconds=slow))


def test_the_page_of_vision_transformers_says_what_became_of_heads():
    from gpu_parts.page import head_widths
    widths = {"slim": 336, "slim16": 336, "slim64": 384, "slim heads": 320}
    found = head_widths({"vit_b": {"variants": {name: {"widths": [768, width]} for name, width in widths.items()}}})
    assert found == ("; its 12 heads of 64 become 12 of 28 (any width), 12 of 28 (multiples of 16), 12 of 32 "
                     "(multiples of 64), 5 of 64 (whole heads)")


def test_the_page_that_stands_in_docs_is_that_of_the_numbers_beside_it():
    from gpu_parts.page import page
    docs = Path(gs.__file__).parents[1] / "docs"
    source = docs / "gpu.json"
    record = json.loads(source.read_text()) if source.is_file() else None
    assert (docs / "gpu.md").read_text() == page(record)
    assert "Not run" in page(None)
