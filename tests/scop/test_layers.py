"""Every kind of layer that makes channels mixes: by numpy, from `apply` to `convert`; and what is left out says why."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, mint, nn, ops

import golden_stick as gs
from golden_stick.base.errors import NothingToPruneError
from golden_stick.graph.layers import LAYERS
from golden_stick.scop import FeatureSampler, KnockoffLayer
from golden_stick.scop.scales import RealScale
from tests.marks import both_modes, quick

CONVOLUTION = {"pad_mode": "pad", "padding": 1}
# The layer, the shape of a sample, the axis of the channels in what it makes, and its number of filters.
KINDS = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, **CONVOLUTION), (4, 5), 1, 6),
    "Conv2d in groups": (lambda: nn.Conv2d(4, 6, 3, group=2, has_bias=True, **CONVOLUTION), (4, 5, 5), 1, 6),
    "Conv3d": (lambda: nn.Conv3d(4, 6, 3, **CONVOLUTION), (4, 3, 3, 3), 1, 6),
    "Conv1dTranspose": (lambda: nn.Conv1dTranspose(4, 6, 3, **CONVOLUTION), (4, 5), 1, 6),
    "Conv2dTranspose in groups": (lambda: nn.Conv2dTranspose(4, 6, 3, group=2, **CONVOLUTION), (4, 5, 5), 1, 3),
    "Conv3dTranspose": (lambda: nn.Conv3dTranspose(4, 6, 3, **CONVOLUTION), (4, 3, 3, 3), 1, 6),
    "Dense": (lambda: nn.Dense(4, 6, activation="tanh"), (4,), -1, 6),
    "Dense of three axes": (lambda: nn.Dense(4, 6), (5, 4), -1, 6),
    "Linear of four axes": (lambda: mint.nn.Linear(4, 6), (3, 2, 4), -1, 6),
}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("mode, kind", both_modes(KINDS, [
    "Conv2d in groups", "Conv2dTranspose in groups", "Dense of three axes"]), indirect=["mode"])
def test_a_mixture_and_its_gradient_by_numpy(mode, kind):
    make, sample, axis, filters = KINDS[kind]
    layer = make()
    cell = KnockoffLayer(layer, RealScale("x", filters), axis).set_train(True)
    scale = np.linspace(0, 1, filters).astype(np.float32)
    ops.assign(cell.scale.real_scale, Tensor(scale))
    x = Tensor(numbers(6, *sample))
    plain = layer(x).asnumpy()
    real, knockoff = plain[:3], plain[3:]
    channels = plain.shape[axis]
    spread = np.tile(scale, channels // filters).reshape(-1, *(1,) * (plain.ndim - 2 if axis == 1 else 0))
    weighting = numbers(*plain.shape, seed=1)

    def loss(x):
        made = cell(x)
        return (made * Tensor(weighting)).sum(), made

    (_, made), gradient = ms.value_and_grad(loss, None, cell.scale.real_scale, has_aux=True)(x)
    wanted = np.concatenate((spread * real + (1 - spread) * knockoff, knockoff))
    np.testing.assert_allclose(made.asnumpy(), wanted, rtol=1e-4, atol=1e-5)
    by_channel = np.moveaxis(weighting[:3] * (real - knockoff), axis, 0).reshape(channels, -1).sum(1)
    np.testing.assert_allclose(gradient.asnumpy(), by_channel.reshape(-1, filters).sum(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(cell.set_train(False)(x).asnumpy(), plain)


class Three(nn.Cell):
    """Two layers whose filters can go, each with a normalization or none, and a head over the mean of all places."""

    def __init__(self, first, second, head, norm=None):
        super().__init__()
        self.first, self.second, self.head = first, second, head
        self.norm = nn.Identity() if norm is None else norm

    def construct(self, x):
        x = ops.tanh(self.second(ops.tanh(self.norm(self.first(x)))))
        return self.head(x if x.ndim == 2 else x.mean(tuple(range(2, x.ndim))))


NETWORKS = {
    "dense": (lambda: Three(nn.Dense(3, 8), nn.Dense(8, 6), nn.Dense(6, 2), nn.BatchNorm1d(8)), (3,)),
    "one dimension": (lambda: Three(nn.Conv1d(3, 8, 3), nn.Conv1d(8, 6, 3), nn.Dense(6, 2)), (3, 8)),
    "three dimensions": (lambda: Three(nn.Conv3d(3, 8, 3), nn.Conv3d(8, 6, 3), nn.Dense(6, 2)), (3, 4, 4, 4)),
    "transposed": (lambda: Three(nn.Conv2dTranspose(3, 8, 3), nn.Conv2dTranspose(8, 6, 3), nn.Dense(6, 2),
                                 nn.BatchNorm2d(8)), (3, 4, 4)),
}


def train(algorithm, phase, sample, steps=4):
    optimizer = nn.Adam(phase.trainable_params(), 0.1)
    step = nn.TrainOneStepCell(nn.WithLossCell(phase, nn.CrossEntropyLoss()), optimizer).set_train()
    for seed in range(steps):
        step(Tensor(numbers(4, *sample, seed=seed)), Tensor([0, 1, 0, 1], ms.int32))
        algorithm.after_step()


@pytest.mark.parametrize("mode, kind", both_modes(NETWORKS, ["transposed"], ["dense", "three dimensions"]),
                         indirect=["mode"])
def test_from_apply_to_convert(mode, kind):
    whole_way(kind, "permutation", ("first", "second"))


@pytest.mark.parametrize("kind", quick(NETWORKS, ["dense", "transposed"]))
def test_from_apply_to_convert_by_features(kind):
    whole_way(kind, FeatureSampler([numbers(64, *NETWORKS[kind][1])]), ("second", "head"))


def whole_way(kind, sampler, mixing):
    network, sample = NETWORKS[kind][0](), NETWORKS[kind][1]
    algorithm = gs.SCOP({"prune_rate": 0.34, "turn_steps": 1, "sampler": sampler})
    phase = algorithm.apply(network, inputs=(4, *sample))
    assert gs.verify(network, phase, (4, *sample)).largest_difference == 0.0
    assert {p.name: p.shape for p in phase.trainable_params()} == {
        f"{mixing[0]}.real_scale": (8,), f"{mixing[1]}.real_scale": (6,)}
    train(algorithm, phase, sample)
    assert all((p.asnumpy() != 0.5).any() for p in phase.trainable_params())
    scores = algorithm.filter_scores()
    slim = algorithm.convert(phase)
    assert slim.first.out_channels == 6 and slim.head.in_channels == 4
    kept = np.sort(np.argsort(scores["first.weight"], kind="stable")[2:])
    axis = 1 if kind == "transposed" else 0
    np.testing.assert_array_equal(slim.first.weight.asnumpy(), np.take(network.first.weight.asnumpy(), kept, axis))


def test_gamma_of_a_filter_that_makes_a_channel_in_each_group():
    network = Three(nn.Conv2dTranspose(4, 6, 3, group=2), nn.Conv2d(6, 4, 3), nn.Dense(4, 2), nn.BatchNorm2d(6))
    network.norm.gamma.set_data(Tensor([1.0, 2.0, 3.0, -3.0, 4.0, 7.0], ms.float32))
    algorithm = gs.SCOP({"mixing": "joint", "score": "gamma"})
    phase = algorithm.apply(network, inputs=(2, 4, 4, 4))
    for parameter in phase.trainable_params():
        ops.assign(parameter, Tensor(np.full(parameter.shape, 0.75, np.float32)))
    np.testing.assert_allclose(algorithm.filter_scores()["first.weight"], [1.0, 1.5, 2.5])
    with pytest.warns(UserWarning, match="rank correlation with it is 1.00"):
        slim = algorithm.convert(phase)
    np.testing.assert_array_equal(slim.norm.gamma.asnumpy(), [2.0, 3.0, 4.0, 7.0])


class Twice(nn.Cell):
    """One layer that runs twice, and one weight in two layers."""

    def __init__(self):
        super().__init__()
        self.stem, self.again, self.head = nn.Dense(4, 6), nn.Dense(6, 6), nn.Dense(6, 2)
        self.left, self.right = nn.Dense(6, 5), nn.Dense(6, 5)
        self.right.weight = self.left.weight
        self.last = nn.Dense(5, 2)

    def construct(self, x):
        x = ops.tanh(self.again(ops.tanh(self.again(ops.tanh(self.stem(x))))))
        return self.last(ops.tanh(self.left(x)) * self.right(x)) + self.head(x)


def test_a_layer_that_runs_twice_and_a_weight_in_two_layers(mode):
    algorithm = gs.SCOP({"prune_rate": 0.5, "mixing": "joint"})
    network = Twice()
    phase = algorithm.apply(network, inputs=(4, 4))
    assert {p.name for p in phase.trainable_params()} == {"stem.real_scale", "again.real_scale", "left.real_scale"}
    wrapped = [name for name, cell in phase.network.cells_and_names() if isinstance(cell, KnockoffLayer)]
    assert wrapped == ["stem", "again", "left", "right"]
    assert phase.network.left.scale is phase.network.right.scale
    train(algorithm, phase, (4,))
    algorithm.convert(phase)


class WithTable(nn.Cell):
    """Channels of a table read by indices, of a layer that reads what all samples share, and of one that reads them."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.place, self.bias = nn.Dense(3, 6), nn.Dense(6, 4)
        self.mixed, self.head = nn.Dense(8, 6), nn.Dense(6, 4)

    def construct(self, x, positions):
        bias = self.bias(ops.tanh(self.place(positions))).mean()
        return self.head(ops.tanh(self.mixed(ops.tanh(self.table(x))))).mean(1) + bias


