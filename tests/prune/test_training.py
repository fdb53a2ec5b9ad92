"""Fine-tuning: the slim network walks the path of the masked one, for less."""
import statistics
import time

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.cells.wrappers import masked_network
from golden_stick.graph.plan import count_macs
from golden_stick.prune.plan import make_plan
from tests import networks

SHAPE = networks.SMALL_INPUT


def trainer(network, learning_rate=0.01):
    optimizer = nn.Momentum(network.trainable_params(), learning_rate, 0.9, weight_decay=1e-4)
    cell = nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer)
    return cell.set_train()


def batches(count, shape, classes, seed=0):
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield (ms.Tensor(generator.normal(size=shape).astype(np.float32)),
               ms.Tensor(generator.integers(0, classes, shape[0]).astype(np.int32)))


def pair(network, shape, residual, rate=0.45):
    groups = gs.find_groups(gs.trace(network, shape), residual)
    generator = np.random.default_rng(1)
    plan = make_plan(groups, {group.name: generator.random(len(group.channels)) for group in groups}, rate)
    return masked_network(network, plan), gs.slim(network, plan)


def losses(network, data):
    step = trainer(network)
    return [float(step(*batch)) for batch in data]


@pytest.mark.parametrize("residual, mode", [
    ("group", "PYNATIVE"), ("scatter", "GRAPH"), ("keep", "PYNATIVE"), *(pytest.param(*item, marks=pytest.mark.long)
    for item in (("group", "GRAPH"), ("scatter", "PYNATIVE"), ("keep", "GRAPH")))], indirect=["mode"])
def test_masked_and_slim_have_the_same_losses_step_by_step(residual, mode):
    ms.set_seed(0)
    network = networks.randomize(networks.SmallNet())
    masked, slim = pair(network, SHAPE, residual)
    data = list(batches(5, (8, *SHAPE[1:]), 4))
    wanted, got = losses(masked, data), losses(slim, data)
    np.testing.assert_allclose(got, wanted, rtol=1e-3)
    assert max(wanted) - min(wanted) > 0.1


@pytest.mark.parametrize("mode", ["PYNATIVE", pytest.param("GRAPH", marks=pytest.mark.long)], indirect=True)
def test_both_train_to_the_same_network(mode):
    """After training, the slim network still is the masked one: what the masks hide has had no influence."""
    ms.set_seed(0)
    network = networks.randomize(networks.SENet())
    masked, slim = pair(network, (2, 3, 16, 16), "group")
    data = list(batches(5, (8, 3, 16, 16), 10))
    losses(masked, data)
    losses(slim, data)
    gs.verify(masked, slim, (4, 3, 16, 16), tolerance=1e-3)


@pytest.mark.long
def test_slim_step_is_faster_by_most_of_the_macs_ratio():
    """Ratio of medians, measured in turn in one run. `benchmarks/steps.py` has more of them."""
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        shape = (16, 3, 96, 96)
        network = networks.randomize(networks.ResNet50())
        masked, slim = pair(network, shape, "group")
        ratio = count_macs(gs.trace(network, shape)) / count_macs(gs.trace(slim, shape))
        steps, times = [trainer(masked), trainer(slim)], ([], [])
        for number, batch in enumerate(batches(23, shape, 10)):
            for step, taken in zip(steps, times):
                start = time.perf_counter()
                step(*batch).asnumpy()
                if number >= 3:
                    taken.append(time.perf_counter() - start)
        speedup = statistics.median(times[0]) / statistics.median(times[1])
        assert ratio > 3
        assert speedup >= 0.8 * ratio
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
