"""
What data show of filters: gradients at gates, squared gradients of weights, magnitudes of channels, and what it costs
that these go. Weights stay.
"""
import math
from functools import partial
from typing import Any, Callable, Collection, Dict, Iterator, List, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.base.devices import from_first, gathered, summed, total_of
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, first_line
from golden_stick.base.inputs import leading_inputs, length_of, progress, shown
from golden_stick.cells.replay import tapped
from golden_stick.cells.wrappers import GatedCell, copy_network, leaves, replace_cells
from golden_stick.criteria.least_squares import Moments, Regression, geometry_of, refitted, removal_costs
from golden_stick.criteria.table import filter_rows
from golden_stick.graph.groups import CellSite, ChannelGroup, Grouping, ParameterSlice
from golden_stick.graph.ir import Graph
from golden_stick.graph.layers import DENSE, EMBEDDING, layer_of, scales_after

__all__ = ["collect", "mean_gradients"]


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


@progress("looking at data")
def collect(owner: str, needs: str, network: nn.Cell, graph: Graph, grouping: Grouping, data: Any,
            loss: Optional[Callable]) -> Found:
    """
    What a criterion needs of the data: weight name -> the array that `FilterStatistics` has under the name `needs`.
    Data and loss are those of `OneShot.apply`; of several processes, the data of all.

    The network is in evaluation meanwhile: normalizations use their moving statistics, nothing is dropped, and so no
    sample's loss depends on another sample.

    Where no gate can stand (a weight that a Cell of the user's own or plain code multiplies with, a layer whose output
    does not begin with the samples), `gate_gradients` have one row per batch instead of one per sample: the sum over a
    filter of weight times gradient, which is the derivative by a gate that all samples share, but for the bias.

    `removal_costs` are left out for filters whose channels are read by anything but layers that read them, and give
    what their weights say of them, by their own Cells.
    """
    batches = _batches(owner, data, loss, needs.endswith("gradients"))
    filters = {item.parameter: item for group in grouping for item in group.filters}
    if needs == "activations":
        found = _activations(owner, network, graph, grouping, filters, batches)
    elif needs == "removal_costs":
        found = _Removal(owner, network, graph, grouping, list(batches)).costs(filters)
    elif needs == "gate_gradients":
        found = _gate_gradients(owner, network, graph, filters, batches, loss)
    else:
        found = _squared_gradients(owner, network, graph, filters, batches, loss)
    return _checked(owner, found)


def mean_gradients(owner: str, network: nn.Cell, inputs: int, names: Collection[str], data: Any,
                   loss: Optional[Callable]) -> Found:
    """
    Name of a parameter -> the gradient of the loss, the mean over all samples; the network is in evaluation. Data and
    loss are those of `collect`, `inputs` is how many items of a batch the network takes.
    """
    batches = _batches(owner, data, loss, True)
    copy = copy_network(network)
    parameters = [parameter for parameter in copy.get_parameters() if parameter.name in names]
    step = _differentiate(copy, inputs, parameters, loss)
    found: Found = {}
    count = 0
    for batch in batches:
        _, gradients = _given(owner, step, batch)
        for parameter, gradient in zip(parameters, gradients):
            total = found.get(parameter.name, 0.0)
            found[parameter.name] = total + len(batch[0]) * gradient.asnumpy().astype(np.float64)
        count += len(batch[0])
    count = int(summed(np.array(count)))
    return _checked(owner, {parameter.name: summed(found.get(parameter.name, np.zeros(1))) / count
                            for parameter in parameters} if count else {})


def _batches(owner: str, data: Any, loss: Optional[Callable], differentiated: bool) -> Iterator[Tuple[Tensor, ...]]:
    if data is None:
        raise ArgumentError(f"For '{owner}', 'data' must be batches for this criterion, but got None: "
                            f"apply(network, inputs, data=..., loss=...).")
    if loss is None and differentiated:
        raise ArgumentError(f"For '{owner}', 'loss' must be a function of outputs and labels for this criterion, but "
                            f"got None: apply(network, inputs, data=..., loss=...).")
    if loss is not None and not callable(loss):
        raise ArgumentTypeError(f"For '{owner}', 'loss' must be a function of outputs and labels, but got "
                                f"{type(loss).__name__}.")
    return shown(leading_inputs(owner, data), "batches", length_of(data))


def _checked(owner: str, found: Found) -> Found:
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
    nothing = {name: [np.zeros((0, len(item.channels)))] for name, item in filters.items()}
    whole = {name: np.concatenate(gathered(np.concatenate(found))) for name, found in {**nothing, **rows}.items()}
    return {name: found for name, found in whole.items() if len(found)}


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
    return _differentiate(gated, len(graph.inputs), parameters, loss), parameters


def _differentiate(network: nn.Cell, inputs: int, parameters: List[Parameter],
                   loss: Optional[Callable]) -> Callable:
    for parameter in network.get_parameters():
        parameter.requires_grad = any(parameter is wanted for wanted in parameters)
    whole = _LossOfBatch(network, loss, inputs)
    whole.set_train(False)
    ms.ms_memory_recycle()
    return ms.value_and_grad(whole, None, ms.ParameterTuple(parameters))


