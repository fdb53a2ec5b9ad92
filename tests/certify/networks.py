"""Networks whose answers are known: each column of the input says what one network answers."""
import numpy as np
from mindspore import Tensor, nn, ops


class Reader(nn.Cell):
    """Answers 1 where its column of the input is positive, else 0; `padding` numbers make it larger."""

    def __init__(self, column, padding=0):
        super().__init__()
        self.column = column
        self.scale = nn.Dense(1, 1 + padding, has_bias=False)

    def construct(self, x):
        value = x[:, self.column:self.column + 1]
        return ops.concat((-value, value), 1)


class TwoConvolutions(nn.Cell):
    """A residual block of 6 channels before a head: masks, and one place for a scatter."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 5, 3)
        self.outer = nn.Conv2d(5, 6, 3)
        self.relu = nn.ReLU()
        self.head = nn.Dense(6, 3)

    def construct(self, x):
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(self.outer(self.relu(self.inner(x))) + x)
        return self.head(x.mean((2, 3)))


def labelled(lost=0, gained=0, images=400, seed=0):
    """Batches of labels 0 and 1: column 0 the base's answers, column 1 those of a candidate, 2 always right."""
    labels = np.arange(images, dtype=np.int32) % 2
    values = np.repeat(2 * labels[:, None] - 1, 4, axis=1).astype(np.float32)
    values[:lost, 1] *= -1
    values[lost:lost + gained, 0] *= -1
    # What makes every image another one.
    values[:, 3] = np.random.default_rng(seed).random(images)
    return [(values[:150], labels[:150]), (Tensor(values[150:]), Tensor(labels[150:]))]
