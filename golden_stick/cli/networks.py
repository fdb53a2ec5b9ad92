"""What factories of the user's build, networks above all; the weights of a network, and its inputs. MindSpore waits."""
import argparse
import difflib
import importlib
import importlib.util
import json
import os
import sys
import traceback
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError
from golden_stick.base.inputs import as_arrays, as_tensors, describe, progress
from golden_stick.cli.options import CLI, say
from golden_stick.deploy.slim_file import read_tensors

if TYPE_CHECKING:
    from mindspore import Tensor, nn

__all__ = ["build_network", "call_factory", "fill", "find_function", "load_weights", "network_and_inputs",
           "read_inputs", "trace_aloud"]

_NAMED = 3
_TYPES = ("float32", "float16", "float64", "int32", "int64", "int16", "int8", "uint8", "bool")
# Beside what is named after a parameter: schedules, and counters that are no scalars.
_STATE = ("learning_rate", "global_step", "afactor_step")


def call_factory(name: str, arguments: Optional[str] = None, option: str = "--network") -> Any:
    """
    What ``'package.module:factory'`` or ``'path/to/file.py:factory'``, which `option` named, returns for keyword
    arguments in JSON. What stands beside the file, or in the working directory for a module, can be imported.
    """
    keywords = _read_keywords(arguments)
    with progress("starting MindSpore"):
        from mindspore import get_context, set_context, set_seed
    # A factory's initial weights are random: the same command shall give the same files.
    set_seed(0)
    # In PyNative mode, queues between MindSpore's threads spin while they wait: on a CPU, they take it from the work.
    set_context(pynative_synchronize=get_context("device_target") == "CPU")
    with _found(name, option) as factory, progress(f"calling {name}"):
        return _call(factory, name, keywords, option)


def find_function(name: str, option: str) -> Callable:
    """The function itself that an option names as `call_factory` does."""
    with _found(name, option) as function:
        return function


@contextmanager
def _found(name: str, option: str) -> Iterator[Callable]:
    """What `option` names; in the block, what stands beside it can be imported."""
    source, separator, factory_name = name.rpartition(":")
    if not (source and separator and factory_name):
        raise ArgumentError(f"For '{CLI}', '{option}' must look like 'package.module:factory' or "
                            f"'path/to/file.py:factory', but got '{name}'.")
    is_file = source.endswith(".py") or os.sep in source
    if is_file and not (source.endswith(".py") and os.path.isfile(source)):
        raise ArgumentError(f"For '{CLI}', '{option}' must name a .py file that exists, but got '{source}'.")
    with _importable(os.path.dirname(os.path.abspath(source)) if is_file else os.getcwd()):
        yield _find_factory(_load_module(source, is_file, option), source, factory_name, option)


def _read_keywords(arguments: Optional[str]) -> Dict[str, Any]:
    try:
        keywords = json.loads(arguments or "{}")
        if not isinstance(keywords, dict):
            raise ValueError(f"it is a {type(keywords).__name__}")
        return keywords
    except ValueError as error:
        raise ArgumentError(f"For '{CLI}', '--kwargs' must be a JSON object, but got '{arguments}': {error}."
                            ) from error


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
        specification: Any = importlib.util.spec_from_file_location(name, os.path.abspath(source))
        # MindSpore looks the source of a class up by its module's name.
        sys.modules[name] = module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise ArgumentError(f"For '{CLI}', '{option}' must be importable, but '{source}' raised {_describe(error)}."
                            ) from error


