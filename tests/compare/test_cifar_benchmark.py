"""The benchmark over criteria: what it takes of a split, and the page that it writes."""
import importlib
import json
import os
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

import golden_stick as gs
from golden_stick.compare import Comparison
from tests.compare.test_result import FOUND

ROOT = Path(gs.__file__).parents[1]


@pytest.fixture(name="cifar")
def fixture_cifar(monkeypatch):
    """Its module; it finds the example's files by itself."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = ms.get_context("mode")
    yield importlib.import_module("cifar_criteria")
    ms.set_context(mode=before)


def test_so_many_images_are_taken_from_all_over_a_sorted_split(cifar):
    split = cifar.load_splits("digits").test
    assert len(cifar.thinned(split, 0)) == len(split) == 360
    few = cifar.thinned(split, 70)
    np.testing.assert_array_equal(few.labels, split.labels[::5][:70])


def kept(folder, complete=True):
    options = {"network": "resnet20", "target_macs": 0.5, "train_images": 128, "batch_size": 64, "epochs": 1,
               "seeds": 2, "calibration_batches": 4, "knockoff_steps": 50, "turn_steps": 5, "score": "gamma",
               "adapt_images": 0, "adapt_epochs": 2}
    (folder / "options.json").write_text(json.dumps(options))
    (folder / "comparison.json").write_text(json.dumps({**FOUND.to_dict(), "complete": complete}))
    return str(folder)


def test_the_page_says_what_was_run_and_found(cifar, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    cifar.main(["--page", kept(tmp_path)])
    page = (tmp_path / "docs" / "comparison.md").read_text()
    assert "| l1 | 0.500 | 0.600 | 30.00 ± 0.00 | 40.00 ± 0.00 | 62.00 ± 2.83 | 50.00 ± 0.00 |" in page
    assert ("--network resnet20 --target-macs 0.5 --train-images 128 --seeds 2 "
            "--score gamma --adapt-images 0`") in page
    assert "epochs: 1, of 2 batches of 64 images" in page and "on all images, epochs: 2" in page
    assert "not\nCIFAR-10 accuracies" in page and "has not been run" in page
    page_file = tmp_path / "docs" / "comparison.md"
    page_file.write_text(page.replace("## resnet20", "## resnet56").replace("50.00 ± 0.00", "51.00 ± 0.00"))
    cifar.main(["--page", str(tmp_path)])
    both = page_file.read_text()
    assert both.index("## resnet20") < both.index("## resnet56") < both.index("## What the numbers can show")
    assert both.count("51.00 ± 0.00") == page.count("50.00 ± 0.00") == both.count("50.00 ± 0.00")
    assert (tmp_path / "docs" / "comparison_resnet20.svg").is_file() and "(comparison_resnet20.svg)" in page


def test_what_is_not_complete_is_no_page(cifar, tmp_path):
    with pytest.raises(SystemExit, match="is not complete"):
        cifar.write_page([kept(tmp_path, complete=False)])


def test_data_and_weights_must_be_named_and_full_is_everything(cifar, capsys):
    with pytest.raises(SystemExit):
        cifar.parse([])
    assert "--data and --weights are required" in capsys.readouterr().err
    options = cifar.parse(["--data", "a", "--weights", "b", "--full"])
    assert options.train_images == options.test_images == options.adapt_images == 0 and options.epochs == 40


def test_the_page_in_the_repository_has_its_network_criteria_and_figures():
    page = (ROOT / "docs" / "comparison.md").read_text()
    assert "## resnet20" in page and "| scop |" in page and "| random |" in page
    for line in page.splitlines():
        if line.startswith("!["):
            assert (ROOT / "docs" / line.partition("(")[2].rstrip(")")).is_file()


@pytest.mark.long
def test_it_runs_on_real_images_and_goes_on(cifar, tmp_path):
    folder = Path(os.environ.get("GOLDEN_STICK_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "cifar10-jpeg.zip").is_file():
        pytest.skip(f"no CIFAR-10 images in {folder}; set GOLDEN_STICK_DATA to a folder that has them")
    words = ["--data", str(folder / "cifar10-jpeg.zip"), "--weights", str(folder / "weights" / "resnet20-cifar10.npz"),
             "--criteria", "l1", "--rates", "", "--train-images", "64", "--validation-images", "250", "--test-images",
             "250", "--adapt-epochs", "0", "--seeds", "1", "--calibration-batches", "1", "--output", str(tmp_path)]
    cifar.main(words)
    first = (tmp_path / "comparison.json").read_text()
    cifar.main(words)
    assert (tmp_path / "comparison.json").read_text() == first
    found = Comparison.from_dict(json.loads(first))
    assert found.data["test"]["images"] == 250 and found.base["validation"] > 0.7
