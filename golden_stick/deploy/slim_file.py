"""Slim files: the weights of a slim network and the recipe that made it, in one file."""
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from golden_stick.base.errors import ArgumentTypeError, CheckpointError, SlimError, first_line
from golden_stick.base.files import path_of, whole_file
from golden_stick.cells.slim import origin_of, original_names, recipe_of, slim
from golden_stick.deploy.fold import Folding, restructured
from golden_stick.graph.plan import PruningPlan

__all__ = ["SAFETENSORS", "CHECKPOINT", "Architecture", "SlimFile", "architecture_digest", "kept_positions",
           "read_slim", "read_tensors", "record_of", "weights_digest", "write_slim", "save_slim", "load_slim"]


SAFETENSORS, CHECKPOINT = ".safetensors", ".ckpt"
KEY = "golden_stick"
VERSION = 3
_STEPS = {"prune": PruningPlan, "fold": Folding}

Architecture = Tuple[Tuple[str, Tuple[int, ...]], ...]
Kept = Mapping[str, Mapping[int, Tuple[int, ...]]]


@dataclass(frozen=True, eq=False)
class SlimFile:
    """
    What a slim file holds.

    Args:
        version (int): Of the format, 1 to 3.
        network (str): The class of the network.
        steps (tuple): PruningPlans and Foldings, the oldest first.
        values (dict[str, numpy.ndarray]): The weights.
        original (tuple): Names and shapes of the original network's parameters; None in version 1.
        kept (Mapping): Parameter -> axis -> which of its positions in the original are kept. Axes that are whole, and
            parameters that are whole, have no entry.
        metadata (Mapping): What the user added.
        digests (Mapping): ``original`` of the original's architecture and ``weights``; empty in version 1.
    """

    version: int
    network: str
    steps: Tuple[Any, ...]
    values: Dict[str, np.ndarray]
    original: Optional[Architecture]
    kept: Kept
    metadata: Mapping[str, Any]
    digests: Mapping[str, str]


