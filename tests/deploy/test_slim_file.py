"""Slim files: one file, whole or not at all, and no algorithm to load it."""
import functools
import importlib
import json
import os
import stat
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from safetensors import safe_open
from safetensors.numpy import save_file

import golden_stick as gs
from golden_stick.base.errors import ArgumentTypeError, CheckpointError
from golden_stick.base.files import whole_file
from golden_stick.cells.slim import recipe_of
from golden_stick.cells.wrappers import copy_network
from golden_stick.deploy.slim_file import architecture_digest, read_slim, weights_digest
from tests import networks
from tests.marks import quick

SHAPE = networks.SMALL_INPUT


def make_slim(residual="group", network=None):
    """A network of one's own, pruned; a copy of one that was pruned once for all tests where none is given."""
    return copy_network(once_pruned(residual)) if network is None else pruned(residual, network)


@functools.lru_cache(None)
def once_pruned(residual):
    return pruned(residual, networks.randomize(networks.SmallNet()))


def pruned(residual, network):
    algorithm = gs.OneShot({"prune_rate": 0.5, "residual": residual})
    return algorithm.convert(algorithm.apply(network, inputs=SHAPE))


def rewritten(path, change):
    """The same safetensors file, with `change(values, record)` done to it."""
    with safe_open(path, "np") as file:
        values = {name: file.get_tensor(name) for name in file.keys()}
        record = json.loads(file.metadata()["golden_stick"])
    change(values, record)
    save_file(values, path, {"golden_stick": json.dumps(record)})


@pytest.mark.parametrize("name", ["slim.ckpt", "slim.safetensors"])
@pytest.mark.parametrize("residual", ["group", "scatter", "keep"])
def test_round_trip(tmp_path, residual, name):
    slim = make_slim(residual)
    path = gs.save_slim(slim, str(tmp_path / name))
    assert os.listdir(tmp_path) == [name]
    original = networks.SmallNet()
    loaded = gs.load_slim(original, path)
    assert gs.verify(slim, loaded, SHAPE).largest_difference == 0.0
    assert original.a.out_channels == 8


def test_each_list_stands_in_the_file_once(tmp_path):
    slim = make_slim(network=make_slim("scatter"))
    path = gs.save_slim(slim, str(tmp_path / "slim"))
    with safe_open(path, "np") as file:
        text = file.metadata()["golden_stick"]
    record = json.loads(text)
    lists = record["kept_lists"]
    used = [item["kept"] for step in record["steps"] for items in step.values() if isinstance(items, list)
            for item in items if "kept" in item]
    assert len({tuple(positions) for positions in lists}) == len(lists) and set(used) == set(range(len(lists)))
    assert len(used) > 2 * len(lists)
    assert recipe_of(gs.load_slim(networks.SmallNet(), path)) == recipe_of(slim)


@pytest.mark.parametrize("order", quick(["fold", "prune fold", "fold prune", "prune fold prune"], [
    "prune fold", "prune fold prune"]))
def test_every_order_of_steps(order, tmp_path):
    network = networks.randomize(networks.SmallNet())
    for step in order.split():
        network = gs.fold(network, SHAPE) if step == "fold" else make_slim(network=network)
    path = gs.save_slim(network, str(tmp_path / "slim"))
    assert path.endswith("slim.safetensors")
    loaded = gs.load_slim(networks.SmallNet(), path)
    assert gs.verify(network, loaded, SHAPE).largest_difference == 0.0
    assert gs.fold_report(loaded) == gs.fold_report(network)
    twice = gs.load_slim(networks.SmallNet(), gs.save_slim(loaded, str(tmp_path / "twice.ckpt")))
    assert gs.verify(network, twice, SHAPE).largest_difference == 0.0


@pytest.mark.parametrize("order", ["prune", "prune fold prune"])
def test_a_cell_around_a_network_renames_nothing_in_its_file(order, tmp_path):
    network = networks.randomize(networks.SmallNet())
    for step in order.split():
        network = gs.fold(network, SHAPE) if step == "fold" else make_slim(network=network)
        networks.WithLoss(network)
    assert "network.a.weight" in {parameter.name for parameter in network.get_parameters()}
    path = gs.save_slim(network, str(tmp_path / "slim"))
    loaded = gs.load_slim(networks.SmallNet(), path)
    assert gs.verify(network, loaded, SHAPE).largest_difference == 0.0
    assert set(read_slim(path).values) == {parameter.name for parameter in loaded.get_parameters()}
    assert {axis.parameter for plan in recipe_of(loaded).steps if hasattr(plan, "axes") for axis in plan.axes} <= \
        {parameter.name for parameter in networks.SmallNet().get_parameters()} | {"a.bias", "b.bias", "c.bias"}


class Around(nn.Cell):
    def __init__(self, network):
        super().__init__()
        self.inner = nn.SequentialCell(network)

    def construct(self, *inputs):
        return self.inner[0](*inputs) * 1.0


