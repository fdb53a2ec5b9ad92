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


__all__ = ["GoldenStickError", "ArgumentError", "NothingToPruneError", "ArgumentTypeError", "StateError", "TraceError",
           "SlimError", "VerifyError", "CheckpointError", "ExportError", "DependencyError", "first_line"]


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
    """The first line of a foreign error that says anything: MindSpore's go on for pages, with headings in rules."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" -")]
    return next((line for line in lines if not line.startswith("- ")), lines[0] if lines else type(error).__name__)
