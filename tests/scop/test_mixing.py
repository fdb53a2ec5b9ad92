"""Block-wise mixing: who mixes when, what stays meanwhile, and what several draws are."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import StateError
from golden_stick.scop import GaussianSampler, KnockoffInput, KnockoffLayer
from golden_stick.scop.phase import _AbsorbedNormalization, _KnockoffConvNormalized
from golden_stick.scop.scales import BlockSchedule, RealScale, ScheduledScale, plan_mixing
from tests import networks

SHAPE = networks.SMALL_INPUT
LAYERS = ("a", "b", "c")


def small():
    return networks.randomize(networks.SmallNet())


def batch(count=6, seed=0):
    generator = np.random.default_rng(seed)
    return (Tensor(generator.normal(size=(count, *SHAPE[1:])).astype(np.float32)),
            Tensor(generator.integers(0, 4, count).astype(np.int32)))


def trainer(algorithm, phase, optimizer=nn.Adam):
    return nn.TrainOneStepCell(nn.WithLossCell(phase, nn.CrossEntropyLoss()),
                               optimizer(phase.trainable_params(), 0.1)).set_train()


def held(phase):
    return {p.name.split(".")[0]: p.asnumpy().copy() for p in phase.get_parameters() if p.name.endswith("frozen_scale")}


class TestBlockSchedule:
    def test_blocks_then_draws_then_again(self, mode):
        """Once for each time that an optimizer has moved a scale, in turn or not, however many passes there are."""
        schedule, seen = BlockSchedule([0, 1, 2], turn_steps=2, draws=2), []
        scales = [ScheduledScale(name, 3, schedule) for name in "xy"]
        for step in range(14):
            assert int(schedule()) == int(schedule()) == step
            seen.append((int(schedule.turn.asnumpy()), int(schedule.draw.asnumpy())))
            ops.assign(scales[step % 2].real_scale, scales[step % 2].real_scale + 0.001)
        first = [(0, 0), (0, 0), (1, 0), (1, 0), (2, 0), (2, 0)]
        assert seen == first + [(turn, 1) for turn, _ in first] + first[:2]


class TestScheduledScale:
    def test_it_is_one_out_of_turn_and_itself_in_turn(self, mode):
        schedule = BlockSchedule([0, 1], 2, 1)
        scales = [ScheduledScale(name, 3, schedule) for name in "xy"]
        ops.assign(scales[0].real_scale, Tensor([0.6, 1.7, -0.2], ms.float32))
        schedule()
        np.testing.assert_allclose(scales[0]().asnumpy(), [0.6, 1.0, 0.0], rtol=1e-6)
        np.testing.assert_allclose(scales[1]().asnumpy(), [1, 1, 1])
        # Whatever an optimizer does to it out of turn is undone; what the last step of a turn did stays.
        ops.assign(scales[1].real_scale, Tensor([0.9, 0.9, 0.9], ms.float32))
        ops.assign(scales[0].real_scale, Tensor([0.7, 1.0, 0.0], ms.float32))
        schedule()
        np.testing.assert_allclose(scales[0]().asnumpy(), [1, 1, 1])
        np.testing.assert_allclose(scales[1]().asnumpy(), [0.5, 0.5, 0.5])
        for scale, wanted in zip(scales, ([0.7, 1.0, 0.0], [0.5, 0.5, 0.5])):
            for parameter in (scale.real_scale, scale.frozen_scale):
                np.testing.assert_allclose(parameter.asnumpy(), wanted, rtol=1e-6)

    def test_each_draw_has_scales_of_its_own(self, mode):
        schedule = BlockSchedule([0], 1, 2)
        scale = ScheduledScale("x", 2, schedule)
        schedule()
        ops.assign(scale.real_scale, Tensor([[0.1, 0.2], [0.3, 0.4]], ms.float32))
        schedule()
        np.testing.assert_allclose(scale().asnumpy(), [0.5, 0.5])
        np.testing.assert_allclose(scale.frozen_scale.asnumpy(), [[0.1, 0.2], [0.5, 0.5]], rtol=1e-6)
        ops.assign(scale.real_scale, Tensor([[0.9, 0.9], [0.3, 0.4]], ms.float32))
        schedule()
        np.testing.assert_allclose(scale().asnumpy(), [0.1, 0.2], rtol=1e-6)
        np.testing.assert_allclose(scale.frozen_scale.asnumpy(), [[0.1, 0.2], [0.3, 0.4]], rtol=1e-6)


@pytest.mark.parametrize("mode, optimizer", [
    ("GRAPH", nn.Adam), ("PYNATIVE", lambda parameters, rate: nn.Momentum(parameters, rate, 0.9))], indirect=["mode"])
def test_only_the_scales_whose_turn_it_is_move(mode, optimizer):
    algorithm = gs.SCOP({"turn_steps": 2})
    phase = algorithm.apply(small(), inputs=SHAPE)
    step, before, moved = trainer(algorithm, phase, optimizer), held(phase), []
    for seed in range(8):
        step(*batch(seed=seed))
        algorithm.after_step()
        after = held(phase)
        moved.append([name for name in LAYERS if not np.array_equal(before[name], after[name])])
        real = {p.name.split(".")[0]: p.asnumpy() for p in phase.trainable_params()}
        assert all(np.array_equal(real[name], after[name]) for name in LAYERS)
        before = after
    assert moved == [["a"], ["a"], ["b"], ["b"], ["c"], ["c"], ["a"], ["a"]]


def test_a_block_out_of_turn_passes_the_real_features_on(mode):
    """With the turn at `b`, the phase is the network in which `b` alone mixes: computed here from its parts."""
    network, algorithm = small(), gs.SCOP({"turn_steps": 1})
    phase = algorithm.apply(network, inputs=SHAPE).set_train(True)
    images, _ = batch(4)
    phase(images)
    algorithm._count_steps(1)
    got = phase(images).asnumpy()
    network.set_train(False)

    def before_b(x):
        return ops.relu(network.norm_a(network.a(x)))

    def after_b(x, features):
        x = ops.relu(network.norm_b(features) + x)
        return network.head(network.flatten(network.c(x)))

    stream = before_b(images)
    made = network.b(stream)
    mixed = 0.5 * made + 0.5 * ops.concat((made[1:], made[:1]))
    np.testing.assert_allclose(got, after_b(stream, mixed).asnumpy(), rtol=1e-4, atol=1e-5)


def test_the_normalization_behind_is_done_by_the_convolution(mode):
    network = small()
    found = {}
    for absorbed in (True, False):
        conv, norm, scale = network.a, network.norm_a, RealScale("a", 8)
        ops.assign(scale.real_scale, Tensor(np.linspace(0, 1, 8), ms.float32))
        first = _KnockoffConvNormalized(conv, scale, conv, norm) if absorbed else KnockoffLayer(conv, scale)
        behind = _AbsorbedNormalization(norm) if absorbed else norm
        phase = KnockoffInput(nn.SequentialCell(first, behind)).set_train(True)
        images, _ = batch(4)
        found[absorbed] = phase(images).asnumpy()
        wanted = norm.set_train(False)(conv(images)).asnumpy()
        np.testing.assert_array_equal(phase.set_train(False)(images).asnumpy(), wanted)
    np.testing.assert_allclose(found[True], found[False], rtol=1e-4, atol=1e-5)


def test_normalizations_are_absorbed_where_they_can_be():
    phase = gs.SCOP().apply(small(), inputs=SHAPE)
    kinds = {name: type(cell).__name__ for name, cell in phase.network.cells_and_names() if "." not in name}
    assert [kinds[name] for name in ("a", "norm_a", "b", "norm_b", "c")] == [
        "_KnockoffConvNormalized", "_AbsorbedNormalization", "_KnockoffConvNormalized", "_AbsorbedNormalization",
        "KnockoffLayer"]


def test_a_normalization_of_two_convolutions_is_absorbed_by_neither():
    network = networks.randomize(networks.Wide())
    phase = gs.SCOP().apply(network, inputs=SHAPE)
    kinds = {name: type(cell).__name__ for name, cell in phase.network.cells_and_names() if "." not in name}
    assert [kinds[name] for name in ("left", "right", "norm")] == ["KnockoffLayer", "KnockoffLayer", "BatchNorm2d"]
    images, _ = batch()
    np.testing.assert_array_equal(phase.set_train(False)(images).asnumpy(), network.set_train(False)(images).asnumpy())


def test_schedules():
    graph = gs.trace(networks.CifarResNet(1), (2, 3, 16, 16))
    weights = {path: f"{path}.weight" for path in ("blocks.0.first", "blocks.0.second", "blocks.1.first", "stem")}
    numbers = {}
    for mixing in ("blocks", "layers", "joint"):
        plan = plan_mixing(graph, weights, {"mixing": mixing, "turn_steps": 5, "draws": 2})
        numbers[mixing] = plan.block_of
    assert numbers["blocks"] == {"stem": 0, "blocks.0.first": 1, "blocks.0.second": 1, "blocks.1.first": 2}
    assert numbers["layers"] == {"stem": 0, "blocks.0.first": 1, "blocks.0.second": 2, "blocks.1.first": 3}
    assert set(numbers["joint"].values()) == {0}
    assert plan.steps == 10 and str(plan) == (
        "mixing: joint, 1 in turns of 5 steps, 2 draws: at least 10 steps of training")


def test_converting_before_all_had_their_turn():
    algorithm = gs.SCOP({"turn_steps": 2})
    phase = algorithm.apply(small(), inputs=SHAPE)
    step = trainer(algorithm, phase)
    for seed in range(5):
        step(*batch(seed=seed))
    with pytest.raises(StateError, match="every block must have had its turn before 'convert', which takes 6 steps of "
                                         "training, but there were 5: train longer, lower 'turn_steps'"):
        algorithm.convert(phase)
    step(*batch())
    algorithm.convert(phase)
    assert "mixing: blocks, 3 in turns of 2 steps: at least 6 steps of training" in str(algorithm.report)


def test_a_checkpoint_goes_on_where_it_stopped(tmp_path):
    path, config = str(tmp_path / "phase.ckpt"), {"turn_steps": 2}
    algorithm = gs.SCOP(config)
    phase = algorithm.apply(small(), inputs=SHAPE)
    step = trainer(algorithm, phase, nn.SGD)
    for seed in range(3):
        step(*batch(seed=seed))
        algorithm.after_step()
    ms.save_checkpoint(phase, path)
    again = gs.SCOP(config)
    other = again.apply(small(), inputs=SHAPE)
    ms.load_param_into_net(other, ms.load_checkpoint(path))
    other_step = trainer(again, other, nn.SGD)
    for seed in range(3, 8):
        for one, run in ((algorithm, step), (again, other_step)):
            run(*batch(seed=seed))
            one.after_step()
    for name, values in held(phase).items():
        np.testing.assert_array_equal(values, held(other)[name])


def test_several_draws_are_scored_by_their_mean():
    algorithm = gs.SCOP({"turn_steps": 1, "draws": 2, "prune_rate": 0.5, "score": "scale"})
    phase = algorithm.apply(small(), inputs=SHAPE)
    step = trainer(algorithm, phase)
    for seed in range(6):
        step(*batch(seed=seed))
        algorithm.after_step()
    scales = held(phase)["c"]
    assert scales.shape == (2, 6) and not np.array_equal(*scales)
    np.testing.assert_allclose(algorithm.filter_scores()["c.weight"], (2 * scales.astype(float) - 1).mean(0))
    algorithm.convert(phase)


@pytest.mark.parametrize("mode", [pytest.param("GRAPH", marks=pytest.mark.long), "PYNATIVE"], indirect=True)
def test_a_phase_is_the_same_twice_bit_for_bit(mode):
    """In graph mode, with one fitted sampler for both runs and two draws."""
    rows = np.random.default_rng(9).normal(size=(200, 4)).astype(np.float32)
    config = {"turn_steps": 2, "sampler": "noise"} if mode == "PYNATIVE" else \
        {"turn_steps": 1, "draws": 2, "sampler": GaussianSampler().fit([rows])}

    def run():
        ms.set_seed(3)
        algorithm = gs.SCOP(config)
        network = nn.SequentialCell(nn.Dense(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dense(6, 5), nn.Dense(5, 3))
        phase = algorithm.apply(networks.randomize(network), inputs=(4, 4))
        step = trainer(algorithm, phase)
        for seed in range(4):
            step(Tensor(rows[4 * seed:4 * seed + 4]), Tensor([0, 1, 2, 0], ms.int32))
            algorithm.after_step()
        slim = algorithm.convert(phase)
        return [parameter.asnumpy() for parameter in (*phase.get_parameters(), *slim.get_parameters())]

    for one, two in zip(run(), run()):
        np.testing.assert_array_equal(one, two)