@pytest.mark.parametrize("order", ["prune", "prune prune", "prune fold prune"])
@pytest.mark.parametrize("residual", ["scatter", "group"])
def test_a_file_loads_into_a_cell_around_its_network_and_back(residual, order, tmp_path):
    """Where Cells are wrapped, and what was folded, is found in either."""
    network = networks.randomize(networks.SmallNet())
    for number, step in enumerate(order.split()):
        network = gs.fold(network, SHAPE) if step == "fold" else pruned(residual, network)
        path = gs.save_slim(network, str(tmp_path / f"{number}"))
        around = gs.load_slim(Around(networks.SmallNet()), path)
        assert gs.verify(network, around, SHAPE).largest_difference == 0.0
    back = gs.load_slim(networks.SmallNet(), gs.save_slim(pruned(residual, around), str(tmp_path / "around")))
    assert sum(item.size for item in back.get_parameters()) < sum(item.size for item in network.get_parameters())
    again = gs.load_slim(Around(networks.SmallNet()), gs.save_slim(back, str(tmp_path / "back")))
    assert gs.verify(back, again, SHAPE).largest_difference == 0.0


def test_what_the_file_says(tmp_path):
    network = networks.randomize(networks.SmallNet())
    original = {item.name: item.asnumpy() for item in network.get_parameters()}
    metadata = {"accuracy": 0.93, "epochs": [1, 2]}
    # Nothing is trained, so that the weights that are left are the original's.
    slim = make_slim(network=make_slim(network=network))
    file = read_slim(gs.save_slim(slim, str(tmp_path / "slim"), metadata))
    assert file.metadata == metadata and file.network == "SmallNet" and len(file.steps) == 2
    assert dict(file.original) == {name: array.shape for name, array in original.items()}
    assert list(file.values) == list(original)
    for name, array in original.items():
        for axis, kept in file.kept.get(name, {}).items():
            array = array.take(kept, axis)
        np.testing.assert_array_equal(file.values[name], array)
    assert file.kept["a.weight"][0] != tuple(range(2))


def test_digests_know_names_shapes_and_numbers():
    shapes = (("a", (2, 3)), ("b", (1,)))
    assert architecture_digest(shapes) == architecture_digest(shapes[::-1])
    assert architecture_digest(shapes) != architecture_digest((("a", (3, 2)), ("b", (1,))))
    values = {"a": np.zeros((2, 3)), "b": np.ones(1)}
    digests = [weights_digest(item) for item in (values, {"a": np.zeros((3, 2)), "b": np.ones(1)},
                                                 {"a": np.zeros((2, 3)), "b": np.full(1, 1 + 1e-15)},
                                                 {"c": np.zeros((2, 3)), "b": np.ones(1)})]
    assert len(set(digests)) == 4
    assert weights_digest(dict(reversed(values.items()))) == digests[0]


WITHOUT_MINDSPORE = """
import sys
sys.modules["mindspore"] = None
from golden_stick.deploy.formats import FORMATS, format_of_path
from golden_stick.deploy.slim_file import read_slim, read_tensors, weights_digest
file = read_slim(sys.argv[1])
print(len(file.steps), weights_digest(file.values) == file.digests["weights"], list(FORMATS), format_of_path("x.onnx"))
"""


def test_a_slim_file_is_read_without_mindspore(tmp_path):
    path = gs.save_slim(make_slim(), str(tmp_path / "slim"))
    run = subprocess.run([sys.executable, "-c", WITHOUT_MINDSPORE, path], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "1 True ['MINDIR', 'ONNX'] ONNX", run.stderr


def test_no_tracing_and_no_algorithm(tmp_path, monkeypatch):
    path = gs.save_slim(make_slim(), str(tmp_path / "slim"))
    assert path.endswith("slim.safetensors")

    def fail(*_, **__):
        raise AssertionError("called")

    # By import_module: the package's attribute of that name is the function.
    monkeypatch.setattr(importlib.import_module("golden_stick.cells.trace"), "_compile", fail)
    monkeypatch.setattr("golden_stick.prune.pruner.Pruner.__init__", fail)
    gs.load_slim(networks.SmallNet(), path)


def test_fine_tuned_and_pruned_again(tmp_path):
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
    network = networks.CifarResNet(1)
    ms.save_checkpoint(network, str(tmp_path / "original.ckpt"))
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, inputs=(1, 3, 16, 16)))
    path = gs.save_slim(slim, str(tmp_path / "slim.ckpt"))
    assert os.path.getsize(path) < 0.7 * os.path.getsize(tmp_path / "original.ckpt")


