"""
Accuracy after pruning, without training: nothing done, statistics re-estimated, layers reconstructed. And after some.

    python benchmarks/recovery.py --data cifar10-jpeg.zip --weights resnet20-cifar10.npz [--resume] [--seeds 0,1,2]
    python benchmarks/recovery.py --data cifar10-jpeg.zip --weights resnet56-cifar10.npz --network resnet56 [--resume]
    python benchmarks/recovery.py --network vit --criteria l1:layers,random:layers [--resume]    (or mobilenet_v2)
    python benchmarks/recovery.py --data ... --weights ... --epochs 1 [--resume]    (20: goes on at the last epoch)

ResNets on CIFAR-10 as JPEG files; data and weights as for cifar_criteria.py. The network is first adapted to the JPEG
images. A small vision transformer and a narrow MobileNetV2 are trained here, on the handwritten digits of
scikit-learn. Each is pruned by each criterion to each budget, and recovered on unlabelled training images; with
--epochs, it is then trained on all training images, by their labels and the answers of the original. Only then
accuracies are read off the test images, by which nothing is chosen. Rows are kept in --output, and the page has those
of all networks there.
"""
import argparse
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
from deployment_parts.networks import MobileNetV2, ViT
from mindspore import nn

sys.path.insert(0, str(ROOT / "examples" / "resnet_cifar10"))

from batches import normalize, training_data  # noqa: E402
from data import load_splits  # noqa: E402
from training import accuracy, cosine, fit, save_checkpoint, sgd  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.prune.options import RECOVERIES  # noqa: E402

INTRODUCTION = """\
# Accuracy after pruning, without training

Written by `benchmarks/recovery.py`; unlabelled training images, no weight trained. Accuracies in per cent, on test
images. Of ResNets, these are those of **CIFAR-10 (JPEG)**, a copy of the images as JPEG files: their accuracies must
not be put beside those on CIFAR-10 itself. Nothing was chosen by the test images. A seed draws the images to recover
on, the batches that SCOP sees, and what `random` removes; of several seeds the means stand there, with the standard
error of the last. "Every layer": all lose the same fraction, and channels of residual streams go together; "inside":
the streams stay whole (`"residual": "keep"`); "inside, shared out": besides, channels of all layers are ranked together
by their scores over their MACs (`"ranking": "global", "per": "macs"`). `reconstruction` looks at the same images that
the layers are solved with.

`none`: as pruned. `statistics`: the statistics of normalizations re-estimated. `weights`: `gs.reconstruct`, the default
of `convert` where it is given calibration data: each layer is solved anew by least squares, from what it reads in the
slim network towards what it gave in the original.
"""
REMARKS = """\
Weights of ResNets are those of the original images; "adapted" networks were trained further on the JPEG images before
they were pruned (`--adapt-epochs`, `--adapt-images`). Nothing was pruned by labels, but for the criterion `taylor`,
which reads those of {labelled} training images, and SCOP, whose scales were trained on batches of 64, for so many steps
or one turn of each block, whichever is more:

{scop}
{further}
Seconds are those of the reconstruction, on {cores} cores that other work may have had a share in; CPU seconds are those
of all threads.
"""
FURTHER = """\
"Trained further": SGD with Nesterov momentum, batches of {batch} augmented images, a learning rate of {rate} that rises
for a fifth of an epoch and falls along a cosine, `gs.distill` with the original as teacher; the last epoch counts.
"""
BATCH, LABELLED = 256, 256
# Of the training after the recovery; set once, and not searched for.
TUNING = argparse.Namespace(batch_size=128, learning_rate=0.03, weight_decay=5e-4, momentum=0.9)
# SCOP: options, the optimizer of the scales, its learning rate, and steps; more where not every block has its turn.
SCOP = {"scop": ({"turn_steps": 20}, nn.SGD, 0.03, 180),
        "scop_scale": ({"turn_steps": 25, "score": "scale"}, nn.SGD, 0.03, 500),
        "scop_published": ({"turn_steps": 25, "score": "gamma"}, nn.Adam, 0.01, 500)}
