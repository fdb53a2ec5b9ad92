"""Counts by hand, and the short walks."""
import numpy as np
import pytest

from golden_stick.graph.ir import Constant, Graph, Input, Node, Parameter, Result, flatten
from golden_stick.graph.layers import normalization_after
from golden_stick.graph.plan import count_macs, count_parameters
from tests.graph.build import Builder


def macs(b, *outputs):
    return count_macs(b.graph(*outputs))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_macs_of_a_convolution_are_per_sample(batch):
    b = Builder()
    b.convolution("a", b.input(batch, 3, 5, 5), 6, kernel=3)
    # 6 filters x 3 x 3 places, each a sum of 3 channels x 3 x 3 products.
    assert macs(b) == 6 * 3 * 3 * 3 * 3 * 3 == 1458


@pytest.mark.parametrize("group, products", [(1, 4), (2, 2), (4, 1)])
def test_macs_of_a_grouped_convolution_count_the_channels_it_sees(group, products):
    b = Builder()
    b.convolution("a", b.input(1, 4, 3, 3), 8, group=group)
    assert macs(b) == 8 * 9 * products


def test_macs_of_a_three_dimensional_convolution():
    b = Builder()
    b.convolution("a", b.input(1, 2, 3, 3, 3), 5, kernel=2, operator="Conv3D")
    assert macs(b) == 5 * 2 ** 3 * 2 * 2 ** 3


def test_macs_of_a_transposed_convolution_count_what_each_input_number_enters():
    b = Builder()
    weight = b.parameter("a.weight", (4, 2, 3, 3))
    b.node("Conv2DTranspose", [b.input(1, 4, 5, 5), weight], (1, 2, 7, 7))
    assert macs(b) == 4 * 5 * 5 * 2 * 3 * 3


@pytest.mark.parametrize("operator, turned", [("MatMul", False), ("MatMul", True), ("MatMulExt", None)])
def test_macs_of_a_product(operator, turned):
    b = Builder()
    data = b.input(*((7, 2) if turned else (2, 7)))
    more = [] if turned is None else [turned, False]
    b.node(operator, [data, b.parameter("a.weight", (7, 3)), *more], (2, 3))
    assert macs(b) == 2 * 7 * 3 // data.shape[0]


def test_macs_of_a_product_of_feature_maps():
    b = Builder()
    b.node("BatchMatMul", [b.input(2, 4, 5, 6), b.input(2, 4, 6, 3), False, False], (2, 4, 5, 3))
    assert macs(b) == 4 * 5 * 6 * 3


@pytest.mark.parametrize("equation, shapes, wanted", [
    ("bqc,bkc->bqk", ((2, 4, 5), (2, 3, 5)), 4 * 3 * 5), ("...i,ij->...j", ((2, 7, 4), (4, 3)), 7 * 4 * 3),
    ("bi,bi,bi->b", ((2, 5),) * 3, 2 * 5), ("bchw->bc", ((2, 3, 4, 4),), 0),
])
def test_macs_of_an_einsum(equation, shapes, wanted):
    b = Builder()
    result = np.einsum(equation, *map(np.zeros, shapes)).shape
    b.node("Einsum", [tuple(b.input(*shape) for shape in shapes)], result, equation=equation)
    assert macs(b) == wanted


def test_macs_of_a_dense_operator_with_a_bias():
    b = Builder()
    b.node("Dense", [b.input(2, 7), b.parameter("a.weight", (3, 7)), b.parameter("a.bias", (3,))], (2, 3))
    assert macs(b) == 21


def test_what_works_number_by_number_costs_nothing():
    b = Builder()
    value = b.normalization("n", b.relu(b.input(1, 3, 4, 4)))
    b.node("MaxPool", [b.add(value, value)], (1, 3, 2, 2))
    assert macs(b) == 0


