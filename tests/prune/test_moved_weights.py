"""Weights that the code moves, casts or computes before data meet them: pruned as if they were written plainly."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, amp, nn, ops

import golden_stick as gs
from golden_stick.base.errors import TraceError, VerifyError
from golden_stick.cells.trace import half_steps
from tests import networks
from tests.marks import both_modes


def weight(*shape, seed=0):
    return Parameter(Tensor(np.random.default_rng(seed).normal(0, 0.4, shape).astype(np.float32)))


def rand(*shape, seed=1):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


class Turned(nn.Cell):
    """A dense layer whose weight is turned in the code."""

    def __init__(self, how):
        super().__init__()
        self.how, self.first, self.last = how, nn.Dense(8, 16), nn.Dense(12, 4)
        self.w = weight(12, 16)

    def construct(self, x):
        x = ops.relu(self.first(x))
        if self.how == "T":
            x = ops.matmul(x, self.w.T)
        if self.how == "swapaxes":
            x = ops.matmul(x, self.w.swapaxes(0, 1))
        if self.how == "einsum":
            x = ops.einsum("bi,oi->bo", x, self.w)
        if self.how == "half":
            x = ops.matmul(x, self.w.astype(ms.float16).astype(ms.float32).T)
        return self.last(ops.relu(x))


class Packed(nn.Cell):
    """Queries, keys and values in one weight, cut apart."""

    def __init__(self):
        super().__init__()
        self.w, self.b, self.last = weight(36, 8), weight(36), nn.Dense(12, 4)

    def construct(self, x):
        query, key, value = (ops.matmul(x, w.T) + b for w, b in zip(ops.split(self.w, self.w.shape[0] // 3),
                                                                   ops.split(self.b, self.b.shape[0] // 3)))
        return self.last(ops.matmul(ops.softmax(ops.matmul(query, key.swapaxes(1, 2)) * 0.3), value))


class Tied(nn.Cell):
    """What encodes decodes: a table of words, or a matrix."""

    def __init__(self, words):
        super().__init__()
        self.words, self.table = words, nn.Embedding(20, 16)
        self.up, self.down = nn.Dense(16, 24), nn.Dense(24, 16)

    def construct(self, x):
        table = self.table.embedding_table
        x = self.table(x) if self.words else ops.matmul(x, table)
        return ops.matmul(x + self.down(ops.gelu(self.up(x))), table.T)


class Computed(nn.Cell):
    """A convolution whose weight is computed filter by filter."""

    def __init__(self, inputs, filters, how):
        super().__init__()
        self.how, self.v, self.g = how, weight(filters, inputs, 3, 3), weight(filters, 1, 1, 1, seed=1)

    def construct(self, x):
        v = self.v
        if self.how == "normalized":
            v = v * (self.g / ops.sqrt((v * v).sum((1, 2, 3), keepdims=True)))
        if self.how == "standardized":
            v = v - v.mean((1, 2, 3), keep_dims=True)
            v = self.g * v / ops.sqrt((v * v).mean((1, 2, 3), keep_dims=True) + 1e-5)
        if self.how == "bounded":
            v = ops.tanh(v)
        return ops.conv2d(x, v)


def computed(how):
    return nn.SequentialCell(Computed(3, 16, how), nn.ReLU(), Computed(16, 12, how), nn.ReLU(), nn.Conv2d(12, 4, 1))


class Small(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a, self.n, self.b = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 12, 3)
        self.head = nn.Dense(12, 4)

    def construct(self, x):
        return self.head(ops.relu(self.b(ops.relu(self.n(self.a(x))))).mean((2, 3)))


def layers_in_half():
    network = Small()
    for cell in (network.a, network.b):
        cell.to_float(ms.float16)
    return nn.SequentialCell(network.a, nn.BatchNorm2d(16).to_float(ms.float32), network.b, nn.ReLU())


WORDS, IMAGES = Tensor(np.array([[3, 7, 1], [0, 19, 4]], np.int32)), rand(2, 3, 12, 12)
# What is built, what it takes, and shapes of parameters of the slim network at a rate of 0.5.
CASES = {
    **{how: (lambda how=how: Turned(how), rand(2, 8), {"w": (6, 8), "first.weight": (8, 8), "last.weight": (4, 6)})
       for how in ("T", "swapaxes", "half")},
    "packed": (Packed, rand(2, 5, 8), {"w": (18, 8), "b": (18,), "last.weight": (4, 6)}),
    "tied words": (lambda: Tied(True), WORDS, {"table.embedding_table": (20, 8), "up.weight": (12, 8)}),
    "tied matrix": (lambda: Tied(False), rand(2, 20), {"table.embedding_table": (20, 8), "down.weight": (8, 12)}),
    "normalized": (lambda: computed("normalized"), IMAGES,
                   {"0.v": (8, 3, 3, 3), "0.g": (8, 1, 1, 1), "2.v": (6, 8, 3, 3)}),
    "standardized": (lambda: computed("standardized"), IMAGES, {"0.v": (16, 3, 3, 3), "2.v": (6, 16, 3, 3)}),
    "bounded": (lambda: computed("bounded"), IMAGES, {"0.v": (8, 3, 3, 3), "2.v": (6, 8, 3, 3)}),
}
HALVES = {
    **{level: (lambda level=level: amp.auto_mixed_precision(Small(), level, ms.float16), IMAGES)
       for level in ("O1", "O2", "O3", "auto")},
    "to_float": (lambda: Small().to_float(ms.float16), IMAGES),
    "layers": (layers_in_half, IMAGES),
    "dense": (lambda: nn.SequentialCell(nn.Dense(8, 16), nn.ReLU(), nn.Dense(16, 5)).to_float(ms.float16),
              rand(2, 6, 8)),
}


def pruned(network, data, **config):
    algorithm = gs.OneShot({"prune_rate": 0.5, **config})
    masked = algorithm.apply(network, inputs=data)
    return algorithm, masked, algorithm.convert(masked)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """MindSpore writes the networks that it rewrites for O1 where it stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("mode, name", both_modes(CASES, ["normalized"], [
    "half", "packed", "tied words", "tied matrix", "standardized"]), indirect=["mode"])
