"""Compilations that tests share: of networks that are alike, and of no others."""
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from golden_stick.cells import trace as tracing
from tests.networks import SmallNet
from tests.traced import shared_compilations, traced

SHAPE = (2, 3, 8, 8)


class Scaled(nn.Cell):
    def __init__(self, factor=2.0, pool="Max", kernel=2, width=4, shift=0.0, bias=False, activation=ops.relu):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, has_bias=bias)
        self.factor, self.activation = factor, activation
        self.shift = Tensor(np.full((1, width, 1, 1), shift, np.float32))
        self.pool = (nn.MaxPool2d if pool == "Max" else nn.AvgPool2d)(kernel, kernel)

    def construct(self, x):
        return self.activation(self.pool(self.conv(x) * self.factor + self.shift))


class Reordered(Scaled):
    def construct(self, x):
        return self.conv(self.pool(x))


@pytest.fixture
def compiled(monkeypatch):
    """What was really compiled, in order."""
    calls, compile_anew = [], tracing._compile

    def counted(network, tensors, training=()):
        calls.append(network)
        return compile_anew(network, tensors, training)

    monkeypatch.setattr(tracing, "_compile", counted)
    monkeypatch.setattr(tracing, "_compile", shared_compilations())
    return calls


def test_networks_that_are_alike_are_compiled_once_whatever_their_weights(compiled):
    first, second = (tracing.trace(Scaled(), SHAPE) for _ in range(2))
    assert len(compiled) == 1
    assert [(node.shapes, node.types) for node in first.nodes] == [(node.shapes, node.types) for node in second.nodes]


def test_whatever_differs_is_compiled_anew(compiled):
    kinds = [Scaled(), Scaled(factor=3.0), Scaled(pool="Avg"), Scaled(kernel=3), Scaled(width=5), Scaled(shift=1.0),
             Scaled(bias=True), Reordered(), SmallNet()]
    for network in kinds:
        tracing.trace(network, SHAPE)
    tracing.trace(Scaled(), (1, 3, 8, 8))
    assert len(compiled) == len(kinds) + 1


def test_a_network_that_changes_is_compiled_anew(compiled):
    network = Scaled()
    tracing.trace(network, SHAPE)
    network.conv.conv2d.add_prim_attr("anything", 1)
    tracing.trace(network, SHAPE)
    network.factor = 5.0
    tracing.trace(network, SHAPE)
    network.conv.weight.name = "other"
    assert "other" in {parameter.name for parameter in tracing.trace(network, SHAPE).parameters}
    network.pool = nn.SequentialCell(network.pool, nn.ReLU())
    assert [node.operator for node in tracing.trace(network, SHAPE).nodes][-1] == "ReLU"
    assert len(compiled) == 5


def test_functions_are_told_apart_and_what_cannot_be_compared_is_compiled(compiled):
    for activation in (ops.relu, ops.tanh, ops.relu):
        tracing.trace(Scaled(activation=activation), SHAPE)
    assert len(compiled) == 2
    for _ in range(2):
        network = Scaled()
        network.note = object()
        tracing.trace(network, SHAPE)
    assert len(compiled) == 4


def test_a_traced_network_is_the_same_for_all_who_ask():
    assert traced(SmallNet) is traced(SmallNet)
    assert traced(SmallNet)[1].nodes[-1].shapes == ((2, 4),)
