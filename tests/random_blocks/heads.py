"""Random heads: from a feature map to classes."""
from mindspore import nn, ops

from tests.random_blocks.base import block

HEADS, NASTY_HEADS = [], []
CLASSES = 5


@block(table=HEADS)
class GlobalMean(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.dense = nn.Dense(channels, CLASSES)

    def construct(self, x):
        return self.dense(x.mean((2, 3)))


@block(table=HEADS)
class PooledDense(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.width()
        self.pool, self.flatten = draw.of(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)(1), nn.Flatten()
        self.dense = nn.SequentialCell(nn.Dense(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(p=0.3),
                                       nn.Dense(hidden, CLASSES))

    def construct(self, x):
        return self.dense(self.flatten(self.pool(x)))


@block(table=HEADS)
class Flattened(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.width()
        self.first, self.second = nn.Dense(channels * height * width, hidden), nn.Dense(hidden, CLASSES)
        self.activation = draw.of(nn.ReLU, nn.Sigmoid, nn.GELU)()

    def flat(self, x):
        return x.reshape(x.shape[0], -1)

    def construct(self, x):
        return self.second(self.activation(self.first(self.flat(x))))


@block(table=HEADS)
class FlattenedByShape(Flattened):
    def flat(self, x):
        n, c, h, w = x.shape
        return x.view(n, c * h * w)


@block(table=HEADS)
class FlattenedChannelsLast(Flattened):
    def flat(self, x):
        return ops.flatten(x.permute(0, 2, 3, 1))


@block(table=HEADS)
class FullyConvolutional(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.conv = nn.Conv2d(channels, CLASSES, 1, has_bias=True)

    def construct(self, x):
        return self.conv(x)


@block(table=HEADS)
class Tokens(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.width()
        self.embed, self.norm = nn.Dense(channels, hidden), nn.LayerNorm((hidden,))
        self.dense = nn.Dense(hidden, CLASSES)

    def construct(self, x):
        tokens = x.reshape(x.shape[0], x.shape[1], -1).swapaxes(1, 2)
        return self.dense(self.norm(ops.gelu(self.embed(tokens))).mean(1))


@block(table=NASTY_HEADS)
class HardCodedFlatten(Flattened):
    def __init__(self, draw, channels, height, width):
        super().__init__(draw, channels, height, width)
        self.features = channels * height * width

    def flat(self, x):
        return x.reshape(-1, self.features)


@block(table=NASTY_HEADS)
class HardCodedChannels(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.channels, self.dense = channels, nn.Dense(channels, CLASSES)

    def construct(self, x):
        return self.dense(x.reshape(-1, self.channels, x.shape[2] * x.shape[3]).mean(2))


@block(table=NASTY_HEADS)
class HardCodedPixels(nn.Cell):
    """The pixels and the batch are written in the code, the channels are what is left."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.pixels, self.dense = height * width, nn.Dense(channels, CLASSES)

    def construct(self, x):
        return self.dense(x.reshape(2, -1, self.pixels).mean(2))
