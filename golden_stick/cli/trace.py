"""``golden-stick trace``: what could be pruned, what could not, and why."""
import argparse
from typing import Any

from golden_stick.cli.shared import (
    add_command,
    add_policies,
    network_and_inputs,
    output_files,
    policies_of,
    say,
    trace_aloud,
    write_json,
)

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "trace", _run, "show what could be pruned, what could not, and why", """
Show a network's operators and whether there is a rule for each, its size, its channel groups, and the layers with
filters that always stay. An operator without a rule is not pruned across.
""", """
golden-stick trace --network resnet.py:resnet20 --inputs 1,3,32,32 --json trace.json
""")
    add_policies(command)
    command.add_argument("--json", help="where to write the same as JSON")


def _run(options: argparse.Namespace) -> None:
    from golden_stick.cli.overview import overview, overview_text
    with output_files(options, json="") as paths:
        network, inputs = network_and_inputs(options)
        record = overview(network, trace_aloud(network, inputs), policies_of(options))
        say(overview_text(record))
        if "json" in paths:
            write_json(paths["json"], record)
