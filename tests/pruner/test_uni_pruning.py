"""`UniPruner`, and layers with masks: against numpy by hand."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.pruner import MaskedCell, MaskedConv2d, MaskedDense, UniPruner
from tests.pruner.test_scop import SHAPE, WIDTH, dataset, small

CONFIG = {"target_sparsity": 0.6, "pruning_step": 8, "filter_lower_threshold": 8, "input_size": SHAPE, "frequency": 2,
          "exp_name": "toy"}


def zeros(network):
    """Names of convolutions -> the filters that are zero."""
    return {name: np.flatnonzero((cell.weight.asnumpy() == 0).all((1, 2, 3))).tolist()
            for name, cell in network.cells_and_names() if isinstance(cell, nn.Conv2d)}


class TestUniPruner:
    @pytest.mark.parametrize("mode", ["PYNATIVE", pytest.param("GRAPH", marks=pytest.mark.long)], indirect=True)
    def test_training_zeroes_and_convert_removes_what_is_zero(self, tmp_path, mode):
        network = small()
        algorithm = UniPruner({**CONFIG, "output_path": str(tmp_path)})
        assert algorithm.apply(network) is network
        assert zeros(network) == {name: [] for name in zeros(network)}
        callback, = algorithm.callbacks()
        model = ms.Model(network, nn.CrossEntropyLoss(), nn.Momentum(network.trainable_params(), 0.01, 0.9))
        model.train(3, dataset(), callbacks=[callback], dataset_sink_mode=False)
        gone = zeros(network)
        with pytest.warns(UserWarning, match="For 'UniPruner', the slim network must be trained by an optimizer of "):
            slim = algorithm.convert(network)
        assert any(gone.values())
        for name, cell in slim.cells_and_names():
            if name in gone:
                assert cell.weight.shape[0] == WIDTH - len(gone[name]), name
        total = sum(item.size for item in network.trainable_params())
        assert sum(item.size for item in slim.trainable_params()) <= 0.6 * total
        gs.verify(network.set_train(False), slim, SHAPE)
        # Before epochs 1 and 3, and after the last.
        assert {path.name for path in (tmp_path / "toy").iterdir()} == {
            f"toy_zeroed_rank0_epoch{epoch}.ckpt" for epoch in (1, 3)}
        assert callback.output_path == str(tmp_path / "toy")
        gs.verify(slim, UniPruner(CONFIG).convert(small(), str(tmp_path / "toy/toy_zeroed_rank0_epoch3.ckpt")), SHAPE,
                  1e-9)

    def test_the_least_norms_go(self):
        network, algorithm = small(), UniPruner({**CONFIG, "target_sparsity": 0.8})
        norms = (network.layer1[0].conv1.weight.asnumpy() ** 2).sum((1, 2, 3))
        algorithm.apply(network)
        algorithm.zero()
        gone = zeros(network)["layer1.0.conv1"]
        assert sorted(np.argsort(norms)[:len(gone)]) == gone and len(gone) % 8 == 0

    def test_flag(self):
        network = small()
        algorithm = UniPruner({**CONFIG, "prune_flag": 0})
        algorithm.apply(network)
        model = ms.Model(network, nn.CrossEntropyLoss(), nn.Momentum(network.trainable_params(), 0.01, 0.9))
        model.train(1, dataset(), callbacks=algorithm.callbacks(), dataset_sink_mode=False)
        assert not any(zeros(network).values())

    def test_groups(self):
        algorithm = UniPruner(CONFIG)
        algorithm.apply(small())
        # The stream, the inner convolution, the classes and the colours.
        assert len(algorithm.graph_anaylzer.groups) == 4

    def test_states_and_values(self):
        with pytest.raises(StateError, match="For 'UniPruner', 'apply' must be called first"):
            UniPruner(CONFIG).callbacks()
        with pytest.raises(ArgumentTypeError, match="'input_size' must be a shape, but got 3 of type int"):
            UniPruner({"input_size": 3})


@pytest.mark.parametrize("kind, layer, shape", [(MaskedConv2d, lambda: nn.Conv2d(3, 2, 2, has_bias=True), (2, 3, 2, 2)),
                                                (MaskedDense, lambda: nn.Dense(3, 2), (2, 3))])
class TestMasked:
    def masked(self, kind, layer):
        cell = kind(layer())
        cell.set_in_mask(np.array([1, 0, 1], np.int8))
        cell.set_out_mask(np.array([1, 0], np.int8))
        return cell

    def test_masks(self, kind, layer, shape):
        cell = kind(layer())
        assert cell.in_mask.dtype == ms.int8 and not cell.in_mask.requires_grad
        assert cell.in_mask.asnumpy().tolist() == [1, 1, 1] and cell.out_mask.asnumpy().tolist() == [1, 1]
        assert kind(layer(), (3, 3), [2]).in_mask.shape == (3, 3)
        cell = self.masked(kind, layer)
        assert cell.in_mask.asnumpy().tolist() == [1, 0, 1] and cell.out_mask.asnumpy().tolist() == [1, 0]

    def test_zeroing(self, kind, layer, shape):
        cell = self.masked(kind, layer)
        weight, bias = cell.handler.weight.asnumpy().copy(), cell.handler.bias.asnumpy().copy()
        cell.zeroing()
        weight[1], weight[:, 1], bias[1] = 0, 0, 0
        np.testing.assert_array_equal(cell.handler.weight.asnumpy(), weight)
        np.testing.assert_array_equal(cell.handler.bias.asnumpy(), bias)

    def test_prune(self, kind, layer, shape):
        cell = self.masked(kind, layer)
        x = Tensor(np.random.default_rng(0).normal(size=(4, 3, 5, 5)[:len(shape)]).astype(np.float32))
        cell.zeroing()
        wanted = cell(x).asnumpy()[:, :1]
        pruned = cell.prune()
        assert (pruned.in_channels, pruned.out_channels) == (2, 1) and pruned is cell.handler
        np.testing.assert_allclose(pruned(x[:, ::2]).asnumpy(), wanted, rtol=1e-5, atol=1e-6)

    def test_errors(self, kind, layer, shape):
        for other in (4, nn.ReLU()):
            with pytest.raises(ArgumentTypeError, match=f"For '{kind.__name__}', 'handler' must be a "):
                kind(other)
        with pytest.raises(ArgumentTypeError, match="'handler' must be a Cell, but got int"):
            MaskedCell(4)
        for side, masks in (("in", (layer(), 3)), ("out", (3, layer()))):
            with pytest.raises(ArgumentTypeError, match=f"'{side}_mask_shape' must be an int, or a tuple or list of"):
                kind(layer(), *masks)
        with pytest.raises(ArgumentError, match="'in_mask_shape' must be of numbers of at least 1, but got -1"):
            kind(layer(), -1)
        for wrong in (np.ones(3, np.uint8), np.ones(4, np.int8)):
            with pytest.raises(ArgumentError, match=f"'in_mask' must be int8 of shape \\(3,\\), but got {wrong.dtype}"):
                kind(layer()).set_in_mask(wrong)
