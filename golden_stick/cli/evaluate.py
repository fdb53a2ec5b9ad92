"""``golden-stick compare``, ``certify`` and ``bench``: networks judged, by what they get right and what they take."""
import argparse
import os
from typing import Any, Dict, Tuple

from golden_stick.base.display import table
from golden_stick.base.errors import ArgumentError
from golden_stick.base.files import write_json
from golden_stick.cli.networks import build_network, call_factory, load_weights, network_and_inputs, read_inputs
from golden_stick.cli.options import (
    CLI,
    FACTORY,
    add_command,
    add_network_options,
    add_options,
    config_of,
    give,
    output_files,
    say,
)
from golden_stick.criteria.table import CRITERIA
from golden_stick.prune.options import COMPARISON_OPTIONS, PRUNER_OPTIONS, SCOP_OPTIONS

__all__ = ["add_bench", "add_certify", "add_compare"]

_COMPARED = {key: option for key, option in PRUNER_OPTIONS.items() if key != "max_drop"}  # what all can be pruned to


def add_compare(commands: Any) -> None:
    """Add the command `compare`."""
    command = add_command(commands, "compare", _compare, "compare criteria at one budget, with equal fine-tuning", """
Prune a trained classifier by several criteria to one budget, recover and fine-tune all alike, with several seeds, and
compare accuracies: on the validation split, and at the very end once on the test split. The controls random and
unpruned are always there. Writes comparison.json, comparison.md, comparison.svg and .png and the fine-tuned networks
into a folder. The same command goes on where it was interrupted.
""", """
golden-stick compare --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint trained.ckpt \\
    --data images.py:splits --criteria l1,taylor,scop --target-macs 0.5 --epochs 1 --seeds 3 \\
    --rates 0.2,0.4,0.6 --output comparison
""")
    add_network_options(command)
    command.add_argument("--checkpoint", help="checkpoint of the trained network (default: as the factory builds it)")
    command.add_argument("--data", required=True, help=f"{FACTORY} that returns (train, validation) or "
                         "(train, validation, test): batches of images and labels each, mindspore.dataset or lists; "
                         "train may be a function of the seed")
    command.add_argument("--criteria", required=True, type=_names, help="separated by commas: "
                         f"{', '.join(CRITERIA)}, scop, unstructured, or algorithms that were added")
    add_options(command, _COMPARED, prune_rate="none, a rate or a target must be given")
    command.add_argument("--rates", type=_numbers, default=(), help="prune rates of one-shot curves, separated by "
                         "commas (default: none)")
    command.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    add_options(command, COMPARISON_OPTIONS)
    add_options(command, SCOP_OPTIONS, ("turn_steps",), turn_steps="10")
    command.add_argument("--scales-data", help="factory of batches that the weights have not seen, on which the scales "
                         "of scop are trained (default: those of calibration)")
    command.add_argument("--loss", help="factory of a loss of outputs and labels (default: nn.CrossEntropyLoss)")
    command.add_argument("--output", required=True, help="folder for everything that is written")


def _names(text: str) -> Tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> Tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be numbers separated by commas, but got {text!r}") from error


def _compare(options: argparse.Namespace) -> None:
    from golden_stick import compare
    network, inputs = network_and_inputs(options, options.checkpoint)
    budget = {key: value for key, value in config_of(options, _COMPARED).items()
              if key == "prune_rate" or value != PRUNER_OPTIONS[key].default}
    splits, loss, scales_data = (name and call_factory(name, option=option) for name, option in (
        (options.data, "--data"), (options.loss, "--loss"), (options.scales_data, "--scales-data")))
    if not isinstance(splits, tuple) or len(splits) not in (2, 3):
        raise ArgumentError(f"For '{CLI}', '--data' must name a factory that returns (train, validation) or "
                            f"(train, validation, test), but it returned {type(splits).__name__}.")
    comparison = compare(
        network, inputs, options.criteria, budget, *splits, loss=loss, seeds=options.seeds, rates=options.rates,
        scop=config_of(options, ("turn_steps",)), scales_data=scales_data, folder=options.output, on_trial=_say_trial,
        **config_of(options, COMPARISON_OPTIONS))
    say(f"\n{comparison}\n\nwrote {options.output}: comparison.json, .md, .svg, .png and the networks")
    give(comparison.to_dict())


def _say_trial(trial: Any) -> None:
    at = "budget" if trial.prune_rate is None else f"rate {trial.prune_rate:g}"
    tuned = "" if trial.finetuned is None else f", fine-tuned {100 * trial.finetuned:.2f} %"
    say(f"{trial.criterion}, seed {trial.seed}, {at}: validation {100 * trial.pruned:.2f} % as pruned, "
        f"{100 * trial.recovered:.2f} % recovered{tuned}")


