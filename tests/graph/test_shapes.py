"""Operators that move numbers about: their labels are what numpy's function of that name makes of a label array."""
import math

import numpy as np
import pytest

from golden_stick.graph.flow import NUMBER, Flow
from golden_stick.graph.ir import Result
from golden_stick.graph.rules import RULES
from tests.graph.build import Builder, spread, walk

SEEDS = range(10)


def source(b, shape, axis=1):
    """A feature map of that shape (rank 4) whose channels lie along `axis`."""
    order = [item for item in range(4) if item != axis]
    order.insert(1, axis)
    made = b.convolution("a", b.input(shape[order[0]], 3, shape[order[2]], shape[order[3]]), shape[axis])
    if axis == 1:
        return made
    return b.node("Transpose", [made, tuple(order.index(item) for item in range(4))], shape)


def random_shape(generator):
    return tuple(int(size) for size in generator.integers(2, 5, 4))


def check(b, made, function, *, reason=None):
    """The labels of node `made` are `function` of its source's, or all fixed for a reason that holds `reason`."""
    graph = b.graph(made)
    flow = walk(graph)
    before = spread(flow, graph.nodes[made.node].inputs[0])
    assert before.any()
    if reason is None:
        np.testing.assert_array_equal(spread(flow, made), function(before))
        return
    assert not spread(flow, made).any()
    solution = flow.labels.solve()
    assert not solution.removable(before).any()
    assert any(reason in text for text in solution.why_fixed(before))


