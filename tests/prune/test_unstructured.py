"""Single weights: which become zero, that they stay so in training, and what the files hold."""
import json
import os

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, amp, nn, ops
from safetensors import safe_open
from safetensors.numpy import save_file

import golden_stick as gs
from golden_stick.base.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    NothingToPruneError,
    StateError,
    VerifyError,
)
from golden_stick.cells.wrappers import copy_network
from golden_stick.cli import main
from golden_stick.deploy.slim_file import read_slim, weights_digest
from tests.compare.problem import splits
from tests.networks import randomize

SHAPE = (2, 4, 6, 6)
WEIGHTS = ("conv.weight", "inner.dense.weight", "head.weight")


class Inner(nn.Cell):
    """A layer whose weight is read by the Cell around it too."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(8, 8)

    def construct(self, x):
        return ops.matmul(x, self.dense.weight) + self.dense(x)


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU()
        self.inner, self.head = Inner(), nn.Dense(8, 3)
        self.shift = ms.Parameter(Tensor(np.ones((1, 8), np.float32)), name="shift")

    def construct(self, x):
        return self.head(self.inner(self.relu(self.norm(self.conv(x))).mean((2, 3)) + self.shift))


def build():
    return randomize(Net())


def values_of(network):
    return {item.name: item.asnumpy().copy() for item in network.get_parameters()}


def batches(count, seed=0):
    generator = np.random.default_rng(seed)
    return [(generator.normal(size=SHAPE).astype(np.float32), np.arange(2, dtype=np.int32)) for _ in range(count)]


def masked(config, network=None, **keys):
    """The algorithm, the masked network and its masks."""
    algorithm = gs.Unstructured(config)
    applied = algorithm.apply(network or build(), inputs=SHAPE, **keys)
    return algorithm, applied, algorithm.applied.masks


def test_each_layer_loses_its_smallest_weights():
    _, applied, masks = masked({"prune_rate": 0.4})
    before, after = values_of(build()), values_of(applied)
    for name in WEIGHTS:
        flat = np.sort(np.abs(before[name]).ravel())
        assert (masks[name] == (np.abs(before[name]) >= flat[int(0.4 * flat.size)])).all()
        np.testing.assert_array_equal(after[name], np.where(masks[name], before[name], 0))
    assert sorted(masks) == sorted(WEIGHTS)
    assert all((after[name] == before[name]).all() for name in before if name not in masks)


def test_all_layers_lose_the_smallest_of_all():
    _, _, masks = masked({"prune_rate": 0.6, "ranking": "global"})
    before = values_of(build())
    pooled = np.sort(np.concatenate([np.abs(before[name]).ravel() for name in WEIGHTS]))
    for name in WEIGHTS:
        assert (masks[name] == (np.abs(before[name]) >= pooled[int(0.6 * pooled.size)])).all()


@pytest.mark.parametrize("ranking", ["local", "global"])
def test_rates_by_pattern(ranking):
    _, _, masks = masked({"prune_rate": {"head": 0.0, "*[vr]": 0.5, "inner.*": 0.75}, "ranking": ranking})
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "conv.weight": 144, "inner.dense.weight": 16, "head.weight": 24}
    with pytest.raises(ArgumentError, match="For 'Unstructured', every pattern in 'prune_rate' must fit the path of a "
                                            "layer with filters, but got 'tail'"):
        masked({"prune_rate": {"tail": 0.5}})


class Layers(nn.Cell):
    def __init__(self):
        super().__init__()
        self.plain, self.turned = nn.Conv2d(3, 8, 3), nn.Conv2dTranspose(8, 4, 2)
        self.depthwise, self.head = nn.Conv2d(4, 4, 3, group=4), nn.Dense(4, 3)

    def construct(self, x):
        return self.head(self.depthwise(self.turned(self.plain(x))).mean((2, 3)))


def test_two_of_four_along_the_inputs():
    network = randomize(Layers())
    algorithm = gs.Unstructured({"n_of_m": "2:4"})
    algorithm.apply(network, inputs=(1, 3, 8, 8))
    masks, before = algorithm.applied.masks, values_of(network)
    assert sorted(masks) == ["head.weight", "turned.weight"]
    for row, kept in zip(before["head.weight"], masks["head.weight"]):
        assert sorted(np.abs(row[kept])) == sorted(np.abs(row))[2:]
    turned, kept = (array.reshape(2, 4, 4, 2, 2) for array in (np.abs(before["turned.weight"]), masks["turned.weight"]))
    for where in np.ndindex(2, 4, 2, 2):
        block = (where[0], slice(None), *where[1:])
        assert sorted(turned[block][kept[block]]) == sorted(turned[block])[2:]
    assert dict(algorithm.report.dense) == {"plain.weight": "its 3 inputs are no multiple of 4",
                                            "depthwise.weight": "its 1 inputs are no multiple of 4"}


def test_of_equal_weights_the_first_stay():
    network = nn.SequentialCell(nn.Dense(4, 2, weight_init="ones"))
    algorithm = gs.Unstructured({"n_of_m": "1:2"})
    algorithm.apply(network, inputs=(1, 4))
    assert algorithm.applied.masks["0.weight"].tolist() == [[True, False, True, False]] * 2


def test_saliency_is_weight_times_gradient():
    """Of the mean of y * t over a batch: the gradient of a weight is the mean of t * x, over all samples."""
    generator, network = np.random.default_rng(0), nn.SequentialCell(nn.Dense(6, 4, has_bias=False))
    data = [tuple(generator.normal(size=(size, width)).astype(np.float32) for width in (6, 4)) for size in (3, 5)]
    algorithm = gs.Unstructured({"saliency": "gradient", "prune_rate": 0.5})
    assert algorithm.takes_data
    algorithm.apply(network, inputs=(1, 6), data=data, loss=lambda outputs, wanted: (outputs * wanted).sum(1).mean())
    x, t = (np.concatenate(parts).astype(np.float64) for parts in zip(*data))
    score = np.abs(network[0].weight.asnumpy() * (t.T @ x) / 8)
    mask = algorithm.applied.masks["0.weight"]
    assert mask.sum() == 12 and score[mask].min() > score[~mask].max()
    for given, error, message in ((({}), ArgumentError, "'data' must be batches for this criterion"),
                                  ({"data": data}, ArgumentError, "'loss' must be a function of outputs and labels"),
                                  ({"data": [], "loss": min}, ArgumentError, "'data' must hold batches"),
                                  ({"data": data, "loss": 3}, ArgumentTypeError, "'loss' must be a function")):
        with pytest.raises(error, match=f"For 'Unstructured', {message}"):
            gs.Unstructured({"saliency": "gradient"}).apply(network, inputs=(1, 6), **given)


OPTIMIZERS = {
    "momentum": lambda parameters: nn.Momentum(parameters, 0.05, 0.9, weight_decay=0.1, use_nesterov=True),
    "adam": lambda parameters: nn.AdamWeightDecay(parameters, 0.01, weight_decay=0.1),
}


def trained(network, optimizer, gradients_of=lambda items: items):
    """Losses of six steps of a loop of one's own."""
    loss = nn.CrossEntropyLoss()
    network.set_train()

    def forward(x, y):
        return loss(network(x), y)

    step = ms.value_and_grad(forward, None, optimizer.parameters)
    losses = []
    for images, labels in batches(6):
        value, gradients = step(Tensor(images), Tensor(labels))
        optimizer(gradients_of(gradients))
        losses.append(float(value.asnumpy()))
    return losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_is_zero_stays_zero_and_the_rest_learns_as_without_masks(mode, name):
    """The oracle is the plain network, with zeros in its weights, whose gradients are masked by hand."""
    algorithm, applied, masks = masked({"prune_rate": 0.5})
    by_hand = build()
    for item in by_hand.get_parameters():
        if item.name in masks:
            item.set_data(Tensor(item.asnumpy() * masks[item.name]))
    factors = [Tensor(masks.get(item.name, np.ones(item.shape)), ms.float32) for item in by_hand.trainable_params()]
    wanted = trained(by_hand, OPTIMIZERS[name](by_hand.trainable_params()),
                     lambda gradients: tuple(gradient * factor for gradient, factor in zip(gradients, factors)))
    before = values_of(applied)
    got = trained(applied, OPTIMIZERS[name](applied.trainable_params()))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    after = values_of(applied)
    for key, mask in masks.items():
        assert not after[key][~mask].any() and (after[key] != before[key])[mask].all()
        np.testing.assert_allclose(after[key], values_of(by_hand)[key], rtol=1e-4, atol=1e-6)
    sparse = algorithm.convert(applied)
    assert algorithm.report.largest_difference == 0.0
    assert all((values_of(sparse)[key] == after[key]).all() for key in after)


