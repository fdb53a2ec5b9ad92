"""What data show of filters: gradients at gates, squared gradients of weights, magnitudes of channels. Weights stay."""
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, first_line
from golden_stick.base.inputs import leading_inputs
from golden_stick.cells.activations import tapped
from golden_stick.cells.wrappers import GatedCell, copy_network, replace_cells
from golden_stick.criteria.table import filter_rows
from golden_stick.graph.groups import CellSite, Grouping, ParameterSlice
from golden_stick.graph.ir import Graph
from golden_stick.graph.layers import EMBEDDING, layer_of

__all__ = ["collect"]


class _LossOfBatch(nn.Cell):
    """A network, which takes the first `count` items of a batch, and its loss, which takes the rest, as one Cell."""

    def __init__(self, network: nn.Cell, loss: Optional[Callable], count: int):
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss
        self.count = count

    def construct(self, *batch):
        return ops.mean(self.loss(self.network(*batch[:self.count]), *batch[self.count:]))


Found = Dict[str, np.ndarray]


def collect(owner: str, needs: str, network: nn.Cell, graph: Graph, grouping: Grouping, data: Any,
            loss: Optional[Callable]) -> Found:
    """
    What a criterion needs of the data: weight name -> the array that `FilterStatistics` has under the name `needs`.
    Data and loss are those of `OneShot.apply`.

    The network is in evaluation meanwhile: normalizations use their moving statistics, nothing is dropped, and so no
    sample's loss depends on another sample.

    Where no gate can stand (a weight that a Cell of the user's own or plain code multiplies with, a layer whose output
    does not begin with the samples), `gate_gradients` have one row per batch instead of one per sample: the sum over a
    filter of weight times gradient, which is the derivative by a gate that all samples share, but for the bias.
    """
    if data is None:
        raise ArgumentError(f"For '{owner}', 'data' must be batches for this criterion, but got None: "
                            f"apply(network, inputs, data=..., loss=...).")
    if loss is None and needs != "activations":
        raise ArgumentError(f"For '{owner}', 'loss' must be a function of outputs and labels for this criterion, but "
                            f"got None: apply(network, inputs, data=..., loss=...).")
    if loss is not None and not callable(loss):
        raise ArgumentTypeError(f"For '{owner}', 'loss' must be a function of outputs and labels, but got "
                                f"{type(loss).__name__}.")
    batches = leading_inputs(owner, data)
    filters = {item.parameter: item for group in grouping for item in group.filters}
    if needs == "activations":
        found = _activations(owner, network, graph, grouping, filters, batches)
    elif needs == "gate_gradients":
        found = _gate_gradients(owner, network, graph, filters, batches, loss)
    else:
        found = _squared_gradients(owner, network, graph, filters, batches, loss)
    if not found:
        raise ArgumentError(f"For '{owner}', 'data' must hold batches for the criterion, but got none.")
    for name, values in found.items():
        if not np.isfinite(values).all():
            raise ArgumentError(f"For '{owner}', gradients and activations at '{name}' must be numbers, but got NaN or "
                                f"infinity: look at the loss.")
    return found


def _given(owner: str, function: Callable, batch: Tuple[Tensor, ...]) -> Any:
    """What a function of the network gives for a batch, which need not be one that the network and the loss take."""
    try:
        return function(*batch)
    except (TypeError, ValueError, RuntimeError) as error:
        items = ", ".join(f"{item.dtype} {tuple(item.shape)}" for item in batch)
        raise ArgumentError(f"For '{owner}', a batch in 'data' must hold what the network takes, samples along axis 0, "
                            f"and then what the loss takes besides, but got {items}: {first_line(error)}") from error


def _gate_gradients(owner: str, network: nn.Cell, graph: Graph, filters: Mapping[str, ParameterSlice],
                    batches: Iterator[Tuple[Tensor, ...]], loss: Optional[Callable]) -> Found:
    gates = _gates(graph, filters)
    weights = {gate: weight for weight, (gate, _) in gates.items()}
    rows: Dict[str, List[np.ndarray]] = {}
    steps: Dict[int, Tuple[Callable, List[Parameter]]] = {}
    for batch in batches:
        samples = batch[0].shape[0]
        if samples not in steps:
            steps[samples] = _gated_step(network, graph, filters, gates, samples, loss)
        step, parameters = steps[samples]
        _, gradients = _given(owner, step, batch)
        for parameter, gradient in zip(parameters, gradients):
            gradient = gradient.asnumpy().astype(np.float64)
            if parameter.name in weights:
                # The loss is a mean over the batch: what a sample's own loss says is so many times as much.
                rows.setdefault(weights[parameter.name], []).append(samples * gradient.reshape(samples, -1))
            else:
                product = filter_rows(gradient * parameter.asnumpy(), filters[parameter.name].axis)
                rows.setdefault(parameter.name, []).append(product.sum(axis=1)[None])
    return {name: np.concatenate(found) for name, found in rows.items()}


