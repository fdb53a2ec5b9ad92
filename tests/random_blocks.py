"""
The blocks of the random networks. Each `construct` is what users write; only the sizes and layers inside are drawn.

Every block is made by `Block(draw, channels, height, width)` for an input of that shape, and says by `fits` whether it
can be. `NASTY` are those with a number in their code, or with an operator that cannot be followed exactly.
"""
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

ACTIVATIONS = (nn.ReLU, nn.ReLU, nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.SiLU, nn.HSwish, nn.HSigmoid, nn.GELU,
               nn.LeakyReLU, nn.ELU, nn.Mish)
BLOCKS, NASTY = [], []


def block(fits=lambda channels, *size: True, table=BLOCKS):
    """Enter the class below in a table, with the shapes that it can take."""
    def enter(cell):
        table.append((cell, fits))
        return cell
    return enter


def even(channels, height, width):
    return channels % 2 == 0


def even_pixels(channels, height, width):
    return height % 2 == 0 and width % 2 == 0 and min(height, width) >= 4


def few_pixels(channels, height, width):
    return max(height, width) <= 8


class Draw:
    """Everything that is drawn, from one generator: MindSpore's initialisers use a global state."""

    def __init__(self, seed: int):
        self.generator = np.random.default_rng(seed)

    def of(self, *options):
        """One of the options."""
        return options[self.generator.integers(len(options))]

    def chance(self, probability: float) -> bool:
        return bool(self.generator.random() < probability)

    def width(self) -> int:
        return self.of(4, 5, 6, 8, 8, 9, 10, 12)

    def even_width(self) -> int:
        return self.of(4, 6, 8, 12)

    def tensor(self, *shape: int) -> Tensor:
        return Tensor(self.generator.normal(0.0, 1.0, shape).astype(np.float32))

    def block(self, *shape: int, table=BLOCKS) -> nn.Cell:
        """A block that fits the shape."""
        return self.of(*(cell for cell, fits in table if fits(*shape)))(self, *shape)

    def activation(self, channels: int) -> nn.Cell:
        number = self.generator.integers(30)
        special = (lambda: nn.PReLU(channels), lambda: nn.PReLU(1), Softplus, SpaceSoftmax, ChannelSoftmax, nn.Identity)
        return special[number]() if number < len(special) else self.of(*ACTIVATIONS)()

    def norm(self, channels: int) -> nn.Cell:
        number = self.generator.integers(20)
        special = (lambda: nn.GroupNorm(2 if channels % 2 == 0 else 1, channels), lambda: ChannelsLastNorm(channels),
                   lambda: nn.GroupNorm(channels, channels), nn.Identity)
        return special[number]() if number < len(special) else nn.BatchNorm2d(channels)

    def conv(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, group: int = 1) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, kernel, stride, pad_mode="pad", padding=kernel // 2, group=group,
                         has_bias=self.chance(0.4))

    def layer(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, group: int = 1) -> nn.SequentialCell:
        """A convolution with a normalization and an activation before or behind it."""
        conv = self.conv(inputs, outputs, kernel, stride, group)
        if self.chance(0.2):
            return nn.SequentialCell(self.norm(inputs), self.activation(inputs), conv)
        if self.chance(0.1):
            return nn.SequentialCell(conv, self.activation(outputs), self.norm(outputs))
        return nn.SequentialCell(conv, self.norm(outputs), self.activation(outputs))


# Activations and normalizations --------------------------------------------------------------------------------------

class Softplus(nn.Cell):
    def construct(self, x):
        return ops.softplus(x)


class SpaceSoftmax(nn.Cell):
    def construct(self, x):
        pixels = ops.softmax(x.reshape(x.shape[0], x.shape[1], -1), -1).reshape(x.shape)
        return x + 9 * pixels


class ChannelSoftmax(nn.Cell):
    def construct(self, x):
        return x + 2 * ops.softmax(x, 1)


