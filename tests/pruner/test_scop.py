"""The two algorithms of SCOP: scripts of MindSpore Golden Stick run with their imports changed."""
import re
import runpy
import warnings

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.cells.slim import recipe_of, unslim
from golden_stick.cells.wrappers import masked_network
from golden_stick.comp_algo import CompAlgo, ExportMindIRCallBack
from golden_stick.pruner import PrunerFtCompressAlgo, PrunerKfCompressAlgo
from tests import networks

SHAPE = (2, 3, 16, 16)
WIDTH = 32  # at a width of 8, MindIRs hold more operators than weights

# The steps of the model zoo's training script, in its order: both phases, mixed precision and a loss scale in the
# second, parameters chosen by `requires_grad`, the network handed on and nothing else.
SCRIPT = '''
import mindspore as ms
from mindspore import nn
from mindspore.train import CheckpointConfig, FixedLossScaleManager, ModelCheckpoint, TimeMonitor
from golden_stick import PrunerFtCompressAlgo, PrunerKfCompressAlgo


def train_net():
    algo_kf = PrunerKfCompressAlgo({})
    net = algo_kf.apply(network)
    optimizer = nn.Momentum(filter(lambda p: p.requires_grad, net.get_parameters()), 0.1, 0.9, loss_scale=1.0)
    model = ms.Model(net, loss_fn=nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction='mean'), optimizer=optimizer)
    model.train(1, dataset(), callbacks=[TimeMonitor()] + algo_kf.callbacks(), dataset_sink_mode=False)
    return train_ft(net)


def train_ft(net):
    algo_ft = PrunerFtCompressAlgo({'prune_rate': 0.45, 'save_mindir': True, 'save_mindir_path': './pruned', **more})
    net = algo_ft.apply(net)
    optimizer_ft = nn.Momentum(filter(lambda p: p.requires_grad, net.get_parameters()), ms.Tensor([0.01] * 8), 0.9,
                               loss_scale=1024)
    net.set_train()
    model_ft = ms.Model(net, loss_fn=nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction='mean'),
                        optimizer=optimizer_ft, loss_scale_manager=FixedLossScaleManager(1024, False),
                        metrics={'acc'}, **precision)
    checkpoint = ModelCheckpoint('resnet', './', CheckpointConfig(save_checkpoint_steps=2))
    model_ft.train(1, dataset(), callbacks=[checkpoint, *algo_ft.callbacks()], sink_size=2, dataset_sink_mode=sink)
    return algo_ft, net


algo_ft, net = train_net()
'''
O2 = {"amp_level": "O2", "boost_level": "O0", "keep_batchnorm_fp32": False}


def dataset():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(8, *SHAPE[1:])).astype(np.float32)
    return ms.dataset.NumpySlicesDataset((images, np.arange(8, dtype=np.int32) % 4), ["image", "label"],
                                         shuffle=False).batch(4)


def small():
    """As small as can be with a residual sum, in stages with the names of the zoo's."""
    class Block(nn.Cell):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(WIDTH, WIDTH, 3), nn.BatchNorm2d(WIDTH)
            self.conv2, self.bn2 = nn.Conv2d(WIDTH, WIDTH, 3), nn.BatchNorm2d(WIDTH)
            self.relu = nn.ReLU()

        def construct(self, x):
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(out + x)

    class Net(nn.Cell):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, WIDTH, 3, stride=2), nn.BatchNorm2d(WIDTH)
            self.relu = nn.ReLU()
            self.layer1 = nn.SequentialCell(Block())
            self.end_point = nn.Dense(WIDTH, 4)

        def construct(self, x):
            return self.end_point(self.layer1(self.relu(self.bn1(self.conv1(x)))).mean((2, 3)))

    return networks.randomize(Net(), 3)


def applied(**config):
    algorithm = PrunerKfCompressAlgo(config)
    return algorithm, algorithm.apply(small(), SHAPE)


def trained(seed=0, **config):
    """The network of a phase whose scales are as if they had been trained."""
    return scaled(applied(**config)[1], seed)


def scaled(network, seed=0):
    generator = np.random.default_rng(seed)
    for parameter in network.trainable_params():
        parameter.set_data(Tensor(generator.uniform(0, 1, parameter.shape), parameter.dtype))
    return network


