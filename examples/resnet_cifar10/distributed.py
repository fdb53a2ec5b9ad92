"""Data-parallel training, one process per device, started by msrun."""
from typing import Tuple

import mindspore as ms
from mindspore import nn, ops
from mindspore.communication import get_group_size, get_rank, init

__all__ = ["start_workers", "average_statistics"]


def start_workers() -> Tuple[int, int]:
    """Join the other workers; gradients are averaged from here on. Returns this worker's rank and their number."""
    init()
    ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True)
    return get_rank(), get_group_size()


def average_statistics(network: nn.Cell) -> None:
    """Give all workers the mean of their normalization statistics: each has seen other images."""
    reduce, ranks = ops.AllReduce(), get_group_size()
    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.BatchNorm2d):
            for parameter in (cell.moving_mean, cell.moving_variance):
                parameter.set_data(ms.Tensor((reduce(parameter.value()) / ranks).asnumpy()))
