"""The command line: every command on a small network, and every error as one line with nothing written."""
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from safetensors import safe_open
from safetensors.numpy import save_file

import golden_stick as gs
from golden_stick import cli
from golden_stick.cli import networks
from golden_stick.cli.networks import build_network
from golden_stick.comp_algo import ALGORITHMS
from golden_stick.criteria import CRITERIA
from golden_stick.deploy.slim_file import read_slim

COMMANDS = ("prune", "convert", "verify", "certify", "compare", "export", "bench", "trace")
SHAPE = "2,3,12,12"
NETWORK = '''
import os
import signal

import numpy as np
from mindspore import Tensor, nn, ops

from blocks import conv

NOT_CALLABLE = 3


class Net(nn.Cell):
    def __init__(self, classes=4):
        super().__init__()
        self.a, self.norm_a = conv(3, 8), nn.BatchNorm2d(8)
        self.b, self.norm_b = conv(8, 8), nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.c = nn.Conv2d(8, 6, 3, 2, has_bias=True)
        self.head = nn.Dense(6, classes)

    def construct(self, x):
        x = self.relu(self.norm_a(self.a(x)))
        x = self.relu(self.norm_b(self.b(x)) + x)
        return self.head(self.relu(self.c(x)).mean((2, 3)))


def build(classes=4):
    network, generator = Net(classes), np.random.default_rng(5)
    for name, parameter in network.parameters_and_names():
        if "norm" in name:
            parameter.set_data(Tensor(generator.uniform(0.2, 1.5, parameter.shape).astype(np.float32)))
    return network


def returns_text():
    return "network"


def divides():
    return build(1 // 0)


def interrupted():
    raise KeyboardInterrupt


def terminated():
    """As `timeout` does; what has been half written lies beside where it will stand."""
    assert any(name.startswith(".golden_stick_") for name in os.listdir())
    os.kill(os.getpid(), signal.SIGTERM)
    return build()


class Pair(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Dense(5, 8), nn.Dense(7, 8)
        self.head = nn.Dense(8, 2)

    def construct(self, x, y):
        return self.head(ops.relu(self.a(x)) + ops.relu(self.b(y)))


class Tokens(nn.Cell):
    """Takes indices and a mask, which other types do not stand for."""

    def __init__(self):
        super().__init__()
        self.table, self.a, self.b = nn.Embedding(9, 6), nn.Dense(6, 8), nn.Dense(8, 3)

    def construct(self, indices, mask):
        rows = ops.gather(self.table.embedding_table, indices, 0)
        return self.b(ops.relu(self.a(ops.select(mask, rows, 0 * rows)))).mean(1)


class Stubborn(nn.Cell):
    """Meets a bug that nobody foresaw."""

    def construct(self, x):
        return x

    def get_parameters(self, expand=True):
        raise ZeroDivisionError("a bug")
'''


def write_network(folder):
    (folder / "network.py").write_text(NETWORK)
    (folder / "blocks.py").write_text(
        "from mindspore import nn\n\n\ndef conv(inputs, outputs):\n    return nn.Conv2d(inputs, outputs, 3)\n")


LOADED = {}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """
    A working directory with `network.py`, and `blocks.py` which it imports.

    The file is the same for all tests and is loaded once, so that networks of its class need not be compiled again.
    """
    load = networks._load_module

    def load_once(source, is_file, option):
        if os.path.basename(source) != "network.py" or not os.path.isfile(source):
            return load(source, is_file, option)
        if not LOADED:
            LOADED["network.py"] = load(source, is_file, option)
        return LOADED["network.py"]

    monkeypatch.setattr(networks, "_load_module", load_once)
    write_network(tmp_path)
    (tmp_path / "broken.py").write_text("from mindspore import nn\n\nimport no_such_library\n")
    (tmp_path / "typo.py").write_text("x = 1\ndef build(:\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module", name="pruned")
def fixture_pruned(tmp_path_factory):
    """A slim file that `prune` wrote, for tests that only read it."""
    made = tmp_path_factory.mktemp("pruned")
    write_network(made)
    path = made / "slim.ckpt"
    assert run(f"prune --network {made}/network.py:build --inputs {SHAPE} --prune-rate 0.5 --output {path}") == 0
    return path


def run(line):
    return cli.main(shlex.split(line))


