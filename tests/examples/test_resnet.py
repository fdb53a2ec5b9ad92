"""The example's networks."""
import mindspore as ms
import numpy as np
import pytest
import resnet


@pytest.mark.parametrize("name, count", [
    # conv 3x3x3x16, then 6n convolutions of 3x3 in three widths, two numbers per normalized channel, 64x10 + 10.
    ("resnet20", 269_722), ("resnet32", 464_154), ("resnet44", 658_586), ("resnet56", 853_018),
    ("resnet110", 1_727_962),
])
def test_parameters_of_small_networks(name, count):
    assert sum(parameter.size for parameter in getattr(resnet, name)().trainable_params()) == count


def test_parameters_of_resnet50():
    assert sum(parameter.size for parameter in resnet.resnet50().trainable_params()) == 25_557_032


def test_option_a_shortcut_by_numpy(mode):
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
    got = resnet.PadShortcut(4, 8, 2)(ms.Tensor(x)).asnumpy()
    np.testing.assert_array_equal(got, np.pad(x[:, :, ::2, ::2], ((0, 0), (2, 2), (0, 0), (0, 0))))
