"""
Residual networks: ResNet-20 ... ResNet-110 for CIFAR-10, and ResNet-50.

Source: He et al., `Deep Residual Learning for Image Recognition <https://arxiv.org/abs/1512.03385>`_, 2015.
The cells carry the names of the PyTorch networks in wide use (`layer1.0.conv1`), so that weights map one to one.
"""
from typing import Sequence, Type, Union

from mindspore import Tensor, nn, ops
from mindspore.common.initializer import HeNormal

__all__ = [
    "ResNet",
    "SmallImageResNet",
    "resnet8",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet50",
    "resnet50_cifar",
]


def _conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        pad_mode="pad",
        padding=kernel_size // 2,
        weight_init=HeNormal(mode="fan_in", nonlinearity="relu"),
    )


def _dense(in_channels: int, out_channels: int) -> nn.Dense:
    return nn.Dense(in_channels, out_channels, weight_init=HeNormal(nonlinearity="relu"), bias_init="zeros")


class PadShortcut(nn.Cell):
    """
    Shortcut without parameters (option A of the paper): every `stride`-th pixel, new channels are zeros.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output; half of the zero channels come before the input's, half after.
        stride (int): Every how many pixels one is kept.

    Inputs:
        - **x** (Tensor) - Float32 of shape :math:`(N, C_{in}, H, W)`.

    Outputs:
        Tensor of shape :math:`(N, C_{out}, \\lceil H / stride \\rceil, \\lceil W / stride \\rceil)`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        before = (out_channels - in_channels) // 2
        after = out_channels - in_channels - before
        self.stride = stride
        self.pad = nn.Pad(((0, 0), (before, after), (0, 0), (0, 0)))

    def construct(self, x: Tensor) -> Tensor:
        # Not x[:, :, ::2, ::2]: in PyNative mode MindSpore 2.10 has no working gradient of that on the CPU.
        return self.pad(ops.strided_slice(x, (0, 0, 0, 0), x.shape, (1, 1, self.stride, self.stride)))


class BasicBlock(nn.Cell):
    """Two 3x3 convolutions and a shortcut: (N, `in_channels`, H, W) -> (N, `channels`, H / stride, W / stride)."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__()
        self.conv1 = _conv(in_channels, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        if stride != 1 or in_channels != channels:
            self.shortcut = PadShortcut(in_channels, channels, stride)
        else:
            self.shortcut = nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.shortcut(x))


class Bottleneck(nn.Cell):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: (N, `in_channels`, H, W) -> (N, 4 `channels`, H / stride, ...)."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1):
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = _conv(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _conv(channels, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.SequentialCell(
                _conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels)
            )
        else:
            self.downsample = nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.relu(out + self.downsample(x))


def _stage(
    block: Type[Union[BasicBlock, Bottleneck]], in_channels: int, channels: int, blocks: int, stride: int
) -> nn.SequentialCell:
    cells = [block(in_channels, channels, stride)]
    cells += [block(channels * block.expansion, channels) for _ in range(blocks - 1)]
    return nn.SequentialCell(cells)


class SmallImageResNet(nn.Cell):
    """
    The CIFAR-10 network of the paper's section 4.2: three stages of 16, 32 and 64 channels.

    Args:
        blocks (int): Blocks of two convolutions per stage; the network has :math:`6 \\cdot blocks + 2` layers.
        num_classes (int): Number of classes. Default: ``10``.

    Inputs:
        - **x** (Tensor) - Float32 images of shape :math:`(N, 3, 32, 32)`.

    Outputs:
        Tensor, logits of shape :math:`(N, num\\_classes)`.
    """

    def __init__(self, blocks: int, num_classes: int = 10):
        super().__init__()
        self.conv1 = _conv(3, 16, 3)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(BasicBlock, 16, 16, blocks, stride=1)
        self.layer2 = _stage(BasicBlock, 16, 32, blocks, stride=2)
        self.layer3 = _stage(BasicBlock, 32, 64, blocks, stride=2)
        self.linear = _dense(64, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.linear(ops.mean(out, (2, 3)))


class ResNet(nn.Cell):
    """
    The ImageNet network of bottleneck blocks; the stride sits on the 3x3 convolution.

    Args:
        blocks (Sequence[int]): Blocks in each of the four stages, ``(3, 4, 6, 3)`` for ResNet-50.
        num_classes (int): Number of classes. Default: ``1000``.
        small_images (bool): Begin with a 3x3 convolution and no pooling instead of a 7x7 one with stride 2 and
            pooling, so that 32x32 images are not down to one pixel at the end. Default: ``False``.

    Inputs:
        - **x** (Tensor) - Float32 images of shape :math:`(N, 3, H, W)`.

    Outputs:
        Tensor, logits of shape :math:`(N, num\\_classes)`.
    """

    def __init__(self, blocks: Sequence[int], num_classes: int = 1000, small_images: bool = False):
        super().__init__()
        self.conv1 = _conv(3, 64, 3) if small_images else _conv(3, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2, pad_mode="pad", padding=1)
        self.layer1 = _stage(Bottleneck, 64, 64, blocks[0], stride=1)
        self.layer2 = _stage(Bottleneck, 256, 128, blocks[1], stride=2)
        self.layer3 = _stage(Bottleneck, 512, 256, blocks[2], stride=2)
        self.layer4 = _stage(Bottleneck, 1024, 512, blocks[3], stride=2)
        self.fc = _dense(2048, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        out = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return self.fc(ops.mean(out, (2, 3)))


def resnet8(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-8 for 32x32 images: 0.08 million parameters, to try things out."""
    return SmallImageResNet(1, num_classes)


def resnet20(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-20 for 32x32 images: 0.27 million parameters."""
    return SmallImageResNet(3, num_classes)


def resnet32(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-32 for 32x32 images: 0.46 million parameters."""
    return SmallImageResNet(5, num_classes)


def resnet44(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-44 for 32x32 images: 0.66 million parameters."""
    return SmallImageResNet(7, num_classes)


def resnet56(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-56 for 32x32 images: 0.85 million parameters."""
    return SmallImageResNet(9, num_classes)


def resnet110(num_classes: int = 10) -> SmallImageResNet:
    """ResNet-110 for 32x32 images: 1.7 million parameters."""
    return SmallImageResNet(18, num_classes)


def resnet50(num_classes: int = 1000) -> ResNet:
    """ResNet-50 for 224x224 images: 25.6 million parameters."""
    return ResNet((3, 4, 6, 3), num_classes)


def resnet50_cifar(num_classes: int = 10) -> ResNet:
    """ResNet-50 with a 3x3 first convolution, for 32x32 images: 23.5 million parameters."""
    return ResNet((3, 4, 6, 3), num_classes, small_images=True)
