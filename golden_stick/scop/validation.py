"""What the network of a knockoff phase gives in evaluation: what it would, were it pruned by its scales as they are."""
from functools import partial
from typing import Callable, Dict, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.cells.wrappers import TemporaryCell
from golden_stick.graph.groups import CellSite, Grouping

__all__ = ["Gates", "gates_of"]


class Gates:
    """Which of the removable channels of a grouping are there in evaluation, as a parameter of the network."""

    name = "mixing.kept"

    def __init__(self, grouping: Grouping):
        self._channels = np.concatenate([group.channels for group in grouping])
        # The last is of all channels that cannot be removed.
        self.parameter = Parameter(Tensor(np.ones(len(self._channels) + 1), ms.float32), name=self.name,
                                   requires_grad=False)

    def places(self, channels: np.ndarray) -> np.ndarray:
        """Where in the parameter channels stand."""
        order = np.argsort(self._channels)
        places = order[np.searchsorted(self._channels, channels, sorter=order) % len(order)]
        return np.where(self._channels[places] == channels, places, len(order))

    def close(self, channels: Sequence[int]) -> None:
        """Have evaluation go without these channels, and with all others."""
        ops.assign(self.parameter, Tensor(np.append(~np.isin(self._channels, list(channels)), True), ms.float32))


class _EvaluationGate(TemporaryCell):
    """A Cell that in evaluation does not see channels that are to go, which reach it as zero, or does not show them."""

    def __init__(self, cell: nn.Cell, gates: Gates, before: Optional[CellSite], after: Optional[CellSite]):
        super().__init__()
        self.cell, self.kept = cell, gates.parameter
        (self.before, self.shape_before), (self.after, self.shape_after) = (
            self._places(gates, site) for site in (before, after))

    @staticmethod
    def _places(gates: Gates, site: Optional[CellSite]) -> Tuple[Optional[Tensor], Tuple[int, ...]]:
        return (None, ()) if site is None else (Tensor(gates.places(site.channels), ms.int32),
                                                (-1,) + (1,) * site.trailing)

    def construct(self, x):
        if self.training:
            return self.cell(x)
        if self.before is not None:
            x = x * ops.gather(self.kept, self.before, 0).reshape(self.shape_before).astype(x.dtype)
        x = self.cell(x)
        if self.after is not None:
            x = x * ops.gather(self.kept, self.after, 0).reshape(self.shape_after).astype(x.dtype)
        return x


def gates_of(grouping: Grouping) -> Tuple[Gates, Dict[str, Callable[[nn.Cell], nn.Cell]]]:
    """Gates, open until `close` is called; and by path what wraps the Cells at which the masked network has masks."""
    gates = Gates(grouping)
    before, after = ({site.path: site for site in sites} for sites in (grouping.masks, grouping.scatters))
    return gates, {path: partial(_EvaluationGate, gates=gates, before=before.get(path), after=after.get(path))
                   for path in {**before, **after}}
