"""Every kind of layer that shrinks, between two that make it shrink on both sides: masked equals slim."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import mint, nn, ops

import golden_stick as gs


class Between(nn.Cell):
    """A convolution, the layers in question, and a convolution that reads them."""

    def __init__(self, kind, layers):
        super().__init__()
        self.first, self.layers, self.last = kind(3, 8, 1), nn.CellList(layers), kind(8, 4, 1)

    def construct(self, x):
        x = ops.relu(self.first(x))
        for layer in self.layers:
            x = ops.relu(layer(x))
        return self.last(x)


class Words(nn.Cell):
    """A table of vectors, and a dense layer that reads them."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Embedding(20, 8)
        self.last = nn.Dense(8, 4)

    def construct(self, x):
        return self.last(ops.tanh(self.layer(x)))


CASES = {
    1: (nn.Conv1d, (2, 3, 9), lambda: [nn.Conv1d(8, 8, 3), nn.Conv1dTranspose(8, 8, 3, stride=2)]),
    2: (nn.Conv2d, (2, 3, 7, 7), lambda: [
        nn.Conv2dTranspose(8, 8, 3, stride=2, has_bias=True), nn.Conv2dTranspose(8, 8, 3, group=2),
        nn.Conv2dTranspose(8, 8, 3, group=8), nn.PReLU(8, 0.3), mint.nn.PReLU(8, 0.3)]),
    3: (nn.Conv3d, (2, 3, 4, 4, 4), lambda: [nn.Conv3d(8, 8, 3), nn.BatchNorm3d(8), nn.Conv3dTranspose(8, 8, 3)]),
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


@pytest.mark.parametrize("dimensions", CASES)
def test_layers_between_two_others(dimensions, mode):
    kind, shape, layers = CASES[dimensions]
    slim = check(Between(kind, layers()), shape)
    assert slim.first.weight.shape[0] == 4
    assert slim.last.weight.shape[1] == 4
    for layer in slim.layers:
        if hasattr(layer, "in_channels"):
            assert (layer.in_channels, layer.out_channels) == (4, 4)


def test_embedding():
    slim = check(Words(), ms.Tensor(np.arange(6).reshape(2, 3), ms.int32))
    assert slim.layer.embedding_table.shape == (20, 4) and slim.layer.embedding_size == 4


def test_linear_of_mint():
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
