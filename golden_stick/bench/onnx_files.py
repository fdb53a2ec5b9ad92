"""ONNX files: sessions of ONNX Runtime, and the multiply-accumulates of a model. Both packages are optional."""
import math
from types import ModuleType
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from golden_stick.base.errors import CheckpointError, DependencyError, first_line
from golden_stick.graph.cost import einsum_macs

__all__ = ["count_onnx_macs", "onnx_session", "onnx_runtime"]


Shapes = Mapping[str, Tuple[int, ...]]


def onnx_runtime() -> ModuleType:
    """
    The package onnxruntime.

    Raises:
        DependencyError: If it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError("For 'benchmark', onnxruntime must be installed to run an ONNX file, but it is not: "
                              "pip install 'golden-stick[onnx]'.") from error
    return onnxruntime


def onnx_session(model: Any, threads: Optional[int] = None) -> Any:
    """
    A session of ONNX Runtime on the CPU.

    Args:
        model (Union[str, bytes]): Path of a file, or its content.
        threads (int): Threads within an operator. Default: ``None``, one per core.

    Returns:
        onnxruntime.InferenceSession.

    Raises:
        DependencyError: If onnxruntime is not installed.
        CheckpointError: If it cannot load the model.
    """
    runtime = onnx_runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own classes of errors have no base but Exception
        what = model if isinstance(model, str) else "the model"
        raise CheckpointError(f"For 'benchmark', ONNX Runtime must be able to load '{what}', but says: "
                              f"{first_line(error)}") from error


def _convolution(node: Any, shapes: Shapes) -> int:
    return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])


def _transposed_convolution(node: Any, shapes: Shapes) -> int:
    return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _product(node: Any, shapes: Shapes) -> int:
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-2 if turned else -1]


def _einsum(node: Any, shapes: Shapes) -> int:
    equation = next(attribute.s.decode() for attribute in node.attribute if attribute.name == "equation")
    return einsum_macs(equation, [shapes[name] for name in node.input])


# As in golden_stick.graph.cost: convolutions and matrix products count, what works number by number does not.
_MACS: Dict[str, Callable[[Any, Shapes], int]] = {
    "Conv": _convolution, "ConvTranspose": _transposed_convolution, "Gemm": _product, "MatMul": _product,
    "Einsum": _einsum,
}


def count_onnx_macs(path: str, inputs: Sequence[Tuple[int, ...]]) -> Optional[int]:
    """
    Multiply-accumulates of an ONNX file, for one sample.

    Args:
        path (str): The file.
        inputs (Sequence[tuple[int]]): Shapes of its inputs, the samples along the first axis of the first.

    Returns:
        int, or None if the package onnx is not installed or does not find out all shapes.
    """
    try:
        import onnx
    except ImportError:
        return None
    model = onnx.load(path)
    weights = {item.name: tuple(item.dims) for item in model.graph.initializer}
    for item, shape in zip((one for one in model.graph.input if one.name not in weights), inputs):
        del item.type.tensor_type.shape.dim[:]
        for size in shape:
            item.type.tensor_type.shape.dim.add().dim_value = size
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = {**weights, **_known(graph)}
        return sum(_MACS[node.op_type](node, shapes) for node in graph.node if node.op_type in _MACS) // inputs[0][0]
    except (KeyError, IndexError, onnx.shape_inference.InferenceError):
        return None


def _known(graph: Any) -> Dict[str, Tuple[int, ...]]:
    """Name -> shape, where every size of it is known."""
    found: Dict[str, List[int]] = {}
    for item in (*graph.input, *graph.value_info, *graph.output):
        sizes = item.type.tensor_type.shape.dim
        if all(size.HasField("dim_value") for size in sizes):
            found[item.name] = tuple(size.dim_value for size in sizes)
    return found
