"""THE table of export formats. `add_format` takes one's own; so does an entry point `golden_stick.formats`."""
import importlib
import os
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional, Tuple, Union

from golden_stick.base.config import Names, Registry, Switch, Whole, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, DependencyError

__all__ = ["FORMATS", "Format", "add_format", "format_of_path"]

_DEFAULT = "MINDIR"


@dataclass(frozen=True)
class Format:
    """
    A way to write a network to a file.

    Args:
        write (Union[Callable, str]): Called as ``write(network, tensors, path, **options)``: the network in evaluation,
            the Tensors that it takes, where to write, and those of `options` that the user gave. Scratch files belong
            in the working directory. What does not go is an :class:`golden_stick.errors.ExportError`; then nothing is
            left. A str names a function as ``'module:name'``, imported when first needed.
        ending (str): Of the file's name, such as ``'.npz'``.
        options (Mapping): What :func:`golden_stick.export` takes besides for this format: name -> what it accepts, as
            in :mod:`golden_stick.base.config`.
        needs (tuple[str]): Packages that must be installed.
        extra (str): What `pip install` takes to get them. Default: ``''``, the name of the package.
        free_axes (bool): Whether `write` takes, as an option of this name, which axes of the inputs behind the first
            take any length: a tuple of axes for each input. Default: ``False``.
    """

    write: Union[Callable[..., None], str]
    ending: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: Tuple[str, ...] = ()
    extra: str = ""
    free_axes: bool = False

    def check(self, owner: str, options: Mapping[str, Any]) -> None:
        """Refuse options or a missing package that would fail when the file is written, perhaps after long work."""
        for name, value in options.items():
            if name not in self.options:
                raise ArgumentError(f"For '{owner}', '{name}' must stand with a format that takes it, but got "
                                    f"{value!r} for {self.ending}, which takes {', '.join(self.options) or 'none'}.")
            check_value(owner, name, value, self.options[name])
        for package in self.needs:
            try:
                importlib.import_module(package)
            except ImportError as error:
                raise DependencyError(f"For '{owner}', {self.ending} files must have the package '{package}', which is "
                                      f"not installed: pip install '{self.extra or package}'.") from error

    def writer(self) -> Callable[..., None]:
        """The function that writes."""
        if callable(self.write):
            return self.write
        module, _, name = self.write.partition(":")
        return getattr(importlib.import_module(module), name)


def _accept(thing: Any) -> Format:
    if not isinstance(thing, Format):
        raise ArgumentTypeError(f"For 'golden_stick.formats', an entry point must name a Format, but got a "
                                f"{type(thing).__name__}.")
    return thing


FORMATS: Registry[Format] = Registry("export format", "golden_stick.formats", {
    "MINDIR": Format("golden_stick.deploy.mindir:write_mindir", ".mindir", {"dynamic_batch": Switch()},
                     free_axes=True),
    # The oldest opset in which axes are inputs, and the newest that this package is tested with.
    "ONNX": Format("golden_stick.deploy.onnx.export:write_onnx", ".onnx",
                   {"opset": Whole(13, 23), "dynamic_batch": Switch(), "input_names": Names(), "output_names": Names()},
                   ("onnx", "onnxruntime"), "golden-stick[onnx]", True),
}, _accept)


def add_format(name: str, write: Callable[..., None], ending: str,
               options: Optional[Mapping[str, Any]] = None, needs: Tuple[str, ...] = ()) -> None:
    """
    Make a file format of one's own known to :func:`golden_stick.export`.

    A package makes one known to the command line as well, by an entry point of the group ``golden_stick.formats`` that
    names a :class:`Format`.

    Args:
        name (str): What `file_format` is then; one that is taken is refused.
        write (Callable): Called as ``write(network, tensors, path, **options)``: the network in evaluation, the Tensors
            that it takes, and where to write.
        ending (str): Of the file's name, such as ``'.npz'``; one that is taken is refused.
        options (Mapping): What `export` takes besides for this format: name -> what it accepts, as in
            :mod:`golden_stick.base.config`. Default: ``None``, nothing.
        needs (tuple[str]): Packages that must be installed. Default: ``()``.

    Raises:
        ArgumentTypeError: If `name` is not a str, `write` cannot be called, or `ending` is no str such as ``'.npz'``.
        ArgumentError: If `name` or `ending` is taken.

    Examples:
        >>> import numpy as np
        >>> from golden_stick.deploy.formats import FORMATS, add_format
        >>> def write(network, tensors, path):
        ...     np.savez(path, **{item.name: item.asnumpy() for item in network.get_parameters()})
        >>> add_format("NPZ", write, ".npz")
        >>> del FORMATS["NPZ"]
    """
    if not callable(write):
        raise ArgumentTypeError(f"For 'add_format', 'write' must be a function, but got {type(write).__name__}.")
    if not isinstance(ending, str) or not ending.startswith(".") or len(ending) < 2:
        raise ArgumentTypeError(f"For 'add_format', 'ending' must be a str such as '.npz', but got {ending!r}.")
    for known, item in FORMATS.loaded():
        if item.ending == ending:
            raise ArgumentError(f"For 'add_format', 'ending' must be a new one, but got '{ending}', which is that of "
                                f"'{known}'.")
    FORMATS.add("add_format", name, Format(write, ending, dict(options or {}), tuple(needs)))


def format_of_path(path: str) -> str:
    """The name of the format whose ending a path has; ``'MINDIR'``, whose ending is added, where none has."""
    ending = os.path.splitext(path)[1]
    if not ending:
        return _DEFAULT
    return next((name for name, item in FORMATS.loaded() if path.endswith(item.ending)), _DEFAULT)
