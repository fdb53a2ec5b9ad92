"""Running, copying and naming a network, which leave its flags, the original and the working directory as they were."""
import copy
import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple, Union

import mindspore as ms
import numpy as np
from mindspore import Tensor, mint, nn, ops

from golden_stick.base.errors import SlimError, first_line
from golden_stick.graph.layers import LAYERS, NORMALIZATIONS, Layer, Normalization, name_of_class

__all__ = ["PLAN", "allowed_difference", "decoded", "encoded", "evaluation", "evaluate", "kind_of", "leaves",
           "scratch_directory", "copy_network", "record_of", "OriginalNames"]


_NAMESPACES = {"nn": nn, "mint.nn": mint.nn}
# MindSpore's class -> its kind. Some versions lack some.
_KINDS: Dict[type, str] = {
    getattr(_NAMESPACES[space], name): f"{space}.{name}"
    for space, _, name in (kind.rpartition(".") for kind in (*LAYERS, *NORMALIZATIONS))
    if hasattr(_NAMESPACES.get(space), name)}

# So far apart may two orders of summation be.
_ROUNDINGS = 8


def kind_of(cell: nn.Cell) -> str:
    """
    The kind of layer or normalization that a Cell is, as `golden_stick.graph.layers` names it.

    A subclass that inherits `construct` unchanged is of the kind of its base. Other Cells go by the name of their
    class.
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
        if own in LAYERS or ancestor in _KINDS:
            return (own if own in LAYERS else _KINDS[ancestor]), ancestor
    return "", type(cell)


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
def scratch_directory() -> Iterator[None]:
    """Another working directory for a block: a failed compilation of MindSpore's drops a dump there."""
    folder = os.getcwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            yield
        finally:
            os.chdir(folder)


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


def allowed_difference(tolerance: float, arrays: Iterable[np.ndarray]) -> float:
    """A tolerance made for float32, as a fraction of the largest output; eight roundings where some are of float16."""
    coarse = any(array.dtype == np.float16 for array in arrays)
    return max(tolerance, _ROUNDINGS * float(np.finfo(np.float16).eps)) if coarse else tolerance


def copy_network(network: nn.Cell, owner: str = "slim") -> nn.Cell:
    """
    A deep copy of a network; `owner` is the function that the user called.

    Raises:
        SlimError: If something in it cannot be copied.
    """
    try:
        return copy.deepcopy(network)
    except Exception:  # pylint: disable=broad-except
        # Some primitives, such as LRN, cannot be copied. Nothing changes a primitive, so they may be shared.
        shared: Dict[int, Any] = {id(value): value for _, cell in network.cells_and_names()
                                  for value in vars(cell).values() if isinstance(value, ops.Primitive)}
    try:
        return copy.deepcopy(network, shared)
    except Exception as error:  # pylint: disable=broad-except
        raise SlimError(f"For '{owner}', 'network' must be one that copy.deepcopy can copy, but a "
                        f"'{type(network).__name__}' cannot be: {first_line(error)}") from error


@dataclass(frozen=True)
class OriginalNames:
    """
    The names that a network's parameters had when it was made: plans, checkpoints and slim files speak of these.

    A Cell that the user makes around the network, such as one that computes the loss, renames all that is inside.

    Args:
        by_path (Mapping): Where a parameter is in the network -> its name. One that is not there has the name of now.
    """

    by_path: Mapping[str, str]

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
