"""Slim files: the weights of a slim network and the recipe that made it, in one file. Read without MindSpore."""
import json
import os
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from safetensors import SafetensorError, safe_open

from golden_stick.base.display import table
from golden_stick.base.errors import CheckpointError, first_line
from golden_stick.base.files import digest_of
from golden_stick.deploy.fold.plan import Folding
from golden_stick.graph.plan import PruningPlan

__all__ = ["SAFETENSORS", "CHECKPOINT", "KEY", "Architecture", "Kept", "Reconstruction", "SlimFile", "SolvedLayer",
           "SparseWeight", "Sparsity", "Step", "architecture_digest", "kept_positions", "packed", "read_slim",
           "read_tensors", "record_of", "weights_digest"]


SAFETENSORS, CHECKPOINT = ".safetensors", ".ckpt"
KEY = "golden_stick"
VERSION = 3


@dataclass(frozen=True)
class SolvedLayer:
    """
    One layer of a reconstruction.

    Args:
        path (str): The path of its Cell.
        change (str): ``'weights'``, ``'shift'`` (its bias alone, or that of the normalization behind it) or
            ``'nothing'``, where nothing lowered the error.
        before, after (float): The part of what the layer gave in the original that is left unexplained, on the samples
            kept aside: the sum of squared differences over the sum of squares about the mean.
        damping (float): How strongly it was held near the weights it had, as a fraction of the mean square of what it
            reads. None where the weights did not change.
        reason (str): Why nothing could be solved; empty where something could.
    """

    path: str
    change: str
    before: Optional[float] = None
    after: Optional[float] = None
    damping: Optional[float] = None
    reason: str = ""

    def row(self) -> Tuple[str, ...]:
        """The layer, what is left unexplained before and after, and what was done, in words."""
        numbers = ("" if number is None else f"{number:.4f}" for number in (self.before, self.after))
        how = {"weights": f"weights, damping {self.damping:g}" if self.damping else "weights", "shift": "shift alone",
               "nothing": f"as it was: {self.reason or 'nothing lowered the error'}"}[self.change]
        return (self.path, *numbers, how)


@dataclass(frozen=True)
class Reconstruction:
    """
    What `reconstruct` did.

    Args:
        layers (tuple[SolvedLayer]): The layers that lost inputs, or read what such layers make, in their order.
        samples, kept_aside (int): How many samples it was solved with, and how many the errors were measured on.
    """

    layers: Tuple[SolvedLayer, ...]
    samples: int
    kept_aside: int

    def __str__(self) -> str:
        changed = sum(layer.change != "nothing" for layer in self.layers)
        said = (f"reconstruction: {changed} of {len(self.layers)} layers changed, with {self.samples:,} samples; "
                f"what is left unexplained of what they gave in the original, on {self.kept_aside:,} others")
        head = ("layer solved", "before", "after", "by")
        return "\n".join([said, table(head, (layer.row() for layer in self.layers), words=(0, 3))])

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Reconstruction":
        """The reconstruction that `to_dict` wrote."""
        return cls(tuple(SolvedLayer(**item) for item in values["layers"]), values["samples"], values["kept_aside"])


@dataclass(frozen=True)
class SparseWeight:
    """A weight that has lost single numbers: its parameter, how many numbers that has, and how many are zero."""

    parameter: str
    size: int
    zeros: int


@dataclass(frozen=True)
class Sparsity:
    """The step of a recipe that makes single weights zero; no shape changes."""

    weights: Tuple[SparseWeight, ...]

    @property
    def size(self) -> int:
        """How many numbers the weights have."""
        return sum(weight.size for weight in self.weights)

    @property
    def zeros(self) -> int:
        """How many of these are zero."""
        return sum(weight.zeros for weight in self.weights)

    def renamed(self, names: Mapping[str, str]) -> "Sparsity":
        """The same for a network whose parameters have other names: name here -> name there."""
        return Sparsity(tuple(replace(item, parameter=names.get(item.parameter, item.parameter))
                              for item in self.weights))

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Sparsity":
        """What `to_dict` wrote."""
        return cls(tuple(SparseWeight(**item) for item in values["weights"]))


_STEPS: Dict[str, Any] = {"prune": PruningPlan, "fold": Folding, "reconstruct": Reconstruction, "sparse": Sparsity}

