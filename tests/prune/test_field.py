"""Networks in the style of those that people prune: smaller by half, exact, trainable, and what of them exports."""
import copy
import functools

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

import golden_stick as gs
from tests.field_networks import FIELD

# The others take longer; what makes them hard is tried alone in test_widths.py and test_hidden.py.
QUICK = {"YOLOv8", "SVTR"}
NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in FIELD]


def inputs_of(name, batch=1):
    generator = np.random.default_rng(7)
    return tuple(Tensor([[3, 5, 1, 7, 2, 0, 0, 4]] * batch, ms.int32) if shape == "ids" else
                 Tensor(generator.normal(size=(batch, *shape[1:])), ms.float32) for shape in FIELD[name][1])


def filled(network, seed=0):
    """Random numbers for all parameters: fresh biases and normalizations hide mistakes."""
    generator = np.random.default_rng(seed)
    for parameter in network.get_parameters():
        kind = parameter.name.rsplit(".", 1)[-1]
        if kind in ("gamma", "moving_variance"):
            values = generator.uniform(0.5, 1.5, parameter.shape)
        else:
            spread = np.sqrt(2 / np.prod(parameter.shape[1:])) if len(parameter.shape) > 1 else 0.3
            values = generator.normal(0, spread, parameter.shape)
        parameter.set_data(Tensor(values, parameter.dtype))
    return network


@functools.lru_cache(maxsize=None)
def pruned(name):
    """The algorithm after `convert`, and the slim network."""
    algorithm = gs.OneShot({"criterion": "l1", "prune_rate": 0.4})
    masked = algorithm.apply(filled(FIELD[name][0]()), inputs=inputs_of(name))
    return algorithm, algorithm.convert(masked)


@pytest.mark.parametrize("name", NAMES)
def test_it_loses_half_of_its_parameters_exactly(name):
    report = pruned(name)[0].report
    assert report.parameters_after <= (1 - FIELD[name][2]) * report.parameters_before
    assert report.largest_difference <= 1e-5 * report.output_scale
    assert report.output_scale > 0


@pytest.mark.parametrize("name", [pytest.param("BERT", marks=pytest.mark.long), pytest.param("CLIP",
                                                                                           marks=pytest.mark.long)])
def test_a_transformer_loses_its_rate_of_every_weight_inside_and_nothing_of_its_stream(name):
    """What a layer normalization reads keeps its width, so that a weight that reads or makes it loses 40 %: no more."""
    report = pruned(name)[0].report
    inside = [(int(np.prod(before)), int(np.prod(after))) for before, after in report.shapes.values()
              if before != after]
    assert all(after == 0.6 * before for before, after in inside)
    lost = sum(before - after for before, after in inside)
    assert lost == report.parameters_before - report.parameters_after
    assert lost == 0.4 * sum(before for before, _ in inside)
    kept = {name: item.reasons for item in report.untouched for name in item.parameters}
    assert all(any(words in " ".join(kept[name]) for words in ("normalized over the channels", "output of the network"))
               for name, (before, _) in report.shapes.items() if name in kept and len(before) > 1)
    free = gs.OneShot({"criterion": "l1", "prune_rate": 0.4, "normalization": "approximate"})
    free.apply(filled(FIELD[name][0]()), inputs=inputs_of(name))
    assert free.report.parameters_after < 0.4 * free.report.parameters_before


@pytest.mark.parametrize("name", NAMES)
def test_the_slim_network_takes_a_training_step(name):
    slim = copy.deepcopy(pruned(name)[1]).set_train()
    parameters = slim.trainable_params()

    def loss(*inputs):
        outputs = slim(*inputs)
        return sum((item ** 2).mean() for item in (outputs if isinstance(outputs, tuple) else (outputs,)))

    value, gradients = ms.value_and_grad(loss, None, parameters)(*inputs_of(name, 2))
    assert np.isfinite(value.asnumpy())
    assert all(np.isfinite(item.asnumpy()).all() and item.shape == parameter.shape
               for item, parameter in zip(gradients, parameters))
    assert any(np.abs(item.asnumpy()).max() > 0 for item in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_to_onnx(name, tmp_path):
    """`export` compares the file with the network."""
    gs.export(pruned(name)[1], inputs_of(name), str(tmp_path / "net.onnx"), file_format="ONNX")
    assert (tmp_path / "net.onnx").stat().st_size > 0
