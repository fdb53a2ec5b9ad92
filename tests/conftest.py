"""Conditions that every test runs under."""
import functools
import gc
import inspect
import os
import resource
from contextlib import contextmanager
from types import SimpleNamespace

# Before MindSpore starts: without it, 3x3 convolutions are about 40 times slower on CPUs with AVX-512.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
# Two workers on two cores leave nothing to share out among threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Compile errors that tests provoke need not fill the screen with C++ traces.
os.environ.setdefault("GLOG_v", "4")

import mindspore as ms  # noqa: E402
import pytest  # noqa: E402
from mindspore.graph._parse import parser  # noqa: E402

from golden_stick.cells import trace as tracing  # noqa: E402
from tests.traced import shared_compilations  # noqa: E402

# Queues between MindSpore's threads spin while they wait for work, which takes a quarter of the processors' time.
ms.set_context(pynative_synchronize=True)


@functools.lru_cache(maxsize=None)
def _lines(code, file):
    return inspect.getsourcelines(code)


def _lines_of(function):
    code = getattr(inspect.unwrap(function), "__code__", None)
    return _lines(code, code.co_filename) if code else inspect.getsourcelines(function)


# A compilation cuts every function out of its file anew.
parser.inspect = SimpleNamespace(**{**vars(inspect), "getsourcelines": _lines_of})

# Networks that are alike are compiled once. In the long suite and in these tests, each is.
COMPILING, compile_anew = ("tests.cells.test_trace", "tests.test_traced"), tracing._compile
tracing._compile = shared_compilations()


# At the end, they would keep one worker busy after the others.
SLOWEST = {"test_demo", "test_training_script", "test_mypy_finds_nothing", "test_examples_give_what_they_show",
           "test_step_by_step_in_the_published_form"}


def pytest_collection_modifyitems(items):
    """The slowest first."""
    items.sort(key=lambda item: item.name.split("[")[0] not in SLOWEST)


@pytest.fixture(autouse=True)
def fresh_compilations(request, monkeypatch):
    """What each test compiles by: see above."""
    if request.module.__name__ in COMPILING or request.node.get_closest_marker("long"):
        monkeypatch.setattr(tracing, "_compile", compile_anew)


@pytest.fixture(autouse=True)
def little_to_search():
    """MindSpore collects garbage before it compiles: what is here to stay need not be searched thousands of times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=["GRAPH", "PYNATIVE"])
def mode(request):
    """Both execution modes, one after the other."""
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE if request.param == "GRAPH" else ms.PYNATIVE_MODE)
    yield request.param
    ms.set_context(mode=before)


@pytest.fixture
def small_files():
    """A context in which a file cannot grow beyond a thousand bytes, as on a disk that is full."""
    @contextmanager
    def limited():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
