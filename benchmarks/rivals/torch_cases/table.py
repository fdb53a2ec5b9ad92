"""The table of the networks, and what most of them are made of."""
import torch
from torch import nn

IMAGES, TOKENS = (2, 3, 8, 8), (2, 5, 8)
CASES = {}


def case(name, shape=IMAGES, **hints):
    """Enter a network in the table. A hint is what the user may tell Torch-Pruning besides, and is run as well."""
    def enter(factory):
        CASES[name] = (factory, shape, hints)
        return factory
    return enter


def conv3x3(inputs, outputs, **options):
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


class Net(nn.Module):
    """Convolution `a`, what is difficult, convolution `b`, a mean over the pixels and a dense layer."""

    def __init__(self, made=16, read=16):
        super().__init__()
        self.a, self.b, self.head = conv3x3(3, made), conv3x3(read, 12), nn.Linear(12, 4)

    def middle(self, x):
        return torch.relu(x)

    def forward(self, x):
        x = self.b(self.middle(self.a(x)))
        return self.head(torch.relu(x).mean((2, 3)))


class Bottleneck(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.a, self.b = conv3x3(channels, channels), conv3x3(channels, channels)

    def forward(self, x):
        return x + torch.relu(self.b(torch.relu(self.a(x))))