def process(*lines):
    """The same in a process of its own, one line after the other, where MindSpore logs as it does by default."""
    settings = {key: value for key, value in os.environ.items() if key != "GLOG_v"}
    settings.update(PYTHONPATH=str(Path(gs.__file__).parents[1]), PYTHONDONTWRITEBYTECODE="1")
    code = ("import shlex, sys\nfrom golden_stick import cli\nfor line in sys.argv[1:]:\n"
            "    code = cli.main(shlex.split(line))\n    print('code', code, file=sys.stderr, flush=True)\n"
            "sys.exit(code)")
    return subprocess.run([sys.executable, "-c", code, *lines], check=False, capture_output=True, text=True,
                          env=settings)


def prune(options="--prune-rate 0.5"):
    assert run(f"prune --network network.py:build --inputs {SHAPE} --output slim.ckpt {options}") == 0


def values_of(path):
    return read_slim(str(path)).values


def assert_equal(values, others):
    assert list(values) == list(others)
    for name, value in values.items():
        np.testing.assert_array_equal(value, others[name])


def fails(line, message, capsys):
    """Assert that a line ends in one line of error with that message, and leaves every file as it was."""
    before = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert run(line) == 2
    error = capsys.readouterr().err
    assert error.startswith("golden-stick: error: ") and error.count("\n") == 1
    assert message in error
    left = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert left == before
    assert not list(Path.cwd().glob(".golden_stick*"))


# What the commands do -------------------------------------------------------------------------------------------------


def test_prune_verify_export(capsys):
    prune("--prune-rate 0.5 --mindir slim --report report.json")
    text = capsys.readouterr().out
    for words in ("built Net by network.py:build", "applied OneShot", "a 8 -> 4", "wrote slim.ckpt",
                  "wrote slim.mindir", "wrote report.json"):
        assert words in re.sub(" +", " ", text)
    report = json.loads(Path("report.json").read_text())
    assert report["config"] == {"prune_rate": 0.5, "target_macs": None, "target_params": None, "target_latency": None,
                                "max_drop": None, "ranking": "local", "per": "channel", "max_rate": 1.0,
                                "reduction": "mean", "normalizer": "auto", "residual": "group",
                                "normalization": "exact", "heads": "width",
                                "round_to": 1, "round": "up", "min_width": 1, "runtime": None,
                                "criterion": "l1", "seed": 0}
    assert {layer["path"]: layer["after"] for layer in report["layers"]} == {"a": 4, "b": 4, "c": 3, "head": 4}
    assert run(f"verify --network network.py:build --slim slim.ckpt --inputs {SHAPE} --samples 5") == 0
    text = capsys.readouterr().out
    assert "traced Net for inputs (5, 3, 12, 12): 13 operators" in text
    assert "step 1, pruned: verified with the weights of the file: largest difference" in text
    assert run(f"export --network network.py:build --slim slim.ckpt --inputs {SHAPE} --output again.mindir") == 0
    inputs = Tensor(np.random.default_rng(1).normal(size=(2, 3, 12, 12)), ms.float32)
    slim = gs.load_slim(build_network("network.py:build"), "slim.ckpt")
    for name in ("slim.mindir", "again.mindir"):
        np.testing.assert_allclose(nn.GraphCell(ms.load(name))(inputs).asnumpy(), slim(inputs).asnumpy(), atol=1e-6)
    assert sorted(path.name for path in Path.cwd().glob("*slim*")) == ["slim.ckpt", "slim.mindir"]


def test_onnx_beside_the_slim_file_and_from_it(capsys):
    import onnxruntime

    prune("--prune-rate 0.5 --onnx slim.onnx")
    line = f"export --network network.py:build --slim slim.ckpt --inputs {SHAPE} --output again.onnx"
    assert run(f"{line} --opset 20") == 0
    assert "wrote again.onnx" in capsys.readouterr().out
    inputs = np.random.default_rng(1).normal(size=(3, 3, 12, 12)).astype(np.float32)
    wanted = gs.load_slim(build_network("network.py:build"), "slim.ckpt")(Tensor(inputs)).asnumpy()
    for name in ("slim.onnx", "again.onnx"):
        session = onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: inputs})[0], wanted, atol=1e-5)
    Path("again.onnx").unlink()
    fails(f"{line} --opset 3", "'--opset' must be a whole number in [13, 23], but got 3", capsys)
    fails(f"{line.replace('.onnx', '.mindir')} --opset 13", "'--opset' must stand with a format that takes it", capsys)


