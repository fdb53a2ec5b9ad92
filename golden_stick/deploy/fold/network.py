"""`fold`: batch normalizations become part of the layers beside them."""
from typing import Any, Dict, Optional, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError, VerifyError
from golden_stick.base.inputs import as_tensors
from golden_stick.cells.networks import copy_network
from golden_stick.cells.slim import recipe_of
from golden_stick.cells.trace import trace
from golden_stick.cells.verify import compare
from golden_stick.deploy.fold.cells import bias_name, restructured, unfit_cells, whole_path
from golden_stick.deploy.fold.plan import FoldedNormalization, Folding, KeptNormalization
from golden_stick.deploy.fold.sites import Fusion, Layer, Normalization, find_fusions

__all__ = ["fold", "fold_report"]


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
    sites, reasons = find_fusions(trace(network, tensors), unfit_cells(network))
    folding = Folding(
        tuple(FoldedNormalization(whole_path(network, site.normalization.path),
                                  tuple(layer.path for layer, _ in site.layers)) for site in sites),
        tuple(KeptNormalization(whole_path(network, path), reason) for path, reason in reasons.items()),
    )
    folded = restructured(network, folding)
    values = _folded_values({item.name: item.asnumpy() for item in network.get_parameters()}, sites)
    for parameter in folded.get_parameters():
        if parameter.name in values:
            parameter.set_data(Tensor(values[parameter.name], parameter.dtype))
    result = compare(network, folded, tensors, tolerance)
    # Written so that NaN fails: every comparison with it is False.
    if not result.relative_difference <= result.tolerance:
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
    foldings = [step for step in recipe_of(network) if isinstance(step, Folding)]
    if not foldings:
        raise StateError("For 'fold_report', 'network' must be one that 'fold' returned, but it was never folded.")
    return foldings[-1]


def _rounding(network: nn.Cell, tensors: Tuple[Tensor, ...]) -> float:
    """By how much the outputs change if every weight is moved to the next number that float32 knows, up or down."""
    moved, generator = copy_network(network), np.random.default_rng(0)
    for parameter in moved.get_parameters():
        values = parameter.asnumpy()
        if values.dtype == np.float32:
            towards = np.where(generator.random(values.shape) < 0.5, np.inf, -np.inf).astype(np.float32)
            parameter.set_data(Tensor(np.nextafter(values, towards), parameter.dtype))
    return compare(network, moved, tensors).largest_difference


def _folded_values(values: Dict[str, np.ndarray], sites: Tuple[Fusion, ...]) -> Dict[str, np.ndarray]:
    """The parameters of the layers after folding, by name, in float64. Sites follow one another on the same layer."""
    changed: Dict[str, np.ndarray] = {}
    for site in sites:
        scale, shift = _affine(values, site.normalization)
        for layer, channels in site.layers:
            bias = layer.bias or bias_name(layer.weight)
            weight, old = changed.get(layer.weight, values[layer.weight]), changed.get(bias, values.get(bias))
            old = np.zeros(_filters(weight, layer)) if old is None else old
            change = _before if site.before else _after
            changed[layer.weight], changed[bias] = change(weight, old, layer, scale[channels], shift[channels])
    return changed


def _affine(values: Dict[str, np.ndarray], normalization: Normalization) -> Tuple[np.ndarray, np.ndarray]:
    """What a normalization multiplies each channel by, and what it adds."""
    names = (normalization.gamma, normalization.beta, normalization.mean, normalization.variance)
    gamma, beta, mean, variance = (values[name].astype(np.float64) for name in names)
    scale = gamma / np.sqrt(variance + normalization.epsilon)
    return scale, beta - mean * scale


def _filters(weight: np.ndarray, layer: Layer) -> int:
    return weight.shape[1] * layer.group if layer.transposed else weight.shape[0]


def _before(weight, bias, layer: Layer, scale, shift) -> Tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a layer that also does what the normalization after it did, by channel of the layer."""
    if layer.transposed:
        # (C_in, C_out / group, ...): rows of one group make the channels of that group.
        parts = weight.reshape(layer.group, -1, *weight.shape[1:])
        along = scale.reshape(layer.group, 1, -1, *(1,) * (weight.ndim - 2))
        return (parts * along).reshape(weight.shape), bias * scale + shift
    return weight * scale.reshape(-1, *(1,) * (weight.ndim - 1)), bias * scale + shift


def _after(weight, bias, layer: Layer, scale, shift) -> Tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a layer that also does what the normalization before it did, by input of the layer."""
    # (C_out, C_in / group, ...): filters of one group read the channels of that group.
    parts = weight.reshape(layer.group, -1, *weight.shape[1:])
    inner = (layer.group, 1, -1) + (1,) * (weight.ndim - 2)
    constant = parts * shift.reshape(inner)
    return ((parts * scale.reshape(inner)).reshape(weight.shape),
            bias + constant.sum(axis=tuple(range(2, constant.ndim))).ravel())
