"""Random blocks. Sums."""
from mindspore import nn, ops

from tests.random_blocks.base import SqueezeExcite, block


@block()
class BasicResidual(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.of(channels, channels, draw.width())
        stride = draw.of(1, 1, 2) if min(height, width) >= 8 else 1
        self.first = draw.layer(channels, made, 3, stride)
        self.second = nn.SequentialCell(draw.conv(made, made), draw.norm(made))
        self.shortcut = nn.Identity()
        if stride > 1 or made != channels or draw.chance(0.2):
            self.shortcut = nn.SequentialCell(draw.conv(channels, made, 1, stride), nn.BatchNorm2d(made))
        self.activation = draw.activation(made)

    def construct(self, x):
        return self.activation(self.second(self.first(x)) + self.shortcut(x))


@block()
class BottleneckResidual(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.even_width()
        group = draw.of(1, 1, 2, hidden)
        self.body = nn.SequentialCell(draw.layer(channels, hidden, 1), draw.layer(hidden, hidden, 3, 1, group),
                                      draw.conv(hidden, channels, 1), draw.norm(channels))
        self.excite = SqueezeExcite(draw, channels, height, width) if draw.chance(0.3) else None

    def construct(self, x):
        out = self.body(x)
        if self.excite is not None:
            out = self.excite(out)
        out += x
        return ops.relu(out)


@block()
class ChannelPadShortcut(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.before, self.after = draw.of(0, 1, 2), draw.of(1, 2)
        self.body = draw.layer(channels, channels + self.before + self.after)

    def construct(self, x):
        return ops.relu(self.body(x) + ops.pad(x, (0, 0, 0, 0, self.before, self.after)))


@block()
class StackSum(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.width()
        self.branches = nn.CellList([draw.layer(channels, made, kernel) for kernel in (1, 3, 3)])

    def construct(self, x):
        return ops.stack([branch(x) for branch in self.branches], 1).sum(1)


@block()
class SelectiveKernel(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made, hidden = draw.width(), draw.width()
        self.small, self.large = draw.layer(channels, made, 3), draw.layer(channels, made, 5)
        self.reduce, self.expand = nn.Dense(made, hidden), nn.CellList([nn.Dense(hidden, made) for _ in range(2)])

    def construct(self, x):
        features = ops.stack((self.small(x), self.large(x)), 1)
        summary = ops.relu(self.reduce(ops.addn([features[:, 0], features[:, 1]]).mean((2, 3))))
        weights = ops.softmax(ops.stack([expand(summary) for expand in self.expand], 1), 1)
        return (features * weights.expand_dims(-1).expand_dims(-1)).sum(1)


@block()
class Elementwise(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.width()
        self.a, self.b, self.c = (draw.layer(channels, made, draw.of(1, 3)) for _ in range(3))

    def construct(self, x):
        a, b, c = self.a(x), self.b(x), self.c(x)
        return ops.where(a > b, a - 0.5 * c, ops.maximum(b, c) / (1 + ops.abs(a)))
