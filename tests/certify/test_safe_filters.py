"""Filters that are safe to remove: against hiding each by a plan of its own, and against planted ones."""
import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, NothingToPruneError, StateError
from golden_stick.cells.wrappers import masked_network
from golden_stick.graph.plan import plan_without
from tests.certify.networks import TwoConvolutions

LOSS = nn.CrossEntropyLoss(reduction="none")
SHAPE = (1, 1, 8, 8)


def images(count=40, seed=0, net=None):
    """With what a network answers as labels."""
    drawn = np.random.default_rng(seed).standard_normal((count, 1, 8, 8)).astype(np.float32)
    return drawn, (net or network()).set_train(False)(Tensor(drawn)).asnumpy().argmax(1).astype(np.int32)


def network(seed=0):
    found, generator = TwoConvolutions(), np.random.default_rng(seed)
    for parameter in found.get_parameters():
        if "moving" not in parameter.name:
            parameter.set_data(Tensor(generator.standard_normal(parameter.shape).astype(np.float32) * 0.5))
    return balanced(found)


def balanced(net, shape=SHAPE[1:]):
    """With a bias by which no class has the most answers everywhere."""
    drawn = np.random.default_rng(9).standard_normal((100, *shape)).astype(np.float32)
    mean = net.set_train(False)(Tensor(drawn)).asnumpy().mean(0)
    net.head.bias.set_data(Tensor(net.head.bias.asnumpy() - mean))
    return net


def test_costs_are_those_of_networks_masked_one_by_one(mode):
    residual = "scatter" if mode == "GRAPH" else "group"
    net, (x, y) = network(), images()
    before = {parameter.name: parameter.asnumpy().copy() for parameter in net.get_parameters()}
    found = gs.safe_filters(net, SHAPE, [(x[:20], y[:20]), (Tensor(x[20:]), Tensor(y[20:]))], LOSS, residual=residual)
    net.set_train(False)
    # One compilation for each channel is what the gates spare; here nothing is compiled.
    ms.set_context(mode=ms.PYNATIVE_MODE)
    whole = LOSS(net(Tensor(x)), Tensor(y)).asnumpy().astype(np.float64)
    for place, channel in enumerate(found.channels.tolist()):
        masked = masked_network(net, plan_without(found.grouping, [channel])).set_train(False)
        rise = LOSS(masked(Tensor(x)), Tensor(y)).asnumpy().astype(np.float64) - whole
        assert found.cost[place] == pytest.approx(rise.mean(), abs=1e-5)
        assert found.error[place] == pytest.approx(rise.std(ddof=1) / np.sqrt(40), abs=1e-5)
    assert np.abs(found.cost).max() > 0.01
    for parameter in net.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])


def planted():
    """The inner channels 1 and 3 enter nothing."""
    net = network()
    weight = net.outer.weight.asnumpy().copy()
    weight[:, [1, 3]] = 0
    net.outer.weight.set_data(Tensor(weight))
    return balanced(net)


def test_planted_filters_are_found_and_only_those_go(tmp_path):
    net = planted()
    # Its own answers as labels: every filter that does something then matters.
    found = gs.safe_filters(net, SHAPE, [images(200, net=net)], LOSS, eps=1e-4, q=0.05)
    (inner,) = [group for group in found.grouping if group.layers == ("inner",)]
    assert set(inner.channels[[1, 3]]) <= set(found.of_group("inner").tolist())
    assert (found.cost[found.safe] < 1e-4).all() and 0 < found.safe.sum() < len(found.safe) - 1
    smaller = gs.slim(net, found.plan())
    assert smaller.inner.weight.shape[0] == 5 - len(found.of_group("inner"))
    assert smaller.stem.weight.shape[0] == 6 - len(found.of_group("stem"))
    record = json.loads(open(found.save(str(tmp_path / "safe.json"))).read())
    assert record["groups"]["inner"]["safe"][1::2] == [True, True] and record["images"] == 200
    assert record["groups"]["inner"]["p_values"][1::2] == [0.0, 0.0]
    assert "Removing several together is not covered" in str(found) and "inner" in str(found)
    with pytest.raises(ArgumentError, match="'name' must be a group of the network"):
        found.of_group("outside")


def test_images_of_safe_filters_are_used(tmp_path):
    data = [images(60, net=planted())]
    found = gs.safe_filters(planted(), SHAPE, data, LOSS)
    with pytest.raises(StateError, match="nothing has used before"):
        gs.certify(planted(), [planted()], data, used=[found.data])


def test_a_layer_that_nobody_needs_keeps_its_costliest_filter():
    net = network()
    net.outer.weight.set_data(Tensor(np.zeros(net.outer.weight.shape, np.float32)))
    balanced(net)
    found = gs.safe_filters(net, SHAPE, [images(50, net=net)], LOSS, eps=1e-4)
    assert len(found.of_group("inner")) == 5
    assert gs.slim(net, found.plan()).inner.weight.shape[0] == 1


