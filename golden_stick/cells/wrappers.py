"""
A network and its Cells: copied, named, run, and wrapped by masks and scatters that are put in and taken out again.

Whatever is done to a network here leaves the original, its training flags and the working directory as they were.
"""
import copy
import inspect
import json
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Tuple, Type, Union

import mindspore as ms
import numpy as np
from mindspore import Tensor, mint, nn, ops

from golden_stick.base.errors import SlimError, first_line
from golden_stick.cells.attention import OpenAttention, close_attention, open_attention
from golden_stick.graph.layers import LAYERS, NORMALIZATIONS, Layer, Normalization, name_of_class
from golden_stick.graph.plan import KeptChannels, PruningPlan

__all__ = ["GatedCell", "MaskedCell", "OriginalNames", "PLAN", "ScatteredOutput", "TemporaryCell", "WeightMask",
           "allowed_difference", "copy_network", "decoded", "encoded", "evaluate", "evaluation", "find_cell",
           "kind_of", "leaves", "mask_weights", "masked_network", "names_read", "nan_parameters", "numbers_in",
           "opened", "own_fault", "quiet", "record_of", "replace_cells", "scratch_directory", "set_zeros", "silence",
           "tell_apart", "unchanging", "unmask_weights", "unwrap_cells"]


_NAMESPACES = {"nn": nn, "mint.nn": mint.nn}


def _definition(kind: type) -> Tuple[str, str]:
    """Where a class is written. MindSpore's rewriting of networks (amp O1) imports its own files a second time."""
    return getattr(sys.modules.get(kind.__module__), "__file__", None) or "", kind.__qualname__


# MindSpore's class -> its kind. Some versions lack some.
_KINDS: Dict[Tuple[str, str], str] = {
    _definition(getattr(_NAMESPACES[space], name)): f"{space}.{name}"
    for space, _, name in (kind.rpartition(".") for kind in (*LAYERS, *NORMALIZATIONS))
    if hasattr(_NAMESPACES.get(space), name)}

# So far apart may two orders of summation be.
_ROUNDINGS = 8


def kind_of(cell: nn.Cell) -> str:
    """
    The kind of layer or normalization that a Cell is, or the name of its class.

    A subclass that inherits `construct` unchanged is of the kind of its base.
    """
    kind, ancestor = _nearest(cell)
    return kind if kind and type(cell).construct is ancestor.construct else type(cell).__name__


def record_of(cell: nn.Cell) -> Optional[Union[Layer, Normalization]]:
    """What is known of a Cell's kind, or of the one that its class is derived from, whatever it computes; or None."""
    kind, _ = _nearest(cell)
    return LAYERS.get(kind) or NORMALIZATIONS.get(kind)


def _nearest(cell: nn.Cell) -> Tuple[str, Any]:
    """The first kind among the ancestors of a Cell's class, and that ancestor; '' if there is none."""
    for ancestor in type(cell).__mro__:
        own = name_of_class(ancestor)
        if own in LAYERS or _definition(ancestor) in _KINDS:
            return (own if own in LAYERS else _KINDS[_definition(ancestor)]), ancestor
    return "", type(cell)


def names_read(cell: nn.Cell) -> FrozenSet[str]:
    """The names that a Cell's `construct` reads, and the methods that it calls."""
    methods: Dict[str, Any] = {}
    for base in reversed(type(cell).__mro__[:type(cell).__mro__.index(nn.Cell)]):
        methods.update(vars(base))
    found, waiting = {"construct"}, ["construct"]
    while waiting:
        method: Any = methods.get(waiting.pop())
        method = inspect.unwrap(method)
        codes = [getattr(getattr(method, "fget", method), "__code__", None)]
        while codes:
            code = codes.pop()
            if code is not None:
                codes.extend(item for item in code.co_consts if hasattr(item, "co_names"))
                waiting.extend(set(code.co_names) - found)
                found.update(code.co_names)
    return frozenset(found)


# The parameter of a masked network that tells how it was masked.
PLAN = "pruning.plan"


