"""Export to MindIR, and the check of what was written."""
import os
from pkgutil import resolve_name

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, ExportError
from golden_stick.base.inputs import as_tensors
from golden_stick.cells.wrappers import allowed_difference, evaluate
from golden_stick.deploy import mindir
from golden_stick.deploy.onnx.export import run_file
from tests import networks
from tests.deploy.test_slim_file import make_slim

SHAPE = networks.SMALL_INPUT


@pytest.mark.parametrize("mode, residual", [("GRAPH", "scatter"), ("PYNATIVE", "group")], indirect=["mode"])
def test_loaded_file_gives_the_same(mode, tmp_path, residual):
    slim = make_slim(residual).set_train(True)
    path = gs.export(slim, SHAPE, str(tmp_path / "slim"))
    assert path == str(tmp_path / "slim.mindir") and os.listdir(tmp_path) == ["slim.mindir"]
    assert slim.training
    gs.verify(slim, nn.GraphCell(ms.load(path)), SHAPE)


def test_second_export_in_another_shape(tmp_path):
    slim = make_slim()
    gs.export(slim, (1, 3, 8, 8), str(tmp_path / "one.mindir"))
    path = gs.export(slim, (4, 3, 8, 8), str(tmp_path / "four.mindir"))
    loaded = nn.GraphCell(ms.load(path))
    assert loaded(ms.ops.ones((4, 3, 8, 8), ms.float32)).shape == (4, 4)


# What a file holds besides weights: the graph, in which every node has its names and attributes.
GRAPH_BYTES, LARGE_BATCH = 40_000, 512


def bytes_besides_weights(network, folder, file_format):
    """Of the files for one sample and for many, each traced at that size: MindSpore could write out what it knows."""
    weights = sum(parameter.nbytes for parameter in network.get_parameters())
    return [os.path.getsize(gs.export(network, (batch, *SHAPE[1:]), str(folder / f"b{batch}"), file_format=file_format,
                                      dynamic_batch=False)) - weights for batch in (1, LARGE_BATCH)]


def make_masked(residual):
    return gs.OneShot({"prune_rate": 0.5, "residual": residual}).apply(networks.randomize(networks.SmallNet()), SHAPE)


@pytest.mark.parametrize("file_format", ["MINDIR", "ONNX"])
@pytest.mark.parametrize("make", [make_slim, make_masked])
def test_no_large_constant_is_baked_in(tmp_path, make, file_format):
    """One channel of a mask over the pixels of all samples, written out, would take three times as much."""
    small, large = bytes_besides_weights(make("scatter"), tmp_path, file_format)
    assert max(small, large) < GRAPH_BYTES and large < 1.02 * small


class BakedZeros(nn.Cell):
    """What a careless scatter would do: MindSpore computes the zeros while it compiles."""

    def construct(self, x):
        return ms.ops.concat((x, ms.ops.zeros_like(x[:, :1])), 1)


@pytest.mark.parametrize("file_format", ["MINDIR", "ONNX"])
def test_a_constant_that_is_baked_in_would_be_seen(tmp_path, file_format):
    small, large = bytes_besides_weights(nn.SequentialCell(BakedZeros(), nn.Conv2d(4, 2, 1)), tmp_path, file_format)
    assert small < GRAPH_BYTES < LARGE_BATCH * 8 * 8 * 4 < large


def test_not_a_cell(tmp_path):
    with pytest.raises(ArgumentTypeError, match="For 'export', 'slim' must be a Cell, but got str"):
        gs.export("slim", SHAPE, str(tmp_path / "x"))


def test_format(tmp_path):
    with pytest.raises(ArgumentError, match="'file_format' must be one of 'MINDIR', 'ONNX', but got 'TFLITE'"):
        gs.export(make_slim(), SHAPE, str(tmp_path / "x"), file_format="TFLITE")


@pytest.mark.parametrize("file_format, place", [("ONNX", "onnx.export.trace"), ("MINDIR", "mindir.ms.export")])
def test_exports_are_quiet(tmp_path, monkeypatch, capfd, file_format, place):
    """Unless the environment says what MindSpore may write."""
    place = f"golden_stick.deploy.{place}"
    function = resolve_name(place)
    monkeypatch.setattr(place, lambda *inputs, **options: (os.write(2, b"noise"), function(*inputs, **options))[1])
    for level, said in ((None, ""), ("3", "noise")):
        monkeypatch.setenv("GLOG_v", level) if level else monkeypatch.delenv("GLOG_v", raising=False)
        gs.export(nn.ReLU(), (1, 4), tmp_path / "x", file_format, dynamic_batch=False)
        assert capfd.readouterr().err == said


