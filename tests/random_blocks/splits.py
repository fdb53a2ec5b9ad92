"""Random blocks. Concatenations and splits."""
from mindspore import nn, ops

from tests.random_blocks.base import block, even


@block()
class DenselyConnected(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        growth = draw.of(3, 4, 5)
        widths = [channels + index * growth for index in range(draw.of(2, 3))]
        self.layers = nn.CellList([
            nn.SequentialCell(draw.norm(width), draw.activation(width), draw.conv(width, growth)) for width in widths
        ])
        self.transition = draw.layer(widths[-1] + growth, draw.width(), 1)

    def construct(self, x):
        for layer in self.layers:
            x = ops.cat((x, layer(x)), 1)
        return self.transition(x)


@block()
class Inception(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        widths = [draw.of(3, 4, 5) for _ in range(3)]
        self.a, self.b = draw.layer(channels, widths[0], 1), draw.layer(channels, widths[1], 3)
        self.c = nn.SequentialCell(nn.MaxPool2d(3, 1, pad_mode="same"), draw.layer(channels, widths[2], 1))
        self.norm = draw.norm(sum(widths))

    def construct(self, x):
        return self.norm(ops.concat((self.a(x), self.b(x), self.c(x)), 1))


@block()
class Ghost(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.width()
        self.primary, self.cheap = draw.layer(channels, made, 1), draw.layer(made, made, 3, 1, made)

    def construct(self, x):
        x = self.primary(x)
        return ops.cat([x, self.cheap(x)], 1)


@block()
class C2f(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        half = draw.of(3, 4, 6)
        self.enter, self.leave = draw.layer(channels, 2 * half, 1), draw.layer(4 * half, draw.width(), 1)
        self.blocks = nn.CellList([draw.layer(half, half) for _ in range(2)])
        self.add = draw.chance(0.5)

    def construct(self, x):
        parts = list(ops.chunk(self.enter(x), 2, 1))
        for layer in self.blocks:
            made = layer(parts[-1])
            parts.append(made + parts[-1] if self.add else made)
        return self.leave(ops.cat(parts, 1))


@block(even)
class SplitHalves(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.enter = draw.conv(channels, channels, 1)
        self.layer = draw.layer(channels // 2, draw.width())

    def construct(self, x):
        x = self.enter(x)
        a, b = ops.split(x, x.shape[1] // 2, 1)
        return ops.cat((self.layer(b), a), 1)


@block()
class GatedLinear(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.conv = draw.conv(channels, 2 * draw.width())

    def construct(self, x):
        a, b = self.conv(x).chunk(2, axis=1)
        return a * ops.sigmoid(b)


@block(even)
class ShuffleUnit(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        half, self.group = channels // 2, 2
        self.branch = nn.SequentialCell(draw.layer(half, half, 1), draw.layer(half, half, 3, 1, half),
                                        draw.layer(half, half, 1))

    def construct(self, x):
        a, b = ops.chunk(x, 2, 1)
        x = ops.cat((a, self.branch(b)), 1)
        n, c, h, w = x.shape
        return x.reshape(n, self.group, c // self.group, h, w).transpose(0, 2, 1, 3, 4).reshape(n, c, h, w)


@block()
class ShuffledGroups(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.of(4, 6, 12)
        group = draw.of(2, hidden // 2)
        self.first, self.second = draw.layer(channels, hidden, 1), draw.layer(hidden, hidden, 3, 1, group)
        self.shuffle = nn.ChannelShuffle(group)

    def construct(self, x):
        return self.second(self.shuffle(self.first(x)))


@block(even)
class Maxout(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.conv = draw.conv(channels, draw.even_width())

    def construct(self, x):
        x = self.conv(x)
        n, c, h, w = x.shape
        return ops.amax(x.reshape(n, c // 2, 2, h, w), 2)


@block()
class HalfSlices(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.conv = draw.conv(channels, 2 * draw.width())

    def construct(self, x):
        x = self.conv(x)
        half = x.shape[1] // 2
        return ops.relu(x[:, :half]) - ops.tanh(x[:, half:])
