"""What was measured once on a machine, kept in a file of the user's."""
import json
import os
import sys
from pathlib import Path
from typing import Any, Mapping, Optional

from golden_stick.deploy.files import whole_file
from golden_stick.errors import CheckpointError

__all__ = ["CACHE_VARIABLE", "cache_folder", "recall", "remember"]

CACHE_VARIABLE = "GOLDEN_STICK_CACHE"


def cache_folder() -> Path:
    """The folder: what the environment variable `GOLDEN_STICK_CACHE` says, or that of the system for such files."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "golden_stick"
    if os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "golden_stick" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "golden_stick"


def recall(name: str, key: str) -> Optional[Any]:
    """What `remember` kept in the file of that name under that key, or None."""
    return _read(cache_folder() / name).get(key)


def remember(name: str, key: str, value: Any) -> Optional[Path]:
    """Keep plain data. The path of the file, or None if it cannot be written: then it is measured anew each time."""
    path = cache_folder() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file("cache", str(path)) as temporary:
            Path(temporary).write_text(json.dumps({**_read(path), key: value}, indent=1) + "\n", encoding="utf-8")
    except (OSError, CheckpointError):
        return None
    return path


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
