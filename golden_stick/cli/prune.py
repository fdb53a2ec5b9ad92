"""``golden-stick prune``: a trained network made slim at once."""
import argparse
import time
from functools import partial
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union, cast

from golden_stick.base.errors import ArgumentError
from golden_stick.base.files import write_json
from golden_stick.base.inputs import describe
from golden_stick.cli.networks import call_factory, find_function, load_weights, network_and_inputs
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
from golden_stick.prune.options import ONE_SHOT_OPTIONS, PRUNER_OPTIONS, RECOVERIES, UNSTRUCTURED_OPTIONS

__all__ = ["ANYWHERE", "add", "add_pruning_options", "by_criterion", "check_outputs", "make_slim", "write_slim"]

# Options that name files to write, and the endings that these have.
ANYWHERE: Dict[str, Union[str, Tuple[str, ...]]] = {
    "output": (".safetensors", ".ckpt"), "mindir": ".mindir", "onnx": ".onnx", "report": ""}
# An algorithm, and what applies it to a network for some inputs.
Prepared = Tuple[Any, Callable[[Any, Any], Any]]


def add_pruning_options(command: argparse.ArgumentParser, required: bool = True) -> None:
    """The options of a pruning by a criterion, and where its files go."""
    add_options(command, ONE_SHOT_OPTIONS, ("criterion", "seed"))
    command.add_argument("--data", help=f"{FACTORY} of batches of images and labels, for criteria that look at data; "
                         "the loss is cross entropy")
    add_options(command, PRUNER_OPTIONS, prune_rate="0.4")
    add_options(command, UNSTRUCTURED_OPTIONS, ("n_of_m", "saliency"))
    command.add_argument("--calibration-data", help=f"{FACTORY} of batches of training images, whose labels are not "
                         "read, for --recovery")
    command.add_argument("--recovery", choices=RECOVERIES, help="with --calibration-data, what follows slimming: "
                         "layers are solved anew, or statistics of normalizations re-estimated (default: weights, but "
                         "statistics for a masked network)")
    command.add_argument("--evaluate", help="with --max-drop: package.module:function or path/to/file.py:function, "
                         "which takes a network and returns a number, the higher the better, on validation data")
    command.add_argument("--output", required=required, help="where to write the slim file, a safetensors file unless "
                         "the path ends in .ckpt")
    command.add_argument("--mindir", help="where to write the slim network as MindIR besides")
    command.add_argument("--onnx", help="where to write the slim network as ONNX besides")
    command.add_argument("--opset", type=int, help="with --onnx: version of ONNX's operators, from 13 to 23 (default: "
                         "17)")
    command.add_argument("--report", help="where to write the report besides: as a page for a browser "
                         "if the path ends in .html, else as JSON")
    command.add_argument("--card", help="where to write the pruning card besides: a path without an ending, for .json "
                         "and .md")
    command.add_argument("--full", action="store_true", help="with --card: all of the card on its page, not only what "
                         "was measured of sizes, accuracy and latency")


def check_outputs(options: argparse.Namespace) -> None:
    """Refuse at once what would fail where files are written, after all the work."""
    from golden_stick.deploy.formats import FORMATS
    if options.full and not options.card:
        raise ArgumentError(f"For '{CLI}', '--full' must stand with '--card', but that is not given.")
    if options.onnx:
        FORMATS["ONNX"].check(CLI, {} if options.opset is None else {"opset": options.opset})
    elif options.opset is not None:
        raise ArgumentError(f"For '{CLI}', '--opset' must stand with '--onnx', but that is not given.")


def make_slim(options: argparse.Namespace, prepare: Callable[[], Prepared], fill: Callable[[Any], None],
              train: Callable[[Any], None] = lambda applied: None) -> None:
    """
    Apply and convert, and write what is asked for.

    `prepare` is called once the network's module is imported, which may have added an algorithm or a criterion; `fill`
    puts the weights into the network to prune, and `train` those of a training into the applied one.
    """
    from golden_stick import pruning_card
    begin = time.perf_counter()
    with output_files(options, **ANYWHERE) as paths:
        network, inputs = network_and_inputs(options)
        algorithm, apply = prepare()
        _refuse_for_others(options, algorithm)
        fill(network)
        applied = apply(network, inputs)
        say(f"applied {type(algorithm).__name__} for inputs {describe(inputs)}")
        train(applied)
        slim = _converted(options, algorithm, applied)
        say(str(algorithm.report))
        write_slim(options, paths, slim, inputs)
        if "report" in paths and paths["report"].endswith(".html"):
            algorithm.report.to_html(paths["report"])
        elif "report" in paths:
            write_json(CLI, paths["report"], algorithm.report.to_dict())
        if options.card:
            base = {"source": f"{options.network}, checkpoint {options.checkpoint}"}
            card = pruning_card(algorithm.report, network, slim, base, seconds=time.perf_counter() - begin)
            (card.in_full() if options.full else card).save(options.card)
            say(f"wrote {options.card}.json and .md")
    give(algorithm.report.to_dict())


