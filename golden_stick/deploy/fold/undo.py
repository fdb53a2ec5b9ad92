"""The way back: a network with its normalizations, from one in which they are part of the layers beside them."""
from typing import Any, Dict, Sequence, Set, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import VerifyError
from golden_stick.base.inputs import as_tensors
from golden_stick.cells.networks import copy_network
from golden_stick.cells.trace import trace
from golden_stick.deploy.fold.cells import bias_name, unfit_cells, whole_path
from golden_stick.deploy.fold.plan import FoldedNormalization, Folding
from golden_stick.deploy.fold.sites import Fusion, Layer, find_fusions

__all__ = ["unfolded_network"]


# What roundings leave of an equation that has a solution, as a fraction of its right side.
_ROUNDINGS = 1e-4

Values = Dict[str, np.ndarray]


def unfolded_network(network: nn.Cell, folded: nn.Cell, folding: Folding, inputs: Any) -> nn.Cell:
    """
    A copy of the network before a folding, which gives the outputs of the folded one.

    What the normalizations were cannot be told any more. So they get random numbers, the same ones each time, and the
    layers beside them what makes up for these: weights or places that are wrong show in the outputs.

    Args:
        network (nn.Cell): As before the folding; its values do not matter. It is not changed.
        folded (nn.Cell): What the folding made of it, fine-tuned or not.
        folding (Folding): The folding.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What both take, or the shape of their only argument.

    Returns:
        nn.Cell, of the class of `network`, with its parameter names.

    Raises:
        TraceError: If MindSpore cannot compile the network for these inputs.
        VerifyError: If the folding cannot be one of this network, or the folded network's biases cannot come from it:
            layers that had none were given one by a normalization after or before them, and training may have changed
            it to what that cannot add.
    """
    unfit = unfit_cells(network)

    def item_of(site: Fusion) -> FoldedNormalization:
        return FoldedNormalization(whole_path(network, site.normalization.path),
                                   tuple(layer.path for layer, _ in site.layers))

    sites, _ = find_fusions(trace(network, as_tensors("verify", inputs)),
                          lambda site: unfit(site) or ("" if item_of(site) in folding.folded else "not in the recipe"))
    found = {item_of(site): site for site in sites}
    for item in folding.folded:
        if item not in found:
            raise VerifyError(f"For 'verify', the recipe must fold normalizations into layers beside them, but "
                              f"'{item.normalization}' cannot become part of {', '.join(map(repr, item.layers))}.")
    values: Values = {item.name: item.asnumpy().astype(np.float64) for item in folded.get_parameters()}
    generator = np.random.default_rng(0)
    for place, item in reversed(tuple(enumerate(folding.folded))):
        site = found[item]
        scale = generator.uniform(0.5, 1.5, _channels(network, site))
        others = {path for earlier in folding.folded[:place] for path in earlier.layers}
        (_undo_before if site.before else _undo_after)(values, site, scale, others, generator)
    unfolded = copy_network(network)
    for parameter in unfolded.get_parameters():
        parameter.set_data(Tensor(values[parameter.name], parameter.dtype))
    return unfolded


def _channels(network: nn.Cell, site: Fusion) -> Tuple[int, ...]:
    return next(item.shape for item in network.get_parameters() if item.name == site.normalization.gamma)


def _write(values: Values, site: Fusion, scale: np.ndarray, shift: np.ndarray, generator: np.random.Generator) -> None:
    """The parameters of a normalization that multiplies by `scale` and adds `shift`."""
    normalization = site.normalization
    mean, variance = generator.uniform(-0.5, 0.5, scale.shape), generator.uniform(0.5, 1.5, scale.shape)
    values[normalization.gamma] = scale * np.sqrt(variance + normalization.epsilon)
    values[normalization.beta] = shift + mean * scale
    values[normalization.mean], values[normalization.variance] = mean, variance


def _bias(layer: Layer) -> str:
    return layer.bias or bias_name(layer.weight)


