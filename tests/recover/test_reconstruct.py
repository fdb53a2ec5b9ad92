"""`gs.reconstruct` against least squares by hand, on networks of every kind, and what `convert` makes of it."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.cells.replay import Replay
from golden_stick.cells.slim import recipe_of
from golden_stick.criteria.least_squares import Moments
from golden_stick.deploy.slim_file import Reconstruction
from golden_stick.recover.readers import readers_of
from golden_stick.recover.solver import kept_aside
from tests import networks
from tests.marks import quick

COUNT = 64


@pytest.fixture(autouse=True)
def pynative():
    """What is compared need not be compiled, but for tests that ask for both modes."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)


def batches(*shape, size=16, seed=1):
    data = np.random.default_rng(seed).normal(size=(COUNT, *shape)).astype(np.float32)
    return [data[start:start + size] for start in range(0, COUNT, size)]


def halved(network, shape, **config):
    algorithm = gs.OneShot({"prune_rate": 0.5, **config})
    return algorithm.convert(algorithm.apply(network, inputs=(2, *shape)))


def outputs(network, data):
    network.set_train(False)
    return np.concatenate([network(Tensor(batch)).asnumpy() for batch in data]).astype(np.float64)


def unexplained(wanted, got):
    rows = wanted.reshape(len(wanted), -1)
    aside = kept_aside(np.arange(COUNT))
    wanted, got = rows[aside], got.reshape(len(got), -1)[aside]
    return np.square(wanted - got).sum() / np.square(wanted - wanted.mean(0)).sum()


def dense(hidden=12, bias=True):
    return networks.randomize(nn.SequentialCell(nn.Dense(5, hidden), nn.ReLU(), nn.Dense(hidden, 3, has_bias=bias)))


@pytest.mark.parametrize("mode, bias", [("GRAPH", True), ("PYNATIVE", False)], indirect=["mode"])
def test_two_layers_by_hand(mode, bias):
    network, data = dense(bias=bias), batches(5)
    slim = halved(network, (5,))
    solved = gs.reconstruct(slim, network, data)
    layer, = gs.reconstruction_report(solved).layers
    reads, wanted = outputs(nn.SequentialCell(slim[0], slim[1]), data), outputs(network, data)
    old = slim[2].weight.asnumpy().astype(np.float64)
    assert (layer.path, layer.change) == ("2", "weights") and layer.after < layer.before
    means = (reads.mean(0), wanted.mean(0)) if bias else (0.0, 0.0)
    centred, target = reads - means[0], wanted - means[1] - (reads - means[0]) @ old.T
    spread = (reads - reads.mean(0) if bias else reads)
    damped = centred.T @ centred / COUNT + layer.damping * np.square(spread).mean() * np.eye(6)
    weight = old + np.linalg.solve(damped, centred.T @ target / COUNT).T
    np.testing.assert_allclose(solved[2].weight.asnumpy(), weight, rtol=1e-4, atol=1e-5)
    if bias:
        np.testing.assert_allclose(solved[2].bias.asnumpy(), wanted.mean(0) - weight @ reads.mean(0), atol=1e-5)
    # The layer's error before is that of the slim network.
    assert layer.before == pytest.approx(unexplained(wanted, outputs(slim, data)), rel=1e-4)
    for one, other in zip(slim[0].get_parameters(), solved[0].get_parameters()):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())


class Stream(nn.Cell):
    """Two blocks that add to a stream."""

    def __init__(self):
        super().__init__()
        self.embed, self.up, self.down = nn.Dense(5, 6), nn.Dense(6, 12), nn.Dense(12, 6)
        self.more, self.less = nn.Dense(6, 12), nn.Dense(12, 6)

    def construct(self, x):
        x = self.embed(x)
        x = x + self.down(ops.relu(self.up(x)))
        return x + self.less(ops.relu(self.more(x)))


