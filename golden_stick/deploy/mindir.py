"""A MindIR of any batch size, where MindSpore allows it, loaded and run before anybody gets to see it."""
import os
import shutil
import warnings
from typing import List, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.config import level_of_user
from golden_stick.base.errors import ExportError, first_line
from golden_stick.base.inputs import CHECKED, FreeAxes, resized, with_lengths
from golden_stick.cells.trace import half_steps
from golden_stick.cells.wrappers import evaluate, quiet
from golden_stick.deploy.exporters import check_outputs, run_network

__all__ = ["write_mindir"]


_TOLERANCE = 1e-5
# MindSpore refuses paths with a blank or a letter like ü, so it writes here, in the working directory.
_PLAIN_NAME = "network.mindir"


def write_mindir(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, dynamic_batch: bool = True,
                 free_axes: FreeAxes = ()) -> None:
    """Write a network in evaluation as MindIR, by way of a scratch directory to work in, load the file and compare."""
    if free_axes:
        _write_any_size(network, tensors, path, dynamic_batch, free_axes)
        return
    if dynamic_batch and tensors[0].shape:
        batch = tensors[0].shape[0]
        try:
            _export(network, tuple(_opened(tensor, batch) for tensor in tensors), path)
            for size in (batch, batch + 1):
                _check(network, resized(tensors, size), path)
            return
        except (ExportError, RuntimeError, TypeError, ValueError) as error:
            reason = first_line(error)
        # What failed may be the network and not its batch size: then the export below says so.
        ms.ms_memory_recycle()
        if os.path.exists(path):
            os.remove(path)
    _export(network, tensors, path)
    _check(network, tensors, path)
    if dynamic_batch and tensors[0].shape:
        warnings.warn(f"For 'export', the MindIR takes inputs of batch size {batch} only: {reason}",
                      stacklevel=level_of_user())


def _write_any_size(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, dynamic_batch: bool, free: FreeAxes
                    ) -> None:
    batch = tensors[0].shape[0] if dynamic_batch else None
    try:
        _export(network, tuple(_opened(tensor, batch, axes) for tensor, axes in zip(tensors, free)), path)
        for inputs, output in with_lengths(tensors, free, dynamic_batch, CHECKED,
                                           lambda inputs: (inputs, run_network("MindIR", network, inputs)))[0]:
            check_outputs("MindIR", output, inputs, _run(path, inputs), _TOLERANCE)
    except ExportError as error:
        if not dynamic_batch:
            raise
        ms.ms_memory_recycle()
        _write_any_size(network, tensors, path, False, free)
        warnings.warn(f"For 'export', the MindIR takes inputs of batch size {batch} only: {first_line(error)}",
                      stacklevel=level_of_user())


def _opened(tensor: Tensor, batch: Optional[int], axes: Sequence[int] = ()) -> Tensor:
    """A Tensor that says what takes any length: the samples, where it has as many as the batch, and these axes."""
    shape = [None if axis in axes or not axis and size == batch else size for axis, size in enumerate(tensor.shape)]
    return Tensor(shape=shape, dtype=tensor.dtype) if None in shape else tensor


def _export(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str) -> None:
    try:
        with quiet():
            ms.export(network, *tensors, file_name=_PLAIN_NAME, file_format="MINDIR")
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExportError(f"For 'export', MindSpore could not export the network: {first_line(error)}") from error
    if not os.path.exists(_PLAIN_NAME):
        raise ExportError("For 'export', MindSpore must write one file, but got several: the network is too large for "
                          "one MindIR.")
    shutil.move(_PLAIN_NAME, path)


def _check(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str) -> None:
    check_outputs("MindIR", run_network("MindIR", network, tensors), tensors, _run(path, tensors), _TOLERANCE,
                  half_steps(network, tensors))


def _run(path: str, tensors: Tuple[Tensor, ...]) -> List[np.ndarray]:
    try:
        with quiet():
            return evaluate(nn.GraphCell(ms.load(path)), tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExportError(f"For 'export', the MindIR, whose outputs must not be None, must run on this machine, for it "
                          f"to be compared with the network, but MindSpore says: {first_line(error)}") from error
