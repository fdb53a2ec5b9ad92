"""A check in a process of its own, where MindSpore keeps something that would change what comes after."""
import subprocess
import sys
from pathlib import Path

__all__ = ["passes_apart"]


def passes_apart(check):
    """Call a function of a test module in another process; it takes nothing and raises to fail."""
    code = f"from {check.__module__} import {check.__name__}; {check.__name__}()"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                           cwd=Path(__file__).parents[1])
    assert ended.returncode == 0, ended.stderr
