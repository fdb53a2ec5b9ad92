"""Small networks of the kinds that people ask about, each with a twist: pruned exactly, or named with a remedy."""
import re
from pathlib import Path

import mindspore as ms
import numpy as np
import onnxruntime
import pytest
from mindspore import Parameter, Tensor, mint, nn, ops

import golden_stick as gs
from golden_stick.base.errors import NothingToPruneError
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


@kind(IMAGES, 0.55)
class PartConvolved(nn.Cell):
    """Numbers of channels in attributes, and what is left of them by the shape, as in FasterNet."""

    def __init__(self):
        super().__init__()
        self.read, self.width = 6, 24
        self.first, self.part = nn.Conv2d(3, 24, 3), nn.Conv2d(6, 6, 3)
        self.joined, self.last = nn.Conv2d(24, 20, 1), nn.Conv2d(20, 4, 1)

    def construct(self, x):
        x = ops.relu(self.first(x))
        one, two = ops.split(x, [self.read, x.shape[1] - self.read], 1)
        x = ops.cat((ops.relu(self.part(one)), two, x[:, self.read:], x[:, :-self.read]), 1)[:, :self.width]
        return self.last(ops.relu(self.joined(x)))


class Mixed(nn.Cell):
    def __init__(self, widths):
        super().__init__()
        self.widths = widths
        self.parts = nn.CellList([nn.Conv2d(width, width, 2 * at + 1, group=width) for at, width in enumerate(widths)])

    def construct(self, x):
        made, end = (), 0
        for at, part in enumerate(self.parts):
            begin, end = end, end + self.widths[at]
            made += (part(x[:, begin:end]),)
        return ops.cat(made, 1)


@kind(IMAGES, 0.55)
class MixedKernels(nn.Cell):
    """As MixNet. MindSpore compiles the slices of all blocks at once, with the scope of the first."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 24, 3), nn.Conv2d(28, 4, 1)
        self.blocks = nn.SequentialCell(Mixed([10, 14]), nn.Conv2d(24, 20, 1), nn.ReLU(), Mixed([12, 5, 3]),
                                        nn.Conv2d(20, 28, 1), nn.ReLU(), Mixed([14, 14]))

    def construct(self, x):
        return self.last(self.blocks(ops.relu(self.first(x))))


@kind(IMAGES, 0.8, ("first.weight", "cuts the channels at a number that is written in the code", "[4:12] of 24"))
class BeginInTheCode(nn.Cell):
    """The slice is as wide as it should be in the slim network, and begins elsewhere."""

    def __init__(self):
        super().__init__()
        self.width = 8
        self.first, self.part, self.last = nn.Conv2d(3, 24, 3), nn.Conv2d(8, 20, 3), nn.Conv2d(20, 4, 1)

    def construct(self, x):
        return self.last(ops.relu(self.part(ops.relu(self.first(x))[:, 4:4 + self.width])))


@kind((rand(3, 5), Tensor([[1, 7], [0, 3], [9, 9]], ms.int32)), 0.6)
class Interactions(nn.Cell):
    """Products of all pairs of vectors that tables and a layer make, as in DLRM."""

    def __init__(self):
        super().__init__()
        self.dense, self.tables = nn.Dense(5, 12), nn.CellList([nn.Embedding(10, 12) for _ in range(2)])
        self.top, self.last = nn.Dense(12 + 9, 16), nn.Dense(16, 2)

    def construct(self, x, ids):
        x = ops.relu(self.dense(x))
        rows = ops.stack([x] + [table(ids[:, at]) for at, table in enumerate(self.tables)], 1)
        pairs = ops.bmm(rows, rows.swapaxes(1, 2)).reshape(x.shape[0], -1)
        return self.last(ops.relu(self.top(ops.cat((x, pairs), 1))))


@kind(TOKENS, 0.8, ("packed.weight", "summed up by a weight that is computed"))
class QueriesForEach(nn.Cell):
    """Queries of its own for every sample, by numbers in the code, as in a Perceiver."""

    def __init__(self):
        super().__init__()
        self.first, self.queries = nn.Dense(16, 30), weight(4, 24)
        self.packed, self.last = nn.Dense(30, 48), nn.Dense(24, 3)

    def construct(self, x):
        queries = ops.broadcast_to(self.queries[None], (2, 4, 24))
        keys, values = ops.chunk(self.packed(ops.relu(self.first(x))), 2, -1)
        scores = ops.softmax(ops.matmul(queries, keys.swapaxes(-1, -2)), -1)
        return self.last(ops.relu(ops.matmul(scores, values)))


@kind(SERIES, 0.8, ("turn.weight", "a number written in the code fits these widths only", "to (-1, 12, 12)"))
class TurnedByItself(nn.Cell):
    """A matrix made of the points turns them, as in PointNet."""

    def __init__(self):
        super().__init__()
        self.first, self.seen, self.turn = nn.Conv1d(6, 12, 1), nn.Conv1d(12, 20, 1), nn.Dense(20, 144)
        self.second, self.last = nn.Conv1d(12, 24, 1), nn.Dense(24, 3)

    def construct(self, x):
        x = ops.relu(self.first(x))
        turn = self.turn(mint.amax(ops.relu(self.seen(x)), 2)).view(-1, 12, 12)
        x = mint.transpose(mint.bmm(mint.transpose(x, 1, 2), turn), 1, 2)
        return self.last(mint.amax(ops.relu(self.second(x)), 2))


@kind(TOKENS, 0.8, ("first.weight", "the network's code fails without them", "test_kinds.py"))
class WidthChecked(nn.Cell):
    """Code that refuses any other width, behind a layer that does not care."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Dense(16, 24), nn.Dense(24, 20), nn.Dense(44, 3)

    def construct(self, x):
        x = ops.relu(self.first(x))
        y = ops.relu(self.second(x))
        if x.shape[-1] != 24:
            raise ValueError("24 are wanted")
        return self.last(ops.cat((x, y), -1))


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


