"""Weights that an operator moves or computes before data meet them: every axis is followed to the parameter's own."""
import numpy as np
import pytest

from golden_stick.graph.flow import FILTER, INPUT
from golden_stick.graph.groups import find_groups
from tests.graph.build import Builder, walk
from tests.graph.interpreter import assert_masked_equals_slim

ROWS = (2, 6)  # what a dense layer of six filters gives


def dense(b):
    return b.relu(b.dense("a", b.input(2, 3), 6))


def product(b, data, weight, turned=True):
    shape = b.shape(weight)
    return b.node("MatMul", [data, weight, False, turned], (b.shape(data)[0], shape[0 if turned else 1]))


def w(b, *shape):
    return b.parameter("w.weight", shape)


def cut(b, value, first, last):
    """Rows of a matrix."""
    shape = b.shape(value)
    ends = [(first, 0), (last, shape[1]), (1, 1)]
    return b.node("StridedSlice", [value, *ends, 0, 0, 0, 0, 0], (last - first, shape[1]))


def packed(b):
    """Three matrices in one, as of an attention."""
    parts = b.node("Split", [w(b, 12, 6), 0, 3], (4, 6), (4, 6), (4, 6))
    return [type(parts)(parts.node, index) for index in range(3)]


def normalized(b):
    """Weight normalization: length and direction of a filter apart."""
    weight, gain = w(b, 4, 6), b.parameter("w.gain", (4, 1))
    length = b.pointwise("Sqrt", b.node("ReduceSum", [b.node("Mul", [weight, weight], (4, 6)), (1,), True], (4, 1)))
    return b.node("Mul", [weight, b.node("Div", [gain, length], (4, 1))], (4, 6))


def standardized(b):
    """Less the mean of each filter."""
    weight = w(b, 4, 6)
    return b.node("Sub", [weight, b.node("ReduceMean", [weight, (1,), True], (4, 1))], (4, 6))


# How the weight is made -> whether its filters can go, and whether those of the layer before it can.
WAYS = {
    "transposed": (lambda b: b.node("Transpose", [w(b, 6, 4), (1, 0)], (4, 6)), True, True),
    "cast": (lambda b: b.node("Cast", [w(b, 4, 6), 42], (4, 6)), True, True),
    "cast and turned": (lambda b: b.node("Transpose", [b.pointwise("Cast", w(b, 6, 4)), (1, 0)], (4, 6)), True, True),
    "squeezed": (lambda b: b.node("Squeeze", [w(b, 4, 1, 6, 1)], (4, 6)), True, True),
    "reshaped": (lambda b: b.reshape(w(b, 4, 6, 1, 1), 4, 6), True, True),
    "joined from two axes": (lambda b: b.reshape(w(b, 2, 2, 6), 4, 6), True, True),
    "reversed": (lambda b: b.node("ReverseV2", [w(b, 4, 6)], (4, 6), axis=(1,)), True, True),
    "scaled": (lambda b: b.node("Mul", [w(b, 4, 6), 0.5], (4, 6)), True, True),
    "scaled by filter": (lambda b: b.node("Mul", [w(b, 4, 6), b.parameter("w.gain", (4, 1))], (4, 6)), True, True),
    "scaled by channel": (lambda b: b.node("Mul", [w(b, 4, 6), b.parameter("w.gain", (6,))], (4, 6)), True, True),
    "a half": (lambda b: cut(b, w(b, 8, 6), 0, 4), True, True),
    "added to another": (lambda b: b.add(w(b, 4, 6), b.parameter("w.more", (4, 6))), True, True),
    "from two": (lambda b: b.concat([w(b, 2, 6), b.parameter("w.more", (2, 6))], 0), True, True),
    "through a tanh": (lambda b: b.pointwise("Tanh", w(b, 4, 6)), True, True),
    "through an exp": (lambda b: b.pointwise("Exp", w(b, 4, 6)), True, False),
    "normalized": (normalized, True, True),
    "of length one": (lambda b: b.node("L2Normalize", [w(b, 4, 6)], (4, 6), axis=(1,)), True, True),
    "standardized": (standardized, True, False),
    "softmax": (lambda b: b.node("Softmax", [w(b, 4, 6), (1,)], (4, 6)), True, False),
    "softmax over filters": (lambda b: b.node("Softmax", [w(b, 4, 6), (0,)], (4, 6)), False, False),
    "some rows": (lambda b: cut(b, w(b, 7, 6), 1, 5), True, True),
    "constant factors": (lambda b: b.node("Mul", [w(b, 4, 6), np.arange(6.0)], (4, 6)), True, False),
}


