"""A plan carried out: the smaller Cell, the recipe it remembers, the way back, and the check against the masked one."""
from dataclasses import dataclass
from functools import partial, reduce
from operator import getitem
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import ArgumentError, ArgumentTypeError, SlimError, VerifyError, first_line
from golden_stick.base.inputs import as_tensors, describe_with_types, progress
from golden_stick.cells.attention import resize_attention
from golden_stick.cells.replay import tapped
from golden_stick.cells.trace import half_steps
from golden_stick.cells.wrappers import (
    OriginalNames,
    ScatteredOutput,
    allowed_difference,
    copy_network,
    evaluate,
    find_cell,
    own_fault,
    record_of,
    replace_cells,
    tell_apart,
)
from golden_stick.graph.layers import GROUPS, INPUTS, Layer, Normalization
from golden_stick.graph.plan import KeptAxis, KeptWidth, PruningPlan

__all__ = ["Architecture", "Recipe", "Verification", "add_resizer", "architecture_of", "carry_out", "common_names",
           "compare", "cut_parameter", "moved", "recipe_of", "refuse_faulty", "remember", "resize", "resizer_of",
           "slim", "unslim", "verify", "why_fixed"]


def slim(network: nn.Cell, plan: PruningPlan) -> nn.Cell:
    """
    A smaller copy of a network.

    Args:
        network (nn.Cell): The network that the plan was made for. It is not changed.
        plan (PruningPlan): What is kept.

    Returns:
        nn.Cell, of the class of `network`, with smaller parameters under the same names. It trains, saves and exports
        as any Cell does. An optimizer that was made for `network` trains that one still, and not this one:
        :func:`golden_stick.slim_optimizer` makes one that does.

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
    return carry_out(plan, network)


def carry_out(plan: PruningPlan, network: nn.Cell, owner: str = "slim",
              known: Optional[Mapping[int, Any]] = None, cut: Optional["Cut"] = None) -> nn.Cell:
    """`slim` for the caller `owner`. What is `known` is not copied, as in `copy_network`, if it is not cut; `cut` makes
    a smaller parameter, if not `cut_parameter`."""
    cuts: Dict[str, Tuple[KeptAxis, ...]] = {}
    for axis in plan.axes:
        cuts[axis.parameter] = cuts.get(axis.parameter, ()) + (axis,)
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    for name, axes in cuts.items():
        _check(parameters, name, axes)
    resizers = _resizers(network, cuts, cuts)
    made = {id(item): (cut or cut_parameter)(item, cuts[item.name]) for item in network.get_parameters()
            if item.name in cuts}
    smaller = copy_network(network, owner, {**(known or {}), **made})
    _set_widths(smaller, resizers)
    for width in plan.attributes:
        _set_width(find_cell(smaller, width.path), width)
    replace_cells(smaller, {site.path: partial(ScatteredOutput, site=site) for site in plan.scatters})
    remember(smaller, network, plan)
    # Without this, compiled graphs run on, on memory that is no longer theirs.
    ms.ms_memory_recycle()
    return smaller


Architecture = Tuple[Tuple[str, Tuple[int, ...]], ...]


@dataclass(frozen=True)
class Recipe:
    """How a network was made: all that a slim Cell remembers."""

    steps: Tuple[Any, ...]  # PruningPlans and other steps, the oldest first; empty for an original
    original: Architecture  # before the first step
    names: OriginalNames  # of the parameters of now, as they were when the network was made
    built: FrozenSet[str]  # of the parameters that the steps make of the original's, whatever a user put in since


def architecture_of(network: nn.Cell) -> Architecture:
    """Names and shapes of a network's parameters."""
    return tuple((parameter.name, tuple(parameter.shape)) for parameter in network.get_parameters())


def recipe_of(network: nn.Cell) -> Recipe:
    """How a network was made; one that golden_stick did not make is its own original."""
    architecture = architecture_of(network)
    return getattr(network, "slim_recipe", None) or Recipe((), architecture, OriginalNames.of(network),
                                                           frozenset(dict(architecture)))


def common_names(here: Iterable[str], there: Iterable[str]) -> Dict[str, str]:
    """
    Name of a parameter -> its name in the same network elsewhere, for all names or none.

    A Cell that is made around a network, as for its loss, puts one word before every name.
    """
    some, others = set(here), set(there)
    for long, short, turned in ((some, others, False), (others, some, True)):
        first = min(short, default="")
        for prefix in (name[:-len(first)] for name in long if first and name.endswith(first)):
            pairs = {f"{prefix}{name}": name for name in short}
            if pairs.keys() <= long:
                return {name: whole for whole, name in pairs.items()} if turned else pairs
    return {}