def _gates(graph: Graph, filters: Mapping[str, ParameterSlice]) -> Dict[str, Tuple[str, List[int]]]:
    """Weight name -> name and shape, for one sample, of the gate at its layer, for the layers that can have one."""
    found = {}
    samples = graph.inputs[0].shape[0]
    for name, item in filters.items():
        parameter = graph.parameter(name)
        layer = layer_of(parameter)
        shapes = [node.shapes[0] for node in graph.nodes if parameter in node.inputs]
        # In a transposed convolution with groups, a filter makes several channels, and one gate is not enough. A dense
        # layer that flattens its inputs gives what does not begin with the samples.
        if layer and layer.form is not EMBEDDING and all(
                (shape[0], shape[layer.form.channel_axis]) == (samples, len(item.channels)) for shape in shapes):
            shape = [1] * (layer.spatial + 2 if layer.spatial else len(shapes[0]))
            shape[layer.form.channel_axis] = len(item.channels)
            found[name] = (f"{parameter.owners[0].path}.gate", shape)
    return found


def _gated_step(network: nn.Cell, graph: Graph, filters: Mapping[str, ParameterSlice],
                gates: Mapping[str, Tuple[str, List[int]]], samples: int, loss: Optional[Callable]
                ) -> Tuple[Callable, List[Parameter]]:
    gated = copy_network(network)
    # A factor of one on each filter's output, one for each sample.
    ones = {weight: Parameter(Tensor(np.ones((samples, *shape[1:])), ms.float32), name=name)
            for weight, (name, shape) in gates.items()}
    replace_cells(gated, {graph.parameter(weight).owners[0].path: partial(GatedCell, before=None, after=gate)
                          for weight, gate in ones.items()})
    wanted = {gates[name][0] if name in gates else name for name in filters}
    parameters = [parameter for parameter in gated.get_parameters() if parameter.name in wanted]
    return _differentiate(gated, graph, parameters, loss), parameters


def _differentiate(network: nn.Cell, graph: Graph, parameters: List[Parameter],
                   loss: Optional[Callable]) -> Callable:
    for parameter in network.get_parameters():
        parameter.requires_grad = any(parameter is wanted for wanted in parameters)
    whole = _LossOfBatch(network, loss, len(graph.inputs))
    whole.set_train(False)
    ms.ms_memory_recycle()
    return ms.value_and_grad(whole, None, ms.ParameterTuple(parameters))


def _squared_gradients(owner: str, network: nn.Cell, graph: Graph, filters: Mapping[str, ParameterSlice],
                       batches: Iterator[Tuple[Tensor, ...]], loss: Optional[Callable]) -> Found:
    copy = copy_network(network)
    parameters = [parameter for parameter in copy.get_parameters() if parameter.name in filters]
    step = _differentiate(copy, graph, parameters, loss)
    found: Found = {}
    count = 0
    for batch in batches:
        # Sample by sample: the square of a mean is not the mean of squares.
        for index in range(batch[0].shape[0]):
            _, gradients = _given(owner, step, tuple(item[index:index + 1] for item in batch))
            for parameter, gradient in zip(parameters, gradients):
                rows = filter_rows(gradient.asnumpy().astype(np.float64), filters[parameter.name].axis)
                found[parameter.name] = found.get(parameter.name, 0.0) + np.square(rows)
            count += 1
    return {name: total / count for name, total in found.items()}


def _activations(owner: str, network: nn.Cell, graph: Graph, grouping: Grouping,
                 filters: Mapping[str, ParameterSlice], batches: Iterator[Tuple[Tensor, ...]]) -> Found:
    totals = [(site, np.zeros(len(site.channels))) for site in (*grouping.masks, *grouping.scatters)]

    def adder(site: CellSite, total: np.ndarray) -> Callable[[np.ndarray], None]:
        def add(array: np.ndarray) -> None:
            axis = array.ndim - 1 - site.trailing
            total[:] += np.abs(array).mean(tuple(other for other in range(array.ndim) if other != axis))
        return add

    adders = [(site.path, adder(site, total)) for site, total in totals]
    inputs = len(grouping.masks)
    count = 0
    with tapped(network, dict(adders[:inputs]), dict(adders[inputs:])) as running:
        for batch in batches:
            _given(owner, running, batch[:len(graph.inputs)])
            count += 1
    if not count:
        return {}
    seen: Dict[int, List[float]] = {}
    for site, total in totals:
        for channel, value in zip(site.channels.tolist(), (total / count).tolist()):
            seen.setdefault(channel, []).append(value)
    return {name: _of_channels(owner, item, seen) for name, item in filters.items()}


def _of_channels(owner: str, item: ParameterSlice, seen: Mapping[int, List[float]]) -> np.ndarray:
    """The mean over the places where a channel was measured; positions that always stay get the mean of the others."""
    unseen = set(item.channels.tolist()) - set(seen) - {-1}
    if unseen:
        raise ArgumentError(f"For '{owner}', the channels that '{item.parameter}' makes must enter a Cell where they "
                            f"can be measured, but they enter none: take another criterion.")
    values = np.array([np.mean(seen[channel]) if channel >= 0 else np.nan for channel in item.channels.tolist()])
    return np.where(np.isnan(values), np.nanmean(values), values)
