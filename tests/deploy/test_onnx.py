"""From networks to ONNX files: batch sizes, pruned networks, what is refused, and what is left behind."""
import os
import warnings
from dataclasses import replace

import mindspore as ms
import numpy as np
import onnx
import pytest
from mindspore import Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, DependencyError, ExportError
from golden_stick.cells.wrappers import evaluate
from golden_stick.deploy.onnx import ONNX_RULES, add_onnx_rule
from golden_stick.deploy.onnx import export as export_module
from golden_stick.deploy.onnx import writer as writer_module
from golden_stick.deploy.onnx.export import run_file
from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Result
from golden_stick.graph.rules import RULES
from tests import networks
from tests.deploy.test_slim_file import make_slim
from tests.graph.build import Builder

SHAPE = networks.SMALL_INPUT
# One trace less, where it does not matter.
ONE_BATCH = {"dynamic_batch": False}


class Transformer(nn.Cell):
    """A patch embedding, a class token, one block of attention and one of dense layers, a relative bias."""

    def __init__(self, width=16, heads=2, classes=5):
        super().__init__()
        self.heads, self.width = heads, width
        self.patches = nn.Conv2d(3, width, 4, 4, has_bias=True)
        self.token = ms.Parameter(Tensor(np.random.default_rng(0).normal(size=(1, 1, width)).astype(np.float32)))
        self.bias = Tensor(np.random.default_rng(1).normal(size=(1, heads, 17, 17)).astype(np.float32))
        self.first, self.second = nn.LayerNorm((width,), epsilon=1e-5), nn.LayerNorm((width,), epsilon=1e-5)
        self.mixed, self.out = nn.Dense(width, 3 * width), nn.Dense(width, width)
        self.wide, self.narrow = nn.Dense(width, 4 * width), nn.Dense(4 * width, width)
        self.gelu, self.head = nn.GELU(approximate=False), nn.Dense(width, classes)

    def attention(self, x):
        batch, length = x.shape[:2]
        parts = self.mixed(x).reshape(batch, length, 3, self.heads, self.width // self.heads)
        query, key, value = ops.unstack(parts.transpose(2, 0, 3, 1, 4), 0)
        weights = ops.softmax(ops.BatchMatMul(transpose_b=True)(query, key) * 0.35 + self.bias, -1)
        return self.out(ops.matmul(weights, value).transpose(0, 2, 1, 3).reshape(batch, length, self.width))

    def construct(self, x):
        x = self.patches(x)
        x = x.reshape(x.shape[0], self.width, -1).transpose(0, 2, 1)
        x = ops.concat((ops.broadcast_to(self.token, (x.shape[0], 1, self.width)), x), 1)
        x += self.attention(self.first(x))
        x = x + self.narrow(self.gelu(self.wide(self.second(x))))
        return self.head(x[:, 0])


class FixedBatchNet(nn.Cell):
    """Code that knows its batch size."""

    def construct(self, x):
        return x.reshape(2, 3, 8, 8) * 2


class CountsRows(nn.Cell):
    def construct(self, x):
        return x * (x.shape[0] / 3)


class Square(nn.Cell):
    """Gives as many rows as pairs of samples."""

    def construct(self, x):
        rows = x.reshape(x.shape[0], -1)
        return ops.tile(rows[:1], (x.shape[0] * x.shape[0], 1))


class TwoInputs(nn.Cell):
    def construct(self, x, tokens):
        return x + ops.cast(tokens, ms.float32), tokens


class Unwritable(nn.Cell):
    def construct(self, x):
        return ops.relu(ops.cumprod(ops.cumprod(x, 1), 2)) + ops.erfinv(ops.tanh(x))


class Branches(nn.Cell):
    def construct(self, x):
        if ops.mean(x) > 0:
            return ops.relu(x)
        return x - 1


class NotANumber(nn.Cell):
    def construct(self, x):
        return ops.log(ops.relu(x) - 1)


class InPlace(nn.Cell):
    def construct(self, x):
        x = ops.relu(x)
        y = ops.sigmoid(x)
        y += x
        y += y
        return y, x


class TwoBiases(nn.Cell):
    """Two constants of equal numbers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (Tensor(np.arange(16, dtype=np.float32).reshape(4, 4)) for _ in range(2))

    def construct(self, x):
        return ops.relu(x + self.first) * self.second


class Same(nn.Cell):
    def construct(self, x):
        return x, x


def run_both(network, path, shape, seed=0):
    """Outputs of the network and of the file, on numbers of their own."""
    data = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    ms.ms_memory_recycle()
    return evaluate(network, (Tensor(data),)), run_file(path, [data])


def assert_same_at_two_batch_sizes(network, path, shape):
    for batch in (1, 5):
        wanted, got = run_both(network, path, (batch, *shape[1:]), batch)
        for one, other in zip(wanted, got):
            np.testing.assert_allclose(other, one, rtol=0, atol=1e-5 * np.abs(one).max())


def note(path):
    return {item.key: item.value for item in onnx.load(path).metadata_props}["golden_stick.batch"]


def operators_of(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_padded_pooling_is_one_operator(tmp_path):
    """MindSpore compiles it to a pooling over volumes between two reshapes, which are in the way of faster kernels."""
    network = nn.SequentialCell(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2, "pad", 1), nn.Conv2d(4, 2, 3))
    for dynamic in (True, False):
        path = gs.export(network, (2, 3, 9, 9), str(tmp_path / f"net{dynamic}"), file_format="ONNX",
                         dynamic_batch=dynamic)
        assert operators_of(path) == ["Conv", "MaxPool", "Conv"]


class Reshapes(nn.Cell):
    """Back and forth; twice in a row; and one that is read on the way."""

    def construct(self, x):
        back = ops.relu(ops.squeeze(ops.expand_dims(ops.relu(x), 2), 2))
        twice = ops.relu(ops.flatten(ops.expand_dims(back, 2)))
        half_way = ops.expand_dims(twice, 1)
        return ops.tanh(half_way), ops.tanh(ops.squeeze(half_way, 1))


def test_reshapes_in_a_row_are_one_or_none(tmp_path):
    path = gs.export(Reshapes(), (2, 3, 4, 4), str(tmp_path / "net"), file_format="ONNX")
    assert operators_of(path) == ["Relu", "Relu", "Reshape", "Relu", "Reshape", "Tanh", "Tanh"]


@pytest.mark.parametrize("mode, opset", [("GRAPH", None), ("PYNATIVE", 13), ("PYNATIVE", 23)], indirect=["mode"])
def test_small_network_in_both_modes(mode, tmp_path, opset):
    net = networks.SmallNet().set_train(True)
    path = gs.export(net, SHAPE, str(tmp_path / "net"), file_format="ONNX", opset=opset)
    assert path == str(tmp_path / "net.onnx") and os.listdir(tmp_path) == ["net.onnx"]
    assert net.training and note(path) == "any"
    model = onnx.load(path)
    assert model.opset_import[0].version == (opset or 17)
    sizes = [item.dim_param or item.dim_value for item in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", 3, 8, 8]
    assert_same_at_two_batch_sizes(net, path, SHAPE)


@pytest.mark.parametrize("make, shape", [
    pytest.param(lambda: networks.CifarResNet(1), (1, 3, 16, 16), marks=pytest.mark.long),
    pytest.param(networks.MobileNetV2Like, (1, 3, 32, 32), marks=pytest.mark.long),
    (Transformer, (1, 3, 16, 16)),
], ids=["ResNet", "MobileNet", "Transformer"])
def test_a_slim_network(tmp_path, make, shape):
    network = make()
    algorithm = gs.OneShot({"criterion": "l1", "prune_rate": 0.4})
    slim = algorithm.convert(algorithm.apply(network, inputs=shape))
    path = gs.export(slim, shape, str(tmp_path / "x.onnx"), file_format="ONNX")
    assert note(path) == "any"
    assert_same_at_two_batch_sizes(slim, path, shape)
    written = sum(np.prod(item.dims) for item in onnx.load(path).graph.initializer if "constant" not in item.name)
    assert written < 0.9 * sum(item.size for item in network.get_parameters())


def test_scattered_branches(tmp_path):
    slim = make_slim("scatter")
    path = gs.export(slim, SHAPE, str(tmp_path / "x"), file_format="ONNX")
    assert_same_at_two_batch_sizes(slim, path, SHAPE)


@pytest.mark.parametrize("network, reason", [
    (FixedBatchNet(), "does not compile for batch size 3"),
    (CountsRows(), "a number in the code of 'Muls' depends on the batch size and does not grow evenly with it"),
    (Square(), "does not grow evenly|at batch size 4, "),
])
def test_fixed_batch_is_written_and_said(tmp_path, network, reason):
    with pytest.warns(UserWarning, match=f"the ONNX file takes inputs of shape .2, 3, 8, 8. only: .*({reason})"):
        path = gs.export(network, SHAPE, str(tmp_path / "x"), file_format="ONNX")
    assert note(path).startswith("fixed: ")
    wanted, got = run_both(network, path, SHAPE)
    np.testing.assert_allclose(got[0], wanted[0], rtol=1e-6)


class LosesItsBatch(nn.Cell):
    """Of one sample, the answer has no batch axis."""

    def construct(self, x):
        return ops.squeeze(x.mean((2, 3)))


def test_one_sample_that_is_special_is_written_for_itself(tmp_path):
    with pytest.warns(UserWarning, match="the ONNX file takes inputs of shape .1, 3, 8, 8. only: at batch size 1, "):
        path = gs.export(LosesItsBatch(), (1, 3, 8, 8), str(tmp_path / "x"), file_format="ONNX")
    wanted, got = run_both(LosesItsBatch(), path, (1, 3, 8, 8))
    assert got[0].shape == (3,)
    np.testing.assert_allclose(got[0], wanted[0], rtol=1e-6)


def test_fixed_batch_on_demand(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        path = gs.export(networks.SmallNet(), SHAPE, str(tmp_path / "x"), file_format="ONNX", dynamic_batch=False)
    assert note(path) == "fixed: as asked for"
    assert [item.dim_value for item in onnx.load(path).graph.input[0].type.tensor_type.shape.dim] == list(SHAPE)


def test_two_inputs_of_two_types(tmp_path):
    tensors = Tensor(np.ones((2, 3), np.float32)), Tensor(np.arange(6).reshape(2, 3), ms.int32)
    path = gs.export(TwoInputs(), tensors, str(tmp_path / "x"), file_format="ONNX")
    rows = np.arange(12, dtype=np.int32).reshape(4, 3)
    got = run_file(path, [np.ones((4, 3), np.float32), rows])
    np.testing.assert_array_equal(got[0], rows + 1)
    np.testing.assert_array_equal(got[1], rows)


def test_sums_in_place_and_outputs_that_are_inputs(tmp_path):
    for cell in (InPlace(), Same()):
        path = gs.export(cell, SHAPE, str(tmp_path / "x"), file_format="ONNX")
        wanted, got = run_both(cell, path, SHAPE)
        for one, other in zip(wanted, got):
            np.testing.assert_allclose(other, one, rtol=1e-6)


def test_large_constants_are_written_once(tmp_path):
    path = gs.export(TwoBiases(), (2, 4, 4), str(tmp_path / "x"), file_format="ONNX")
    assert [tuple(item.dims) for item in onnx.load(path).graph.initializer].count((4, 4)) == 1


def test_operator_without_a_rule(tmp_path):
    """All of them are named at once, each with where it stands."""
    with pytest.raises(ExportError, match="every operator must have an ONNX rule, but got 2 without one: CumProd in "
                                          "'0'; Erfinv in '0'. Teach them with .*add_onnx_rule"):
        gs.export(nn.SequentialCell(Unwritable()), SHAPE, str(tmp_path / "x"), file_format="ONNX", **ONE_BATCH)
    assert os.listdir(tmp_path) == []


def test_rule_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr("golden_stick.deploy.onnx.ONNX_RULES", dict(ONNX_RULES))
    with pytest.raises(ArgumentTypeError, match="For 'add_onnx_rule', 'operator' must be a str, but got int"):
        add_onnx_rule(1, print)
    with pytest.raises(ArgumentTypeError, match="'rule' must be a function, but got int"):
        add_onnx_rule("CumProd", 1)
    with pytest.raises(ArgumentError, match="For 'add_onnx_rule', 'operator' must be one without a rule, but got 'Re"):
        add_onnx_rule("ReLU", print)
    add_onnx_rule("MyOwn", lambda writer, node: writer.emit("Relu", [writer.of(node.inputs[0])]))


def test_control_flow_is_refused(tmp_path):
    with pytest.raises(ExportError, match="must have no branch or loop that a tensor's values decide"):
        gs.export(Branches(), SHAPE, str(tmp_path / "x"), file_format="ONNX", **ONE_BATCH)


def test_outputs_that_are_not_numbers_are_refused(tmp_path):
    with pytest.raises(ExportError, match="must give the outputs of the network within 0.0001 .*difference of nan"):
        gs.export(NotANumber(), SHAPE, str(tmp_path / "x"), file_format="ONNX", **ONE_BATCH)


def test_a_wrong_rule_is_found_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(export_module.ONNX_RULES, "ReLU", ONNX_RULES["Sigmoid"])
    for options in (ONE_BATCH, {}):
        with warnings.catch_warnings(), \
                pytest.raises(ExportError, match="but got a largest difference of .* in output 0 for inputs of shape"):
            # Which batch size it takes is no news of a file that is not written.
            warnings.simplefilter("error", UserWarning)
            gs.export(networks.SmallNet(), SHAPE, str(tmp_path / "x"), file_format="ONNX", **options)
        assert os.listdir(tmp_path) == []


def test_files_that_are_no_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(export_module.ONNX_RULES, "ReLU", lambda writer, node: writer.emit("Nonsense", ["nothing"]))
    with pytest.raises(ExportError, match="the ONNX file must pass onnx's checker, but it says"):
        gs.export(networks.SmallNet(), SHAPE, str(tmp_path / "x"), file_format="ONNX", **ONE_BATCH)
    (tmp_path / "y.onnx").write_text("no")
    with pytest.raises(ExportError, match="ONNX Runtime must run the file, but it says"):
        run_file(str(tmp_path / "y.onnx"), [])


def test_networks_that_do_not_run_here(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no kernel")
    monkeypatch.setattr(networks.SmallNet, "__call__", fail)
    with pytest.raises(ExportError, match="the network must run on this machine, for the ONNX file to be compared with "
                                          "it, but .*no kernel"):
        gs.export(networks.SmallNet(), SHAPE, str(tmp_path / "x"), file_format="ONNX", **ONE_BATCH)


def test_two_gigabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "LARGEST", 100)
    with pytest.raises(ExportError, match="the weights of an ONNX file must be less than 2 GiB, but got"):
        gs.export(networks.SmallNet(), SHAPE, str(tmp_path / "x"), file_format="ONNX", **ONE_BATCH)


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_packages_that_are_not_there(tmp_path, monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(DependencyError, match=f".onnx files must have the package '{name}', .*golden-stick\\[onnx\\]"):
        gs.export(networks.SmallNet(), SHAPE, str(tmp_path / "x"), file_format="ONNX")


@pytest.mark.parametrize("opset, error, message", [
    (12, ArgumentError, r"'opset' must be a whole number in \[13, 23\], but got 12"), (24, ArgumentError, "but got 24"),
    ("17", ArgumentTypeError, "but got '17' of type str"), (True, ArgumentTypeError, "but got True of type bool"),
])
def test_opset(tmp_path, opset, error, message):
    with pytest.raises(error, match=message):
        gs.export(networks.SmallNet(), SHAPE, str(tmp_path / "x"), file_format="ONNX", opset=opset)


def test_opset_of_another_format(tmp_path):
    with pytest.raises(ArgumentError, match="'opset' must stand with a format that takes it, but got 17 for .mindir"):
        gs.export(networks.SmallNet(), SHAPE, str(tmp_path / "x"), opset=17)


def test_folder(tmp_path):
    with pytest.raises(CheckpointError, match="the folder of 'path' must exist"):
        gs.export(networks.SmallNet(), SHAPE, str(tmp_path / "none" / "x"), file_format="ONNX")


REFUSED = [
    ("MirrorPad", "float32", [np.ones((4, 2), int)], {"mode": "SYMMETRIC"}, 17, "does not pad in mode 'symmetric'"),
    ("BitwiseNot", "int32", [], {}, 17, "ONNX has 'BitwiseNot' since opset 18"),
    ("Log", "float32", [], {"base": 2.0}, 17, "a logarithm with a base, scale or shift of its own"),
    ("Round", "float32", [2], {}, 17, "ONNX rounds to whole numbers only"),
    ("LpNorm", "float32", [], {"p": 3, "axis": 1}, 17, "ONNX has norms of order 1 and 2, but the order is 3"),
    ("LinalgVectorNorm", "float32", [0.5, (1,)], {}, 17, "but the order is 0.5"),
    ("Softmax", "float32", [(1, 2)], {}, 17, r"ONNX takes one axis there, but got \[1, 2\]"),
    ("Gather", "float32", [np.zeros((2, 1), int), 1, 1], {}, 17, "it reads other places in every row of the batch"),
    ("TensorScatterMax", "float32", [np.zeros((1, 1), int), np.ones((1, 4, 5, 6))], {}, 17,
     "ONNX has 'ScatterND' that reduces by 'max' since opset 18"),
    ("Scatter", "float32", [0, np.zeros((1, 1, 1, 1), int), np.ones((1, 1, 1, 1)), 7], {}, 17, "it reduces by 7"),
    ("GridSampler2D", "float32", [np.zeros((2, 5, 6, 2)), 0, 0, False], {}, 13, "ONNX has 'GridSample' since opset 16"),
    ("Tril", "float32", [], {"diagonal": 0}, 13, "ONNX has 'Trilu' since opset 14"),
    ("LSTM", "float32", [], {"input_size": 6, "hidden_size": 6, "has_bias": True, "num_layers": 2}, 17,
     "it has several layers or directions, or a projection"),
    ("RepeatInterleaveInt", "float32", [2, None], {}, 17, "it repeats over no axis of its own"),
    ("Roll", "float32", [(1,), ()], {}, 17, "it rolls over no axis of its own"),
    ("MaxPool", "float32", [], {"format": "NHWC"}, 17, "its layout is 'NHWC', and ONNX has channels first only"),
    ("BatchNorm", "float32", [None, None, None, None, True, 1e-5], {}, 17, "it normalizes by the statistics of the"),
]


@pytest.mark.parametrize("operator, kind, inputs, attributes, opset, message", REFUSED,
                         ids=[case[0] for case in REFUSED])
def test_what_onnx_cannot_say(operator, kind, inputs, attributes, opset, message):
    b = Builder()
    graph = b.graph(b.node(operator, [b.input(2, 4, 5, 6), *inputs], (2, 4, 5, 6), **attributes))
    graph = replace(graph, nodes=(replace(graph.nodes[0], types=(kind,)),))
    with pytest.raises(ExportError, match=f"{operator} cannot be written to ONNX: .*{message}"):
        Writer(graph, {}, opset).run(ONNX_RULES)


def one_node(operator, *inputs, types=("float32",), outputs=1):
    b = Builder()
    b.node(operator, [b.input(2, 4), *inputs], *[(2, 4)] * outputs)
    graph = b.graph(Result(0, outputs - 1))
    return replace(graph, nodes=(replace(graph.nodes[0], types=types * outputs),))


def test_values_that_a_rule_cannot_read():
    computed = one_node("Tile", Builder().input(2))
    with pytest.raises(ExportError, match="input 1 of Tile must be written in the code, but is computed"):
        Writer(computed, {}, 17).run(ONNX_RULES)
    with pytest.raises(ExportError, match="output 1 of ReLU must not be read: its ONNX rule writes the others only"):
        Writer(one_node("ReLU", outputs=2), {}, 17).run(ONNX_RULES).model({})
    with pytest.raises(ExportError, match="every tensor must be of a type that numpy has as well, but got ReLU"):
        Writer(one_node("ReLU", types=("",)), {}, 17).run(ONNX_RULES).model({})


def test_every_operator_that_can_be_pruned_can_be_written():
    without = {"AdaptiveAvgPool3DExt", "AdaptiveMaxPool3D", "AvgPool1D", "AvgPool3DExt", "ControlFlow", "CudnnGRU",
               "CumProd", "DynamicGRUV2", "DynamicRNN", "GRUV2", "Im2Col", "Im2ColExt", "LSTMV2"}
    assert set(RULES) - set(ONNX_RULES) == without


class NoAxes(nn.Cell):
    def construct(self, x):
        return x * 2


def test_an_input_without_axes(tmp_path):
    with pytest.warns(UserWarning, match="the first input has no axes"):
        gs.export(NoAxes(), Tensor(2.0, ms.float32), str(tmp_path / "x"), file_format="ONNX")


class Detector(nn.Cell):
    """A convolution for an image, a dense layer for what is known of it, and answers by name."""

    def __init__(self):
        super().__init__()
        self.image, self.facts = nn.Conv2d(3, 8, 3), nn.Dense(4, 8)
        self.box, self.kind = nn.Dense(8, 4), nn.Dense(8, 3)

    def construct(self, picture, facts):
        found = ops.relu(self.image(picture)).mean((2, 3)) + ops.relu(self.facts(facts))
        return {"boxes": self.box(found), "scores": (ops.softmax(self.kind(found), -1), {"raw": found})}


def test_names_of_inputs_and_outputs(tmp_path):
    tensors = Tensor(np.ones((1, 3, 8, 8), np.float32)), Tensor(np.ones((1, 4), np.float32))
    by_network, by_user = (["picture", "facts"], ["boxes", "scores.0", "scores.1.raw"]), (["a", "b"], ["x", "y", "z"])
    named = dict(zip(("input_names", "output_names"), by_user))
    for (inputs, outputs), options in ((by_network, {}), (by_user, named)):
        model = onnx.load(gs.export(Detector(), tensors, tmp_path / "x", file_format="ONNX", **options))
        assert [item.name for item in model.graph.input] == inputs
        assert [item.name for item in model.graph.output] == outputs


@pytest.mark.parametrize("options, error, message", [
    ({"input_names": ("a", "b")}, ArgumentError, "'input_names' must be a name for each of the 1 inputs, but got ..a"),
    ({"output_names": ("a", "b")}, ArgumentError, "'output_names' must be a name for each of the 1 outputs, but got"),
    ({"output_names": ("a", "a")}, ArgumentError, "'output_names' must be a tuple of distinct names, but got"),
    ({"input_names": "x"}, ArgumentTypeError, "'input_names' must be a tuple of distinct names, but got 'x' of type"),
    ({"input_names": ("a",), "output_names": ("a",)}, ArgumentError, "names must be distinct, but 'a' is taken"),
])
def test_names_that_do_not_fit(tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        gs.export(nn.ReLU(), SHAPE, tmp_path / "x", file_format="ONNX", **ONE_BATCH, **options)
