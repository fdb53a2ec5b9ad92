"""What the scripts share: networks by name, weights by file, files that are whole or absent, the optimizer's groups."""
import argparse
import json

import mindspore as ms
import numpy as np
import pytest
from batches import training_data
from data import Split, load_splits
from mindspore import nn
from mindspore.train import Callback
from training import (
    accuracy,
    build_network,
    cosine,
    fit,
    load_network,
    prepare,
    save_checkpoint,
    sgd,
    write_result,
)

import golden_stick as gs


def options(tmp_path, **changes):
    values = {"mode": "graph", "seed": 0, "output": str(tmp_path / "out"), "source": "digits", "path": None,
              "validation_size": 0.1, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    return argparse.Namespace(**{**values, **changes})


def test_prepare_makes_the_output_folder_and_loads_the_data(tmp_path):
    splits = prepare(options(tmp_path))
    assert (tmp_path / "out").is_dir() and splits.classes == 10
    assert ms.get_context("mode") == ms.GRAPH_MODE


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'mode' must be 'graph' or 'pynative', but got 'fast'"):
        prepare(options(tmp_path, mode="fast"))


@pytest.mark.parametrize("name", ["resnet21", "ResNet", "SmallImageResNet", "nn"])
def test_an_unknown_network_is_refused(name):
    with pytest.raises(ValueError, match=rf"'network' must be one of \['resnet8', 'resnet20', .*, but got '{name}'"):
        build_network(name, 10)


def test_a_checkpoint_gives_back_its_weights(tmp_path):
    network, path = build_network("resnet20", 10), str(tmp_path / "network.ckpt")
    save_checkpoint(network, path)
    again = load_network("resnet20", 10, path)
    for one, other in zip(network.get_parameters(), again.get_parameters()):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())
    assert [item.name for item in tmp_path.iterdir()] == ["network.ckpt"]


def test_a_slim_file_gives_a_slim_network(tmp_path):
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(build_network("resnet8", 10), inputs=(1, 3, 32, 32)))
    path = gs.save_slim(slim, str(tmp_path / "slim.ckpt"))
    again = load_network("resnet8", 10, path)
    assert [item.shape for item in again.get_parameters()] == [item.shape for item in slim.get_parameters()]
    assert again.layer1[0].conv1.out_channels < 16


def test_a_checkpoint_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'checkpoint' must be a file, but got 'nowhere.ckpt'"):
        load_network("resnet20", 10, "nowhere.ckpt")


def test_a_checkpoint_of_a_smaller_network_is_refused(tmp_path):
    path = str(tmp_path / "network.ckpt")
    save_checkpoint(build_network("resnet20", 10), path)
    with pytest.raises(ValueError, match=r"must hold every weight of resnet32, but lacks 'layer1\.3\.conv1\.weight'"):
        load_network("resnet32", 10, path)


