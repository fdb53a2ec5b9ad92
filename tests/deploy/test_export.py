"""Export to MindIR, and the check of what was written."""
import os

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.errors import ArgumentError, ArgumentTypeError, CheckpointError, ExportError
from tests import networks
from tests.deploy.test_checkpoint import make_slim

SHAPE = networks.SMALL_INPUT


@pytest.mark.parametrize("residual", ["group", "scatter"])
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
GRAPH_BYTES = 40_000


@pytest.mark.parametrize("file_format", ["MINDIR", "ONNX"])
def test_no_large_constant_is_baked_in(tmp_path, file_format):
    """A mask or a scatter over the pixels of 64 samples, written out, would take a multiple of what the weights do."""
    slim, sizes = make_slim("scatter"), []
    weights = sum(parameter.nbytes for parameter in slim.get_parameters())
    for batch in (1, 64):
        path = gs.export(slim, (batch, *SHAPE[1:]), str(tmp_path / f"b{batch}"), file_format=file_format,
                         dynamic_batch=False)
        sizes.append(os.path.getsize(path))
    assert sizes[1] < 1.02 * sizes[0] and sizes[1] < weights + GRAPH_BYTES


def test_not_a_cell(tmp_path):
    with pytest.raises(ArgumentTypeError, match="For 'export', 'slim' must be a Cell, but got str"):
        gs.export("slim", SHAPE, str(tmp_path / "x"))


def test_format(tmp_path):
    with pytest.raises(ArgumentError, match="'file_format' must be 'MINDIR' or 'ONNX', but got 'TFLITE'"):
        gs.export(make_slim(), SHAPE, str(tmp_path / "x"), file_format="TFLITE")


def test_folder(tmp_path):
    with pytest.raises(CheckpointError, match="For 'export', the folder of 'path' must exist"):
        gs.export(make_slim(), SHAPE, str(tmp_path / "none" / "x"))


def test_wrong_shape_leaves_nothing(tmp_path):
    with pytest.raises(ExportError, match="MindSpore could not export the network"):
        gs.export(make_slim(), (1, 5, 8, 8), str(tmp_path / "x"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("change, message", [
    (lambda arrays: [array + 1 for array in arrays], "must give the outputs of the network, but got a largest"),
    (lambda arrays: arrays * 2, "must give as many outputs as the network, of equal shapes"),
    (lambda arrays: [np.full_like(array, np.nan) for array in arrays], "largest difference of nan"),
])
def test_file_with_other_outputs_is_not_kept(tmp_path, monkeypatch, change, message):
    from golden_stick.deploy import mindir as module

    def lie(network, tensors):
        arrays = evaluate(network, tensors)
        return change(arrays) if isinstance(network, nn.GraphCell) else arrays

    evaluate = module.evaluate
    monkeypatch.setattr(module, "evaluate", lie)
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


@pytest.mark.parametrize("residual", ["group", "scatter"])
def test_the_file_takes_any_batch_size(mode, tmp_path, residual):
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
    with pytest.warns(UserWarning, match="For 'export', the MindIR takes inputs of batch size 2 only: "):
        path = gs.export(network, (2, 3, 8, 8), str(tmp_path / "two"))
    gs.verify(network, nn.GraphCell(ms.load(path)), (2, 3, 8, 8))
