"""
Contenders of a benchmark: what runs on given inputs, and its multiply-accumulates. ONNX files stand here, and need
neither MindSpore nor, to be counted, the package onnx; networks and MindIR files stand in `latency`.
"""
import math
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

from golden_stick.base.errors import CheckpointError, DependencyError, first_line
from golden_stick.graph.plan import einsum_macs

__all__ = ["Contender", "OnnxFile", "PROVIDERS", "Ready", "count_onnx_macs", "onnx_contender", "onnx_runtime",
           "onnx_session"]

GRAPH, PYNATIVE, MINDIR, ONNX = "graph", "pynative", "MindIR", "ONNX Runtime"
Shapes = Tuple[Tuple[int, ...], ...]
# What ONNX Runtime computes on -> its name for that.
PROVIDERS: Mapping[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Ready(NamedTuple):
    """What runs, what is to be called before each turn, and the bytes that it held before it was made ready."""

    run: Callable[[], Any]
    prepare: Callable[[], Any] = lambda: None
    held: int = 0


@dataclass(frozen=True)
class Contender(ABC):
    """A network or file under a name, and what runs it; for a file, the shapes of its inputs, -1 for any size."""

    name: str
    source: Any
    runtime: str
    shapes: Optional[Shapes] = None

    def misfit(self, arrays: Sequence[Any]) -> str:
        """Why a file does not take these inputs, or an empty str."""
        given = tuple(tuple(array.shape) for array in arrays)
        if self.shapes is None or len(self.shapes) == len(given) and all(map(_fits, self.shapes, given)):
            return ""
        free = "; -1 stands for any size" if any(-1 in shape for shape in self.shapes) else ""
        return f"the file takes {', '.join(map(str, self.shapes))}, not {', '.join(map(str, given))}{free}"

    @abstractmethod
    def macs(self, arrays: Sequence[Any]) -> Optional[int]:
        """Multiply-accumulates for one sample; None if they cannot be counted."""

    @abstractmethod
    def ready(self, arrays: Sequence[Any], threads: Optional[int]) -> AbstractContextManager:
        """A context in which it is loaded and has run once; it gives a `Ready`."""


def _fits(wanted: Tuple[int, ...], given: Tuple[int, ...]) -> bool:
    return len(wanted) == len(given) and all(size in (-1, other) for size, other in zip(wanted, given))


@dataclass(frozen=True)
class OnnxFile(Contender):
    """An ONNX file, run by ONNX Runtime on one of `PROVIDERS`."""

    provider: str = "cpu"

    def macs(self, arrays: Sequence[Any]) -> Optional[int]:
        """As of the file's graph."""
        return count_onnx_macs(self.source, [tuple(array.shape) for array in arrays])

    @contextmanager
    def ready(self, arrays: Sequence[Any], threads: Optional[int]) -> Iterator[Ready]:
        """With a session of so many threads."""
        session = onnx_session(self.source, threads, self.provider)
        feeds = {item.name: array for item, array in zip(session.get_inputs(), arrays)}
        session.run(None, feeds)
        yield Ready(lambda: session.run(None, feeds))


def onnx_contender(name: str, path: str, provider: str = "cpu") -> OnnxFile:
    """An ONNX file as a contender."""
    shapes = tuple(tuple(size if isinstance(size, int) else -1 for size in item.shape)
                   for item in onnx_session(path, None, provider).get_inputs())
    return OnnxFile(name, path, ONNX if provider == "cpu" else f"{ONNX}, {provider.upper()}", shapes, provider)


def onnx_runtime() -> ModuleType:
    """The package onnxruntime; a DependencyError where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError("For 'benchmark', onnxruntime must be installed to run an ONNX file, but it is not: "
                              "pip install 'golden-stick[onnx]'.") from error
    return onnxruntime


def onnx_session(model: Any, threads: Optional[int] = None, provider: str = "cpu") -> Any:
    """
    A session of ONNX Runtime, of a file's path or its content, with one thread per core by default. ONNX Runtime itself
    would fall back to the CPU where it lacks a provider, with a line on the error stream: here, that is an error.
    """
    runtime, wanted = onnx_runtime(), PROVIDERS[provider]
    if wanted not in runtime.get_available_providers():
        raise DependencyError(f"For 'benchmark', the provider '{provider}' must be one that the installed ONNX Runtime "
                              f"has, but it has {', '.join(runtime.get_available_providers())}: pip uninstall "
                              f"onnxruntime, and pip install onnxruntime-gpu, with the CUDA and cuDNN that it is made "
                              f"for.")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(model, options, providers=[wanted])
    except Exception as error:  # its own classes of errors have no base but Exception
        what = model if isinstance(model, str) else "the model"
        raise CheckpointError(f"For 'benchmark', ONNX Runtime must be able to load '{what}', but says: "
                              f"{first_line(error)}") from error
    if wanted not in session.get_providers():
        raise DependencyError(f"For 'benchmark', the provider '{provider}' must run the file, but ONNX Runtime could "
                              f"not start it and fell back to {', '.join(session.get_providers())}: look for a GPU "
                              f"with 'nvidia-smi', and for the CUDA and cuDNN that onnxruntime-gpu is made for.")
    return session


def _product(node: Any, shapes: Mapping[str, Tuple[int, ...]]) -> int:
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-2 if turned else -1]


def _einsum(node: Any, shapes: Mapping[str, Tuple[int, ...]]) -> int:
    equation = next(attribute.s.decode() for attribute in node.attribute if attribute.name == "equation")
    return einsum_macs(equation, [shapes[name] for name in node.input])


# As in golden_stick.graph.plan: convolutions and matrix products count, what works number by number does not.
_MACS: Mapping[str, Callable[[Any, Mapping[str, Tuple[int, ...]]], int]] = {
    "Conv": lambda node, shapes: math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:]),
    "ConvTranspose": lambda node, shapes: math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:]),
    "Gemm": _product, "MatMul": _product, "Einsum": _einsum,
}


def count_onnx_macs(path: str, inputs: Sequence[Tuple[int, ...]]) -> Optional[int]:
    """
    Multiply-accumulates of an ONNX file, for one sample, from its inputs' shapes.

    None if the package onnx is not installed or does not find out all shapes.
    """
    try:
        import onnx
    except ImportError:
        return None
    model = onnx.load(path)
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    for item, shape in zip((one for one in model.graph.input if one.name not in shapes), inputs):
        del item.type.tensor_type.shape.dim[:]
        for size in shape:
            item.type.tensor_type.shape.dim.add().dim_value = size
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        for item in (*graph.input, *graph.value_info, *graph.output):
            sizes = item.type.tensor_type.shape.dim
            if all(size.HasField("dim_value") for size in sizes):
                shapes[item.name] = tuple(size.dim_value for size in sizes)
        return sum(_MACS[node.op_type](node, shapes) for node in graph.node if node.op_type in _MACS) // inputs[0][0]
    except (KeyError, IndexError, onnx.shape_inference.InferenceError):
        return None
