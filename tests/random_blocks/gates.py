"""Random blocks. Gates, scales, attention."""
from mindspore import Parameter, nn, ops

from tests.random_blocks.base import NASTY, SqueezeExcite, block, few_pixels

block()(SqueezeExcite)


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