def test_prune_gives_what_the_library_gives():
    prune("--prune-rate 0.3 --criterion random --seed 3 --residual scatter")
    algorithm = gs.OneShot({"prune_rate": 0.3, "criterion": "random", "seed": 3, "residual": "scatter"})
    slim = algorithm.convert(algorithm.apply(build_network("network.py:build"), (2, 3, 12, 12)))
    assert_equal(values_of("slim.ckpt"), {item.name: item.asnumpy() for item in slim.get_parameters()})


def test_prune_twice_gives_the_same_file(pruned):
    prune()
    assert Path("slim.ckpt").read_bytes() == pruned.read_bytes()


def test_prune_knows_what_the_networks_module_adds(capsys):
    Path("mine.py").write_text(
        "import golden_stick as gs\nfrom network import build\n\n\nclass Mine(gs.OneShot):\n    pass\n\n\n"
        "gs.add_algorithm('mine', Mine)\ngs.criteria.add_criterion('last', lambda layer: -layer.weight.sum(1))\n")
    try:
        assert run(f"prune --network mine.py:build --inputs {SHAPE} --criterion last --output last") == 0
        assert run(f"prune --network network.py:build --inputs {SHAPE} --criterion mine --output mine") == 0
        assert "applied Mine" in capsys.readouterr().out
    finally:
        del CRITERIA["last"], ALGORITHMS["mine"]
    assert gs.SCOP.trains_phase  # and known by name once it is imported
    fails(f"prune --network network.py:build --inputs {SHAPE} --criterion scop --output slim",
          "'--criterion' must name what prunes at once, but 'scop' trains before it converts", capsys)


def test_prune_takes_weights_from_the_checkpoint():
    network = build_network("network.py:build")
    network.c.bias.set_data(Tensor(np.full(6, 7.0, np.float32)))
    ms.save_checkpoint(network, "trained.ckpt")
    prune("--prune-rate 0.5 --checkpoint trained.ckpt")
    np.testing.assert_array_equal(values_of("slim.ckpt")["c.bias"], np.full(3, 7.0))


def knockoff_checkpoint(path):
    """A checkpoint of the knockoff phase, as training leaves it."""
    applied = gs.SCOP({"mixing": "joint"}).apply(build_network("network.py:build"), (2, 3, 12, 12))
    generator = np.random.default_rng(2)
    for parameter in applied.get_parameters():
        if parameter.name.endswith(("_scale", ".squared_gradients")):
            parameter.set_data(Tensor(generator.uniform(0.0, 1.0, parameter.shape).astype(np.float32)))
    ms.save_checkpoint(applied, path)


def test_convert_and_verify(capsys):
    knockoff_checkpoint("knockoff.ckpt")
    line = f"--network network.py:build --inputs {SHAPE}"
    options = "--mixing joint --prune-rate 0.45 --output slim --report report.json --card card"
    assert run(f"convert {line} --checkpoint knockoff.ckpt {options}") == 0
    assert "SCOP after 'convert'" in capsys.readouterr().out
    assert json.loads(Path("report.json").read_text())["algorithm"] == "SCOP"
    assert json.loads(Path("card.json").read_text())["config"]["mixing"] == "joint" and Path("card.md").exists()
    assert run(f"verify {line} --slim slim.safetensors") == 0


def test_verify_a_network_pruned_twice(capsys):
    network = build_network("network.py:build")
    for rate, seed in ((0.4, 0), (0.3, 1)):
        algorithm = gs.OneShot({"prune_rate": rate, "residual": "scatter", "criterion": "random", "seed": seed})
        network = algorithm.convert(algorithm.apply(network, (2, 3, 12, 12)))
    gs.save_slim(network, "twice.ckpt")
    assert run(f"verify --network network.py:build --slim twice.ckpt --inputs {SHAPE}") == 0
    assert "verified" in capsys.readouterr().out


