"""Every rule that MindSpore can run here: the file in ONNX Runtime against the Cell, at a batch size of its own."""
import mindspore as ms
import numpy as np
import onnx
import pytest
from mindspore import Tensor

import golden_stick as gs
from golden_stick.cells.wrappers import evaluate
from golden_stick.deploy.onnx import export as export_module
from golden_stick.deploy.onnx.export import run_file
from tests.deploy import onnx_cells

SHAPE = (2, 4, 5, 6)


def randomized(cell):
    """Normalizations of ones and zeros would hide what a rule leaves out."""
    generator = np.random.default_rng(3)
    for parameter in cell.get_parameters():
        array = generator.uniform(0.3, 1.5, parameter.shape).astype(np.float32)
        # MindSpore's tanh is rough where it is near 1.
        parameter.set_data(Tensor(array / 10 if "_ih" in parameter.name or "_hh" in parameter.name else array))
    return cell


# The default, and what differs before and after it.
@pytest.mark.parametrize("opset", [17, *(pytest.param(opset, marks=pytest.mark.long) for opset in (16, 21))])
@pytest.mark.parametrize("family", onnx_cells.FAMILIES, ids=lambda family: family.__name__)
def test_family(tmp_path, monkeypatch, family, opset):
    cell = randomized(family())
    # The export compares as well; once is enough.
    monkeypatch.setattr(export_module, "check_outputs", lambda *_: None)
    monkeypatch.setattr(export_module, "run_network", lambda *_: None)
    path = gs.export(cell, SHAPE, str(tmp_path / "x"), file_format="ONNX", opset=opset)
    model = onnx.load(path)
    assert [item.version for item in model.opset_import] == [opset]
    assert {item.key: item.value for item in model.metadata_props} == {"golden_stick.batch": "any"}
    data = np.random.default_rng(opset).normal(size=(3, *SHAPE[1:])).astype(np.float32)
    ms.ms_memory_recycle()
    wanted, got = evaluate(cell, (Tensor(data),)), run_file(path, [data])
    assert len(wanted) == len(got) == len(model.graph.output)
    for index, (one, other) in enumerate(zip(wanted, got)):
        assert (one.shape, one.dtype) == (other.shape, other.dtype), index
        scale = max(np.abs(one).max(), 1.0) if one.dtype.kind == "f" else 1.0
        np.testing.assert_allclose(other / scale, one / scale, rtol=0, atol=1e-5, err_msg=str(index))
