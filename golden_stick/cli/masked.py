"""Whether a checkpoint is of a network that was masked as the options say: masked filters do not learn."""
from typing import Mapping

import numpy as np
from mindspore import nn

from golden_stick.errors import CheckpointError
from golden_stick.prune.slimmer import recipe_of

__all__ = ["check_masked"]

# What decaying a weight in every step adds up to in roundings, in units of a number's last place.
_ROUNDINGS = 1000


def check_masked(values: Mapping[str, np.ndarray], place: str, network: nn.Cell, slim: nn.Cell) -> None:
    """
    Refuse a checkpoint that was masked otherwise than the slim network is pruned.

    No gradient reaches a masked filter: after any training it is what it was, up to a factor for the decay of weights.
    The others are not. A layer in which nothing learned tells nothing, nor does a network with zeros in place of masks.

    Args:
        values (Mapping): Name -> array, of the checkpoint.
        place (str): The checkpoint, for the message.
        network (nn.Cell): What it was masked from.
        slim (nn.Cell): What is to be made of it.

    Raises:
        CheckpointError: If a filter that goes has learned, or one that stays has not, in a layer where others have.
    """
    plan = recipe_of(slim)[-1]
    before = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    for axis in () if plan.zeros else plan.axes:
        old, new = before[axis.parameter], values[axis.parameter]
        if axis.axis != 0 or old.ndim < 2 or old[0].size < 2 or len(axis.kept) == axis.size:
            continue
        moved, unit = _moved(old, new), 2.0 ** (-23 if old.dtype.itemsize > 2 else -7)
        kept = np.isin(np.arange(axis.size), axis.kept)
        still = max(2 * unit, float(moved[~kept].max()))
        if moved[kept].max() <= 2 * unit:
            continue
        if still > _ROUNDINGS * unit:
            _refuse(place, axis.parameter, int(np.argmax(np.where(kept, 0, moved))), "would go, but has learned")
        if moved[kept].min() <= still:
            _refuse(place, axis.parameter, int(np.argmin(np.where(kept, moved, np.inf))), "would stay, but has learned "
                    "nothing")


def _moved(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """How far each filter is from the multiple of its old self that is nearest, as a fraction of its largest weight."""
    old, new = (array.astype(np.float64).reshape(len(array), -1) for array in (old, new))
    factor = (old * new).sum(1, keepdims=True) / np.maximum((old * old).sum(1, keepdims=True), np.finfo(float).tiny)
    return np.abs(new - factor * old).max(1) / np.maximum(np.abs(old).max(1), np.finfo(float).tiny)


def _refuse(place: str, weight: str, filter_at: int, what: str) -> None:
    raise CheckpointError(f"For 'golden-stick', '{place}' must be masked as the options say, but filter {filter_at} of "
                          f"'{weight}' {what}: give the options and the checkpoint that it was masked with. If its "
                          f"optimizer moves weights without a gradient, or the filter is dead, say '--kind masked'.")
