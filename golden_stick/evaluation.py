"""Running and compiling a network, and leaving its training flags and the working directory as they were."""
import os
import tempfile
from contextlib import contextmanager
from typing import Any, Iterable, Iterator, List, Tuple

import numpy as np
from mindspore import Tensor, nn

__all__ = ["allowed_difference", "evaluation", "evaluate", "leaves", "scratch_directory"]

# So far apart may two orders of summation be.
_ROUNDINGS = 8


@contextmanager
def evaluation(network: nn.Cell) -> Iterator[None]:
    """Put a network into evaluation for a block; afterwards each Cell has its own flag again, not all the same."""
    before = [(cell, cell.training, cell._phase) for _, cell in network.cells_and_names()]
    network.set_train(False)
    try:
        yield
    finally:
        for cell, training, phase in before:
            # Not set_train, which passes the flag on to all children.
            cell.add_flags(training=training)
            cell._phase = phase


@contextmanager
def scratch_directory() -> Iterator[None]:
    """Another working directory for a block: a failed compilation of MindSpore's drops a dump there."""
    folder = os.getcwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            yield
        finally:
            os.chdir(folder)


def evaluate(network: nn.Cell, tensors: Tuple[Tensor, ...]) -> List[np.ndarray]:
    """The outputs of a network in evaluation, as arrays in order, whatever tuple, list or dict it returns."""
    with evaluation(network):
        return [tensor.asnumpy() for tensor in leaves(network(*tensors))]


def leaves(output: Any) -> List[Tensor]:
    """The Tensors of an output in order, whatever tuple, list or dict it is: a number is one, None is none."""
    if output is None:
        return []
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        return [tensor for item in output for tensor in leaves(item)]
    return [output if isinstance(output, Tensor) else Tensor(output)]


def allowed_difference(tolerance: float, arrays: Iterable[np.ndarray]) -> float:
    """A tolerance made for float32, as a fraction of the largest output; eight roundings where some are of float16."""
    coarse = any(array.dtype == np.float16 for array in arrays)
    return max(tolerance, _ROUNDINGS * float(np.finfo(np.float16).eps)) if coarse else tolerance