def test_model_train_needs_no_callback(mode):
    algorithm, applied, masks = masked({"prune_rate": 0.5})
    data = ms.dataset.GeneratorDataset(batches(4), ["images", "labels"], shuffle=False)
    optimizer = nn.Momentum(applied.trainable_params(), 0.05, 0.9, weight_decay=0.1)
    ms.Model(applied, nn.CrossEntropyLoss(), optimizer).train(2, data, callbacks=algorithm.callbacks(),
                                                              dataset_sink_mode=False)
    after = values_of(applied)
    assert all(not after[name][~mask].any() and after[name].any() for name, mask in masks.items())


def chain():
    return randomize(nn.SequentialCell(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                       nn.Dense(8, 3)))


def test_masks_that_do_not_hold_are_refused(tmp_path, monkeypatch):
    """Of a chain, the level O1 makes one that runs other Cells than those that it has."""
    monkeypatch.chdir(tmp_path)  # where MindSpore writes networks anew
    with pytest.raises(VerifyError, match="For 'Unstructured', the layers of 'network' must read their weights as "
                                          "attributes, so that masks hold, but 0.weight, 4.weight are read otherwise"):
        masked({"prune_rate": 0.5}, amp.auto_mixed_precision(chain(), "O1"))


@pytest.mark.parametrize("level", ["O2", "O3"])
def test_mixed_precision(level, mode):
    algorithm, applied, masks = masked({"prune_rate": 0.5}, chain())
    used = amp.auto_mixed_precision(applied, level)
    optimizer, loss = nn.Momentum(applied.trainable_params(), 0.05, 0.9, weight_decay=0.1), nn.CrossEntropyLoss()
    before = values_of(applied)

    def forward(x, y):
        return loss(used(x).astype(ms.float32), y)

    step = ms.value_and_grad(forward, None, optimizer.parameters)
    for images, labels in batches(3):
        optimizer(step(Tensor(images), Tensor(labels))[1])
    after = values_of(applied)
    assert sorted(masks) == ["0.weight", "4.weight"]
    for name, mask in masks.items():
        assert not after[name][~mask].any() and (after[name] != before[name])[mask].any()