def test_verify_refuses_a_file_whose_recipe_was_changed(capsys):
    prune()
    record = ms.load_checkpoint("slim.ckpt")
    recipe = json.loads(str(record.pop("golden_stick")))
    axis = next(axis for axis in recipe["steps"][0]["axes"] if axis["parameter"] == "norm_a.gamma")
    lists = recipe["kept_lists"]
    lists.append([index for index in range(8) if index not in lists[axis["kept"]]])
    axis["kept"] = len(lists) - 1
    ms.save_checkpoint([{"name": name, "data": value} for name, value in record.items()], "changed.ckpt",
                       append_dict={"golden_stick": json.dumps(recipe)})
    fails(f"verify --network network.py:build --slim changed.ckpt --inputs {SHAPE}", "must agree within 1e-05", capsys)


def test_verify_a_folded_network(capsys):
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(build_network("network.py:build"), (2, 3, 12, 12)))
    folded = gs.fold(slim, (2, 3, 12, 12))
    algorithm = gs.OneShot({"prune_rate": 0.3})
    gs.save_slim(algorithm.convert(algorithm.apply(folded, (2, 3, 12, 12))), "folded")
    line = f"verify --network network.py:build --inputs {SHAPE} --slim"
    assert run(f"{line} folded.safetensors") == 0
    said = capsys.readouterr().out
    words = [line.split(": largest")[0].split(": ", 1)[1] for line in said.splitlines() if line.startswith("step")]
    assert "digests agree" in said and words[::2] == ["verified with the weights of the file",
                                                      "verified with weights of the factory"]
    assert "outputs were not compared, since the file does not hold the weights from before" in said
    # Pruned, folded, pruned again; then a normalization is said to have gone elsewhere.
    with safe_open("folded.safetensors", "np") as file:
        record = json.loads(file.metadata()["golden_stick"])
        values = {name: file.get_tensor(name) for name in file.keys()}
    folding = next(step for step in record["steps"] if step["step"] == "fold")["folded"]
    assert len(folding) > 1
    folding[0]["layers"], folding[1]["layers"] = folding[1]["layers"], folding[0]["layers"]
    save_file(values, "other.safetensors", {"golden_stick": json.dumps(record)})
    fails(f"{line} other.safetensors", "the recipe must fold normalizations into layers beside them, but", capsys)