def moved(step: Any, network: nn.Cell, names: Mapping[str, str], back: bool = False) -> Any:
    """
    A step for a network that holds another or is held by it, as where a Cell was made around it. `names` are those of
    the parameters here -> there: Cells are found there as they were here, or `back`.
    """
    wrapped = [f"{path}." for path, cell in network.cells_and_names() if isinstance(cell, ScatteredOutput)]
    paths = {}
    for path, parameter in network.parameters_and_names():
        for start in wrapped:
            path = start + path[len(start) + 5:] if path.startswith(f"{start}cell.") else path
        paths[path] = names.get(parameter.name, parameter.name)
    path, name = next(iter(common_names(paths, paths.values()).items()), ("", ""))
    here, there = path[:max(0, len(path) - len(name))], name[:max(0, len(name) - len(path))]
    here, there = (there, here) if back else (here, there)
    if here == there or not hasattr(step, "with_paths"):
        return step
    return step.with_paths(lambda path: (there + path[len(here):]).strip("."))


def remember(made: nn.Cell, source: nn.Cell, step: Any) -> None:
    """Write into a network that it was made from `source` by one more step."""
    recipe = recipe_of(source)
    names = {parameter.name: name for name, parameter in recipe.names.parameters(source).items()}
    prefixes = {now[:len(now) - len(then)] for now, then in names.items()}
    # A parameter that the step has added has the prefix of its siblings.
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    by_path = {path: names.get(parameter.name, parameter.name[len(prefix):])
               for path, parameter in made.parameters_and_names()}
    changed = frozenset(by_path.values()) ^ frozenset(names.values())
    step = moved(step, made, {parameter.name: by_path[path] for path, parameter in made.parameters_and_names()})
    made.slim_recipe = Recipe(
        recipe.steps + (step.renamed(names) if hasattr(step, "renamed") else step,), recipe.original,
        OriginalNames(by_path), recipe.built ^ changed)


def _check(parameters: Mapping[str, ms.Parameter], name: str, axes: Tuple[KeptAxis, ...]) -> None:
    if name not in parameters:
        raise SlimError(f"For 'slim', 'network' must have the parameter '{name}' that the plan names, but got none.")
    shape = tuple(parameters[name].shape)
    for axis in axes:
        if axis.axis >= len(shape) or shape[axis.axis] != axis.size:
            raise SlimError(f"For 'slim', axis {axis.axis} of parameter '{name}' must have length {axis.size}, as in "
                            f"the network that the plan was made for, but got shape {shape}.")
        if not axis.kept or min(axis.kept) < 0 or max(axis.kept) >= axis.size:
            raise SlimError(f"For 'slim', the positions kept on axis {axis.axis} of parameter '{name}' must be some of "
                            f"0 to {axis.size - 1}, but got {list(axis.kept)[:5]}.")


Cut = Callable[[ms.Parameter, Tuple[KeptAxis, ...]], ms.Parameter]


def cut_parameter(parameter: ms.Parameter, axes: Tuple[KeptAxis, ...]) -> ms.Parameter:
    """A new parameter with the positions of another that are kept."""
    values = parameter.asnumpy()
    for axis in axes:
        values = np.take(values, axis.kept, axis.axis)
    return ms.Parameter(Tensor(np.ascontiguousarray(values), parameter.dtype), parameter.name, parameter.requires_grad)


def resize(network: nn.Cell, values: Mapping[str, np.ndarray], cuts: Mapping[str, Tuple[KeptAxis, ...]]) -> None:
    """Put values of other shapes into parameters, by name, and tell the Cells that own these of their widths; `cuts`
    are what was taken of the values that they had, where they were cut."""
    resizers = _resizers(network, values, cuts)
    for parameter in network.get_parameters():
        if parameter.name in values:
            parameter.set_data(Tensor(values[parameter.name], parameter.dtype), slice_shape=True)
    _set_widths(network, resizers)


