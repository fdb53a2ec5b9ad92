"""What a terminal shows: counts with rate and time left, tables, and messages that name options as they are typed."""
import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from golden_stick import cli
from golden_stick.base import display, inputs
from golden_stick.base.display import markdown_table, table
from golden_stick.cli.options import as_typed

NET = """
from mindspore import nn


def build():
    print("building")
    return nn.SequentialCell(nn.Dense(4, 8), nn.ReLU(), nn.Dense(8, 2))
"""
OPTIONS = argparse.Namespace(run=None, max_drop=0.1, data="d", reuse="refuse", slim=None, files=[], onnx=None)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(name="terminal")
def fixture_terminal(monkeypatch):
    """The error stream, a terminal; each look at the clock is a second later."""
    seconds, stream = iter(range(1000)), Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(inputs, "time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))
    monkeypatch.setattr(inputs, "sys", SimpleNamespace(stderr=stream, stdout=stream))
    return stream


@pytest.mark.parametrize("rich", [True, False])
def test_counts_have_rate_and_time_left(rich, terminal, monkeypatch):
    if not rich:
        monkeypatch.setitem(sys.modules, "rich", None)
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    assert list(inputs.shown("abcd", "letters", 4)) == list("abcd")
    # Four letters in four seconds.
    for words in ("letters", "1 of 4, 3 s left, 1/s", "4 of 4, 0 s left, 1/s"):
        assert words in terminal.getvalue(), words
    terminal.truncate(0)
    assert list(inputs.shown("ab", "[letters]")) == ["a", "b"]
    said = terminal.getvalue()
    assert "[letters]" in said and "2, 1/s" in said and " of " not in said


def test_one_count_in_another_and_one_that_is_left(terminal):
    pytest.importorskip("rich")
    for outer in inputs.shown(range(2), "outer", 2):
        for _ in inputs.shown(range(3), "inner", 3):
            if outer:
                break
    assert "outer" in terminal.getvalue() and "3 of 3" in terminal.getvalue() and not inputs._open


def test_what_is_no_terminal_or_is_to_be_quiet_shows_nothing(capsys, monkeypatch):
    assert list(inputs.shown("ab", "letters", 2)) == ["a", "b"]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with inputs.hidden_progress():
        assert list(inputs.shown("ab", "letters", 2)) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_table_stands_in_columns(monkeypatch, capsys):
    rows = [("conv [1]", 12, 3.5), ("fc", 1, 10)]
    assert table(("layer", "before", "after"), rows).splitlines() == [
        "layer     before  after", "conv [1]      12    3.5", "fc             1     10"]
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert "─" not in table(("layer", "before", "after"), rows)
    with display.drawn_tables():
        lines = table(("layer", "before", "after"), rows).splitlines()
    assert "───" in lines[2] and lines[3].split() == ["conv", "[1]", "12", "3.5"]


def test_a_number_is_never_folded(monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    numbers = ("1,234.56", "[12.34, 56.78]", "1,000,000")
    with display.drawn_tables():
        lines = table(("layer", "ms", "", "MACs ratio"), [("one word and another", *numbers)]).splitlines()
    assert [name for line in lines for name in ("MACs ratio", "MACs", "ratio") if name in line] == ["MACs", "ratio"]
    assert all(number in "\n".join(lines) for number in numbers) and max(map(len, lines)) > 30
    assert {"one", "word", "and", "another"} <= set(" ".join(lines).split())


def test_a_table_in_markdown_has_numbers_on_the_right():
    assert markdown_table(("", "before", "after"), [("MACs", 12, "")]) == [
        "| | before | after |", "|---|---:|---:|", "| MACs | 12 | |"]


@pytest.mark.parametrize("line", ["prune --network net.py:build --inputs 1,4 --output slim",
                                  "bench --network net.py:build --inputs 1,4 --rounds 1",
                                  "trace --network net.py:build --inputs 1,4"])
def test_commands_draw_their_tables_on_a_terminal(line, tmp_path, monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    assert cli.main(line.split()) == 0 and "───" not in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert cli.main(line.split()) == 0 and "───" in capsys.readouterr().out


@pytest.mark.parametrize("said, typed", [
    ("For 'certify', 'max_drop' must be in [0, 1).", "For 'certify', '--max-drop' must be in [0, 1)."),
    ("For 'certify', 'data' must be unused: give reuse='declare'.",
     "For 'certify', '--data' must be unused: give --reuse declare."),
    ("For 'x', 'recovery' must stand with 'data', but", "For 'x', 'recovery' must stand with '--data', but"),
    ("For 'data', layer 'slim' is one of 'onnx', 'data'.", "For 'data', layer 'slim' is one of 'onnx', 'data'."),
    ("'max_drop' must be", "'--max-drop' must be"),
])
def test_messages_name_options_as_they_are_typed(said, typed):
    assert as_typed(said, OPTIONS) == typed


def test_json_is_all_that_is_printed(tmp_path, monkeypatch, capsys):
    """Also where the user's own code prints."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    network = "--network net.py:build --inputs 1,4"
    for line, key in ((f"prune {network} --prune-rate 0.5 --output slim --onnx slim", "layers"),
                      (f"verify {network} --slim slim.safetensors", "compared"),
                      (f"export {network} --slim slim.safetensors --output slim.mindir", "format"),
                      (f"convert {network} --checkpoint slim.safetensors --onnx again", "onnx"),
                      (f"trace {network}", "groups"), ("inspect slim.safetensors", "widths"),
                      (f"bench {network} --rounds 1", "measurements"),
                      ("report slim.safetensors --output page", "output")):
        assert cli.main(f"{line} --json".split()) == 0
        assert key in json.loads(capsys.readouterr().out), line
        assert cli.main(f"{line} --quiet".split()) == 0
        assert capsys.readouterr().out == "", line
    assert cli.main("inspect none.ckpt --json".split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and "must be a file" in said.err


DATA = """
import numpy as np

images = np.random.default_rng(0).standard_normal((2, 8, 4)).astype(np.float32)


def batches():
    return [(batch, np.arange(8, dtype=np.int32) % 2) for batch in images]


def evaluate(network):
    return 0.5
"""


def test_what_takes_long_says_what_it_does(tmp_path, monkeypatch):
    """On a terminal; how far it is, tests of the counts say."""
    said = []

    @contextlib.contextmanager
    def line(what, total):
        said.append(what if total is None else f"{what} of {total}")
        yield lambda number, words: None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inputs, "_line", line)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for name, text in (("net.py", NET), ("data.py", DATA)):
        (tmp_path / name).write_text(text)
    network, begin = "--network net.py:build --inputs 1,4", {"starting MindSpore", "calling net.py:build"}
    trace, check = {"tracing the network"}, {"comparing the outputs of both networks"}
    shrink = trace | check | {"slimming for trial", "choosing channels", "slimming", "checking the slim network"}
    for line_typed, wanted in (
            (f"prune {network} --criterion taylor --data data.py:batches --calibration-data data.py:batches "
             f"--output slim --onnx slim", shrink | {
                 "calling data.py:batches", "looking at data", "batches of 2", "recovering", "layers solved of 1",
                 "batches of the original of 2", f"writing {tmp_path}/slim.onnx"}),
            (f"prune {network} --max-drop 0.5 --evaluate data.py:evaluate --output small",
             shrink | {"evaluating", "networks tried of 6"}),
            (f"bench {network} --slim slim.safetensors --rounds 1 --warm-up 0", trace | {
                "loading the slim network", "preparing network", "preparing slim", "rounds of 1"}),
            (f"verify {network} --slim slim.safetensors", trace | check | {"loading the slim network"}),
            (f"export {network} --slim slim.safetensors --output slim.mindir", trace | {
                "loading the slim network", f"writing {tmp_path}/slim.mindir"}),
            (f"trace {network}", trace | {"slimming for trial"})):
        assert cli.main(line_typed.split()) == 0
        named = {re.sub(r"writing .*/", f"writing {tmp_path}/", what) for what in said}
        assert begin | wanted <= named, (line_typed, (begin | wanted) - named)
        said.clear()


NOISY = """
import warnings
from mindspore import log, nn


def build():
    log.warning("of MindSpore's logger")
    warnings.warn("of the user's code")
    warnings.warn_explicit("of MindSpore's modules", UserWarning, "cell.py", 3, module="mindspore.nn.cell")
    return nn.SequentialCell(nn.Dense(4, 8), nn.ReLU(), nn.Dense(8, 2))
"""


@pytest.mark.parametrize("option, heard", [
    ([], {"the user's code"}), (["--verbose"], {"the user's code", "MindSpore's logger", "MindSpore's modules"})])
def test_warnings_of_mindspore_are_for_those_who_ask(option, heard, tmp_path):
    (tmp_path / "net.py").write_text(NOISY)
    settings = {key: value for key, value in os.environ.items() if key != "GLOG_v"}
    settings["PYTHONPATH"] = str(Path(cli.__file__).parents[2])
    line = "export --network net.py:build --inputs 1,4 --checkpoint absent.ckpt --output net"
    ended = subprocess.run([sys.executable, "-m", "golden_stick.cli", *line.split(), *option], cwd=tmp_path,
                           env=settings, capture_output=True, text=True, check=False)
    said = {words for words in ("the user's code", "MindSpore's logger", "MindSpore's modules") if f"of {words}" in
            ended.stderr}
    assert ended.returncode == 2 and "must be a file" in ended.stderr and said == heard
