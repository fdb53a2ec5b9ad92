"""Criteria from data, against a computation by hand: numpy for one layer, finite differences for a network."""
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.cells.trace import trace
from golden_stick.criteria import CRITERIA, FilterStatistics, add_criterion
from golden_stick.criteria.statistics import collect
from tests import networks

HIDDEN, CLASSES = 5, 3
BATCHES = tuple((np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32),
                 np.random.default_rng(seed + 9).integers(0, CLASSES, count).astype(np.int32))
                for seed, count in enumerate((4, 3, 4)))


def two_layers():
    return networks.randomize(nn.SequentialCell(nn.Dense(4, HIDDEN), nn.ReLU(), nn.Dense(HIDDEN, CLASSES)))


def look(network, needs, data, loss=None, shape=(2, 4)):
    graph = trace(network, (Tensor(np.zeros(shape, np.float32)),))
    return collect("OneShot", needs, network, graph, gs.find_groups(graph), data, loss or nn.CrossEntropyLoss())


def by_hand(network):
    """Per sample: outputs of the hidden filters, their inputs, and the derivative of the sample's loss by them."""
    (weight, bias), (last, last_bias) = (
        (network[i].weight.asnumpy().astype(float), network[i].bias.asnumpy().astype(float)) for i in (0, 2))
    x, labels = (np.concatenate(column) for column in zip(*BATCHES))
    before = x @ weight.T + bias
    logits = np.maximum(before, 0) @ last.T + last_bias
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    slope = (chances - np.eye(CLASSES)[labels]) @ last * (before > 0)
    return x, before, slope


def test_gate_gradients_are_output_times_derivative_sample_by_sample():
    network = two_layers()
    _, before, slope = by_hand(network)
    found = look(network, "gate_gradients", BATCHES)
    assert list(found) == ["0.weight"]
    np.testing.assert_allclose(found["0.weight"], before * slope, atol=1e-6)
    score = CRITERIA["taylor"].score(FilterStatistics(network[0].weight.asnumpy(), gate_gradients=found["0.weight"]))
    np.testing.assert_allclose(score, ((before * slope) ** 2).mean(0), atol=1e-6)


def test_squared_gradients_are_means_of_squares_not_squares_of_means():
    network = two_layers()
    x, _, slope = by_hand(network)
    wanted = np.square(slope[:, :, None] * x[:, None, :]).mean(0)
    found = look(network, "squared_gradients", BATCHES)
    np.testing.assert_allclose(found["0.weight"], wanted, atol=1e-6)
    weight = network[0].weight.asnumpy()
    score = CRITERIA["hessian"].score(FilterStatistics(weight, squared_gradients=found["0.weight"]))
    np.testing.assert_allclose(score, 0.5 * (weight.astype(float) ** 2 * wanted).sum(1), atol=1e-6)


def test_activations_are_means_of_magnitudes_where_the_next_layer_reads_them():
    network = two_layers()
    _, before, _ = by_hand(network)
    batches = [np.abs(np.maximum(rows, 0)).mean(0) for rows in np.split(before, [4, 7])]
    found = look(network, "activations", BATCHES)
    np.testing.assert_allclose(found["0.weight"], np.mean(batches, 0), atol=1e-6)
    assert CRITERIA["activation"].score(FilterStatistics(network[0].weight.asnumpy(), activations=found["0.weight"])) \
        is found["0.weight"]


def test_gate_gradients_of_convolutions_are_what_scaling_a_filter_does_to_each_loss(mode):
    shape, generator = networks.SMALL_INPUT, np.random.default_rng(0)
    network = networks.randomize(networks.SmallNet())
    data = (generator.normal(size=(3, *shape[1:])).astype(np.float32), np.array([0, 1, 2], np.int32))
    found = look(network, "gate_gradients", [data], shape=(2, *shape[1:]))
    loss = nn.CrossEntropyLoss(reduction="none")
    cells = {name: cell for name, cell in network.cells_and_names() if isinstance(cell, nn.Conv2d)}
    name = next(name for name in found if name.removesuffix(".weight") in cells)
    network.set_train(False)

    def losses(factor, index):
        cell = cells[name.removesuffix(".weight")]
        changed = [cell.weight, cell.bias] if cell.has_bias else [cell.weight]
        kept = [parameter.asnumpy().copy() for parameter in changed]
        for parameter, values in zip(changed, kept):
            values = values.copy()
            values[index] *= factor
            parameter.set_data(Tensor(values))
        out = loss(network(Tensor(data[0])), Tensor(data[1])).asnumpy().astype(float)
        for parameter, values in zip(changed, kept):
            parameter.set_data(Tensor(values))
        return out

    wanted = np.stack([(losses(1.001, i) - losses(0.999, i)) / 0.002 for i in range(found[name].shape[1])], axis=1)
    np.testing.assert_allclose(found[name], wanted, atol=2e-3 * np.abs(wanted).max())


