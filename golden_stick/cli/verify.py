"""``golden-stick verify``: a slim file proven against the original architecture."""
import argparse
from typing import Any, Tuple

from golden_stick.cli.shared import add_command, network_and_inputs, say, trace_aloud
from golden_stick.errors import ArgumentError

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "verify", _run, "prove a slim file against the original architecture", """
Put the weights of a slim file into the places where they stand in the original network, mask all others, and compare
the outputs with those of the slim network.
""", """
golden-stick verify --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --samples 8
""")
    command.add_argument("--slim", required=True, help="the slim file")
    command.add_argument("--tolerance", type=float, default=1e-5,
                         help="largest difference allowed, as a fraction of the largest output (default: 1e-5)")
    command.add_argument("--samples", type=int, help="how many samples to compare, whatever the shapes say")


def _run(options: argparse.Namespace) -> None:
    from golden_stick import load_slim, verify
    from golden_stick import slim as make_slim
    from golden_stick.deploy.slim_file import read_slim
    from golden_stick.prune import masked_network
    from golden_stick.prune.expand import expanded_network
    network, inputs = network_and_inputs(options)
    narrow = load_slim(network, options.slim)
    plans = _plans(read_slim(options.slim).steps, options.slim)
    trace_aloud(network, inputs)
    stages = [network]
    for plan in plans[:-1]:
        stages.append(make_slim(stages[-1], plan))
    # A network that was pruned twice is proven step by step: what one step came from, the step before led to.
    for plan, stage in zip(reversed(plans), reversed(stages)):
        wide = expanded_network(stage, narrow, plan)
        result = verify(masked_network(wide, plan), narrow, inputs, options.tolerance)
        say(f"verified: largest difference {result.largest_difference:.3g}, largest output {result.output_scale:.3g}, "
             f"allowed {result.tolerance:g} of it")
        narrow = wide


def _plans(steps: Tuple[Any, ...], path: str) -> Tuple[Any, ...]:
    """The steps, if all are prunings: what was folded is no longer there to be put back into its places."""
    from golden_stick.prune.plan import PruningPlan
    if not all(isinstance(step, PruningPlan) for step in steps):
        raise ArgumentError(f"For 'golden-stick', '--slim' must be a file of a network that was not folded, but "
                            f"'{path}' is of one that was: verify it as it was before 'gs.fold', which compared the "
                            f"folded network with it.")
    return steps
