"""Checkpoints of every kind: read, put together from the ranks that wrote them, and told apart."""
import glob
import os
import re
import tempfile
from collections import ChainMap
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor

from golden_stick.base.errors import ArgumentError, CheckpointError, first_line
from golden_stick.cells.wrappers import PLAN
from golden_stick.deploy.slim_file import CHECKPOINT, SAFETENSORS, read_tensors

__all__ = ["read_checkpoint", "Source", "read_source"]


_RANK = re.compile(r"rank[_-]?(\d+)")


def _merged_shards(owner: str, parts: Mapping[str, Mapping[str, np.ndarray]], strategy: str
                   ) -> Dict[str, np.ndarray]:
    """Whole parameters, merged by MindSpore; `parts` are by path, which must name its rank, as ``rank_0/net.ckpt``."""
    files = _by_rank(owner, parts)
    missing = set(_needed(owner, strategy)) - set(files)
    if missing:
        raise CheckpointError(f"For '{owner}', the files of all ranks that '{strategy}' speaks of must be given, "
                              f"but these are missing: {', '.join(map(str, sorted(missing)))}.")
    with tempfile.TemporaryDirectory() as folder:
        # Written anew: MindSpore's merging reads .ckpt files alone.
        shards = {rank: os.path.join(folder, f"{rank}.ckpt") for rank in files}
        for rank, file in files.items():
            ms.save_checkpoint([{"name": name, "data": Tensor(array)} for name, array in parts[file].items()],
                               shards[rank])
        whole = os.path.join(folder, "whole.ckpt")
        try:
            ms.transform_checkpoint_by_rank(0, shards, whole, strategy)
        except Exception as error:  # pylint: disable=broad-except
            # MindSpore checks little beforehand: what does not fit can end in any error.
            raise CheckpointError(f"For '{owner}', the files must be of the training that saved '{strategy}', but they "
                                  f"could not be merged by it: {first_line(error)}") from error
        return read_tensors(owner, whole)[0]


def _by_rank(owner: str, files: Mapping[str, Mapping[str, np.ndarray]]) -> Dict[int, str]:
    found: Dict[int, str] = {}
    for file in files:
        ranks = _RANK.findall(file)
        if not ranks:
            raise ArgumentError(f"For '{owner}', with a strategy the path of each file must name its rank, as "
                                f"rank_0/net.ckpt does, but got '{file}'.")
        if int(ranks[-1]) in found:
            raise ArgumentError(f"For '{owner}', with a strategy there must be one file of each rank, but got "
                                f"'{found[int(ranks[-1])]}' and '{file}'.")
        found[int(ranks[-1])] = file
    return found


def _needed(owner: str, strategy: str) -> List[int]:
    try:
        return ms.rank_list_for_transform(0, strategy)
    except Exception as error:  # pylint: disable=broad-except
        # A file of another kind ends in whatever the parser of protobuf or JSON stumbles over.
        raise CheckpointError(f"For '{owner}', 'strategy' must be a file in which MindSpore saved a parallel strategy, "
                              f"but got '{strategy}': {first_line(error)}") from error


def read_checkpoint(owner: str, parameters: Mapping[str, ms.Parameter], path: str, optional: Sequence[str] = ()
                    ) -> Dict[str, np.ndarray]:
    """
    The values that a checkpoint holds, by parameter name: at least those of a network's parameters but the optional
    ones, in their shapes. A parameter that was renamed since may stand there under its new name.
    """
    values, _ = read_tensors(owner, path, "ckpt_path")
    for name, parameter in parameters.items():
        if name not in values and parameter.name in values:
            values[name] = values.pop(parameter.name)
        if name not in values:
            if name in optional:
                continue
            raise CheckpointError(f"For '{owner}', the checkpoint must hold '{name}' of the applied network, "
                                  f"but '{path}' does not.")
        if values[name].shape != tuple(parameter.shape):
            raise CheckpointError(f"For '{owner}', '{name}' in the checkpoint must have shape "
                                  f"{tuple(parameter.shape)}, but got {values[name].shape}.")
    return values


