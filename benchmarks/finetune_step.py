"""
The price of a fine-tuning step: original, masked and slim network, in turn in one run.

    python benchmarks/finetune_step.py [--network resnet20 resnet56 resnet50 vgg16_bn] [--rate 0.45] [--rounds 20]

Prints the medians in milliseconds, the ratio of MACs, and the speed-up of the slim step over the masked one.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "3")

import argparse  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import nn  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import golden_stick as gs  # noqa: E402
from golden_stick.graph.cost import count_macs  # noqa: E402
from golden_stick.prune import make_plan, masked_network  # noqa: E402
from tests import networks  # noqa: E402

NETWORKS = {
    "resnet20": (lambda: networks.CifarResNet(3), (64, 3, 32, 32)),
    "resnet56": (lambda: networks.CifarResNet(9), (64, 3, 32, 32)),
    "resnet50": (networks.ResNet50, (16, 3, 96, 96)),
    "vgg16_bn": (networks.VGG16BN, (16, 3, 64, 64)),
}


def training_step(network: nn.Cell) -> nn.Cell:
    optimizer = nn.Momentum(network.trainable_params(), 0.01, 0.9)
    return nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer).set_train()


def measure(steps, shape, rounds: int):
    """Median seconds per step of each, interleaved; the first three rounds compile and warm up."""
    generator, taken = np.random.default_rng(0), [[] for _ in steps]
    for number in range(rounds + 3):
        images = ms.Tensor(generator.normal(size=shape).astype(np.float32))
        labels = ms.Tensor(generator.integers(0, 10, shape[0]).astype(np.int32))
        for step, times in zip(steps, taken):
            start = time.perf_counter()
            step(images, labels).asnumpy()
            if number >= 3:
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--rate", type=float, default=0.45)
    parser.add_argument("--residual", default="group")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    ms.set_context(mode=ms.GRAPH_MODE)
    print(f"CPU, {os.cpu_count()} cores, GRAPH mode, medians of {options.rounds} steps, prune_rate {options.rate}, "
          f"residual '{options.residual}'")
    print(f"{'network':<10} {'batch':>5} {'original ms':>11} {'masked ms':>9} {'slim ms':>8} {'MACs ratio':>10} "
          f"{'speed-up':>8} {'of MACs ratio':>13}")
    for name in options.network:
        factory, shape = NETWORKS[name]
        network = networks.randomize(factory())
        graph = gs.trace(network, shape)
        groups = gs.find_groups(graph, options.residual)
        generator = np.random.default_rng(1)
        plan = make_plan(groups, {group.name: generator.random(len(group.channels)) for group in groups}, options.rate)
        masked, slim = masked_network(network, plan), gs.slim(network, plan)
        ratio = count_macs(graph) / count_macs(gs.trace(slim, shape))
        original, hidden, small = measure([training_step(cell) for cell in (network, masked, slim)], shape,
                                          options.rounds)
        print(f"{name:<10} {shape[0]:>5} {1e3 * original:>11.1f} {1e3 * hidden:>9.1f} {1e3 * small:>8.1f} "
              f"{ratio:>10.2f} {hidden / small:>8.2f} {hidden / small / ratio:>13.2f}", flush=True)


if __name__ == "__main__":
    main()
