"""The tracer: what it reads, what it leaves alone, what it refuses."""
import os

import mindspore as ms
import numpy as np
import pytest
from mindspore import lazy_inline, mint, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, TraceError
from golden_stick.cells.trace import find_inputs, owners
from golden_stick.graph.ir import Parameter
from tests import networks
from tests.apart import passes_apart


class TwoInputs(nn.Cell):
    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 8, 3)
        self.vector = nn.Dense(5, 8)

    def construct(self, x, v):
        gate = self.vector(v)
        return {"map": self.image(x) * gate.reshape(gate.shape + (1, 1)), "gate": gate}


class Shared(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)

    def construct(self, x):
        return self.conv(ops.relu(self.conv(x)))


class Branch(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

    def construct(self, x):
        x = self.a(x)
        if x.sum() > 0:
            x = self.b(x)
        else:
            x = ops.relu(x)
        return self.d(self.c(x))


class Loop(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.c, self.d = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

    def construct(self, x):
        x = self.a(self.first(x))
        count = ms.Tensor(0)
        while count < 3:
            x = self.b(x)
            count = count + 1
        return self.d(self.c(x))


class Block(nn.Cell):
    @lazy_inline
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)

    def construct(self, x):
        return self.second(ops.relu(self.first(x)))


def operators(graph):
    return [node.operator for node in graph.nodes]


def test_small_network_node_by_node(mode):
    graph = gs.trace(networks.SmallNet(), networks.SMALL_INPUT)
    assert operators(graph) == ["Conv2D", "BatchNorm", "ReLU", "Conv2D", "BatchNorm", "Add", "ReLU", "Conv2D",
                                "BiasAdd", "Flatten", "MatMul", "BiasAdd"]
    first = graph.nodes[0]
    assert first.inputs[1] == graph.parameter("a.weight")
    assert first.shapes == ((2, 8, 8, 8),)
    assert graph.parameter("a.weight").owners[0].path == "a"
    assert graph.parameter("a.weight").owners[0].kind == "nn.Conv2d"
    assert graph.shape(graph.outputs[0]) == (2, 4)


def test_a_network_in_training_is_traced_as_it_evaluates():
    network = nn.SequentialCell(nn.Conv2d(3, 4, 3), nn.Dropout(p=0.5), nn.ReLU()).set_train(True)
    assert operators(gs.trace(network, (1, 3, 8, 8))) == ["Conv2D", "ReLU"]


def test_every_parameter_is_found():
    network = networks.ResNet50()
    graph = gs.trace(network, (1, 3, 64, 64))
    assert {item.name for item in graph.parameters} == {item.name for item in network.get_parameters()}


def test_training_flags_and_modes_are_left_alone(mode):
    network = networks.SmallNet()
    network.set_train(True)
    network.norm_a.set_train(False)
    before = ms.get_context("mode")
    gs.trace(network, networks.SMALL_INPUT)
    assert network.training and network.norm_b.training and not network.norm_a.training
    assert ms.get_context("mode") == before


def test_trace_does_not_disturb_the_outputs(mode):
    network = networks.randomize(networks.SmallNet()).set_train(False)
    x = ms.Tensor(np.random.default_rng(0).normal(size=networks.SMALL_INPUT).astype(np.float32))
    before = network(x).asnumpy()
    gs.trace(network, x)
    np.testing.assert_array_equal(network(x).asnumpy(), before)


def test_two_inputs_and_a_dict_of_outputs():
    inputs = (ms.Tensor(np.ones((2, 3, 8, 8)), ms.float32), ms.Tensor(np.ones((2, 5)), ms.float32))
    graph = gs.trace(TwoInputs(), inputs)
    assert [item.shape for item in graph.inputs] == [(2, 3, 8, 8), (2, 5)]
    assert len(graph.outputs) == 2


def test_shared_cell_is_one_parameter_with_two_readers():
    graph = gs.trace(Shared(), (1, 4, 8, 8))
    readers = [node for node in graph.nodes for value in node.inputs if isinstance(value, Parameter)]
    assert len(graph.parameters) == 1 and len(readers) == 2


class SameConv(nn.Conv2d):
    """With MindSpore's own code."""


class OtherConv(nn.Conv2d):
    """With code of its own."""

    def construct(self, x):
        return self.conv2d(2 * x, self.weight)


@pytest.mark.parametrize("cell, kind", [
    (nn.Conv2d(3, 4, 3), "nn.Conv2d"), (mint.nn.Conv2d(3, 4, 3), "mint.nn.Conv2d"), (SameConv(3, 4, 3), "nn.Conv2d"),
    (OtherConv(3, 4, 3), "OtherConv"), (mint.nn.Linear(3, 4), "mint.nn.Linear"), (nn.PReLU(), "PReLU")])
def test_the_kind_of_a_cell_is_that_of_the_class_whose_code_it_runs(cell, kind):
    assert {item.kind for items in owners(nn.SequentialCell(cell)).values() for item in items} == {kind}


def test_second_trace_sees_changed_shapes():
    network = networks.SmallNet()
    gs.trace(network, (1, 3, 8, 8))
    assert gs.trace(network, (2, 3, 8, 8)).nodes[0].shapes == ((2, 8, 8, 8),)


def test_wrong_shape_names_the_shape_and_leaves_no_dump(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TraceError, match=r"'SmallNet' could not be compiled for inputs of shape \(1, 4, 8, 8\): .*C"):
        gs.trace(networks.SmallNet(), (1, 4, 8, 8))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind, shrunk", [
    (Branch, {"c": 4}),
    # What follows a loop stands in a function of its own, which only the loop calls.
    (Loop, {"first": 4}),
])
def test_control_flow_on_values_keeps_what_it_touches(kind, shrunk, mode):
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(networks.randomize(kind()), inputs=(1, 3, 8, 8)))
    widths = {path: cell.out_channels for path, cell in slim.cells_and_names() if isinstance(cell, nn.Conv2d)}
    assert widths == {path: 4 if path == "d" else shrunk.get(path, 8) for path in widths}
    reasons = {layer.path: layer.reasons for layer in algorithm.report.layers}
    assert reasons["a"] == ("enters control flow that a tensor's values decide (ControlFlow in 'b')",)


