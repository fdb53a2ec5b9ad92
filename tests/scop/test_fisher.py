"""The score of SCOP that squared gradients give: against numpy, sample by sample, and as people train."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from scipy.stats import spearmanr

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, CheckpointError
from golden_stick.scop import FeatureSampler
from tests import networks
from tests.marks import both_modes


def chain():
    return networks.randomize(nn.SequentialCell(nn.Dense(4, 5), nn.Tanh(), nn.Dense(5, 3), nn.Tanh(), nn.Dense(3, 2)))


def convolutions():
    return networks.randomize(nn.SequentialCell(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2dTranspose(4, 6, 2, 2, group=2), nn.ReLU(),
        nn.Conv2d(6, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dense(5, 3)))


def begun(network, shape, **config):
    algorithm = gs.SCOP({"prune_rate": 0.4, "mixing": "joint", **config})
    return algorithm, algorithm.apply(network, inputs=(2, *shape)).set_train()


def samples(count, shape, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def passed(phase, x, shares=None):
    """One pass of training; what it finds is left beside the scales. Gives the gradients of the scales, of the mean of
    the samples' losses, or of another combination."""
    def forward(given, weights):
        return ((phase(given) ** 2).sum(1) * weights).sum()

    shares = np.full(len(x), 1 / len(x)) if shares is None else shares
    step = ms.value_and_grad(forward, None, phase.trainable_params())
    return step(Tensor(x), Tensor(np.asarray(shares, np.float32)))[1]


def set_scales(phase, seed=1):
    generator, scales = np.random.default_rng(seed), {}
    for parameter in phase.trainable_params():
        scales[parameter.name] = generator.uniform(0.2, 0.8, parameter.shape).astype(np.float32)
        ops.assign(parameter, Tensor(scales[parameter.name]))
    return scales


def values(phase):
    return {item.name: item.asnumpy().copy() for item in phase.get_parameters()}


@pytest.mark.parametrize("mode, mixing", both_modes(["joint", "layers"], ["joint"], ["layers"]), indirect=["mode"])
def test_against_numpy(mode, mixing):
    network = chain()
    algorithm, phase = begun(network, (4,), mixing=mixing)
    scales, x = set_scales(phase), samples(6, (4,))
    passed(phase, x)
    (first, b1), (second, b2), (third, b3) = ((network[at].weight.asnumpy(), network[at].bias.asnumpy())
                                              for at in (0, 2, 4))
    # Out of its turn, a layer passes the real features on.
    s1, s2 = scales["0.real_scale"], scales["2.real_scale"] if mixing == "joint" else 1.0
    real, other = x @ first.T + b1, np.roll(x, -1, axis=0) @ first.T + b1
    change1, mixed = real - other, np.tanh(other + s1 * (real - other))
    real, other = mixed @ second.T + b2, np.tanh(other) @ second.T + b2
    change2, last = real - other, np.tanh(other + s2 * (real - other))
    outputs = last @ third.T + b3
    by_second = 2 * outputs @ third * (1 - last ** 2)
    by_first = (s2 * by_second) @ second * (1 - mixed ** 2)
    wanted = {"0.weight": ((by_first * change1) ** 2).mean(0), "2.weight": ((by_second * change2) ** 2).mean(0)}
    scores = algorithm.filter_scores()
    for name, values in wanted.items():
        np.testing.assert_allclose(scores[name], values, rtol=1e-4)


@pytest.mark.parametrize("mode, draws", both_modes([1, 2], [], [2]), indirect=["mode"])
def test_the_squares_are_those_of_single_samples(mode, draws):
    """Of convolutions, plain and transposed in groups, whose channels are sums over places."""
    algorithm, phase = begun(convolutions(), (2, 6, 6), draws=draws)
    x, count = samples(5, (2, 6, 6)), 5
    passed(phase, x)
    scores = algorithm.filter_scores()
    found = [passed(phase, x, np.eye(count)[at]) for at in range(count)]
    for number, parameter in enumerate(phase.trainable_params()):
        single = np.stack([gradients[number].asnumpy() for gradients in found]).reshape(count, draws, -1)
        assert (single != 0).any((0, 2)).tolist() == [True] + [False] * (draws - 1)
        name = parameter.name.replace("real_scale", "weight")
        np.testing.assert_allclose(scores[name], (single ** 2).mean(0).sum(0) / draws, rtol=1e-4)


def test_of_features_places_are_summed_up(mode):
    """A batch of one sample: the square of the gradient itself."""
    network = networks.randomize(networks.SmallNet())
    shape = networks.SMALL_INPUT[1:]
    algorithm, phase = begun(network, shape, sampler=FeatureSampler([samples(16, shape)]))
    gradients = passed(phase, samples(1, shape))
    read = {parameter.name.partition(".")[0]: gradient.asnumpy() ** 2
            for parameter, gradient in zip(phase.trainable_params(), gradients)}
    wanted = algorithm._phase._of_filters(lambda path: read[path][None], np.sum, np.zeros(1))
    for name, scores in algorithm.filter_scores().items():
        np.testing.assert_allclose(scores, wanted[name][0], rtol=1e-4)
    assert any(len(scores) for scores in wanted.values())