class TestSaveRefusals:
    @pytest.mark.parametrize("metadata, reason", [
        (3, "int"), ({"a": {1, 2}}, "set is not JSON"), ({"a": np.nan}, "Out of"),
    ])
    def test_metadata(self, tmp_path, metadata, reason):
        wanted = f"'metadata' must be a dict that is fit for JSON, but got: .*{reason}"
        with pytest.raises(ArgumentTypeError, match=wanted):
            gs.save_slim(make_slim(), str(tmp_path / "slim"), metadata)
        assert os.listdir(tmp_path) == []

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
        monkeypatch.setattr("golden_stick.base.files.tempfile.mkdtemp", refuse)
        with pytest.raises(CheckpointError, match=r"'path' must be writable, but got '.*' \(Permission denied\)"):
            gs.save_slim(slim, str(tmp_path / "slim.ckpt"))

    @pytest.mark.parametrize("ending", [".ckpt", ".safetensors"])
    def test_a_full_disk(self, tmp_path, small_files, ending):
        slim, path = make_slim(), tmp_path / f"slim{ending}"
        path.write_text("precious")
        with small_files(), pytest.raises(CheckpointError, match=rf"For 'save_slim', 'path' must be a file that can be "
                                                                 rf"written, but got '{path}' \(.*File too large"):
            gs.save_slim(slim, path)
        assert path.read_text() == "precious" and os.listdir(tmp_path) == [path.name]

    def test_a_name_that_is_too_long(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"must be a file that can be written, but .* \(.*File name too long"):
            gs.save_slim(make_slim(), tmp_path / ("x" * 300))
        assert os.listdir(tmp_path) == []

    def test_no_path(self):
        with pytest.raises(ArgumentTypeError, match="For 'save_slim', 'path' must be a str or a path, but got int"):
            gs.save_slim(make_slim(), 3)
        with pytest.raises(ArgumentTypeError, match="For 'load_slim', 'path' must be a str or a path, but got None"):
            gs.load_slim(networks.SmallNet(), None)

    def test_read_only_file(self, tmp_path, monkeypatch):
        path = tmp_path / "slim.ckpt"
        path.write_text("precious")
        path.chmod(stat.S_IREAD)
        monkeypatch.setattr("golden_stick.base.files.os.access", lambda *_: False)
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
        with pytest.raises(CheckpointError, match="must be a file that 'save_slim' wrote, but '.*' has no recipe: it "
                                                  "holds .* into it by 'mindspore.load_checkpoint'; .*'--recipe'"):
            gs.load_slim(networks.SmallNet(), str(tmp_path / "plain.ckpt"))

    def test_another_network(self, tmp_path):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim"))
        wanted = (r"must be built as the one that '.*' was made from, a 'SmallNet', but this 'CifarResNet' differs: "
                  r"it lacks 'a.weight' \(8, 3, 3, 3\), .* and 9 more; it has besides 'stem.weight' \(16, 3, 3, 3\)")
        with pytest.raises(CheckpointError, match=wanted):
            gs.load_slim(networks.CifarResNet(1), path)

    def test_network_with_more_classes(self, tmp_path):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim"))
        wanted = (r"differs: of another shape are 'head.weight' \(7, 96\) instead of \(4, 96\), "
                  r"'head.bias' \(7,\) instead of \(4,\)\.")
        with pytest.raises(CheckpointError, match=wanted):
            gs.load_slim(networks.SmallNet(classes=7), path)

    def test_slim_network(self, tmp_path):
        slim = make_slim()
        path = gs.save_slim(slim, str(tmp_path / "slim.ckpt"))
        with pytest.raises(CheckpointError, match="must be the original network, but got one that is slim already"):
            gs.load_slim(slim, path)

    def test_changed_weights(self, tmp_path):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim"))

        def change(values, record):
            values["head.bias"][0] += 1

        rewritten(path, change)
        with pytest.raises(CheckpointError, match="must be those that 'save_slim' wrote, but their digest differs"):
            gs.load_slim(networks.SmallNet(), path)

    @pytest.mark.parametrize("damage", ["cut", "text"])
    def test_damaged_file(self, tmp_path, damage):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim"))
        whole = (tmp_path / "slim.safetensors").read_bytes()
        (tmp_path / "slim.safetensors").write_bytes(whole[:-100] if damage == "cut" else b"text")
        with pytest.raises(CheckpointError, match="'path' must be a checkpoint, but got"):
            gs.load_slim(networks.SmallNet(), path)

    def test_another_version(self, tmp_path):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim"))
        rewritten(path, lambda values, record: record.update(version=99))
        with pytest.raises(CheckpointError, match="the file's version must be 3, but got 99"):
            gs.load_slim(networks.SmallNet(), path)

    @pytest.mark.parametrize("recipe", [
        {"version": None}, {"steps": 3}, {"steps": [{"step": "dance"}]}, {"steps": [{"axes": []}]}, {"original": [3]},
        {"digests": {}}, {"kept_lists": [3]}, {"kept_lists": []}, {"version": 2},
    ])
    def test_damaged_recipe(self, tmp_path, recipe):
        path = gs.save_slim(make_slim(), str(tmp_path / "slim"))
        rewritten(path, lambda values, record: record.update(recipe))
        wanted = "the recipe in '.*' must be what 'save_slim' wrote|the file's version"
        with pytest.raises(CheckpointError, match=wanted):
            gs.load_slim(networks.SmallNet(), path)
