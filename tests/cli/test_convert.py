"""`golden-stick convert`: every kind of checkpoint, alone or by rank, and its examples as they stand."""
import re
import shlex
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick import cli
from golden_stick.cli.entry import build_parser
from golden_stick.deploy.slim_file import read_slim
from golden_stick.deploy.sources import read_source
from golden_stick.errors import CheckpointError
from tests import networks

SHAPE = (1, 3, 32, 32)
FACTORY = '''
from tests import networks


def resnet20():
    return networks.randomize(networks.CifarResNet(1), 7)
'''


def build():
    """With the weights that the checkpoints hold, which are not those of the factory."""
    return networks.randomize(networks.CifarResNet(1), 3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("resnet.py").write_text(FACTORY)
    return tmp_path


def run(line):
    return cli.main(shlex.split(line))


def convert(options):
    return run(f"convert --network resnet.py:resnet20 --inputs 1,3,32,32 {options}")


def fails(options, message, capsys):
    before = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert convert(options) == 2
    error = capsys.readouterr().err
    assert error.startswith("golden-stick: error: ") and error.count("\n") == 1 and message in error, error
    left = {path: path.read_bytes() for path in Path.cwd().rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert left == before


def knockoff_phase(config):
    algorithm = gs.SCOP(config)
    phase = algorithm.apply(build(), SHAPE)
    generator = np.random.default_rng(0)
    values = {item.name: item for item in phase.get_parameters()}
    for name, parameter in values.items():
        if name.endswith("real_scale"):
            array = Tensor(generator.random(parameter.shape).astype(np.float32))
            parameter.set_data(array)
            if name.replace("real", "held") in values:
                values[name.replace("real", "held")].set_data(array)
    if "mixing.step" in values:
        values["mixing.step"].set_data(Tensor(1000, ms.int32))
    return algorithm, phase


def masked():
    algorithm = gs.OneShot({"criterion": "l1", "prune_rate": 0.45})
    applied = algorithm.apply(build(), SHAPE)
    for parameter in applied.trainable_params():
        # As after fine-tuning: by these weights, other filters would be chosen.
        generator = np.random.default_rng(parameter.size)
        parameter.set_data(Tensor(parameter.asnumpy() * generator.uniform(0.5, 2, parameter.shape).astype(np.float32)))
    return algorithm, applied


def examples():
    """The commands at the top of the help, as they stand."""
    text = next(action for action in build_parser()._subparsers._group_actions).choices["convert"].format_help()
    joined = re.sub(r"\\\n\s+", "", text[text.index("original: prune"):text.index("The kind is read")])
    lines = [line.strip() for line in joined.splitlines() if "golden-stick convert" in line]
    return [line.removeprefix("golden-stick ") for line in lines]


def test_the_four_examples_run_in_an_empty_folder(capsys):
    ms.save_checkpoint(build(), "trained.ckpt")
    algorithm, phase = knockoff_phase({"prune_rate": 0.45})
    ms.save_checkpoint(phase, "knockoff.ckpt")
    by_scales = algorithm.convert(phase)
    algorithm, applied = masked()
    ms.save_checkpoint(applied, "masked.ckpt")
    by_mask = algorithm.convert(applied)
    lines, wanted = examples(), (None, by_scales, by_mask, by_mask)
    assert len(lines) == 4
    for line, slim in zip(lines, wanted):
        assert run(line) == 0, line
        if slim is not None:
            # The fourth reads what the third wrote.
            for name, values in read_slim("slim.safetensors").values.items():
                np.testing.assert_array_equal(values, dict([
                    (item.name, item.asnumpy()) for item in slim.get_parameters()])[name])
    said = capsys.readouterr().out
    for kind in ("original", "knockoff", "masked", "slim"):
        assert f"of kind '{kind}'" in said
    assert Path("slim.mindir").exists() and Path("slim.onnx").exists()


def test_the_schedule_of_a_knockoff_phase_is_read_from_its_file():
    for number, config in enumerate(({"mixing": "joint"}, {"draws": 2}, {"mixing": "layers", "turn_steps": 3})):
        algorithm, phase = knockoff_phase({**config, "prune_rate": 0.45})
        ms.save_checkpoint(phase, f"phase{number}.ckpt")
        slim = algorithm.convert(phase)
        option = " --mixing layers" if number == 2 else ""
        assert convert(f"--checkpoint phase{number}.ckpt --prune-rate 0.45 --output slim{number}{option}") == 0
        values = read_slim(f"slim{number}.safetensors").values
        for parameter in slim.get_parameters():
            np.testing.assert_array_equal(values[parameter.name], parameter.asnumpy())


def test_files_of_ranks():
    network = build()
    values = [{"name": item.name, "data": Tensor(item.asnumpy())} for item in network.get_parameters()]
    for rank in range(2):
        Path(f"all/rank_{rank}").mkdir(parents=True)
        Path(f"part/rank_{rank}").mkdir(parents=True)
        ms.save_checkpoint(values, f"all/rank_{rank}/net.ckpt")
        ms.save_checkpoint(values[rank::2], f"part/rank_{rank}/net.safetensors", format="safetensors")
    ms.save_checkpoint(values, "whole.safetensors", format="safetensors")
    names = ("whole.safetensors", "all", "'all/rank_*/net.ckpt'",
             "part/rank_0/net.safetensors part/rank_1/net.safetensors")
    for number, name in enumerate(names):
        assert convert(f"--checkpoint {name} --prune-rate 0.45 --output slim{number}.ckpt") == 0
    first = read_slim("slim0.ckpt").values
    for number in range(1, len(names)):
        for name, array in read_slim(f"slim{number}.ckpt").values.items():
            np.testing.assert_array_equal(array, first[name])


def test_ranks_that_differ():
    weight = np.arange(8, dtype=np.float32).reshape(4, 2)
    for rank in range(2):
        ms.save_checkpoint([{"name": "w", "data": Tensor(weight[2 * rank:2 * rank + 2])}], f"rank_{rank}.ckpt")
    with pytest.raises(CheckpointError, match=r"'rank_0.ckpt' and 'rank_1.ckpt' differ in 'w', of shapes \(2, 2\) and "
                                              r"\(2, 2\). If each holds a part of it, merge them first by mindspore"):
        read_source("golden-stick", ["rank_*.ckpt"])


def test_data_from_the_shell():
    Path("images.py").write_text("import numpy as np\n\n\ndef few():\n    g = np.random.default_rng(0)\n    return [("
                                 "g.normal(size=(4, 3, 32, 32)).astype(np.float32), np.arange(4, dtype=np.int32))]\n")
    ms.save_checkpoint(build(), "trained.ckpt")
    assert convert("--checkpoint trained.ckpt --criterion taylor --data images.py:few --output taylor.ckpt") == 0
    algorithm = gs.OneShot({"criterion": "taylor"})
    generator = np.random.default_rng(0)
    data = [(generator.normal(size=(4, 3, 32, 32)).astype(np.float32), np.arange(4, dtype=np.int32))]
    slim = algorithm.convert(algorithm.apply(build(), SHAPE, data=data, loss=nn.CrossEntropyLoss()))
    for parameter in slim.get_parameters():
        np.testing.assert_array_equal(read_slim("taylor.ckpt").values[parameter.name], parameter.asnumpy())


def test_refusals(capsys):
    ms.save_checkpoint(build(), "trained.ckpt")
    _, phase = knockoff_phase({})
    ms.save_checkpoint(phase, "knockoff.ckpt")
    gs.save_slim(gs.slim(build(), gs.prune.PruningPlan((), (), (), ())), "slim.ckpt")
    ms.save_checkpoint(nn.Dense(2, 3), "dense.ckpt")
    Path("half.ckpt").write_bytes(Path("trained.ckpt").read_bytes()[:1000])
    Path("empty").mkdir()
    fails("--checkpoint trained.ckpt", "one of '--output', '--mindir' and '--onnx' must say what is written", capsys)
    for options, message in (
            ("nowhere.ckpt", "'checkpoint' must be a file, a pattern or a folder of files that end in .ckpt or"),
            ("empty", "but nothing fits 'empty'"), ("half.ckpt", "'path' must be a checkpoint, but got 'half.ckpt'"),
            ("dense.ckpt", "must hold the network's parameter 'stem.weight'"),
            ("trained.ckpt slim.ckpt", "a slim file must stand alone, but got 2 files"),
            ("knockoff.ckpt --masked-from trained.ckpt", "'--masked-from' must stand with the checkpoint of a masked "
             "network, but 'knockoff.ckpt' is of kind 'knockoff'"),
            ("trained.ckpt --fold", "'--fold' must stand with a slim file, which needs no fine-tuning any more, but "
             "'trained.ckpt' is of kind 'original'"),
            ("trained.ckpt --criterion taylor", "'data' must be batches for this criterion")):
        fails(f"--checkpoint {options} --output out.onnx", message, capsys)
