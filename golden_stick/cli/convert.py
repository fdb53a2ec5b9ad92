"""``golden-stick convert``: a slim network from a checkpoint of the knockoff phase."""
import argparse
from typing import Any

from golden_stick.cli.shared import add_command
from golden_stick.cli.slimming import add_slim_options, config_of, make_slim

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "convert", _run, "make a network slim by a checkpoint of SCOP's knockoff phase", """
Score the filters by the scales that SCOP's knockoff phase has trained, remove the lowest, prove that the slim network
gives what the masked one gives, and write it. Give --residual, --mixing and --draws as the phase was trained with.
""", """
golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint knockoff.ckpt \\
    --prune-rate 0.45 --output slim.ckpt --mindir slim.mindir
""")
    command.add_argument("--checkpoint", required=True, help="checkpoint of the network that SCOP's apply returned")
    command.add_argument("--mixing", help="as the phase was trained: blocks, layers or joint (default: blocks)")
    command.add_argument("--draws", type=int, help="as the phase was trained (default: 1)")
    command.add_argument("--fdr", type=float, help="with --prune-rate auto: the false discovery rate (default: 0.1)")
    add_slim_options(command)


def _run(options: argparse.Namespace) -> None:
    from golden_stick import SCOP
    # The sampler has done its work when there is a checkpoint.
    config = config_of(options, (key for key in SCOP.options if key != "sampler"))
    make_slim(options, SCOP(config), options.checkpoint)
