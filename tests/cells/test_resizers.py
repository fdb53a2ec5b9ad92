"""Every kind of layer that shrinks, between two that make it shrink on both sides: masked equals slim."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import mint, nn, ops

import golden_stick as gs


class Between(nn.Cell):
    """A convolution, the layer in question, and a convolution that reads it."""

    def __init__(self, layer, dimensions, inside=8):
        super().__init__()
        kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        self.first, self.layer, self.last = kind(3, 8, 1), layer, kind(inside, 4, 1)

    def construct(self, x):
        return self.last(ops.relu(self.layer(ops.relu(self.first(x)))))


class Words(nn.Cell):
    """A table of vectors, and a dense layer that reads them."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Embedding(20, 8)
        self.last = nn.Dense(8, 4)

    def construct(self, x):
        return self.last(ops.tanh(self.layer(x)))


CASES = {
    "Conv1d": (lambda: Between(nn.Conv1d(8, 8, 3), 1), (2, 3, 9)),
    "Conv1dTranspose": (lambda: Between(nn.Conv1dTranspose(8, 8, 3, stride=2), 1), (2, 3, 9)),
    "Conv2dTranspose": (lambda: Between(nn.Conv2dTranspose(8, 8, 3, stride=2, has_bias=True), 2), (2, 3, 7, 7)),
    "Conv2dTranspose in groups": (lambda: Between(nn.Conv2dTranspose(8, 8, 3, group=2), 2), (2, 3, 7, 7)),
    "Conv2dTranspose, depthwise": (lambda: Between(nn.Conv2dTranspose(8, 8, 3, group=8), 2), (2, 3, 7, 7)),
    "Conv3d": (lambda: Between(nn.Conv3d(8, 8, 3), 3), (2, 3, 5, 5, 5)),
    "Conv3dTranspose": (lambda: Between(nn.Conv3dTranspose(8, 8, 3), 3), (2, 3, 4, 4, 4)),
    "BatchNorm3d": (lambda: Between(nn.BatchNorm3d(8), 3), (2, 3, 4, 4, 4)),
    "PReLU": (lambda: Between(nn.PReLU(8, 0.3), 2), (2, 3, 7, 7)),
    "mint PReLU": (lambda: Between(mint.nn.PReLU(8, 0.3), 2), (2, 3, 7, 7)),
}


def check(network, inputs, rate=0.5):
    for position, parameter in enumerate(network.get_parameters()):
        values = np.random.default_rng(position).uniform(0.2, 0.9, parameter.shape).astype(np.float32)
        parameter.set_data(ms.Tensor(values))
    algorithm = gs.OneShot({"prune_rate": rate})
    masked = algorithm.apply(network, inputs=inputs)
    slim = algorithm.convert(masked)
    tensor = inputs if isinstance(inputs, ms.Tensor) else ms.Tensor(
        np.random.default_rng(1).normal(size=inputs).astype(np.float32))
    wanted, got = (net.set_train(False)(tensor).asnumpy() for net in (masked, slim))
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    return slim


@pytest.mark.parametrize("name", CASES)
def test_layer_between_two_others(name, mode):
    build, shape = CASES[name]
    slim = check(build(), shape)
    assert slim.first.weight.shape[0] == 4
    assert slim.last.weight.shape[1] == 4
    if hasattr(slim.layer, "in_channels"):
        assert (slim.layer.in_channels, slim.layer.out_channels) == (4, 4)


def test_embedding(mode):
    slim = check(Words(), ms.Tensor(np.arange(6).reshape(2, 3), ms.int32))
    assert slim.layer.embedding_table.shape == (20, 4) and slim.layer.embedding_size == 4


def test_linear_of_mint(mode):
    slim = check(nn.SequentialCell(mint.nn.Linear(5, 8), nn.Tanh(), mint.nn.Linear(8, 3)), (2, 4, 5))
    assert (slim[0].out_features, slim[2].in_features) == (4, 4)


def test_convolution_of_mint_by_shapes():
    """It has no kernel on the CPU: traced and slimmed, not run."""
    network = nn.SequentialCell(mint.nn.Conv2d(3, 8, 3), nn.ReLU(), mint.nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(),
                                mint.nn.Conv2d(8, 4, 1))
    graph = gs.trace(network, (1, 3, 9, 9))
    groups = gs.find_groups(graph)
    scores = {group.name: np.arange(len(group.channels)) for group in groups}
    slim = gs.slim(network, gs.prune.make_plan(groups, scores, 0.5))
    assert [parameter.shape for parameter in slim.get_parameters()] == [
        (4, 3, 3, 3), (4,), (4, 1, 3, 3), (4,), (4, 4, 1, 1), (4,)]
    assert gs.trace(slim, (1, 3, 9, 9)).nodes[-1].shapes == graph.nodes[-1].shapes
    assert slim[2].groups == 4