def test_inspect_a_slim_file(capsys):
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(build_network("network.py:build"), (2, 3, 12, 12)))
    folded = gs.fold(slim, (2, 3, 12, 12))
    gs.save_slim(folded, "slim", {"accuracy": 0.93})
    assert run("inspect slim.safetensors") == 0
    text = capsys.readouterr().out
    before, after = algorithm.report.parameters_before, sum(item.size for item in folded.get_parameters())
    for words in ("slim.safetensors: slim file", f"{before:,} -> {after:,}", "network Net", "format version 3",
                  "metadata accuracy: 0.93", "step 1: pruned", "step 2: folded", " 8 -> 4 a, b",
                  "--kept shows every layer"):
        assert words in " ".join(text.split()), text
    assert run("inspect slim.safetensors --kept") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "a 8 -> 4" in text and "a.bias not in the original: a folding made it" in text
    capsys.readouterr()
    assert run("inspect slim.safetensors --json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["kind"] == "slim file" and record["widths"]["a"] == [8, 4]
    assert record["metadata"] == {"accuracy": 0.93}
    assert record["shapes"]["a.weight"][0] == 4 and len(record["weights_digest"]) == 64
    assert record["weights_digest"] == read_slim("slim.safetensors").digests["weights"]


def test_inspect_other_files(capsys):
    ms.save_checkpoint(build_network("network.py:build"), "trained.ckpt")
    assert run("inspect trained.ckpt") == 0
    text = capsys.readouterr().out
    assert "trained.ckpt: checkpoint, " in text and "a.weight (8, 3, 3, 3)" in text and "more" in text
    knockoff_checkpoint("knockoff.ckpt")
    assert run("inspect knockoff.ckpt") == 0
    assert "checkpoint of SCOP's knockoff phase" in capsys.readouterr().out
    fails("inspect none.ckpt", "For 'inspect', 'path' must be a file, but got 'none.ckpt'", capsys)
    fails("inspect network.py", "the checkpoint's name must end in .ckpt or .safetensors, but got 'network.py'", capsys)
    for name in ("empty.ckpt", "empty.safetensors"):
        Path(name).write_bytes(b"")
        fails(f"inspect {name}", f"the checkpoint must hold parameters, but '{name}' is empty", capsys)
    Path("net.mindir").write_bytes(b"")
    fails("inspect net.mindir", "'inspect' takes a slim file or a checkpoint, but got the exported", capsys)


def test_inputs_of_other_types(capsys):
    import onnxruntime

    line = "--network network.py:Tokens --inputs 2,5:int32 --inputs 2,5,1:bool"
    assert run(f"prune {line} --output slim --onnx slim --prune-rate 0.5") == 0
    assert run(f"verify {line} --samples 3 --slim slim.safetensors") == 0
    assert run(f"bench slim.onnx {line.partition('Tokens')[2]} --rounds 1") == 0
    session = onnxruntime.InferenceSession("slim.onnx", providers=["CPUExecutionProvider"])
    assert [item.type for item in session.get_inputs()] == ["tensor(int32)", "tensor(bool)"]
    given = np.array([[8, 1, 4, 0, 2]], np.int32), np.array([[1, 0, 1, 1, 0]], bool)[..., None]
    slim = gs.load_slim(build_network("network.py:Tokens"), "slim.safetensors")
    np.testing.assert_allclose(session.run(None, dict(zip((item.name for item in session.get_inputs()), given)))[0],
                               slim(*map(Tensor, given)).asnumpy(), atol=1e-6)


def test_export_of_a_network_that_is_not_slim():
    network = build_network("network.py:build")
    ms.save_checkpoint(network, "trained.ckpt")
    assert run(f"export --network network.py:build --checkpoint trained.ckpt --inputs {SHAPE} "
               "--output model --any-size") == 0
    inputs = Tensor(np.random.default_rng(1).normal(size=(1, 3, 14, 9)), ms.float32)
    network.set_train(False)
    np.testing.assert_allclose(nn.GraphCell(ms.load("model.mindir"))(inputs).asnumpy(), network(inputs).asnumpy(),
                               atol=1e-6)


def test_trace(capsys):
    assert run(f"trace --network network.py:build --inputs {SHAPE} --residual keep --output trace.json") == 0
    text = capsys.readouterr().out
    record = json.loads(Path("trace.json").read_text())
    assert record["network"] == "Net" and record["inputs"] == [[2, 3, 12, 12]] and record["barriers"] == []
    assert {"operator": "Conv2D", "count": 3, "rule": True} in record["operators"]
    assert record["groups"] == [{"name": "c", "channels": 6, "layers": ["c"]}]
    assert {layer["path"] for layer in record["fixed"]} == {"a", "b", "head"}
    assert f"parameters  {record['parameters']:,}" in text and f"MACs        {record['macs']:,}" in text
    names = [name for item in record["untouched"] for name in item["parameters"]]
    assert sorted(names + record["shrinking"]) == sorted(item.name for item in build_network(
        "network.py:build").get_parameters())
    rows = [line.split() for line in text.splitlines()]
    assert ["c", "c", "6"] in rows and ["Conv2D", "yes", "3"] in rows
    assert "head: 4 of 4" in text and "output of the network: head." in text


def test_trace_names_operators_without_a_rule(capsys):
    Path("odd.py").write_text("from mindspore import nn, ops\n\n\nclass Odd(nn.Cell):\n"
                              "    def __init__(self):\n        super().__init__()\n"
                              "        self.a = nn.Conv2d(3, 4, 3)\n\n"
                              "    def construct(self, x):\n        return ops.lgamma(self.a(x))\n")
    assert run(f"trace --network odd.py:Odd --inputs {SHAPE}") == 0
    text = capsys.readouterr().out
    assert ["Lgamma", "NO", "1"] in [line.split() for line in text.splitlines()]
    assert "not pruned across: Lgamma after 'a'" in text


def test_samples_of_inputs_that_are_not_floats(capsys):
    Path("words.py").write_text(
        "import numpy as np\nfrom mindspore import Tensor, nn\n\n\ndef build():\n"
        "    network = nn.SequentialCell(nn.Embedding(9, 5), nn.Dense(5, 6), nn.ReLU(), nn.Dense(6, 2))\n"
        "    network.set_inputs(Tensor(np.arange(4).reshape(1, 4)))\n    return network\n")
    assert run("prune --network words.py:build --output slim.ckpt") == 0
    assert "inputs were not given: taken as (1, 4)" in capsys.readouterr().out
    assert run("verify --network words.py:build --slim slim.ckpt --samples 3") == 0
    assert "for inputs (3, 4)" in capsys.readouterr().out


def test_network_of_a_module(folder):
    package = folder / "zoo"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "small.py").write_text(NETWORK)
    before = list(sys.path)
    network = build_network("zoo.small:build", '{"classes": 7}')
    assert network.head.out_channels == 7
    assert sys.path == before


