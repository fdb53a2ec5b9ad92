"""What all random blocks are made by: the tables, what is drawn, and small Cells of several."""
import numpy as np
from mindspore import Tensor, nn, ops

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


class SqueezeExcite(nn.Cell):
    def __init__(self, draw, channels, height, width):
        super().__init__()
        hidden = draw.width()
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), draw.of(nn.Sigmoid, nn.HSigmoid)()
        self.reduce, self.expand = draw.conv(channels, hidden, 1), draw.conv(hidden, channels, 1)

    def construct(self, x):
        return x * self.gate(self.expand(ops.relu(self.reduce(self.pool(x)))))