def test_a_layer_makes_up_for_what_the_stream_that_it_is_added_to_lacks():
    network, data = networks.randomize(Stream()), batches(5)
    slim = halved(network, (5,), residual="keep")
    solved = gs.reconstruct(slim, network, data)
    layers = {layer.path: layer for layer in gs.reconstruction_report(solved).layers}
    stream = outputs(solved.embed, data)
    stream += outputs(nn.SequentialCell(solved.embed, solved.up, nn.ReLU(), solved.down), data)
    reads = np.maximum(stream @ solved.more.weight.asnumpy().T + solved.more.bias.asnumpy(), 0)
    target, old = outputs(network, data) - stream, slim.less.weight.asnumpy().astype(np.float64)
    centred = reads - reads.mean(0)
    damped = centred.T @ centred / COUNT + layers["less"].damping * np.square(centred).mean() * np.eye(6)
    change = np.linalg.solve(damped, centred.T @ (target - target.mean(0) - centred @ old.T) / COUNT)
    np.testing.assert_allclose(solved.less.weight.asnumpy(), old + change.T, rtol=1e-3, atol=1e-4)
    assert layers["less"].before > layers["less"].after


class Net(nn.Cell):
    """Two convolutions with nothing between them, and a normalization: it can take a bias."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, has_bias=True)
        self.second = nn.Conv2d(16, 6, 3, pad_mode="valid")
        self.norm = nn.BatchNorm2d(6)

    def construct(self, x):
        return self.norm(self.second(self.first(x)))


def test_what_the_rest_can_say_comes_back_exactly():
    """Where channels that go are sums of those that stay, and there is a place for a constant."""
    network = networks.randomize(Net())
    weight, bias = network.first.weight.asnumpy(), network.first.bias.asnumpy()
    mix = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32) / 30
    weight[8:], bias[8:] = np.tensordot(mix, weight[:8], 1), 0.01
    network.first.weight.set_data(Tensor(weight))
    network.first.bias.set_data(Tensor(bias))
    slim, data = halved(network, (3, 6, 6)), batches(3, 6, 6)
    wanted, fresh = outputs(network, data), batches(3, 6, 6, seed=2)
    assert slim.first.weight.shape[0] == 8 and unexplained(wanted, outputs(slim, data)) > 1e-3
    solved = gs.reconstruct(slim, network, data)
    np.testing.assert_allclose(outputs(solved, fresh), outputs(network, fresh), rtol=1e-3, atol=2e-3)


def test_nothing_is_taken_that_does_not_help():
    """Channels that go are dead, so that nothing is to be mended; and eight samples say nothing of 60 columns."""
    network = dense()
    weight = network[0].weight.asnumpy()
    weight[6:] = 0
    network[0].weight.set_data(Tensor(weight))
    network[0].bias.set_data(Tensor(np.r_[np.ones(6), np.zeros(6)].astype(np.float32)))
    slim, data = halved(network, (5,)), batches(5)
    solved = gs.reconstruct(slim, network, data)
    layer, = gs.reconstruction_report(solved).layers
    assert layer.before < 1e-10
    np.testing.assert_allclose(outputs(solved, data), outputs(network, data), atol=1e-5)
    noise = [np.random.default_rng(3).normal(size=(9, 5)).astype(np.float32)]
    wide = networks.randomize(nn.SequentialCell(nn.Dense(5, 120), nn.ReLU(), nn.Dense(120, 1)))
    layer, = gs.reconstruction_report(gs.reconstruct(halved(wide, (5,)), wide, noise)).layers
    assert layer.after <= layer.before
    if layer.change == "nothing":
        assert "as it was" in str(layer)


class Twice(nn.Cell):
    """One layer that runs twice."""

    def __init__(self):
        super().__init__()
        self.stem, self.shared, self.last = nn.Dense(5, 12), nn.Dense(12, 12), nn.Dense(12, 4)

    def construct(self, x):
        x = ops.relu(self.stem(x))
        x = ops.relu(self.shared(x))
        return self.last(ops.relu(self.shared(x)))


class Levels(nn.Cell):
    """Two layers that run on maps of two sizes."""

    def __init__(self):
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 12, 1), nn.MaxPool2d(2, 2)
        self.shared, self.last = nn.Conv2d(12, 12, 3), nn.Conv2d(12, 4, 1, has_bias=True)

    def construct(self, x):
        x = ops.relu(self.stem(x))
        made = [self.last(ops.relu(self.shared(level))) for level in (x, self.pool(x))]
        return ops.concat([level.reshape(level.shape[0], 4, -1) for level in made], 2)


class Separable(nn.Cell):
    """A grouped, a depthwise and a plain convolution."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.grouped = nn.Conv2d(8, 12, 3, group=2, has_bias=True)
        self.norm = nn.BatchNorm2d(12)
        self.depthwise = nn.Conv2d(12, 12, 3, stride=2, group=12)
        self.behind = nn.BatchNorm2d(12)
        self.last = nn.Conv2d(12, 4, 1, has_bias=True)

    def construct(self, x):
        x = ops.relu(self.norm(self.grouped(ops.relu(self.first(x)))))
        return self.last(ops.relu(self.behind(self.depthwise(x))))


