"""The networks of the tests, each written as users write them, and none with golden_stick in mind."""
import numpy as np
from mindspore import Tensor, nn, ops


def randomize(network: nn.Cell, seed: int = 0) -> nn.Cell:
    """
    Random weights, scales, biases and statistics, the same for a seed.

    Fresh normalizations are ones and zeros and hide mistakes.
    """
    generator = np.random.default_rng(seed)
    for _, cell in network.cells_and_names():
        if isinstance(cell, (nn.Conv2d, nn.Dense)):
            shape = cell.weight.shape
            weight = generator.normal(0.0, np.sqrt(2 / np.prod(shape[1:])), shape)
            cell.weight.set_data(Tensor(weight.astype(np.float32)))
            if cell.has_bias:
                cell.bias.set_data(Tensor(generator.normal(0.0, 0.1, shape[0]).astype(np.float32)))
        if isinstance(cell, (nn.BatchNorm1d, nn.BatchNorm2d)):
            count = cell.num_features
            for parameter, values in (
                (cell.gamma, generator.uniform(0.5, 1.5, count)), (cell.beta, generator.normal(0.0, 0.5, count)),
                (cell.moving_mean, generator.normal(0.0, 0.2, count)),
                (cell.moving_variance, generator.uniform(0.5, 2.0, count)),
            ):
                parameter.set_data(Tensor(values.astype(np.float32)))
    return network


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, pad_mode="pad", padding=1)


class PadShortcut(nn.Cell):
    """The shortcut without parameters: every second pixel, and zeros for the new channels."""

    def __init__(self, padding: int):
        super().__init__()
        self.padding = padding

    def construct(self, x):
        x = ops.strided_slice(x, (0, 0, 0, 0), x.shape, (1, 1, 2, 2))
        return ops.pad(x, (0, 0, 0, 0, self.padding, self.padding))


