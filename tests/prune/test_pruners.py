"""What every pruner promises, checked against each of them; and what `OneShot` adds."""
import functools
import itertools
import warnings

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    NothingToPruneError,
    StateError,
    TraceError,
)
from golden_stick.cells.wrappers import decoded
from golden_stick.comp_algo import ALGORITHMS, Applied
from golden_stick.graph.plan import PruningPlan
from golden_stick.prune.plan import make_plan
from tests import networks
from tests.marks import quick

SHAPE = networks.SMALL_INPUT
KINDS = [gs.OneShot, gs.SCOP]


def small():
    return networks.randomize(networks.SmallNet())


def train_scales(algorithm, network, seed=0):
    """Stand-in for a knockoff phase: scales as training would leave them."""
    generator, parameters = np.random.default_rng(seed), {item.name: item for item in network.get_parameters()}
    for name, parameter in parameters.items():
        if name.endswith((".real_scale", ".squared_gradients")):
            values = Tensor(generator.random(parameter.shape).astype(np.float32))
            for item in (parameter, parameters.get(name.replace("real", "frozen"), parameter)):
                ops.assign(item, values)
    if "mixing.step" in parameters:
        ops.assign(parameters["mixing.step"], Tensor(1000, ms.int32))
    return network


def run(kind, config, network=None, shape=SHAPE):
    algorithm = kind(config)
    applied = train_scales(algorithm, algorithm.apply(network or small(), inputs=shape))
    return algorithm, applied


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@functools.lru_cache
def halved(kind):
    """For tests that change nothing: an algorithm at half of the channels, and what it applied, trained."""
    return run(kind, {"prune_rate": 0.5})


