"""What is saved can be loaded: layers that were replaced after pruning, and what a file cannot hold."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, mint, nn, ops

import golden_stick as gs
from golden_stick.base.errors import CheckpointError
from golden_stick.cells.slim import recipe_of
from tests import networks
from tests.marks import quick

SHAPE = (2, 3, 8, 8)


class Body(nn.Cell):
    """Two convolutions, and a head for a number of classes."""

    def __init__(self, head):
        super().__init__()
        self.a, self.n, self.b, self.head = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3), head

    def construct(self, x):
        return self.head(ops.relu(self.b(ops.relu(self.n(self.a(x))))))


class Pooled(nn.Cell):
    """A head of one's own: it reads means over the image."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def construct(self, x):
        return self.layer(x.mean((2, 3)))


class Cosine(nn.Cell):
    """As in the recognition of faces: it asks its parameter for its shape."""

    def __init__(self, inputs, classes):
        super().__init__()
        self.centres = Parameter(Tensor(np.random.default_rng(0).normal(size=(classes, inputs)),
                                        ms.float32))

    def construct(self, x):
        return ops.dense(x, self.centres / self.centres.norm(dim=1, keepdim=True))


class Told(Cosine):
    """One that also keeps the number."""

    def __init__(self, inputs, classes):
        super().__init__(inputs, classes)
        self.classes = classes


HEADS = {
    "dense": lambda inputs, classes: Pooled(nn.Dense(inputs, classes)),
    "mint": lambda inputs, classes: Pooled(mint.nn.Linear(inputs, classes)),
    "convolution": lambda inputs, classes: nn.SequentialCell(nn.Conv2d(inputs, classes, 1, has_bias=True), nn.ReLU()),
    "transposed": lambda inputs, classes: nn.Conv2dTranspose(inputs, classes, 2, 2),
    "normalized": lambda inputs, classes: Pooled(nn.SequentialCell(nn.Dense(inputs, classes),
                                                                   nn.LayerNorm((classes,)))),
    "cosine": lambda inputs, classes: Pooled(Cosine(inputs, classes)),
}


def build(kind, classes):
    return Body(HEADS[kind](16, classes))


def pruned(network, shape=SHAPE):
    algorithm = gs.OneShot({"prune_rate": 0.5})
    return algorithm.convert(algorithm.apply(networks.randomize(network), inputs=shape))


def with_head(slim, kind, classes=3):
    slim.head = networks.randomize(HEADS[kind](slim.b.out_channels, classes))
    return slim


@pytest.mark.parametrize("kind", quick(HEADS, ["dense", "convolution", "cosine"]))
def test_another_number_of_classes_loads_onto_either(kind, tmp_path):
    slim = with_head(pruned(build(kind, 10)), kind)
    path = gs.save_slim(slim, tmp_path / ("slim.ckpt" if kind == "dense" else "slim.safetensors"))
    for classes in (10, 3):
        original = build(kind, classes)
        loaded = gs.load_slim(original, path)
        assert gs.verify(slim, loaded, SHAPE).largest_difference == 0.0
        assert recipe_of(loaded) == recipe_of(slim)
        again = gs.load_slim(build(kind, 13 - classes), gs.save_slim(loaded, tmp_path / "again"))
        assert gs.verify(slim, again, SHAPE).largest_difference == 0.0
    with pytest.raises(CheckpointError, match=r"this 'Body' differs: of another shape are 'head.* instead of "):
        gs.load_slim(build(kind, 5), path)


def test_the_widths_that_the_new_layer_holds_are_set(tmp_path):
    slim = with_head(pruned(build("dense", 10)), "dense")
    loaded = gs.load_slim(build("dense", 10), gs.save_slim(slim, tmp_path / "slim"))
    assert (loaded.head.layer.in_channels, loaded.head.layer.out_channels) == (8, 3)


def test_pruned_folded_and_saved_again_with_the_new_head(tmp_path):
    """The steps that follow are of the network with the new head, and all of them lead from the original to it."""
    slim = with_head(pruned(build("convolution", 10)), "convolution")
    again = gs.fold(pruned(slim), SHAPE)
    path = gs.save_slim(again, tmp_path / "again")
    for classes in (10, 3):
        assert gs.verify(again, gs.load_slim(build("convolution", classes), path), SHAPE).largest_difference == 0.0


def test_a_layer_that_was_replaced_and_then_pruned(tmp_path):
    """In the first step it keeps its filters, which then are others: what is removed of these, the second step says."""
    def deep(width):
        return Body(Pooled(nn.SequentialCell(nn.Dense(16, width), nn.ReLU(), nn.Dense(width, 4))))

    first = gs.OneShot({"prune_rate": {"a": 0.5}})
    slim = first.convert(first.apply(networks.randomize(deep(16)), inputs=SHAPE))
    slim.head.layer = networks.randomize(nn.SequentialCell(nn.Dense(16, 12), nn.ReLU(), nn.Dense(12, 4)))
    again = pruned(slim)
    assert again.head.layer[0].out_channels == 6
    path = gs.save_slim(again, tmp_path / "slim")
    for width in (16, 12):
        assert gs.verify(again, gs.load_slim(deep(width), path), SHAPE).largest_difference == 0.0