def test_names_stay_where_code_slices_a_list_of_cells():
    """MindSpore names the parameters of the slice anew, when it runs."""
    network = TablesInParameters()
    names = [item.name for item in network.get_parameters()]
    gs.OneShot({"prune_rate": 0.5}).apply(network, TOKENS)
    assert [item.name for item in network.get_parameters()] == names


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


class Gated(nn.Cell):
    """One round of a loop: what goes on, and what is summed up."""

    def __init__(self, step):
        super().__init__()
        self.step = step
        self.both, self.on, self.aside = nn.Conv1d(16, 24, 2, dilation=step, pad_mode="valid"), nn.Conv1d(12, 16, 1), \
            nn.Conv1d(12, 20, 1)

    def construct(self, x):
        a, b = ops.chunk(self.both(ops.pad(x, (self.step, 0))), 2, 1)
        y = ops.tanh(a) * ops.sigmoid(b)
        return x + self.on(y), self.aside(y)


@kind(rand(2, 3, 9), 0.5)
class LastSumUnread(nn.Cell):
    """A loop that is written out returns a sum that nobody reads, as in WaveNet."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv1d(3, 16, 1), nn.Conv1d(20, 3, 1)
        self.rounds = nn.CellList([Gated(1), Gated(2)])

    def construct(self, x):
        x, total = self.first(x), 0
        for one in self.rounds:
            x, aside = one(x)
            total = total + aside
        return self.last(ops.relu(total))


@kind(rand(2, 3, 9), 0.9, ("first.weight", "may meet a result that nobody reads", "(in the outermost Cell)",
                           "a sum in the last round of a loop"))
class LastSumInline(nn.Cell):
    """The same sum in the code of the network itself, where nothing shows it."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv1d(3, 16, 1), nn.Conv1d(20, 3, 1)
        self.inner, self.on, self.aside = (nn.CellList([nn.Conv1d(16, filters, 1) for _ in range(2)])
                                           for filters in (16, 16, 20))

    def construct(self, x):
        x, total = self.first(x), 0
        for inner, on, aside in zip(self.inner, self.on, self.aside):
            y = ops.relu(inner(x))
            x, total = x + on(y), total + aside(y)
        return self.last(ops.relu(total))


class ConvLSTMCell(nn.Cell):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.hidden, self.gates = hidden, nn.Conv2d(inputs + hidden, 4 * hidden, 3)

    def construct(self, x, state, memory):
        i, f, o, g = ops.chunk(self.gates(ops.cat((x, state), 1)), 4, 1)
        memory = ops.sigmoid(f) * memory + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(memory), memory


class ConvLSTM(nn.Cell):
    """A recurrent convolution that begins with zeros which the code makes."""

    def __init__(self, width):
        super().__init__()
        self.width, self.cell, self.last = width, ConvLSTMCell(2, 12), nn.Conv2d(12, 3, 1)

    def construct(self, x):
        batch, steps, _, height, width = x.shape
        state = ops.zeros((batch, self.cell.hidden if self.width == "attribute" else 12, height, width), ms.float32)
        memory = state
        for step in range(steps):
            state, memory = self.cell(x[:, step], state, memory)
        return self.last(state)