def test_a_zeroed_weight_is_hidden_as_the_masked_network_hides_it():
    class Product(nn.Cell):
        """An attention without heads: a product of two feature maps, before which no mask can stand."""

        def __init__(self):
            super().__init__()
            self.query, self.key, self.head = nn.Dense(6, 4), nn.Dense(6, 4), nn.Dense(5, 3)

        def construct(self, x):
            return self.head((self.query(x) @ self.key(x).swapaxes(1, 2)).mean(1))

    net, generator = balanced(Product(), (5, 6)), np.random.default_rng(0)
    x = generator.standard_normal((20, 5, 6)).astype(np.float32)
    y = net(Tensor(x)).asnumpy().argmax(1).astype(np.int32)
    found = gs.safe_filters(net, (1, 5, 6), [(x, y)], LOSS)
    assert found.grouping.zeroed
    whole = LOSS(net(Tensor(x)), Tensor(y)).asnumpy()
    for place, channel in enumerate(found.channels.tolist()):
        masked = masked_network(net, plan_without(found.grouping, [channel]))
        rise = LOSS(masked(Tensor(x)), Tensor(y)).asnumpy() - whole
        assert found.cost[place] == pytest.approx(rise.mean(), abs=1e-5) and rise.mean() != 0


def test_a_network_near_chance_is_refused_before_images_are_used_up(tmp_path):
    """Of 40 images, ten have another label than most: five right of them are a win by chance once in 32 times."""
    ledger = str(tmp_path / "ledger.json")
    values = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    labels = (np.arange(40) >= 30).astype(np.int32)
    values[:, 0] = -1

    def search(right):
        net, given = nn.SequentialCell(nn.Dense(4, 3, has_bias=False), nn.ReLU(), nn.Dense(3, 2)), values.copy()
        given[30:30 + right, 0] = 1
        for parameter, numbers in zip(net.get_parameters(), (np.eye(3, 4), [[0, 0, 0], [1, 0, 0]], [0.5, 0])):
            parameter.set_data(Tensor(np.array(numbers, np.float32)))
        return gs.safe_filters(net, (1, 4), [(given, labels)], LOSS, ledger=ledger)

    with pytest.raises(StateError, match="For 'safe_filters', 'network' must be right clearly more often than the most "
                                         "frequent label, given to all 40 images, but may not be: load the weights.*"
                                         "They are not used up"):
        search(4)
    assert not list(tmp_path.iterdir())
    assert search(5).data.images == 40 and (tmp_path / "ledger.json").is_file()


def test_a_network_without_scores_for_classes_is_not_asked_what_it_answers():
    net = nn.SequentialCell(nn.Dense(4, 3), nn.ReLU(), nn.Dense(3, 1), nn.Flatten(0))
    data = [(np.ones((8, 4), np.float32), np.arange(8, dtype=np.int32))]
    assert len(gs.safe_filters(net, (8, 4), data, nn.L1Loss(reduction="none")).cost) == 3


@pytest.mark.parametrize("changed, error, message", [
    ({"network": 3}, ArgumentTypeError, "both 'network' and 'loss' must be Cells, but got int and"),
    ({"loss": None}, ArgumentTypeError, "both 'network' and 'loss' must be Cells, but got TwoConv"),
    ({"eps": 0.0}, ArgumentError, "'eps' must be in"),
    ({"q": 1.0}, ArgumentError, "'q' must be in"),
    ({"correction": "none"}, ArgumentError, "'correction' must be one of 'bh', 'by'"),
    ({"loss": nn.CrossEntropyLoss()}, ArgumentError, "'loss' must give one number for each of 40 images"),
    ({"data": [images(1)]}, ArgumentError, "'data' must hold at least two images"),
    ({"data": [(images()[0] * np.float32("inf"), images()[1])]}, ArgumentError, "'loss' must be finite"),
    ({"network": nn.SequentialCell(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())}, NothingToPruneError,
     "'network' must have removable channels"),
])
def test_wrong_arguments(changed, error, message):
    arguments = {"network": network(), "inputs": SHAPE, "data": [images()], "loss": LOSS, **changed}
    with pytest.raises(error, match=message):
        gs.safe_filters(**arguments)


def test_plans_of_wrong_channels():
    grouping = gs.find_groups(gs.trace(network(), SHAPE))
    with pytest.raises(ArgumentError, match="'removed' must hold numbers of removable channels, but got"):
        plan_without(grouping, [-5])
    (inner,) = [group for group in grouping if group.layers == ("inner",)]
    with pytest.raises(ArgumentError, match="every layer must keep a filter, but 'inner' would lose all 5"):
        plan_without(grouping, inner.channels.tolist())
