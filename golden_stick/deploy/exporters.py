"""Export to a file of any format in the table, checked where the format can: by loading what was written."""
from typing import Any, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.config import OneOf, check_value, in_own_name
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, ExportError, first_line
from golden_stick.base.files import PathLike, path_of, whole_file
from golden_stick.base.inputs import describe, opened_inputs, progress
from golden_stick.cells.wrappers import allowed_difference, evaluation, leaves, nan_parameters, quiet, scratch_directory
from golden_stick.deploy.formats import FORMATS

__all__ = ["check_outputs", "export", "run_network"]


@in_own_name
def export(slim: nn.Cell, inputs: Any, path: PathLike, file_format: str = "MINDIR", opset: Optional[int] = None,
           dynamic_batch: bool = True, **options: Any) -> str:
    """
    Write a network to a file, load the file, and check that it gives the same outputs.

    Args:
        slim (nn.Cell): The network, slim or not. It is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only argument.
            The exported network takes inputs of these shapes; of any batch size, where `dynamic_batch` says so. Axes
            of length None or -1, as in ``(1, 3, None, None)`` or ``Tensor(shape=[None, 3, None, None], dtype=...)``,
            take any length: the file is then run at two sizes that it was not made with. Axes of the same place in two
            inputs are of one length.
        path (Union[str, os.PathLike]): Where to write; the ending of the format, such as ``.mindir`` or ``.onnx``, is
            added if it is missing.
        file_format (str): ``'MINDIR'``, ``'ONNX'``, or a format that
            :func:`golden_stick.deploy.formats.add_format` or an installed package has added. An ONNX file is run in
            ONNX Runtime and must give the outputs of the network within 1e-4 of the largest of them; in float16 as
            :func:`golden_stick.verify` says. Default: ``'MINDIR'``.
        opset (int, optional): Version of ONNX's operators, in [13, 23]. Default: ``None``, which is 17.
        dynamic_batch (bool): Whether the file takes any batch size. It is then run at a second one as well. Where the
            network's code fixes the batch size, the file does so too and a warning says why. Default: ``True``.
        options: What a format takes besides. For ``'ONNX'``, ``input_names`` and ``output_names``, each a tuple of str
            in order. By default, inputs are called as `construct` calls them, and outputs by the keys of the dict that
            the network returns, or else ``output``, or ``output0``, ``output1`` and so on.

    Returns:
        str, the path of the file.

    Raises:
        ArgumentTypeError: If `slim` is not a Cell, `inputs` is neither Tensors nor a shape, or `path` is no path.
        ArgumentError: If `file_format` is unknown, `opset` is out of range or given for a format without it, names are
            not as many as inputs or outputs, or more than four axes of the inputs are free.
        CheckpointError: If the file cannot be written there.
        DependencyError: If a package that the format needs is not installed: onnx and onnxruntime for ``'ONNX'``.
        TraceError: If `file_format` is ``'ONNX'`` and the network cannot be compiled for these inputs.
        ExportError: If the loaded file gives other outputs than the network, operators cannot be written to ONNX, or
            the network takes one length of an axis only that is asked to be free. Nothing is left at `path` then.

    Examples:
        >>> import os, tempfile
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> path = gs.export(net, (1, 3, 16, 16), os.path.join(tempfile.mkdtemp(), "net.onnx"), file_format="ONNX")
    """
    if not isinstance(slim, nn.Cell):
        raise ArgumentTypeError(f"For 'export', 'slim' must be a Cell, but got {type(slim).__name__}.")
    check_value("export", "file_format", file_format, OneOf(FORMATS))
    written = FORMATS[file_format]
    given = {**options, **({} if opset is None else {"opset": opset}),
             **({} if dynamic_batch is True else {"dynamic_batch": dynamic_batch})}
    written.check("export", given)
    (tensors, free), path = opened_inputs("export", inputs), path_of("export", path)
    if free and not written.free_axes:
        raise ArgumentError(f"For 'export', 'inputs' must have a length for every axis, since {written.ending} files "
                            f"take no other, but got {inputs!r}.")
    path = path if path.endswith(written.ending) else f"{path}{written.ending}"
    # An earlier export of the same Cell in another shape would be served from MindSpore's cache.
    ms.ms_memory_recycle()
    with whole_file("export", path) as temporary, evaluation(slim), scratch_directory(), progress(f"writing {path}"):
        try:
            written.writer()(slim, tensors, temporary, **given, **({"free_axes": free} if free else {}))
        except ExportError as error:
            for name in nan_parameters(slim):
                raise ExportError(f"For 'export', the network must give numbers, but parameter '{name}' holds NaN: "
                                  f"load a checkpoint from before the training diverged.") from error
            raise
    return path


def run_network(what: str, network: nn.Cell, tensors: Tuple[Tensor, ...]) -> Any:
    """What a network in evaluation returns, for a file, `what` in messages, to be compared with it."""
    # Compiled graphs of the Cell for another batch size would be served from MindSpore's cache.
    ms.ms_memory_recycle()
    try:
        with quiet():
            return network(*tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExportError(f"For 'export', the network must run on this machine, for the {what} to be compared with it, "
                          f"but MindSpore says: {first_line(error)}") from error


def check_outputs(what: str, output: Any, tensors: Tuple[Tensor, ...], got: Sequence[np.ndarray],
                  tolerance: float, steps: int = 0) -> None:
    """
    Refuse a file, `what` in messages, that gives other outputs than the network. The tolerance is a fraction of an
    output's largest number; more where it, or what `steps` operators in a row give, is of float16. Whole numbers must
    be equal.
    """
    wanted = [tensor.asnumpy() for tensor in leaves(output)]
    forms = [[(array.shape, array.dtype.name) for array in arrays] for arrays in (wanted, got)]
    if forms[0] != forms[1]:
        raise ExportError(f"For 'export', the {what} must give as many outputs as the network, of equal shapes and "
                          f"types, {forms[0]}, but got {forms[1]}.")
    allowed = allowed_difference(tolerance, wanted, steps)
    for index, (one, other) in enumerate(zip(wanted, got)):
        is_float = one.dtype.kind == "f"
        scale = float(np.abs(one).max(initial=0)) if is_float else 1.0
        largest = float(np.abs(one.astype(np.float64) - other).max(initial=0.0))
        # Written so that NaN fails: every comparison with it is False.
        if not largest <= (allowed * scale if is_float else 0.0):
            raise ExportError(
                f"For 'export', the {what} must give the outputs of the network within {allowed:g} of their largest "
                f"number, {scale:.6g}, but got a largest difference of {largest:.6g} in output {index} for inputs of "
                f"shape {describe(tensors)}.")
