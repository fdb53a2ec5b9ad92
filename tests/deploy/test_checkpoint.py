"""Slim files: one file, whole or not at all, and no algorithm to load it."""
import importlib
import os
import stat

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.deploy.files import whole_file
from golden_stick.errors import ArgumentTypeError, CheckpointError
from tests import networks

SHAPE = networks.SMALL_INPUT


def make_slim(residual="group", network=None):
    algorithm = gs.OneShot({"prune_rate": 0.5, "residual": residual})
    return algorithm.convert(algorithm.apply(network or networks.randomize(networks.SmallNet()), inputs=SHAPE))


@pytest.mark.parametrize("residual", ["group", "scatter", "keep"])
def test_round_trip(mode, tmp_path, residual):
    slim = make_slim(residual)
    path = gs.save_slim(slim, str(tmp_path / "slim.ckpt"))
    assert os.listdir(tmp_path) == ["slim.ckpt"]
    original = networks.SmallNet()
    loaded = gs.load_slim(original, path)
    assert gs.verify(slim, loaded, SHAPE).largest_difference == 0.0
    assert original.a.out_channels == 8


def test_no_tracing_and_no_algorithm(tmp_path, monkeypatch):
    path = gs.save_slim(make_slim(), str(tmp_path / "slim"))
    assert path.endswith("slim.ckpt")

    def fail(*_, **__):
        raise AssertionError("called")

    # By import_module: the package's attribute of that name is the function.
    monkeypatch.setattr(importlib.import_module("golden_stick.prune.trace"), "_compile", fail)
    monkeypatch.setattr("golden_stick.prune.pruner.Pruner.__init__", fail)
    gs.load_slim(networks.SmallNet(), path)


def test_fine_tuned_and_pruned_again(tmp_path, mode):
    slim = make_slim()
    step = nn.TrainOneStepCell(nn.WithLossCell(slim, nn.MSELoss()), nn.SGD(slim.trainable_params(), 0.05)).set_train()
    step(ms.ops.ones(SHAPE, ms.float32), ms.ops.zeros((2, 4), ms.float32))
    again = make_slim(network=slim)
    loaded = gs.load_slim(networks.SmallNet(), gs.save_slim(again, str(tmp_path / "again.ckpt")))
    assert gs.verify(again, loaded, SHAPE).largest_difference == 0.0
    assert loaded.c.out_channels == 2


def test_loaded_network_saves_again(tmp_path):
    loaded = gs.load_slim(networks.SmallNet(), gs.save_slim(make_slim(), str(tmp_path / "one.ckpt")))
    twice = gs.load_slim(networks.SmallNet(), gs.save_slim(loaded, str(tmp_path / "two.ckpt")))
    assert gs.verify(loaded, twice, SHAPE).largest_difference == 0.0


def test_file_is_smaller(tmp_path):
    network = networks.CifarResNet(3)
    ms.save_checkpoint(network, str(tmp_path / "original.ckpt"))
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, inputs=(1, 3, 32, 32)))
    path = gs.save_slim(slim, str(tmp_path / "slim.ckpt"))
    assert os.path.getsize(path) < 0.7 * os.path.getsize(tmp_path / "original.ckpt")


class TestSaveRefusals:
    def test_not_a_cell(self, tmp_path):
        with pytest.raises(ArgumentTypeError, match="For 'save_slim', 'slim' must be a Cell, but got dict"):
            gs.save_slim({}, str(tmp_path / "slim.ckpt"))

    def test_not_slim(self, tmp_path):
        with pytest.raises(CheckpointError, match="must be a network that golden_stick made slim, but got a 'Small"):
            gs.save_slim(networks.SmallNet(), str(tmp_path / "slim.ckpt"))

    def test_missing_folder(self, tmp_path):
        with pytest.raises(CheckpointError, match="the folder of 'path' must exist"):
            gs.save_slim(make_slim(), str(tmp_path / "none" / "slim.ckpt"))

    def test_folder_in_its_place(self, tmp_path):
        (tmp_path / "slim.ckpt").mkdir()
        with pytest.raises(CheckpointError, match="'path' must be a file, but got the folder"):
            gs.save_slim(make_slim(), str(tmp_path / "slim.ckpt"))

    def test_folder_that_cannot_be_written(self, tmp_path, monkeypatch):
        """Root may write into a read-only folder, so the refusal of the system is played."""
        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        slim = make_slim()
        monkeypatch.setattr("golden_stick.deploy.files.tempfile.mkdtemp", refuse)
        with pytest.raises(CheckpointError, match=r"'path' must be writable, but got '.*' \(Permission denied\)"):
            gs.save_slim(slim, str(tmp_path / "slim.ckpt"))

    def test_read_only_file(self, tmp_path, monkeypatch):
        path = tmp_path / "slim.ckpt"
        path.write_text("precious")
        path.chmod(stat.S_IREAD)
        monkeypatch.setattr("golden_stick.deploy.files.os.access", lambda *_: False)
        with pytest.raises(CheckpointError, match="'path' must be writable, but got the read-only file"):
            gs.save_slim(make_slim(), str(path))
        assert path.read_text() == "precious" and os.listdir(tmp_path) == ["slim.ckpt"]

    def test_failure_halfway_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "old.txt"
        path.write_text("old")
        with pytest.raises(ZeroDivisionError):
            with whole_file("test", str(path)) as temporary:
                with open(temporary, "w", encoding="utf-8") as file:
                    file.write("half")
                raise ZeroDivisionError
        assert path.read_text() == "old" and os.listdir(tmp_path) == ["old.txt"]


