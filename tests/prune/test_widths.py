"""Widths that the code takes from elsewhere than shapes: attributes, groups, what a recurrent layer starts with."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import NothingToPruneError, SlimError
from tests.prune.test_field import filled


def slim_of(network, inputs, **config):
    """The slim network and the report; `convert` has compared it with the masked one."""
    algorithm = gs.OneShot({"criterion": "l1", "prune_rate": 0.5, **config})
    slim = algorithm.convert(algorithm.apply(filled(network), inputs=inputs))
    assert algorithm.report.output_scale > 0
    return slim, algorithm.report


class Heads(nn.Cell):
    """An attention whose code takes all widths from attributes."""

    def __init__(self, dim=16, heads=2, places=5):
        super().__init__()
        self.heads, self.dim, self.places = heads, dim, places
        self.qkv, self.proj = nn.Dense(dim, 3 * dim), nn.Dense(dim, dim)

    def construct(self, x):
        x = self.qkv(x).reshape((-1, self.places, 3, self.heads, self.dim // self.heads)).transpose((2, 0, 3, 1, 4))
        x = ops.matmul(ops.softmax(ops.matmul(x[0], x[1].swapaxes(2, 3)), -1), x[2]).transpose((0, 2, 1, 3))
        return self.proj(x.reshape((-1, self.places, self.dim)))


class Shapes(nn.Cell):
    """Shapes that are ready in tuples."""

    def __init__(self):
        super().__init__()
        self.apart, self.together = (-1, 2, 8), [-1, 16]
        self.a, self.b = nn.Dense(5, 16), nn.Dense(16, 3)

    def construct(self, x):
        x = ops.relu(self.a(x)).reshape(self.apart)
        return self.b(ops.flip(x, (1,)).reshape(self.together))


class Named(nn.Cell):
    """Query, key and value apart, their widths under three names; a number beside them that is no width."""

    def __init__(self):
        super().__init__()
        self.count, self.size, self.whole, self.temperature = 2, 8, 16, 8
        self.q, self.k, self.v, self.o = (nn.Dense(16, 16) for _ in range(4))

    def split(self, x):
        return x.view(x.shape[:-1] + (self.count, self.size)).transpose((0, 2, 1, 3))

    def construct(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        x = ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(2, 3)) / self.temperature, -1), v)
        x = x.transpose((0, 2, 1, 3))
        return self.o(x.view(x.shape[:2] + (self.whole,)))


class Written(nn.Cell):
    """The same number, written in the code."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Dense(5, 16), nn.Dense(8, 12), nn.Dense(12, 3)

    def construct(self, x):
        return self.c(ops.relu(self.b(ops.relu(self.a(x)).reshape((-1, 8)))))


