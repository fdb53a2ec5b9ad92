"""Cells that stand around others while data are looked at: gates on filters, and meters of channels."""
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

__all__ = ["Gate", "LossOfBatch", "Meter"]


class Gate(nn.Cell):
    """
    A layer with a factor of one on each filter's output, one for each sample.

    Args:
        cell (nn.Cell): The layer, used and not copied; its parameters keep their names.
        name (str): Name of the factors' Parameter.
        shape (tuple[int]): Shape of the factors: samples first, filters on their axis, 1 elsewhere.

    Inputs:
        - **x** (Tensor) - What `cell` takes.

    Outputs:
        What `cell` gives.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, cell: nn.Cell, name: str, shape: tuple):
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.gate = Parameter(Tensor(np.ones(shape), ms.float32), name=name)

    def construct(self, x):
        return self.cell(x) * self.gate


class Meter(nn.Cell):
    """
    A Cell that keeps the sum of the magnitudes which enter it (or leave it), position by position of one axis.

    Args:
        cell (nn.Cell): The Cell, used and not copied; its parameters keep their names.
        name (str): Name of the Parameter that holds the sums.
        size (int): Positions on the axis.
        trailing (int): How many axes follow that one.
        entering (bool): Whether what enters is measured, not what leaves.

    Inputs:
        - **x** (Tensor) - What `cell` takes.

    Outputs:
        What `cell` gives.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, cell: nn.Cell, name: str, size: int, trailing: int, entering: bool):
        super().__init__(auto_prefix=False)
        self.cell = cell
        self.total = Parameter(Tensor(np.zeros(size), ms.float32), name=name, requires_grad=False)
        self.size = size
        self.trailing = trailing
        self.entering = entering

    def construct(self, x):
        out = self.cell(x)
        seen = x if self.entering else out
        last = seen.ndim - self.trailing
        inner = seen.abs().reshape((-1, self.size) + seen.shape[last:]) if self.trailing else \
            seen.abs().reshape((-1, self.size))
        axes = tuple(axis for axis in range(inner.ndim) if axis != 1)
        self.total += inner.mean(axes)
        return out


class LossOfBatch(nn.Cell):
    """
    A network and its loss as one Cell.

    Args:
        network (nn.Cell): The network.
        loss (Callable): Takes what the network gives and the rest of a batch.
        count (int): How many of a batch's items the network takes.

    Inputs:
        - **batch** (Tensor) - The items of a batch.

    Outputs:
        Tensor, the loss.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, network: nn.Cell, loss, count: int):
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss
        self.count = count

    def construct(self, *batch):
        return ops.mean(self.loss(self.network(*batch[:self.count]), *batch[self.count:]))
