"""Networks and their graphs, traced once a process: for tests that read them and change neither."""
import functools
from typing import Any, Callable, Tuple

from mindspore import nn

import golden_stick as gs
from golden_stick.graph.ir import Graph
from tests import networks

__all__ = ["traced"]


@functools.lru_cache(maxsize=None)
def traced(build: Callable[..., nn.Cell], shape: Tuple[int, ...] = networks.SMALL_INPUT,
           *arguments: Any) -> Tuple[nn.Cell, Graph]:
    """
    `build(*arguments)` with random weights, and its graph for an input of `shape`.

    The same two objects for all who ask: `gs.slim`, `apply` and `fold` copy what they are given, so a test may hand the
    network to them; who sets a weight, trains it or replaces a Cell builds its own.
    """
    network = networks.randomize(build(*arguments))
    return network, gs.trace(network, shape)