def _squared_gradients(owner: str, network: nn.Cell, graph: Graph, filters: Mapping[str, ParameterSlice],
                       batches: Iterator[Tuple[Tensor, ...]], loss: Optional[Callable]) -> Found:
    copy = copy_network(network)
    parameters = [parameter for parameter in copy.get_parameters() if parameter.name in filters]
    wanted = [parameter.name for parameter in parameters]
    step = _differentiate(copy, len(graph.inputs), parameters, loss)
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
    count = int(summed(np.array(count)))
    return {name: summed(found.get(name, np.zeros(1))) / count for name in wanted} if count else {}


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
    count = int(summed(np.array(count)))
    if not count:
        return {}
    seen: Dict[int, List[float]] = {}
    for site, total in totals:
        for channel, value in zip(site.channels.tolist(), (summed(total) / count).tolist()):
            seen.setdefault(channel, []).append(value)
    return {name: _of_channels(owner, item, seen) for name, item in filters.items()}


class _Reader:
    """A layer that sums channels up: what it reads, while the network runs."""

    def __init__(self, weight: Parameter, graph: Graph, item: ParameterSlice):
        parameter = graph.parameter(item.parameter)
        geometry = geometry_of(graph, parameter)
        self.item, self.known = item, geometry is not None and len(parameter.owners) == 1
        if geometry is None:
            return
        self.name, self.path, self.geometry = item.parameter, parameter.owners[0].path, geometry
        self.weight, self.matrix = weight.asnumpy(), geometry.matrix(weight.asnumpy())
        self.channels = geometry.columns(item.channels)
        self._rows = max(_LEAST, _ROWS * self.matrix.shape[1])
        self.moments: Optional[Moments] = None
        self._read: Optional[np.ndarray] = None

    def enter(self, array: np.ndarray) -> None:
        """Told what it reads."""
        self._read = array

    def leave(self, part: float, array: np.ndarray) -> None:
        """Told what it gives: count rows, `part` of all that are wanted."""
        axis = -1 if self.geometry.form is DENSE else 1
        groups, _, filters = self.matrix.shape
        if not self.known or self._read is None or array.shape[axis] != groups * filters:
            self.known = False
            return
        count = array.size // array.shape[axis]
        places = np.sort(np.random.default_rng(0).permutation(count)[:math.ceil(self._rows * part)])
        reads, gives = self.geometry.rows_read(self._read, places, array.shape), self.geometry.rows_given(array, places)
        off = gives - (reads.transpose(1, 0, 2) @ self.matrix).transpose(1, 0, 2)
        self.known = bool(np.abs(off - off.mean(0)).max() <= _OFF * np.abs(gives).max())
        nothing = np.zeros((groups, 0))
        self.moments = self.moments or Moments(reads.mean(0, np.float64), nothing)
        self.moments.add(reads, gives[:, :, :0])

    def regressions(self, mine: np.ndarray, scale: Optional[np.ndarray]) -> List[Regression]:
        """Of each group that reads any of these channels: errors are fractions of what all its filters give, and behind
        a normalization, its `scale` says how much a filter gives."""
        assert self.moments is not None
        covariance = self.moments.covariance()
        given = np.einsum("gnf,gnm,gmf->gf", self.matrix, covariance, self.matrix)
        squares = given if scale is None else np.broadcast_to(np.square(scale).reshape(-1, given.shape[1]), given.shape)
        counts = np.divide(squares, given * squares.sum(), out=np.zeros(given.shape), where=given * squares.sum() > 0)
        owners = np.where(np.isin(self.channels, mine), self.channels, -1)
        return [Regression(*of_group) for of_group in zip(covariance, self.matrix * np.sqrt(counts)[:, None], owners)
                if (of_group[2] >= 0).any()]

    def without(self, gone: np.ndarray) -> Tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """Its weight without channels, the others refitted; and what shifts what it gives then to the old mean."""
        assert self.moments is not None
        matrix = np.stack([refitted(covariance, old, np.isin(channels, gone)) for covariance, old, channels in
                           zip(self.moments.covariance(), self.matrix, self.channels)])
        shift = np.einsum("gn,gnf->gf", self.moments.mean(), self.matrix - matrix).ravel()

        def shifted(array: np.ndarray) -> np.ndarray:
            trailing = 0 if self.geometry.form is DENSE else array.ndim - 2
            return array + shift.reshape(-1, *(1,) * trailing).astype(array.dtype)

        return self.geometry.weight(matrix, self.weight.shape), shifted


# Rows for each column of what a layer reads, and at least.
_ROWS, _LEAST = 32, 4096
# So far may a layer be off what its weights say, as a fraction of its largest number: its roundings.
_OFF = 1e-2
# Errors, as fractions of what a layer gives, by which their effect is measured.
_MEASURED = 0.05