def test_what_gets_no_scores_stays_and_says_why(monkeypatch):
    algorithm = gs.SCOP({"prune_rate": 0.5})
    tokens = Tensor(np.arange(12).reshape(3, 4) % 10, ms.int32)
    phase = algorithm.apply(WithTable(), inputs=(tokens, Tensor(numbers(4, 3))))
    assert [p.name for p in phase.trainable_params()] == ["mixed.real_scale"]
    layers = {layer.path: layer for layer in algorithm.report.layers}
    assert [layers[path].after for path in ("table", "place", "mixed")] == [8, 6, 3]
    assert layers["table"].reasons == ("stays: what it reads are indices, which have no knockoffs",)
    assert layers["place"].reasons == ("stays: nothing that it reads depends on the samples",)
    assert layers["mixed"].reasons == ()
    assert not algorithm.report.targets[0].met
    assert "prune_rate 0.5 is not reached, held back by missing scores: table, place" in algorithm.report.notes
    monkeypatch.setattr("golden_stick.scop.phase._WIDEST", 7)
    by_features = gs.SCOP({"prune_rate": 0.5, "sampler": FeatureSampler([numbers(16, 3)])})
    by_features.apply(NETWORKS["dense"][0](), inputs=(2, 3))
    first, second = by_features.report.layers[:2]
    assert (first.after, second.after) == (8, 3)
    assert first.reasons == ("stays: it is read among more than 7 channels, too many for their covariance",)


