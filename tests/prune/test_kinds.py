"""Small networks of the kinds that people ask about, each with a twist: pruned exactly, or named with a remedy."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

import golden_stick as gs
from golden_stick.graph.plan import remedy_of
from tests.marks import quick
from tests.networks import randomize
from tests.prune.test_accounting import check_report


def rand(*shape, seed=5):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def weight(*shape, seed=1):
    return Parameter(Tensor(np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)))


IMAGES, TOKENS, SERIES = rand(2, 3, 12, 12), rand(2, 5, 16), rand(2, 6, 10)
WORDS = Tensor(np.random.default_rng(1).integers(0, 40, (2, 6)), ms.int32)
MASK = Tensor([[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]], ms.bool_)

# Name -> class, inputs, largest part of the parameters that may be left, and what is said of a weight that stays.
KINDS = {}


def kind(inputs, most, stays=None):
    def add(network):
        KINDS[network.__name__] = (network, inputs if isinstance(inputs, tuple) else (inputs,), most, stays)
        return network
    return add


@kind(WORDS, 0.5)
class TiedAndScaled(nn.Cell):
    def __init__(self):
        super().__init__()
        self.words, self.bias, self.scale = nn.Embedding(40, 24), weight(40), 24 ** 0.5
        self.up, self.down = nn.Dense(24, 48), nn.Dense(48, 24)

    def construct(self, ids):
        x = self.words(ids) * self.scale
        x = x + self.down(ops.gelu(self.up(x)))
        return ops.matmul(x, self.words.embedding_table.swapaxes(0, 1)) / self.scale + self.bias


@kind(TOKENS, 0.5)
class PackedInTwo(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.packed, self.bias, self.last = nn.Dense(16, 20), weight(48, 20), weight(48), nn.Dense(24, 3)

    def construct(self, x):
        x = ops.relu(self.first(x))
        (gate, values), (one, other) = ops.chunk(self.packed, 2, 0), ops.chunk(self.bias, 2, 0)
        return self.last(ops.sigmoid(ops.dense(x, gate, one)) * ops.dense(x, values, other))


@kind(TOKENS, 0.5)
class CutInFive(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.packed, self.last = nn.Dense(16, 20), nn.Dense(20, 60), nn.Dense(12, 3)

    def construct(self, x):
        a, b, c, d, e = ops.chunk(self.packed(ops.relu(self.first(x))), 5, -1)
        return self.last(ops.tanh(a) * b + ops.sigmoid(c) * d + e)


@kind(IMAGES, 0.8, ("first.weight", "cuts the channels at a number that is written in the code", "[8:20] of 24"))
class CutUnequally(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.part = nn.Conv2d(3, 24, 3), nn.Conv2d(8, 8, 3)
        self.joined, self.last = nn.Conv2d(24, 10, 1), nn.Conv2d(10, 4, 1)

    def construct(self, x):
        a, b, c = ops.split(ops.relu(self.first(x)), [8, 12, 4], 1)
        return self.last(ops.relu(self.joined(ops.cat((ops.relu(self.part(a)), b, c), 1))))


@kind(SERIES, 0.5)
class PositionsInSlices(nn.Cell):
    def __init__(self):
        super().__init__()
        self.embed, self.positions, self.start = nn.Dense(10, 24), weight(1, 32, 24), weight(1, 1, 24)
        self.up, self.down, self.last = nn.Dense(24, 40), nn.Dense(40, 24), nn.Dense(24, 3)

    def construct(self, x):
        x = ops.cat((ops.tile(self.start, (x.shape[0], 1, 1)), self.embed(x)), 1)
        x = x + self.positions[:, :x.shape[1]]
        return self.last((x + self.down(ops.relu(self.up(x))))[:, 0])


@kind(IMAGES, 0.5)
class Shuffled(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.wide = nn.Conv2d(12, 16, 3), nn.Conv2d(16, 32, 3)
        self.large, self.last = nn.Conv2d(8, 12, 3), nn.Conv2d(12, 12, 1)

    def construct(self, x):
        x = ops.relu(self.wide(ops.relu(self.first(ops.pixel_unshuffle(x, 2)))))
        return self.last(ops.relu(self.large(ops.pixel_shuffle(x, 2))))


@kind(IMAGES, 0.5)
class StochasticDepth(nn.Cell):
    def __init__(self):
        super().__init__()
        self.stem, self.last, self.rate = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1), 0.2
        self.inner, self.norm, self.outer = nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24), nn.Conv2d(24, 16, 3)

    def construct(self, x):
        x = ops.relu(self.stem(x))
        y = self.outer(ops.relu(self.norm(self.inner(x))))
        if self.training:
            y = y * (ops.rand(x.shape[0], 1, 1, 1) > self.rate).astype(x.dtype) / (1 - self.rate)
        return self.last(x + y)


@kind(SERIES, 0.5)
class BothDirections(nn.Cell):
    def __init__(self):
        super().__init__()
        self.embed, self.rnn = nn.Dense(10, 16), nn.LSTM(16, 12, bidirectional=True, batch_first=True)
        self.dense, self.last = nn.Dense(24, 14), nn.Dense(14, 3)

    def construct(self, x):
        return self.last(ops.relu(self.dense(self.rnn(ops.relu(self.embed(x)))[0])))


@kind(IMAGES, 0.8, ("first.weight", "reads channels by numbers that are written in the code", "into the layer's"))
class ChosenByIndices(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(8, 12, 3), nn.Conv2d(12, 4, 1)
        self.chosen = Tensor(np.arange(0, 16, 2), ms.int32)

    def construct(self, x):
        return self.last(ops.relu(self.second(ops.gather(ops.relu(self.first(x)), self.chosen, 1))))


@kind(IMAGES, 0.8, ("first.weight", "mixes the channels (CumSum after 'first')", "written otherwise"))
class SummedOn(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 12, 3), nn.Conv2d(12, 4, 1)

    def construct(self, x):
        return self.last(ops.relu(self.second(ops.cumsum(ops.relu(self.first(x)), 1))))


@kind(IMAGES, 0.5)
class Turned(nn.Cell):
    """The order of channels, and of pixels, and what comes from the other side."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 12, 3), nn.Conv2d(12, 4, 1)

    def construct(self, x):
        x = ops.flip(ops.relu(self.first(x)), (1,))
        x = ops.flip(x, (3,)) + ops.cat((x[:, :, 3:], x[:, :, :3]), 2)
        return self.last(ops.relu(self.second(x)))


