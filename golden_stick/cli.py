"""
The command line: ``golden-stick prune | convert | verify | export | trace``.

What the user can put right is said in one line on the error stream, with exit code 2, and no output is written then.
"""
import argparse
import contextlib
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, NoReturn, Optional, Sequence, Tuple

from golden_stick import __version__
from golden_stick.errors import ArgumentError, CheckpointError, GoldenStickError

__all__ = ["main"]

_RESIDUAL = ("what becomes of feature maps that are added up: group (they lose the same channels), scatter (the sum "
             "keeps its width, branches shrink) or keep (default: group)")
_say = partial(print, flush=True)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """
    Run a command.

    Args:
        arguments (Sequence[str]): What stands behind ``golden-stick`` on the command line. Default: ``None``, those
            of this process.

    Returns:
        int, the exit code: 0, 2 for an error that the user can put right, 130 after Ctrl-C, 141 for a broken pipe.
    """
    # In time as long as no operator has run: without it, 3x3 convolutions crawl on CPUs with AVX-512.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    try:
        options = build_parser().parse_args(arguments)
        with _without_logs():
            options.run(options)
    except GoldenStickError as error:
        print(f"golden-stick: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output has left, as 'head' does. Python would complain of what it cannot write at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    return 0


def _prune(options: argparse.Namespace) -> None:
    from golden_stick import OneShot
    _slim(options, OneShot({key: getattr(options, key) for key in OneShot.options}))


def _convert(options: argparse.Namespace) -> None:
    from golden_stick import SCOP
    _slim(options, SCOP({key: getattr(options, key) for key in SCOP.options}), options.checkpoint)


def _slim(options: argparse.Namespace, algorithm: Any, trained: str = "") -> None:
    """Apply and convert, with `trained` the checkpoint of the applied network, and write what is asked for."""
    from golden_stick import export, save_slim
    with _outputs(options, output=".ckpt", mindir=".mindir", report="") as paths:
        network, inputs = _network_and_inputs(options, None if trained else options.checkpoint)
        applied = algorithm.apply(network, inputs)
        _say(f"applied {algorithm.report.algorithm} for inputs {algorithm.report.inputs}")
        slim = algorithm.convert(applied, ckpt_path=trained)
        _say(str(algorithm.report))
        save_slim(slim, paths["output"])
        if "mindir" in paths:
            export(slim, inputs, paths["mindir"])
        if "report" in paths:
            _write_json(paths["report"], algorithm.report.to_dict())


def _verify(options: argparse.Namespace) -> None:
    from golden_stick import load_slim, verify
    from golden_stick import slim as make_slim
    from golden_stick.deploy.checkpoint import read_slim
    from golden_stick.prune import masked_network
    from golden_stick.prune.expand import expanded_network
    network, inputs = _network_and_inputs(options)
    narrow = load_slim(network, options.slim)
    plans, _ = read_slim(options.slim)
    _trace_aloud(network, inputs)
    stages = [network]
    for plan in plans[:-1]:
        stages.append(make_slim(stages[-1], plan))
    # A network that was pruned twice is proven step by step: what one step came from, the step before led to.
    for plan, stage in zip(reversed(plans), reversed(stages)):
        wide = expanded_network(stage, narrow, plan)
        result = verify(masked_network(wide, plan), narrow, inputs, options.tolerance)
        _say(f"verified: largest difference {result.largest_difference:.3g}, largest output {result.output_scale:.3g}, "
             f"allowed {result.tolerance:g} of it")
        narrow = wide


def _export(options: argparse.Namespace) -> None:
    from golden_stick import export, load_slim
    with _outputs(options, output=".mindir") as paths:
        network, inputs = _network_and_inputs(options, options.checkpoint)
        network = load_slim(network, options.slim) if options.slim else network
        _trace_aloud(network, inputs)
        export(network, inputs, paths["output"])


def _trace(options: argparse.Namespace) -> None:
    from golden_stick.cli_networks import overview, overview_text
    with _outputs(options, json="") as paths:
        network, inputs = _network_and_inputs(options)
        record = overview(network, _trace_aloud(network, inputs), options.residual)
        _say(overview_text(record))
        if "json" in paths:
            _write_json(paths["json"], record)


def _network_and_inputs(options: argparse.Namespace, checkpoint: Optional[str] = None) -> Tuple[Any, Tuple[Any, ...]]:
    from golden_stick.cli_networks import build_network, load_weights, make_inputs, read_shapes
    shapes = read_shapes(options.inputs)
    network = build_network(options.network, options.kwargs)
    _say(f"built {type(network).__name__} by {options.network}")
    if checkpoint:
        load_weights(network, checkpoint)
    return network, make_inputs(network, shapes, getattr(options, "samples", None))


def _trace_aloud(network: Any, inputs: Tuple[Any, ...]) -> Any:
    """The graph. Traced before a network is run: inputs that do not fit are then an error of one line."""
    from golden_stick import trace
    from golden_stick.inputs import describe
    graph = trace(network, inputs)
    _say(f"traced {type(network).__name__} for inputs {describe(inputs)}: {len(graph.nodes)} operators")
    return graph


@contextlib.contextmanager
def _outputs(options: argparse.Namespace, **endings: str) -> Iterator[Dict[str, str]]:
    """A temporary path for each option of `endings` that was given. All files take their places at the end, or none."""
    from golden_stick.deploy.files import whole_file
    given = {option: getattr(options, option) for option in endings if getattr(options, option) is not None}
    targets = {option: path.removesuffix(endings[option]) + endings[option] for option, path in given.items()}
    sources = (getattr(options, "checkpoint", None), getattr(options, "slim", None), options.network.rpartition(":")[0])
    taken = {os.path.realpath(path) for path in sources if path}
    for option, path in targets.items():
        if os.path.realpath(path) in taken:
            raise ArgumentError(f"For 'golden-stick', '--{option}' must be a file of its own, but got '{path}', which "
                                f"another option names.")
        if not os.path.basename(given[option]) or (os.path.exists(path) and not os.access(path, os.W_OK)):
            raise CheckpointError(f"For 'golden-stick', '--{option}' must be a file that can be written, but got "
                                  f"'{given[option]}'.")
        taken.add(os.path.realpath(path))
    with contextlib.ExitStack() as stack:
        yield {option: stack.enter_context(whole_file(f"golden-stick --{option}", path))
               for option, path in targets.items()}
    for path in targets.values():
        _say(f"wrote {path}")


def _write_json(path: str, record: Mapping[str, Any]) -> None:
    Path(path).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Hide what MindSpore's compiled code writes to the error stream, unless an unforeseen error makes it of use."""
    # MindSpore's own switch is read before this file is: where it is set, the user has decided. Python's warnings pass.
    if "GLOG_v" in os.environ or sys.stderr is not sys.__stderr__:
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log, open(os.dup(2), "w", buffering=1, encoding=sys.stderr.encoding) as stream:
        os.dup2(log.fileno(), 2)
        try:
            with contextlib.redirect_stderr(stream):
                yield
        except Exception as error:
            if not isinstance(error, GoldenStickError):
                log.seek(0)
                os.write(stream.fileno(), log.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stream.fileno(), 2)


# What the commands are told -------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser that raises an ArgumentError, rather than print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message}; see '{self.prog} --help'")


def build_parser() -> _Parser:
    parser = _Parser("golden-stick", allow_abbrev=False, description="Structured pruning for MindSpore that proves "
                     "what it did. 'golden-stick COMMAND --help' explains a command and shows an example.")
    parser.add_argument("--version", action="version", version=f"golden-stick {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_prune, _add_convert, _add_verify, _add_export, _add_trace):
        add(commands)
    return parser


def _add_prune(commands: Any) -> None:
    command = _add(commands, "prune", _prune, "make a trained network slim at once, by a criterion", """
Remove the filters that matter least by a criterion computed from the weights, prove that the slim network gives what
the masked one gives, and write it. Fine-tune it afterwards.
""", """
golden-stick prune --network resnet.py:resnet20 --kwargs '{"num_classes": 10}' --inputs 1,3,32,32 \\
    --checkpoint resnet20.ckpt --criterion l1 --prune-rate 0.4 --output slim.ckpt --report report.json
""")
    command.add_argument("--checkpoint", help="checkpoint of the trained network (default: as the factory builds it)")
    command.add_argument("--criterion", default="l1", help="l1, l2, bn_scale or random (default: l1)")
    command.add_argument("--seed", type=int, default=0, help="of the criterion random (default: 0)")
    _add_slim(command)


def _add_convert(commands: Any) -> None:
    command = _add(commands, "convert", _convert, "make a network slim by a checkpoint of SCOP's knockoff phase", """
Score the filters by the scales that SCOP's knockoff phase has trained, remove the lowest, prove that the slim network
gives what the masked one gives, and write it. Give the --residual that the phase was trained with.
""", """
golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint knockoff.ckpt \\
    --prune-rate 0.45 --output slim.ckpt --mindir slim.mindir
""")
    command.add_argument("--checkpoint", required=True, help="checkpoint of the network that SCOP's apply returned")
    _add_slim(command)


def _add_verify(commands: Any) -> None:
    command = _add(commands, "verify", _verify, "prove a slim file against the original architecture", """
Put the weights of a slim file into the places where they stand in the original network, mask all others, and compare
the outputs with those of the slim network.
""", """
golden-stick verify --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --samples 8
""")
    command.add_argument("--slim", required=True, help="the slim file")
    command.add_argument("--tolerance", type=float, default=1e-5,
                         help="largest difference allowed, as a fraction of the largest output (default: 1e-5)")
    command.add_argument("--samples", type=int, help="how many samples to compare, whatever the shapes say")


def _add_export(commands: Any) -> None:
    command = _add(commands, "export", _export, "write a network, slim or not, as MindIR",
                   "Write a network as MindIR, load the file, and check that it gives the same outputs.", """
golden-stick export --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --output slim.mindir
""")
    weights = command.add_mutually_exclusive_group(required=True)
    weights.add_argument("--slim", help="a slim file")
    weights.add_argument("--checkpoint", help="a checkpoint of the original network")
    command.add_argument("--output", required=True, help="where to write the MindIR")


def _add_trace(commands: Any) -> None:
    command = _add(commands, "trace", _trace, "show what could be pruned, what could not, and why", """
Show a network's operators and whether there is a rule for each, its size, its channel groups, and the layers with
filters that always stay. An operator without a rule is not pruned across.
""", """
golden-stick trace --network resnet.py:resnet20 --inputs 1,3,32,32 --json trace.json
""")
    command.add_argument("--residual", default="group", help=_RESIDUAL)
    command.add_argument("--json", help="where to write the same as JSON")


def _add(commands: Any, name: str, run: Callable, summary: str, description: str, example: str) -> _Parser:
    """A subcommand, with the options that all have."""
    command = commands.add_parser(name, help=summary, description=description.strip(), allow_abbrev=False,
                                  epilog=f"example:\n{example.rstrip()}",
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    command.set_defaults(run=run)
    command.add_argument("--network", required=True, help="package.module:factory or path/to/file.py:factory")
    command.add_argument("--kwargs", help="keyword arguments of the factory, as a JSON object")
    command.add_argument("--inputs", action="append", help="shape of an input, such as 1,3,32,32; repeat the option "
                         "for several inputs (default: found out where possible)")
    return command


def _add_slim(command: _Parser) -> None:
    command.add_argument("--prune-rate", type=float, default=0.4, help="fraction of channels to remove (default: 0.4)")
    command.add_argument("--residual", default="group", help=_RESIDUAL)
    command.add_argument("--heads", default="width", help="width or whole: what an attention loses (default: width)")
    command.add_argument("--normalization", default="exact", help="exact or approximate (default: exact)")
    for key in ("round-to", "min-width"):
        command.add_argument(f"--{key}", type=int, default=1, help="of the layers that shrink (default: 1)")
    command.add_argument("--output", required=True, help="where to write the slim file")
    command.add_argument("--mindir", help="where to write the slim network as MindIR besides")
    command.add_argument("--report", help="where to write the report as JSON besides")


if __name__ == "__main__":
    sys.exit(main())
