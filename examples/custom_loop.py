"""
A training loop by hand, for the knockoff phase and for fine-tuning.   python examples/custom_loop.py [--mode graph]

What differs from any other loop is one line: `algorithm.after_step()` after each optimizer step.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import argparse  # noqa: E402
from typing import Callable, Iterator, Tuple  # noqa: E402

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import nn, ops  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

import golden_stick as gs  # noqa: E402

TRAINING_IMAGES = 1437


class SmallNetwork(nn.Cell):
    """Three convolutions and a dense layer for images of 8x8 pixels."""

    def __init__(self):
        super().__init__()
        self.features = nn.SequentialCell(
            nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2), nn.BatchNorm2d(64), nn.ReLU(),
        )
        self.head = nn.Dense(64, 10)

    def construct(self, x):
        return self.head(ops.mean(self.features(x), (2, 3)))


def batches(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator,
            size: int = 64) -> Iterator[Tuple[ms.Tensor, ms.Tensor]]:
    order = generator.permutation(len(labels))
    for start in range(0, len(order) - size + 1, size):
        index = order[start:start + size]
        yield ms.Tensor(images[index]), ms.Tensor(labels[index])


def train(network: nn.Cell, optimizer: nn.Optimizer, data: Callable, epochs: int, after_step: Callable) -> float:
    """The loop. Returns the last loss."""
    loss_fn = nn.CrossEntropyLoss()

    def forward(images, labels):
        return loss_fn(network(images), labels)

    step = ms.value_and_grad(forward, None, optimizer.parameters)
    network.set_train(True)
    for _ in range(epochs):
        for images, labels in data():
            loss, gradients = step(images, labels)
            optimizer(gradients)
            after_step()
    return float(loss)


def nothing() -> None:
    """What must follow a step of an ordinary network."""


def accuracy(network: nn.Cell, images: np.ndarray, labels: np.ndarray) -> float:
    network.set_train(False)
    return float((network(ms.Tensor(images)).asnumpy().argmax(1) == labels).mean())


def main(arguments=None) -> Tuple[float, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", default="pynative", choices=("graph", "pynative"))
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args(arguments)
    # In PyNative mode, queues between MindSpore's threads spin while they wait: on a CPU, they take it from the work.
    ms.set_context(mode=ms.GRAPH_MODE if options.mode == "graph" else ms.PYNATIVE_MODE,
                   pynative_synchronize=ms.get_context("device_target") == "CPU")
    ms.set_seed(0)
    digits = load_digits()
    images, labels = (digits.images[:, None] / 8 - 1).astype(np.float32), digits.target.astype(np.int32)
    generator = np.random.default_rng(0)

    def data():
        return batches(images[:TRAINING_IMAGES], labels[:TRAINING_IMAGES], generator)

    def test(network):
        return accuracy(network, images[TRAINING_IMAGES:], labels[TRAINING_IMAGES:])

    network = SmallNetwork()
    train(network, nn.Adam(network.trainable_params(), 0.005), data, options.epochs, nothing)
    before = test(network)

    algorithm = gs.SCOP({"prune_rate": 0.5})
    phase = algorithm.apply(network, inputs=(1, 1, 8, 8))
    train(phase, nn.Adam(phase.trainable_params(), 0.05), data, 2, algorithm.after_step)
    slim = algorithm.convert(phase, calibration_data=data())

    train(slim, nn.Adam(slim.trainable_params(), 0.005), data, options.epochs, nothing)
    after = test(slim)
    print(algorithm.report)
    print(f"test accuracy {before:.4f} before, {after:.4f} after pruning and fine-tuning")
    return before, after


if __name__ == "__main__":
    main()
