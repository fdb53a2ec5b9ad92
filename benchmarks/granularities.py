"""
What single weights, N of M, and whole filters do to accuracy, file size and latency: one network, one table.

    python benchmarks/granularities.py [--resume]      writes docs/granularities.md: some minutes on two cores

ResNet-20 on scikit-learn's handwritten digits, trained here. Each row is pruned from that network, recovered without
labels (statistics re-estimated, and layers reconstructed where channels went), and fine-tuned for the same epochs.
Masks hold. Accuracies are those of the test images, by which nothing is chosen. All files are timed in turn at the end.
"""
import argparse
import os
import sys

from common import ROOT, collect, command_line, machine_text, not_quiet, setting, table, today, write_json, write_page

# isort: split
import mindspore as ms
from mindspore import nn

sys.path.insert(0, str(ROOT / "examples" / "resnet_cifar10"))

from batches import training_data  # noqa: E402
from training import accuracy, build_network, fit, prepare, sgd  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.prune import calibrate  # noqa: E402

NETWORK, INPUTS, BATCHES = "resnet20", (1, 3, 32, 32), (1, 32)
FILTERS = {"residual": "keep", "criterion": "l1"}
ROWS = {
    "original": None,
    "single weights, 50 %": (gs.Unstructured, {"prune_rate": 0.5}),
    "single weights, 75 %": (gs.Unstructured, {"prune_rate": 0.75}),
    "single weights, 90 %": (gs.Unstructured, {"prune_rate": 0.9}),
    "2 of 4": (gs.Unstructured, {"n_of_m": "2:4"}),
    "1 of 4": (gs.Unstructured, {"n_of_m": "1:4"}),
    "filters inside blocks, half the weights": (gs.OneShot, {**FILTERS, "target_params": 0.5}),
    "filters inside blocks, a quarter": (gs.OneShot, {**FILTERS, "target_params": 0.25}),
}
HEAD = ("what goes", "weights that are not zero", "MACs", "accuracy as pruned", "recovered", "fine-tuned",
        "slim file, bytes", "of the original", "ONNX, bytes", *(f"ms, batch {batch}" for batch in BATCHES),
        *(f"CPU ms, batch {batch}" for batch in BATCHES))
TEXT = """\
# What each granularity does

Written by `python benchmarks/granularities.py`: {network} on scikit-learn's handwritten digits, {images} test images,
one seed. Accuracies in per cent: right after pruning; after recovery on {calibration} unlabelled training images
(statistics of normalizations re-estimated; where channels went, layers solved anew as well); and after {epochs} epochs
of fine-tuning, in which masks hold. Nothing was chosen by the test images. Milliseconds: ONNX Runtime with one
thread on the CPU, medians of {rounds} rounds, all files in turn.

{table}

One image is {image:.1f} points of accuracy: smaller differences say nothing.

* **Single weights**: the slim file shrinks with what is zero, since it holds a bit for every weight and the numbers
  that are not zero. Nothing else gets smaller: shapes, MACs, an ONNX file and the time are as they were, since a
  processor multiplies by zeros as fast as by other numbers.
* **N of M** is what some GPUs have units for, for matrix products in float16 or int8, and by compilers of their own.
  On a CPU it is a mask like the other.
* **Filters** go out of the shapes: weights, MACs, files of every format and time all fall, on any
  processor and in any runtime. That is the reason for structured pruning.

{load}{setting}

## How

```python
algo = gs.Unstructured({{"prune_rate": 0.9}})          # or "n_of_m": "2:4"; by gradients, over all layers: options.md
masked = algo.apply(net, inputs=(1, 3, 32, 32))
ms.Model(masked, loss, optimizer).train(2, data)     # what is zero stays zero, with any optimizer
sparse = algo.convert(masked)                        # a plain nn.Cell with zeros; trained on, these would fill
gs.save_slim(sparse, "sparse.safetensors")           # what is not zero, and where
```

From the shell: `golden-stick prune --criterion unstructured --prune-rate 0.9`, or `--n-of-m 2:4`. Its options:
[options.md](options.md). Channels may go first: prune the slim network by `Unstructured`.
"""


def parse(arguments=None) -> argparse.Namespace:
    parser = command_line(__doc__, "outputs/granularities", "docs/granularities.md")
    parser.add_argument("--epochs", type=int, default=8, help="of training")
    parser.add_argument("--finetune-epochs", type=int, default=2)
    parser.add_argument("--train-limit", type=int, default=0, help="use only so many training images; 0 for all")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS))
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    options = parser.parse_args(arguments)
    vars(options).update(source="digits", path=None, validation_size=0.1, mode="pynative", seed=0, weight_decay=5e-4,
                         momentum=0.9)
    return options


