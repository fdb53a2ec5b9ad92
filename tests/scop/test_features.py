"""Knockoffs of features: their law against numpy, where they stand, and how scales become scores."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.knockoffs.second_order import SecondOrder, moments_of
from golden_stick.scop import FeatureSampler
from golden_stick.scop.cells import PhaseNetwork
from golden_stick.scop.phase import _FeatureKnockoff
from golden_stick.scop.samplers import FeatureSite, KnockoffChange, moments_at
from golden_stick.scop.scales import RealScale
from tests import networks
from tests.marks import both_modes

SHAPE = (4, 3, 8, 8)


def small():
    return networks.randomize(networks.SmallNet())


def images(count=64, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SHAPE[1:])).astype(np.float32)


def law(rows):
    return SecondOrder(moments_of([rows])).law


def correlated(count, channels=4):
    generator = np.random.default_rng(1)
    mix = generator.normal(size=(channels, channels)) + 2 * np.eye(channels)
    return generator.normal(size=(count, channels)) @ mix + 3.0


@pytest.mark.parametrize("mode, trailing, repeats", both_modes(
    [(2, 1), (0, 1), (0, 9)], [], [(2, 1), (0, 9)]), indirect=["mode"])
def test_knockoffs_are_exchangeable_channel_by_channel(mode, trailing, repeats):
    rows, scale = correlated(3600), RealScale("x", 4)
    ops.assign(scale.real_scale, Tensor(np.zeros(4), ms.float32))
    if trailing:
        shaped = rows.reshape(400, 9, 4).transpose(0, 2, 1).reshape(400, 4, 3, 3)
    else:
        shaped = rows.reshape(400, 9, 4).transpose(0, 2, 1).reshape(400, 36) if repeats > 1 else rows
    cell = _FeatureKnockoff(nn.Identity(), scale, KnockoffChange("x.knockoff_", law(rows), 1),
                            FeatureSite(4, trailing, repeats))
    network = PhaseNetwork(cell, None).set_train(True)
    made = network(Tensor(shaped.astype(np.float32))).asnumpy()
    back = made.reshape(400, 4, -1).transpose(0, 2, 1).reshape(3600, 4) if trailing or repeats > 1 else made
    assert gs.exchangeability(rows[:1500], back[:1500], permutations=999).verdict == "knockoff"
    # A scale of one is the feature itself; and evaluation is the Cell.
    ops.assign(scale.real_scale, Tensor(np.ones(4), ms.float32))
    np.testing.assert_array_equal(network(Tensor(shaped.astype(np.float32))).asnumpy(), shaped.astype(np.float32))
    np.testing.assert_array_equal(network.set_train(False)(Tensor(shaped.astype(np.float32))).asnumpy(),
                                  shaped.astype(np.float32))


def test_moments_are_those_of_what_enters_the_cell():
    network = small().set_train(False)
    data = [images(8), images(8, 1)]
    wanted = np.concatenate([ops.relu(network.norm_a(network.a(Tensor(batch)))).asnumpy() for batch in data])
    rows = wanted.transpose(0, 2, 3, 1).reshape(-1, 8).astype(float)
    # Positions are drawn with repetition, so the means agree as two samples do.
    found = moments_at(FeatureSampler(data, positions=64), network, {"b": FeatureSite(8, 2)})["b"]
    assert found.count == 16 * 64
    np.testing.assert_allclose(found.mean, rows.mean(0), atol=0.15)
    flat = moments_at(FeatureSampler(data), network, {"head": FeatureSite(6, 0, 16)})["head"]
    assert flat.mean.shape == (6,)


@pytest.mark.parametrize("mode", ["GRAPH", pytest.param("PYNATIVE", marks=pytest.mark.long)], indirect=True)
def test_a_phase_from_apply_to_convert(mode):
    data = [(images(16, seed), np.zeros(16, np.int32)) for seed in range(4)]
    algorithm = gs.SCOP({"sampler": FeatureSampler(data), "turn_steps": 1, "prune_rate": 0.5, "mixing": "layers",
                         "score": "gamma"})
    network = small()
    phase = algorithm.apply(network, inputs=SHAPE)
    assert {p.name for p in phase.trainable_params()} == {"b.real_scale", "c.real_scale", "head.real_scale"}
    assert gs.verify(network, phase, SHAPE).largest_difference == 0.0
    step = nn.TrainOneStepCell(nn.WithLossCell(phase, nn.CrossEntropyLoss()),
                               nn.Adam(phase.trainable_params(), 0.1)).set_train()
    for seed in range(3):
        step(Tensor(images(4, seed)), Tensor(np.arange(4, dtype=np.int32)))
        algorithm.after_step()
    scales = {p.name: p.asnumpy().astype(float) for p in phase.get_parameters() if p.name.endswith("frozen_scale")}
    assert all((values != 0.5).any() for values in scales.values())
    scores = algorithm.filter_scores()
    np.testing.assert_allclose(scores["c.weight"], 2 * scales["head.frozen_scale"] - 1)
    # What `a` and `b` make is summed, and `c` and (what `a` makes) `b` read it.
    gamma = np.abs(network.norm_a.gamma.asnumpy())
    mean = (scales["b.frozen_scale"] + scales["c.frozen_scale"]) / 2
    np.testing.assert_allclose(scores["a.weight"], gamma * (2 * mean - 1), atol=1e-6)
    slim = algorithm.convert(phase)
    assert slim.c.out_channels == 3 and algorithm.report.config["sampler"] == "feature"


def test_the_law_is_saved_with_the_phase(tmp_path):
    config = {"sampler": FeatureSampler([images()]), "turn_steps": 1}
    phase = gs.SCOP(config).apply(small(), inputs=SHAPE)
    ms.save_checkpoint(phase, str(tmp_path / "phase.ckpt"))
    stored = ms.load_checkpoint(str(tmp_path / "phase.ckpt"))
    assert {f"b.knockoff_{key}" for key in ("mean", "deviation", "shift", "root")} <= set(stored)
    assert stored["b.knockoff_shift"].shape == (8, 8)


def test_a_dead_channel_is_its_own_knockoff():
    network = small()
    for parameter, value in ((network.norm_a.gamma, 0.0), (network.norm_a.beta, -1.0)):
        values = parameter.asnumpy().copy()
        values[3] = value
        parameter.set_data(Tensor(values))
    phase = gs.SCOP({"sampler": FeatureSampler([images()])}).apply(network, inputs=SHAPE)
    cell = phase.network.b.change
    assert cell.deviation.asnumpy()[3] == 1.0 and not cell.shift.asnumpy()[3].any() and not cell.root.asnumpy()[3].any()


def test_refusals():
    with pytest.raises(ArgumentError, match="For 'FeatureSampler', 'method' must be one of 'equi', 'sdp', 'mvr'"):
        FeatureSampler([], "asdp")
    with pytest.raises(ArgumentTypeError, match="For 'FeatureSampler', 'positions' must be a whole number"):
        FeatureSampler([], positions=0.5)
    with pytest.raises(ArgumentError, match="For 'FeatureSampler', 'data' must hold batches for the network, but got"):
        gs.SCOP({"sampler": FeatureSampler([])}).apply(small(), inputs=SHAPE)


class Product(nn.Cell):
    """Its filters are the columns of a weight of its own, more of them than rows."""

    def __init__(self):
        super().__init__()
        weight = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
        weight[:, 1] = 2 * weight[:, 0]
        self.first = Parameter(Tensor(weight), name="first")
        self.last = nn.Dense(9, 3)

    def construct(self, x):
        return self.last(ops.tanh(ops.matmul(x, self.first)))


def test_filters_on_another_axis_than_the_first():
    rows = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    algorithm = gs.SCOP({"sampler": FeatureSampler([rows]), "prune_rate": "auto", "fdr": 0.5})
    network = networks.randomize(Product())
    phase = algorithm.apply(network, inputs=(4, 4))
    planned = gs.SCOP({"sampler": FeatureSampler([rows]), "prune_rate": 0.5})
    planned.apply(network, inputs=(4, 4))
    assert [layer.after for layer in planned.report.layers if layer.before == 9] == [5]
    ops.assign(phase.trainable_params()[0], Tensor(np.linspace(0.3, 0.9, 9), ms.float32))
    slim = algorithm.convert(phase)
    assert slim.first.shape == (4, slim.last.in_channels)
    # Two columns point one way; no two rows do.
    assert "C3 does NOT hold: 1 pairs of filters" in str(algorithm.report)


def test_batches_of_something_else():
    with pytest.raises(ArgumentTypeError, match="For 'FeatureSampler', a batch must be a Tensor or start with one"):
        gs.SCOP({"sampler": FeatureSampler([("a", "b")])}).apply(small(), inputs=SHAPE)
