"""Comparisons: everything alike for all criteria, the test split once, the same result for the same seeds."""
import importlib
import json
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, DependencyError, StateError
from golden_stick.base.files import network_digest
from golden_stick.compare import compare as compare_again
from golden_stick.compare.training import TrainingBatches, digest_of_batches
from golden_stick.compare.training import train as train_all
from tests.compare.problem import SHAPE, build, images, splits, unwarned

BUDGET = {"target_macs": 0.6}
ASKED = {"rates": (0.25,), "seeds": 2, "calibration_batches": 2, "knockoff_steps": 2, "scop": {"turn_steps": 1},
         "learning_rate": 0.05, "knockoff_learning_rate": 0.1}


class Counted:
    """Batches that count how often they are gone through, and tell who asked last."""

    def __init__(self, batches, order=None):
        self.batches, self.passes, self.order = batches, 0, order if order is not None else []

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        self.passes += 1
        self.order.append(self)
        return iter(self.batches)


@pytest.fixture(scope="module", autouse=True)
def pynative_mode():
    """Nothing to compile: one test below says that graph mode gives the same."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)


@pytest.fixture(scope="module", name="ran")
def fixture_ran(tmp_path_factory):
    """A comparison with everything, and what happened meanwhile."""
    train, validation, test = splits()
    order, opened, seen = [], [], []
    counted = {"validation": Counted(validation, order), "test": Counted(test, order)}

    def training(seed):
        opened.append(seed)
        return [train[index] for index in np.random.default_rng(seed).permutation(len(train))]

    net, folder = build(), tmp_path_factory.mktemp("compare") / "kept"
    before, optimizer = network_digest(net), nn.SGD(net.trainable_params())
    with unwarned():
        found = gs.compare(net, SHAPE, ["scop"], BUDGET, training, counted["validation"], counted["test"],
                           folder=str(folder), on_trial=seen.append, **ASKED)
    assert optimizer.parameters[0] is net.trainable_params()[0]  # it was alive
    return {"found": found, "net": net, "before": before, "folder": folder, "opened": opened, "seen": seen,
            "training": training, **counted, "order": order}


def test_every_criterion_seed_and_rate_has_a_trial_and_the_controls_are_there(ran):
    kinds = [(item.criterion, item.seed, item.prune_rate) for item in ran["found"].trials]
    assert kinds == [kind for seed in (0, 1) for kind in
                     [("unpruned", seed, None)] + [(name, seed, rate) for name in ("scop", "random")
                                                   for rate in (0.25, None)]]
    assert [item.criterion for item in ran["seen"]] == [kind[0] for kind in kinds]
    assert network_digest(ran["net"]) == ran["before"]


def test_all_get_one_budget_and_the_same_batches(ran):
    trials = ran["found"].trials
    for seed in (0, 1):
        of_seed = [item for item in trials if item.seed == seed]
        assert len({item.calibrated_on for item in of_seed}) == 1 and of_seed[0].calibrated_on
        assert len({item.finetuned_on for item in of_seed if item.finetuned is not None}) == 1
    at_budget = {(item.macs, item.parameters) for item in trials
                 if item.prune_rate is None and item.criterion != "unpruned"}
    assert len(at_budget) == 1 and at_budget.pop()[0] <= 0.6 * ran["found"].base["macs"]
    # One rate for all groups: the criteria differ in which filters go, and in nothing else.
    widths = [item.widths for item in trials if item.prune_rate is None and item.criterion != "unpruned"]
    assert widths[0] and all(item == widths[0] for item in widths)
    assert not any(item.widths for item in trials if item.prune_rate is not None or item.criterion == "unpruned")
    assert trials[0].finetuned_on != trials[-1].finetuned_on
    assert set(ran["opened"]) == {0, 1}


def test_the_test_split_is_gone_through_once_and_last(ran):
    assert ran["test"].passes == 1 and ran["order"][-1] is ran["test"]
    for item in ran["found"].trials:
        assert (item.test is None) == (item.prune_rate is not None) == (item.finetuned is None)
    assert ran["found"].data["test"]["images"] == 24 and ran["found"].data["validation"]["images"] == 16


def accuracy(network, batches):
    network.set_train(False)
    right = [network(Tensor(pixels)).asnumpy().argmax(1) == labels for pixels, labels in batches]
    return np.concatenate(right).mean()


def test_the_numbers_are_those_of_the_steps_by_hand(ran):
    """The criterion random with seed 1, step by step without `compare`."""
    train, validation, test = splits()
    order = ran["training"](1)
    algorithm = gs.OneShot({"criterion": "random", "seed": 1, **BUDGET})
    slim = algorithm.convert(algorithm.apply(build(), SHAPE))
    pruned = accuracy(slim, validation)
    again = gs.OneShot({"criterion": "random", "seed": 1, **BUDGET})
    slim = again.convert(again.apply(build(), SHAPE), calibration_data=order[:2])
    recovered = accuracy(slim, validation)
    rates = [0.05 * 0.5 * (1 + np.cos(np.pi * step / 3)) for step in range(3)]
    groups = [{"params": [item for item in slim.trainable_params() if item.ndim > 1], "weight_decay": 5e-4},
              {"params": [item for item in slim.trainable_params() if item.ndim == 1], "weight_decay": 0.0}]
    step = nn.TrainOneStepCell(nn.WithLossCell(slim, nn.CrossEntropyLoss()),
                               nn.Momentum(groups, [float(np.float32(rate)) for rate in rates], 0.9, use_nesterov=True))
    step.set_train()
    for pixels, labels in order:
        step(Tensor(pixels), Tensor(labels))
    (trial,) = [item for item in ran["found"].trials
                if (item.criterion, item.seed, item.prune_rate) == ("random", 1, None)]
    assert (trial.pruned, trial.recovered) == (pruned, recovered)
    assert (trial.finetuned, trial.test) == (accuracy(slim, validation), accuracy(slim, test))
    (kept,) = [path for path in (ran["folder"] / "networks").iterdir() if path.name == "random-seed1.safetensors"]
    loaded = gs.load_slim(build(), str(kept))
    for one, other in zip(loaded.get_parameters(), slim.get_parameters()):
        np.testing.assert_array_equal(one.asnumpy(), other.asnumpy())


def test_the_folder_holds_everything_and_a_second_call_runs_nothing(ran):
    names = {path.name for path in ran["folder"].iterdir()}
    assert names == {"comparison.json", "comparison.md", "comparison.svg", "comparison.png", "networks"}
    record = json.loads((ran["folder"] / "comparison.json").read_text())
    assert record["complete"] and record["trials"] == ran["found"].to_dict()["trials"]
    assert (ran["folder"] / "comparison.md").read_text() == ran["found"].to_markdown()
    opened = len(ran["opened"])
    again = call(ran, ran["folder"])
    assert again.trials == ran["found"].trials and str(again) == str(ran["found"])
    assert ran["test"].passes == 1 and len(ran["opened"]) == opened


def call(ran, folder=None, **changed):
    return compare_again(ran["net"], SHAPE, ["scop"], BUDGET, ran["training"], ran["validation"],
                         ran["test"], folder=folder and str(folder), **{**ASKED, **changed})


def test_another_comparison_is_refused_in_the_same_folder(ran):
    with pytest.raises(StateError, match="must be new or hold the same comparison, but .* has another 'config'"):
        call(ran, ran["folder"], learning_rate=0.06)


def test_an_interrupted_comparison_goes_on_bit_for_bit(ran, tmp_path):
    """Also what makes the result that of its seeds: part of it is made anew, and equals the first to the last bit."""
    record = json.loads((ran["folder"] / "comparison.json").read_text())
    (tmp_path / "networks").mkdir()
    for path in (ran["folder"] / "networks").iterdir():
        if "seed0" in path.name or "unpruned" in path.name:
            (tmp_path / "networks" / path.name).write_bytes(path.read_bytes())
    record["trials"] = [{**item, "test": None} for item in record["trials"]
                        if item["seed"] == 0 or item["criterion"] == "unpruned"]
    record.update(complete=False, base={**record["base"], "test": None}, data={**record["data"], "test": None})
    (tmp_path / "comparison.json").write_text(json.dumps(record))
    seen = []
    again = call(ran, tmp_path, on_trial=seen.append)
    assert {item.seed for item in seen} == {1} and len(seen) == 4
    assert again.to_dict() == ran["found"].to_dict()
    for name in ("comparison.md", "comparison.svg"):
        assert (tmp_path / name).read_bytes() == (ran["folder"] / name).read_bytes()
    for path in (ran["folder"] / "networks").glob("scop-*"):
        one, other = (gs.load_slim(build(), str(place / path.name)) for place in
                      (ran["folder"] / "networks", tmp_path / "networks"))
        assert network_digest(one) == network_digest(other)


def test_scops_reports_are_kept(ran):
    for item in ran["found"].trials:
        assert item.met is (None if item.criterion == "unpruned" else True)
        for said in ("rank correlation of the scores with |gamma|", "above 0.99, where scores are no more than |gamma|",
                     "mixing: blocks, 2 in turns of 1 step", "may have trained the weights: 'held_out' is not set"):
            assert any(said in note for note in item.notes) == (item.criterion == "scop")
    for text in (str(ran["found"]), (ran["folder"] / "comparison.md").read_text()):
        assert "scop, seeds 0, 1: scales trained on data that may" in text and "rank correlation of the scores" in text


def test_a_budget_out_of_reach_is_told(tmp_path):
    found = small(budget={"prune_rate": 0.5, "round_to": 64})
    assert [item.met for item in found.trials] == [None, False]
    assert "NOT reached: random at the budget (seeds 0)." in str(found)
    assert "random, seed 0: prune_rate 0.5 is not reached, held back by 'round_to': first, second" in str(found)


def test_a_folder_of_something_else_or_with_a_network_missing(ran, tmp_path):
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(CheckpointError, match="must be a comparison that was begun here, but it is"):
        call(ran, tmp_path)
    record = json.loads((ran["folder"] / "comparison.json").read_text())
    (tmp_path / "comparison.json").write_text(json.dumps({**record, "complete": False}))
    with pytest.raises(CheckpointError, match="of a trial that was made must be there, but it is missing"):
        call(ran, tmp_path)


def test_what_stands_in_the_way_is_said_at_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="'folder' must be a folder that can be made and written to, but got"):
        small(folder=str(tmp_path / "file"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DependencyError, match="the figure needs matplotlib, which must be installed, but is not"):
        small(folder=str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def small(train=None, validation=None, test=None, network=None, criteria=(), budget=None, **keys):
    keys = {"epochs": 0, "seeds": 1, "calibration_batches": 1, **keys}
    return gs.compare(network or build(), SHAPE, criteria, {"prune_rate": 0.5} if budget is None else budget,
                      splits()[0] if train is None else train, splits()[1] if validation is None else validation,
                      test, **keys)


@pytest.mark.parametrize("recovery", ["statistics", "none"])
def test_another_recovery(recovery):
    found = small(recovery=recovery, calibration_batches=len(splits()[0]))
    (trial,) = [item for item in found.trials if item.criterion == "random"]
    algorithm = gs.OneShot({"criterion": "random", "seed": 0, "prune_rate": 0.5})
    slim = algorithm.convert(algorithm.apply(build(), SHAPE), calibration_data=splits()[0], recovery=recovery)
    assert trial.recovered == accuracy(slim, splits()[1]) and (trial.recovered == trial.pruned) == (recovery == "none")


@pytest.mark.parametrize("mode", ["GRAPH"], indirect=True)
def test_without_epochs_and_test_split_in_graph_mode(mode):
    found = small()
    assert [item.criterion for item in found.trials] == ["unpruned", "random"]
    assert all(item.finetuned is None and item.test is None for item in found.trials)
    assert found.base["validation"] == accuracy(build(), splits()[1])
    assert found.trials[0].pruned == found.base["validation"]


def test_scales_are_trained_on_held_out_batches_where_there_are_any(monkeypatch):
    """In an order of each seed's; without them on the calibration batches, and nothing says that they were held out."""
    seen, configs = [], []

    def train(network, batches, *rest):
        batches = list(batches)
        seen.append([labels.tolist() for _, labels in batches])
        return train_all(network, iter(batches), *rest)

    class Watched(gs.SCOP):
        def __init__(self, config):
            super().__init__(config)
            configs.append(self.config["held_out"])

    # By name of the module: what the package shows as `compare` is the function.
    candidates = importlib.import_module("golden_stick.compare.candidates")
    monkeypatch.setattr(candidates, "train", train)
    monkeypatch.setattr(candidates, "ALGORITHMS", {"scop": Watched})
    held_out = images(9, 2)
    asked = {"criteria": ["scop"], "knockoff_steps": 3, "scop": {"turn_steps": 1}, "seeds": [3]}
    found = small(scales_data=held_out, **asked)
    order = np.random.default_rng((3, 0)).permutation(2)
    assert seen == [[held_out[index][1].tolist() for index in [*order, order[0]]]]
    assert set(configs) == {True} and found.config["scop"] == {"turn_steps": 1, "held_out": True}
    assert found.config["scales_data"] == digest_of_batches([held_out[index] for index in order])
    seen.clear()
    configs.clear()
    found = small(**asked)
    (calibration,) = [splits()[0][index][1].tolist() for index in np.random.default_rng((3, 0)).permutation(3)[:1]]
    assert seen == [[calibration] * 3] and set(configs) == {False}
    assert found.config["scop"] == {"turn_steps": 1} and "scales_data" not in found.config