class HardCoded(nn.Cell):
    """A number in the code that slimming would break."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Dense(8 * 64, 4)

    def construct(self, x):
        return self.head(ops.relu(self.norm(self.conv(x))).reshape(-1, 512))


class TestContract:
    def test_whole_path(self, kind, mode, tmp_path):
        network = small()
        before = {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}
        algorithm, applied = run(kind, {"prune_rate": 0.5}, network)
        slim = algorithm.convert(applied)
        after = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
        assert {name: array.tolist() for name, array in before.items()} == {n: a.tolist() for n, a in after.items()}
        assert type(slim) is type(network)
        assert [p.name for p in slim.get_parameters()] == list(before)
        assert [p.name for p in slim.trainable_params()] == [p.name for p in network.trainable_params()]
        assert sum(p.size for p in slim.get_parameters()) < sum(array.size for array in before.values())
        assert algorithm.report.step == "convert"
        assert algorithm.report.largest_difference <= 1e-5 * algorithm.report.output_scale

    def test_rate_zero_changes_nothing(self, kind):
        network = small()
        algorithm, applied = run(kind, {"prune_rate": 0}, network)
        result = gs.verify(network, algorithm.convert(applied), SHAPE)
        assert result.largest_difference == 0.0
        assert algorithm.report.parameters_before == algorithm.report.parameters_after

    def test_convert_twice_gives_the_same(self, kind):
        algorithm, applied = halved(kind)
        first, second = algorithm.convert(applied), algorithm.convert(applied)
        assert gs.verify(first, second, SHAPE).largest_difference == 0.0

    def test_original_checkpoint_loads_into_the_applied_network(self, kind, tmp_path):
        network = small()
        ms.save_checkpoint(network, str(tmp_path / "original.ckpt"))
        _, applied = run(kind, {}, networks.SmallNet())
        missing, superfluous = ms.load_param_into_net(applied, ms.load_checkpoint(str(tmp_path / "original.ckpt")))
        of_phase = [name for name in missing if name.endswith(("_scale", ".squared_gradients"))
                    or name.startswith(("mixing.", "pruning."))]
        assert missing == of_phase and superfluous == []

    def test_checkpoint_of_the_applied_network(self, kind, tmp_path):
        path = str(tmp_path / "applied.ckpt")
        network = small()
        algorithm, applied = run(kind, {"prune_rate": 0.5}, network)
        wanted = algorithm.convert(applied)
        ms.save_checkpoint(applied, path)
        fresh = kind({"prune_rate": 0.5})
        # Only the algorithm that learns chooses its filters by the checkpoint; the other chose at `apply`.
        other = fresh.apply(network if kind is gs.OneShot else networks.SmallNet(), inputs=SHAPE)
        got = fresh.convert(other, ckpt_path=path)
        assert gs.verify(wanted, got, SHAPE).largest_difference == 0.0

    def test_a_cell_around_the_applied_network_renames_nothing_of_the_result(self, kind, tmp_path):
        class WithLoss(nn.Cell):
            def __init__(self, backbone):
                super().__init__()
                self.backbone = backbone

            def construct(self, x):
                return (self.backbone(x) ** 2).mean()

        network, path = small(), str(tmp_path / "applied.ckpt")
        algorithm, applied = run(kind, {"prune_rate": 0.5}, network)
        wanted = algorithm.convert(applied)
        WithLoss(applied)(Tensor(np.ones(SHAPE, np.float32)))
        renamed = [parameter.name for parameter in applied.get_parameters()]
        ms.save_checkpoint(applied, path)
        for slim in (algorithm.convert(applied), algorithm.convert(applied, ckpt_path=path)):
            assert gs.verify(wanted, slim, SHAPE).largest_difference == 0.0
            assert [p.name for p in slim.get_parameters()] == [p.name for p in network.get_parameters()]
        assert all(name.startswith("backbone.") for name in renamed)
        assert renamed == [parameter.name for parameter in applied.get_parameters()]
        assert "a.weight" in algorithm.filter_scores()

    def test_a_branch_for_training_alone_is_named(self, kind):
        class WithAuxiliary(nn.Cell):
            def __init__(self):
                super().__init__()
                self.main, self.auxiliary = networks.SmallNet(), nn.SequentialCell(*(nn.Dense(2, 2) for _ in range(2)))

            def construct(self, x):
                outputs = self.main(x)
                if self.training:
                    return outputs, self.auxiliary(outputs)
                return outputs

        algorithm, applied = run(kind, {"prune_rate": 0.5}, networks.randomize(WithAuxiliary()))
        said = "evaluation does not reach auxiliary.0.weight, auxiliary.0.bias, auxiliary.1.weight and 1 more, which"
        assert any(note.startswith(said) for note in algorithm.report.notes)
        algorithm.convert(applied)
        assert any(note.startswith(said) for note in algorithm.report.notes)

    @pytest.mark.parametrize("kind, residual", quick(itertools.product(KINDS, ["group", "scatter", "keep"]), [
        (gs.OneShot, "group"), (gs.OneShot, "scatter"), (gs.SCOP, "keep")]))
    def test_report(self, kind, residual):
        algorithm, applied = run(kind, {"prune_rate": 0.5, "residual": residual})
        planned = algorithm.report.to_dict()
        algorithm.convert(applied)
        done = algorithm.report.to_dict()
        widths = {layer["path"]: (layer["before"], layer["after"]) for layer in done["layers"]}
        assert widths["c"] == (6, 3) and widths["head"] == (4, 4)
        assert widths == {layer["path"]: (layer["before"], layer["after"]) for layer in planned["layers"]}
        assert done["macs"]["after"] < done["macs"]["before"] == planned["macs"]["before"]
        text = str(algorithm.report)
        assert "output of the network" in text and "largest difference between masked and slim outputs" in text

    def test_fine_tuned_layers_keep_their_requires_grad(self, kind):
        network = small()
        network.a.weight.requires_grad = False
        algorithm, applied = run(kind, {"prune_rate": 0.5}, network)
        slim = algorithm.convert(applied)
        assert not slim.a.weight.requires_grad and slim.b.weight.requires_grad

    def test_summary_and_config(self, kind):
        algorithm = kind({"prune_rate": 0.25})
        assert algorithm.config["prune_rate"] == 0.25 and algorithm.config["residual"] == "group"
        assert algorithm.summary(small()).startswith("SmallNet: ")
        algorithm.apply(small(), inputs=SHAPE)
        assert "MACs" in algorithm.summary(small())

    def test_calibration_changes_statistics_only(self, kind):
        algorithm, applied = halved(kind)
        plain = algorithm.convert(applied)
        data = [np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)]
        calibrated = algorithm.convert(applied, calibration_data=data, recovery="statistics")
        assert "re-estimated on 1 batches" in str(algorithm.report)
        assert algorithm.report.checked_on == (f"a batch of noise {SHAPE}", f"a batch of the calibration data {SHAPE}")
        assert f"checked on a batch of noise {SHAPE} and a batch of the calibration data" in str(algorithm.report)
        for one, other in zip(plain.get_parameters(), calibrated.get_parameters()):
            same = np.array_equal(one.asnumpy(), other.asnumpy())
            assert same != ("moving" in one.name)


    def test_calibration_of_a_network_with_several_inputs(self):
        class Weighted(nn.Cell):
            def __init__(self):
                super().__init__()
                self.net = small()

            def construct(self, x, y):
                return self.net(x) * y

        x, y = Tensor(np.ones(SHAPE, np.float32)), Tensor(np.ones((SHAPE[0], 1), np.float32))
        algorithm = gs.OneShot({"prune_rate": 0.5})
        applied = algorithm.apply(Weighted(), (x, y))
        algorithm.convert(applied, calibration_data=[(x, y, np.zeros(2))], recovery="statistics")
        assert "re-estimated on 1 batches" in str(algorithm.report)
        algorithm.convert(applied, calibration_data=[(x, y, np.zeros(2))])
        assert algorithm.report.reconstruction.kept_aside == 1


class TestRefusals:
    @pytest.mark.parametrize("rate", [1.0, -0.1, float("nan"), 1, float("inf")])
    def test_rate_out_of_range(self, kind, rate):
        wanted = rf"For '{kind.__name__}', 'prune_rate' must be in \[0, 1\)( or 'auto')?, but got {rate!r}"
        with pytest.raises(ArgumentError, match=wanted):
            kind({"prune_rate": rate})

    @pytest.mark.parametrize("rate", ["0.4", None, True])
    def test_rate_of_another_type(self, kind, rate):
        wanted = ArgumentError if kind is gs.SCOP and isinstance(rate, str) else ArgumentTypeError
        with pytest.raises(wanted, match=r"'prune_rate' must be (a number )?in \[0, 1\)( or 'auto')?, but got"):
            kind({"prune_rate": rate})

    def test_unknown_key_names_the_nearest(self, kind):
        with pytest.raises(ArgumentError, match="unknown key 'prune_ratio': did you mean 'prune_rate'?"):
            kind({"prune_ratio": 0.4})

    def test_config_of_another_type(self, kind):
        with pytest.raises(ArgumentTypeError, match="'config' must be a dict, but got float"):
            kind(0.4)

    def test_residual(self, kind):
        with pytest.raises(ArgumentError, match="'residual' must be one of 'group', 'scatter', 'keep', but got 'sum'"):
            kind({"residual": "sum"})

    def test_no_convolution(self, kind):
        with pytest.raises(NothingToPruneError, match="must have a channel that can be removed, but got none"):
            kind().apply(nn.SequentialCell(nn.ReLU()), inputs=(1, 3, 8, 8))

    def test_only_an_output_layer(self, kind):
        with pytest.raises(NothingToPruneError, match="got none .*output of the network"):
            kind().apply(nn.SequentialCell(nn.Conv2d(3, 8, 3)), inputs=(1, 3, 8, 8))

    def test_wrong_input_shape(self, kind):
        network = small()
        with pytest.raises(TraceError, match=r"could not be compiled for inputs of shape \(1, 1, 8, 8\)"):
            kind().apply(network, inputs=(1, 1, 8, 8))
        kind().apply(network, inputs=SHAPE)

    def test_convert_before_apply(self, kind):
        with pytest.raises(StateError, match="'apply' must be called before 'convert'"):
            kind().convert(small())

    def test_report_before_apply(self, kind):
        with pytest.raises(StateError, match="'apply' must be called before 'report'"):
            _ = kind().report

    def test_apply_twice(self, kind):
        algorithm, applied = halved(kind)
        with pytest.raises(StateError, match="'apply' must be called once"):
            algorithm.apply(small(), inputs=SHAPE)
        with pytest.raises(StateError, match="'network' must be a plain network, but got one that 'apply' returned"):
            kind().apply(applied, inputs=SHAPE)
        algorithm.convert(applied)

    @pytest.mark.parametrize("other", KINDS, ids=lambda other: other.__name__)
    def test_applied_by_another_algorithm(self, kind, other):
        _, applied = halved(other)
        inner = applied.network if other is gs.SCOP else applied
        for network in (applied, inner, nn.SequentialCell(inner)):
            with pytest.raises(StateError, match="'network' must be a plain network, but got one that 'apply' return"):
                kind().apply(network, inputs=SHAPE)

    def test_a_parameter_that_holds_nan(self, kind):
        network = small()
        network.head.weight[1] = float("nan")
        with pytest.raises(ArgumentError, match="parameters of 'network' must be numbers, but 'head.weight' holds NaN"):
            kind().apply(network, inputs=SHAPE)

    def test_network_of_another_type(self, kind):
        with pytest.raises(ArgumentTypeError, match="'network' must be a Cell, but got str"):
            kind().apply("resnet", inputs=SHAPE)
        algorithm, _ = halved(kind)
        with pytest.raises(ArgumentTypeError, match="'net_opt' must be a Cell, but got NoneType"):
            algorithm.convert(None)
        with pytest.raises(ArgumentTypeError, match="'network' must be a Cell, but got int"):
            algorithm.summary(3)

    def test_convert_of_another_network(self, kind):
        algorithm, _ = halved(kind)
        with pytest.raises(StateError, match="'net_opt' must be the network that 'apply' returned"):
            algorithm.convert(small())

    def test_checkpoint_missing_or_of_another_network(self, kind, tmp_path):
        algorithm, applied = halved(kind)
        with pytest.raises(ArgumentTypeError, match="'ckpt_path' must be a str, but got int"):
            algorithm.convert(applied, ckpt_path=3)
        with pytest.raises(CheckpointError, match="'ckpt_path' must be a file, but got '.*none.ckpt'"):
            algorithm.convert(applied, ckpt_path=str(tmp_path / "none.ckpt"))
        _, other = run(kind, {}, networks.CifarResNet(1), (1, 3, 32, 32))
        ms.save_checkpoint(other, str(tmp_path / "other.ckpt"))
        with pytest.raises(CheckpointError, match=r"the checkpoint must hold .*a\..* of the applied network, but '"):
            algorithm.convert(applied, ckpt_path=str(tmp_path / "other.ckpt"))
        _, wider = run(kind, {}, networks.SmallNet(classes=7))
        ms.save_checkpoint(wider, str(tmp_path / "wider.ckpt"))
        with pytest.raises(CheckpointError, match=r"'head.weight' in the checkpoint must have shape \(4, 96\), but"):
            algorithm.convert(applied, ckpt_path=str(tmp_path / "wider.ckpt"))
        algorithm.convert(applied)

    def test_number_in_the_code_is_found_at_apply(self, kind):
        network = HardCoded()
        wanted = r"\(conv: a number written in the code fits these widths only \(Reshape after 'norm', /.*, to .-1, 512"
        with pytest.raises(NothingToPruneError, match=wanted):
            kind({"prune_rate": 0.5}).apply(network, inputs=SHAPE)
        assert network.conv.out_channels == 8

    def test_failure_of_any_step_leaves_all_as_it_was(self, kind, monkeypatch):
        algorithm, applied = halved(kind)
        before = {parameter.name: parameter.asnumpy().copy() for parameter in applied.get_parameters()}
        training, report = applied.training, algorithm.report
        for step in ("slim", "_is_of", "masked_network", "verify", "choose", "count_macs", "describe"):
            with monkeypatch.context() as patch:
                def fail(*_, **__):
                    raise RuntimeError("broken on purpose")
                patch.setattr(f"golden_stick.prune.pruner.{step}", fail)
                # `OneShot` made its plan at `apply`.
                if not (kind is gs.OneShot and step == "choose"):
                    with pytest.raises(RuntimeError, match="broken on purpose"):
                        algorithm.convert(applied)
        assert algorithm.report is report and applied.training == training
        for parameter in applied.get_parameters():
            np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])
        algorithm.convert(applied)

    def test_failure_while_statistics_are_estimated_leaves_all_as_it_was(self, kind):
        algorithm, applied = halved(kind)
        before = {parameter.name: parameter.asnumpy().copy() for parameter in applied.get_parameters()}
        training, report = applied.training, algorithm.report

        def batches():
            yield Tensor(np.zeros(SHAPE, np.float32))
            raise RuntimeError("broken on purpose")
        with pytest.raises(RuntimeError, match="broken on purpose"):
            algorithm.convert(applied, calibration_data=batches())
        assert algorithm.report is report and applied.training == training
        for parameter in applied.get_parameters():
            np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])
        algorithm.convert(applied)

    @pytest.mark.parametrize("step", ["prune.pruner.trace_for", "prune.pruner.surviving_groups", "preparation"])
    def test_failure_at_apply_leaves_all_as_it_was(self, kind, step, monkeypatch):
        network = small()
        before = {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}
        trained = [parameter.requires_grad for parameter in network.get_parameters()]
        algorithm = kind({"prune_rate": 0.5})

        def fail(*_, **__):
            raise RuntimeError("broken on purpose")
        preparation = {gs.SCOP: "scop.pruner.copy_network", gs.OneShot: "prune.pruner.masked_network"}[kind]
        with monkeypatch.context() as patch:
            patch.setattr(f"golden_stick.{preparation if step == 'preparation' else step}", fail)
            with pytest.raises(RuntimeError, match="broken on purpose"):
                algorithm.apply(network, inputs=SHAPE)
        with pytest.raises(StateError, match="'apply' must be called before 'report'"):
            _ = algorithm.report
        assert [parameter.requires_grad for parameter in network.get_parameters()] == trained
        for parameter in network.get_parameters():
            np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])
        algorithm.apply(network, inputs=SHAPE)


class TestMindIR:
    @pytest.mark.parametrize("kind, mode", [
        (gs.OneShot, "PYNATIVE"), (gs.SCOP, "GRAPH"), pytest.param(gs.OneShot, "GRAPH", marks=pytest.mark.long),
        pytest.param(gs.SCOP, "PYNATIVE", marks=pytest.mark.long)], indirect=["mode"])
    def test_export_at_the_end_of_training(self, kind, tmp_path, mode):
        algorithm = kind({"prune_rate": 0.5, **({"turn_steps": 1} if kind is gs.SCOP else {})})
        applied = algorithm.apply(small(), inputs=SHAPE)
        algorithm.set_save_mindir(True)
        algorithm.set_save_mindir_path(str(tmp_path / "trained"))
        images = np.random.default_rng(0).normal(size=(8,) + SHAPE[1:]).astype(np.float32)
        data = ms.dataset.NumpySlicesDataset((images, np.arange(8, dtype=np.int32) % 4), shuffle=False).batch(4)
        optimizer = nn.Adam(applied.trainable_params(), 0.01)
        model = ms.Model(applied, algorithm.loss(nn.CrossEntropyLoss()), optimizer)
        with warnings.catch_warnings():
            # Of optimizers, which is for those who train what they convert.
            warnings.simplefilter("error", UserWarning)
            model.train(2, data, callbacks=algorithm.callbacks(), dataset_sink_mode=False)
        slim = algorithm.convert(applied)
        # Loaded last: MindSpore's recycling of compiled graphs, which every change of shapes needs, takes it along.
        gs.verify(slim, nn.GraphCell(ms.load(str(tmp_path / "trained.mindir"))), SHAPE)

    def test_settings(self, kind):
        algorithm = kind()
        with pytest.raises(ArgumentTypeError, match="'save_mindir' must be True or False, but got 'yes' of type str"):
            algorithm.set_save_mindir("yes")
        for wrong in ("", " ", 1, None):
            with pytest.raises(ArgumentError, match=f"'save_mindir_path' must be a path, not empty .*got {wrong!r}"):
                algorithm.set_save_mindir_path(wrong)
        algorithm.set_save_mindir(True)
        with pytest.raises(StateError, match="'apply' must be called first"):
            algorithm.finish_training()


class TestOneShot:
    def test_masked_network_is_what_convert_returns(self):
        algorithm = gs.OneShot({"prune_rate": 0.5})
        masked = algorithm.apply(small(), inputs=SHAPE)
        gs.verify(masked, algorithm.convert(masked), SHAPE)
        with pytest.raises(gs.errors.VerifyError):
            gs.verify(small(), masked, SHAPE)

    @pytest.mark.filterwarnings("ignore:.*must be trained by an optimizer of its own")
    def test_training_of_the_masked_network_reaches_the_slim_one(self):
        algorithm = gs.OneShot({"prune_rate": 0.5})
        masked = algorithm.apply(small(), inputs=SHAPE)
        step = nn.TrainOneStepCell(nn.WithLossCell(masked, nn.MSELoss()), nn.SGD(masked.trainable_params(), 0.05))
        step.set_train()
        before = masked.head.cell.weight.asnumpy().copy()
        step(ops.ones(SHAPE, ms.float32), ops.zeros((2, 4), ms.float32))
        assert not np.array_equal(before, masked.head.cell.weight.asnumpy())
        gs.verify(masked, algorithm.convert(masked), SHAPE)

    @pytest.mark.parametrize("criterion, score", [
        ("l1", lambda weight, gamma: np.abs(weight).sum((1, 2, 3))),
        pytest.param("l2", lambda weight, gamma: (weight ** 2).sum((1, 2, 3)), marks=pytest.mark.long),
        ("bn_scale", lambda weight, gamma: np.abs(gamma)),
    ])
    def test_the_lowest_go(self, criterion, score):
        network = networks.randomize(networks.CifarResNet(1))
        algorithm = gs.OneShot({"criterion": criterion, "prune_rate": 0.5})
        slim = algorithm.convert(algorithm.apply(network, inputs=(1, 3, 32, 32)))
        block = network.blocks[1]
        scores = score(block.first.weight.asnumpy(), block.norm_a.gamma.asnumpy())
        kept = np.sort(np.argsort(scores)[16:])
        np.testing.assert_array_equal(slim.blocks[1].norm_a.gamma.asnumpy(), block.norm_a.gamma.asnumpy()[kept])

    def test_random_depends_on_its_seed_alone(self):
        def kept(seed):
            algorithm = gs.OneShot({"criterion": "random", "seed": seed})
            return algorithm.convert(algorithm.apply(small(), inputs=SHAPE)).norm_a.gamma.asnumpy().tolist()

        assert kept(0) == kept(0) != kept(1)

    def test_a_checkpoint_of_the_masked_network_holds_its_plan(self, tmp_path):
        def masked(**config):
            algorithm = gs.OneShot({"prune_rate": 0.5, **config})
            network = algorithm.apply(small(), inputs=SHAPE)
            path = str(tmp_path / f"{len(list(tmp_path.iterdir()))}.ckpt")
            ms.save_checkpoint(network, path)
            return algorithm, network, path

        algorithm, network, path = masked()
        assert "pruning.plan" not in [parameter.name for parameter in network.trainable_params()]
        slim = algorithm.convert(network, ckpt_path=path)
        assert "pruning.plan" not in [parameter.name for parameter in slim.get_parameters()]
        told = decoded(ms.load_checkpoint(path)["pruning.plan"].asnumpy())
        assert told["algorithm"] == "OneShot" and told["config"] == algorithm.config
        again = gs.OneShot({"criterion": "random"})
        other = again.apply(small(), SHAPE, plan=PruningPlan.from_dict(told["plan"]))
        assert gs.verify(slim, again.convert(other), SHAPE).largest_difference == 0.0
        with pytest.raises(CheckpointError, match="masked as this one, but '.*' keeps other positions of a.weight, b"):
            algorithm.convert(network, ckpt_path=masked(criterion="random", seed=1)[2])
        ms.save_checkpoint(small(), str(tmp_path / "original.ckpt"))
        with pytest.raises(CheckpointError, match="must hold 'pruning.plan', which tells how the network was masked"):
            algorithm.convert(network, ckpt_path=str(tmp_path / "original.ckpt"))

    def test_criterion(self):
        with pytest.raises(ArgumentError, match="'criterion' must be one of 'l1', 'l2', 'bn_scale', 'random', "):
            gs.OneShot({"criterion": "l3"})

    def test_seed(self):
        with pytest.raises(ArgumentError, match="'seed' must be a whole number of at least 0, but got -1"):
            gs.OneShot({"seed": -1})
        with pytest.raises(ArgumentTypeError, match="'seed' must be a whole number of at least 0, but got 0.5"):
            gs.OneShot({"seed": 0.5})


def test_inputs_are_found_out_and_the_report_says_so():
    algorithm = gs.OneShot()
    algorithm.apply(networks.CifarResNet(1))
    assert "inputs were not given: taken as (1, 3, 32, 32)" in str(algorithm.report)


def test_a_second_algorithm_says_only_what_is_its_own():
    class Nothing(gs.CompAlgo):
        def apply(self, network, inputs=None):
            self.applied, self.report = Applied(network, inputs), "nothing was done"
            return network

        def convert(self, net_opt, ckpt_path=""):
            return net_opt

    algorithm, network = Nothing(), small()
    assert not algorithm.is_applied
    assert algorithm.convert(algorithm.apply(network)) is network is algorithm.applied.network
    assert len(algorithm.callbacks()) == 1 and algorithm.loss(len) is len
    algorithm.after_step()
    assert algorithm.finish_training() is None
    assert algorithm.summary(network).endswith("trained\nnothing was done")
    with pytest.raises(StateError, match="'apply' must be called once, but it was called before: make a new Nothing"):
        algorithm.apply(network)


def test_unknown_operator_is_a_barrier_and_reported():
    class Unknown(nn.Cell):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(3, 8, 1)
            self.b = nn.Conv2d(8, 8, 1)
            self.c = nn.Conv2d(8, 4, 1)

        def construct(self, x):
            return self.c(self.b(ops.lgamma(self.a(x))))

    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(Unknown(), inputs=(1, 3, 4, 4)))
    assert slim.a.out_channels == 8 and slim.b.out_channels == 4
    assert algorithm.report.without_rule == ("Lgamma after 'a'",)
    assert "operators without a rule, not pruned across: Lgamma after 'a'" in str(algorithm.report)


def test_plan_survives_json():
    import json

    groups = gs.find_groups(gs.trace(small(), SHAPE))
    plan = make_plan(groups, {group.name: np.arange(len(group.channels)) for group in groups}, 0.5)
    assert type(plan).from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_algorithms_are_registered():
    class Another(gs.OneShot):
        """Under a name of its own."""

    assert ALGORITHMS["oneshot"] is gs.OneShot and ALGORITHMS["scop"] is gs.SCOP
    gs.add_algorithm("another", Another)
    try:
        assert ALGORITHMS["another"] is Another
        with pytest.raises(ArgumentError, match="'name' must be a new name, but got 'another', which is taken"):
            gs.add_algorithm("another", Another)
    finally:
        del ALGORITHMS["another"]
    with pytest.raises(ArgumentTypeError, match="For 'add_algorithm', 'kind' must be a subclass of CompAlgo, but got"):
        gs.add_algorithm("function", len)