def encoded(data: Any) -> np.ndarray:
    """Plain data as bytes of JSON, uint8: what a parameter can hold, so that checkpoints tell it."""
    return np.frombuffer(json.dumps(data, ensure_ascii=False).encode(), np.uint8).copy()


def decoded(array: np.ndarray) -> Any:
    """What `encoded` was given; blanks at the end count for nothing."""
    return json.loads(array.astype(np.uint8).tobytes().decode())


@contextmanager
def evaluation(network: nn.Cell) -> Iterator[None]:
    """Put a network into evaluation for a block; afterwards each Cell has its own flag again, not all the same."""
    before = [(cell, cell.training, cell._phase) for _, cell in network.cells_and_names()]
    network.set_train(False)
    try:
        yield
    finally:
        for cell, training, phase in before:
            # Not set_train, which passes the flag on to all children.
            cell.add_flags(training=training)
            cell._phase = phase


@contextmanager
def opened(network: nn.Cell) -> Iterator[None]:
    """A block in which every `nn.MultiheadAttention` of a network is an open one."""
    # A subclass may compute something else.
    cells = [cell for _, cell in network.cells_and_names() if type(cell) is nn.MultiheadAttention]
    for cell in cells:
        open_attention(cell)
    try:
        yield
    finally:
        for cell in cells:
            close_attention(cell)


@contextmanager
def scratch_directory() -> Iterator[None]:
    """Another working directory for a block: a failed compilation of MindSpore's drops a dump there."""
    folder = os.getcwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            yield
        finally:
            os.chdir(folder)


@contextmanager
def silence() -> Iterator[None]:
    """Hide what MindSpore's compiler prints where it fails: here a failure is a finding, and no error of the user's."""
    sys.stderr.flush()
    kept, silent = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what MindSpore writes to the error output in a block, unless the user has said what it may: by GLOG_v."""
    if "GLOG_v" in os.environ:
        yield
        return
    sys.stderr.flush()
    kept, stream = os.dup(2), sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nothing, os.fdopen(os.dup(2), "w", encoding="utf-8") as python:
        # Python's own warnings still come through.
        sys.stderr = python if stream is sys.__stderr__ else stream
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            sys.stderr = stream


def evaluate(network: nn.Cell, tensors: Tuple[Tensor, ...]) -> List[np.ndarray]:
    """The outputs of a network in evaluation, as arrays in order, whatever tuple, list or dict it returns."""
    with evaluation(network):
        return [tensor.asnumpy() for tensor in leaves(network(*tensors))]


def leaves(output: Any) -> List[Tensor]:
    """The Tensors of an output in order, whatever tuple, list or dict it is: a number is one, None is none."""
    if output is None:
        return []
    if isinstance(output, dict):
        output = tuple(output.values())
    if isinstance(output, (tuple, list)):
        return [tensor for item in output for tensor in leaves(item)]
    return [output if isinstance(output, Tensor) else Tensor(output)]


def allowed_difference(tolerance: float, arrays: Iterable[np.ndarray], steps: int = 0) -> float:
    """
    A tolerance made for float32, as a fraction of the largest output. Where outputs are of float16, or `steps`
    operators in a row compute in it, one of its roundings for each step, eight at least.
    """
    coarse = steps or any(array.dtype == np.float16 for array in arrays)
    return max(tolerance, max(_ROUNDINGS, steps) * float(np.finfo(np.float16).eps)) if coarse else tolerance


def copy_network(network: nn.Cell, owner: str = "slim", known: Optional[Mapping[int, Any]] = None) -> nn.Cell:
    """A deep copy of a network, in which something else (or the same) stands for what is `known`, by its id; `owner` is
    the function that the user called."""
    held = dict(known or {})
    try:
        return copy.deepcopy(network, dict(held))
    except Exception:  # pylint: disable=broad-except
        # Some primitives, such as LRN, and what amp keeps cannot be copied.
        held.update((id(value), value) for value in unchanging(network))
    try:
        return copy.deepcopy(network, held)
    except Exception as error:  # pylint: disable=broad-except
        raise SlimError(f"For '{owner}', 'network' must be one that copy.deepcopy can copy, but a "
                        f"'{type(network).__name__}' cannot be: {first_line(error)}") from error


def unchanging(network: nn.Cell) -> List[Any]:
    """What stands in a network that nothing ever changes, so that copies may share it."""
    return [value for _, cell in network.cells_and_names() for value in vars(cell).values()
            if isinstance(value, ops.Primitive) or type(value).__module__.startswith("mindspore._c_expression")]


@dataclass(frozen=True)
class OriginalNames:
    """
    The names that a network's parameters had when it was made: plans, checkpoints and slim files speak of these.

    A Cell that the user makes around the network, such as one that computes the loss, renames all that is inside.
    """

    by_path: Mapping[str, str]  # where a parameter is in the network -> its name, if that is not the one of now

    @classmethod
    def of(cls, network: nn.Cell) -> "OriginalNames":
        """Of a network that nobody has wrapped yet."""
        return cls({path: parameter.name for path, parameter in network.parameters_and_names()})

    def parameters(self, cell: nn.Cell, place: str = "") -> Dict[str, ms.Parameter]:
        """The parameters of the network by these names, or of its Cell at `place`, which ends in a dot."""
        return {self.by_path.get(f"{place}{path}", parameter.name): parameter
                for path, parameter in cell.parameters_and_names()}

    def values(self, network: nn.Cell) -> Dict[str, np.ndarray]:
        """Their values."""
        return {name: parameter.asnumpy() for name, parameter in self.parameters(network).items()}

    def copy(self, cell: nn.Cell, place: str = "") -> nn.Cell:
        """A copy of the network, or of its Cell at `place`, with these names."""
        made = copy_network(cell)
        for name, parameter in self.parameters(made, place).items():
            parameter.name = name
        return made


def _mask(site: KeptChannels) -> Tensor:
    keep = np.zeros(site.size, np.float32)
    keep[list(site.kept)] = 1.0
    return Tensor(keep.reshape((-1,) + (1,) * site.trailing), ms.float32)


class TemporaryCell(nn.Cell):
    """Base of the Cells that an algorithm's `apply` puts into a network, and its `convert` takes out."""

    def __init__(self):
        # Parameters keep the names that they have in the network.
        super().__init__(auto_prefix=False)


