"""What is said where a network, its inputs or a number in its code is to blame: the cause, the place and the remedy."""
import inspect
import re
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from mindspore import Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import (
    ArgumentError,
    CheckpointError,
    ExportError,
    SlimError,
    TraceError,
    VerifyError,
    first_line,
    line_of_user,
)
from tests import networks

SHAPE = (2, 3, 8, 8)


def line(kind, text):
    """``file:line`` of the first line of a class that holds a text."""
    lines, start = inspect.getsourcelines(kind)
    return f"{__file__}:{start + next(at for at, code in enumerate(lines) if text in code)}"


@pytest.mark.parametrize("text, said", [
    ("\n------\n- Kernel select failed:\n------\nUnsupported op [Einsum] on CPU\n", "Kernel select failed: "
     "Unsupported op [Einsum] on CPU"),
    ("------------\nFor 'MatMul', shapes must fit.\n---\n- C++ Call Stack:\n---\nx.cc:12",
     "For 'MatMul', shapes must fit."),
    ("no such operator\n\n# 0 In file /home/me/net.py:30, 42~51\n# 1 In file /x/site-packages/mindspore/ops.py:3, 1~2",
     "no such operator (/home/me/net.py:30)"),
    ("", "ValueError"), ("---", "ValueError"),
])
def test_a_foreign_error_in_one_line(text, said):
    assert first_line(ValueError(text)) == said


def test_errors_of_the_library_name_their_place_themselves():
    with pytest.raises(ArgumentError) as caught:
        gs.OneShot({"prune_rate": 2.0})
    assert first_line(caught.value) == str(caught.value)


def test_the_last_line_of_the_users_code_is_meant():
    text = "In file /a/net.py:3, 1~2\nIn file /a/block.py:14~17, 4~24/\nIn file /x/mindspore/nn/layer/conv.py:372, 1~2"
    assert line_of_user(text) == "/a/block.py:14" and line_of_user("nothing") == ""


class Layers(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)


class NoSuchAttribute(Layers):
    def construct(self, x):
        return self.head(self.activation(self.a(x)))


class OneArgumentTooMany(Layers):
    def construct(self, x):
        return self.head(self.a(x, x))


class NoSuchMethod(Layers):
    def construct(self, x):
        return self.head(self.a(x).softplus_of_a_kind())


class ShapesThatDoNotMeet(Layers):
    def construct(self, x):
        return self.head(self.a(x) + self.b.weight)


@pytest.mark.parametrize("kind, text", [
    (NoSuchAttribute, "self.activation"), (OneArgumentTooMany, "(x, x)"), (NoSuchMethod, "softplus_of_a_kind"),
    (ShapesThatDoNotMeet, "self.b.weight")])
def test_a_mistake_in_construct_is_told_with_file_and_line(kind, text):
    with pytest.raises(TraceError, match=re.escape(f"({line(kind, text)})")):
        gs.trace(kind(), SHAPE)


class Wraps(Layers):
    """Numbers that fit one width: in a call, in an attribute, in a function outside, in a slice."""

    def __init__(self, how):
        super().__init__()
        self.how, self.sizes, self.tail = how, {"half": 4}, nn.Dense(6 if how == "slice" else 8, 4)

    def construct(self, x):
        x = self.b(ops.relu(self.a(x)))
        if self.how == "call":
            x = x.reshape(-1, 8, 64)
        elif self.how == "attribute":
            x = x.view((x.shape[0], self.sizes["half"] * 2, -1))
        elif self.how == "function":
            x = flattened(x)
        else:
            x = x[:, 1:7].reshape(2, 6, 64)
        return self.tail(x.mean(-1))


def flattened(x):
    return ops.reshape(x, (2, 8, 64))  # outside


@pytest.mark.parametrize("how, text, numbers", [
    ("call", "x.reshape(-1, 8, 64)", "to (-1, 8, 64)"), ("attribute", "self.sizes[", "to (2, 8, -1)"),
    ("slice", "x[:, 1:7]", "[1:7] of 8")])