class BasicBlock(nn.Cell):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.first = conv3x3(inputs, outputs, stride)
        self.norm_a = nn.BatchNorm2d(outputs)
        self.second = conv3x3(outputs, outputs)
        self.norm_b = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut = nn.Identity() if stride == 1 else PadShortcut((outputs - inputs) // 2)

    def construct(self, x):
        out = self.relu(self.norm_a(self.first(x)))
        out = self.norm_b(self.second(out))
        out += self.shortcut(x)
        return self.relu(out)


class CifarResNet(nn.Cell):
    """He et al. 2015, section 4.2, with option A shortcuts."""

    def __init__(self, blocks: int, classes: int = 10):
        super().__init__()
        self.stem = conv3x3(3, 16)
        self.stem_norm = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        cells, inputs = [], 16
        for outputs in (16, 32, 64):
            for index in range(blocks):
                cells.append(BasicBlock(inputs, outputs, 2 if index == 0 and outputs > 16 else 1))
                inputs = outputs
        self.blocks = nn.SequentialCell(cells)
        self.head = nn.Dense(64, classes)

    def construct(self, x):
        x = self.blocks(self.relu(self.stem_norm(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Bottleneck(nn.Cell):
    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.reduce = nn.SequentialCell(nn.Conv2d(inputs, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.spatial = nn.SequentialCell(conv3x3(width, width, stride), nn.BatchNorm2d(width), nn.ReLU())
        self.expand = nn.SequentialCell(nn.Conv2d(width, 4 * width, 1), nn.BatchNorm2d(4 * width))
        self.project = None
        if stride != 1 or inputs != 4 * width:
            self.project = nn.SequentialCell(nn.Conv2d(inputs, 4 * width, 1, stride), nn.BatchNorm2d(4 * width))

    def construct(self, x):
        shortcut = x if self.project is None else self.project(x)
        return ops.relu(self.expand(self.spatial(self.reduce(x))) + shortcut)


class ResNet50(nn.Cell):
    """Widths and counts of its stages may be others."""

    def __init__(self, classes: int = 10, stages: tuple = ((64, 3), (128, 4), (256, 6), (512, 3))):
        super().__init__()
        inputs = first = stages[0][0]
        self.stem = nn.SequentialCell(nn.Conv2d(3, first, 7, 2, pad_mode="pad", padding=3), nn.BatchNorm2d(first),
                                      nn.ReLU(), nn.MaxPool2d(3, 2, pad_mode="same"))
        cells = []
        for width, count in stages:
            for index in range(count):
                cells.append(Bottleneck(inputs, width, 2 if index == 0 and width > first else 1))
                inputs = 4 * width
        self.blocks = nn.CellList(cells)
        self.head = nn.Dense(inputs, classes)

    def construct(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(ops.mean(x, (2, 3)))


class VGG16BN(nn.Cell):
    """Plain convolutions, then a flatten into dense layers: one channel is several inputs of the first of them."""

    def __init__(self, classes: int = 10, size: int = 64):
        super().__init__()
        cells, inputs = [], 3
        for outputs in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            if outputs:
                cells += [nn.Conv2d(inputs, outputs, 3, has_bias=True), nn.BatchNorm2d(outputs), nn.ReLU()]
                inputs = outputs
            else:
                cells.append(nn.MaxPool2d(2, 2))
        self.features = nn.SequentialCell(cells)
        self.classifier = nn.SequentialCell(nn.Dense(512 * (size // 32) ** 2, 256), nn.ReLU(), nn.Dropout(p=0.5),
                                            nn.Dense(256, classes))

    def construct(self, x):
        x = self.features(x)
        return self.classifier(x.view(x.shape[0], -1))


class InvertedResidual(nn.Cell):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.body = nn.SequentialCell(
            nn.Conv2d(inputs, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU6(),
            nn.Conv2d(hidden, hidden, 3, stride, pad_mode="pad", padding=1, group=hidden), nn.BatchNorm2d(hidden),
            nn.ReLU6(), nn.Conv2d(hidden, outputs, 1), nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def construct(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV2Like(nn.Cell):
    def __init__(self, classes: int = 10):
        super().__init__()
        self.stem = nn.SequentialCell(conv3x3(3, 16, 2), nn.BatchNorm2d(16), nn.ReLU6())
        cells, inputs = [], 16
        for outputs, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (64, 1)):
            cells.append(InvertedResidual(inputs, outputs, stride, 4))
            inputs = outputs
        self.blocks = nn.SequentialCell(cells)
        self.last = nn.SequentialCell(nn.Conv2d(inputs, 128, 1), nn.BatchNorm2d(128), nn.ReLU6())
        self.head = nn.Dense(128, classes)

    def construct(self, x):
        return self.head(ops.mean(self.last(self.blocks(self.stem(x))), (2, 3)))


class SqueezeExcite(nn.Cell):
    def __init__(self, channels: int, reduced: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, reduced, 1, has_bias=True)
        self.expand = nn.Conv2d(reduced, channels, 1, has_bias=True)
        self.gate = nn.Sigmoid()

    def construct(self, x):
        return x * self.gate(self.expand(ops.relu(self.reduce(self.pool(x)))))


class SENet(nn.Cell):
    """Squeeze-excite inside a residual branch, and sigmoids where a channel that is zero would not stay zero."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.stem = nn.SequentialCell(conv3x3(3, 16), nn.BatchNorm2d(16), nn.HSwish())
        self.branch = nn.SequentialCell(conv3x3(16, 16), nn.BatchNorm2d(16), nn.Sigmoid(), conv3x3(16, 16),
                                        nn.BatchNorm2d(16))
        self.excite = SqueezeExcite(16, 4)
        self.tail = nn.SequentialCell(conv3x3(16, 24, 2), nn.Sigmoid(), nn.BatchNorm2d(24), nn.GELU())
        self.head = nn.Dense(24, classes)

    def construct(self, x):
        x = self.stem(x)
        x = x + self.excite(self.branch(x))
        return self.head(ops.mean(self.tail(x), (2, 3)))


class SmallNet(nn.Cell):
    """The smallest with all that matters: a residual sum, a flatten, a dense layer."""

    def __init__(self, classes: int = 4):
        super().__init__()
        self.a = conv3x3(3, 8)
        self.norm_a = nn.BatchNorm2d(8)
        self.b = conv3x3(8, 8)
        self.norm_b = nn.BatchNorm2d(8)
        self.c = nn.Conv2d(8, 6, 3, 2, has_bias=True)
        self.flatten = nn.Flatten()
        self.head = nn.Dense(6 * 16, classes)

    def construct(self, x):
        x = ops.relu(self.norm_a(self.a(x)))
        x = ops.relu(self.norm_b(self.b(x)) + x)
        # No activation here: of so few filters, all could be dead, and then every network equals every other.
        return self.head(self.flatten(self.c(x)))


class Wide(nn.Cell):
    """Normalizations of two layers side by side, of a layer whose edge is cut off, of channels that become places."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.norm = nn.Conv2d(3, 4, 1), conv3x3(3, 4), nn.BatchNorm2d(8)
        self.cut, self.norm_cut = conv3x3(8, 4), nn.BatchNorm2d(4)
        self.regions, self.norm_regions = nn.Conv2d(4 * 49, 4 * 49, 1, group=4), nn.BatchNorm2d(4)
        self.head = nn.Dense(4, 4)

    def construct(self, x):
        x = ops.relu(self.norm(ops.concat((self.left(x), self.right(x)), 1)))
        x = ops.relu(self.norm_cut(self.cut(x)[:, :, 1:, 1:]))
        x = x + self.norm_regions(self.regions(x.reshape(-1, 4 * 49, 1, 1)).reshape(-1, 4, 7, 7))
        return self.head(x.mean((2, 3)))


SMALL_INPUT = (2, 3, 8, 8)


class WithLoss(nn.Cell):
    """As users write it. To make one renames the parameters of the network inside."""

    def __init__(self, network):
        super().__init__()
        self.network, self.loss = network, nn.MSELoss()

    def construct(self, x, y):
        return self.loss(self.network(x), y)
