"""Checkpoints as users have them: one file, or one of each rank; and what kind of network they are of."""
import glob
import os
from dataclasses import dataclass
from typing import Dict, List, Mapping, Sequence, Tuple

import numpy as np

from golden_stick.deploy.slim_file import read_tensors
from golden_stick.errors import ArgumentError, CheckpointError

__all__ = ["Source", "read_source"]

_ENDINGS = (".ckpt", ".safetensors")


@dataclass(frozen=True, eq=False)
class Source:
    """
    The parameters of a checkpoint.

    Args:
        files (tuple[str]): Where they were read.
        values (Mapping): Name -> array.
        slim (bool): Whether it is a slim file of golden_stick's.
    """

    files: Tuple[str, ...]
    values: Mapping[str, np.ndarray]
    slim: bool

    @property
    def kind(self) -> str:
        """``'slim'``, ``'knockoff'`` for a checkpoint of SCOP's knockoff phase, or ``'original'``. A masked network has
        the parameters of the original, so that a file cannot tell."""
        if self.slim:
            return "slim"
        return "knockoff" if any(name.endswith(".real_scale") for name in self.values) else "original"


def read_source(owner: str, paths: Sequence[str]) -> Source:
    """
    Read a checkpoint.

    Args:
        owner (str): Who asks, for messages.
        paths (Sequence[str]): Files, patterns such as ``'rank_*/net.ckpt'``, or folders, all of whose checkpoints are
            meant. Of several files, each holds some of the parameters, or the same ones as the others: what pipeline
            and data parallel training leave.

    Returns:
        Source.

    Raises:
        ArgumentError: If a path names no checkpoint.
        CheckpointError: If a file cannot be read, or two files hold different values of one parameter.
    """
    files = [file for path in paths for file in _files(owner, path)]
    found: Dict[str, np.ndarray] = {}
    origin: Dict[str, str] = {}
    slim = False
    for file in files:
        values, recipe = read_tensors(owner, file)
        slim = slim or recipe is not None
        for name, array in values.items():
            if name in found and not _same(found[name], array):
                raise CheckpointError(
                    f"For '{owner}', files of several ranks must hold the same values of a parameter, but "
                    f"'{origin[name]}' and '{file}' differ in '{name}', of shapes {found[name].shape} and "
                    f"{array.shape}. If each holds a part of it, merge them first by mindspore.transform_checkpoints.")
            found.setdefault(name, array)
            origin.setdefault(name, file)
    if slim and len(files) > 1:
        raise CheckpointError(f"For '{owner}', a slim file must stand alone, but got {len(files)} files.")
    return Source(tuple(files), found, slim)


def _files(owner: str, path: str) -> List[str]:
    if os.path.isfile(path):
        return [path]
    inside = os.path.join(path, "**", "*") if os.path.isdir(path) else path
    found = sorted(file for file in glob.glob(inside, recursive=True) if file.endswith(_ENDINGS))
    if not found:
        raise ArgumentError(f"For '{owner}', 'checkpoint' must be a file, a pattern or a folder of files that end in "
                            f"{' or '.join(_ENDINGS)}, but nothing fits '{path}'.")
    return found


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.array_equal(one, other))
