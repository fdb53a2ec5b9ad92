"""The slimmer and the masks: what they change, what they leave alone, what they refuse."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import lazy_inline, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentTypeError, SlimError
from golden_stick.cells.slim import common_names, recipe_of, unslim
from golden_stick.cells.wrappers import (
    MaskedCell,
    ScatteredOutput,
    find_cell,
    masked_network,
    unwrap_cells,
)
from golden_stick.graph.plan import KeptAxis, KeptChannels, PruningPlan
from golden_stick.prune.plan import make_plan
from tests import networks
from tests.apart import passes_apart


def plan_of(network, shape, residual="group", rate=0.5, seed=0):
    groups = gs.find_groups(gs.trace(network, shape), residual)
    generator = np.random.default_rng(seed)
    return make_plan(groups, {group.name: generator.random(len(group.channels)) for group in groups}, rate)


def values(network):
    return {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}


def test_layers_made_by_equal_arguments_are_not_compiled_as_one():
    """As MindSpore does with the wide ones: their widths differ now."""
    network = nn.SequentialCell(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1))
    groups = gs.find_groups(gs.trace(network, (1, 3, 4, 4)))
    scores = {group.name: np.arange(8) for group in groups}
    plan = make_plan(groups, scores, {"0": 0.5, "1": 0.25, "2": 0.75})
    slim = gs.slim(network, plan)
    assert [node.shapes[0][1] for node in gs.trace(slim, (1, 3, 4, 4)).nodes] == [4, 6, 2, 2]
    assert len({layer.cell_init_args for layer in slim}) == 4
    assert network[1].cell_init_args == network[2].cell_init_args


class Inlined(nn.Cell):
    @lazy_inline(policy="front")
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def construct(self, x):
        return x + self.second(ops.relu(self.first(x)))


def test_masks_in_blocks_of_lazy_inline_are_not_compiled_as_one():
    """In a process of its own: MindSpore keeps something of `lazy_inline`."""
    passes_apart(check_masks_of_lazy_inline)


def check_masks_of_lazy_inline():
    network = networks.randomize(nn.SequentialCell(nn.Conv2d(3, 8, 1), Inlined(), Inlined(), nn.Conv2d(8, 2, 1)))
    masked = masked_network(network, plan_of(network, (1, 3, 4, 4)))
    x = ms.Tensor(np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32))
    outputs = []
    for mode in (ms.PYNATIVE_MODE, ms.GRAPH_MODE):
        ms.set_context(mode=mode)
        outputs.append(masked.set_train(False)(x).asnumpy())
    np.testing.assert_allclose(*outputs, atol=1e-6)


def test_parameters_are_cut_as_numpy_cuts_them():
    network = networks.SmallNet()
    plan = plan_of(network, networks.SMALL_INPUT)
    slim = gs.slim(network, plan)
    wanted = values(network)
    for axis in plan.axes:
        wanted[axis.parameter] = np.take(wanted[axis.parameter], axis.kept, axis.axis)
    got = values(slim)
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array)


def test_the_network_is_not_changed():
    network = networks.SmallNet().set_train(True)
    before = values(network)
    gs.slim(network, plan_of(network, networks.SMALL_INPUT))
    masked_network(network, plan_of(network, networks.SMALL_INPUT))
    after = values(network)
    assert list(before) == list(after) and network.training
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    assert network.a.out_channels == 8


def test_attributes_follow_the_weights():
    network = networks.MobileNetV2Like()
    slim = gs.slim(network, plan_of(network, (1, 3, 32, 32)))
    for _, cell in slim.cells_and_names():
        if isinstance(cell, nn.Conv2d):
            assert cell.out_channels == cell.weight.shape[0] == cell.conv2d.out_channel
            assert cell.in_channels == cell.weight.shape[1] * cell.group
            assert cell.conv2d.group == cell.group
        elif isinstance(cell, nn.BatchNorm2d):
            assert cell.num_features == cell.gamma.shape[0]
        elif isinstance(cell, nn.Dense):
            assert (cell.out_channels, cell.in_channels) == cell.weight.shape


@pytest.mark.parametrize("run", ["cell", "jit", "model", "export"])
def test_nothing_stale_after_a_graph_run(run, tmp_path):
    """MindSpore's compiled graphs do not notice changed shapes; a network that ran before must still slim right."""
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        network = networks.randomize(networks.SmallNet()).set_train(False)
        x = ms.Tensor(np.random.default_rng(0).normal(size=networks.SMALL_INPUT).astype(np.float32))
        if run == "jit":
            ms.jit(network.construct)(x)
        elif run == "model":
            ms.Model(network).predict(x)
        elif run == "export":
            ms.export(network, x, file_name=str(tmp_path / "before"), file_format="MINDIR")
        else:
            network(x)
        plan = plan_of(network, networks.SMALL_INPUT)
        result = gs.verify(masked_network(network, plan), gs.slim(network, plan), x)
        assert result.relative_difference < 1e-5
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)


