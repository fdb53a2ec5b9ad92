"""Slimming for trial: which numbers in the code fit other widths, and which do not."""
import itertools

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, mint, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentTypeError, SlimError
from golden_stick.cells import trace as tracing
from golden_stick.cells.slim import add_resizer
from golden_stick.graph.flow import Rule
from golden_stick.graph.plan import count_macs, remedy_of
from golden_stick.graph.rules import RULES
from golden_stick.prune import trial
from tests import networks
from tests.marks import quick

SHAPE = (2, 3, 8, 8)


def prune(network, config, shape=SHAPE):
    """The masked and the slim network, whose outputs agree."""
    algorithm = gs.OneShot(config)
    masked = algorithm.apply(network, inputs=shape)
    slim = algorithm.convert(masked)
    x = ms.Tensor(np.random.default_rng(1).normal(size=shape).astype(np.float32))
    wanted, got = (net.set_train(False)(x).asnumpy() for net in (masked, slim))
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    return masked, slim


class Heads(nn.Cell):
    """Attention over pixels, whose heads are read as `split` says."""

    def __init__(self, split):
        super().__init__()
        self.split = split
        self.stem = nn.Conv2d(3, 8, 1, has_bias=True)
        self.query, self.key, self.value = (nn.Dense(8, 12) for _ in range(3))
        self.out = nn.Dense(12, 5)

    def heads(self, x):
        if self.split == "width left open":
            return x.reshape(x.shape[0], x.shape[1], 3, -1)
        if self.split == "heads left open":
            return x.reshape(x.shape[0], x.shape[1], -1, 4)
        if self.split == "computed":
            return x.reshape(x.shape[0], x.shape[1], 3, x.shape[2] // 3)
        return x.reshape(x.shape[0], x.shape[1], 3, 4)

    def construct(self, x):
        x = self.stem(x)
        x = x.reshape(x.shape[0], x.shape[1], -1).transpose(0, 2, 1)
        q, k, v = (self.heads(x).transpose(0, 2, 1, 3) for x in (self.query(x), self.key(x), self.value(x)))
        weights = ops.softmax(ops.matmul(q, k.transpose(0, 1, 3, 2)) * 0.5, -1)
        mixed = ops.matmul(weights, v).transpose(0, 2, 1, 3)
        return self.out(mixed.reshape(mixed.shape[0], mixed.shape[1], -1))


@pytest.mark.parametrize("split, width, mode", [
    ("computed", 9, "GRAPH"), ("heads left open", 8, "PYNATIVE"), ("hard-coded", 12, "PYNATIVE"),
    pytest.param("width left open", 9, "PYNATIVE", marks=pytest.mark.long)], indirect=["mode"])
def test_heads_lose_width_or_go_whole_or_stay(split, width, mode):
    """Of 3 heads of width 4: one position in every head, or a whole head, or nothing."""
    network = networks.randomize(Heads(split))
    algorithm = gs.OneShot({"prune_rate": 0.4})
    masked = algorithm.apply(network, inputs=SHAPE)
    slim = algorithm.convert(masked)
    assert slim.stem.out_channels == 5
    assert [cell.weight.shape[0] for cell in (slim.query, slim.key, slim.value)] == [width] * 3
    x = ms.Tensor(np.random.default_rng(1).normal(size=SHAPE).astype(np.float32))
    wanted, got = (net.set_train(False)(x).asnumpy() for net in (masked, slim))
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    layer = next(layer for layer in algorithm.report.layers if layer.path == "query")
    assert any("number written in the code" in reason for reason in layer.reasons) == (split == "hard-coded")


@pytest.mark.parametrize("split, width", quick([("computed", 9), ("heads left open", 8), ("width left open", 9)],
                                               [("heads left open", 8), ("width left open", 9)]))
def test_whole_heads_where_the_code_can_do_with_fewer(split, width):
    slim = prune(networks.randomize(Heads(split)), {"prune_rate": 0.4, "heads": "whole"})[1]
    assert slim.query.weight.shape[0] == slim.value.weight.shape[0] == width


class GroupedQuery(nn.Cell):
    """Four queries share two keys and values: every one of those is repeated."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Dense(6, 16), nn.Dense(6, 8), nn.Dense(6, 8)
        self.out = nn.Dense(16, 5)

    @staticmethod
    def repeat(x):
        x = x.reshape(x.shape[0], x.shape[1], -1, 4).transpose(0, 2, 1, 3)
        x = ops.broadcast_to(x.expand_dims(2), (x.shape[0], x.shape[1], 2, x.shape[2], x.shape[3]))
        return x.reshape(x.shape[0], -1, x.shape[3], x.shape[4])

    def construct(self, x):
        q = self.query(x).reshape(x.shape[0], x.shape[1], -1, 4).transpose(0, 2, 1, 3)
        k, v = self.repeat(self.key(x)), self.repeat(self.value(x))
        weights = ops.softmax(ops.matmul(q, k.transpose(0, 1, 3, 2)), -1)
        mixed = ops.matmul(weights, v).transpose(0, 2, 1, 3)
        return self.out(mixed.reshape(mixed.shape[0], mixed.shape[1], -1))


def test_queries_go_with_the_keys_that_they_share():
    slim = prune(networks.randomize(GroupedQuery()), {"prune_rate": 0.5, "heads": "whole"}, (2, 7, 6))[1]
    assert [cell.weight.shape[0] for cell in (slim.query, slim.key, slim.value)] == [8, 4, 4]


class PixelsFromChannels(nn.Cell):
    """Where every axis of the split is as long, only one of them can carry the channels."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.head = nn.Conv2d(2, 3, 1)

    def construct(self, x):
        x = self.conv(x)
        b, c, h, w = x.shape
        x = x.reshape(b, c // 4, 2, 2, h, w).transpose(0, 1, 4, 2, 5, 3)
        return self.head(x.reshape(b, c // 4, 2 * h, 2 * w))


def test_a_split_whose_first_reading_leaves_nothing_is_read_otherwise():
    slim = prune(networks.randomize(PixelsFromChannels()), {"prune_rate": 0.5})[1]
    assert slim.conv.out_channels == 4 and slim.head.in_channels == 1


@pytest.fixture(name="compilations")
def fixture_compilations(monkeypatch):
    """Every network that is compiled, also where that fails; lines of code, which only messages ask for, left out."""
    seen, compile_ = [], tracing._compile
    monkeypatch.setattr(tracing, "_compile", lambda *given: (seen.append(given[0]), compile_(*given))[1])
    return seen


@pytest.mark.parametrize("ranking, again", [("local", 0), ("global", 1)])
def test_a_network_is_compiled_twice_and_wrong_readings_never(ranking, again, compilations):
    """As it is, and slimmed for trial; `convert` compiles only what has other widths than that."""
    algorithm = gs.OneShot({"prune_rate": 0.4, "ranking": ranking})
    masked = algorithm.apply(networks.randomize(Heads("heads left open")), inputs=SHAPE)
    assert len(compilations) == 2
    slim = algorithm.convert(masked)
    assert len(compilations) == 2 + again
    assert algorithm.report.parameters_after == sum(parameter.size for parameter in slim.get_parameters())
    assert algorithm.report.macs_after == count_macs(gs.trace(slim, SHAPE))


class Flat(nn.Cell):
    """A number in the code, which may fit one width only. Every run is counted."""

    def __init__(self, convolution, width):
        super().__init__()
        self.conv, self.dense, self.out = convolution(3, 8, 1), nn.Dense(8 * 64, 6), nn.Dense(6, 4)
        self.width = width
        self.runs = ms.Parameter(ms.Tensor([0.0], ms.float32), requires_grad=False)

    def construct(self, x):
        ops.assign_add(self.runs, ops.ones_like(self.runs))
        x = ops.relu(self.conv(x))
        x = x.reshape(-1, 8 * 64) if self.width == "written" else x.reshape(x.shape[0], -1)
        return self.out(ops.relu(self.dense(x)))


@pytest.mark.parametrize("convolution, width, left", [
    (nn.Conv2d, "written", 8), (nn.Conv2d, "open", 4), (mint.nn.Conv2d, "open", 4)])  # the last does not run on a CPU
def test_a_trial_changes_nothing_of_the_network_which_need_not_run_here(convolution, width, left, compilations):
    network, algorithm = Flat(convolution, width), gs.OneShot({"prune_rate": 0.5})
    algorithm.apply(network, inputs=SHAPE)
    conv = next(layer for layer in algorithm.report.layers if layer.path == "conv")
    assert conv.after == left
    assert any("a number written in the code" in reason for reason in conv.reasons) == (width == "written")
    assert network.runs.asnumpy().tolist() == [0.0]
    assert len(compilations) == 2


class SilentlyWrong(nn.Cell):
    """A reshape that also works at other widths: it moves numbers from one sample into the next."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)

    def construct(self, x):
        return ops.relu(self.conv(x)).reshape(-1, 32).sum(1)


def test_a_number_that_compiles_at_other_widths_is_found_by_the_shapes():
    algorithm = gs.OneShot({"prune_rate": 0.5})
    with pytest.raises(gs.errors.NothingToPruneError, match="a number written in the code fits these widths only"):
        algorithm.apply(SilentlyWrong(), inputs=(4, 3, 2, 2))


class Stubborn(nn.Cell):
    """A width that no operator of the graph holds: the code refuses any other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.head = nn.Conv2d(8, 2, 1)

    def construct(self, x):
        x = self.conv(x)
        if x.shape[1] != 8:
            raise ValueError("8 channels, please")
        return self.head(x)


def test_what_no_number_of_the_graph_explains_is_named():
    with pytest.raises(gs.errors.NothingToPruneError, match="conv: the network's code fails without them .*8 channels"):
        gs.OneShot({"prune_rate": 0.5}).apply(Stubborn(), inputs=SHAPE)


def test_readings_that_never_settle_are_refused(monkeypatch):
    numbers = itertools.count()
    monkeypatch.setattr(trial, "_ATTEMPTS", 4)
    monkeypatch.setattr(trial, "_misfits", lambda *_: {next(numbers)})
    with pytest.raises(SlimError, match="but 4 ways to read the numbers in the network's code have failed"):
        gs.OneShot({"prune_rate": 0.5}).apply(networks.SmallNet(), inputs=networks.SMALL_INPUT)


def test_a_rule_that_is_wrong_about_a_shape_is_found(monkeypatch):
    monkeypatch.setitem(RULES, "ReLU", Rule(lambda flow, node: flow.none(node.shapes[0]), any))
    with pytest.raises(SlimError, match="For 'OneShot', the output of ReLU.* must have shape .*, as its rule says"):
        gs.OneShot({"prune_rate": 0.5}).apply(nn.SequentialCell(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Flatten()), SHAPE)


class ScaledByWidth(nn.Cell):
    """An attention that divides by the root of a width that it takes from the shape."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = nn.Dense(6, 8), nn.Dense(6, 8), nn.Dense(6, 8)
        self.out = nn.Dense(8, 5)

    def construct(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        weights = ops.softmax(ops.matmul(q * q.shape[-1] ** -0.5, k.transpose(0, 2, 1)), -1)
        return self.out(ops.matmul(weights, v))


def test_a_width_that_enters_the_results_stays_and_the_rest_goes():
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(networks.randomize(ScaledByWidth()), inputs=(2, 7, 6)))
    assert [cell.weight.shape[0] for cell in (slim.query, slim.key, slim.value)] == [8, 8, 4]
    reasons = next(layer.reasons for layer in algorithm.report.layers if layer.path == "query")
    assert any("computes from a width" in reason for reason in reasons)


class MeanByHand(nn.Cell):
    """A mean over channels as a sum and a division by another layer's width."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

    def construct(self, x):
        x = self.first(x)
        return self.head(x + ops.relu(self.second(x)).sum(1, keepdims=True) / x.shape[1])


def test_a_width_whose_layer_is_not_found_is_named():
    with pytest.raises(gs.errors.NothingToPruneError, match="first: a number that the code computes from a .*Divs"):
        gs.OneShot({"prune_rate": 0.5}).apply(networks.randomize(MeanByHand()), inputs=SHAPE)


class Residual(nn.Cell):
    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.branch = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.head = nn.Conv2d(8, 4, 1)

    def construct(self, x):
        x = self.stem(x)
        inner = self.inner(x)
        return self.head(ops.relu(x + self.branch(inner * inner.shape[1])))


def test_where_shapes_cannot_be_compared_outputs_are():
    algorithm = gs.OneShot({"prune_rate": 0.5, "residual": "scatter"})
    algorithm.convert(algorithm.apply(networks.randomize(Residual()), inputs=SHAPE))
    layers = {layer.path: layer for layer in algorithm.report.layers}
    assert (layers["inner"].fixed, layers["branch"].fixed) == (8, 0)
    reason, = layers["inner"].reasons
    assert reason.startswith("the network's code fails without them (a number in its code depends on a width: the outp")
    assert remedy_of(reason).startswith("take the numbers there from the input's shape")


def test_what_mindspore_cannot_copy_is_shared():
    network = nn.SequentialCell(nn.Conv2d(3, 8, 1), nn.LRN(), nn.Conv2d(8, 4, 1))
    with pytest.raises(gs.errors.NothingToPruneError, match="operator 'LRN' has no rule"):
        gs.OneShot({"prune_rate": 0.5}).apply(network, inputs=SHAPE)
    network = nn.SequentialCell(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1), nn.LRN())
    slim = gs.OneShot({"prune_rate": 0.5})
    slim = slim.convert(slim.apply(network, inputs=SHAPE))
    assert slim[0].out_channels == 4


def test_what_cannot_be_copied_at_all_is_refused():
    network = nn.SequentialCell(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1))
    network.file = open(__file__, encoding="utf-8")
    try:
        with pytest.raises(SlimError, match="'network' must be one that copy.deepcopy can copy, but a 'Seq"):
            gs.OneShot({"prune_rate": 0.5}).apply(network, inputs=SHAPE)
    finally:
        network.file.close()


class Mixer(nn.Cell):
    """A dense layer over pixels: its filters must fit the sum, the channels beside them need not stay."""

    def __init__(self):
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(3, 8, 1), nn.Dense(16, 16), nn.Conv2d(8, 4, 1)

    def construct(self, x):
        x = self.stem(x)
        y = x.reshape(x.shape[0], x.shape[1], -1)
        return self.head((y + self.mix(y)).reshape(x.shape))


def test_a_dense_layer_over_pixels_lets_the_channels_pass():
    slim = prune(networks.randomize(Mixer()), {"prune_rate": 0.5}, (2, 3, 4, 4))[1]
    assert slim.stem.out_channels == 4 and slim.mix.weight.shape == (16, 16)


class Scale(nn.Cell):
    """One number per channel, and half of how many there are, which is no width that could be found by its value."""

    def __init__(self, width):
        super().__init__()
        self.half = width // 2
        self.weight = ms.Parameter(ms.Tensor(np.arange(1.0, width + 1, dtype=np.float32)), name="weight")

    def construct(self, x):
        return x * self.weight.reshape(1, 2 * self.half, 1, 1)


@pytest.mark.parametrize("taught", [False, True])
def test_a_cell_of_ones_own_is_resized_once_it_is_known(taught, monkeypatch):
    monkeypatch.setattr("golden_stick.cells.slim._RESIZERS", {})
    if taught:
        add_resizer(Scale, lambda cell: setattr(cell, "half", cell.weight.shape[0] // 2))
    network = nn.SequentialCell(nn.Conv2d(3, 8, 1), Scale(8), nn.Conv2d(8, 4, 1))
    algorithm = gs.OneShot({"prune_rate": 0.5})
    if not taught:
        with pytest.raises(gs.errors.NothingToPruneError, match="meets a tensor that keeps its width"):
            algorithm.apply(network, inputs=SHAPE)
        return
    slim = algorithm.convert(algorithm.apply(network, inputs=SHAPE))
    assert slim[1].weight.shape == (4,) and slim[1].half == 2


@pytest.mark.parametrize("kind, resize, message", [
    (int, len, "'kind' must be a class of Cells, but got <class 'int'>"),
    (Scale, 3, "'resize' must be a function, but got int"),
])
def test_what_is_no_resizer_is_refused(kind, resize, message):
    with pytest.raises(ArgumentTypeError, match=message):
        add_resizer(kind, resize)


class Normalized(nn.Cell):
    def __init__(self, kind):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 1)
        self.norm = nn.GroupNorm(1, 8) if kind == "group" else nn.LayerNorm((8,))
        self.kind = kind
        self.head = nn.Conv2d(8, 2, 1)

    def construct(self, x):
        x = self.conv(x)
        if self.kind == "group":
            return self.head(self.norm(x))
        return self.head(self.norm(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("kind, mode", [("group", "GRAPH"), ("layer", "PYNATIVE")], indirect=["mode"])
def test_normalizations_over_channels_lose_some_only_where_asked_and_the_report_says_not_equal(kind, mode):
    network = networks.randomize(Normalized(kind))
    with pytest.raises(gs.errors.NothingToPruneError, match="normalized over"):
        gs.OneShot({"prune_rate": 0.5}).apply(network, inputs=SHAPE)
    algorithm = gs.OneShot({"prune_rate": 0.5, "normalization": "approximate"})
    slim = algorithm.convert(algorithm.apply(network, inputs=SHAPE))
    assert slim.norm.gamma.shape == (4,)
    assert "not equal to the masked network" in str(algorithm.report)
    assert algorithm.report.largest_difference > 1e-3


class NormalizedByHand(nn.Cell):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.gamma = kind, Parameter(Tensor(np.linspace(0.5, 1.5, 8, dtype=np.float32)))
        self.first, self.last = nn.Dense(5, 8), nn.Dense(8, 3)

    def construct(self, x):
        x = self.first(x)
        if self.kind == "layer":
            x = x - x.mean(-1, keep_dims=True)
        square = ops.square(x).mean(-1)
        return self.last(self.gamma * x * ops.expand_dims(ops.rsqrt(square + 1e-5), -1))


@pytest.mark.parametrize("kind", ["layer", "root mean square"])
def test_a_normalization_by_hand_is_one(kind):
    network, data = networks.randomize(NormalizedByHand(kind)), (2, 5)
    with pytest.raises(gs.errors.NothingToPruneError, match="first: normalized over the channels.*ReduceMean"):
        gs.OneShot({"prune_rate": 0.5}).apply(network, data)
    algorithm = gs.OneShot({"prune_rate": 0.5, "normalization": "approximate"})
    slim = algorithm.convert(algorithm.apply(network, data))
    assert (slim.first.weight.shape, slim.gamma.shape, slim.last.weight.shape) == ((4, 5), (4,), (3, 4))
    assert "not equal to the masked network" in str(algorithm.report)


class ScaledByHand(nn.Cell):
    """A number in the code of the outermost Cell, behind all of its layers but one."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Dense(8, 4)
        self.scale = ms.Parameter(Tensor(np.arange(8.0), ms.float32))

    def construct(self, x):
        return self.head((self.b(ops.relu(self.a(x))) * self.scale.reshape(1, 8, 1, 1)).mean((2, 3)))


def test_what_fails_is_found_after_operators_have_run_on_their_own():
    """MindSpore's queue of operators, once in use, reports a failure while the next Cell runs."""
    network, mode = ScaledByHand(), ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        network(Tensor(np.ones((2, 3, 8, 8)), ms.float32)).asnumpy()
        algorithm = gs.OneShot({"prune_rate": 0.5})
        slim = algorithm.convert(algorithm.apply(network, (2, 3, 8, 8)))
    finally:
        ms.set_context(mode=mode)
    assert (slim.a.out_channels, slim.b.out_channels) == (4, 8)