def test_another_folder_than_the_working_directory(folder, monkeypatch):
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert run(f"trace --network ../network.py:build --inputs {SHAPE}") == 0


def test_convolutions_are_told_to_be_fast(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    with pytest.raises(SystemExit):
        run("--version")
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"


# What they say when something is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("network, message", [
    ("build", "'--network' must look like 'package.module:factory' or 'path/to/file.py:factory', but got 'build'"),
    ("missing.py:build", "'--network' must name a .py file that exists, but got 'missing.py'"),
    ("folder/network:build", "'--network' must name a .py file that exists, but got 'folder/network'"),
    ("no_such_package.net:build", "raised ModuleNotFoundError: No module named 'no_such_package'"),
    ("broken.py:build", "broken.py:3: No module named 'no_such_library'"),
    ("typo.py:build", "typo.py:2: "),
    ("network.py:bild", "must name a factory of 'network.py', but it has no 'bild'. Did you mean 'build'?"),
    ("network.py:NOT_CALLABLE", "must name a factory that can be called, but 'NOT_CALLABLE' of 'network.py' is of type "
                                "int"),
    ("network.py:returns_text", "must name a factory that returns a Cell, but 'network.py:returns_text' returned str"),
    ("network.py:divides", "must name a factory that works, but 'network.py:divides' raised ZeroDivisionError at "),
])
def test_wrong_network(network, message, capsys):
    fails(f"prune --network {network} --inputs {SHAPE} --output slim.ckpt", message, capsys)


@pytest.mark.parametrize("options, message", [
    ("--kwargs '{classes: 3}'", "'--kwargs' must be a JSON object, but got '{classes: 3}': Expecting property name"),
    ("--kwargs '[3]'", "'--kwargs' must be a JSON object, but got '[3]'"),
    ("--kwargs '{\"clases\": 3}'", "'--kwargs' must fit the factory, but got {\"clases\": 3}: build() got"),
    ("--inputs 1,3,x", "'--inputs' must be a shape such as 1,3,32,32, but got '1,3,x'"),
    ("--inputs 1,3:int", "'--inputs' must be a shape and one of the types float32, float16, float64, int32, int64, "
                         "int16, int8, uint8, bool, such as 1,128:int32, but got '1,3:int'"),
    ("--inputs 1,999999999,999999999", "'--inputs' must be a shape that there is memory for, but got (1, 9999"),
    ("--card missing/card", "'--card' must be in a folder that can be written to, but got 'missing/card'"),
    ("--report slim.json --card slim", "'--report' must be a file of its own, but got 'slim.json', which another"),
    ("--prune-rate 1.0", "'--prune-rate' must be in [0, 1), but got 1.0"),
    ("--prune-rate some", "'--prune-rate' must be a number in [0, 1), but got 'some' of type str"),
    ("--seed some", "argument --seed: invalid int value: 'some'; see 'golden-stick prune --help'"),
    ("--prune-rate 0.3 --target-macs 0.5", "the budget must be one of 'prune_rate', 'target_macs', 'target_params'"),
    ("--criterion l3", "'--criterion' must be one of 'l1', 'l2', 'bn_scale', 'random', 'fpgm', 'lamp', 'taylor', "
                       "'hessian', 'activation', 'reconstruction', but got 'l3'"),
    ("--pruning 3", "unrecognized arguments: --pruning 3"),
    ("--checkpoint missing.ckpt", "--checkpoint', 'path' must be a file, but got 'missing.ckpt'"),
    ("--checkpoint network.py", "--checkpoint', the checkpoint's name must end in .ckpt or .safetensors, but got"),
    ("--output missing/slim.ckpt", "the folder of 'path' must exist, but got 'missing/slim.ckpt'"),
    ("--output ''", "'--output' must be a file that can be written, but got ''"),
    ("--mindir missing/slim", "For 'golden-stick --mindir', the folder of 'path' must exist"),
    ("--report slim.ckpt", "'--report' must be a file of its own, but got 'slim.ckpt', which another option names"),
    ("--report ./network.py", "'--report' must be a file of its own, but got './network.py'"),
])
def test_wrong_options_of_prune(options, message, capsys):
    fails(f"prune --network network.py:build --inputs {SHAPE} --output slim.ckpt {options}", message, capsys)


