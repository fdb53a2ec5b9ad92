"""
What a record of `golden_stick.graph.layers` says is asked of every record: a network a kind, nine questions each.

A kind that is added to the table is asked too. Where the answer is another one than for most kinds, `OTHER` says why.
"""
import math
from functools import lru_cache

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, mint, nn, ops

import golden_stick as gs
from golden_stick.cells.slim import recipe_of
from golden_stick.criteria.statistics import collect
from golden_stick.deploy.fold.plan import find_fusions
from golden_stick.deploy.onnx import ONNX_RULES
from golden_stick.deploy.slim_file import kept_positions
from golden_stick.graph.layers import (
    DENSE,
    EMBEDDING,
    FILTERS,
    GROUPS,
    INPUTS,
    LAYERS,
    NORMALIZATIONS,
    TRANSPOSED,
    scales_after,
)
from golden_stick.graph.plan import count_macs, count_parameters
from golden_stick.recover.readers import readers_of
from golden_stick.recover.solver import kept_aside


class Own(nn.Cell):
    """A layer of a user's, with names of its own."""

    def __init__(self, rows, columns):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.matrix = Parameter(Tensor(np.zeros((columns, rows)), ms.float32), name="matrix")
        self.shift = Parameter(Tensor(np.zeros(columns), ms.float32), name="shift")

    def construct(self, x):
        return ops.dense(x, self.matrix, self.shift)


gs.add_layer(Own, like="mint.nn.Linear", weight="matrix", bias="shift", widths={"rows": INPUTS, "columns": FILTERS})
OWN = f"{Own.__module__}.{Own.__qualname__}"

# MindSpore has no kernel on the CPU for what these compute: they are asked on traced graphs.
NO_KERNEL = {kind for kind in (*LAYERS, *NORMALIZATIONS)
             if kind.startswith(("mint.nn.Conv", "mint.nn.BatchNorm", "mint.nn.Embedding", "nn.InstanceNorm"))}
IN_GROUPS = ["nn.Conv1d", "nn.Conv2d", "nn.Conv2dTranspose", "mint.nn.Conv2d", "mint.nn.ConvTranspose2d"]
CASES = [*((kind, 1) for kind in LAYERS), *((kind, 2) for kind in IN_GROUPS)]

# (question, kind) -> why the answer is another one.
OTHER = {
    **{("mixed", kind): "what it reads are indices, which have no knockoffs" for kind in LAYERS
       if LAYERS[kind].form is EMBEDDING},
    **{("folded", kind): "a table has no bias" for kind in LAYERS if LAYERS[kind].form is EMBEDDING},
}

cases = pytest.mark.parametrize("kind, group", CASES, ids=[f"{kind}-{group}" for kind, group in CASES])


def unless_other(question, kind):
    if (question, kind) in OTHER:
        pytest.skip(OTHER[question, kind])


class Chain(nn.Cell):
    """The layer, its normalization, and a layer that reads both."""

    def __init__(self, first, normalization, last):
        super().__init__()
        self.first, self.normalization, self.last = first, normalization, last

    def construct(self, x):
        return self.last(ops.relu(self.normalization(self.first(x))))


def class_of(kind):
    space, _, name = kind.rpartition(".")
    return Own if kind == OWN else getattr({"nn": nn, "mint.nn": mint.nn}[space], name)


def layer(kind, inputs, filters, group=1):
    record = LAYERS[kind]
    if record.form is EMBEDDING:
        return class_of(kind)(20, filters)
    if record.form is DENSE:
        return class_of(kind)(inputs, filters)
    if kind.startswith("mint"):
        return class_of(kind)(inputs, filters, 3, padding=1, groups=group)
    return class_of(kind)(inputs, filters, 3, group=group, has_bias=True)


def random(network):
    for position, parameter in enumerate(network.get_parameters()):
        values = np.random.default_rng(position).uniform(0.2, 0.9, parameter.shape)
        parameter.set_data(Tensor(values, parameter.dtype))
    return network.set_train(False)


@lru_cache(maxsize=None)
def asked(kind, group=1):
    """The network with a kind of layer, and what it takes."""
    record = LAYERS[kind]
    space = mint.nn if kind in NO_KERNEL and record.form is not EMBEDDING else nn
    normalization = getattr(space, f"BatchNorm{max(record.spatial, 1)}d")(8)
    last = nn.Dense(8, 4) if record.form is EMBEDDING else layer(kind, 8, 4)
    inputs = Tensor(np.arange(6), ms.int32) if record.form is EMBEDDING else \
        Tensor(np.random.default_rng(0).normal(size=(2, 4) + (5,) * record.spatial), ms.float32)
    return random(Chain(layer(kind, 4, 8, group), normalization, last)), inputs


@lru_cache(maxsize=None)
def traced(kind, group=1):
    network, inputs = asked(kind, group)
    graph = gs.trace(network, inputs)
    return graph, gs.find_groups(graph)


