"""
The networks on which Torch-Pruning 1.6.1 was seen to fail, those on which it was seen to work, and what ours must do.

Each is written as users write it, and as small as its difficulty allows. `benchmarks/rivals/torch_pruning.py` holds the
same networks under the same names. API defects of Torch-Pruning that have no network are not here.
"""
from dataclasses import dataclass
from typing import Callable, List, Tuple

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from tests.networks import SqueezeExcite, conv3x3

IMAGES = (2, 3, 8, 8)
TOKENS = (2, 5, 8)


@dataclass(frozen=True)
class Case:
    """
    One network and what pruning it must come to.

    Args:
        name (str): What is difficult in it.
        factory (Callable): Makes the network.
        torch_pruning (str): What Torch-Pruning 1.6.1 was seen to do.
        shape (tuple[int]): Shape of its only input.
        shrinks (tuple[str]): Layers that must lose filters, with masked and slim outputs equal.
        keeps (tuple[str]): Layers that must keep all their filters, or else the network is refused.
        why (str): Pattern of the reason that the report gives for one of `keeps` at least, or that the refusal gives.
        traced_only (bool): Whether MindSpore has no CPU kernel for it, so that it is pruned but not run.
    """

    name: str
    factory: Callable[[], nn.Cell]
    torch_pruning: str
    shape: Tuple[int, ...] = IMAGES
    shrinks: Tuple[str, ...] = ()
    keeps: Tuple[str, ...] = ()
    why: str = ""
    traced_only: bool = False

    @property
    def expected(self) -> str:
        """What ours must do: ``'pruned'`` or ``'kept'``."""
        return "pruned" if self.shrinks else "kept"

    def build(self) -> nn.Cell:
        """The network, with values that hide no mistake."""
        return randomize(self.factory())

    def data(self, seed: int) -> Tensor:
        """An input of random numbers, the same for a seed."""
        return Tensor(np.random.default_rng(seed).normal(size=self.shape).astype(np.float32))


CASES: List[Case] = []


def case(name: str, torch_pruning: str, **expected):
    """Enter the class below in the table."""
    def enter(factory):
        CASES.append(Case(name, factory, torch_pruning, **expected))
        return factory
    return enter


def randomize(network: nn.Cell, seed: int = 0) -> nn.Cell:
    """Random values for every parameter: fresh scales, biases and statistics are ones and zeros and hide mistakes."""
    generator = np.random.default_rng(seed)
    for parameter in network.get_parameters():
        shape, kind = parameter.shape, parameter.name.rsplit(".", 1)[-1]
        if kind in ("gamma", "moving_variance"):
            values = generator.uniform(0.5, 1.5, shape)
        else:
            values = generator.normal(0.0, np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.3, shape)
        parameter.set_data(Tensor(values.astype(np.float32)))
    return network


class Net(nn.Cell):
    """Convolution `a`, what is difficult, convolution `b`, a mean over the pixels and a dense layer."""

    def __init__(self, made: int = 16, read: int = 16):
        super().__init__()
        self.a, self.b, self.head = conv3x3(3, made), conv3x3(read, 12), nn.Dense(12, 4)

    def middle(self, x):
        return ops.relu(x)

    def construct(self, x):
        x = self.b(self.middle(self.a(x)))
        return self.head(ops.relu(x).mean((2, 3)))


