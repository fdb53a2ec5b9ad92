"""Functions of mint, and methods of Tensor that call what they call: pruned as their usual twins are, to ONNX too."""
import mindspore as ms
import numpy as np
import onnxruntime
import pytest
from mindspore import mint, nn

import golden_stick as gs
from golden_stick.graph.rules import RULES
from tests.marks import quick
from tests.networks import randomize

IMAGE = ms.Tensor(np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32))
SHUFFLE = nn.ChannelShuffle(4)
# What is done to (2, 24, 6, 6), by name; four axes are left. Functions, since MindSpore reads no lambda in a dict.
WAYS = {}


def way(function):
    WAYS[function.__name__] = function
    return function


@way
def flatten(x):
    return x.flatten(2)[..., None]


@way
def unsqueeze_and_squeeze(x):
    return mint.squeeze(mint.unsqueeze(x, 2), 2)


@way
def permute(x):
    return mint.permute(mint.permute(x, (0, 2, 3, 1)), (0, 3, 1, 2))


@way
def transpose(x):
    return mint.transpose(mint.transpose(x, 1, -1), -1, 1)


@way
def contiguous(x):
    return mint.transpose(x, 2, 3).contiguous()


@way
def chunk(x):
    return mint.cat(mint.chunk(x, 2, -3)[::-1], 1)


@way
def split(x):
    return mint.cat(mint.split(x, x.shape[1] // 2, 1)[::-1], 1)


@way
def split_of_pixels(x):
    return mint.split(x, [2, 4], -1)[1]


@way
def narrow(x):
    return mint.narrow(x, 3, 2, 3)


@way
def select(x):
    return mint.select(x, 2, -1)[..., None]


@way
def unbind(x):
    return mint.unbind(x, 3)[1][..., None]


@way
def maximum(x):
    return mint.max(x, 2, True)[0]


@way
def product(x):
    return mint.prod(x, 2, True)


@way
def broadcast(x):
    return mint.broadcast_to(mint.mean(x, (2, 3), True), (-1, -1, 2, 2))


@way
def shuffle(x):
    return SHUFFLE(x)


@way
def addcmul(x):
    return ms.ops.addcmul(x, x, x, 0.5)


class Between(nn.Cell):
    def __init__(self, function):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 24, 3, pad_mode="valid"), nn.Conv2d(24, 8, 1), nn.Dense(8, 3)
        self.function = function

    def construct(self, x):
        return self.last(mint.mean(mint.nn.functional.relu(self.second(self.function(self.first(x)))), (2, 3)))


@pytest.mark.parametrize("name", quick(WAYS, ["flatten", "transpose", "split_of_pixels", "select", "chunk"]))
def test_pruned_exactly_and_written(mode, name, tmp_path):
    network, algorithm = randomize(Between(WAYS[name])), gs.OneShot({"prune_rate": 0.5})
    masked = algorithm.apply(network, IMAGE)
    assert {node.operator for node in gs.trace(network, IMAGE).nodes} <= set(RULES)
    slim = algorithm.convert(masked)
    assert slim.first.weight.shape[0] == 12
    wanted = masked.set_train(False)(IMAGE).asnumpy()
    np.testing.assert_allclose(slim.set_train(False)(IMAGE).asnumpy(), wanted, rtol=1e-4, atol=1e-5)
    session = onnxruntime.InferenceSession(gs.export(slim, IMAGE, tmp_path / "slim", "ONNX"))
    found, = session.run(None, {session.get_inputs()[0].name: IMAGE.asnumpy()})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
