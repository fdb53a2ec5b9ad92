"""
A detector with several outputs: class, box and objectness at two scales.   python examples/training/detector.py

The loss takes all outputs, as the criterion "taylor" does; what leaves the network keeps its channels.
"""
import mindspore as ms
import numpy as np
from digits import digits, parse, train
from mindspore import nn, ops

import golden_stick as gs

SHAPE = (1, 1, 32, 32)


def block(inputs: int, outputs: int, stride: int) -> nn.SequentialCell:
    return nn.SequentialCell(nn.Conv2d(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs), nn.ReLU())


class Detector(nn.Cell):
    """A backbone, a pyramid of two levels, and heads of one shape that both levels share but for their last layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.middle, self.deep = block(1, 16, 2), block(16, 32, 2), block(32, 32, 2)
        self.lateral, self.smooth = nn.Conv2d(32, 24, 1), nn.Conv2d(32, 24, 1)
        self.tower = block(24, 24, 1)
        self.classes, self.boxes, self.objects = (nn.Conv2d(24, width, 1) for width in (10, 4, 1))

    def construct(self, x):
        fine = self.middle(self.stem(x))
        coarse = self.smooth(self.deep(fine))
        fine = self.lateral(fine) + ops.interpolate(coarse, size=(8, 8), mode="nearest")
        found = ()
        for level in (fine, coarse):
            level = self.tower(level)
            found += (self.classes(level), self.boxes(level), self.objects(level))
        return found


def scenes(split, seed=0):
    """One digit anywhere on 32x32 pixels; and its class, with the corner where it begins."""
    corners = np.random.default_rng(seed).integers(0, 25, (len(split[1]), 2))
    images = np.zeros((len(split[1]), 1, 32, 32), np.float32)
    for image, digit, (top, left) in zip(images, split[0], corners):
        image[0, top:top + 8, left:left + 8] = digit[0] + 1
    return images, np.concatenate([split[1][:, None], corners], 1).astype(np.int32)


def loss(outputs, targets):
    """The cell at the digit's middle, on both levels, is to know its class, corner, and that it is there."""
    total = 0.0
    for level in range(2):
        classes, boxes, objects = outputs[3 * level:3 * level + 3]
        size = classes.shape[2]
        cells = ((targets[:, 1] + 4) * size // 32) * size + (targets[:, 2] + 4) * size // 32
        here = ops.one_hot(cells, size * size, ms.Tensor(1.0, ms.float32), ms.Tensor(0.0, ms.float32))
        at = here.expand_dims(1)
        total += ops.cross_entropy((classes.reshape(classes.shape[0], 10, -1) * at).sum(2), targets[:, 0])
        corner = (boxes.reshape(boxes.shape[0], 4, -1) * at).sum(2)[:, :2]
        total += ops.mse_loss(corner, targets[:, 1:].astype(ms.float32) / 32)
        # The binary cross entropy. In PyNative mode, the gradient of MindSpore 2.10's own is wrong for two sizes.
        objects = objects.reshape(here.shape)
        total += (ops.softplus(objects) - objects * here).mean()
    return total


def located(network, split) -> float:
    """Fraction of the scenes in which the surest cell of the fine level is the digit's, and knows its class."""
    network.set_train(False)
    classes, _, objects = (item.asnumpy() for item in network(ms.Tensor(split[0]))[:3])
    surest = objects.reshape(len(objects), -1).argmax(1)
    found = classes.reshape(len(classes), 10, -1)[np.arange(len(surest)), :, surest].argmax(1)
    middle = (split[1][:, 1] + 4) // 4 * 8 + (split[1][:, 2] + 4) // 4
    return float(((surest == middle) & (found == split[1][:, 0])).mean())


def main(arguments=None):
    options = parse(__doc__, arguments, epochs=10)
    training, test = map(scenes, digits(options.images))
    network = Detector()
    train(network, training, options.epochs, loss)

    algorithm = gs.OneShot({"prune_rate": 0.4, "criterion": "taylor"})
    masked = algorithm.apply(network, SHAPE, data=[tuple(part[:64] for part in training)], loss=loss)
    slim = algorithm.convert(masked, calibration_data=[training[0][:512]])
    train(slim, training, options.epochs, loss, rate=0.002)
    print(algorithm.report)
    print(f"located {located(network, test):.4f} before, {located(slim, test):.4f} after")
    return slim


if __name__ == "__main__":
    main()
