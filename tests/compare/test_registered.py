"""Criteria and algorithms that were added stand beside those of golden_stick."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError
from golden_stick.comp_algo import ALGORITHMS, Applied
from golden_stick.compare import result
from golden_stick.criteria import CRITERIA
from tests.compare.problem import SHAPE, build, splits


class Rehearsed(gs.CompAlgo):
    """A factor on the outputs is trained; convert takes it away, and prunes by a criterion that the seed may choose."""

    options = {key: gs.OneShot.options[key] for key in ("prune_rate", "seed")}
    trains_phase = True
    steps, loaded = 0, []

    def apply(self, network, inputs=None):
        self.network, phase = network, Scaled(network)
        self.applied = Applied(phase, inputs)
        return phase

    def after_step(self):
        Rehearsed.steps += 1

    def convert(self, net_opt, ckpt_path=""):
        Rehearsed.loaded.append(float(ms.load_checkpoint(ckpt_path)["factor"].asnumpy()))
        inner = gs.OneShot({"criterion": "random", **self.settings})
        slim = inner.convert(inner.apply(self.network, self.applied.inputs))
        if self.settings["prune_rate"] == 0.5:
            self.report = f"factor {Rehearsed.loaded[-1]:.2f}"
        return slim


class Scaled(nn.Cell):
    """The outputs times a number, which alone is trained."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network, self.factor = network, ms.Parameter(ms.Tensor(1.0, ms.float32), name="factor")

    def trainable_params(self, recurse=True):
        return [self.factor]

    def construct(self, x):
        return self.factor * self.network(x)


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    """What is added here is taken away."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    monkeypatch.setattr(result, "draw", lambda comparison, path: None)
    gs.add_algorithm("rehearsed", Rehearsed)
    gs.add_criterion("largest", lambda layer: np.abs(layer.weight).max(axis=1))
    yield
    del ALGORITHMS["rehearsed"], CRITERIA["largest"]
    ms.set_context(mode=before)


def compare(criteria, **keys):
    train, validation, test = splits()
    return gs.compare(build(), SHAPE, criteria, {"prune_rate": 0.5}, train, validation, test, epochs=1, seeds=[1],
                      calibration_batches=1, **keys)


def test_an_algorithm_and_a_criterion_of_ones_own_are_compared(tmp_path):
    found = compare(["rehearsed", "largest"], rates=(0.25,), knockoff_steps=3, folder=str(tmp_path))
    assert [(trial.criterion, trial.prune_rate) for trial in found.trials] == [
        ("unpruned", None), ("rehearsed", 0.25), ("rehearsed", None), ("largest", 0.25), ("largest", None),
        ("random", 0.25), ("random", None)]
    # Trained once, on the calibration batch, and converted at each rate.
    assert Rehearsed.steps == 3 and len(Rehearsed.loaded) == 2 and len(set(Rehearsed.loaded) | {1.0}) == 2
    trials = {(trial.criterion, trial.prune_rate): trial for trial in found.trials}
    mine, control = trials["rehearsed", None], trials["random", None]
    assert mine.notes == (f"factor {Rehearsed.loaded[0]:.2f}",) and not mine.widths and mine.met is None
    assert trials["rehearsed", 0.25].notes == ()
    # The same filters as the control's: the seed was passed on, and sizes are counted where no report says them.
    same = ("macs", "parameters", "pruned", "recovered", "finetuned", "test")
    assert [getattr(mine, key) for key in same] == [getattr(control, key) for key in same]
    assert found.ranked()[0].criterion in ("rehearsed", "largest", "random") and len(found.ranked()) == 3


def test_its_name_is_among_those_that_are_known():
    with pytest.raises(ArgumentError, match="must be one of l1, .*, largest, .*rehearsed.*did you mean 'rehearsed'"):
        compare(["rehearse"])
    with pytest.raises(ArgumentError, match="'config' has an unknown key 'round_to'"):
        train, validation, _ = splits()
        gs.compare(build(), SHAPE, ["rehearsed"], {"prune_rate": 0.5, "round_to": 2}, train, validation)
