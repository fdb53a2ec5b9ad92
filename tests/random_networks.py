"""
Random networks to prune: `draw(seed)` is a function of the seed alone.

`python -m tests.random_networks SEED` prints the network of a seed and the report of pruning it.
"""
import os
import sys
from typing import Any, Dict, Tuple

# Before MindSpore starts, as in conftest.py.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import numpy as np  # noqa: E402
from mindspore import Tensor, nn, ops  # noqa: E402

from tests.random_blocks import BLOCKS, NASTY, Draw  # noqa: E402
from tests.random_blocks.heads import CLASSES, HEADS, NASTY_HEADS  # noqa: E402
from tests.random_blocks.signals import SIGNAL_BLOCKS, SignalLayer  # noqa: E402


class Builder:
    """Makes the parts of a network one after the other, and runs each, so that the next one knows its input's shape."""

    def __init__(self, draw: Draw):
        self.draw = draw
        self.nasty_left = draw.of(0, 0, 1)
        self.image = draw.tensor(2, 3, draw.of(8, 12, 16), draw.of(8, 12, 16))

    def stem(self, x: Tensor) -> Tuple[nn.Cell, Tensor]:
        cell = self.draw.layer(x.shape[1], self.draw.width(), 3, 2 if min(x.shape[2:]) > 12 else 1)
        return cell, cell(x)

    def blocks(self, x: Tensor, count: int) -> Tuple[nn.SequentialCell, Tensor]:
        cells = []
        for _ in range(count):
            table = NASTY if self._nasty() else BLOCKS
            cells.append(self.draw.block(*x.shape[1:], table=table))
            x = cells[-1](x)
        return nn.SequentialCell(cells), x

    def head(self, x: Tensor) -> nn.Cell:
        return self.draw.block(*x.shape[1:], table=NASTY_HEADS if self._nasty() else HEADS)

    def _nasty(self) -> bool:
        """At most one part of every third network is of the nasty kind."""
        nasty = self.nasty_left > 0 and self.draw.chance(0.4)
        self.nasty_left -= nasty
        return nasty


class Chain(nn.Cell):
    def __init__(self, make):
        super().__init__()
        self.inputs = (make.image,)
        self.stem, x = make.stem(make.image)
        self.blocks, x = make.blocks(x, make.draw.of(2, 3, 4, 5))
        self.head = make.head(x)

    def construct(self, x):
        return self.head(self.blocks(self.stem(x)))


class AuxiliaryHead(nn.Cell):
    def __init__(self, make):
        super().__init__()
        self.inputs = (make.image,)
        self.stem, x = make.stem(make.image)
        self.blocks, x = make.blocks(x, 2)
        self.auxiliary = make.head(x)
        self.last, x = make.blocks(x, make.draw.of(1, 2))
        self.head = make.head(x)

    def construct(self, x):
        x = self.blocks(self.stem(x))
        return self.head(self.last(x)), self.auxiliary(x)


class NamedOutputs(AuxiliaryHead):
    def construct(self, x):
        x = self.blocks(self.stem(x))
        return {"logits": self.head(self.last(x)), "auxiliary": self.auxiliary(x)}


class FeaturesBesides(AuxiliaryHead):
    """A feature map is an output: it keeps its width."""

    def construct(self, x):
        x = self.blocks(self.stem(x))
        return self.head(self.last(x)), x


class AllScales(nn.Cell):
    def __init__(self, make):
        super().__init__()
        self.inputs = (make.image,)
        self.stem, x = make.stem(make.image)
        stages, widths = [], []
        for _ in range(3):
            stage, x = make.blocks(x, 1)
            stages.append(stage)
            widths.append(x.shape[1])
        self.stages, self.head = nn.CellList(stages), nn.Dense(sum(widths), CLASSES)

    def construct(self, x):
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(ops.mean(x, (2, 3)))
        return self.head(ops.concat(found, -1))


class ImageAgain(nn.Cell):
    """The network's input enters once more, beside the features."""

    def __init__(self, make):
        super().__init__()
        self.inputs = (make.image,)
        self.stem, x = make.stem(make.image)
        self.blocks, x = make.blocks(x, 2)
        self.join = make.draw.layer(x.shape[1] + 3, make.draw.width())
        self.head = make.head(self.join(ops.zeros((2, x.shape[1] + 3) + x.shape[2:])))

    def construct(self, x):
        y = self.blocks(self.stem(x))
        x = ops.interpolate(x, size=(y.shape[2], y.shape[3]), mode="nearest")
        return self.head(self.join(ops.cat((y, x), 1)))


