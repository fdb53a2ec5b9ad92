"""Random blocks. Convolutions."""
from mindspore import Parameter, nn, ops

from tests.random_blocks.base import block, even, few_pixels


@block()
class Plain(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        stride = draw.of(1, 2) if min(height, width) >= 8 else 1
        self.layer = draw.layer(channels, draw.width(), draw.of(1, 3, 5), stride)

    def construct(self, x):
        return self.layer(x)


@block()
class Dilated(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.width()
        self.conv = nn.Conv2d(channels, made, 3, dilation=2, pad_mode="same", has_bias=True)
        self.norm, self.activation = draw.norm(made), draw.activation(made)

    def construct(self, x):
        return self.activation(self.norm(self.conv(x)))


@block(even)
class Grouped(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.even_width()
        self.reduce = draw.layer(channels, hidden, 1)
        self.grouped = draw.layer(hidden, draw.of(hidden, 2 * hidden), 3, 1, 2)

    def construct(self, x):
        return self.grouped(self.reduce(x))


@block()
class DepthMultiplier(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.depthwise = draw.conv(channels, 2 * channels, 3, 1, channels)
        self.norm, self.pointwise = draw.norm(2 * channels), draw.layer(2 * channels, draw.width(), 1)

    def construct(self, x):
        return self.pointwise(self.norm(self.depthwise(x)))


@block(few_pixels)
class Transposed(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.width()
        self.up = nn.Conv2dTranspose(channels, made, 2, 2, pad_mode="valid", has_bias=draw.chance(0.5))
        self.norm, self.activation = draw.norm(made), draw.activation(made)

    def construct(self, x):
        return self.activation(self.norm(self.up(x)))


@block(even)
class TransposedGroups(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        group = draw.of(2, channels)
        self.up = nn.Conv2dTranspose(channels, channels, 3, 1, pad_mode="same", group=group, has_bias=True)
        self.layer = draw.layer(channels, draw.width(), 1)

    def construct(self, x):
        return self.layer(self.up(x))


@block()
class BareWeight(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.width()
        self.weight = Parameter(draw.tensor(made, channels, 3, 3))
        self.bias = Parameter(draw.tensor(1, made, 1, 1))
        self.activation = draw.activation(made)

    def construct(self, x):
        return self.activation(ops.conv2d(x, self.weight, pad_mode="pad", padding=1) + self.bias)


@block()
class CalledTwice(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(channels, channels)

    def construct(self, x):
        return self.layer(self.layer(x))


@block()
class TiedWeights(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.width()
        self.first, self.second = draw.conv(channels, made), draw.conv(channels, made)
        self.second.weight = self.first.weight
        self.activation = draw.activation(made)

    def construct(self, x):
        return self.activation(self.first(x)) + ops.tanh(self.second(ops.flip(x, (3,))))
