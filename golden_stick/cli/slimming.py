"""What `prune` and `convert` share: the options of a pruning, and the files that it writes."""
import argparse
import json
from typing import Any, Dict, Iterable, Union

from golden_stick.cli.shared import add_policies, network_and_inputs, output_files, say, write_json

__all__ = ["add_slim_options", "config_of", "make_slim"]


def add_slim_options(command: argparse.ArgumentParser) -> None:
    """The options of a pruning, and where its files go."""
    command.add_argument("--prune-rate", type=_rates, help="fraction of channels to remove, or a JSON object "
                         "of patterns of layers' paths, such as '{\"layer1.*\": 0.2, \"*\": 0.4}' (default: 0.4)")
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
    command.add_argument("--output", required=True, help="where to write the slim file, a safetensors file unless the "
                         "path ends in .ckpt")
    command.add_argument("--mindir", help="where to write the slim network as MindIR besides")
    command.add_argument("--onnx", help="where to write the slim network as ONNX besides")
    command.add_argument("--report", help="where to write the report as JSON besides")


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


def make_slim(options: argparse.Namespace, algorithm: Any, trained: str = "") -> None:
    """Apply and convert, with `trained` the checkpoint of the applied network, and write what is asked for."""
    from golden_stick import export, save_slim
    with output_files(options, output=(".safetensors", ".ckpt"), mindir=".mindir", onnx=".onnx", report="") as paths:
        network, inputs = network_and_inputs(options, None if trained else options.checkpoint)
        applied = algorithm.apply(network, inputs)
        say(f"applied {algorithm.report.algorithm} for inputs {algorithm.report.inputs}")
        slim = algorithm.convert(applied, ckpt_path=trained)
        say(str(algorithm.report))
        save_slim(slim, paths["output"])
        for file_format in ("mindir", "onnx"):
            if file_format in paths:
                export(slim, inputs, paths[file_format], file_format.upper())
        if "report" in paths:
            write_json(paths["report"], algorithm.report.to_dict())
