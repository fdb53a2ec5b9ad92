"""How long a network takes on this machine: the measure behind a latency target."""
from typing import Any

import mindspore as ms
from mindspore import nn

from golden_stick.bench.clock import Timing, interleave, turn_of
from golden_stick.config import Whole, check_value
from golden_stick.errors import ArgumentTypeError
from golden_stick.evaluation import evaluation, leaves
from golden_stick.inputs import as_tensors

__all__ = ["latency_of"]


def latency_of(network: nn.Cell, inputs: Any, rounds: int = 10) -> Timing:
    """
    How long a network takes, compiled as a graph, in evaluation.

    Two networks that were measured one after the other met two states of the machine: to compare them, let
    `golden_stick.benchmark` measure them in turn.

    Args:
        network (nn.Cell): The network.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only argument.
        rounds (int): How often it is measured. Default: 10.

    Returns:
        Timing, its `median` in seconds a call.

    Raises:
        ArgumentTypeError: If `network` is not a Cell, `inputs` neither Tensors nor a shape, or `rounds` not an int.
        ArgumentError: If `rounds` is less than 1.

    Examples:
        >>> from golden_stick.bench.latency import latency_of
        >>> from mindspore import nn
        >>> print(latency_of(nn.Dense(8, 8), (1, 8)).median < 1.0)
        True
    """
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For 'latency_of', 'network' must be a Cell, but got {type(network).__name__}.")
    check_value("latency_of", "rounds", rounds, Whole(1))
    tensors = as_tensors("latency_of", inputs)
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        with evaluation(network):
            turn = turn_of(lambda: [output.asnumpy() for output in leaves(network(*tensors))])
            return interleave({"network": turn}, rounds)["network"]
    finally:
        ms.set_context(mode=mode)
