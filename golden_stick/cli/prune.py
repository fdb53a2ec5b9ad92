"""``golden-stick prune``: a trained network made slim at once."""
import argparse
from typing import Any

from golden_stick.cli.shared import add_command
from golden_stick.cli.slimming import (
    add_criterion_options,
    add_slim_options,
    check_onnx,
    config_of,
    make_slim,
    pruning_data,
)

__all__ = ["add"]


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