def test_convert_gives_a_plain_network(mode):
    network = build()
    before = values_of(network)
    algorithm, applied, masks = masked({"prune_rate": 0.5}, network)
    sparse = algorithm.convert(applied)
    assert [(path, type(cell)) for path, cell in sparse.cells_and_names()] == [
        (path, type(cell)) for path, cell in network.cells_and_names()]
    assert [item.name for item in sparse.get_parameters()] == [item.name for item in network.get_parameters()]
    for name, value in values_of(sparse).items():
        np.testing.assert_array_equal(value, np.where(masks.get(name, True), before[name], 0))
    assert all((values_of(network)[name] == before[name]).all() for name in before)
    images = Tensor(batches(1)[0][0])
    np.testing.assert_array_equal(sparse(images).asnumpy(), applied.set_train(False)(images).asnumpy())


def test_the_report_says_what_is_zero_and_what_stays():
    algorithm, applied, _ = masked({"prune_rate": {"conv": 0.5, "head": 0.25}})
    text = str(algorithm.report)
    assert "Unstructured after 'apply': 150 of 376 weights are zero (0.3989)" in text
    assert "shift: it is no weight of a convolution or a dense layer" in text
    algorithm.convert(applied)
    record = json.loads(json.dumps(algorithm.report.to_dict()))
    assert record["step"] == "convert" and record["largest_difference"] == 0.0
    assert record["sparsity"]["zeros"] == 150 and record["sparsity"]["weights"][-1] == {
        "parameter": "head.weight", "size": 24, "zeros": 6}
    everything, _, _ = masked({"prune_rate": 0.9, "ranking": "global"}, quiet_head())
    assert ["head.weight", "24", "24", "1.0000", "NOTHING", "is", "left"] in [
        line.split() for line in str(everything.report).splitlines()]