def test_batches_that_change_are_refused():
    calls = []

    def changing(seed):
        calls.append(seed)
        return images(len(calls), 2)

    with pytest.raises(StateError, match="must give the same batches each time for seed 0, but they differ"):
        small(changing)


def test_a_list_has_an_order_from_seed_and_epoch():
    train = splits()[0]
    batches = TrainingBatches(train, 2, 2)
    taken = list(batches.finetuning(3))
    order = [*np.random.default_rng((3, 0)).permutation(3), *np.random.default_rng((3, 1)).permutation(3)]
    assert [labels.tolist() for _, labels in taken] == [train[index][1].tolist() for index in order]
    assert batches.steps(3) == 6
    assert [labels.tolist() for _, labels in batches.calibration(3)] == [train[i][1].tolist() for i in order[:2]]
    other = TrainingBatches(train, 2, 2)
    other.expect(3, **batches.digests(3))
    with pytest.raises(StateError, match="must give the same batches each time"):
        other.expect(3, finetuned_on="0")


def test_a_dataset_can_be_trained_on():
    pixels, labels = splits()[0][0]
    data = ms.dataset.NumpySlicesDataset((pixels, labels), shuffle=False).batch(4)
    found = small(data, epochs=2, learning_rate=0.01)
    assert all(item.finetuned is not None for item in found.trials)


