"""The check: the slim network gives what the masked one gives, or it is not handed out."""
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import ArgumentError, VerifyError, first_line
from golden_stick.base.inputs import as_tensors, describe
from golden_stick.cells.networks import allowed_difference, evaluate
from golden_stick.cells.slim import recipe_of
from golden_stick.graph.plan import PruningPlan

__all__ = ["Verification", "verify", "compare"]


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
            few hundred roundings of float32, or 0.0078, eight roundings of float16, where an output is of that.

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
        where = _first_difference(masked, slim, tensors, result.tolerance)
        raise VerifyError(
            f"For 'verify', the outputs must agree within {result.tolerance:g} of {result.output_scale:.6g}, but got a "
            f"largest difference of {result.largest_difference:.6g}; {where}."
        )
    return result


def compare(masked: nn.Cell, slim: nn.Cell, tensors: Tuple[Tensor, ...], tolerance: Optional[float] = None,
            owner: str = "verify") -> Verification:
    """
    The largest difference between the outputs of two networks, however large; `owner` is what the user called.

    Raises:
        VerifyError: If outputs differ in number or shape.
    """
    wanted, got = _run(owner, "masked", masked, tensors), _run(owner, "slim", slim, tensors)
    if [array.shape for array in wanted] != [array.shape for array in got]:
        raise VerifyError(
            f"For '{owner}', the outputs must have the shapes {[array.shape for array in wanted]}, "
            f"but got {[array.shape for array in got]}."
        )
    differences = [np.abs(one.astype(np.float64) - other).max(initial=0.0) for one, other in zip(wanted, got)]
    scale = float(max((np.abs(array).max(initial=0.0) for array in wanted), default=0.0))
    return Verification(float(max(differences, default=0.0)), scale,
                        allowed_difference(_TOLERANCE, wanted) if tolerance is None else tolerance)


def _run(owner: str, name: str, network: nn.Cell, tensors: Tuple[Tensor, ...]) -> List[np.ndarray]:
    try:
        return evaluate(network, tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        raise VerifyError(
            f"For '{owner}', '{name}' must run on inputs of shape {describe(tensors)}, but MindSpore says: "
            f"{first_line(error)}"
        ) from error


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
    if not plans:
        return None
    return next((axis.kept for axis in plans[-1].axes if axis.parameter == name and axis.axis == 0), None)


def _layer_outputs(network: nn.Cell, tensors: Tuple[Tensor, ...]) -> Dict[str, np.ndarray]:
    """Name of a Cell's first parameter -> what the Cell gave, in an order of execution."""
    found: Dict[str, np.ndarray] = {}
    handles = []
    for _, cell in network.cells_and_names():
        names = [parameter.name for parameter in cell._params.values() if parameter is not None]
        if names:
            handles.append(cell.register_forward_hook(_recorder(names[0], found)))
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        evaluate(network, tensors)
    finally:
        ms.set_context(mode=mode)
        for handle in handles:
            handle.remove()
        ms.ms_memory_recycle()
    return found


def _recorder(name: str, found: Dict[str, np.ndarray]) -> Callable[[nn.Cell, Any, Any], None]:
    def record(cell: nn.Cell, inputs: Any, output: Any) -> None:
        del cell, inputs
        if isinstance(output, Tensor) and name not in found:
            found[name] = output.asnumpy()
    return record