def test_checkpoint_of_another_network(capsys):
    ms.save_checkpoint(nn.Dense(2, 3), "dense.ckpt")
    line = f"prune --network network.py:build --inputs {SHAPE} --output slim.ckpt --checkpoint"
    fails(f"{line} dense.ckpt", "'--checkpoint' must hold the network's parameter 'a.weight'", capsys)
    ms.save_checkpoint(build_network("network.py:build", '{"classes": 5}'), "five.ckpt")
    fails(f"{line} five.ckpt", "'head.weight' in 'five.ckpt' must have shape (4, 6), but got (5, 6)", capsys)


def test_wrong_options_of_verify(pruned, capsys):
    line = f"verify --network network.py:build --inputs {SHAPE} --slim"
    fails(f"{line} missing.ckpt", "'path' must be a file, but got 'missing.ckpt'", capsys)
    fails(f"{line} {pruned} --samples 0", "'--samples' must be at least 1, but got 0", capsys)
    fails(f"{line} {pruned} --tolerance 0", "'--tolerance' must be positive", capsys)
    fails(f"{line} {pruned} --inputs 1,4,12,12", "could not be compiled", capsys)
    fails(f"{line} {pruned} --kwargs '{{\"classes\": 5}}'", "of another shape are 'head.weight' (5, 6)", capsys)
    fails(f"verify --network network.py:Pair --inputs 2,5 --inputs 2,7 --slim {pruned}", "must be built as", capsys)


def test_wrong_options_of_export_and_trace(capsys):
    line = f"--network network.py:build --inputs {SHAPE}"
    fails(f"export {line} --output model", "one of the arguments --slim --checkpoint is required", capsys)
    fails(f"export {line} --output model --slim network.py", "the checkpoint's name must end in", capsys)
    fails(f"trace {line} --residual join", "'--residual' must be one of", capsys)
    fails("", "the following arguments are required: COMMAND", capsys)
    fails("squeeze", "invalid choice: 'squeeze'", capsys)


def test_output_that_is_an_input(capsys):
    line = f"--network network.py:build --inputs {SHAPE}"
    ms.save_checkpoint(build_network("network.py:build"), "trained.ckpt")
    fails(f"prune {line} --checkpoint trained.ckpt --output trained.ckpt", "'--output' must be a file of its", capsys)
    fails(f"export {line} --slim slim.ckpt --output ./slim.ckpt.mindir/", "must be a file that can be written", capsys)


def test_output_that_is_read_only(capsys, monkeypatch):
    Path("report.json").write_text("kept")
    # Not by permission bits, which root may overrule.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("report.json"))
    fails(f"prune --network network.py:build --inputs {SHAPE} --output slim.ckpt --report report.json",
          "'--report' must be a file that can be written, but got 'report.json'", capsys)


def test_all_outputs_or_none(capsys, monkeypatch):
    def broken_export(*_):
        raise gs.errors.ExportError("no MindIR today")

    Path("slim.ckpt").write_text("kept")
    monkeypatch.setattr(gs, "export", broken_export)
    fails(f"prune --network network.py:build --inputs {SHAPE} --output slim.ckpt --mindir slim --report r.json",
          "no MindIR today", capsys)


def test_interruption(capsys):
    assert run("trace --network network.py:interrupted") == 130
    assert capsys.readouterr().err == ""


# In a process of its own ----------------------------------------------------------------------------------------------


def test_process_says_nothing_or_one_line_where_mindspore_says_many_or_all_of_a_bug_and_ends_when_it_is_told_to(folder):
    before = sorted(path.name for path in folder.iterdir())
    result = process(f"trace --network network.py:build --inputs {SHAPE}",
                     "prune --network network.py:build --inputs 1,4,12,12 --output slim.ckpt",
                     f"prune --network network.py:terminated --inputs {SHAPE} --output slim",
                     f"trace --network network.py:Stubborn --inputs {SHAPE}")
    said = result.stderr.splitlines()
    assert (said[0], said[2], said[3]) == ("code 0", "code 2", "code 143")
    assert said[1].startswith("golden-stick: error: For 'OneShot', 'Net' could not be compiled")
    assert result.stdout.endswith("built Net by network.py:build\nbuilt Stubborn by network.py:Stubborn\n")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert result.returncode == 1
    assert "Traceback" in result.stderr and "ZeroDivisionError: a bug" in said[-1]