class ChannelsLastNorm(nn.Cell):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm((channels,))

    def construct(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


# Convolutions --------------------------------------------------------------------------------------------------------

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


# Sums ----------------------------------------------------------------------------------------------------------------

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


# Concatenations and splits -------------------------------------------------------------------------------------------

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


# Gates, scales, attention --------------------------------------------------------------------------------------------

@block()
class SqueezeExcite(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.width()
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), draw.of(nn.Sigmoid, nn.HSigmoid)()
        self.reduce, self.expand = draw.conv(channels, hidden, 1), draw.conv(hidden, channels, 1)

    def construct(self, x):
        return x * self.gate(self.expand(ops.relu(self.reduce(self.pool(x)))))


@block()
class DenseExcite(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.width()
        self.reduce, self.expand = nn.Dense(channels, hidden), nn.Dense(hidden, channels)

    def construct(self, x):
        gate = ops.sigmoid(self.expand(ops.relu(self.reduce(x.mean((2, 3))))))
        return x * gate.view(x.shape[0], x.shape[1], 1, 1)


@block()
class Gate(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.conv = draw.conv(channels, draw.of(1, channels), draw.of(1, 3))

    def construct(self, x):
        return x * ops.sigmoid(self.conv(x))


@block()
class SpatialAttention(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.enter, self.conv = draw.layer(channels, draw.width()), draw.conv(2, 1, 5)

    def construct(self, x):
        x = self.enter(x)
        summary = ops.cat((x.mean(1, True), ops.amax(x, 1, True)), 1)
        return x * ops.sigmoid(self.conv(summary))


@block()
class ScaleAndShift(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.scale, self.shift = Parameter(draw.tensor(1, channels, 1, 1)), Parameter(draw.tensor(channels, 1, 1))

    def construct(self, x):
        return ops.relu(x * self.scale + self.shift)


@block()
class PositionEmbedding(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.position = Parameter(draw.tensor(1, channels, height, width))

    def construct(self, x):
        return x + self.position


class Attention(nn.Cell):
    """Self-attention over pixels; how heads are split is left to those below."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.heads, self.head_dim = draw.of(2, 3), draw.of(2, 4)
        inner = self.heads * self.head_dim
        self.scale = self.head_dim ** -0.5
        self.norm = nn.LayerNorm((channels,)) if draw.chance(0.3) else nn.Identity()
        self.query, self.key, self.value = (nn.Dense(channels, inner) for _ in range(3))
        self.project = nn.Dense(inner, channels)

    def split_heads(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).swapaxes(1, 2)

    def scaled(self, q):
        return q * self.scale

    def project_three(self, x):
        return self.split_heads(self.query(x)), self.split_heads(self.key(x)), self.split_heads(self.value(x))

    def construct(self, x):
        n, c, h, w = x.shape
        tokens = self.norm(x.reshape(n, c, h * w).swapaxes(1, 2))
        q, k, v = self.project_three(tokens)
        scores = ops.softmax(ops.matmul(self.scaled(q), k.swapaxes(-1, -2)), -1)
        y = self.project(ops.matmul(scores, v).swapaxes(1, 2).reshape(n, h * w, -1))
        return x + y.swapaxes(1, 2).reshape(n, c, h, w)


@block(few_pixels)
class SeparateAttention(Attention):
    pass


@block(few_pixels)
class FusedAttention(Attention):
    def __init__(self, draw, channels, height, width):
        super().__init__(draw, channels, height, width)
        self.qkv = nn.Dense(channels, 3 * self.heads * self.head_dim)

    def project_three(self, x):
        q, k, v = ops.chunk(self.qkv(x), 3, -1)
        return self.split_heads(q), self.split_heads(k), self.split_heads(v)


@block(few_pixels)
class StackedAttention(FusedAttention):
    def project_three(self, x):
        n, pixels, _ = x.shape
        qkv = self.qkv(x).reshape(n, pixels, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]


@block(few_pixels, NASTY)
class HardCodedAttention(Attention):
    def split_heads(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.head_dim).swapaxes(1, 2)


@block(few_pixels, NASTY)
class HardCodedFusedAttention(FusedAttention):
    def project_three(self, x):
        n, pixels, _ = x.shape
        qkv = self.qkv(x).reshape(n, pixels, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]


@block(few_pixels, NASTY)
class ScaledByShape(Attention):
    """The scale follows the width: a slim one computes another function."""

    def scaled(self, q):
        return q * q.shape[-1] ** -0.5


@block()
class ConvNeXt(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.of(8, 12)
        self.depthwise = draw.conv(channels, channels, 3, 1, channels)
        self.norm = nn.LayerNorm((channels,)) if draw.chance(0.5) else nn.Identity()
        self.expand, self.shrink = nn.Dense(channels, hidden), nn.Dense(hidden, channels)
        self.gamma = Parameter(draw.tensor(channels))

    def construct(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.shrink(ops.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


@block(few_pixels)
class TokenMixer(nn.Cell):
    """A dense layer over the pixels, every channel alone."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.mix = nn.Dense(height * width, height * width)

    def construct(self, x):
        return x + ops.gelu(self.mix(x.reshape(x.shape[0], x.shape[1], -1))).reshape(x.shape)


@block()
class GlobalContext(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.width()
        self.mask, self.layer = draw.conv(channels, 1, 1), draw.layer(2 * channels, made, 1)

    def construct(self, x):
        n, c, h, w = x.shape
        weights = ops.softmax(self.mask(x).reshape(n, 1, h * w), -1)
        context = (x.reshape(n, c, -1) * weights).sum(-1).reshape(n, -1, 1, 1)
        return self.layer(ops.cat((x, ops.broadcast_to(context, x.shape)), 1))


# Space ---------------------------------------------------------------------------------------------------------------

@block(even_pixels)
class Pooled(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.pool = draw.of(lambda: nn.MaxPool2d(2, 2), lambda: nn.AvgPool2d(2, 2),
                            lambda: nn.MaxPool2d(3, 2, pad_mode="same"), lambda: nn.AdaptiveAvgPool2d((4, 4)),
                            lambda: nn.AdaptiveMaxPool2d(4))()
        self.layer = draw.layer(channels, draw.width())

    def construct(self, x):
        return self.layer(self.pool(x))


@block(even_pixels)
class Subsampled(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(channels, draw.width())

    def construct(self, x):
        return self.layer(ops.strided_slice(x, (0, 0, 0, 0), x.shape, (1, 1, 2, 2)))


@block(even_pixels)
class Focus(nn.Cell):
    """YOLOv5's: every second pixel, four times."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(4 * channels, draw.width())

    def construct(self, x):
        return self.layer(ops.cat((x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]), 1))


@block(even_pixels)
class SpaceToDepth(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(4 * channels, draw.width(), 1)

    def construct(self, x):
        return self.layer(ops.pixel_unshuffle(x, 2))


@block(few_pixels)
class PixelShuffled(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.of(3, 4)
        self.conv, self.layer = draw.conv(channels, 4 * made), draw.layer(made, draw.width())

    def construct(self, x):
        return self.layer(ops.pixel_shuffle(self.conv(x), 2))


@block(few_pixels)
class ReshapedShuffle(PixelShuffled):
    def construct(self, x):
        n, c, h, w = self.conv(x).shape
        x = self.conv(x).reshape(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
        return self.layer(x.reshape(n, c // 4, 2 * h, 2 * w))


@block(few_pixels)
class Upsampled(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer, self.mode = draw.layer(channels, draw.width()), draw.of("nearest", "bilinear")

    def construct(self, x):
        return self.layer(ops.interpolate(x, size=(2 * x.shape[2], 2 * x.shape[3]), mode=self.mode))


@block()
class PaddedSpace(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        made, self.mode = draw.width(), draw.of("constant", "reflect", "replicate")
        self.conv, self.activation = nn.Conv2d(channels, made, 3, pad_mode="valid"), draw.activation(made)

    def construct(self, x):
        return self.activation(self.conv(ops.pad(x, (1, 1, 1, 1), mode=self.mode)))


@block(even_pixels)
class HourGlass(nn.Cell):
    """Down, up, and the fine map beside the coarse one."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        made = draw.width()
        self.down = draw.layer(channels, made, 3, 2)
        self.up = nn.Conv2dTranspose(made, channels, 2, 2, pad_mode="valid", has_bias=True)
        self.join = draw.layer(2 * channels, draw.width(), 1)

    def construct(self, x):
        return self.join(ops.cat((x, self.up(self.down(x))), 1))


@block()
class FlippedSpace(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(channels, channels)

    def construct(self, x):
        return self.layer(x) + ops.flip(self.layer(ops.flip(x, (3,))), (3,))


@block()
class FlippedChannels(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(channels, draw.width())

    def construct(self, x):
        return self.layer(ops.flip(x, (1,)))


@block()
class RepeatedChannels(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(2 * channels, draw.width())

    def construct(self, x):
        return self.layer(ops.tile(x, (1, 2, 1, 1)))


@block(few_pixels)
class RunningSum(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.layer = draw.layer(channels, draw.width())

    def construct(self, x):
        return self.layer(ops.cumsum(x, 3))


@block()
class Normed(nn.Cell):
    """Every pixel divided by its norm over the channels."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        self.conv, self.layer = draw.conv(channels, channels, 1), draw.layer(channels, draw.width())

    def construct(self, x):
        x = self.conv(x)
        return self.layer(x / (ops.sqrt((x * x).sum(1, keepdims=True)) + 0.1))


@block()
class AroundAnother(nn.Cell):
    """A residual sum around any other block."""

    def __init__(self, draw, channels, height, width):
        super().__init__()
        inner = draw.block(channels, height, width)
        while isinstance(inner, AroundAnother):
            inner = draw.block(channels, height, width)
        made = inner(Tensor(np.zeros((1, channels, height, width)), ms.float32))
        self.inner, self.project = inner, draw.conv(made.shape[1], channels, 1)
        self.pooled = made.shape[2:] != (height, width)

    def construct(self, x):
        y = self.project(self.inner(x))
        if self.pooled:
            y = ops.mean(y, (2, 3), True)
        return x + y


# Numbers in the code, and what cannot be followed ---------------------------------------------------------------------

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
