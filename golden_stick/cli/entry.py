"""
The command line's entry: ``golden-stick COMMAND``.

What the user can put right is said in one line on the error stream, with exit code 2, and no output is written then.
"""
import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import warnings
from typing import Any, Iterator, NoReturn, Optional, Sequence

from golden_stick import __version__
from golden_stick.base.errors import ArgumentError, GoldenStickError
from golden_stick.cli import convert, doctor, evaluate, prune, show
from golden_stick.cli.options import as_typed, speaking

__all__ = ["main", "build_parser"]

# In the order of the help. Each adds its subcommand; MindSpore is imported when that runs.
COMMANDS = (prune.add, convert.add_convert, convert.add_verify, evaluate.add_certify, evaluate.add_compare,
            convert.add_export, evaluate.add_bench, show.add_inspect, show.add_trace, show.add_report,
            doctor.add_doctor)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """
    Run a command, by default that of this process. The exit code is 0, 2 for an error that the user can put right, 130
    after Ctrl-C, 141 for a broken pipe, 143 after the signal by which `kill` and `timeout` end a process.
    """
    # In time as long as no operator has run: without it, 3x3 convolutions crawl on CPUs with AVX-512.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
    options = argparse.Namespace()
    try:
        parser = build_parser()
        if "_ARGCOMPLETE" in os.environ:  # of `eval "$(register-python-argcomplete golden-stick)"`
            with contextlib.suppress(ImportError):
                import argcomplete
                argcomplete.autocomplete(parser)  # says how a line can go on, and exits
        options = parser.parse_args(arguments)
        with _ended_in_order(), contextlib.nullcontext() if options.verbose else _without_logs(), speaking(options):
            options.run(options)
    except GoldenStickError as error:
        print(f"golden-stick: error: {' '.join(as_typed(str(error), options).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output has left, as 'head' does. Python would complain of what it cannot write at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except _Terminated:
        return 143
    except KeyboardInterrupt:
        return 130
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser("golden-stick", allow_abbrev=False, description="Structured pruning for MindSpore that checks "
                     "what it did. 'golden-stick COMMAND --help' explains a command and shows an example.")
    parser.add_argument("--version", action="version", version=f"golden-stick {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        add(commands)
    return parser


_ERRORS = "3"  # what MindSpore calls the level of errors


class _Parser(argparse.ArgumentParser):
    """A parser that raises an ArgumentError, rather than print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(f"{message}; see '{self.prog} --help'")


class _Terminated(KeyboardInterrupt):
    """The system wants the process to end. As with Ctrl-C, nobody on the way takes it for an error of the network's."""


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let a process that is told to end take away what it has half written."""
    def end(number: int, frame: Any) -> NoReturn:
        raise _Terminated

    # Python lets no other thread handle signals.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextlib.contextmanager
def _without_logs() -> Iterator[None]:
    """Hide what MindSpore writes to the error stream, unless an unforeseen error makes it of use."""
    # MindSpore's own switch is read before this file is: where it is set, the user has decided. Warnings of
    # golden_stick and of the user's code pass.
    usual: Any = sys.__stderr__
    if "GLOG_v" in os.environ or sys.stderr is not usual:
        yield
        return
    usual.flush()
    with warnings.catch_warnings(), tempfile.TemporaryFile() as log, \
            open(os.dup(2), "w", buffering=1, encoding=usual.encoding) as stream:
        warnings.filterwarnings("ignore", module=r"mindspore(\.|$)")
        os.environ["GLOG_v"] = _ERRORS
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
            os.environ.pop("GLOG_v", None)
            usual.flush()
            os.dup2(stream.fileno(), 2)
