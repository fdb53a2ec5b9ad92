"""slim == masked, for whole networks, at three rates, under each residual policy, in both modes."""
import functools
import itertools

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.cells.wrappers import masked_network
from golden_stick.graph.plan import count_macs
from golden_stick.prune.plan import make_plan
from tests import networks

TOLERANCE = 1e-5


def padded_pool():
    """As PyTorch's ResNets begin: MindSpore compiles this pooling to one over volumes with two outputs."""
    return nn.SequentialCell(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, "pad", 1),
                             nn.Conv2d(16, 12, 3), nn.ReLU(), nn.Flatten(), nn.Dense(12 * 16, 5))


NETWORKS = {
    "padded_pool": (padded_pool, (2, 3, 8, 8)),
    "resnet8": (lambda: networks.CifarResNet(1), (2, 3, 16, 16)),
    "bottlenecks": (lambda: networks.ResNet50(stages=((8, 2), (16, 1))), (2, 3, 32, 32)),
    "resnet20": (lambda: networks.CifarResNet(3), (2, 3, 32, 32)),
    "resnet56": (lambda: networks.CifarResNet(9), (2, 3, 32, 32)),
    "resnet50": (networks.ResNet50, (2, 3, 64, 64)),
    "vgg16_bn": (networks.VGG16BN, (2, 3, 64, 64)),
    "mobilenet_v2": (networks.MobileNetV2Like, (2, 3, 32, 32)),
    "senet": (networks.SENet, (2, 3, 16, 16)),
}


@functools.lru_cache(maxsize=1)
def build(name):
    factory, shape = NETWORKS[name]
    ms.set_seed(3)
    network = networks.randomize(factory())
    return network, shape, gs.trace(network, shape)


def random_importance(groups, seed):
    generator = np.random.default_rng(seed)
    return {group.name: generator.random(len(group.channels)) for group in groups}


# Of each kind of block one by default; all of them with `-m long`.
QUICK = {("padded_pool", "group"), ("resnet8", "keep"), ("bottlenecks", "group"), ("mobilenet_v2", "group"),
         ("senet", "scatter")}
CASES = [pytest.param(name, residual, rate,
                      marks=() if rate == 0.45 and (name, residual) in QUICK else pytest.mark.long)
         for name, residual, rate in itertools.product(NETWORKS, ("group", "scatter", "keep"), (0.1, 0.45, 0.8))]


@pytest.mark.parametrize("name, residual, rate", CASES)
def test_slim_equals_masked(name, residual, rate):
    network, shape, graph = build(name)
    groups = gs.find_groups(graph, residual)
    plan = make_plan(groups, random_importance(groups, seed=7), rate)
    masked, slim = masked_network(network, plan), gs.slim(network, plan)
    assert count_macs(gs.trace(slim, shape)) < count_macs(graph)
    before = ms.get_context("mode")
    try:
        for mode in (ms.PYNATIVE_MODE, ms.GRAPH_MODE):
            ms.set_context(mode=mode)
            result = gs.verify(masked, slim, shape, tolerance=TOLERANCE)
            assert result.output_scale > 0
            assert result.relative_difference <= TOLERANCE
    finally:
        ms.set_context(mode=before)


@pytest.mark.parametrize("name", ["resnet8", "senet"])
def test_masked_is_not_the_original(name):
    """Were the masks without effect, slim could equal masked only by changing nothing."""
    network, shape, graph = build(name)
    groups = gs.find_groups(graph)
    masked = masked_network(network, make_plan(groups, random_importance(groups, seed=7), 0.45))
    with pytest.raises(gs.errors.VerifyError, match="must agree within"):
        gs.verify(network, masked, shape)
