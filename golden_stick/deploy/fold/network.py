"""`fold`: batch normalizations become part of the layers beside them."""
from functools import partial
from typing import Any, Dict, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.base.config import in_own_name
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, SlimError, StateError, VerifyError
from golden_stick.base.inputs import as_tensors
from golden_stick.cells.slim import compare, recipe_of, refuse_faulty, remember
from golden_stick.cells.trace import trace
from golden_stick.cells.wrappers import copy_network, find_cell, kind_of, replace_cells
from golden_stick.deploy.fold.plan import FoldedNormalization, Folding, Fusion, KeptNormalization, find_fusions
from golden_stick.graph.layers import EMBEDDING, FILTERS, GROUPS, LAYERS, NORMALIZATIONS, Layer

__all__ = ["check_folding", "fold", "fold_report", "restructured"]


@in_own_name
def fold(network: nn.Cell, inputs: Any, tolerance: Optional[float] = None) -> nn.Cell:
    """
    A copy of a network in which batch normalizations are part of the convolutions and dense layers beside them.

    In evaluation, a batch normalization multiplies each channel by a number and adds another. A layer just before it
    can do both by its weight and bias, and so can several whose channels it reads side by side. So can the layers just
    after it, if they do not pad with zeros. What cannot go, stays: `fold_report` says why.

    Args:
        network (nn.Cell): Any network, slim or not, trained to its end. It is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only argument.
        tolerance (float): Largest difference allowed between the outputs of both networks, as a fraction of the largest
            output. Default: ``None``, as of :func:`golden_stick.verify`. A network that amplifies roundings may need
            more: the error says how its outputs change with a single rounding of its weights.

    Returns:
        nn.Cell, of the class of `network`. A normalization that is gone is an `nn.Identity`, and the layer that it
        became part of has a bias. It can be pruned, saved by `save_slim` and exported. Trained further, it is a network
        without normalization.

    Raises:
        ArgumentTypeError: If `network` is not a Cell, or `inputs` neither Tensors nor a shape.
        ArgumentError: If `tolerance` is not positive.
        TraceError: If MindSpore cannot compile the network for these inputs.
        SlimError: If the network cannot be copied.
        VerifyError: If the folded network gives other outputs, or cannot run.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        >>> folded = gs.fold(net, (1, 3, 16, 16))
        >>> print([type(cell).__name__ for cell in folded])
        ['Conv2d', 'Identity', 'ReLU']
        >>> print(gs.fold_report(folded))
        1 of 1 batch normalizations folded
          1 -> 0
    """
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For 'fold', 'network' must be a Cell, but got {type(network).__name__}.")
    if tolerance is not None and not tolerance > 0:
        raise ArgumentError(f"For 'fold', 'tolerance' must be positive, but got {tolerance!r}.")
    tensors = as_tensors("fold", inputs)
    fusions, reasons = find_fusions(trace(network, tensors), partial(_objection, network))
    folding = Folding(
        tuple(_folded(network, fusion) for fusion in fusions),
        tuple(KeptNormalization(_whole_path(network, path), reason) for path, reason in reasons.items()),
    )
    folded = restructured(network, folding)
    values = _folded_values({item.name: item.asnumpy() for item in network.get_parameters()}, fusions)
    for parameter in folded.get_parameters():
        if parameter.name in values:
            parameter.set_data(Tensor(values[parameter.name], parameter.dtype))
    result = compare(network, folded, tensors, tolerance, "fold")
    # Written so that NaN fails: every comparison with it is False.
    if not result.relative_difference <= result.tolerance:
        refuse_faulty("fold", {"network": network}, tensors)
        raise VerifyError(
            f"For 'fold', the folded network's outputs must agree with the network's within {result.tolerance:g} of "
            f"{result.output_scale:.6g}, but got a largest difference of {result.largest_difference:.6g}. Rounding its "
            f"own weights once more changes the network's outputs by {_rounding(network, tensors):.6g}: where that is "
            f"not less, the network amplifies roundings, and a larger 'tolerance' is in place."
        )
    return folded


def fold_report(network: nn.Cell) -> Folding:
    """
    Which batch normalizations the last `fold` of a network folded, and why the others stay.

    Args:
        network (nn.Cell): What `fold` returned, also after fine-tuning, or loaded by `load_slim`.

    Returns:
        Folding, which prints as a list.

    Raises:
        ArgumentTypeError: If `network` is not a Cell.
        StateError: If it was never folded.
    """
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For 'fold_report', 'network' must be a Cell, but got {type(network).__name__}.")
    foldings = [step for step in recipe_of(network).steps if isinstance(step, Folding)]
    if not foldings:
        raise StateError("For 'fold_report', 'network' must be one that 'fold' returned, but it was never folded.")
    return foldings[-1]


def restructured(network: nn.Cell, folding: Folding) -> nn.Cell:
    """A copy of a network with the Cells that a folding leaves, but with the values from before it, and zero biases."""
    copied = copy_network(network, "fold")
    for item in folding.folded:
        cell = find_cell(copied, item.normalization, "fold")
        normalization = NORMALIZATIONS.get(kind_of(cell))
        if not isinstance(cell, nn.BatchNorm3d) and (normalization is None or normalization.over != "batch"):
            raise _other_kind(cell, item.normalization, "a batch normalization")
        for path in item.layers:
            cell = find_cell(copied, path, "fold")
            kind = LAYERS.get(kind_of(cell))
            if kind is None or kind.form is EMBEDDING:
                raise _other_kind(cell, path, "a convolution or dense layer")
            _give_bias(cell, kind)
    replace_cells(copied, {item.normalization: lambda cell: nn.Identity() for item in folding.folded})
    remember(copied, network, folding)
    # Without this, compiled graphs run on, with the Cells from before.
    ms.ms_memory_recycle()
    return copied


