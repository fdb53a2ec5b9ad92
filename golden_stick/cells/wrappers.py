"""Cells that are put around others and taken out again, and the masked network that is made of them."""
from functools import partial
from typing import Any, Callable, Mapping, Optional, Type

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, SlimError, StateError
from golden_stick.cells.networks import copy_network
from golden_stick.graph.plan import KeptChannels, PruningPlan

__all__ = ["MaskedCell", "ScatteredOutput", "TemporaryCell", "replace_cells", "unwrap_cells",
           "masked_network", "find_cell", "check_network"]


def _mask(site: KeptChannels) -> Tensor:
    keep = np.zeros(site.size, np.float32)
    keep[list(site.kept)] = 1.0
    return Tensor(keep.reshape((-1,) + (1,) * site.trailing), ms.float32)


class TemporaryCell(nn.Cell):
    """
    Base of the Cells that an algorithm's `apply` puts into a network, and its `convert` takes out.

    Inputs:
        - **x** (Tensor) - The subclass says.

    Outputs:
        The subclass says.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self):
        # Parameters keep the names that they have in the network.
        super().__init__(auto_prefix=False)


class MaskedCell(TemporaryCell):
    """
    A Cell that does not see removed channels, which reach it as zero whatever lies before it, or does not show them.

    Args:
        cell (nn.Cell): The Cell, used and not copied; its parameters keep their names.
        before (KeptChannels): Which channels of the input stay; None for all.
        after (KeptChannels): Which channels of the output stay. Default: ``None``, all.

    Inputs:
        - **x** (Tensor) - What `cell` takes, with `before.size` channels.

    Outputs:
        What `cell` gives for `x`, with the removed channels of either set to zero.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, cell: nn.Cell, before: Optional[KeptChannels], after: Optional[KeptChannels] = None):
        super().__init__()
        self.cell = cell
        self.before, self.after = (_mask(site) if site else None for site in (before, after))

    def construct(self, x):
        if self.before is not None:
            x = x * self.before.astype(x.dtype)
        x = self.cell(x)
        return x if self.after is None else x * self.after.astype(x.dtype)


class ScatteredOutput(nn.Cell):
    """
    A slim Cell whose channels are put into their places in a wider feature map that is zero elsewhere.

    It is what lets a residual branch have fewer channels than the sum it enters.

    Args:
        cell (nn.Cell): The slim Cell, used and not copied; its parameters keep their names.
        site (KeptChannels): `site.kept` are the places of the Cell's channels among `site.size`.

    Inputs:
        - **x** (Tensor) - What `cell` takes.

    Outputs:
        Tensor, of shape :math:`(N, site.size, H, W)`.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, cell: nn.Cell, site: KeptChannels):
        super().__init__(auto_prefix=False)
        self.cell = cell
        # Every place reads one channel: its own, or the channel of zeros that is appended.
        source = np.full(site.size, len(site.kept), np.int32)
        source[list(site.kept)] = np.arange(len(site.kept))
        self.source = Tensor(source, ms.int32)
        self.zero = Tensor(np.zeros((1, 1) + (1,) * site.trailing), ms.float32)

    def construct(self, x):
        # Of the ways that benchmarks/scatter.py measures, the fastest.
        narrow = self.cell(x)
        # Not zeros_like: MindSpore would compute it while compiling, and write N * H * W zeros into an exported file.
        zeros = narrow[:, :1] * self.zero.astype(narrow.dtype)
        return ops.gather(ops.concat((narrow, zeros), 1), self.source, 1)


def find_cell(network: nn.Cell, path: str) -> nn.Cell:
    """
    The Cell at a dotted path.

    Raises:
        SlimError: If there is none.
    """
    cell = network
    for name in path.split(".") if path else ():
        children = cell._cells  # pylint: disable=protected-access
        if name not in children:
            raise SlimError(f"For 'slim', the network must have a Cell at '{path}', but got none named '{name}'.")
        cell = children[name]
    return cell


def replace_cells(network: nn.Cell, wrappers: Mapping[str, Callable[[nn.Cell], nn.Cell]]) -> None:
    """Put `wrappers[path](cell)` where the Cell at `path` is, wherever it is referred to. Parameter names stay."""
    replacements = {id(find_cell(network, path)): (find_cell(network, path), wrap) for path, wrap in wrappers.items()}
    made = {key: wrap(cell) for key, (cell, wrap) in replacements.items()}
    _exchange(network, made)


def unwrap_cells(network: nn.Cell, kind: Type[Any]) -> None:
    """Put the Cell that it wraps where a wrapper of class `kind` is."""
    _exchange(network, {id(cell): cell.cell for _, cell in network.cells_and_names() if isinstance(cell, kind)})


def _exchange(network: nn.Cell, made: Mapping[int, nn.Cell]) -> None:
    for _, parent in list(network.cells_and_names()):
        children = parent._cells
        for name, child in list(children.items()):
            while child is not None and made.get(id(child), child) is not child:
                child = made[id(child)]
            # Not by setattr: that would rename every parameter inside.
            children[name] = child
        if isinstance(parent, nn.SequentialCell):
            # It runs its own list of Cells, not its children.
            parent.cell_list = list(children.values())


def _zero(network: nn.Cell, plan: PruningPlan) -> None:
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    for axis in plan.zeros:
        values = parameters[axis.parameter].asnumpy().copy()
        gone = np.delete(np.arange(axis.size), axis.kept)
        values[(slice(None),) * axis.axis + (gone,)] = 0
        parameters[axis.parameter].set_data(Tensor(values, parameters[axis.parameter].dtype))


def masked_network(network: nn.Cell, plan: PruningPlan) -> nn.Cell:
    """
    A copy of the network in which the channels that the plan removes contribute nothing.

    Args:
        network (nn.Cell): The network that the plan was made for. It is not changed.
        plan (PruningPlan): What is kept.

    Returns:
        nn.Cell, of the original's size, with the original's parameter names. It trains as the slim network does.
    """
    masked = copy_network(network)
    inputs, outputs = ({site.path: site for site in sites} for sites in (plan.masks, plan.scatters))
    _zero(masked, plan)
    replace_cells(masked, {path: partial(MaskedCell, before=inputs.get(path), after=outputs.get(path))
                           for path in {**inputs, **outputs}})
    ms.ms_memory_recycle()
    return masked


def check_network(owner: str, network: Any) -> None:
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
