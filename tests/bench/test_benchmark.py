"""`benchmark`: what is run, what is refused, and what the result says."""
import json
import os
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, DependencyError
from golden_stick.bench.benchmark import Benchmark
from golden_stick.bench.clock import peak_growth
from golden_stick.bench.contenders import count_onnx_macs
from golden_stick.graph.plan import count_macs

SHAPE = (2, 3, 8, 8)


def network(width=8):
    return nn.SequentialCell(nn.Conv2d(3, width, 3, pad_mode="pad", padding=1), nn.BatchNorm2d(width), nn.ReLU(),
                             nn.Conv2d(width, 4, 3, pad_mode="pad", padding=1))


@pytest.fixture(scope="module", name="files")
def fixture_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {width: gs.export(network(width), SHAPE, str(folder / f"{width}.mindir"), dynamic_batch=False)
            for width in (8, 4)}


def onnx_file(path, width=8, batch="N"):
    """A convolution and a matrix product, written by hand. Returns its MACs for one sample."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    weights = [onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
               for name, shape in (("w", (width, 3, 3, 3)), ("m", (width * 36, 5)))]
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"]), helper.make_node("Flatten", ["y"], ["z"]),
             helper.make_node("MatMul", ["z", "m"], ["out"])]
    graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("x", float32, [batch, 3, 8, 8])],
                              [helper.make_tensor_value_info("out", float32, [batch, 5])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return width * 36 * 27 + width * 36 * 5


def test_cells_and_files_are_measured_in_turn(files):
    wide, narrow = network(8), network(4)
    wide.set_train(True)
    before = ms.get_context("mode")
    seen = []
    result = gs.benchmark({"wide": wide, "narrow": narrow, "wide file": files[8], "narrow file": files[4]}, SHAPE,
                          batch_sizes=(2, 1), modes=("graph", "pynative"), rounds=3, warm_up=1,
                          on_round=lambda *done: seen.append(done))
    assert ms.get_context("mode") == before
    assert wide.training
    assert seen == 2 * [(1, 4), (2, 4), (3, 4), (4, 4)]
    of = {(one.name, one.runtime, one.batch_size): one for one in result.measurements}
    assert len(of) == len(result.measurements) == 12
    told = peak_growth(int)[1] is not None
    assert all((one.memory is None) == (number >= 6 or not told) for number, one in enumerate(result.measurements))
    macs = {8: 64 * 9 * (3 * 8 + 8 * 4), 4: 64 * 9 * (3 * 4 + 4 * 4)}
    for (name, _, batch), one in of.items():
        assert one.macs == macs[8 if "wide" in name else 4]
        if "file" in name and batch == 1:
            assert one.reason == "the file takes (2, 3, 8, 8), not (1, 3, 8, 8)"
            assert one.timing is one.speed_up is one.efficiency is one.latency is one.throughput is None
            continue
        assert one.baseline == ("wide file" if "file" in name else "wide")
        assert one.macs_ratio == (1.0 if "wide" in name else 2.0)
        assert len(one.timing.seconds) == 3
        assert one.throughput == batch / one.latency
        assert one.efficiency == one.speed_up / one.macs_ratio
        assert ("wide" in name) <= (one.speed_up == 1.0)


def test_the_result_is_a_table_and_json(files):
    result = gs.benchmark({"net": network(), "file": files[8]}, SHAPE, batch_sizes=(1,), threads=(None,), rounds=2)
    text = str(result)
    assert "medians of 2 rounds" in text
    assert "not run: file (MindIR), batch 1: the file takes (2, 3, 8, 8), not (1, 3, 8, 8)" in text
    row = next(line for line in text.splitlines() if line.startswith("net "))
    assert row.split()[1:4] == ["graph", "1", "all"]
    record = json.loads(json.dumps(result.to_dict()))
    first = record["measurements"][0]
    assert first["latency"] == np.median(first["seconds"])
    assert len(first["cpu_seconds"]) == 2
    assert record["machine"]["mindspore"] == ms.__version__


def test_a_machine_that_is_not_quiet_is_told_of(files, monkeypatch):
    monkeypatch.chdir(os.path.dirname(files[8]))
    result = gs.benchmark(os.path.basename(files[8]), SHAPE, batch_sizes=(2,), rounds=1, warm_up=0)
    assert result.measurements[0].name == "8.mindir"
    texts = {load: str(Benchmark({}, 1, (), load)) for load in (None, 0.05, 1.5)}
    assert "NOT QUIET: other processes kept 1.5 processors busy" in texts[1.5]
    assert "QUIET" not in texts[0.05]
    assert "not known on this system" in texts[None]


def test_a_baseline_by_name_serves_all_runtimes(files, mode):
    before = ms.get_context("mode")
    result = gs.benchmark({"narrow": network(4), "wide": files[8]}, SHAPE, batch_sizes=(2,), baseline="wide", rounds=2)
    assert [one.baseline for one in result.measurements] == ["wide", "wide"]
    assert [one.macs_ratio for one in result.measurements] == [2.0, 1.0]
    assert ms.get_context("mode") == before


def test_the_outputs_that_are_timed_are_those_of_evaluation():
    class Remember(nn.Cell):
        def __init__(self):
            super().__init__()
            self.seen = []

        def construct(self, x):
            self.seen.append((self.training, x.shape))
            return {"a": x, "b": (x, x)}

    cell = Remember().set_train(True)
    gs.benchmark(cell, (3, 2), batch_sizes=(5,), modes=("pynative",), rounds=2, warm_up=0)
    assert {item for item in cell.seen if item[1] == (5, 2)} == {(False, (5, 2))}


def test_onnx_files_run_and_their_macs_are_counted(tmp_path):
    paths = {width: str(tmp_path / f"{width}.onnx") for width in (8, 4)}
    macs = {width: onnx_file(path, width) for width, path in paths.items()}
    fixed = str(tmp_path / "fixed.onnx")
    onnx_file(fixed, batch=2)
    result = gs.benchmark({"wide": paths[8], "narrow": paths[4], "fixed": fixed}, SHAPE, batch_sizes=(3,), rounds=2)
    wide, narrow, other = result.measurements
    assert (wide.runtime, wide.macs, narrow.macs) == ("ONNX Runtime", macs[8], macs[4])
    assert narrow.macs_ratio == 2.0
    assert other.reason == "the file takes (2, 3, 8, 8), not (3, 3, 8, 8)"
    assert "onnxruntime" in result.machine


def test_macs_of_einsum_are_counted_as_those_of_a_cell(tmp_path):
    """MindSpore has no kernel for it on the CPU, so that the file is made by hand."""
    onnx = pytest.importorskip("onnx")
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [onnx.helper.make_node("Einsum", ["x", "weight"], ["y"], equation="nchw, oc -> nohw"),
             onnx.helper.make_node("Einsum", ["y"], ["z"], equation="nohw->nowh")]
    weight = onnx.numpy_helper.from_array(np.ones((5, 3), np.float32), "weight")
    graph = onnx.helper.make_graph(nodes, "sums", [value("x", kind, SHAPE)], [value("z", kind, (2, 5, 8, 8))], [weight])
    path = str(tmp_path / "net.onnx")
    onnx.save_model(onnx.helper.make_model(graph), path)

    class Sums(nn.Cell):
        def __init__(self):
            super().__init__()
            self.weight = ms.Parameter(ms.ops.ones((5, 3), ms.float32), name="weight")
            self.einsum = ms.ops.Einsum("nchw,oc->nohw")

        def construct(self, x):
            return self.einsum((x, self.weight))

    # A transposition is no product.
    assert count_onnx_macs(path, [SHAPE]) == count_macs(gs.trace(Sums(), SHAPE)) == 3 * 5 * 8 * 8


def test_without_onnxruntime_an_onnx_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"onnxruntime must be installed to run .*pip install 'golden-stick\[on"):
        gs.benchmark(str(path), SHAPE)


def test_without_onnx_macs_are_not_known(tmp_path, monkeypatch):
    path = str(tmp_path / "net.onnx")
    onnx_file(path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert gs.benchmark(path, SHAPE, rounds=1, warm_up=0).measurements[0].macs is None


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="a contender must be a file that exists, but got"):
        gs.benchmark(str(tmp_path / "none.mindir"), SHAPE)
    for content, words in ((b"\xff" * 9, "must be a MindIR file, but it cannot be read"),
                           (b"", "must be a MindIR file, but it holds no graph")):
        path = tmp_path / "bad.mindir"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=words):
            gs.benchmark(str(path), SHAPE)
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="ONNX Runtime must be able to load '.*bad.onnx', but says"):
        gs.benchmark(str(tmp_path / "bad.onnx"), SHAPE)


@pytest.mark.parametrize("mode", ["graph", "pynative"])
def test_a_network_that_fails_on_the_inputs_is_named(mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=r"'net' must take the inputs \(2, 5, 8, 8\), but fails in " + mode):
        gs.benchmark({"net": network()}, (2, 5, 8, 8), batch_sizes=(2,), modes=(mode,))
    # A failed compilation drops its dump where it runs.
    assert not list(tmp_path.iterdir())


def test_a_mindir_that_mindspore_cannot_load_is_refused(files, monkeypatch):
    def refuse(path):
        raise RuntimeError("no")

    monkeypatch.setattr(ms, "load", refuse)
    with pytest.raises(CheckpointError, match="MindSpore must be able to load '.*', but says: no"):
        gs.benchmark(files[8], SHAPE, batch_sizes=(2,))


@pytest.mark.parametrize("arguments, error, words", [
    ({"contenders": {"a": 3}}, ArgumentTypeError, "a contender must be a Cell or the path of a file, but got int"),
    ({"contenders": "net.ckpt"}, ArgumentError, r"the path of a contender must end in .mindir or .onnx, but got"),
    ({"contenders": {}}, ArgumentError, "there must be at least one contender and one mode, but got none"),
    ({"modes": ("grph",)}, ArgumentError, "'modes' must be one of 'graph', 'pynative', but got 'grph'"),
    ({"baseline": "b"}, ArgumentError, "'baseline' must be 'SequentialCell', but got 'b'"),
    ({"batch_sizes": 2}, ArgumentTypeError, "'batch_sizes' must be a sequence of at least one number, but got 2"),
    ({"batch_sizes": (0,)}, ArgumentError, "'batch_sizes' must be a whole number of at least 1, but got 0"),
    ({"threads": ()}, ArgumentTypeError, "'threads' must be a sequence of at least one number"),
    ({"rounds": 0}, ArgumentError, "'rounds' must be a whole number of at least 1, but got 0"),
    ({"warm_up": -1}, ArgumentError, "'warm_up' must be a whole number of at least 0, but got -1"),
    ({"inputs": "x"}, ArgumentTypeError, "For 'benchmark', 'inputs' must be a Tensor"),
])
def test_wrong_arguments_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        gs.benchmark(**{"contenders": network(), "inputs": SHAPE, **arguments})


def test_inputs_that_nobody_takes(tmp_path):
    path = str(tmp_path / "fixed.onnx")
    onnx_file(path, batch=2)
    with pytest.raises(ArgumentError, match=r"'inputs' must be what some contender takes, but of 'fixed.onnx' the file "
                                            r"takes \(2, 3, 8, 8\), not \(1, 3, 8, 8\)"):
        gs.benchmark(path, SHAPE, batch_sizes=(1, 3), rounds=1)
    other, fitting = gs.benchmark(path, SHAPE, batch_sizes=(1, 2), rounds=1).measurements
    assert other.reason and not fitting.reason


def test_cuda_is_never_the_cpu_unsaid(tmp_path, monkeypatch, capsys):
    """Without the provider, where it cannot be started, and where it runs; no GPU is needed to tell them apart."""
    from golden_stick.cli import main

    path = str(tmp_path / "net.onnx")
    onnx_file(path)
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(runtime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DependencyError, match="the provider 'cuda' must be one that the installed ONNX Runtime has, "
                                              "but it has CPUExecutionProvider: .* pip install onnxruntime-gpu"):
        gs.benchmark(path, SHAPE, provider="cuda")
    monkeypatch.setattr(runtime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    # What a package for GPUs does where there is none: it warns, and takes the CPU.
    real = runtime.InferenceSession
    monkeypatch.setattr(runtime, "InferenceSession",
                        lambda model, options, providers: real(model, options, providers=["CPUExecutionProvider"]))
    with pytest.raises(DependencyError, match="could not start it and fell back to CPUExecutionProvider: look for a "):
        gs.benchmark(path, SHAPE, provider="cuda")

    class OnCuda:
        def __init__(self, model, options, providers):
            assert providers == ["CUDAExecutionProvider"]
            self.inner = real(model, options, providers=["CPUExecutionProvider"])
            self.run, self.get_inputs = self.inner.run, self.inner.get_inputs

        def get_providers(self):
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    monkeypatch.setattr(runtime, "InferenceSession", OnCuda)
    result = gs.benchmark(path, SHAPE, rounds=1, provider="cuda")
    assert result.measurements[0].runtime == "ONNX Runtime, CUDA" and result.measurements[0].latency > 0
    assert "onnxruntime" in result.machine
    assert main(["bench", path, "--inputs", "2,3,8,8", "--rounds", "1", "--provider", "cuda"]) == 0
    assert "ONNX Runtime, CUDA" in capsys.readouterr().out


def test_only_onnx_files_run_on_cuda(files):
    for contender in (network(), files[8]):
        with pytest.raises(ArgumentError, match="contenders must be ONNX files where the provider is 'cuda'"):
            gs.benchmark({"net": contender}, SHAPE, provider="cuda")
    with pytest.raises(ArgumentError, match="'provider' must be one of 'cpu', 'cuda', but got 'tpu'"):
        gs.benchmark(network(), SHAPE, provider="tpu")
