"""Factories of the user, named on the command line as ``package.module:factory`` or ``path/to/file.py:factory``."""
import difflib
import importlib
import importlib.util
import json
import os
import sys
import traceback
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, Mapping, Optional

import mindspore as ms

from golden_stick.errors import ArgumentError, ArgumentTypeError

__all__ = ["call_factory"]

_CLI = "golden-stick"


def call_factory(name: str, arguments: Optional[str] = None, option: str = "--network") -> Any:
    """
    What a factory returns.

    Args:
        name (str): ``'package.module:factory'`` or ``'path/to/file.py:factory'``. What stands beside the file, or in
            the working directory for a module, can be imported.
        arguments (str): Keyword arguments of the factory, as a JSON object. Default: ``None``, no arguments.
        option (str): The option of the command line that named it, for messages. Default: ``'--network'``.

    Returns:
        Whatever the factory returns.

    Raises:
        ArgumentError: If the module, file or factory is missing, raises an error, or does not take the arguments.
        ArgumentTypeError: If the factory is not callable.
    """
    source, separator, factory_name = name.rpartition(":")
    if not (source and separator and factory_name):
        raise ArgumentError(f"For '{_CLI}', '{option}' must look like 'package.module:factory' or "
                            f"'path/to/file.py:factory', but got '{name}'.")
    keywords = _read_keywords(arguments)
    is_file = source.endswith(".py") or os.sep in source
    if is_file and not (source.endswith(".py") and os.path.isfile(source)):
        raise ArgumentError(f"For '{_CLI}', '{option}' must name a .py file that exists, but got '{source}'.")
    # A factory's initial weights are random: the same command shall give the same files.
    ms.set_seed(0)
    with _importable(os.path.dirname(os.path.abspath(source)) if is_file else os.getcwd()):
        factory = _find_factory(_load_module(source, is_file, option), source, factory_name, option)
        return _call(factory, name, keywords, option)


def _read_keywords(arguments: Optional[str]) -> Dict[str, Any]:
    if arguments is None:
        return {}
    try:
        keywords = json.loads(arguments)
    except ValueError as error:
        raise ArgumentError(f"For '{_CLI}', '--kwargs' must be a JSON object, but got '{arguments}': {error}."
                            ) from error
    if not isinstance(keywords, dict):
        raise ArgumentError(f"For '{_CLI}', '--kwargs' must be a JSON object, but got '{arguments}'.")
    return keywords


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """Let modules of a folder be imported, before all others."""
    before = list(sys.path)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path[:] = before


def _load_module(source: str, is_file: bool, option: str) -> ModuleType:
    try:
        if not is_file:
            return importlib.import_module(source)
        # Not under the file's own name, which may be that of a library, such as 'resnet' or 'numpy'.
        name = f"golden_stick_network_{os.path.basename(source)[:-len('.py')]}"
        specification = importlib.util.spec_from_file_location(name, os.path.abspath(source))
        module = importlib.util.module_from_spec(specification)
        # MindSpore looks the source of a class up by its module's name.
        sys.modules[name] = module
        specification.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ArgumentError(f"For '{_CLI}', '{option}' must be importable, but '{source}' raised {_describe(error)}."
                            ) from error


def _find_factory(module: ModuleType, source: str, name: str, option: str) -> Callable:
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ArgumentError(f"For '{_CLI}', '{option}' must name a factory of '{source}', but it has no '{name}'."
                            f"{hint}")
    factory = getattr(module, name)
    if not callable(factory):
        raise ArgumentTypeError(f"For '{_CLI}', '{option}' must name a factory that can be called, but '{name}' of "
                                f"'{source}' is of type {type(factory).__name__}.")
    return factory


def _call(factory: Callable, name: str, keywords: Mapping[str, Any], option: str) -> Any:
    try:
        return factory(**keywords)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        if isinstance(error, TypeError) and not _place(error):
            what = f"'--kwargs' must fit the factory, but got {json.dumps(keywords)}: {error}."
        else:
            what = f"'{option}' must name a factory that works, but '{name}' raised {_describe(error)}."
        raise ArgumentError(f"For '{_CLI}', {what}") from error


def _describe(error: BaseException) -> str:
    place = _place(error)
    return f"{type(error).__name__}{f' at {place}' if place else ''}: {error}"


def _place(error: BaseException) -> str:
    """File and line of the user's code where an error came from; '' if it was raised before that was reached."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen "):
            return f"{frame.filename}:{frame.lineno}"
    return ""
