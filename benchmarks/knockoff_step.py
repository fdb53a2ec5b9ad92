"""
The price of a knockoff step, beside a plain training step of the same network and batch, in turn in one run.

    python benchmarks/knockoff_step.py [--network resnet20 resnet50] [--rounds 20] [--output outputs/knockoff_step.json]

GRAPH mode. Prints medians of wall and CPU milliseconds and their ratio; the goal is 1.25.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import argparse  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import nn  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import golden_stick as gs  # noqa: E402
from tests import networks  # noqa: E402

NETWORKS = {
    "resnet20": (lambda: networks.CifarResNet(3), (64, 3, 32, 32)),
    "resnet50": (networks.ResNet50, (16, 3, 96, 96)),
    "vgg16_bn": (networks.VGG16BN, (16, 3, 64, 64)),
}
GOAL, WARM_UP = 1.25, 3


def training_step(network: nn.Cell, loss) -> nn.Cell:
    """Both steps have the same optimizer, so that they differ in what SCOP does alone."""
    optimizer = nn.Adam(network.trainable_params(), 0.001)
    return nn.TrainOneStepCell(nn.WithLossCell(network, loss), optimizer).set_train()


def measure(steps, shape, rounds: int):
    """Median wall and CPU seconds of each, interleaved; the first rounds compile and warm up."""
    generator, taken = np.random.default_rng(0), [[] for _ in steps]
    for number in range(rounds + WARM_UP):
        images = ms.Tensor(generator.normal(size=shape).astype(np.float32))
        labels = ms.Tensor(generator.integers(0, 10, shape[0]).astype(np.int32))
        for step, times in zip(steps, taken):
            start = time.perf_counter(), time.process_time()
            step(images, labels).asnumpy()
            if number >= WARM_UP:
                times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return [[statistics.median(column) for column in zip(*times)] for times in taken]


def row(name: str, rounds: int):
    """One network: its medians, and their ratios."""
    factory, shape = NETWORKS[name]
    network = networks.randomize(factory())
    algorithm = gs.SCOP()
    phase = algorithm.apply(network, shape)
    loss = nn.CrossEntropyLoss()
    plain, knockoff = measure([training_step(network, loss), training_step(phase, algorithm.loss(loss))], shape, rounds)
    return {"network": name, "batch": shape[0], "plain": plain, "knockoff": knockoff,
            "ratio": [one / other for one, other in zip(knockoff, plain)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "knockoff_step.json")
    options = parser.parse_args()
    ms.set_context(mode=ms.GRAPH_MODE)
    print(f"CPU, {os.cpu_count()} cores, no GPU used, GRAPH mode, medians of {options.rounds} steps; goal {GOAL}")
    print(f"{'network':<10} {'batch':>5} {'plain ms':>9} {'knockoff ms':>11} {'ratio':>6} {'plain CPU ms':>12} "
          f"{'knockoff CPU ms':>15} {'ratio':>6}")
    rows = []
    for name in options.network:
        rows.append(row(name, options.rounds))
        plain, knockoff, ratio = (rows[-1][key] for key in ("plain", "knockoff", "ratio"))
        print(f"{name:<10} {rows[-1]['batch']:>5} {1e3 * plain[0]:>9.1f} {1e3 * knockoff[0]:>11.1f} {ratio[0]:>6.2f} "
              f"{1e3 * plain[1]:>12.1f} {1e3 * knockoff[1]:>15.1f} {ratio[1]:>6.2f}", flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
