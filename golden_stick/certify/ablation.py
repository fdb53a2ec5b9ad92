"""What hiding channels costs: the rise of each image's loss, for any sets of channels, from one compilation."""
from typing import Any, Callable, Collection, Dict, List, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.base.errors import ArgumentError
from golden_stick.base.progress import shown
from golden_stick.cells.networks import copy_network
from golden_stick.cells.wrappers import replace_cells
from golden_stick.certify.fingerprints import DataFingerprint, SamplesSeen, labelled_batches
from golden_stick.graph.groups import CellSite, Grouping, ParameterSlice

__all__ = ["GatedCell", "GatedNetwork", "LossOfEachSample", "loss_increase"]


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


def loss_increase(owner: str, network: nn.Cell, grouping: Grouping, hidden: Sequence[Collection[int]], data: Any,
          loss: nn.Cell, check: Callable[[DataFingerprint], None]) -> Tuple[np.ndarray, DataFingerprint]:
    """
    The rise of each image's loss when each set of channels is hidden where the masked network hides it.

    Args:
        owner (str): Name of the caller, for messages.
        network (nn.Cell): The network, as it was traced. It is not changed.
        grouping (Grouping): Its channels.
        hidden (Sequence): Sets of channels, by their numbers.
        data (Iterable): Batches of images and labels, taken once.
        loss (nn.Cell): Gives one number for each image.
        check (Callable): Called with the fingerprint of each batch before the network sees it; raises to stop.

    Returns:
        tuple: float64, shape (images, sets); and the fingerprint of the images.

    Raises:
        ArgumentError: If there are fewer than two images, or the loss is not one finite number for each.
    """
    gated = GatedNetwork(network, grouping)
    measure = LossOfEachSample(gated.network, loss)
    measure.set_train(False)
    rows: List[np.ndarray] = [np.zeros((0, len(hidden)))]
    seen = SamplesSeen()
    for images, labels in labelled_batches(owner, data):
        check(seen.add(images, labels))
        tensors, count = (Tensor(images), Tensor(labels)), len(labels)
        gated.hide(())
        whole = _losses(owner, measure, tensors, count)
        found = np.empty((count, len(hidden)))
        for column, channels in enumerate(shown(hidden, f"channels, to image {len(seen):,}", len(hidden))):
            gated.hide(channels)
            found[:, column] = _losses(owner, measure, tensors, count) - whole
        rows.append(found)
    if len(seen) < 2:
        raise ArgumentError(f"For '{owner}', 'data' must hold at least two images, but got {len(seen)}.")
    return np.concatenate(rows), seen.fingerprint()


def _losses(owner: str, measure: nn.Cell, tensors: Tuple[Tensor, ...], images: int) -> np.ndarray:
    values = measure(*tensors).asnumpy().astype(np.float64)
    if values.shape != (images,):
        raise ArgumentError(f"For '{owner}', 'loss' must give one number for each of {images} images (such as "
                            f"reduction='none'), but got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ArgumentError(f"For '{owner}', 'loss' must be finite, but some image's is not.")
    return values
