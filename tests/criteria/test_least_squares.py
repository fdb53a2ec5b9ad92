"""Rows of layers and least squares, against definitions and numpy's own."""
import itertools

import numpy as np
import pytest

from golden_stick.criteria.least_squares import Geometry, Moments
from golden_stick.graph.layers import CONVOLUTION, DENSE, TRANSPOSED


def convolved(data, weight, geometry, places):
    """A convolution number by number, as it is defined."""
    output = np.zeros((len(data), len(weight), *places))
    inputs, filters = data.shape[1] // geometry.group, len(weight) // geometry.group
    for place, tap in itertools.product(np.ndindex(*places), np.ndindex(*geometry.kernel)):
        at = [one * step + spread * offset - first for one, step, spread, offset, first in
              zip(place, geometry.stride, geometry.dilation, tap, geometry.begin)]
        if all(0 <= one < size for one, size in zip(at, data.shape[2:])):
            for group in range(geometry.group):
                read = data[(slice(None), slice(group * inputs, (group + 1) * inputs), *at)]
                rows = slice(group * filters, (group + 1) * filters)
                output[(slice(None), rows, *place)] += read @ weight[(rows, slice(None), *tap)].T
    return output


def spread_out(data, weight, geometry, places):
    """A transposed convolution: every number that is read adds the kernel to what is given."""
    filters = weight.shape[1]
    output = np.zeros((len(data), filters * geometry.group, *places))
    inputs = len(weight) // geometry.group
    for place, tap in itertools.product(np.ndindex(*data.shape[2:]), np.ndindex(*geometry.kernel)):
        at = [one * step + spread * offset - first for one, step, spread, offset, first in
              zip(place, geometry.stride, geometry.dilation, tap, geometry.begin)]
        if all(0 <= one < size for one, size in zip(at, places)):
            for group in range(geometry.group):
                rows = slice(group * inputs, (group + 1) * inputs)
                output[(slice(None), slice(group * filters, (group + 1) * filters), *at)] += \
                    data[(slice(None), rows, *place)] @ weight[(rows, slice(None), *tap)]
    return output


# kernel, stride, dilation, what is padded before, places given, places read, groups
WINDOWS = [
    ((3,), (1,), (1,), (1,), (6,), (6,), 1),
    ((3, 2), (2, 1), (1, 2), (1, 0), (3, 4), (5, 6), 2),
    ((1, 3), (1, 2), (1, 1), (0, 1), (4, 3), (4, 5), 4),
    ((2, 2, 2), (1, 2, 1), (1, 1, 2), (0, 1, 1), (2, 2, 3), (3, 3, 3), 1),
]


