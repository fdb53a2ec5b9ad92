"""What Cells read and give while a network runs over data, handed on batch by batch: none of it is kept."""
from contextlib import contextmanager
from functools import partial
from typing import Callable, Iterator, Mapping, Optional

import mindspore as ms
import numpy as np
from mindspore import nn

from golden_stick.cells.wrappers import TemporaryCell, copy_network, evaluation, replace_cells

__all__ = ["Tap", "tapped"]

See = Callable[[np.ndarray], None]


class Tap(TemporaryCell):
    """
    Hands what enters a Cell, or what leaves it, to a function. In PyNative mode only.

    Args:
        cell (nn.Cell): The Cell, used and not copied; its parameters keep their names.
        enters (Callable): Takes an array; None where nobody asks.
        leaves (Callable): The same of what the Cell gives.

    Inputs:
        - **x** (Tensor) - What `cell` takes.

    Outputs:
        What `cell` gives.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, cell: nn.Cell, enters: Optional[See] = None, leaves: Optional[See] = None):
        super().__init__()
        self.cell, self.enters, self.leaves = cell, enters, leaves

    def construct(self, x):
        if self.enters is not None:
            self.enters(x.asnumpy())
        x = self.cell(x)
        if self.leaves is not None:
            self.leaves(x.asnumpy())
        return x


@contextmanager
def tapped(network: nn.Cell, enters: Mapping[str, See], leaves: Mapping[str, See]) -> Iterator[nn.Cell]:
    """
    A copy of a network, in evaluation and PyNative mode for a block, that shows what its Cells read and give.

    Args:
        network (nn.Cell): The network. It is not changed.
        enters (Mapping): Path of a Cell -> what is called with every array that enters it.
        leaves (Mapping): Path of a Cell -> what is called with every array that leaves it.

    Returns:
        Iterator[nn.Cell], the copy, for `with`.
    """
    copy = copy_network(network)
    replace_cells(copy, {path: partial(Tap, enters=enters.get(path), leaves=leaves.get(path))
                         for path in {**enters, **leaves}})
    ms.ms_memory_recycle()
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        with evaluation(copy):
            yield copy
    finally:
        ms.set_context(mode=mode)
