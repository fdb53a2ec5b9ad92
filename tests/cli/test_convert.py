"""`golden-stick convert`: every kind of checkpoint, and its examples as they stand."""
import json
import re
import shlex
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick import cli
from golden_stick.base.config import Option, Switch
from golden_stick.cli.entry import build_parser
from golden_stick.comp_algo import ALGORITHMS
from golden_stick.deploy.slim_file import read_slim
from golden_stick.prune import Pruner
from golden_stick.scop import GaussianSampler
from tests import networks

SHAPE = (1, 3, 32, 32)
SHELL = Path(__file__).parents[2] / "docs" / "shell.md"
FACTORY = '''
from tests import networks
from tests.cli import test_convert


def resnet20():
    return networks.randomize(test_convert.network(), 7)


build = resnet20
'''


def network():
    """As small as can be with two layers that lose filters: each conversion compiles it several times."""
    return nn.SequentialCell(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=4), nn.BatchNorm2d(8),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dense(8, 4))


def build():
    """With the weights that the checkpoints hold, which are not those of the factory."""
    return networks.randomize(network(), 3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("resnet.py", "my_net.py"):
        Path(name).write_text(FACTORY)
    return tmp_path


def run(line):
    return cli.main(shlex.split(line))


def convert(options, inputs="1,3,32,32"):
    return run(f"convert --network resnet.py:resnet20 --inputs {inputs} {options}")


def contents():
    return {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file() and path.suffix != ".pyc"}


def fails(options, message, capsys, inputs="1,3,32,32"):
    before = contents()
    assert convert(options, inputs) == 2
    error = capsys.readouterr().err
    assert error.startswith("golden-stick: error: ") and error.count("\n") == 1 and message in error, error
    assert contents() == before


def holds(path, slim):
    """Whether a slim file holds just these weights."""
    values = read_slim(path).values
    assert set(values) == {item.name for item in slim.get_parameters()}
    for parameter in slim.get_parameters():
        np.testing.assert_array_equal(values[parameter.name], parameter.asnumpy())


def knockoff_phase(config):
    algorithm = gs.SCOP(config)
    phase = algorithm.apply(build(), SHAPE)
    generator = np.random.default_rng(0)
    values = {item.name: item for item in phase.get_parameters()}
    for name, parameter in values.items():
        if name.endswith(("real_scale", "squared_gradients")):
            array = Tensor(generator.random(parameter.shape).astype(np.float32))
            parameter.set_data(array)
            if name.replace("real", "frozen") in values:
                values[name.replace("real", "frozen")].set_data(array)
    if "mixing.step" in values:
        values["mixing.step"].set_data(Tensor(1000, ms.int32))
    return algorithm, phase


def masked(optimizer=nn.Momentum, **settings):
    """Trained for three steps."""
    algorithm = gs.OneShot({"criterion": "l1", "prune_rate": 0.45})
    applied = algorithm.apply(build(), SHAPE)
    generator = np.random.default_rng(0)
    images, labels = generator.normal(size=(8, 3, 32, 32)).astype(np.float32), np.arange(8, dtype=np.int32) % 4
    settings = {"learning_rate": 0.1, "weight_decay": 0.01, **settings}
    optimizer = optimizer(applied.trainable_params(), **settings)
    step = nn.TrainOneStepCell(nn.WithLossCell(applied, nn.CrossEntropyLoss()), optimizer).set_train()
    for _ in range(3):
        step(Tensor(images), Tensor(labels))
    applied.set_train(False)
    return algorithm, applied


def one_shot(config):
    algorithm = gs.OneShot(config)
    return algorithm.convert(algorithm.apply(build(), SHAPE))


def items(parameters):
    return [{"name": item.name, "data": Tensor(item.asnumpy())} for item in parameters]


def tuned_weights(slim, path):
    """The weights of a slim network after some training, in a plain checkpoint."""
    values = {item.name: item.asnumpy() + 0.01 for item in slim.get_parameters()}
    ms.save_checkpoint([{"name": name, "data": Tensor(array)} for name, array in values.items()], path)
    return values


def examples():
    """The commands at the top of the help, as they stand."""
    text = next(action for action in build_parser()._subparsers._group_actions).choices["convert"].format_help()
    usage, first = text.split("\n\n")[:2]
    assert usage.count("\n") <= 1 and first.startswith("original: prune")
    joined = re.sub(r"\\\n\s+", "", text[:text.index("The kind is read")])
    lines = [line.strip() for line in joined.splitlines() if line.strip().startswith("golden-stick convert")]
    return [line.removeprefix("golden-stick ") for line in lines]


def test_the_five_examples_and_the_readmes_commands_run_in_an_empty_folder(capsys):
    ms.save_checkpoint(build(), "trained.ckpt")
    algorithm, phase = knockoff_phase({"prune_rate": 0.45})
    ms.save_checkpoint(phase, "knockoff.ckpt")
    by_scales = algorithm.convert(phase)
    algorithm, applied = masked(momentum=0.9)
    ms.save_checkpoint(applied, "masked.ckpt")
    by_mask = algorithm.convert(applied)
    tuned = tuned_weights(by_mask, "tuned.ckpt")
    # The fourth and the fifth read what the third wrote.
    lines, wanted = examples(), (None, by_scales, by_mask, by_mask, by_mask)
    assert len(lines) == 5
    for line, slim in zip(lines, wanted):
        assert run(line) == 0, line
        if slim is not None:
            holds("slim.safetensors", slim)
    said = capsys.readouterr().out
    np.testing.assert_array_equal(read_slim("tuned.safetensors").values["8.bias"], tuned["8.bias"])
    for kind in ("original", "knockoff", "masked", "slim", "slim-weights"):
        assert f"of kind '{kind}'" in said
    assert Path("slim.mindir").exists() and Path("slim.onnx").exists()
    shown = [line.split("#")[0] for line in SHELL.read_text().splitlines() if line.startswith("golden-stick convert")]
    assert any("--checkpoint trained.ckpt" in line and "--onnx" in line for line in shown)
    for line in shown:
        assert run(line.removeprefix("golden-stick ")) == 0, line
        words = line.split()
        assert "--onnx" not in words or Path(words[words.index("--onnx") + 1]).exists()


def test_a_phase_with_a_sampler_of_its_own_converts():
    """Such a sampler has parameters, which its phase's checkpoint holds."""
    images = np.random.default_rng(0).normal(size=(100, *SHAPE[1:])).astype(np.float32)
    algorithm, phase = knockoff_phase({"prune_rate": 0.45, "sampler": GaussianSampler(grid=2).fit([images])})
    ms.save_checkpoint(phase, "gaussian.ckpt")
    assert "sampler.root" in ms.load_checkpoint("gaussian.ckpt")
    assert convert("--checkpoint gaussian.ckpt --prune-rate 0.45 --output slim.safetensors --report report.json") == 0
    holds("slim.safetensors", algorithm.convert(phase))
    told = json.loads(Path("report.json").read_text())
    assert told["config"]["sampler"] == told["control"]["sampler"] == "gaussian"
    assert told["control"]["grid"] == 2 and told["control"]["fit"] == algorithm.report.control["fit"]


def test_the_report_says_of_the_sampler_what_the_file_tells(capsys):
    phase = knockoff_phase({"sampler": "noise"})[1]
    for parameter in phase.get_parameters():
        if parameter.name.endswith("_scale"):  # knockoff+ selects all but one filter of a layer
            parameter.set_data(Tensor(np.array([0.1] + [0.9] * 7, np.float32)))
    ms.save_checkpoint(phase, "phase.ckpt")
    assert convert("--checkpoint phase.ckpt --prune-rate auto --fdr 0.6 --output slim --report report.json") == 0
    report = json.loads(Path("report.json").read_text())
    assert report["config"]["sampler"] == report["control"]["sampler"] == "noise"
    assert any(note.startswith("C6 does NOT hold: the sampler 'noise' draws controls") for note in report["notes"])
    values = [item for item in items(phase.get_parameters()) if item["name"] != "mixing.sampler"]
    ms.save_checkpoint(values, "untold.ckpt")
    fails("--checkpoint untold.ckpt --output out", "checkpoint of the knockoff phase must hold 'mixing.sampler'",
          capsys)


def test_the_schedule_of_a_knockoff_phase_is_read_from_its_file(capsys):
    for number, config in enumerate(({"mixing": "joint"}, {"draws": 2}, {"mixing": "layers", "turn_steps": 3})):
        algorithm, phase = knockoff_phase({**config, "prune_rate": 0.45})
        ms.save_checkpoint(phase, f"phase{number}.ckpt")
        slim = algorithm.convert(phase)
        option = " --mixing layers" if number == 2 else ""
        assert convert(f"--checkpoint phase{number}.ckpt --prune-rate 0.45 --output slim{number}{option}") == 0
        holds(f"slim{number}.safetensors", slim)
    # A phase that was trained otherwise than the options say.
    values = items(phase.get_parameters())
    ms.save_checkpoint([item for item in values if item["name"] != "3.real_scale"], "without.ckpt")
    fails("--checkpoint without.ckpt --output out", "the network's parameter '3.real_scale', but 'without.ckpt' does "
          "not; it holds nothing besides", capsys)
    ms.save_checkpoint(values + [{"name": "5.real_scale", "data": Tensor(np.ones(8, np.float32))}], "besides.ckpt")
    fails("--checkpoint besides.ckpt --output out", "and no others, but 'besides.ckpt' also holds '5.real_scale'",
          capsys)


def test_files_of_ranks_with_what_an_optimizer_leaves(capsys):
    trained = build()
    optimizer = nn.Momentum(trained.trainable_params(), 0.1, 0.9)
    values, left = items(trained.get_parameters()), items(optimizer.moments)
    for rank in range(2):
        Path(f"all/rank_{rank}").mkdir(parents=True)
        # What optimizers keep may differ: each rank has its part of it.
        left[0]["data"] = Tensor(np.full(left[0]["data"].shape, rank, np.float32))
        ms.save_checkpoint(values + left, f"all/rank_{rank}/net.ckpt", append_dict={"epoch_num": 3, "note": "a text"})
    expected = one_shot({"prune_rate": 0.45})
    assert convert("--checkpoint 'all/rank_*/net.ckpt' --kind original --prune-rate 0.45 --slim slim.ckpt") == 0
    assert ("left aside 9 values of 'all/rank_0/net.ckpt' that training keeps beside parameters: 'moments.0.weight', "
            "'moments.1.gamma', 'moments.1.beta' and 6 more\n") in capsys.readouterr().out
    holds("slim.ckpt", expected)
    values[0]["data"] = values[0]["data"] + 1
    ms.save_checkpoint(values, "all/rank_1/net.ckpt")
    fails("--checkpoint all --output out", "but 'all/rank_0/net.ckpt' and 'all/rank_1/net.ckpt' differ in '0.weight'",
          capsys)


def test_a_masked_checkpoint_tells_how_it_was_masked():
    """No option says so again: not the criterion, not the rate, and not the weights before the training."""
    algorithm, applied = masked(nn.Adam)
    ms.save_checkpoint(applied, "adam.ckpt")
    assert convert("--checkpoint adam.ckpt --kind masked --output out --report report.json") == 0
    holds("out.safetensors", algorithm.convert(applied))
    assert json.loads(Path("report.json").read_text())["config"] == algorithm.report.to_dict()["config"]


class Bold(Pruner):
    """An algorithm of a user's, whose configuration has a key that `OneShot` has not."""

    options = {**Pruner.options, "bold": Option(False, Switch())}

    def score_filters(self, task):
        return {name: -weight.sum(axis=1) for name, weight in task.filter_weights().items()}


def test_a_masked_checkpoint_of_an_added_algorithm_is_of_that_algorithm(capsys):
    algorithm = Bold({"prune_rate": 0.45, "bold": True})
    applied = algorithm.apply(build(), SHAPE)
    ms.save_checkpoint(applied, "bold.ckpt")
    fails("--checkpoint bold.ckpt --output out", "'bold.ckpt' must be of a network that a known algorithm masked, but "
          "it was 'Bold', which no call of 'add_algorithm' and no package has added", capsys)
    gs.add_algorithm("bold", Bold)
    try:
        assert convert("--checkpoint bold.ckpt --output out --report report.json") == 0
    finally:
        del ALGORITHMS["bold"]
    holds("out.safetensors", algorithm.convert(applied))
    report = json.loads(Path("report.json").read_text())
    assert (report["algorithm"], report["config"]) == ("Bold", algorithm.report.to_dict()["config"])


def test_a_slim_file_keeps_its_metadata_and_changes_its_format():
    slim = one_shot({"prune_rate": 0.45})
    gs.save_slim(slim, "slim.safetensors", {"accuracy": 0.5})
    assert convert("--checkpoint slim.safetensors --kind slim --output again.ckpt") == 0
    holds("again.ckpt", slim)
    assert dict(read_slim("again.ckpt").metadata) == {"accuracy": 0.5}


def test_data_from_the_shell():
    Path("images.py").write_text("import numpy as np\n\n\ndef few():\n    g = np.random.default_rng(0)\n    return [("
                                 "g.normal(size=(4, 3, 32, 32)).astype(np.float32), np.arange(4, dtype=np.int32))]\n")
    ms.save_checkpoint(items(build().get_parameters()), "trained.safetensors", format="safetensors")
    assert convert("--checkpoint trained.safetensors --criterion taylor --data images.py:few --output taylor.ckpt") == 0
    algorithm = gs.OneShot({"criterion": "taylor"})
    generator = np.random.default_rng(0)
    data = [(generator.normal(size=(4, 3, 32, 32)).astype(np.float32), np.arange(4, dtype=np.int32))]
    holds("taylor.ckpt", algorithm.convert(algorithm.apply(build(), SHAPE, data=data, loss=nn.CrossEntropyLoss())))


@pytest.fixture
def checkpoints(folder):
    """One of each kind."""
    trained = build()
    ms.save_checkpoint(trained, "trained.ckpt")
    scales = [{"name": f"{path}.real_scale", "data": Tensor(np.full(8, 0.3, np.float32))} for path in (0, 3)]
    ms.save_checkpoint(items(trained.get_parameters()) + scales, "knockoff.ckpt")
    gs.save_slim(gs.slim(trained, gs.prune.PruningPlan((), (), (), ())), "slim.ckpt")
    Path("named.safetensors").write_bytes(b"kept")
    return trained


@pytest.mark.parametrize("options, message", [
    ("trained.ckpt slim.ckpt", "a slim file must stand alone, but got 'slim.ckpt' with 1 other files"),
    ("trained.ckpt knockoff.ckpt", "must be of one kind, but 'trained.ckpt' is of kind 'original' and 'knockoff.ckpt' "
     "of kind 'knockoff'"),
    ("trained.ckpt --kind slim", "'--kind' must be what 'trained.ckpt' is of, 'original', but got 'slim'"),
    ("slim.ckpt --kind masked", "'--kind' must be what 'slim.ckpt' is of, 'slim', but got 'masked'"),
    ("trained.ckpt --kind masked", "'--kind' must be what 'trained.ckpt' is of, 'original', but got 'masked'"),
    ("trained.ckpt --fold --card card", "'--card' must stand without '--fold': it is of the network before that"),
    ("trained.ckpt --opset 12", "'--opset' must be a whole number in [13, 23], but got 12"),
    ("knockoff.ckpt --recipe slim.ckpt", "'--recipe' must stand with the weights of a slim network and nothing else, "
     "but 'knockoff.ckpt' is of kind 'knockoff'"),
    ("slim.ckpt --recipe slim.ckpt", "and nothing else, but 'slim.ckpt' is of kind 'slim'"),
    ("trained.ckpt --kind slim-weights", "'--kind slim-weights' must stand with '--recipe': 'trained.ckpt' does not "
     "say what of the original they are"),
    ("trained.ckpt --recipe slim.ckpt --prune-rate 0.4", "or 'mindspore-gs', but 'trained.ckpt' is of kind "
     "'slim-weights'"),
    ("trained.ckpt --recipe trained.ckpt", "must be a file that 'save_slim' wrote, but 'trained.ckpt' has no recipe"),
    ("slim.ckpt --prune-rate 0.4", "'--prune-rate' must stand with a checkpoint of kind 'original' or "
     "'knockoff' or 'mindspore-gs', but 'slim.ckpt' is of kind 'slim'"),
    # The default, but said.
    ("slim.ckpt --criterion l1", "'--criterion' must stand with a checkpoint of kind 'original', but"),
    ("slim.ckpt --report report.json", "'--report' must stand with"),
    ("knockoff.ckpt --seed 0", "'--seed' must stand with a checkpoint of kind 'original', but 'knockoff"),
    ("trained.ckpt --mixing joint", "'--mixing' must stand with a checkpoint of kind 'knockoff', but 'trained.ckpt'"),
    ("trained.ckpt --slim slim.ckpt", "'--slim' must be a new file, and stand without '--output', but got 'slim.ckpt'"),
    ("trained.ckpt --slim named", "'--slim' must be a new file, and stand without '--output', but got 'named'"),
    ("trained.ckpt --slim other.ckpt", "'--slim' must be a new file, and stand without '--output', but got 'out'"),
    ("trained.ckpt --criterion taylor", "'--data' must be batches for this criterion"),
    ("trained.ckpt --strategy nowhere.json", "with a strategy the path of each file must name its rank"),
    ("trained.ckpt --mindir nowhere/slim.mindir", "For 'golden-stick --mindir', the folder of 'path' must exist"),
])
def test_options_that_do_not_fit(options, message, checkpoints, capsys):
    fails(f"--checkpoint {options} --onnx out.onnx {'--output out' if 'other' in options else ''}", message, capsys)


def test_files_that_do_not_fit(checkpoints, capsys):
    fails("--checkpoint trained.ckpt", "one of '--output', '--mindir' and '--onnx' must say what is written", capsys)
    ms.save_checkpoint(nn.Dense(2, 3), "dense.ckpt")
    ms.save_checkpoint(items(nn.Momentum(checkpoints.trainable_params(), 0.1, 0.9).moments), "optimizer.ckpt")
    whole = items(checkpoints.get_parameters())
    ms.save_checkpoint(whole + [{"name": "head.bias", "data": Tensor(np.ones(4, np.float32))}], "larger.ckpt")
    ms.save_checkpoint(whole[:3], "part.safetensors", format="safetensors")
    ms.save_checkpoint(one_shot({"prune_rate": 0.45}), "plain.ckpt")
    for name in ("trained.ckpt", "part.safetensors"):
        Path(f"half_{name}").write_bytes(Path(name).read_bytes()[:60])
    Path("empty").mkdir()
    for file, message in (
            ("nowhere.ckpt", "'--checkpoint' must be a file, a pattern or a folder of files that end in .ckpt or"),
            ("empty", "but nothing fits 'empty'"),
            ("half_trained.ckpt", "'path' must be a checkpoint, but got 'half_trained.ckpt'"),
            ("half_part.safetensors", "'path' must be a checkpoint, but got 'half_part.safetensors'"),
            ("dense.ckpt", "parameter '0.weight', but 'dense.ckpt' does not, nor 11 more of its 12; the nearest name "
             "there is 'weight'"),
            ("optimizer.ckpt", "the nearest name there is 'moments.0.weight'"),
            ("part.safetensors", "but 'part.safetensors' does not, nor"),
            ("larger.ckpt", "'--checkpoint' must hold the network's parameters and no others, but 'larger.ckpt' also "
             "holds 'head.bias': name the network that it is of"),
            ("plain.ckpt", "'0.weight' in 'plain.ckpt' must have shape (8, 3, 3, 3), but got (5, 3, 3, 3): if these "
             "are the weights of a slim network, name its slim file as '--recipe'")):
        fails(f"--checkpoint {file} --output out", message, capsys)
    fails("--checkpoint trained.ckpt --onnx out.onnx", "could not be compiled", capsys, inputs="1,4,32,32")
    fails("--checkpoint slim.ckpt --onnx out.onnx", "could not be compiled", capsys, inputs="1,4,32,32")


BATCHES = """
import numpy as np


def batches():
    return np.random.default_rng(0).normal(size=(2, 16, 3, 32, 32)).astype(np.float32)
"""
EVALUATE = """

def evaluate(network):
    return float(network[3].out_channels > 5)
"""


def test_recovery_on_calibration_data(capsys):
    Path("my_data.py").write_text(BATCHES)
    prune = "prune --network my_net.py:build --inputs 1,3,32,32 --prune-rate 0.5"
    assert run(f"{prune} --output slim.safetensors --calibration-data my_data.py:batches --report report.json") == 0
    steps = read_slim("slim.safetensors").steps
    assert [type(step).__name__ for step in steps] == ["PruningPlan", "Reconstruction"]
    report = json.loads(Path("report.json").read_text())
    assert report["reconstruction"] == json.loads(json.dumps(steps[1].to_dict()))
    assert run("inspect slim.safetensors") == 0
    assert run("verify --network my_net.py:build --inputs 1,3,32,32 --slim slim.safetensors") == 0
    said = capsys.readouterr().out
    assert "step 2: reconstructed, " in said and "step 2, reconstructed: names and shapes stay" in said
    assert run(f"{prune} --output other.ckpt --calibration-data my_data.py:batches --recovery statistics") == 0
    assert "re-estimated on 2 batches" in capsys.readouterr().out
    assert run(f"{prune} --output third.ckpt") == 0
    assert "no --calibration-data: layers were not solved anew" in capsys.readouterr().out
    assert run(f"{prune} --output fourth.ckpt --recovery weights") == 2
    assert "must stand with '--calibration-data'" in capsys.readouterr().err


def test_the_smallest_network_within_a_drop(capsys):
    Path("my_data.py").write_text(f"{BATCHES}{EVALUATE}")
    prune = "prune --network my_net.py:build --inputs 1,3,32,32 --output slim.ckpt --max-drop 0.5"
    assert run(f"{prune} --evaluate my_data.py:evaluate") == 0
    assert "max_drop 0.5: reached: evaluate gives 0 less than the 1 before" in capsys.readouterr().out
    assert gs.load_slim(build(), "slim.ckpt")[3].out_channels == 6
    assert run(prune) == 2 and "must stand together, but got only the budget" in capsys.readouterr().err
    assert run(f"{prune} --evaluate my_data.py:evaluation") == 2
    assert "has no 'evaluation'. Did you mean 'evaluate'?" in capsys.readouterr().err


def test_of_a_masked_network_statistics_alone_are_re_estimated(capsys):
    Path("my_data.py").write_text(BATCHES)
    _, applied = masked(nn.Adam)
    ms.save_checkpoint(applied, "masked.ckpt")
    options = "--checkpoint masked.ckpt --output slim.safetensors --calibration-data my_data.py:batches"
    fails(f"{options} --recovery weights", "'--recovery' must be 'statistics' or 'none' for a masked network", capsys)
    assert convert(options) == 0
    assert "re-estimated on 2 batches" in capsys.readouterr().out
