"""
The errors of golden_stick. Every one of them is a `GoldenStickError`, and says what to do.

::

    GoldenStickError
    ├── ArgumentError (ValueError)        a value outside its range, an unknown key or name
    │   └── NothingToPruneError           the network, or what is left of it, offers no channel
    ├── ArgumentTypeError (TypeError)     a value of another type
    ├── StateError (RuntimeError)         a step out of order: convert before apply, apply twice
    ├── TraceError (RuntimeError)         MindSpore could not compile the network for these inputs
    ├── SlimError (RuntimeError)          the plan does not fit the network
    ├── VerifyError (RuntimeError)        the slim network computes something else than the masked one
    ├── CheckpointError (RuntimeError)    a file that cannot be read or written, or of another network
    ├── ExportError (RuntimeError)        an exported file that is missing or gives other outputs
    └── DependencyError (ImportError)     an optional package that is not installed
"""
import os
import re
import sysconfig
import traceback

__all__ = ["GoldenStickError", "ArgumentError", "NothingToPruneError", "ArgumentTypeError", "StateError", "TraceError",
           "SlimError", "VerifyError", "CheckpointError", "ExportError", "DependencyError", "first_line",
           "line_of_user", "place_of"]


_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PYTHON = sysconfig.get_paths()["stdlib"]
_PACKAGES = {"mindspore", "numpy", "safetensors", "onnx", "onnxruntime"}


class GoldenStickError(Exception):
    """Base of every error that golden_stick raises on purpose."""


class ArgumentError(GoldenStickError, ValueError):
    """A value outside its range, an unknown key or an unknown name."""


class NothingToPruneError(ArgumentError):
    """The network offers no channel that can be removed."""


class ArgumentTypeError(GoldenStickError, TypeError):
    """A value of a type that is not accepted."""


class StateError(GoldenStickError, RuntimeError):
    """A step out of order, such as `convert` before `apply`."""


class TraceError(GoldenStickError, RuntimeError):
    """MindSpore could not compile the network for the inputs given."""


class SlimError(GoldenStickError, RuntimeError):
    """The plan does not fit the network, or the network does not survive it."""


class VerifyError(GoldenStickError, RuntimeError):
    """The slim network computes something else than the masked one."""


class CheckpointError(GoldenStickError, RuntimeError):
    """A file that cannot be read or written, or that belongs to another network."""


class ExportError(GoldenStickError, RuntimeError):
    """An exported file that is missing, or that gives other outputs."""


class DependencyError(GoldenStickError, ImportError):
    """An optional package that a function needs is not installed."""


def first_line(error: BaseException) -> str:
    """
    The first line of a foreign error that says anything, and the file and line of the user's code that it names:
    MindSpore's go on for pages, with rules of dashes around headings. Errors of golden_stick name their place.
    """
    lines = [line.strip() for line in str(error).splitlines() if any(map(str.isalnum, line))]
    said = " ".join(lines[:2]).lstrip("- ") if lines and lines[0].startswith("- ") else "".join(lines[:1])
    said, place = said or type(error).__name__, "" if isinstance(error, GoldenStickError) else place_of(error)
    return f"{said} ({place})" if place and place not in said else said


def place_of(error: BaseException) -> str:
    """
    File and line of the user's code where a foreign error arose, such as ``'net.py:12'``; '' if neither its text, which
    may hold MindSpore's trace of `construct`, nor its frames tell.
    """
    frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
              if not _is_foreign(frame.filename)]
    return line_of_user(str(error)) or "".join(frames[-1:])


def line_of_user(text: str) -> str:
    """The last place in the user's code that a text of MindSpore's names, such as ``'net.py:12'``; '' if none."""
    named = [f"{file}:{line}" for file, line in re.findall(r"In file (.+?):(\d+)", text) if not _is_foreign(file)]
    return "".join(named[-1:])


def _is_foreign(file: str) -> bool:
    """Whether a file is no user's: golden_stick's, Python's, or of a package that is installed, but for networks."""
    parts = file.split(os.sep)
    return (file.startswith(("<", _OWN)) or file.startswith(_PYTHON) and "site-packages" not in parts
            or not _PACKAGES.isdisjoint(parts))
