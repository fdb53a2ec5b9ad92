"""
A layer of your own, taught to golden_stick in one call.   python examples/custom_layer.py

Its operators have rules, so it is pruned without. But nobody knows then which attributes hold its width, which weight
and bias a normalization behind it can become part of, or where SCOP can mix what it makes.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import Parameter, Tensor, nn, ops  # noqa: E402

import golden_stick as gs  # noqa: E402

SHAPE = (1, 3, 12, 12)


class Stem(nn.Cell):
    """A convolution with a kernel and an offset, which keeps its widths beside them."""

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.channels, self.features = channels, features
        kernel = np.random.default_rng(0).normal(size=(features, channels, 3, 3))
        self.kernel = Parameter(Tensor(kernel, ms.float32), name="kernel")
        self.offset = Parameter(Tensor(np.zeros(features), ms.float32), name="offset")

    def construct(self, x):
        return ops.conv2d(x, self.kernel, self.offset)


def prune() -> None:
    """Prune a network that begins with the layer, fold it, and put it into SCOP's knockoff phase."""
    network = nn.SequentialCell(Stem(3, 16), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3))
    algorithm = gs.OneShot({"criterion": "bn_scale", "prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, inputs=SHAPE))
    folded = gs.fold(slim, SHAPE)
    print(f"kernel {slim[0].kernel.shape}, features {slim[0].features}; behind it: {type(folded[1]).__name__}")
    try:
        phase = gs.SCOP({"prune_rate": 0.5}).apply(network, inputs=SHAPE)
        print(f"SCOP trains {[parameter.shape for parameter in phase.trainable_params()]}")
    except gs.errors.GoldenStickError as error:
        print(error)


def main() -> None:
    """Before the call that teaches, and after."""
    prune()
    gs.add_layer(Stem, like="nn.Conv2d", weight="kernel", bias="offset",
                 widths={"channels": "inputs", "features": "filters"})
    prune()


if __name__ == "__main__":
    main()