class Product(nn.Cell):
    """Its only filters are the columns of a weight of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.last = Parameter(Tensor(numbers(4, 8)), name="first"), nn.Dense(8, 3)

    def construct(self, x):
        return self.last(ops.tanh(ops.matmul(x, self.first)))


def test_a_network_without_a_layer_that_can_be_mixed():
    with pytest.raises(NothingToPruneError, match="must have a layer whose filters can be removed and have knockoffs, "
                                                  "but got none .first stays: .* no kind of layer that is known.: use"):
        gs.SCOP().apply(Product(), inputs=(4, 4))


class OfMint(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv, self.up = mint.nn.Conv2d(3, 8, 3), mint.nn.ConvTranspose2d(8, 6, 3)
        self.norm, self.hidden, self.head = mint.nn.BatchNorm2d(8), mint.nn.Linear(6, 5), mint.nn.Linear(5, 2)

    def construct(self, x):
        x = ops.relu(self.up(ops.relu(self.norm(self.conv(x)))))
        return self.head(ops.relu(self.hidden(x.mean((2, 3)))))


def test_layers_of_mint_have_scales_and_gammas():
    """Their convolutions have no kernel on the CPU, so nothing of this runs."""
    algorithm = gs.SCOP({"mixing": "joint", "score": "gamma"})
    phase = algorithm.apply(OfMint(), inputs=(2, 3, 8, 8))
    assert {p.name: p.shape for p in phase.trainable_params()} == {
        "conv.real_scale": (8,), "up.real_scale": (6,), "hidden.real_scale": (5,)}
    assert [phase.network._cells[name].times.axis for name in ("conv", "up", "hidden")] == [1, 1, -1]
    phase.network.norm.weight.set_data(Tensor(np.arange(8), ms.float32))
    ops.assign(phase.network.conv.scale.real_scale, Tensor(np.full(8, 0.75), ms.float32))
    np.testing.assert_allclose(algorithm.filter_scores()["conv.weight"], np.arange(8) / 2)


class Own(nn.Cell):
    """A layer that golden_stick has to be told of."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.matrix, self.product = Parameter(Tensor(numbers(outputs, inputs)), name="matrix"), ops.MatMul(False, True)

    def construct(self, x):
        return self.product(x, self.matrix)


def test_a_layer_of_ones_own():
    known = dict(LAYERS)
    try:
        gs.add_layer(Own, like="nn.Dense", weight="matrix", bias="",
                     widths={"inputs": "inputs", "outputs": "filters"})
        algorithm = gs.SCOP({"prune_rate": 0.5, "turn_steps": 1})
        phase = algorithm.apply(nn.SequentialCell(Own(3, 6), nn.Tanh(), nn.Dense(6, 2)), inputs=(4, 3))
        assert [p.name for p in phase.trainable_params()] == ["0.real_scale"]
        train(algorithm, phase, (3,))
        slim = algorithm.convert(phase)
        assert slim[0].outputs == 3 and slim[0].matrix.shape == (3, 3)
    finally:
        LAYERS.clear()
        LAYERS.update(known)
