"""
Which channels go, least important first: group by group, all groups at once, or those of one topology together.

The last: Fang et al., `Isomorphic Pruning for Vision Models <https://arxiv.org/abs/2407.04616>`_, ECCV 2024.
"""
import fnmatch
import math
from collections import Counter
from typing import Any, Dict, Hashable, Mapping, Sequence, Tuple, Union

import numpy as np

from golden_stick.base.errors import ArgumentError
from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.graph.ir import Graph

__all__ = ["RANKINGS", "ROUNDINGS", "Rates", "cap_of", "check_patterns", "pools_of", "rate_of_groups",
           "removable_first", "round_counts", "rounded_down", "shares_of_pools"]


RANKINGS = ("local", "global", "isomorphic")
ROUNDINGS = ("nearest", "up", "down")

# A fraction for all groups, or by pattern of their layers' paths.
Rates = Union[float, Mapping[str, float]]

# The tiny addend undoes what float multiplication loses: 0.29 * 100 is 28.999...
_NOISE = 1e-9


def rate_of_groups(owner: str, name: str, grouping: Grouping, rates: Rates, otherwise: float) -> Dict[str, float]:
    """
    The fraction that is meant for each group.

    Args:
        owner, name (str): What a message calls them.
        grouping (Grouping): The groups.
        rates (Union[float, Mapping]): One for all, or pattern -> fraction, in the syntax of `fnmatch`. The first
            pattern that fits any layer of a group is the group's.
        otherwise (float): For groups that no pattern fits.

    Returns:
        dict, name of a group -> fraction.

    Raises:
        ArgumentError: If a pattern fits no layer of the network.
    """
    if not isinstance(rates, Mapping):
        return {group.name: rates for group in grouping}
    paths = [path for group in grouping for path in group.layers] + [layer.path for layer in grouping.fixed]
    for pattern in rates:
        if not fnmatch.filter(paths, pattern):
            raise ArgumentError(f"For '{owner}', every pattern in '{name}' must fit the path of a layer with filters, "
                                f"but got {pattern!r}: layers are {', '.join(dict.fromkeys(paths[:6]))} and so on.")
    return {group.name: next((rate for pattern, rate in rates.items() if fnmatch.filter(group.layers, pattern)),
                             otherwise) for group in grouping}


def check_patterns(owner: str, grouping: Grouping, budget: Mapping[str, Any]) -> None:
    """
    Refuse, for the algorithm `owner`, rates by patterns of which one fits no layer of the network.

    Raises:
        ArgumentError: If there is one.
    """
    for key in ("prune_rate", "max_rate"):
        rate_of_groups(owner, key, grouping, budget.get(key), otherwise=0.0)


def pools_of(ranking: str, graph: Graph, grouping: Grouping) -> Dict[str, Hashable]:
    """Name of a group -> the pool in which its channels are ranked, for one of `RANKINGS`."""
    if ranking == "local":
        return {group.name: group.name for group in grouping}
    if ranking == "global":
        return {group.name: "" for group in grouping}
    return {group.name: _topology(graph, grouping, group) for group in grouping}


def _topology(graph: Graph, grouping: Grouping, group: ChannelGroup) -> Tuple:
    """What is alike in groups of one topology: which operators their channels pass, and which parameters hold them."""
    held: Counter = Counter()
    for item in grouping.slices:
        if np.isin(item.channels, group.channels).any():
            parameter = graph.parameter(item.parameter)
            owner = parameter.owners[0] if parameter.owners else None
            held[item.role, item.axis, owner and owner.kind, owner and owner.attribute, parameter.shape[2:]] += 1
    passed: Counter = Counter()
    for node, outputs in zip(graph.nodes, grouping.outputs):
        if any(found is not None and np.isin(found[1], group.channels).any() for found in outputs):
            passed[node.operator] += 1
    return frozenset(held.items()), frozenset(passed.items())


def removable_first(group: ChannelGroup, scores: Sequence[float]) -> np.ndarray:
    """Indices of the channels that can go, the least important first; of equal ones the last. Each layer that could
    lose all its filters keeps its best."""
    order = np.lexsort((-np.arange(len(scores)), scores))
    protected = set()
    for item in group.filters:
        if (item.channels >= 0).all():
            mine = np.isin(group.channels, item.channels)
            protected.add(int(order[mine[order]][-1]))
    return np.array([index for index in order.tolist() if index not in protected], np.int64)


def shares_of_pools(members: Mapping[Hashable, Sequence[ChannelGroup]], scores: Mapping[str, np.ndarray],
                    orders: Mapping[str, np.ndarray], rates: Mapping[str, float]) -> Dict[str, int]:
    """How many channels each group loses when those of a pool, in their groups' orders, are ranked together."""
    counts: Dict[str, int] = {}
    for groups in members.values():
        total = rounded_down(sum(rates[group.name] * len(group.channels) for group in groups))
        candidates = [orders[group.name] for group in groups]
        number = np.repeat(np.arange(len(groups)), [len(order) for order in candidates])
        place = np.concatenate([np.arange(len(order)) for order in candidates])
        score = np.concatenate([np.asarray(scores[group.name], np.float64)[order]
                                for group, order in zip(groups, candidates)])
        first = number[np.lexsort((place, number, score))[:total]]
        counts.update({group.name: int((first == index).sum()) for index, group in enumerate(groups)})
    return counts


def round_counts(group: ChannelGroup, order: np.ndarray, count: int, round_to: int, min_width: int,
                 direction: str) -> int:
    """How many of the channels in `order`, near `count`, can go so that every layer keeps a width that is allowed."""
    fits = np.ones(len(order) + 1, bool)
    for item in group.filters:
        # A channel may stand at several positions of one layer, as in grouped convolutions.
        lost = np.array([0, *np.cumsum([(item.channels == channel).sum() for channel in group.channels[order]])])
        width = len(item.channels) - lost
        fits &= (lost == 0) | ((width % round_to == 0) & (width >= min_width))
    fitting = np.flatnonzero(fits)
    fewer, more = fitting[fitting <= count].max(), fitting[fitting >= count]
    if direction == "up" or not len(more) or (direction == "nearest" and count - fewer <= more.min() - count):
        return int(fewer)
    return int(more.min())


def cap_of(group: ChannelGroup, rate: float) -> int:
    """How many of a group's channels may go at most."""
    return rounded_down(rate * len(group.channels))


def rounded_down(channels: float) -> int:
    """The whole number of channels in a product of a rate."""
    return math.floor(channels + _NOISE)
