"""``golden-stick prune``: a trained network made slim at once."""
import argparse
import json
import time
from contextlib import nullcontext
from typing import Any, Callable, ContextManager, Dict, Iterable, Mapping, Optional, Union

from golden_stick.base.errors import ArgumentError
from golden_stick.cli.options import add_command, add_policies, network_and_inputs, output_files, say, write_json

__all__ = ["ANYWHERE", "add_budget_options", "add_criterion_options", "add_slim_options", "check_onnx", "config_of",
           "export_to", "make_slim", "pruning_data", "add"]


# Options that name files to write, and the endings that these have.
ANYWHERE = {"output": (".safetensors", ".ckpt"), "mindir": ".mindir", "onnx": ".onnx", "report": ""}


def add_criterion_options(command: argparse.ArgumentParser) -> None:
    """The options of a pruning by a criterion."""
    command.add_argument("--criterion", default="l1", help="l1, l2, bn_scale, fpgm, lamp or random; taylor, "
                         "hessian and activation look at --data (default: l1)")
    command.add_argument("--data", help="package.module:factory or path/to/file.py:factory of batches of images and "
                         "labels, for criteria that look at data; the loss is cross entropy")
    command.add_argument("--seed", type=int, default=0, help="of the criterion random (default: 0)")


def add_budget_options(command: argparse.ArgumentParser, otherwise: str) -> None:
    """The options of every pruner: how much goes, of what, to which widths; `otherwise` tells of a missing budget."""
    command.add_argument("--prune-rate", type=_rates, help="fraction of channels to remove, or a JSON object "
                         "of patterns of layers' paths, such as '{\"layer1.*\": 0.2, \"*\": 0.4}' "
                         f"(default: {otherwise})")
    for key, what in (("macs", "MACs"), ("params", "parameters"), ("latency", "latency here")):
        command.add_argument(f"--target-{key}", type=float,
                             help=f"fraction of the original {what} to be left, instead of a rate")
    command.add_argument("--ranking", default="local", help="channels that are ranked together: local (a group's), "
                         "global (all) or isomorphic (of groups of the same topology) (default: local)")
    command.add_argument("--max-rate", type=_rates, default=1.0, help="no group loses more than this fraction; number "
                         "or a JSON object of patterns (default: 1.0)")
    command.add_argument("--reduction", default="mean", help="of the scores of the filters that make a channel: mean, "
                         "sum, max or norm (default: mean)")
    command.add_argument("--normalizer", default="auto", help="what a layer's scores are divided by: mean, sum, max or "
                         "none (default: auto, what suits the criterion)")
    add_policies(command)
    command.add_argument("--round-to", type=_number_or_word, default=1, help="layers that shrink keep a multiple of so "
                         "many filters; auto: of the number that this machine likes (default: 1)")
    command.add_argument("--round", default="up", help="to which multiple of --round-to widths go: up, down or nearest "
                         "(default: up)")
    command.add_argument("--min-width", type=int, default=1, help="of the layers that shrink (default: 1)")


def add_slim_options(command: argparse.ArgumentParser, required: bool = True) -> None:
    """The options of a pruning, and where its files go."""
    add_budget_options(command, "0.4")
    command.add_argument("--output", required=required, help="where to write the slim file, a safetensors file unless "
                         "the path ends in .ckpt")
    command.add_argument("--mindir", help="where to write the slim network as MindIR besides")
    command.add_argument("--onnx", help="where to write the slim network as ONNX besides")
    command.add_argument("--opset", type=int, help="with --onnx: version of ONNX's operators, from 13 to 23 (default: "
                         "17)")
    command.add_argument("--report", help="where to write the report as JSON besides")
    command.add_argument("--card", help="where to write the pruning card besides: a path without an ending, for .json "
                         "and .md")


def check_onnx(options: argparse.Namespace) -> None:
    """
    Refuse at once what would fail where ONNX is written, after all the work.

    Raises:
        ArgumentError: If '--opset' is out of range, or stands without '--onnx'.
        DependencyError: If there is '--onnx', but onnx or onnxruntime is not installed.
    """
    from golden_stick.deploy.formats import FORMATS
    if options.onnx:
        FORMATS["ONNX"].check("golden-stick", {} if options.opset is None else {"opset": options.opset})
    elif options.opset is not None:
        raise ArgumentError("For 'golden-stick', '--opset' must stand with '--onnx', but that is not given.")