@pytest.mark.parametrize("kind", quick(["dense", "convolution", "cosine"], ["cosine"]))
def test_a_cell_around_the_network_before_it_was_pruned(kind, tmp_path):
    """Training comes first, and renames every parameter: the file loads onto a network built without it, and back."""
    network = build(kind, 10)
    networks.WithLoss(network)
    slim = pruned(network)
    path = gs.save_slim(slim, tmp_path / "slim")
    loaded = gs.load_slim(build(kind, 10), path)
    assert gs.verify(slim, loaded, SHAPE).largest_difference == 0.0 and recipe_of(loaded) == recipe_of(slim)
    plain = gs.save_slim(pruned(build(kind, 10)), tmp_path / "plain")
    inside = networks.WithLoss(build(kind, 10)).network
    assert gs.verify(slim, gs.load_slim(inside, plain), SHAPE).largest_difference == 0.0


class Part(nn.Cell):
    """A layer that another may stand in for."""

    def __init__(self, make=lambda: nn.Conv2d(16, 16, 1)):
        super().__init__()
        self.c, self.d = make(), None

    def construct(self, x):
        return ops.relu(self.c(x) if self.d is None else self.d(x))


def test_two_parameters_of_one_name_are_named(tmp_path):
    slim = pruned(Body(nn.SequentialCell(Part(), Part())), SHAPE)
    for part in slim.head:
        part.d, part.c = nn.Conv2d(16, 16, 1), None
    with pytest.raises(CheckpointError, match="For 'save_slim', every parameter must have a name of its own, but "
                                              "'head.0.d.weight' and 'head.1.d.weight' are both named 'd.weight': "):
        gs.save_slim(slim, tmp_path / "slim")
    slim.head[0].d.weight.name, slim.head[1].d.weight.name = "one", "two"
    with pytest.raises(CheckpointError, match=r"but that would lack 'head.0.d.weight' \(16, 16, 1, 1\), "
                                              r"'head.1.d.weight' \(16, 16, 1, 1\); have besides 'head.0.c.weight', "
                                              "'head.1.c.weight': save a network before layers are put into it"):
        gs.save_slim(slim, tmp_path / "slim")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [lambda: nn.Conv2d(16, 16, 3, group=4), lambda: nn.BatchNorm2d(16),
                                  lambda: nn.PReLU(16)])
def test_so_are_those_of_other_layers(make, tmp_path):
    slim = pruned(Body(nn.SequentialCell(Part(make), nn.ReLU(), Part(make))), SHAPE)
    for part in (slim.head[0], slim.head[2]):
        part.d, part.c = make(), None
    with pytest.raises(CheckpointError, match=r"but 'head.0.d.(\w+)' and 'head.2.d.\1' are both named 'd.\w+': save a"):
        gs.save_slim(slim, tmp_path / "slim")


REFUSED = {
    "kernel": (lambda slim: setattr(slim, "b", nn.Conv2d(8, 8, 5)),
               r"'b.weight' \(8, 8, 5, 5\) instead of \(8, 8, 3, 3\): 'kernel_size' of the 'Conv2d' holds that number"),
    "pruned": (lambda slim: setattr(slim, "b", nn.Conv2d(8, 12, 3)),
               r"'b.weight' \(12, 8, 3, 3\) .*: positions of axis 0 were pruned, and those of its 12 are not known"),
    "axes": (lambda slim: setattr(slim, "b", nn.Conv3d(8, 8, 3)), "'b.weight' .*: has 5 axes, not 4"),
    "told": (lambda slim: setattr(slim.head, "layer", Told(16, 3)),
             "'classes' of the 'Told' holds that number, which 'add_resizer' was not told of"),
    "bias": (lambda slim: setattr(slim.head, "layer", mint.nn.Linear(8, 10, bias=False)),
             "would have besides 'head.layer.bias': save a network before layers are put into it"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_could_not_be_built_is_refused_before_it_is_written(what, tmp_path):
    slim = pruned(build("cosine" if what == "told" else "mint", 10))
    change, message = REFUSED[what]
    change(slim)
    with pytest.raises(CheckpointError, match=message):
        gs.save_slim(slim, tmp_path / "slim")
    assert list(tmp_path.iterdir()) == []


def test_the_network_inside_a_cell_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="'WithLoss' without a recipe: save the Cell at 'network', which has one"):
        gs.save_slim(networks.WithLoss(pruned(build("dense", 10))), tmp_path / "slim")