@case("channel shuffle", "wrong function (difference 1.16)", shrinks=("a", "b"))
class ChannelShuffle(Net):
    def middle(self, x):
        n, c, h, w = x.shape
        return ops.relu(x).view(n, 2, c // 2, h, w).swapaxes(1, 2).reshape(n, c, h, w)


@case("NHWC permute and flatten", "wrong function (difference 0.129)", shrinks=("a",))
class PermuteFlatten(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Conv2d(3, 16, 3, 2), nn.Dense(16 * 16, 4)

    def construct(self, x):
        x = ops.relu(self.a(x)).permute(0, 2, 3, 1)
        return self.head(x.reshape(x.shape[0], -1))


@case("concat of the network's input and a convolution", "wrong function (difference 2.84)", shrinks=("a", "b"))
class ConcatInput(Net):
    def __init__(self):
        super().__init__(read=19)

    def construct(self, x):
        x = ops.cat((x, ops.relu(self.a(x))), 1)
        return self.head(ops.relu(self.b(x)).mean((2, 3)))


@case("flip over channels", "wrong function (difference 1.94)", shrinks=("a", "b"))
class Flip(Net):
    def middle(self, x):
        return ops.flip(ops.relu(x), (1,))


@case("roll over channels", "wrong function (difference 0.904)", keeps=("a",), why="number")
class Roll(Net):
    """MindSpore 2.10 has no CPU kernel for `ops.roll`: its slices and concatenation instead."""

    def middle(self, x):
        x = ops.relu(x)
        return ops.cat((x[:, 13:16], x[:, 0:13]), 1)


@case("view with a hard-coded width", "forward fails", keeps=("a",), why="number")
class HardCodedView(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a, self.pool, self.head = nn.Conv2d(3, 16, 3, 2), nn.MaxPool2d(2, 2), nn.Dense(64, 4)

    def construct(self, x):
        x = self.pool(ops.relu(self.a(x)))
        return self.head(x.view(x.shape[0], 64))


@case("InstanceNorm with running statistics", "forward fails", shrinks=("a", "b"), traced_only=True)
class InstanceNorm(Net):
    """MindSpore 2.10 has no CPU kernel for it: pruned, and compiled when slim, but not run."""

    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm2d(16)

    def middle(self, x):
        return ops.relu(self.norm(x))


@case("split with fixed sizes", "forward fails", keeps=("a",), why="number")
class FixedSplit(Net):
    def __init__(self):
        super().__init__(read=8)

    def middle(self, x):
        x, gate = ops.split(x, [8, 8], axis=1)
        return ops.relu(x) * gate


@case("slice x[:, :8] of the channels", "forward fails", keeps=("a",), why="number")
class FixedSlice(Net):
    def __init__(self):
        super().__init__(read=8)

    def middle(self, x):
        return ops.relu(x[:, :8]) * x[:, 8:]


@case("frozen normalization whose numbers are buffers", "forward fails", keeps=("a",), why="constant")
class FrozenNorm(Net):
    def __init__(self):
        super().__init__()
        self.scale = Tensor(np.linspace(0.5, 1.5, 16, dtype=np.float32).reshape(1, 16, 1, 1))
        self.shift = Tensor(np.linspace(-0.5, 0.5, 16, dtype=np.float32).reshape(1, 16, 1, 1))

    def middle(self, x):
        return ops.relu(x * self.scale + self.shift)


@case("network's input plus a convolution of it", "forward fails", keeps=("a",), why="the network's input")
class InputSum(Net):
    def __init__(self):
        super().__init__(made=3, read=3)

    def construct(self, x):
        x = self.b(ops.relu(x + self.a(x)))
        return self.head(ops.relu(x).mean((2, 3)))


@case("position embedding of shape (1, C, H, W)", "forward fails", shrinks=("a", "b"))
class PositionEmbedding(Net):
    def __init__(self):
        super().__init__()
        self.position = Parameter(Tensor(np.zeros((1, 16, 8, 8), np.float32)))

    def middle(self, x):
        return ops.relu(x + self.position)


@case("attention, separate q, k, v", "forward fails (width 19 for 4 heads)", shape=TOKENS,
      shrinks=("embed", "q", "k", "v", "project"))
class SeparateAttention(nn.Cell):
    def __init__(self):
        super().__init__()
        self.heads, self.scale = 4, 8 ** -0.5
        self.embed, self.project, self.head = nn.Dense(8, 32), nn.Dense(32, 32), nn.Dense(32, 4)
        self.q, self.k, self.v = nn.Dense(32, 32), nn.Dense(32, 32), nn.Dense(32, 32)

    def split_heads(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).swapaxes(1, 2)

    def construct(self, x):
        x = ops.relu(self.embed(x))
        q, k, v = self.split_heads(self.q(x)), self.split_heads(self.k(x)), self.split_heads(self.v(x))
        y = ops.softmax(ops.matmul(q, k.swapaxes(-1, -2)) * self.scale, -1)
        y = ops.matmul(y, v).swapaxes(1, 2).reshape(x.shape[0], x.shape[1], -1)
        return self.head((x + self.project(y)).mean(1))


@case("attention, fused qkv and unbind", "forward fails without num_heads", shape=TOKENS,
      shrinks=("embed", "qkv", "project"))
class FusedAttention(nn.Cell):
    def __init__(self):
        super().__init__()
        self.heads, self.scale = 4, 8 ** -0.5
        self.embed, self.qkv = nn.Dense(8, 32), nn.Dense(32, 96)
        self.project, self.head = nn.Dense(32, 32), nn.Dense(32, 4)

    def three(self, qkv):
        return qkv.unbind(0)

    def construct(self, x):
        x = ops.relu(self.embed(x))
        b, n, _ = x.shape
        q, k, v = self.three(self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4))
        y = ops.softmax(ops.matmul(q, k.swapaxes(-1, -2)) * self.scale, -1)
        y = ops.matmul(y, v).swapaxes(1, 2).reshape(b, n, -1)
        return self.head((x + self.project(y)).mean(1))


@case("attention, fused qkv and indices", "forward fails without num_heads", shape=TOKENS,
      shrinks=("embed", "qkv", "project"))
class IndexedAttention(FusedAttention):
    def three(self, qkv):
        return qkv[0], qkv[1], qkv[2]


@case("attention, head width hard-coded", "forward fails", shape=TOKENS, keeps=("q", "k", "v"), why="number")
class HardCodedAttention(SeparateAttention):
    def split_heads(self, x):
        return x.reshape(x.shape[0], x.shape[1], 4, 8).swapaxes(1, 2)


@case("index_select over channels", "forward fails", keeps=("a",), why="number")
class IndexSelect(Net):
    def __init__(self):
        super().__init__()
        self.order = Tensor(np.array([15, 3, 0, 7, 1, 11, 2, 9, 4, 13, 5, 14, 6, 8, 10, 12], np.int32))

    def middle(self, x):
        return ops.index_select(ops.relu(x), 1, self.order)


class Bottleneck(nn.Cell):
    def __init__(self, channels: int):
        super().__init__()
        self.a, self.b = conv3x3(channels, channels), conv3x3(channels, channels)

    def construct(self, x):
        return x + ops.relu(self.b(ops.relu(self.a(x))))


@case("YOLOv8 C2f: chunk, and concat of a list", "crash in step: IndexError",
      shrinks=("a", "blocks.0.a", "blocks.1.b", "b"))
class C2f(Net):
    def __init__(self):
        super().__init__(made=32, read=64)
        self.blocks = nn.CellList([Bottleneck(16), Bottleneck(16)])

    def middle(self, x):
        y = list(ops.relu(x).chunk(2, 1))
        for block in self.blocks:
            y.append(block(y[-1]))
        return ops.cat(y, 1)


@case("PixelShuffle", "crash in step", shrinks=("a", "b"))
class PixelShuffle(Net):
    def __init__(self):
        super().__init__(made=32, read=8)
        self.shuffle = nn.PixelShuffle(2)

    def middle(self, x):
        return self.shuffle(ops.relu(x))


class Recurrent(nn.Cell):
    def __init__(self, kind):
        super().__init__()
        self.a, self.recurrent, self.head = nn.Dense(8, 16), kind(16, 12, batch_first=True), nn.Dense(12, 4)

    def construct(self, x):
        y, _ = self.recurrent(ops.relu(self.a(x)))
        return self.head(y[:, -1])


@case("GRU", "crash in step", shape=TOKENS, shrinks=("a",))
def gru():
    return Recurrent(nn.GRU)


@case("LSTM", "crash in step", shape=TOKENS, shrinks=("a",))
def lstm():
    return Recurrent(nn.LSTM)


@case("LayerNorm([C, H, W])", "crash in step", keeps=("a",), why="over the channels")
class LayerNormCHW(Net):
    """Its mean and variance are over the channels: with fewer of them, it is another function."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm([16, 8, 8], begin_norm_axis=1, begin_params_axis=1)

    def middle(self, x):
        return ops.relu(self.norm(x))


@case("depthwise convolution with a multiplier of 2", "crash in step", shrinks=("a", "depthwise", "b"))
class DepthMultiplier(Net):
    def __init__(self):
        super().__init__(made=8)
        self.depthwise = nn.Conv2d(8, 16, 3, pad_mode="pad", padding=1, group=8)

    def middle(self, x):
        return ops.relu(self.depthwise(ops.relu(x)))


@case("all parameters frozen", "only the output layer is pruned", shrinks=("a", "b"))
def all_frozen():
    network = Net()
    for parameter in network.get_parameters():
        parameter.requires_grad = False
    return network


@case("first convolution frozen", "the frozen layer is not pruned", shrinks=("a", "b"))
def first_frozen():
    network = Net()
    network.a.weight.requires_grad = False
    return network


@case("mask (B, 1) times features (B, 16)", "the features are not pruned", shape=(4, 8), shrinks=("b",),
      keeps=("gate",), why="single channel")
class MaskBroadcast(nn.Cell):
    def __init__(self):
        super().__init__()
        self.gate, self.b, self.head = nn.Dense(8, 1), nn.Dense(8, 16), nn.Dense(16, 4)

    def construct(self, x):
        return self.head(ops.sigmoid(self.gate(x)) * ops.relu(self.b(x)))


@case("convolution by a bare Parameter", "the parameter is not pruned", shrinks=("weight", "b"))
class BareParameter(nn.Cell):
    def __init__(self):
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((16, 3, 3, 3), np.float32)))
        self.b, self.head = conv3x3(16, 12), nn.Dense(12, 4)

    def construct(self, x):
        x = ops.relu(ops.conv2d(x, self.weight, pad_mode="pad", padding=1))
        return self.head(ops.relu(self.b(x)).mean((2, 3)))


@case("convolution, sigmoid, convolution", "not the network masked at the producer (0.164)", shrinks=("a", "b"))
class SigmoidBetween(Net):
    def middle(self, x):
        return ops.sigmoid(x)


@case("concat, then BatchNorm", "works", shrinks=("a", "other", "b"))
class ConcatNorm(Net):
    def __init__(self):
        super().__init__(read=24)
        self.other, self.norm = conv3x3(3, 8), nn.BatchNorm2d(24)

    def construct(self, x):
        x = ops.relu(self.norm(ops.cat((self.a(x), self.other(x)), 1)))
        return self.head(ops.relu(self.b(x)).mean((2, 3)))


@case("residual sum", "works", shrinks=("a", "block.a", "block.b", "b"))
class Residual(Net):
    def __init__(self):
        super().__init__()
        self.block = Bottleneck(16)

    def middle(self, x):
        return self.block(ops.relu(x))


@case("module used twice", "works", shrinks=("a", "twice", "b"))
class SharedModule(Net):
    def __init__(self):
        super().__init__()
        self.twice = conv3x3(16, 16)

    def middle(self, x):
        return ops.relu(self.twice(ops.relu(self.twice(ops.relu(x)))))


@case("squeeze and excitation", "works", shrinks=("a", "excite.reduce", "excite.expand", "b"))
class Excited(Net):
    def __init__(self):
        super().__init__()
        self.excite = SqueezeExcite(16, 8)

    def middle(self, x):
        return self.excite(ops.relu(x))


@case("concat([y, y])", "works", shrinks=("a", "b"))
class ConcatTwice(Net):
    def __init__(self):
        super().__init__(read=32)

    def middle(self, x):
        return ops.cat((x, x), 1)


@case("concat([y, relu(y)])", "works", shrinks=("a", "b"))
class ConcatRelu(ConcatTwice):
    def middle(self, x):
        return ops.cat((x, ops.relu(x)), 1)


@case("scale of shape (C, 1, 1)", "works", shrinks=("a", "b"))
class Scaled(Net):
    def __init__(self):
        super().__init__()
        self.gamma = Parameter(Tensor(np.ones((16, 1, 1), np.float32)))

    def middle(self, x):
        return ops.relu(x * self.gamma)


class Flattened(nn.Cell):
    def __init__(self, convolution, pixels: int):
        super().__init__()
        self.a, self.flatten, self.head = convolution(3, 16, 3), nn.Flatten(), nn.Dense(16 * pixels, 4)

    def construct(self, x):
        return self.head(self.flatten(ops.relu(self.a(x))))


@case("Conv1d and flatten", "works", shape=(2, 3, 8), shrinks=("a",))
def conv1d():
    return Flattened(nn.Conv1d, 8)


@case("Conv3d and flatten", "works", shape=(2, 3, 4, 4, 4), shrinks=("a",))
def conv3d():
    return Flattened(nn.Conv3d, 64)


@case("grouped convolution", "works", shrinks=("a", "grouped", "b"))
class Grouped(Net):
    def __init__(self, made: int = 16):
        super().__init__(made)
        self.grouped = nn.Conv2d(16, 16, 3, pad_mode="pad", padding=1, group=2)

    def middle(self, x):
        return ops.relu(self.grouped(ops.relu(x)))


@case("grouped convolution whose groups cut through a concat", "indices that differ between groups: RuntimeError",
      shrinks=("a", "other", "grouped", "b"))
class UnbalancedGroups(Grouped):
    def __init__(self):
        super().__init__(made=4)
        self.other = conv3x3(3, 12)

    def construct(self, x):
        x = self.b(self.middle(ops.cat((self.a(x), self.other(x)), 1)))
        return self.head(ops.relu(x).mean((2, 3)))
