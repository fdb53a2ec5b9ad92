"""``golden-stick export``: a network written for deployment."""
import argparse
from typing import Any

from golden_stick.cli.shared import add_command, network_and_inputs, output_files, trace_aloud

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "export", _run, "write a network, slim or not, as MindIR",
                   "Write a network as MindIR, load the file, and check that it gives the same outputs.", """
golden-stick export --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --output slim.mindir
""")
    weights = command.add_mutually_exclusive_group(required=True)
    weights.add_argument("--slim", help="a slim file")
    weights.add_argument("--checkpoint", help="a checkpoint of the original network")
    command.add_argument("--output", required=True, help="where to write the MindIR")


def _run(options: argparse.Namespace) -> None:
    from golden_stick import export, load_slim
    with output_files(options, output=".mindir") as paths:
        network, inputs = network_and_inputs(options, options.checkpoint)
        network = load_slim(network, options.slim) if options.slim else network
        trace_aloud(network, inputs)
        export(network, inputs, paths["output"])
