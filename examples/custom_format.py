"""
An export format of your own: folded weights, and the list of layers as JSON, in one .npz file.

    python examples/custom_format.py

A package makes its format known to `golden-stick export` as well, by two lines of its pyproject.toml:

    [project.entry-points."golden_stick.formats"]
    NPZ = "my_package.custom_format:NPZ"
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import json  # noqa: E402
import tempfile  # noqa: E402

import numpy as np  # noqa: E402
from mindspore import nn  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.base.config import OneOf  # noqa: E402
from golden_stick.deploy.formats import Format, add_format  # noqa: E402


def write(network, tensors, path, numbers="float32"):
    """The network in evaluation, what it takes, where to write, and the options that the user gave."""
    folded = gs.fold(network, tensors)
    graph = gs.trace(folded, tensors)
    arrays = {item.name: item.asnumpy().astype(numbers) for item in folded.get_parameters()}
    layers = [{"operator": node.operator, "place": node.scope, "shape": node.shapes[0]} for node in graph.nodes]
    with open(path, "wb") as file:
        np.savez(file, **arrays, layers=json.dumps(layers))


# What the entry point names. `needs` would list packages that must be installed, `options` what `export` takes besides.
NPZ = Format(write, ".npz", options={"numbers": OneOf(("float16", "float32"))})


def main() -> None:
    """Prune a network, write it in the new format, and read it."""
    add_format("NPZ", write, ".npz", options=NPZ.options)
    network = nn.SequentialCell(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3))
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, inputs=(1, 3, 12, 12)))
    with tempfile.TemporaryDirectory() as folder:
        path = gs.export(slim, (1, 3, 12, 12), os.path.join(folder, "slim"), file_format="NPZ", numbers="float16")
        with np.load(path) as file:
            print(f"{os.path.basename(path)}: {[layer['operator'] for layer in json.loads(str(file['layers']))]}")
            print(*(f"{name} {file[name].shape}" for name in file.files if name != "layers"), sep=", ")


if __name__ == "__main__":
    main()
