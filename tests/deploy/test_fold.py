"""Folding: by hand in numpy, then every kind of layer on both sides, then whatever forbids it."""
import importlib
import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, mint, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, SlimError, StateError, VerifyError
from golden_stick.cells.slim import recipe_of
from golden_stick.cells.trace import trace
from golden_stick.deploy.fold.network import _folded_values, check_folding, restructured
from golden_stick.deploy.fold.plan import FoldedNormalization, Folding, find_fusions
from golden_stick.graph import layers
from tests import networks
from tests.deploy.fold_layers import EPSILON, IMAGE, LAYERS, TWINS, TwoReaders, array, normalization
from tests.deploy.fold_refused import REFUSED, HandWrittenLayer, MixedInputs, Net, OwnCode
from tests.marks import quick


def chain(*cells):
    """A chain with weights and statistics that hide nothing."""
    network = networks.randomize(nn.SequentialCell(*cells))
    for parameter in network.get_parameters():
        if parameter.name.endswith("bias"):
            values = np.random.default_rng(3).normal(size=parameter.shape)
            parameter.set_data(Tensor(values.astype(np.float32)))
    return network


def normalizations(network):
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return [name for name, cell in network.cells_and_names() if isinstance(cell, kinds)]


def outputs(network, data):
    return network.set_train(False)(Tensor(data)).asnumpy()


def numpy_convolution(data, weight, bias):
    """The definition: a sum of products over windows, no padding, stride 1."""
    windows = np.lib.stride_tricks.sliding_window_view(data.astype(np.float64), weight.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight) + bias.reshape(1, -1, 1, 1)


@pytest.mark.parametrize("mode, order, has_bias", [
    ("GRAPH", "before", True), ("GRAPH", "after", False), ("PYNATIVE", "before", False), ("PYNATIVE", "after", True)],
    indirect=["mode"])
def test_weight_and_bias_are_those_of_the_paper_and_pencil(order, has_bias, mode):
    convolution = nn.Conv2d(3, 4, 3, pad_mode="valid", has_bias=has_bias)
    cells = (convolution, normalization(4)) if order == "before" else (normalization(3), convolution)
    network = chain(*cells)
    values = {item.name: item.asnumpy().astype(np.float64) for item in network.get_parameters()}
    layer, norm = ("0", "1") if order == "before" else ("1", "0")
    weight, bias = values[f"{layer}.weight"], values.get(f"{layer}.bias", np.zeros(4))
    gamma, beta, mean, variance = (values[f"{norm}.{key}"] for key in ("gamma", "beta", "moving_mean",
                                                                      "moving_variance"))
    scale = gamma / np.sqrt(variance + EPSILON)
    data = array((2, 3, 6, 6))
    if order == "before":
        wanted_weight, wanted_bias = weight * scale[:, None, None, None], (bias - mean) * scale + beta
        slow = numpy_convolution(data, weight, bias)
        slow = (slow - mean[:, None, None]) * scale[:, None, None] + beta[:, None, None]
    else:
        wanted_weight = weight * scale[None, :, None, None]
        wanted_bias = bias + (weight.sum((2, 3)) * (beta - mean * scale)).sum(1)
        normal = (data - mean[:, None, None]) * scale[:, None, None] + beta[:, None, None]
        slow = numpy_convolution(normal, weight, bias)
    folded = gs.fold(network, (2, 3, 6, 6))
    got = {item.name: item.asnumpy() for item in folded.get_parameters()}
    assert set(got) == {f"{layer}.weight", f"{layer}.bias"}
    np.testing.assert_allclose(got[f"{layer}.weight"], wanted_weight, rtol=1e-6)
    np.testing.assert_allclose(got[f"{layer}.bias"], wanted_bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs(folded, data), slow, atol=1e-5)


# Foldings of these are refused by `fold` itself where they are wrong, and others of their kind are tried.
SIBLINGS = {"strided, with bias", "depthwise, twice the channels", "transposed, depthwise", "dense without bias",
            "side by side, one with bias", "side by side, nested", "sliced, one row", "regions, with bias",
            "regions, twice", "after, one pixel", "after, depthwise", "dense, turned", "transposed volume",
            "after, signal"}


@pytest.mark.parametrize("name", quick(LAYERS, set(LAYERS) - SIBLINGS))
def test_every_layer_takes_its_normalization_in(name):
    make, shape = LAYERS[name]
    network, data = chain(*make()), array(shape)
    wanted = outputs(network, data)
    folded = gs.fold(network, shape)
    assert normalizations(network) and normalizations(folded) == []
    got = outputs(folded, data)
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    np.testing.assert_array_equal(outputs(network, data), wanted)
    check_folding("verify", network, gs.fold_report(folded), shape)


