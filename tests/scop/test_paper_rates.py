"""
What SCOP's published rates remove, by our counts: `"residual": "scatter"`, one rate for all convolutions of the blocks.

`PUBLISHED` are the columns of the paper's tables (Tang et al., NeurIPS 2020, https://arxiv.org/abs/2010.10732) as they
are printed. In `RATES`, beside the uniform rate that fits them best, stands what our own counts must be to 0.6 points:
for CIFAR the printed columns, for ImageNet what that rate gives, from which the printed columns are up to 0.7 points
away. In the paper's row of ResNet-18 SCOP-B, parameters and FLOPs have changed places: it prints 43.5 % of the
parameters and 45.0 % of the FLOPs, where the rate takes 45.0 % and 43.5 %. Its stem and shortcut convolutions are left
alone, so ours are here, where we could prune the stem as well.
"""
import numpy as np
import pytest
from mindspore import nn, ops

import golden_stick as gs
from golden_stick.graph.plan import count_macs, count_parameters
from golden_stick.prune.plan import make_plan
from tests import networks
from tests.networks import Bottleneck, conv3x3

POINTS = 0.006
# How far the printed columns of ImageNet are from those of a uniform rate.
PRINTED = 0.007
CIFAR, IMAGENET = (1, 3, 32, 32), (1, 3, 224, 224)


class BasicBlock(nn.Cell):
    """With a convolution in the shortcut, as on ImageNet."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.first, self.norm_a = conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.second, self.norm_b = conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1:
            self.shortcut = nn.SequentialCell(nn.Conv2d(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def construct(self, x):
        inner = ops.relu(self.norm_a(self.first(x)))
        return ops.relu(self.norm_b(self.second(inner)) + self.shortcut(x))


class ImageNetResNet(nn.Cell):
    def __init__(self, block, counts, expansion):
        super().__init__()
        self.stem = nn.SequentialCell(nn.Conv2d(3, 64, 7, 2, pad_mode="pad", padding=3), nn.BatchNorm2d(64), nn.ReLU(),
                                      nn.MaxPool2d(3, 2, pad_mode="same"))
        cells, inputs = [], 64
        for width, count in zip((64, 128, 256, 512), counts):
            for index in range(count):
                cells.append(block(inputs, width, 2 if index == 0 and width > 64 else 1))
                inputs = expansion * width
        self.blocks = nn.SequentialCell(cells)
        self.head = nn.Dense(inputs, 1000)

    def construct(self, x):
        return self.head(ops.mean(self.blocks(self.stem(x)), (2, 3)))


def basic(*counts):
    return lambda: ImageNetResNet(BasicBlock, counts, 1)


def bottleneck(*counts):
    return lambda: ImageNetResNet(Bottleneck, counts, 4)


def cifar(blocks):
    return lambda: networks.CifarResNet(blocks)


@pytest.mark.parametrize("build, shape, macs, parameters", [
    pytest.param(basic(2, 2, 2, 2), IMAGENET, 1_814_073_344, 11_689_512, id="resnet18", marks=pytest.mark.long),
    pytest.param(bottleneck(3, 4, 6, 3), IMAGENET, 4_089_184_256, 25_557_032, id="resnet50"),
])
def test_the_networks_are_those_of_the_literature(build, shape, macs, parameters):
    graph = gs.trace(build(), shape)
    assert (count_macs(graph), count_parameters(graph)) == (macs, parameters)


# Name -> FLOPs and parameters removed, in percent, as printed.
PUBLISHED = {
    "resnet20": (55.7, 56.3), "resnet32": (55.8, 56.2), "resnet56": (56.0, 56.3),
    "resnet18-A": (38.8, 39.3), "resnet18-B": (45.0, 43.5),
    "resnet34-A": (39.1, 39.7), "resnet34-B": (44.8, 45.6),
    "resnet50-A": (45.3, 42.8), "resnet50-B": (54.6, 51.8),
    "resnet101-A": (48.6, 46.8), "resnet101-B": (60.2, 57.8),
}
SWAPPED = {"resnet18-B"}


RATES = [
    pytest.param(cifar(3), CIFAR, 0.45, 0.557, 0.563, id="resnet20"),
    pytest.param(cifar(5), CIFAR, 0.45, 0.558, 0.562, id="resnet32", marks=pytest.mark.long),
    pytest.param(cifar(9), CIFAR, 0.45, 0.560, 0.563, id="resnet56", marks=pytest.mark.long),
    pytest.param(basic(2, 2, 2, 2), IMAGENET, 0.30, 0.381, 0.393, id="resnet18-A", marks=pytest.mark.long),
    pytest.param(basic(2, 2, 2, 2), IMAGENET, 0.35, 0.435, 0.450, id="resnet18-B", marks=pytest.mark.long),
    pytest.param(basic(3, 4, 6, 3), IMAGENET, 0.30, 0.392, 0.397, id="resnet34-A", marks=pytest.mark.long),
    pytest.param(basic(3, 4, 6, 3), IMAGENET, 0.35, 0.448, 0.456, id="resnet34-B", marks=pytest.mark.long),
    pytest.param(bottleneck(3, 4, 6, 3), IMAGENET, 0.35, 0.454, 0.428, id="resnet50-A"),
    pytest.param(bottleneck(3, 4, 6, 3), IMAGENET, 0.445, 0.550, 0.517, id="resnet50-B", marks=pytest.mark.long),
    pytest.param(bottleneck(3, 4, 23, 3), IMAGENET, 0.35, 0.486, 0.468, id="resnet101-A", marks=pytest.mark.long),
    pytest.param(bottleneck(3, 4, 23, 3), IMAGENET, 0.455, 0.600, 0.576, id="resnet101-B", marks=pytest.mark.long),
]


def test_a_uniform_rate_gives_what_was_printed():
    """The next test holds our own counts against the same numbers."""
    assert {row.id for row in RATES} == set(PUBLISHED)
    for row in RATES:
        _, shape, _, *uniform = row.values
        printed = np.array(PUBLISHED[row.id]) / 100
        points = (0.0 if shape is CIFAR else PRINTED) + 1e-9
        if row.id in SWAPPED:
            assert np.abs(printed - uniform).max() > points
            printed = printed[::-1]
        assert np.abs(printed - uniform).max() <= points, row.id


@pytest.mark.parametrize("build, shape, rate, macs, parameters", RATES)
def test_a_published_rate_removes_what_was_published(build, shape, rate, macs, parameters):
    network = build()
    graph = gs.trace(network, shape)
    groups = gs.find_groups(graph, "scatter")
    scores = {group.name: np.arange(len(group.channels)) for group in groups if group.name.startswith("blocks")}
    # Each convolution of a block is a group of its own, and those in shortcuts are none.
    convolutions = [path for path, cell in network.blocks.cells_and_names() if isinstance(cell, nn.Conv2d)]
    assert len(scores) == sum("project" not in path and "shortcut" not in path for path in convolutions)
    slim = gs.trace(gs.slim(network, make_plan(groups, scores, rate)), shape)
    assert abs(1 - count_macs(slim) / count_macs(graph) - macs) <= POINTS
    assert abs(1 - count_parameters(slim) / count_parameters(graph) - parameters) <= POINTS
