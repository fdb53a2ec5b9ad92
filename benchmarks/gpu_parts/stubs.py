"""ONNX files without their weights: of each large one, mean and deviation, from which it is drawn where the file is."""
import numpy as np
import onnx
from onnx import numpy_helper

# Tensors of more numbers are left out. Those of integers never are: shapes depend on them.
KEPT = 64
DRAWN = "drawn"


def stub(model):
    """The model, its large weights left out."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) > KEPT:
            values = numpy_helper.to_array(tensor)
            bare = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type,
                                    data_location=onnx.TensorProto.EXTERNAL)
            for key, value in (("location", DRAWN), ("mean", values.mean()), ("deviation", values.std())):
                bare.external_data.add(key=key, value=str(value))
            tensor.CopyFrom(bare)
    return model


def draw(model, seed=0):
    """The model, with weights drawn where they were left out, so that activations are of their usual size."""
    generator = np.random.default_rng(seed)
    for tensor in model.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries.get("location") == DRAWN:
            values = generator.standard_normal(tuple(tensor.dims), np.float32)
            values = values * np.float32(entries["deviation"]) + np.float32(entries["mean"])
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def read(path):
    """The model of a file, its weights drawn."""
    return draw(onnx.load(path, load_external_data=False))