class TestScript:
    @pytest.mark.parametrize("masked, precision, mode", [(False, {}, "GRAPH"), (True, {}, "PYNATIVE"), pytest.param(
        False, O2, "GRAPH", marks=pytest.mark.long)], indirect=["mode"])
    def test_the_zoos_training(self, masked, precision, mode, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "train.py").write_text(SCRIPT)
        original = small()
        gs.export(original, SHAPE, "original", "MINDIR")
        told = {"network": original, "dataset": dataset, "precision": precision, "sink": False,
                "more": {"masked": True} if masked else {}}
        done = runpy.run_path("train.py", told)
        algorithm, network = done["algo_ft"], done["net"]
        assert (tmp_path / "pruned.mindir").stat().st_size < 0.7 * (tmp_path / "original.mindir").stat().st_size
        assert list(tmp_path.glob("resnet*.ckpt"))
        slim = algorithm.convert(network)
        assert (slim is network) is not masked and slim.conv1.weight.shape[0] == 18
        assert algorithm.report.largest_difference < 1e-5
        plan = recipe_of(slim).steps[-1]
        expected = network if masked else masked_network(unslim(original, slim, plan), plan)
        # Loaded last: what recycles compiled graphs takes it along.
        gs.verify(expected, nn.GraphCell(ms.load("pruned.mindir")), (4, *SHAPE[1:]), 0.01 if precision else None)

    def test_what_is_returned_must_be_trained(self):
        network, loss = small(), nn.CrossEntropyLoss()
        knockoff = PrunerKfCompressAlgo()
        knockoff.apply(network, SHAPE)
        optimizer = nn.Momentum(network.trainable_params(), 0.1, 0.9)
        with pytest.raises(StateError, match="For 'PrunerKfCompressAlgo', the network in training must be of the net"):
            ms.Model(network, loss, optimizer).train(1, dataset(), knockoff.callbacks(), dataset_sink_mode=False)
        with pytest.raises(StateError, match="the optimizer in training must be of the network that 'apply' returned"):
            ms.Model(knockoff.applied.network, loss, optimizer).train(1, dataset(), knockoff.callbacks(),
                                                                      dataset_sink_mode=False)
        with pytest.raises(StateError, match="'network' must be what 'apply' of PrunerKfCompressAlgo returned, but got "
                                             "another Net: write network = algorithm.apply"):
            PrunerFtCompressAlgo({"prune_rate": 0.5}).apply(network)

    def test_the_first_network_warns_once_the_second_is_there(self):
        network = trained()
        PrunerFtCompressAlgo({"prune_rate": 0.5}).apply(network)
        with pytest.warns(UserWarning, match="For 'PrunerFtCompressAlgo', the network in training must be the one"):
            network.set_train()


