"""What `apply` takes and what it made: a plain network of numbers, and the names of the parameters it left with."""
from dataclasses import dataclass
from typing import Any, Dict, Mapping

import mindspore as ms
import numpy as np
from mindspore import nn

from golden_stick.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.prune.cells import TemporaryCell
from golden_stick.prune.copying import copy_network

__all__ = ["AppliedNames", "check_plain"]


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


@dataclass(frozen=True)
class AppliedNames:
    """
    The names that an applied network's parameters have: plans and checkpoints speak of these.

    A Cell that the user makes around it, such as one that computes the loss, renames all that is inside.

    Args:
        by_path (Mapping): Where a parameter is in the applied network -> its name.
    """

    by_path: Mapping[str, str]

    @classmethod
    def of(cls, applied: nn.Cell) -> "AppliedNames":
        """Of a network that nobody has wrapped yet."""
        return cls({path: parameter.name for path, parameter in applied.parameters_and_names()})

    def parameters(self, cell: nn.Cell, place: str = "") -> Dict[str, ms.Parameter]:
        """The parameters of the applied network by these names, or of its Cell at `place`, which ends in a dot."""
        return {self.by_path.get(f"{place}{path}", parameter.name): parameter
                for path, parameter in cell.parameters_and_names()}

    def values(self, applied: nn.Cell) -> Dict[str, np.ndarray]:
        """Their values."""
        return {name: parameter.asnumpy() for name, parameter in self.parameters(applied).items()}

    def copy(self, cell: nn.Cell, place: str = "") -> nn.Cell:
        """A copy of the applied network, or of its Cell at `place`, with these names."""
        made = copy_network(cell)
        for name, parameter in self.parameters(made, place).items():
            parameter.name = name
        return made
