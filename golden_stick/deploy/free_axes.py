"""Inputs whose sizes are not said, such as height and width, and what they are while a network is looked at."""
from typing import Any, Callable, List, Sequence, Tuple, TypeVar

import numpy as np
from mindspore import Tensor

from golden_stick.base.errors import ArgumentError, ExportError, TraceError
from golden_stick.base.inputs import as_tensors, resized

__all__ = ["CHECKED", "FreeAxes", "TRACED", "lengthened", "opened_inputs", "with_lengths"]


# For each input, the axes behind the first that take any length. The first is the batch's.
FreeAxes = Tuple[Tuple[int, ...], ...]
Made = TypeVar("Made")

# Lengths are a step times these, a row for each axis, a column for each turn: none follows another by chance.
_TIMES = ((3, 5, 4, 7, 6, 2), (4, 7, 6, 3, 2, 5), (5, 3, 7, 4, 2, 6), (7, 4, 5, 3, 6, 2))
_BATCHES = (2, 3, 5, 4, 1, 6)
TRACED, CHECKED = (0, 1, 2, 3), (4, 5)
# Odd lengths show which way halves are rounded. A network that joins what it halved and doubled takes multiples only.
_STEPS = (13, 32, 64, 4)
_SEED = 7


def opened_inputs(owner: str, inputs: Any) -> Tuple[Tuple[Tensor, ...], FreeAxes]:
    """What a network takes, as Tensors, and which axes take any length: those of length None or -1."""
    items = [inputs] if isinstance(inputs, Tensor) else list(inputs) if isinstance(inputs, (tuple, list)) else []
    if items and all(isinstance(item, Tensor) for item in items):
        given = [(list(item.shape), item) for item in items]
    elif any(item is None or type(item) is int and item == -1 for item in items):
        given = [(items, None)]
    else:
        return as_tensors(owner, inputs), ()
    tensors, free = [], []
    for shape, tensor in given:
        opened = [axis for axis, size in enumerate(shape) if size in (None, -1)]
        sizes = tuple((_STEPS[0] if axis else 1) if axis in opened else size for axis, size in enumerate(shape))
        drawn = tensor if tensor is not None and not opened else as_tensors(owner, sizes)[0]
        if tensor is not None and opened:
            # Indices that any table has.
            array = drawn.asnumpy() if "Float" in str(tensor.dtype) else np.int32(drawn.asnumpy() > 0)
            drawn = Tensor(array, tensor.dtype)
        tensors.append(drawn)
        free.append(tuple(axis for axis in opened if axis))
    if len(set(sum(free, ()))) > len(_TIMES):
        raise ArgumentError(f"For '{owner}', 'inputs' must have at most {len(_TIMES)} free axes besides the batch, but "
                            f"got {sorted(set(sum(free, ())))}.")
    return tuple(tensors), tuple(free) if any(free) else ()


def lengthened(tensors: Tuple[Tensor, ...], free: FreeAxes, step: int, turn: int, any_batch: bool
               ) -> Tuple[Tensor, ...]:
    """Inputs of the lengths and of the batch size of a turn. Axes of the same place in two inputs are of one length."""
    lengths = dict(zip(sorted(set(sum(free, ()))), (step * times[turn] for times in _TIMES)))
    made = []
    for tensor, axes in zip(resized(tensors, _BATCHES[turn]) if any_batch else tensors, free):
        shape = [lengths[axis] if axis in axes else size for axis, size in enumerate(tensor.shape)]
        made.append(Tensor(np.resize(tensor.asnumpy(), shape), tensor.dtype) if axes else tensor)
    return tuple(made)


def with_lengths(tensors: Tuple[Tensor, ...], free: FreeAxes, any_batch: bool, turns: Sequence[int],
                 work: Callable[[Tuple[Tensor, ...]], Made]) -> Tuple[List[Made], int]:
    """What `work` makes of each turn's inputs, with the first step whose lengths the network takes, and that step."""
    reason = None
    for step in _STEPS:
        try:
            return [work(lengthened(tensors, free, step, turn, any_batch)) for turn in turns], step
        except (ExportError, TraceError) as error:
            reason = reason or error
    raise ExportError(f"For 'export', the network must take other lengths of the axes of 'inputs' that are free, but "
                      f"takes none that were tried: {reason}") from reason