class GatedCell(TemporaryCell):
    """A Cell whose input and output are multiplied by factors, Tensors or Parameters, or None; it is not copied, and
    its parameters keep their names."""

    def __init__(self, cell: nn.Cell, before: Optional[Tensor], after: Optional[Tensor] = None):
        super().__init__()
        self.cell = cell
        self.before, self.after = before, after

    def construct(self, x):
        if self.before is not None:
            x = x * self.before.astype(x.dtype)
        x = self.cell(x)
        return x if self.after is None else x * self.after.astype(x.dtype)


class MaskedCell(GatedCell):
    """A Cell that does not see the channels that do not stay `before`, or does not show those that do not `after` it:
    whatever lies there is zero; None for all stay."""

    def __init__(self, cell: nn.Cell, before: Optional[KeptChannels], after: Optional[KeptChannels] = None):
        super().__init__(cell, *(_mask(site) if site else None for site in (before, after)))


class WeightMask(TemporaryCell):
    """A weight times its mask, as a Cell: automatic mixed precision then casts it as it casts the layer's inputs."""

    def __init__(self, mask: np.ndarray, dtype: Any):
        super().__init__()
        self.mask = Tensor(mask, dtype)

    def construct(self, weight):
        return weight * self.mask.astype(weight.dtype)


_HELD, _MASK = "_held", "_mask"


def _product(attribute: str) -> property:
    held, mask = attribute + _HELD, attribute + _MASK

    def product(self):
        return getattr(self, mask)(getattr(self, held))

    return property(product)


