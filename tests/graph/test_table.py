"""The tables as users extend them, and what they say of zero."""
import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.graph import layers
from golden_stick.graph.groups import find_groups
from golden_stick.graph.layers import LAYERS, add_layer
from golden_stick.graph.rules import RULES, add_rule
from tests.graph.build import Builder


@pytest.fixture(autouse=True)
def table_as_it_was():
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)


def prunable_across(operator):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    groups = find_groups(b.graph(b.convolution("b", b.pointwise(operator, first), 2)))
    return bool(groups.groups)


def test_an_operator_of_ones_own():
    assert not prunable_across("Mine")
    add_rule("Mine", lambda flow, node: flow.of(node.inputs[0]).labels)
    assert prunable_across("Mine")
    assert not RULES["Mine"].zero([True])


@pytest.mark.parametrize("zeros, wanted", [([True, True], True), ([True, False], False)])
def test_an_operator_of_ones_own_that_keeps_zero(zeros, wanted):
    add_rule("Mine", lambda flow, node: flow.of(node.inputs[0]).labels, keeps_zero=True)
    assert RULES["Mine"].zero(zeros) is wanted


@pytest.mark.parametrize("operator, flow, kind, message", [
    (3, len, ArgumentTypeError, "'operator' must be a str, but got int"),
    ("Mine", "labels", ArgumentTypeError, "'flow' must be a function, but got str"),
    ("ReLU", len, ArgumentError, "'operator' must be one without a rule, but got 'ReLU'"),
])
def test_what_is_no_new_rule_is_refused(operator, flow, kind, message):
    with pytest.raises(kind, match=message):
        add_rule(operator, flow)


@pytest.mark.parametrize("name", ["normalization", "heads"])
@pytest.mark.parametrize("policy", ["equal", "", None])
def test_what_is_no_policy_is_refused(name, policy):
    b = Builder()
    graph = b.graph(b.convolution("a", b.input(2, 3, 4, 4), 6))
    with pytest.raises(ArgumentError, match=f"For 'find_groups', '{name}' must be one of .*, but got {policy!r}"):
        find_groups(graph, **{name: policy})


@pytest.mark.parametrize("operator, parameters", [("LayerNorm", ["n.gamma", "n.beta"]), ("GroupNorm", ["n.gamma"])])
def test_normalizations_lose_channels_where_that_is_asked_for_and_are_named(operator, parameters):
    b = Builder()
    first = b.convolution("a", b.input(2, 3, 4, 4), 6)
    shape, order = ((2, 4, 4, 6), (0, 2, 3, 1)) if operator == "LayerNorm" else ((2, 6, 4, 4), (0, 1, 2, 3))
    turned = b.node("Transpose", [first, order], shape)
    vectors = [b.parameter(name, (6,)) for name in parameters]
    between = [] if operator == "LayerNorm" else [2]
    made = b.node(operator, [turned, *between, *vectors], shape)
    back = b.node("Transpose", [made, tuple(int(axis) for axis in np.argsort(order))], (2, 6, 4, 4))
    graph = b.graph(b.convolution("b", back, 2))
    # Of a layer normalization none can go, of a group normalization whole groups.
    assert [len(group.channels) for group in find_groups(graph)] == ([] if operator == "LayerNorm" else [2])
    grouping = find_groups(graph, normalization="approximate")
    assert grouping.inexact == (f"{operator} in 'n'",)
    assert {item.parameter for item in grouping.slices} == {"a.weight", "b.weight", *parameters}
    # Both groups of three lose the same positions.
    assert len(grouping[0].channels) == (6 if operator == "LayerNorm" else 3)


class Taught:
    def construct(self, x):
        return x


@pytest.mark.parametrize("arguments, error, message", [
    (("nn.Conv2d", "nn.Conv2d"), ArgumentTypeError, "'cell' must be a class of Cells, but got 'nn.Conv2d'"),
    ((Taught, "nn.Bilinear"), ArgumentError, "'like' must be one of 'nn.Conv1d', .*, but got 'nn.Bilinear'"),
    ((Taught, "nn.Dense", "matrix", "", None, {"rows": "width"}), ArgumentError,
     "'widths' must hold 'inputs', 'filters' and 'groups' alone, but got {'rows': 'width'}"),
])
def test_add_layer_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        add_layer(*arguments)


def test_a_layer_that_is_taught_has_the_record_of_its_like(monkeypatch):
    monkeypatch.setattr("golden_stick.graph.layers.LAYERS", dict(LAYERS))
    add_layer(Taught, like="nn.Dense", weight="matrix", bias="")
    record, like = layers.LAYERS[f"{__name__}.Taught"], LAYERS["nn.Dense"]
    assert (record.form, record.widths, record.weight, record.bias) == (like.form, like.widths, "matrix", "")