class Tokens(nn.Cell):
    """A block of a transformer's, without attention: a stream, layer normalizations and hidden units."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm, self.up, self.down = nn.Dense(5, 8), nn.LayerNorm((8,)), nn.Dense(8, 24), nn.Dense(24, 8)
        self.last, self.head = nn.LayerNorm((8,)), nn.Dense(8, 4)

    def construct(self, x):
        x = self.embed(x)
        x = x + self.down(ops.gelu(self.up(self.norm(x))))
        return self.head(self.last(x))


class Before(nn.Cell):
    """Normalizations before convolutions, over feature maps that stand side by side."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.inner = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
        self.both, self.head = nn.BatchNorm2d(16), nn.Conv2d(16, 4, 1)

    def construct(self, x):
        x = self.stem(x)
        return self.head(ops.relu(self.both(ops.concat((x, self.inner(ops.relu(self.norm(x)))), 1))))


class Residual(nn.Cell):
    """Two blocks, of one width and of another."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = networks.conv3x3(3, 8), nn.BatchNorm2d(8)
        self.blocks = nn.SequentialCell(networks.BasicBlock(8, 8, 1), networks.BasicBlock(8, 16, 2))
        self.head = nn.Dense(16, 5)

    def construct(self, x):
        return self.head(self.blocks(ops.relu(self.norm(self.stem(x)))).mean((2, 3)))


IMAGE = (3, 12, 12)
KINDS = {
    "residual": (Residual, IMAGE, {}),
    "scatter": (Residual, IMAGE, {"residual": "scatter"}),
    "keep": (Residual, IMAGE, {"residual": "keep"}),
    "shared": (Twice, (5,), {}),
    "levels": (Levels, IMAGE, {}),
    "separable": (Separable, IMAGE, {}),
    "tokens": (Tokens, (6, 5), {}),
    "before": (Before, IMAGE, {}),
}


@pytest.mark.parametrize("kind", quick(KINDS, ["residual", "shared", "levels", "separable", "tokens", "before"]))
def test_every_kind_of_network_gets_nearer(kind):
    build, shape, config = KINDS[kind]
    network, data = networks.randomize(build()), batches(*shape)
    slim = halved(network, shape, **config)
    before = {item.name: item.asnumpy().copy() for item in slim.get_parameters()}
    solved = gs.reconstruct(slim, network, data)
    report, wanted = gs.reconstruction_report(solved), outputs(network, data)
    assert not [layer for layer in report.layers if layer.reason]
    assert all(layer.after <= layer.before for layer in report.layers)
    assert [layer.path for layer in report.layers][-1] in ("head", "last")
    assert unexplained(wanted, outputs(solved, data)) < 0.7 * unexplained(wanted, outputs(slim, data))
    # What it was made of is as it was.
    for item in slim.get_parameters():
        np.testing.assert_array_equal(item.asnumpy(), before[item.name])
    assert {item.name for item in solved.get_parameters()} == set(before)
    if kind == "residual":
        # With little memory, fewer rows, and layers run from the beginning.
        again = gs.reconstruct(slim, network, data, memory=1e-4)
        assert unexplained(wanted, outputs(solved, data)) < unexplained(wanted, outputs(again, data))
        assert unexplained(wanted, outputs(again, data)) < unexplained(wanted, outputs(slim, data))


def test_what_is_kept_changes_nothing_but_the_way():
    network, data = networks.randomize(Residual()), batches(*IMAGE, size=32)
    inputs, seen = [(Tensor(batch),) for batch in data], {}

    def into(held):
        return [lambda _, array: held.append(array)]

    for room in (0, 1e9, 1.5e5):
        replay, found, stem = Replay(network.set_train(False), inputs, room), [], []
        with replay.entered():
            for path in ("blocks.0.first", "blocks.0.second", "blocks.1.first", "head"):
                moved = replay.advance(path)
                assert moved == (path != "blocks.0.second") or not room
                for number in range(len(inputs)):
                    replay.run(number, {path: into(found), "stem": into(stem)}, {}, ((path, 0), False))
        seen[room] = found, len(stem)
    assert seen[0][1] == 8 and seen[1e9][1] == 0 and 0 < seen[1.5e5][1] < 8
    for found, _ in seen.values():
        for one, other in zip(found, seen[0][0]):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_recipe_tells_and_the_network_saves_loads_folds_and_exports(tmp_path):
    network, data = networks.randomize(Residual()), batches(*IMAGE)
    algorithm = gs.OneShot({"prune_rate": 0.5})
    solved = algorithm.convert(algorithm.apply(network, inputs=(2, *IMAGE)), calibration_data=data)
    report = gs.reconstruction_report(solved)
    assert str(report) in str(algorithm.report)
    assert algorithm.report.to_dict()["reconstruction"] == report.to_dict()
    assert (report.samples, report.kept_aside) == (56, 8)
    path = gs.save_slim(solved, str(tmp_path / "slim"))
    loaded = gs.load_slim(Residual(), path)
    assert recipe_of(loaded).steps == recipe_of(solved).steps and gs.reconstruction_report(loaded) == report
    gs.verify(solved, loaded, (2, *IMAGE))
    folded = gs.fold(loaded, (2, *IMAGE))
    gs.export(folded, (2, *IMAGE), str(tmp_path / "slim"), file_format="ONNX")
    assert gs.reconstruction_report(folded) == report


def test_a_folded_network_is_solved_towards_the_folded_original():
    network = gs.fold(networks.randomize(Residual()), (2, *IMAGE))
    slim, data = halved(network, IMAGE), batches(*IMAGE)
    solved, wanted = gs.reconstruct(slim, network, data), outputs(network, data)
    assert unexplained(wanted, outputs(solved, data)) < 0.7 * unexplained(wanted, outputs(slim, data))
    with pytest.raises(ArgumentError, match="normalizations must be folded in both networks or in none"):
        plain = networks.randomize(Residual())
        gs.reconstruct(gs.fold(halved(plain, IMAGE), (2, *IMAGE)), plain, data)


class Coded(nn.Cell):
    """A weight that is read by code, and a Cell that computes more than its weights say."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Dense(5, 8), nn.Dense(8, 8)
        self.rectified = nn.Dense(8, 8, activation="relu")
        self.own = Parameter(Tensor(np.random.default_rng(0).normal(size=(8, 4)), ms.float32), name="own")

    def construct(self, x):
        x = ops.relu(self.second(ops.relu(self.first(x))))
        return ops.matmul(self.rectified(x), self.own)


