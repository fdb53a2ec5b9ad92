"""One file for all sizes: what merging makes of graphs that were traced at several, against each written by itself."""
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from golden_stick.deploy.onnx import ONNX_RULES
from golden_stick.deploy.onnx.sizes import FixedSizes, merge
from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Constant
from tests.graph.build import Builder

TRACED = ((2, 39, 52), (3, 65, 91), (5, 52, 78), (4, 91, 39))
OTHERS = ((1, 78, 26), (6, 33, 47))
KERNEL = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)


def same(size):
    total = max((-(-size // 2) - 1) * 2 + 3 - size, 0)
    return total // 2, total - total // 2


def shrunk(b, x, high, wide):
    """Halved by a convolution with padding 'same', which is another for odd and even sizes."""
    rows, columns = -(-high // 2), -(-wide // 2)
    y = b.node("Conv2D", [x, b.parameter("w", KERNEL.shape)], (x.shape[0], 4, rows, columns), stride=(1, 1, 2, 2),
               dilation=(1, 1, 1, 1), group=1, pad_list=(*same(high), *same(wide)))
    return y, rows, columns


def pyramid(b, x):
    """Back to the size of before, whose rows are then one behind the other, without the first."""
    y, rows, columns = shrunk(b, x, *x.shape[2:])
    p = b.node("MaxPool", [y], (x.shape[0], 4, (rows - 3) // 2 + 1, (columns - 3) // 2 + 1), kernel_size=(1, 1, 3, 3),
               strides=(1, 1, 2, 2), pad_mode="VALID")
    up = b.node("ResizeNearestNeighborV2", [p, (rows, columns), False, False], (x.shape[0], 4, rows, columns))
    end = (x.shape[0], rows * columns, 4)
    flat = b.node("Transpose", [b.reshape(up, x.shape[0], 4, rows * columns), (0, 2, 1)], end)
    return [b.node("StridedSlice", [flat, (0, 1, 0), end, (1, 1, 1), 0, 0, 0, 0, 0],
                   (x.shape[0], rows * columns - 1, 4))]


def positions(b, x):
    """A grid of places, a row of ones, and a number that the code counts."""
    y, rows, columns = shrunk(b, x, *x.shape[2:])
    grid = np.arange(columns, dtype=np.float32) * 2 + np.arange(rows, dtype=np.float32)[:, None] + 5
    y = b.node("Add", [b.reshape(y, x.shape[0] * 4, rows, columns), Constant(grid)], (x.shape[0] * 4, rows, columns))
    y = b.node("Mul", [y, float(rows * columns)], b.shape(y))
    ones = Constant(np.ones((x.shape[0] * 4, 1, columns), np.float32))
    return [b.node("Concat", [(y, ones), 1], (x.shape[0] * 4, rows + 1, columns)), grid.astype(np.int64) * 3]


def poolings(b, x):
    """With a step of two, and rounded up."""
    pooled = [(size + 2 - 3) // 2 + 1 for size in x.shape[2:]]
    up = [-(-size // 3) for size in x.shape[2:]]
    half = tuple(size // 2 for size in x.shape[2:])
    return [b.node("MaxPoolWithMask", [x, (3,), (2,), (1,), (1,), False], (*x.shape[:2], *pooled)),
            b.node("MaxPoolWithMask", [x, (2,), (3,), (0,), (1,), True], (*x.shape[:2], *up)),
            b.node("Var", [x, None, 1, False], (), ()),
            b.node("ResizeBilinearV2", [x, half, False, True], (*x.shape[:2], *half))]


def written(network, sizes, store=None):
    b = Builder()
    outputs = network(b, b.input(sizes[0], 3, *sizes[1:]))
    outputs = [b.node("Identity", [item], item.shape) if isinstance(item, np.ndarray) else item for item in outputs]
    graph = b.graph(*outputs)
    nodes = tuple(replace(node, types=("int64" if node.operator == "Identity" else "float32",) * len(node.shapes))
                  for node in graph.nodes)
    return Writer(replace(graph, nodes=nodes), {"w": KERNEL}, 17, (), store).run(ONNX_RULES)


def outputs_of(model, sizes):
    onnx.checker.check_model(model, full_check=True)
    data = np.random.default_rng(1).normal(size=(sizes[0], 3, *sizes[1:])).astype(np.float32)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x0": data})


@pytest.mark.parametrize("network", [pyramid, positions, poolings])
def test_every_size(network):
    store = {}
    model = merge([written(network, sizes, store) for sizes in TRACED]).model({})
    assert [item.dim_param or item.dim_value for item in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch", 3, "height", "width"]
    for sizes in (*TRACED[:1], *OTHERS):
        for one, other in zip(outputs_of(model, sizes), outputs_of(written(network, sizes).model({}), sizes)):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("network, message", [
    (lambda b, x: [b.relu(x)] if x.shape[0] == 2 else [b.pointwise("Sigmoid", x)],
     "the network computes in another way when the batch size changes"),
    (lambda b, x: [b.concat((x,) * x.shape[0])], "is called in another way when the batch size changes"),
    (lambda b, x: [b.add(b.relu(x), (x, b.relu(x))[x.shape[0] % 2])], "in another way|reads something else"),
    (lambda b, x: [b.node("Mul", [x, x.shape[0] / 3], x.shape)], "a number in the code|an array in the code"),
    (lambda b, x: [b.node("Mul", [x, np.arange(6, dtype=np.float32) ** x.shape[0]], x.shape)], "an array in the code"),
    (lambda b, x: [b.node("Softmax", [x], x.shape, axis=x.shape[0] - 2)], "'axis' of 'Softmax' depends on the batch"),
])
def test_what_fixes_the_batch_size(network, message):
    with pytest.raises(FixedSizes, match=message):
        merge([written(network, (batch, 5, 6)) for batch in (2, 3)])


def test_a_number_that_follows_nothing():
    """Of four sizes, no form fits."""
    def tiled(times):
        return lambda b, x: [b.node("Tile", [x, (times, 1, 1, 1)], (x.shape[0] * times, *x.shape[1:]))]
    with pytest.raises(FixedSizes, match="a number in the code of 'Tile' does not grow evenly with the size: 7, 1, 8"):
        merge([written(tiled(times), sizes) for sizes, times in zip(TRACED, (7, 1, 8, 3))])
