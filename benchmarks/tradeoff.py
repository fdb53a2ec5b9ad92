"""
Latency against accuracy, before and after: ResNet-20 on CIFAR-10 as JPEG files, pruned to several budgets.

    python benchmarks/tradeoff.py --data cifar10-jpeg.zip --weights resnet20-cifar10.npz [--resume]

Data, weights and adaptation as for recovery.py. The network is pruned to each budget by the criterion `reconstruction`,
to multiples of 8 filters, and recovered on unlabelled training images; nothing is trained. Accuracies are those on the
test images, by which nothing is chosen; latencies those of folded ONNX files in ONNX Runtime on one thread, all in
turn. Writes docs/figures/tradeoff.json, which `scripts/draw_figures.py` draws.
"""
from pathlib import Path

from common import collect, command_line, today, write_json

# isort: split
import mindspore as ms
from recovery import HOW, INPUTS, Measured, accuracy

import golden_stick as gs


def parse(arguments=None):
    parser = command_line(__doc__, "outputs/tradeoff", "docs/figures/tradeoff.json")
    parser.add_argument("--data", required=True, help="folder or .zip of images")
    parser.add_argument("--weights", required=True, help=".npz of trained weights")
    parser.add_argument("--network", default="resnet20", help="factory in examples/resnet_cifar10/resnet.py")
    parser.add_argument("--targets", default="0.8,0.6,0.4", help="of the MACs")
    parser.add_argument("--images", type=int, default=1024, help="how many to recover on")
    parser.add_argument("--adapt-epochs", type=int, default=2)
    parser.add_argument("--adapt-images", type=int, default=15000)
    parser.add_argument("--rounds", type=int, default=200, help="timed runs of each file")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    options = parser.parse_args(arguments)
    options.learning_rate, options.batch_size = 0.02, 64
    return options


class Tradeoff(Measured):
    """As recovery.py's, with files."""

    def __init__(self, options):
        super().__init__(options)
        self.folder = options.output
        self.calibration = [pixels for pixels, _ in self.batches(options.images)]

    def file(self, name):
        """Where the ONNX file of a row stands."""
        return str(self.folder / f"{name}.onnx")

    def row(self, name):
        """The original, or the network pruned to a fraction of its MACs."""
        network, macs = self.network, 1.0
        if name != "original":
            algorithm = gs.OneShot({"criterion": "reconstruction", "target_macs": float(name), "round_to": 8,
                                    **HOW["shared"][1]})
            masked = algorithm.apply(network, INPUTS, data=self.calibration)
            network = algorithm.convert(masked, calibration_data=self.calibration)
            macs = algorithm.report.macs_after / algorithm.report.macs_before
        gs.export(gs.fold(network, INPUTS), INPUTS, self.file(name), file_format="ONNX")
        return {"date": today(), "macs": macs, "accuracy": accuracy(network, self.splits.test, self.splits)}


def said(name, row):
    """A row in a line."""
    return f"{name}: {100 * row['accuracy']:.1f} % at {row['macs']:.3f} of the MACs"


def main(arguments=None):
    options = parse(arguments)
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(0)
    measured = Tradeoff(options)
    names = ["original", *options.targets.split(",")]
    rows = collect(names, options.output / "rows.json", options.resume, measured.row, said)
    times = gs.benchmark({name: measured.file(name) for name in names}, INPUTS, threads=(1,), rounds=options.rounds)
    print(times)
    for one in times.measurements:
        rows[one.name].update({"ms": 1e3 * one.latency, "speed_up": one.speed_up})
    data, weights = Path(options.data).name, Path(options.weights).name
    write_json(options.page, {
        "command": f"python benchmarks/tradeoff.py --data {data} --weights {weights}", "network": options.network,
        "test_images": len(measured.splits.test), "images": options.images, "machine": dict(times.machine),
        "foreign_load": times.foreign_load, "rows": rows})


if __name__ == "__main__":
    main()