class Endless:
    """Batches without a length."""

    def __iter__(self):
        return iter(splits()[0])


class Pixels(nn.Cell):
    """No classifier: its output has another shape."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 3)

    def construct(self, x):
        return self.last(self.conv(x))


def not_finite():
    network = build()
    network.head.bias.set_data(Tensor(np.array([np.nan, 0.0], np.float32)))
    return network


@pytest.mark.parametrize("keys, error, message", [
    ({"criteria": ["l1", "taylo"]}, ArgumentError, "every criterion must be one of .*did you mean 'taylor'"),
    ({"budget": {}}, ArgumentError, "'budget' must say how much goes, by one of prune_rate, target_macs"),
    ({"budget": {"target_mac": 0.5}}, ArgumentError, "has an unknown key 'target_mac': did you mean 'target_macs'"),
    ({"budget": {"target_macs": 0.5, "target_params": 0.5}}, ArgumentError, "the budget must be one of"),
    ({"criteria": ["scop"], "scop": {"residual": "keep"}}, ArgumentError, "'scop' must hold keys that only SCOP has"),
    ({"criteria": ["scop"], "scop": {"held_out": True}}, ArgumentError, "'scop' must not hold 'held_out', but it does: "
     "give data that the weights have not seen as 'scales_data' instead"),
    ({"criteria": ["scop"], "budget": {"prune_rate": 0.5, "reduction": "norm"}}, ArgumentError,
     "For 'SCOP', 'reduction' must be one of 'mean', 'sum', 'max', but got 'norm'"),
    ({"criteria": ["l1"], "scales_data": [1]}, ArgumentError, "'scales_data' must stand with the criterion 'scop'"),
    ({"criteria": ["scop"], "scales_data": []}, ArgumentError, "'scales_data' must not be empty, but it gave no batch"),
    ({"criteria": ["scop"], "scales_data": iter([])}, ArgumentTypeError, "'scales_data' must be batches that can be "
     "gone through several times"),
    ({"criteria": ["scop"], "knockoff_steps": 1}, ArgumentError, "'knockoff_steps' must be enough for SCOP, but it wa"),
    ({"epochs": -1}, ArgumentError, "'epochs' must be a whole number of at least 0, but got -1"),
    ({"seeds": 0}, ArgumentError, "'seeds' must be a whole number of at least 1"),
    ({"seeds": []}, ArgumentError, "'seeds' must be a number of seeds or hold at least one, but got none"),
    ({"rates": [1.5]}, ArgumentError, r"'rates' must be in \[0, 1\), but got 1.5"),
    ({"loss": 3}, ArgumentTypeError, "'loss' must be something to call, but got int"),
    ({"network": 3}, ArgumentTypeError, "For 'compare', 'network' must be a Cell, but got int"),
    ({"train": []}, ArgumentError, "'train_data' must not be empty, but it gave no batch"),
    ({"train": iter([])}, ArgumentTypeError, "'train_data' must be batches that can be gone through several times"),
    ({"train": Endless(), "epochs": 1}, ArgumentTypeError, "'train_data' must give batches that have a length, but"),
    ({"validation": 3}, ArgumentTypeError, "'validation_data' must be batches of images and labels, but got int"),
    ({"validation": []}, ArgumentError, "'validation_data' must hold at least one image, but got none"),
    ({"network": Pixels()}, ArgumentError, r"the output of 'as it came' must be of shape \(images, classes\), but got"),
    ({"network": not_finite()}, ArgumentError, "the output of 'as it came' must be finite, but some of it"),
    ({"epochs": 1, "learning_rate": 9.0, "loss": lambda outputs, labels: outputs.sum() * float("inf")}, ArgumentError,
     "the loss must stay finite, but it did not at the end of a training"),
])
def test_what_is_refused(keys, error, message):
    with pytest.raises(error, match=message):
        small(**keys)
