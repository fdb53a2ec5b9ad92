"""What hiding channels costs: the rise of each image's loss, for any sets of channels, from one compilation."""
from functools import partial
from typing import Any, Callable, Collection, List, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.base.errors import ArgumentError
from golden_stick.base.inputs import shown
from golden_stick.cells.wrappers import GatedCell, copy_network, replace_cells
from golden_stick.certify.certify import refuse_chance, scores_of
from golden_stick.certify.prior_use import DataFingerprint, digested_batches, fingerprint_of
from golden_stick.graph.groups import CellSite, Grouping

__all__ = ["loss_increase"]


class _GatedNetwork:
    """A copy of a traced network that can hide any of its removable channels without being compiled again."""

    def __init__(self, network: nn.Cell, grouping: Grouping):
        self.network = copy_network(network)
        self._gates: List[Tuple[Parameter, np.ndarray]] = []
        inputs, outputs = ({site.path: site for site in sites} for sites in (grouping.masks, grouping.scatters))
        replace_cells(self.network, {path: partial(GatedCell, before=self._gate("input", inputs.get(path)),
                                                   after=self._gate("output", outputs.get(path)))
                                     for path in {**inputs, **outputs}})
        parameters = {parameter.name: parameter for parameter in self.network.get_parameters()}
        self._zeroed = [(parameters[item.parameter], item) for item in grouping.zeroed]
        self._whole = {parameter.name: parameter.asnumpy().copy() for parameter, _ in self._zeroed}
        self.network.set_train(False)
        ms.ms_memory_recycle()

    def _gate(self, side: str, site: Optional[CellSite]) -> Optional[Parameter]:
        if site is None:
            return None
        gate = Parameter(Tensor(np.ones((len(site.channels),) + (1,) * site.trailing, np.float32)),
                         name=f"golden_stick.{side}_gate.{site.path}", requires_grad=False)
        self._gates.append((gate, site.channels))
        return gate

    def hide(self, hidden: Collection[int]) -> None:
        """Hide these channels, whose numbers are those of the groups, and show all others."""
        numbers = np.fromiter(hidden, np.int64, len(hidden))
        for gate, channels in self._gates:
            self._assign(gate, (~np.isin(channels, numbers)).astype(np.float32).reshape(gate.shape))
        weights = {name: whole.copy() for name, whole in self._whole.items()}
        for parameter, item in self._zeroed:
            weights[parameter.name][(slice(None),) * item.axis + (np.isin(item.channels, numbers),)] = 0
        for parameter, _ in self._zeroed:
            self._assign(parameter, weights[parameter.name])

    @staticmethod
    def _assign(parameter: Parameter, values: np.ndarray) -> None:
        if not np.array_equal(parameter.asnumpy(), values):
            ops.assign(parameter, Tensor(values, parameter.dtype))


def loss_increase(owner: str, network: nn.Cell, grouping: Grouping, hidden: Sequence[Collection[int]], data: Any,
                  loss: nn.Cell, check: Callable[[Sequence[str]], None]) -> Tuple[np.ndarray, DataFingerprint]:
    """
    The rise of each image's loss, shape (images, sets), when each set of channels in `hidden` is hidden where the
    masked network hides it; and the fingerprint of the images. `check` is called with the digests of each batch
    before the network sees it, and raises to stop. A network that gives a score for each class, and is near chance, is
    refused: nothing that is hidden would cost it anything.
    """
    gated = _GatedNetwork(network, grouping)
    measure = nn.WithLossCell(gated.network, loss).set_train(False)
    rows: List[np.ndarray] = []
    seen: List[str] = []
    answers: List[Tuple[np.ndarray, np.ndarray]] = []  # whether each image's is right, and its label
    for images, labels in digested_batches(owner, data, seen, check):
        tensors, losses = (Tensor(images), Tensor(labels)), []
        for channels in shown([(), *hidden], f"channels, to image {len(seen):,}", len(hidden) + 1):
            gated.hide(channels)
            losses.append(_losses(owner, measure, tensors))
        gated.hide(())
        scores = scores_of(gated.network(tensors[0]))
        if scores.ndim == 2 and scores.shape[1] > 1:
            answers.append((scores.argmax(1) == labels, labels))
        rows.append(np.stack(losses[1:], 1) - losses[0][:, None])
    if len(seen) < 2:
        raise ArgumentError(f"For '{owner}', 'data' must hold at least two images, but got {len(seen)}.")
    if answers:
        right, truth = (np.concatenate(part) for part in zip(*answers))
        refuse_chance(owner, "network", right, truth)
    return np.concatenate(rows), fingerprint_of(seen)


def _losses(owner: str, measure: nn.Cell, tensors: Tuple[Tensor, Tensor]) -> np.ndarray:
    values, images = measure(*tensors).asnumpy().astype(np.float64), len(tensors[1])
    if values.shape != (images,):
        raise ArgumentError(f"For '{owner}', 'loss' must give one number for each of {images} images (such as "
                            f"reduction='none'), but got shape {values.shape}.")
    if not np.isfinite(values).all():
        raise ArgumentError(f"For '{owner}', 'loss' must be finite, but some image's is not.")
    return values
