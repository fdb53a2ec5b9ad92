"""Files that are written whole or not at all."""
import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import Iterator

from golden_stick.errors import CheckpointError

__all__ = ["whole_file"]


@contextmanager
def whole_file(owner: str, path: str) -> Iterator[str]:
    """
    A temporary path beside `path`, which takes its place once the block has ended without an error.

    Args:
        owner (str): Name of the caller, for messages.
        path (str): Where the file shall stand.

    Raises:
        CheckpointError: If the folder is missing or cannot be written to, or `path` is a folder.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise CheckpointError(f"For '{owner}', the folder of 'path' must exist, but got '{path}'.")
    if os.path.isdir(path):
        raise CheckpointError(f"For '{owner}', 'path' must be a file, but got the folder '{path}'.")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise CheckpointError(f"For '{owner}', 'path' must be writable, but got the read-only file '{path}'.")
    try:
        scratch = tempfile.mkdtemp(prefix=".golden_stick_", dir=folder)
    except OSError as error:
        raise CheckpointError(
            f"For '{owner}', 'path' must be writable, but got '{path}' ({error.strerror})."
        ) from error
    temporary = os.path.join(scratch, os.path.basename(path))
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        # MindSpore leaves a folder there when weights do not fit into one file.
        shutil.rmtree(scratch)
