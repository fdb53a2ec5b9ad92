"""What a phase gives in evaluation: what the network would, were it pruned by the scales as they are."""
import gc

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from mindspore.train import CheckpointConfig, EarlyStopping, ModelCheckpoint

import golden_stick as gs
from golden_stick.cells.wrappers import evaluate
from golden_stick.scop import FeatureSampler
from tests import networks
from tests.marks import both_modes


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Lines(nn.Cell):
    """Its widths meet in a concatenation, behind which a normalization turns zeros into something else."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.norm = nn.Conv1d(3, 4, 3), nn.Conv1d(3, 5, 1), nn.BatchNorm1d(9)
        self.last, self.head = nn.Conv1d(9, 6, 3, has_bias=True), nn.Dense(6, 2)

    def construct(self, x):
        x = ops.concat((self.left(x), self.right(x)), 1)
        return self.head(ops.sigmoid(self.last(ops.relu(x))).mean(2))


def dense():
    return nn.SequentialCell(nn.Dense(4, 8), nn.BatchNorm1d(8), nn.Sigmoid(), nn.Dense(8, 6), nn.GELU(), nn.Dense(6, 3))


CASES = {
    "residual": (networks.SmallNet, networks.SMALL_INPUT, {"turn_steps": 1}),
    "scatter": (lambda: networks.BasicBlock(4, 4, 1), (3, 4, 4, 4), {"residual": "scatter", "mixing": "joint"}),
    "lines": (Lines, (3, 3, 5), {"turn_steps": 1, "ranking": "global"}),
    "dense by features": (dense, (3, 4), {"turn_steps": 1, "sampler": FeatureSampler([numbers(32, 4)])}),
    "latency": (dense, (3, 4), {"target_latency": 0.99, "mixing": "joint"}),
}


def scaled(algorithm, phase, seed=0):
    """Scales as training might leave them."""
    generator = np.random.default_rng(seed)
    for name, parameter in algorithm._held.items():
        if name.endswith(("real_scale", "squared_gradients")):
            value = Tensor(generator.random(parameter.shape), ms.float32)
            for item in (name, name.replace("real", "frozen")):
                if item in algorithm._held:
                    ops.assign(algorithm._held[item], value)
    algorithm._count_steps(1000)
    return phase


def applied(name, **config):
    make, shape, more = CASES[name]
    network = networks.randomize(make())
    algorithm = gs.SCOP({**({} if "latency" in name else {"prune_rate": 0.5}), **more, **config})
    return network, algorithm, algorithm.apply(network, inputs=shape), numbers(*shape, seed=1)


@pytest.mark.parametrize("mode, name", both_modes([name for name in CASES if name != "latency"], ["residual"], [
    "scatter", "lines", "dense by features"]), indirect=["mode"])
def test_evaluation_is_what_convert_makes(mode, name):
    network, algorithm, phase, batch = applied(name)
    x = Tensor(batch)
    original = network.set_train(False)(x).asnumpy()
    # Untrained scales say nothing.
    np.testing.assert_array_equal(phase.set_train(False)(x).asnumpy(), original)
    for seed in (0, 1):
        phase = scaled(algorithm, phase, seed)
        given = phase.set_train(False)(x).asnumpy()
        slim = algorithm.convert(phase)
        np.testing.assert_allclose(given, slim(x).asnumpy(), rtol=1e-4, atol=1e-5)
        assert np.abs(given - original).max() > 1e-3
        assert slim.trainable_params()[0].shape != network.trainable_params()[0].shape


def test_training_is_not_touched():
    _, algorithm, phase, batch = applied("residual", mixing="joint")
    scaled(algorithm, phase)
    before = phase.set_train(True)(Tensor(batch)).asnumpy()
    phase.set_train(False)(Tensor(batch))
    np.testing.assert_array_equal(phase.set_train(True)(Tensor(batch)).asnumpy(), before)


def test_a_latency_is_not_measured_for_each_evaluation(monkeypatch):
    def size(network):
        return sum(parameter.size for parameter in network.get_parameters())

    monkeypatch.setattr("golden_stick.prune.pruner.latency_ratio",
                        lambda slim, original, inputs, **options: size(slim) / size(original))
    _, algorithm, phase, batch = applied("latency", target_latency=0.8)
    planned = algorithm.report.macs_after
    monkeypatch.setattr("golden_stick.prune.pruner.latency_ratio", None)
    scaled(algorithm, phase).set_train(False)
    kept = algorithm._held["mixing.kept"].asnumpy()
    assert 0 < kept.sum() < len(kept) and planned < algorithm.report.macs_before


def test_where_nothing_is_selected_evaluation_is_the_original():
    """So few filters cannot make 100 pass; and scales that are no numbers say nothing either."""
    for config, value in (({"prune_rate": "auto", "fdr": 0.01}, 0.75), ({}, np.nan)):
        network = networks.randomize(dense())
        algorithm = gs.SCOP({"mixing": "joint", **config})
        phase = algorithm.apply(network, inputs=(3, 4))
        for parameter in phase.trainable_params():
            ops.assign(parameter, Tensor(np.full(parameter.shape, value), ms.float32))
        assert gs.verify(network, phase, (3, 4)).largest_difference == 0.0


def test_one_sample_can_be_evaluated_and_a_phase_outlives_its_algorithm():
    _, algorithm, phase, batch = applied("residual")
    many = evaluate(scaled(algorithm, phase), (Tensor(batch),))[0]
    np.testing.assert_allclose(evaluate(phase, (Tensor(batch[:1]),))[0], many[:1], rtol=1e-4, atol=1e-5)
    del algorithm
    gc.collect()
    np.testing.assert_array_equal(evaluate(phase, (Tensor(batch),))[0], many)


def test_the_best_epoch_is_found_and_converted(tmp_path):
    """By `Model.fit`, with early stopping that puts the best weights back, and a checkpoint of each epoch."""
    images = numbers(48, 4)
    network = networks.randomize(dense())
    labels = network.set_train(False)(Tensor(images)).asnumpy().argmax(1).astype(np.int32)
    data = lambda: ms.dataset.NumpySlicesDataset((images, labels), shuffle=False).batch(12)  # noqa: E731
    algorithm = gs.SCOP({"prune_rate": 0.5, "turn_steps": 2, "score": "gamma"})  # by the other, all are right
    phase = algorithm.apply(network, inputs=(3, 4))
    model = ms.Model(phase, algorithm.loss(nn.CrossEntropyLoss()), nn.Adam(phase.trainable_params(), 0.1),
                     metrics={"accuracy"})
    seen = []

    class Watch(ms.train.Callback):
        def on_train_epoch_end(self, run_context):
            seen.append(run_context.original_args().eval_results["accuracy"])

    model.fit(5, data(), data(), dataset_sink_mode=False, callbacks=[
        *algorithm.callbacks(), Watch(), EarlyStopping("accuracy", patience=3, mode="max", restore_best_weights=True),
        ModelCheckpoint("k", str(tmp_path), CheckpointConfig(4))])
    assert len(set(seen)) > 1
    slim = [algorithm.convert(phase)] if len(seen) < 5 else []
    files = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.name.split("-")[1].split("_")[0]))
    slim += [algorithm.convert(phase, str(file)) for file in files]
    wanted = ([max(seen)] if len(seen) < 5 else []) + seen
    found = [float((one(Tensor(images)).asnumpy().argmax(1) == labels).mean()) for one in slim]
    np.testing.assert_allclose(found, wanted)
