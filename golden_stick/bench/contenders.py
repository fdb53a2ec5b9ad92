"""Contenders: a Cell, a MindIR file or an ONNX file, made ready to run on given inputs."""
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Callable, Optional, Tuple, Union

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from mindspore.train.mind_ir_pb2 import ModelProto

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, GoldenStickError, first_line
from golden_stick.bench.onnx_files import count_onnx_macs, onnx_session
from golden_stick.cells.networks import evaluation, leaves
from golden_stick.cells.trace import trace
from golden_stick.graph.cost import count_macs

__all__ = ["Contender", "contenders_of", "Ready"]


GRAPH, PYNATIVE, MINDIR, ONNX = "graph", "pynative", "MindIR", "ONNX Runtime"
_MODES = {GRAPH: ms.GRAPH_MODE, PYNATIVE: ms.PYNATIVE_MODE, MINDIR: ms.GRAPH_MODE, ONNX: ms.GRAPH_MODE}


@dataclass(frozen=True)
class Ready:
    """What runs once `prepare` was called and as long as `context` is open, and the bytes that were held before."""

    run: Callable[[], Any]
    prepare: Callable[[], Any]
    context: AbstractContextManager
    held: int = 0


@dataclass(frozen=True)
class Contender:
    """A network or file under a name, and what runs it; for a file, the shapes of its inputs, -1 for any size."""

    name: str
    source: Union[nn.Cell, str]
    runtime: str
    shapes: Tuple[Tuple[int, ...], ...] = ()

    def macs(self, tensors: Tuple[Tensor, ...]) -> Optional[int]:
        """Multiply-accumulates for one sample; None if they cannot be counted."""
        if self.runtime == ONNX:
            return count_onnx_macs(self.source, [tuple(tensor.shape) for tensor in tensors])
        try:
            # A file's graph can be traced or run, not both: this one is thrown away.
            network = self.source if isinstance(self.source, nn.Cell) else _load_mindir(self.source)
            return count_macs(trace(network, tensors))
        except GoldenStickError:
            return None

    def misfit(self, tensors: Tuple[Tensor, ...]) -> str:
        """Why a file does not take these inputs, or an empty str."""
        if isinstance(self.source, nn.Cell):
            return ""
        given = tuple(tuple(tensor.shape) for tensor in tensors)
        if len(self.shapes) == len(given) and all(map(_fits, self.shapes, given)):
            return ""
        free = "; -1 stands for any size" if any(-1 in shape for shape in self.shapes) else ""
        return f"the file takes {', '.join(map(str, self.shapes))}, not {', '.join(map(str, given))}{free}"

    def ready(self, tensors: Tuple[Tensor, ...], threads: Optional[int]) -> Ready:
        """Load or compile, so far as that comes before the first run."""
        if self.runtime == ONNX:
            session = onnx_session(self.source, threads)
            feeds = {item.name: tensor.asnumpy() for item, tensor in zip(session.get_inputs(), tensors)}
            return Ready(lambda: session.run(None, feeds), lambda: None, nullcontext())
        network = self.source if isinstance(self.source, nn.Cell) else _load_mindir(self.source)
        # The weights of a Cell were in memory before, those of a file were not.
        held = sum(parameter.nbytes for parameter in network.get_parameters()) if network is self.source else 0
        return Ready(lambda: [output.asnumpy() for output in leaves(network(*tensors))],
                     lambda: ms.set_context(mode=_MODES[self.runtime]), evaluation(network), held)


def contenders_of(owner: str, name: str, source: Any, modes: Tuple[str, ...]) -> Tuple[Contender, ...]:
    """
    The contenders that a network or file stands for: a Cell is one for each mode.

    Raises:
        ArgumentTypeError: If it is neither a Cell nor a path.
        ArgumentError: If the path's ending is unknown.
        CheckpointError: If the file is missing or cannot be read.
        DependencyError: If it is an ONNX file and onnxruntime is not installed.
    """
    if isinstance(source, nn.Cell):
        return tuple(Contender(name, source, mode) for mode in modes)
    if not isinstance(source, (str, os.PathLike)):
        raise ArgumentTypeError(f"For '{owner}', a contender must be a Cell or the path of a file, but got "
                                f"{type(source).__name__} for '{name}'.")
    path = os.fspath(source)
    runtimes = {".mindir": MINDIR, ".onnx": ONNX}
    ending = os.path.splitext(path)[1].lower()
    if ending not in runtimes:
        raise ArgumentError(f"For '{owner}', the path of a contender must end in .mindir or .onnx, but got '{path}'.")
    if not os.path.isfile(path):
        raise CheckpointError(f"For '{owner}', a contender must be a file that exists, but got '{path}'.")
    # A file that cannot be read is an error now, not after minutes of measuring.
    read_shapes = {MINDIR: _mindir_shapes, ONNX: _onnx_shapes}[runtimes[ending]]
    # In full, for it is loaded from another working directory.
    return (Contender(name, os.path.abspath(path), runtimes[ending], read_shapes(path)),)


def _fits(wanted: Tuple[int, ...], given: Tuple[int, ...]) -> bool:
    return len(wanted) == len(given) and all(size in (-1, other) for size, other in zip(wanted, given))


def _load_mindir(path: str) -> nn.GraphCell:
    try:
        return nn.GraphCell(ms.load(path))
    except (RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"For 'benchmark', MindSpore must be able to load '{path}', but says: "
                              f"{first_line(error)}") from error


def _mindir_shapes(path: str) -> Tuple[Tuple[int, ...], ...]:
    proto = ModelProto()
    try:
        with open(path, "rb") as file:
            proto.ParseFromString(file.read())
    except Exception as error:  # protobuf's own classes of errors differ between its versions
        raise CheckpointError(f"For 'benchmark', '{path}' must be a MindIR file, but it cannot be read: "
                              f"{first_line(error)}") from error
    if not proto.graph.node:
        raise CheckpointError(f"For 'benchmark', '{path}' must be a MindIR file, but it holds no graph.")
    return tuple(tuple(np.int64(item.tensor[0].dims).tolist()) for item in proto.graph.input)


def _onnx_shapes(path: str) -> Tuple[Tuple[int, ...], ...]:
    return tuple(tuple(size if isinstance(size, int) else -1 for size in item.shape)
                 for item in onnx_session(path).get_inputs())
