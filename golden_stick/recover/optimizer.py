"""An optimizer goes on with the slim network: what it has learned of each weight is kept where the weight is."""
import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Sequence, Set, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn
from mindspore.nn.learning_rate_schedule import LearningRateSchedule

from golden_stick.base.config import in_own_name
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, first_line
from golden_stick.cells.slim import common_names, recipe_of
from golden_stick.deploy.fold.plan import Folding
from golden_stick.deploy.slim_file import Kept, kept_positions

__all__ = ["slim_optimizer"]

_OWNER = "slim_optimizer"
Put = Callable[[Any], Any]


@in_own_name
def slim_optimizer(optimizer: nn.Cell, network: nn.Cell, slim: nn.Cell) -> nn.Cell:
    """
    An optimizer for a slim network that goes on where the one of the larger network stands.

    An optimizer that was made for `network` knows its parameters, not those of `slim`: it would run on without an
    error, and the slim network would learn nothing. The new one has the same class, groups of parameters, schedules of
    learning rates, weight decay and step counts. Moments, and whatever else holds one number for each weight, are cut
    to the positions that were kept: its steps are those that the masked network would take.

    Note:
        Where `convert` has solved layers anew on calibration data, moments are those of the weights before.

        `Lamb` and its like divide by norms of whole weights. Those of the masked network count what was removed, those
        of the slim one do not.

        A scheduler of `mindspore.experimental.optim.lr_scheduler` stands outside its optimizer: set its `optimizer` to
        the new one, and its `_last_lr` to the `lrs` of that.

    Args:
        optimizer (nn.Cell): An optimizer of `mindspore.nn`, `mindspore.mint.optim` or `mindspore.experimental.optim`,
            or one of your own, a Cell with `parameters`. It is not changed.
        network (nn.Cell): Whose parameters it trains: the network that was pruned, or the masked network that
            `OneShot.apply` returned.
        slim (nn.Cell): What `convert`, `slim` or `load_slim` made of it.

    Returns:
        nn.Cell, of the class of `optimizer`. It trains the parameters of `slim`; what else `optimizer` trains, such as
        those of a loss, it trains too.

    Raises:
        ArgumentTypeError: If `network` or `slim` is not a Cell, or `optimizer` no optimizer.
        ArgumentError: If `slim` was not made from `network`, `optimizer` trains no parameter of `network`, a step
            between them was a folding, a layer was replaced, or a state does not hold one number for each weight, as
            the row and column means of `AdaFactor`. The message says which.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> optimizer = nn.Momentum(net.trainable_params(), 0.1, 0.9)
        >>> algo = gs.OneShot({"prune_rate": 0.5})
        >>> slim = algo.convert(algo.apply(net, inputs=(1, 3, 16, 16)))
        >>> optimizer = gs.slim_optimizer(optimizer, net, slim)
        >>> print([moment.shape for moment in optimizer.moments])
        [(4, 3, 3, 3), (4, 4, 3, 3)]
    """
    for name, cell in (("optimizer", optimizer), ("network", network), ("slim", slim)):
        if not isinstance(cell, nn.Cell):
            raise ArgumentTypeError(f"For '{_OWNER}', optimizer, network and slim must be Cells, but '{name}' is "
                                    f"{type(cell).__name__}.")
    trained = getattr(optimizer, "parameters", None)
    if not isinstance(trained, (tuple, list)) or not all(isinstance(item, Parameter) for item in trained):
        raise ArgumentTypeError(f"For '{_OWNER}', 'optimizer' must be an optimizer, with its parameters in "
                                f"'parameters', but got a '{type(optimizer).__name__}'.")
    kept = _kept_between(network, slim)
    partners = _partners(network, slim, trained, kept)
    made = _copied(optimizer, {id(network): slim, **{key: one.partner for key, one in partners.items()}}, trained)
    follows = [partners.get(id(parameter), _Trained(parameter, parameter, {})) for parameter in trained]
    standing = {id(slim), *(id(one.partner) for one in (*partners.values(), *follows))}
    for state in _states(made, follows, standing):
        state.cut(type(optimizer).__name__)
    # Without this, a compiled step of the larger network might be served.
    ms.ms_memory_recycle()
    return made


