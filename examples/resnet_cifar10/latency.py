"""Latency of networks, measured in turn so that a machine's moods strike all alike."""
import statistics
import time
from typing import List, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn

__all__ = ["interleaved_latency"]

_WARM_UP = 5  # the first call compiles, the next ones fill caches


def interleaved_latency(networks: Sequence[nn.Cell], shape: Tuple[int, ...], rounds: int) -> List[float]:
    """
    Median seconds per call of each network, in evaluation and in the current mode.

    Args:
        networks (Sequence[nn.Cell]): The networks; each round calls every one of them once.
        shape (tuple[int]): Of their input.
        rounds (int): How many rounds count, after five that do not.

    Returns:
        list[float], one median per network.
    """
    images = ms.Tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    taken: List[List[float]] = [[] for _ in networks]
    for network in networks:
        network.set_train(False)
    for number in range(_WARM_UP + rounds):
        for network, times in zip(networks, taken):
            start = time.perf_counter()
            network(images).asnumpy()  # asnumpy waits for the result
            if number >= _WARM_UP:
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]
