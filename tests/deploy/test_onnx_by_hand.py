"""Rules of operators that MindSpore has no kernel for on the CPU: the file in ONNX Runtime against numpy."""
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest

from golden_stick.bench.contenders import count_onnx_macs
from golden_stick.deploy.onnx import ONNX_RULES
from golden_stick.deploy.onnx.export import check_model, run_file
from golden_stick.deploy.onnx.writer import Writer
from golden_stick.graph.ir import Result, usual
from golden_stick.graph.plan import count_macs
from tests.graph.build import Builder

X = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
# Where a scatter writes, at some places twice.
INTO = np.random.default_rng(2).integers(0, 4, X.shape)
VECTORS = {name: np.random.default_rng(index).uniform(0.3, 1.5, 4).astype(np.float32)
           for index, name in enumerate(("scale", "shift", "mean", "variance"))}


def written(tmp_path, operator, inputs, shapes, types=("float32",), opset=17, weights=None, data=X, **attributes):
    """The outputs of one node, by way of a file. `inputs` follow the data; names of weights are parameters."""
    b, weights = Builder(), weights or {}
    values = [b.parameter(item, weights[item].shape) if isinstance(item, str) and item in weights else item
              for item in inputs]
    b.node(operator, [b.input(*data.shape), *values], *shapes, **attributes)
    graph = b.graph(*(Result(0, index) for index in range(len(shapes))))
    return run_graph(tmp_path, graph, types, weights, opset, data)


def run_graph(tmp_path, graph, types, weights, opset=17, data=X):
    """The outputs of a graph of one node, whose outputs are of these types."""
    given = {item: replace(item, type=data.dtype.name) for item in graph.inputs}
    inputs = tuple(given.get(value, value) for value in graph.nodes[0].inputs)
    types = tuple(types) * (1 if len(types) == len(graph.nodes[0].shapes) else len(graph.nodes[0].shapes))
    node = replace(graph.nodes[0], inputs=inputs, types=types)
    nodes = [replace(item, number=at) for at, item in enumerate(usual(node, data.shape))]
    graph = replace(graph, nodes=tuple(nodes), inputs=tuple(given.values()), outputs=tuple(
        Result(node.number, index) for node in nodes for index in range(len(node.shapes))))
    model = Writer(graph, weights, opset).run(ONNX_RULES).model({})
    check_model(model)
    path = str(tmp_path / "x.onnx")
    onnx.save_model(model, path)
    return run_file(path, [data])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


ERF = np.vectorize(math.erf)
FUNCTIONS = [
    ("GeluExt", [0], lambda x: x * (1 + ERF(x / math.sqrt(2))) / 2),
    ("GeluExt", [1], lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))) / 2),
    ("LeakyReLUExt", [0.1], lambda x: np.where(x > 0, x, 0.1 * x)),
    ("EluExt", [0.5], lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    ("MishExt", [], lambda x: x * np.tanh(softplus(x))),
    ("Hardtanh", [0, 6], lambda x: np.clip(x, 0, 6)),
    ("HardTanh", [-0.5, 0.7], lambda x: np.clip(x, -0.5, 0.7)),
    ("Threshold", [0.1, 2.0], lambda x: np.where(x > 0.1, x, 2.0)),
    ("SoftplusExt", [2, 1], lambda x: np.where(2 * x > 1, x, softplus(2 * x) / 2)),
    ("LogSigmoid", [], lambda x: np.log(sigmoid(x))),
    ("HSigmoidExt", [], lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    ("Erfc", [], lambda x: 1 - ERF(x)),
    ("ZerosLikeExt", [], np.zeros_like),
    ("OnesLike", [], np.ones_like),
    ("Softplus", [], softplus),
    ("Rint", [], np.rint),
    ("Adds", [2], lambda x: x + 2),
    ("Subs", [2], lambda x: x - 2),
    ("SubScalar", [2, 3], lambda x: x - 6),
    ("DivMod", [2.0, 1], lambda x: np.trunc(x / 2)),
    ("RealDiv", [2.0], lambda x: x / 2),
    ("Mod", [0.7], lambda x: np.fmod(x, np.float32(0.7))),
    ("SquaredDifference", [2.0], lambda x: (x - 2) ** 2),
    ("LogSoftmaxExt", [1], lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))),
    ("CumsumExt", [2], lambda x: np.cumsum(x, 2)),
    ("Roll", [(1,), (2,)], lambda x: np.roll(x, 1, 2)),
    ("Roll", [(-2, 3), (1, 3)], lambda x: np.roll(x, (-2, 3), (1, 3))),
    ("DropoutExt", [], lambda x: x),
    ("InplaceReLU", [], lambda x: np.maximum(x, 0)),
    ("BroadcastToView", [(2, 4, 5, 6)], lambda x: x),
    ("ExpandAs", [X], lambda x: x),
    ("Addcmul", [2.0, 3.0, 0.5], lambda x: x + 3),
    ("AtanExt", [], np.arctan),
    ("Exp2", [], np.exp2),
    ("Log2", [], lambda x: np.log2(x)),
    ("Log10", [], lambda x: np.log10(x)),
    ("ChannelShuffle", [2], lambda x: x[:, [0, 2, 1, 3]]),
]


