"""
The main job, from a network to a deployed one, on scikit-learn's handwritten digits.   bash scripts/run_demo.sh

Train ResNet-20, run the knockoff phase of SCOP, convert, fine-tune the slim network, verify, save, export, time both.
Accuracies in the final table are those of the test split at the last epoch of each phase; nothing is chosen by them.
With `--results`, nothing is run: the table is of what earlier runs, such as those of other seeds, range over.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import argparse  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Iterable, List, Optional, Sequence  # noqa: E402

import mindspore as ms  # noqa: E402
from batches import evaluation_batches, training_data  # noqa: E402
from data import Splits  # noqa: E402
from mindspore import nn  # noqa: E402
from training import build_network, cosine, fit, prepare, right_answers, save_checkpoint, sgd  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.certify import Accuracy, DataUse, compare_predictions, fingerprint  # noqa: E402
from golden_stick.scop import PermutationSampler  # noqa: E402

BATCHES = (1, 32)
BUSY = 0.2  # of a processor: from then on, times say little
SIDES = (("original", "before"), ("slim", "after"))  # name in the benchmark, and in the table
# What results that stand in one table must share.
ASKED = ("network", "prune_rate", "residual", "mixing", "turn_steps", "epochs", "knockoff_epochs", "finetune_epochs",
         "train_limit")


def parse(arguments=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet20", help="factory in resnet.py")
    parser.add_argument("--prune-rate", type=float, default=0.45)
    parser.add_argument("--residual", default="group", choices=("group", "scatter", "keep"))
    parser.add_argument("--mixing", default="blocks", choices=("blocks", "layers", "joint"))
    parser.add_argument("--turn-steps", type=int, default=5, help="steps until the next block mixes")
    parser.add_argument("--epochs", type=int, default=15, help="of training")
    parser.add_argument("--knockoff-epochs", type=int, default=4)
    parser.add_argument("--finetune-epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--train-limit", type=int, default=0, help="use only so many training images; 0 for all")
    parser.add_argument("--rounds", type=int, default=50, help="timed runs of each network and batch size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="outputs/demo", help="folder for files and result.json")
    parser.add_argument("--results", nargs="+", metavar="FILE", help="run nothing: the table of these result.json")
    options = parser.parse_args(arguments)
    vars(options).update(source="digits", path=None, validation_size=0.1, mode="graph", weight_decay=5e-4, momentum=0.9)
    return options


class Demo:
    """The phases, in order; each announces itself and leaves its results behind."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.started = time.perf_counter()
        self.phase = 0
        self.splits: Splits = prepare(options)

    def announce(self, text: str) -> None:
        self.phase += 1
        print(f"[{self.phase}/8] {text}  ({time.perf_counter() - self.started:.0f} s)", flush=True)

    def path(self, name: str) -> str:
        return os.path.join(self.options.output, name)

    def data(self):
        return training_data(self.splits, self.options.batch_size, self.options.seed, self.options.train_limit)

    def fit_weights(self, network: nn.Cell, epochs: int, learning_rate: float, title: str) -> None:
        data = self.data()
        options = argparse.Namespace(**{**vars(self.options), "learning_rate": learning_rate})
        optimizer = sgd(network, options, epochs * data.get_dataset_size())
        fit(network, nn.CrossEntropyLoss(), optimizer, data, epochs, title)

    def train(self) -> nn.Cell:
        self.announce(f"train {self.options.network} on {len(self.splits.train)} images")
        network = build_network(self.options.network, self.splits.classes)
        self.fit_weights(network, self.options.epochs, 0.1, "training")
        save_checkpoint(network, self.path("network.ckpt"))
        return network

    def prune(self, network: nn.Cell):
        self.announce("knockoff phase: only one scale per filter is trained")
        config = {key: getattr(self.options, key) for key in ("prune_rate", "residual", "mixing", "turn_steps")}
        algorithm = gs.SCOP(config)
        phase = algorithm.apply(network, inputs=(1, 3, 32, 32))
        data, epochs = self.data(), self.options.knockoff_epochs
        optimizer = nn.Adam(phase.trainable_params(), cosine(0.05, epochs * data.get_dataset_size()))
        fit(phase, algorithm.loss(nn.CrossEntropyLoss()), optimizer, data, epochs, "knockoffs", algorithm.callbacks())
        save_checkpoint(phase, self.path("knockoff.ckpt"))
        self.announce("convert: score, plan, slim, verify; solve the layers anew")
        batches = itertools.islice(self.data().create_tuple_iterator(num_epochs=1), 20)
        slim = algorithm.convert(phase, calibration_data=batches)
        print(algorithm.report, flush=True)
        return slim, algorithm.report

    def finetune(self, slim: nn.Cell) -> None:
        self.announce("fine-tune the slim network")
        self.fit_weights(slim, self.options.finetune_epochs, 0.05, "fine-tuning")

    def save(self, slim: nn.Cell) -> float:
        self.announce("save the slim file, load it into a fresh network, verify")
        path = gs.save_slim(slim, self.path("slim.ckpt"))
        again = gs.load_slim(build_network(self.options.network, self.splits.classes), path)
        images = next(evaluation_batches(self.splits.validation, self.splits))[0]
        return gs.verify(slim, again, ms.Tensor(images)).largest_difference

    def export(self, network: nn.Cell, slim: nn.Cell) -> None:
        self.announce("export both to MindIR, load and compare")
        for cell, name in ((network, "network"), (slim, "slim")):
            gs.export(cell, (1, 3, 32, 32), self.path(name))

    def card(self, report, network: nn.Cell, slim: nn.Cell, right: dict, latency) -> None:
        options = self.options
        card = gs.pruning_card(
            report, network, slim, base={"source": f"{options.network}, trained here, seed {options.seed}"},
            data={name: self.used(name) for name in ("train", "validation", "test")},
            accuracy=[Accuracy(what, (float(found.mean()),), "test") for what, found in right.items()],
            fine_tuning={"epochs": options.finetune_epochs, "learning rate": 0.05, "batch size": options.batch_size,
                         "images": options.train_limit or len(self.splits.train)},
            latency=latency, discordance=compare_predictions(right["original"], right["fine-tuned"]),
            knockoffs=self.exchangeability(), seeds={"training": options.seed},
            seconds=time.perf_counter() - self.started,
        )
        card.save(self.path("card"))
        report.to_html(self.path("report.html"), latency, card)

    def used(self, name: str) -> DataUse:
        """A split of the digits, which are enlarged and not compressed; the training images are augmented besides."""
        data = fingerprint(evaluation_batches(getattr(self.splits, name), self.splits))
        more = "; cropped at random out of a margin of 4 pixels while training" if name == "train" else ""
        return DataUse(data, f"8x8 pixels enlarged to 32x32, (x / 255 - 0.5) / 0.5{more}", lossless=True)

    def exchangeability(self):
        """What kind of control SCOP's default sampler draws of these images."""
        images, labels = next(evaluation_batches(self.splits.train, self.splits))
        return gs.exchangeability(images, PermutationSampler()(ms.Tensor(images)), labels, permutations=800)

    def time(self, network: nn.Cell, slim: nn.Cell):
        self.announce("time both networks")
        return gs.benchmark({"original": network, "slim": slim}, (1, 3, 32, 32), BATCHES, rounds=self.options.rounds)


