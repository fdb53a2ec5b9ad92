"""JSON files of a kind of their own, and the versions that they name."""
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict

import mindspore as ms
import numpy as np

from golden_stick.deploy.files import whole_file
from golden_stick.errors import CheckpointError, first_line

__all__ = ["read_record", "versions", "write_record"]


def read_record(owner: str, path: str, kind: str) -> Dict[str, Any]:
    """
    What a file of a kind holds.

    Args:
        owner (str): Name of the caller, for messages.
        path (str): The file.
        kind (str): What the file must say that it is.

    Returns:
        dict.

    Raises:
        CheckpointError: If the file is missing, no JSON, or of another kind.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"For '{owner}', '{os.path.basename(path)}' must be a JSON file that can be read, but: "
                              f"{first_line(error)}") from error
    if not isinstance(record, dict) or record.get("kind") != kind:
        raise CheckpointError(f"For '{owner}', '{os.path.basename(path)}' must be a {kind}, but is another file.")
    return record


def write_record(owner: str, path: str, kind: str, fields: Dict[str, Any]) -> None:
    """Write a file of a kind, whole or not at all."""
    with whole_file(owner, path) as temporary:
        Path(temporary).write_text(json.dumps({"kind": kind, **fields}) + "\n", encoding="utf-8")


def versions() -> Dict[str, str]:
    """What a record was made with: name -> version."""
    from importlib import metadata  # slow to import, and needed here only
    try:
        own = metadata.version("golden-stick")
    except metadata.PackageNotFoundError:
        own = "not installed"
    return {"golden_stick": own, "mindspore": ms.__version__, "numpy": np.__version__,
            "python": sys.version.split()[0]}