def quiet_head():
    network = build()
    network.head.weight.set_data(network.head.weight * 1e-6)
    return network


@pytest.mark.parametrize("name", ["sparse.safetensors", "sparse.ckpt"])
def test_a_slim_file_holds_what_is_not_zero(tmp_path, name):
    """At 90 %, a fifth of the original's bytes at most; and all weights come back bit for bit."""
    network = randomize(nn.SequentialCell(nn.Conv2d(4, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3),
                                          nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dense(64, 3)))
    ms.save_checkpoint(network, str(tmp_path / "original.ckpt"))
    algorithm, applied, masks = masked({"prune_rate": 0.9}, network)
    sparse = algorithm.convert(applied)
    weight = sparse[3].weight.asnumpy().copy()
    weight[masks["3.weight"]] = -0.0
    weight[0, 0, 0, 0] = 1.0
    sparse[3].weight.set_data(Tensor(weight))
    path = gs.save_slim(sparse, str(tmp_path / name), {"accuracy": 0.5})
    assert os.path.getsize(path) <= os.path.getsize(tmp_path / "original.ckpt") / 5
    again = gs.load_slim(network, path)
    assert {key: value.tobytes() for key, value in values_of(again).items()} == {
        key: value.tobytes() for key, value in values_of(sparse).items()}
    file = read_slim(path)
    assert file.digests["weights"] == weights_digest(values_of(sparse)) and file.metadata == {"accuracy": 0.5}
    assert file.steps == (algorithm.report.sparsity,) and not file.kept
    assert gs.save_slim(again, str(tmp_path / f"again_{name}")) and gs.verify(sparse, again, SHAPE).tolerance


def test_weights_that_filled_again_are_stored_whole(tmp_path):
    algorithm, applied, _ = masked({"prune_rate": 0.5})
    sparse = algorithm.convert(applied)
    sparse.conv.weight.set_data(Tensor(np.ones(sparse.conv.weight.shape, np.float32)))
    sparse.head.weight.set_data(Tensor(np.zeros(sparse.head.weight.shape, np.float32)))
    path = gs.save_slim(sparse, str(tmp_path / "sparse"))
    with safe_open(path, "np") as file:
        assert {"conv.weight", "head.weight", "inner.dense.weight#values", "inner.dense.weight#nonzero"} <= set(
            file.keys())
    assert values_of(gs.load_slim(build(), path)).keys() == values_of(sparse).keys()


def test_pruned_and_folded_networks_can_be_sparse_as_well(tmp_path):
    """Steps in a row: channels go, single weights become zero, normalizations are folded, and more channels go."""
    one = gs.OneShot({"prune_rate": 0.5})
    slim = one.convert(one.apply(build(), inputs=SHAPE))
    algorithm, applied, masks = masked({"prune_rate": 0.5}, slim)
    sparse = gs.fold(algorithm.convert(applied), SHAPE)
    assert (sparse.conv.weight.asnumpy() == 0).mean() == 0.5
    other = gs.OneShot({"prune_rate": 0.25})
    last = other.convert(other.apply(sparse, inputs=SHAPE))
    again = gs.load_slim(build(), gs.save_slim(last, str(tmp_path / "last")))
    assert values_of(again).keys() == values_of(last).keys()
    assert all((values_of(again)[name] == value).all() for name, value in values_of(last).items())


