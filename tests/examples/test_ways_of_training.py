"""The examples of training run, at toy size; and graph mode gives the plan that PyNative mode gives."""
import importlib
import json
import sys

import pytest

from golden_stick.cells.slim import recipe_of
from golden_stick.graph.plan import PruningPlan
from tests.examples.conftest import EXAMPLES
from tests.marks import quick

FOLDER = EXAMPLES / "training"
WAYS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "digits")
# Where two epochs are too few: each of three blocks of SCOP has a turn of four batches.
EPOCHS = {"gradient_accumulation": 4}


@pytest.fixture(autouse=True)
def beside(tmp_path, monkeypatch):
    """The examples find their helper in their folder, and write where they stand."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.chdir(tmp_path)


def made(name, mode, *more):
    """The slim network of an example."""
    return importlib.import_module(name).main(
        ["--mode", mode, "--epochs", str(EPOCHS.get(name, 2)), "--images", "192", *more])


def plan_of(network):
    return next(step for step in recipe_of(network).steps if isinstance(step, PruningPlan))


@pytest.mark.parametrize("name", quick(WAYS, ["early_stopping", "mixed_precision", "weight_averages"]))
def test_every_example_runs(name, capsys):
    plan = plan_of(made(name, "pynative"))
    assert any(layer.after < layer.before for layer in plan.layers)
    assert " before, " in capsys.readouterr().out
    sys.modules.pop(name)


@pytest.mark.long
@pytest.mark.parametrize("name", WAYS)
def test_both_modes_give_the_same_plan(name):
    axes = [plan_of(made(name, mode)).axes for mode in ("pynative", "graph")]
    assert axes[0] == axes[1]
    sys.modules.pop(name)


@pytest.mark.long
@pytest.mark.parametrize("level", ["O1", "O3"])
def test_other_levels_of_mixed_precision(level, capsys):
    made("mixed_precision", "pynative", "--level", level)
    assert f"{level}: test accuracy" in capsys.readouterr().out


@pytest.mark.long
def test_the_notebook_draws(monkeypatch):
    """Its code, cell after cell, as a notebook runs it; every cell after the first leaves a picture."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    monkeypatch.setattr(plt, "show", lambda: None)
    digits = importlib.import_module("digits")
    toy, parse = ["--mode", "pynative", "--epochs", "2", "--images", "192"], digits.parse
    monkeypatch.setattr(digits, "parse", lambda about, arguments: parse(about, toy))
    book = json.loads((FOLDER / "pictures.ipynb").read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    known = {}
    for number, cell in enumerate(cell for cell in book["cells"] if cell["cell_type"] == "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None
        exec(compile("".join(cell["source"]), f"pictures.ipynb, cell {number}", "exec"), known)
        assert bool(plt.get_fignums()) == (number > 0)
        plt.close("all")
