"""
Checkpoints of every kind: read, put together from the ranks that wrote them, and told apart; and the state of a
training, written and read again.
"""
import glob
import os
import re
import tempfile
from collections import ChainMap
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from safetensors.numpy import save_file

from golden_stick.base.config import Whole, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, first_line
from golden_stick.base.files import PathLike, path_of, whole_file
from golden_stick.cells.wrappers import PLAN
from golden_stick.deploy.slim_file import CHECKPOINT, SAFETENSORS, read_tensors

__all__ = ["read_checkpoint", "Source", "difference_of_state", "load_state", "read_source", "save_state"]


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


_STEP = "golden_stick.step"  # what a file of a state holds besides parameters


def save_state(path: PathLike, network: nn.Cell, optimizer: nn.Cell, step: int) -> str:
    """
    Write the state of a training to one file, whole or not at all: every parameter of the network and of the optimizer,
    scales, moments, schedules and counts among them, and how many batches were seen. It is a checkpoint as well.

    `callbacks(checkpoint=path)` of an algorithm does it in `Model.train`.

    Args:
        path (Union[str, os.PathLike]): Where to write, ending in ``.ckpt`` or ``.safetensors``; the folder must exist.
            Of several processes, the first one writes.
        network (nn.Cell): What is trained, such as what `apply` of an algorithm returned.
        optimizer (nn.Cell): What trains it: an optimizer, or all of ``Model.train_network``, which holds a loss scale
            besides.
        step (int): How many batches were seen.

    Returns:
        str, the path.

    Raises:
        ArgumentTypeError: If `path` is no path, `step` no whole number, or the others are not Cells.
        ArgumentError: If `step` is negative, `path` ends otherwise, or two parameters have one name.
        CheckpointError: If the file cannot be written there.

    Examples:
        >>> import os, tempfile
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.Dense(4, 3)
        >>> optimizer = nn.Adam(net.trainable_params(), 0.01)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = gs.save_state(os.path.join(folder, "training.ckpt"), net, optimizer, 100)
        ...     print(gs.load_state(path, net, optimizer))
        100
    """
    path = _state_path("save_state", path)
    check_value("save_state", "step", step, Whole(0))
    held = {name: item.asnumpy() for name, item in _held("save_state", network, optimizer).items()}
    held[_STEP] = np.array([step], np.int64)
    with whole_file("save_state", path) as temporary:
        if path.endswith(SAFETENSORS):
            save_file({name: np.array(array, order="C") for name, array in held.items()}, temporary)
        else:
            ms.save_checkpoint([{"name": name, "data": Tensor(array)} for name, array in held.items()], temporary)
    return path


def load_state(path: PathLike, network: nn.Cell, optimizer: nn.Cell) -> int:
    """
    Put a network and an optimizer into the state that `save_state` wrote: the same script, run again, goes on.

    Give `Model.train` a data set that begins behind the batches that were seen, ``data.set_init_step(step)``, and
    ``initial_epoch=step // data.get_dataset_size()``. In a loop of one's own, skip as many batches.

    Args:
        path (Union[str, os.PathLike]): A file that `save_state` or a callback wrote, or where one is going to be.
        network (nn.Cell): As for `save_state`, made anew.
        optimizer (nn.Cell): As for `save_state`, made anew.

    Returns:
        int, how many batches were seen; 0 if there is no such file yet, and then nothing is changed.

    Raises:
        ArgumentTypeError: If `path` is no path, or the others are not Cells.
        ArgumentError: If `path` ends otherwise, or two parameters have one name.
        CheckpointError: If the file cannot be read, or is of another network, optimizer or configuration.
    """
    path = _state_path("load_state", path)
    held = _held("load_state", network, optimizer)
    if not os.path.exists(path):
        return 0
    values, step = _read_state("load_state", path)
    for name in (*held, *values):
        if name not in held or name not in values or values[name].shape != tuple(held[name].shape):
            there, here = (tuple(known[name].shape) if name in known else "missing" for known in (values, held))
            raise CheckpointError(f"For 'load_state', '{path}' must be of this network and optimizer, but '{name}' is "
                                  f"{there} in it and {here} here: build both as before, and give Model.train_network "
                                  f"as 'optimizer' where there is a loss scale.")
    for name in held:
        # Bytes are records: of how a network was masked, or what its knockoffs are drawn from.
        if values[name].dtype == np.uint8 and not np.array_equal(values[name], held[name].asnumpy()):
            raise CheckpointError(f"For 'load_state', '{path}' must be of a training of this network with this "
                                  f"configuration, but '{name}', which tells of both, is another: take another path, "
                                  f"or delete it to begin anew.")
    for name, item in held.items():
        # Not set_data: in PyNative mode that would cut the parameter off from its optimizer.
        ops.assign(item, Tensor(values[name], item.dtype))
    return step


def difference_of_state(owner: str, path: str, network: nn.Cell, optimizer: nn.Cell, step: int) -> str:
    """What is otherwise in a file of a state than in the training that is about to begin; empty if nothing is."""
    values, stored = _read_state(owner, path)
    if stored != step:
        return f"it was written after {stored:,} batches, and this training begins after {step:,}"
    name = next((name for name, item in _held(owner, network, optimizer).items()
                 if name in values and not np.array_equal(values[name], item.asnumpy(), equal_nan=True)), None)
    return f"it holds another '{name}'" if name else ""


def _state_path(owner: str, path: PathLike) -> str:
    text = path_of(owner, path)
    if not text.endswith((CHECKPOINT, SAFETENSORS)):
        raise ArgumentError(f"For '{owner}', the file of a state must end in {CHECKPOINT} or {SAFETENSORS}, but got "
                            f"'{text}'.")
    return text


def _held(owner: str, network: nn.Cell, optimizer: nn.Cell) -> Dict[str, Parameter]:
    """Every parameter of the two, by name."""
    held: Dict[str, Parameter] = {}
    for argument, cell in (("network", network), ("optimizer", optimizer)):
        if not isinstance(cell, nn.Cell):
            raise ArgumentTypeError(f"For '{owner}', network and optimizer must be Cells, but '{argument}' is "
                                    f"{type(cell).__name__}.")
        for item in cell.get_parameters():
            if held.setdefault(item.name, item) is not item:
                raise ArgumentError(f"For '{owner}', parameters must have names of their own, but two are called "
                                    f"'{item.name}'.")
    return held


def _read_state(owner: str, path: str) -> Tuple[Dict[str, np.ndarray], int]:
    values, _ = read_tensors(owner, path)
    if _STEP not in values:
        raise CheckpointError(f"For '{owner}', '{path}' must be a file that 'save_state' wrote, but it does not tell "
                              f"how many batches were seen.")
    return values, int(values.pop(_STEP)[0])
