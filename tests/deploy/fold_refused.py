"""Networks whose normalization cannot go anywhere, each with what the report must say."""
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from tests import networks
from tests.deploy.fold_layers import array


class Net(nn.Cell):
    """A layer and a normalization; subclasses say what comes between or besides."""

    def __init__(self):
        super().__init__()
        self.conv = networks.conv3x3(4, 4)
        self.norm = nn.BatchNorm2d(4)

    def construct(self, x):
        return self.norm(self.conv(x))


class LayerReadByTwo(Net):
    def construct(self, x):
        x = self.conv(x)
        return self.norm(x) + x


class LayerCalledTwice(Net):
    def construct(self, x):
        return self.norm(self.conv(self.conv(x)))


class NormalizationCalledTwice(Net):
    def construct(self, x):
        return self.norm(self.conv(self.norm(x)))


class SomethingBetween(Net):
    def construct(self, x):
        return self.norm(ops.relu(self.conv(x)))


class PaddedBetween(Net):
    def construct(self, x):
        return self.norm(ops.pad(self.conv(x), (1, 1, 1, 1)))


class ReadByAConvolutionThatPads(Net):
    def construct(self, x):
        return self.conv(self.norm(x))


class TwoLayers(Net):
    """Another layer besides, of as many channels; subclasses put them side by side."""

    def __init__(self):
        super().__init__()
        self.other = networks.conv3x3(4, 4)
        self.norm = nn.BatchNorm2d(8)


class ABranchThatSomethingElseReads(TwoLayers):
    def construct(self, x):
        y = self.other(x)
        return self.norm(ops.concat((self.conv(x), y), 1)).sum() + y


class APaddedBranch(TwoLayers):
    def construct(self, x):
        x = ops.concat((self.conv(x)[:, :, 1:, 1:], self.other(x)[:, :, 1:, 1:]), 1)
        return self.norm(ops.pad(x, (1, 0, 1, 0)))


class ABranchFromElsewhere(TwoLayers):
    def construct(self, x):
        return self.norm(ops.concat((self.conv(x), x), 1))


class ABranchOfNumbers(TwoLayers):
    def construct(self, x):
        return self.norm(ops.concat((self.conv(x), ops.ones(x.shape, x.dtype)), 1))


class ASharedBias(TwoLayers):
    """A bias added behind the concatenation is that of one layer, if of any."""

    def __init__(self):
        super().__init__()
        self.bias = Parameter(Tensor(array((8,))), name="bias")

    def construct(self, x):
        return self.norm(ops.bias_add(ops.concat((self.conv(x), self.other(x)), 1), self.bias))


class CutChannels(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2)

    def construct(self, x):
        return self.norm(self.conv(x)[:, :2])


class HalfOfTheChannels(CutChannels):
    def construct(self, x):
        x = self.conv(x)
        return ops.concat((self.norm(x[:, :2]), x[:, 2:]), 1)


class NewAxis(Net):
    def construct(self, x):
        masks = {"new_axis_mask": 4, "shrink_axis_mask": 8}
        return self.norm(ops.strided_slice(self.conv(x), (0, 0, 0, 2), (2, 4, 1, 3), (1, 1, 1, 1), **masks))


class SlicedThenPadded(Net):
    def construct(self, x):
        return self.conv(self.norm(x)[:, :, 1:, 1:])


