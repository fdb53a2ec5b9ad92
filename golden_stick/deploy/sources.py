"""Checkpoints as users have them: one file, or one of each rank; and what kind of network they are of."""
import glob
import os
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from golden_stick.deploy.shards import merged_shards
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
        differing (Mapping): Name -> which files hold different values of it, in words. `values` has the first one's.
    """

    files: Tuple[str, ...]
    values: Mapping[str, np.ndarray]
    slim: bool
    differing: Mapping[str, str]

    @property
    def kind(self) -> str:
        """``'slim'``, ``'knockoff'`` for a checkpoint of SCOP's knockoff phase, or ``'original'``. A masked network has
        the parameters of the original, so that a file cannot tell."""
        return "slim" if self.slim else _kind(self.values)

    def refuse_differing(self, owner: str, names: Sequence[str]) -> None:
        """
        Refuse if files differ in any of these parameters. In others they may: optimizers are often kept in parts.

        Raises:
            CheckpointError: If they do. The message names the parameter and the files.
        """
        found = [name for name in names if name in self.differing]
        if found:
            more = f" (and in {len(found) - 1} more)" if len(found) > 1 else ""
            raise CheckpointError(
                f"For '{owner}', files of several ranks must hold the same values of a parameter, but "
                f"{self.differing[found[0]]}{more}. If each holds a part of it, give the strategy file of the training "
                f"as 'strategy'. If each is a whole network, as with statistics of normalizations that were not "
                f"synchronized, name one file alone.")


def read_source(owner: str, paths: Sequence[str], strategy: Optional[str] = None) -> Source:
    """
    Read a checkpoint.

    Args:
        owner (str): Who asks, for messages.
        paths (Sequence[str]): Files, patterns such as ``'rank_*/net.ckpt'``, or folders, all of whose checkpoints are
            meant. Of several files, each holds some of the parameters, or the same ones as the others: what pipeline
            and data parallel training leave.
        strategy (str): Where MindSpore saved the parallel strategy, if each file holds a part of a parameter. Then the
            paths must name the ranks. Default: ``None``.

    Returns:
        Source.

    Raises:
        ArgumentError: If a path names no checkpoint, or with a strategy no rank.
        CheckpointError: If a file cannot be read, the files are of different kinds, or the strategy does not fit.
    """
    aside = os.path.realpath(strategy) if strategy else None
    files = [file for path in paths for file in _files(owner, path) if os.path.realpath(file) != aside]
    files = list({os.path.realpath(file): file for file in files}.values())
    parts: Dict[str, Mapping[str, np.ndarray]] = {}
    slim = False
    for file in files:
        parts[file], recipe = read_tensors(owner, file)
        slim = slim or recipe is not None
        if slim and (len(files) > 1 or strategy):
            raise CheckpointError(f"For '{owner}', a slim file must stand alone, but got '{file}' with "
                                  f"{'a strategy' if strategy else f'{len(files) - 1} other files'}.")
    _refuse_mixed(owner, parts)
    if strategy:
        merged = merged_shards(owner, parts, strategy)
        return Source(tuple(files), merged, False, _differing(parts, merged))
    values: Dict[str, np.ndarray] = {}
    for found in parts.values():
        values = {**found, **values}
    return Source(tuple(files), values, slim, _differing(parts, values))


def _kind(values: Mapping[str, np.ndarray]) -> str:
    return "knockoff" if any(name.endswith(".real_scale") for name in values) else "original"


def _refuse_mixed(owner: str, parts: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """A part of a network in knockoff phase may have no scales of its own; the same part cannot have them and not."""
    first = {}
    for file, values in parts.items():
        first.setdefault(_kind(values), (file, {name for name, array in values.items() if array.size > 1}))
    if len(first) > 1:
        (plain, names), (scaled, others) = first["original"], first["knockoff"]
        if names & others:
            raise CheckpointError(f"For '{owner}', files that are read together must be of one kind, but '{plain}' is "
                                  f"of kind 'original' and '{scaled}' of kind 'knockoff'.")


def _files(owner: str, path: str) -> List[str]:
    if os.path.isfile(path):
        return [path]
    inside = os.path.join(path, "**", "*") if os.path.isdir(path) else path
    found = sorted(file for file in glob.glob(inside, recursive=True) if file.endswith(_ENDINGS))
    if not found:
        raise ArgumentError(f"For '{owner}', 'checkpoint' must be a file, a pattern or a folder of files that end in "
                            f"{' or '.join(_ENDINGS)}, but nothing fits '{path}'.")
    return found


def _differing(parts: Mapping[str, Mapping[str, np.ndarray]], values: Mapping[str, np.ndarray]) -> Dict[str, str]:
    """Parameters that are whole in several files, or would be without a strategy, with different values."""
    found: Dict[str, str] = {}
    for name, array in values.items():
        holding = [(file, part[name]) for file, part in parts.items() if name in part]
        whole, first = holding[0]
        for file, other in holding[1:]:
            if not _same(first, other) and array.shape == first.shape:
                found.setdefault(name, f"'{whole}' and '{file}' differ in '{name}', of shapes {first.shape} and "
                                       f"{other.shape}")
    return found


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    # Byte by byte: a number that is none must not make two equal files differ.
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