class TestFt:
    def test_slim_and_masked_are_what_scop_makes(self):
        network = trained()
        slim = PrunerFtCompressAlgo({"prune_rate": 0.5}).apply(network)
        algorithm = PrunerFtCompressAlgo({"prune_rate": 0.5, "masked": True})
        masked = algorithm.apply(network)
        gs.verify(masked, slim, SHAPE)
        gs.verify(algorithm.convert(masked), slim, SHAPE, 1e-9)
        scop = gs.SCOP({"prune_rate": 0.5, "mixing": "joint", "score": "gamma"})
        phase = scop.apply(small(), SHAPE)
        ms.load_param_into_net(phase, network.parameters_dict())
        gs.verify(scop.convert(phase), slim, SHAPE, 1e-9)

    @pytest.mark.parametrize("build, shape", [(networks.SmallNet, networks.SMALL_INPUT),
                                              (lambda: networks.BasicBlock(4, 4, 1), (3, 4, 4, 4))])
    def test_both_phases_of_other_networks(self, build, shape):
        network = scaled(PrunerKfCompressAlgo({}).apply(networks.randomize(build()), shape))
        slim, masked = (PrunerFtCompressAlgo({"prune_rate": 0.5, **config}).apply(network)
                        for config in ({}, {"masked": True}))
        gs.verify(masked, slim, shape)
        assert sum(item.size for item in slim.get_parameters()) < sum(item.size for item in build().get_parameters())

    def test_the_rates_of_both_phases(self):
        slim = PrunerFtCompressAlgo().apply(trained(target_params=0.6))
        assert sum(item.size for item in slim.get_parameters()) <= 0.6 * sum(
            item.size for item in small().get_parameters())
        with pytest.raises(ArgumentError, match="'prune_rate' must stand without 'target_params' of the first phase"):
            PrunerFtCompressAlgo({"prune_rate": 0.5}).apply(trained(target_params=0.6))
        assert PrunerFtCompressAlgo().apply(trained()).conv1.weight.shape[0] == WIDTH

    def test_without_a_phase_the_shapes_are_right_for_a_checkpoint(self, tmp_path):
        """As scripts have it that evaluate what another has trained."""
        slim = PrunerFtCompressAlgo({"prune_rate": 0.5}).apply(trained())
        path = str(tmp_path / "tuned.ckpt")
        ms.save_checkpoint(slim, path)
        algorithm = PrunerFtCompressAlgo({"prune_rate": 0.5})
        with pytest.warns(UserWarning, match="the scales of the network must be trained to say which filters go"):
            other = algorithm.apply(PrunerKfCompressAlgo({}).apply(small(), SHAPE))
        assert ms.load_param_into_net(other, ms.load_checkpoint(path)) == ([], [])
        gs.verify(slim, other, SHAPE, 1e-9)

    def test_configuration(self):
        algorithm = PrunerFtCompressAlgo({"prune_rate": 0.8})
        algorithm.set_prune_rate(0.25)
        assert algorithm.settings["prune_rate"] == algorithm._config.prune_rate == 0.25
        assert PrunerFtCompressAlgo(None)._config.prune_rate == 0.0
        with pytest.raises(TypeError, match=re.escape("'prune_rate' must be a float in [0, 1), but got 1 of type int")):
            PrunerFtCompressAlgo({"prune_rate": 1})
        with pytest.raises(ValueError, match=re.escape("'prune_rate' must be a float in [0, 1), but got 1.1.")):
            PrunerFtCompressAlgo({"prune_rate": 1.1})
        with pytest.raises(TypeError, match="For 'PrunerFtCompressAlgo', 'config' must be a dict, but got int"):
            PrunerFtCompressAlgo(1)

    def test_states(self):
        algorithm = PrunerFtCompressAlgo({"masked": True})
        with pytest.raises(ArgumentTypeError, match="'network' must be a Cell, but got int"):
            algorithm.apply(1)
        with pytest.raises(StateError, match="'apply' must be called before 'convert', but it was not"):
            algorithm.convert(small())


class Same(CompAlgo):
    """An algorithm as small as can be."""

    def apply(self, network):
        return network


class TestCompAlgo:
    def test_apply_is_all_that_must_be_there(self):
        with pytest.raises(TypeError):
            CompAlgo()
        network = small()
        assert Same().convert(Same().apply(network)) is network

    def test_convert_loads_a_checkpoint(self, tmp_path):
        path, network = str(tmp_path / "net.ckpt"), small()
        ms.save_checkpoint(network, path)
        other = networks.randomize(small(), 5)
        gs.verify(network, Same().convert(other, path), SHAPE, 1e-9)
        with pytest.raises(ArgumentTypeError, match="For 'Same', 'net_opt' must be a Cell, but got int"):
            Same().convert(1)
        with pytest.raises(ArgumentTypeError, match="For 'Same', 'ckpt_path' must be a str, but got int"):
            Same().convert(network, 1)

    @pytest.mark.parametrize("by_hand", [False, True])
    def test_a_mindir_of_an_algorithm_that_leaves_no_record(self, by_hand, tmp_path):
        path = str(tmp_path / "net")
        algorithm = Same() if by_hand else Same({"save_mindir": True, "save_mindir_path": path})
        network = algorithm.apply(small())
        callbacks = [ExportMindIRCallBack(algorithm, path)] if by_hand else algorithm.callbacks("any", thing=1)
        assert isinstance(callbacks[0], ExportMindIRCallBack)
        model = ms.Model(network, nn.CrossEntropyLoss(), nn.Momentum(network.trainable_params(), 0.01, 0.9))
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            model.train(1, dataset(), callbacks=callbacks, dataset_sink_mode=False)
        gs.verify(network.set_train(False), nn.GraphCell(ms.load(f"{path}.mindir")), (4, *SHAPE[1:]))

    def test_where_the_mindir_goes_by_default(self):
        assert Same()._save_mindir_path == Same({"save_mindir_path": "./network"})._save_mindir_path
        with pytest.raises(ValueError, match="'save_mindir_path' must be a path, not empty or blank, but got ' '"):
            Same({"save_mindir": True, "save_mindir_path": " "})