def add_certify(commands: Any) -> None:
    """Add the command `certify`."""
    command = add_command(commands, "certify", _certify, "certify that slim files lose less accuracy than a bound",
                                  """
Compare slim files with the network that they came from, on labelled images that nothing has used before, and certify
the smallest whose accuracy drop is below a bound, with a confidence. Candidates are tested from the largest to the
smallest, up to the first that fails. Writes the certificate as JSON, as a page beside it, and a ledger of the images,
which can not certify twice. docs/certificates.md says what is guaranteed.
""", """
golden-stick certify --network resnet.py:resnet20 --checkpoint trained.ckpt --candidate slim30.ckpt \\
    --candidate slim50.ckpt --data images.py:held_out --used images.py:training --output certificate.json
""")
    add_network_options(command, inputs=False)
    command.add_argument("--checkpoint", required=True, help="checkpoint of the original network")
    command.add_argument("--candidate", required=True, action="append", help="a slim file; repeat for several")
    command.add_argument("--data", required=True, help=f"{FACTORY} of a data set of images and labels, batched")
    command.add_argument("--used", action="append", default=[], help="what was trained on: a factory as for --data, or "
                         "a .json file of fingerprints; repeat for several")
    command.add_argument("--max-drop", type=float, default=0.01, help="bound on the drop, as a fraction of all images "
                         "(default: 0.01)")
    command.add_argument("--confidence", type=float, default=0.9, help="in (0, 1) (default: 0.9)")
    command.add_argument("--in-given-order", action="store_true", help="test the candidates in the order given")
    command.add_argument("--reuse", default="refuse", help="refuse or declare: what becomes of images that were used "
                         "before (default: refuse)")
    command.add_argument("--ledger", help="ledger of used images (default: golden_stick_ledger.json beside the output)")
    command.add_argument("--date", help="what to write down as the date (default: now)")
    command.add_argument("--output", required=True, help="where to write the certificate")


def _certify(options: argparse.Namespace) -> None:
    from golden_stick import certify, load_slim
    stem = options.output.removesuffix(".json")
    if any(os.path.exists(f"{stem}.{ending}") for ending in ("json", "md")):
        raise ArgumentError(f"For '{CLI}', '--output' must be a new file, but a certificate or page stands at "
                            f"'{stem}.json' already.")
    base = build_network(options.network, options.kwargs)
    candidates = {path: load_slim(base, path) for path in dict.fromkeys(options.candidate)}
    load_weights(base, options.checkpoint)
    used = [item if item.endswith(".json") else call_factory(item, option="--used") for item in options.used]
    certificate = certify(base, candidates, call_factory(options.data, option="--data"), options.max_drop,
                          options.confidence, order=list(candidates) if options.in_given_order else None, used=used,
                          reuse=options.reuse, path=options.output, ledger=options.ledger, date=options.date)
    head, *rows = certificate.rows()
    say(f"{certificate.statement}\n{table(head, rows)}")
    say(f"wrote {stem}.json and .md")
    give(certificate.to_dict())


def add_bench(commands: Any) -> None:
    """Add the command `bench`."""
    command = add_command(commands, "bench", _bench, "measure latency, throughput, memory and MACs", """
Run MindIR and ONNX files, a network and its slim form in turn, and show what each takes: so whatever slows the machine
down hits all alike. Files alone need no network, only --inputs. Speed-ups refer to the first contender of the same
runtime. Efficiency is the speed-up as a fraction of the MACs ratio.
""", """
golden-stick bench slim.mindir slim.onnx --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 \\
    --batch-sizes 1 16 --rounds 30 --output bench.json
""")
    command.add_argument("files", nargs="*", metavar="FILE", help="a .mindir or .onnx file")
    add_network_options(command, required=False)
    command.add_argument("--checkpoint", help="checkpoint of the network (default: as the factory builds it)")
    command.add_argument("--slim", help="a slim file, to measure beside the network")
    command.add_argument("--batch-sizes", type=int, nargs="+", default=[1], help="samples a call (default: 1)")
    command.add_argument("--threads", type=int, nargs="+", default=[None],
                         help="processors that may be used (default: all)")
    command.add_argument("--modes", nargs="+", default=["graph"], help="how the network runs: graph, pynative or both "
                         "(default: graph)")
    command.add_argument("--provider", default="cpu", help="what ONNX Runtime computes on: cpu or, where "
                         "onnxruntime-gpu is installed, cuda, for ONNX files alone (default: cpu)")
    command.add_argument("--baseline", help="contender that speed-ups refer to: a file's path, 'network' or 'slim'")
    command.add_argument("--rounds", type=int, default=20, help="how often each is measured (default: 20)")
    command.add_argument("--warm-up", type=int, default=2, help="rounds before, which do not count (default: 2)")
    command.add_argument("--output", help="where to write the same as JSON besides, with every single time")


def _bench(options: argparse.Namespace) -> None:
    from golden_stick import benchmark
    with output_files(options, output=".json") as paths:
        contenders, inputs = _contenders(options)
        result = benchmark(contenders, inputs, options.batch_sizes, options.threads, options.modes, options.baseline,
                           options.rounds, options.warm_up, provider=options.provider)
        say(str(result))
        if "output" in paths:
            write_json(CLI, paths["output"], result.to_dict())
    give(result.to_dict())


def _contenders(options: argparse.Namespace) -> Tuple[Dict[str, Any], Tuple[Any, ...]]:
    """Files under their paths, the network and its slim form; and the inputs of all."""
    contenders: Dict[str, Any] = {path: path for path in options.files}
    if options.network:
        from golden_stick import load_slim
        network, inputs = network_and_inputs(options, options.checkpoint)
        contenders["network"] = network
        if options.slim:
            contenders["slim"] = load_slim(network, options.slim)
        return contenders, inputs
    for option in ("checkpoint", "slim", "kwargs"):
        if getattr(options, option):
            raise ArgumentError(f"For '{CLI}', '--{option}' must come with '--network', but that is not given.")
    if not options.files:
        raise ArgumentError(f"For '{CLI}', 'bench' must be given a file or '--network', but got neither.")
    if not options.inputs:
        raise ArgumentError(f"For '{CLI}', '--inputs' must be given where there is no '--network', but is not.")
    return contenders, read_inputs(options.inputs)
