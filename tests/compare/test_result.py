"""Means, spreads, tables and figures by hand."""
import json
import math
import re
import sys
from dataclasses import replace

import pytest

from golden_stick.base.display import drawn_tables
from golden_stick.base.errors import ArgumentError, DependencyError
from golden_stick.compare import Comparison, Spread, Trial, draw

CONFIG = {"criteria": ["l1", "random"], "budget": {"target_macs": 0.5}, "rates": [0.3], "seeds": [0, 1], "epochs": 1}
BASE = {"macs": 1000, "parameters": 200, "digest": "d", "validation": 0.9, "test": 0.8}
DATA = {"validation": {"images": 400, "digest": "v"}, "test": {"images": 1000, "digest": "t"}}


def trial(criterion, seed, rate, pruned, recovered, finetuned=None, test=None):
    size = (1000, 200) if criterion == "unpruned" else (500, 120)
    return Trial(criterion, seed, rate, *size, pruned, recovered, finetuned, test)


TRIALS = (
    trial("unpruned", 0, None, 0.9, 0.9, 0.92, 0.82), trial("random", 0, 0.3, 0.2, 0.3),
    trial("random", 0, None, 0.1, 0.2, 0.5, 0.95), trial("l1", 0, 0.3, 0.4, 0.5),
    trial("l1", 0, None, 0.3, 0.4, 0.6, 0.5),
    trial("unpruned", 1, None, 0.9, 0.9, 0.94, 0.84), trial("random", 1, 0.3, 0.2, 0.3),
    trial("random", 1, None, 0.1, 0.3, 0.6, 0.95), trial("l1", 1, 0.3, 0.4, 0.5),
    trial("l1", 1, None, 0.3, 0.4, 0.64, 0.5),
)
FOUND = Comparison(CONFIG, BASE, DATA, TRIALS)
TABLE = """\
criterion   MACs left  parameters left        pruned     recovered    fine-tuned          test
as it came      1.000            1.000         90.00                                     80.00
unpruned        1.000            1.000  90.00 ± 0.00  90.00 ± 0.00  93.00 ± 1.41  83.00 ± 1.41
l1              0.500            0.600  30.00 ± 0.00  40.00 ± 0.00  62.00 ± 2.83  50.00 ± 0.00
random          0.500            0.600  10.00 ± 0.00  25.00 ± 7.07  55.00 ± 7.07  95.00 ± 0.00"""


def test_mean_and_standard_deviation():
    spread = Spread.of([0.5, 0.6])
    assert spread.mean == 0.55 and spread.deviation == pytest.approx(math.sqrt(0.005)) and spread.count == 2
    assert Spread.of([0.5]) == Spread(0.5, None, 1) and str(Spread(0.5, None, 1)) == "50.00"
    assert Spread.of([]) is None and Spread.of([0.5, None]) is None


def test_the_table_by_hand_is_in_the_order_of_the_validation_split():
    text = str(FOUND)
    assert text.startswith(f"{TABLE}\n\n")
    assert [item.criterion for item in FOUND.ranked()] == ["l1", "random"]
    assert "mean ± standard deviation over 2 seeds" in text
    assert "standard error of one accuracy of 62.00 on them is 2.43 points" in text
    assert "Test split: 1,000 images, taken once, after the last epoch; nothing was chosen by it." in text


def test_a_terminal_draws_the_table(monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    with drawn_tables():
        drawn = str(FOUND).splitlines()
    rule = next(at for at, line in enumerate(drawn) if "───" in line)
    assert [line.split()[0] for line in drawn[rule + 1:rule + 5]] == ["as", "unpruned", "l1", "random"]


def test_the_page_has_both_tables_and_what_was_asked_for():
    page = FOUND.to_markdown()
    assert "| l1 | 0.500 | 0.600 | 30.00 ± 0.00 | 40.00 ± 0.00 | 62.00 ± 2.83 | 50.00 ± 0.00 |" in page
    assert "| criterion | rate 0.3 |\n|---|---:|\n| random | 20.00 ± 0.00 |\n| l1 | 40.00 ± 0.00 |" in page
    assert f"`{json.dumps(CONFIG)}`" in page


def test_one_seed_without_test_split_curves_and_epochs():
    trials = (trial("random", 0, None, 0.1, 0.2), trial("l1", 0, None, 0.3, 0.4))
    found = Comparison({**CONFIG, "seeds": [0], "rates": [], "epochs": 0}, {**BASE, "test": None},
                       {**DATA, "test": None}, trials)
    assert "one seed: nothing is known about the spread" in str(found) and "Test split" not in str(found)
    assert "One shot" not in found.to_markdown() and "±" not in str(found)
    assert [item.criterion for item in found.ranked()] == ["l1", "random"]


def test_notes_and_missed_budgets_stand_on_the_page():
    trials = tuple(
        replace(item, met=item.seed == 0 or item.prune_rate is not None,
                notes=("mixed", f"correlation 0.{item.seed}") if item.criterion == "l1" else ())
        if item.criterion != "unpruned" else item for item in TRIALS)
    found = Comparison(CONFIG, BASE, DATA, trials)
    told = ["l1, seeds 0, 1: mixed", "l1, seed 0: correlation 0.0", "l1, seed 1: correlation 0.1"]
    assert str(found).splitlines()[-3:] == told
    assert "What the reports say, at the budget:\n\n* " + "\n* ".join(told) + "\n\nOne shot" in found.to_markdown()
    missed = "NOT reached: random at the budget (seeds 1); l1 at the budget (seeds 1)."
    assert missed in str(found) and missed in found.to_markdown() and "NOT reached" not in str(FOUND)
    again = Comparison.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found and str(again) == str(found)


def test_json_there_and_back():
    record = json.loads(json.dumps(FOUND.to_dict()))
    again = Comparison.from_dict(record)
    assert again == FOUND and again.to_dict() == FOUND.to_dict()
    at_budget = next(item for item in record["summary"] if item["criterion"] == "random" and not item["prune_rate"])
    assert at_budget["finetuned"] == {"mean": 0.55, "deviation": pytest.approx(0.0707, abs=1e-4), "count": 2}


@pytest.mark.parametrize("kind, begin", [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_every_format(tmp_path, kind, begin):
    path = tmp_path / f"figure.{kind}"
    draw(FOUND, str(path))
    assert path.read_bytes().startswith(begin)


def test_the_figure_names_every_criterion_and_is_always_the_same(tmp_path):
    import matplotlib
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        for name in ("one.svg", "two.svg"):
            draw(FOUND, str(tmp_path / name))
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    lines = re.sub(r"<[^>]+>", "\n", text).splitlines()
    for word in ("unpruned", "l1", "random", "fine-tuned", "at the budget: target_macs 0.5; seeds: 2"):
        assert any(line.strip() == word for line in lines), word


def test_other_formats_and_a_missing_matplotlib(tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match="the figure must be a file of one of the kinds svg, png, pdf, but got"):
        draw(FOUND, str(tmp_path / "figure.gif"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DependencyError, match="the figure needs matplotlib, which must be installed, but is not"):
        draw(FOUND, str(tmp_path / "figure.svg"))
