"""Random blocks. Space: pooling, resizing, padding."""
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from tests.random_blocks.base import block, even_pixels, few_pixels


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
