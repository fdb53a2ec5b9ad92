"""Files for any height and width, ONNX and MindIR, against MindSpore at sizes that they were not made with."""
import mindspore as ms
import numpy as np
import onnx
import pytest
from mindspore import Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ExportError
from golden_stick.base.inputs import lengthened, opened_inputs
from golden_stick.cells.wrappers import evaluate
from golden_stick.deploy.formats import FORMATS, Format
from golden_stick.deploy.onnx.export import run_file
from tests.deploy.test_onnx_rules import randomized

ANY = (1, 3, None, None)
DYNAMIC = Tensor(shape=[None, 3, None, None], dtype=ms.float32)


class Segmenter(nn.Cell):
    """Down by two and up again, joined with what was before: even sizes only."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.down = nn.SequentialCell(nn.Conv2d(4, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU())
        self.up, self.head = nn.Conv2dTranspose(6, 4, 2, 2), nn.Conv2d(8, 5, 1)

    def construct(self, x):
        x = self.first(x)
        return self.head(ops.concat((self.up(self.down(x)), x), 1))


class Pyramid(nn.Cell):
    """As detectors do, for any size: levels resized to each other, rows of all places, and where they are."""

    def __init__(self):
        super().__init__()
        self.first = nn.SequentialCell(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, "pad", 1))
        self.second, self.head, self.dense = nn.Conv2d(4, 4, 3, 2, "pad", 1), nn.Conv2d(4, 6, 1), nn.Dense(4, 2)

    def construct(self, x):
        large = self.first(x)
        small = self.second(large)
        large = large + ops.ResizeBilinearV2(False, True)(small, large.shape[2:])
        rows = ()
        for level in (large, small):
            batch, _, high, wide = level.shape
            down, across = ops.meshgrid(ops.arange(high), ops.arange(wide), indexing="ij")
            places = ops.stack((across, down), 0).astype(ms.float32)
            found = self.head(level)
            found = ops.concat((found[:, :2] + places, found[:, 2:]), 1)
            rows += (found.reshape(batch, 6, high * wide).transpose(0, 2, 1),)
        return ops.concat(rows, 1), self.dense(small.mean((2, 3))), ops.adaptive_avg_pool2d(large, 1)


def assert_same(network, path, *shapes):
    for shape in shapes:
        data = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        ms.ms_memory_recycle()
        wanted = evaluate(network, (Tensor(data),))
        got = run_file(path, [data]) if path.endswith("onnx") else evaluate(nn.GraphCell(ms.load(path)),
                                                                            (Tensor(data),))
        assert [item.shape for item in got] == [item.shape for item in wanted]
        for one, other in zip(wanted, got):
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-5 * np.abs(one).max())


@pytest.mark.parametrize("make, inputs, file_format, shapes", [
    pytest.param(Segmenter, DYNAMIC, "ONNX", ((1, 3, 32, 48), (3, 3, 20, 14)), marks=pytest.mark.long),
    (Segmenter, (1, 3, -1, None), "MINDIR", ((1, 3, 32, 48), (3, 3, 20, 14))),
    (Pyramid, ANY, "ONNX", ((1, 3, 33, 47), (2, 3, 64, 50))),
], ids=["Segmenter", "MindIR", "Pyramid"])
def test_any_height_and_width(tmp_path, make, inputs, file_format, shapes):
    network = randomized(make())
    path = gs.export(network, inputs, str(tmp_path / "x"), file_format=file_format)
    assert_same(network, path, *shapes)
    if file_format == "ONNX":
        sizes = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
        assert [item.dim_param or item.dim_value for item in sizes] == ["batch", 3, "height", "width"]


class Words(nn.Cell):
    """Indices of any number of words beside an image of one size."""

    def __init__(self):
        super().__init__()
        self.table, self.dense = nn.Embedding(5, 4), nn.Dense(4, 4)

    def construct(self, words, image):
        found = self.dense(self.table(words))
        weights = ops.softmax(ops.matmul(found, found.swapaxes(1, 2)), -1)
        return ops.matmul(weights, found) + image.mean((2, 3))[:, None]


def test_words_of_any_number_and_a_batch_of_one_size(tmp_path):
    inputs = Tensor(shape=[2, None], dtype=ms.int32), Tensor(np.ones((2, 4, 3, 3), np.float32))
    path = gs.export(Words(), inputs, str(tmp_path / "x"), file_format="ONNX", dynamic_batch=False)
    found, = run_file(path, [np.ones((2, 7), np.int32), np.ones((2, 4, 3, 3), np.float32)])
    assert found.shape == (2, 7, 4)


class OneSize(nn.Cell):
    def __init__(self):
        super().__init__()
        self.head = nn.Dense(3 * 8 * 8, 2)

    def construct(self, x):
        return self.head(ops.flatten(x))


class Matrix(nn.Cell):
    """Compiles at every size, but is another network at each."""

    def construct(self, x):
        return ops.interpolate(x, (7, 9), mode="bicubic")


class TwoSamples(nn.Cell):
    """Any length, of two samples."""

    def construct(self, x):
        return ops.concat((x, x.reshape((2, 3, -1))), 2)


@pytest.mark.parametrize("file_format, warning", [
    ("ONNX", "the ONNX file takes one batch size only: "), ("MINDIR", "the MindIR takes inputs of batch size 2 only")])
def test_any_length_of_two_samples(tmp_path, file_format, warning):
    with pytest.warns(UserWarning, match=warning):
        path = gs.export(TwoSamples(), (2, 3, None), str(tmp_path / "x"), file_format=file_format)
    assert_same(TwoSamples(), path, (2, 3, 10))


@pytest.mark.parametrize("network, file_format, message", [
    (OneSize(), "ONNX", "must take other lengths of the axes of 'inputs' that are free, but takes none that were "),
    (OneSize(), "MINDIR", "could not export the network|takes none that were tried"),
    pytest.param(Matrix(), "ONNX", "the axes of 'inputs' that are free must be so in the network, but an array in the "
                 "code of 'ResizeBicubic' depends on the size .*: give the inputs a length", marks=pytest.mark.long),
])
def test_one_size_only(tmp_path, network, file_format, message):
    with pytest.raises(ExportError, match=message):
        gs.export(network, ANY, tmp_path / "x", file_format=file_format, dynamic_batch=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_free():
    given = Tensor(shape=[None, None], dtype=ms.int32), DYNAMIC, Tensor(np.ones((1, 2)))
    tensors, free = opened_inputs("export", given)
    assert free == ((1,), (2, 3), ()) and [item.dtype for item in tensors] == [ms.int32, ms.float32, ms.float64]
    shapes = [[item.shape for item in lengthened(tensors, free, 4, turn, True)] for turn in (0, 1)]
    assert shapes == [[(2, 12), (2, 3, 16, 20), (2, 2)], [(3, 20), (3, 3, 28, 12), (3, 2)]]
    assert opened_inputs("export", (1, 3, 4, 4))[1] == ()
    with pytest.raises(ArgumentError, match=r"'inputs' must have at most 4 free axes besides the batch, but got \[1"):
        opened_inputs("export", (1, -1, -1, -1, -1, -1))


def test_a_format_that_takes_one_size(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMATS._items, "ONE", Format(print, ".one"))
    with pytest.raises(ArgumentError, match="'inputs' must have a length for every axis, since .one files take no ot"):
        gs.export(nn.ReLU(), ANY, tmp_path / "x", file_format="ONE")