def test_folder(tmp_path):
    with pytest.raises(CheckpointError, match="For 'export', the folder of 'path' must exist"):
        gs.export(make_slim(), SHAPE, str(tmp_path / "none" / "x"))


def test_wrong_shape_leaves_nothing(tmp_path):
    with pytest.raises(ExportError, match="MindSpore could not export the network"):
        gs.export(make_slim(), (1, 5, 8, 8), str(tmp_path / "x"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("change, message", [
    (lambda arrays: [array + 1 for array in arrays], "the MindIR must give the outputs of the network within 1e-05 of"),
    (lambda arrays: arrays * 2, "must give as many outputs as the network, of equal shapes and types"),
    (lambda arrays: [np.full_like(array, np.nan) for array in arrays], "largest difference of nan"),
])
def test_file_with_other_outputs_is_not_kept(tmp_path, monkeypatch, change, message):
    monkeypatch.setattr(mindir, "evaluate", lambda network, tensors: change(evaluate(network, tensors)))
    with pytest.raises(ExportError, match=message):
        gs.export(make_slim(), SHAPE, str(tmp_path / "x"))
    assert os.listdir(tmp_path) == []


def test_several_files_are_refused(tmp_path, monkeypatch):
    def two_files(*_, file_name, **__):
        """As MindSpore does above a gigabyte: the graph, and a folder of weights, all of it read-only."""
        stem = file_name.removesuffix(".mindir")
        os.makedirs(f"{stem}_variables", exist_ok=True)
        for name in (f"{stem}_graph.mindir", os.path.join(f"{stem}_variables", "data_0")):
            with open(os.open(name, os.O_CREAT, 0o400), encoding="utf-8"):
                pass

    monkeypatch.setattr("golden_stick.deploy.mindir.ms.export", two_files)
    with pytest.raises(ExportError, match="must write one file, but got several"):
        gs.export(make_slim(), SHAPE, str(tmp_path / "x"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("residual", [pytest.param("group", marks=pytest.mark.long), "scatter"])
def test_the_file_takes_any_batch_size(tmp_path, residual):
    slim = make_slim(residual)
    path = gs.export(slim, SHAPE, str(tmp_path / "slim"))
    for batch in (1, 3, 7):
        gs.verify(slim, nn.GraphCell(ms.load(path)), (batch, *SHAPE[1:]))


@pytest.mark.parametrize("dynamic_batch, written", [(True, -1), (False, 2)])
def test_one_batch_size_where_that_is_asked_for(tmp_path, monkeypatch, dynamic_batch, written):
    shapes, write = [], ms.export
    monkeypatch.setattr("golden_stick.deploy.mindir.ms.export", lambda network, *tensors, **options: (
        shapes.append(tuple(tensors[0].shape)), write(network, *tensors, **options)))
    gs.export(make_slim(), (2, *SHAPE[1:]), str(tmp_path / "slim"), dynamic_batch=dynamic_batch)
    assert shapes == [(written, *SHAPE[1:])]


class TwoSamples(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def construct(self, x):
        return self.conv(x).reshape((2, 4, 64))


def test_a_batch_size_in_the_code_is_said_and_kept(tmp_path):
    network = TwoSamples()
    with pytest.warns(UserWarning, match="For 'export', the MindIR takes inputs of batch size 2 only: ") as warned:
        path = gs.export(network, (2, 3, 8, 8), str(tmp_path / "two"))
    assert {warning.filename for warning in warned if 'batch size 2 only' in str(warning.message)} == {__file__}
    gs.verify(network, nn.GraphCell(ms.load(path)), (2, 3, 8, 8))


class Besides(networks.SmallNet):
    """As detectors and language models do: a number besides, and None for what was not asked for."""

    def __init__(self, *more):
        super().__init__()
        self.more = more

    def construct(self, x):
        return super().construct(x), *self.more


def test_outputs_that_are_no_tensors(tmp_path):
    network = networks.randomize(Besides(3, None))
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = gs.fold(algorithm.convert(algorithm.apply(network, SHAPE)), SHAPE)
    path = gs.export(slim, SHAPE, str(tmp_path / "slim"), file_format="ONNX")
    inputs = as_tensors("test", SHAPE)
    scores, number = run_file(path, [inputs[0].asnumpy()])
    np.testing.assert_allclose(scores, slim(*inputs)[0].asnumpy(), 0, 1e-4 * np.abs(scores).max())
    assert number == 3 and number.dtype.kind == "i"
    assert gs.benchmark({"slim": slim}, SHAPE, rounds=1, warm_up=0).measurements[0].latency > 0


def test_a_number_in_a_mindir(tmp_path):
    network = networks.randomize(Besides(3))
    loaded = nn.GraphCell(ms.load(gs.export(network, SHAPE, str(tmp_path / "number"), dynamic_batch=False)))
    assert evaluate(loaded, as_tensors("test", SHAPE))[1] == 3


@pytest.mark.parametrize("fails, message", [
    ("mindir", "the MindIR, whose outputs must not be None, must run on this machine, .* MindSpore says: no kernel"),
    ("network", "For 'export', the network must run on this machine, for the MindIR to be compared .*: no kernel"),
])
def test_what_does_not_run_here(tmp_path, monkeypatch, fails, message):
    """Played: a MindIR with an output of None runs or not by what the process did before."""
    def run(network, tensors):
        raise RuntimeError("no kernel\nfor this")

    network = make_slim()
    where = (mindir, "evaluate") if fails == "mindir" else (type(network), "__call__")
    monkeypatch.setattr(*where, run)
    with pytest.raises(ExportError, match=message):
        gs.export(network, SHAPE, str(tmp_path / "x"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("file_format", ["MINDIR", "ONNX"])
def test_any_name_and_path(tmp_path, file_format):
    """MindSpore by itself refuses to write a MindIR there."""
    folder = tmp_path / "my nets+ü"
    folder.mkdir()
    slim = make_slim()
    path = gs.export(slim, SHAPE, folder / "a b", file_format=file_format)
    assert path == f"{folder / 'a b'}.{file_format.lower()}" and os.listdir(folder) == [os.path.basename(path)]
    if file_format == "MINDIR":
        gs.verify(slim, nn.GraphCell(ms.load(path)), SHAPE)


def test_no_path(tmp_path):
    with pytest.raises(ArgumentTypeError, match="For 'export', 'path' must be a str or a path, but got NoneType"):
        gs.export(make_slim(), SHAPE, None)


@pytest.mark.parametrize("file_format", ["MINDIR", "ONNX"])
def test_a_full_disk(tmp_path, small_files, file_format):
    """The old file stays as it was, and nothing stands beside it."""
    slim, path = make_slim(), tmp_path / f"x.{file_format.lower()}"
    path.write_text("precious")
    with small_files(), pytest.raises(CheckpointError, match=r"For 'export', 'path' must be a file that can be "
                                                             rf"written, but got '{path}' \(File too large\)"):
        gs.export(slim, SHAPE, str(path), file_format=file_format)
    assert path.read_text() == "precious" and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("residual", [pytest.param("group", marks=pytest.mark.long), "scatter"])
def test_parameters_of_float16(tmp_path, residual):
    """Pruned, folded, saved and exported; outputs in float16 agree within eight roundings, 2 ** -7, of the largest."""
    def build():
        network = networks.randomize(networks.SmallNet())
        for parameter in network.get_parameters():
            parameter.set_dtype(ms.float16)
        return network

    inputs = as_tensors("test", SHAPE)[0].astype(ms.float16)
    algorithm = gs.OneShot({"prune_rate": 0.5, "residual": residual})
    slim = gs.fold(algorithm.convert(algorithm.apply(build(), inputs)), inputs)
    wanted = evaluate(slim, (inputs,))[0]
    assert wanted.dtype == np.float16
    again = gs.load_slim(build(), gs.save_slim(slim, tmp_path / "slim"))
    np.testing.assert_array_equal(evaluate(again, (inputs,))[0], wanted)
    found = run_file(gs.export(slim, inputs, tmp_path / "slim", file_format="ONNX"), [inputs.asnumpy()])[0]
    np.testing.assert_allclose(found, wanted, 0, 2 ** -7 * np.abs(wanted).max())
    result = gs.verify(slim, nn.GraphCell(ms.load(gs.export(slim, inputs, tmp_path / "slim"))), inputs)
    # One rounding for each operator in the longest row of such, eight at least.
    assert 8 * 2 ** -10 <= result.tolerance <= 16 * 2 ** -10


def test_what_float16_allows():
    assert allowed_difference(1e-5, [np.zeros(2, np.float32), np.zeros(2, np.int32)]) == 1e-5
    assert allowed_difference(1e-5, [np.zeros(2, np.float32), np.zeros(2, np.float16)]) == 2 ** -7
    assert allowed_difference(0.1, [np.zeros(2, np.float16)]) == 0.1
    assert allowed_difference(1e-5, [np.zeros(2, np.float32)], steps=3) == 2 ** -7
    assert allowed_difference(1e-5, [np.zeros(2, np.float32)], steps=20) == 20 * 2 ** -10