def test_slim_of_slim(mode):
    network = networks.randomize(networks.SmallNet())
    first = gs.slim(network, plan_of(network, networks.SMALL_INPUT, rate=0.3))
    second_plan = plan_of(first, networks.SMALL_INPUT, rate=0.3, seed=1)
    second = gs.slim(first, second_plan)
    gs.verify(masked_network(first, second_plan), second, networks.SMALL_INPUT)
    assert len(recipe_of(second).steps) == 2


def test_slim_network_trains_and_exports_with_mindspore_alone(tmp_path, mode):
    slim = gs.slim(networks.SmallNet(), plan_of(networks.SmallNet(), networks.SMALL_INPUT, "scatter"))
    optimizer = nn.Momentum(slim.trainable_params(), 0.1, 0.9)
    step = nn.TrainOneStepCell(nn.WithLossCell(slim, nn.MSELoss()), optimizer).set_train()
    x, y = ops.ones(networks.SMALL_INPUT, ms.float32), ops.zeros((2, 4), ms.float32)
    losses = [float(step(x, y)) for _ in range(5)]
    assert losses[-1] < losses[0]
    ms.save_checkpoint(slim, str(tmp_path / "plain.ckpt"))
    ms.export(slim, x, file_name=str(tmp_path / "plain"), file_format="MINDIR")
    assert (tmp_path / "plain.mindir").exists()


def test_grouped_convolution_and_multiplier(mode):
    class Grouped(nn.Cell):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 12, 3)
            self.grouped = nn.Conv2d(12, 8, 3, group=4)
            self.multiplied = nn.Conv2d(8, 16, 3, group=8)
            self.out = nn.Conv2d(16, 5, 1)

        def construct(self, x):
            return self.out(ops.relu(self.multiplied(ops.relu(self.grouped(ops.relu(self.a(x)))))))

    network, shape = Grouped(), (2, 3, 8, 8)
    plan = plan_of(network, shape, rate=0.5)
    slim = gs.slim(network, plan)
    assert slim.a.out_channels == 8 and slim.grouped.group == 4
    assert slim.multiplied.group == slim.grouped.out_channels
    gs.verify(masked_network(network, plan), slim, shape)