def _resizers(network: nn.Cell, names: Iterable[str], cuts: Mapping[str, Tuple[KeptAxis, ...]]) -> Dict[str, "Resizer"]:
    """Path of every Cell that owns one of these parameters -> its resizer, to be made before they change: later nothing
    shows whether a convolution was depthwise."""
    names = frozenset(names)
    return {path: resizer_of(cell, cuts) for path, cell in network.cells_and_names()
            if any(item is not None and item.name in names for item in cell._params.values())}


def _set_widths(network: nn.Cell, resizers: Mapping[str, "Resizer"]) -> None:
    cells = dict(network.cells_and_names())
    for path, set_widths in resizers.items():
        set_widths(cells[path])
    tell_apart(network, resizers)


def _set_width(cell: nn.Cell, width: KeptWidth) -> None:
    held: Any = getattr(cell, width.name, None)
    try:
        value = reduce(getitem, width.item, held)
    except (TypeError, LookupError):
        value = None
    if value == width.after:  # a resizer of the user's has been here
        return
    if value != width.before:
        raise SlimError(f"For 'slim', attribute '{width.name}' of '{width.path}' must hold {width.before}, the width "
                        f"that the plan was made for, but got {held!r}.")
    setattr(cell, width.name, _with_item(held, width.item, width.after))


def _with_item(held: Any, place: Sequence[Any], number: int) -> Any:
    """The same tuples and dicts, with another number at a place."""
    if not place:
        return number
    made = dict(held) if isinstance(held, dict) else list(held)
    made[place[0]] = _with_item(made[place[0]], place[1:], number)
    if isinstance(held, (dict, list)):
        return type(held)(made)
    return type(held)(*made) if hasattr(held, "_fields") else type(held)(made)


Resizer = Callable[[nn.Cell], None]


def resizer_of(cell: nn.Cell, cuts: Mapping[str, Tuple[KeptAxis, ...]]) -> Resizer:
    """The function to call once the parameters of a Cell have shrunk by these cuts; to be asked for before they do."""
    for kind, resize in reversed(_RESIZERS.items()):
        if isinstance(cell, kind):
            return resize
    if isinstance(cell, nn.MultiheadAttention):
        weight = cell.out_proj.weight
        kept = [axis.kept for axis in cuts.get(weight.name, ()) if axis.axis == 1]
        return partial(resize_attention, weight.shape[1], kept[0] if kept else tuple(range(weight.shape[1])))
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


def why_fixed(cell: nn.Cell, attribute: str, axis: int, size: int) -> str:
    """Why `resize` cannot make a Cell of one whose parameter `attribute` has `size` numbers on an axis, or ''."""
    record = record_of(cell)
    if isinstance(record, Normalization) or any(isinstance(cell, kind) for kind in _RESIZERS):
        return ""
    if isinstance(record, Layer) and axis in ((record.form.filter_axis, record.form.input_axis)
                                              if attribute == record.weight else (0,)):
        return ""
    held = next((name for name, value in vars(cell).items() if not name.startswith("_") and any(
        type(item) is int and item == size for item in (value if isinstance(value, (tuple, list)) else (value,)))), "")
    return held and f"'{held}' of the '{type(cell).__name__}' holds that number, which 'add_resizer' was not told of"


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


# Where a caller does not say what is allowed.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Verification:
    """
    How far two networks are apart.

    Args:
        largest_difference (float): Largest absolute difference of any output number.
        output_scale (float): Largest absolute output number of the masked network.
        tolerance (float): What was allowed, as a fraction of `output_scale`.
    """

    largest_difference: float
    output_scale: float
    tolerance: float

    @property
    def relative_difference(self) -> float:
        """`largest_difference` as a fraction of `output_scale`."""
        return self.largest_difference / self.output_scale if self.output_scale else self.largest_difference


