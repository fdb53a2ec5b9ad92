"""Networks for the command line: how to build them, their weights, their inputs, and what can be pruned in them."""
import difflib
import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict
from types import ModuleType
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.errors import ArgumentError, ArgumentTypeError, CheckpointError
from golden_stick.graph.cost import count_macs, count_parameters
from golden_stick.graph.groups import find_groups
from golden_stick.graph.ir import Graph
from golden_stick.graph.rules import RULES
from golden_stick.inputs import as_tensors, describe
from golden_stick.prune.find_inputs import find_inputs

__all__ = ["build_network", "load_weights", "read_shapes", "make_inputs", "overview",
           "overview_text"]

_CLI = "golden-stick"


def build_network(name: str, arguments: Optional[str] = None) -> nn.Cell:
    """
    The network that a factory builds.

    Args:
        name (str): ``'package.module:factory'`` or ``'path/to/file.py:factory'``. What stands beside the file, or in
            the working directory for a module, can be imported.
        arguments (str): Keyword arguments of the factory, as a JSON object. Default: ``None``, no arguments.

    Returns:
        nn.Cell.

    Raises:
        ArgumentError: If the module, file or factory is missing, raises an error, or does not take the arguments.
        ArgumentTypeError: If the factory is not callable, or what it returns is not a Cell.
    """
    source, separator, factory_name = name.rpartition(":")
    if not (source and separator and factory_name):
        raise ArgumentError(f"For '{_CLI}', '--network' must look like 'package.module:factory' or "
                            f"'path/to/file.py:factory', but got '{name}'.")
    keywords = _read_keywords(arguments)
    is_file = source.endswith(".py") or os.sep in source
    if is_file and not (source.endswith(".py") and os.path.isfile(source)):
        raise ArgumentError(f"For '{_CLI}', '--network' must name a .py file that exists, but got '{source}'.")
    # A factory's initial weights are random: the same command shall give the same files.
    ms.set_seed(0)
    with _importable(os.path.dirname(os.path.abspath(source)) if is_file else os.getcwd()):
        factory = _find_factory(_load_module(source, is_file), source, factory_name)
        network = _call(factory, name, keywords)
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For '{_CLI}', '--network' must name a factory that returns a Cell, "
                                f"but '{name}' returned {type(network).__name__}.")
    return network