@kind(IMAGES, 0.5)
class Padded(nn.Cell):
    def __init__(self):
        super().__init__()
        self.pads = nn.CellList([nn.ReflectionPad2d(1), nn.ReplicationPad2d(2), nn.ConstantPad2d(1, 0.5),
                                 nn.Pad(((0, 0), (0, 0), (1, 1), (2, 0)), "SYMMETRIC")])
        self.layers = nn.CellList([nn.Conv2d(16, 16, 3, pad_mode="valid") for _ in self.pads])
        self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1)

    def construct(self, x):
        x = ops.relu(self.first(x))
        for pad, layer in zip(self.pads, self.layers):
            x = ops.relu(layer(pad(x)))
        return self.last(x)


@kind(rand(2, 3, 10, 8), 0.5)
class WithCoordinates(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 14, 3), nn.Conv2d(16, 10, 3), nn.Conv2d(10, 4, 1)

    def construct(self, x):
        x = ops.relu(self.first(x))
        down, right = ops.meshgrid(ops.arange(x.shape[2]), ops.arange(x.shape[3]), indexing="ij")
        grid = ops.stack((right, down)).astype(ms.float32).expand_dims(0) / 10
        return self.last(ops.relu(self.second(ops.cat((x, ops.tile(grid, (x.shape[0], 1, 1, 1))), 1))))