def _find_factory(module: ModuleType, source: str, name: str, option: str) -> Callable:
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ArgumentError(f"For '{CLI}', '{option}' must name a factory of '{source}', but it has no '{name}'."
                            f"{hint}")
    factory = getattr(module, name)
    if not callable(factory):
        raise ArgumentTypeError(f"For '{CLI}', '{option}' must name a factory that can be called, but '{name}' of "
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
        raise ArgumentError(f"For '{CLI}', {what}") from error


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


def fill(network: "nn.Cell", values: Mapping[str, np.ndarray], place: str, exactly: bool = True, remedy: str = ""
         ) -> None:
    """
    Put the values of the checkpoint `place` into a network that has these parameters.

    Where it has to have them exactly, what there is besides is refused; but what an optimizer left is only told. The
    remedy is that for what may be the weights of a slim network.
    """
    from mindspore import Tensor
    wanted = {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}
    besides = _besides(wanted, values, place, remedy)
    if exactly:
        state = [name for name in besides if _is_state(name, values[name], wanted)]
        foreign = [name for name in besides if name not in state]
        if foreign:
            raise CheckpointError(f"For '{CLI}', '--checkpoint' must hold the network's parameters and no others, but "
                                  f"'{place}' also holds {_listed(foreign)}: name the network that it is of.")
        if state:
            say(f"left aside {len(state)} values of '{place}' that training keeps beside parameters: {_listed(state)}")
    for parameter in network.get_parameters():
        parameter.set_data(Tensor(values[parameter.name], parameter.dtype))


def _besides(wanted: Mapping[str, Tuple[int, ...]], values: Mapping[str, np.ndarray], place: str, remedy: str
             ) -> List[str]:
    """The names of what there is besides the parameters of these shapes, which must be there."""
    missing = [name for name in wanted if name not in values]
    besides = [name for name in values if name not in wanted]
    if missing:
        more = f", nor {len(missing) - 1} more of its {len(wanted)}" if len(missing) > 1 else ""
        raise CheckpointError(f"For '{CLI}', '--checkpoint' must hold the network's parameter '{missing[0]}', but "
                              f"'{place}' does not{more}; {_nearest(missing[0], besides)}.")
    # Some axes are shorter, and none is longer.
    slim = all(len(shape) == values[name].ndim and not np.less(shape, values[name].shape).any()
               for name, shape in wanted.items())
    for name, shape in wanted.items():
        if values[name].shape != shape:
            raise CheckpointError(f"For '{CLI}', '{name}' in '{place}' must have shape {shape}, but got "
                                  f"{values[name].shape}{remedy if slim else ''}.")
    return besides


def _is_state(name: str, array: np.ndarray, wanted: Iterable[str]) -> bool:
    """Optimizers name what they keep for a parameter after it, as moments.conv.weight; what is appended is scalar."""
    return (array.ndim == 0 or name.startswith(_STATE)
            or any(name.endswith((f".{parameter}", f"_{parameter}")) for parameter in wanted))


def _nearest(name: str, others: Iterable[str]) -> str:
    others = list(others)
    alike = [other for other in others if other.endswith(f".{name}") or name.endswith(f".{other}")]
    alike = alike or difflib.get_close_matches(name, others, n=1, cutoff=0.5)
    if alike:
        return f"the nearest name there is '{alike[0]}'"
    return f"it holds {_listed(others)}" if others else "it holds nothing besides"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + more


def build_network(name: str, arguments: Optional[str] = None) -> "nn.Cell":
    """The network that a factory builds, as `call_factory` reads it; it is said."""
    from mindspore import nn
    network = call_factory(name, arguments)
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For '{CLI}', '--network' must name a factory that returns a Cell, "
                                f"but '{name}' returned {type(network).__name__}.")
    say(f"built {type(network).__name__} by {name}")
    return network


def load_weights(network: "nn.Cell", path: str) -> None:
    """Fill a network with the values of a checkpoint of it, a .ckpt or .safetensors file."""
    values, recipe = read_tensors(f"{CLI} --checkpoint", path)
    if recipe is not None:
        raise CheckpointError(f"For '{CLI}', '--checkpoint' must be a checkpoint of the original network, but '{path}' "
                              f"is a slim file.")
    fill(network, values, path)


def _make_inputs(network: "nn.Cell", arrays: Tuple[np.ndarray, ...], samples: Optional[int]) -> Tuple["Tensor", ...]:
    """The arrays that were given, or inputs that are found out if there are none; of so many samples, if it is said."""
    if samples is not None and samples < 1:
        raise ArgumentError(f"For '{CLI}', '--samples' must be at least 1, but got {samples}.")
    from mindspore import Tensor, float32

    from golden_stick.cells.trace import find_inputs
    tensors = tuple(map(Tensor, arrays))
    if not tensors:
        tensors = find_inputs(CLI, network)
        say(f"inputs were not given: taken as {describe(tensors)}")
    if samples is None:
        return tensors
    return tuple(as_tensors(CLI, (samples, *tensor.shape[1:]))[0] if tensor.dtype == float32
                 else Tensor(np.resize(tensor.asnumpy(), (samples, *tensor.shape[1:])), tensor.dtype)
                 for tensor in tensors)


def read_inputs(texts: Optional[Sequence[str]]) -> Tuple[np.ndarray, ...]:
    """Arrays of the shapes in texts such as ``'1,3,32,32'``, or ``'1,128:int32'`` where they are not of float32."""
    arrays = []
    for text in texts or ():
        shape, separator, kind = text.partition(":")
        sizes = shape.split(",")
        # isdecimal holds for numerals of any script, and int reads them all.
        if not all(size.strip().isdecimal() and int(size) for size in sizes):
            raise ArgumentError(f"For '{CLI}', '--inputs' must be a shape such as 1,3,32,32, but got '{text}'.")
        if separator and kind not in _TYPES:
            raise ArgumentError(f"For '{CLI}', '--inputs' must be a shape and one of the types {', '.join(_TYPES)}, "
                                f"such as 1,128:int32, but got '{text}'.")
        whole = tuple(int(size) for size in sizes)
        # As indices, 0 and 1 are within every table worth one.
        array = np.random.default_rng(0).integers(0, 2, whole) if separator and not kind.startswith("float") else \
            as_arrays(CLI, whole)[0]
        arrays.append(array.astype(kind or _TYPES[0]))
    return tuple(arrays)


def network_and_inputs(options: argparse.Namespace, checkpoint: Optional[str] = None) -> Tuple[Any, Tuple[Any, ...]]:
    """The network that the options name, with the weights of a checkpoint if there is one, and its inputs."""
    arrays = read_inputs(options.inputs)
    network = build_network(options.network, options.kwargs)
    if checkpoint:
        load_weights(network, checkpoint)
    return network, _make_inputs(network, arrays, getattr(options, "samples", None))


def trace_aloud(network: Any, inputs: Tuple[Any, ...]) -> Any:
    """The graph. Traced before a network is run: inputs that do not fit are then an error of one line."""
    from golden_stick import trace
    graph = trace(network, inputs)
    say(f"traced {type(network).__name__} for inputs {describe(inputs)}: {len(graph.nodes)} operators")
    return graph
