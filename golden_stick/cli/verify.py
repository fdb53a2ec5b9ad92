"""``golden-stick verify``: a slim file proven against the original architecture."""
import argparse
from typing import Any, List, Tuple

from golden_stick.cli.options import add_command, network_and_inputs, say, trace_aloud

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "verify", _run, "prove a slim file against the original architecture", """
Put the weights of a slim file into the places where they stand in the original network, mask all others, and compare
the outputs with those of the slim network. Where normalizations were folded, put them back first, with other numbers
and the layers beside them changed to match.
""", """
golden-stick verify --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --samples 8
""")
    command.add_argument("--slim", required=True, help="the slim file")
    command.add_argument("--tolerance", type=float, help="largest difference allowed, as a fraction of the largest "
                         "output (default: 1e-5, or 0.0078 where an output is of float16)")
    command.add_argument("--samples", type=int, help="how many samples to compare, whatever the shapes say")


def _run(options: argparse.Namespace) -> None:
    from golden_stick import load_slim, verify
    from golden_stick.deploy.slim_file import read_slim
    from golden_stick.graph.plan import PruningPlan
    network, inputs = network_and_inputs(options)
    narrow = load_slim(network, options.slim)
    steps = read_slim(options.slim).steps
    trace_aloud(network, inputs)
    stages = _stages(network, steps)
    # A network that was changed twice is proven step by step: what one step came from, the step before led to.
    for step, stage in zip(reversed(steps), reversed(stages)):
        expected, before = _undone(stage, narrow, step, inputs)
        result = verify(expected, narrow, inputs, options.tolerance)
        what = "verified" if isinstance(step, PruningPlan) else "verified with normalizations put back"
        say(f"{what}: largest difference {result.largest_difference:.3g}, largest output {result.output_scale:.3g}, "
            f"allowed {result.tolerance:g} of it")
        narrow = before


def _stages(network: Any, steps: Tuple[Any, ...]) -> List[Any]:
    """The network before each step; of the values, nothing is used."""
    from golden_stick import slim
    from golden_stick.deploy.fold import restructured
    from golden_stick.graph.plan import PruningPlan
    stages = [network]
    for step in steps[:-1]:
        stages.append((slim if isinstance(step, PruningPlan) else restructured)(stages[-1], step))
    return stages


def _undone(stage: Any, narrow: Any, step: Any, inputs: Tuple[Any, ...]) -> Tuple[Any, Any]:
    """What must give the outputs of `narrow`, and the network before the step that it stands for."""
    from golden_stick.cells.slim import unslim
    from golden_stick.cells.wrappers import masked_network
    from golden_stick.deploy.fold import unfolded_network
    from golden_stick.graph.plan import PruningPlan
    if not isinstance(step, PruningPlan):
        unfolded = unfolded_network(stage, narrow, step, inputs)
        return unfolded, unfolded
    wide = unslim(stage, narrow, step)
    return masked_network(wide, step), wide
