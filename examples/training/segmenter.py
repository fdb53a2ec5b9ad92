"""
A U-Net that finds the ink of digits on noise.   python examples/training/segmenter.py

Skip connections are concatenated: their channels go on both sides, and the layers that read them lose the same.
"""
import mindspore as ms
import numpy as np
from digits import digits, parse, train
from mindspore import nn, ops

import golden_stick as gs

SHAPE = (1, 1, 16, 16)


def block(inputs: int, outputs: int) -> nn.SequentialCell:
    return nn.SequentialCell(nn.Conv2d(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU(),
                             nn.Conv2d(outputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Cell):
    """Two levels down, two up (Ronneberger et al. 2015, in small)."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.bottom = block(1, 8), block(8, 16), block(16, 32)
        self.pool = nn.MaxPool2d(2, 2)
        self.up_b, self.up_a = nn.Conv2dTranspose(32, 16, 2, 2), nn.Conv2dTranspose(16, 8, 2, 2)
        self.third, self.fourth = block(32, 16), block(16, 8)
        self.head = nn.Conv2d(8, 1, 1)

    def construct(self, x):
        a = self.first(x)
        b = self.second(self.pool(a))
        x = self.bottom(self.pool(b))
        x = self.third(ops.concat((self.up_b(x), b), 1))
        return self.head(self.fourth(ops.concat((self.up_a(x), a), 1)))


def pictures(split):
    """Digits of twice the size on noise, and where their ink is."""
    ink = (split[0] > 0).repeat(2, 2).repeat(2, 3).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.5, ink.shape).astype(np.float32)
    return ink + noise, ink


def overlap(network, split) -> float:
    """Intersection over union of the ink that is there and the ink that is found."""
    network.set_train(False)
    found, ink = network(ms.Tensor(split[0])).asnumpy() > 0, split[1] > 0
    return float((found & ink).sum() / (found | ink).sum())


def main(arguments=None):
    options = parse(__doc__, arguments)
    training, test = map(pictures, digits(options.images))
    network, loss = UNet(), nn.BCEWithLogitsLoss()
    train(network, training, options.epochs, loss)

    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, SHAPE), calibration_data=[training[0]])
    solved = overlap(slim, test)
    train(slim, training, options.epochs, loss, rate=0.001)
    print(algorithm.report)
    print(f"overlap {overlap(network, test):.4f} before, {solved:.4f} as converted, {overlap(slim, test):.4f} after")
    return slim


if __name__ == "__main__":
    main()
