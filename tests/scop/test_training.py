"""The knockoff phase as people train: gradients summed up, overflows, learning rates of zero, trainings in parts."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from mindspore.train.summary_pb2 import Event

import golden_stick as gs
from golden_stick.base.errors import CheckpointError, StateError
from golden_stick.scop import FeatureSampler
from golden_stick.scop.report import ScaleHistory
from tests.marks import both_modes

SAMPLES = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
LABELS = (np.arange(12) % 2).astype(np.int32)


class Branches(nn.Cell):
    """Two layers side by side, and one behind them: `mixing` 'layers' gives each its turn."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Dense(4, 6), nn.Dense(4, 5), nn.Dense(11, 2)

    def construct(self, x):
        return self.head(ops.concat((ops.tanh(self.left(x)), ops.relu(self.right(x))), 1))


def chain():
    return nn.SequentialCell(nn.Dense(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dense(6, 5), nn.Tanh(), nn.Dense(5, 2))


def lines():
    return nn.SequentialCell(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 3, 3), nn.Tanh(), nn.Flatten(),
                             nn.Dense(12, 2))


NETWORKS = {"chain": (chain, (4,), {}), "branches": (Branches, (4,), {"mixing": "layers"}),
            "one dimension": (lines, (1, 4), {}),
            "features": (chain, (4,), {"sampler": FeatureSampler([SAMPLES])})}


def begun(name="chain", **config):
    """An algorithm and its phase; two layers take turns."""
    make, sample, more = NETWORKS[name]
    algorithm = gs.SCOP({"prune_rate": 0.4, "turn_steps": 2, **more, **config})
    return algorithm, algorithm.apply(make(), inputs=(4, *sample)).set_train()


def parts(passes, sample=(4,), seed=0):
    generator = np.random.default_rng(seed)
    return [(Tensor(generator.normal(size=(4, *sample)).astype(np.float32)), Tensor([0, 1, 0, 1], ms.int32))
            for _ in range(passes)]


def frozen(algorithm):
    return [array.asnumpy().copy() for name, array in algorithm._held.items() if name.endswith("real_scale")]


def dataset(batches=3):
    return ms.dataset.NumpySlicesDataset((SAMPLES[:4 * batches], LABELS[:4 * batches]), shuffle=False).batch(4)


@pytest.mark.parametrize("mode, name, optimizer", both_modes([
    ("chain", nn.Adam), ("branches", nn.SGD), ("one dimension", nn.Adam), ("features", nn.Momentum)],
    [("branches", nn.SGD)], [("chain", nn.Adam), ("features", nn.Momentum)]), indirect=["mode"])
def test_gradients_summed_up_over_passes_are_one_step(mode, name, optimizer):
    algorithm, phase = begun(name)
    settings = {"momentum": 0.9} if optimizer is nn.Momentum else {}
    optimizer = optimizer(phase.trainable_params(), 0.05, **settings)
    loss = nn.CrossEntropyLoss()

    def forward(x, y):
        return loss(phase(x), y)

    step = ms.value_and_grad(forward, None, optimizer.parameters)
    moved, before = [], frozen(algorithm)
    for number in range(6):
        gradients = [step(*part)[1] for part in parts(3, NETWORKS[name][1], number)]
        optimizer(tuple(sum(items) / 3 for items in zip(*gradients)))
        if number != 3:  # once, the next pass has to see for itself
            algorithm.after_step()
            algorithm.after_step()
        after = frozen(algorithm)
        moved.append([not np.array_equal(one, two) for one, two in zip(before, after)])
        before = after
    first, second = [True, False], [False, True]
    assert [item for number, item in enumerate(moved) if number not in (3, 4)] == [first, first, second, first]
    assert algorithm._steps_made() == 6
    algorithm.convert(phase)


def test_a_step_that_overflows_counts_for_nothing():
    algorithm, phase = begun()
    optimizer, loss = nn.Adam(phase.trainable_params(), 0.05), nn.CrossEntropyLoss()
    scaler = ms.amp.DynamicLossScaler(2.0 ** 10, 2, 100)

    def forward(x, y):
        return loss(phase(x), y) * 1024.0

    step, made = ms.value_and_grad(forward, None, optimizer.parameters), []
    for number, part in enumerate(parts(6)):
        _, gradients = step(*part)
        gradients = scaler.unscale(gradients)
        if number in (1, 2):
            gradients = tuple(gradient / 0.0 for gradient in gradients)
        if ms.amp.all_finite(gradients):
            optimizer(gradients)
        algorithm.after_step()
        made.append(algorithm._steps_made())
    assert made == [1, 1, 1, 2, 3, 4]