def load_weights(network: nn.Cell, path: str) -> None:
    """
    Fill a network with the values of a checkpoint of it. What else the checkpoint holds is left aside.

    Raises:
        CheckpointError: If the file is missing, is no checkpoint, or belongs to another network.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"For '{_CLI}', '--checkpoint' must be a file, but got '{path}'.")
    try:
        values = ms.load_checkpoint(path)
    except (ValueError, RuntimeError, OSError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"For '{_CLI}', '--checkpoint' must be a checkpoint, but got '{path}': {reason}"
                              ) from error
    parameters = list(network.get_parameters())
    for parameter in parameters:
        if parameter.name not in values:
            raise CheckpointError(f"For '{_CLI}', '--checkpoint' must hold the network's parameter '{parameter.name}', "
                                  f"but '{path}' does not.")
        if tuple(values[parameter.name].shape) != tuple(parameter.shape):
            raise CheckpointError(f"For '{_CLI}', '{parameter.name}' in '{path}' must have shape "
                                  f"{tuple(parameter.shape)}, but got {tuple(values[parameter.name].shape)}.")
    for parameter in parameters:
        parameter.set_data(Tensor(values[parameter.name].asnumpy(), parameter.dtype))


def read_shapes(texts: Optional[Sequence[str]]) -> Tuple[Tuple[int, ...], ...]:
    """
    Shapes from texts such as ``'1,3,32,32'``.

    Raises:
        ArgumentError: If a text is not a list of whole numbers of at least 1.
    """
    shapes = []
    for text in texts or ():
        sizes = text.split(",")
        # isdecimal holds for numerals of any script, and int reads them all.
        if not all(size.strip().isdecimal() and int(size) for size in sizes):
            raise ArgumentError(f"For '{_CLI}', '--inputs' must be a shape such as 1,3,32,32, but got '{text}'.")
        shapes.append(tuple(int(size) for size in sizes))
    return tuple(shapes)


def make_inputs(network: nn.Cell, shapes: Sequence[Tuple[int, ...]], samples: Optional[int] = None
                ) -> Tuple[Tensor, ...]:
    """
    Inputs for a network.

    Args:
        network (nn.Cell): The network.
        shapes (Sequence[tuple[int]]): One shape for each input. If it is empty, they are found out.
        samples (int): What the first axis of every input is set to. Default: ``None``, it stays.

    Returns:
        tuple[Tensor].

    Raises:
        ArgumentError: If there are no shapes and none can be found out, or `samples` is below 1.
    """
    if samples is not None and samples < 1:
        raise ArgumentError(f"For '{_CLI}', '--samples' must be at least 1, but got {samples}.")
    if shapes:
        tensors = tuple(as_tensors(_CLI, shape)[0] for shape in shapes)
    else:
        tensors = find_inputs(_CLI, network)
        print(f"inputs were not given: taken as {describe(tensors)}", flush=True)
    return tensors if samples is None else tuple(_resampled(tensor, samples) for tensor in tensors)


def overview(network: nn.Cell, graph: Graph, residual: str) -> Dict[str, Any]:
    """
    What could be pruned in a network, what could not, and why, as plain data.

    Raises:
        ArgumentError: If `residual` is unknown.
    """
    grouping = find_groups(graph, residual)
    counts = sorted(Counter(node.operator for node in graph.nodes).items())
    return {
        "network": type(network).__name__,
        "inputs": [list(item.shape) for item in graph.inputs],
        "residual": residual,
        "operators": [{"operator": name, "count": count, "rule": name in RULES} for name, count in counts],
        "parameters": count_parameters(graph),
        "macs": count_macs(graph),
        "groups": [{"name": group.name, "channels": len(group.channels), "layers": list(group.layers)}
                   for group in grouping],
        "fixed": [asdict(layer) for layer in grouping.fixed],
        "barriers": list(grouping.without_rule),
    }


def overview_text(record: Mapping[str, Any]) -> str:
    """What `overview` returned, for people."""
    lines = [f"parameters  {record['parameters']:,}", f"MACs        {record['macs']:,}", "operators"]
    for item in record["operators"]:
        lines.append(f"  {item['operator']:<24} {item['count']:>5}  {'a rule' if item['rule'] else 'NO rule'}")
    lines.append(f"channel groups with residual '{record['residual']}': {len(record['groups'])}")
    for group in record["groups"]:
        lines.append(f"  {group['name']}: {group['channels']} removable channels made by {', '.join(group['layers'])}")
    lines.append(f"layers with filters that always stay: {len(record['fixed'])}")
    for layer in record["fixed"]:
        lines.append(f"  {layer['path']}: {layer['fixed']} of {layer['filters']} ({'; '.join(layer['reasons'])})")
    if record["barriers"]:
        lines.append("operators without a rule, not pruned across: " + "; ".join(record["barriers"]))
    return "\n".join(lines)


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


def _load_module(source: str, is_file: bool) -> ModuleType:
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
        raise ArgumentError(f"For '{_CLI}', '--network' must be importable, but '{source}' raised {_describe(error)}."
                            ) from error


def _find_factory(module: ModuleType, source: str, name: str) -> Callable:
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ArgumentError(f"For '{_CLI}', '--network' must name a factory of '{source}', but it has no '{name}'."
                            f"{hint}")
    factory = getattr(module, name)
    if not callable(factory):
        raise ArgumentTypeError(f"For '{_CLI}', '--network' must name a factory that can be called, but '{name}' of "
                                f"'{source}' is of type {type(factory).__name__}.")
    return factory


def _call(factory: Callable, name: str, keywords: Mapping[str, Any]) -> Any:
    try:
        return factory(**keywords)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        if isinstance(error, TypeError) and not _place(error):
            what = f"'--kwargs' must fit the factory, but got {json.dumps(keywords)}: {error}."
        else:
            what = f"'--network' must name a factory that works, but '{name}' raised {_describe(error)}."
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


def _resampled(tensor: Tensor, samples: int) -> Tensor:
    shape = (samples,) + tuple(tensor.shape[1:])
    if tensor.dtype == ms.float32:
        return as_tensors(_CLI, shape)[0]
    return Tensor(np.resize(tensor.asnumpy(), shape), tensor.dtype)