class _Removal:
    """What it costs that channels go: what the network's outputs are off by."""

    def __init__(self, owner: str, network: nn.Cell, graph: Graph, grouping: Grouping, batches: List[Any]):
        self._owner, self._graph, self._grouping = owner, graph, grouping
        self._network = copy_network(network)
        self._parameters = {parameter.name: parameter for parameter in self._network.get_parameters()}
        self._batches = [batch[:len(graph.inputs)] for batch in batches]
        self._readers = [_Reader(self._parameters[item.parameter], graph, item) for item in grouping.slices
                         if item.role == "input"]
        self._outputs: List[np.ndarray] = []

    def costs(self, filters: Mapping[str, ParameterSlice]) -> Found:
        """Weight name -> those of its filters, where all its channels have any."""
        samples = total_of(self._owner, "data", sum(batch[0].shape[0] for batch in self._batches))
        if not samples:
            return {}
        self._look(samples)
        self._outputs = self._run({})
        scales = scales_after(self._graph, {name: item.asnumpy() for name, item in self._parameters.items()})
        seen: Dict[int, float] = {}
        for group in shown(self._grouping, "groups scored", len(self._grouping)):
            seen.update(self._of_group(group, scales))
        found = {}
        for name, item in filters.items():
            live = item.channels >= 0
            if seen.keys() >= set(item.channels[live].tolist()):
                values = [seen[channel] for channel in item.channels[live].tolist()]
                found[name] = np.full(len(live), max(values))
                found[name][live] = values
        if not found:
            raise ArgumentError(f"For '{self._owner}', channels must be read by layers that sum them up, for this "
                                f"criterion, but none are: take another one.")
        return found

    def _look(self, samples: int) -> None:
        """Run all batches, which are of so many samples in all processes, and have the readers count what they read."""
        known = [reader for reader in self._readers if reader.known]
        for batch in shown(self._batches, "batches", len(self._batches)):
            part = batch[0].shape[0] / samples
            with tapped(self._network, {reader.path: reader.enter for reader in known},
                        {reader.path: partial(reader.leave, part) for reader in known}) as running:
                _given(self._owner, running, batch)
        for reader in known:
            reader.known = all(gathered(np.array(reader.known)))
            if reader.known and reader.moments:
                reader.moments.add_others()

    def _of_group(self, group: ChannelGroup, scales: Mapping[str, np.ndarray]) -> Dict[int, float]:
        """Channel -> what it costs; nothing where a reader of any is not known."""
        readers = [reader for reader in self._readers if np.isin(reader.item.channels, group.channels).any()]
        if not readers or not all(reader.known and reader.moments for reader in readers):
            return {}
        regressions = [one for reader in readers for one in reader.regressions(group.channels, scales.get(reader.name))]
        costs = removal_costs(regressions, group.channels)
        # What the layers' errors, which are fractions, do to the outputs is measured where half of the channels go, or
        # more if their errors are too small to measure by.
        order = np.argsort(costs, kind="stable")
        count = max(len(costs) // 2, int(np.searchsorted(np.cumsum(costs[order]), _MEASURED)) + 1)
        first = order[:count]
        made = costs[first].sum()
        costs = costs * (self._off(readers, group.channels[first]) / made if made > 0 else 0.0)
        return dict(zip(group.channels.tolist(), costs.tolist()))

    def _off(self, readers: List[_Reader], gone: np.ndarray) -> float:
        """How far the outputs are off without these channels, as a fraction of what they vary by; 1 if they do not. Of
        several processes, the first one's batch tells."""
        shifts = {}
        for reader in readers:
            weight, shifts[reader.path] = reader.without(gone)
            self._set(reader, weight)
        outputs = self._run(shifts)
        for reader in readers:
            self._set(reader, reader.weight)
        varied = [(np.square(now - before).sum(), np.square(before - before.mean(0)).sum())
                  for now, before in zip(outputs, self._outputs)]
        return from_first(float(np.mean([off / spread for off, spread in varied if spread > 0] or [1.0])))

    def _set(self, reader: _Reader, weight: np.ndarray) -> None:
        held = self._parameters[reader.name]
        held.set_data(Tensor(weight, held.dtype))

    def _run(self, instead: Mapping[str, Callable[[np.ndarray], np.ndarray]]) -> List[np.ndarray]:
        """What the network gives for the first batch, with other arrays in the place of what Cells give."""
        with tapped(self._network, {}, instead) as running:
            outputs = leaves(_given(self._owner, running, self._batches[0]))
        return [item.asnumpy().astype(np.float64) for item in outputs]


def _of_channels(owner: str, item: ParameterSlice, seen: Mapping[int, List[float]]) -> np.ndarray:
    """The mean over the places where a channel was measured; positions that always stay get the mean of the others."""
    unseen = set(item.channels.tolist()) - set(seen) - {-1}
    if unseen:
        raise ArgumentError(f"For '{owner}', the channels that '{item.parameter}' makes must enter a Cell where they "
                            f"can be measured, but they enter none: take another criterion.")
    values = np.array([np.mean(seen[channel]) if channel >= 0 else np.nan for channel in item.channels.tolist()])
    return np.where(np.isnan(values), np.nanmean(values), values)
