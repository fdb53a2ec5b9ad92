"""Random blocks. Numbers in the code, and what cannot be followed."""
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from tests.random_blocks.base import NASTY, block, even, few_pixels


@block(table=NASTY)
class FirstChannels(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.count = draw.of(1, 2, 3)
        self.layer = draw.layer(self.count, draw.width())

    def construct(self, x):
        return self.layer(x[:, :self.count])


@block(even, NASTY)
class HalfAtNumber(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.half = channels // 2
        self.layer = draw.layer(self.half, self.half)

    def construct(self, x):
        return ops.cat((self.layer(x[:, self.half:]), x[:, :self.half]), 1)


@block(even, NASTY)
class HardCodedSplit(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.parts = [channels // 2, channels // 2] if draw.chance(0.5) else [1, channels - 1]
        self.a, self.b = draw.layer(self.parts[0], 4), draw.layer(self.parts[1], 4)

    def construct(self, x):
        a, b = ops.split(x, self.parts, 1)
        return self.a(a) + self.b(b)


@block(even, NASTY)
class HardCodedShuffle(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.half, self.layer = channels // 2, draw.layer(channels, draw.width())

    def construct(self, x):
        n, c, h, w = x.shape
        return self.layer(x.reshape(n, 2, self.half, h, w).transpose(0, 2, 1, 3, 4).reshape(n, c, h, w))


@block(even, NASTY)
class HardCodedGroups(nn.Cell):
    """Channels in twos, whose number is written in the code, and a dense layer over each two."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.pairs, self.mix = channels // 2, nn.Dense(2, 2)

    def construct(self, x):
        y = x.reshape(x.shape[0], self.pairs, 2, -1).swapaxes(2, 3)
        return self.mix(y).swapaxes(2, 3).reshape(x.shape)


@block(table=NASTY)
class RolledChannels(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(channels, draw.width())

    def construct(self, x):
        return self.layer(ops.cat((x[:, 1:], x[:, :1]), 1))


@block(table=NASTY)
class ReorderedChannels(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.order = Tensor(draw.generator.permutation(channels).astype(np.int32))
        self.layer = draw.layer(channels, draw.width())

    def construct(self, x):
        return self.layer(ops.gather(x, self.order, 1))


@block(table=NASTY)
class ConstantPerChannel(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.scale, self.shift = draw.tensor(1, channels, 1, 1), draw.tensor(1, channels, 1, 1)

    def construct(self, x):
        return ops.relu(x * self.scale + self.shift)


@block(table=NASTY)
class Coordinates(nn.Cell):
    """CoordConv: two constant maps beside the channels."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.maps, self.layer = draw.tensor(2, 2, height, width), draw.layer(channels + 2, draw.width())

    def construct(self, x):
        return self.layer(ops.cat((x, self.maps), 1))


@block(table=NASTY)
class Centered(nn.Cell):
    """The mean over the channels divides by their number."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(channels, draw.width())

    def construct(self, x):
        return self.layer(x - x.mean(1, True))


@block(table=NASTY)
class DividedByWidth(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(channels, draw.width())

    def construct(self, x):
        return x + self.layer(x).sum(1, keepdims=True) / x.shape[1]


@block(table=NASTY)
class LocalResponse(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.norm, self.layer = nn.LRN(2, alpha=0.5), draw.layer(channels, draw.width())

    def construct(self, x):
        return self.layer(self.norm(x))


@block(table=NASTY)
class UnknownOperator(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.width()
        self.before, self.layer = draw.layer(channels, hidden), draw.layer(hidden, draw.width())

    def construct(self, x):
        return self.layer(ops.erfinv(0.9 * ops.tanh(self.before(x))))


@block(few_pixels, NASTY)
class GramMatrix(nn.Cell):
    """The channels are on two axes of one tensor."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(channels, draw.width())

    def construct(self, x):
        n, c, h, w = x.shape
        flat = x.reshape(n, c, h * w)
        affinity = ops.softmax(ops.bmm(flat, flat.swapaxes(1, 2)), -1)
        return self.layer(x + ops.bmm(affinity, flat).reshape(n, c, h, w))


@block(table=NASTY)
class StandardizedWeight(nn.Cell):
    """The weight of the convolution is computed."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.weight = Parameter(draw.tensor(draw.width(), channels, 3, 3))

    def construct(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), True)
        return ops.relu(ops.conv2d(x, weight, pad_mode="pad", padding=1))


@block(table=NASTY)
class TopChannels(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(3, draw.width())

    def construct(self, x):
        return self.layer(ops.topk(x, 3, 1)[0])
