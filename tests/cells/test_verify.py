"""`verify` and `calibrate`."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, mint, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, VerifyError
from golden_stick.cells.wrappers import masked_network
from golden_stick.recover.statistics import calibrate
from tests import networks
from tests.cells.test_slimmer import plan_of


def test_equal_networks(mode):
    network = networks.randomize(networks.SmallNet())
    result = gs.verify(network, network, networks.SMALL_INPUT)
    assert result.largest_difference == 0.0 and result.output_scale > 0


def test_difference_and_scale_by_hand():
    one, other = nn.Dense(2, 1), nn.Dense(2, 1)
    one.weight.set_data(Tensor([[1.0, 0.0]], ms.float32))
    other.weight.set_data(Tensor([[1.5, 0.0]], ms.float32))
    for cell in (one, other):
        cell.bias.set_data(Tensor([0.0], ms.float32))
    result = gs.verify(one, other, Tensor([[2.0, 7.0], [-4.0, 1.0]], ms.float32), tolerance=0.6)
    assert (result.largest_difference, result.output_scale, result.relative_difference) == (2.0, 4.0, 0.5)


def test_what_is_allowed_of_float16():
    """Two roundings apart: by default that is nothing, but what the caller allows is what counts."""
    class Times(nn.Cell):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def construct(self, x):
            return x * self.factor

    one, other, data = Times(1.0), Times(1 + 2 ** -9), Tensor(np.ones((2, 3)), ms.float16)
    result = gs.verify(one, other, data)
    assert (result.relative_difference, result.tolerance) == (2 ** -9, 2 ** -7)
    with pytest.raises(VerifyError, match="the outputs must agree within 0.001 of 1, but got a largest difference of"):
        gs.verify(one, other, data, tolerance=1e-3)


def test_first_layer_that_differs_is_named(mode):
    network = networks.randomize(networks.SmallNet())
    plan = plan_of(network, networks.SMALL_INPUT)
    masked, slim = masked_network(network, plan), gs.slim(network, plan)
    slim.b.weight.set_data(slim.b.weight * 1.01)
    with pytest.raises(VerifyError, match="must agree within 1e-05 of .*; the first layer that differs .*'b.weight'"):
        gs.verify(masked, slim, networks.SMALL_INPUT)


def test_difference_between_layers():
    class Activated(nn.Cell):
        def __init__(self, slope):
            super().__init__()
            self.dense = nn.Dense(3, 3, weight_init="ones", has_bias=False)
            self.slope = slope

        def construct(self, x):
            return self.slope * self.dense(x)

    with pytest.raises(VerifyError, match="no single layer differs"):
        gs.verify(Activated(1.0), Activated(2.0), (1, 3))


def test_nan_is_not_equal():
    network, broken = networks.SmallNet(), networks.SmallNet()
    broken.head.bias.set_data(Tensor(np.full(4, np.nan), ms.float32))
    with pytest.raises(VerifyError, match="'slim' must .*parameter 'head.bias' holds NaN"):
        gs.verify(network, broken, networks.SMALL_INPUT)


def test_other_shapes():
    with pytest.raises(VerifyError, match=r"must have the shapes \[\(2, 4\)\], but got \[\(2, 5\)\]"):
        gs.verify(networks.SmallNet(), networks.SmallNet(classes=5), networks.SMALL_INPUT)


@pytest.mark.parametrize("tolerance", [0, -1.0, float("nan")])
def test_tolerance(tolerance):
    with pytest.raises(ArgumentError, match="'tolerance' must be positive"):
        gs.verify(networks.SmallNet(), networks.SmallNet(), networks.SMALL_INPUT, tolerance=tolerance)


def test_training_flags_come_back():
    network = networks.SmallNet().set_train(True)
    network.a.set_train(False)
    gs.verify(network, network, networks.SMALL_INPUT)
    assert network.training and network.b.training and not network.a.training


class TestCalibrate:
    @pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm])
    def test_statistics_by_numpy(self, mode, kind):
        norm = kind(3, momentum=0.7)
        batches = np.random.default_rng(0).normal(2.0, 3.0, size=(4, 8, 3, 5, 5)).astype(np.float32)
        assert calibrate(norm, batches) == 4
        means = batches.mean((1, 3, 4))
        np.testing.assert_allclose(norm.moving_mean.asnumpy(), means.mean(0), rtol=1e-4)
        # MindSpore's batch variance is the unbiased one.
        variances = batches.transpose(0, 2, 1, 3, 4).reshape(4, 3, -1).var(-1, ddof=1)
        np.testing.assert_allclose(norm.moving_variance.asnumpy(), variances.mean(0) + means.var(0), rtol=1e-4)

    def test_a_network_that_ran_before_and_runs_after(self, mode):
        """With batches of one size, a graph compiled for one use would serve the other, with the wrong statistics."""
        images = np.random.default_rng(1).normal(size=(2, *networks.SMALL_INPUT)).astype(np.float32)
        network, fresh = (networks.randomize(networks.SmallNet()).set_train(False) for _ in range(2))
        network(Tensor(images[0]))
        calibrate(network, images)
        calibrate(fresh, images)
        other = networks.SmallNet().set_train(False)
        ms.load_param_into_net(other, {parameter.name: parameter for parameter in fresh.get_parameters()})
        wanted = other(Tensor(images[0])).asnumpy()
        for cell in (network, fresh):
            np.testing.assert_allclose(cell(Tensor(images[0])).asnumpy(), wanted, rtol=1e-5, atol=1e-5)

    def test_weights_and_frozen_statistics_stay(self):
        network = nn.SequentialCell(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4),
                                    nn.BatchNorm2d(4, use_batch_statistics=False))
        networks.randomize(network)
        before = {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}
        calibrate(network, [np.ones((2, 3, 5, 5), np.float32)])
        changed = {parameter.name for parameter in network.get_parameters()
                   if not np.array_equal(parameter.asnumpy(), before[parameter.name])}
        assert changed == {"1.moving_mean", "1.moving_variance"}

    @pytest.mark.parametrize("momentum", [0.1, None])
    def test_a_normalization_of_mint(self, momentum, monkeypatch):
        """Its operator does not run on CPUs: here numpy does what its documentation says."""
        def construct(self, x):
            self.num_batches_tracked += 1
            share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            for held, now in ((self.running_mean, x.asnumpy().mean(0)), (self.running_var, x.asnumpy().var(0, ddof=1))):
                held.set_data(Tensor((1 - share) * held.asnumpy() + share * now, held.dtype))
            return x

        monkeypatch.setattr(mint.nn.BatchNorm1d, "construct", construct)
        norm = mint.nn.BatchNorm1d(3, momentum=momentum)
        batches = np.random.default_rng(0).normal(2.0, 3.0, size=(4, 8, 3)).astype(np.float32)
        assert calibrate(norm, batches) == 4
        means, variances = batches.mean(1), batches.var(1, ddof=1)
        np.testing.assert_allclose(norm.running_mean.asnumpy(), means.mean(0), rtol=1e-4)
        np.testing.assert_allclose(norm.running_var.asnumpy(), variances.mean(0) + means.var(0), rtol=1e-4)

    def test_data_sets_tuples_and_dicts(self):
        images = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
        data = ms.dataset.NumpySlicesDataset((images, np.arange(8)), ["image", "label"], shuffle=False).batch(4)
        statistics = []
        for batches in (data, [(images[:4], 0), (images[4:], 0)], [{"image": images[:4]}, {"image": images[4:]}]):
            network = networks.SmallNet()
            ms.load_param_into_net(network, {})
            network.a.weight.set_data(Tensor(np.ones(network.a.weight.shape), ms.float32))
            assert calibrate(network, batches) == 2
            statistics.append(network.norm_a.moving_mean.asnumpy())
        np.testing.assert_allclose(statistics[0], statistics[1], rtol=1e-5)
        np.testing.assert_allclose(statistics[0], statistics[2], rtol=1e-5)

    def test_as_many_inputs_as_the_network_takes(self, mode):
        class Sum(nn.Cell):
            def __init__(self):
                super().__init__()
                self.norm = nn.BatchNorm2d(3)

            def construct(self, x, y):
                return self.norm(x + y)

        x, y = np.random.default_rng(0).normal(size=(2, 4, 3, 5, 5)).astype(np.float32)
        network = Sum()
        assert calibrate(network, [(x, y, np.zeros(4))], inputs=2) == 1
        np.testing.assert_allclose(network.norm.moving_mean.asnumpy(), (x + y).mean((0, 2, 3)), atol=1e-6)
        with pytest.raises(ArgumentError, match="a batch must hold the 2 inputs of the network, but got 1"):
            calibrate(network, [x], inputs=2)

    @pytest.mark.parametrize("shape, kind", [((2, 5, 8, 8), np.float32), (networks.SMALL_INPUT, np.float64)])
    def test_a_batch_that_the_network_does_not_take(self, mode, shape, kind, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # A compilation that fails leaves a dump.
        with pytest.raises(ArgumentError, match=rf"a batch must be what the network takes, but got Float\d\d of shape "
                                                rf"\({shape[0]}, {shape[1]}, 8, 8\): "):
            calibrate(networks.SmallNet(), [np.ones(shape, kind)])

    def test_failure_leaves_the_statistics(self):
        network = networks.randomize(networks.SmallNet())
        before = network.norm_a.moving_mean.asnumpy().copy()
        with pytest.raises(ArgumentError, match="must hold at least one batch, but got none"):
            calibrate(network, [])
        with pytest.raises(ArgumentTypeError, match="a batch must be a Tensor or start with one, but got str"):
            calibrate(network, [np.ones(networks.SMALL_INPUT, np.float32), "image"])
        np.testing.assert_array_equal(network.norm_a.moving_mean.asnumpy(), before)


def test_inputs_that_do_not_fit():
    with pytest.raises(VerifyError, match=r"'masked' must run on inputs of shape \(1, 5, 8, 8\) of Float32, but it "):
        gs.verify(networks.SmallNet(), networks.SmallNet(), (1, 5, 8, 8))