Step = Union[PruningPlan, Folding, Reconstruction, Sparsity]
Architecture = Tuple[Tuple[str, Tuple[int, ...]], ...]
Kept = Mapping[str, Mapping[int, Tuple[int, ...]]]


@dataclass(frozen=True, eq=False)
class SlimFile:
    """What a slim file holds."""

    version: int
    network: str  # its class
    steps: Tuple[Step, ...]  # the oldest first
    values: Dict[str, np.ndarray]
    original: Architecture
    kept: Kept  # parameter -> axis -> positions in the original; what is whole has no entry
    metadata: Mapping[str, Any]
    digests: Mapping[str, str]  # 'original' of the original's architecture, and 'weights'


# What a sparse weight is stored as: which of its numbers are not zero, a bit for each, and these.
_BITS, _NUMBERS = "#nonzero", "#values"


def packed(steps: Iterable[Step], values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """The arrays that a slim file holds: weights that were made sparse as two arrays each, where these are smaller."""
    sparse = {weight.parameter for step in steps if isinstance(step, Sparsity) for weight in step.weights}
    stored: Dict[str, np.ndarray] = {}
    for name, array in values.items():
        # Of the bytes, not the numbers: a negative zero comes back as it was.
        stays = array.ravel().view(f"u{array.itemsize}") != 0 if name in sparse else np.ones(0, bool)
        count = np.count_nonzero(stays)
        if 0 < count and count * array.itemsize + -(-array.size // 8) < array.nbytes:
            stored.update({name + _BITS: np.packbits(stays), name + _NUMBERS: array.ravel()[stays]})
        else:
            stored[name] = array
    return stored


def _unpacked(stored: Dict[str, np.ndarray], shapes: Mapping[str, Sequence[int]]) -> Dict[str, np.ndarray]:
    """What `packed` was given; `shapes` are those of the weights in two arrays."""
    values = dict(stored)
    for name, shape in shapes.items():
        bits, numbers = values.pop(name + _BITS), values.pop(name + _NUMBERS)
        values[name] = np.zeros(shape, numbers.dtype)
        values[name].reshape(-1)[np.unpackbits(bits, count=values[name].size).astype(bool)] = numbers
    return values


def record_of(network: str, steps: Sequence[Step], original: Architecture, values: Mapping[str, np.ndarray],
              metadata: Mapping[str, Any]) -> Dict[str, Any]:
    """What a slim file says besides the weights, as plain data; `network` is the class."""
    stored = packed(steps, values)
    lists: Dict[Tuple[int, ...], int] = {}
    return {
        "version": VERSION, "network": network,
        "steps": [{"step": next(name for name, kind in _STEPS.items() if isinstance(step, kind)),
                   **_with_lists(step.to_dict(), lambda kept: lists.setdefault(tuple(kept), len(lists)))}
                  for step in steps],
        "kept_lists": [list(positions) for positions in lists],
        "original": [[name, list(shape)] for name, shape in original],
        "digests": {"original": architecture_digest(original), "weights": weights_digest(values)},
        "metadata": dict(metadata),
        "sparse": {name: list(array.shape) for name, array in values.items() if name not in stored},
    }


def _with_lists(data: Mapping[str, Any], change: Callable[[Any], Any]) -> Dict[str, Any]:
    """A step as plain data, where lists of channels become their numbers or back. Those of a group share one list."""
    return {key: [{**item, "kept": change(item["kept"])} if "kept" in item else item for item in items]
            if isinstance(items, (list, tuple)) else items for key, items in data.items()}


def _step_of(record: Mapping[str, Any], lists: Sequence[Sequence[int]]) -> Step:
    data = {key: value for key, value in record.items() if key != "step"}
    return _STEPS[record["step"]].from_dict(_with_lists(data, lists.__getitem__))


def kept_positions(steps: Iterable[Step]) -> Kept:
    """Parameter -> axis -> the positions in the original that all prunings have left."""
    found: Dict[str, Dict[int, Tuple[int, ...]]] = {}
    for step in steps:
        for axis in step.axes if isinstance(step, PruningPlan) else ():
            before = found.setdefault(axis.parameter, {}).get(axis.axis, range(axis.size))
            found[axis.parameter][axis.axis] = tuple(before[index] for index in axis.kept)
    return found


def architecture_digest(architecture: Architecture) -> str:
    """SHA-256 of the names and shapes, whatever their order."""
    return digest_of([json.dumps(sorted([name, list(shape)] for name, shape in architecture))])


def weights_digest(values: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the weights with their names, types and shapes, whatever their order."""
    arrays = sorted(values.items(), key=lambda item: item[0])
    return digest_of(part for name, array in arrays
                     for part in (f"{name} {array.dtype.name} {list(array.shape)}\n", array))


def read_slim(path: str) -> SlimFile:
    """A slim file, refused where it is another file, of another version, or damaged."""
    values, text = read_tensors("load_slim", path)
    if text is None:
        raise CheckpointError(
            f"For 'load_slim', 'path' must be a file that 'save_slim' wrote, but '{path}' has no recipe: it holds "
            f"parameters alone. If they are of a slim network, load the slim file it was trained from, and these into "
            f"it by 'mindspore.load_checkpoint'; in the shell, name that file as '--recipe' of 'golden-stick convert'.")
    file = _parsed(text, values, path)
    if weights_digest(values) != file.digests["weights"]:
        raise CheckpointError(f"For 'load_slim', the weights in '{path}' must be those that 'save_slim' wrote, but "
                              f"their digest differs: the file was changed or is damaged.")
    return file


def read_tensors(owner: str, path: str, argument: str = "path") -> Tuple[Dict[str, np.ndarray], Optional[str]]:
    """The arrays of a safetensors file or a MindSpore checkpoint, and the record of golden_stick if there is one."""
    if not os.path.isfile(path):
        raise CheckpointError(f"For '{owner}', '{argument}' must be a file, but got '{path}'.")
    # What MindSpore says of these two speaks of its own options.
    if not path.endswith((SAFETENSORS, CHECKPOINT)):
        raise CheckpointError(f"For '{owner}', the checkpoint's name must end in {CHECKPOINT} or {SAFETENSORS}, but "
                              f"got '{path}'.")
    if not os.path.getsize(path):
        raise CheckpointError(f"For '{owner}', the checkpoint must hold parameters, but '{path}' is empty.")
    try:
        if path.endswith(SAFETENSORS):
            with safe_open(path, "np") as file:
                text = (file.metadata() or {}).get(KEY)
                return _with_sparse(owner, path, {name: file.get_tensor(name) for name in file.keys()}, text), text
        import mindspore as ms  # not at the top: only this ending needs it
        values = ms.load_checkpoint(path)
    except (SafetensorError, ValueError, RuntimeError, OSError, TypeError) as error:
        raise CheckpointError(f"For '{owner}', '{argument}' must be a checkpoint, but got '{path}': "
                              f"{first_line(error)}") from error
    text = values.pop(KEY, None)
    # A checkpoint may hold texts besides, which its writer appended.
    arrays = {name: value.asnumpy() for name, value in values.items() if hasattr(value, "asnumpy")}
    return (arrays, None) if text is None else (_with_sparse(owner, path, arrays, str(text)), str(text))


def _with_sparse(owner: str, path: str, stored: Dict[str, np.ndarray], text: Optional[str]) -> Dict[str, np.ndarray]:
    """The weights, as they were before `packed`; `text` is the record that stands beside them."""
    try:
        return stored if text is None else _unpacked(stored, json.loads(text).get("sparse", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"For '{owner}', a sparse weight in '{path}' must have as many numbers as its bits say, "
                              f"but the two do not fit: {first_line(error)}") from error


def _parsed(text: str, values: Dict[str, np.ndarray], path: str) -> SlimFile:
    try:
        record = json.loads(text)
        if record["version"] != VERSION:
            raise CheckpointError(f"For 'load_slim', the file's version must be {VERSION}, but got "
                                  f"{record['version']}: another golden_stick wrote '{path}'.")
        steps = tuple(_step_of(step, record["kept_lists"]) for step in record["steps"])
        original = tuple((name, tuple(shape)) for name, shape in record["original"])
        digests = {key: record["digests"][key] for key in ("original", "weights")}
        order = {name: at for at, (name, _) in enumerate(original)}
        values = dict(sorted(values.items(), key=lambda item: order.get(item[0], len(order))))
        return SlimFile(VERSION, record["network"], steps, values, original, kept_positions(steps), record["metadata"],
                        digests)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"For 'load_slim', the recipe in '{path}' must be what 'save_slim' wrote, but it is "
                              f"damaged: {first_line(error)}") from error
