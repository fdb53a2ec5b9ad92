"""
PyTorch's side of the deployment benchmark: the same networks, made slim by Torch-Pruning to the widths it is given.

Runs in an environment of its own (pip install torch torch-pruning), started by `Torch` in `sides/client.py`, which
writes one JSON object a line to its standard input and reads one a line from its output:

    {"do": "build", "name": "resnet50", "size": 224, "batch": 1, "widths": {...}, "threads": null}
    {"do": "turn", "which": "slim" or "frozen, slim", "warm": 0.05}     calls for nothing, and one timed
    {"do": "analysis", "name": ..., "size": ...}           seconds of Torch-Pruning's own steps
"""
import copy
import tempfile
import time
from importlib.metadata import version

import torch
import torch_pruning as tp
from sides.serving import serve, timed_turn
from torch import nn

# Tables that are data only; networks.py itself needs MindSpore.
from deployment_parts.tables import CLASSES, MOBILENET_V2, RESNETS, VGG16

RATE, ROUND_TO = 0.45, 16
# Of the largest output: float32 sums in another order.
FROZEN = 1e-4


def conv(inputs, outputs, kernel, stride=1, group=1, bias=False):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=group, bias=bias)


class ResidualBlock(nn.Module):
    def __init__(self, inputs, width, stride, bottleneck, project):
        super().__init__()
        self.outputs = 4 * width if bottleneck else width
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv1, self.conv2, self.conv3 = conv(inputs, width, 1), conv(width, width, 3, stride), \
                conv(width, self.outputs, 1)
            self.norm3 = nn.BatchNorm2d(self.outputs)
        else:
            self.conv1, self.conv2 = conv(inputs, width, 3, stride), conv(width, self.outputs, 3)
        self.norm1, self.norm2, self.relu = nn.BatchNorm2d(width), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.project = conv(inputs, self.outputs, 1, stride) if project else None
        self.project_norm = nn.BatchNorm2d(self.outputs) if project else None

    def forward(self, x):
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        if self.bottleneck:
            out = self.norm3(self.conv3(self.relu(out)))
        if self.project is not None:
            x = self.project_norm(self.project(x))
        return self.relu(out + x)


class ResNet(nn.Module):
    def __init__(self, name):
        super().__init__()
        counts, outputs, bottleneck, size = RESNETS[name]
        small = size == 32
        inputs = 16 if small else 64
        self.stem = conv(3, inputs, 3 if small else 7, 1 if small else 2)
        self.norm, self.relu = nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        blocks = []
        for stage, (count, width) in enumerate(zip(counts, outputs)):
            for index in range(count):
                blocks.append(ResidualBlock(inputs, width, 2 if index == 0 and stage > 0 else 1, bottleneck,
                                            index == 0 and (stage > 0 or bottleneck)))
                inputs = blocks[-1].outputs
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(inputs, CLASSES.get(name, 1000))

    def forward(self, x):
        return self.head(self.blocks(self.pool(self.relu(self.norm(self.stem(x))))).mean((2, 3)))


