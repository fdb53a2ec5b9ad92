"""What Cells read and give while a network runs over data, handed on batch by batch: none of it is kept."""
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Mapping

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.cells.wrappers import evaluation, find_cell

__all__ = ["tapped"]

See = Callable[[np.ndarray], Any]


@contextmanager
def tapped(network: nn.Cell, enters: Mapping[str, See], leaves: Mapping[str, See]) -> Iterator[nn.Cell]:
    """
    For a block, a network in evaluation and PyNative mode that shows what its Cells read first and give.

    `enters` and `leaves` are paths of Cells -> what is called with every array that enters or leaves them. What it
    returns for one that leaves, if anything, goes on in its place.
    """
    mode, handles = ms.get_context("mode"), []
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        for path, see in enters.items():
            handles.append(find_cell(network, path).register_forward_pre_hook(_before(see)))
        for path, see in leaves.items():
            handles.append(find_cell(network, path).register_forward_hook(_behind(see)))
        with evaluation(network):
            yield network
    finally:
        ms.set_context(mode=mode)
        for handle in handles:
            handle.remove()
        ms.ms_memory_recycle()


def _before(see: See) -> Callable[[nn.Cell, Any], None]:
    def hook(_: nn.Cell, inputs: Any) -> None:
        see(inputs[0].asnumpy())
    return hook


def _behind(see: See) -> Callable[[nn.Cell, Any, Any], None]:
    def hook(_: nn.Cell, __: Any, output: Any) -> Any:
        instead = see(output.asnumpy()) if isinstance(output, Tensor) else None
        return output if instead is None else Tensor(instead, output.dtype)
    return hook