@pytest.mark.parametrize("pruned", [False, True])
def test_a_folding_into_layers_side_by_side_goes_through_a_file(pruned, tmp_path):
    network, shape = networks.randomize(networks.Wide()), networks.SMALL_INPUT
    if pruned:
        algorithm = gs.OneShot({"prune_rate": 0.5})
        network = algorithm.convert(algorithm.apply(network, inputs=shape))
    folded = gs.fold(network, shape)
    report = gs.fold_report(folded)
    assert normalizations(folded) == [] and report.folded == (
        FoldedNormalization("norm", ("left", "right")), FoldedNormalization("norm_cut", ("cut",)),
        FoldedNormalization("norm_regions", ("regions",)))
    loaded = gs.load_slim(networks.Wide(), gs.save_slim(folded, str(tmp_path / "folded")))
    assert gs.fold_report(loaded) == report
    data = array(shape)
    np.testing.assert_array_equal(outputs(loaded, data), outputs(folded, data))


class Between(nn.Cell):
    """A normalization with a layer on both sides that could take it in."""

    def __init__(self, kind):
        super().__init__()
        self.first = kind(4, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 3, 3, pad_mode="valid")

    def construct(self, x):
        return self.second(self.norm(self.first(x)))


def test_where_the_layer_before_cannot_take_it_the_layers_after_do():
    folded = gs.fold(networks.randomize(Between(OwnCode)), IMAGE)
    report = gs.fold_report(folded)
    assert report.folded == (FoldedNormalization("norm", ("second",)),)
    # The recipe says where it went, although a network of MindSpore's own layers would fold it into the first.
    network = networks.randomize(Between(nn.Conv2d))
    assert gs.fold_report(gs.fold(network, IMAGE)).folded == (FoldedNormalization("norm", ("first",)),)
    check_folding("verify", network, report, IMAGE)


def test_a_folding_that_cannot_be_one_of_the_network():
    folding = Folding((FoldedNormalization("norm", ("one",)),), ())
    with pytest.raises(VerifyError, match="For 'verify', the recipe must fold normalizations into layers beside them, "
                                          "but 'norm' cannot become part of 'one'"):
        check_folding("verify", TwoReaders(), folding, (2, 4, 3, 3))


def test_a_normalization_goes_into_all_that_read_it():
    network = networks.randomize(TwoReaders())
    folded = gs.fold(network, (2, 4, 3, 3))
    assert normalizations(folded) == []
    assert gs.fold_report(folded).folded[0].normalization == "norm"
    assert set(gs.fold_report(folded).folded[0].layers) == {"one", "two"}
    gs.verify(network, folded, Tensor(array((2, 4, 3, 3))))


def test_one_behind_another_goes_into_the_layer_after_both():
    network = chain(normalization(4), normalization(4), nn.Conv2d(4, 3, 3, pad_mode="valid"))
    folded = gs.fold(network, IMAGE)
    assert [item.normalization for item in gs.fold_report(folded).folded] == ["1", "0"]
    gs.verify(network, folded, Tensor(array(IMAGE)))


def test_alike_layers_of_which_one_is_given_a_bias(mode):
    """Compilers may take Cells that were built alike for the same."""
    network = chain(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), normalization(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    folded = gs.fold(network, IMAGE)
    assert [folded[index].has_bias for index in (0, 2, 5)] == [False, True, False]
    gs.verify(network, folded, Tensor(array(IMAGE)))


@pytest.mark.parametrize("build", [
    lambda: networks.CifarResNet(1), pytest.param(networks.MobileNetV2Like, marks=pytest.mark.long), networks.SENet])
@pytest.mark.parametrize("prune_rate", [pytest.param(0.0, marks=pytest.mark.long), 0.5])
def test_whole_networks(build, prune_rate):
    shape = (2, 3, 32, 32)
    network = networks.randomize(build())
    if prune_rate:
        algorithm = gs.OneShot({"prune_rate": prune_rate})
        network = algorithm.convert(algorithm.apply(network, inputs=shape))
    folded = gs.fold(network, shape)
    stays = ["tail.2"] if build is networks.SENet else []
    assert normalizations(folded) == stays == [item.normalization for item in gs.fold_report(folded).kept]
    gs.verify(network, folded, Tensor(array(shape)))


def test_scattered_branches():
    """Under this policy a gather stands between a branch's last layer and the sum."""
    shape = networks.SMALL_INPUT
    algorithm = gs.OneShot({"prune_rate": 0.5, "residual": "scatter"})
    slim = algorithm.convert(algorithm.apply(networks.randomize(networks.SmallNet()), inputs=shape))
    folded = gs.fold(slim, shape)
    assert normalizations(folded) == []
    gs.verify(slim, folded, Tensor(array(shape)))


def test_pruned_after_folding():
    shape = networks.SMALL_INPUT
    folded = gs.fold(networks.randomize(networks.SmallNet()), shape)
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(folded, inputs=shape))
    assert slim.a.out_channels == 4 and slim.a.bias.shape == (4,)


