"""What a terminal shows: counts with rate and time left, tables, and messages that name options as they are typed."""
import argparse
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from golden_stick import cli
from golden_stick.base import inputs
from golden_stick.cli.options import as_typed, table

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
    lines = table(("layer", "before", "after"), rows).splitlines()
    assert any(line.split() == ["conv", "[1]", "12", "3.5"] for line in lines)


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
    (tmp_path / "net.py").write_text("from mindspore import nn\n\n\ndef build():\n    print('building')\n"
                                     "    return nn.SequentialCell(nn.Dense(4, 8), nn.ReLU(), nn.Dense(8, 2))\n")
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
