"""The base network, its training, and its accuracy."""
from typing import Dict, Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import HeNormal

from benchmarks.planted.images import CLASSES, Images, batches

__all__ = ["BATCH", "LAYERS", "STRIDES", "WIDTHS", "SmallNet", "accuracy", "conv_of", "read", "train", "write"]

WIDTHS, STRIDES = (16, 32, 32, 64), (1, 2, 1, 2)
LAYERS = len(WIDTHS)
BATCH = 128


def conv_of(layer: int) -> str:
    """Name of the weight of a layer, from 0."""
    return f"features.{3 * layer}.weight"


class SmallNet(nn.Cell):
    """
    Four 3x3 convolutions, each with a batch normalization and a ReLU, the mean over pixels, and a dense layer.

    Args:
        widths (Sequence[int]): Filters of the convolutions.

    Inputs:
        - **x** (Tensor) - Shape (N, 3, H, W).

    Outputs:
        Tensor, logits of shape (N, 10).
    """

    def __init__(self, widths: Sequence[int] = WIDTHS):
        super().__init__()
        cells = []
        for before, width, stride in zip((3, *widths), widths, STRIDES):
            conv = nn.Conv2d(before, width, 3, stride, pad_mode="pad", padding=1, weight_init=HeNormal())
            cells += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        self.features = nn.SequentialCell(cells)
        self.dense = nn.Dense(widths[-1], CLASSES)

    def construct(self, x):
        return self.dense(self.features(x).mean((2, 3)))


def read(network: nn.Cell) -> Dict[str, np.ndarray]:
    """A copy of every parameter, by name."""
    return {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}


def write(network: nn.Cell, values: Dict[str, np.ndarray]) -> None:
    """Give the parameters of these names their values."""
    for parameter in network.get_parameters():
        if parameter.name in values:
            ops.assign(parameter, Tensor(values[parameter.name]))


def train(network: nn.Cell, images: Images, epochs: int, seed: int) -> None:
    """SGD with momentum 0.9, weight decay 5e-4, from 0.1 to 0 along a cosine."""
    total = epochs * (len(images) // BATCH)
    rates = (0.05 * (1 + np.cos(np.pi * np.arange(total) / total))).astype(np.float32).tolist()
    optimizer = nn.Momentum(network.trainable_params(), rates, 0.9, weight_decay=5e-4)
    step = nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer).set_train()
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        for pixels, labels in batches(images, BATCH, generator):
            step(Tensor(pixels), Tensor(labels))
    network.set_train(False)
    ms.ms_memory_recycle()


def accuracy(network: nn.Cell, images: Images) -> float:
    """Share of images whose largest logit is their label's; a network in evaluation."""
    size = min(500, len(images))
    found = [(network(Tensor(pixels)).asnumpy().argmax(1) == labels).mean() for pixels, labels in batches(images, size)]
    return float(np.mean(found))