class Product(nn.Cell):
    """A layer of the user's own, at which no gate can stand."""

    def __init__(self):
        super().__init__()
        self.first = Parameter(Tensor(np.random.default_rng(0).normal(size=(4, HIDDEN)).astype(np.float32)))
        self.last = nn.Dense(HIDDEN, CLASSES)

    def construct(self, x):
        return self.last(ops.tanh(ops.matmul(x, self.first)))


def test_where_no_gate_can_stand_a_batch_gives_one_row_of_weight_times_gradient():
    network = networks.randomize(Product())
    found = look(network, "gate_gradients", BATCHES)["first"]
    weight = network.first.asnumpy().astype(float)
    last, bias = (item.asnumpy().astype(float) for item in (network.last.weight, network.last.bias))
    rows = []
    for x, labels in BATCHES:
        hidden = np.tanh(x @ weight)
        logits = hidden @ last.T + bias
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        slope = (chances - np.eye(CLASSES)[labels]) @ last * (1 - hidden ** 2) / len(x)
        rows.append((weight * (x.T @ slope)).sum(0))
    np.testing.assert_allclose(found, rows, rtol=1e-4, atol=1e-6)


def test_the_network_is_left_as_it_was():
    network = two_layers()
    before = [(p.name, p.requires_grad, p.asnumpy().copy()) for p in network.get_parameters()]
    for needs in ("gate_gradients", "squared_gradients", "activations"):
        look(network, needs, BATCHES)
    for parameter, (name, trained, values) in zip(network.get_parameters(), before):
        assert (parameter.name, parameter.requires_grad) == (name, trained)
        np.testing.assert_array_equal(parameter.asnumpy(), values)


class TestRefusals:
    def apply(self, criterion="taylor", network=None, **given):
        return gs.OneShot({"criterion": criterion}).apply(network or two_layers(), (2, 4), **given)

    def test_no_data(self):
        with pytest.raises(ArgumentError, match="'data' must be batches for this criterion, but got None: apply"):
            self.apply()

    def test_no_loss(self):
        with pytest.raises(ArgumentError, match="'loss' must be a function of outputs and labels for this criterion, "
                                                "but got None: apply"):
            self.apply(data=BATCHES)
        self.apply("activation", data=BATCHES)

    def test_no_batch(self):
        with pytest.raises(ArgumentError, match="'data' must hold batches for the criterion, but got none"):
            self.apply(data=[], loss=nn.CrossEntropyLoss())

    def test_batches_of_something_else(self):
        with pytest.raises(ArgumentTypeError, match="a batch in 'data' must hold Tensors or arrays, but got str"):
            self.apply(data=[("a", "b")], loss=nn.CrossEntropyLoss())

    @pytest.mark.parametrize("criterion", ["taylor", "hessian", "activation"])
    @pytest.mark.parametrize("batch, told", [
        ((BATCHES[0][0].astype(np.float64), BATCHES[0][1]), r"Float64 \(\d, 4\)"),
        ((np.ones((2, 7), np.float32), np.zeros(2, np.int32)), r"Float32 \(\d, 7\)"),
    ])
    def test_batches_that_the_network_does_not_take(self, mode, criterion, batch, told, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # A compilation that fails leaves a dump.
        with pytest.raises(ArgumentError, match=rf"a batch in 'data' must hold what the network takes, .*got {told}"):
            self.apply(criterion, data=[batch], loss=nn.CrossEntropyLoss())

    def test_batches_without_what_the_loss_takes(self, mode, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ArgumentError, match=r"then what the loss takes besides, but got Float32 \(4, 4\): "):
            self.apply(data=[BATCHES[0][0]], loss=nn.CrossEntropyLoss())

    def test_a_loss_that_is_no_function(self):
        with pytest.raises(ArgumentTypeError, match="'loss' must be a function of outputs and labels, but got str"):
            self.apply(data=BATCHES, loss="cross entropy")

    def test_a_loss_that_is_not_finite(self):
        with pytest.raises(ArgumentError, match="gradients and activations at '0.weight' must be numbers, but got NaN"):
            self.apply(data=[(BATCHES[0][0] * np.nan, BATCHES[0][1])], loss=nn.CrossEntropyLoss())

    def test_channels_that_enter_no_cell(self):
        class Sum(Product):
            def construct(self, x):
                return ops.matmul(ops.tanh(ops.matmul(x, self.first)), self.second)

        network = Sum()
        network.second = Parameter(Tensor(np.ones((HIDDEN, CLASSES), np.float32)), name="second")
        with pytest.raises(ArgumentError, match="must enter a Cell where they can be measured, but they enter none"):
            self.apply("activation", network, data=BATCHES)

    @pytest.mark.parametrize("scores", [lambda layer: np.ones(2), lambda layer: np.full(HIDDEN, np.nan)])
    def test_a_criterion_of_ones_own_that_gives_no_scores(self, scores):
        add_criterion("broken", scores)
        try:
            with pytest.raises(ArgumentError, match="'criterion' 'broken' must give one finite score for each filter "
                                                    "of '0.weight', but got shape"):
                self.apply("broken")
        finally:
            del CRITERIA["broken"]