def factorizations(total, count):
    if count == 1:
        yield (total,)
        return
    for size in range(1, total + 1):
        if total % size == 0:
            yield from ((size, *rest) for rest in factorizations(total // size, count - 1))


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
@pytest.mark.parametrize("seed", SEEDS)
def test_reshape_equals_numpy_and_lays_all_channels_along_one_axis(seed, axis):
    generator = np.random.default_rng(seed)
    shape = random_shape(generator)
    choices = list(factorizations(math.prod(shape), int(generator.integers(1, 5))))
    for target in (choices[number] for number in generator.integers(0, len(choices), 6)):
        b = Builder()
        x = source(b, shape, axis)
        made = b.reshape(x, *target)
        flow = walk(b.graph(made))
        classes = flow.labels.solve().classes
        np.testing.assert_array_equal(classes[spread(flow, made)], classes[spread(flow, x)].reshape(target))
        assert len(flow.of(made).axes) <= 1


def test_a_reshape_that_was_refuted_takes_its_next_reading_and_at_last_none():
    b = Builder()
    x = source(b, (2, 6, 3, 5))
    made = b.reshape(x, 2, 3, 2, 3, 5)
    for rejected_readings, axes in enumerate([(1,), (2,), ()]):
        flow = Flow(b.graph(made), "group", {made.node: rejected_readings}).run(RULES)
        assert flow.of(made).axes == axes
    assert flow.labels.solve().why_fixed(flow.of(x).labels)[0].startswith(NUMBER)


def test_a_single_channel_is_no_number_in_the_code():
    b = Builder()
    x = source(b, (2, 1, 3, 5))
    flow = walk(b.graph(b.reshape(x, 2, 3, 5)))
    assert not any(reason.startswith(NUMBER) for reason in flow.labels.solve().why_fixed(flow.of(x).labels))


def test_an_axis_that_the_code_leaves_open_is_read_first():
    b = Builder()
    x = source(b, (2, 6, 3, 5))
    made = b.node("Reshape", [x, (2, 3, -1, 3, 5)], (2, 3, 2, 3, 5))
    assert walk(b.graph(made)).of(made).axes == (2,)


@pytest.mark.parametrize("operator, target", [
    ("Flatten", (2, 90)), ("ExpandDims", (1, 2, 6, 3, 5)), ("ExpandDims", (2, 6, 3, 5, 1)),
    ("ExpandDims", (2, 6, 1, 3, 5)),
])
def test_flatten_and_new_axes_equal_numpy(operator, target):
    b = Builder()
    x = source(b, (2, 6, 3, 5))
    check(b, b.node(operator, [x], target), lambda labels: labels.reshape(target))


@pytest.mark.parametrize("shape, target", [((2, 6, 1, 1), (2, 6)), ((1, 6, 3, 1), (6, 3)), ((1, 6, 1, 1), (6,))])
def test_squeeze_equals_numpy(shape, target):
    b = Builder()
    check(b, b.node("Squeeze", [source(b, shape)], target), lambda labels: labels.reshape(target))


def test_reshape_of_the_input_carries_no_labels():
    b = Builder()
    made = b.reshape(b.input(2, 3, 4, 4), 2, 48)
    assert walk(b.graph(made)).of(made).labels.tolist() == [[0]]


@pytest.mark.parametrize("seed", SEEDS)
def test_transpose_equals_numpy(seed):
    generator = np.random.default_rng(seed)
    shape, order = random_shape(generator), tuple(int(i) for i in generator.permutation(4))
    b = Builder()
    x = source(b, shape, int(generator.integers(4)))
    made = b.node("Transpose", [x, order], [shape[axis] for axis in order])
    check(b, made, lambda labels: np.transpose(labels, order))


@pytest.mark.parametrize("seed", SEEDS)
def test_concat_along_the_channels_equals_numpy(seed):
    generator = np.random.default_rng(seed)
    axis = int(generator.integers(4))
    b = Builder()
    shape = random_shape(generator)
    first, second = source(b, shape, axis), b.input(*shape)
    parts = [first, second, b.relu(first)]
    made = b.concat([parts[number] for number in generator.permutation(3)], axis - 4 if seed % 2 else axis)
    flow = walk(b.graph(made))
    wanted = np.concatenate([spread(flow, value) for value in flow.graph.nodes[made.node].inputs[0]], axis)
    np.testing.assert_array_equal(spread(flow, made), wanted)


@pytest.mark.parametrize("axis", [0, 2, 3, -1])
def test_channels_that_are_joined_along_another_axis_belong_together(axis):
    b = Builder()
    first = source(b, (2, 6, 3, 4))
    second = b.convolution("b", b.input(2, 3, 3, 4), 6)
    made = b.concat([first, second], axis)
    flow = walk(b.graph(made))
    classes = flow.labels.solve().classes
    for value in (second, made):
        np.testing.assert_array_equal(classes[flow.of(value).along(1)], classes[flow.of(first).along(1)])


def test_a_feature_map_that_is_joined_to_one_without_channels_keeps_them():
    b = Builder()
    first = source(b, (2, 6, 3, 4))
    flow = walk(b.graph(b.concat([first, b.input(2, 6, 3, 4)], 2)))
    assert flow.labels.solve().why_fixed(flow.of(first).labels)[0].startswith("meets a tensor that keeps its width")


def test_concat_with_a_parameter_keeps_the_parameter_and_the_channels():
    b = Builder()
    x = source(b, (2, 6, 3, 4))
    made = b.concat([x, b.parameter("token", (2, 1, 3, 4))])
    flow = walk(b.graph(made))
    assert not spread(flow, made).any()
    assert not flow.labels.solve().removable(flow.of(x).labels).any()


def strided(b, x, begin, end, strides, begin_mask=0, end_mask=0, ellipsis=0, new_axis=0, shrink=0):
    full = np.empty(b.shape(x))
    index = []
    for axis in range(len(begin)):
        whole = slice(None if begin_mask >> axis & 1 else begin[axis], None if end_mask >> axis & 1 else end[axis],
                      strides[axis])
        special = Ellipsis if ellipsis >> axis & 1 else np.newaxis if new_axis >> axis & 1 else whole
        index.append(begin[axis] if shrink >> axis & 1 else special)
    index = tuple(index)
    inputs = [x, begin, end, strides, begin_mask, end_mask, ellipsis, new_axis, shrink]
    return b.node("StridedSlice", inputs, full[index].shape), lambda labels: labels[index]


@pytest.mark.parametrize("options", [
    dict(begin=(0, 0, 1, 0), end=(2, 6, 5, 3), strides=(1, 1, 2, 1)),
    dict(begin=(1,), end=(2,), strides=(1,)),
    dict(begin=(0, 9, 1), end=(2, 9, 4), strides=(1, 1, 1), begin_mask=0b10, end_mask=0b10),
    dict(begin=(0, 0, 3, 0), end=(2, 6, 0, 4), strides=(1, 1, -1, 1)),
    dict(begin=(0, 0, 2), end=(2, 6, 3), strides=(1, 1, 1), shrink=0b100),
    dict(begin=(0, 0, 2, 1), end=(2, 6, 3, 2), strides=(1, 1, 1, 1), shrink=0b1100),
    dict(begin=(0, 0, 0, 1), end=(2, 99, 5, 2), strides=(1, 1, 1, 1), shrink=0b1000),
    dict(begin=(0, 0), end=(1, 6), strides=(1, 1), shrink=0b1),
    dict(begin=(0, 0, 0), end=(1, 6, 1), strides=(1, 1, 1), shrink=0b101),
])
def test_slices_that_leave_the_channels_whole_equal_numpy(options):
    b = Builder()
    made, function = strided(b, source(b, (2, 6, 5, 4)), **options)
    check(b, made, function)


CUT = "cuts the channels at a number that is written in the code"
INSERT = "a slice that inserts axes"


@pytest.mark.parametrize("options, reason", [
    (dict(begin=(0, 0), end=(2, 6), strides=(1, 2)), CUT),
    (dict(begin=(0, 5), end=(2, -7), strides=(1, -1)), CUT),
    (dict(begin=(0, 0), end=(2, 1), strides=(1, 1), shrink=0b10), CUT),
    (dict(begin=(0, 2), end=(2, 4), strides=(1, 2)), CUT),
    (dict(begin=(0, 0), end=(1, 6), strides=(1, 1), new_axis=0b1), INSERT),
    (dict(begin=(0, 0), end=(1, 1), strides=(1, 1), ellipsis=0b1), INSERT),
])
def test_slices_of_the_channels_keep_them_all(options, reason):
    b = Builder()
    made, function = strided(b, source(b, (2, 6, 5, 4)), **options)
    check(b, made, function, reason=reason)


@pytest.mark.parametrize("first, last", [(0, 3), (3, 6), (-3, 6), (2, 4), (-2, -1)])
def test_a_slice_of_one_of_equal_parts_has_its_labels_and_unites_the_parts(first, last):
    b = Builder()
    x = source(b, (2, 6, 5, 4))
    made, function = strided(b, x, (0, first), (2, last), (1, 1))
    check(b, made, function)
    flow = walk(b.graph(made))
    channels, width = flow.labels.solve().classes[flow.of(x).along(1)], flow.of(made).shape[1]
    np.testing.assert_array_equal(channels, np.tile(channels[:width], 6 // width))


@pytest.mark.parametrize("first, last", [(1, 6), (0, 5), (0, -1), (1, 3)])
def test_a_slice_of_any_other_part_has_its_labels_and_may_begin_and_end_there(first, last):
    b = Builder()
    x = source(b, (2, 6, 5, 4))
    made, function = strided(b, x, (0, first), (2, last), (1, 1))
    check(b, made, function)
    flow = walk(b.graph(made))
    labels = flow.of(x).along(1)
    assert len(np.unique(flow.labels.solve().classes[labels])) == 6
    rows = labels[first:last], labels[:first], labels[:last], labels[last:]
    assert {tuple(row) for row in flow.numbers[made.node]} == {tuple(row) for row in rows if len(row)}
    wanted = [(1, 1, tuple(labels[:first]))] if first else []
    assert [(at, axis, tuple(row)) for at, axis, row in flow.counts.values()] == wanted


@pytest.mark.parametrize("first", [3, 2])
def test_a_slice_of_a_part_that_was_refuted_keeps_all_channels(first):
    b = Builder()
    x = source(b, (2, 6, 5, 4))
    made, _ = strided(b, x, (0, first), (2, 6), (1, 1))
    flow = Flow(b.graph(made), "group", {made.node: 1}).run(RULES)
    assert flow.labels.solve().why_fixed(flow.of(x).labels)[0].startswith(CUT)


def test_a_slice_of_the_input_carries_no_labels():
    b = Builder()
    made, _ = strided(b, b.input(2, 6, 5, 4), (0, 1), (2, 3), (1, 1))
    assert not spread(walk(b.graph(made)), made).any()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("operator", ["Pad", "PadV3"])
def test_padding_equals_numpy_and_new_channels_stay(seed, operator):
    generator = np.random.default_rng(seed)
    axis = int(generator.integers(4))
    pairs = [tuple(pair) for pair in generator.integers(0, 3, (4, 2)).tolist()]
    b = Builder()
    shape = random_shape(generator)
    x = source(b, shape, axis)
    target = [size + sum(pair) for size, pair in zip(shape, pairs)]
    if operator == "Pad":
        made = b.node("Pad", [x], target, paddings=tuple(pairs))
    else:
        flat = [item for pair in pairs[::-1] for item in pair]
        made = b.node("PadV3", [x, np.array(flat) if seed % 2 else tuple(flat), 0.0], target)
    flow = walk(b.graph())
    solution = flow.labels.solve()
    labels, before = flow.of(made).along(axis), flow.of(x).along(axis)
    low, high = pairs[axis]
    np.testing.assert_array_equal(labels[low:len(labels) - high], before)
    edges = np.concatenate((labels[:low], labels[len(labels) - high:]))
    assert solution.removable(before).all()
    assert not solution.removable(edges).any()
    for label in edges:
        assert "padded with a number of channels that is written in the code" in solution.why_fixed(label[None])[0]


def test_short_paddings_count_from_the_last_axis():
    b = Builder()
    x = source(b, (2, 6, 3, 4))
    made = b.node("PadV3", [x, (1, 2), 0.0], (2, 6, 3, 7))
    flow = walk(b.graph(made))
    np.testing.assert_array_equal(flow.of(made).along(1), flow.of(x).along(1))


def test_padding_where_nothing_can_go_says_nothing():
    b = Builder()
    made = b.node("PadV3", [b.input(2, 6, 3, 4), (0, 0, 0, 0, 1, 1), 0.0], (2, 8, 3, 4), mode="reflect")
    assert walk(b.graph(made)).of(made).axes == ()


@pytest.mark.parametrize("operator, mode, pair, reason", [
    ("PadV3", "reflect", (1, 1), "in mode 'reflect'"), ("PadV3", "constant", (-1, 1), "by a negative number"),
    ("MirrorPad", "SYMMETRIC", (1, 1), "in mode 'SYMMETRIC'"),
])
def test_padding_of_channels_by_their_mirror_or_by_less_than_nothing_keeps_them(operator, mode, pair, reason):
    b = Builder()
    x = source(b, (2, 6, 3, 4))
    paddings = ((0, 0), pair, (0, 0), (0, 0)) if operator == "MirrorPad" else (0, 0, 0, 0, *pair)
    made = b.node(operator, [x, paddings], (2, 6 + sum(pair), 3, 4), mode=mode)
    check(b, made, None, reason=reason)


@pytest.mark.parametrize("axes", [0, 2, -1, (2, 3), (0, -1), (0, 2, 3)])
@pytest.mark.parametrize("keep", [False, True])
def test_reductions_over_other_axes_equal_numpy(axes, keep):
    b = Builder()
    x = source(b, (2, 6, 3, 4))
    shape = np.mean(np.empty((2, 6, 3, 4)), axis=axes, keepdims=keep).shape
    check(b, b.node("ReduceMean", [x, axes, keep], shape), lambda labels: labels.max(axis=axes, keepdims=keep))


@pytest.mark.parametrize("axes, shape", [(1, (2, 3, 4)), (-3, (2, 3, 4)), ((1, 2), (2, 4)), ((), ()), (None, ())])
def test_reductions_over_the_channels_keep_them(axes, shape):
    b = Builder()
    check(b, b.node("MeanExt", [source(b, (2, 6, 3, 4)), axes, False], shape), None, reason="mixes the channels")


@pytest.mark.parametrize("axis", [1, -3])
def test_softmax_over_the_channels_keeps_them(axis):
    for inputs, attributes in (([axis], {}), ([], {"axis": (axis,)}), ([], {"axis": axis}), ([], {})):
        b = Builder()
        x = source(b, (2, 6, 3, 4))
        check(b, b.node("Softmax", [x, *inputs], (2, 6, 3, 4), **attributes), None, reason="mixes the channels")


@pytest.mark.parametrize("axis", [0, 2, 3, -1])
def test_softmax_over_another_axis_passes(axis):
    b = Builder()
    x = source(b, (2, 6, 3, 4))
    made = b.node("Softmax", [x], (2, 6, 3, 4), axis=(axis,))
    assert isinstance(made, Result)
    check(b, made, lambda labels: labels)