def _number_or_word(text: str) -> Any:
    return int(text) if text.lstrip("-").isdecimal() else text


def config_of(options: argparse.Namespace, keys: Iterable[str]) -> Dict[str, Any]:
    """A configuration of those keys that are options here, and were given or have a default."""
    return {key: getattr(options, key) for key in keys if getattr(options, key, None) is not None}


def _rates(text: str) -> Union[float, Dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if text == "auto":
        return text
    if isinstance(found, bool) or not isinstance(found, (int, float, dict)):
        raise argparse.ArgumentTypeError(f"must be a number or a JSON object of patterns, but got {text!r}")
    return found


def make_slim(options: argparse.Namespace, algorithm: Any, fill: Callable[[Any], None],
              trained: Callable[[Any], ContextManager[str]] = lambda applied: nullcontext(""),
              check: Callable[[Any, Any], None] = lambda network, slim: None,
              finish: Callable[[Any, Any], Any] = lambda slim, inputs: slim, **data: Any) -> None:
    """
    Apply and convert, and write what is asked for.

    Args:
        options (argparse.Namespace): Of the command.
        algorithm (Pruner): What prunes.
        fill (Callable): Puts the weights into the network to prune.
        trained (Callable): Of the applied network, the path of a checkpoint of it, in a context. Default: the network
            stays as it is applied.
        check (Callable): Sees the original and the slim network before anything is written. Default: nothing.
        finish (Callable): Slim network, inputs -> the network that is written and exported. Default: the slim network.
        data: What `apply` of the algorithm takes besides.
    """
    from golden_stick import pruning_card, save_slim
    begin = time.perf_counter()
    with output_files(options, **ANYWHERE) as paths:
        network, inputs = network_and_inputs(options)
        fill(network)
        applied = algorithm.apply(network, inputs, **data)
        say(f"applied {algorithm.report.algorithm} for inputs {algorithm.report.inputs}")
        with trained(applied) as path:
            slim = algorithm.convert(applied, ckpt_path=path)
        check(network, slim)
        say(str(algorithm.report))
        finished = finish(slim, inputs)
        if "output" in paths:
            save_slim(finished, paths["output"])
        export_to(paths, finished, inputs, options.opset)
        if "report" in paths:
            write_json(paths["report"], algorithm.report.to_dict())
        if options.card:
            base = {"source": f"{options.network}, checkpoint {options.checkpoint}"}
            pruning_card(algorithm.report, network, slim, base, seconds=time.perf_counter() - begin).save(options.card)
            say(f"wrote {options.card}.json and .md")


def export_to(paths: Mapping[str, str], network: Any, inputs: Any, opset: Optional[int] = None) -> None:
    """Export a network to those formats that there is a path for; `opset` is ONNX's."""
    from golden_stick import export
    if "mindir" in paths:
        export(network, inputs, paths["mindir"], "MINDIR")
    if "onnx" in paths:
        export(network, inputs, paths["onnx"], "ONNX", opset)


def pruning_data(options: argparse.Namespace) -> Dict[str, Any]:
    """What `OneShot.apply` takes besides the network, for criteria that look at data."""
    if options.data is None:
        return {}
    from mindspore import nn

    from golden_stick.cli.networks import call_factory
    return {"data": call_factory(options.data, option="--data"), "loss": nn.CrossEntropyLoss()}


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "prune", _run, "make a trained network slim at once, by a criterion", """
Remove the filters that matter least by a criterion computed from the weights, prove that the slim network gives what
the masked one gives, and write it. Fine-tune it afterwards.
""", """
golden-stick prune --network resnet.py:resnet20 --kwargs '{"num_classes": 10}' --inputs 1,3,32,32 \\
    --checkpoint resnet20.ckpt --criterion l1 --prune-rate 0.4 --output slim.ckpt --report report.json
""")
    command.add_argument("--checkpoint", help="checkpoint of the trained network (default: as the factory builds it)")
    add_criterion_options(command)
    add_slim_options(command)


def _run(options: argparse.Namespace) -> None:
    from golden_stick import OneShot
    from golden_stick.cli.networks import load_weights
    check_onnx(options)

    def fill(network: Any) -> None:
        if options.checkpoint:
            load_weights(network, options.checkpoint)

    make_slim(options, OneShot(config_of(options, OneShot.options)), fill, **pruning_data(options))
