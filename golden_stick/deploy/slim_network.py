"""`save_slim` and `load_slim`: between a slim network and its file."""
import json
from dataclasses import replace
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from safetensors.numpy import save_file

from golden_stick.base.config import in_own_name
from golden_stick.base.errors import ArgumentTypeError, CheckpointError, SlimError
from golden_stick.base.files import PathLike, path_of, whole_file
from golden_stick.base.inputs import progress
from golden_stick.cells.slim import (
    Recipe,
    architecture_of,
    common_names,
    moved,
    recipe_of,
    remember,
    resize,
    slim,
    why_fixed,
)
from golden_stick.cells.wrappers import copy_network, numbers_in
from golden_stick.deploy.fold.network import restructured
from golden_stick.deploy.slim_file import (
    CHECKPOINT,
    KEY,
    SAFETENSORS,
    Architecture,
    Reconstruction,
    SlimFile,
    Sparsity,
    Step,
    kept_positions,
    packed,
    read_slim,
    record_of,
)
from golden_stick.graph.plan import PruningPlan

__all__ = ["load_slim", "original_of", "placed", "save_slim", "take_step"]


@in_own_name
def save_slim(slim_network: nn.Cell, path: PathLike, metadata: Optional[Mapping[str, Any]] = None) -> str:
    """
    Write a slim network to one file: its weights, and the recipe that makes it from the original network.

    The file is in the safetensors format. It also holds which positions of the original's parameters are kept, names
    and shapes of these, and digests: `golden-stick inspect` shows them. Of weights that `Unstructured` made sparse it
    holds the numbers that are not zero and, in a bit for each, where they stand.

    A layer that was replaced after pruning is part of the file if `load_slim` can make it of the one before: one of its
    kind at its place, with another number of filters, such as of classes. Any other change of the network's parameters
    is refused.

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
        CheckpointError: If it carries no recipe, two parameters have one name, `load_slim` could not build what it has
            become, or the file cannot be written there.
    """
    if not isinstance(slim_network, nn.Cell):
        raise ArgumentTypeError(f"For 'save_slim', 'slim' must be a Cell, but got {type(slim_network).__name__}.")
    recipe = recipe_of(slim_network)
    if not recipe.steps:
        inside = next((path for path, cell in slim_network.cells_and_names() if recipe_of(cell).steps), None)
        remedy = f"save the Cell at '{inside}', which has one" if inside else "use 'mindspore.save_checkpoint' for it"
        raise CheckpointError(f"For 'save_slim', 'slim' must be a network that golden_stick made slim, but got a "
                              f"'{type(slim_network).__name__}' without a recipe: {remedy}.")
    values = {name: np.array(numbers_in(parameter), order="C")
              for name, parameter in _buildable(slim_network, recipe).items()}
    record = record_of(type(slim_network).__name__, recipe.steps, recipe.original, values, _checked(metadata))
    stored, text = packed(recipe.steps, values), json.dumps(record, separators=(",", ":"))
    path = path_of("save_slim", path)
    path = path if path.endswith((SAFETENSORS, CHECKPOINT)) else f"{path}{SAFETENSORS}"
    with whole_file("save_slim", path) as temporary:
        if path.endswith(CHECKPOINT):
            items = [{"name": name, "data": Tensor(array)} for name, array in stored.items()]
            ms.save_checkpoint(items, temporary, append_dict={KEY: text})
        else:
            save_file(stored, temporary, {"format": "np", KEY: text})
    return path


