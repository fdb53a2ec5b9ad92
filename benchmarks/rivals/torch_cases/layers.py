"""Networks of layers, sums and parameters that are not those of every network."""
import torch
from torch import nn

from torch_cases.table import TOKENS, Bottleneck, Net, case, conv3x3


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.a, self.recurrent, self.head = nn.Linear(8, 16), kind(16, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, x):
        y, _ = self.recurrent(torch.relu(self.a(x)))
        return self.head(y[:, -1])


@case("GRU", TOKENS)
def gru():
    return Recurrent(nn.GRU)


@case("LSTM", TOKENS)
def lstm():
    return Recurrent(nn.LSTM)


@case("LayerNorm([C, H, W])")
class LayerNormCHW(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm([16, 8, 8])

    def middle(self, x):
        return torch.relu(self.norm(x))


@case("depthwise convolution with a multiplier of 2")
class DepthMultiplier(Net):
    def __init__(self):
        super().__init__(made=8)
        self.depthwise = conv3x3(8, 16, groups=8)

    def middle(self, x):
        return torch.relu(self.depthwise(torch.relu(x)))


@case("all parameters frozen")
def all_frozen():
    return Net().requires_grad_(False)


@case("first convolution frozen")
def first_frozen():
    network = Net()
    network.a.requires_grad_(False)
    return network


@case("mask (B, 1) times features (B, 16)", (4, 8))
class MaskBroadcast(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.b, self.head = nn.Linear(8, 1), nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(torch.sigmoid(self.gate(x)) * torch.relu(self.b(x)))


@case("convolution by a bare Parameter", unwrapped_parameters=lambda net: [(net.weight, 0)])
class BareParameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 3, 3, 3) / 4)
        self.b, self.head = conv3x3(16, 12), nn.Linear(12, 4)

    def forward(self, x):
        x = torch.relu(nn.functional.conv2d(x, self.weight, padding=1))
        return self.head(torch.relu(self.b(x)).mean((2, 3)))


@case("convolution, sigmoid, convolution")
class SigmoidBetween(Net):
    def __init__(self):
        super().__init__()
        self.sigmoid = nn.Sigmoid()

    def middle(self, x):
        return self.sigmoid(x)


@case("concat, then BatchNorm")
class ConcatNorm(Net):
    def __init__(self):
        super().__init__(read=24)
        self.other, self.norm = conv3x3(3, 8), nn.BatchNorm2d(24)

    def forward(self, x):
        x = torch.relu(self.norm(torch.cat((self.a(x), self.other(x)), 1)))
        return self.head(torch.relu(self.b(x)).mean((2, 3)))


@case("residual sum")
class Residual(Net):
    def __init__(self):
        super().__init__()
        self.block = Bottleneck(16)

    def middle(self, x):
        return self.block(torch.relu(x))


@case("module used twice")
class SharedModule(Net):
    def __init__(self):
        super().__init__()
        self.twice = conv3x3(16, 16)

    def middle(self, x):
        return torch.relu(self.twice(torch.relu(self.twice(torch.relu(x)))))


class SqueezeExcite(nn.Module):
    def __init__(self, channels, reduced):
        super().__init__()
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), nn.Sigmoid()
        self.reduce, self.expand = nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, channels, 1)

    def forward(self, x):
        return x * self.gate(self.expand(torch.relu(self.reduce(self.pool(x)))))


@case("squeeze and excitation")
class Excited(Net):
    def __init__(self):
        super().__init__()
        self.excite = SqueezeExcite(16, 8)

    def middle(self, x):
        return self.excite(torch.relu(x))


@case("concat([y, y])")
class ConcatTwice(Net):
    def __init__(self):
        super().__init__(read=32)

    def middle(self, x):
        return torch.cat((x, x), 1)


@case("concat([y, relu(y)])")
class ConcatRelu(ConcatTwice):
    def middle(self, x):
        return torch.cat((x, torch.relu(x)), 1)


@case("scale of shape (C, 1, 1)")
class Scaled(Net):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(16, 1, 1) + 0.5)

    def middle(self, x):
        return torch.relu(x * self.gamma)


class Flattened(nn.Module):
    def __init__(self, convolution, pixels):
        super().__init__()
        self.a, self.flatten = convolution(3, 16, 3, padding=1), nn.Flatten()
        self.head = nn.Linear(16 * pixels, 4)

    def forward(self, x):
        return self.head(self.flatten(torch.relu(self.a(x))))


@case("Conv1d and flatten", (2, 3, 8))
def conv1d():
    return Flattened(nn.Conv1d, 8)


@case("Conv3d and flatten", (2, 3, 4, 4, 4))
def conv3d():
    return Flattened(nn.Conv3d, 64)


@case("grouped convolution")
class Grouped(Net):
    def __init__(self, made=16):
        super().__init__(made)
        self.grouped = conv3x3(16, 16, groups=2)

    def middle(self, x):
        return torch.relu(self.grouped(torch.relu(x)))


@case("grouped convolution whose groups cut through a concat")
class UnbalancedGroups(Grouped):
    def __init__(self):
        super().__init__(made=4)
        self.other = conv3x3(3, 12)

    def forward(self, x):
        x = self.b(self.middle(torch.cat((self.a(x), self.other(x)), 1)))
        return self.head(torch.relu(x).mean((2, 3)))