def run(options: argparse.Namespace) -> dict:
    """Run all phases; returns what the table and the JSON show."""
    demo = Demo(options)
    network = demo.train()
    right = {"original": right_answers(network, demo.splits.test, demo.splits)}
    slim, report = demo.prune(network)
    right["recovered"] = right_answers(slim, demo.splits.test, demo.splits)
    demo.finetune(slim)
    right["fine-tuned"] = right_answers(slim, demo.splits.test, demo.splits)
    reloaded = demo.save(slim)
    demo.export(network, slim)
    latency = demo.time(network, slim)
    demo.announce("results")
    accuracies = dict(zip(("before", "pruned", "finetuned"), (float(found.mean()) for found in right.values())))
    demo.card(report, network, slim, right, latency)
    size = {name: os.path.getsize(demo.path(name))
            for name in ("network.ckpt", "slim.ckpt", "network.mindir", "slim.mindir")}
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, no GPU used, MindSpore {ms.__version__}",
        "command": " ".join(sys.argv), "seed": options.seed, **{key: getattr(options, key) for key in ASKED},
        "test_images": len(demo.splits.test),
        "accuracy": accuracies,
        "parameters": report.to_dict()["parameters"], "macs": report.to_dict()["macs"],
        "checkpoint_bytes": {"before": size["network.ckpt"], "after": size["slim.ckpt"]},
        "mindir_bytes": {"before": size["network.mindir"], "after": size["slim.mindir"]},
        "latency_ms": {str(batch): {side: 1e3 * one.latency for one in latency.measurements for name, side in SIDES
                                    if (one.batch_size, one.name) == (batch, name)} for batch in BATCHES},
        "foreign_load": latency.foreign_load, "largest_difference": report.largest_difference,
        "output_scale": report.output_scale, "largest_difference_reloaded": reloaded,
        "seconds": time.perf_counter() - demo.started,
    }


