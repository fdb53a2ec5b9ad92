"""From a network to an ONNX file, which is run before anybody gets to see it."""
import os
import warnings
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.config import level_of_user
from golden_stick.base.errors import ArgumentError, ExportError, TraceError, first_line
from golden_stick.base.inputs import CHECKED, TRACED, FreeAxes, describe, lengthened, resized, with_lengths
from golden_stick.cells.trace import half_steps_in, trace
from golden_stick.cells.wrappers import quiet
from golden_stick.deploy.exporters import check_outputs, run_network
from golden_stick.deploy.onnx import ONNX_RULES
from golden_stick.deploy.onnx.sizes import FixedSizes, merge
from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Graph

__all__ = ["check_model", "model_of", "run_file", "write_onnx"]


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


def write_onnx(network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, opset: int = 17, dynamic_batch: bool = True,
               free_axes: FreeAxes = (), input_names: Sequence[str] = (), output_names: Sequence[str] = ()) -> None:
    """Write a network in evaluation to an ONNX file and run the file, at two sizes where any is free."""
    if input_names and len(input_names) != len(tensors):
        raise ArgumentError(f"For 'export', 'input_names' must be a name for each of the {len(tensors)} inputs, but "
                            f"got {tuple(input_names)}.")
    export = _Export(network, tensors, path, opset, free_axes, input_names, output_names)
    reason = "as asked for"
    if dynamic_batch:
        try:
            export.any_size(any_batch=True)
            return
        except FixedSizes as error:
            reason = str(error)
    try:
        if free_axes:
            export.any_size(any_batch=False, note=f"fixed: {reason}")
        else:
            export.write([export.written(export.trace(tensors))], f"fixed: {reason}", [tensors])
    except FixedSizes as error:
        raise ExportError(f"For 'export', the axes of 'inputs' that are free must be so in the network, but {error}: "
                          f"give the inputs a length there.") from error
    if dynamic_batch:
        what = "one batch size" if free_axes else f"inputs of shape {describe(tensors)}"
        warnings.warn(f"For 'export', the ONNX file takes {what} only: {reason}.", stacklevel=level_of_user())


def model_of(network: nn.Cell, tensors: Tuple[Tensor, ...]) -> Any:
    """A network in evaluation as ONNX, for inputs of these shapes; it was neither checked nor run."""
    export = _Export(network, tensors, "", 17, (), (), ())
    return export.written(export.trace(tensors)).model({})


class _Export:
    """The network, and what is the same for all sizes and attempts."""

    def __init__(self, network: nn.Cell, tensors: Tuple[Tensor, ...], path: str, opset: int, free: FreeAxes,
                 input_names: Sequence[str], output_names: Sequence[str]):
        self._network, self._tensors, self._path, self._free, self._opset = network, tensors, path, free, opset
        self._input_names, self._output_names = input_names, output_names
        self._weights = {item.name: item.asnumpy() for item in network.get_parameters()}
        self._steps = 0

    def any_size(self, any_batch: bool, note: str = "any") -> None:
        """Traced at several sizes, and checked at others."""
        graphs, proofs = self._at_lengths(any_batch) if self._free else self._at_two_batches()
        store: Dict[str, Any] = {}
        self.write([self.written(graph, store) for graph in graphs], note, proofs)

    def _at_lengths(self, any_batch: bool) -> Tuple[List[Graph], List[Tuple[Tensor, ...]]]:
        try:
            graphs, step = with_lengths(self._tensors, self._free, any_batch, TRACED, self.trace)
        except ExportError as error:
            if any_batch:
                raise FixedSizes(first_line(error)) from error
            raise
        return graphs, [lengthened(self._tensors, self._free, step, turn, any_batch) for turn in CHECKED]

    def _at_two_batches(self) -> Tuple[List[Graph], List[Tuple[Tensor, ...]]]:
        """Both above 1, where nothing is broadcast by chance; the given one and a third are for the check."""
        if not self._tensors[0].shape:
            raise FixedSizes("the first input has no axes")
        given = self._tensors[0].shape[0]
        first, second, third = (2, 3, 3) if given == 1 else (given, given + 1, given + 2)
        graphs = []
        for size in (first, second):
            try:
                graphs.append(self.trace(resized(self._tensors, size)))
            except TraceError as error:
                if size == given:
                    raise
                raise FixedSizes(f"the network does not compile for batch size {size} ({first_line(error)})") from error
        return graphs, [self._tensors, resized(self._tensors, third)]

    def trace(self, tensors: Tuple[Tensor, ...]) -> Graph:
        """The graph at one size."""
        with quiet():
            graph = trace(self._network, tensors)
        self._steps = max(self._steps, half_steps_in(graph))
        return graph

    def written(self, graph: Graph, store: Optional[Dict[str, Any]] = None) -> Writer:
        """The graph at one size, as ONNX has it."""
        return Writer(graph, self._weights, self._opset, self._input_names, store).run(ONNX_RULES)

    def write(self, writers: Sequence[Writer], note: str, proofs: Sequence[Tuple[Tensor, ...]]) -> None:
        """The file of what was written at several sizes, checked with these inputs."""
        import onnx

        writer = merge(writers) if len(writers) > 1 else writers[0]
        wanted = run_network("ONNX file", self._network, proofs[0])
        model = writer.model({"golden_stick.batch": note}, self._names(wanted, writer))
        check_model(model)
        onnx.save_model(model, self._path)
        for tensors in proofs:
            try:
                wanted = wanted if tensors is proofs[0] else run_network("ONNX file", self._network, tensors)
                got = run_file(self._path, [tensor.asnumpy() for tensor in tensors])
                check_outputs("ONNX file", wanted, tensors, got, _TOLERANCE, self._steps)
            except ExportError as error:
                if len(writers) == 1:
                    raise
                raise FixedSizes(f"at batch size {tensors[0].shape[0]}, {first_line(error)}") from error

    def _names(self, output: Any, writer: Writer) -> Sequence[str]:
        """Those that the user gives, or that the network's dict does."""
        count = len(writer.outputs)
        if self._output_names and len(self._output_names) != count:
            raise ArgumentError(f"For 'export', 'output_names' must be a name for each of the {count} outputs, but got "
                                f"{tuple(self._output_names)}.")
        taken = set(self._output_names) & {*writer.inputs, *self._weights}
        if taken:
            raise ArgumentError(f"For 'export', all names must be distinct, but '{min(taken)}' is taken.")
        return self._output_names or _words(output)


def _words(output: Any, word: str = "") -> List[str]:
    """A name for each leaf of what a network returns: the keys of dicts on the way; '' where there are none."""
    if output is None:
        return []
    if isinstance(output, dict):
        items = [(f"{word}.{key}" if word else str(key), item) for key, item in output.items()]
    elif isinstance(output, (tuple, list)):
        items = [(f"{word}.{at}" if word else "", item) for at, item in enumerate(output)]
    else:
        return [word]
    return [name for word, item in items for name in _words(item, word)]