class TestWrappers:
    def test_masked_input(self, mode):
        conv = nn.Conv2d(3, 2, 1)
        masked = MaskedCell(conv, KeptChannels("", 3, (0, 2), 2))
        x = np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32)
        hidden = x.copy()
        hidden[:, 1] = 0
        np.testing.assert_array_equal(masked(ms.Tensor(x)).asnumpy(), conv(ms.Tensor(hidden)).asnumpy())

    def test_masked_output(self, mode):
        conv = nn.Conv2d(3, 3, 1)
        x = ms.Tensor(np.random.default_rng(0).normal(size=(1, 3, 4, 4)).astype(np.float32))
        wanted = conv(x).asnumpy().copy()
        wanted[:, 1] = 0
        np.testing.assert_array_equal(MaskedCell(conv, None, KeptChannels("", 3, (0, 2), 2))(x).asnumpy(), wanted)

    def test_scattered_output(self, mode):
        conv = nn.Conv2d(3, 2, 1)
        x = ms.Tensor(np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32))
        wanted = np.zeros((2, 5, 4, 4), np.float32)
        wanted[:, [1, 4]] = conv(x).asnumpy()
        np.testing.assert_array_equal(ScatteredOutput(conv, KeptChannels("", 5, (1, 4), 2))(x).asnumpy(), wanted)

    def test_scattered_output_of_a_dense_layer(self, mode):
        dense = nn.Dense(3, 2)
        x = ms.Tensor(np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32))
        wanted = np.zeros((2, 5), np.float32)
        wanted[:, [1, 4]] = dense(x).asnumpy()
        np.testing.assert_array_equal(ScatteredOutput(dense, KeptChannels("", 5, (1, 4), 0))(x).asnumpy(), wanted)

    def test_names_stay_and_sequences_run_the_wrapper(self):
        network = networks.CifarResNet(1)
        names = [parameter.name for parameter in network.get_parameters()]
        masked = masked_network(network, plan_of(network, (1, 3, 32, 32), "scatter"))
        assert [parameter.name for parameter in masked.get_parameters()] == names
        unwrap_cells(masked, MaskedCell)
        assert [parameter.name for parameter in masked.get_parameters()] == names
        assert not any(isinstance(cell, MaskedCell) for _, cell in masked.cells_and_names())
        gs.verify(network, masked, (1, 3, 32, 32))

    def test_a_cell_under_two_names_is_masked_once_under_both(self, mode):
        class Twice(nn.Cell):
            def __init__(self):
                super().__init__()
                self.first = nn.Conv2d(3, 4, 1)
                self.second = nn.Conv2d(4, 4, 1)
                self.again = self.second

            def construct(self, x):
                return self.again(ops.relu(self.second(ops.relu(self.first(x)))))

        network, shape = Twice(), (1, 3, 4, 4)
        groups = gs.find_groups(gs.trace(network, shape))
        assert len(groups) == 0  # its channels reach the output, and so do those of the layer before

    def test_no_such_cell(self):
        with pytest.raises(SlimError, match="must have a Cell at 'blocks.7', but got none named 'blocks'"):
            find_cell(networks.SmallNet(), "blocks.7")


class TestRefusals:
    def test_not_a_cell(self):
        with pytest.raises(ArgumentTypeError, match="For 'slim', 'network' must be a Cell, but got int"):
            gs.slim(3, PruningPlan((), (), (), ()))

    def test_not_a_plan(self):
        with pytest.raises(ArgumentTypeError, match="'plan' must be a PruningPlan, but got dict"):
            gs.slim(networks.SmallNet(), {})

    def test_missing_parameter(self):
        plan = PruningPlan((KeptAxis("z.weight", 0, 8, (0,)),), (), (), ())
        with pytest.raises(SlimError, match="must have the parameter 'z.weight'"):
            gs.slim(networks.SmallNet(), plan)

    def test_other_length(self):
        plan = PruningPlan((KeptAxis("a.weight", 0, 9, (0,)),), (), (), ())
        with pytest.raises(SlimError, match=r"axis 0 of parameter 'a.weight' must have length 9.*got shape \(8, 3"):
            gs.slim(networks.SmallNet(), plan)

    @pytest.mark.parametrize("kept", [(), (0, 8), (-1, 2)])
    def test_positions_that_are_not_there(self, kept):
        plan = PruningPlan((KeptAxis("a.weight", 0, 8, kept),), (), (), ())
        with pytest.raises(SlimError, match="the positions kept on axis 0 of parameter 'a.weight' must be some of 0"):
            gs.slim(networks.SmallNet(), plan)


def test_expanded_network_is_the_way_back(mode):
    network = networks.randomize(networks.SmallNet(), seed=1)
    plan = plan_of(network, networks.SMALL_INPUT)
    slim = gs.slim(networks.randomize(networks.SmallNet(), seed=2), plan)
    wide = unslim(network, slim, plan)
    gs.verify(masked_network(wide, plan), slim, networks.SMALL_INPUT)
    for axis in plan.axes:
        if axis.parameter == "norm_a.beta":
            gone = np.setdiff1d(np.arange(8), axis.kept)
            assert (wide.norm_a.beta.asnumpy()[gone] >= 0.5).all()
            np.testing.assert_array_equal(wide.norm_a.beta.asnumpy()[list(axis.kept)], slim.norm_a.beta.asnumpy())
    with pytest.raises(gs.errors.VerifyError):
        gs.verify(wide, slim, networks.SMALL_INPUT)


def test_names_of_one_network_inside_a_cell_and_outside():
    inner, outer = ["a.weight", "b.weight"], ["net.a.weight", "net.b.weight", "loss.weight"]
    assert common_names(inner, outer) == dict(zip(inner, outer))
    assert common_names(outer, inner) == dict(zip(outer, inner))
    assert common_names(inner, ["net.a.weight", "net.c.weight"]) == {}