def verify(masked: nn.Cell, slim: nn.Cell, inputs: Any, tolerance: Optional[float] = None) -> Verification:
    """
    Run two networks on the same inputs, in evaluation, and compare all outputs.

    Args:
        masked (nn.Cell): The network whose outputs are right.
        slim (nn.Cell): The network that must give the same.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What both take, or the shape of their only argument.
        tolerance (float): Largest difference allowed, as a fraction of the largest output. Default: ``None``: 1e-5, a
            few hundred roundings of float32, or where it computes in float16 one rounding of that (0.00098) for each
            operator in the longest row of such, eight at least.

    Returns:
        Verification.

    Raises:
        ArgumentError: If `tolerance` is not positive.
        VerifyError: If outputs differ in number, shape or by more than `tolerance`, or are not finite. The message
            names the first layer that differs.

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.Dense(4, 2)
        >>> print(gs.verify(net, net, (1, 4)).largest_difference)
        0.0
    """
    if tolerance is not None and not tolerance > 0:
        raise ArgumentError(f"For 'verify', 'tolerance' must be positive, but got {tolerance!r}.")
    tensors = as_tensors("verify", inputs)
    result = compare(masked, slim, tensors, tolerance)
    # Written so that NaN fails: every comparison with it is False.
    if not result.relative_difference <= result.tolerance:
        refuse_faulty("verify", {"masked": masked, "slim": slim}, tensors)
        where = _first_difference(masked, slim, tensors, result.tolerance)
        raise VerifyError(f"For 'verify', the outputs must agree within {result.tolerance:g} of "
                          f"{result.output_scale:.6g}, but got a largest difference of "
                          f"{result.largest_difference:.6g}; {where}.")
    return result


def refuse_faulty(owner: str, networks: Mapping[str, nn.Cell], tensors: Tuple[Tensor, ...]) -> None:
    """Name, of networks that differ from each other, the first that differs from itself."""
    for name, network in networks.items():
        fault = own_fault(network, tensors)
        if fault:
            raise VerifyError(f"For '{owner}', '{name}' must be a network that gives numbers, and the same for the "
                              f"same inputs, but {fault}.")


@progress("comparing the outputs of both networks")
def compare(masked: nn.Cell, slim: nn.Cell, tensors: Tuple[Tensor, ...], tolerance: Optional[float] = None,
            owner: str = "verify") -> Verification:
    """The largest difference between the outputs of two networks, however large; `owner` is what the user called."""
    wanted, got = _run(owner, "masked", masked, tensors), _run(owner, "slim", slim, tensors)
    if [array.shape for array in wanted] != [array.shape for array in got]:
        raise VerifyError(f"For '{owner}', the outputs must have the shapes {[array.shape for array in wanted]}, but "
                          f"got {[array.shape for array in got]}.")
    differences = [np.abs(one.astype(np.float64) - other).max(initial=0.0) for one, other in zip(wanted, got)]
    scale = float(max((np.abs(array).max(initial=0.0) for array in wanted), default=0.0))
    if tolerance is None:
        tolerance = allowed_difference(_TOLERANCE, wanted, half_steps(masked, tensors))
    return Verification(float(max(differences, default=0.0)), scale, tolerance)


def _run(owner: str, name: str, network: nn.Cell, tensors: Tuple[Tensor, ...]) -> List[np.ndarray]:
    try:
        return evaluate(network, tensors)
    except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
        raise VerifyError(f"For '{owner}', '{name}' must run on inputs of {describe_with_types(tensors)}, but it does "
                          f"not: {first_line(error)}") from error


def _first_difference(masked: nn.Cell, slim: nn.Cell, tensors: Tuple[Tensor, ...], tolerance: float) -> str:
    """Which layer's output differs first, in words."""
    wanted, got = _layer_outputs(masked, tensors), _layer_outputs(slim, tensors)
    for name, expected in wanted.items():
        kept = _kept_filters(slim, name)
        if name not in got or expected.ndim < 2:
            continue
        if kept is not None and got[name].shape[1] == len(kept):
            expected = expected.take(kept, 1)
        scale = np.abs(expected).max(initial=0.0)
        if expected.shape != got[name].shape or not np.abs(expected - got[name]).max(initial=0.0) <= tolerance * scale:
            return f"the first layer that differs is that of parameter '{name}'"
    return "no single layer differs: the difference arises between them"


def _kept_filters(slim: nn.Cell, name: str) -> Optional[Tuple[int, ...]]:
    plans = [step for step in recipe_of(slim).steps if isinstance(step, PruningPlan)]
    axes = plans[-1].axes if plans else ()
    return next((axis.kept for axis in axes if axis.parameter == name and axis.axis == 0), None)


def _layer_outputs(network: nn.Cell, tensors: Tuple[Tensor, ...]) -> Dict[str, np.ndarray]:
    """Name of a Cell's first parameter -> what the Cell gave, in an order of execution."""
    found: Dict[str, np.ndarray] = {}
    names = {path: next((parameter.name for parameter in cell._params.values() if parameter is not None), "")
             for path, cell in network.cells_and_names()}
    with tapped(network, {}, {path: partial(found.setdefault, name) for path, name in names.items() if name}):
        network(*tensors)
    return found
