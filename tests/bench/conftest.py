"""What lies under benchmarks/ can be imported, as where it is run."""
import sys
from pathlib import Path

import pytest

import golden_stick as gs

BENCHMARKS = Path(gs.__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch):
    """Its modules are forgotten afterwards: others may have their names."""
    before, known = list(sys.path), set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    sys.path[:] = before
    for name in set(sys.modules) - known:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