def _undo_before(values: Values, site: Fusion, scale: np.ndarray, others: Set[str], generator: np.random.Generator
                 ) -> None:
    """The layers stand before the normalization: what it adds is the biases of those that had none."""
    given = [(layer, channels) for layer, channels in site.layers if not layer.bias]
    shift = generator.uniform(-0.5, 0.5, scale.shape)
    if given:
        read, wanted = np.concatenate([channels for _, channels in given]), _biases(values, given)
        count = np.bincount(read, minlength=len(shift))
        # Several channels of a layer may be one of the normalization, with one number for all.
        mean = np.bincount(read, wanted, len(shift)) / np.maximum(count, 1)
        shift = np.where(count, mean, shift)
        _check(site, given, wanted - shift[read], wanted, others)
    for layer, channels in site.layers:
        weight, factors = values[layer.weight], scale[channels]
        if layer.transposed:
            along = factors.reshape(layer.group, 1, -1, *(1,) * (weight.ndim - 2))
            values[layer.weight] = (weight.reshape(layer.group, -1, *weight.shape[1:]) / along).reshape(weight.shape)
        else:
            values[layer.weight] = weight / factors.reshape(-1, *(1,) * (weight.ndim - 1))
        values[_bias(layer)] = (values[_bias(layer)] - shift[channels]) / factors
    _write(values, site, scale, shift, generator)


def _undo_after(values: Values, site: Fusion, scale: np.ndarray, others: Set[str], generator: np.random.Generator
                ) -> None:
    """The layers stand after the normalization: what it adds must explain the biases of those that had none."""
    sums = {}
    for layer, channels in site.layers:
        weight = values[layer.weight]
        inner = (layer.group, 1, -1) + (1,) * (weight.ndim - 2)
        parts = weight.reshape(layer.group, -1, *weight.shape[1:]) / scale[channels].reshape(inner)
        values[layer.weight] = parts.reshape(weight.shape)
        sums[layer] = _by_channel(parts, channels.reshape(layer.group, -1), len(scale))
    given = [(layer, channels) for layer, channels in site.layers if not layer.bias]
    shift = generator.uniform(-0.5, 0.5, scale.shape)
    if given:
        wanted, matrix = _biases(values, given), np.concatenate([sums[layer] for layer, _ in given])
        shift = np.linalg.lstsq(matrix, wanted, rcond=None)[0]
        _check(site, given, wanted - matrix @ shift, wanted, others)
    for layer, summed in sums.items():
        values[_bias(layer)] = values[_bias(layer)] - summed @ shift
    _write(values, site, scale, shift, generator)


def _biases(values: Values, layers: Sequence[Tuple[Layer, np.ndarray]]) -> np.ndarray:
    return np.concatenate([values[_bias(layer)] for layer, _ in layers])


def _check(site: Fusion, layers: Sequence[Tuple[Layer, np.ndarray]], left: np.ndarray, wanted: np.ndarray,
           others: Set[str]) -> None:
    """Whether a normalization explains the biases of layers that had none: `left` is what it leaves of `wanted`."""
    # Another normalization that became part of the same layer before may account for what this one leaves.
    if others & {layer.path for layer, _ in layers}:
        return
    if np.abs(left).max() > _ROUNDINGS * np.abs(wanted).max():
        raise VerifyError(f"For 'verify', the bias that '{layers[0][0].path}' got by folding must be what "
                          f"'{site.normalization.path}' can add, but no numbers of it give that bias: was the "
                          f"network trained after it was folded? Then verify it as it was before.")


def _by_channel(parts: np.ndarray, channels: np.ndarray, count: int) -> np.ndarray:
    """Filter -> channel -> the sum of the weights with which the filter reads the channel; `parts` as by group."""
    weights = parts.sum(axis=tuple(range(3, parts.ndim)))
    found = np.zeros((*weights.shape[:2], count))
    for number, read in enumerate(channels):
        np.add.at(found[number], (slice(None), read), weights[number])
    return found.reshape(-1, count)