class VGG16BN(nn.Module):
    def __init__(self, size):
        super().__init__()
        cells, inputs = [], 3
        for width in VGG16:
            cells += [conv(inputs, width, 3, bias=True), nn.BatchNorm2d(width), nn.ReLU(inplace=True)] if width \
                else [nn.MaxPool2d(2, 2)]
            inputs = width or inputs
        self.features, self.flatten = nn.Sequential(*cells), nn.Flatten()
        self.classifier = nn.Sequential(nn.Linear(512 * (size // 32) ** 2, 4096), nn.ReLU(inplace=True),
                                        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000))
        self.head = self.classifier[4]

    def forward(self, x):
        return self.classifier(self.flatten(self.features(x)))


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        super().__init__()
        hidden = inputs * expansion
        cells = [conv(inputs, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)] if expansion > 1 else []
        cells += [conv(hidden, hidden, 3, stride, hidden), nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*cells, conv(hidden, outputs, 1), nn.BatchNorm2d(outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.relu = conv(3, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU6(inplace=True)
        inputs, blocks = 32, []
        for expansion, outputs, count, stride in MOBILENET_V2:
            for index in range(count):
                blocks.append(InvertedResidual(inputs, outputs, stride if index == 0 else 1, expansion))
                inputs = outputs
        self.blocks, self.last, self.last_norm = nn.Sequential(*blocks), conv(inputs, 1280, 1), nn.BatchNorm2d(1280)
        self.head = nn.Linear(1280, 1000)

    def forward(self, x):
        return self.head(self.relu(self.last_norm(self.last(self.blocks(self.relu(self.norm(self.stem(x))))))
                                   ).mean((2, 3)))


def build(name, size):
    torch.manual_seed(0)
    network = ResNet(name) if name in RESNETS else VGG16BN(size) if name == "vgg16_bn" else MobileNetV2()
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
    return network.eval()


def layers_of(network):
    return {name: module for name, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))}


def width(module):
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels


def slim_to(network, example, widths):
    """Torch-Pruning's groups, layer after layer, until every layer has the width that it shall have."""
    slim = copy.deepcopy(network)
    graph = tp.DependencyGraph().build_dependency(slim, example_inputs=example)
    for name, module in layers_of(slim).items():
        kept = widths.get(name, width(module))
        if width(module) > kept:
            prune = tp.prune_linear_out_channels if isinstance(module, nn.Linear) else \
                tp.prune_depthwise_conv_out_channels if module.groups > 1 else tp.prune_conv_out_channels
            graph.get_pruning_group(module, prune, list(range(kept, width(module)))).prune()
    return slim


def pruner_of(network, example, round_to):
    """Torch-Pruning's own pruner."""
    return tp.pruner.BasePruner(network, example, importance=tp.importance.MagnitudeImportance(p=1),
                                pruning_ratio=RATE, round_to=round_to, ignored_layers=[network.head])


def as_it_comes(network, example):
    """What Torch-Pruning's own pruner makes of it at this rate, with its defaults: widths are not rounded."""
    slim = copy.deepcopy(network)
    pruner_of(slim, example, None).step()
    return slim


def frozen(network, example):
    """What PyTorch makes of a network for deployment: traced, batch normalizations folded, weights laid out for it."""
    with torch.no_grad():
        found = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(network, example)))
        # The first calls compile.
        outputs = [found(example) for _ in range(3)][-1]
        expected = network(example)
    difference = float((outputs - expected).abs().max() / expected.abs().max())
    if not difference <= FROZEN:
        raise RuntimeError(f"the frozen network must give the outputs of its network within {FROZEN} of the largest, "
                           f"but differs by {difference:.2g}")
    return found


class Side:
    """What was built last, and the turns of it."""

    def __init__(self):
        self._networks, self._example = {}, None

    def build(self, name, size, batch, widths, threads):
        if threads:
            torch.set_num_threads(threads)
        network = build(name, size)
        self._example = torch.randn(batch, 3, size, size)
        slim = slim_to(network, self._example[:1], widths)
        networks = {"original": network, "slim": slim, "own": as_it_comes(network, self._example[:1])}
        got = {layer: width(module) for layer, module in layers_of(slim).items() if layer in widths}
        macs = {which: tp.utils.count_ops_and_params(one, self._example[:1])[0]
                for which, one in networks.items()}
        self._networks = {**networks, **{f"frozen, {which}": frozen(one, self._example)
                                         for which, one in networks.items()}}
        return {"same_widths": got == widths, "macs": macs, "turns": list(self._networks),
                "bytes": {which: self._size(one) for which, one in networks.items()},
                "threads": torch.get_num_threads(), **versions()}

    @staticmethod
    def _size(network):
        with tempfile.TemporaryFile() as file:
            torch.save(network.state_dict(), file)
            return file.tell()

    @torch.inference_mode()
    def turn(self, which, warm):
        network = self._networks[which]
        return timed_turn(lambda: network(self._example), warm)

    @staticmethod
    def analysis(name, size):
        """Seconds of its high-level pruner: what it does when made (trace and group), and its step (score and cut)."""
        network, example = build(name, size), torch.randn(1, 3, size, size)
        wall, cpu = time.perf_counter(), time.process_time()
        pruner = pruner_of(network, example, ROUND_TO)
        made, made_cpu = time.perf_counter(), time.process_time()
        pruner.step()
        return {"trace": made - wall, "step": time.perf_counter() - made, "trace_cpu": made_cpu - cpu,
                "step_cpu": time.process_time() - made_cpu, **versions()}


def versions():
    return {"versions": {name: version(name) for name in ("torch", "torch-pruning")}}


if __name__ == "__main__":
    serve(Side())
