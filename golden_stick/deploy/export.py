"""Export to MindIR, checked by loading what was written."""
import os
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from golden_stick.deploy.files import whole_file
from golden_stick.errors import ArgumentError, ArgumentTypeError, ExportError, first_line
from golden_stick.evaluation import evaluate, evaluation, scratch_directory
from golden_stick.inputs import as_tensors

__all__ = ["export"]

_FORMATS = ("MINDIR",)
_TOLERANCE = 1e-5


def export(slim: nn.Cell, inputs: Any, path: str, file_format: str = "MINDIR") -> str:
    """
    Write a network to a file, load the file, and check that it gives the same outputs.

    Args:
        slim (nn.Cell): The network, slim or not. It is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only argument.
            The exported network takes inputs of these shapes.
        path (str): Where to write; the ending ``.mindir`` is added if it is missing.
        file_format (str): ``'MINDIR'``. Default: ``'MINDIR'``.

    Returns:
        str, the path of the file.

    Raises:
        ArgumentTypeError: If `slim` is not a Cell or `inputs` is neither Tensors nor a shape.
        ArgumentError: If `file_format` is unknown.
        CheckpointError: If the file cannot be written there.
        ExportError: If the loaded file gives other outputs than the network. Nothing is left at `path` then.
    """
    if not isinstance(slim, nn.Cell):
        raise ArgumentTypeError(f"For 'export', 'slim' must be a Cell, but got {type(slim).__name__}.")
    if file_format not in _FORMATS:
        known = " or ".join(repr(known) for known in _FORMATS)
        raise ArgumentError(f"For 'export', 'file_format' must be {known}, but got {file_format!r}.")
    tensors = as_tensors("export", inputs)
    path = path if path.endswith(".mindir") else f"{path}.mindir"
    # An earlier export of the same Cell in another shape would be served from MindSpore's cache.
    ms.ms_memory_recycle()
    with whole_file("export", path) as temporary, evaluation(slim), scratch_directory():
        try:
            ms.export(slim, *tensors, file_name=temporary, file_format=file_format)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ExportError(f"For 'export', MindSpore could not export the network: {first_line(error)}") from error
        _check(slim, tensors, temporary)
    return path


def _check(network: nn.Cell, tensors, path: str) -> None:
    if not os.path.exists(path):
        raise ExportError(
            "For 'export', MindSpore must write one file, but got several: the network is too large for one MindIR."
        )
    loaded = nn.GraphCell(ms.load(path))
    wanted, got = evaluate(network, tensors), evaluate(loaded, tensors)
    if len(wanted) != len(got) or any(one.shape != other.shape for one, other in zip(wanted, got)):
        raise ExportError("For 'export', the loaded file must give as many outputs as the network, of equal shapes.")
    for one, other in zip(wanted, got):
        difference = np.abs(one.astype(np.float64) - other).max(initial=0.0)
        if not difference <= _TOLERANCE * max(np.abs(one).max(initial=0.0), np.finfo(np.float32).tiny):
            raise ExportError(
                f"For 'export', the loaded file must give the outputs of the network, but got a largest difference of "
                f"{difference:.6g}."
            )
