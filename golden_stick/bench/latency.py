"""How long a network takes on this machine: the measure behind a latency target."""
from contextlib import ExitStack
from typing import Any, Dict, Mapping, Tuple

import mindspore as ms
from mindspore import nn

from golden_stick.base.config import Whole, check_value
from golden_stick.base.errors import ArgumentTypeError
from golden_stick.base.inputs import as_tensors
from golden_stick.bench.clock import Timing, interleave, turn_of
from golden_stick.cells.networks import evaluation, leaves

__all__ = ["latency_of", "latency_ratio"]


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
    return _in_turn({"network": network}, tensors, rounds)["network"]


def latency_ratio(network: nn.Cell, other: nn.Cell, inputs: Tuple[ms.Tensor, ...], rounds: int = 15) -> float:
    """
    How long a network takes, as a fraction of what another takes: both compiled as graphs, in evaluation, in turn.

    Args:
        network (nn.Cell): The network.
        other (nn.Cell): What it is compared with.
        inputs (tuple[Tensor]): What both take.
        rounds (int): How often each is measured. Default: 15.

    Returns:
        float, the median of the rounds' ratios.
    """
    found = _in_turn({"network": network, "other": other}, inputs, rounds)
    return 1 / found["network"].times_faster_than(found["other"])


def _in_turn(networks: Mapping[str, nn.Cell], tensors: Tuple[ms.Tensor, ...], rounds: int) -> Dict[str, Timing]:
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        with ExitStack() as stack:
            turns = {}
            for name, network in networks.items():
                stack.enter_context(evaluation(network))
                turns[name] = turn_of(
                    lambda network=network: [output.asnumpy() for output in leaves(network(*tensors))])
            return interleave(turns, rounds)
    finally:
        ms.set_context(mode=mode)
