"""Slimming: a plan makes a smaller Cell, which knows how it was made; and the way back."""
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, Mapping, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import ArgumentTypeError, SlimError
from golden_stick.cells.networks import OriginalNames, copy_network, record_of
from golden_stick.cells.wrappers import ScatteredOutput, replace_cells
from golden_stick.graph.layers import GROUPS, INPUTS, Layer, Normalization
from golden_stick.graph.plan import KeptAxis, PruningPlan

__all__ = ["Architecture", "Recipe", "add_resizer", "architecture_of", "recipe_of", "remember", "resizer_of", "slim",
           "unslim"]


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
        >>> from golden_stick.prune.plan import make_plan
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
    resizers = [(cell, resizer_of(cell)) for cell in resized]
    for name, axes in cuts.items():
        _cut(parameters[name], axes)
    for cell, resize in resizers:
        resize(cell)
    replace_cells(smaller, {site.path: partial(ScatteredOutput, site=site) for site in plan.scatters})
    remember(smaller, network, plan)
    # Without this, compiled graphs run on, on memory that is no longer theirs.
    ms.ms_memory_recycle()
    return smaller


Architecture = Tuple[Tuple[str, Tuple[int, ...]], ...]


@dataclass(frozen=True)
class Recipe:
    """
    How a network was made: all that a slim Cell remembers.

    Args:
        steps (tuple): PruningPlans and other steps, the oldest first; empty for a network that is an original.
        original (tuple): Names and shapes of the parameters before the first step.
        names (OriginalNames): Of the parameters of now, as they were when the network was made.
    """

    steps: Tuple[Any, ...]
    original: Architecture
    names: OriginalNames


def architecture_of(network: nn.Cell) -> Architecture:
    """Names and shapes of a network's parameters."""
    return tuple((parameter.name, tuple(parameter.shape)) for parameter in network.get_parameters())


def recipe_of(network: nn.Cell) -> Recipe:
    """How a network was made; one that golden_stick did not make is its own original."""
    return getattr(network, "slim_recipe", None) or Recipe((), architecture_of(network), OriginalNames.of(network))


def remember(made: nn.Cell, source: nn.Cell, step: Any) -> None:
    """Write into a network that it was made from `source` by one more step."""
    recipe = recipe_of(source)
    names = {parameter.name: name for name, parameter in recipe.names.parameters(source).items()}
    prefixes = {now[:len(now) - len(then)] for now, then in names.items()}
    # A parameter that the step has added has the prefix of its siblings.
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    made.slim_recipe = Recipe(
        recipe.steps + (step.renamed(names) if isinstance(step, PruningPlan) else step,), recipe.original,
        OriginalNames({path: names.get(parameter.name, parameter.name[len(prefix):])
                       for path, parameter in made.parameters_and_names()}))


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


Resizer = Callable[[nn.Cell], None]


def resizer_of(cell: nn.Cell) -> Resizer:
    """The function to call once the parameters of a Cell have shrunk; to be asked for before they do."""
    own = next((resize for kind, resize in reversed(_RESIZERS.items()) if isinstance(cell, kind)), None)
    if own:
        return own
    record = record_of(cell)
    if isinstance(record, Normalization):
        return partial(_resize_normalization, record)
    if isinstance(record, Layer):
        group = getattr(cell, record.attribute(GROUPS), 1)
        depthwise = group == getattr(cell, record.attribute(INPUTS), 1) > 1
        return partial(_resize_layer, record, group, getattr(cell, record.weight).shape[0] if depthwise else 0)
    # A Cell of the user's own, which reads the shapes of its parameters; slimming for trial finds out if not.
    return lambda cell: None


def add_resizer(kind: type, resize: Resizer) -> None:
    """
    Teach golden_stick a Cell of your own that holds its width in an attribute.

    Cells that read the shapes of their parameters, or hold no parameters themselves, need none.

    Args:
        kind (type): The class, a subclass of `nn.Cell`. Subclasses of it are resized alike.
        resize (Callable): Takes the Cell, whose parameters have shrunk already, and sets its attributes.

    Raises:
        ArgumentTypeError: If `kind` is not a class of Cells, or `resize` cannot be called.

    Examples:
        >>> from golden_stick.cells.slim import add_resizer
        >>> from mindspore import nn
        >>> class Scale(nn.Cell):
        ...     pass
        >>> add_resizer(Scale, lambda cell: setattr(cell, "width", cell.weight.shape[0]))
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Cell)):
        raise ArgumentTypeError(f"For 'add_resizer', 'kind' must be a class of Cells, but got {kind!r}.")
    if not callable(resize):
        raise ArgumentTypeError(f"For 'add_resizer', 'resize' must be a function, but got {type(resize).__name__}.")
    _RESIZERS[kind] = resize


def _resize_layer(layer: Layer, group: int, depthwise: int, cell: nn.Cell) -> None:
    """Set the widths of a layer that had so many groups, and if it was `depthwise`, so long an axis of them."""
    shape = getattr(cell, layer.weight).shape
    widths = layer.widths_of(shape, group * shape[0] // depthwise if depthwise else group)
    for name, width in layer.widths.items():
        if hasattr(cell, name):
            setattr(cell, name, widths[width])
    old = getattr(cell, layer.primitive_at, None) if layer.primitive_at else None
    if old is not None:
        # A new primitive, not a changed one: a copy of a changed one would be made from its old arguments.
        arguments = {name: widths[width] for name, width in layer.primitive.items()}
        setattr(cell, layer.primitive_at, type(old)(**{**old.init_attrs, **arguments}))


def _resize_normalization(kind: Normalization, cell: nn.Cell) -> None:
    held = (getattr(cell, name) for name in (kind.gamma, kind.beta, kind.mean, kind.variance) if name)
    shape = next(tuple(parameter.shape) for parameter in held if parameter is not None)
    setattr(cell, kind.width, shape if kind.over == "layer" else shape[0])


# What users add. The last that fits is taken.
_RESIZERS: Dict[type, Resizer] = {}


def unslim(network: nn.Cell, slim: nn.Cell, plan: PruningPlan) -> nn.Cell:
    """
    A copy of the network a plan was made for, with a slim network's weights where the plan kept positions.

    Removed positions hold random numbers in [0.5, 1.5), the same ones each time: masked by the plan, the copy must give
    the outputs of `slim` all the same, and a mask or a position that is wrong shows.

    Args:
        network (nn.Cell): The network that the plan was made for. It is not changed.
        slim (nn.Cell): What the plan made of it, fine-tuned or not.
        plan (PruningPlan): The plan.

    Returns:
        nn.Cell, of the size of `network`, with its parameter names.
    """
    expanded = copy_network(network)
    generator = np.random.default_rng(0)
    narrow = {parameter.name: parameter.asnumpy() for parameter in slim.get_parameters()}
    kept: Dict[str, Dict[int, Tuple[int, ...]]] = {}
    for axis in plan.axes:
        kept.setdefault(axis.parameter, {})[axis.axis] = axis.kept
    for parameter in expanded.get_parameters():
        values = generator.uniform(0.5, 1.5, parameter.shape)
        places = [kept.get(parameter.name, {}).get(axis, range(size)) for axis, size in enumerate(parameter.shape)]
        values[np.ix_(*places)] = narrow[parameter.name]
        parameter.set_data(Tensor(values, parameter.dtype))
    return expanded
