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

# This file bears the name of the package that it imports, so its folder must not stand first on the path.
HERE = Path(__file__).resolve().parent
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE] + [str(HERE)]

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
from torch_cases import CASES  # noqa: E402

RATE, TOLERANCE = 0.4, 1e-5
# Zero does not stay zero in them.
NOT_ZERO_AT_ZERO = (nn.BatchNorm2d, nn.InstanceNorm2d, nn.Sigmoid)


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