class TwoImages(nn.Cell):
    def __init__(self, make):
        super().__init__()
        self.inputs = (make.image, make.draw.tensor(*make.image.shape))
        self.how = make.draw.of("sum", "product", "concat")
        self.first, self.second = (make.draw.conv(3, 8) for _ in range(2))
        self.blocks, x = make.blocks(self.join(self.first(make.image), self.second(make.image)), make.draw.of(1, 2, 3))
        self.head = make.head(x)

    def join(self, a, b):
        if self.how == "sum":
            return ops.relu(a) + ops.relu(b)
        return a * ops.sigmoid(b) if self.how == "product" else ops.cat((a, b), 1)

    def construct(self, x, y):
        return self.head(self.blocks(self.join(self.first(x), self.second(y))))


class Siamese(nn.Cell):
    """One encoder for two images, whose features are compared."""

    def __init__(self, make):
        super().__init__()
        self.inputs = (make.image, make.draw.tensor(*make.image.shape))
        self.stem, x = make.stem(make.image)
        self.blocks, x = make.blocks(x, 2)
        self.head = make.head(x)

    def construct(self, x, y):
        return self.head(ops.abs(self.blocks(self.stem(x)) - self.blocks(self.stem(y))))


class Conditioned(nn.Cell):
    """An image, whose features a vector scales and shifts."""

    def __init__(self, make):
        super().__init__()
        self.inputs = (make.image, make.draw.tensor(2, 6))
        self.stem, x = make.stem(make.image)
        self.blocks, x = make.blocks(x, 2)
        self.hidden, self.affine = nn.Dense(6, 8), nn.Dense(8, 2 * x.shape[1])
        self.last, x = make.blocks(x, 1)
        self.head = make.head(x)

    def construct(self, x, condition):
        scale, shift = ops.chunk(self.affine(ops.relu(self.hidden(condition))), 2, -1)
        x = self.blocks(self.stem(x))
        return self.head(self.last(x * ops.sigmoid(scale[:, :, None, None]) + shift[:, :, None, None]))


class Signals(nn.Cell):
    def __init__(self, make):
        super().__init__()
        draw, x = make.draw, make.draw.tensor(2, 3, make.draw.of(8, 12, 16))
        self.inputs = (x,)
        self.stem, cells = SignalLayer(draw, 3, draw.width()), []
        x = self.stem(x)
        for _ in range(draw.of(2, 3, 4)):
            cells.append(draw.block(*x.shape[1:], table=SIGNAL_BLOCKS))
            x = cells[-1](x)
        self.blocks, self.flat = nn.SequentialCell(cells), draw.chance(0.5)
        self.head = nn.Dense(x.shape[1] * (x.shape[2] if self.flat else 1), CLASSES)

    def construct(self, x):
        x = self.blocks(self.stem(x))
        return self.head(x.reshape(x.shape[0], -1) if self.flat else x.mean(-1))


# Half of all networks are chains.
NETWORKS = (Chain,) * 9 + (AuxiliaryHead, NamedOutputs, FeaturesBesides, AllScales, ImageAgain, TwoImages, Siamese,
                           Conditioned, Signals)


def draw(seed: int) -> Tuple[nn.Cell, Tuple[Tensor, ...]]:
    """The network of a seed, with random values in all its parameters, and inputs for it."""
    drawn = Draw(seed)
    network = drawn.of(*NETWORKS)(Builder(drawn))
    for parameter in network.get_parameters():
        shape, kind = parameter.shape, parameter.name.rsplit(".", 1)[-1]
        if kind in ("gamma", "moving_variance"):
            values = drawn.generator.uniform(0.5, 1.5, shape)
        else:
            values = drawn.generator.normal(0.0, np.sqrt(1.5 / np.prod(shape[1:])) if len(shape) > 1 else 0.3, shape)
        parameter.set_data(Tensor(values.astype(np.float32)))
    inputs = network.inputs
    del network.inputs
    return network.set_train(False), inputs


def settings(seed: int) -> Dict[str, Any]:
    """How the network of a seed is pruned."""
    drawn = Draw(seed + 1_000_000)
    return {"criterion": drawn.of("random", "l1"), "prune_rate": drawn.of(0.3, 0.5, 0.7),
            "residual": drawn.of("group", "scatter", "keep")}


def describe(network: nn.Cell) -> str:
    """The classes of a network's Cells, but for MindSpore's own, in order."""
    cells = [cell for _, cell in network.cells_and_names()]
    return ", ".join(type(cell).__name__ for cell in cells if not type(cell).__module__.startswith("mindspore"))


def main(seed: int) -> None:
    """Print the network of a seed and the report of pruning it."""
    import golden_stick as gs

    network, inputs = draw(seed)
    print(network, describe(network), settings(seed), sep="\n")
    algorithm = gs.OneShot(settings(seed))
    algorithm.convert(algorithm.apply(network, inputs=inputs))
    print(algorithm.report)


if __name__ == "__main__":
    main(int(sys.argv[1]))
