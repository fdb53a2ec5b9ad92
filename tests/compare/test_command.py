"""``golden-stick compare`` in an empty folder."""
import json
import shlex

import mindspore as ms
import pytest

from golden_stick import cli
from golden_stick.compare import Comparison, result

LINE = "compare --network tests.compare.problem:build --inputs 1,2,6,6 --data tests.compare.problem:splits " \
    "--criteria taylor --target-macs 0.6 --epochs 1 --seeds 1 --calibration-batches 1 --output kept"
FILE = "from tests.compare.problem import build, images, splits, two_splits\n\n\ndef three():\n    return 3\n\n\n" \
    "def held_out():\n    return images(9, 2)\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, request):
    """A working directory with one file. Figures are drawn once."""
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    if "everything" not in request.node.name:
        monkeypatch.setattr(result, "draw", lambda comparison, path: None)
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield tmp_path
    ms.set_context(mode=before)


def run(line):
    return cli.main(shlex.split(line.replace("tests.compare.problem", "mine.py")))


def test_everything_is_written_and_said(folder, capsys):
    assert run(LINE) == 0
    said = capsys.readouterr().out
    kept = {path.name for path in (folder / "kept").iterdir()}
    assert kept == {"comparison.json", "comparison.md", "comparison.svg", "comparison.png", "networks"}
    found = Comparison.from_dict(json.loads((folder / "kept" / "comparison.json").read_text()))
    assert [item.criterion for item in found.trials] == ["unpruned", "taylor", "random"]
    assert str(found) in said and "taylor, seed 0, budget: validation" in said and "fine-tuned" in said
    assert found.data["test"]["images"] == 24 and found.base["test"] is not None
    assert run(LINE) == 0 and "seed 0, budget" not in capsys.readouterr().out


def test_without_a_test_split_or_epochs_and_with_all_options(folder, capsys):
    line = LINE.replace("splits", "two_splits").replace("--criteria taylor", "--criteria random").replace(
        "--epochs 1", "--epochs 0 --rates 0.2 --turn-steps 1 --knockoff-steps 2 --knockoff-learning-rate 0.1")
    assert run(line) == 0
    found = Comparison.from_dict(json.loads((folder / "kept" / "comparison.json").read_text()))
    assert "scales_data" not in found.config
    assert found.config["scop"] == {"turn_steps": 1} and found.config["knockoff_steps"] == 2
    assert found.data["test"] is None and set(found.curves()) == {"random"}
    assert "random, seed 0, rate 0.2: validation" in capsys.readouterr().out


def test_the_scales_have_data_of_their_own(folder):
    line = LINE.replace("--criteria taylor", "--criteria scop --scales-data mine.py:held_out --turn-steps 1").replace(
        "--epochs 1", "--epochs 0 --knockoff-steps 2")
    assert run(line) == 0
    found = Comparison.from_dict(json.loads((folder / "kept" / "comparison.json").read_text()))
    assert found.config["scop"] == {"turn_steps": 1, "held_out": True} and found.config["scales_data"]


def test_the_budgets_of_prune_are_there(folder):
    line = LINE.replace("--criteria taylor", "--criteria l1").replace(
        "--target-macs 0.6", "--prune-rate '{\"*\": 0.7}'").replace(
        "--epochs 1", "--epochs 0 --max-rate 0.5 --round-to 3 --round nearest --reduction max")
    assert run(line) == 0
    found = Comparison.from_dict(json.loads((folder / "kept" / "comparison.json").read_text()))
    assert found.config["budget"] == {"prune_rate": {"*": 0.7}, "max_rate": 0.5, "round_to": 3, "round": "nearest",
                                      "reduction": "max"}
    assert "NOT reached: l1 at the budget (seeds 0)" in str(found) and "held back by 'max_rate'" in str(found)


def test_what_stands_for_nothing_is_not_written(folder):
    assert run(LINE.replace("--criteria taylor", "--criteria l1").replace("--epochs 1", "--epochs 0")) == 0
    record = json.loads((folder / "kept" / "comparison.json").read_text())
    assert record["config"]["budget"] == {"target_macs": 0.6}


@pytest.mark.parametrize("change, message", [
    (("--target-macs 0.6", "--target-macs 1.6"), "'--target-macs' must be in (0, 1)"),
    (("--target-macs 0.6", "--target-latency 1.5"), "'--target-latency' must be in (0, 1)"),
    (("problem:splits", "problem:three"), "'--data' must name a factory that returns (train, validation)"),
    (("problem:splits", "problem:absent"), "'--data' must name a factory"),
    (("--epochs 1", "--rates 0.2;0.4"), "must be numbers separated by commas"),
    (("--epochs 1", "--scales-data mine.py:none"), "'--scales-data' must name a factory"),
    (("--epochs 1", "--loss mine.py:none"), "'--loss' must name a factory"),
])
def test_wrong_options(change, message, folder, capsys):
    assert run(LINE.replace(*change)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (folder / "kept").exists()