def test_parameters_leave_moving_statistics_out():
    b = Builder()
    b.bias("a", b.normalization("n", b.convolution("a", b.input(1, 3, 4, 4), 6)))
    # Weight, gamma and beta, bias.
    assert count_parameters(b.graph()) == 18 + 6 + 6 + 6


def test_a_shared_parameter_counts_once():
    b = Builder()
    b.convolution("a", b.convolution("a", b.input(1, 6, 4, 4), 6), 6)
    assert count_parameters(b.graph()) == 36


def test_the_normalization_behind_a_convolution_is_found_through_bias_and_reshape():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    b.normalization("norm_a", b.convolution("a", x, 6))
    b.normalization("norm_b", b.bias("b", b.convolution("b", x, 6)))
    b.normalization("norm_c", b.reshape(b.dense("c", b.input(2, 3), 6), 2, 6, 1, 1))
    assert normalization_after(b.graph()) == {
        "a.weight": "norm_a.gamma", "b.weight": "norm_b.gamma", "c.weight": "norm_c.gamma",
    }


def test_a_normalization_behind_an_activation_or_a_sum_belongs_to_no_weight():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    first = b.convolution("a", x, 6)
    b.normalization("norm_a", b.relu(first))
    b.normalization("norm_b", b.add(first, b.convolution("b", x, 6)))
    b.normalization("norm_c", x)
    assert normalization_after(b.graph()) == {}


def test_the_first_normalization_of_a_weight_counts():
    b = Builder()
    made = b.convolution("a", b.input(2, 3, 4, 4), 6)
    b.normalization("first", made)
    b.normalization("second", made)
    assert normalization_after(b.graph()) == {"a.weight": "first.gamma"}


def test_a_computed_weight_or_scale_is_passed_over():
    b = Builder()
    x = b.input(2, 3, 4, 4)
    weight = b.node("Mul", [b.parameter("w", (6, 3, 1, 1)), 2.0], (6, 3, 1, 1))
    b.normalization("n", b.node("Conv2D", [x, weight], (2, 6, 4, 4)))
    b.node("BatchNorm", [b.convolution("a", x, 6), b.node("Exp", [b.parameter("g", (6,))], (6,))], (2, 6, 4, 4))
    assert normalization_after(b.graph()) == {}


def test_a_scale_with_another_number_of_values_belongs_to_no_filter():
    b = Builder()
    made = b.dense("a", b.input(4, 3), 6)
    b.node("LayerNorm", [made, b.parameter("n.gamma", (4, 6)), b.parameter("n.beta", (4, 6))], (4, 6))
    b.node("LayerNorm", [b.dense("c", made, 6), b.parameter("m.gamma", (6,)), b.parameter("m.beta", (6,))], (4, 6))
    assert normalization_after(b.graph()) == {"c.weight": "m.gamma"}


def test_a_graph_knows_shapes_parameters_and_readers():
    weight = Parameter("w", (4, 3))
    nodes = (Node(0, "MatMul", (Input("x", (2, 3)), weight), {}, ((2, 4), (1,)), "fc"),
             Node(1, "AddN", ((Result(0), Result(0)),), {}, ((2, 4),), ""))
    graph = Graph(nodes, (Input("x", (2, 3)),), (weight,), (Result(1), Result(0, 1)))
    assert graph.parameter("w") is weight
    assert [graph.shape(value) for value in (Result(0), Result(0, 1), weight, Input("x", (2, 3)))] == \
        [(2, 4), (1,), (4, 3), (2, 3)]
    assert graph.shape(Constant(1.0)) == graph.shape(Constant("text")) == ()
    assert graph.consumers() == {Result(0): (1, 1), Result(1): (-1,), Result(0, 1): (-1,)}
    assert [str(node) for node in nodes] == ["MatMul in 'fc'", "AddN"]


def test_flatten_opens_nested_tuples_in_order():
    assert flatten(((1, (2, 3)), 4, ())) == (1, 2, 3, 4)