class Unseen(nn.Cell):
    """A number that no operator of the graph holds: with the widths of now, the reshape does nothing."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Dense(5, 16), nn.Dense(16, 3)

    def construct(self, x):
        return self.b(ops.relu(self.a(x)).reshape((-1, 16)))


def test_attributes_shrink_with_the_widths_that_they_hold():
    slim, report = slim_of(nn.SequentialCell(Heads(), nn.Dense(16, 3)), (2, 5, 16))
    assert slim[0].qkv.weight.shape == (24, 16) and slim[0].proj.weight.shape == (8, 8)
    assert (slim[0].heads, slim[0].dim, slim[0].places) == (2, 8, 5)
    assert not [layer for layer in report.layers if layer.path == "0.qkv" and layer.fixed]


def test_whole_heads_go_from_an_attribute():
    slim, _ = slim_of(nn.SequentialCell(Heads(), nn.Dense(16, 3)), (2, 5, 16), heads="whole")
    assert (slim[0].heads, slim[0].dim) == (1, 8) and slim[0].qkv.weight.shape == (24, 16)


def test_attributes_that_hold_the_same_number_are_told_apart():
    """As many heads as channels of a head, and as many places."""
    slim, _ = slim_of(nn.SequentialCell(Heads(16, 4, 4), nn.Dense(16, 3)), (2, 4, 16))
    assert (slim[0].heads, slim[0].dim, slim[0].places) == (4, 8, 4) and slim[0].qkv.weight.shape == (24, 16)


def test_items_of_tuples_and_lists_shrink():
    slim, _ = slim_of(Shapes(), (2, 5))
    assert slim.apart == (-1, 2, 4) and slim.together == [-1, 8] and slim.a.weight.shape == (8, 5)


def test_an_attribute_that_is_no_width_stays():
    """`temperature` equals the width of a head: with it changed, the network computes something else."""
    slim, _ = slim_of(Named(), (2, 4, 16))
    assert (slim.count, slim.size, slim.whole, slim.temperature) == (2, 4, 8, 8)


def test_a_number_in_the_code_still_keeps_its_layer():
    slim, report = slim_of(Written(), (2, 5))
    assert slim.a.weight.shape == (16, 5) and slim.b.weight.shape == (6, 8)
    assert next(layer for layer in report.layers if layer.path == "a").fixed == 16


def test_a_number_that_the_graph_does_not_hold_is_named_at_apply():
    with pytest.raises(NothingToPruneError, match="a: the network's code fails without them .*'x1_col': 16.*test_w"):
        gs.OneShot({"prune_rate": 0.5}).apply(filled(Unseen()), inputs=(2, 5))


def test_a_slim_file_sets_attributes(tmp_path):
    slim, _ = slim_of(nn.SequentialCell(Heads(), nn.Dense(16, 3)), (2, 5, 16))
    loaded = gs.load_slim(nn.SequentialCell(Heads(), nn.Dense(16, 3)), gs.save_slim(slim, str(tmp_path / "slim")))
    assert loaded[0].dim == 8
    assert gs.verify(slim, loaded, (2, 5, 16)).largest_difference == 0


def test_an_attribute_that_holds_another_number_is_refused():
    slim, _ = slim_of(nn.SequentialCell(Heads(), nn.Dense(16, 3)), (2, 5, 16))
    plan = slim.slim_recipe.steps[-1]
    other = filled(nn.SequentialCell(Heads(), nn.Dense(16, 3)))
    other[0].dim = 15
    with pytest.raises(SlimError, match="must hold 16, the width that the plan was made for, but got 15"):
        gs.slim(other, plan)


class Grouped(nn.Cell):
    def __init__(self, groups=4, by_name=True, in_code=False):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 3, 1)
        self.norm = nn.GroupNorm(groups, 16) if by_name else None
        self.groups, self.in_code = groups, in_code
        self.scale = Parameter(Tensor(np.ones(16), ms.float32), name="scale")
        self.shift = Parameter(Tensor(np.ones(16), ms.float32), name="shift")

    def construct(self, x):
        x = self.a(x)
        if self.norm is not None:
            x = self.norm(x)
        elif self.in_code:
            x = ops.group_norm(x, 4, self.scale, self.shift)
        else:
            x = ops.group_norm(x, self.groups, self.scale, self.shift)
        return self.b(ops.silu(x))


def test_whole_groups_of_a_group_normalization_go():
    slim, report = slim_of(Grouped(), (1, 3, 8, 8))
    assert (slim.norm.num_groups, slim.norm.num_channels) == (2, 8) and slim.a.weight.shape == (8, 3, 3, 3)
    assert report.largest_difference <= 1e-5 * report.output_scale
    kept = slim.slim_recipe.steps[-1].axes[0].kept
    assert {position // 4 for position in kept} == {kept[0] // 4, kept[-1] // 4}  # two whole groups of four


def test_one_group_can_lose_nothing():
    with pytest.raises(NothingToPruneError, match="normalized over groups of channels"):
        slim_of(Grouped(1), (1, 3, 8, 8))


def test_the_number_of_groups_may_stand_in_an_attribute_but_not_in_the_code():
    slim, _ = slim_of(Grouped(by_name=False), (1, 3, 8, 8))
    assert slim.groups == 2 and slim.a.weight.shape[0] == 8
    with pytest.raises(NothingToPruneError, match="'network' must have a channel that can be removed"):
        slim_of(Grouped(by_name=False, in_code=True), (1, 3, 8, 8))


class Recurrent(nn.Cell):
    def __init__(self, kind, **options):
        super().__init__()
        self.enter, self.rnn = nn.Dense(5, 12), kind(12, 8, batch_first=True, **options)
        self.head = nn.Dense(16 if options.get("bidirectional") else 8, 3)

    def construct(self, x):
        return self.head(self.rnn(ops.relu(self.enter(x)))[0])


class Steps(nn.Cell):
    """A cell that the user steps himself, from zeros that he makes."""

    def __init__(self, kind=nn.LSTMCell):
        super().__init__()
        self.hidden, self.cell, self.head = 8, kind(5, 8), nn.Dense(8, 3)

    def construct(self, x):
        h, c = ops.zeros((x.shape[0], self.hidden), ms.float32), ops.zeros((x.shape[0], self.hidden), ms.float32)
        for step in range(2):
            h, c = self.cell(x[:, step], (h, c))
        return self.head(h)


@pytest.mark.parametrize("kind, options, gates", [
    pytest.param(nn.LSTM, {}, 4, marks=pytest.mark.long), (nn.LSTM, {"num_layers": 2, "bidirectional": True}, 4),
    (nn.GRU, {"bidirectional": True}, 3),
    pytest.param(nn.RNN, {"num_layers": 2, "has_bias": False}, 1, marks=pytest.mark.long)])
def test_recurrent_layers_lose_what_they_read_and_their_hidden_units(kind, options, gates):
    slim, report = slim_of(Recurrent(kind, **options), (2, 3, 5))
    shapes = {parameter.name: parameter.shape for parameter in slim.rnn.get_parameters()}
    assert slim.enter.weight.shape == (6, 5) and slim.rnn.hidden_size == 4
    assert shapes["rnn.weight_ih_l0"] == (4 * gates, 6) and shapes["rnn.weight_hh_l0"] == (4 * gates, 4)
    assert report.largest_difference <= 1e-5 * report.output_scale


def test_cells_of_recurrent_layers_that_the_user_steps_shrink():
    slim, _ = slim_of(Steps(), (2, 2, 5))
    assert slim.cell.weight_hh.shape == (16, 4) and slim.hidden == 4


class Moved(nn.Cell):
    """Channels become places and back, by operators of their own; a slice by its size."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(4, 6, 3), nn.Conv2d(12, 3, 1)
        self.out, self.back = ops.DepthToSpace(2), ops.SpaceToDepth(2)

    def construct(self, x):
        x = self.back(ops.relu(self.b(self.out(ops.relu(self.a(x))))))
        return self.c(ops.slice(x, (0, x.shape[1] // 2, 1, 1), (x.shape[0], x.shape[1] // 2, 4, 4)))


def test_channels_that_become_places_and_parts_that_are_cut_out():
    slim, _ = slim_of(Moved(), (1, 3, 8, 8))
    assert slim.a.weight.shape == (8, 3, 3, 3) and slim.b.weight.shape == (3, 2, 3, 3) and slim.c.weight.shape[1] == 6


class Volumes(nn.Cell):
    """Convolutions of volumes in groups, which MindSpore splits into one for each group."""

    def __init__(self, groups=2, bias=True, width=16):
        super().__init__()
        self.a, self.b = nn.Conv3d(2, width, 3), nn.Conv3d(width, 12, 3, group=groups, has_bias=bias)
        self.norm, self.c = nn.BatchNorm3d(12), nn.Conv3d(12, 3, 1)

    def construct(self, x):
        return self.c(ops.relu(self.norm(self.b(ops.relu(self.a(x))))))


@pytest.mark.parametrize("groups, bias, width, reads", [(2, True, 16, 4), (4, False, 16, 2), (2, True, 12, 3)])
def test_convolutions_of_volumes_in_groups_lose_the_same_of_each(groups, bias, width, reads, mode):
    slim, report = slim_of(Volumes(groups, bias, width), (1, 2, 4, 4, 4))
    assert slim.b.weight.shape[:2] == (6 if groups < 4 else 8, reads) and slim.a.weight.shape[0] == reads * groups
    assert slim.b.in_channels == reads * groups and report.largest_difference <= 1e-5 * report.output_scale


class Nested(nn.Cell):
    """Widths in tuples of tuples and in dicts, and numbers beside them that are none."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.a, self.b = kind, nn.Dense(5, 16), nn.Dense(16, 3)
        self.shapes = ((-1, 2, 8), [(-1, 16)])
        self.sizes = {"parts": 2, "width": 16, "each": {"width": 8}}
        self.pair = {"split": (2, 8), "join": (16,)}

    def construct(self, x):
        x = ops.relu(self.a(x))
        if self.kind == "tuples":
            return self.b(ops.flip(x.reshape(self.shapes[0]), (1,)).reshape(self.shapes[1][0]))
        if self.kind == "dicts":
            x = x.reshape((-1, self.sizes["parts"], self.sizes["each"]["width"]))
            return self.b(ops.flip(x, (1,)).reshape((-1, self.sizes["width"])))
        return self.b(ops.flip(x.reshape((-1,) + self.pair["split"]), (1,)).reshape((-1,) + self.pair["join"]))


@pytest.mark.parametrize("kind, held", [
    ("tuples", ("shapes", ((-1, 2, 4), [(-1, 8)]))),
    ("dicts", ("sizes", {"parts": 2, "width": 8, "each": {"width": 4}})),
    ("both", ("pair", {"split": (2, 4), "join": (8,)}))])
def test_widths_in_nested_attributes_shrink_and_are_saved(kind, held, tmp_path):
    slim, _ = slim_of(Nested(kind), (2, 5))
    assert getattr(slim, held[0]) == held[1] and slim.a.weight.shape == (8, 5)
    loaded = gs.load_slim(Nested(kind), gs.save_slim(slim, str(tmp_path / "slim")))
    assert getattr(loaded, held[0]) == held[1] and Nested(kind).shapes[0] == (-1, 2, 8)


class Sampled(nn.Cell):
    """Features that are read at places which the network computes: a grid, boxes, offsets of a deformable layer."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.a, self.b = kind, nn.Conv2d(3, 16, 3), nn.Conv2d(16, 3, 1)
        self.places, self.width = nn.Conv2d(16, 54 if kind == "two groups" else 27, 3), nn.Conv2d(16, 2, 3)
        self.kernel = Parameter(Tensor(np.ones((12, 16, 3, 3)), ms.float32), name="kernel")
        self.boxes = Tensor(np.array([[0, 0.5, 0.5, 6, 5], [1, 1, 1, 7, 8]]), ms.float32)

    def construct(self, x):
        x = ops.relu(self.a(x))
        if self.kind == "grid":
            return self.b(ops.grid_sample(x, ops.tanh(self.width(x)).transpose(0, 2, 3, 1), align_corners=True))
        if self.kind == "boxes":
            return self.b(ops.ROIAlign(3, 3, 0.5, 2)(x, self.boxes))
        places = ops.tanh(self.places(x))
        x = ops.deformable_conv2d(x, self.kernel, places, (3, 3), (1, 1, 1, 1), (1, 1, 1, 1),
                                  deformable_groups=2 if self.kind == "two groups" else 1)
        return ops.relu(x).mean((2, 3))


@pytest.mark.parametrize("kind", ["grid", "boxes", "offsets", "two groups"])
def test_features_that_are_sampled_lose_channels_and_what_says_where_does_not(kind):
    slim, report = slim_of(Sampled(kind), (2, 3, 8, 8))
    assert slim.a.weight.shape[0] == 8 and report.largest_difference <= 1e-5 * report.output_scale
    reader = {"grid": slim.width, "boxes": slim.b}.get(kind, slim.places)
    assert reader.weight.shape[:2] == ({"grid": 2, "boxes": 3, "offsets": 27}.get(kind, 54), 8)
