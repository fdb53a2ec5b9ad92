"""Names of parameters, kept by path, as MindSpore renames parameters."""
from dataclasses import dataclass
from typing import Dict, Mapping

import mindspore as ms
import numpy as np
from mindspore import nn

from golden_stick.prune.copying import copy_network

__all__ = ["FirstNames"]


@dataclass(frozen=True)
class FirstNames:
    """
    The names that a network's parameters had when it was made: plans, checkpoints and slim files speak of these.

    A Cell that the user makes around the network, such as one that computes the loss, renames all that is inside.

    Args:
        by_path (Mapping): Where a parameter is in the network -> its name. One that is not there has the name of now.
    """

    by_path: Mapping[str, str]

    @classmethod
    def of(cls, network: nn.Cell) -> "FirstNames":
        """Of a network that nobody has wrapped yet."""
        return cls({path: parameter.name for path, parameter in network.parameters_and_names()})

    def parameters(self, cell: nn.Cell, place: str = "") -> Dict[str, ms.Parameter]:
        """The parameters of the network by these names, or of its Cell at `place`, which ends in a dot."""
        return {self.by_path.get(f"{place}{path}", parameter.name): parameter
                for path, parameter in cell.parameters_and_names()}

    def values(self, network: nn.Cell) -> Dict[str, np.ndarray]:
        """Their values."""
        return {name: parameter.asnumpy() for name, parameter in self.parameters(network).items()}

    def copy(self, cell: nn.Cell, place: str = "") -> nn.Cell:
        """A copy of the network, or of its Cell at `place`, with these names."""
        made = copy_network(cell)
        for name, parameter in self.parameters(made, place).items():
            parameter.name = name
        return made
