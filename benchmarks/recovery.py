"""
Accuracy after pruning, without training: nothing done, statistics re-estimated, layers reconstructed.

    python benchmarks/recovery.py --data cifar10-jpeg.zip --weights resnet20-cifar10.npz [--resume]
    python benchmarks/recovery.py --data cifar10-jpeg.zip --weights resnet56-cifar10.npz --network resnet56 [--resume]

ResNets on CIFAR-10 as JPEG files; data and weights as for cifar_criteria.py. The network is first adapted to the JPEG
images. It is pruned by each criterion to each budget, and recovered on unlabelled training images; only then accuracies
are read off the test images, by which nothing is chosen. Rows are kept in --output, and the page has those of all
networks there.
"""
import json
import os
import sys
import time
from pathlib import Path

from common import ROOT, collect, command_line, setting, table, today, write_page

# isort: split
import mindspore as ms
import numpy as np
from cifar_criteria import INPUTS, adapted
from mindspore import nn

sys.path.insert(0, str(ROOT / "examples" / "resnet_cifar10"))

from batches import normalize, training_data  # noqa: E402
from data import load_splits  # noqa: E402
from training import accuracy  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.prune.options import RECOVERIES  # noqa: E402

INTRODUCTION = """\
# Accuracy after pruning, without training

Written by `benchmarks/recovery.py`; unlabelled training images, no weight trained. Accuracies in per cent, on the
{test:,} test images of **CIFAR-10 (JPEG)**, a copy of the images as JPEG files: they must not be put beside those
on CIFAR-10 itself. Nothing was chosen by the test images. One seed. "Every layer": all lose the same fraction, and
channels of residual streams go together; "inside": the streams stay whole (`"residual": "keep"`); "inside, shared out":
besides, channels of all layers are ranked together by their scores over their MACs (`"ranking": "global", "per":
"macs"`). `reconstruction` looks at the same images that the layers are solved with.

`none`: as pruned. `statistics`: the statistics of normalizations re-estimated. `weights`: `gs.reconstruct`, the default
of `convert` where it is given calibration data: each layer is solved anew by least squares, from what it reads in the
slim network towards what it gave in the original.
"""
REMARKS = """\
Weights are those of the original images; "adapted" networks were trained further on the JPEG images before they were
pruned (`--adapt-epochs`, `--adapt-images`). No row was made by labels, but for the criterion `taylor`, which reads
those of {labelled} training images, and SCOP, whose scales were trained on {steps} batches of 64, {turn} steps a turn:

{scop}

Seconds are those of the reconstruction, on {cores} cores that other work may have had a share in; CPU seconds are those
of all threads.
"""
BATCH, LABELLED = 256, 256
# SCOP's scales: options, optimizer and learning rate. Each block has its turns twice, but the last ones.
STEPS, TURN = 500, 25
SCOP = {"scop": ({}, nn.Adam, 0.01), "scop_scale": ({"score": "scale"}, nn.SGD, 0.03)}
# What is pruned, and how layers share the budget.
HOW = {"layers": ("every layer", {}), "inside": ("inside", {"residual": "keep"}),
       "shared": ("inside, shared out", {"residual": "keep", "ranking": "global", "per": "macs"})}


def parse(arguments=None):
    parser = command_line(__doc__, "outputs/recovery", "docs/recovery.md")
    parser.add_argument("--data", required=True, help="folder or .zip of images")
    parser.add_argument("--weights", required=True, help=".npz of trained weights")
    parser.add_argument("--network", default="resnet20", help="factory in examples/resnet_cifar10/resnet.py")
    parser.add_argument("--criteria", default="reconstruction:shared,l1:inside,l1:layers,random:inside",
                        help=f"each with one of {', '.join(HOW)}")
    parser.add_argument("--targets", default="0.61,0.41", help="of the MACs")
    parser.add_argument("--images", default="1024", help="how many to recover on")
    parser.add_argument("--adapt-epochs", type=int, default=2)
    parser.add_argument("--adapt-images", type=int, default=15000)
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    options = parser.parse_args(arguments)
    options.learning_rate, options.batch_size = 0.02, 64
    return options