@kind((SERIES, MASK), 0.55)
class Filled(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Dense(10, 24), nn.Dense(24, 16), nn.Dense(16, 3)
        self.fill = weight(16)

    def construct(self, x, mask):
        x = ops.where(mask.expand_dims(-1), self.second(ops.relu(self.first(x))), self.fill)
        return self.last(ops.masked_fill(x, x < -1, 0.0).sum(1))


class Rotary(nn.Cell):
    """Attention whose queries and keys are turned by their positions, by tables of sines and cosines."""

    def __init__(self, held):
        super().__init__()
        self.heads, self.embed, self.last = 4, nn.Dense(16, 32), nn.Dense(32, 3)
        self.layers = nn.CellList([nn.Dense(32, 32, has_bias=False) for _ in range(4)])
        angles = np.arange(5)[:, None] / 100 ** (np.arange(4) / 4)
        for name, table in (("cosines", np.cos(angles)), ("sines", np.sin(angles))):
            table = Tensor(table, ms.float32)
            setattr(self, name, Parameter(table, name=name, requires_grad=False) if held else table)

    def turned(self, x):
        a, b = ops.chunk(x, 2, -1)
        return ops.cat((a * self.cosines - b * self.sines, a * self.sines + b * self.cosines), -1)

    def construct(self, x):
        x = self.embed(x)
        query, key, value = [layer(x).reshape(x.shape[0], x.shape[1], self.heads, -1).swapaxes(1, 2)
                             for layer in self.layers[:3]]
        scores = ops.softmax(ops.matmul(self.turned(query), self.turned(key).swapaxes(2, 3)) * 0.3, -1)
        mixed = ops.matmul(scores, value).swapaxes(1, 2)
        return self.last(x + self.layers[3](mixed.reshape(x.shape[0], x.shape[1], -1)))


@kind(TOKENS, 0.5)
class TablesInParameters(Rotary):
    def __init__(self):
        super().__init__(held=True)


@kind(TOKENS, 0.6, ("layers.0.weight", "meets a constant (Mul after 'layers.0')", "hold the constant in a Parameter"))
class TablesInConstants(Rotary):
    def __init__(self):
        super().__init__(held=False)


@kind(rand(1, 2, 6, 6, 6), 0.5)
class UNetOfVolumes(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.down = nn.Conv3d(2, 12, 3), nn.BatchNorm3d(12), nn.Conv3d(12, 16, 3, stride=2)
        self.up, self.last = nn.Conv3dTranspose(16, 12, 2, 2), nn.Conv3d(24, 3, 1)

    def construct(self, x):
        x = ops.relu(self.norm(self.first(x)))
        return self.last(ops.cat((x, ops.relu(self.up(ops.relu(self.down(x))))), 1))


DEFAULT = {"TiedAndScaled", "PackedInTwo", "CutInFive", "CutUnequally", "ChosenByIndices", "SummedOn", "Padded",
           "TablesInParameters", "Turned"}


@pytest.mark.parametrize("name", quick(KINDS, DEFAULT))
def test_pruned_exactly_or_named(name):
    build, inputs, most, stays = KINDS[name]
    network, algorithm = randomize(build()), gs.OneShot({"prune_rate": 0.4})
    masked = algorithm.apply(network, inputs=inputs)
    check_report(algorithm, network)
    slim = algorithm.convert(masked)
    report = algorithm.report
    assert report.parameters_after <= most * report.parameters_before
    wanted, got = (net.set_train(False)(*inputs).asnumpy() for net in (masked, slim))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 0
    if stays:
        parameter, *words = stays
        reasons = next(layer.reasons for layer in report.layers if layer.weight == parameter)
        assert all(word in f"{'; '.join(reasons)}: {remedy_of(reasons[0])}" for word in words)
