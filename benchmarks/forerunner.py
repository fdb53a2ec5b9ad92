"""
The tests of MindSpore Golden Stick's pruners, run on golden_stick's, and which of them pass.

    python benchmarks/forerunner.py path/to/golden-stick/tests/st [--package mindspore_gs]

The folder is `tests/st` of its repository (https://gitee.com/mindspore/golden-stick; the wheel of 1.4.1 has none). Its
files are copied, and changed as listed in `CHANGES`: names of modules, the device, MNIST, and words of messages, which
are golden_stick's own. With ``--package mindspore_gs``, modules and words stay, and the tests run on that package, in
an environment where it can be imported. Prints a table; ends with 0 if as many pass as `--at-least` says.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

FILES = ("golden_stick/test_compalgo.py", "golden_stick/test_callback_export.py", "pruner/ops/test_masked_cell.py",
         "pruner/ops/test_masked_conv2d.py", "pruner/ops/test_masked_dense.py", "pruner/scop/test_scop.py",
         "pruner/scop/test_scop_infer.py", "pruner/scop/test_scop_resnet50_cifar10.py",
         "pruner/uni_pruning/test_uni_pruning.py", "pruner/uni_pruning/test_unipruning_masked_cell.py")
# Trains on 20,000 images of CIFAR-10, and asks for a loss alone.
LEFT_OUT = ("accuracy",)

# Pattern -> replacement, and why.
CHANGES = (
    (r"device_target=(['\"])GPU\1", 'device_target="CPU"', "device"),
    (r"^.*enable_graph_kernel=True.*$", "", "device"),
    (r"tests\.st\.models", "models", "the folder's own place"),
    (r"\[3, 3, 224, 224\]|\[16, 3, 224, 224\]", "[2, 3, 64, 64]", "device: smaller images"),
)
MODULES = (
    (r"from mindspore_gs\.comp_algo import", "from golden_stick.comp_algo import", "module"),
    (r", KfConv2d$", "\nfrom golden_stick.scop.cells import MixingLayer as KfConv2d", "module"),
    (r"from mindspore_gs\.pruner[\w.]* import", "from golden_stick.pruner import", "module"),
    (r"UniPruningMasked(Conv2d|Dense)", r"Masked\1", "module: one class for both"),
    (r"from mindspore_gs import", "from golden_stick import", "module"),
    (r",\s*match=(?:\s*[rf]?\"(?:[^\"\\]|\\.)*\")+", "", "words"),
)
# What the test of the exported MindIR trains: the network and the data of the folder's own examples.
LENET = '''
from mindspore import nn


def LeNet5(classes):
    return nn.SequentialCell(nn.Conv2d(1, 6, 5, pad_mode="valid"), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Flatten(),
                             nn.Dense(6 * 14 * 14, classes))
'''
MNIST = '''
import mindspore as ms
import numpy as np


def create_dataset(path, batch_size, repeat):
    images = np.random.default_rng(0).normal(size=(2 * batch_size, 1, 32, 32)).astype(np.float32)
    labels = np.arange(2 * batch_size, dtype=np.int32) % 10
    return ms.dataset.NumpySlicesDataset((images, labels), ["image", "label"]).batch(batch_size)
'''
# Of tests by a part of their names.
REASONS = {
    "cifar10.py::test_resnet[": "asks that the first Cell in the network of the phase is a convolution: here it is the "
                                "network inside",
    "::test_resnet_convert": "asks for inner names of the graph, and that filters go which nobody named; it fails on "
                             "mindspore-gs too",
}


def prepare(source: Path, folder: Path, package: str) -> None:
    """Copies, changed."""
    changes = CHANGES + (() if package == "mindspore_gs" else MODULES)
    for name in FILES:
        if not (source / name).is_file():
            continue
        text = (source / name).read_text(encoding="utf-8")
        for pattern, replacement, _ in changes:
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    shutil.copytree(source / "models", folder / "models")
    for name, text in (("lenet", LENET), ("dataset", MNIST)):
        made = folder / "lenet" / "src" / f"{name}.py"
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text, encoding="utf-8")


def run(folder: Path) -> dict:
    """Name of a test -> '' if it passed, else the first line of its failure."""
    found = {}
    deselected = " and ".join(f"not {word}" for word in LEFT_OUT)
    for file in sorted(folder.glob("*/**/test_*.py")):
        report = folder / "report.xml"
        subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", deselected, "--rootdir",
                        folder, f"--junit-xml={report}", file], cwd=folder, check=False, stdout=subprocess.DEVNULL,
                       env={**os.environ, "PYTHONPATH": path_of(folder)})
        for case in ElementTree.parse(report).iter("testcase"):
            wrong = [*case.iter("failure"), *case.iter("error")]
            name = f"{file.relative_to(folder)}::{case.get('name')}"
            found[name] = (wrong[0].get("message") or "").strip().splitlines()[0] if wrong else ""
    return found


def path_of(folder: Path) -> str:
    """Where the copies and the packages here are found."""
    return ":".join([str(folder), *filter(None, sys.path)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("tests", type=Path, help="tests/st of the forerunner's repository")
    parser.add_argument("--package", choices=("golden_stick", "mindspore_gs"), default="golden_stick")
    parser.add_argument("--at-least", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(options.tests, Path(folder), options.package)
        found = run(Path(folder))
    passed = sum(not why for why in found.values())
    for name, why in found.items():
        known = next((reason for part, reason in REASONS.items() if part in name), why)
        print(f"{'passed' if not why else 'FAILED'}  {name}{f': {known}' if why else ''}")
    print(f"{passed} of {len(found)} passed on {options.package}")
    return 0 if passed >= options.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
