"""What the examples here share: scikit-learn's digits in batches, a small network, its accuracy, and their options."""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import argparse  # noqa: E402
from typing import Callable, Iterator, List, Tuple  # noqa: E402

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import nn, ops  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

__all__ = ["Network", "Split", "accuracy", "batches", "digits", "parse", "train"]

SHAPE = (1, 1, 8, 8)
_TRAINING = 1437
Split = Tuple[np.ndarray, np.ndarray]  # images (N, 1, 8, 8) in [-1, 1], and labels (N,)


class Network(nn.Cell):
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


def parse(about: str, arguments=None, *, epochs: int = 5, **more: str) -> argparse.Namespace:
    """An example's options, with its docstring for help; sets mode and seed. `more` are options of its own, as text."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", default="graph", choices=("graph", "pynative"))
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--images", type=int, default=_TRAINING, help="how many to train on")
    for name, default in more.items():
        parser.add_argument(f"--{name}", default=default, help=f"default: {default}")
    options = parser.parse_args(arguments)
    # In PyNative mode, queues between MindSpore's threads spin while they wait: on a CPU, they take it from the work.
    ms.set_context(mode=ms.GRAPH_MODE if options.mode == "graph" else ms.PYNATIVE_MODE,
                   pynative_synchronize=ms.get_context("device_target") == "CPU")
    ms.set_seed(0)
    np.random.seed(0)
    return options


def digits(count: int) -> Tuple[Split, Split]:
    """So many images to train on; and those of other writers."""
    found = load_digits()
    images, labels = (found.images[:, None] / 8 - 1).astype(np.float32), found.target.astype(np.int32)
    return (images[:count], labels[:count]), (images[_TRAINING:], labels[_TRAINING:])


def batches(split: Split, size: int = 64, seed: int = 0) -> List[Split]:
    """Shuffled batches of one size."""
    order = np.random.default_rng(seed).permutation(len(split[1]))
    return [tuple(part[order[at:at + size]] for part in split) for at in range(0, len(order) - size + 1, size)]


def tensors(split: Split, epochs: int) -> Iterator[Tuple[ms.Tensor, ...]]:
    """All batches of all epochs."""
    for epoch in range(epochs):
        for batch in batches(split, seed=epoch):
            yield tuple(map(ms.Tensor, batch))


def train(network: nn.Cell, split: Split, epochs: int, loss: Callable = None, rate: float = 0.005) -> None:
    """The usual training, by Adam, of what an example begins with or ends with."""
    step = nn.TrainOneStepCell(nn.WithLossCell(network, loss or nn.CrossEntropyLoss()),
                               nn.Adam(network.trainable_params(), rate)).set_train()
    for batch in tensors(split, epochs):
        step(*batch)
    network.set_train(False)


def accuracy(network: nn.Cell, split: Split) -> float:
    """Fraction of the images whose largest logit is that of their class."""
    network.set_train(False)
    return float((network(ms.Tensor(split[0])).asnumpy().argmax(1) == split[1]).mean())
