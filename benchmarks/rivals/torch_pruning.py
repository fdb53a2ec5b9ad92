"""
Torch-Pruning on the networks of `tests/rival_cases.py`, written in PyTorch: what its high-level pruner makes of each.

    python benchmarks/rivals/torch_pruning.py [--output torch_pruning.json] [--case WORDS ...]

Runs in an environment of its own, see README.md here. The yardstick owes nothing to Torch-Pruning's index maps: which
filters it removed is read off the biases, whose numbers are all different, and the masked network is the original with
those filters zeroed and whatever is made of them kept at zero up to the layer that reads it. These networks are built
so that this is enough: between two layers zero stays zero but for normalizations and sigmoids, which are seen to.
"""
import sys
from pathlib import Path

# This file bears the name of the package that it imports, and its folder stands first on the path.
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]

import argparse  # noqa: E402
import copy  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import warnings  # noqa: E402
from importlib.metadata import version  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch_pruning as tp  # noqa: E402
from torch import nn  # noqa: E402

RATE, TOLERANCE = 0.4, 1e-5
IMAGES, TOKENS = (2, 3, 8, 8), (2, 5, 8)
# Zero does not stay zero in them.
NOT_ZERO_AT_ZERO = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.Sigmoid)
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


class Bottleneck(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.a, self.b = conv3x3(channels, channels), conv3x3(channels, channels)

    def forward(self, x):
        return x + torch.relu(self.b(torch.relu(self.a(x))))


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


def build(factory):
    """The network in evaluation; its normalizations are not left at ones and zeros, which hide mistakes."""
    torch.manual_seed(0)
    network = factory().eval()
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
        if isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d)):
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


def filters(network):
    """Layer -> its filters. The bare weight of a convolution is a layer of its own name."""
    return {name.removesuffix(".weight"): value.shape[0] for name, value in network.named_parameters()
            if value.dim() > 1 and name.endswith("weight")}


def removed(before, after, axis):
    """Positions along an axis that are gone, found by their first numbers, which are all different."""
    first = [value.detach().movedim(axis, 0).reshape(value.shape[axis], -1)[:, 0] for value in (before, after)]
    return ~torch.isin(first[0], first[1])


def hide_zeros(module, inputs, output):
    """Forward hook: a channel that comes in as zero goes out as zero."""
    values = inputs[0]
    return output * (values != 0).any(0).flatten(1).any(1).reshape(1, -1, *[1] * (values.dim() - 2))


@torch.no_grad()
def mask(original, slim):
    """The original with the filters that `slim` lost hidden from whatever reads them."""
    masked = copy.deepcopy(original)
    bare = dict(slim.named_parameters(recurse=False))
    for name, value in masked.named_parameters(recurse=False):
        for axis in (axis for axis in range(value.dim()) if value.shape[axis] != bare[name].shape[axis]):
            value.movedim(axis, 0)[removed(value, bare[name], axis)] = 0
    others = dict(slim.named_modules())
    for name, module in masked.named_modules():
        if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
            gone = removed(module.bias, others[name].bias, 0)
            module.weight[gone], module.bias[gone] = 0, 0
        if isinstance(module, NOT_ZERO_AT_ZERO):
            module.register_forward_hook(hide_zeros)
    return masked


def first_line(error):
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def prune(factory, shape, hint):
    """One run of Torch-Pruning: its verdict, and each layer's filters before and after."""
    network, example = build(factory), torch.randn(shape)
    original = copy.deepcopy(network)
    try:
        tp.pruner.BasePruner(network, example, importance=tp.importance.MagnitudeImportance(p=1), pruning_ratio=RATE,
                             ignored_layers=[network.head], **{key: make(network) for key, make in hint.items()}).step()
    except Exception as error:  # pylint: disable=broad-except
        return {"verdict": f"crash in step: {first_line(error)}", "layers": {}}
    after = filters(network)
    layers = {name: [count, after[name]] for name, count in filters(original).items()}
    return {"verdict": judge(original, network, shape), "layers": layers}


@torch.no_grad()
def judge(original, slim, shape):
    """What came of it, from running the slim and the masked network on fresh inputs."""
    if [value.shape for value in original.parameters()] == [value.shape for value in slim.parameters()]:
        return "nothing pruned"
    inputs = torch.randn(shape)
    try:
        got = slim(inputs)
    except Exception as error:  # pylint: disable=broad-except
        return f"forward fails: {first_line(error)}"
    wanted = mask(original, slim)(inputs)
    if wanted.shape != got.shape:
        return f"wrong function (output of shape {tuple(got.shape)}, not {tuple(wanted.shape)})"
    difference, scale = (wanted - got).abs().max().item(), wanted.abs().max().item()
    if difference <= TOLERANCE * scale:
        return "exact"
    return f"wrong function (max diff {difference:.3g}, largest output {scale:.3g})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="a JSON file for benchmarks/rivals/compare.py")
    parser.add_argument("--case", nargs="+", default=[""], help="only cases whose names contain one of these words")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    found = {}
    for name, (factory, shape, hints) in CASES.items():
        if not any(word in name for word in options.case):
            continue
        found[name] = {}
        for told in [{}] + [{key: make} for key, make in hints.items()]:
            result = prune(factory, shape, told)
            found[name][", ".join(told)] = result
            changed = ", ".join(f"{layer} {a} -> {b}" for layer, (a, b) in result["layers"].items() if a != b)
            print(f"{name + ''.join(f' [{key}]' for key in told):<62} {result['verdict']}  {changed}".rstrip())
    if options.output:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, " + \
            ("a GPU" if torch.cuda.is_available() else "no GPU")
        versions = {name: version(name) for name in ("torch", "torch-pruning")}
        versions.update(python=platform.python_version(), numpy=np.__version__)
        options.output.write_text(json.dumps({"versions": versions, "machine": machine, "cases": found}, indent=1))


if __name__ == "__main__":
    main()