@kind(rand(2, 2, 2, 6, 6), 0.5)
class ZerosByAttribute(ConvLSTM):
    def __init__(self):
        super().__init__("attribute")


class Experts(nn.Cell):
    """Dense layers of three experts in one weight, mixed by a gate."""

    def __init__(self):
        super().__init__()
        self.first, self.gate, self.last = nn.Dense(16, 20), nn.Dense(20, 3), nn.Dense(20, 3)
        self.up, self.bias, self.down = weight(3, 20, 28), weight(3, 1, 28), weight(3, 28, 20)

    def mixed(self, x, gates):
        made = ops.matmul(ops.relu(ops.matmul(x.expand_dims(1), self.up) + self.bias), self.down)
        return (made * gates.swapaxes(1, 2).expand_dims(-1)).sum(1)

    def construct(self, x):
        x = ops.relu(self.first(x))
        return self.last(x + self.mixed(x, ops.softmax(self.gate(x), -1)))


@kind(TOKENS, 0.5)
class ExpertsAtOnce(Experts):
    pass


@kind(TOKENS, 0.5)
class ExpertsInTurn(Experts):
    def mixed(self, x, gates):
        made = [ops.matmul(ops.relu(ops.matmul(x, self.up[at]) + self.bias[at]), self.down[at]) for at in range(3)]
        return made[0] * gates[..., :1] + made[1] * gates[..., 1:2] + made[2] * gates[..., 2:]


