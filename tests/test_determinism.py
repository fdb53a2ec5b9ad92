"""The same seed gives the same numbers, bit for bit: twice in a process, and in another process."""
import hashlib
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.scop import FeatureSampler, GeneratorSampler
from tests import networks
from tests.marks import quick

SHAPE = networks.SMALL_INPUT


class Generator(nn.Cell):
    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(4, int(np.prod(SHAPE[1:])), weight_init="ones")

    def construct(self, z):
        return self.dense(z).reshape((-1, *SHAPE[1:]))


def batch(seed, count=6):
    generator = np.random.default_rng(seed)
    return (Tensor(generator.normal(size=(count, *SHAPE[1:])).astype(np.float32)),
            Tensor(generator.integers(0, 4, count).astype(np.int32)))


def arrays(*cells):
    return {f"{number} {parameter.name}": parameter.asnumpy() for number, cell in enumerate(cells)
            for parameter in cell.get_parameters()}


def knockoff_phase(sampler):
    """A phase of six steps, and what it left."""
    ms.set_seed(3)
    algorithm = gs.SCOP({"turn_steps": 1, "sampler": sampler})
    phase = algorithm.apply(networks.randomize(networks.SmallNet()), inputs=SHAPE)
    loss = nn.WithLossCell(phase, nn.CrossEntropyLoss())
    step = nn.TrainOneStepCell(loss, nn.Adam(phase.trainable_params(), 0.1)).set_train()
    for seed in range(6):
        step(*batch(seed))
        algorithm.after_step()
    return arrays(phase, algorithm.convert(phase))


def by_criterion(criterion):
    """What stays, and the scores that decided it."""
    algorithm = gs.OneShot({"criterion": criterion, "prune_rate": 0.5})
    applied = algorithm.apply(networks.randomize(networks.SmallNet()), inputs=SHAPE,
                              data=[batch(seed) for seed in range(3)], loss=nn.CrossEntropyLoss())
    return {**arrays(applied, algorithm.convert(applied)), **algorithm.applied.selection.importance}


def same(one, two):
    assert set(one) == set(two)
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name], err_msg=name)


@pytest.mark.parametrize("make", [
    lambda: FeatureSampler([batch(9, 40)[0]], seed=2), lambda: GeneratorSampler(Generator(), 4, 2)],
    ids=["feature", "generator"])
def test_a_phase_twice_with_one_sampler(make):
    sampler = make()
    same(knockoff_phase(sampler), knockoff_phase(sampler))


@pytest.mark.parametrize("criterion", quick(["taylor", "hessian", "activation", "reconstruction"],
                                            ["hessian", "reconstruction"]))
def test_a_criterion_twice(criterion):
    same(by_criterion(criterion), by_criterion(criterion))


def digest():
    """Of a phase and a pruning by a criterion."""
    found = hashlib.sha256()
    for values in (knockoff_phase(FeatureSampler([batch(9, 40)[0]], seed=2)), by_criterion("taylor")):
        for name, array in values.items():
            found.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@pytest.mark.long
def test_another_process_gives_the_same():
    """Hashes of strings, and so orders of sets, differ between them."""
    line = "from tests.test_determinism import digest; print(digest())"
    found = subprocess.run([sys.executable, "-c", line], cwd=Path(__file__).parents[1], capture_output=True, text=True,
                           check=True)
    assert found.stdout.split()[-1] == digest()