def test_a_damaged_file_is_refused(tmp_path):
    algorithm, applied, _ = masked({"prune_rate": 0.5})
    path = gs.save_slim(algorithm.convert(applied), str(tmp_path / "sparse"))
    with safe_open(path, "np") as file:
        values, told = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    changed = {**values, "conv.weight#values": values["conv.weight#values"] + 1}
    save_file(changed, path, told)
    with pytest.raises(CheckpointError, match="their digest differs"):
        gs.load_slim(build(), path)
    for key, value in (("conv.weight#nonzero", None), ("conv.weight#values", values["conv.weight#values"][1:])):
        changed = {name: array for name, array in {**values, key: value}.items() if array is not None}
        save_file(changed, path, told)
        with pytest.raises(CheckpointError, match="a sparse weight in '.*' must have as many numbers as its bits say, "
                                                  "but the two do not fit"):
            gs.load_slim(build(), path)


def test_a_checkpoint_of_the_masked_network(tmp_path):
    algorithm, applied, _ = masked({"prune_rate": 0.5})
    trained(applied, OPTIMIZERS["momentum"](applied.trainable_params()))
    path, other = str(tmp_path / "masked.ckpt"), str(tmp_path / "other.ckpt")
    ms.save_checkpoint(applied, path)
    ms.save_checkpoint(build(), other)
    again, fresh, masks = masked({"prune_rate": 0.5})
    held = values_of(fresh)
    sparse = again.convert(fresh, path)
    assert all((values_of(sparse)[name] == value).all() for name, value in values_of(applied).items())
    assert all((values_of(fresh)[name] == value).all() for name, value in held.items())
    with pytest.raises(CheckpointError, match="For 'Unstructured', the checkpoint must be of a network that was masked "
                                              "as this one, but '.*' has numbers where 'conv.weight' has zeros"):
        again.convert(fresh, other)


def test_inside_a_cell_of_the_users_own_names_stay(tmp_path):
    class Around(nn.Cell):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def construct(self, x):
            return self.network(x)

    algorithm, applied, _ = masked({"prune_rate": 0.5})
    Around(applied)
    sparse = algorithm.convert(applied)
    assert list(values_of(sparse)) == list(values_of(build()))
    assert gs.load_slim(build(), gs.save_slim(sparse, str(tmp_path / "sparse"))) is not None


@pytest.mark.parametrize("config, error, message", [
    ({"n_of_m": "4:2"}, ArgumentError, "'n_of_m' must be N:M with whole numbers 0 < N < M, such as '2:4', but got "
                                       "'4:2'"),
    ({"n_of_m": 2}, ArgumentTypeError, "'n_of_m' must be N:M .* but got 2 of type int"),
    ({"n_of_m": "2:4", "prune_rate": 0.5}, ArgumentError, "'n_of_m' must stand without 'prune_rate' and with the "
                                                          "ranking 'local'"),
    ({"n_of_m": "2:4", "ranking": "global"}, ArgumentError, "'n_of_m' must stand without"),
    ({"ranking": "isomorphic"}, ArgumentError, "'ranking' must be one of 'local', 'global', but got 'isomorphic'"),
    ({"target_macs": 0.5}, ArgumentError, "'config' has an unknown key 'target_macs'"),
    ({"prune_rate": 1.0}, ArgumentError, r"'prune_rate' must be in \[0, 1\), but got 1.0"),
])
def test_what_makes_no_sense_is_refused(config, error, message):
    with pytest.raises(error, match=f"For 'Unstructured', {message}"):
        gs.Unstructured(config)


