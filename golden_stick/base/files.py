"""Files that are written whole or not at all, JSON files of a kind of their own, and digests in SHA-256."""
import datetime
import hashlib
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, Mapping, Optional, Tuple, Union

import numpy as np
from safetensors import SafetensorError

from golden_stick.base.devices import rank
from golden_stick.base.errors import ArgumentTypeError, CheckpointError, first_line

if TYPE_CHECKING:
    from mindspore import nn

__all__ = ["PathLike", "digest_of", "digest_of_samples", "make_folder", "network_digest", "now", "path_of",
           "placed_file", "read_record", "sample_digests", "versions", "whole_file", "write_json", "write_page",
           "write_record"]


PathLike = Union[str, "os.PathLike[str]"]

_SCRATCH = ".golden_stick_"


def path_of(owner: str, path: Any) -> str:
    """What a user named as a path, a `pathlib.Path` too, as a str."""
    if isinstance(path, (str, os.PathLike)):
        return os.fspath(path)
    raise ArgumentTypeError(f"For '{owner}', 'path' must be a str or a path, but got {type(path).__name__}.")


@contextmanager
def whole_file(owner: str, path: str) -> Iterator[str]:
    """
    A temporary path beside `path`, which takes its place once the block has ended without an error; of several
    processes, in the first alone.

    The block writes the file and does nothing else that may meet an error of the operating system: any becomes a
    CheckpointError in the name of `owner`.
    """
    with placed_file(owner, path) as temporary, _writing(owner, path):
        yield temporary


@contextmanager
def _writing(owner: str, path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        # Where files are written for others who put them in place, theirs is the name that the user knows.
        known = re.sub(rf"{re.escape(_SCRATCH)}[^{re.escape(os.sep)}]*{re.escape(os.sep)}", "", path)
        reason = getattr(error, "strerror", None) or first_line(error)
        raise CheckpointError(f"For '{owner}', 'path' must be a file that can be written, but got '{known}' "
                              f"({reason}).") from error


@contextmanager
def placed_file(owner: str, path: str) -> Iterator[str]:
    """As `whole_file`, but the block may meet errors of the operating system elsewhere: they stay what they are."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise CheckpointError(f"For '{owner}', the folder of 'path' must exist, but got '{path}'.")
    if os.path.isdir(path):
        raise CheckpointError(f"For '{owner}', 'path' must be a file, but got the folder '{path}'.")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise CheckpointError(f"For '{owner}', 'path' must be writable, but got the read-only file '{path}'.")
    try:
        scratch = tempfile.mkdtemp(prefix=_SCRATCH, dir=folder)
    except OSError as error:
        raise CheckpointError(f"For '{owner}', 'path' must be writable, but got '{path}' ({error.strerror}).") \
            from error
    temporary = os.path.join(scratch, os.path.basename(path))
    try:
        yield temporary
        with _writing(owner, path):
            os.chmod(temporary, 0o644)
            # Of several processes, all of which have made it, one puts it there.
            if rank() == 0:
                os.replace(temporary, path)
    finally:
        # MindSpore leaves a folder there when weights do not fit into one file.
        shutil.rmtree(scratch)


def make_folder(owner: str, path: str) -> None:
    """Make the folder that a user called `folder`, if it is not there."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"For '{owner}', 'folder' must be a folder that can be made and written to, but got "
                              f"'{path}' ({error.strerror}).") from error


def read_record(owner: str, path: str, kind: str) -> Dict[str, Any]:
    """What a JSON file holds, which must say that it is of this kind."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"For '{owner}', '{os.path.basename(path)}' must be a JSON file that can be read, but: "
                              f"{first_line(error)}") from error
    if not isinstance(record, dict) or record.get("kind") != kind:
        raise CheckpointError(f"For '{owner}', '{os.path.basename(path)}' must be a {kind}, but is another file.")
    return record


def write_json(owner: str, path: str, record: Mapping[str, Any], indent: Optional[int] = 2) -> None:
    """Write a record as JSON, whole or not at all; on one line if `indent` is None."""
    with whole_file(owner, path) as temporary:
        Path(temporary).write_text(json.dumps(record, indent=indent) + "\n", encoding="utf-8")


def write_page(owner: str, stem: str, record: Mapping[str, Any], page: str) -> None:
    """Write a record as JSON and, beside it, as a page to read: both or neither."""
    with whole_file(owner, f"{stem}.md") as temporary:
        Path(temporary).write_text(page, encoding="utf-8")
        write_json(owner, f"{stem}.json", record)


def write_record(owner: str, path: str, kind: str, fields: Mapping[str, Any]) -> None:
    """Write a file of a kind, on one line: some hold a digest for every image of a data set."""
    write_json(owner, path, {"kind": kind, **fields}, indent=None)


def now() -> str:
    """Date and time, to the minute, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def versions(*others: str) -> Dict[str, str]:
    """What a record was made with, and other packages: name -> version. MindSpore need not be imported for it."""
    from importlib import metadata  # slow to import, and needed here only

    def installed(package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return "not installed"

    return {"golden_stick": installed("golden-stick"), "mindspore": installed("mindspore"),
            "numpy": installed("numpy"), "python": sys.version.split()[0], **{name: installed(name) for name in others}}


_SAMPLE_DIGITS = 16  # enough to tell samples apart


def digest_of(parts: Iterable[Union[str, np.ndarray]]) -> str:
    """The digest of texts and arrays in their order; types and shapes of arrays must stand before them as texts."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return whole.hexdigest()


def sample_digests(images: np.ndarray, labels: np.ndarray) -> Tuple[str, ...]:
    """One digest for each of (N, ...) images with its label, a whole number: of its type, shape and numbers."""
    return tuple(digest_of((f"{image.dtype.str} {image.shape} {int(label)} ", image))[:_SAMPLE_DIGITS]
                 for image, label in zip(images, labels))


def digest_of_samples(samples: Iterable[str]) -> str:
    """One digest for many samples, whatever their order."""
    return digest_of(["\n".join(sorted(samples))])


def network_digest(network: "nn.Cell") -> str:
    """The digest of a network's class and of its parameters' names, types, shapes and values."""
    parameters = sorted(network.get_parameters(), key=lambda item: item.name)
    parts = ((f"\n{item.name} {item.dtype} {tuple(item.shape)} ", item.asnumpy()) for item in parameters)
    return digest_of(itertools.chain([type(network).__name__], itertools.chain.from_iterable(parts)))