class TestLoadRefusals:
    def test_not_a_cell(self, tmp_path):
        with pytest.raises(ArgumentTypeError, match="For 'load_slim', 'network' must be a Cell, but got type"):
            gs.load_slim(networks.SmallNet, "slim.ckpt")

    def test_missing_file(self, tmp_path):
        with pytest.raises(CheckpointError, match="'path' must be a file, but got '.*none.ckpt'"):
            gs.load_slim(networks.SmallNet(), str(tmp_path / "none.ckpt"))

    def test_no_checkpoint(self, tmp_path):
        path = tmp_path / "text.ckpt"
        path.write_text("not a checkpoint")
        with pytest.raises(CheckpointError, match="'path' must be a checkpoint, but got"):
            gs.load_slim(networks.SmallNet(), str(path))

    def test_plain_checkpoint(self, tmp_path):
        ms.save_checkpoint(networks.SmallNet(), str(tmp_path / "plain.ckpt"))
        with pytest.raises(CheckpointError, match="must be a file that 'save_slim' wrote, but '.*' has no recipe"):
            gs.load_slim(networks.SmallNet(), str(tmp_path / "plain.ckpt"))

    def test_another_network(self, tmp_path):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim.ckpt"))
        with pytest.raises(CheckpointError, match="must be of the kind that '.*' was made from, but: .*'a.weight'"):
            gs.load_slim(networks.CifarResNet(1), path)

    def test_network_with_more_classes(self, tmp_path):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim.ckpt"))
        with pytest.raises(CheckpointError, match=r"'head.weight' in '.*' must have shape \(7, 48\), but got \(4"):
            gs.load_slim(networks.SmallNet(classes=7), path)

    def test_slim_network(self, tmp_path):
        slim = make_slim()
        path = gs.save_slim(slim, str(tmp_path / "slim.ckpt"))
        with pytest.raises(CheckpointError, match="must be the original network, but got one that is slim already"):
            gs.load_slim(slim, path)

    @pytest.mark.parametrize("change, message", [
        ("missing", "must hold the network's parameter 'head.bias', but does not"),
        ("superfluous", "must have the parameter 'stranger' of '.*', but has not"),
    ])
    def test_other_parameters(self, tmp_path, change, message):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim.ckpt"))
        values = ms.load_checkpoint(path)
        recipe = str(values.pop("golden_stick"))
        if change == "missing":
            values.pop("head.bias")
        else:
            values["stranger"] = ms.Parameter(np.zeros(3, np.float32))
        items = [{"name": name, "data": value} for name, value in values.items()]
        ms.save_checkpoint(items, path, append_dict={"golden_stick": recipe})
        with pytest.raises(CheckpointError, match=message):
            gs.load_slim(networks.SmallNet(), path)

    def test_newer_version(self, tmp_path, monkeypatch):
        monkeypatch.setattr("golden_stick.deploy.checkpoint._VERSION", 99)
        path = gs.save_slim(make_slim(), str(tmp_path / "slim.ckpt"))
        monkeypatch.undo()
        with pytest.raises(CheckpointError, match="the file's version must be 1, but got 99"):
            gs.load_slim(networks.SmallNet(), path)

    @pytest.mark.parametrize("recipe", ["{", "{}", '{"version": 1}', '{"version": 1, "plans": [{"axes": [{"a": 1}]}]}'])
    def test_damaged_recipe(self, tmp_path, recipe):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim.ckpt"))
        values = ms.load_checkpoint(path)
        values.pop("golden_stick")
        items = [{"name": name, "data": value} for name, value in values.items()]
        ms.save_checkpoint(items, path, append_dict={"golden_stick": recipe})
        with pytest.raises(CheckpointError, match="the recipe in '.*' must be what 'save_slim' wrote, but it is"):
            gs.load_slim(networks.SmallNet(), path)