def test_what_the_last_step_did_is_there_without_after_step():
    """`convert`, and a checkpoint that is written before anything else hears of the step, know it all the same."""
    algorithm, phase = begun(turn_steps=1)
    step = nn.TrainOneStepCell(nn.WithLossCell(phase, nn.CrossEntropyLoss()), nn.SGD(phase.trainable_params(), 500.0))
    first, second = parts(2)
    step(*first)
    with pytest.raises(StateError, match="which takes 2 steps of training, but there were 1: .* Passes whose grad"):
        algorithm.convert(phase)
    step(*second)
    # The scales have left [0, 1]: what counts is what the next pass would make of them.
    assert any(np.abs(array - 0.5).max() > 0.5 for array in frozen(algorithm))
    scores = algorithm.filter_scores()
    algorithm.after_step()
    assert algorithm._steps_made() == 2
    for name, values in algorithm.filter_scores().items():
        np.testing.assert_array_equal(values, scores[name])
    algorithm.convert(phase)


class Summed(nn.Cell):
    """A training step of a user's own, for `Model`: it updates after each second batch."""

    def __init__(self, network, optimizer):
        super().__init__(auto_prefix=False)
        self.network, self.optimizer, self.kept = network, optimizer, []
        self.gradients = ms.value_and_grad(network, None, optimizer.parameters)

    def construct(self, x, y):
        loss, gradients = self.gradients(x, y)
        self.kept.append(gradients)
        if len(self.kept) == 2:
            self.optimizer(tuple(sum(items) / 2 for items in zip(*self.kept)))
            self.kept = []
        return loss


def test_gradients_summed_up_by_model():
    algorithm, phase = begun(turn_steps=3)
    step = Summed(nn.WithLossCell(phase, nn.CrossEntropyLoss()), nn.Adam(phase.trainable_params(), 0.05))
    ms.Model(step).train(6, dataset(2), callbacks=algorithm.callbacks(), dataset_sink_mode=False)
    assert algorithm._steps_made() == 6
    algorithm.convert(phase)
    # Six passes would do for two turns of three steps; that they are three steps is known after the first epoch.
    algorithm, phase = begun(turn_steps=3)
    step = Summed(nn.WithLossCell(phase, nn.CrossEntropyLoss()), nn.Adam(phase.trainable_params(), 0.05))
    with pytest.raises(StateError, match="which takes 6 steps of the optimizer, but this training has 2 after 1"):
        ms.Model(step).train(3, dataset(2), callbacks=algorithm.callbacks(), dataset_sink_mode=False)
    assert algorithm._steps_made() == 1


def test_steps_that_move_nothing_count_as_the_optimizer_counts_them(mode):
    """A learning rate that begins with zero, and a block that has no gradient at all."""
    algorithm, phase = begun()
    for parameter in phase.get_parameters():
        if parameter.name == "5.weight":
            parameter.set_data(ops.zeros_like(parameter))
    optimizer = nn.SGD(phase.trainable_params(), nn.dynamic_lr.warmup_lr(0.1, 6, 3, 1))
    model = ms.Model(phase, nn.CrossEntropyLoss(), optimizer)
    model.train(2, dataset(), callbacks=algorithm.callbacks(), dataset_sink_mode=False)
    assert algorithm._steps_made() == 6
    assert all((array == 0.5).all() for array in frozen(algorithm))


def test_a_training_too_short_is_refused_before_it_begins():
    algorithm, phase = begun(turn_steps=5)
    model = ms.Model(phase, nn.CrossEntropyLoss(), nn.Adam(phase.trainable_params(), 0.1))
    with pytest.raises(StateError, match="which takes 10 steps of the optimizer, but this training has 6: train "
                                         "longer, set 'turn_steps' to 3, or set 'mixing' to 'joint'"):
        model.train(2, dataset(), callbacks=algorithm.callbacks(), dataset_sink_mode=False)
    assert algorithm._steps_made() == 0 and all((array == 0.5).all() for array in frozen(algorithm))
    with pytest.raises(StateError, match="but this training has 1: train longer, lower 'turn_steps', or set 'mixing'"):
        algorithm.before_training(1)
    algorithm.before_training(10)
    # What was made before counts.
    model.train(2, dataset(), dataset_sink_mode=False)
    algorithm.after_step()
    with pytest.raises(StateError, match="but this training has 3 after 6: train longer, lower 'turn_steps', or set"):
        algorithm.before_training(3)
    model.train(2, dataset(2), callbacks=algorithm.callbacks(), dataset_sink_mode=False)
    assert algorithm._steps_made() == 10
    algorithm.convert(phase)


def trained(steps, **config):
    algorithm, phase = begun(**config)
    step = nn.TrainOneStepCell(nn.WithLossCell(phase, nn.CrossEntropyLoss()), nn.Adam(phase.trainable_params(), 0.05))
    for part in parts(steps):
        step(*part)
    return algorithm, phase