def test_passes_of_one_step_are_averaged_and_an_overflow_is_left_out(mode):
    network = chain()
    parts, alone = [samples(4, (4,), 1), samples(4, (4,), 2)], []
    for part in parts:
        algorithm, phase = begun(network, (4,))
        passed(phase, part)
        alone.append(algorithm.filter_scores())
    algorithm, phase = begun(network, (4,))
    passed(phase, parts[0])
    passed(phase, parts[1], np.full(4, np.inf))
    passed(phase, parts[1])
    algorithm.after_step()
    for name, scores in algorithm.filter_scores().items():
        np.testing.assert_allclose(scores, (alone[0][name] + alone[1][name]) / 2, rtol=1e-5)
    found = values(phase)
    for half in (0, 1):
        for name, rows in algorithm._squares(found, slice(half, half + 1)).items():
            np.testing.assert_allclose(rows[0], alone[half][name], rtol=1e-5)


@pytest.mark.parametrize("mode, sink", both_modes([False, True], [True], [False]), indirect=["mode"])
def test_every_pass_is_recorded_in_turn_or_not(mode, sink):
    algorithm, phase = begun(chain(), (4,), mixing="layers", turn_steps=2)
    data = ms.dataset.NumpySlicesDataset((samples(12, (4,)), np.arange(12, dtype=np.int32) % 2), shuffle=False).batch(4)
    model = ms.Model(phase, nn.CrossEntropyLoss(), nn.SGD(phase.trainable_params(), 0.05))
    model.train(1, data, callbacks=algorithm.callbacks()[:0], dataset_sink_mode=sink)
    found = values(phase)
    for path in (0, 2):
        assert (found[f"{path}.squared_gradients"][:, 1] == [[[2]], [[1]]]).all()
        assert (found[f"{path}.squared_gradients"][:, 0] > 0).any((1, 2)).all()


def test_a_checkpoint_of_the_phase_carries_it(tmp_path):
    algorithm, phase = begun(chain(), (4,))
    optimizer = nn.SGD(phase.trainable_params(), 0.05)
    for seed in range(3):
        optimizer(passed(phase, samples(4, (4,), seed)))
        algorithm.after_step()
    path = str(tmp_path / "phase.ckpt")
    ms.save_checkpoint(phase, path)
    slim = algorithm.convert(phase)
    again, fresh = begun(chain(), (4,))
    assert gs.cells.slim.recipe_of(again.convert(fresh, path)).steps == gs.cells.slim.recipe_of(slim).steps
    assert again.report.layers == algorithm.report.layers
    ms.load_checkpoint(path, fresh)
    for name, scores in again.filter_scores().items():
        np.testing.assert_array_equal(scores, algorithm.filter_scores()[name])
    kept = [item for item in fresh.get_parameters() if not item.name.endswith("squared_gradients")]
    ms.save_checkpoint([{"name": item.name, "data": item} for item in kept], path)
    with pytest.raises(CheckpointError, match="the checkpoint must hold '0.squared_gradients' of the applied network"):
        again.convert(fresh, path)


def test_the_filters_with_the_smallest_go_and_the_report_says_how_sure_that_is():
    algorithm, phase = begun(chain(), (4,))
    optimizer = nn.SGD(phase.trainable_params(), 0.05)
    for seed in range(2):
        optimizer(passed(phase, samples(4, (4,), seed)))
        algorithm.after_step()
    scores = algorithm.filter_scores()["0.weight"]
    slim = algorithm.convert(phase)
    halves = [algorithm._squares(values(phase), slice(half, half + 1)) for half in (0, 1)]
    wanted = np.median([spearmanr(halves[0][name][0], halves[1][name][0])[0] for name in halves[0]])
    assert algorithm.report.control["stability"] == pytest.approx(wanted)
    assert f"of one half of the passes with those of the other, median over layers: {wanted:.2f}; near 1, more steps " \
           f"change little" in str(algorithm.report)
    np.testing.assert_array_equal(slim[0].weight.asnumpy(),
                                  phase.network[0].cell.weight.asnumpy()[np.sort(np.argsort(scores)[2:])])
    assert algorithm.normalizer == "none" and gs.SCOP({"score": "scale"}).normalizer == "mean"


def test_signs_decide_where_the_rate_is_auto():
    assert gs.SCOP({"prune_rate": "auto"}).config["score"] == "gamma"
    assert gs.SCOP({"prune_rate": "auto", "score": "scale"}).config["score"] == "scale"
    with pytest.raises(ArgumentError, match="'score' must be 'gamma' or 'scale' where 'prune_rate' is 'auto', for "
                                            "knockoff. goes by signs, but got 'fisher', which has none"):
        gs.SCOP({"prune_rate": "auto", "score": "fisher"})
