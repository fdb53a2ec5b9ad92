"""``golden-stick bench``: what networks and files take to run on this machine."""
import argparse
from typing import Any, Dict, Tuple

from golden_stick.base.errors import ArgumentError
from golden_stick.base.files import write_json
from golden_stick.cli.networks import network_and_inputs, read_inputs
from golden_stick.cli.options import CLI, add_command, add_network_options, give, output_files, say

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "bench", _run, "measure latency, throughput, memory and MACs", """
Run MindIR and ONNX files, a network and its slim form in turn, and show what each takes: so whatever slows the machine
down hits all alike. Files alone need no network, only --inputs. Speed-ups refer to the first contender of the same
runtime. Efficiency is the speed-up as a fraction of the MACs ratio.
""", """
golden-stick bench slim.mindir slim.onnx --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 \\
    --batch-sizes 1 16 --rounds 30 --output bench.json
""")
    command.add_argument("files", nargs="*", metavar="FILE", help="a .mindir or .onnx file")
    add_network_options(command, required=False)
    command.add_argument("--checkpoint", help="checkpoint of the network (default: as the factory builds it)")
    command.add_argument("--slim", help="a slim file, to measure beside the network")
    command.add_argument("--batch-sizes", type=int, nargs="+", default=[1], help="samples a call (default: 1)")
    command.add_argument("--threads", type=int, nargs="+", default=[None],
                         help="processors that may be used (default: all)")
    command.add_argument("--modes", nargs="+", default=["graph"], help="how the network runs: graph, pynative or both "
                         "(default: graph)")
    command.add_argument("--baseline", help="contender that speed-ups refer to: a file's path, 'network' or 'slim'")
    command.add_argument("--rounds", type=int, default=20, help="how often each is measured (default: 20)")
    command.add_argument("--warm-up", type=int, default=2, help="rounds before, which do not count (default: 2)")
    command.add_argument("--output", help="where to write the same as JSON besides, with every single time")


def _run(options: argparse.Namespace) -> None:
    from golden_stick import benchmark
    with output_files(options, output=".json") as paths:
        contenders, inputs = _contenders(options)
        result = benchmark(contenders, inputs, options.batch_sizes, options.threads, options.modes, options.baseline,
                           options.rounds, options.warm_up)
        say(str(result))
        if "output" in paths:
            write_json(CLI, paths["output"], result.to_dict())
    give(result.to_dict())


def _contenders(options: argparse.Namespace) -> Tuple[Dict[str, Any], Tuple[Any, ...]]:
    """Files under their paths, the network and its slim form; and the inputs of all."""
    contenders: Dict[str, Any] = {path: path for path in options.files}
    if options.network:
        from golden_stick import load_slim
        network, inputs = network_and_inputs(options, options.checkpoint)
        contenders["network"] = network
        if options.slim:
            contenders["slim"] = load_slim(network, options.slim)
        return contenders, inputs
    for option in ("checkpoint", "slim", "kwargs"):
        if getattr(options, option):
            raise ArgumentError(f"For '{CLI}', '--{option}' must come with '--network', but that is not given.")
    if not options.files:
        raise ArgumentError(f"For '{CLI}', 'bench' must be given a file or '--network', but got neither.")
    if not options.inputs:
        raise ArgumentError(f"For '{CLI}', '--inputs' must be given where there is no '--network', but is not.")
    return contenders, read_inputs(options.inputs)
