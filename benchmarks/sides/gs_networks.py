"""The ResNets of `deployment_parts/networks.py` once more, named as mindspore-gs's SCOP wants them."""
from deployment_parts.tables import CLASSES, RESNETS
from mindspore import nn, ops


def conv(inputs, outputs, kernel, stride=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, pad_mode="pad", padding=kernel // 2)


class Block(nn.Cell):
    """Each convolution has its normalization right behind it: mindspore-gs takes the next child for that."""

    def __init__(self, inputs, width, stride, bottleneck, project):
        super().__init__()
        self.outputs = 4 * width if bottleneck else width
        if bottleneck:
            self.conv1, self.bn1 = conv(inputs, width, 1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
            self.conv3, self.bn3 = conv(width, self.outputs, 1), nn.BatchNorm2d(self.outputs)
        else:
            self.conv1, self.bn1 = conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = conv(width, self.outputs, 3), nn.BatchNorm2d(self.outputs)
        self.bottleneck, self.relu, self.downsample = bottleneck, nn.ReLU(), None
        if project:
            self.downsample = nn.SequentialCell(conv(inputs, self.outputs, 1, stride), nn.BatchNorm2d(self.outputs))

    def construct(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.bottleneck:
            out = self.bn3(self.conv3(self.relu(out)))
        if self.downsample is not None:
            x = self.downsample(x)
        return self.relu(out + x)


class LayeredResNet(nn.Cell):
    """Its stages are children named `layer1`, `layer2`, ...: mindspore-gs looks at such only."""

    def __init__(self, name):
        super().__init__()
        counts, widths, bottleneck, size = RESNETS[name]
        small = size == 32
        inputs = 16 if small else 64
        self.stem = conv(3, inputs, 3 if small else 7, 1 if small else 2)
        self.norm, self.relu = nn.BatchNorm2d(inputs), nn.ReLU()
        self.pool = None if small else nn.MaxPool2d(3, 2, pad_mode="pad", padding=1)
        self.stages = len(counts)
        for stage, (count, width) in enumerate(zip(counts, widths), 1):
            blocks = []
            for index in range(count):
                blocks.append(Block(inputs, width, 2 if index == 0 and stage > 1 else 1, bottleneck,
                                    index == 0 and (stage > 1 or bottleneck)))
                inputs = blocks[-1].outputs
            setattr(self, f"layer{stage}", nn.SequentialCell(blocks))
        self.head = nn.Dense(inputs, CLASSES.get(name, 1000))

    def construct(self, x):
        x = self.relu(self.norm(self.stem(x)))
        if self.pool is not None:
            x = self.pool(x)
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.stages == 4:
            x = self.layer4(x)
        return self.head(ops.mean(x, (2, 3)))