@lru_cache(maxsize=None)
def slimmed(kind, group=1):
    network, inputs = asked(kind, group)
    algorithm = gs.OneShot({"criterion": "bn_scale", "prune_rate": 0.5})
    masked = algorithm.apply(network, inputs=inputs)
    if kind not in NO_KERNEL:
        return algorithm, masked, algorithm.convert(masked)
    _, groups = traced(kind, group)
    scores = {"first": np.arange(len(groups[0].channels))}
    return algorithm, masked, gs.slim(network, gs.prune.make_plan(groups, scores, 0.5))


def weight(cell, kind):
    return getattr(cell, LAYERS[kind].weight)


@cases
def test_grouped(kind, group):
    network, _ = asked(kind, group)
    graph, groups = traced(kind, group)
    assert [(item.name, item.layers, len(item.channels)) for item in groups] == [("first", ("first",), 8 // group)]
    filters = groups[0].filters[0]
    assert (filters.parameter, filters.axis) == (weight(network.first, kind).name, LAYERS[kind].form.filter_axis)
    assert [(site.path, site.trailing) for site in groups.masks] == [("last", LAYERS[kind].spatial)]
    assert not groups.without_rule and not groups.zeroed


@cases
def test_slimmed(kind, group):
    network, inputs = asked(kind, group)
    record = LAYERS[kind]
    _, masked, slim = slimmed(kind, group)
    assert weight(slim.first, kind).shape[record.form.filter_axis] * 2 == \
        weight(network.first, kind).shape[record.form.filter_axis]
    held = {(slim.first, FILTERS): 4, (slim.first, INPUTS): 4, (slim.first, GROUPS): group}
    if record.form is not EMBEDDING:
        held.update({(slim.last, INPUTS): 4, (slim.last, FILTERS): 4})
    for (cell, width), size in held.items():
        attribute = record.attribute(width)
        assert not attribute or getattr(cell, attribute) == size
        for argument, name in record.primitive.items():
            assert name != width or getattr(cell, record.primitive_at).init_attrs[argument] == size
    assert getattr(slim.normalization, "bn2d", slim.normalization).num_features == 4
    if kind in NO_KERNEL:
        assert gs.trace(slim, inputs).nodes[-1].shapes == traced(kind, group)[0].nodes[-1].shapes
    else:
        gs.verify(masked, slim, inputs)


@cases
def test_counted(kind, group):
    network, inputs = asked(kind, group)
    record = LAYERS[kind]
    each = 15 ** record.spatial  # numbers of a kernel, at every place of the map
    first, last = 4 * 8 * each // group, 8 * 4 * each
    first = 0 if record.form is EMBEDDING else first
    graph, _ = traced(kind, group)
    assert count_macs(graph) == first + last
    assert count_macs(gs.trace(slimmed(kind, group)[2], inputs)) == (first + last) // 2
    assert count_parameters(graph) == sum(item.size for item in network.get_parameters() if item.requires_grad)


@cases
def test_scored_by_the_normalization_behind_it(kind, group):
    network, _ = asked(kind, group)
    gamma = next(item.asnumpy() for item in network.get_parameters() if item.name in ("normalization.gamma",
                 "normalization.weight", "normalization.bn2d.gamma"))
    if group > 1 and LAYERS[kind].form is TRANSPOSED:
        gamma = (gamma[:4] + gamma[4:]) / 2
    name = weight(network.first, kind).name
    np.testing.assert_allclose(slimmed(kind, group)[0].filter_scores()[name], gamma, rtol=1e-6)


@cases
def test_measured_from_data(kind, group):
    network, inputs = asked(kind, group)
    graph, groups = traced(kind, group)
    if kind in NO_KERNEL:
        # What enters the layers that read it is measured there.
        assert np.isin(groups[0].channels, groups.masks[0].channels).all()
        return
    name = weight(network.first, kind).name
    data = [(inputs, Tensor(np.zeros(4), ms.float32))]

    def loss(output, target):
        return (output.reshape(-1, 4) - target).square()

    found = collect("test", "gate_gradients", network, graph, groups, data, loss)[name]
    # One row a batch where there is no gate: at a table, and where a filter makes several channels.
    single = LAYERS[kind].form is EMBEDDING or LAYERS[kind].form is TRANSPOSED and group > 1
    assert found.shape == (1 if single else len(inputs), len(groups[0].filters[0].channels))
    assert len(np.unique(found.round(9))) > found.shape[1] // 2
    found = collect("test", "activations", network, graph, groups, data, None)[name]
    assert (found > 0).all()
    found = collect("test", "removal_costs", network, graph, groups, data, None)[name]
    assert (found >= 0).all() and (found > 0).any()


@cases
def test_mixed_by_scop(kind, group):
    unless_other("mixed", kind)
    network, inputs = asked(kind, group)
    algorithm = gs.SCOP({"prune_rate": 0.5})
    phase = algorithm.apply(network, inputs=inputs)
    filters = len(traced(kind, group)[1][0].filters[0].channels)
    assert [item.shape for item in phase.trainable_params()] == [(filters,)]


@cases
def test_folded(kind, group):
    unless_other("folded", kind)
    network, inputs = asked(kind, group)
    if kind in NO_KERNEL:
        fusions, reasons = find_fusions(traced(kind, group)[0], lambda fusion: "")
        assert [layer.path for fusion in fusions for layer, _ in fusion.layers] == ["first"] and not reasons
        return
    folded = gs.fold(network, inputs)
    assert isinstance(folded.normalization, nn.Identity)
    gs.verify(network, folded, inputs)


@pytest.fixture
def pynative():
    """What is compared need not be compiled."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)


@cases
def test_reconstructed(kind, group, pynative):
    """The layer that reads this kind is of the same kind, but for a table."""
    network, inputs = asked(kind, group)
    slim = slimmed(kind, group)[2]
    if kind in NO_KERNEL:
        shapes = {item.name: item.shape for item in network.get_parameters()}
        reader = readers_of(gs.trace(slim, inputs), kept_positions(recipe_of(slim).steps), shapes, {"last": 1})[-1]
        assert (reader.path, reader.mixes, reader.reason, reader.bias.parameter) == ("last", True, "", "last.bias")
        assert reader.columns == 4 * math.prod(reader.geometry.kernel) and reader.width == 4
        return
    generator = np.random.default_rng(1)
    data = [Tensor(generator.integers(0, 20, 8), ms.int32) if inputs.dtype == ms.int32 else
            Tensor(generator.normal(size=(8, *inputs.shape[1:])), ms.float32) for _ in range(4)]
    solved = gs.reconstruct(slim, network, data)
    layer = gs.reconstruction_report(solved).layers[-1]
    assert (layer.path, layer.change, layer.reason) == ("last", "weights", "")
    aside = kept_aside(np.arange(32))
    wanted, before, after = (np.concatenate([cell(batch).asnumpy() for batch in data])[aside].astype(np.float64)
                             for cell in (network, slim.set_train(False), solved.set_train(False)))
    means = wanted.mean(tuple(axis for axis in range(wanted.ndim) if axis != LAYERS[kind].form.channel_axis %
                              wanted.ndim), keepdims=True)
    spread = np.square(wanted - means).sum()
    assert np.square(wanted - before).sum() / spread == pytest.approx(layer.before, rel=1e-3)
    assert np.square(wanted - after).sum() / spread <= 1.01 * layer.after + 1e-6 < layer.before


@cases
def test_exported(kind, group, tmp_path):
    unless_other("exported", kind)
    network, inputs = asked(kind, group)
    if kind in NO_KERNEL:
        assert {node.operator for node in traced(kind, group)[0].nodes} <= set(ONNX_RULES)
    else:
        gs.export(network, inputs, str(tmp_path / "network"), file_format="ONNX")


class Normalized(nn.Cell):
    """A normalization between two layers."""

    def __init__(self, first, normalization, last):
        super().__init__()
        self.first, self.normalization, self.last = first, normalization, last

    def construct(self, x):
        return self.last(ops.relu(self.normalization(self.first(x))))


@lru_cache(maxsize=None)
def normalized(kind):
    """A network with a kind of normalization, what it takes, its graph and its groups."""
    record = NORMALIZATIONS[kind]
    dimensions = int(kind[-2]) if kind[-2].isdigit() else 2
    if record.over == "layer":
        network, shape = Normalized(nn.Dense(4, 8), class_of(kind)((8,)), nn.Dense(8, 3)), (2, 4)
    else:
        made = class_of(kind)(*((2, 8) if record.over == "group" else (8,)))
        convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dimensions]
        network, shape = Normalized(convolution(4, 8, 1), made, convolution(8, 3, 1)), (2, 4) + (5,) * dimensions
    graph = gs.trace(random(network), shape)
    policy = "exact" if record.over in ("batch", "instance") else "approximate"
    return network, shape, graph, gs.find_groups(graph, normalization=policy)


@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_a_normalization(kind):
    record = NORMALIZATIONS[kind]
    network, shape, graph, groups = normalized(kind)
    gamma = getattr(network.normalization, record.gamma)
    assert [(item.name, len(item.channels)) for item in groups] == [("first", 4 if record.over == "group" else 8)]
    names = {item.parameter for item in groups.slices}
    held = [getattr(network.normalization, name) for name in
            (record.gamma, record.beta, record.mean, record.variance) if name]
    assert names >= {item.name for item in held[:2]}
    # Counted: moving statistics are none of the network's parameters.
    wanted = [*network.first.get_parameters(), *network.last.get_parameters(), *held[:2]]
    assert count_parameters(graph) == sum(item.size for item in wanted)
    # Scored.
    values = {item.name: item.asnumpy() for item in network.get_parameters()}
    np.testing.assert_array_equal(scales_after(graph, values)["first.weight"], gamma.asnumpy())
    # Slimmed.
    plan = gs.prune.make_plan(groups, {"first": np.arange(len(groups[0].channels))}, 0.5)
    slim = gs.slim(network, plan)
    assert getattr(slim.normalization, record.width) == ((4,) if record.over == "layer" else 4)
    assert gs.trace(slim, shape).nodes[-1].shapes == graph.nodes[-1].shapes
    assert getattr(slim.normalization, record.gamma).shape == (4,)
    # Exported.
    assert {node.operator for node in graph.nodes} <= set(ONNX_RULES)
