"""What the commands share: their common options, the network and its inputs, and files written all or none."""
import argparse
import contextlib
import json
import os
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple, Union

from golden_stick.base.errors import ArgumentError, CheckpointError

__all__ = ["add_command", "add_network_command", "add_network_options", "add_plain_command", "add_policies",
           "network_and_inputs", "output_files", "policies_of", "say", "trace_aloud", "write_json"]


_POLICIES = ("residual", "heads", "normalization")
say = partial(print, flush=True)


def add_command(commands: Any, name: str, run: Callable, summary: str, description: str, example: str
                ) -> argparse.ArgumentParser:
    """A subcommand that works on a network, with the options that say which, and on inputs."""
    command = add_plain_command(commands, name, run, summary, description, example)
    add_network_options(command, required=True)
    return command


def add_network_command(commands: Any, name: str, run: Callable, summary: str, description: str, example: str
                        ) -> argparse.ArgumentParser:
    """A subcommand that works on a network; its inputs come from elsewhere."""
    command = add_plain_command(commands, name, run, summary, description, example)
    _add_factory(command, required=True)
    return command


def add_plain_command(commands: Any, name: str, run: Callable, summary: str, description: str, example: str
                      ) -> argparse.ArgumentParser:
    """A subcommand, without any options."""
    command = commands.add_parser(name, help=summary, description=description.strip(), allow_abbrev=False,
                                  epilog=f"example:\n{example.rstrip()}",
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    command.set_defaults(run=run)
    return command


def add_network_options(command: argparse.ArgumentParser, required: bool) -> None:
    """The options that say which network, and what inputs it takes."""
    _add_factory(command, required)
    command.add_argument("--inputs", action="append", help="shape of an input, such as 1,3,32,32, or 1,128:int32 "
                         "where its type is not float32; repeat the option for several inputs (default: found out "
                         "where possible)")


def _add_factory(command: argparse.ArgumentParser, required: bool) -> None:
    command.add_argument("--network", required=required, help="package.module:factory or path/to/file.py:factory")
    command.add_argument("--kwargs", help="keyword arguments of the factory, as a JSON object")


def add_policies(command: argparse.ArgumentParser) -> None:
    """The options that say what may be pruned."""
    command.add_argument("--residual", default="group", help="what becomes of feature maps that are added up: group "
                         "(they lose the same channels), scatter (the sum keeps its width, branches shrink) or keep "
                         "(default: group)")
    command.add_argument("--heads", default="width", help="width or whole: what an attention loses (default: width)")
    command.add_argument("--normalization", default="exact", help="exact or approximate (default: exact)")


def policies_of(options: argparse.Namespace) -> Dict[str, str]:
    """What was said about them, as `golden_stick.find_groups` takes it."""
    return {policy: getattr(options, policy) for policy in _POLICIES}


def network_and_inputs(options: argparse.Namespace, checkpoint: Optional[str] = None) -> Tuple[Any, Tuple[Any, ...]]:
    """The network that the options name, with the weights of a checkpoint if there is one, and its inputs."""
    from golden_stick.cli.networks import build_network, load_weights, make_inputs, read_inputs
    inputs = read_inputs(options.inputs)
    network = build_network(options.network, options.kwargs)
    say(f"built {type(network).__name__} by {options.network}")
    if checkpoint:
        load_weights(network, checkpoint)
    return network, make_inputs(network, inputs, getattr(options, "samples", None))


def trace_aloud(network: Any, inputs: Tuple[Any, ...]) -> Any:
    """The graph. Traced before a network is run: inputs that do not fit are then an error of one line."""
    from golden_stick import trace
    from golden_stick.base.inputs import describe
    graph = trace(network, inputs)
    say(f"traced {type(network).__name__} for inputs {describe(inputs)}: {len(graph.nodes)} operators")
    return graph


@contextlib.contextmanager
def output_files(options: argparse.Namespace, **endings: Union[str, Tuple[str, ...]]) -> Iterator[Dict[str, str]]:
    """
    A temporary path for each option of `endings` that was given. All files take their places at the end, or none.

    Of several endings, a file that has none of them gets the first.

    Raises:
        ArgumentError: If two options name one file.
        CheckpointError: If a file cannot be written where an option wants it.
    """
    from golden_stick.base.files import placed_file
    given = {option: getattr(options, option) for option in endings if getattr(options, option) is not None}
    targets = {option: _ended(path, endings[option]) for option, path in given.items()}
    checkpoints, card = getattr(options, "checkpoint", None), getattr(options, "card", None)
    sources = (*(checkpoints if isinstance(checkpoints, list) else [checkpoints]), getattr(options, "slim", None),
               *(getattr(options, option, None) for option in ("masked_from", "recipe", "strategy")),
               (options.network or "").rpartition(":")[0], *((f"{card}.json", f"{card}.md") if card else ()),
               *getattr(options, "files", ()))
    taken = {os.path.realpath(path) for path in sources if path}
    for option, path in targets.items():
        if os.path.realpath(path) in taken:
            raise ArgumentError(f"For 'golden-stick', '--{option}' must be a file of its own, but got '{path}', which "
                                f"another option names.")
        if not os.path.basename(given[option]) or (os.path.exists(path) and not os.access(path, os.W_OK)):
            raise CheckpointError(f"For 'golden-stick', '--{option}' must be a file that can be written, but got "
                                  f"'{given[option]}'.")
        taken.add(os.path.realpath(path))
    if card and not os.access(os.path.dirname(os.path.abspath(card)), os.W_OK):
        raise CheckpointError(f"For 'golden-stick', '--card' must be in a folder that can be written to, but got "
                              f"'{card}'.")
    with contextlib.ExitStack() as stack:
        yield {option: stack.enter_context(placed_file(f"golden-stick --{option}", path))
               for option, path in targets.items()}
    for path in targets.values():
        say(f"wrote {path}")


def _ended(path: str, endings: Union[str, Tuple[str, ...]]) -> str:
    allowed = (endings,) if isinstance(endings, str) else endings
    return path if path.endswith(allowed) else path + allowed[0]


def write_json(path: str, record: Mapping[str, Any]) -> None:
    """Write a record, indented."""
    from golden_stick.base.files import whole_file
    with whole_file("golden-stick", path) as temporary:
        Path(temporary).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