def test_a_number_in_the_code_is_named_with_its_value_file_and_line(how, text, numbers):
    algorithm = gs.OneShot({"prune_rate": 0.5})
    algorithm.apply(networks.randomize(Wraps(how)), SHAPE)
    reasons = next(layer.reasons for layer in algorithm.report.layers if layer.path == "b")
    assert any("written in the code" in reason and numbers in reason and line(Wraps, text) in reason
               for reason in reasons), reasons
    assert ("take where it begins and ends from attributes" if how == "slice" else
            "take the number from the input's shape, or write -1 for it") in str(algorithm.report)


def test_a_number_in_a_function_is_found_there():
    algorithm = gs.OneShot({"prune_rate": 0.5})
    algorithm.apply(networks.randomize(Wraps("function")), SHAPE)
    reasons = next(layer.reasons for layer in algorithm.report.layers if layer.path == "b")
    assert any(line(flattened, "# outside") in reason for reason in reasons), reasons


class Drawing(Layers):
    def __init__(self, how):
        super().__init__()
        self.how, self.drop2d, self.drop3d = how, ops.Dropout2D(0.5), ops.Dropout3D(0.5)

    def construct(self, x):
        x = self.a(x)
        if self.how == "Dropout2D":
            x, _ = self.drop2d(x)
        elif self.how == "Dropout3D":
            x = self.drop3d(x.expand_dims(2))[0].squeeze(2)
        else:
            x = x + ops.standard_normal((2, 8, 8, 8))
        return self.head(self.b(x))


@pytest.mark.parametrize("algorithm, how", [
    (gs.OneShot, "Dropout2D"), (gs.OneShot, "Dropout3D"), (gs.SCOP, "StandardNormal")])
def test_a_network_that_is_random_in_evaluation_is_refused_before_any_training(algorithm, how):
    with pytest.raises(ArgumentError, match=f"'network' must give the same for the same inputs.*is random.*{how}"):
        algorithm({"prune_rate": 0.5}).apply(Drawing(how), SHAPE)


def test_checks_blame_chance_and_nan_before_they_blame_a_layer(tmp_path):
    network = Drawing("StandardNormal")
    with pytest.raises(VerifyError, match="'masked' must be a network that gives numbers.*it is random"):
        gs.verify(network, network, SHAPE)
    with pytest.raises(VerifyError, match="For 'fold', 'network' must .*it is random in evaluation"):
        gs.fold(network, SHAPE)
    broken = networks.randomize(networks.SmallNet())
    broken.head.bias[0] = float("nan")
    with pytest.raises(VerifyError, match="For 'verify', 'slim' must .*parameter 'head.bias' holds NaN"):
        gs.verify(networks.SmallNet(), broken, SHAPE)
    with pytest.raises(VerifyError, match="For 'fold', 'network' must .*parameter 'head.bias' holds NaN"):
        gs.fold(broken, SHAPE)
    with pytest.raises(ExportError, match="the network must give numbers.*parameter 'head.bias' holds NaN"):
        gs.export(broken, SHAPE, tmp_path / "broken.mindir")


def test_errors_of_what_a_function_calls_name_the_function_that_was_called(tmp_path):
    network = nn.SequentialCell(nn.Dense(8, 6), nn.ReLU(), nn.Dense(6, 6), nn.ReLU(), nn.Dense(6, 3))
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, (2, 8)))
    path = gs.save_slim(slim, str(tmp_path / "slim"))
    plan = slim.slim_recipe.steps[-1]
    wrong = replace(plan, axes=(replace(plan.axes[0], size=5, kept=(0,)), *plan.axes[1:]))
    with pytest.raises(SlimError, match="^For 'slim', axis"):
        gs.slim(network, wrong)
    with patch("golden_stick.deploy.slim_network.take_step", lambda *_: gs.slim(network, wrong)), \
            pytest.raises(CheckpointError, match="^For 'load_slim', 'network' must be of the kind .*, but: axis 0"):
        gs.load_slim(network, path)
    with pytest.raises(TraceError, match="^For 'safe_filters', 'SequentialCell' could not be compiled"):
        gs.safe_filters(network, (2, 7), [], nn.MSELoss())
    with pytest.raises(TraceError, match="^For 'fold', 'SequentialCell' could not be compiled"):
        gs.fold(network, (2, 7))


