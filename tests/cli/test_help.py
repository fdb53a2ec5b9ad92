"""What the help shows runs as it is printed, on a network of a few filters under the names that it uses."""
import contextlib
import io
import json
import shlex
import shutil
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

import golden_stick as gs
from golden_stick import cli
from golden_stick.cli.networks import call_factory

FILES = {"resnet.py": '''
from mindspore import nn


class Block(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(8, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU()

    def construct(self, x):
        return self.relu(self.bn1(self.conv1(x)))


class ResNet(nn.Cell):
    def __init__(self, classes):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 8, 3, 4), nn.BatchNorm2d(8), nn.ReLU()
        self.layer1, self.flatten, self.fc = nn.SequentialCell(Block()), nn.Flatten(), nn.Dense(8 * 16, classes)

    def construct(self, x):
        return self.fc(self.flatten(self.layer1(self.relu(self.bn1(self.conv1(x))))))


def resnet20(num_classes=10):
    return ResNet(num_classes)
''', "images.py": '''
import mindspore as ms
import numpy as np
from resnet import resnet20


def batches(seed, count=64):
    """With what the trained network answers as labels."""
    network, images = resnet20(), np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype(np.float32)
    ms.load_param_into_net(network, ms.load_checkpoint("trained.ckpt"))
    labels = network.set_train(False)(ms.Tensor(images)).asnumpy().argmax(1).astype(np.int32)
    return [(images[at:at + 32], labels[at:at + 32]) for at in range(0, count, 32)]


def training():
    return batches(1)


def held_out():
    return batches(2, 256)


def splits():
    return batches(1), batches(3), batches(4)
'''}
COMMANDS = ("prune", "convert", "verify", "certify", "compare", "export", "bench", "inspect", "trace", "report",
            "doctor")
INPUTS = (1, 3, 32, 32)


@pytest.fixture(scope="module", name="place")
def fixture_place(tmp_path_factory):
    """A folder with the files that examples name."""
    folder = tmp_path_factory.mktemp("shell")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        network, generator = call_factory("resnet.py:resnet20"), np.random.default_rng(0)
        for parameter in network.trainable_params():
            values = generator.standard_normal(parameter.shape).astype(np.float32)
            if len(values) == 8:
                values[5:] *= 1e-3  # what goes does next to nothing, so that slim networks answer alike
            parameter.set_data(Tensor(values))
        for name in ("trained", "resnet20", "rank_0/net"):
            (folder / name).parent.mkdir(exist_ok=True)
            ms.save_checkpoint(network, f"{name}.ckpt")
        algorithm = gs.OneShot()
        masked = algorithm.apply(network, INPUTS)
        ms.save_checkpoint(masked, "masked.ckpt")
        slim = algorithm.convert(masked)
        ms.save_checkpoint(slim, "tuned.ckpt")
        for name in ("slim.safetensors", "slim.ckpt", "slim30.ckpt", "slim50.ckpt"):
            gs.save_slim(slim, name)
        for name in ("slim.onnx", "slim.mindir"):
            gs.export(slim, INPUTS, name, file_format=name[5:].upper())
        phase = gs.SCOP({"mixing": "joint"}).apply(network, INPUTS)
        for parameter in phase.trainable_params():
            parameter.set_data(Tensor(np.linspace(0.1, 0.9, parameter.size), ms.float32))
        ms.save_checkpoint(phase, "knockoff.ckpt")
        (folder / "report.json").write_text(json.dumps(algorithm.report.to_dict()))
        images = generator.standard_normal((64, *INPUTS[1:])).astype(np.float32)
        labels = network.set_train(False)(Tensor(images)).asnumpy().argmax(1)
        gs.certify(network, {"slim": network}, [(images, labels)], path="certificate.json", ledger="ledger.json")
    return folder


def help_of(command):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        cli.main([command, "--help"])
    return text.getvalue()


def examples():
    for command in COMMANDS:
        lines = help_of(command).replace("\\\n", " ").splitlines()
        for line in dict.fromkeys(" ".join(line.split()) for line in lines if line.strip().startswith("golden-stick ")):
            yield line


EXAMPLES = list(examples())


def test_every_command_has_an_example():
    assert {line.split()[1] for line in EXAMPLES} == set(COMMANDS) and len(EXAMPLES) > len(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_how_it_speaks(command):
    assert {"--json", "--quiet", "--verbose"} <= set(help_of(command).split())


# Half a minute of processor time goes into comparing three criteria, however small the network.
@pytest.mark.parametrize("line", [pytest.param(line, id=f"{line.split()[1]}-{at}", marks=[pytest.mark.long] * (
    " compare " in line)) for at, line in enumerate(EXAMPLES)])
def test_an_example_runs(line, place, tmp_path, monkeypatch, capsys):
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    # Another module of that name may have been imported here; this one is forgotten afterwards.
    monkeypatch.setitem(sys.modules, "resnet", None)
    monkeypatch.delitem(sys.modules, "resnet")
    words = shlex.split(line)[1:]
    if words[0] == "certify":
        for ending in ("json", "md"):
            (tmp_path / f"certificate.{ending}").unlink()
    if words[0] == "compare":  # one seed and one rate say whether it runs
        words[words.index("--seeds") + 1], words[words.index("--rates") + 1] = "1", "0.4"
    judged = words[0] in ("certify", "compare")  # with --json, where all else is tested with it elsewhere
    assert cli.main([*words, "--json"] if judged else words) == 0, capsys.readouterr().err
    if judged:
        assert json.loads(capsys.readouterr().out)["kind"].startswith("golden_stick c")
