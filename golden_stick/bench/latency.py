"""How long a network takes: networks and MindIR files as contenders, and what a latency target reads."""
from contextlib import ExitStack, contextmanager
from typing import Any, Iterator, Mapping, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from mindspore.train.mind_ir_pb2 import ModelProto

from golden_stick.base.errors import CheckpointError, ExportError, GoldenStickError, TraceError, first_line
from golden_stick.base.inputs import progress
from golden_stick.bench.clock import interleave, turn_of
from golden_stick.bench.contenders import GRAPH, MINDIR, ONNX, PYNATIVE, Contender, OnnxFile, Ready
from golden_stick.cells.trace import trace
from golden_stick.cells.wrappers import evaluation, leaves, scratch_directory
from golden_stick.deploy.formats import FORMATS
from golden_stick.deploy.onnx.export import model_of
from golden_stick.graph.plan import count_macs

__all__ = ["Network", "latency_ratio", "mindir_contender"]

_MODES: Mapping[str, int] = {GRAPH: ms.GRAPH_MODE, PYNATIVE: ms.PYNATIVE_MODE, MINDIR: ms.GRAPH_MODE}


class Network(Contender):
    """A Cell, or a MindIR file, run by MindSpore."""

    def macs(self, arrays: Sequence[Any]) -> Optional[int]:
        """As of the network, traced."""
        try:
            # A file's graph can be traced or run, not both: this one is thrown away.
            return count_macs(trace(self._network(), _tensors(arrays)))
        except GoldenStickError:
            return None

    @contextmanager
    def ready(self, arrays: Sequence[Any], threads: Optional[int]) -> Iterator[Ready]:
        """In evaluation, compiled; MindSpore's mode is afterwards what it was."""
        network, tensors, before = self._network(), _tensors(arrays), ms.get_context("mode")
        # The weights of a Cell were in memory before, those of a file were not.
        held = sum(parameter.nbytes for parameter in network.get_parameters()) if network is self.source else 0
        ready = Ready(lambda: [output.asnumpy() for output in leaves(network(*tensors))],
                      lambda: ms.set_context(mode=_MODES[self.runtime]), held)
        try:
            with evaluation(network):
                ready.prepare()
                with scratch_directory():
                    ready.run()
                yield ready
        finally:
            ms.set_context(mode=before)

    def _network(self) -> nn.Cell:
        if isinstance(self.source, nn.Cell):
            return self.source
        try:
            return nn.GraphCell(ms.load(self.source))
        except (RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(f"For 'benchmark', MindSpore must be able to load '{self.source}', but says: "
                                  f"{first_line(error)}") from error


def _tensors(arrays: Sequence[Any]) -> Tuple[Tensor, ...]:
    return tuple(array if isinstance(array, Tensor) else Tensor(array) for array in arrays)


def mindir_contender(name: str, path: str) -> Network:
    """A MindIR file as a contender."""
    proto = ModelProto()
    try:
        with open(path, "rb") as file:
            proto.ParseFromString(file.read())
    except Exception as error:  # protobuf's own classes of errors differ between its versions
        raise CheckpointError(f"For 'benchmark', '{path}' must be a MindIR file, but it cannot be read: "
                              f"{first_line(error)}") from error
    if not proto.graph.node:
        raise CheckpointError(f"For 'benchmark', '{path}' must be a MindIR file, but it holds no graph.")
    return Network(name, path, MINDIR, tuple(tuple(np.asarray(item.tensor[0].dims).astype(np.int64).tolist())
                                             for item in proto.graph.input))


def _onnx_file(owner: str, network: nn.Cell, inputs: Tuple[Tensor, ...]) -> OnnxFile:
    """A network as ONNX, in memory."""
    FORMATS["ONNX"].check(owner, {})
    try:
        with evaluation(network):
            return OnnxFile("", model_of(network, inputs).SerializeToString(), ONNX)
    except (ExportError, TraceError) as error:
        raise ExportError(f"For '{owner}', with 'runtime' 'onnx' the network must be one that can be written as ONNX, "
                          f"but: {error}") from error


@progress("measuring latency")
def latency_ratio(network: nn.Cell, other: nn.Cell, inputs: Tuple[Tensor, ...], rounds: int = 15,
                  runtime: str = "mindspore", owner: str = "benchmark") -> float:
    """
    How long a network takes, as a fraction of what another takes: the median of the ratios in each of the rounds.

    Both are compiled as graphs, in evaluation, or written for ONNX Runtime (``'onnx'``), and run in turn.
    """
    arrays = inputs if runtime == "mindspore" else tuple(tensor.asnumpy() for tensor in inputs)
    contenders = [Network("", cell, GRAPH) if runtime == "mindspore" else _onnx_file(owner, cell, inputs)
                  for cell in (network, other)]
    with ExitStack() as stack:
        ready = [stack.enter_context(one.ready(arrays, None)) for one in contenders]
        timings = interleave({number: turn_of(one.run, one.prepare) for number, one in enumerate(ready)}, rounds)
    return 1 / timings[0].times_faster_than(timings[1])
