"""The Cells of the knockoff phase, against numpy and against the plain network."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

import golden_stick as gs
from golden_stick.scop import KnockoffInput, KnockoffLayer, Sampler
from golden_stick.scop.scales import RealScale
from tests import networks


def tensor(shape, seed=0):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def set_scales(cell, values):
    ops.assign(cell.scale.real_scale, Tensor(np.asarray(values, np.float32)))


class TestKnockoffConv:
    def test_mixture_by_numpy(self, mode):
        conv = nn.Conv2d(3, 4, 3)
        cell = KnockoffLayer(conv, RealScale("conv", 4)).set_train(True)
        set_scales(cell, [0.0, 0.25, 0.5, 1.0])
        x = tensor((6, 3, 5, 5))
        plain = conv(x).asnumpy()
        scale = np.array([0.0, 0.25, 0.5, 1.0]).reshape(1, 4, 1, 1)
        wanted = np.concatenate((scale * plain[:3] + (1 - scale) * plain[3:], plain[3:]))
        np.testing.assert_allclose(cell(x).asnumpy(), wanted, rtol=1e-5, atol=1e-6)

    def test_evaluation_is_the_convolution(self, mode):
        conv = nn.Conv2d(3, 4, 3)
        cell = KnockoffLayer(conv, RealScale("conv", 4)).set_train(False)
        x = tensor((3, 3, 5, 5))
        np.testing.assert_array_equal(cell(x).asnumpy(), conv(x).asnumpy())

    def test_scales_are_put_back_before_use(self, mode):
        cell = KnockoffLayer(nn.Conv2d(3, 4, 3), RealScale("conv", 4)).set_train(True)
        x = tensor((4, 3, 5, 5))
        set_scales(cell, [0.0, 1.0, 0.3, 0.6])
        wanted = cell(x).asnumpy()
        set_scales(cell, [-0.7, 1.9, 0.3, 0.6])
        np.testing.assert_array_equal(cell(x).asnumpy(), wanted)
        np.testing.assert_allclose(cell.scale.real_scale.asnumpy(), [0.0, 1.0, 0.3, 0.6], rtol=1e-6)

    def test_names(self):
        cell = KnockoffLayer(nn.SequentialCell(nn.Conv2d(3, 4, 3))[0], RealScale("layer1.0.conv1", 4))
        assert [parameter.name for parameter in cell.get_parameters()] == [
            "0.weight", "layer1.0.conv1.real_scale", "layer1.0.conv1.squared_gradients"]

    def test_gradient_by_differences(self, mode):
        """Through two mixed convolutions: the gradient is that of the loss, although none flows into the knockoffs."""
        inner = nn.SequentialCell(KnockoffLayer(nn.Conv2d(2, 3, 3), RealScale("a", 3)), nn.Tanh(),
                                  KnockoffLayer(nn.Conv2d(3, 2, 3), RealScale("b", 2)))
        for parameter in inner.get_parameters():
            parameter.requires_grad = parameter.name.endswith("real_scale")
        network = KnockoffInput(inner).set_train(True)
        x = tensor((4, 2, 5, 5))

        def loss(images):
            return (network(images) ** 2).mean()

        parameters = network.trainable_params()
        _, gradients = ms.value_and_grad(loss, None, parameters)(x)
        for parameter, gradient in zip(parameters, gradients):
            for index in range(parameter.size):
                values, slope = parameter.asnumpy().copy(), []
                for sign in (1, -1):
                    moved = values.copy()
                    moved[index] += sign * 1e-2
                    ops.assign(parameter, Tensor(moved))
                    slope.append(float(loss(x)))
                ops.assign(parameter, Tensor(values))
                np.testing.assert_allclose(float(gradient[index]), (slope[0] - slope[1]) / 2e-2, rtol=2e-2, atol=1e-4)


    def test_no_gradient_reaches_the_input_through_the_knockoff_half(self, mode):
        cell = KnockoffLayer(nn.Conv2d(3, 4, 3), RealScale("conv", 4)).set_train(True)

        def total(x):
            return (cell(x) ** 2).sum()

        gradient = ms.grad(total)(tensor((6, 3, 5, 5))).asnumpy()
        assert (gradient[:3] != 0).all()
        np.testing.assert_array_equal(gradient[3:], 0)


class TestKnockoffInput:
    def test_knockoff_of_a_sample_is_the_next_one(self, mode):
        class Halves(nn.Cell):
            def construct(self, x):
                return ops.concat((x, ops.concat((x[x.shape[0] // 2:], x[:x.shape[0] // 2]))), 1)

        x = tensor((3, 2))
        got = KnockoffInput(Halves()).set_train(True)(x).asnumpy()
        np.testing.assert_array_equal(got[:, :2], x.asnumpy())
        np.testing.assert_array_equal(got[:, 2:], np.roll(x.asnumpy(), -1, axis=0))

    def test_scales_of_one_are_the_plain_network(self, mode):
        network = networks.randomize(networks.SmallNet())
        algorithm = gs.SCOP()
        phase = algorithm.apply(network, inputs=networks.SMALL_INPUT)
        for parameter in phase.trainable_params():
            ops.assign(parameter, ops.ones_like(parameter))
        x = tensor(networks.SMALL_INPUT)
        got = phase.set_train(True)(x).asnumpy()
        np.testing.assert_allclose(got, network.set_train(False)(x).asnumpy(), rtol=1e-4, atol=1e-5)

    def test_tuples_and_several_inputs(self, mode):
        class Two(nn.Cell):
            def construct(self, x, y):
                return x + y, (x, y * 2)

        x, y = tensor((3, 2)), tensor((3, 2), 1)
        total, (first, second) = KnockoffInput(Two()).set_train(True)(x, y)
        np.testing.assert_allclose(total.asnumpy(), (x + y).asnumpy())
        np.testing.assert_allclose(first.asnumpy(), x.asnumpy())
        np.testing.assert_allclose(second.asnumpy(), 2 * y.asnumpy())

    def test_one_sample_has_no_control(self, mode):
        with pytest.raises(ValueError, match="a batch must have at least 2 samples in training, .*drop_remainder=True"):
            KnockoffInput(nn.ReLU()).set_train(True)(tensor((1, 2)))

    def test_a_dict_of_outputs(self, mode):
        class Named(nn.Cell):
            def construct(self, x):
                return {"same": x, "twice": (2 * x, x)}

        class Sum(nn.Cell):
            def __init__(self):
                super().__init__()
                self.inner = KnockoffInput(Named())

            def construct(self, x):
                found = self.inner(x)
                return found["same"] + found["twice"][0] + found["twice"][1]

        x = tensor((3, 2))
        np.testing.assert_allclose(Sum().set_train(True)(x).asnumpy(), 4 * x.asnumpy(), rtol=1e-6)

    def test_inputs_without_a_row_for_each_sample_serve_the_knockoffs_too(self, mode):
        class Scaled(nn.Cell):
            def construct(self, x, row, factor):
                return x * row * factor

        x, row = tensor((3, 2, 4)), tensor((1, 4), 1)
        got = KnockoffInput(Scaled()).set_train(True)(x, row, Tensor(2.0, ms.float32))
        np.testing.assert_allclose(got.asnumpy(), 2 * x.asnumpy() * row.asnumpy(), rtol=1e-6)

    def test_outputs_with_several_rows_for_each_sample(self, mode):
        class Frames(nn.Cell):
            def construct(self, x):
                return x.reshape(-1, x.shape[2])

        x = tensor((3, 2, 4))
        got = KnockoffInput(Frames()).set_train(True)(x).asnumpy()
        np.testing.assert_array_equal(got, x.asnumpy().reshape(6, 4))

    @pytest.mark.parametrize("shape", [(), (2, 6, 4)])
    def test_an_output_without_a_row_for_each_sample(self, mode, shape):
        class Other(nn.Cell):
            def construct(self, x):
                return x.swapaxes(0, 1) if shape else x.mean()

        with pytest.raises(ValueError, match="every output of the network must have as many rows for each sample"):
            KnockoffInput(Other()).set_train(True)(tensor((3, 2, 4)))

    def test_a_sampler_that_gives_another_shape(self, mode):
        class First(Sampler):
            def construct(self, x):
                return x[:1]

        with pytest.raises(ValueError, match=r"knockoffs of the shape of the samples, \(3, 2\), but got \(1, 2\)"):
            KnockoffInput(nn.ReLU(), First()).set_train(True)(tensor((3, 2)))

    def test_network_stays_in_evaluation(self):
        phase = gs.SCOP().apply(networks.SmallNet(), inputs=networks.SMALL_INPUT)
        nn.WithLossCell(phase, nn.MSELoss()).set_train(True)
        flags = {type(cell).__name__: cell.training for _, cell in phase.cells_and_names()}
        assert flags["OneKnockoffInput"] and flags["KnockoffLayer"]
        assert not flags["BatchNorm2d"] and not flags["SmallNet"]
        phase.set_train(False)
        assert not any(cell.training for _, cell in phase.cells_and_names())