def test_pruned_exactly_to_the_widths_of_plain_layers(name, mode, tmp_path):
    build, data, shapes = CASES[name]
    network = networks.randomize(build())
    algorithm, masked, slim = pruned(network, data)
    found = {item.name: tuple(item.shape) for item in slim.get_parameters()}
    assert {name: found[name] for name in shapes} == shapes
    wanted, got = (cell.set_train(False)(data).asnumpy() for cell in (masked, slim))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    path = gs.save_slim(slim, tmp_path / "slim.safetensors")
    np.testing.assert_array_equal(gs.load_slim(build(), path).set_train(False)(data).asnumpy(), got)
    if mode == "PYNATIVE":
        gs.export(slim, data, tmp_path / "slim", "ONNX")


def test_an_operator_that_this_machine_lacks_is_named_as_the_cause():
    with pytest.raises(TraceError, match=r"For 'OneShot', 'Turned' must run on 'inputs' of .*: Kernel select failed: "
                                         r"Unsupported op \[Einsum\] on CPU"):
        pruned(networks.randomize(Turned("einsum")), rand(2, 8))


def test_what_a_mean_over_a_weight_keeps_is_said():
    algorithm, _, _ = pruned(networks.randomize(computed("standardized")), IMAGES)
    layers = {layer.path: layer for layer in algorithm.report.layers}
    assert layers["0"].reasons[0].startswith("a weight is computed from all of it (ReduceMean in '2'")


@pytest.mark.parametrize("mode, name", both_modes(HALVES, ["O2"], ["O1", "O3", "to_float", "layers"]),
                         indirect=["mode"])
def test_half_precision_prunes_what_single_precision_does(name, mode, elsewhere):
    build, data = HALVES[name]
    network = networks.randomize(build())
    algorithm, masked, slim = pruned(network, data)
    plain, _, _ = pruned(networks.randomize(Small()), data) if name not in ("layers", "dense") else (None, None, None)
    widths = {layer.path.split(".")[-1]: (layer.before, layer.after) for layer in algorithm.report.layers}
    assert plain is None or widths == {layer.path: (layer.before, layer.after) for layer in plain.report.layers}
    assert any(after < before for before, after in widths.values())
    wanted, got = (cell.set_train(False)(data).asnumpy().astype(np.float64) for cell in (masked, slim))
    steps = half_steps(network, (data,))
    assert 2 <= steps <= 12
    assert np.abs(wanted - got).max() <= max(8, steps) * 2 ** -10 * np.abs(wanted).max()
    if mode == "PYNATIVE":
        gs.save_slim(slim, elsewhere / "slim.safetensors")
        gs.export(slim, data, elsewhere / "slim", "ONNX")


def test_a_network_in_half_precision_that_differs_by_more_is_refused():
    one, other = (networks.randomize(Small(), seed).to_float(ms.float16) for seed in (0, 1))
    with pytest.raises(VerifyError, match="the outputs must agree within 0.00"):
        gs.verify(one, other, IMAGES)


def test_criteria_read_a_normalization_behind_a_cast_weight(elsewhere):
    network = networks.randomize(amp.auto_mixed_precision(Small(), "O2", ms.float16))
    algorithm, _, _ = pruned(network, IMAGES, criterion="bn_scale")
    gamma = next(item for item in network.get_parameters() if item.name.endswith("n.gamma")).asnumpy()
    scores = next(scores for name, scores in algorithm.filter_scores().items() if name.endswith("a.weight"))
    np.testing.assert_array_equal(scores, np.abs(gamma))
