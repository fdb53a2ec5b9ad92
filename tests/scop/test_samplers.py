"""Samplers: what each makes of a batch, alone and in a knockoff phase."""
import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.scop import GaussianSampler, GeneratorSampler, NoiseSampler, PermutationSampler, Sampler
from golden_stick.scop.samplers import StandardNormal
from tests import networks
from tests.marks import both_modes, quick

SHAPE = (6, 3, 8, 8)


def images(count=6, seed=0):
    """Images whose pixels are correlated, as those of photographs are."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(size=(count, 3, 2, 2)).repeat(4, 2).repeat(4, 3)
    return (coarse + 0.5 * generator.normal(size=(count,) + SHAPE[1:]) + 2.0).astype(np.float32)


class FromNoise(nn.Cell):
    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(16, 3 * 8 * 8)

    def construct(self, z):
        return self.dense(z).reshape((-1, 3, 8, 8))


class FromBoth(nn.Cell):
    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(16, 3)

    def construct(self, x, z):
        return x + self.dense(z).reshape((-1, 3, 1, 1))


class Mirror(Sampler):
    """A sampler of one's own."""

    name = "mirror"

    def construct(self, x):
        return x[::-1]


EVERY_SAMPLER = {
    "permutation": PermutationSampler, "noise": NoiseSampler, "mirror": Mirror,
    "gaussian": lambda: GaussianSampler(grid=2).fit([images(400)]),
    "G(z)": lambda: GeneratorSampler(FromNoise(), 16), "G(x, z)": lambda: GeneratorSampler(FromBoth(), 16),
}


def test_permutation_is_a_derangement():
    data = images()
    np.testing.assert_array_equal(PermutationSampler()(Tensor(data)).asnumpy(), np.roll(data, -1, 0))


def test_noise_has_the_moments_of_the_batch():
    data = images(200)
    made = NoiseSampler(3)(Tensor(data)).asnumpy()
    np.testing.assert_allclose(made.mean((0, 2, 3)), data.mean((0, 2, 3)), atol=0.05)
    np.testing.assert_allclose(made.std((0, 2, 3)), data.std((0, 2, 3)), rtol=0.05)


def test_noise_follows_from_seed_and_count(mode):
    like = Tensor(np.zeros((40, 50), np.float32))
    first, fresh, other = StandardNormal("a.", 3), StandardNormal("a.", 3), StandardNormal("a.", 4)
    made = [first(like).asnumpy() for _ in range(3)]
    ops.assign(fresh.draws, Tensor(2, ms.int32))
    np.testing.assert_array_equal(fresh(like).asnumpy(), made[2])
    assert first.draws.asnumpy() == fresh.draws.asnumpy() == 3
    drawn = np.stack([*made, other(like).asnumpy()]).reshape(4, -1)
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.1
    assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05


def test_elsewhere_than_on_a_cpu_mindspore_draws_the_noise(monkeypatch):
    monkeypatch.setattr(ms, "get_context", lambda name: "Ascend" if name == "device_target" else None)
    normal = StandardNormal("a.", 3)
    monkeypatch.undo()
    like = Tensor(np.zeros((40, 50), np.float32))
    made = np.stack([normal(like).asnumpy() for _ in range(2)])
    assert abs(np.corrcoef(made.reshape(2, -1))[0, 1]) < 0.1 and abs(made.std() - 1) < 0.05
    assert normal.draws.asnumpy() == 0


@pytest.mark.parametrize("method", quick(["equi", "sdp", "mvr"], ["mvr"]))
def test_gaussian_draws_pass_where_a_permutation_does_not(method):
    data = images(2000)
    data[:, 1:] = 0.7 * data[:, :1] + 0.5 * data[:, 1:]
    coarse = data.reshape(2000, 3, 2, 4, 2, 4).mean((3, 5))
    sampler = GaussianSampler(method, grid=2).fit(np.array_split(data, 7))
    made = sampler(Tensor(data)).asnumpy()
    blocks = made.reshape(2000, 3, 2, 4, 2, 4)
    found = gs.exchangeability(coarse, blocks.mean((3, 5)), permutations=999)
    assert found.verdict == "knockoff", str(found)
    assert gs.exchangeability(coarse, np.roll(coarse, 1, 0), permutations=999).verdict == "control"
    # Within a block nothing but its level changes.
    change = made - data
    inside = change.reshape(2000, 3, 2, 4, 2, 4)
    assert np.abs(inside - inside.mean((3, 5), keepdims=True)).max() < 1e-4


def test_gaussian_draws_of_vectors():
    data = np.random.default_rng(0).multivariate_normal([1.0, 5.0], [[1.0, 0.6], [0.6, 1.0]], 2000).astype(np.float32)
    made = GaussianSampler().fit([(data, None)])(Tensor(data)).asnumpy()
    assert gs.exchangeability(data, made, permutations=999).verdict == "knockoff"