def span(values: Iterable[float], form: str) -> str:
    """What values range over; one value alone if all read alike."""
    values = sorted(values)
    return " to ".join(dict.fromkeys(format(value, form) for value in (values[0], values[-1])))


def table(results: Sequence[dict]) -> str:
    """Results as text, before and after; of several, what they range over."""
    accuracies = {key: span((result["accuracy"][key] for result in results), ".3f") for key in results[0]["accuracy"]}
    rows = [("", "before", "after", "ratio"),
            ("test accuracy", accuracies["before"], accuracies["finetuned"], ""),
            ("  before fine-tuning", "", accuracies["pruned"], "")]
    measures = [(title, [result[key] for result in results], ",") for title, key in (
        ("parameters", "parameters"), ("MACs", "macs"), ("checkpoint, bytes", "checkpoint_bytes"),
        ("MindIR, bytes", "mindir_bytes"))]
    # What times range over says something of the networks where nothing else ran.
    loads = [result["foreign_load"] for result in results if (result.get("foreign_load") or 0.0) >= BUSY]
    timed = [] if loads and len(results) > 1 else results[0]["latency_ms"]
    measures += [(f"latency, batch {batch}, ms", [result["latency_ms"][batch] for result in results], ".2f")
                 for batch in timed]
    for title, found, form in measures:
        rows.append((title, *(span((one[side] for one in found), form) for side in ("before", "after")),
                     span((one["before"] / one["after"] for one in found), ".2f")))
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))).rstrip() for row in rows]
    worst = max(results, key=lambda result: result["largest_difference"] / result["output_scale"])
    lines.append(f"largest difference between masked and slim outputs: {worst['largest_difference']:.2e} "
                 f"(largest output {worst['output_scale']:.2f})")
    lines += [f"NOT QUIET: while latency was measured, other processes kept {span(loads, '.1f')} processors busy"
              f"{'' if timed else '; it is left out'}"] if loads else []
    lines += [f"{result['machine']}; seed {result['seed']}; {result['seconds']:.0f} s" for result in results]
    return "\n".join(lines)


def read_results(paths: Sequence[str]) -> List[dict]:
    """
    What earlier runs wrote.

    Raises:
        SystemExit: If two runs did not do the same.
    """
    results = [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]
    for path, result in zip(paths, results):
        for key in ASKED:
            if result[key] != results[0][key]:
                raise SystemExit(f"--results must be of runs that did the same, but '{key}' is {result[key]!r} in "
                                 f"{path} and {results[0][key]!r} in {paths[0]}")
    return results


def main(arguments=None) -> Optional[dict]:
    options = parse(arguments)
    if options.results:
        print(table(read_results(options.results)))
        return None
    result = run(options)
    path = os.path.join(options.output, "result.json")
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=2)
    os.replace(path + ".part", path)
    page = os.path.join(options.output, "report.html")
    print(f"\n{table([result])}\nThe same as JSON: {path}; layer by layer: {page}")
    return result


if __name__ == "__main__":
    main()