# What is pruned, and how layers share the budget.
HOW = {"layers": ("every layer", {}), "inside": ("inside", {"residual": "keep"}),
       "shared": ("inside, shared out", {"residual": "keep", "ranking": "global", "per": "macs"})}


class Narrow:
    """A quarter of the widths of the paper, for the networks of the deployment benchmark."""

    @staticmethod
    def get(name, usual):
        return max(8, usual // 4)


# Networks that are trained here, on the digits.
TRAINED = {"mobilenet_v2": lambda: MobileNetV2(Narrow), "vit": lambda: ViT("vit_digits")}
EPOCHS = 20


def parse_network(parser):
    """The options of `Measured`."""
    parser.add_argument("--data", help="folder or .zip of images")
    parser.add_argument("--weights", help=".npz of trained weights")
    parser.add_argument("--network", default="resnet20", help="factory in examples/resnet_cifar10/resnet.py, or one of "
                        f"{', '.join(TRAINED)}, which need neither data nor weights")
    parser.add_argument("--adapt-epochs", type=int, default=2)
    parser.add_argument("--adapt-images", type=int, default=15000)
    parser.set_defaults(learning_rate=0.02, batch_size=64)
    return parser


def parse(arguments=None):
    parser = parse_network(command_line(__doc__, "outputs/recovery", "docs/recovery.md"))
    parser.add_argument("--criteria", default="reconstruction:shared,scop:shared,scop:inside,l1:inside,l1:layers,"
                                              "random:inside",
                        help=f"each with one of {', '.join(HOW)}")
    parser.add_argument("--targets", default="0.61,0.41", help="of the MACs")
    parser.add_argument("--images", default="1024", help="how many to recover on")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--epochs", type=int, default=0, help="of training after the recovery; 0 for none")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    return parser.parse_args(arguments)


class Measured:
    """One network, and what is read off it."""

    def __init__(self, options):
        self.folder = options.output / options.network
        self.folder.mkdir(parents=True, exist_ok=True)
        if options.network in TRAINED:
            self.splits = load_splits("digits")
            self.network, self.made = trained(options.network, self.splits, self.folder / "trained.ckpt"), \
                f"trained on the handwritten digits of scikit-learn, {EPOCHS} epochs"
            return
        self.splits = load_splits("images", options.data, validation_size=0.1, seed=0)
        self.network = adapted(argparse.Namespace(**{**vars(options), "output": str(self.folder)}), self.splits)
        self.made = (f"adapted to the JPEG images by {options.adapt_epochs} epochs on {options.adapt_images:,} of them"
                     if options.adapt_epochs else "not adapted")

    def batches(self, count, seed=0):
        """So many training images, and their labels."""
        order = np.random.default_rng(seed + 1).permutation(len(self.splits.train))
        chosen = self.splits.train.take(order[:count])
        return [(normalize(chosen.images[at:at + BATCH], self.splits), chosen.labels[at:at + BATCH])
                for at in range(0, count, BATCH)]

    def row(self, name):
        """What is measured by its name: a criterion and how, the MACs, how many images and a seed; or the original."""
        if name == "original":
            return {"date": today(), "accuracy": accuracy(self.network, self.splits.test, self.splits),
                    "made": self.made, "images": len(self.splits.test)}
        (criterion, how), target, images, epochs, seed = _key(name)
        ms.set_seed(seed)
        config = {"target_macs": target, **HOW[how][1]}
        algorithm = (gs.SCOP({**config, **SCOP[criterion][0]}) if criterion in SCOP else
                     gs.OneShot({**config, "criterion": criterion, "seed": seed}))
        row, calibration = {"date": today()}, [pixels for pixels, _ in self.batches(images, seed)]
        data = {"data": calibration} if criterion == "reconstruction" else \
            {"data": self.batches(LABELLED, seed), "loss": nn.CrossEntropyLoss()} if algorithm.takes_data else {}
        begin = time.perf_counter()
        masked, checkpoint = algorithm.apply(self.network, INPUTS, **data), ""
        if criterion in SCOP:
            checkpoint = self.trained(algorithm, masked, criterion, how, seed)
        row["apply seconds"] = time.perf_counter() - begin
        for recovery in RECOVERIES if not epochs else ("weights",):
            wall, cpu = time.perf_counter(), time.process_time()
            slim = algorithm.convert(masked, checkpoint, calibration_data=calibration, recovery=recovery)
            row[f"{recovery} seconds"] = time.perf_counter() - wall, time.process_time() - cpu
            row[recovery] = accuracy(slim, self.splits.test, self.splits)
        if epochs:
            state = self.folder / f"{name.replace(' ', '_')}.safetensors"
            row["trained seconds"] = self.tuned(slim, epochs, seed, state)
            row["trained"] = accuracy(slim, self.splits.test, self.splits)
        row["macs"] = algorithm.report.macs_after / algorithm.report.macs_before
        return row

    def trained(self, algorithm, phase, criterion, how, seed):
        """A checkpoint of SCOP's phase, which all budgets share, where residual streams are alike."""
        _, optimizer, rate, steps = SCOP[criterion]
        path = self.folder / f"{criterion}_{HOW[how][1].get('residual', 'group')}_{seed}.ckpt"
        if not path.is_file():
            turn, blocks = (item.asnumpy().max() for name in ("mixing.turn_steps", "mixing.blocks")
                            for item in phase.get_parameters() if item.name == name)
            images = training_data(self.splits, 64, seed, 64 * max(steps, int(turn * (blocks + 1))))
            fit(phase, algorithm.loss(nn.CrossEntropyLoss()), optimizer(phase.trainable_params(), rate), images, 1,
                f"{criterion}, seed {seed}", algorithm.callbacks())
            save_checkpoint(phase, str(path))
        return str(path)

    def tuned(self, slim, epochs, seed, path):
        """Trains a slim network, and goes on at the last epoch that `path` knows of. Returns the seconds."""
        data = training_data(self.splits, TUNING.batch_size, seed)
        steps = data.get_dataset_size()
        optimizer = sgd(slim, TUNING, epochs * steps, steps // 5)
        seen = gs.load_state(path, slim, optimizer)
        cell = gs.distill(slim, self.network, nn.CrossEntropyLoss())
        _, seconds = fit(cell, None, optimizer, data, epochs, path.stem, [_Epochs(path, slim, optimizer, steps)], seen)
        path.unlink(missing_ok=True)
        return seconds


class _Epochs(ms.train.Callback):
    """Keeps the state of a training after each epoch."""

    def __init__(self, path, network, optimizer, steps):
        super().__init__()
        self._state, self._steps = (path, network, optimizer), steps

    def on_train_epoch_end(self, run_context):
        gs.save_state(*self._state, run_context.original_args().cur_epoch_num * self._steps)


def trained(name, splits, path):
    """A network by its name in `TRAINED`, with its weights; kept at `path`."""
    network = TRAINED[name]()
    if not path.is_file():
        data = training_data(splits, 64, seed=12345)
        rates = cosine(0.002, EPOCHS * data.get_dataset_size(), rising=data.get_dataset_size())
        fit(network, nn.CrossEntropyLoss(), nn.AdamWeightDecay(network.trainable_params(), rates), data, EPOCHS, name)
        save_checkpoint(network, str(path))
    ms.load_checkpoint(str(path), network, strict_load=True)
    return network


def said(name, row):
    """A row in a line."""
    return f"{name}: " + ", ".join(f"{key} {100 * row[key]:.1f} %"
                                   for key in ("accuracy", "macs", *RECOVERIES, "trained") if key in row)


def _key(name):
    criterion, target, images, seed, *epochs = name.split()
    return tuple(criterion.split(":")), float(target), int(images), int(epochs[0]) if epochs else 0, int(seed)


def by_row(rows):
    """Criterion and how, MACs, images and epochs -> what was measured, of all seeds, as (rows,) arrays by key."""
    found = {}
    for name in sorted(set(rows) - {"original"}):
        found.setdefault(_key(name)[:4], []).append(rows[name])
    return {key: {item: np.array([one[item] for one in seeds]) for item in seeds[0]} for key, seeds in found.items()}


def section(network, rows):
    """The tables of a network."""
    base, lines, found = rows["original"]["accuracy"], [], by_row(rows)
    for key in sorted((key for key in found if not key[3]), key=lambda key: (-key[1], found[key]["weights"].mean())):
        (criterion, how), _, images, _ = key
        row, seeds = found[key], len(found[key]["macs"])
        wall, cpu = (row["weights seconds"] - row["none seconds"]).mean(0)
        none, statistics, weights = (100 * row[recovery] for recovery in ("none", "statistics", "weights"))
        lines.append([criterion, HOW[how][0], f"{row['macs'].mean():.3f}", f"{images:,}", str(seeds),
                      f"{none.mean():.1f}", f"{statistics.mean():.1f}", f"**{weights.mean():.1f}**{error_of(weights)}",
                      f"{100 * base - weights.mean():.1f}", f"{wall:.0f}", f"{cpu:.0f}"])
    head = ["removed by", "where", "MACs left", "images", "seeds", "none", "statistics", "weights", "points lost",
            "seconds", "CPU seconds"]
    original = rows["original"]
    return (f"## {network}\n\nBefore pruning: {100 * base:.1f}, on {original['images']:,} test images; "
            f"{original['made']}.\n\n{table(head, lines)}\n" + after_training(base, found))


def error_of(values):
    """The standard error of a mean, in words; nothing of one value."""
    return f" ± {values.std(ddof=1) / np.sqrt(len(values)):.1f}" if len(values) > 1 else ""


def after_training(base, found):
    """The table of those that were trained after the recovery, if there are any."""
    lines, trained = [], [key for key in found if key[3]]
    for key in sorted(trained, key=lambda key: (key[3], -key[1], found[key]["trained"].mean())):
        (criterion, how), _, _, epochs = key
        row, after = found[key], 100 * found[key]["trained"]
        lines.append([criterion, HOW[how][0], f"{row['macs'].mean():.3f}", str(epochs), str(len(after)),
                      f"{100 * row['weights'].mean():.1f}", f"**{after.mean():.1f}**{error_of(after)}",
                      f"{100 * base - after.mean():.1f}", f"{row['trained seconds'].mean() / 60:.1f}"])
    head = ["removed by", "where", "MACs left", "epochs", "seeds", "reconstructed", "trained", "points lost", "minutes"]
    return f"\nTrained further, on all training images:\n\n{table(head, lines)}\n" if lines else ""


def page(found, cores):
    """The page, of rows by network."""
    dates = [row["date"] for rows in found.values() for row in rows.values()]
    scop = "\n".join(f"- `{name}`: score {gs.SCOP(config).config['score']}, {kind.__name__} at {rate:g}, {steps} steps "
                     f"in turns of {config['turn_steps']}" for name, (config, kind, rate, steps) in SCOP.items())
    trained = any("trained" in row for rows in found.values() for row in rows.values())
    further = "\n" + FURTHER.format(batch=TUNING.batch_size, rate=TUNING.learning_rate) if trained else ""
    remarks = REMARKS.format(labelled=LABELLED, cores=cores, scop=scop, further=further)
    return "\n".join([INTRODUCTION,
                      *(section(network, rows) for network, rows in sorted(found.items())),
                      remarks, setting({}, dates), ""])


def main(arguments=None):
    options = parse(arguments)
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(0)
    measured = Measured(options)
    more = f" {options.epochs}" if options.epochs else ""
    names = ["original", *(f"{criterion} {target} {images} {seed}{more}" for seed in options.seeds.split(",")
                           for target in options.targets.split(",") for criterion in options.criteria.split(",")
                           for images in options.images.split(","))]
    collect(names, options.output / f"{options.network}.json", options.resume, measured.row, said)
    found = {path.stem: json.loads(path.read_text()) for path in sorted(Path(options.output).glob("*.json"))}
    write_page(options.page, page(found, os.cpu_count()))


if __name__ == "__main__":
    main()
