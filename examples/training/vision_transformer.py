"""
A vision transformer: heads and hidden units go, the stream stays.   python examples/training/vision_transformer.py

A layer normalization takes mean and variance over the stream's channels, so these stay; the report says it.
"""
from digits import SHAPE, accuracy, digits, parse, train
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

import golden_stick as gs


class Attention(nn.Cell):
    """Self-attention of several heads (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.qkv, self.out = nn.Dense(width, 3 * width), nn.Dense(width, width)

    def construct(self, x):
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.size).transpose(2, 0, 3, 1, 4)
        weights = ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) * 0.25, -1)
        return self.out(ops.matmul(weights, v).transpose(0, 2, 1, 3).reshape(batch, tokens, self.heads * self.size))


class Block(nn.Cell):
    """Attention and two dense layers, each behind a normalization and beside the stream."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_a, self.attention = nn.LayerNorm((width,)), Attention(width, heads)
        self.norm_b, self.wide, self.narrow = nn.LayerNorm((width,)), nn.Dense(width, 4 * width), nn.Dense(
            4 * width, width)

    def construct(self, x):
        x = x + self.attention(self.norm_a(x))
        return x + self.narrow(ops.gelu(self.wide(self.norm_b(x))))


class VisionTransformer(nn.Cell):
    """Patches of 2x2 pixels, two blocks, the mean of the tokens."""

    def __init__(self, width: int = 64, heads: int = 4):
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, 2)
        self.places = Parameter(initializer(Normal(0.02), (1, 16, width)), name="places")
        self.blocks = nn.SequentialCell(*(Block(width, heads) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm((width,)), nn.Dense(width, 10)

    def construct(self, x):
        x = self.patches(x)
        x = x.reshape(x.shape[0], x.shape[1], -1).swapaxes(1, 2) + self.places
        return self.head(self.norm(self.blocks(x)).mean(1))


def main(arguments=None):
    options = parse(__doc__, arguments, epochs=12)
    training, test = digits(options.images)
    network = VisionTransformer()
    train(network, training, options.epochs, rate=0.001)

    algorithm = gs.OneShot({"prune_rate": 0.5, "heads": "whole"})
    slim = algorithm.convert(algorithm.apply(network, SHAPE), calibration_data=[training[0]])
    solved = accuracy(slim, test)
    train(slim, training, options.epochs, rate=0.0005)
    print(algorithm.report)
    print(f"test accuracy {accuracy(network, test):.4f} before, {solved:.4f} as converted, {accuracy(slim, test):.4f} "
          f"after")
    return slim


if __name__ == "__main__":
    main()
