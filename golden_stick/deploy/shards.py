"""Checkpoints whose ranks each hold a part of a parameter, merged as the training's strategy says."""
import os
import re
import tempfile
from typing import Dict, List, Mapping

import mindspore as ms
import numpy as np
from mindspore import Tensor

from golden_stick.deploy.slim_file import read_tensors
from golden_stick.errors import ArgumentError, CheckpointError, first_line

__all__ = ["merged_shards"]

_RANK = re.compile(r"rank[_-]?(\d+)")


def merged_shards(owner: str, parts: Mapping[str, Mapping[str, np.ndarray]], strategy: str) -> Dict[str, np.ndarray]:
    """
    Whole parameters, merged by MindSpore.

    Args:
        owner (str): Who asks, for messages.
        parts (Mapping): Path, which must name its rank, as ``rank_0/net.ckpt`` does -> arrays by name.
        strategy (str): The file in which MindSpore saved the parallel strategy of the training, of all stages of a
            pipeline (`mindspore.merge_pipeline_strategys`).

    Returns:
        dict, name -> array.

    Raises:
        ArgumentError: If a path names no rank, or two the same.
        CheckpointError: If `strategy` is no strategy file, ranks are missing, or files and strategy do not fit.
    """
    files = _by_rank(owner, parts)
    with tempfile.TemporaryDirectory() as folder:
        # Written anew: MindSpore's merging reads .ckpt files alone.
        shards = {rank: os.path.join(folder, f"{rank}.ckpt") for rank in files}
        for rank, file in files.items():
            ms.save_checkpoint([{"name": name, "data": Tensor(array)} for name, array in parts[file].items()],
                               shards[rank])
        missing = set(_needed(owner, strategy)) - set(files)
        if missing:
            raise CheckpointError(f"For '{owner}', the files of all ranks that '{strategy}' speaks of must be given, "
                                  f"but these are missing: {', '.join(map(str, sorted(missing)))}.")
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
