"""Gates: masks that are parameters, so that one compiled network can hide any channel."""
from typing import Collection, Dict, List, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.graph.groups import CellSite, Grouping, ParameterSlice
from golden_stick.prune.cells import replace_cells
from golden_stick.prune.copying import copy_network

__all__ = ["GatedCell", "GatedNetwork", "LossOfEachSample"]


def _gate(site: CellSite, kind: str) -> Parameter:
    values = np.ones((len(site.channels),) + (1,) * site.trailing, np.float32)
    return Parameter(Tensor(values), name=f"golden_stick.{kind}_gate.{site.path}", requires_grad=False)


class GatedCell(nn.Cell):
    """
    A Cell whose input and output channels are multiplied with numbers that can change after compilation.

    Args:
        cell (nn.Cell): The Cell, used and not copied; its parameters keep their names.
        before (Parameter): Factors of its input's channels, one for each.
        after (Parameter): Factors of its output's channels, or one for all.

    Inputs:
        - **x** (Tensor) - What `cell` takes.

    Outputs:
        What `cell` gives for ``x * before``, times `after`.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, cell: nn.Cell, before: Parameter, after: Parameter):
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.before = before
        self.after = after

    def construct(self, x):
        return self.cell(x * self.before) * self.after


class LossOfEachSample(nn.Cell):
    """
    A network with a loss that gives one number for each sample.

    Args:
        network (nn.Cell): The network.
        loss (nn.Cell): Takes its output and the labels.

    Inputs:
        - **images** (Tensor) - What the network takes, :math:`(N, ...)`.
        - **labels** (Tensor) - What the loss takes.

    Outputs:
        What the loss gives.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, network: nn.Cell, loss: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss

    def construct(self, images, labels):
        return self.loss(self.network(images), labels)


class GatedNetwork:
    """
    A copy of a network that can hide any of its removable channels without being compiled again.

    Args:
        network (nn.Cell): The network that was traced. It is not changed.
        grouping (Grouping): Its channels.
    """

    def __init__(self, network: nn.Cell, grouping: Grouping):
        self.network = copy_network(network)
        self._gates: List[Tuple[Parameter, np.ndarray]] = []
        inputs = {site.path: site for site in grouping.masks}
        outputs = {site.path: site for site in grouping.scatters}
        replace_cells(self.network, {path: self._wrapper(path, inputs, outputs) for path in {**inputs, **outputs}})
        parameters = {parameter.name: parameter for parameter in self.network.get_parameters()}
        self._zeroed: List[Tuple[Parameter, ParameterSlice, np.ndarray]] = [
            (parameters[item.parameter], item, parameters[item.parameter].asnumpy().copy()) for item in grouping.zeroed]
        self.network.set_train(False)
        ms.ms_memory_recycle()

    def _wrapper(self, path: str, inputs: Dict[str, CellSite], outputs: Dict[str, CellSite]):
        def wrap(cell: nn.Cell) -> nn.Cell:
            return GatedCell(cell, self._new_gate(path, inputs, "input"), self._new_gate(path, outputs, "output"))
        return wrap

    def _new_gate(self, path: str, sites: Dict[str, CellSite], kind: str) -> Parameter:
        site = sites.get(path, CellSite(path, np.full(1, -1), 0))
        gate = _gate(site, kind)
        self._gates.append((gate, site.channels))
        return gate

    def hide(self, hidden: Collection[int]) -> None:
        """Hide these channels, whose numbers are those of the groups, and show all others."""
        numbers = np.fromiter(hidden, np.int64, len(hidden))
        for gate, channels in self._gates:
            values = np.where(np.isin(channels, numbers), 0.0, 1.0).astype(np.float32)
            self._assign(gate, values.reshape(gate.shape))
        self._zero(numbers)

    def _zero(self, numbers: np.ndarray) -> None:
        values: Dict[str, np.ndarray] = {}
        for parameter, item, original in self._zeroed:
            current = values.setdefault(parameter.name, original.copy())
            current[(slice(None),) * item.axis + (np.flatnonzero(np.isin(item.channels, numbers)),)] = 0
        for parameter, _, _ in self._zeroed:
            self._assign(parameter, values[parameter.name])

    @staticmethod
    def _assign(parameter: Parameter, values: np.ndarray) -> None:
        if not np.array_equal(parameter.asnumpy(), values):
            ops.assign(parameter, Tensor(values, parameter.dtype))