def mask_weights(network: nn.Cell, masks: Mapping[str, np.ndarray]) -> None:
    """
    Let single weights, by the names of their parameters, be zero from now on where their mask is False, whatever the
    optimizer: what the network reads is the weight times the mask, so no gradient comes to them.

    The Cells that hold such a parameter get a class of their own, derived from the one that they have, in which the
    product is a property under the parameter's name: both modes read it there, from wherever the code asks for it.
    """
    for _, cell in list(network.cells_and_names()):
        chosen = {name: item for name, item in cell._params.items() if item is not None and item.name in masks}
        if not chosen:
            continue
        # Not changed in place: Cells that MindSpore has rewritten share their dict with those that they came from.
        cell.__dict__["_params"] = {name + _HELD * (name in chosen): item for name, item in cell._params.items()}
        kind = type(cell)
        cell.__class__ = type(kind.__name__, (kind,), {**{name: _product(name) for name in chosen},
                                                       "__module__": kind.__module__})
        for attribute, item in chosen.items():
            setattr(cell, attribute + _MASK, WeightMask(masks[item.name], item.dtype))
    set_zeros(network, masks)


def unmask_weights(network: nn.Cell) -> None:
    """Give the Cells that `mask_weights` has changed their class and parameters back."""
    for _, cell in list(network.cells_and_names()):
        attributes = [name[:-len(_MASK)] for name, item in cell._cells.items() if isinstance(item, WeightMask)]
        if not attributes:
            continue
        cell.__class__ = type(cell).__bases__[0]
        held = {attribute + _HELD: attribute for attribute in attributes}
        cell.__dict__["_params"] = {held.get(name, name): item for name, item in cell._params.items()}
        for attribute in attributes:
            del cell._cells[attribute + _MASK]
    ms.ms_memory_recycle()


def set_zeros(network: nn.Cell, masks: Mapping[str, np.ndarray]) -> None:
    """Write zeros into parameters, by name, where their mask is False."""
    for parameter in network.get_parameters():
        if parameter.name in masks:
            values = np.where(masks[parameter.name], numbers_in(parameter), 0)
            parameter.set_data(Tensor(values, parameter.dtype))
    ms.ms_memory_recycle()


class ScatteredOutput(nn.Cell):
    """
    A slim Cell whose channels are put into their places, `site.kept` among `site.size`, in a wider feature map that is
    zero elsewhere: a residual branch may have fewer channels than the sum it enters. Its parameters keep their names.
    """

    def __init__(self, cell: nn.Cell, site: KeptChannels):
        super().__init__(auto_prefix=False)
        self.cell = cell
        # Every place reads one channel: its own, or the channel of zeros that is appended.
        source = np.full(site.size, len(site.kept), np.int32)
        source[list(site.kept)] = np.arange(len(site.kept))
        self.source = Tensor(source, ms.int32)
        self.zero = Tensor(np.zeros((1, 1) + (1,) * site.trailing), ms.float32)

    def construct(self, x):
        # Of the ways that benchmarks/scatter.py measures, the fastest.
        narrow = self.cell(x)
        # Not zeros_like: MindSpore would compute it while compiling, and write N * H * W zeros into an exported file.
        zeros = narrow[:, :1] * self.zero.astype(narrow.dtype)
        return ops.gather(ops.concat((narrow, zeros), 1), self.source, 1)


def find_cell(network: nn.Cell, path: str, owner: str = "slim") -> nn.Cell:
    """The Cell at a dotted path; `owner` is the function that the user called."""
    cell = network
    for name in path.split(".") if path else ():
        if name not in cell._cells:
            raise SlimError(f"For '{owner}', the network must have a Cell at '{path}', but got none named '{name}'.")
        cell = cell._cells[name]
    return cell


def replace_cells(network: nn.Cell, wrappers: Mapping[str, Callable[[nn.Cell], nn.Cell]]) -> None:
    """Put `wrappers[path](cell)` where the Cell at `path` is, wherever it is referred to. Parameter names stay."""
    for parent in [find_cell(network, path.rpartition(".")[0]) for path in wrappers]:
        if type(parent) is nn.MultiheadAttention:
            open_attention(parent)  # one that is not does not call its Cells
    tell_apart(network, wrappers)
    last = {id(find_cell(network, path)): path for path in wrappers}
    _exchange(network, {key: wrappers[path](find_cell(network, path)) for key, path in last.items()})