def test_functions_of_lazy_inline_are_read_in_their_place():
    """In a process of its own: what MindSpore keeps of `lazy_inline` makes later compilations on a CPU fail."""
    passes_apart(check_lazy_inline)


def check_lazy_inline():
    network = nn.SequentialCell(nn.Conv2d(3, 8, 1), Block(), Block(), nn.Conv2d(8, 2, 1))
    graph = gs.trace(network, (1, 3, 8, 8))
    assert operators(graph) == ["Conv2D"] + ["Conv2D", "ReLU", "Conv2D"] * 2 + ["Conv2D"]
    read = [node.inputs[1].name for node in graph.nodes if node.operator == "Conv2D"]
    assert read == [parameter.name for parameter in network.get_parameters()]


def test_not_a_cell():
    with pytest.raises(ArgumentTypeError, match="'network' must be a Cell, but got str"):
        gs.trace("resnet", (1, 3, 8, 8))


@pytest.mark.parametrize("inputs", [None, "1,3", (), (1, "3"), 5, (True, 3)])
def test_inputs_of_another_kind(inputs):
    with pytest.raises(ArgumentTypeError, match="'inputs' must be a Tensor, a tuple of Tensors or a shape"):
        gs.trace(networks.SmallNet(), inputs)


def test_shape_with_a_zero():
    with pytest.raises(ArgumentError, match="every number in the shape 'inputs' must be at least 1"):
        gs.trace(networks.SmallNet(), (0, 3, 8, 8))


class TestFindInputs:
    def test_what_set_inputs_was_given(self):
        network = networks.CifarResNet(1)
        network.set_inputs(ms.Tensor(shape=(None, 3, 48, 48), dtype=ms.float32))
        assert find_inputs("X", network)[0].shape == (1, 3, 48, 48)

    def test_first_size_that_compiles(self):
        assert find_inputs("X", networks.VGG16BN(size=64))[0].shape == (1, 3, 64, 64)

    def test_none_that_compiles(self):
        with pytest.raises(ArgumentError, match="For 'X', 'inputs' must be given"):
            find_inputs("X", nn.Dense(3, 4))


def test_a_cast_parameter_is_the_parameter_and_says_so():
    graph = gs.trace(nn.Dense(4, 3).to_float(ms.float16), (2, 4))
    assert [node.operator for node in graph.nodes] == ["Cast", "MatMul", "BiasAdd"]
    weight = graph.nodes[1].inputs[1]
    assert (weight.type, graph.parameter("weight").type) == ("float16", "")
    assert weight == graph.parameter("weight")


def test_the_kind_of_a_cell_is_not_that_of_what_others_do_with_its_weight():
    class Reads(nn.Cell):
        def __init__(self):
            super().__init__()
            self.inner, self.plain = nn.Dense(4, 3), nn.Dense(3, 2)

        def construct(self, x):
            return self.plain(ops.dense(x, self.inner.weight))

    graph = gs.trace(Reads(), (2, 4))
    assert [graph.parameter(f"{name}.weight").owners[0].kind for name in ("inner", "plain")] == ["", "nn.Dense"]