@pytest.mark.parametrize("name", WAYS)
def test_masked_equals_slim_where_the_weight_is(name):
    build, filters, before = WAYS[name]
    for operator in ("dense", "convolution"):
        b = Builder()
        if operator == "dense":
            made = product(b, dense(b), build(b))
        else:
            weight = b.node("Reshape", [build(b), (4, 6, 1, 1)], (4, 6, 1, 1))
            made = b.node("Conv2D", [b.relu(b.convolution("a", b.input(2, 3, 4, 4), 6)), weight], (2, 4, 4, 4), group=1,
                          format="NCHW")
        last = b.dense("z", b.relu(made), 3) if operator == "dense" else b.convolution("z", b.relu(made), 3)
        for seed in range(2):
            grouping = assert_masked_equals_slim(b.graph(last), seed=seed)
        made_by = {path for group in grouping for path in group.layers}
        assert ("w" in made_by, "a" in made_by) == (filters, before), operator


def test_a_packed_weight_has_the_roles_of_its_parts():
    b = Builder()
    data = dense(b)
    made = [product(b, data, part) for part in packed(b)]
    graph = b.graph(b.dense("z", b.relu(b.node("AddN", [tuple(made)], (2, 4))), 3))
    flow, grouping = walk(graph), find_groups(graph)
    assert {key: flow.bindings[key].role for key in (("w.weight", 0), ("w.weight", 1))} == {
        ("w.weight", 0): FILTER, ("w.weight", 1): INPUT}
    group = next(group for group in grouping if group.name == "w")
    assert [(item.axis, len(item.channels)) for item in group.filters] == [(0, 12)] and len(group.channels) == 4
    assert_masked_equals_slim(graph)


def test_a_table_that_is_read_by_row_and_by_column_loses_its_width():
    b = Builder()
    table = b.parameter("e.embedding_table", (9, 6), "nn.Embedding")
    data = b.node("Gather", [table, b.input(2), 0], ROWS)
    graph = b.graph(product(b, b.relu(data), b.node("Transpose", [table, (1, 0)], (6, 9)), turned=False))
    grouping = find_groups(graph)
    assert [(item.parameter, item.axis) for item in grouping.slices] == [("e.embedding_table", 1)]
    assert [group.name for group in grouping] == ["e"] and len(grouping[0].channels) == 6


def test_a_weight_that_is_used_whole_elsewhere_keeps_its_shape_and_says_where():
    b = Builder()
    weight = b.node("Transpose", [w(b, 6, 4), (1, 0)], (4, 6))
    made = product(b, dense(b), weight)
    graph = b.graph(b.dense("z", b.relu(made), 3), b.node("CumProd", [weight, 0], (4, 6)), weight)
    assert not [group for group in find_groups(graph) if group.name in ("w", "a")]
    fixed = {layer.path: layer.reasons for layer in find_groups(graph).fixed}
    assert fixed["w"] == ("a weight is computed from all of it (CumProd after 'w')", "output of the network")


def test_positions_that_are_cut_from_a_table_follow_the_channels_they_are_added_to():
    b = Builder()
    graph = b.graph(b.dense("z", b.add(dense(b), cut(b, b.parameter("p.table", (8, 6)), 0, 2)), 3))
    grouping = assert_masked_equals_slim(graph)
    assert ("p.table", 1) in {(item.parameter, item.axis) for item in grouping.slices}