class Heads(nn.Cell):
    """Attention whose code holds the number of heads, their width, or neither."""

    def __init__(self, split):
        super().__init__()
        self.split, self.q, self.k, self.v, self.o = split, *(nn.Dense(8, 8) for _ in range(4))

    def heads(self, x):
        if self.split == "number":
            return x.reshape(2, 5, 2, -1)
        return x.reshape(2, 5, -1, 4) if self.split == "width" else x.reshape(2, 5, 2, x.shape[2] // 2)

    def construct(self, x):
        q, k, v = (self.heads(item).swapaxes(1, 2) for item in (self.q(x), self.k(x), self.v(x)))
        y = ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(-1, -2)), -1), v)
        return self.o(y.swapaxes(1, 2).reshape(2, 5, -1))


@pytest.mark.parametrize("split, heads, honoured", [
    ("number", "width", True), ("number", "whole", False), ("width", "width", False), ("width", "whole", True),
    ("computed", "width", True), ("computed", "whole", False)])
def test_heads_are_lost_as_asked_or_the_report_says_where_not(split, heads, honoured):
    algorithm = gs.OneShot({"prune_rate": 0.5, "heads": heads})
    algorithm.apply(networks.randomize(Heads(split)), (2, 5, 8))
    kept = next(axis.kept for axis in algorithm.applied.selection.plan.axes if axis.parameter == "q.weight")
    whole = set(kept) in ({0, 1, 2, 3}, {4, 5, 6, 7})
    assert whole == ((heads == "whole") == honoured)
    said = [note for note in algorithm.report.notes if f"'heads' '{heads}' is NOT honoured at Reshape" in note]
    assert len(said) == (not honoured)
    assert all(f"{__file__}:" in note and "write -1 for" in note for note in said)


class Indices(nn.Cell):
    def __init__(self, how):
        super().__init__()
        self.how, self.table = how, nn.Embedding(50, 16)
        self.a, self.head = nn.Dense(16, 8), nn.Dense(8, 4)

    def construct(self, x):
        if self.how == "gather":
            x = ops.gather(self.table.embedding_table, x, 0)
        elif self.how == "index":
            x = self.table.embedding_table[x]
        else:
            x = self.table(x)
        return self.head(ops.relu(self.a(x)))


@pytest.mark.parametrize("how", ["gather", "index", "layer"])
def test_numbers_where_indices_are_read_are_named_as_such(how):
    with pytest.raises(TraceError, match="as indices must be whole numbers, but got float32.*int32|index must be int"):
        gs.OneShot({"prune_rate": 0.5}).apply(Indices(how), (1, 32))
    algorithm = gs.OneShot({"prune_rate": 0.5})
    network = algorithm.apply(Indices(how), (Tensor(np.ones((1, 32), np.int32)),))
    assert algorithm.convert(network).a.weight.shape[0] == 4


class NoKernel(nn.Cell):
    """Compiles, and has no kernel on a CPU."""

    def __init__(self, operator):
        super().__init__()
        self.operator = operator
        self.a, self.b, self.c, self.head = (nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1),
                                             nn.Conv2d(8, 4, 1))

    def construct(self, x):
        x = self.a(x)
        x = self.head(ops.relu(x + self.c(ops.relu(self.b(x)))))
        return ops.einsum("bchw,bdhw->bcd", x, x) if self.operator == "Einsum" else ops.roll(x, 1, 2)


@pytest.mark.parametrize("operator, said", [
    ("Einsum", r"Kernel select failed: Unsupported op \[Einsum\]"), ("Roll", "The kernel Roll unregistered")])
def test_a_network_that_does_not_run_is_no_fault_of_a_number_or_a_layer(operator, said):
    network = networks.randomize(NoKernel(operator))
    with pytest.raises(TraceError, match=f"must run on 'inputs' of shape .* but it does not: {said}"):
        gs.OneShot({"prune_rate": 0.5, "residual": "scatter"}).apply(network, SHAPE)
    algorithm = gs.OneShot({"prune_rate": 0.5})
    masked = algorithm.apply(network, SHAPE)
    with pytest.raises(TraceError, match=f"For 'OneShot', 'NoKernel' must run on 'inputs' of .*{said}.* Prune it "
                                         "where it runs, or write it by operators that this device has"):
        algorithm.convert(masked)