@dataclass(frozen=True, eq=False)
class _Trained:
    """A parameter that an optimizer trains, what stands for it in the slim network, and what is kept on its axes."""

    parameter: Parameter
    partner: Parameter
    kept: Mapping[int, Tuple[int, ...]]

    def cut(self, values: np.ndarray) -> np.ndarray:
        """What is left of numbers that belong to its own, one by one."""
        for axis, positions in self.kept.items():
            values = np.take(values, positions, axis)
        return np.ascontiguousarray(values)


@dataclass(frozen=True, eq=False)
class _State:
    """Numbers that an optimizer keeps, of a parameter if it `follows` one; `put` writes others in their place."""

    place: str
    value: Any  # a Parameter, a Tensor or an array
    follows: Optional[_Trained]
    put: Put

    def cut(self, optimizer: str) -> None:
        """Keep what is of positions that are kept; what is not known to be one number for each weight is refused."""
        if self.follows is not None and not self.follows.kept:
            return
        shape = tuple(self.value.shape)
        if self.follows is None or shape != tuple(self.follows.parameter.shape):
            whose = "no parameter by name, key or place" if self.follows is None else \
                f"'{self.follows.parameter.name}' of shape {tuple(self.follows.parameter.shape)}"
            raise ArgumentError(f"For '{_OWNER}', what 'optimizer' has learned must be one number for each weight of a "
                                f"parameter, but '{self.place}' of '{optimizer}' has shape {shape} and belongs to "
                                f"{whose}: it cannot be cut, so make a new '{optimizer}' of slim.trainable_params().")
        if isinstance(self.value, np.ndarray):
            self.put(self.follows.cut(self.value))
            return
        values = Tensor(self.follows.cut(self.value.asnumpy()), self.value.dtype)
        if isinstance(self.value, Parameter):
            self.value.set_data(values, slice_shape=True)
        else:
            self.put(values)


def _kept_between(network: nn.Cell, slim: nn.Cell) -> Kept:
    """Parameter, by its original name -> axis -> positions in `network` that `slim` has kept."""
    before, after = recipe_of(network).steps, recipe_of(slim).steps
    if slim is not network and (len(after) <= len(before) or after[:len(before)] != before):
        raise ArgumentError(f"For '{_OWNER}', 'slim' must be a network that was made slim from 'network', but got a "
                            f"'{type(slim).__name__}' that was not.")
    steps = after[len(before):]
    if any(isinstance(step, Folding) for step in steps):
        raise ArgumentError(f"For '{_OWNER}', 'slim' must be pruned from 'network' and not folded: a folding gives "
                            f"weights another meaning, and moments do not follow it. Fold once training is over.")
    return kept_positions(steps)


def _partners(network: nn.Cell, slim: nn.Cell, trained: Sequence[Parameter], kept: Kept) -> Dict[int, _Trained]:
    """Identity of a parameter of `network` -> what becomes of it; refused if one that is trained has no partner."""
    here, there = (recipe_of(cell).names.parameters(cell) for cell in (network, slim))
    names = common_names(here, there)
    of_optimizer = {id(parameter) for parameter in trained}
    found: Dict[int, _Trained] = {}
    for name, parameter in here.items():
        partner, axes = there.get(names.get(name, name)), kept.get(names.get(name, name), {})
        shape = tuple(len(axes.get(axis, range(size))) for axis, size in enumerate(parameter.shape))
        if partner is not None and tuple(partner.shape) == shape:
            found[id(parameter)] = _Trained(parameter, partner, axes)
        elif id(parameter) in of_optimizer:
            now = f"it has shape {tuple(partner.shape)} there and not {shape}" if partner is not None else "it lacks it"
            raise ArgumentError(f"For '{_OWNER}', 'slim' must have what is left of '{name}', which 'optimizer' trains, "
                                f"but {now}: call '{_OWNER}' before a layer is replaced.")
    if not of_optimizer & found.keys():
        raise ArgumentError(f"For '{_OWNER}', 'optimizer' must train 'network', but none of its {len(trained)} "
                            f"parameters is one of that '{type(network).__name__}'.")
    return found


