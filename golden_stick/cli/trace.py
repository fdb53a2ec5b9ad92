"""``golden-stick trace``: what could be pruned, what could not, and why."""
import argparse
from collections import Counter
from dataclasses import asdict
from typing import Any, Dict, Mapping

from mindspore import nn

from golden_stick.cli.options import (
    add_command,
    add_policies,
    network_and_inputs,
    output_files,
    policies_of,
    say,
    trace_aloud,
    write_json,
)
from golden_stick.graph.cost import count_macs, count_parameters
from golden_stick.graph.groups import find_groups
from golden_stick.graph.ir import Graph
from golden_stick.graph.rules import RULES

__all__ = ["overview", "overview_text", "add"]


def overview(network: nn.Cell, graph: Graph, policies: Mapping[str, str]) -> Dict[str, Any]:
    """
    What could be pruned in a network, what could not, and why, as plain data.

    Args:
        network (nn.Cell): The network.
        graph (Graph): It, traced.
        policies (Mapping): Keyword arguments of :func:`golden_stick.find_groups`, such as ``residual``.

    Returns:
        dict.

    Raises:
        ArgumentError: If a policy is unknown.
    """
    grouping = find_groups(graph, **policies)
    counts = sorted(Counter(node.operator for node in graph.nodes).items())
    return {
        "network": type(network).__name__,
        "inputs": [list(item.shape) for item in graph.inputs],
        **policies,
        "operators": [{"operator": name, "count": count, "rule": name in RULES} for name, count in counts],
        "parameters": count_parameters(graph),
        "macs": count_macs(graph),
        "groups": [{"name": group.name, "channels": len(group.channels), "layers": list(group.layers)}
                   for group in grouping],
        "fixed": [asdict(layer) for layer in grouping.fixed],
        "barriers": list(grouping.without_rule),
    }


def overview_text(record: Mapping[str, Any]) -> str:
    """What `overview` returned, for people."""
    lines = [f"parameters  {record['parameters']:,}", f"MACs        {record['macs']:,}", "operators"]
    for item in record["operators"]:
        lines.append(f"  {item['operator']:<24} {item['count']:>5}  {'a rule' if item['rule'] else 'NO rule'}")
    lines.append(f"channel groups with residual '{record['residual']}', heads '{record['heads']}', "
                 f"normalization '{record['normalization']}': {len(record['groups'])}")
    for group in record["groups"]:
        lines.append(f"  {group['name']}: {group['channels']} removable channels made by {', '.join(group['layers'])}")
    lines.append(f"layers with filters that always stay: {len(record['fixed'])}")
    for layer in record["fixed"]:
        lines.append(f"  {layer['path']}: {layer['fixed']} of {layer['filters']} ({'; '.join(layer['reasons'])})")
    if record["barriers"]:
        lines.append("operators without a rule, not pruned across: " + "; ".join(record["barriers"]))
    return "\n".join(lines)


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
    from golden_stick.cli.trace import overview, overview_text
    with output_files(options, json="") as paths:
        network, inputs = network_and_inputs(options)
        record = overview(network, trace_aloud(network, inputs), policies_of(options))
        say(overview_text(record))
        if "json" in paths:
            write_json(paths["json"], record)
