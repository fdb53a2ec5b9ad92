"""What a network takes, where the user did not say."""
from typing import Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.errors import ArgumentError, TraceError
from golden_stick.inputs import as_tensors
from golden_stick.prune.trace import trace

__all__ = ["find_inputs"]

# Usual image sizes, smallest first: of those that a network compiles for, the smallest is the quickest to trace.
_SIZES = (32, 28, 64, 96, 112, 128, 160, 192, 224, 240, 256, 299, 384, 512)


def find_inputs(owner: str, network: nn.Cell) -> Tuple[Tensor, ...]:
    """
    The inputs that `network.set_inputs` was given, or an image of the first usual size that the network compiles for.

    Args:
        owner (str): Name of the caller, for messages.
        network (nn.Cell): The network.

    Returns:
        tuple[Tensor].

    Raises:
        ArgumentError: If neither finds any.
    """
    known = network.get_inputs()
    if known and all(isinstance(item, Tensor) for item in known):
        # A free dimension (-1) may be anything: one sample is enough to follow channels.
        return tuple(_filled(owner, item) for item in known)
    first = next((cell for _, cell in network.cells_and_names() if isinstance(cell, nn.Conv2d)), None)
    for size in _SIZES if first is not None else ():
        tensors = as_tensors(owner, (1, first.in_channels, size, size))
        try:
            trace(network, tensors)
            return tensors
        except TraceError:
            continue
    raise ArgumentError(
        f"For '{owner}', 'inputs' must be given, as a Tensor, a tuple of Tensors or a shape such as (1, 3, 32, 32): "
        f"it could not be found out."
    )


def _filled(owner: str, item: Tensor) -> Tensor:
    shape = tuple(size if size > 0 else 1 for size in item.shape)
    if item.dtype == ms.float32:
        return as_tensors(owner, shape)[0]
    return Tensor(np.zeros(shape), item.dtype)
