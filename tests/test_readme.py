"""What the README shows is run, it reads alike in both languages, and commands of all pages exist."""
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.walk_journeys import blocks
from scripts.write_options import PAGE, render

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


PAGES = [ROOT / "README.md", ROOT / "README_CN.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_training_script(tmp_path):
    script = "\n".join(block.text for block in blocks(README) if block.language == "python")
    # In a file of its own: graph compilation reads source files.
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    run = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "largest difference between masked and slim outputs" in run.stdout
    assert (tmp_path / "slim.safetensors").is_file() and (tmp_path / "slim.mindir").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page):
    from golden_stick.cli import build_parser

    for command in (command for block in blocks(page.read_text(encoding="utf-8")) if block.language == "bash"
                    for command in block.commands):
        words = shlex.split(command)
        if words[0] == "bash":
            assert (ROOT / words[1]).is_file(), command
        elif words[0] == "golden-stick":
            build_parser().parse_args(words[1:])


def test_the_chinese_readme_is_alike():
    """Headings, blocks, figures and what is linked to: but for the page in the other language."""
    def parts(text):
        plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        targets = re.findall(r"\]\(([^)]+)\)", plain)
        return {"headings": re.findall(r"^#+(?= )", plain, re.MULTILINE), "blocks": blocks(text),
                "figures": re.findall(r"!\[[^\]]+\]\(([^)]+)\)", plain),
                "rows": len(re.findall(r"^\|", plain, re.MULTILINE)),
                "targets": {item for item in targets if "README" not in item and "concepts" not in item}}

    english, chinese = parts(README), parts((ROOT / "README_CN.md").read_text(encoding="utf-8"))
    assert {part: (english[part], chinese[part]) for part in english if english[part] != chinese[part]} == {}


def test_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_options_are_those_of_the_tables():
    assert PAGE.read_text() == render(), "run: python scripts/write_options.py"
