"""What the commands share: their common options, what they say and how, and files written all or none."""
import argparse
import contextlib
import contextvars
import json
import os
import re
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Tuple, Union

from golden_stick.base.config import Either, Interval, Option, PerPattern, Whole
from golden_stick.base.display import drawn_tables
from golden_stick.base.errors import ArgumentError, CheckpointError
from golden_stick.base.files import placed_file
from golden_stick.base.inputs import hidden_progress

__all__ = ["add_command", "add_network_options", "add_options", "as_typed", "config_of", "give", "output_files", "say",
           "speaking"]

CLI = "golden-stick"
# What a factory is called where an option takes one.
FACTORY = "package.module:factory or path/to/file.py:factory"

# Where the result of a command goes as JSON; None where it speaks in words.
_json: contextvars.ContextVar[Any] = contextvars.ContextVar("json", default=None)


@contextlib.contextmanager
def speaking(options: argparse.Namespace) -> Iterator[None]:
    """In the block, standard output gets words, or with --json only the result; with --quiet nothing, and no counts."""
    with drawn_tables(), contextlib.ExitStack() as stack:
        token = _json.set(sys.stdout if options.json else None)
        stack.callback(_json.reset, token)
        if options.quiet:
            stack.enter_context(hidden_progress())
        if options.quiet or options.json:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield


def say(text: str) -> None:
    """Say what is going on."""
    print(text, flush=True)


def give(record: Any) -> None:
    """Print the result of a command, plain data, with --json; in words it was said before."""
    if _json.get() is not None:
        print(json.dumps(record, indent=2), file=_json.get(), flush=True)


def as_typed(message: str, options: argparse.Namespace) -> str:
    """What a function says of its arguments, of the options that they came from: 'max_drop' is '--max-drop'."""
    owner, comma, text = message.partition("', ") if message.startswith("For '") else ("", "", message)
    for name in {*vars(options)} - _NOT_TYPED:
        typed = f"--{name.replace('_', '-')}"
        # What is spoken of, or what it is to stand with; elsewhere the word is a value.
        text = re.sub(rf"(^|\b(?:with|and|an|by|budget|set) )'{name}'", rf"\1'{typed}'", text)
        text = re.sub(rf"\b{name}='([\w-]+)'", rf"{typed} \1", text)
    return owner + comma + text


# What a command knows besides the values of its options, or takes without their names.
_NOT_TYPED = {"run", "given", "file", "files", "json", "quiet", "verbose"}


def add_command(commands: Any, name: str, run: Callable, summary: str, description: str, example: str
                ) -> argparse.ArgumentParser:
    """A subcommand, without any options."""
    command = commands.add_parser(name, help=summary, description=description.strip(), allow_abbrev=False,
                                  epilog=f"example:\n{example.strip()}",
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    command.set_defaults(run=run)
    command.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else")
    command.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    command.add_argument("--verbose", action="store_true", help="let MindSpore print its own warnings")
    return command


def add_network_options(command: argparse.ArgumentParser, required: bool = True, inputs: bool = True) -> None:
    """The options that say which network, and what inputs it takes unless these come from elsewhere."""
    command.add_argument("--network", required=required, help=FACTORY)
    command.add_argument("--kwargs", help="keyword arguments of the factory, as a JSON object")
    if inputs:
        command.add_argument("--inputs", action="append", help="shape of an input, such as 1,3,32,32, or 1,128:int32 "
                             "where its type is not float32; repeat the option for several inputs (default: found out "
                             "where possible)")


def add_options(command: argparse.ArgumentParser, table: Mapping[str, Option], keys: Iterable[str] = (),
                **defaults: str) -> None:
    """
    Those keys of an algorithm's configuration, or all, as options; their help is that of the table.

    `defaults` are what the help says where an option that is not given stays None.
    """
    for key in keys or table:
        option = table[key]
        default, text = defaults.get(key, option.default), option.help
        if isinstance(getattr(option.constraint, "choices", None), Mapping):
            text = f"{', '.join(option.constraint.choices)}: {text}"
        if isinstance(option.constraint, PerPattern):
            text += "; patterns as a JSON object"
        text = text.replace("%", "%%") + ("" if default is None else f" (default: {default})")
        reader = next((read for kinds, read in _READERS if isinstance(option.constraint, kinds)), str)
        command.add_argument(f"--{key.replace('_', '-')}", type=reader, help=text,
                             default=None if key in defaults else option.default)


def _value(text: str) -> Any:
    """A number or a JSON object of patterns; or a word, such as 'auto'."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return text if value is None else value


# What makes a value of an option's text. What is out of range, the algorithm refuses.
_READERS: Tuple[Tuple[Any, Callable[[str], Any]], ...] = (
    ((Either, PerPattern), _value), (Whole, int), (Interval, float))


def config_of(options: argparse.Namespace, keys: Iterable[str]) -> Dict[str, Any]:
    """A configuration of those keys that are options here, and were given or have a default."""
    return {key: getattr(options, key) for key in keys if getattr(options, key, None) is not None}


@contextlib.contextmanager
def output_files(options: argparse.Namespace, **endings: Union[str, Tuple[str, ...]]) -> Iterator[Dict[str, str]]:
    """
    A temporary path for each option of `endings` that was given. All files take their places at the end, or none.

    Of several endings, a file that has none of them gets the first.
    """
    given = {option: getattr(options, option) for option in endings if getattr(options, option) is not None}
    targets = {}
    for option, path in given.items():
        allowed = (endings[option],) if isinstance(endings[option], str) else endings[option]
        targets[option] = path if path.endswith(allowed) else path + allowed[0]
    taken = {os.path.realpath(path) for path in _read_files(options)}
    for option, path in targets.items():
        if os.path.realpath(path) in taken:
            raise ArgumentError(f"For '{CLI}', '--{option}' must be a file of its own, but got '{path}', which "
                                f"another option names.")
        if not os.path.basename(given[option]) or (os.path.exists(path) and not os.access(path, os.W_OK)):
            raise CheckpointError(f"For '{CLI}', '--{option}' must be a file that can be written, but got "
                                  f"'{given[option]}'.")
        taken.add(os.path.realpath(path))
    card = getattr(options, "card", None)
    if card and not os.access(os.path.dirname(os.path.abspath(card)), os.W_OK):
        raise CheckpointError(f"For '{CLI}', '--card' must be in a folder that can be written to, but got '{card}'.")
    with contextlib.ExitStack() as stack:
        yield {option: stack.enter_context(placed_file(f"{CLI} --{option}", path)) for option, path in targets.items()}
    for path in targets.values():
        say(f"wrote {path}")


def _read_files(options: argparse.Namespace) -> Iterator[str]:
    """The files that options name besides those to be written."""
    for option in ("checkpoint", "slim", "recipe", "strategy", "files"):
        value = getattr(options, option, None) or ()
        yield from (value,) if isinstance(value, str) else value
    if ":" in (getattr(options, "network", None) or ""):
        yield options.network.rpartition(":")[0]
    if getattr(options, "card", None):
        yield from (f"{options.card}.json", f"{options.card}.md")
