"""The slim file: weights and recipe in one MindSpore checkpoint."""
import json
import os
from typing import Any, Dict, Tuple

import mindspore as ms
from mindspore import Tensor, nn

from golden_stick.deploy.files import whole_file
from golden_stick.errors import ArgumentTypeError, CheckpointError, SlimError, first_line
from golden_stick.prune.plan import PruningPlan
from golden_stick.prune.slimmer import recipe_of, slim

__all__ = ["save_slim", "load_slim", "read_slim"]

_KEY = "golden_stick"
_VERSION = 1


def save_slim(slim_network: nn.Cell, path: str) -> str:
    """
    Write a slim network to one file: its weights, and the recipe that makes it from the original network.

    Args:
        slim_network (nn.Cell): What `convert`, `slim` or `load_slim` returned, fine-tuned or not.
        path (str): Where to write; the folder must exist. The ending ``.ckpt`` is added if it is missing. An existing
            file is replaced once the new one is complete.

    Returns:
        str, the path of the file.

    Raises:
        ArgumentTypeError: If `slim_network` is not a Cell.
        CheckpointError: If it carries no recipe, or the file cannot be written there.
    """
    if not isinstance(slim_network, nn.Cell):
        raise ArgumentTypeError(f"For 'save_slim', 'slim' must be a Cell, but got {type(slim_network).__name__}.")
    recipe = recipe_of(slim_network)
    if not recipe:
        raise CheckpointError(
            f"For 'save_slim', 'slim' must be a network that golden_stick made slim, but got a "
            f"'{type(slim_network).__name__}' without a recipe: use 'mindspore.save_checkpoint' for it."
        )
    path = path if path.endswith(".ckpt") else f"{path}.ckpt"
    record = {"version": _VERSION, "network": type(slim_network).__name__, "plans": [plan.to_dict() for plan in recipe]}
    with whole_file("save_slim", path) as temporary:
        ms.save_checkpoint(slim_network, temporary, append_dict={_KEY: json.dumps(record)})
    return path


def load_slim(network: nn.Cell, path: str) -> nn.Cell:
    """
    The slim network that a file holds. Nothing is traced, and no algorithm is needed.

    Args:
        network (nn.Cell): The original network, freshly built by the code that built it for pruning. It is not changed.
        path (str): A file that `save_slim` wrote.

    Returns:
        nn.Cell, slim, with the weights of the file.

    Raises:
        ArgumentTypeError: If `network` is not a Cell.
        CheckpointError: If the file is missing, is no slim file, or belongs to another network. The message names the
            first parameter that does not fit.

    Examples:
        >>> import os, tempfile
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> def build():
        ...     return nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> algo = gs.OneShot({"prune_rate": 0.5})
        >>> slim = algo.convert(algo.apply(build(), inputs=(1, 3, 16, 16)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = gs.save_slim(slim, os.path.join(folder, "slim.ckpt"))
        ...     again = gs.load_slim(build(), path)
        >>> print(gs.verify(slim, again, (1, 3, 16, 16)).largest_difference)
        0.0
    """
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For 'load_slim', 'network' must be a Cell, but got {type(network).__name__}.")
    plans, values = read_slim(path)
    if recipe_of(network):
        raise CheckpointError(
            "For 'load_slim', 'network' must be the original network, but got one that is slim already."
        )
    smaller = network
    try:
        for plan in plans:
            smaller = slim(smaller, plan)
    except SlimError as error:
        raise CheckpointError(
            f"For 'load_slim', 'network' must be of the kind that '{path}' was made from, but: {error}"
        ) from error
    _fill(smaller, values, path)
    return smaller


def read_slim(path: str) -> Tuple[Tuple[PruningPlan, ...], Dict[str, Tensor]]:
    """
    The recipe and the weights of a slim file.

    Raises:
        CheckpointError: If the file is missing, cannot be read, is no slim file or a newer one.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"For 'load_slim', 'path' must be a file, but got '{path}'.")
    try:
        values: Dict[str, Any] = ms.load_checkpoint(path)
    except (ValueError, RuntimeError, OSError, TypeError) as error:
        raise CheckpointError(
            f"For 'load_slim', 'path' must be a checkpoint, but got '{path}': {first_line(error)}"
        ) from error
    if _KEY not in values:
        raise CheckpointError(
            f"For 'load_slim', 'path' must be a file that 'save_slim' wrote, but '{path}' has no recipe."
        )
    return _plans(str(values.pop(_KEY)), path), values


def _plans(text: str, path: str) -> Tuple[PruningPlan, ...]:
    try:
        record = json.loads(text)
        if record["version"] != _VERSION:
            raise CheckpointError(f"For 'load_slim', the file's version must be {_VERSION}, but got "
                                  f"{record['version']}: another golden_stick wrote '{path}'.")
        return tuple(PruningPlan.from_dict(plan) for plan in record["plans"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"For 'load_slim', the recipe in '{path}' must be what 'save_slim' wrote, but it is damaged: "
            f"{first_line(error)}"
        ) from error


def _fill(smaller: nn.Cell, values: Dict[str, Tensor], path: str) -> None:
    parameters = {parameter.name: parameter for parameter in smaller.get_parameters()}
    for name in values:
        if name not in parameters:
            raise CheckpointError(
                f"For 'load_slim', 'network' must have the parameter '{name}' of '{path}', but has not."
            )
    for name, parameter in parameters.items():
        if name not in values:
            raise CheckpointError(
                f"For 'load_slim', '{path}' must hold the network's parameter '{name}', but does not."
            )
        if tuple(values[name].shape) != tuple(parameter.shape):
            raise CheckpointError(f"For 'load_slim', '{name}' in '{path}' must have shape {tuple(parameter.shape)}, "
                                  f"but got {tuple(values[name].shape)}.")
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(values[name].asnumpy(), parameter.dtype))
