"""A tiny network and images whose class a few steps can learn; also what the command line is given."""
import warnings
from contextlib import contextmanager

import numpy as np
from mindspore import nn

from tests.networks import randomize

SHAPE = (1, 2, 6, 6)


class Tiny(nn.Cell):
    """Two convolutions with normalizations, and a head."""

    def __init__(self):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8)
        self.second, self.second_norm = nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6)
        self.relu, self.head = nn.ReLU(), nn.Dense(6, 2)

    def construct(self, x):
        x = self.relu(self.first_norm(self.first(x)))
        x = self.relu(self.second_norm(self.second(x)))
        return self.head(x.mean((2, 3)))


def build():
    """The network, with weights that are always the same."""
    return randomize(Tiny())


def images(seed, batches, size=8):
    """Batches of noise whose first colour is brighter in class 1."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(batches):
        labels = generator.integers(0, 2, size).astype(np.int32)
        pixels = generator.standard_normal((size, *SHAPE[1:])).astype(np.float32)
        pixels[:, 0] += 0.7 * labels[:, None, None]
        made.append((pixels, labels))
    return made


def splits():
    """Train, validation, test."""
    return images(1, 3), images(2, 1, 16), images(3, 3)


def two_splits():
    """Without a test split."""
    return splits()[:2]


@contextmanager
def unwarned():
    """A block in which no one is told that an optimizer trains the network: what is slimmed here is not the user's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*by an optimizer of its own")
        yield