def _copied(optimizer: nn.Cell, standing: Dict[int, Any], trained: Sequence[Parameter]) -> nn.Cell:
    """A copy in which other objects stand for some, by their identity. What it trains besides is shared."""
    shared = {**{id(parameter): parameter for parameter in trained}, **standing}
    for _, cell in optimizer.cells_and_names():
        # MindSpore keeps what the parameters were given as; an iterator is used up by now, and some cannot be copied.
        given = getattr(cell, "init_params", {}).get("params")
        if isinstance(given, Iterator):
            shared[id(given)] = [shared[id(parameter)] for parameter in trained]
        # Primitives and functions of graphs hold no state, and some cannot be copied.
        shared.update({id(value): value for value in vars(cell).values() if not isinstance(value, (Tensor, nn.Cell)) and
                       any(kind.__module__.startswith("mindspore._c_expression") for kind in type(value).__mro__)})
    try:
        return copy.deepcopy(optimizer, shared)
    except Exception as error:  # whatever an attribute raises that cannot be copied
        raise ArgumentError(f"For '{_OWNER}', 'optimizer' must be one that copy.deepcopy can copy, but a "
                            f"'{type(optimizer).__name__}' cannot be: {first_line(error)}") from error


def _states(made: nn.Cell, trained: Sequence[_Trained], known: Set[int]) -> Iterable[_State]:
    """All of more than one number that a copied optimizer holds, but what is `known`, and tables of learning rates."""
    def walk(value: Any, place: str, follows: Optional[_Trained], put: Put) -> Iterator[_State]:
        if id(value) in known:
            return
        if isinstance(value, (Tensor, np.ndarray)):
            if value.size > 1:
                yield _State(value.name if isinstance(value, Parameter) else place, value, follows, put)
        elif isinstance(value, (dict, list, tuple, nn.Cell)) and not isinstance(value, LearningRateSchedule):
            known.add(id(value))
            held = vars(value) if isinstance(value, nn.Cell) else value
            # Attributes of a Cell are not named after parameters.
            for key, item, one in _items(held, () if held is not value else trained):
                # Of a tuple, parameters alone can be cut.
                changes = partial(held.__setitem__, key) if hasattr(held, "__setitem__") else _refuse_change
                yield from walk(item, f"{place}.{key}".lstrip("."), one or follows, changes)

    found: Dict[int, _State] = {}
    for state in walk(made, "", None, _refuse_change):
        # The same may be held at several places, of which some tell what it follows; its name is asked last.
        if state.follows is not None or id(state.value) not in found:
            found[id(state.value)] = state
    return [state if state.follows is not None else replace(state, follows=_named(state.value, trained))
            for state in found.values()]


def _refuse_change(values: Any) -> None:
    raise ArgumentError(f"For '{_OWNER}', what 'optimizer' has learned must be in Parameters, lists or dicts, but got "
                        f"a tuple of Tensors of shape {tuple(values.shape)}.")


def _items(held: Any, trained: Sequence[_Trained]) -> Iterator[Tuple[Any, Any, Optional[_Trained]]]:
    """Key and item of a dict, list or tuple, and which parameter the item follows by its key or its place."""
    if isinstance(held, dict):
        by_key = {key: one for one in trained for key in (one.parameter.name, id(one.partner))}
        yield from ((key, item, by_key.get(key if isinstance(key, str) else id(key))) for key, item in held.items())
        return
    aligned = len(held) == len(trained) and all(
        isinstance(item, (Tensor, np.ndarray)) and (item.size == 1 or tuple(item.shape) == tuple(one.parameter.shape))
        for item, one in zip(held, trained))
    yield from ((at, item, trained[at] if aligned else None) for at, item in enumerate(held))


def _named(value: Any, trained: Sequence[_Trained]) -> Optional[_Trained]:
    """The parameter that a state is named after, as ``moments.conv.weight`` is: that of the longest name that fits."""
    name = getattr(value, "name", "")
    fitting = [one for one in trained if isinstance(name, str) and name.endswith(
        (f".{one.parameter.name}", f"_{one.parameter.name}"))]
    return max(fitting, key=lambda one: len(one.parameter.name), default=None)
