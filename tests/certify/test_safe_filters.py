"""Filters that are safe to remove: against hiding each by a plan of its own, and against planted ones."""
import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, NothingToPruneError
from golden_stick.cells.wrappers import masked_network
from golden_stick.graph.plan import plan_without
from tests.certify.networks import TwoConvolutions

LOSS = nn.CrossEntropyLoss(reduction="none")
SHAPE = (1, 1, 8, 8)


def images(count=40, seed=0):
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, 1, 8, 8)).astype(np.float32), generator.integers(0, 3, count, np.int32)


def network(seed=0):
    found, generator = TwoConvolutions(), np.random.default_rng(seed)
    for parameter in found.get_parameters():
        if "moving" not in parameter.name:
            parameter.set_data(Tensor(generator.standard_normal(parameter.shape).astype(np.float32) * 0.5))
    return found


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
    return net


def test_planted_filters_are_found_and_only_those_go(tmp_path):
    net, x = planted(), images(200)[0]
    # Its own answers as labels: every filter that does something then matters.
    labels = net.set_train(False)(Tensor(x)).asnumpy().argmax(1).astype(np.int32)
    found = gs.safe_filters(net, SHAPE, [(x, labels)], LOSS, eps=1e-4, q=0.05)
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
    data = [images(60)]
    found = gs.safe_filters(planted(), SHAPE, data, LOSS)
    with pytest.raises(gs.errors.StateError, match="nothing has used before"):
        gs.certify(planted(), [planted()], data, used=[found.data])


def test_a_layer_that_nobody_needs_keeps_its_costliest_filter():
    net = network()
    net.outer.weight.set_data(Tensor(np.zeros(net.outer.weight.shape, np.float32)))
    found = gs.safe_filters(net, SHAPE, [images(50)], LOSS, eps=1e-4)
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

    net, generator = Product(), np.random.default_rng(0)
    x, y = generator.standard_normal((20, 5, 6)).astype(np.float32), generator.integers(0, 3, 20, np.int32)
    found = gs.safe_filters(net, (1, 5, 6), [(x, y)], LOSS)
    assert found.grouping.zeroed
    whole = LOSS(net(Tensor(x)), Tensor(y)).asnumpy()
    for place, channel in enumerate(found.channels.tolist()):
        masked = masked_network(net, plan_without(found.grouping, [channel]))
        rise = LOSS(masked(Tensor(x)), Tensor(y)).asnumpy() - whole
        assert found.cost[place] == pytest.approx(rise.mean(), abs=1e-5) and rise.mean() != 0


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