def test_the_callers_network_keeps_its_cells_values_and_flags():
    network = networks.randomize(networks.SmallNet())
    network.norm_a.set_train(True)
    before = {item.name: item.asnumpy().copy() for item in network.get_parameters()}
    folded = gs.fold(network, networks.SMALL_INPUT)
    assert network.norm_a.training and not network.norm_b.training
    assert normalizations(network) == ["norm_a", "norm_b"] and network.a.bias is None and not network.a.has_bias
    for item in network.get_parameters():
        np.testing.assert_array_equal(item.asnumpy(), before[item.name])
    assert recipe_of(network).steps == ()
    assert "a.bias" in {item.name for item in folded.trainable_params()}


def test_a_folded_network_trains(mode):
    folded = gs.fold(networks.randomize(networks.SmallNet()), networks.SMALL_INPUT)
    before = folded.a.bias.asnumpy().copy()
    step = nn.TrainOneStepCell(nn.WithLossCell(folded, nn.MSELoss()), nn.SGD(folded.trainable_params(), 0.05))
    step.set_train()(Tensor(array(networks.SMALL_INPUT)), ops.zeros((2, 4), ms.float32))
    assert np.abs(folded.a.bias.asnumpy() - before).max() > 0


@pytest.mark.parametrize("build, reason", REFUSED, ids=[item[0].__name__ for item in REFUSED])
def test_what_cannot_go_stays_and_says_why(build, reason):
    shape = {MixedInputs: (2, 4, 8, 8), HandWrittenLayer: (3, 4)}.get(build, (2, 4, 8, 8))
    network = networks.randomize(build())
    folded = gs.fold(network, shape)
    report = gs.fold_report(folded)
    assert report.folded == () and [item.normalization for item in report.kept] == ["norm"]
    assert reason in report.kept[0].reason


AS_OF_MINT = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


@pytest.mark.parametrize("name", quick(TWINS, ["convolution", "transposed, grouped", "dense", "after"]))
def test_layers_of_mint_take_in_what_their_twins_do(name):
    """They have no kernel on the CPU. Weights are laid out alike, so that the folded ones must be equal."""
    make, make_twin, shape = TWINS[name]
    network, twin = nn.SequentialCell(*make()), chain(*make_twin())
    parameters = {item.name: item for item in network.get_parameters()}
    for item in twin.get_parameters():
        place, *_, attribute = item.name.split(".")
        same = parameters[f"{place}.{AS_OF_MINT.get(attribute, attribute)}"]
        same.set_data(Tensor(item.asnumpy().reshape(same.shape)))
    wanted = {item.name: item.asnumpy() for item in gs.fold(twin, shape).get_parameters()}
    fusions, reasons = find_fusions(trace(network, shape), lambda fusion: "")
    assert len(fusions) == 1 and reasons == {}
    values = _folded_values({item.name: item.asnumpy() for item in network.get_parameters()}, fusions)
    for parameter, value in values.items():
        np.testing.assert_allclose(value.reshape(wanted[parameter].shape), wanted[parameter], rtol=1e-5, atol=1e-6)
    layer = fusions[0].layers[0][0].path
    made = restructured(network, Folding((FoldedNormalization(fusions[0].normalization.path, (layer,)),), ()))
    assert {item.name for item in made.get_parameters()} == set(wanted)
    operators = [node.operator for node in trace(made, shape).nodes]
    assert "BatchNormExt" not in operators and len(operators) < len(trace(network, shape).nodes)


class Taught(nn.Cell):
    """A layer of the user's own, with names of its own."""

    def __init__(self):
        super().__init__()
        self.kernel, self.shift = Parameter(Tensor(array((6, 4, 3, 3)))), None
        self.multiply = ops.Conv2D(6, 3)

    def construct(self, x):
        x = self.multiply(x, self.kernel)
        return x if self.shift is None else ops.bias_add(x, self.shift)


@pytest.mark.parametrize("bias, reason", [("shift", ""), ("", "'0', the layer beside it, is of a kind without bias")])
def test_a_layer_of_ones_own_takes_its_normalization_in(bias, reason):
    gs.add_layer(Taught, like="nn.Conv2d", weight="kernel", bias=bias, widths={})
    try:
        network, data = chain(Taught(), normalization(6)), array(IMAGE)
        folded = gs.fold(network, IMAGE)
    finally:
        del layers.LAYERS[layers.name_of_class(Taught)]
    assert [item.reason for item in gs.fold_report(folded).kept] == ([reason] if reason else [])
    np.testing.assert_allclose(outputs(folded, data), outputs(network, data), atol=1e-5)


