"""A MindIR of any batch size, where MindSpore allows it, loaded and run before anybody gets to see it."""
import os
import shutil
import warnings
from typing import List, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import ExportError, first_line
from golden_stick.base.inputs import resized
from golden_stick.cells.wrappers import evaluate
from golden_stick.deploy.exporters import check_outputs

__all__ = ["write_mindir"]


_TOLERANCE = 1e-5
# MindSpore refuses paths with a blank or a letter like ü, so it writes here, in the working directory.
_PLAIN_NAME = "network.mindir"


def write_mindir(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, dynamic_batch: bool = True) -> None:
    """Write a network in evaluation as MindIR, by way of a scratch directory to work in, load the file and compare."""
    if dynamic_batch and tensors[0].shape:
        batch = tensors[0].shape[0]
        try:
            _export(network, tuple(_any_batch(tensor, batch) for tensor in tensors), path)
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
        warnings.warn(f"For 'export', the MindIR takes inputs of batch size {batch} only: {reason}", stacklevel=4)


def _any_batch(tensor: Tensor, batch: int) -> Tensor:
    samples = tensor.shape and tensor.shape[0] == batch
    return Tensor(shape=[None, *tensor.shape[1:]], dtype=tensor.dtype) if samples else tensor


def _export(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str) -> None:
    try:
        ms.export(network, *tensors, file_name=_PLAIN_NAME, file_format="MINDIR")
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExportError(f"For 'export', MindSpore could not export the network: {first_line(error)}") from error
    if not os.path.exists(_PLAIN_NAME):
        raise ExportError("For 'export', MindSpore must write one file, but got several: the network is too large for "
                          "one MindIR.")
    shutil.move(_PLAIN_NAME, path)


def _check(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str) -> None:
    check_outputs("MindIR", network, tensors, lambda: _run(path, tensors), _TOLERANCE)


def _run(path: str, tensors: Tuple[Tensor, ...]) -> List[np.ndarray]:
    try:
        return evaluate(nn.GraphCell(ms.load(path)), tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExportError(f"For 'export', the MindIR, whose outputs must not be None, must run on this machine, for it "
                          f"to be compared with the network, but MindSpore says: {first_line(error)}") from error
