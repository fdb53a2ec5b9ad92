"""What the README shows is run, and what pages of docs refer to is there."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.write_options import PAGE, render

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language, text=README):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_training_script(tmp_path):
    script = "\n".join(blocks("python"))
    # In a file of its own: graph compilation reads source files.
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    run = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "largest difference between masked and slim outputs" in run.stdout
    assert (tmp_path / "slim.safetensors").is_file() and (tmp_path / "slim.mindir").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    from golden_stick.cli import build_parser

    for line in (line for block in blocks("bash", page.read_text()) for line in block.splitlines() if line.strip()):
        words = line.split("#")[0].replace("'", "").split()
        if words and words[0] == "bash":
            assert (ROOT / words[1]).is_file(), line
        elif words and words[0] == "golden-stick":
            build_parser().parse_args(words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_options_are_those_of_the_tables():
    assert PAGE.read_text() == render(), "run: python scripts/write_options.py"