def tell_apart(network: nn.Cell, paths: Iterable[str]) -> None:
    """Say that the Cells at these paths, and those around them, are what no others are: MindSpore may compile Cells as
    one that were made by equal arguments, which it knows of its own layers and where `lazy_inline` is used."""
    names = [path.split(".") for path in paths]
    around = {".".join(parts[:count]) for parts in names for count in range(len(parts) + 1)}
    for path, cell in network.cells_and_names():
        if path in around and hasattr(cell, "cell_init_args"):
            cell.cell_init_args += f" at {path}"


def unwrap_cells(network: nn.Cell, kind: Type[Any]) -> None:
    """Put the Cell that it wraps where a wrapper of class `kind` is."""
    wrapped = {id(cell): cell.cell for _, cell in network.cells_and_names() if isinstance(cell, kind)}
    _exchange(network, wrapped)
    for _, cell in network.cells_and_names() if wrapped else ():
        if type(cell) is OpenAttention:
            close_attention(cell)


def _exchange(network: nn.Cell, made: Mapping[int, nn.Cell]) -> None:
    for _, parent in list(network.cells_and_names()):
        children = parent._cells
        for name, child in list(children.items()):
            while child is not None and made.get(id(child), child) is not child:
                child = made[id(child)]
            # Not by setattr: that would rename every parameter inside.
            children[name] = child
        if isinstance(parent, nn.SequentialCell):
            # It runs its own list of Cells, not its children.
            parent.cell_list = list(children.values())


def _zero(network: nn.Cell, plan: PruningPlan) -> None:
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    for axis in plan.zeros:
        values = parameters[axis.parameter].asnumpy().copy()
        gone = np.delete(np.arange(axis.size), axis.kept)
        values[(slice(None),) * axis.axis + (gone,)] = 0
        parameters[axis.parameter].set_data(Tensor(values, parameters[axis.parameter].dtype))


def masked_network(network: nn.Cell, plan: PruningPlan) -> nn.Cell:
    """
    A copy of the network in which the channels that the plan removes contribute nothing.

    Args:
        network (nn.Cell): The network that the plan was made for. It is not changed.
        plan (PruningPlan): What is kept.

    Returns:
        nn.Cell, of the original's size, with the original's parameter names. It trains as the slim network does.
    """
    masked = copy_network(network)
    inputs, outputs = ({site.path: site for site in sites} for sites in (plan.masks, plan.scatters))
    _zero(masked, plan)
    replace_cells(masked, {path: partial(MaskedCell, before=inputs.get(path), after=outputs.get(path))
                           for path in {**inputs, **outputs}})
    ms.ms_memory_recycle()
    return masked


def nan_parameters(network: nn.Cell) -> List[str]:
    """Names of the parameters that hold NaN."""
    return [parameter.name for parameter in network.get_parameters() if np.isnan(numbers_in(parameter)).any()]


def numbers_in(parameter: ms.Parameter) -> np.ndarray:
    """The values of a parameter; numpy has no bfloat16, and float32 holds it without loss."""
    return (parameter.astype(ms.float32) if parameter.dtype == ms.bfloat16 else parameter).asnumpy()


def own_fault(network: nn.Cell, tensors: Tuple[Tensor, ...]) -> str:
    """
    Why a network differs from itself: a parameter that holds NaN, or chance; '' if it does not. To be asked before a
    difference from another network is laid to anything else.
    """
    broken = nan_parameters(network)
    if broken:
        return f"parameter '{broken[0]}' holds NaN: load a checkpoint from before the training diverged"
    first, again = evaluate(network, tensors), evaluate(network, tensors)
    if any(not np.allclose(one, other, 1e-3, 1e-6, equal_nan=True) for one, other in zip(first, again)):
        return ("two runs of it on the same inputs differ: it is random in evaluation, so let it draw only where "
                "'self.training' is set")
    return ""