class MixedChannels(Net):
    """A shuffle of space into channels: one channel of the layer is several of the normalization's."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(16)

    def construct(self, x):
        x = self.conv(x)
        x = x.reshape(x.shape[0], 4, 2, 4, 2, 4).transpose(0, 1, 3, 5, 2, 4)
        return self.norm(x.transpose(0, 1, 4, 5, 2, 3).reshape(x.shape[0], 16, 4, 4))


class MixedInputs(nn.Cell):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.dense = nn.Dense(8, 3)

    def construct(self, x):
        return self.dense(self.norm(x))


class ReadBySomethingElse(Net):
    def construct(self, x):
        return ops.relu(self.norm(x))


class NoLayer(nn.Cell):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)

    def construct(self, x):
        return self.norm(x)


class SharedWeight(Net):
    def __init__(self):
        super().__init__()
        self.other = networks.conv3x3(4, 4)
        self.other.weight = self.conv.weight

    def construct(self, x):
        return self.norm(self.conv(x)) + self.other(2 * x)


class TiedWeight(Net):
    """The other Cell that holds the weight is not called, but it holds it."""

    def __init__(self):
        super().__init__()
        self.other = networks.conv3x3(4, 4)
        self.other.weight = self.conv.weight


class SharedBias(Net):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, has_bias=True)

    def construct(self, x):
        return self.norm(self.conv(x)) * self.conv.bias.sum()


class OwnCode(nn.Conv2d):
    def construct(self, x):
        return self.conv2d(x, self.weight)


class OwnLayer(Net):
    def __init__(self):
        super().__init__()
        self.conv = OwnCode(4, 4, 3)


class NormalizationAndMore(nn.BatchNorm2d):
    def construct(self, x):
        return ops.relu(super().construct(x))


class OwnNormalization(Net):
    def __init__(self):
        super().__init__()
        self.norm = NormalizationAndMore(4)


class OwnCell(nn.Cell):
    """A normalization written by hand: there is no Cell that could become an Identity."""

    def __init__(self):
        super().__init__()
        for name in ("gamma", "beta", "mean", "variance"):
            setattr(self, name, Parameter(Tensor(np.linspace(0.5, 1.5, 4), ms.float32), name=name))
        self.batch_norm = ops.BatchNorm(is_training=False)

    def construct(self, x):
        return self.batch_norm(x, self.gamma, self.beta, self.mean, self.variance)[0]


class HandWrittenNormalization(Net):
    def __init__(self):
        super().__init__()
        self.norm = OwnCell()


class BatchStatistics(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, use_batch_statistics=True)


class ComputedWeight(Net):
    def construct(self, x):
        weight = self.conv.weight - self.conv.weight.mean()
        return self.norm(ops.conv2d(x, weight))


class HandWrittenLayer(nn.Cell):
    def __init__(self):
        super().__init__()
        self.weight = Parameter(Tensor(array((4, 6))), name="weight")
        self.product = ops.MatMul()
        self.norm = nn.BatchNorm1d(6)

    def construct(self, x):
        return self.norm(self.product(x, self.weight))


class UnusedBias(Net):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, has_bias=True)
        self.conv.has_bias = False


class NameTaken(Net):
    def __init__(self):
        super().__init__()
        self.extra = Parameter(Tensor(np.ones(4), ms.float32), name="conv.bias")


class ReadByTransposed(nn.Cell):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.conv = nn.Conv2dTranspose(4, 4, 3)

    def construct(self, x):
        return self.conv(self.norm(x))


class ReadByTwo(Net):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def construct(self, x):
        x = self.norm(x)
        return self.conv(x) + x


REFUSED = [
    (LayerReadByTwo, "before it: 'Conv2D', which something else reads too"),
    (LayerCalledTwice, "before it: 'Conv2D', whose weight is read more than once"),
    (NormalizationCalledTwice, "one of its parameters is read more than once"),
    (SomethingBetween, "before it: 'ReLU'; after it: an output of the network"),
    (PaddedBetween, "before it: 'Pad"),
    (ReadByAConvolutionThatPads, "before it: an input of the network, or a parameter; after it: 'conv', a convolution "
                                 "with zero padding"),
    (MixedChannels, "before it: 'conv', whose channels are mixed, cut or changed on the way"),
    (ABranchThatSomethingElseReads, "before it: 'Concat' of 'Conv2D', which something else reads too"),
    (APaddedBranch, "before it: 'Pad"),
    (ABranchFromElsewhere, "before it: 'Concat' of an input of the network, or a parameter"),
    (ABranchOfNumbers, "before it: 'Concat' of numbers written in the code"),
    (ASharedBias, "before it: 'Concat' of 'conv', whose channels are mixed, cut or changed on the way"),
    (CutChannels, "before it: 'conv', whose channels are mixed, cut or changed on the way"),
    (HalfOfTheChannels, "before it: 'Conv2D', which something else reads too"),
    (NewAxis, "before it: 'StridedSlice'"),
    (SlicedThenPadded, "after it: 'conv', a convolution with zero padding"),
    (MixedInputs, "after it: 'dense', whose inputs are mixed on the way"),
    (ReadBySomethingElse, "after it: 'ReLU'"),
    (NoLayer, "before it: an input of the network, or a parameter; after it: an output of the network"),
    (SharedWeight, "before it: 'Conv2D', whose weight is read more than once"),
    (TiedWeight, "before it: 'Conv2D', whose weight belongs to several Cells"),
    (SharedBias, "before it: 'conv', whose bias is read more than once"),
    (OwnLayer, "'conv', a Cell of another kind ('OwnCode')"),
    (OwnNormalization, "held by a 'NormalizationAndMore', a Cell of another kind"),
    (HandWrittenNormalization, "OwnCell', a Cell of another kind"),
    (BatchStatistics, "it normalizes by the statistics of the batch"),
    (ComputedWeight, "before it: 'Conv2D', whose weight is computed, or written in the code"),
    (HandWrittenLayer, "HandWrittenLayer')"),
    (UnusedBias, "'conv', the layer beside it, has a bias that it does not use"),
    (NameTaken, "'conv', the layer beside it, needs a bias, but its name 'conv.bias' is another parameter's"),
    (ReadByTransposed, "after it: 'conv', a transposed convolution, whose outputs do not all read as many inputs"),
    (ReadByTwo, "after it: 'Add'"),
]