class Measured:
    """One network, and what is read off it."""

    def __init__(self, options):
        self.splits = load_splits("images", options.data, validation_size=0.1, seed=0)
        folder = options.output / options.network
        folder.mkdir(parents=True, exist_ok=True)
        options.output, folder = str(folder), options.output
        self.network, self.adapted = adapted(options, self.splits), [options.adapt_epochs, options.adapt_images]
        options.output = folder
        self.order = np.random.default_rng(1).permutation(len(self.splits.train))

    def batches(self, count):
        """So many training images, and their labels."""
        chosen = self.splits.train.take(self.order[:count])
        return [(normalize(chosen.images[at:at + BATCH], self.splits), chosen.labels[at:at + BATCH])
                for at in range(0, count, BATCH)]

    def row(self, name):
        """A row of the table, by its name: a criterion and how, the MACs and how many images; or the original."""
        if name == "original":
            return {"date": today(), "accuracy": accuracy(self.network, self.splits.test, self.splits),
                    "adapted": self.adapted}
        (criterion, how), target, images = _key(name)
        config = {"target_macs": target, **HOW[how][1]}
        algorithm = (gs.SCOP({**config, "turn_steps": TURN, **SCOP[criterion][0]}) if criterion in SCOP else
                     gs.OneShot({**config, "criterion": criterion}))
        row, calibration = {"date": today()}, [pixels for pixels, _ in self.batches(images)]
        data = {"data": calibration} if criterion == "reconstruction" else \
            {"data": self.batches(LABELLED), "loss": nn.CrossEntropyLoss()} if algorithm.takes_data else {}
        begin = time.perf_counter()
        masked = algorithm.apply(self.network, INPUTS, **data)
        if criterion in SCOP:
            _, optimizer, rate = SCOP[criterion]
            images = training_data(self.splits, 64, 0, STEPS * 64)
            ms.Model(masked, algorithm.loss(nn.CrossEntropyLoss()), optimizer(masked.trainable_params(), rate)).train(
                1, images, callbacks=algorithm.callbacks(), dataset_sink_mode=False)
        row["apply seconds"] = time.perf_counter() - begin
        for recovery in RECOVERIES:
            wall, cpu = time.perf_counter(), time.process_time()
            slim = algorithm.convert(masked, calibration_data=calibration, recovery=recovery)
            row[f"{recovery} seconds"] = time.perf_counter() - wall, time.process_time() - cpu
            row[recovery] = accuracy(slim, self.splits.test, self.splits)
        row["macs"] = algorithm.report.macs_after / algorithm.report.macs_before
        return row


def said(name, row):
    """A row in a line."""
    return f"{name}: " + ", ".join(f"{key} {100 * row[key]:.1f} %" for key in ("accuracy", "macs", *RECOVERIES)
                                   if key in row)


def _key(name):
    criterion, target, images = name.split()
    return tuple(criterion.split(":")), float(target), int(images)


def section(network, rows):
    """The table of a network."""
    base = rows["original"]["accuracy"]
    lines = []
    order = sorted(set(rows) - {"original"}, key=lambda name: (-_key(name)[1], rows[name]["weights"]))
    for name in order:
        (criterion, how), _, images = _key(name)
        row = rows[name]
        wall, cpu = np.subtract(row["weights seconds"], row["none seconds"])
        lines.append([criterion, HOW[how][0], f"{row['macs']:.3f}", f"{images:,}", *(f"{100 * row[key]:.1f}" for key in
                     ("none", "statistics")), f"**{100 * row['weights']:.1f}**",
                     f"{100 * (base - row['weights']):.1f}", f"{wall:.0f}", f"{cpu:.0f}"])
    head = ["removed by", "where", "MACs left", "images", "none", "statistics", "weights", "points lost", "seconds",
            "CPU seconds"]
    epochs, images = rows["original"]["adapted"]
    adapted_by = f"adapted to the JPEG images by {epochs} epochs on {images:,} of them" if epochs else "not adapted"
    return f"## {network}\n\nBefore pruning: {100 * base:.1f}; {adapted_by}.\n\n{table(head, lines)}\n"


def page(found, test, cores):
    """The page, of rows by network."""
    dates = [row["date"] for rows in found.values() for row in rows.values()]
    scop = "\n".join(f"- `{name}`: {'score ' + config['score'] if config else 'the published score'}, "
                     f"{kind.__name__} at {rate:g}" for name, (config, kind, rate) in SCOP.items())
    remarks = REMARKS.format(labelled=LABELLED, cores=cores, steps=STEPS, turn=TURN, scop=scop)
    return "\n".join([INTRODUCTION.format(test=test),
                      *(section(network, rows) for network, rows in sorted(found.items())),
                      remarks, setting({}, dates), ""])


def main(arguments=None):
    options = parse(arguments)
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(0)
    measured = Measured(options)
    names = ["original", *(f"{criterion} {target} {images}" for target in options.targets.split(",")
                           for criterion in options.criteria.split(",") for images in options.images.split(","))]
    collect(names, options.output / f"{options.network}.json", options.resume, measured.row, said)
    found = {path.stem: json.loads(path.read_text()) for path in sorted(Path(options.output).glob("*.json"))}
    write_page(options.page, page(found, len(measured.splits.test), os.cpu_count()))


if __name__ == "__main__":
    main()
