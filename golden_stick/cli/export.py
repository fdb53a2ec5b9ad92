"""``golden-stick export``: a network written for deployment."""
import argparse
from typing import Any

from golden_stick.cli.options import add_command, network_and_inputs, output_files, trace_aloud

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "export", _run, "write a network, slim or not, as MindIR or ONNX",
                   "Write a network as MindIR or ONNX, load the file, and check that it gives the same outputs.", """
golden-stick export --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --output slim.mindir
golden-stick export --network resnet.py:resnet20 --checkpoint resnet20.ckpt --inputs 1,3,32,32 --output resnet20.onnx
""")
    weights = command.add_mutually_exclusive_group(required=True)
    weights.add_argument("--slim", help="a slim file")
    weights.add_argument("--checkpoint", help="a checkpoint of the original network")
    command.add_argument("--output", required=True, help="where to write the file: its ending names the format, "
                         "such as .onnx; MindIR without one")
    command.add_argument("--opset", type=int, help="version of ONNX's operators, from 13 to 23 (default: 17)")


def _run(options: argparse.Namespace) -> None:
    from golden_stick import export, load_slim
    from golden_stick.deploy.formats import FORMATS, format_of_path
    name = format_of_path(options.output)
    FORMATS[name].check("golden-stick", {} if options.opset is None else {"opset": options.opset})
    with output_files(options, output=FORMATS[name].ending) as paths:
        network, inputs = network_and_inputs(options, options.checkpoint)
        network = load_slim(network, options.slim) if options.slim else network
        trace_aloud(network, inputs)
        export(network, inputs, paths["output"], name, options.opset)
