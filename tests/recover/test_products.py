"""What is solved of attentions: weights that code splits and turns, and queries towards the keys that are left."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

import golden_stick as gs
from golden_stick.recover.products import meetings_of, products_of
from tests import networks

WIDTH, HEADS, PLACES = 8, 2, 6


@pytest.fixture(autouse=True)
def pynative():
    """What is compared need not be compiled."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)


class Attention(nn.Cell):
    """Written out, with a layer each for queries, keys and values."""

    def __init__(self, shown=False):
        super().__init__()
        self.q, self.k, self.v = (nn.Dense(WIDTH, WIDTH) for _ in range(3))
        self.out, self.shown = nn.Dense(WIDTH, WIDTH), shown

    def construct(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        made = ops.softmax(ops.matmul(self.heads(q), self.heads(k).swapaxes(-1, -2)) * 0.5, -1)
        made = self.out(ops.matmul(made, self.heads(v)).swapaxes(1, 2).reshape(x.shape[0], PLACES, -1))
        return made + q.mean() if self.shown else made

    def heads(self, x):
        return x.reshape(x.shape[0], PLACES, HEADS, -1).swapaxes(1, 2)


class Packed(Attention):
    """One layer for all three."""

    def __init__(self):
        super().__init__()
        self.q = self.k = self.v = None
        self.qkv = nn.Dense(WIDTH, 3 * WIDTH)

    def construct(self, x):
        q, k, v = self.qkv(x).reshape(x.shape[0], PLACES, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
        made = ops.softmax(ops.matmul(q, k.swapaxes(-1, -2)), -1)
        return self.out(ops.matmul(made, v).swapaxes(1, 2).reshape(x.shape[0], PLACES, -1))


class MindSporesOwn(nn.Cell):
    def __init__(self):
        super().__init__()
        self.body = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def construct(self, x):
        return self.body(x, x, x)[0]


def parts(network):
    """Weights and biases of queries and keys, and of what is left of them."""
    if isinstance(network, MindSporesOwn):
        weight, bias = network.body.in_proj_weight, network.body.in_proj_bias
    elif isinstance(network, Packed):
        weight, bias = network.qkv.weight, network.qkv.bias
    else:
        return [(layer.weight.asnumpy().astype(float), layer.bias.asnumpy().astype(float))
                for layer in (network.q, network.k)]
    return list(zip(*(np.split(item.asnumpy().astype(float), 3)[:2] for item in (weight, bias))))


def projected(network, data, at):
    """Queries (0) or keys (1), by numpy: shape (heads, rows, width)."""
    weight, bias = parts(network)[at]
    rows = data.reshape(-1, WIDTH).astype(float) @ weight.T + bias
    return rows.reshape(len(rows), HEADS, -1).transpose(1, 0, 2)


DATA = np.random.default_rng(1).normal(size=(96, PLACES, WIDTH)).astype(np.float32)
BATCHES = [DATA[start:start + 32] for start in range(0, 96, 32)]


def solved(network):
    algorithm = gs.OneShot({"prune_rate": 0.5, "criterion": "random"})
    slim = algorithm.convert(algorithm.apply(network, inputs=(2, PLACES, WIDTH)))
    return slim, gs.reconstruct(slim, network, BATCHES)


@pytest.mark.parametrize("kind", [Attention, Packed, MindSporesOwn])
def test_queries_are_solved_towards_the_keys_that_are_left(kind):
    """By hand: all keys as sums of those that are left, K = L B, and queries Q B' in the place of the old ones."""
    network = networks.randomize(kind())
    slim, again = solved(network)
    q, k, left = projected(network, DATA, 0), projected(network, DATA, 1), projected(again, DATA, 1)
    assert left.shape[2] == k.shape[2] // 2
    for head in range(HEADS):
        mix = np.linalg.lstsq(left[head], k[head], rcond=None)[0]
        np.testing.assert_allclose(projected(again, DATA, 0)[head], q[head] @ mix.T, rtol=1e-3, atol=1e-3)
        wanted = q[head] @ k[head].T
        errors = [np.square(wanted - projected(one, DATA, 0)[head] @ left[head].T).sum() for one in (slim, again)]
        assert errors[1] < errors[0]
    # Keys read what they read in the original: they stay.
    np.testing.assert_allclose(left, projected(slim, DATA, 1), atol=1e-5)
    wanted = network(Tensor(DATA)).asnumpy()
    errors = [np.square(wanted - one(Tensor(DATA)).asnumpy()).sum() for one in (slim, again)]
    assert errors[1] < errors[0]


def test_a_packed_weight_behind_a_layer_that_lost_channels():
    """Each part is solved as a layer of its own: by hand, for the values, which nothing is multiplied by."""

    class Net(nn.Cell):
        def __init__(self):
            super().__init__()
            self.wide, self.narrow, self.attention = nn.Dense(WIDTH, 24), nn.Dense(24, WIDTH), MindSporesOwn()

        def construct(self, x):
            return self.attention(x + self.narrow(ops.relu(self.wide(x))))

    network = networks.randomize(Net())
    slim, again = solved(network)
    layers = {layer.path: layer for layer in gs.reconstruction_report(again).layers}
    assert {f"attention.body.{name}" for name in ("query", "key", "value", "out_proj")} <= set(layers)
    reads, given = (DATA + np.maximum(DATA @ net.wide.weight.asnumpy().T + net.wide.bias.asnumpy(), 0)
                    @ net.narrow.weight.asnumpy().T + net.narrow.bias.asnumpy() for net in (again, network))
    body, kept = again.attention.body, slim.attention.body
    values = given.reshape(-1, WIDTH) @ np.split(network.attention.body.in_proj_weight.asnumpy(), 3)[2].T
    mine = [np.split(item.in_proj_weight.asnumpy(), 3)[2] for item in (kept, body)]
    rows = [int(np.abs(np.split(network.attention.body.in_proj_weight.asnumpy(), 3)[2] - row).sum(1).argmin())
            for row in mine[0]]
    centred = [item - item.mean(0) for item in (reads.reshape(-1, WIDTH).astype(float), values[:, rows].astype(float))]
    damping = layers["attention.body.value"].damping * np.square(centred[0]).mean() * np.eye(WIDTH)
    change = np.linalg.solve(centred[0].T @ centred[0] / len(centred[0]) + damping,
                             centred[0].T @ (centred[1] - centred[0] @ mine[0].T) / len(centred[0]))
    np.testing.assert_allclose(mine[1], mine[0] + change.T, rtol=1e-3, atol=1e-3)


class Turned(nn.Cell):
    """A layer of one's own, whose weight lies the other way round, behind one that loses channels."""

    def __init__(self):
        super().__init__()
        self.first = nn.Dense(5, 12)
        self.own = Own()

    def construct(self, x):
        return self.own(ops.relu(self.first(x)))


class Own(nn.Cell):
    def __init__(self):
        super().__init__()
        self.kernel = Parameter(Tensor(np.random.default_rng(0).normal(size=(12, 3)), ms.float32))
        self.shift, self.matmul, self.add = Parameter(Tensor(np.ones(3), ms.float32)), ops.MatMul(), ops.BiasAdd()

    def construct(self, x):
        return self.add(self.matmul(x, self.kernel), self.shift)


def test_a_layer_of_ones_own_is_solved_where_its_cell_does_nothing_else():
    network, data = networks.randomize(Turned()), [np.random.default_rng(2).normal(size=(64, 5)).astype(np.float32)]
    algorithm = gs.OneShot({"prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(network, inputs=(2, 5)))
    again = gs.reconstruct(slim, network, data)
    layer, = gs.reconstruction_report(again).layers
    assert (layer.path, layer.change) == ("own", "weights")
    reads = ops.relu(slim.first(Tensor(data[0]))).asnumpy().astype(float)
    wanted, old = network(Tensor(data[0])).asnumpy().astype(float), slim.own.kernel.asnumpy().astype(float)
    centred, target = reads - reads.mean(0), wanted - wanted.mean(0)
    damped = centred.T @ centred / 64 + layer.damping * np.square(centred).mean() * np.eye(6)
    weight = old + np.linalg.solve(damped, centred.T @ (target - centred @ old) / 64)
    np.testing.assert_allclose(again.own.kernel.asnumpy(), weight, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again.own.shift.asnumpy(), wanted.mean(0) - reads.mean(0) @ weight, atol=1e-4)


def test_channels_that_are_read_besides_meet_nobody():
    for shown, count in ((False, 1), (True, 0)):
        graph = gs.trace(networks.randomize(Attention(shown)), (2, PLACES, WIDTH))
        assert len(meetings_of(graph, products_of(graph))) == count
