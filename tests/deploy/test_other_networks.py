"""`load_slim` onto networks that are built otherwise, and slim networks after what may be done to them."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import CheckpointError
from golden_stick.cells.slim import recipe_of
from golden_stick.deploy.slim_file import read_slim
from golden_stick.graph.plan import KeptAxis, KeptChannels, PruningPlan
from tests import networks
from tests.deploy.test_slim_file import make_slim

SHAPE = networks.SMALL_INPUT


class OtherOrder(networks.SmallNet):
    """The same network; its Cells are declared the other way round."""

    def __init__(self):
        nn.Cell.__init__(self)
        self.head, self.flatten = nn.Dense(6 * 16, 4), nn.Flatten()
        self.c = nn.Conv2d(8, 6, 3, 2, has_bias=True)
        self.norm_b, self.b = nn.BatchNorm2d(8), networks.conv3x3(8, 8)
        self.norm_a, self.a = nn.BatchNorm2d(8), networks.conv3x3(3, 8)


class ChangedPlaces(networks.SmallNet):
    """The layers `a` and `b` have each other's names."""

    def __init__(self):
        super().__init__()
        self.a, self.b = networks.conv3x3(8, 8), networks.conv3x3(3, 8)


class Renamed(networks.SmallNet):
    """All parameters as they were, `b.weight` too, which belongs to a Cell of another name."""

    def __init__(self):
        super().__init__()
        del self.b
        self.other = networks.conv3x3(8, 8)
        self.other.weight.name = "b.weight"


class RenamedNormalization(networks.SmallNet):
    """The same of a normalization."""

    def __init__(self):
        super().__init__()
        del self.norm_b
        self.other = nn.BatchNorm2d(8)
        for parameter in self.other.get_parameters():
            parameter.name = parameter.name.replace("other", "norm_b")


class Scale(nn.Cell):
    """Four vectors, as a normalization has; it is none."""

    def __init__(self):
        super().__init__()
        self.gamma, self.beta, self.moving_mean, self.moving_variance = (
            Parameter(Tensor(np.ones(8), ms.float32), name=name)
            for name in ("gamma", "beta", "moving_mean", "moving_variance"))


class NoNormalization(networks.SmallNet):
    """A Cell of the user's own where the normalization was."""

    def __init__(self):
        super().__init__()
        self.norm_a = Scale()


def scattered():
    """Made by hand, so that nothing is traced."""
    kept = (0, 2, 5)
    axes = [KeptAxis("b.weight", 0, 8, kept)]
    axes += [KeptAxis(f"norm_b.{name}", 0, 8, kept) for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    return gs.slim(networks.randomize(networks.SmallNet()),
                   PruningPlan(tuple(axes), (), (KeptChannels("norm_b", 8, kept, 2),), ()))


def test_cells_that_are_declared_in_another_order(tmp_path):
    slim = make_slim()
    loaded = gs.load_slim(OtherOrder(), gs.save_slim(slim, str(tmp_path / "slim")))
    assert [item.name for item in loaded.get_parameters()][0] == "head.weight"
    assert gs.verify(slim, loaded, SHAPE).largest_difference == 0.0
    # And back: the file of the one into the other.
    again = gs.load_slim(networks.SmallNet(), gs.save_slim(loaded, str(tmp_path / "again")))
    assert gs.verify(slim, again, SHAPE).largest_difference == 0.0


@pytest.mark.parametrize("network, message", [
    (ChangedPlaces, r"a 'SmallNet', but this 'ChangedPlaces' differs: of another shape are 'a.weight' \(8, 8, 3, 3\) "
                    r"instead of \(8, 3, 3, 3\), 'b.weight' \(8, 3, 3, 3\) instead of \(8, 8, 3, 3\)\."),
    (RenamedNormalization,
     "must be of the kind that .* was made from, but: .* must have a Cell at 'norm_b', but got none"),
])
def test_what_differs_is_named(network, message, tmp_path):
    path = gs.save_slim(scattered(), str(tmp_path / "slim"))
    built = network()
    before = {item.name: item.asnumpy().copy() for item in built.get_parameters()}
    with pytest.raises(CheckpointError, match=message):
        gs.load_slim(built, path)
    for item in built.get_parameters():
        np.testing.assert_array_equal(item.asnumpy(), before[item.name])


def test_cells_that_differ_where_parameters_do_not(tmp_path):
    slim = networks.randomize(networks.SmallNet())
    path = gs.save_slim(gs.fold(slim, SHAPE), str(tmp_path / "folded"))
    for network, message in ((NoNormalization, "the Cell at 'norm_a' must be a batch normalization, as in the network "
                              "that was folded, but got a 'Scale'"),
                             (Renamed, "the network must have a Cell at 'b', but got none named 'b'")):
        with pytest.raises(CheckpointError, match=f"must be of the kind that '.*' was made from, but: .*{message}"):
            gs.load_slim(network(), path)


def tuned(slim):
    """A step of training, statistics of normalizations included."""
    optimizer = nn.Momentum(slim.trainable_params(), 0.05, 0.9)
    step = nn.TrainOneStepCell(nn.WithLossCell(slim, nn.MSELoss()), optimizer).set_train()
    step(ops.ones(SHAPE, ms.float32), ops.zeros((2, 4), ms.float32))
    return slim.set_train(False)


@pytest.mark.parametrize("steps, ending", [
    ("tune", "safetensors"), ("tune fold", "ckpt"), pytest.param("fold tune", "safetensors", marks=pytest.mark.long),
    pytest.param("tune prune fold tune", "ckpt", marks=pytest.mark.long)])
def test_a_slim_network_saves_and_loads_just_so_after(steps, ending, tmp_path):
    network = make_slim("scatter")
    before = {item.name: item.asnumpy().copy() for item in network.get_parameters()}
    done = {"tune": tuned, "fold": lambda one: gs.fold(one, SHAPE), "prune": lambda one: make_slim(network=one)}
    for step in steps.split():
        network = done[step](network)
    path = gs.save_slim(network, str(tmp_path / f"slim.{ending}"))
    loaded = gs.load_slim(networks.SmallNet(), path)
    values = {item.name: item.asnumpy() for item in loaded.get_parameters()}
    assert list(values) == [item.name for item in network.get_parameters()]
    assert not np.array_equal(values["head.bias"], before["head.bias"])
    for item in network.get_parameters():
        np.testing.assert_array_equal(values[item.name], item.asnumpy())
    assert recipe_of(loaded).steps == recipe_of(network).steps
    assert recipe_of(loaded).original == recipe_of(network).original
    assert dict(read_slim(path).original) == {item.name: tuple(item.shape)
                                              for item in networks.SmallNet().get_parameters()}
    assert gs.verify(network, loaded, SHAPE).largest_difference == 0.0