@pytest.mark.parametrize("kernel, stride, dilation, begin, output, size, group", WINDOWS)
def test_rows_of_a_convolution(kernel, stride, dilation, begin, output, size, group):
    generator = np.random.default_rng(0)
    geometry = Geometry(CONVOLUTION, kernel, stride, dilation, begin, group)
    data = generator.normal(size=(3, 4, *size))
    weight = generator.normal(size=(8, 4 // group, *kernel))
    wanted = convolved(data, weight, geometry, output)
    places = np.arange(3 * int(np.prod(output)))[::2]
    made = np.einsum("mgn,gnf->mgf", geometry.rows_read(data, places, wanted.shape), geometry.matrix(weight))
    np.testing.assert_allclose(made, geometry.rows_given(wanted, places))
    np.testing.assert_array_equal(geometry.weight(geometry.matrix(weight), weight.shape), weight)


# The other way round: places given are as many as the windows of all that is read cover, or fewer.
SPREAD = [
    ((3,), (2,), (1,), (1,), (9,), (5,), 1),
    ((3, 3), (2, 1), (1, 1), (1, 1), (10, 4), (5, 4), 2),
    ((2, 3), (1, 2), (2, 1), (0, 2), (5, 6), (3, 4), 4),
    ((2, 2, 2), (2, 2, 2), (1, 1, 1), (0, 0, 0), (4, 6, 4), (2, 3, 2), 1),
]


@pytest.mark.parametrize("kernel, stride, dilation, begin, output, size, group", SPREAD)
def test_rows_of_a_transposed_convolution(kernel, stride, dilation, begin, output, size, group):
    generator = np.random.default_rng(0)
    geometry = Geometry(TRANSPOSED, kernel, stride, dilation, begin, group)
    data = generator.normal(size=(3, 4, *size))
    weight = generator.normal(size=(4, 2, *kernel))
    wanted = spread_out(data, weight, geometry, output)
    places = np.arange(3 * int(np.prod(output)))[1::2]
    made = np.einsum("mgn,gnf->mgf", geometry.rows_read(data, places, wanted.shape), geometry.matrix(weight))
    np.testing.assert_allclose(made, geometry.rows_given(wanted, places))
    np.testing.assert_array_equal(geometry.weight(geometry.matrix(weight), weight.shape), weight)


def test_a_cell_of_one_dimension_whose_kernel_has_two():
    geometry = Geometry(CONVOLUTION, (1, 3), (1, 1), (1, 1), (0, 1))
    data = np.random.default_rng(0).normal(size=(2, 3, 5))
    np.testing.assert_array_equal(geometry.rows_read(data, np.arange(10), (2, 4, 5)),
                                  geometry.rows_read(data[:, :, None], np.arange(10), (2, 4, 1, 5)))


def test_rows_of_dense_layers():
    geometry, generator = Geometry(DENSE), np.random.default_rng(0)
    data, weight = generator.normal(size=(2, 5, 4)), generator.normal(size=(3, 4))
    places = np.array([0, 4, 7])
    made = np.einsum("mgn,gnf->mgf", geometry.rows_read(data, places, (2, 5, 3)), geometry.matrix(weight))
    np.testing.assert_allclose(made, geometry.rows_given(data @ weight.T, places))
    np.testing.assert_allclose(geometry.rows_given(data @ weight.T, places, np.array([2, 0]))[:, 0],
                               (data @ weight.T).reshape(10, 3)[places][:, [2, 0]])


def rows(groups=2, columns=4, filters=3, count=60):
    generator = np.random.default_rng(0)
    reads = generator.normal(5.0, 1.0, (count, groups, columns))
    gives = np.einsum("mgn,gnf->mgf", reads, generator.normal(size=(groups, columns, filters)))
    return reads, gives + generator.normal(size=gives.shape) + 7.0, generator.normal(size=(groups, columns, filters))


@pytest.mark.parametrize("damping", [1e-6, 0.1])
def test_solved_with_a_bias(damping):
    """Damped least squares are plain ones of rows that ask for no change, as many as there are columns."""
    reads, gives, matrix = rows()
    moments = Moments(reads[:7].mean(0), gives[:7].mean(0))
    for part in (slice(0, 20), slice(20, 60)):
        moments.add(reads[part].astype(np.float32), gives[part].astype(np.float32))
    solved = moments.solve(matrix, damping, None)
    bias = moments.bias(solved)
    for group in range(2):
        centred, wanted = reads[:, group] - reads[:, group].mean(0), gives[:, group] - gives[:, group].mean(0)
        strength = np.sqrt(damping * np.square(centred).sum(0).mean())
        stacked = np.concatenate([centred, strength * np.eye(4)])
        change = np.linalg.lstsq(stacked, np.concatenate([wanted - centred @ matrix[group], np.zeros((4, 3))]),
                                 rcond=None)[0]
        np.testing.assert_allclose(solved[group], matrix[group] + change, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(bias[group], (gives[:, group] - reads[:, group] @ solved[group]).mean(0), rtol=1e-4)
    left = gives - np.einsum("mgn,gnf->mgf", reads, solved) - bias
    np.testing.assert_allclose(moments.error(solved, bias), np.square(left).sum(), rtol=1e-4)
    np.testing.assert_allclose(moments.spread(), np.square(gives - gives.mean(0)).sum(), rtol=1e-4)
    assert moments.count == 60 and moments.finite


def test_solved_beside_a_bias_that_stays():
    reads, gives, matrix = rows()
    moments, bias = Moments(np.zeros((2, 4)), np.zeros((2, 3))), np.full((2, 3), 2.0)
    moments.add(reads, gives)
    solved = moments.solve(matrix, 1e-9, bias)
    for group in range(2):
        wanted = np.linalg.lstsq(reads[:, group], gives[:, group] - 2.0, rcond=None)[0]
        np.testing.assert_allclose(solved[group], wanted, rtol=1e-4)


def test_numbers_far_from_zero_do_not_drown():
    reads, gives, matrix = rows()
    moments = Moments(reads.mean(0) + 1e6, gives.mean(0) + 1e6)
    moments.add(reads + 1e6, gives + 1e6)
    near = Moments(reads.mean(0), gives.mean(0))
    near.add(reads, gives)
    np.testing.assert_allclose(moments.solve(matrix, 0.01, None), near.solve(matrix, 0.01, None), rtol=1e-6)


def test_nan_is_seen():
    reads, gives, _ = rows()
    moments = Moments(np.zeros((2, 4)), np.zeros((2, 3)))
    moments.add(reads, np.where(gives > gives.mean(), np.nan, gives))
    assert not moments.finite
