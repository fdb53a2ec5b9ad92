"""Layers that take a normalization in, before it and behind it, each with the shape of its input."""
import numpy as np
from mindspore import mint, nn, ops

EPSILON = 0.01


def normalization(channels, kind=nn.BatchNorm2d):
    return kind(channels, eps=EPSILON)


def array(shape, seed=5):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Turned(nn.Cell):
    """A dense layer over the last axis, whose channels are turned to where a normalization wants them."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(6, 8, has_bias=False)
        self.norm = nn.BatchNorm1d(8)

    def construct(self, x):
        return self.norm(self.dense(x).swapaxes(1, 2))


class Shuffled(nn.Cell):
    """A shuffle of channels stands between a layer and its normalization, another between one and its reader."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 6, 3)
        self.norm_a = nn.BatchNorm2d(6)
        self.norm_b = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 4, 3, pad_mode="valid", group=2)

    def construct(self, x):
        x = self.norm_a(self.shuffle(self.first(x)))
        return self.second(self.shuffle(self.norm_b(ops.relu(x))))

    def shuffle(self, x):
        count, channels, height, width = x.shape
        return x.reshape(count, 2, channels // 2, height, width).swapaxes(1, 2).reshape(x.shape)


class TwoReaders(nn.Cell):
    """A normalization that two layers read, one of them flattened."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.one = nn.Conv2d(4, 6, 2, pad_mode="valid")
        self.two = nn.Dense(4 * 9, 5)
        self.flatten = nn.Flatten()

    def construct(self, x):
        x = self.norm(x)
        return self.one(x).sum(), self.two(self.flatten(x))


class SideBySide(nn.Cell):
    """Each layer reads a part of the channels, and one normalization reads all that they make: MixNet's."""

    def __init__(self, *layers, channels, axis=1, kind=nn.BatchNorm2d):
        super().__init__()
        self.layers = nn.CellList(list(layers))
        self.norm = normalization(channels, kind)
        self.axis = axis

    def construct(self, x):
        width = x.shape[1] // len(self.layers)
        parts = [layer(x[:, place * width:(place + 1) * width]) for place, layer in enumerate(self.layers)]
        return self.norm(ops.concat(parts, self.axis))


class Concatenated(nn.Cell):
    """Two signals made of one."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(2, 2, 3, has_bias=True)
        self.two = nn.Conv1d(2, 1, 1)

    def construct(self, x):
        return ops.concat((self.two(x), self.one(x)), 1)


class Sliced(nn.Cell):
    """Places are cut away between a layer and its normalization, and others between one and its reader."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 6, 3)
        self.norm_a = normalization(6)
        self.norm_b = normalization(6)
        self.second = nn.Conv2d(6, 4, 3, pad_mode="valid", group=2)

    def construct(self, x):
        x = ops.relu(self.norm_a(self.first(x)[:, :, 1:, 6:0:-2]))
        return self.second(self.norm_b(x)[:, :, :-1])


class Single(nn.Cell):
    """One row of a picture is normalized as a signal."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3)
        self.norm = normalization(6, nn.BatchNorm1d)

    def construct(self, x):
        return self.norm(self.conv(x)[:, None, :, -2, 1:].squeeze(1))


class Regions(nn.Cell):
    """Several channels of a layer are the places of one channel that is normalized: RepMLP's."""

    def __init__(self, has_bias=False, twice=False):
        super().__init__()
        self.dense = nn.Conv2d(2 * 9, 2 * 9, 1, group=2, has_bias=has_bias)
        self.inner = normalization(18) if twice else nn.Identity()
        self.norm = normalization(2)

    def construct(self, x):
        x = self.inner(self.dense(x.reshape(-1, 18, 1, 1)))
        return self.norm(x.reshape(-1, 2, 3, 3))


class ReadInParts(nn.Cell):
    """Each reader of a normalization reads a part of its channels."""

    def __init__(self):
        super().__init__()
        self.norm = normalization(4)
        self.one = nn.Conv2d(1, 5, 3, pad_mode="valid")
        self.two = nn.Conv2d(3, 3, 3, pad_mode="valid", group=3)

    def construct(self, x):
        x = self.norm(x)
        return ops.concat((self.one(x[:, :1]), self.two(x[:, 1:])), 1)


def convolution(filters, size=3, group=1, **options):
    return nn.Conv2d(2, filters, size, group=group, **options)


IMAGE, SIGNAL, VOLUME = (2, 4, 7, 7), (2, 4, 9), (2, 4, 5, 5, 5)
LAYERS = {
    "convolution": (lambda: (nn.Conv2d(4, 8, 3), normalization(8)), IMAGE),
    "strided, with bias": (lambda: (nn.Conv2d(4, 8, 3, 2, has_bias=True), normalization(8)), IMAGE),
    "grouped": (lambda: (nn.Conv2d(4, 8, 3, group=2), normalization(8)), IMAGE),
    "depthwise": (lambda: (nn.Conv2d(4, 4, 3, group=4), normalization(4)), IMAGE),
    "depthwise, twice the channels": (lambda: (nn.Conv2d(4, 8, 3, group=4, has_bias=True), normalization(8)), IMAGE),
    "signal": (lambda: (nn.Conv1d(4, 8, 3), normalization(8, nn.BatchNorm1d)), SIGNAL),
    "volume": (lambda: (nn.Conv3d(4, 8, 3), normalization(8, nn.BatchNorm3d)), VOLUME),
    "transposed": (lambda: (nn.Conv2dTranspose(4, 8, 3, 2), normalization(8)), IMAGE),
    "transposed, grouped": (lambda: (nn.Conv2dTranspose(4, 8, 3, group=2, has_bias=True), normalization(8)), IMAGE),
    "transposed, depthwise": (lambda: (nn.Conv2dTranspose(4, 4, 3, group=4), normalization(4)), IMAGE),
    "transposed signal": (lambda: (nn.Conv1dTranspose(4, 8, 3), normalization(8, nn.BatchNorm1d)), SIGNAL),
    "transposed volume": (lambda: (nn.Conv3dTranspose(4, 8, 3), normalization(8, nn.BatchNorm3d)), VOLUME),
    "dense": (lambda: (nn.Dense(4, 8), normalization(8, nn.BatchNorm1d)), (5, 4)),
    "dense without bias": (lambda: (nn.Dense(4, 8, has_bias=False), normalization(8, nn.BatchNorm1d)), (5, 4)),
    "linear of mint": (lambda: (mint.nn.Linear(4, 8, bias=False), normalization(8, nn.BatchNorm1d)), (5, 4)),
    "dense, turned": (lambda: (Turned(),), (2, 5, 6)),
    "shuffled": (lambda: (Shuffled(),), IMAGE),
    "side by side": (lambda: (SideBySide(convolution(2, group=2), convolution(4, 5), channels=6),), IMAGE),
    "side by side, one with bias": (
        lambda: (SideBySide(convolution(3, has_bias=True), convolution(2, 5), channels=5),), IMAGE),
    "side by side, kinds": (lambda: (SideBySide(
        nn.Conv2dTranspose(2, 4, 3, group=2), nn.SequentialCell(convolution(3), normalization(3)), channels=7),),
        IMAGE),
    "side by side, nested": (lambda: (SideBySide(nn.Conv1d(2, 4, 3), Concatenated(), channels=7,
                                                 kind=nn.BatchNorm1d),), SIGNAL),
    "side by side along the width": (
        lambda: (SideBySide(convolution(4), convolution(4, 5), channels=4, axis=-1),), IMAGE),
    "sliced": (lambda: (Sliced(),), IMAGE),
    "sliced, one row": (lambda: (Single(),), IMAGE),
    "regions": (lambda: (Regions(),), (2, 2, 3, 3)),
    "regions, with bias": (lambda: (Regions(has_bias=True),), (2, 2, 3, 3)),
    "regions, twice": (lambda: (Regions(twice=True),), (2, 2, 3, 3)),
    "after, read in parts": (lambda: (ReadInParts(),), IMAGE),
    "twice": (lambda: (nn.Conv2d(4, 8, 3), normalization(8), normalization(8)), IMAGE),
    "on both sides": (lambda: (normalization(4), nn.Conv2d(4, 8, 3, pad_mode="valid"), normalization(8)), IMAGE),
    "after": (lambda: (normalization(4), nn.Conv2d(4, 8, 3, pad_mode="valid", group=2)), IMAGE),
    "after, one pixel": (lambda: (normalization(4), nn.Conv2d(4, 8, 1, 2, has_bias=True)), IMAGE),
    "after, depthwise": (lambda: (normalization(4), nn.Conv2d(4, 8, 3, pad_mode="valid", group=4)), IMAGE),
    "after, volume": (lambda: (normalization(4, nn.BatchNorm3d), nn.Conv3d(4, 8, 3, pad_mode="valid")), VOLUME),
    "after, signal": (lambda: (normalization(4, nn.BatchNorm1d), nn.Conv1d(4, 8, 3, pad_mode="valid")), SIGNAL),
    "after, dense": (lambda: (normalization(4, nn.BatchNorm1d), nn.Dense(4, 8)), (5, 4)),
    "after, flattened": (lambda: (normalization(4), nn.Flatten(), nn.Dense(4 * 49, 8, has_bias=False)), IMAGE),
}

# Layers and normalizations of mint, and their twins of nn: channels on both sides, kernel, groups.
TWINS = {
    "convolution": (lambda: (mint.nn.Conv2d(4, 8, 3), mint.nn.BatchNorm2d(8)),
                    lambda: (nn.Conv2d(4, 8, 3, pad_mode="valid", has_bias=True), nn.BatchNorm2d(8)), IMAGE),
    "grouped, padded, without bias": (
        lambda: (mint.nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=False), mint.nn.BatchNorm2d(8)),
        lambda: (nn.Conv2d(4, 8, 3, pad_mode="pad", padding=1, group=2), nn.BatchNorm2d(8)), IMAGE),
    "depthwise": (lambda: (mint.nn.Conv2d(4, 4, 3, groups=4, bias=False), mint.nn.BatchNorm2d(4)),
                  lambda: (nn.Conv2d(4, 4, 3, pad_mode="valid", group=4), nn.BatchNorm2d(4)), IMAGE),
    "signal": (lambda: (mint.nn.Conv1d(4, 8, 3, bias=False), mint.nn.BatchNorm1d(8)),
               lambda: (nn.Conv1d(4, 8, 3, pad_mode="valid"), nn.BatchNorm1d(8)), SIGNAL),
    "volume": (lambda: (mint.nn.Conv3d(4, 8, 3, bias=False), mint.nn.BatchNorm3d(8)),
               lambda: (nn.Conv3d(4, 8, 3, pad_mode="valid"), nn.BatchNorm3d(8)), VOLUME),
    "transposed, grouped": (
        lambda: (mint.nn.ConvTranspose2d(4, 8, 3, groups=2, bias=False), mint.nn.BatchNorm2d(8)),
        lambda: (nn.Conv2dTranspose(4, 8, 3, pad_mode="valid", group=2), nn.BatchNorm2d(8)), IMAGE),
    "dense": (lambda: (mint.nn.Linear(4, 8), mint.nn.BatchNorm1d(8)), lambda: (nn.Dense(4, 8), nn.BatchNorm1d(8)),
              (5, 4)),
    "after": (lambda: (mint.nn.BatchNorm2d(4), mint.nn.Conv2d(4, 8, 3, bias=False)),
              lambda: (nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, pad_mode="valid")), IMAGE),
    "after, dense": (lambda: (mint.nn.BatchNorm1d(4), mint.nn.Linear(4, 8)),
                     lambda: (nn.BatchNorm1d(4), nn.Dense(4, 8)), (5, 4)),
}
