"""The simulation of certificates: what it wrote is what the page shows, and keeps what is promised."""
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="simulation", scope="module")
def fixture_simulation():
    path = ROOT / "benchmarks" / "simulations" / "certificate.py"
    place = importlib.util.spec_from_file_location("certificate", path)
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


@pytest.fixture(name="record", scope="module")
def fixture_record():
    return json.loads((ROOT / "benchmarks" / "simulations" / "certificate.json").read_text())


def test_the_page_shows_the_record(simulation, record):
    text = (ROOT / "docs" / "certificates.md").read_text(encoding="utf-8")
    assert text.split(simulation.MARKS[0])[1].split(simulation.MARKS[1])[0] == f"\n{simulation.page(record)}\n"


def test_certificates_are_wrong_no_more_often_than_promised(record):
    for row in (*record["boundary"], record["sequence"]):
        assert row["runs"] >= 500 and row["share"] <= 0.1 + 3 * row["error"]
        assert row.get("exact", 0) <= 0.1
    assert (record["used_data"]["missed"], record["used_data"]["invented"]) == (0, 0)


def test_a_short_run_gives_the_same_shares(simulation, record):
    images, discordance = simulation.BOUNDARY[0]
    lost, gained = simulation.draw(np.random.default_rng(1), 4000, images, discordance, simulation.BOUND)
    wrong = [one <= simulation.critical(images, one + other) for one, other in zip(lost.tolist(), gained.tolist())]
    assert np.mean(wrong) == pytest.approx(record["boundary"][0]["exact"], abs=0.02)