@dataclass(frozen=True, eq=False)
class Source:
    """The parameters of a checkpoint, and whether it is a slim file of golden_stick's."""

    files: Tuple[str, ...]
    values: Mapping[str, np.ndarray]
    slim: bool
    differing: Mapping[str, str]  # name -> which files hold different values of it, in words; `values` has the first's

    @property
    def kind(self) -> str:
        """``'slim'``, ``'knockoff'`` for a checkpoint of SCOP's knockoff phase, ``'masked'`` for one of a network that
        `OneShot` has masked, ``'mindspore-gs'`` for one of either phase of MindSpore Golden Stick's SCOP, or
        ``'original'``."""
        return "slim" if self.slim else "masked" if PLAN in self.values else _kind(self.values)

    def refuse_differing(self, owner: str, names: Sequence[str]) -> None:
        """Refuse if files differ in any of these parameters. In others they may: optimizers are often kept in parts."""
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
    Read a checkpoint: files, patterns such as ``'rank_*/net.ckpt'``, or folders, all of whose checkpoints are meant.
    Each file may hold some of the parameters or all; with MindSpore's file of a parallel `strategy`, a part of each.
    """
    aside = os.path.realpath(strategy) if strategy else None
    files = [file for path in paths for file in _files(owner, path) if os.path.realpath(file) != aside]
    files = list({os.path.realpath(file): file for file in files}.values())
    parts: Dict[str, Dict[str, np.ndarray]] = {}
    slim = False
    for file in files:
        parts[file], recipe = read_tensors(owner, file)
        slim = slim or recipe is not None
        if slim and (len(files) > 1 or strategy):
            raise CheckpointError(f"For '{owner}', a slim file must stand alone, but got '{file}' with "
                                  f"{'a strategy' if strategy else f'{len(files) - 1} other files'}.")
    _refuse_mixed(owner, parts)
    values = _merged_shards(owner, parts, strategy) if strategy else dict(ChainMap(*parts.values()))
    return Source(tuple(files), values, slim, _differing(parts, values))


def _kind(values: Mapping[str, np.ndarray]) -> str:
    kinds = {".real_scale": "knockoff", ".kfscale": "mindspore-gs", ".out_index": "mindspore-gs"}
    return next((kind for ending, kind in kinds.items() if any(name.endswith(ending) for name in values)), "original")


def _refuse_mixed(owner: str, parts: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """A part of a network in knockoff phase may have no scales of its own; the same part cannot have them and not."""
    first: Dict[str, Tuple[str, Set[str]]] = {}
    for file, values in parts.items():
        first.setdefault(_kind(values), (file, {name for name, array in values.items() if array.size > 1}))
    if len(first) > 1:
        (kind, (plain, names)), (other, (scaled, others)) = sorted(first.items(), reverse=True)[:2]
        if names & others:
            raise CheckpointError(f"For '{owner}', files that are read together must be of one kind, but '{plain}' is "
                                  f"of kind '{kind}' and '{scaled}' of kind '{other}'.")


def _files(owner: str, path: str) -> List[str]:
    if os.path.isfile(path):
        return [path]
    inside = os.path.join(path, "**", "*") if os.path.isdir(path) else path
    found = sorted(file for file in glob.glob(inside, recursive=True) if file.endswith((CHECKPOINT, SAFETENSORS)))
    if not found:
        raise ArgumentError(f"For '{owner}', 'checkpoint' must be a file, a pattern or a folder of files that end in "
                            f"{CHECKPOINT} or {SAFETENSORS}, but nothing fits '{path}'.")
    return found


def _differing(parts: Mapping[str, Mapping[str, np.ndarray]], values: Mapping[str, np.ndarray]) -> Dict[str, str]:
    """Parameters that are whole in several files, or would be without a strategy, with different values."""
    found: Dict[str, str] = {}
    for name, array in values.items():
        holding = [(file, part[name]) for file, part in parts.items() if name in part]
        whole, first = holding[0]
        for file, other in holding[1:]:
            # Byte by byte: a number that is none must not make two equal files differ.
            same = (first.shape, first.dtype, first.tobytes()) == (other.shape, other.dtype, other.tobytes())
            if not same and array.shape == first.shape:
                found.setdefault(name, f"'{whole}' and '{file}' differ in '{name}', of shapes {first.shape} and "
                                       f"{other.shape}")
    return found
