"""Re-estimation of the statistics of batch normalizations, which pruning shifts."""
from contextlib import contextmanager
from typing import Any, Iterable, Iterator, List, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.base.devices import gathered
from golden_stick.base.errors import ArgumentError, first_line
from golden_stick.base.inputs import describe, leading_inputs, shown
from golden_stick.cells.wrappers import record_of
from golden_stick.graph.layers import Normalization

__all__ = ["calibrate", "named_batch", "reestimate"]


def calibrate(network: nn.Cell, batches: Iterable[Any], inputs: int = 1) -> int:
    """
    Set the moving mean and variance of every batch normalization to those of the given data.

    The mean is that of the batches' means; the variance is the mean of their variances plus the variance of their
    means. No weight changes, and dropout is off.

    Args:
        network (nn.Cell): The network; its statistics are changed.
        batches (Iterable): Inputs: a Tensor or array each, or a tuple, list or dict whose first item is the input, or
            a `mindspore.dataset` object, whose first column is taken. Training data, not test data.
        inputs (int): How many items at the beginning of a batch the network takes. Default: 1.

    Returns:
        int, how many batches were seen.

    Raises:
        ArgumentError: If there are no batches, or one is not what the network takes.
        ArgumentTypeError: If a batch is none of these.
    """
    return reestimate("calibrate", "batches", network, leading_inputs("calibrate", batches, inputs))


def reestimate(owner: str, name: str, network: nn.Cell, batches: Iterable[Tuple[Tensor, ...]]) -> int:
    """`calibrate`, for the caller `owner`, who calls the batches `name`; each is the inputs of the network."""
    inner = [cell for _, cell in network.cells_and_names() if _learns_statistics(cell)]
    network.set_train(False)
    for cell in inner:
        cell.set_train(True)
    # Graphs compiled before do not know of the flags, and those compiled now must not serve afterwards.
    ms.ms_memory_recycle()
    before = [tuple(held.asnumpy().copy() for held in _statistics(cell)) for cell in inner]
    try:
        statistics = [_batch_statistics(owner, network, inner, batch)
                      for batch in shown(batches, "batches for statistics")]
        count = sum(map(int, gathered(np.array(len(statistics)))))
        if not count:
            raise ArgumentError(f"For '{owner}', '{name}' must hold at least one batch, but got none.")
        means, spreads = ([np.concatenate(gathered(np.reshape([pair[kind][at] for pair in statistics],
                                                              (len(statistics), cell.num_features))))
                           for at, cell in enumerate(inner)] for kind in (0, 1))
        before = [(mean.mean(0), spread.mean(0) + mean.var(0)) for mean, spread in zip(means, spreads)]
    finally:
        for cell, values in zip(inner, before):
            _write(cell, *values)
        network.set_train(False)
        ms.ms_memory_recycle()
    return count


def _statistics(cell: nn.Cell) -> Tuple[Parameter, ...]:
    """Moving mean and variance of a batch normalization; () of other Cells. A BatchNorm3d holds a BatchNorm2d."""
    kind = record_of(cell)
    if not isinstance(kind, Normalization) or kind.over != "batch" or getattr(cell, kind.mean) is None:
        return ()
    return getattr(cell, kind.mean), getattr(cell, kind.variance)


def _learns_statistics(cell: nn.Cell) -> bool:
    # Those of nn need not learn, and with a momentum of None, those of mint take the mean of all batches.
    return bool(_statistics(cell)) and getattr(cell, "use_batch_statistics", None) is not False and cell.momentum != 0


@contextmanager
def named_batch(owner: str, batch: Tuple[Tensor, ...]) -> Iterator[None]:
    """Say of what MindSpore refuses that the batch does not fit."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        kinds = ", ".join(str(item.dtype) for item in batch)
        raise ArgumentError(f"For '{owner}', a batch must be what the network takes, but got {kinds} of shape "
                            f"{describe(batch)}: {first_line(error)}") from error


def _batch_statistics(owner: str, network: nn.Cell, cells: List[nn.Cell], batch: Tuple[Tensor, ...]
                      ) -> Tuple[List[np.ndarray], ...]:
    """Mean and variance of one batch at every normalization."""
    for cell in cells:
        _write(cell, np.zeros(cell.num_features), np.zeros(cell.num_features))
    with named_batch(owner, batch):
        network(*batch)
    # From zero, one step of the moving average leaves the momentum times this batch's statistic: nn keeps 1 - momentum
    # under that name.
    shares = [1 / int(cell.num_batches_tracked) if cell.momentum is None else cell.momentum for cell in cells]
    found = [[held.asnumpy().astype(np.float64) / share for held in _statistics(cell)]
             for cell, share in zip(cells, shares)]
    return [mean for mean, _ in found], [variance for _, variance in found]


def _write(cell: nn.Cell, mean: np.ndarray, variance: np.ndarray) -> None:
    for held, values in zip(_statistics(cell), (mean, variance)):
        ops.assign(held, Tensor(values, held.dtype))