def test_what_was_fitted_is_in_the_checkpoint_of_the_phase_and_is_not_trained(tmp_path):
    sampler = GaussianSampler("equi", 2).fit([{"image": images(100), "label": np.zeros(100)}])
    algorithm = gs.SCOP({"sampler": sampler})
    phase = algorithm.apply(networks.randomize(networks.SmallNet()), networks.SMALL_INPUT)
    held = {parameter.name: parameter.asnumpy() for parameter in phase.get_parameters()}
    for key in ("mean", "deviation", "shift", "root"):
        np.testing.assert_array_equal(held[f"sampler.{key}"], getattr(sampler.change, key).asnumpy())
    assert not [parameter for parameter in phase.trainable_params() if parameter.name.startswith("sampler")]
    with pytest.raises(ArgumentTypeError, match="For 'GaussianSampler', a batch must be a Tensor or start with one"):
        GaussianSampler().fit([("a", "b")])


def test_progress_is_told():
    seen = []
    GaussianSampler(grid=2).fit(np.array_split(images(100), 4), seen.append)
    assert seen == [25, 50, 75, 100]


@pytest.mark.parametrize("name", EVERY_SAMPLER)
def test_what_each_makes_has_the_shape_of_the_samples_and_is_something_else(mode, name):
    batch = Tensor(images())
    made = EVERY_SAMPLER[name]()(batch)
    assert made.shape == batch.shape and made.dtype == batch.dtype
    assert np.abs(made.asnumpy() - batch.asnumpy()).max() > 0.1


@pytest.mark.parametrize("mode, name", both_modes(EVERY_SAMPLER, ["gaussian", "G(x, z)"], [
    "permutation", "noise", "G(z)"]), indirect=["mode"])
def test_a_knockoff_phase_with_each(mode, name):
    sampler, batch = EVERY_SAMPLER[name](), Tensor(images())
    algorithm = gs.SCOP({"prune_rate": 0.5, "sampler": sampler, "turn_steps": 1})
    network = nn.SequentialCell(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.Flatten(), nn.Dense(192, 4))
    phase = algorithm.apply(networks.randomize(network), inputs=SHAPE)
    assert [parameter.name for parameter in phase.trainable_params()] == ["0.real_scale", "2.real_scale"]
    optimizer, loss = nn.Adam(phase.trainable_params(), 0.05), nn.CrossEntropyLoss()
    step = nn.TrainOneStepCell(nn.WithLossCell(phase, loss), optimizer).set_train()
    for _ in range(2):
        step(batch, Tensor(np.arange(6, dtype=np.int32) % 4))
    assert all((scores != 0).any() for scores in algorithm.filter_scores().values())
    assert json.loads(json.dumps(algorithm.report.to_dict()))["config"]["sampler"] == sampler.name
    # What follows is the same for all.
    if name in ("permutation", "G(x, z)"):
        algorithm.convert(phase)
        assert algorithm.report.parameters_after < algorithm.report.parameters_before


def test_the_generator_is_copied_and_not_trained():
    generator = FromNoise()
    sampler = GeneratorSampler(generator, 16)
    assert all(parameter.requires_grad for parameter in generator.get_parameters())
    assert [parameter.name for parameter in sampler.get_parameters()] == [
        "sampler.dense.weight", "sampler.dense.bias", "mixing.sampler.draws"]


class ThreeArguments(nn.Cell):
    def construct(self, x, y, z):
        return ops.relu(x)


class TwoInputs(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)

    def construct(self, x, y):
        return self.second(self.first(x) + self.first(y))


def test_refusals():
    with pytest.raises(StateError, match="For 'GaussianSampler', 'fit' must be called with the training data first"):
        gs.SCOP({"sampler": GaussianSampler()}).apply(networks.SmallNet(), inputs=SHAPE)
    with pytest.raises(ArgumentError, match=r"multiples of 'grid', 3, but got shape \(6, 3, 8, 8\)"):
        GaussianSampler(grid=3).fit([images()])
    with pytest.raises(ArgumentError, match="'method' must be a way to choose distances"):
        GaussianSampler("asdp", 2).fit([images(50)])
    with pytest.raises(ArgumentTypeError, match="'generator' must be a Cell, but got int"):
        GeneratorSampler(3)
    with pytest.raises(ArgumentError, match="generator's 'construct' must take z, or x and z, but it takes 3 argum"):
        GeneratorSampler(ThreeArguments())
    with pytest.raises(ArgumentError, match="'sampler' must be 'permutation' for a network of 2 inputs"):
        gs.SCOP({"sampler": "noise"}).apply(TwoInputs(), inputs=(Tensor(images()), Tensor(images())))


@pytest.mark.parametrize("value, kind, got", [
    ("gaussian", ArgumentError, "'gaussian'"), (3, ArgumentTypeError, "3 of type int")])
def test_what_is_no_sampler(value, kind, got):
    """The error names what to write instead."""
    with pytest.raises(kind, match=r"For 'SCOP', 'sampler' must be 'permutation', 'noise', or a sampler of "
                                   r"golden_stick\.scop: GaussianSampler\(\)\.fit\(data\), FeatureSampler\(data\), "
                                   rf"GeneratorSampler\(cell\), or a Sampler of your own, but got {got}\."):
        gs.SCOP({"sampler": value})
