"""What folding does to Cells: a normalization becomes `nn.Identity`, and a layer without a bias gets one."""
from typing import Callable

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, mint, nn, ops

from golden_stick.base.errors import SlimError
from golden_stick.cells.networks import copy_network
from golden_stick.cells.slim import remember
from golden_stick.cells.wrappers import find_cell, replace_cells
from golden_stick.deploy.fold.plan import FoldedNormalization, Folding
from golden_stick.deploy.fold.sites import Fusion

__all__ = ["unfit_cells", "whole_path", "bias_name", "restructured"]


_TRANSPOSED = (nn.Conv1dTranspose, nn.Conv2dTranspose, nn.Conv3dTranspose)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Dense, mint.nn.Linear) + _TRANSPOSED
_NORMALIZATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def unfit_cells(network: nn.Cell) -> Callable[[Fusion], str]:
    """What the Cells of a network have against a site; an empty str if nothing."""
    names = {parameter.name for parameter in network.get_parameters()}

    def unfit(site: Fusion) -> str:
        path = whole_path(network, site.normalization.path)
        if not _as_in_mindspore(find_cell(network, path), _NORMALIZATIONS):
            return f"'{path}' has code of its own"
        for layer, _ in site.layers:
            cell = find_cell(network, layer.path)
            if not _as_in_mindspore(cell, _LAYERS):
                return f"'{layer.path}', the layer beside it, has code of its own"
            if (layer.bias is None) != (cell.bias is None):
                return f"'{layer.path}', the layer beside it, has a bias that it does not use"
            if layer.bias is None and bias_name(layer.weight) in names:
                return f"'{layer.path}', the layer beside it, needs a bias, but its name '{bias_name(layer.weight)}' " \
                       "is another parameter's"
        return ""

    return unfit


def _as_in_mindspore(cell: nn.Cell, kinds) -> bool:
    """Whether a Cell is of MindSpore's own class, or a subclass that computes just the same."""
    return isinstance(cell, kinds) and type(cell).construct.__module__.startswith("mindspore.")


def whole_path(network: nn.Cell, path: str) -> str:
    """The path of the normalization whose parameters stand at `path`: a BatchNorm3d holds a BatchNorm2d."""
    above = path.rpartition(".")[0]
    return above if "." in path and isinstance(find_cell(network, above), nn.BatchNorm3d) else path


def bias_name(weight: str) -> str:
    """The name of the bias that a layer gets, from its weight's."""
    return f"{weight[:-len('weight')]}bias" if weight.endswith("weight") else f"{weight}.bias"


def restructured(network: nn.Cell, folding: Folding) -> nn.Cell:
    """
    A copy of a network with the Cells that a folding leaves, but with the values from before it.

    Args:
        network (nn.Cell): The network that the folding was made for, or one built like it. It is not changed.
        folding (Folding): What is folded.

    Returns:
        nn.Cell, with the folding as the last step of its recipe. New biases are zero.

    Raises:
        SlimError: If a Cell is missing or of another kind.
    """
    copied = copy_network(network)
    for item in folding.folded:
        _check(copied, item)
        for path in item.layers:
            _give_bias(find_cell(copied, path))
    replace_cells(copied, {item.normalization: lambda cell: nn.Identity() for item in folding.folded})
    remember(copied, network, folding)
    # Without this, compiled graphs run on, with the Cells from before.
    ms.ms_memory_recycle()
    return copied


def _check(network: nn.Cell, item: FoldedNormalization) -> None:
    for path, kinds, wanted in ((item.normalization, _NORMALIZATIONS, "a batch normalization"),
                                *((path, _LAYERS, "a convolution or dense layer") for path in item.layers)):
        cell = find_cell(network, path)
        if not isinstance(cell, kinds):
            raise SlimError(f"For 'fold', the Cell at '{path}' must be {wanted}, as in the network that was folded, "
                            f"but got a '{type(cell).__name__}'.")


def _give_bias(cell: nn.Cell) -> None:
    if cell.bias is not None:
        return
    axis = 1 if isinstance(cell, _TRANSPOSED) else 0
    count = cell.weight.shape[axis] * (cell.group if axis else 1)
    cell.bias = Parameter(Tensor(np.zeros(count), cell.weight.dtype), name=bias_name(cell.weight.name))
    cell.has_bias = True
    if not hasattr(cell, "bias_add"):
        # Convolutions have one in any case.
        cell.bias_add = ops.BiasAdd()
