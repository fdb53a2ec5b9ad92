"""Copies of networks, from which everything is made: the caller's is never changed."""
import copy
from typing import Any, Dict

from mindspore import nn, ops

from golden_stick.errors import SlimError, first_line

__all__ = ["copy_network"]


def copy_network(network: nn.Cell) -> nn.Cell:
    """
    A deep copy of a network.

    Raises:
        SlimError: If something in it cannot be copied.
    """
    try:
        return copy.deepcopy(network)
    except Exception:  # pylint: disable=broad-except
        # Some primitives, such as LRN, cannot be copied. Nothing changes a primitive, so they may be shared.
        shared: Dict[int, Any] = {id(value): value for _, cell in network.cells_and_names()
                                  for value in vars(cell).values() if isinstance(value, ops.Primitive)}
    try:
        return copy.deepcopy(network, shared)
    except Exception as error:  # pylint: disable=broad-except
        raise SlimError(f"For 'slim', 'network' must be one that copy.deepcopy can copy, but a "
                        f"'{type(network).__name__}' cannot be: {first_line(error)}") from error
