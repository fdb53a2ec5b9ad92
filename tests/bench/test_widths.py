"""Widths that a machine likes: the choice from times that are known, what is kept, and latency."""
import json
import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, DependencyError, ExportError
from golden_stick.bench import widths
from golden_stick.bench.latency import latency_ratio
from golden_stick.bench.widths import best_multiple, choose_multiple

ALL = sorted({-(-width // multiple) * multiple for width in widths._WANTED for multiple in widths.MULTIPLES})


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(widths.CACHE_VARIABLE, str(tmp_path / "kept"))
    return tmp_path / "kept"


def machine(monkeypatch, block):
    """A machine that works on blocks of so many channels. Returns the runtimes that were measured."""
    measured = []

    def sweep(runtime):
        measured.append(runtime)
        return {(kernel, width): kernel * float(-(-width // block) * block) ** 2 for kernel in (1, 3) for width in ALL}

    monkeypatch.setattr(widths, "_sweep", sweep)
    # Whatever else runs while the tests do.
    monkeypatch.setattr(widths, "is_quiet", lambda load: True)
    return measured


@pytest.mark.parametrize("block", widths.MULTIPLES)
def test_the_multiple_is_the_block_of_the_machine(block, monkeypatch):
    machine(monkeypatch, block)
    advice = best_multiple("mindspore")
    assert advice.multiple == block
    assert advice.costs[block] == 1.0 and advice.costs[1] == 1.0
    expected = np.mean([(-(-width // 32) * 32 / width) ** 2 for width in widths._WANTED])
    if block == 1:
        assert advice.costs[32] == pytest.approx(expected)


def test_of_multiples_that_cost_the_same_the_largest_is_taken():
    assert choose_multiple({1: 1.0, 8: 0.81, 16: 0.80, 32: 0.9}) == 16
    assert choose_multiple({1: 1.0, 8: 0.80, 16: 0.82, 32: 0.9}) == 16
    assert choose_multiple({1: 1.0, 8: 0.80, 16: 0.83, 32: 0.9}) == 8


def test_a_machine_is_measured_once(monkeypatch, folder):
    measured = machine(monkeypatch, 16)
    first, again = best_multiple("mindspore"), best_multiple("mindspore")
    assert measured == ["mindspore"]
    assert first == again
    assert first.kept_in == str(folder / "widths.json")
    assert "16: 1.00" in str(first) and "kept in" in str(first)
    best_multiple("mindspore", refresh=True)
    assert measured == 2 * ["mindspore"]


def test_runtimes_are_kept_apart(monkeypatch):
    pytest.importorskip("onnxruntime")
    measured = machine(monkeypatch, 8)
    assert best_multiple("onnx").machine != best_multiple("mindspore").machine
    assert best_multiple("onnx").multiple == 8
    assert measured == ["onnx", "mindspore"]


@pytest.mark.parametrize("content", ["no json", "[]", '{"KEY": 3}',
                                     '{"KEY": {"costs": {}, "multiple": 7, "quiet": 1}}'])
def test_a_damaged_file_is_measured_anew(content, monkeypatch, folder):
    measured = machine(monkeypatch, 16)
    key = best_multiple("mindspore").machine
    (folder / "widths.json").write_text(content.replace("KEY", key))
    assert best_multiple("mindspore").multiple == 16
    assert len(measured) == 2
    assert json.loads((folder / "widths.json").read_text())[key]["multiple"] == 16


def test_where_nothing_can_be_kept_it_is_measured_each_time(monkeypatch, tmp_path):
    measured = machine(monkeypatch, 16)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(widths.CACHE_VARIABLE, str(tmp_path / "file" / "inside"))
    assert best_multiple("mindspore").kept_in is None
    assert "kept in" not in str(best_multiple("mindspore"))
    assert len(measured) == 2


def test_the_folder_is_that_of_the_system(monkeypatch, tmp_path):
    assert widths.cache_folder() == tmp_path / "kept"
    for name in (widths.CACHE_VARIABLE, "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(widths.Path, "home", lambda: tmp_path)
    monkeypatch.setattr(widths.sys, "platform", "linux")
    assert widths.cache_folder() == tmp_path / ".cache" / "golden_stick"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert widths.cache_folder() == tmp_path / "xdg" / "golden_stick"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert widths.cache_folder() == tmp_path / "local" / "golden_stick" / "Cache"
    monkeypatch.setattr(widths.sys, "platform", "darwin")
    assert widths.cache_folder() == tmp_path / "Library" / "Caches" / "golden_stick"


def test_a_noisy_machine_is_said(monkeypatch):
    machine(monkeypatch, 1)
    monkeypatch.setattr(widths, "is_quiet", lambda load: False)
    assert "measure again on a quiet machine" in str(best_multiple("mindspore"))
    # It is, at the next call, until nothing disturbs it; then it is kept.
    monkeypatch.setattr(widths, "is_quiet", lambda load: True)
    assert best_multiple("mindspore").quiet
    monkeypatch.setattr(widths, "_sweep", None)
    assert best_multiple("mindspore").quiet


@pytest.mark.parametrize("runtime", ["mindspore", "onnx"])
def test_the_sweep_measures_every_width_it_needs(runtime, monkeypatch):
    if runtime == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    monkeypatch.setattr(widths, "_WANTED", (19,))
    monkeypatch.setattr(widths, "_ROUNDS", 1)
    before = ms.get_context("mode")
    seconds = widths._sweep(runtime)
    assert set(seconds) == {(kernel, width) for kernel in (1, 3) for width in (19, 24, 32)}
    assert min(seconds.values()) > 0
    assert ms.get_context("mode") == before


def test_onnx_is_the_default_where_it_is_installed(monkeypatch):
    measured = machine(monkeypatch, 8)
    monkeypatch.setattr(widths, "find_spec", lambda name: None)
    assert best_multiple().runtime == "mindspore"
    monkeypatch.setattr(widths, "find_spec", lambda name: "found")
    monkeypatch.setattr(widths, "onnx_runtime", lambda: type("", (), {"__version__": "9"}))
    assert best_multiple().runtime == "onnx"
    assert measured == ["mindspore", "onnx"]


def test_unknown_and_missing_runtimes_are_refused(monkeypatch):
    with pytest.raises(ArgumentError, match="'runtime' must be one of 'onnx', 'mindspore', but got 'tensorrt'"):
        best_multiple("tensorrt")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match="onnxruntime must be installed"):
        best_multiple("onnx")


def network():
    return nn.SequentialCell(nn.Conv2d(3, 40, 1), nn.ReLU(), nn.Conv2d(40, 4, 1))


def test_pruning_rounds_to_what_the_machine_likes(monkeypatch):
    measured = machine(monkeypatch, 16)
    algorithm = gs.OneShot({"prune_rate": 0.5, "round_to": "auto"})
    slim = algorithm.convert(algorithm.apply(network(), (1, 3, 4, 4)))
    # 20 of 40 filters could go; 32 is the least multiple of 16 that is not below 20.
    assert slim[0].weight.shape[0] == 32
    assert len(measured) == 1
    assert algorithm.report.config["round_to"] == "auto"
    assert any(note.startswith("round_to 'auto': widths of a multiple of 16") for note in algorithm.report.notes)


@pytest.mark.parametrize("runtime", ["onnx", "mindspore"])
@pytest.mark.parametrize("algorithm", [gs.OneShot, gs.SCOP])
def test_the_runtime_that_is_meant_is_measured(algorithm, runtime, monkeypatch):
    measured = machine(monkeypatch, 16)
    monkeypatch.setattr(widths, "onnx_runtime", lambda: type("", (), {"__version__": "9"}))
    algorithm = algorithm({"prune_rate": 0.5, "round_to": "auto", "runtime": runtime})
    algorithm.apply(network(), (1, 3, 4, 4))
    assert measured == [runtime] and not [note for note in algorithm.report.notes if "slower" in note]


def hourglass():
    return nn.SequentialCell(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 1), nn.ReLU(), nn.Conv2d(64, 4, 1))


def separable():
    return nn.SequentialCell(nn.Conv2d(3, 24, 3), nn.BatchNorm2d(24), nn.Conv2d(24, 24, 3, group=24), nn.ReLU(),
                             nn.Conv2d(24, 48, 1), nn.ReLU(), nn.Conv2d(48, 4, 1))


@pytest.mark.parametrize("algorithm", [gs.OneShot, gs.SCOP])
@pytest.mark.parametrize("build, off", [(network, "1 of 1 layers .*(0)"), (hourglass, "2 of 2 layers .*(0, 2)"),
                                        (separable, "2 of 2 layers .*(0, 4)")])
def test_a_report_says_that_widths_have_left_the_multiples_that_processors_like(algorithm, build, off):
    algorithm = algorithm({"prune_rate": 0.3})
    algorithm.apply(build(), (1, 3, 8, 8))
    (note,) = [note for note in algorithm.report.notes if "slower" in note]
    assert note in str(algorithm.report)
    wanted = off.replace("(", r"\(").replace(")", r"\)")
    assert re.match(f"{wanted}: ONNX Runtime and its like work on blocks of channels, and may run them no faster than "
                    f"before, or slower. Set 'round_to' to 8 or to 'auto', .*'target_latency'", note)
    for other in ({"round_to": 8, "round": "down"}, {"runtime": "mindspore"}):
        one = gs.OneShot({"prune_rate": 0.3, **other})
        one.apply(build(), (1, 3, 8, 8))
        assert not [note for note in one.report.notes if "slower" in note]


def test_round_to_takes_a_number_or_auto():
    with pytest.raises(ArgumentError, match="'round_to' must be a whole number of at least 1 or 'auto', but go"):
        gs.OneShot({"round_to": "atuo"})
    with pytest.raises(ArgumentTypeError, match="'round_to' must be a whole number of at least 1 or 'auto'"):
        gs.OneShot({"round_to": 1.5})
    assert gs.OneShot({"round_to": 8}).config["round_to"] == 8


@pytest.mark.parametrize("algorithm, options", [(gs.OneShot, {}), (gs.SCOP, {"mixing": "joint"})])
def test_a_target_is_measured_in_the_runtime_that_is_meant(algorithm, options, monkeypatch):
    pytest.importorskip("onnxruntime")
    asked = []

    def ratio(smaller, whole, inputs, runtime, owner):
        asked.append(runtime)
        return smaller[0].out_channels / whole[0].out_channels

    monkeypatch.setattr("golden_stick.prune.pruner.latency_ratio", ratio)
    for runtime, name in (({"runtime": "onnx"}, "onnx"), ({}, "mindspore")):
        asked.clear()
        one = algorithm({"target_latency": 0.55, **runtime, **options})
        one.apply(network(), (1, 3, 4, 4))
        assert set(asked) == {name}
        # What was measured need not be guessed.
        assert bool([note for note in one.report.notes if "slower" in note]) == (name == "mindspore")


def test_latency_in_onnx_runtime():
    pytest.importorskip("onnxruntime")
    wide = nn.SequentialCell(*(nn.Conv2d(c, 256, 3) for c in (3, 256, 256, 256)))
    inputs = (ms.Tensor(np.ones((1, 3, 16, 16), np.float32)),)
    assert latency_ratio(network(), wide, inputs, rounds=5, runtime="onnx") < 0.5


class WithoutRule(nn.Cell):
    def construct(self, x):
        return ops.bessel_j0(x)


def test_a_network_that_is_no_onnx_is_refused_in_the_name_of_the_caller():
    pytest.importorskip("onnxruntime")
    with pytest.raises(ExportError, match="For 'OneShot', with 'runtime' 'onnx' the network must be one that can be "
                                          "written as ONNX, but: For 'export'"):
        latency_ratio(WithoutRule(), WithoutRule(), (ms.Tensor(np.ones((1, 3), np.float32)),), runtime="onnx",
                      owner="OneShot")


def test_unknown_runtimes_are_no_option():
    with pytest.raises(ArgumentError, match="For 'SCOP', 'runtime' must be one of 'onnx', 'mindspore', but got 'trt'"):
        gs.SCOP({"runtime": "trt"})


def test_latency_is_that_of_the_compiled_networks_in_evaluation():
    norm = nn.BatchNorm2d(3)
    cell = nn.SequentialCell(norm, network()).set_train(True)
    before = ms.get_context("mode")
    assert latency_ratio(cell, network(), (ms.Tensor(np.ones((1, 3, 4, 4), np.float32)),), rounds=3) > 0
    assert cell.training and ms.get_context("mode") == before
    # In training it would follow the data.
    assert (norm.moving_variance.asnumpy() == 1).all()
