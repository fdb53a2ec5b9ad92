"""What the README shows is run."""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_training_script(tmp_path):
    (script,) = blocks("python")
    # In a file of its own: graph compilation reads source files.
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    run = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "largest difference between masked and slim outputs" in run.stdout
    assert (tmp_path / "slim.safetensors").is_file() and (tmp_path / "slim.mindir").is_file()


def test_commands_exist():
    from golden_stick.cli import build_parser

    for line in (line for block in blocks("bash") for line in block.splitlines() if line.strip()):
        words = line.split("#")[0].split()
        if words[0] == "bash":
            assert (ROOT / words[1]).is_file(), line
        else:
            assert words[0] == "golden-stick", line
            build_parser().parse_args(words[1:])


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
