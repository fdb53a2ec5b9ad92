"""
The slimmer: carries a plan out. The only writer of Cells.

A slim network remembers how it was made: its attribute `slim_recipe` holds the plans that were carried out on it, the
oldest first, and what `fold` did to it; `slim_origin` holds names and shapes of the parameters of the network that the
first step was carried out on; `slim_names` holds the names that its own parameters had when it was made, by path. It
is what `save_slim` writes beside the weights.
"""
from typing import Any, Dict, Mapping, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.errors import ArgumentTypeError, SlimError
from golden_stick.prune.cells import ScatteredOutput, replace_cells
from golden_stick.prune.copying import copy_network
from golden_stick.prune.names import FirstNames
from golden_stick.prune.plan import KeptAxis, PruningPlan
from golden_stick.prune.resizers import resizer_of

__all__ = ["slim", "recipe_of", "origin_of", "first_names", "remember"]


def slim(network: nn.Cell, plan: PruningPlan) -> nn.Cell:
    """
    A smaller copy of a network.

    Args:
        network (nn.Cell): The network that the plan was made for. It is not changed.
        plan (PruningPlan): What is kept.

    Returns:
        nn.Cell, of the class of `network`, with smaller parameters under the same names. It trains, saves and exports
        as any Cell does. An optimizer that was made for `network` does not fit it: make a new one.

    Note:
        MindSpore's compiled graphs know nothing of changed shapes, so all of them are dropped; Cells compile anew when
        they next run. A `GraphCell` that was loaded from a MindIR before cannot: load it again.

    Raises:
        ArgumentTypeError: If `network` is not a Cell or `plan` is not a plan.
        SlimError: If a parameter or Cell of the plan is missing, or has another size.

    Examples:
        >>> import golden_stick as gs
        >>> from golden_stick.prune import make_plan
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> groups = gs.find_groups(gs.trace(net, (1, 3, 16, 16)))
        >>> plan = make_plan(groups, {"0": [5, 1, 6, 2, 7, 3, 8, 4]}, prune_rate=0.5)
        >>> smaller = gs.slim(net, plan)
        >>> print([tuple(p.shape) for p in smaller.get_parameters()])
        [(4, 3, 3, 3), (4, 4, 3, 3)]
    """
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For 'slim', 'network' must be a Cell, but got {type(network).__name__}.")
    if not isinstance(plan, PruningPlan):
        raise ArgumentTypeError(f"For 'slim', 'plan' must be a PruningPlan, but got {type(plan).__name__}.")
    smaller = copy_network(network)
    cuts: Dict[str, Tuple[KeptAxis, ...]] = {}
    for axis in plan.axes:
        cuts[axis.parameter] = cuts.get(axis.parameter, ()) + (axis,)
    parameters = {parameter.name: parameter for parameter in smaller.get_parameters()}
    for name, axes in cuts.items():
        _check(parameters, name, axes)
    resized = [cell for _, cell in smaller.cells_and_names()
               if any(item is not None and item.name in cuts for item in cell._params.values())]
    # Whether a convolution is depthwise shows only before its weight shrinks.
    settle = [(cell, resizer_of(cell)) for cell in resized]
    for name, axes in cuts.items():
        _cut(parameters[name], axes)
    for cell, resize in settle:
        resize(cell)
    replace_cells(smaller, {site.path: lambda cell, site=site: ScatteredOutput(cell, site) for site in plan.scatters})
    remember(smaller, network, plan)
    # Without this, compiled graphs run on, on memory that is no longer theirs.
    ms.ms_memory_recycle()
    return smaller


def recipe_of(network: nn.Cell) -> Tuple[Any, ...]:
    """The plans that a network was slimmed by, and other steps since, oldest first; empty for one that never was."""
    return tuple(getattr(network, "slim_recipe", ()))


def origin_of(network: nn.Cell) -> Tuple[Tuple[str, Tuple[int, ...]], ...]:
    """Names and shapes of the parameters that a network had before the first step of its recipe."""
    written = getattr(network, "slim_origin", None)
    return written or tuple((parameter.name, tuple(parameter.shape)) for parameter in network.get_parameters())


def first_names(network: nn.Cell) -> FirstNames:
    """The names that the parameters of a network had when golden_stick made it; those of now where it did not."""
    return FirstNames(dict(getattr(network, "slim_names", ())))


def remember(made: nn.Cell, source: nn.Cell, step: Any) -> None:
    """Write into a network that it was made from `source` by one more step."""
    names = {parameter.name: name for name, parameter in first_names(source).parameters(source).items()}
    prefixes = {now[:len(now) - len(then)] for now, then in names.items()}
    # A parameter that the step has added has the prefix of its siblings.
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    made.slim_recipe = recipe_of(source) + (step.renamed(names) if isinstance(step, PruningPlan) else step,)
    made.slim_origin = origin_of(source)
    made.slim_names = tuple((path, names.get(parameter.name, parameter.name[len(prefix):]))
                            for path, parameter in made.parameters_and_names())


def _check(parameters: Mapping[str, ms.Parameter], name: str, axes: Tuple[KeptAxis, ...]) -> None:
    if name not in parameters:
        raise SlimError(f"For 'slim', 'network' must have the parameter '{name}' that the plan names, but got none.")
    shape = tuple(parameters[name].shape)
    for axis in axes:
        if axis.axis >= len(shape) or shape[axis.axis] != axis.size:
            raise SlimError(
                f"For 'slim', axis {axis.axis} of parameter '{name}' must have length {axis.size}, as in the network "
                f"that the plan was made for, but got shape {shape}."
            )
        if not axis.kept or min(axis.kept) < 0 or max(axis.kept) >= axis.size:
            raise SlimError(
                f"For 'slim', the positions kept on axis {axis.axis} of parameter '{name}' must be some of 0 to "
                f"{axis.size - 1}, but got {list(axis.kept)[:5]}."
            )


def _cut(parameter: ms.Parameter, axes: Tuple[KeptAxis, ...]) -> None:
    values = parameter.asnumpy()
    for axis in axes:
        values = np.take(values, axis.kept, axis.axis)
    parameter.set_data(Tensor(np.ascontiguousarray(values), parameter.dtype), slice_shape=True)
