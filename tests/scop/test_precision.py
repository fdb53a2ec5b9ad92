"""The knockoff phase in float16: `to_float`, and MindSpore's automatic mixed precision by its levels."""
import functools

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, amp, nn, ops

import golden_stick as gs
from golden_stick.scop import FeatureSampler
from tests import networks
from tests.marks import both_modes

IMAGES = np.random.default_rng(0).normal(size=(8, 3, 6, 6)).astype(np.float32)
LABELS = Tensor(np.arange(8) % 3, ms.int32)


class Residual(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a, self.norm_a, self.b = nn.Conv2d(3, 6, 3, has_bias=True), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3)
        self.norm_b, self.head = nn.BatchNorm2d(6), nn.Dense(6, 3)

    def construct(self, x):
        x = ops.relu(self.norm_a(self.a(x)))
        return self.head(ops.relu(self.norm_b(self.b(x)) + x).mean((2, 3)))


def chain():
    return nn.SequentialCell(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.ReLU(),
                             nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dense(5, 3))


def dense():
    return nn.SequentialCell(nn.Flatten(), nn.Dense(108, 8), nn.LayerNorm((8,)), nn.ReLU(), nn.Dense(8, 6), nn.Tanh(),
                             nn.Dense(6, 3))


NETWORKS = {"residual": (Residual, {}), "chain": (chain, {"mixing": "joint"}),
            "dense": (dense, {}), "features": (chain, {"sampler": FeatureSampler([IMAGES])})}


def lowered(phase, level):
    if level == "to_float":
        return phase.to_float(ms.float16)
    return amp.auto_mixed_precision(phase, level)


def scales_of(name, level):
    """What four steps make of the scales, the network that was run, the phase and its algorithm."""
    make, config = NETWORKS[name]
    algorithm = gs.SCOP({"prune_rate": 0.4, "turn_steps": 2, **config})
    phase = algorithm.apply(networks.randomize(make()), inputs=(2, 3, 6, 6))
    used = lowered(phase, level).set_train()
    optimizer, loss = nn.Momentum(phase.trainable_params(), 2.0, 0.9, loss_scale=64.0), nn.CrossEntropyLoss()

    def forward(x, y):
        return 64.0 * loss(used(x).astype(ms.float32), y)

    step = ms.value_and_grad(forward, None, optimizer.parameters)
    for _ in range(4):
        optimizer(step(Tensor(IMAGES), LABELS)[1])
        algorithm.after_step()
    scales = np.concatenate([item.asnumpy() for key, item in algorithm._held.items() if key.endswith("real_scale")])
    return scales, used, phase, algorithm


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """MindSpore writes the networks that it rewrites into the working directory."""
    monkeypatch.chdir(tmp_path)


@functools.lru_cache(maxsize=None)
def exact(name):
    """Scales in float32."""
    return scales_of(name, "O0")[0]


@pytest.mark.parametrize("mode, name, level", both_modes([
    ("residual", "O1"), ("residual", "O2"), ("residual", "O3"), ("residual", "auto"), ("residual", "to_float"),
    ("chain", "O1"), ("chain", "O2"), ("chain", "to_float"), ("dense", "O1"), ("dense", "O3"), ("features", "O2"),
    ("features", "to_float")], [("residual", "O2")], [
    ("residual", "O1"), ("chain", "to_float"), ("dense", "O3"), ("features", "O2")]), indirect=["mode"])
def test_scales_are_those_of_float32_within_roundings(mode, name, level):
    scales, used, phase, algorithm = scales_of(name, level)
    way = np.abs(exact(name) - 0.5).max()
    assert way > 0.05
    np.testing.assert_allclose(scales, exact(name), rtol=0, atol=0.05 * way)
    assert all(item.dtype == ms.float32 for key, item in algorithm._held.items() if key.endswith("scale"))
    given = used.set_train(False)(Tensor(IMAGES)).astype(ms.float32).asnumpy()
    # The slim network is of the original's precision and Cells, and what was evaluated is it but for roundings.
    slim = algorithm.convert(phase)
    assert {type(cell) for _, cell in slim.cells_and_names()} == {
        type(cell) for _, cell in NETWORKS[name][0]().cells_and_names()}
    assert not any(getattr(cell, "fp16", False) for _, cell in slim.cells_and_names())
    found = slim(Tensor(IMAGES)).asnumpy()
    np.testing.assert_allclose(given, found, atol=0.01 * np.abs(found).max())