@in_own_name
@progress("loading the slim network")
def load_slim(network: nn.Cell, path: PathLike) -> nn.Cell:
    """
    The slim network that a file holds. Nothing is traced, and no algorithm is needed.

    The order in which Cells are declared does not matter. What parameters do not show, such as strides and activations,
    is not compared. A layer that was replaced after pruning, such as one of another number of classes, may be built
    with the number of before or with that of the file.

    Args:
        network (nn.Cell): The original network, freshly built by the code that built it for pruning, within another
            Cell or without. It is not changed.
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
    if recipe_of(network).steps:
        raise CheckpointError("For 'load_slim', 'network' must be the original network, but got one that is slim "
                              "already.")
    smaller = original_of(network, file, path)
    try:
        for step in file.steps:
            smaller = take_step(smaller, placed(smaller, step))
    except SlimError as error:
        raise CheckpointError(f"For 'load_slim', 'network' must be of the kind that '{path}' was made from, but: "
                              f"{str(error).partition(', ')[2]}") from error
    difference = _difference(tuple((name, array.shape) for name, array in file.values.items()),
                             architecture_of(smaller))
    if difference:
        raise CheckpointError(f"For 'load_slim', the slim network must have the parameters of '{path}', but it "
                              f"differs: {difference}.")
    for parameter in smaller.get_parameters():
        parameter.set_data(Tensor(file.values[parameter.name], parameter.dtype))
    smaller.slim_recipe = replace(recipe_of(smaller), original=file.original)
    return smaller


def original_of(network: nn.Cell, file: SlimFile, path: str) -> nn.Cell:
    """
    What the steps of a slim file begin with: the original network, with the file's names, and with the widths that
    layers have which were replaced since.
    """
    names = common_names(dict(architecture_of(network)), dict(file.original))
    built = tuple((names.get(name, name), shape) for name, shape in architecture_of(network))
    here, widths = dict(built), _unpruned(file.original, file.steps, {
        name: array.shape for name, array in file.values.items()})
    difference = _difference(tuple((name, widths[name] if here.get(name) == widths[name] else shape)
                                   for name, shape in file.original), built)
    if difference:
        raise CheckpointError(f"For 'load_slim', 'network' must be built as the one that '{path}' was made from, a "
                              f"'{file.network}', but this '{type(network).__name__}' differs: {difference}.")
    made = copy_network(network, "load_slim")
    for parameter in made.get_parameters():
        parameter.name = names.get(parameter.name, parameter.name)
    resize(made, {name: np.zeros(shape) for name, shape in widths.items() if shape != here[name]}, {})
    return made


def _unpruned(original: Architecture, steps: Sequence[Step], shapes: Mapping[str, Tuple[int, ...]]
              ) -> Dict[str, Tuple[int, ...]]:
    """
    Name -> the shape that a parameter of the original must have for the steps to make of it one of `shapes`. It is
    another one than it had where its layer was replaced.
    """
    sizes: Dict[Tuple[str, int], int] = {}
    for axis in (axis for step in steps if isinstance(step, PruningPlan) for axis in step.axes):
        sizes.setdefault((axis.parameter, axis.axis), axis.size)
    return {name: tuple(sizes.get((name, axis), shapes[name][axis]) for axis in range(len(shape)))
            if len(shapes.get(name, ())) == len(shape) else shape for name, shape in original}


_REMEDY = "save a network before layers are put into it or taken out, and do the same again after 'load_slim'"


def _buildable(network: nn.Cell, recipe: Recipe) -> Dict[str, ms.Parameter]:
    """The parameters by their original names, refused where `load_slim` could not build them."""
    paths: Dict[str, str] = {}
    for path, parameter in network.parameters_and_names():
        name = recipe.names.by_path.get(path, parameter.name)
        if name in paths:
            raise CheckpointError(f"For 'save_slim', every parameter must have a name of its own, but '{paths[name]}' "
                                  f"and '{path}' are both named '{name}': {_REMEDY}.")
        paths[name] = path
    parameters = recipe.names.parameters(network)
    wrong = (("lack", [f"'{paths[name]}' {tuple(parameter.shape)}" for name, parameter in parameters.items()
                       if name not in recipe.built]),
             ("have besides", [f"'{name}'" for name in sorted(recipe.built) if name not in parameters]),
             ("not have the widths of", list(_refused_widths(network, recipe, parameters))))
    found = _listed(wrong)
    if found:
        raise CheckpointError(f"For 'save_slim', 'slim' must be what 'load_slim' can build from the original network, "
                              f"but that would {found}: {_REMEDY}.")
    return parameters


def _refused_widths(network: nn.Cell, recipe: Recipe, parameters: Mapping[str, ms.Parameter]) -> Iterator[str]:
    """Parameters of layers that were replaced after pruning, in ways that `load_slim` cannot repeat, and why."""
    kept, shapes = kept_positions(recipe.steps), {name: tuple(item.shape) for name, item in parameters.items()}
    begun = _unpruned(recipe.original, recipe.steps, shapes)
    owners = {id(parameter): (cell, attribute) for _, cell in network.cells_and_names()
              for attribute, parameter in cell._params.items()}
    for name, shape in recipe.original:
        if name not in parameters:
            continue
        now, left = shapes[name], {axis: len(positions) for axis, positions in kept.get(name, {}).items()}
        wanted = tuple(left.get(axis, size) for axis, size in enumerate(shape))
        reasons = [f"has {len(now)} axes, not {len(wanted)}"] if len(now) != len(wanted) else [
            f"positions of axis {axis} were pruned, and those of its {size} are not known"
            if left.get(axis, size) != size else why_fixed(*owners[id(parameters[name])], axis, size)
            for axis, size in enumerate(now) if left.get(axis, size) != size or begun[name][axis] != shape[axis]]
        yield from (f"'{name}' {now} instead of {wanted}: {reason}" for reason in dict.fromkeys(filter(None, reasons)))


def placed(network: nn.Cell, step: Step) -> Step:
    """A step of a slim file with the paths of Cells in this network, which may be around the file's or inside it."""
    return moved(step, network, {}, back=True)


def take_step(network: nn.Cell, step: Step) -> nn.Cell:
    """The network after one more step of a slim file; with the values from before, but where a pruning cut them."""
    if isinstance(step, (Reconstruction, Sparsity)):
        alike = copy_network(network)
        remember(alike, network, step)
        return alike
    return slim(network, step) if isinstance(step, PruningPlan) else restructured(network, step)


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


def _difference(wanted: Architecture, got: Architecture) -> str:
    """In words, what parameters are missing, too many or of another shape; the first three of each."""
    here, there = dict(wanted), dict(got)
    found = (
        ("it lacks", [f"'{name}' {shape}" for name, shape in wanted if name not in there]),
        ("it has besides", [f"'{name}' {shape}" for name, shape in got if name not in here]),
        ("of another shape are", [f"'{name}' {there[name]} instead of {shape}" for name, shape in wanted
                                  if name in there and there[name] != shape]),
    )
    return _listed(found)


def _listed(found: Iterable[Tuple[str, Sequence[str]]]) -> str:
    """What is wrong, each with the first three that it is wrong of."""
    return "; ".join(f"{what} {', '.join(items[:3])}{f' and {len(items) - 3} more' if len(items) > 3 else ''}"
                     for what, items in found if items)
