"""Export formats of others: by a call, by an entry point, and from the command line."""
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.base.config import Switch
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, DependencyError, ExportError
from golden_stick.deploy.formats import FORMATS, Format, add_format, format_of_path

SHAPE = (1, 3, 4, 4)


@pytest.fixture
def network():
    return nn.SequentialCell(nn.Conv2d(3, 2, 3), nn.ReLU())


@pytest.fixture
def npz():
    def write(network, tensors, path, doubled=False):
        assert not network.training and [tensor.shape for tensor in tensors] == [SHAPE]
        with open(path, "wb") as file:
            np.savez(file, **{item.name: item.asnumpy() * (1 + doubled) for item in network.get_parameters()})

    add_format("NPZ", write, ".npz", {"doubled": Switch()}, ("numpy",))
    yield "NPZ"
    del FORMATS["NPZ"]


def test_a_format_of_ones_own(npz, network, tmp_path):
    network.set_train(True)
    weight = next(network.get_parameters())
    for factor, options in ((1, {}), (2, {"doubled": True})):
        path = gs.export(network, SHAPE, tmp_path / "net", npz, **options)
        assert path == str(tmp_path / "net.npz") and network.training
        with np.load(path) as file:
            np.testing.assert_array_equal(file[weight.name], factor * weight.asnumpy())
    with pytest.raises(ArgumentTypeError, match="For 'export', 'doubled' must be True or False, but got 2"):
        gs.export(network, SHAPE, tmp_path / "other", npz, doubled=2)
    with pytest.raises(ArgumentError, match="'dynamic_batch' must stand with a format that takes it, but got False for "
                                            ".npz, which takes doubled"):
        gs.export(network, SHAPE, tmp_path / "other", npz, dynamic_batch=False)


def test_a_writer_that_fails_leaves_nothing(network, tmp_path):
    def write(network, tensors, path):
        with open(path, "w", encoding="utf-8"):
            raise ExportError("For 'export', this format must have a Dense, but got none.")

    add_format("HALF", write, ".half")
    with pytest.raises(ExportError, match="this format must have a Dense"):
        gs.export(network, SHAPE, tmp_path / "net", "HALF")
    del FORMATS["HALF"]
    assert list(tmp_path.iterdir()) == []


def test_formats_are_told_by_their_endings(npz):
    assert [format_of_path(path) for path in ("a/b.npz", "b.onnx", "b.mindir", "b", "b.v1", "c.d/b")] == [
        "NPZ", "ONNX", "MINDIR", "MINDIR", "MINDIR", "MINDIR"]


def test_what_is_refused(npz):
    with pytest.raises(ArgumentTypeError, match="For 'add_format', 'write' must be a function, but got int"):
        add_format("X", 1, ".x")
    with pytest.raises(ArgumentTypeError, match="For 'add_format', 'ending' must be a str such as '.npz', but got 'x'"):
        add_format("X", print, "x")
    with pytest.raises(ArgumentError, match="'ending' must be a new one, but got '.onnx', which is that of 'ONNX'"):
        add_format("X", print, ".onnx")
    with pytest.raises(ArgumentError, match="For 'add_format', 'name' must be a new name, but got 'NPZ'"):
        add_format("NPZ", print, ".x")
    with pytest.raises(DependencyError, match=".x files must have the package 'no_such', which is not installed: pip "
                                              "install 'no_such'"):
        Format(print, ".x", needs=("no_such",)).check("export", {})


def test_a_format_of_an_installed_package(network, tmp_path, monkeypatch):
    package = tmp_path / "plugin-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[golden_stick.formats]\nTXT = plugged_format:TXT\nBAD = plugged_format:x\n")
    (tmp_path / "plugged_format.py").write_text("""
from golden_stick.deploy.formats import Format

def write(network, tensors, path):
    with open(path, "w") as file:
        file.write(type(network).__name__)

TXT, x = Format(write, ".txt"), 3
""")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FORMATS, "_found", None)
    assert list(FORMATS) == ["MINDIR", "ONNX", "TXT", "BAD"]
    gs.export(network, SHAPE, tmp_path / "net", "TXT")
    assert (tmp_path / "net.txt").read_text() == "SequentialCell"
    with pytest.raises(DependencyError, match="the export format 'BAD' must be what the entry point 'plugged_format:x' "
                                              ".* must name a Format, but got a int"):
        gs.export(network, SHAPE, tmp_path / "net", "BAD")
    with pytest.warns(UserWarning, match="the export format 'BAD'"):
        assert format_of_path("net.bad") == "MINDIR"
    del FORMATS["TXT"]
