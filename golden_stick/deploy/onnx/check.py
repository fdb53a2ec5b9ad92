"""What was written, in ONNX Runtime, against the network."""
import os
from dataclasses import dataclass
from typing import Any, List, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.errors import ExportError, first_line
from golden_stick.evaluation import allowed_difference, evaluate
from golden_stick.inputs import describe

__all__ = ["TOLERANCE", "check_model", "check_outputs", "Difference", "largest_difference", "run_file"]

TOLERANCE = 1e-4


def check_model(model: Any) -> None:
    """
    ONNX's own checker, with its inference of shapes and types.

    Raises:
        ExportError: If it finds anything.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"For 'export', the ONNX file must pass onnx's checker, but it says: "
                          f"{first_line(error)}") from error


def run_file(path: str, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
    """
    The outputs of an ONNX file, on the CPU.

    Raises:
        ExportError: If ONNX Runtime cannot load or run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = os.cpu_count() or 1
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        # An argument that no operator reads is no input of the graph.
        feeds = {item.name: array for item, array in zip(session.get_inputs(), arrays)}
        return session.run(None, feeds)
    except Exception as error:  # pylint: disable=broad-except  # its errors have no class in common
        raise ExportError(f"For 'export', ONNX Runtime must run the file, but it says: {first_line(error)}") from error


@dataclass(frozen=True)
class Difference:
    """The largest difference of two lists of outputs: where it is, how large, and the largest number of that output."""

    output: int
    largest: float
    scale: float

    @property
    def relative(self) -> float:
        """As a fraction of the output's largest number."""
        return self.largest / self.scale


def largest_difference(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> Difference:
    """
    Where two lists of outputs differ most, each output measured by its own largest number.

    Whole numbers and truth values differ infinitely unless they are equal, and so do outputs of other shapes or types.
    """
    worst = Difference(0, 0.0 if len(wanted) == len(got) else float("inf"), 1.0)
    for index, (one, other) in enumerate(zip(wanted, got)):
        scale = float(np.abs(one).max(initial=0)) if one.dtype.kind == "f" else 0.0
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            largest = float("inf")
        elif scale:
            largest = float(np.abs(one.astype(np.float64) - other).max(initial=0.0))
        else:
            largest = 0.0 if np.array_equal(one, other) else float("inf")
        found = Difference(index, largest, scale or 1.0)
        # Written so that NaN is the worst, and stays it.
        if worst.relative == worst.relative and not found.relative <= worst.relative:
            worst = found
    return worst


def check_outputs(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str) -> None:
    """
    Run the file and the network on the same inputs.

    Raises:
        ExportError: If the network does not run here, or an output differs by more than 1e-4 of its largest number, or
            is not finite.
    """
    # Compiled graphs of the Cell for another batch size would be served from MindSpore's cache.
    ms.ms_memory_recycle()
    try:
        wanted = evaluate(network, tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExportError(f"For 'export', the network must run on the CPU, for the file to be compared with it, but "
                          f"MindSpore says: {first_line(error)}") from error
    worst = largest_difference(wanted, run_file(path, [tensor.asnumpy() for tensor in tensors]))
    tolerance = allowed_difference(TOLERANCE, wanted)
    if not worst.relative <= tolerance:
        raise ExportError(
            f"For 'export', the ONNX file must give the outputs of the network within {tolerance:g} of their largest "
            f"number, {worst.scale:.6g}, but got a largest difference of {worst.largest:.6g} in output {worst.output} "
            f"for inputs of shape {describe(tensors)}.")