def test_what_cannot_be_solved_is_named():
    network = networks.randomize(Coded())
    solved = gs.reconstruct(halved(network, (5,)), network, batches(5))
    layers = {layer.path: layer for layer in gs.reconstruction_report(solved).layers}
    assert layers["second"].change == "weights"
    assert "as it was: its weight is read by code" in layers["own"].row()[-1]
    algorithm = gs.OneShot({"prune_rate": 0.5})
    algorithm.convert(algorithm.apply(network, (2, 5)), calibration_data=batches(5))
    # The masked network has zeros in the weight that code reads; the original, which counts, has not.
    assert algorithm.applied.selection.plan.zeros
    assert algorithm.report.reconstruction == gs.reconstruction_report(solved)
    found = readers_of(gs.trace(network, (2, 5)), {"second.weight": {1: (0, 1)}}, {}, {"first": 1, "second": 2})
    assert found[0].reason == "its weight is read by code, not by its own Cell"
    assert layers["rectified"].reason == "it gives something else than its weights say"


class TestConvert:
    data = batches(*IMAGE)

    @pytest.fixture
    def converted(self):
        algorithm = gs.OneShot({"prune_rate": 0.5})
        applied = algorithm.apply(networks.randomize(Residual()), inputs=(2, *IMAGE))

        def convert(recovery, data=self.data, train=False):
            if train:
                bias = next(item for item in applied.get_parameters() if item.name == "head.bias")
                bias.set_data(Tensor(np.ones(5, np.float32)))
            return algorithm.convert(applied, calibration_data=data, recovery=recovery), algorithm.report

        return convert

    def test_statistics_and_none(self, converted):
        plain, _ = converted(None, None)
        same, report = converted("none")
        assert "reconstruction" not in str(report) and report.to_dict()["reconstruction"] is None
        estimated, report = converted("statistics")
        assert "re-estimated on 4 batches" in str(report)
        for one, other, third in zip(*(item.get_parameters() for item in (plain, same, estimated))):
            np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())
            assert np.array_equal(one.asnumpy(), third.asnumpy()) != ("moving" in one.name)

    def test_weights_that_were_trained_since_stay(self, converted):
        _, report = converted(None, train=True)
        assert "trained after 'apply'" in str(report) and "re-estimated on 4" in str(report)
        with pytest.raises(ArgumentError, match="'statistics' or 'none' where the weights were trained after 'apply'"):
            converted("weights")

    def test_refusals(self, converted):
        with pytest.raises(ArgumentError, match="'recovery' must be one of 'weights', 'statistics', 'none'"):
            converted("distil")
        with pytest.raises(ArgumentError, match="'recovery' 'weights' must stand with 'calibration_data'"):
            converted("weights", None)
        with pytest.raises(ArgumentError, match="'calibration_data' must hold at least two samples"):
            converted("weights", [self.data[0][:1]])