def record_of(network: nn.Cell, values: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> Dict[str, Any]:
    """The record of a network that golden_stick made, as plain data."""
    steps, original = recipe_of(network), origin_of(network)
    kinds = {kind: name for name, kind in _STEPS.items()}
    lists: Dict[Tuple[int, ...], int] = {}
    return {
        "version": VERSION, "network": type(network).__name__,
        "steps": [{"step": kinds[type(step)], **_referring(step, lists)} for step in steps],
        "kept_lists": [list(positions) for positions in lists],
        "original": [[name, list(shape)] for name, shape in original],
        "digests": {"original": architecture_digest(original), "weights": weights_digest(values)},
        "metadata": dict(metadata),
    }


def _referring(step: Any, lists: Dict[Tuple[int, ...], int]) -> Dict[str, Any]:
    """A step as plain data, with the numbers of lists in place of them. The channels of a group share one list."""
    data = step.to_dict()
    if not isinstance(step, PruningPlan):
        return data
    return {key: [{**item, "kept": lists.setdefault(tuple(item["kept"]), len(lists))} if "kept" in item else item
                  for item in items] for key, items in data.items()}


def _step_of(record: Mapping[str, Any], lists: Optional[Sequence[Sequence[int]]]) -> Any:
    """The step that a record speaks of; it holds its own lists where there are none to refer to."""
    kind, data = _STEPS[record["step"]], {key: value for key, value in record.items() if key != "step"}
    if kind is PruningPlan and lists is not None:
        data = {key: [{**item, "kept": lists[item["kept"]]} if "kept" in item else item for item in items]
                for key, items in data.items()}
    return kind.from_dict(data)


def kept_positions(steps: Iterable[Any]) -> Kept:
    """Parameter -> axis -> the positions in the original that all prunings have left."""
    found: Dict[str, Dict[int, Tuple[int, ...]]] = {}
    for step in steps:
        for axis in step.axes if isinstance(step, PruningPlan) else ():
            before = found.setdefault(axis.parameter, {}).get(axis.axis, range(axis.size))
            found[axis.parameter][axis.axis] = tuple(before[index] for index in axis.kept)
    return found


def architecture_digest(architecture: Architecture) -> str:
    """SHA-256 of the names and shapes, whatever their order."""
    text = json.dumps(sorted([name, list(shape)] for name, shape in architecture))
    return hashlib.sha256(text.encode()).hexdigest()


def weights_digest(values: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the weights with their names, types and shapes, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(values):
        array = values[name]
        digest.update(f"{name} {array.dtype.name} {list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_slim(values: Dict[str, np.ndarray], record: Mapping[str, Any], path: str) -> None:
    """Write a slim file, a checkpoint if the path ends in ``.ckpt``, else a safetensors file."""
    text = json.dumps(record, separators=(",", ":"))
    if path.endswith(CHECKPOINT):
        items = [{"name": name, "data": Tensor(array)} for name, array in values.items()]
        ms.save_checkpoint(items, path, append_dict={KEY: text})
    else:
        save_file(values, path, {"format": "np", KEY: text})


def read_slim(path: str) -> SlimFile:
    """
    A slim file.

    Raises:
        CheckpointError: If the file is missing, cannot be read, is no slim file, a newer one, or damaged.
    """
    values, text = read_tensors("load_slim", path)
    if text is None:
        raise CheckpointError(
            f"For 'load_slim', 'path' must be a file that 'save_slim' wrote, but '{path}' has no recipe."
        )
    file = _parsed(text, values, path)
    if file.digests and weights_digest(values) != file.digests["weights"]:
        raise CheckpointError(
            f"For 'load_slim', the weights in '{path}' must be those that 'save_slim' wrote, but their digest differs: "
            f"the file was changed or is damaged."
        )
    return file


def read_tensors(owner: str, path: str) -> Tuple[Dict[str, np.ndarray], Optional[str]]:
    """
    The arrays of a safetensors file or a MindSpore checkpoint, and the record of golden_stick if there is one.

    Raises:
        CheckpointError: If the file is missing, has another ending, or cannot be read.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"For '{owner}', 'path' must be a file, but got '{path}'.")
    # What MindSpore says of these two speaks of its own options.
    if not path.endswith((SAFETENSORS, CHECKPOINT)):
        raise CheckpointError(f"For '{owner}', the checkpoint's name must end in {CHECKPOINT} or {SAFETENSORS}, but "
                              f"got '{path}'.")
    if not os.path.getsize(path):
        raise CheckpointError(f"For '{owner}', the checkpoint must hold parameters, but '{path}' is empty.")
    try:
        if path.endswith(SAFETENSORS):
            with safe_open(path, "np") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, (file.metadata() or {}).get(KEY)
        values = ms.load_checkpoint(path)
    except (SafetensorError, ValueError, RuntimeError, OSError, TypeError) as error:
        raise CheckpointError(
            f"For '{owner}', 'path' must be a checkpoint, but got '{path}': {first_line(error)}"
        ) from error
    text = values.pop(KEY, None)
    # A checkpoint may hold texts besides, which its writer appended.
    arrays = {name: value.asnumpy() for name, value in values.items() if isinstance(value, Tensor)}
    return arrays, None if text is None else str(text)


def _parsed(text: str, values: Dict[str, np.ndarray], path: str) -> SlimFile:
    try:
        record = json.loads(text)
        version = record["version"]
        if version not in range(1, VERSION + 1):
            raise CheckpointError(f"For 'load_slim', the file's version must be one of 1 to {VERSION}, but got "
                                  f"{version}: another golden_stick wrote '{path}'.")
        if version == 1:
            steps = tuple(PruningPlan.from_dict(plan) for plan in record["plans"])
            return SlimFile(1, record.get("network", ""), steps, values, None, kept_positions(steps), {}, {})
        lists = record["kept_lists"] if version > 2 else None
        steps = tuple(_step_of(step, lists) for step in record["steps"])
        original = tuple((name, tuple(shape)) for name, shape in record["original"])
        digests = {key: record["digests"][key] for key in ("original", "weights")}
        order = {name: at for at, (name, _) in enumerate(original)}
        values = dict(sorted(values.items(), key=lambda item: order.get(item[0], len(order))))
        return SlimFile(version, record["network"], steps, values, original, kept_positions(steps), record["metadata"],
                        digests)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"For 'load_slim', the recipe in '{path}' must be what 'save_slim' wrote, but it is damaged: "
            f"{first_line(error)}"
        ) from error


_NAMED = 3


def save_slim(slim_network: nn.Cell, path: str, metadata: Optional[Mapping[str, Any]] = None) -> str:
    """
    Write a slim network to one file: its weights, and the recipe that makes it from the original network.

    The file is in the safetensors format. It also holds which positions of the original's parameters are kept, names
    and shapes of these, and digests: `golden-stick inspect` shows them.

    Args:
        slim_network (nn.Cell): What `convert`, `slim`, `fold` or `load_slim` returned, fine-tuned or not.
        path (Union[str, os.PathLike]): Where to write; the folder must exist. The ending ``.safetensors`` is added if
            it is missing, but a path that ends in ``.ckpt`` is written as a MindSpore checkpoint. An existing file is
            replaced once the new one is complete.
        metadata (dict): What else the file shall say, such as the accuracy; fit for JSON. Default: ``None``.

    Returns:
        str, the path of the file.

    Raises:
        ArgumentTypeError: If `slim_network` is not a Cell, `path` no path, or `metadata` not a dict that is fit for
            JSON.
        CheckpointError: If it carries no recipe, or the file cannot be written there.
    """
    if not isinstance(slim_network, nn.Cell):
        raise ArgumentTypeError(f"For 'save_slim', 'slim' must be a Cell, but got {type(slim_network).__name__}.")
    if not recipe_of(slim_network):
        raise CheckpointError(
            f"For 'save_slim', 'slim' must be a network that golden_stick made slim, but got a "
            f"'{type(slim_network).__name__}' without a recipe: use 'mindspore.save_checkpoint' for it."
        )
    parameters = original_names(slim_network).parameters(slim_network)
    values = {name: _array(parameter) for name, parameter in parameters.items()}
    record = record_of(slim_network, values, _checked(metadata))
    path = path_of("save_slim", path)
    path = path if path.endswith((SAFETENSORS, CHECKPOINT)) else f"{path}{SAFETENSORS}"
    with whole_file("save_slim", path) as temporary:
        write_slim(values, record, temporary)
    return path


def load_slim(network: nn.Cell, path: str) -> nn.Cell:
    """
    The slim network that a file holds. Nothing is traced, and no algorithm is needed.

    The order in which Cells are declared does not matter. What parameters do not show, such as strides and activations,
    is not compared.

    Args:
        network (nn.Cell): The original network, freshly built by the code that built it for pruning. It is not changed.
        path (Union[str, os.PathLike]): A file that `save_slim` wrote.

    Returns:
        nn.Cell, slim, with the weights of the file.

    Raises:
        ArgumentTypeError: If `network` is not a Cell, or `path` no path.
        CheckpointError: If the file is missing, damaged, is no slim file, or belongs to another network. The message
            names the first parameters that are missing, that are too many, or that have another shape.

    Examples:
        >>> import os, tempfile
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> def build():
        ...     return nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> algo = gs.OneShot({"prune_rate": 0.5})
        >>> slim = algo.convert(algo.apply(build(), inputs=(1, 3, 16, 16)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = gs.save_slim(slim, os.path.join(folder, "slim.safetensors"), {"accuracy": 0.93})
        ...     again = gs.load_slim(build(), path)
        >>> print(gs.verify(slim, again, (1, 3, 16, 16)).largest_difference)
        0.0
    """
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For 'load_slim', 'network' must be a Cell, but got {type(network).__name__}.")
    path = path_of("load_slim", path)
    file = read_slim(path)
    if recipe_of(network):
        raise CheckpointError(
            "For 'load_slim', 'network' must be the original network, but got one that is slim already."
        )
    if file.original is not None:
        difference = _difference(file.original, _architecture(network))
        if difference:
            raise CheckpointError(f"For 'load_slim', 'network' must be built as the one that '{path}' was made from, "
                                  f"a '{file.network}', but this '{type(network).__name__}' differs: {difference}.")
    smaller = network
    try:
        for step in file.steps:
            smaller = slim(smaller, step) if isinstance(step, PruningPlan) else restructured(smaller, step)
    except SlimError as error:
        raise CheckpointError(
            f"For 'load_slim', 'network' must be of the kind that '{path}' was made from, but: {error}"
        ) from error
    _fill(smaller, file.values, path)
    return smaller


def _array(parameter: ms.Parameter) -> np.ndarray:
    """A copy of the values; numpy has no bfloat16, and float32 holds it without loss."""
    exact = parameter.astype(ms.float32) if parameter.dtype == ms.bfloat16 else parameter
    return np.array(exact.asnumpy(), order="C")


def _checked(metadata: Optional[Mapping[str, Any]]) -> Mapping[str, Any]:
    if metadata is None:
        return {}
    try:
        if isinstance(metadata, dict) and json.loads(json.dumps(metadata, allow_nan=False)) is not None:
            return metadata
        reason = type(metadata).__name__
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise ArgumentTypeError(f"For 'save_slim', 'metadata' must be a dict that is fit for JSON, but got: {reason}.")


def _architecture(network: nn.Cell) -> Architecture:
    return tuple((parameter.name, tuple(parameter.shape)) for parameter in network.get_parameters())


def _difference(wanted: Architecture, got: Architecture) -> str:
    """In words, what parameters are missing, too many or of another shape; the first few of each."""
    here, there = dict(wanted), dict(got)
    found = (
        ("it lacks", [f"'{name}' {shape}" for name, shape in wanted if name not in there]),
        ("it has besides", [f"'{name}' {shape}" for name, shape in got if name not in here]),
        ("of another shape are", [f"'{name}' {there[name]} instead of {shape}" for name, shape in wanted
                                  if name in there and there[name] != shape]),
    )
    return "; ".join(f"{what} {', '.join(items[:_NAMED])}" +
                     (f" and {len(items) - _NAMED} more" if len(items) > _NAMED else "")
                     for what, items in found if items)


def _fill(smaller: nn.Cell, values: Dict[str, np.ndarray], path: str) -> None:
    parameters = {parameter.name: parameter for parameter in smaller.get_parameters()}
    difference = _difference(tuple((name, array.shape) for name, array in values.items()), _architecture(smaller))
    if difference:
        raise CheckpointError(f"For 'load_slim', the slim network must have the parameters of '{path}', but it "
                              f"differs: {difference}.")
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(values[name], parameter.dtype))
