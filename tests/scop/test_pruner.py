"""SCOP from `apply` to `convert`."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, StateError
from golden_stick.scop.report import rank_correlation
from tests import networks
from tests.marks import both_modes

SHAPE = networks.SMALL_INPUT


class Tiny(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a, self.norm_a, self.c = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, has_bias=True)
        self.head = nn.Dense(6, 4)

    def construct(self, x):
        return self.head(ops.relu(self.c(ops.relu(self.norm_a(self.a(x))))).mean((2, 3)))


def tiny():
    return networks.randomize(Tiny())


def small():
    return networks.randomize(networks.SmallNet())


def data(count=8, classes=4):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(count,) + SHAPE[1:]).astype(np.float32)
    return images, generator.integers(0, classes, count).astype(np.int32)


def dataset():
    return ms.dataset.NumpySlicesDataset(data(), ["image", "label"], shuffle=False).batch(4)


def values(network):
    return {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}


def test_only_the_scales_train():
    phase = gs.SCOP().apply(small(), inputs=SHAPE)
    assert [p.name for p in phase.trainable_params()] == ["a.real_scale", "b.real_scale", "c.real_scale"]
    assert all((p.asnumpy() == 0.5).all() for p in phase.trainable_params())


@pytest.mark.parametrize("score", ["gamma", "scale"])
def test_scores_with_gamma_and_without(score):
    network, algorithm = tiny(), gs.SCOP({"score": score, "mixing": "joint"})
    phase = algorithm.apply(network, inputs=SHAPE)
    scales = {"a": np.array([0.2, 0.9, 0.5, 1.0], np.float32), "c": np.linspace(0, 1, 6).astype(np.float32)}
    for parameter in phase.trainable_params():
        parameter.set_data(Tensor(scales[parameter.name[0]]))
    gamma = np.abs(network.norm_a.gamma.asnumpy()) if score == "gamma" else 1.0
    np.testing.assert_allclose(algorithm.filter_scores()["a.weight"], gamma * (2 * scales["a"] - 1), rtol=1e-6)
    np.testing.assert_allclose(algorithm.filter_scores()["c.weight"], 2 * scales["c"] - 1, rtol=1e-6, atol=1e-9)


def test_evaluation_is_the_original(mode):
    network = small()
    phase = gs.SCOP().apply(network, inputs=SHAPE)
    assert gs.verify(network, phase, SHAPE).largest_difference == 0.0


@pytest.mark.parametrize("mode, sink", both_modes([False, True], [True], [False]), indirect=["mode"])
def test_model_train(mode, sink):
    algorithm = gs.SCOP({"prune_rate": 0.5, "turn_steps": 3})
    phase = algorithm.apply(tiny(), inputs=SHAPE)
    before = values(phase)
    optimizer = nn.Adam(phase.trainable_params(), 0.3)
    model = ms.Model(phase, algorithm.loss(nn.CrossEntropyLoss()), optimizer)
    model.train(3, dataset(), callbacks=algorithm.callbacks(), dataset_sink_mode=sink)
    after = values(phase)
    for name, array in before.items():
        assert np.array_equal(array, after[name]) != name.endswith(
            ("_scale", ".squared_gradients", "mixing.step", "mixing.turn")), name
    for parameter in phase.trainable_params():
        assert ((parameter.asnumpy() >= 0) & (parameter.asnumpy() <= 1)).all()
    slim = algorithm.convert(phase)
    assert slim.c.out_channels == 3


def test_loop_by_hand():
    algorithm = gs.SCOP({"prune_rate": 0.5, "mixing": "joint"})
    phase = algorithm.apply(tiny(), inputs=SHAPE).set_train(True)
    loss_fn, optimizer = nn.CrossEntropyLoss(), nn.Adam(phase.trainable_params(), 0.05)

    def forward(images, labels):
        return loss_fn(phase(images), labels)

    step = ms.value_and_grad(forward, None, optimizer.parameters)
    images, labels = (Tensor(array) for array in data())
    losses = []
    for _ in range(8):
        loss, gradients = step(images, labels)
        optimizer(gradients)
        algorithm.after_step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    assert algorithm.convert(phase).c.out_channels == 3


def test_both_modes_learn_the_same_scales():
    found = []
    for mode in (ms.GRAPH_MODE, ms.PYNATIVE_MODE):
        ms.set_context(mode=mode)
        ms.set_seed(1)
        algorithm = gs.SCOP({"mixing": "joint"})
        phase = algorithm.apply(tiny(), inputs=SHAPE)
        model = ms.Model(phase, nn.CrossEntropyLoss(), nn.SGD(phase.trainable_params(), 0.05))
        model.train(2, dataset(), callbacks=algorithm.callbacks(), dataset_sink_mode=False)
        found.append(values(phase)["a.real_scale"])
    ms.set_context(mode=ms.PYNATIVE_MODE)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_a_filter_without_influence_gets_no_gradient():
    network = small()
    weight = network.head.weight.asnumpy().copy()
    weight[:, :16] = 0  # what the head reads of filter 0 of `c`, an image of 4x4
    network.head.weight.set_data(Tensor(weight))
    phase = gs.SCOP({"mixing": "joint"}).apply(network, inputs=SHAPE).set_train(True)
    loss_fn = nn.CrossEntropyLoss()

    def forward(images, labels):
        return loss_fn(phase(images), labels)

    parameters = phase.trainable_params()
    _, gradients = ms.value_and_grad(forward, None, parameters)(*(Tensor(array) for array in data()))
    gradient = dict(zip([p.name for p in parameters], gradients))["c.real_scale"].asnumpy()
    assert gradient[0] == 0.0 and (gradient[1:] != 0).all()


def test_scales_choose_the_filters():
    network = small()
    algorithm = gs.SCOP({"prune_rate": 0.5, "residual": "keep", "mixing": "joint", "score": "scale"})
    phase = algorithm.apply(network, inputs=SHAPE)
    scale = np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.3], np.float32)  # of `c`, which has no normalization behind it
    for parameter in phase.trainable_params():
        if parameter.name == "c.real_scale":
            ops.assign(parameter, Tensor(scale))
    slim = algorithm.convert(phase)
    np.testing.assert_array_equal(slim.c.bias.asnumpy(), network.c.bias.asnumpy()[[0, 2, 4]])


def test_importance_by_hand():
    network = small()
    network.norm_a.gamma.set_data(Tensor([2.0, 3.0, -4.0, 1.0] * 2, ms.float32))
    algorithm = gs.SCOP({"mixing": "joint", "score": "gamma"})
    phase = algorithm.apply(network, inputs=SHAPE)
    scale = np.array([0.0, 0.5, 1.0, 0.75, 0.25, 0.25, 0.25, 0.25], np.float32)
    for parameter in phase.trainable_params():
        ops.assign(parameter, Tensor(scale[:parameter.size]))
    scores = algorithm.filter_scores()
    np.testing.assert_allclose(scores["a.weight"], [-2.0, 0.0, 4.0, 0.5, -1.0, -1.5, -2.0, -0.5])
    np.testing.assert_allclose(scores["c.weight"], [-1.0, 0.0, 1.0, 0.5, -0.5, -0.5])  # no normalization follows


def test_rank_correlation_by_hand():
    scores = {"a": np.array([1.0, 2.0, 3.0]), "b": np.array([3.0, 2.0, 1.0]), "c": np.array([1.0, 1.0, 2.0, 3.0])}
    assert rank_correlation({"a": scores["a"]}, {"a": np.array([0.1, -0.2, 0.3])}) == pytest.approx(1.0)
    assert rank_correlation({"b": scores["b"]}, {"b": np.array([0.1, 0.2, 0.3])}) == pytest.approx(-1.0)
    # Ties share the mean of their ranks: (0.5, 0.5, 2, 3) against (0, 1, 2, 3) gives 4.5 / sqrt(4.5 * 5).
    wanted = 3 / np.sqrt(10)
    assert rank_correlation({"c": scores["c"]}, {"c": np.array([1.0, 2.0, 3.0, 4.0])}) == pytest.approx(wanted)
    assert np.isnan(rank_correlation(scores, {"a": np.ones(3)}))


def test_report_tells_the_rank_correlation():
    algorithm = gs.SCOP({"mixing": "joint", "score": "gamma"})
    phase = algorithm.apply(small(), inputs=SHAPE)
    for parameter in phase.trainable_params():
        ops.assign(parameter, ops.ones_like(parameter))
    # Where every scale is 1 the score is |gamma| itself.
    with pytest.warns(UserWarning, match="scores must tell more than .gamma. to be of use, but their rank correlation "
                                         "with it is 1.00"):
        algorithm.convert(phase)
    assert "100% above 0.99, where scores are no more than |gamma|" in str(algorithm.report)
    assert "rank correlation of the scores with |gamma|, median over layers: 1.00" in str(algorithm.report)


def test_scales_that_are_nan():
    algorithm = gs.SCOP({"mixing": "joint"})
    phase = algorithm.apply(small(), inputs=SHAPE)
    ops.assign(phase.trainable_params()[0], Tensor(np.full(8, np.nan, np.float32)))
    with pytest.raises(ArgumentError, match="the scales 'a.real_scale' must be numbers, but some are NaN: look at the"):
        algorithm.convert(phase)


@pytest.mark.parametrize("bad", [1.2, -0.1])
def test_scales_outside_the_interval(bad):
    algorithm = gs.SCOP({"mixing": "joint"})
    phase = algorithm.apply(small(), inputs=SHAPE)
    scale = np.full(8, 0.4, np.float32)
    scale[3] = bad
    ops.assign(phase.trainable_params()[0], Tensor(scale))
    with pytest.raises(ArgumentError, match=r"the scales 'a.real_scale' must be in \[0, 1\], but got .*after_step"):
        algorithm.convert(phase)
    algorithm.after_step()
    algorithm.convert(phase)


def test_scales_never_trained():
    algorithm = gs.SCOP()
    with pytest.raises(StateError, match="scales must be trained before 'convert', .* still 0.5: .*trainable_params"):
        algorithm.convert(algorithm.apply(small(), inputs=SHAPE))


def test_after_step_before_apply():
    with pytest.raises(StateError, match="For 'SCOP', 'apply' must be called first"):
        gs.SCOP().after_step()


def test_paper_form_scatters_every_branch():
    network = networks.randomize(networks.CifarResNet(1))
    algorithm = gs.SCOP({"prune_rate": 0.45, "residual": "scatter", "mixing": "joint", "score": "gamma"})
    phase = algorithm.apply(network, inputs=(2, 3, 32, 32))
    generator = np.random.default_rng(0)
    for parameter in phase.trainable_params():
        ops.assign(parameter, Tensor(generator.random(parameter.shape).astype(np.float32)))
    slim = algorithm.convert(phase)
    # int(0.45 * 16), int(0.45 * 32), int(0.45 * 64) go; the stem is no part of any block.
    assert slim.stem.out_channels == 16
    assert [block.first.out_channels for block in slim.blocks] == [9, 18, 36]
    assert [block.second.out_channels for block in slim.blocks] == [9, 18, 36]
