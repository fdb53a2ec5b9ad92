"""Comparisons of criteria: equal terms for all, the test images once, the same twice."""
import json
from dataclasses import replace

import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.compare import ComparisonData, ComparisonSettings, CriteriaComparison, Trial
from golden_stick.errors import ArgumentError, ArgumentTypeError, CheckpointError
from tests import networks

SHAPE = networks.SMALL_INPUT
SETTINGS = ComparisonSettings(("scop",), {"target_macs": 0.6}, rates=(0.5,), seeds=(0,), scop_steps=3,
                              scop={"turn_steps": 1}, look=1, calibration=1)


def images(count, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count).astype(np.int32)
    return (generator.normal(size=(count, *SHAPE[1:])) + labels[:, None, None, None]).astype(np.float32), labels


class Data:
    """Counts who asks for what."""

    def __init__(self, test=True):
        self.asked = []
        self.sets = ComparisonData(self.train, lambda: self.give("validation"),
                                   (lambda: self.give("test")) if test else None)

    def train(self, seed):
        self.asked.append(seed)
        return [images(8, 100 + seed + number) for number in range(2)]

    def give(self, name):
        self.asked.append(name)
        return [images(16, len(name))]


def run(data=None, settings=SETTINGS, **given):
    return gs.compare(networks.randomize(networks.SmallNet()), SHAPE, (data or Data()).sets, settings, **given)


def test_a_comparison_is_the_same_twice_and_the_test_images_are_asked_for_once():
    data = Data()
    first, second = run(data), run()
    assert first == second
    assert data.asked.count("test") == 1 and data.asked[-1] == "test"
    assert [(trial.criterion, trial.seed) for trial in first.trials] == [
        (name, seed) for name in ("scop", "random") for seed in (0,)]
    assert all(trial.macs <= 0.6 and trial.test is not None for trial in first.trials)
    # What is fine-tuned on is the same for all with a seed: one epoch, in the order of that seed; the knockoff phase takes a second.
    assert {order for order in data.asked if isinstance(order, int)} == {0, 1000}


def test_a_run_that_was_stopped_goes_on():
    told, settings = [], replace(SETTINGS, criteria=("l1",), rates=())
    whole = run(Data(test=False), settings, on_trial=told.append)
    assert tuple(told) == whole.trials and whole.original_test is None
    again = []
    assert run(Data(test=False), settings, done=told[:1], on_trial=again.append) == whole
    assert again == told[1:]


COMPARISON = CriteriaComparison({"rates": [0.5], "seeds": [0, 1], "budget": {"target_macs": 0.5}, "epochs": 3}, 0.9, (
    Trial("l1", 0, 0.5, 0.4, 0.1, 0.5, 0.8, ((0.2, 0.3),), 0.7),
    Trial("l1", 1, 0.5, 0.4, 0.3, 0.6, 0.6, ((0.4, 0.5),), 0.5)), 0.85)


def test_the_table_holds_means_and_deviations():
    text = str(COMPARISON)
    assert "| l1 | 0.5000 ± 0.0000 | 0.2000 ± 0.1000 | 0.5500 ± 0.0500 | 0.7000 ± 0.1000 | 0.6000 ± 0.1000 | " \
           "0.4000 ± 0.1000 |" in text
    assert "| criterion | MACs left | one-shot | calibrated | fine-tuned | test | 50% removed |" in text
    assert "Original: 0.9000 of the validation images right, 0.8500 of the test images" in text
    assert "over 2 seeds" in text and "3 epochs" in text
    trials = tuple(replace(trial, test=None) for trial in COMPARISON.trials)
    without = replace(COMPARISON, trials=trials, original_test=None)
    assert "| test |" not in str(without)


def test_files(tmp_path):
    path = COMPARISON.save(str(tmp_path / "comparison.json"))
    assert CriteriaComparison.load(path) == COMPARISON
    assert json.loads((tmp_path / "comparison.json").read_text())["trials"][0]["criterion"] == "l1"
    assert COMPARISON.draw(str(tmp_path / "comparison.svg")).endswith("comparison.svg")
    assert (tmp_path / "comparison.svg").stat().st_size > 1000
    (tmp_path / "other.json").write_text('{"kind": "x"}')
    for name in ("other.json", "nowhere.json"):
        with pytest.raises(CheckpointError, match="must be a comparison that 'save' wrote, but it is not"):
            CriteriaComparison.load(str(tmp_path / name))


def test_refusals(monkeypatch):
    with pytest.raises(ArgumentError, match="For 'compare', 'criteria' must be one of 'l1', .* but got 'l3'"):
        ComparisonSettings(("l3",), {})
    with pytest.raises(ArgumentError, match="'criteria' and 'seeds' must name at least one each, but one is empty"):
        ComparisonSettings((), {})
    with pytest.raises(ArgumentError, match=r"'rates' must be in \(0, 1\), but got 0"):
        ComparisonSettings(("l1",), {}, rates=(0.0,))
    with pytest.raises(ArgumentError, match="'epochs' must be a whole number of at least 1, but got 0"):
        ComparisonSettings(("l1",), {}, epochs=0)
    with pytest.raises(ArgumentTypeError, match="'train' must be a function that gives batches, but got list"):
        ComparisonData([], lambda: [])
    with pytest.raises(ArgumentTypeError, match="'network' must be an object of class Cell, but got int"):
        gs.compare(3, SHAPE, Data().sets, SETTINGS)
    with pytest.raises(ArgumentTypeError, match="'settings' must be an object of class ComparisonSettings, but"):
        gs.compare(nn.ReLU(), SHAPE, Data().sets, {})
    with pytest.raises(ArgumentError, match="must come without test images where 'done' has trials, whose networks"):
        run(done=COMPARISON.trials)
    with pytest.raises(ArgumentError, match="every set of 'data' must hold images, but one gives no batch"):
        gs.compare(networks.SmallNet(), SHAPE, ComparisonData(Data().train, lambda: []), SETTINGS)


def test_drawing_needs_matplotlib(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(gs.errors.DependencyError, match="the package matplotlib must be there to draw"):
        COMPARISON.draw(str(tmp_path / "x.svg"))
