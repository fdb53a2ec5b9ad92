"""``golden-stick export``: a network written for deployment; ``golden-stick verify``: a slim file checked."""
import argparse
from dataclasses import asdict
from typing import Any

from golden_stick.cli.networks import network_and_inputs, trace_aloud
from golden_stick.cli.options import CLI, add_command, add_network_options, give, output_files, say

__all__ = ["add_export", "add_verify"]


def add_export(commands: Any) -> None:
    """Add the command `export`."""
    command = add_command(commands, "export", _export, "write a network, slim or not, as MindIR or ONNX",
                          "Write a network as MindIR or ONNX, load the file, and check that it gives the same outputs.",
                          """
golden-stick export --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --output slim.mindir
golden-stick export --network resnet.py:resnet20 --checkpoint resnet20.ckpt --inputs 1,3,32,32 --output resnet20.onnx
""")
    add_network_options(command)
    weights = command.add_mutually_exclusive_group(required=True)
    weights.add_argument("--slim", help="a slim file")
    weights.add_argument("--checkpoint", help="a checkpoint of the original network")
    command.add_argument("--output", required=True, help="where to write the file: its ending names the format, "
                         "such as .onnx; MindIR without one")
    command.add_argument("--opset", type=int, help="version of ONNX's operators, from 13 to 23 (default: 17)")
    command.add_argument("--any-size", action="store_true", help="inputs of any height and width: all axes behind the "
                         "second take any length")


def _export(options: argparse.Namespace) -> None:
    from golden_stick import export, load_slim
    from golden_stick.deploy.formats import FORMATS, format_of_path
    name = format_of_path(options.output)
    FORMATS[name].check(CLI, {} if options.opset is None else {"opset": options.opset})
    with output_files(options, output=FORMATS[name].ending) as paths:
        network, inputs = network_and_inputs(options, options.checkpoint)
        network = load_slim(network, options.slim) if options.slim else network
        trace_aloud(network, inputs)
        if options.any_size:
            from mindspore import Tensor
            inputs = tuple(Tensor(shape=[*item.shape[:2], *(None,) * (item.ndim - 2)], dtype=item.dtype)
                           if item.ndim > 2 else item for item in inputs)
        export(network, inputs, paths["output"], name, options.opset)
    give({"format": name, "output": options.output})


def add_verify(commands: Any) -> None:
    """Add the command `verify`."""
    command = add_command(commands, "verify", _verify, "check a slim file against the original architecture", """
Check the digests of a slim file, build the slim network from the original one step by step, and prove every pruning:
put the weights of the slim network into the places where they stand in the larger one, mask all others, and compare the
outputs. Of a folding, the file does not hold the weights from before: that normalizations and layers stand beside each
other in the network is checked, and a pruning before it is checked with the weights that the factory gives.
""", """
golden-stick verify --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --samples 8
""")
    add_network_options(command)
    command.add_argument("--slim", required=True, help="the slim file")
    command.add_argument("--tolerance", type=float, help="largest difference allowed, as a fraction of the largest "
                         "output (default: 1e-5, or 0.0078 where an output is of float16)")
    command.add_argument("--samples", type=int, help="how many samples to compare, whatever the shapes say")


def _verify(options: argparse.Namespace) -> None:
    from golden_stick import load_slim, verify
    from golden_stick.cells.slim import unslim
    from golden_stick.cells.wrappers import masked_network
    from golden_stick.deploy.fold.network import check_folding
    from golden_stick.deploy.slim_file import Reconstruction, Sparsity, read_slim
    from golden_stick.deploy.slim_network import original_of, placed, take_step
    from golden_stick.graph.plan import PruningPlan
    network, inputs = network_and_inputs(options)
    narrow = load_slim(network, options.slim)
    file = read_slim(options.slim)
    steps = file.steps
    say("digests agree: the weights are those that were written, for a network of these names and shapes")
    trace_aloud(network, inputs)
    stages = [original_of(network, file, options.slim)]
    for step in steps[:-1]:
        stages.append(take_step(stages[-1], placed(stages[-1], step)))
    whose, compared = "the weights of the file", []
    # From the last to the first: what one step came from, the step before led to.
    for number in range(len(steps), 0, -1):
        stage = stages[number - 1]
        step = placed(stage, steps[number - 1])
        if isinstance(step, PruningPlan):
            wide = unslim(stage, narrow, step)
            result = verify(masked_network(wide, step), narrow, inputs, options.tolerance)
            say(f"step {number}, pruned: verified with {whose}: largest difference {result.largest_difference:.3g}, "
                f"largest output {result.output_scale:.3g}, allowed {result.tolerance:g} of it")
            compared.append({"step": number, **asdict(result)})
            narrow = wide
        elif isinstance(step, Reconstruction):
            say(f"step {number}, reconstructed: names and shapes stay; outputs were not compared, since the file does "
                f"not hold the weights from before")
        elif isinstance(step, Sparsity):
            say(f"step {number}, made sparse: names and shapes stay; {step.zeros:,} of {step.size:,} weights were zero")
        else:
            check_folding("verify", stage, step, inputs)
            say(f"step {number}, folded: {len(step.folded)} normalizations stand beside their layers; outputs were not "
                f"compared, since the file does not hold the weights from before")
            narrow, whose = stage, "weights of the factory"
    give({"slim": options.slim, "steps": len(steps), "compared": compared})
