"""Networks for the command line: how to build them, their weights and their inputs."""
from typing import Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.cli.factories import call_factory
from golden_stick.cli.matching import check_exact, fill
from golden_stick.deploy.slim_file import read_tensors
from golden_stick.errors import ArgumentError, ArgumentTypeError, CheckpointError
from golden_stick.inputs import as_tensors, describe
from golden_stick.prune.find_inputs import find_inputs

__all__ = ["build_network", "load_weights", "read_inputs", "make_inputs"]

_CLI = "golden-stick"
_TYPES = ("float32", "float16", "float64", "int32", "int64", "int16", "int8", "uint8", "bool")


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
    network = call_factory(name, arguments)
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For '{_CLI}', '--network' must name a factory that returns a Cell, "
                                f"but '{name}' returned {type(network).__name__}.")
    return network


def load_weights(network: nn.Cell, path: str, option: str = "--checkpoint") -> None:
    """
    Fill a network with the values of a checkpoint of it, a .ckpt or .safetensors file.

    Args:
        network (nn.Cell): The network.
        path (str): The checkpoint.
        option (str): The option that names it. Default: ``"--checkpoint"``.

    Raises:
        CheckpointError: If the file is missing, is no checkpoint, or belongs to another network.
    """
    values, recipe = read_tensors(f"{_CLI} {option}", path)
    if recipe is not None:
        raise CheckpointError(f"For '{_CLI}', '{option}' must be a checkpoint of the original network, but '{path}' is "
                              f"a slim file.")
    check_exact(network, values, option, path)
    fill(network, values)


def read_inputs(texts: Optional[Sequence[str]]) -> Tuple[Tensor, ...]:
    """
    Tensors of the shapes in texts such as ``'1,3,32,32'``, or ``'1,128:int32'`` where they are not of float32.

    Raises:
        ArgumentError: If a text is not a list of whole numbers of at least 1, the type is unknown, or there is not
            enough memory.
    """
    tensors = []
    for text in texts or ():
        shape, separator, kind = text.partition(":")
        sizes = shape.split(",")
        # isdecimal holds for numerals of any script, and int reads them all.
        if not all(size.strip().isdecimal() and int(size) for size in sizes):
            raise ArgumentError(f"For '{_CLI}', '--inputs' must be a shape such as 1,3,32,32, but got '{text}'.")
        if separator and kind not in _TYPES:
            raise ArgumentError(f"For '{_CLI}', '--inputs' must be a shape and one of the types {', '.join(_TYPES)}, "
                                f"such as 1,128:int32, but got '{text}'.")
        tensors.append(_drawn(tuple(int(size) for size in sizes), kind or _TYPES[0]))
    return tuple(tensors)


def _drawn(shape: Tuple[int, ...], kind: str) -> Tensor:
    if kind.startswith("float"):
        return as_tensors(_CLI, shape)[0].astype(getattr(ms, kind))
    # As indices, 0 and 1 are within every table worth one.
    return Tensor(np.random.default_rng(0).integers(0, 2, shape), getattr(ms, kind))


def make_inputs(network: nn.Cell, tensors: Tuple[Tensor, ...], samples: Optional[int] = None) -> Tuple[Tensor, ...]:
    """
    Inputs for a network.

    Args:
        network (nn.Cell): The network.
        tensors (tuple[Tensor]): What `read_inputs` returned. If it is empty, inputs are found out.
        samples (int): What the first axis of every input is set to. Default: ``None``, it stays.

    Returns:
        tuple[Tensor].

    Raises:
        ArgumentError: If there are no inputs and none can be found out, or `samples` is below 1.
    """
    if samples is not None and samples < 1:
        raise ArgumentError(f"For '{_CLI}', '--samples' must be at least 1, but got {samples}.")
    if not tensors:
        tensors = find_inputs(_CLI, network)
        print(f"inputs were not given: taken as {describe(tensors)}", flush=True)
    return tensors if samples is None else tuple(_resampled(tensor, samples) for tensor in tensors)


def _resampled(tensor: Tensor, samples: int) -> Tensor:
    shape = (samples,) + tuple(tensor.shape[1:])
    if tensor.dtype == ms.float32:
        return as_tensors(_CLI, shape)[0]
    return Tensor(np.resize(tensor.asnumpy(), shape), tensor.dtype)
