"""What is refused of a checkpoint for a network, and what is a training's and left aside."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from golden_stick.base.errors import CheckpointError
from golden_stick.cli.networks import fill, load_weights


def network():
    return nn.SequentialCell(nn.Conv2d(3, 4, 3, has_bias=True), nn.BatchNorm2d(4))


def values_of(*cells):
    return {item.name: item.asnumpy() for cell in cells for item in cell.get_parameters()}


@pytest.mark.parametrize("optimizer", [
    lambda one: nn.Adam(one.trainable_params(), [0.1, 0.2, 0.3]), lambda one: nn.Lamb(one.trainable_params(), 0.1),
    lambda one: nn.AdaFactor(one.trainable_params(), learning_rate=0.1, relative_step=False, scale_parameter=False),
    lambda one: nn.LARS(nn.Momentum(one.trainable_params(), 0.1, 0.9)), lambda one: nn.FTRL(one.trainable_params()),
    lambda one: nn.ASGD(one.trainable_params()), lambda one: nn.Rprop(one.trainable_params()),
    lambda one: nn.Adam([{"params": one.trainable_params()[:1], "lr": 0.1},
                         {"params": one.trainable_params()[1:], "lr": [0.1, 0.2]}]),
])
def test_what_mindspores_optimizers_leave_is_left_aside(optimizer, capsys):
    one = network()
    own, all_values = values_of(one), values_of(one, optimizer(one))
    fill(one, all_values, "net.ckpt")
    said = capsys.readouterr().out
    assert said.startswith(f"left aside {len(all_values) - len(own)} values of 'net.ckpt' that training keeps beside")
    fill(one, own, "net.ckpt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("change, message", [
    ({"head.weight": (4, 4)}, "and no others, but 'net.ckpt' also holds 'head.weight': name the network"),
    ({f"h{i}": (1,) for i in range(5)}, "also holds 'h0', 'h1', 'h2' and 2 more"),
    ({"1.gamma": None, "1.gama": (4,)}, "'1.gamma', but 'net.ckpt' does not; the nearest name there is '1.gama'"),
    ({"1.gamma": None, "backbone.features.1.gamma": (4,)}, "the nearest name there is 'backbone.features.1.gamma'"),
    ({"1.gamma": None, "1.beta": None}, "'1.gamma', but 'net.ckpt' does not, nor 1 more of its 6; it holds nothing"),
    ({"1.gamma": None, "xyz": (4,)}, "it holds 'xyz'"),
    ({"0.weight": (4, 3, 1, 1)}, "'0.weight' in 'net.ckpt' must have shape (4, 3, 3, 3), but got (4, 3, 1, 1)"),
])
def test_what_is_refused(change, message):
    values = {**values_of(network()), **{name: shape and np.ones(shape, np.float32) for name, shape in change.items()}}
    values = {name: array for name, array in values.items() if array is not None}
    with pytest.raises(CheckpointError) as caught:
        fill(network(), values, "net.ckpt")
    assert message in str(caught.value)


@pytest.mark.parametrize("dtype", [ms.float32, ms.float16, ms.bfloat16])
@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_values_arrive_as_they_were(dtype, ending, tmp_path):
    array = np.random.default_rng(0).normal(size=(4,)).astype(np.float32)
    cell = nn.Cell()
    cell.weight = ms.Parameter(Tensor(np.zeros(4), dtype), name="weight")
    path = str(tmp_path / f"net.{ending}")
    ms.save_checkpoint([{"name": "weight", "data": Tensor(array, dtype)}], path, format=ending)
    load_weights(cell, path)
    assert cell.weight.dtype == dtype
    np.testing.assert_array_equal(cell.weight.astype(ms.float32).asnumpy(),
                                  Tensor(array, dtype).astype(ms.float32).asnumpy())