@pytest.mark.parametrize("opset", [13, 20])
@pytest.mark.parametrize("operator, inputs, wanted", FUNCTIONS,
                         ids=[f"{case[0]}{case[1]}" for case in FUNCTIONS])
def test_number_by_number(tmp_path, operator, inputs, wanted, opset):
    got, = written(tmp_path, operator, inputs, [X.shape], opset=opset)
    np.testing.assert_allclose(got, wanted(X), rtol=1e-5, atol=1e-5)


RESHAPED = [
    ("IndexSelect", [1, np.array([2, 0])], lambda x: [x[:, [2, 0]]]),
    ("StackExt", None, lambda x: [np.stack((x, x), 1)]),
    ("RepeatInterleaveInt", [2, 1, None], lambda x: [np.repeat(x, 2, 1)]),
    ("Repeat", [(1, 2, 1, 1)], lambda x: [np.tile(x, (1, 2, 1, 1))]),
    ("ReplicationPad2D", [(1, 2, 0, 1)], lambda x: [np.pad(x, ((0, 0), (0, 0), (0, 1), (1, 2)), "edge")]),
    ("ReflectionPad2D", [(1, 2, 0, 1)], lambda x: [np.pad(x, ((0, 0), (0, 0), (0, 1), (1, 2)), "reflect")]),
    ("ConstantPadND", [(1, 2), 3.0], lambda x: [np.pad(x, ((0, 0),) * 3 + ((1, 2),), constant_values=3.0)]),
    ("GLU", [1], lambda x: [x[:, :2] * sigmoid(x[:, 2:])]),
    ("Swiglu", [-1], lambda x: [x[..., :3] * sigmoid(x[..., :3]) * x[..., 3:]]),
    ("ArgMaxExt", [1, False], lambda x: [x.argmax(1)]),
    ("ArgMinExt", [2, True], lambda x: [x.argmin(2, keepdims=True)]),
    ("NarrowView", [1, 1, 2], lambda x: [x[:, 1:3]]),
    ("SelectExtView", [2, -1], lambda x: [x[:, :, -1]]),
    ("UnstackExtView", [1], lambda x: list(x.swapaxes(0, 1))),
    ("SplitTensorView", [3, 1], lambda x: [x[:, :3], x[:, 3:]]),
    ("ChunkView", [2, -1], lambda x: np.split(x, 2, -1)),
    ("VarMean", [(1,), 1, False], lambda x: [x.var(1, ddof=1), x.mean(1)]),
    ("Std", [(1, 2), 0, True], lambda x: [x.std((1, 2), keepdims=True)]),
    ("Var", [None, 1, False], lambda x: [x.var(ddof=1)]),
    ("LinalgVectorNorm", [2.0, (1,), True, None], lambda x: [np.sqrt((x ** 2).sum(1, keepdims=True))]),
    ("TopkExt", [2, 1, True, True], lambda x: [-np.sort(-x, 1)[:, :2], np.argsort(-x, 1)[:, :2]]),
    ("SortExt", [1, True, False], lambda x: [-np.sort(-x, 1), np.argsort(-x, 1)]),
    ("AvgPool2D", [(2,), (2,), (1,), True, False, None], lambda x: [average(x, False)]),
    ("AvgPool2D", [(2,), (2,), (1,), False, True, 3], lambda x: [average(x, True) * 4 / 3]),
    ("MaxPoolWithMask", [(3, 3), (2, 2), (1, 1), (1, 1), False], lambda x: [largest(x)]),
    ("AdaptiveAvgPool2DExt", [(1, 1)], lambda x: [x.mean((2, 3), keepdims=True)]),
    ("UpsampleNearest2D", [(7, 9), None], lambda x: [x[:, :, np.arange(7) * 5 // 7][..., np.arange(9) * 6 // 9]]),
    ("UpsampleBilinear2D", [(9, 11), None, True], lambda x: [line(line(x, 9, 2), 11, 3)]),
    ("UpsampleBicubic2D", [(7, 9), None, True], lambda x: [cubic(cubic(x, 7, 2, True), 9, 3, True)]),
    ("UpsampleBicubic2D", [(7, 9), None, False], lambda x: [cubic(cubic(x, 7, 2, False), 9, 3, False)]),
    ("ArgSort", [1, True, False], lambda x: [np.argsort(-x, 1)]),
    ("SliceExt", [2, 1, 4, 2], lambda x: [x[:, :, 1:4:2]]),
    ("ScatterAddExt", [1, INTO, X], lambda x: [scattered(x)]),
    ("Scatter", [1, INTO[:, :1], X[:, :1], 0],
     lambda x: [np.where(INTO[:, :1] == np.arange(4).reshape(1, 4, 1, 1), x[:, :1], x)]),
    ("TensorScatterMul", [np.array([[1], [0]]), X[::-1].copy()], lambda x: [x * x]),
]


def scattered(x):
    made = x.copy()
    samples, _, rows, columns = np.indices(x.shape)
    np.add.at(made, (samples, INTO, rows, columns), x)
    return made


def cubic(x, made, axis, corners):
    """Between four positions, by the curve with -0.75."""
    size = x.shape[axis]
    places = np.linspace(0, size - 1, made) if corners else (np.arange(made) + 0.5) * size / made - 0.5
    low, total = np.floor(places).astype(int), 0
    for step in range(-1, 3):
        away = np.abs(places - low - step)
        inner, outer = 1.25 * away ** 3 - 2.25 * away ** 2 + 1, -0.75 * (away ** 3 - 5 * away ** 2 + 8 * away - 4)
        weights = np.where(away <= 1, inner, outer).reshape((-1,) + (1,) * (3 - axis))
        total = total + weights * x.take((low + step).clip(0, size - 1), axis)
    return total


def average(x, counted):
    """A window of 2 by 2, a step of 2 and padding of 1: over five rows and six columns there are three and four."""
    data, ones = (np.pad(item, ((0, 0), (0, 0), (1, 1), (1, 1))) for item in (x, np.ones_like(x)))
    data, ones = (np.lib.stride_tricks.sliding_window_view(item, (2, 2), (2, 3))[:, :, ::2, ::2].sum((4, 5))
                  for item in (data, ones))
    return data / (4 if counted else ones)


def largest(x):
    data = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(data, (3, 3), (2, 3))[:, :, ::2, ::2].max((4, 5))


def line(x, made, axis):
    """Corners on corners, and straight between."""
    places = np.linspace(0, x.shape[axis] - 1, made)
    low = np.minimum(places.astype(int), x.shape[axis] - 2)
    part = (places - low).reshape((-1,) + (1,) * (3 - axis))
    return x.take(low, axis) * (1 - part) + x.take(low + 1, axis) * part


@pytest.mark.parametrize("operator, inputs, wanted", RESHAPED, ids=[f"{case[0]}{case[1]}" for case in RESHAPED])
def test_other_shapes(tmp_path, operator, inputs, wanted):
    wanted = [np.asarray(item) for item in wanted(X)]
    types = tuple("int64" if item.dtype.kind == "i" else "float32" for item in wanted)
    shapes = [item.shape for item in wanted]
    if inputs is None:
        b = Builder()
        x = b.input(*X.shape)
        got = run_graph(tmp_path, b.graph(b.node(operator, [(x, x), 1], *shapes)), types, {})
    else:
        got = written(tmp_path, operator, inputs, shapes, types)
    assert [item.dtype.name for item in got] == list(types)
    for one, other in zip(wanted, got):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


def along(vector):
    return vector.reshape(-1, 1, 1)


def normal(x, axes, epsilon):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


@pytest.mark.parametrize("opset", [13, 20])
def test_normalizations(tmp_path, opset):
    names, v = list(VECTORS), VECTORS
    ext, = written(tmp_path, "BatchNormExt", [*names, False, 0.1, 1e-3], [X.shape], opset=opset, weights=v)
    wanted = (X - along(v["mean"])) / np.sqrt(along(v["variance"]) + 1e-3) * along(v["scale"]) + along(v["shift"])
    np.testing.assert_allclose(ext, wanted, rtol=1e-4, atol=1e-5)
    plain, = written(tmp_path, "BatchNormExt", [None, None, "mean", "variance", False, 0.1, 1e-3], [X.shape],
                     opset=opset, weights=v)
    np.testing.assert_allclose(plain, (X - along(v["mean"])) / np.sqrt(along(v["variance"]) + 1e-3), rtol=1e-4)
    instance, = written(tmp_path, "InstanceNorm", names, [X.shape], opset=opset, weights=v, epsilon=1e-3)
    np.testing.assert_allclose(instance, normal(X, (2, 3), 1e-3) * along(v["scale"]) + along(v["shift"]), atol=1e-4)
    row = {name: np.linspace(0.5, 2, 6, dtype=np.float32) * sign for name, sign in (("g", 1), ("b", -1))}
    layer, = written(tmp_path, "LayerNormExt", [(6,), "g", "b", 1e-2], [X.shape], opset=opset, weights=row)
    np.testing.assert_allclose(layer, normal(X, 3, 1e-2) * row["g"] + row["b"], atol=1e-4)
    bare, = written(tmp_path, "LayerNormExt", [(5, 6), None, None, 1e-2], [X.shape], opset=opset)
    np.testing.assert_allclose(bare, normal(X, (2, 3), 1e-2), atol=1e-4)
    root, = written(tmp_path, "RmsNorm", ["g", 1e-2], [X.shape], opset=opset, weights=row)
    np.testing.assert_allclose(root, X / np.sqrt((X ** 2).mean(3, keepdims=True) + 1e-2) * row["g"], rtol=1e-4)


def convolved(x, kernel, stride=1, padding=((0, 0),), dilation=1, group=1):
    """The definition of a convolution of any rank: a sum of products over windows, group by group."""
    rank = x.ndim - 2
    x = np.pad(x, ((0, 0), (0, 0), *(padding * rank if len(padding) == 1 else padding)))
    size = [dilation * (width - 1) + 1 for width in kernel.shape[2:]]
    windows = np.lib.stride_tricks.sliding_window_view(x, size, tuple(range(2, x.ndim)))
    windows = windows[(slice(None), slice(None), *(slice(None, None, stride),) * rank,
                       *(slice(None, None, dilation),) * rank)]
    axes = tuple(range(2 + rank, 2 + 2 * rank))
    parts = [np.tensordot(rows, filters, ((1, *axes), tuple(range(1, kernel.ndim))))
             for rows, filters in zip(np.split(windows, group, 1), np.split(kernel, group))]
    return np.moveaxis(np.concatenate(parts, -1), -1, 1)


def kernel(*shape):
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


LINE, BLOCK = X[:, :, 0], X.reshape(2, 4, 5, 3, 2)
ONE, TWO = ((1, 1),), ((1, 2), (0, 1))
CONVOLUTIONS = [
    ("Conv2DExt", X, (4, 4, 3, 3), ["b", (1, 1), (1, 1), (1, 1), 1], {}, {"padding": ONE}),
    ("Conv2DExt", X, (6, 2, 3, 3), [None, (2, 2), (2, 2), (2, 2), 2], {}, dict(padding=((2, 2),), stride=2, dilation=2,
                                                                             group=2)),
    ("Conv1DExt", LINE, (4, 4, 3), ["b", 2, 1, 1, 1], {}, dict(padding=ONE, stride=2)),
    ("Conv3DExt", BLOCK, (4, 1, 3, 2, 2), [None, (1,), (0,), (1,), 4], {}, {"group": 4}),
    ("Conv2D", X, (6, 2, 3, 3), [], dict(stride=(1, 1, 1, 1), pad_list=(1, 2, 0, 1), dilation=(1, 1, 1, 1), group=2),
     dict(padding=TWO, group=2)),
    ("Conv3D", BLOCK, (3, 4, 2, 2, 2), [], dict(stride=(1, 1, 2, 2, 2), pad_list=(1, 1) * 3, dilation=(1,) * 5),
     dict(padding=ONE, stride=2)),
]


@pytest.mark.parametrize("operator, data, shape, inputs, attributes, options", CONVOLUTIONS,
                         ids=[f"{case[0]}{case[2]}" for case in CONVOLUTIONS])
def test_convolutions(tmp_path, operator, data, shape, inputs, attributes, options):
    """Of nn and of mint: one rule, which finds its numbers where the record says."""
    weights = {"w": kernel(*shape), "b": VECTORS["shift"]}
    wanted = convolved(data, weights["w"], **options)
    if "b" in inputs:
        wanted = wanted + weights["b"].reshape(-1, *(1,) * (data.ndim - 2))
    got, = written(tmp_path, operator, ["w", *inputs], [wanted.shape], weights=weights, data=data, **attributes)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_a_transposed_convolution_of_mint(tmp_path):
    """With a step of 1, it is a convolution by the turned kernel."""
    weights = {"w": kernel(4, 4, 3, 3)}
    turned = convolved(X, np.flip(weights["w"].swapaxes(0, 1), (2, 3)), padding=ONE)
    back, = written(tmp_path, "ConvTranspose2D", ["w", None, (1, 1), (1, 1), (0, 0), 1, (1, 1)], [turned.shape],
                    weights=weights)
    np.testing.assert_allclose(back, turned, atol=1e-4)


def test_an_embedding_of_mint(tmp_path):
    weights, places = {"w": kernel(5, 3)}, np.array([[0, 4], [2, 2]])
    got, = written(tmp_path, "Embedding", ["w", None, None, 2.0, False], [(2, 2, 3)], weights=weights, data=places)
    np.testing.assert_array_equal(got, weights["w"][places])


@pytest.mark.parametrize("equation", ["bchw,bcHw->bchH", "...hw,...Hw->...hH"])
def test_einsum(tmp_path, equation):
    b = Builder()
    x = b.input(*X.shape)
    graph = b.graph(b.node("Einsum", [(x, x)], (2, 4, 5, 5), equation=equation))
    np.testing.assert_allclose(run_graph(tmp_path, graph, ["float32"], {})[0], np.einsum("bchw,bcHw->bchH", X, X),
                               atol=1e-4)
    # The file costs what the network costs.
    assert count_onnx_macs(str(tmp_path / "x.onnx"), [X.shape]) == count_macs(graph) == 4 * 5 * 5 * X.shape[3]


def test_one_hot_of_mint(tmp_path):
    """A place that there is none of is off everywhere."""
    places = np.array([[0, 2], [-1, 3]])
    got, = written(tmp_path, "OneHotExt", [-1, np.asarray(1), np.asarray(0), -1], [(2, 2, 3)], ["int64"], data=places)
    np.testing.assert_array_equal(got, places[..., None] == np.arange(3))


@pytest.mark.parametrize("most, least, wanted", [(3, 0.1, [0, 2]), (1, 0.1, [0]), (3, 0.01, [0, 2, 3])])
def test_boxes_that_overlap(tmp_path, most, least, wanted):
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4.1], [5, 5, 9, 9], [20, 20, 21, 21]], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.05], np.float32)
    numbers = [np.asarray(most, np.int32), np.asarray(0.5, np.float32), np.asarray(least, np.float32)]
    got, = written(tmp_path, "NonMaxSuppressionV3", [scores, *numbers], [(-1,)], ["int32"], data=boxes)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("way, wanted", [("Max", np.maximum), ("Min", np.minimum)])
def test_scatters_of_opset_18(tmp_path, way, wanted):
    got, = written(tmp_path, f"TensorScatter{way}", [np.array([[0], [1]]), -X], [X.shape], opset=18)
    np.testing.assert_array_equal(got, wanted(X, -X))
