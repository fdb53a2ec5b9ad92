"""Whether a checkpoint holds what a network takes: nothing missing, nothing of another shape, nothing besides."""
import difflib
from typing import Iterable, List, Mapping

import numpy as np
from mindspore import Tensor, nn

from golden_stick.errors import CheckpointError

__all__ = ["check_exact", "check_held", "fill", "refuse_slim_weights"]

_NAMED = 3
# Beside what is named after a parameter: schedules, and counters that are no scalars.
_STATE = ("learning_rate", "global_step", "afactor_step")


def fill(network: nn.Cell, values: Mapping[str, np.ndarray]) -> None:
    """Put values that were checked into a network."""
    for parameter in network.get_parameters():
        parameter.set_data(Tensor(values[parameter.name], parameter.dtype))


def check_exact(network: nn.Cell, values: Mapping[str, np.ndarray], option: str, place: str) -> None:
    """
    Refuse a checkpoint that does not hold exactly a network's parameters; what an optimizer left is only told.

    Args:
        network (nn.Cell): The network.
        values (Mapping): Name -> array, of the checkpoint.
        option (str): The option that named the checkpoint.
        place (str): The checkpoint.

    Raises:
        CheckpointError: If a parameter is missing or of another shape, or there is another besides.
    """
    besides = check_held(network, values, option, place)
    wanted = [parameter.name for parameter in network.get_parameters()]
    state = [name for name in besides if _is_state(name, values[name], wanted)]
    foreign = [name for name in besides if name not in state]
    if foreign:
        raise CheckpointError(f"For 'golden-stick', '{option}' must hold the network's parameters and no others, but "
                              f"'{place}' also holds {_listed(foreign)}: name the network that it is of.")
    if state:
        print(f"left aside {len(state)} values of '{place}' that training keeps beside parameters: {_listed(state)}",
              flush=True)


def check_held(network: nn.Cell, values: Mapping[str, np.ndarray], option: str, place: str) -> List[str]:
    """
    Refuse a checkpoint that does not hold a network's parameters; what it holds besides is returned.

    Args: as of `check_exact`.

    Raises:
        CheckpointError: If a parameter is missing or of another shape.
    """
    wanted = {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}
    missing = [name for name in wanted if name not in values]
    besides = [name for name in values if name not in wanted]
    if missing:
        more = f", nor {len(missing) - 1} more of its {len(wanted)}" if len(missing) > 1 else ""
        raise CheckpointError(f"For 'golden-stick', '{option}' must hold the network's parameter '{missing[0]}', but "
                              f"'{place}' does not{more}; {_nearest(missing[0], besides)}.")
    for name, shape in wanted.items():
        if values[name].shape != shape:
            raise CheckpointError(f"For 'golden-stick', '{name}' in '{place}' must have shape {shape}, but got "
                                  f"{values[name].shape}.")
    return besides


def refuse_slim_weights(network: nn.Cell, values: Mapping[str, np.ndarray], place: str) -> None:
    """
    Refuse what looks like the weights of a slim network where the original's are wanted.

    Raises:
        CheckpointError: If all parameters are there, none with a longer axis, and some with a shorter one.
    """
    shapes = [(item.name, tuple(item.shape), values[item.name].shape) for item in network.get_parameters()
              if item.name in values]
    narrower = [one for one in shapes if one[1] != one[2]]
    if len(shapes) < len(list(network.get_parameters())) or not narrower or not all(
            len(wanted) == len(got) and all(a >= b for a, b in zip(wanted, got)) for _, wanted, got in shapes):
        return
    name, wanted, got = narrower[0]
    raise CheckpointError(f"For 'golden-stick', '{name}' in '{place}' must have shape {wanted}, but got {got}: if "
                          f"these are the weights of a slim network, name its slim file as '--recipe'.")


def _is_state(name: str, array: np.ndarray, wanted: Iterable[str]) -> bool:
    """Optimizers name what they keep for a parameter after it, as moments.conv.weight; what is appended is scalar."""
    return (array.ndim == 0 or name.startswith(_STATE)
            or any(name.endswith((f".{parameter}", f"_{parameter}")) for parameter in wanted))


def _nearest(name: str, others: Iterable[str]) -> str:
    others = list(others)
    alike = [other for other in others if other.endswith(f".{name}") or name.endswith(f".{other}")]
    alike = alike or difflib.get_close_matches(name, others, n=1, cutoff=0.5)
    if alike:
        return f"the nearest name there is '{alike[0]}'"
    return f"it holds {_listed(others)}" if others else "it holds nothing besides"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:_NAMED]) + more