def _refuse_for_others(options: argparse.Namespace, algorithm: Any) -> None:
    """Refuse what only an algorithm that removes channels can do."""
    from golden_stick.prune import Pruner
    if isinstance(algorithm, Pruner):
        return
    for option in ("calibration_data", "recovery", "evaluate", "card"):
        if getattr(options, option) is not None:
            raise ArgumentError(f"For '{CLI}', '--{option.replace('_', '-')}' must stand with an algorithm derived "
                                f"from Pruner, but got a '{type(algorithm).__name__}'.")
    if (options.report or "").endswith(".html"):
        raise ArgumentError(f"For '{CLI}', '--report' must be a .json file with an algorithm that is not derived from "
                            f"Pruner, but got '{options.report}'.")


def _converted(options: argparse.Namespace, algorithm: Any, applied: Any) -> Any:
    """The slim network, recovered on calibration data where there are any."""
    from golden_stick.prune import Pruner
    if not isinstance(algorithm, Pruner):
        return algorithm.convert(applied)
    measured: Dict[str, Any] = {"evaluate": find_function(options.evaluate, "--evaluate")} if options.evaluate else {}
    if options.calibration_data is None and options.recovery in (None, "none"):
        say("no --calibration-data: layers were not solved anew, and statistics of normalizations not re-estimated")
        return algorithm.convert(applied, **measured)
    data = options.calibration_data and call_factory(options.calibration_data, option="--calibration-data")
    return algorithm.convert(applied, calibration_data=data, recovery=options.recovery, **measured)


def write_slim(options: argparse.Namespace, paths: Mapping[str, str], slim: Any, inputs: Any,
               metadata: Optional[Mapping[str, Any]] = None) -> None:
    """Write a slim network, folded if that is wanted, in every form that there is a path for."""
    from golden_stick import export, fold, fold_report, save_slim
    from golden_stick.deploy.formats import FORMATS
    if getattr(options, "fold", False):
        slim = fold(slim, inputs)
        say(str(fold_report(slim)))
    if "output" in paths:
        save_slim(slim, paths["output"], metadata)
    for name in ("MINDIR", "ONNX"):
        if name.lower() in paths:
            export(slim, inputs, paths[name.lower()], name, options.opset if "opset" in FORMATS[name].options else None)


def by_criterion(options: argparse.Namespace) -> Prepared:
    """`OneShot` with the criterion that was said, or the algorithm that was added under this name; and its data."""
    from golden_stick import OneShot, Unstructured
    from golden_stick.comp_algo import ALGORITHMS
    name = options.criterion
    kind = OneShot if name in CRITERIA or name not in ALGORITHMS else ALGORITHMS[name]
    for key, option in {**OneShot.options, **Unstructured.options}.items():
        if key not in kind.options and key != "criterion" and getattr(options, key) not in (None, option.default):
            raise ArgumentError(f"For '{CLI}', '--{key.replace('_', '-')}' must stand with a criterion that it says "
                                f"something of, but got '{name}'.")
    algorithm = kind(config_of(options, (key for key in kind.options if key != "criterion" or kind is OneShot)))
    if algorithm.trains_phase:
        raise ArgumentError(f"For '{CLI}', '--criterion' must name what prunes at once, but '{name}' trains before it "
                            f"converts.")
    if options.data is None or not algorithm.takes_data:
        return algorithm, algorithm.apply
    from mindspore import nn
    data = call_factory(options.data, option="--data")
    return algorithm, partial(cast(OneShot, algorithm).apply, data=data, loss=nn.CrossEntropyLoss())


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "prune", _run, "make a trained network slim at once, by a criterion", """
Remove the filters that matter least by a criterion computed from the weights, check that the slim network gives what
the masked one gives, and write it. Fine-tune it afterwards. --criterion may also be unstructured, by which single
weights become zero, or name a criterion or an algorithm that an installed package or the network's module adds to
golden_stick.
""", """
golden-stick prune --network resnet.py:resnet20 --kwargs '{"num_classes": 10}' --inputs 1,3,32,32 \\
    --checkpoint resnet20.ckpt --criterion l1 --prune-rate 0.4 --output slim.ckpt --report report.json
""")
    add_network_options(command)
    command.add_argument("--checkpoint", help="checkpoint of the trained network (default: as the factory builds it)")
    add_pruning_options(command)


def _run(options: argparse.Namespace) -> None:
    check_outputs(options)
    make_slim(options, partial(by_criterion, options),
              lambda network: load_weights(network, options.checkpoint) if options.checkpoint else None)
