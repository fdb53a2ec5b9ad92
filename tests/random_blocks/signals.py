"""Random blocks for signals of one axis."""
from mindspore import nn, ops

from tests.random_blocks.base import block

SIGNAL_BLOCKS = []


class SignalLayer(nn.Cell):
    def __init__(self, draw, channels, made, group=1):
        super().__init__()
        self.conv = nn.Conv1d(channels, made, 3, pad_mode="same", group=group, has_bias=draw.chance(0.5))
        self.norm = nn.BatchNorm1d(made) if draw.chance(0.8) else nn.GroupNorm(1, made)
        self.activation = draw.of(nn.ReLU, nn.Tanh, nn.GELU)()

    def construct(self, x):
        return self.activation(self.norm(self.conv(x)))


@block(table=SIGNAL_BLOCKS)
class SignalResidual(nn.Cell):
    def __init__(self, draw, channels, length):
        super().__init__()
        hidden = draw.width()
        self.first, self.second = SignalLayer(draw, channels, hidden), SignalLayer(draw, hidden, channels)

    def construct(self, x):
        return x + self.second(self.first(x))


@block(table=SIGNAL_BLOCKS)
class SignalSeparable(nn.Cell):
    def __init__(self, draw, channels, length):
        super().__init__()
        self.depthwise, self.pointwise = SignalLayer(draw, channels, channels, channels), nn.Conv1d(channels, 6, 1)

    def construct(self, x):
        return self.pointwise(self.depthwise(x))


@block(table=SIGNAL_BLOCKS)
class SignalGate(nn.Cell):
    """WaveNet's: two halves of one convolution, concatenated with what came in."""

    def __init__(self, draw, channels, length):
        super().__init__()
        self.layer = SignalLayer(draw, channels, 2 * draw.width())

    def construct(self, x):
        a, b = ops.chunk(self.layer(x), 2, 1)
        return ops.cat((x, ops.tanh(a) * ops.sigmoid(b)), 1)


@block(lambda channels, length: length <= 16, SIGNAL_BLOCKS)
class SignalUp(nn.Cell):
    def __init__(self, draw, channels, length):
        super().__init__()
        made = draw.width()
        self.up, self.norm = nn.Conv1dTranspose(channels, made, 2, 2, pad_mode="valid"), nn.BatchNorm1d(made)

    def construct(self, x):
        return ops.relu(self.norm(self.up(x)))


@block(lambda channels, length: length % 2 == 0, SIGNAL_BLOCKS)
class SignalPool(nn.Cell):
    def __init__(self, draw, channels, length):
        super().__init__()
        self.pool, self.layer = draw.of(nn.MaxPool1d, nn.AvgPool1d)(2, 2), SignalLayer(draw, channels, draw.width())

    def construct(self, x):
        return self.layer(self.pool(x))


@block(table=SIGNAL_BLOCKS)
class SignalMixer(nn.Cell):
    """A dense layer over the channels of every position, and one over the positions of every channel."""

    def __init__(self, draw, channels, length):
        super().__init__()
        hidden = draw.width()
        self.expand, self.shrink = nn.Dense(channels, hidden), nn.Dense(hidden, channels)
        self.positions = nn.Dense(length, length)

    def construct(self, x):
        x = x + self.shrink(ops.gelu(self.expand(x.swapaxes(1, 2)))).swapaxes(1, 2)
        return x + ops.tanh(self.positions(x))