def test_a_failure_on_the_way_leaves_the_slim_network_as_it_was(monkeypatch):
    network, data = networks.randomize(Residual()), batches(*IMAGE)
    slim = halved(network, IMAGE)
    before = {item.name: item.asnumpy().copy() for item in slim.get_parameters()}
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise RuntimeError("broken on purpose")
        return solve(*arguments)

    solve = Moments.solve
    monkeypatch.setattr(Moments, "solve", fail)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        gs.reconstruct(slim, network, data)
    for one in (slim, network):
        assert all("construct" not in vars(cell) for _, cell in one.cells_and_names())
    for item in slim.get_parameters():
        np.testing.assert_array_equal(item.asnumpy(), before[item.name])


def test_refusals():
    network, data = dense(), batches(5)
    slim, other = halved(network, (5,)), networks.randomize(nn.SequentialCell(nn.Dense(5, 12)))
    for arguments, error, message in (
            ((1, network, data), ArgumentTypeError, "both networks must be Cells, but 'slim' is a int"),
            ((slim, network, data, 1, 0), ArgumentError, "'memory' must be a positive number of gigabytes"),
            ((slim, other, data), ArgumentError, "'original' must be the network that 'slim' was made from"),
            ((network, network, data), ArgumentError, "'slim' must have lost channels since 'original'"),
            ((slim, network, data[0][:1][None]), ArgumentError, "'data' must hold at least two samples"),
            ((slim, network, [np.ones((4, 7), np.float32)]), ArgumentError, "a batch must be what the network takes"),
            ((slim, network, ["image"]), ArgumentTypeError, "a batch must be a Tensor or start with one")):
        with pytest.raises(error, match=message):
            gs.reconstruct(*arguments)
    with pytest.raises(ArgumentTypeError, match="For 'reconstruction_report', 'network' must be a Cell"):
        gs.reconstruction_report(1)
    with pytest.raises(StateError, match="must be one that 'reconstruct' returned, but it was never reconstructed"):
        gs.reconstruction_report(slim)


def test_a_reconstruction_as_data():
    done = Reconstruction((), 3, 1)
    assert Reconstruction.from_dict(done.to_dict()) == done and "0 of 0 layers changed" in str(done)