@pytest.mark.parametrize("padding", [1, "same"])
def test_a_convolution_of_mint_that_pads_takes_nothing_in_from_before_it(padding):
    network = chain(mint.nn.BatchNorm2d(4), mint.nn.Conv2d(4, 3, 3, padding=padding))
    fusions, reasons = find_fusions(trace(network, IMAGE), lambda fusion: "")
    assert fusions == () and reasons["0"].endswith("after it: '1', a convolution with zero padding")


def test_one_sample_without_a_batch_is_not_folded():
    network = chain(mint.nn.Conv2d(4, 2, 3), mint.nn.BatchNorm1d(2))
    fusions, reasons = find_fusions(trace(network, (4, 4, 4)), lambda fusion: "")
    assert fusions == () and "a Cell of another kind" in reasons["1"]


def test_a_difference_is_an_error_and_nothing_is_changed(monkeypatch):
    network = networks.randomize(networks.SmallNet())
    before = outputs(network, array(networks.SMALL_INPUT))
    module = importlib.import_module("golden_stick.deploy.fold.network")
    affine = module._affine
    monkeypatch.setattr(module, "_affine", lambda *items: tuple(1.001 * item for item in affine(*items)))
    with pytest.raises(VerifyError, match="the folded network's outputs must agree with the network's within 1e-05"):
        gs.fold(network, networks.SMALL_INPUT)
    np.testing.assert_array_equal(outputs(network, array(networks.SMALL_INPUT)), before)


def test_not_a_number_is_no_equality():
    network = networks.randomize(Net())
    network.norm.gamma.set_data(Tensor(np.full(4, np.nan, np.float32)))
    with pytest.raises(VerifyError, match="parameter 'norm.gamma' holds NaN"):
        gs.fold(network, IMAGE)


def test_the_error_says_what_a_rounding_does():
    network, data = chain(nn.Dense(4, 8, has_bias=False), normalization(8, nn.BatchNorm1d)), array((5, 4))
    with pytest.raises(VerifyError) as caught:
        gs.fold(network, Tensor(data), tolerance=1e-12)
    rounding = float(re.search(r"changes the network's outputs by (\S+): where", str(caught.value)).group(1))
    # One layer amplifies little: a rounding of float32 is 6e-8 of a number, and an output is a sum of a few.
    assert 1e-8 < rounding / np.abs(outputs(network, data)).max() < 1e-6


def test_the_tolerance_is_the_callers():
    network = networks.randomize(networks.SmallNet())
    with pytest.raises(VerifyError, match="must agree with the network's within 1e-12 of"):
        gs.fold(network, networks.SMALL_INPUT, tolerance=1e-12)


def test_a_cast_is_no_place_to_fold_across():
    """In mixed precision the layer rounds to halves, which numbers multiplied beforehand would change."""
    network = networks.randomize(Net())
    network.conv.to_float(ms.float16)
    network.norm.to_float(ms.float32)
    assert "before it: 'Cast'" in gs.fold_report(gs.fold(network, IMAGE)).kept[0].reason


def test_errors_name_fold():
    network = Net()
    network.file = open(__file__, encoding="utf-8")
    with network.file, pytest.raises(SlimError, match="For 'fold', 'network' must be one that copy.deepcopy can copy"):
        gs.fold(network, IMAGE)


def test_bad_arguments():
    with pytest.raises(ArgumentTypeError, match="For 'fold', 'network' must be a Cell, but got int"):
        gs.fold(1, IMAGE)
    with pytest.raises(ArgumentError, match="For 'fold', 'tolerance' must be positive, but got 0"):
        gs.fold(Net(), IMAGE, tolerance=0)
    with pytest.raises(ArgumentTypeError, match="For 'fold', 'inputs' must be a Tensor"):
        gs.fold(Net(), "image")
    with pytest.raises(ArgumentTypeError, match="For 'fold_report', 'network' must be a Cell, but got int"):
        gs.fold_report(1)
    with pytest.raises(StateError, match="'network' must be one that 'fold' returned, but it was never folded"):
        gs.fold_report(Net())


def test_a_folding_is_plain_data_and_fits_its_network_only():
    folding = Folding((FoldedNormalization("norm", ("conv",)),), ())
    assert Folding.from_dict(folding.to_dict()) == folding
    assert str(folding) == "1 of 1 batch normalizations folded\n  norm -> conv"
    with pytest.raises(SlimError, match="the Cell at 'norm' must be a batch normalization, as in the network that was"):
        restructured(gs.fold(networks.randomize(Net()), IMAGE), folding)
    with pytest.raises(SlimError, match="the Cell at 'norm' must be a convolution or dense layer"):
        restructured(Net(), Folding((FoldedNormalization("norm", ("norm",)),), ()))
