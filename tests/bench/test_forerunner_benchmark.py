"""`benchmarks/forerunner.py`: tests of another package are changed as it says, run, and counted."""
import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "forerunner.py"
TEST = '''
import pytest
from mindspore_gs.pruner.scop.scop_pruner import PrunerFtCompressAlgo


def test_rate():
    with pytest.raises(TypeError, match="For 'PrunerFtCompressAlgo', the \\"rate\\" must be 'float', but got "
                                        "'int'."):
        PrunerFtCompressAlgo({"prune_rate": 1})


def test_wrong():
    assert PrunerFtCompressAlgo({})._config.prune_rate == 0.5


def test_resnet_accuracy_graph():
    context.set_context(device_target="GPU")
'''


@pytest.fixture(name="forerunner")
def fixture_forerunner():
    specification = importlib.util.spec_from_file_location("forerunner", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(name="source")
def fixture_source(tmp_path):
    (tmp_path / "st" / "models").mkdir(parents=True)
    (tmp_path / "st" / "pruner" / "scop").mkdir(parents=True)
    (tmp_path / "st" / "pruner" / "scop" / "test_scop.py").write_text(TEST)
    return tmp_path / "st"


def test_changes(forerunner, source, tmp_path):
    forerunner.prepare(source, tmp_path / "changed", "golden_stick")
    text = (tmp_path / "changed" / "pruner" / "scop" / "test_scop.py").read_text()
    assert "from golden_stick.pruner import PrunerFtCompressAlgo" in text and "mindspore_gs" not in text
    assert "with pytest.raises(TypeError):" in text and 'device_target="CPU"' in text
    forerunner.prepare(source, tmp_path / "same", "mindspore_gs")
    assert (tmp_path / "same" / "pruner" / "scop" / "test_scop.py").read_text() == TEST.replace("GPU", "CPU")


def test_count(forerunner, source, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["forerunner.py", str(source), "--at-least", "1"])
    assert forerunner.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "passed  pruner/scop/test_scop.py::test_rate"
    assert said[1].startswith("FAILED  pruner/scop/test_scop.py::test_wrong: ") and "0.5" in said[1]
    assert said[2] == "1 of 2 passed on golden_stick"