def test_networks_that_are_none(tmp_path):
    algorithm, applied, _ = masked({})
    for network, error, message in (
            (copy_network(applied), StateError, "'net_opt' must be the network that 'apply' returned"),
            (3, ArgumentTypeError, "'net_opt' must be a Cell, but got int")):
        with pytest.raises(error, match=f"For 'Unstructured', {message}"):
            algorithm.convert(network)
    with pytest.raises(StateError, match="'apply' must be called before 'convert'"):
        gs.Unstructured().convert(applied)
    with pytest.raises(StateError, match="'network' must be a plain network, but got one that 'apply' returned"):
        gs.OneShot().apply(applied, inputs=SHAPE)
    with pytest.raises(NothingToPruneError, match="must have a weight of a convolution or a dense layer that fits the "
                                                  "configuration, but a 'Dense' has none: weight: its 3 inputs are no"):
        gs.Unstructured({"n_of_m": "2:4"}).apply(nn.Dense(3, 3), inputs=(1, 3))


@pytest.fixture
def pynative():
    """A few steps are not worth a compilation."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)


def test_compare_fine_tunes_what_is_masked(tmp_path, monkeypatch, pynative):
    from golden_stick.compare import result
    from tests.compare import problem

    monkeypatch.setattr(result, "draw", lambda comparison, path: None)
    train, validation, _ = splits()
    found = gs.compare(problem.build(), problem.SHAPE, ["unstructured"], {"prune_rate": 0.5}, train, validation,
                       epochs=1, seeds=1, folder=str(tmp_path))
    trial = next(trial for trial in found.trials if trial.criterion == "unstructured")
    assert (trial.macs, trial.parameters) == (found.base["macs"], found.base["parameters"])
    assert trial.finetuned is not None and "120 of 240" not in trial.notes[0] and "weights are zero" in trial.notes[0]
    kept = ms.load_checkpoint(str(tmp_path / "networks" / "unstructured-seed0.ckpt"))
    before = values_of(problem.build())
    for name in ("first.weight", "second.weight", "head.weight"):
        value = kept[name].asnumpy()
        assert np.count_nonzero(value) == value.size // 2 and (value != before[name])[value != 0].all()


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("from tests.prune.test_unstructured import batches, build\n\n\n"
                                     "def data():\n    return batches(2)\n")
    network = "--network net.py:build --inputs 2,4,6,6"

    def run(line):
        status = main(line.split())
        return status, "".join(capsys.readouterr())

    status, text = run(f"prune {network} --criterion unstructured --prune-rate 0.9 --output sparse --report told.json")
    assert status == 0 and "337 of 376 weights are zero" in text
    assert json.loads((tmp_path / "told.json").read_text())["sparsity"]["zeros"] == 337
    status, text = run(f"verify {network} --slim sparse.safetensors")
    assert status == 0 and "step 1, made sparse: names and shapes stay; 337 of 376 weights were zero" in text
    status, text = run("inspect sparse.safetensors")
    assert status == 0 and "made sparse, 337 of 376 weights became zero" in text
    status, text = run(f"prune {network} --criterion unstructured --saliency gradient --data net.py:data --output more")
    assert status == 0 and "149 of 376" in text
    ms.save_checkpoint(build(), "whole.ckpt")
    assert run(f"convert {network} --checkpoint whole.ckpt --criterion unstructured --n-of-m 2:4 --output half")[0] == 0
    for line, message in (("unstructured --target-macs 0.5", "'--target-macs' must stand with a criterion that"),
                          ("l1 --n-of-m 2:4", "'--n-of-m' must stand with a criterion that it says something of, but "
                                              "got 'l1'"),
                          ("unstructured --card card", "'--card' must stand with an algorithm derived from Pruner"),
                          ("unstructured --report told.html", "'--report' must be a .json file"),
                          ("unstructured --n-of-m 2:4 --prune-rate 0.5", "'--n-of-m' must stand without 'prune_rate'")):
        status, text = run(f"prune {network} --output no --criterion {line}")
        assert status == 2 and message in text and not (tmp_path / "no.safetensors").exists()
