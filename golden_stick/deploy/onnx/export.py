"""From a network to an ONNX file, which is run before anybody gets to see it."""
import os
import warnings
from typing import Any, Dict, Optional, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.deploy.onnx.batch import FixedBatch, merge
from golden_stick.deploy.onnx.check import check_model, check_outputs
from golden_stick.deploy.onnx.table import ONNX_RULES
from golden_stick.deploy.onnx.writer import Writer
from golden_stick.errors import (
    ArgumentError,
    ArgumentTypeError,
    DependencyError,
    ExportError,
    TraceError,
    first_line,
)
from golden_stick.graph.ir import Graph
from golden_stick.inputs import describe, resized
from golden_stick.prune.trace import trace

__all__ = ["OPSETS", "DEFAULT_OPSET", "check_opset", "need_packages", "write_onnx"]

# The oldest in which axes are inputs, and the newest that this package is tested with.
OPSETS = range(13, 24)
DEFAULT_OPSET = 17


def check_opset(opset: Any) -> int:
    """
    A version of ONNX's operators, the default one for None.

    Raises:
        ArgumentTypeError: If it is not an int.
        ArgumentError: If it is out of range.
    """
    if opset is None:
        return DEFAULT_OPSET
    if isinstance(opset, bool) or not isinstance(opset, int):
        raise ArgumentTypeError(f"For 'export', 'opset' must be an int, but got {type(opset).__name__}.")
    if opset not in OPSETS:
        raise ArgumentError(f"For 'export', 'opset' must be in [{OPSETS[0]}, {OPSETS[-1]}], but got {opset}.")
    return opset


def write_onnx(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, opset: int, dynamic_batch: bool) -> None:
    """
    Write a network to an ONNX file and run the file, at two batch sizes where the batch is free.

    Args:
        network (nn.Cell): The network, in evaluation.
        tensors (tuple[Tensor]): What `construct` takes.
        path (str): Where to write.
        opset (int): Version of ONNX's operators.
        dynamic_batch (bool): Whether the file shall take any batch size, where the network does. Where it does not, a
            warning says why.

    Raises:
        DependencyError: If onnx or onnxruntime is not installed.
        TraceError: If the network cannot be compiled.
        ExportError: If an operator cannot be written, or the file gives other outputs than the network.
    """
    need_packages()
    weights = {item.name: item.asnumpy() for item in network.get_parameters()}
    reason = None
    if dynamic_batch:
        try:
            _write_any_batch(network, tensors, path, weights, opset)
            return
        except FixedBatch as error:
            reason = str(error)
    _write(trace(network, tensors), path, weights, opset, f"fixed: {reason or 'as asked for'}")
    check_outputs(network, tensors, path)
    if reason:
        warnings.warn(f"For 'export', the ONNX file takes inputs of shape {describe(tensors)} only: {reason}.",
                      stacklevel=4)


def need_packages() -> None:
    """
    Refuse where ONNX files cannot be written.

    Raises:
        DependencyError: If onnx or onnxruntime is not installed.
    """
    for name in ("onnx", "onnxruntime"):
        try:
            __import__(name)
        except ImportError as error:
            raise DependencyError(f"For 'export', ONNX files must have the package '{name}', which is not installed: "
                                  f"pip install 'golden-stick[onnx]'.") from error


def _write(graph: Graph, path: str, weights: Dict[str, np.ndarray], opset: int, batch: str) -> None:
    import onnx

    model = Writer(graph, weights, opset).run(ONNX_RULES).model({"golden_stick.batch": batch})
    check_model(model)
    onnx.save_model(model, path)


def _write_any_batch(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, weights: Dict[str, np.ndarray],
                     opset: int) -> None:
    """Traced at two batch sizes above 1, where nothing is broadcast by chance; proven at the given and a third."""
    if not tensors[0].shape:
        raise FixedBatch("the first input has no axes")
    given = tensors[0].shape[0]
    first, second, third = (2, 3, 3) if given == 1 else (given, given + 1, given + 2)
    graphs = [_trace_at(network, tensors, size) for size in (first, second)]
    _write(merge(*graphs, (first, second)), path, weights, opset, "any")
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
    problem: Optional[ExportError] = None
    try:
        check_outputs(network, tensors, path)
    except ExportError as error:
        problem = error
    if problem is not None:
        os.remove(path)
        raise FixedBatch(f"at batch size {size}, {first_line(problem)}") from problem