def check_folding(owner: str, network: nn.Cell, folding: Folding, inputs: Any) -> None:
    """Refuse a folding that cannot be one of a network, as in a file that was changed. Of values, nothing is used."""
    fusions, _ = find_fusions(trace(network, as_tensors(owner, inputs)), lambda fusion: _objection(network, fusion) or (
        "" if _folded(network, fusion) in folding.folded else "not in the recipe"))
    possible = {_folded(network, fusion) for fusion in fusions}
    for item in folding.folded:
        if item not in possible:
            raise VerifyError(f"For '{owner}', the recipe must fold normalizations into layers beside them, but "
                              f"'{item.normalization}' cannot become part of {', '.join(map(repr, item.layers))}.")


def _folded(network: nn.Cell, fusion: Fusion) -> FoldedNormalization:
    return FoldedNormalization(_whole_path(network, fusion.normalization.path),
                               tuple(layer.path for layer, _ in fusion.layers))


def _objection(network: nn.Cell, fusion: Fusion) -> str:
    """What the Cells of a network have against a fusion; an empty str if nothing."""
    for layer, _ in fusion.layers:
        cell, name = find_cell(network, layer.path), _bias_name(layer.weight)
        beside = f"'{layer.path}', the layer beside it,"
        if not hasattr(cell, layer.kind.bias):
            return f"{beside} is of a kind without bias"
        if (layer.bias is None) != (getattr(cell, layer.kind.bias) is None):
            return f"{beside} has a bias that it does not use"
        if layer.bias is None and any(parameter.name == name for parameter in network.get_parameters()):
            return f"{beside} needs a bias, but its name '{name}' is another parameter's"
    return ""


def _whole_path(network: nn.Cell, path: str) -> str:
    """The path of the normalization whose parameters stand at `path`: a BatchNorm3d holds a BatchNorm2d."""
    above = path.rpartition(".")[0]
    return above if "." in path and type(find_cell(network, above)).construct is nn.BatchNorm3d.construct else path


def _bias_name(weight: str) -> str:
    """The name of the bias that a layer gets, from its weight's."""
    return f"{weight[:-len('weight')]}bias" if weight.endswith("weight") else f"{weight}.bias"


def _other_kind(cell: nn.Cell, path: str, wanted: str) -> SlimError:
    return SlimError(f"For 'fold', the Cell at '{path}' must be {wanted}, as in the network that was folded, but got a "
                     f"'{type(cell).__name__}'.")


def _give_bias(cell: nn.Cell, kind: Layer) -> None:
    if getattr(cell, kind.bias) is not None:
        return
    weight = getattr(cell, kind.weight)
    count = kind.widths_of(weight.shape, getattr(cell, kind.attribute(GROUPS) or "group", 1))[FILTERS]
    setattr(cell, kind.bias, Parameter(Tensor(np.zeros(count), weight.dtype), name=_bias_name(weight.name)))
    cell.has_bias = True
    if not hasattr(cell, "bias_add"):
        # Convolutions have one in any case.
        cell.bias_add = ops.BiasAdd()


def _rounding(network: nn.Cell, tensors: Tuple[Tensor, ...]) -> float:
    """By how much the outputs change if every weight is moved to the next number that float32 knows, up or down."""
    moved, generator = copy_network(network), np.random.default_rng(0)
    for parameter in moved.get_parameters():
        values = parameter.asnumpy()
        if values.dtype == np.float32:
            towards = np.where(generator.random(values.shape) < 0.5, np.inf, -np.inf).astype(np.float32)
            parameter.set_data(Tensor(np.nextafter(values, towards), parameter.dtype))
    return compare(network, moved, tensors).largest_difference


def _folded_values(values: Dict[str, np.ndarray], fusions: Tuple[Fusion, ...]) -> Dict[str, np.ndarray]:
    """The parameters of the layers after folding, by name, in float64. Fusions follow one another on the same layer."""
    changed: Dict[str, np.ndarray] = {}
    for fusion in fusions:
        scale, shift = _affine(values, fusion)
        for layer, channels in fusion.layers:
            name = layer.bias or _bias_name(layer.weight)
            weight, bias = changed.get(layer.weight, values[layer.weight]), changed.get(name, values.get(name))
            bias = np.zeros(layer.kind.widths_of(weight.shape, layer.group)[FILTERS]) if bias is None else bias
            # (C_out, C_in / group, ...), filters of one group read the channels of that group; transposed, it is
            # (C_in, C_out / group, ...), and rows of one group make the channels of that group.
            parts = weight.reshape(layer.group, -1, *weight.shape[1:])
            rows = fusion.before and not layer.transposed
            along = (layer.group, *((-1, 1) if rows else (1, -1)), *(1,) * (weight.ndim - 2))
            changed[layer.weight] = (parts * scale[channels].reshape(along)).reshape(weight.shape)
            if fusion.before:
                changed[name] = bias * scale[channels] + shift[channels]
            else:
                constant = parts * shift[channels].reshape(along)
                changed[name] = bias + constant.sum(axis=tuple(range(2, constant.ndim))).ravel()
    return changed


def _affine(values: Dict[str, np.ndarray], fusion: Fusion) -> Tuple[np.ndarray, np.ndarray]:
    """What a normalization multiplies each channel by, and what it adds."""
    gamma, beta, mean, variance = (values[name].astype(np.float64) for name in fusion.normalization.parameters)
    scale = gamma / np.sqrt(variance + fusion.normalization.epsilon)
    return scale, beta - mean * scale