@pytest.mark.parametrize("config, told, control, other", [
    ({"turn_steps": 3}, "mixing: blocks, 2 in turns of 3 steps: at least 6 steps", ["blocks", 2, 3],
     {"turn_steps": 50}),
    ({"turn_steps": 1, "mixing": "layers"}, "mixing: layers, 2 in turns of 1 steps: at least 2", ["layers", 2, 1],
     {"mixing": "joint"}),
    ({"mixing": "joint"}, "mixing: all layers at once", ["joint", 1], {"mixing": "layers", "turn_steps": 1}),
], ids=["blocks", "layers", "joint"])
def test_convert_reports_the_schedule_of_the_checkpoint(config, told, control, other, tmp_path):
    """Whatever that of the configuration is, with which the checkpoint is converted."""
    first, phase = trained(6, **config)
    ms.save_checkpoint(phase, str(tmp_path / "phase.ckpt"))
    wanted = first.convert(phase)
    algorithm, phase = begun(**other)
    slim = algorithm.convert(phase, str(tmp_path / "phase.ckpt"))
    assert told in str(algorithm.report)
    assert [algorithm.report.control[key] for key in ("mixing", "blocks", "turn_steps")][:len(control)] == control
    for one, two in zip(slim.get_parameters(), wanted.get_parameters()):
        np.testing.assert_array_equal(one.asnumpy(), two.asnumpy())


def test_a_checkpoint_that_is_not_complete_is_refused_by_its_own_schedule(tmp_path):
    _, phase = trained(5, turn_steps=3)
    ms.save_checkpoint(phase, str(tmp_path / "phase.ckpt"))
    algorithm, phase = begun(turn_steps=1)
    with pytest.raises(StateError, match="which takes 6 steps of training, but there were 5"):
        algorithm.convert(phase, str(tmp_path / "phase.ckpt"))


def test_a_phase_goes_on_by_the_schedule_that_it_was_begun_with(tmp_path):
    _, phase = trained(3, turn_steps=2)
    ms.save_checkpoint(phase, str(tmp_path / "phase.ckpt"))
    algorithm, phase = begun(turn_steps=50)
    ms.load_param_into_net(phase, ms.load_checkpoint(str(tmp_path / "phase.ckpt")))
    algorithm.before_training(1)
    step = nn.TrainOneStepCell(nn.WithLossCell(phase, nn.CrossEntropyLoss()), nn.Adam(phase.trainable_params(), 0.05))
    step(*parts(1)[0])
    algorithm.convert(phase)
    assert "2 in turns of 2 steps" in str(algorithm.report)


def test_the_scales_are_followed_over_the_steps_and_written_for_mindinsight(tmp_path):
    """Quantiles of all scales after each step, by hand; the file is read as MindInsight reads it."""
    algorithm, phase = begun(mixing="joint")
    seen = [np.concatenate([array.ravel() for array in frozen(algorithm)])]

    class Watch(ms.Callback):
        def on_train_step_end(self, run_context):
            seen.append(np.clip(np.concatenate([array.ravel() for array in frozen(algorithm)]), 0, 1))

    optimizer = nn.Adam(phase.trainable_params(), 0.2)
    callbacks = [Watch(), *algorithm.callbacks(summary_dir=tmp_path / "summary")]
    ms.Model(phase, algorithm.loss(nn.CrossEntropyLoss()), optimizer).train(2, dataset(), callbacks=callbacks,
                                                                            dataset_sink_mode=False)
    algorithm.convert(phase)
    rows = algorithm.report.control["over_time"]
    assert [row["step"] for row in rows] == list(range(7))
    for row, scales in zip(rows, seen):
        np.testing.assert_allclose([row["decile_1"], row["median"], row["decile_9"]],
                                   np.quantile(scales, (0.1, 0.5, 0.9)), rtol=1e-6)
    (path,) = (tmp_path / "summary").iterdir()
    found = {}
    for event in events_in(path.read_bytes()):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.scalar_value))
    assert set(found) == {"scales/decile_1", "scales/median", "scales/decile_9"}
    np.testing.assert_allclose(found["scales/median"], [(row["step"], row["median"]) for row in rows[1:]], rtol=1e-6)


def events_in(content):
    """Each record of a summary file: its length in 8 bytes, 4 of a checksum, an event, 4 of another checksum."""
    while content:
        length = int.from_bytes(content[:8], "little")
        yield Event.FromString(content[12:12 + length])
        content = content[16 + length:]


def test_a_summary_that_cannot_be_written_is_an_error_before_any_step(tmp_path):
    (tmp_path / "file").write_text("")
    algorithm, phase = begun()
    optimizer = nn.Adam(phase.trainable_params(), 0.2)
    with pytest.raises(CheckpointError, match="For 'SCOP', 'summary_dir' must be a folder that can be written to"):
        ms.Model(phase, algorithm.loss(nn.CrossEntropyLoss()), optimizer).train(
            4, dataset(), callbacks=algorithm.callbacks(summary_dir=tmp_path / "file"), dataset_sink_mode=False)


def test_a_long_training_keeps_some_steps_evenly_apart_and_the_last():
    history = ScaleHistory()
    for step in range(1000):
        history.add([np.array([step / 1000])])
        history.add([np.array([step / 1000])])
    steps = [row["step"] for row in history.rows]
    assert len(steps) <= 129 and steps[-1] == 999 and set(np.diff(steps[:-1])) == {8}
    assert all(row["median"] == row["step"] / 1000 for row in history.rows)