@kind(IMAGES, 0.8, ("mixed", "the weight is computed from what the network reads", "mixed anew for every input"))
class MixedForEverySample(nn.Cell):
    """CondConv: filters that are a mixture of several, another for every sample."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 20, 3), nn.Conv2d(20, 8, 3), nn.Conv2d(10, 3, 1)
        self.route, self.mixed = nn.Dense(8, 3), weight(3, 10 * 8 * 9)

    def construct(self, x):
        x = ops.relu(self.second(ops.relu(self.first(x))))
        filters = ops.matmul(ops.sigmoid(self.route(x.mean((2, 3)))), self.mixed).reshape(2 * 10, 8, 3, 3)
        x = ops.conv2d(x.reshape(1, 2 * 8, 12, 12), filters, pad_mode="pad", padding=1, groups=2)
        return self.last(ops.relu(x.reshape(2, 10, 12, 12)))


@kind(TOKENS, 0.5)
class LearnedQueries(nn.Cell):
    """Queries that are a weight read what the tokens say, as in DETR."""

    def __init__(self):
        super().__init__()
        self.queries, self.heads = weight(3, 24), 2
        self.first, self.last = nn.Dense(16, 20), nn.Dense(24, 3)
        self.q, self.k, self.v, self.o = (nn.Dense(inputs, 24) for inputs in (24, 20, 20, 24))

    def split(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).swapaxes(1, 2)

    def construct(self, x):
        x = ops.relu(self.first(x))
        queries = ops.tile(self.queries.expand_dims(0), (x.shape[0], 1, 1))
        query, key, value = self.split(self.q(queries)), self.split(self.k(x)), self.split(self.v(x))
        made = ops.matmul(ops.softmax(ops.matmul(query, key.swapaxes(2, 3)) * 0.3, -1), value).swapaxes(1, 2)
        return self.last(ops.relu(queries + self.o(made.reshape(x.shape[0], 3, -1))))


class Scored(nn.Cell):
    """Two convolutions, and what a detector makes of the map that they give."""

    def __init__(self, made):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, made, 3)

    def construct(self, x):
        return self.read(self.last(ops.relu(self.first(x))))


@kind(IMAGES, 0.8)
class BestPlaces(Scored):
    def __init__(self):
        super().__init__(2)

    def read(self, x):
        peaks = x * (ops.max_pool2d(x, 3, 1, 1) == x).astype(x.dtype)
        scores, places = ops.topk(peaks.reshape(x.shape[0], -1), 4)
        return scores, places % x.shape[3], places // x.shape[3] % x.shape[2]


@kind(IMAGES, 0.8)
class BestOfEveryClass(Scored):
    def __init__(self):
        super().__init__(3)

    def read(self, x):
        return {"best": ops.topk(ops.sigmoid(x).flatten(start_dim=2), 3, dim=2)[0], "all": x}


@kind(IMAGES, 0.8)
class WorstRows(Scored):
    def __init__(self):
        super().__init__(2)

    def read(self, x):
        return ops.topk(x.mean(1), 2, dim=1, largest=False)


@kind(IMAGES, 0.8)
class CornersInPlace(Scored):
    def __init__(self):
        super().__init__(6)

    def read(self, x):
        x = ops.sigmoid(x).transpose((0, 2, 3, 1))
        x[..., 0:2] = x[..., 0:2] * 2.0 - 0.5
        x[..., 2:4] = (x[..., 2:4] * 2.0) ** 2
        return {"boxes": x[..., :4], "scores": {"object": x[..., 4], "kind": x[..., 5]}}


@kind(IMAGES, 0.8)
class RowsInPlace(Scored):
    def __init__(self):
        super().__init__(4)

    def read(self, x):
        x[:, :, 0] = 0.0
        x[:, 1] = x[:, 0] + x[:, 2]
        return x


@kind(IMAGES, 0.8)
class ChannelsIntoPlaces(Scored):
    def __init__(self):
        super().__init__(16)
        self.spread, self.after = ops.DepthToSpace(2), nn.Conv2d(4, 3, 3)

    def read(self, x):
        x = self.after(ops.tanh(self.spread(x)))
        return {"large": x, "small": ops.SpaceToDepth(2)(x)}


# What is exported as well, and what the outputs are called there, where the network says it.
NAMES = {"BestPlaces": None, "BestOfEveryClass": ["best", "all"], "WorstRows": None,
         "CornersInPlace": ["boxes", "scores.object", "scores.kind"], "RowsInPlace": None,
         "ChannelsIntoPlaces": ["large", "small"]}


def flat(output):
    """Arrays of nested outputs, in their order."""
    if isinstance(output, Tensor):
        return [output.asnumpy().astype(np.float64)]
    return [array for item in (output.values() if isinstance(output, dict) else output) for array in flat(item)]


def agree(wanted, got, tolerance=1e-5):
    assert len(wanted) == len(got) and np.abs(wanted[0]).max() > 0
    for one, other in zip(wanted, got):
        np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * np.abs(one).max())


DEFAULT = {"TiedAndScaled", "PackedInTwo", "CutInFive", "CutUnequally", "ChosenByIndices", "SummedOn", "Padded",
           "TablesInParameters", "Turned", "LastSumUnread", "LastSumInline", "ZerosByAttribute", "ExpertsAtOnce",
           "MixedForEverySample", "LearnedQueries", "MixedKernels", "BeginInTheCode",
           "Interactions", "QueriesForEach", "TurnedByItself"}


@pytest.mark.parametrize("name", quick(sorted(set(KINDS) - set(NAMES)), DEFAULT))
def test_pruned_exactly_or_named(name):
    build, inputs, most, stays = KINDS[name]
    network, algorithm = randomize(build()), gs.OneShot({"prune_rate": 0.4})
    masked = algorithm.apply(network, inputs=inputs)
    check_report(algorithm, network)
    slim = algorithm.convert(masked)
    report = algorithm.report
    assert report.parameters_after <= most * report.parameters_before
    agree(*(flat(net.set_train(False)(*inputs)) for net in (masked, slim)))
    if stays:
        parameter, *words = stays
        reasons = next(layer.reasons for layer in report.layers if layer.weight == parameter)
        assert all(word in f"{'; '.join(reasons)}: {remedy_of(reasons[0])}" for word in words)


def test_zeros_whose_width_stands_in_the_code_are_named_with_place_and_remedy():
    network = randomize(ConvLSTM("number"))
    with pytest.raises(NothingToPruneError, match=r"whose width is written in the code \(Concat, .*test_kinds.py:"):
        gs.OneShot({"prune_rate": 0.4}).apply(network, rand(2, 2, 2, 6, 6))


@pytest.mark.parametrize("name", quick(NAMES, ["BestPlaces", "CornersInPlace", "ChannelsIntoPlaces"]))
def test_what_detectors_make_of_maps_goes_to_onnx_under_its_names(name, tmp_path):
    build, inputs, most, _ = KINDS[name]
    algorithm = gs.OneShot({"prune_rate": 0.4})
    slim = algorithm.convert(algorithm.apply(randomize(build()), inputs=inputs))
    assert algorithm.report.parameters_after <= most * algorithm.report.parameters_before
    session = onnxruntime.InferenceSession(gs.export(slim, inputs, tmp_path / name, "ONNX"))
    outputs = session.run(None, {session.get_inputs()[0].name: inputs[0].asnumpy()})
    agree(flat(slim.set_train(False)(*inputs)), [item.astype(np.float64) for item in outputs], 5e-5)
    assert NAMES[name] in (None, [item.name for item in session.get_outputs()])


# A trouble that users have had, by the script in ../shared/cases that shows it -> files of tests that try its
# kind, and on which networks (or under which names in a table there): at least three.
CASES = {
    "d1_dynamic_hw": {"deploy/test_free_axes.py": "Segmenter Pyramid Words Matrix"},
    "d1b_names": {"deploy/test_onnx.py": "Detector", "prune/test_kinds.py": "BestOfEveryClass CornersInPlace"},
    "d3_latency": {"bench/test_widths.py": "network hourglass separable"},
    "d4_meshgrid": {"prune/test_kinds.py": "WithCoordinates", "field_networks.py": "YOLOv5 YOLOv8",
                    "deploy/onnx_cells.py": "meshgrid"},
    "i1_steps": {"prune/test_schedule.py": "two_widths chain SmallNet"},
    "p1_old_optimizer": {"recover/test_optimizer.py": "SmallNet small_resnet MobileNetV2Like SENet"},
    "p2_replace_head": {"deploy/test_replaced_layers.py": "dense convolution cosine mint"},
    "p4_amp": {"prune/test_moved_weights.py": "Small layers_in_half", "scop/test_precision.py": "Residual chain dense"},
    "p4b_to_float": {"prune/test_moved_weights.py": "Small layers_in_half dense"},
    "p7_collision": {"deploy/test_replaced_layers.py": "Part Conv2d BatchNorm2d PReLU"},
    "r11_topk_onnx": {"prune/test_kinds.py": "BestPlaces BestOfEveryClass WorstRows"},
    "r13_to_float": {"prune/test_moved_weights.py": "Small layers_in_half dense"},
    "r1_dead_branch": {"prune/test_hidden.py": "LeftOver Inline Written",
                       "prune/test_kinds.py": "LastSumUnread LastSumInline"},
    "r2_attention_attr": {"prune/test_widths.py": "Heads Shapes Nested", "field_networks.py": "SVTR Bert ClipImage",
                          "prune/test_kinds.py": "PartConvolved MixedKernels"},
    "r3_depth_to_space": {"prune/test_widths.py": "Moved", "field_networks.py": "SRGAN",
                          "prune/test_kinds.py": "Shuffled ChannelsIntoPlaces"},
    "r4_slice_assignment_onnx": {"prune/test_kinds.py": "CornersInPlace RowsInPlace", "field_networks.py": "YOLOv5"},
    "r6_training_branch": {"prune/test_hidden.py": "Threshold Inside Fixed", "field_networks.py": "DBNet"},
    "r7_weight_norm": {"prune/test_moved_weights.py": "normalized standardized bounded"},
    "r9_random_in_evaluation": {"prune/test_messages.py": "Dropout2D Dropout3D StandardNormal"},
    "rA_two_phase_scop": {"pruner/test_scop.py": "small SmallNet BasicBlock"},
    "s10_transformer": {"cells/test_attention.py": "Encoder Decoder Both Crossed"},
    "s1b_whole_heads": {"prune/test_messages.py": "Heads", "prune/test_trial.py": "Heads GroupedQuery"},
    "s2_tied": {"prune/test_moved_weights.py": "Tied Packed", "prune/test_kinds.py": "TiedAndScaled"},
    "s2b_transposed_parameter": {"prune/test_moved_weights.py": "T swapaxes half Packed"},
    "s2c_einsum": {"prune/test_messages.py": "Einsum Roll", "prune/test_moved_weights.py": "einsum"},
    "s8b_stacked": {"prune/test_accounting.py": "BothImages Crops Windows"},
    "t1_accumulate": {"scop/test_training.py": "Branches chain lines"},
    "t2_best": {"scop/test_validation.py": "SmallNet Lines dense BasicBlock"},
    "t3_amp_scop": {"scop/test_precision.py": "Residual chain dense"},
}
TESTS = Path(__file__).parent.parent


@pytest.mark.parametrize("script", CASES)
def test_every_trouble_has_tests_on_three_networks(script):
    found = [name for file, names in CASES[script].items() for name in names.split()
             if re.search(rf"\b{name}\b", (TESTS / file).read_text())]
    assert found == [name for names in CASES[script].values() for name in names.split()] and len(found) >= 3


@pytest.mark.skipif(not (TESTS.parent.parent / "shared/cases").is_dir(), reason="the scripts are not there")
def test_every_script_is_in_the_table():
    scripts = {path.stem for path in (TESTS.parent.parent / "shared/cases").glob("*.py")} - {"common"}
    assert scripts == set(CASES)