def test_a_checkpoint_whose_writing_fails_leaves_the_earlier_one(tmp_path, monkeypatch):
    path = tmp_path / "network.ckpt"
    path.write_bytes(b"earlier")

    def fail(_, temporary):
        with open(temporary, "wb") as file:
            file.write(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(ms, "save_checkpoint", fail)
    with pytest.raises(OSError, match="the disk is full"):
        save_checkpoint(build_network("resnet20", 10), str(path))
    assert path.read_bytes() == b"earlier"


def test_a_result_holds_the_options_that_led_to_it(tmp_path):
    path = write_result(options(tmp_path, output=str(tmp_path)), "eval", {"accuracy": 0.5})
    with open(path, encoding="utf-8") as file:
        record = json.load(file)
    assert (record["step"], record["accuracy"], record["options"]["seed"]) == ("eval", 0.5, 0)
    assert [item.name for item in tmp_path.iterdir()] == ["eval.json"]


def test_the_learning_rate_falls_from_its_first_value_to_nearly_zero():
    rates = cosine(0.1, 100)
    assert len(rates) == 100 and rates[0] == pytest.approx(0.1) and 0 < rates[-1] < 1e-4
    assert rates == sorted(rates, reverse=True) and rates[50] == pytest.approx(0.05)
    low = cosine(0.1, 100, 9)
    assert low[9:] == rates[9:] and low[:10] == sorted(low[:10]) and low[0] == pytest.approx(0.01)


def test_weight_decay_spares_biases_and_normalizations(tmp_path):
    optimizer = sgd(build_network("resnet20", 10), options(tmp_path), 3)
    decays = {"decayed": 0, "spared": 0}
    for parameters, decay in zip(optimizer.group_params, optimizer.group_weight_decay):
        decays["decayed" if decay else "spared"] += 1
        assert (float(decay) > 0) == (parameters[0].ndim > 1 if isinstance(parameters, list) else parameters.ndim > 1)
    assert decays == {"decayed": 20, "spared": 39}


class Brightest(nn.Cell):
    """One logit per quarter of the image: its brightness."""

    def construct(self, x):
        return x[:, 0, ::16, ::16].reshape((x.shape[0], 4))


def test_accuracy_counts_the_last_partial_batch():
    splits = load_splits("digits")
    images = np.zeros((300, 32, 32, 3), np.uint8)
    labels = np.arange(300, dtype=np.int32) % 4
    images[np.arange(300), 16 * (labels // 2), 16 * (labels % 2)] = 255
    labels[290:] = (labels[290:] + 1) % 4
    assert accuracy(Brightest(), Split(images, labels), splits) == pytest.approx(290 / 300)


class Line(nn.Cell):
    """One dense layer."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(3 * 32 * 32, 10)

    def construct(self, x):
        return self.dense(x.reshape((x.shape[0], -1)))


def test_training_lowers_the_loss_and_the_same_seed_gives_the_same_losses(tmp_path):
    found = []
    for _ in range(2):
        splits = prepare(options(tmp_path))
        network, data = Line(), training_data(splits, 32, seed=0, limit=128)
        optimizer = nn.Adam(network.trainable_params(), 1e-3)
        found.append(fit(network, nn.CrossEntropyLoss(), optimizer, data, 4, "test")[0])
    assert len(found[0]) == 4 and found[0][-1] < found[0][0]
    assert found[0] == found[1]


class Interrupted(Callback):
    """Keeps the state after so many batches, and stops."""

    def __init__(self, path, network, optimizer, batches):
        super().__init__()
        self.path, self.cells, self.batches = path, (network, optimizer), batches

    def on_train_step_end(self, run_context):
        self.batches -= 1
        if self.batches == 0:
            gs.save_state(self.path, *self.cells, run_context.original_args().cur_step_num)
            raise KeyboardInterrupt


def test_training_goes_on_in_the_middle_of_an_epoch_with_the_same_images(tmp_path):
    splits, loss = prepare(options(tmp_path)), nn.CrossEntropyLoss()

    def begun():
        network = Line()
        return network, nn.Adam(network.trainable_params(), 1e-3), training_data(splits, 32, seed=0, limit=128)

    ms.set_seed(0)
    whole, optimizer, data = begun()
    first = {parameter.name: parameter.asnumpy().copy() for parameter in whole.get_parameters()}
    fit(whole, loss, optimizer, data, 3, "whole")
    part, optimizer, data = begun()
    ms.load_param_into_net(part, {name: ms.Parameter(array, name=name) for name, array in first.items()})
    path = tmp_path / "state.ckpt"
    with pytest.raises(KeyboardInterrupt):
        fit(part, loss, optimizer, data, 3, "part", [Interrupted(path, part, optimizer, 6)])
    again, optimizer, data = begun()
    seen = gs.load_state(path, again, optimizer)
    losses, _ = fit(again, loss, optimizer, data, 3, "again", seen=seen)
    assert (seen, len(losses)) == (6, 2)
    for one, other in zip(again.get_parameters(), whole.get_parameters()):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())
    assert fit(again, loss, optimizer, data, 3, "nothing", seen=12)[0] == []
