"""From a network to an ONNX file, which is run before anybody gets to see it."""
import os
import warnings
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import ExportError, TraceError, first_line
from golden_stick.base.inputs import describe, resized
from golden_stick.cells.trace import trace
from golden_stick.deploy.exporters import check_outputs
from golden_stick.deploy.onnx import ONNX_RULES
from golden_stick.deploy.onnx.batch import FixedBatch, merge
from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Graph

__all__ = ["check_model", "run_file", "write_onnx"]


_TOLERANCE = 1e-4


def check_model(model: Any) -> None:
    """ONNX's own checker, with its inference of shapes and types."""
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"For 'export', the ONNX file must pass onnx's checker, but it says: "
                          f"{first_line(error)}") from error


def run_file(path: str, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
    """The outputs of an ONNX file, on the CPU."""
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


def write_onnx(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, opset: int = 17,
               dynamic_batch: bool = True) -> None:
    """Write a network in evaluation to an ONNX file and run the file, at two batch sizes where the batch is free."""
    weights = {item.name: item.asnumpy() for item in network.get_parameters()}
    reason = None
    if dynamic_batch:
        try:
            _write_any_batch(network, tensors, path, weights, opset)
            return
        except FixedBatch as error:
            reason = str(error)
    _write(trace(network, tensors), path, weights, opset, f"fixed: {reason or 'as asked for'}")
    _check(network, tensors, path)
    if reason:
        warnings.warn(f"For 'export', the ONNX file takes inputs of shape {describe(tensors)} only: {reason}.",
                      stacklevel=4)


def _check(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str) -> None:
    check_outputs("ONNX file", network, tensors, lambda: run_file(path, [tensor.asnumpy() for tensor in tensors]),
                  _TOLERANCE)


def _write(graph: Graph, path: str, weights: Dict[str, np.ndarray], opset: int, batch: str) -> None:
    import onnx

    model = Writer(graph, weights, opset).run(ONNX_RULES).model({"golden_stick.batch": batch})
    check_model(model)
    onnx.save_model(model, path)


def _write_any_batch(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, weights: Dict[str, np.ndarray],
                     opset: int) -> None:
    """Traced at two batch sizes above 1, where nothing is broadcast by chance; checked at the given and a third."""
    if not tensors[0].shape:
        raise FixedBatch("the first input has no axes")
    given = tensors[0].shape[0]
    first, second, third = (2, 3, 3) if given == 1 else (given, given + 1, given + 2)
    one, two = (_trace_at(network, tensors, size) for size in (first, second))
    _write(merge(one, two, (first, second)), path, weights, opset, "any")
    _prove(network, tensors, path, given)
    _prove(network, resized(tensors, third), path, third)


def _trace_at(network: nn.Cell, tensors: Tuple[Tensor, ...], size: int) -> Graph:
    try:
        return trace(network, resized(tensors, size))
    except TraceError as error:
        if size == tensors[0].shape[0]:
            raise
        raise FixedBatch(f"the network does not compile for batch size {size} ({first_line(error)})") from error


def _prove(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, size: int) -> None:
    try:
        _check(network, tensors, path)
    except ExportError as error:
        raise FixedBatch(f"at batch size {size}, {first_line(error)}") from error
