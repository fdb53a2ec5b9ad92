"""Parts of an ONNX model that the writer puts together."""
from typing import Any, Iterable, List, Mapping, Sequence

import numpy as np

from golden_stick.deploy.onnx.batch import grows

__all__ = ["assembled", "named_nodes", "read_nodes", "tensor_info"]

_BATCH = "batch"


def tensor_info(name: str, kind: str, shape: Sequence[int]) -> Any:
    """What an ONNX file says of an input or output; sizes that follow the batch have a name instead of a number."""
    from onnx import helper

    sizes = [_BATCH if grows(size) and (size.offset, size.per_sample) == (0, 1) else
             f"{size.per_sample} * {_BATCH} + {size.offset}" if grows(size) else int(size) for size in shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), sizes)


def read_nodes(nodes: Sequence[tuple], outputs: Iterable[str]) -> List[tuple]:
    """The nodes that an output depends on, in their order."""
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node[2]):
            wanted.update(node[1])
            found.append(node)
    return found[::-1]


def named_nodes(nodes: Sequence[tuple], sources: Mapping[str, str]) -> List[tuple]:
    """The nodes, such that the outputs have their names: that of the node which makes them, or an Identity's."""
    read = [name for _, inputs, _, _ in nodes for name in inputs] + list(sources.values())
    makers = {name for _, _, names, _ in nodes for name in names}
    new = {source: name for name, source in sources.items() if source in makers and read.count(source) == 1}
    named = [(operator, inputs, tuple(new.get(name, name) for name in names), attributes)
             for operator, inputs, names, attributes in nodes]
    return named + [("Identity", [source], (name,), {}) for name, source in sources.items() if source not in new]


def assembled(nodes: Sequence[tuple], inputs: Sequence[Any], outputs: Sequence[Any], arrays: Mapping[str, np.ndarray],
              opset: int, notes: Mapping[str, str]) -> Any:
    """The model, as onnx's protobuf."""
    from onnx import helper, numpy_helper

    made = [helper.make_node(operator, read, names, name=names[0], **{
        key: helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value
        for key, value in attributes.items()}) for operator, read, names, attributes in nodes]
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    model = helper.make_model(helper.make_graph(made, "golden_stick", inputs, outputs, tensors),
                              opset_imports=[helper.make_opsetid("", opset)], producer_name="golden_stick")
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    helper.set_model_props(model, dict(notes))
    return model