class Study:
    """The trained network, and what is read off what is made of it."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.folder = options, options.output
        options.output = str(self.folder)
        self.splits = prepare(options)
        self.network, path = build_network(NETWORK, self.splits.classes), self.folder / "network.ckpt"
        if options.resume and path.is_file():
            ms.load_param_into_net(self.network, ms.load_checkpoint(str(path)))
        else:
            self.train(self.network, options.epochs, 0.1, "training")
            ms.save_checkpoint(self.network, str(path))
        self.calibration = [images for images, _ in self.data().create_tuple_iterator(num_epochs=1)]

    def data(self):
        return training_data(self.splits, 64, self.options.seed, self.options.train_limit)

    def train(self, network: nn.Cell, epochs: int, learning_rate: float, title: str) -> None:
        data = self.data()
        options = argparse.Namespace(**{**vars(self.options), "learning_rate": learning_rate})
        optimizer = sgd(network, options, epochs * data.get_dataset_size())
        fit(network, nn.CrossEntropyLoss(), optimizer, data, epochs, title)

    def accuracy(self, network: nn.Cell) -> float:
        return accuracy(network, self.splits.test, self.splits)

    def row(self, name: str) -> dict:
        """What one granularity gives, and its files, which are named by its number."""
        stem = str(self.folder / f"{list(ROWS).index(name)}")
        row = {"date": today(), "files": stem}
        if ROWS[name] is None:
            final, macs = self.network, 1.0
            row.update(pruned=self.accuracy(final))
        else:
            kind, config = ROWS[name]
            algorithm = kind(config)
            final, macs = self.recovered(name, algorithm, algorithm.apply(self.network, INPUTS), row)
        ms.save_checkpoint(final, f"{stem}.ckpt")
        row["bytes"] = os.path.getsize(f"{stem}.ckpt" if ROWS[name] is None else gs.save_slim(final, stem))
        row["onnx"] = os.path.getsize(gs.export(final, INPUTS, stem, "ONNX"))
        weights = [item.asnumpy() for item in final.trainable_params()]
        return {**row, "macs": macs, "nonzero": int(sum((item != 0).sum() for item in weights))}

    def recovered(self, name, algorithm, masked, row):
        """The network in its last state, and its MACs; accuracies on the way go into the row."""
        if isinstance(algorithm, gs.Unstructured):
            row["pruned"] = self.accuracy(masked)
            calibrate(masked, self.calibration)
            row["recovered"] = self.accuracy(masked)
            self.train(masked, self.options.finetune_epochs, 0.02, name)
            final, macs = algorithm.convert(masked), 1.0
        else:
            row["pruned"] = self.accuracy(masked)
            final = algorithm.convert(masked, calibration_data=self.calibration)
            row["recovered"] = self.accuracy(final)
            self.train(final, self.options.finetune_epochs, 0.02, name)
            macs = algorithm.report.macs_after / algorithm.report.macs_before
        row["finetuned"] = self.accuracy(final)
        return final, macs


def cells_of(name: str, row: dict, first: dict, times: dict) -> list:
    """A line of the table; `first` is the original's row."""
    accuracies = [f"{100 * row[key]:.1f}" if key in row else "" for key in ("pruned", "recovered", "finetuned")]
    spent = [f"{1e3 * times[name, batch][at]:.2f}" for at in range(2) for batch in BATCHES]
    return [name, f"{row['nonzero']:,}", f"{row['macs']:.2f}", *accuracies, f"{row['bytes']:,}",
            f"{row['bytes'] / first['bytes']:.3f}", f"{row['onnx']:,}", *spent]


def page(rows: dict, times: dict, facts: dict) -> str:
    """The page; `times` are (row, batch) -> seconds and CPU seconds."""
    first = rows["original"]
    lines = [cells_of(name, row, first, times) for name, row in rows.items()]
    return TEXT.format(table=table(HEAD, lines), load="\n".join(not_quiet(facts["load"])), network="ResNet-20",
                       setting=setting(facts["versions"], [row["date"] for row in rows.values()]),
                       image=100 / facts["images"],
                       **{key: facts[key] for key in ("images", "calibration", "epochs", "rounds")})


def main(arguments=None) -> None:
    options = parse(arguments)
    study = Study(options)
    rows = collect(options.rows, study.folder / "rows.json", options.resume, study.row,
                   lambda name, row: f"{name}: {row['pruned']:.3f}, {row.get('finetuned', row['pruned']):.3f}")
    result = gs.benchmark({name: f"{row['files']}.onnx" for name, row in rows.items()}, INPUTS, BATCHES,
                          threads=(1,), rounds=options.rounds)
    print(f"{machine_text(result.machine)}\n{result}")
    write_json(study.folder / "times.json", result.to_dict())
    times = {(one.name, one.batch_size): (one.latency, one.timing.cpu_median) for one in result.measurements}
    write_page(options.page, page(rows, times, {
        "images": len(study.splits.test), "calibration": len(study.calibration) * 64, "epochs": options.finetune_epochs,
        "rounds": options.rounds, "load": result.foreign_load, "versions": {
            "onnxruntime": result.machine["onnxruntime"]}}))


if __name__ == "__main__":
    main()
