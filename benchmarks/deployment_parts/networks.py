"""
The networks of the deployment benchmark, each a plain builder that takes the width of every layer.

Without widths they are the networks of the papers; with those of a slim network they are its *native twin*: built by
hand at these widths, never slimmed. `torch_side.py` builds the same under the same names in PyTorch.
"""
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from deployment_parts.tables import CLASSES, MOBILENET_V2, RESNETS, VGG16, VITS


class Layers:
    """Makes layers of the widths that are given, or of those of the paper, and says how wide each became."""

    def __init__(self, widths):
        self._widths = widths or {}

    def width(self, name, usual):
        return self._widths.get(name, usual)

    def conv(self, name, inputs, usual, kernel, stride=1, bias=False):
        outputs = self.width(name, usual)
        return nn.Conv2d(inputs, outputs, kernel, stride, pad_mode="pad", padding=kernel // 2, has_bias=bias), outputs

    def dense(self, name, inputs, usual):
        outputs = self.width(name, usual)
        return nn.Dense(inputs, outputs), outputs


class ResidualBlock(nn.Cell):
    """Two 3x3 convolutions, or a bottleneck of three; `project` where the shortcut changes shape."""

    def __init__(self, layers, path, inputs, width, stride, bottleneck, project):
        super().__init__()
        usual = 4 * width if bottleneck else width
        if bottleneck:
            self.conv1, middle = layers.conv(f"{path}.conv1", inputs, width, 1)
            self.conv2, made = layers.conv(f"{path}.conv2", middle, width, 3, stride)
            self.conv3, outputs = layers.conv(f"{path}.conv3", made, usual, 1)
            self.norm2, self.norm3 = nn.BatchNorm2d(made), nn.BatchNorm2d(outputs)
        else:
            self.conv1, middle = layers.conv(f"{path}.conv1", inputs, width, 3, stride)
            self.conv2, outputs = layers.conv(f"{path}.conv2", middle, usual, 3)
            self.norm2, self.conv3, self.norm3 = nn.BatchNorm2d(outputs), None, None
        self.norm1, self.relu, self.project = nn.BatchNorm2d(middle), nn.ReLU(), None
        if project:
            self.project, outputs = layers.conv(f"{path}.project", inputs, usual, 1, stride)
            self.project_norm = nn.BatchNorm2d(outputs)
        self.outputs = outputs

    def construct(self, x):
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        if self.conv3 is not None:
            out = self.norm3(self.conv3(self.relu(out)))
        if self.project is not None:
            x = self.project_norm(self.project(x))
        return self.relu(out + x)


class ResNet(nn.Cell):
    """He et al. 2015; the one for small images has projections where the paper pads (its option B)."""

    def __init__(self, name, widths=None):
        super().__init__()
        counts, outputs, bottleneck, size = RESNETS[name]
        layers, small = Layers(widths), size == 32
        self.stem, inputs = layers.conv("stem", 3, 16 if small else 64, 3 if small else 7, 1 if small else 2)
        self.norm, self.relu = nn.BatchNorm2d(inputs), nn.ReLU()
        self.pool = None if small else nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
        cells = []
        for stage, (count, width) in enumerate(zip(counts, outputs)):
            for index in range(count):
                cells.append(ResidualBlock(layers, f"blocks.{len(cells)}", inputs, width,
                                           2 if index == 0 and stage > 0 else 1, bottleneck,
                                           index == 0 and (stage > 0 or bottleneck)))
                inputs = cells[-1].outputs
        self.blocks = nn.SequentialCell(cells)
        self.head = nn.Dense(inputs, CLASSES.get(name, 1000))

    def construct(self, x):
        x = self.relu(self.norm(self.stem(x)))
        if self.pool is not None:
            x = self.pool(x)
        return self.head(ops.mean(self.blocks(x), (2, 3)))


class VGG16BN(nn.Cell):
    """Simonyan and Zisserman 2014, configuration D, with batch normalization."""

    def __init__(self, size, widths=None):
        super().__init__()
        layers, cells, inputs = Layers(widths), [], 3
        for usual in VGG16:
            if usual:
                cell, inputs = layers.conv(f"features.{len(cells)}", inputs, usual, 3, bias=True)
                cells += [cell, nn.BatchNorm2d(inputs), nn.ReLU()]
            else:
                cells.append(nn.MaxPool2d(2, 2))
        self.features, self.flatten = nn.SequentialCell(cells), nn.Flatten()
        first, second = layers.width("classifier.0", 4096), layers.width("classifier.2", 4096)
        self.classifier = nn.SequentialCell(nn.Dense(inputs * (size // 32) ** 2, first), nn.ReLU(),
                                            nn.Dense(first, second), nn.ReLU(), nn.Dense(second, 1000))

    def construct(self, x):
        return self.classifier(self.flatten(self.features(x)))


class InvertedResidual(nn.Cell):
    """A pointwise convolution that expands, a depthwise one, and a pointwise one that reduces."""

    def __init__(self, layers, path, inputs, expanded, usual, stride, same):
        super().__init__()
        cells, hidden = [], inputs
        if expanded:
            cell, hidden = layers.conv(f"{path}.body.0", inputs, expanded, 1)
            cells += [cell, nn.BatchNorm2d(hidden), nn.ReLU6()]
        cells += [nn.Conv2d(hidden, hidden, 3, stride, pad_mode="pad", padding=1, group=hidden),
                  nn.BatchNorm2d(hidden), nn.ReLU6()]
        cell, self.outputs = layers.conv(f"{path}.body.{len(cells)}", hidden, usual, 1)
        self.body = nn.SequentialCell([*cells, cell, nn.BatchNorm2d(self.outputs)])
        self.residual = same

    def construct(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV2(nn.Cell):
    """Sandler et al. 2018."""

    def __init__(self, widths=None):
        super().__init__()
        layers = Layers(widths)
        self.stem, inputs = layers.conv("stem", 3, 32, 3, 2)
        self.norm, self.relu, cells, before = nn.BatchNorm2d(inputs), nn.ReLU6(), [], 32
        for expansion, usual, count, stride in MOBILENET_V2:
            for index in range(count):
                # The paper's width counts, and not the slim one that `inputs` may be.
                expanded = before * expansion if expansion > 1 else 0
                cells.append(InvertedResidual(layers, f"blocks.{len(cells)}", inputs, expanded, usual,
                                              stride if index == 0 else 1, index > 0))
                inputs, before = cells[-1].outputs, usual
        self.blocks = nn.SequentialCell(cells)
        self.last, outputs = layers.conv("last", inputs, 1280, 1)
        self.last_norm, self.head = nn.BatchNorm2d(outputs), nn.Dense(outputs, 1000)

    def construct(self, x):
        x = self.blocks(self.relu(self.norm(self.stem(x))))
        return self.head(ops.mean(self.relu(self.last_norm(self.last(x))), (2, 3)))


class Attention(nn.Cell):
    """Queries, keys and values from layers of their own; the heads stay as many, and become narrower."""

    def __init__(self, layers, path, width, heads, tokens):
        super().__init__()
        self.query, shared = layers.dense(f"{path}.query", width, width)
        self.key, _ = layers.dense(f"{path}.key", width, width)
        self.value, made = layers.dense(f"{path}.value", width, width)
        self.leave = nn.Dense(made, width)
        self.tokens, self.heads, self.shared, self.made = tokens, heads, shared // heads, made // heads
        self.scale = (width // heads) ** -0.5

    def construct(self, x):
        query = self.query(x).reshape((-1, self.tokens, self.heads, self.shared)).transpose((0, 2, 1, 3))
        key = self.key(x).reshape((-1, self.tokens, self.heads, self.shared)).transpose((0, 2, 3, 1))
        value = self.value(x).reshape((-1, self.tokens, self.heads, self.made)).transpose((0, 2, 1, 3))
        out = ops.matmul(ops.softmax(ops.matmul(query, key) * self.scale, -1), value)
        return self.leave(out.transpose((0, 2, 1, 3)).reshape((-1, self.tokens, self.heads * self.made)))


class TransformerBlock(nn.Cell):
    def __init__(self, layers, path, width, heads, tokens):
        super().__init__()
        self.attention = Attention(layers, f"{path}.attention", width, heads, tokens)
        self.enter, hidden = layers.dense(f"{path}.enter", width, 4 * width)
        self.act, self.leave = nn.GELU(approximate=False), nn.Dense(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm((width,), epsilon=1e-6), nn.LayerNorm((width,), epsilon=1e-6)

    def construct(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.leave(self.act(self.enter(self.norm2(x))))


class ViT(nn.Cell):
    """Dosovitskiy et al. 2020; the head reads the mean of all tokens."""

    def __init__(self, name, widths=None):
        super().__init__()
        size, patch, depth, width, heads = VITS[name]
        layers, tokens = Layers(widths), (size // patch) ** 2
        self.patch = nn.Conv2d(3, width, patch, patch, pad_mode="valid", has_bias=True)
        self.position = Parameter(Tensor(np.zeros((1, tokens, width)), ms.float32), name="position")
        self.blocks = nn.SequentialCell([TransformerBlock(layers, f"blocks.{block}", width, heads, tokens)
                                         for block in range(depth)])
        self.norm, self.head = nn.LayerNorm((width,), epsilon=1e-6), nn.Dense(width, CLASSES.get(name, 1000))

    def construct(self, x):
        x = self.patch(x).flatten(start_dim=2).transpose((0, 2, 1)) + self.position
        return self.head(ops.mean(self.norm(self.blocks(x)), 1))


def randomize(network):
    """Random weights that keep activations in range; in evaluation."""
    generator = np.random.default_rng(0)
    for _, cell in network.cells_and_names():
        if isinstance(cell, (nn.Conv2d, nn.Dense)):
            shape = cell.weight.shape
            scale = np.sqrt(2 / np.prod(shape[1:]))
            cell.weight.set_data(Tensor(scale * generator.standard_normal(shape, np.float32)))
        if isinstance(cell, nn.BatchNorm2d):
            cell.gamma.set_data(Tensor(generator.uniform(0.5, 1.0, cell.gamma.shape).astype(np.float32)))
            cell.moving_mean.set_data(Tensor(generator.normal(0, 0.1, cell.gamma.shape).astype(np.float32)))
    return network.set_train(False)


def build(name, size, widths=None):
    """The network of that name, randomized."""
    if name in RESNETS:
        return randomize(ResNet(name, widths))
    if name in VITS:
        return randomize(ViT(name, widths))
    return randomize(VGG16BN(size, widths) if name == "vgg16_bn" else MobileNetV2(widths))


def widths_of(network):
    """Layer -> its filters, of all convolutions and dense layers but the last."""
    found = {path: cell.out_channels for path, cell in network.cells_and_names()
             if isinstance(cell, (nn.Conv2d, nn.Dense))}
    found.pop(list(found)[-1])
    return found
