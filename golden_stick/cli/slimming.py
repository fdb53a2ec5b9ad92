"""What `prune` and `convert` share: the options of a pruning, and the files that it writes."""
import argparse
from typing import Any

from golden_stick.cli.shared import add_policies, network_and_inputs, output_files, say, write_json

__all__ = ["add_slim_options", "make_slim"]


def add_slim_options(command: argparse.ArgumentParser) -> None:
    """The options of a pruning, and where its files go."""
    command.add_argument("--prune-rate", type=float, default=0.4, help="fraction of channels to remove (default: 0.4)")
    add_policies(command)
    command.add_argument("--round-to", type=_number_or_word, default=1, help="layers that shrink keep a multiple of so "
                         "many filters; auto: of the number that this machine likes (default: 1)")
    command.add_argument("--min-width", type=int, default=1, help="of the layers that shrink (default: 1)")
    command.add_argument("--output", required=True, help="where to write the slim file, a safetensors file unless the "
                         "path ends in .ckpt")
    command.add_argument("--mindir", help="where to write the slim network as MindIR besides")
    command.add_argument("--onnx", help="where to write the slim network as ONNX besides")
    command.add_argument("--report", help="where to write the report as JSON besides")


def _number_or_word(text: str) -> Any:
    return int(text) if text.lstrip("-").isdecimal() else text


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
