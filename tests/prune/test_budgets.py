"""Budgets and criteria from data: the cost that is promised at `apply` is that of the slim network's trace."""
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from tests import networks

SHAPE = networks.SMALL_INPUT


def data():
    generator = np.random.default_rng(0)
    return [(generator.normal(size=(n, 3, 8, 8)).astype(np.float32), generator.integers(0, 4, n).astype(np.int32))
            for n in (4, 3)]


@pytest.mark.parametrize("config", [
    {"criterion": "taylor"}, {"criterion": "hessian"}, {"criterion": "activation"},
    {"criterion": "taylor", "ranking": "global", "target_macs": 0.5},
    {"ranking": "isomorphic", "target_params": 0.5, "residual": "scatter"},
], ids=str)
def test_cost_promised_at_apply_is_that_of_the_slim_network(config):
    algorithm = gs.OneShot(config)
    masked = algorithm.apply(networks.randomize(networks.SmallNet()), SHAPE, data=data(), loss=nn.CrossEntropyLoss())
    promised = algorithm.report
    algorithm.convert(masked)
    done = algorithm.report
    assert (promised.macs_after, promised.parameters_after) == (done.macs_after, done.parameters_after)
    assert done.macs_after < done.macs_before
    assert all(target.met and target.reached <= target.wanted for target in done.targets)
    assert len(done.targets) == sum("target" in key for key in config)
