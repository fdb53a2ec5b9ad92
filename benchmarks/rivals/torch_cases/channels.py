"""Networks that move, split, join and count channels."""
import torch
from torch import nn

from torch_cases.table import TOKENS, Bottleneck, Net, case


@case("channel shuffle", round_to=lambda net: 2)
class ChannelShuffle(Net):
    def middle(self, x):
        n, c, h, w = x.shape
        return torch.relu(x).view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@case("NHWC permute and flatten")
class PermuteFlatten(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Conv2d(3, 16, 3, 2, padding=1), nn.Linear(16 * 16, 4)

    def forward(self, x):
        x = torch.relu(self.a(x)).permute(0, 2, 3, 1)
        return self.head(x.reshape(x.shape[0], -1))


@case("concat of the network's input and a convolution")
class ConcatInput(Net):
    def __init__(self):
        super().__init__(read=19)

    def forward(self, x):
        x = torch.cat((x, torch.relu(self.a(x))), 1)
        return self.head(torch.relu(self.b(x)).mean((2, 3)))


@case("flip over channels")
class Flip(Net):
    def middle(self, x):
        return torch.flip(torch.relu(x), (1,))


@case("roll over channels")
class Roll(Net):
    def middle(self, x):
        return torch.roll(torch.relu(x), 3, 1)


@case("view with a hard-coded width")
class HardCodedView(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.pool, self.head = nn.Conv2d(3, 16, 3, 2, padding=1), nn.MaxPool2d(2, 2), nn.Linear(64, 4)

    def forward(self, x):
        x = self.pool(torch.relu(self.a(x)))
        return self.head(x.view(x.shape[0], 64))


@case("InstanceNorm with running statistics")
class InstanceNorm(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm2d(16, affine=True, track_running_stats=True)

    def middle(self, x):
        return torch.relu(self.norm(x))


@case("split with fixed sizes")
class FixedSplit(Net):
    def __init__(self):
        super().__init__(read=8)

    def middle(self, x):
        x, gate = torch.split(x, [8, 8], dim=1)
        return torch.relu(x) * gate


@case("slice x[:, :8] of the channels")
class FixedSlice(Net):
    def __init__(self):
        super().__init__(read=8)

    def middle(self, x):
        return torch.relu(x[:, :8]) * x[:, 8:]


@case("frozen normalization whose numbers are buffers")
class FrozenNorm(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 16).reshape(1, 16, 1, 1))
        self.register_buffer("shift", torch.linspace(-0.5, 0.5, 16).reshape(1, 16, 1, 1))

    def middle(self, x):
        return torch.relu(x * self.scale + self.shift)


@case("network's input plus a convolution of it")
class InputSum(Net):
    def __init__(self):
        super().__init__(made=3, read=3)

    def forward(self, x):
        x = self.b(torch.relu(x + self.a(x)))
        return self.head(torch.relu(x).mean((2, 3)))


@case("position embedding of shape (1, C, H, W)", unwrapped_parameters=lambda net: [(net.position, 1)])
class PositionEmbedding(Net):
    def __init__(self):
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 16, 8, 8))

    def middle(self, x):
        return torch.relu(x + self.position)


def three_heads(net):
    return {net.q: 4, net.k: 4, net.v: 4}


@case("attention, separate q, k, v", TOKENS, num_heads=three_heads)
class SeparateAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads, self.scale = 4, 8 ** -0.5
        self.embed, self.project, self.head = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 4)
        self.q, self.k, self.v = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)

    def split_heads(self, x):
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x):
        x = torch.relu(self.embed(x))
        q, k, v = self.split_heads(self.q(x)), self.split_heads(self.k(x)), self.split_heads(self.v(x))
        y = torch.softmax(q @ k.transpose(-1, -2) * self.scale, -1)
        y = (y @ v).transpose(1, 2).reshape(x.shape[0], x.shape[1], -1)
        return self.head((x + self.project(y)).mean(1))


@case("attention, fused qkv and unbind", TOKENS, num_heads=lambda net: {net.qkv: 4})
class FusedAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads, self.scale = 4, 8 ** -0.5
        self.embed, self.qkv = nn.Linear(8, 32), nn.Linear(32, 96)
        self.project, self.head = nn.Linear(32, 32), nn.Linear(32, 4)

    def three(self, qkv):
        return qkv.unbind(0)

    def forward(self, x):
        x = torch.relu(self.embed(x))
        b, n, _ = x.shape
        q, k, v = self.three(self.qkv(x).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4))
        y = torch.softmax(q @ k.transpose(-1, -2) * self.scale, -1)
        y = (y @ v).transpose(1, 2).reshape(b, n, -1)
        return self.head((x + self.project(y)).mean(1))


@case("attention, fused qkv and indices", TOKENS, num_heads=lambda net: {net.qkv: 4})
class IndexedAttention(FusedAttention):
    def three(self, qkv):
        return qkv[0], qkv[1], qkv[2]


@case("attention, head width hard-coded", TOKENS, num_heads=three_heads)
class HardCodedAttention(SeparateAttention):
    def split_heads(self, x):
        return x.reshape(x.shape[0], x.shape[1], 4, 8).transpose(1, 2)


@case("index_select over channels")
class IndexSelect(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("order", torch.tensor([15, 3, 0, 7, 1, 11, 2, 9, 4, 13, 5, 14, 6, 8, 10, 12]))

    def middle(self, x):
        return torch.index_select(torch.relu(x), 1, self.order)


@case("YOLOv8 C2f: chunk, and concat of a list")
class C2f(Net):
    def __init__(self):
        super().__init__(made=32, read=64)
        self.blocks = nn.ModuleList([Bottleneck(16), Bottleneck(16)])

    def middle(self, x):
        y = list(torch.relu(x).chunk(2, 1))
        for block in self.blocks:
            y.append(block(y[-1]))
        return torch.cat(y, 1)


@case("PixelShuffle")
class PixelShuffle(Net):
    def __init__(self):
        super().__init__(made=32, read=8)
        self.shuffle = nn.PixelShuffle(2)

    def middle(self, x):
        return self.shuffle(torch.relu(x))
