"""What `apply` takes: a plain network, whose parameters are numbers."""
from typing import Any

import numpy as np
from mindspore import nn

from golden_stick.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.prune.cells import TemporaryCell

__all__ = ["check_plain"]


def check_plain(owner: str, network: Any) -> None:
    """
    Refuse, for the caller `owner`, what no algorithm can be applied to.

    Raises:
        ArgumentTypeError: If `network` is not a Cell.
        StateError: If it is the result of an `apply`, whichever algorithm's.
        ArgumentError: If a parameter holds NaN, which no score and no comparison survives.
    """
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For '{owner}', 'network' must be a Cell, but got {type(network).__name__}.")
    if any(isinstance(cell, TemporaryCell) for _, cell in network.cells_and_names()):
        raise StateError(f"For '{owner}', 'network' must be a plain network, but got one that 'apply' returned.")
    for parameter in network.get_parameters():
        if np.isnan(parameter.float().asnumpy()).any():
            raise ArgumentError(f"For '{owner}', the parameters of 'network' must be numbers, but '{parameter.name}' "
                                f"holds NaN: load a checkpoint from before the training diverged.")
