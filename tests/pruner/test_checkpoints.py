"""Checkpoints of MindSpore Golden Stick's SCOP, made by hand with the names that it gives; and slim files of them."""
import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick import cli
from golden_stick.base.errors import CheckpointError
from golden_stick.cells.wrappers import replace_cells
from golden_stick.pruner.scop import Migrated, _wrapped
from tests import networks
from tests.pruner.test_scop import WIDTH, small

INPUTS = "1,3,16,16"
LAYERS = ("layer1.0.conv1", "layer1.0.conv2")  # those that it prunes


def build():
    return networks.randomize(small(), 5)


def renamed(network, middle, marks):
    """A checkpoint of a network under the names of a phase: `middle` is what stands between layer and parameter."""
    values = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    for layer in LAYERS:
        for name in [name for name in values if name.startswith(layer) or name.startswith(layer.replace("conv", "bn"))]:
            part = "conv" if name.startswith(layer) else "bn"
            values[f"{layer}.{middle}{part}.{name.rpartition('.')[2]}"] = values.pop(name)
    return {**values, **marks}


def saved(values):
    ms.save_checkpoint([{"name": name, "data": Tensor(array)} for name, array in values.items()], "their.ckpt")
    return "their.ckpt"


def run(options):
    return cli.main(f"convert --network tests.pruner.test_checkpoints:build --inputs {INPUTS} {options}".split())


class Masked(nn.Cell):
    """A normalization of which some channels are zero."""

    def __init__(self, cell, kept):
        super().__init__()
        self.cell = cell
        self.mask = Tensor(np.isin(np.arange(WIDTH), kept).astype(np.float32).reshape(-1, 1, 1))

    def construct(self, x):
        return self.cell(x) * self.mask


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def kept_filters(seed):
    generator = np.random.default_rng(seed)
    return {layer: generator.permutation(WIDTH)[:count].astype(np.int32) for layer, count in zip(LAYERS, (18, 11))}


def test_fine_tuning_by_its_masks():
    network, kept = small(), kept_filters(0)
    path = saved(renamed(network, "bn.", {f"{layer}.bn..out_index": indices for layer, indices in kept.items()}))
    assert run(f"--checkpoint {path} --output slim.ckpt") == 0
    slim = gs.load_slim(build(), "slim.ckpt")
    assert slim.layer1[0].conv1.weight.shape[:2] == (18, WIDTH)
    assert [item.shape[0] for item in slim.get_parameters() if item.name == "layer1.0.conv2.weight"] == [11]
    replace_cells(network, {layer.replace("conv", "bn"): lambda cell, layer=layer: Masked(cell, kept[layer])
                            for layer in LAYERS})
    gs.verify(network.set_train(False), slim, (4, 3, 16, 16))


def test_fine_tuning_in_groups_is_refused(capsys):
    path = saved(renamed(small(), "bn.", {f"{layer}.bn..out_index": item for layer, item in kept_filters(0).items()}))
    assert run(f"--checkpoint {path} --residual group --output slim.ckpt") == 2
    assert "just the filters must go that the masks took out, but those of 'conv1.weight'" in capsys.readouterr().err
    assert run(f"--checkpoint {path} --recovery weights --output slim.ckpt") == 2


@pytest.mark.parametrize("residual", ["group", "scatter"])
def test_the_knockoff_phase_by_its_scales(residual):
    network, generator = small(), np.random.default_rng(1)
    scales = {layer: generator.uniform(0, 1, (1, WIDTH, 1, 1)).astype(np.float32) for layer in LAYERS}
    path = saved(renamed(network, "", {f"{layer}..kfscale": scale for layer, scale in scales.items()}))
    assert run(f"--checkpoint {path} --prune-rate 0.5 --residual {residual} --output slim.ckpt") == 0
    slim = gs.load_slim(build(), "slim.ckpt")
    scores = np.abs(network.layer1[0].bn1.gamma.asnumpy()) * (2 * scales[LAYERS[0]].reshape(-1) - 1)
    kept = np.sort(np.argsort(scores)[WIDTH // 2:])
    np.testing.assert_array_equal(slim.layer1[0].bn1.gamma.asnumpy(), network.layer1[0].bn1.gamma.asnumpy()[kept])
    assert slim.conv1.weight.shape[0] == (WIDTH // 2 if residual == "group" else WIDTH)


def test_names_lose_letters_at_their_ends():
    """As seen in checkpoints of mindspore-gs 1.4.1."""
    class Block(nn.Cell):
        def __init__(self, bias):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(2, 2, 1, has_bias=bias), nn.BatchNorm2d(2)

    class Net(nn.Cell):
        def __init__(self):
            super().__init__()
            self.layer1, self.hidden_layer, self.weight_layer = Block(False), Block(False), Block(True)

    assert [prefixes for _, _, prefixes in _wrapped(Net())] == [
        ("layer1.conv1.", "layer1.conv1.bn."), ("dden_layer.conv1.", "dden_layer.conv1.bn."),
        ("weight_layer.conv1.", "weight_layer.conv1.bn.")]


def test_a_checkpoint_of_another_network():
    algorithm = Migrated(None, {"layer7.conv1..kfscale": np.ones((1, 2, 1, 1), np.float32)})
    with pytest.raises(CheckpointError, match=re.escape("the checkpoint must be of a phase of the network, but holds 'l"
                                                        "ayer7.conv1..kfscale'")):
        algorithm.translate(small())