def test_process_whose_output_is_cut_off():
    settings = {**os.environ, "PYTHONPATH": str(Path(gs.__file__).parents[1])}
    save_file({"weight": np.ones(3, np.float32)}, "net.safetensors")
    with subprocess.Popen([sys.executable, "-m", "golden_stick.cli", "inspect", "net.safetensors"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=settings) as command:
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141


# bench ----------------------------------------------------------------------------------------------------------------


def test_bench_measures_networks_and_files(capsys):
    prune("--prune-rate 0.5 --mindir slim")
    capsys.readouterr()
    assert run("bench slim.mindir --network network.py:build --slim slim.ckpt --inputs 2,3,12,12 --batch-sizes 3 "
               "--rounds 2 --output bench") == 0
    text = capsys.readouterr().out
    assert "medians of 2 rounds" in text and "not run" not in text and "wrote bench" in text
    found = json.loads(Path("bench.json").read_text())["measurements"]
    assert [(one["name"], one["batch_size"]) for one in found] == [("slim.mindir", 3), ("network", 3), ("slim", 3)]
    assert found[2]["baseline"] == "network" and found[2]["macs"] == found[0]["macs"] < found[1]["macs"]
    assert run("bench slim.mindir --inputs 2,3,12,12 --batch-sizes 2 --rounds 1") == 0
    assert "slim.mindir" in capsys.readouterr().out


def test_bench_refuses_what_it_cannot_measure(capsys):
    gs.export(build_network("network.py:build"), (2, 3, 12, 12), "two", dynamic_batch=False)
    for line, message in (
        ("bench --inputs 1,3,8,8", "'bench' must be given a file or '--network', but got neither"),
        ("bench net.mindir", "'--inputs' must be given where there is no '--network'"),
        ("bench net.mindir --slim slim.ckpt", "'--slim' must come with '--network'"),
        ("bench net.mindir --inputs 1,3,8,8", "a contender must be a file that exists, but got 'net.mindir'"),
        ("bench --network network.py:build --inputs 1,3,12,12 --rounds 0", "'--rounds' must be a whole number"),
        ("bench --network network.py:build --inputs 1,3,12,12 --warm-up -1", "'--warm-up' must be a whole number"),
        ("bench two.mindir --inputs 1,3,12,12 --batch-sizes 1 3 --rounds 1", "'--inputs' must be what some contender "
         "takes, but of 'two.mindir' the file takes (2, 3, 12, 12), not (1, 3, 12, 12)"),
    ):
        fails(line, message, capsys)


def test_bench_shows_progress_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    line = "bench --network network.py:build --inputs 2,3,12,12 --batch-sizes 2 --rounds 1 --modes pynative"
    assert run(line) == 0
    assert " 3 of 3, 0 s left, " in capsys.readouterr().err
    assert run(f"{line} --quiet") == 0
    assert capsys.readouterr() == ("", "")


# Help -----------------------------------------------------------------------------------------------------------------


def help_of(line, capsys):
    with pytest.raises(SystemExit) as ended:
        run(f"{line} --help")
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_examples_in_the_help_can_be_run(capsys):
    for command in COMMANDS:
        examples = help_of(command, capsys).split("example:\n")[1].replace("\\\n", " ").strip().splitlines()
        assert examples
        for example in examples:
            name, *words = shlex.split(example)
            assert name == "golden-stick" and words[0] == command
            options = cli.build_parser().parse_args(words)
            assert options.network == "resnet.py:resnet20"
            assert getattr(options, "inputs", ["1,3,32,32"]) == ["1,3,32,32"]


def test_help_names_the_commands_and_the_criteria(capsys):
    text = help_of("", capsys)
    for command in COMMANDS:
        assert any(line.split()[:1] == [command] and len(line.split()) > 3 for line in text.splitlines())
    words = help_of("prune", capsys).replace(",", " ").split()
    assert set(CRITERIA) <= set(words) and {"group", "scatter", "keep"} <= set(words)


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        run("--version")
    assert ended.value.code == 0 and capsys.readouterr().out == f"golden-stick {gs.__version__}\n"
