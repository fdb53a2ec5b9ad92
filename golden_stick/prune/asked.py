"""How many channels a rate asks for, whether they went, and what held them back."""
from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, Hashable, Mapping, Optional, Tuple

import numpy as np

from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.prune.beginning import Beginning
from golden_stick.prune.plan import PruningPlan, removed_channels
from golden_stick.prune.ranking import (
    cap_of,
    pools_of,
    rate_of_groups,
    removable_first,
    round_counts,
    rounded_down,
)
from golden_stick.report import RateTarget

__all__ = ["Asked", "asked_by_counts", "asked_by_rate", "held_back"]


@dataclass(frozen=True, eq=False)
class Asked:
    """
    How many channels are to go.

    Args:
        name (str): What asks for it.
        wanted (float): How many they are, as a fraction of all that can go.
        counts (Mapping): Pool -> how many of its channels.
        pools (Mapping): Name of a group -> its pool.
    """

    name: str
    wanted: float
    counts: Mapping[Hashable, int]
    pools: Mapping[str, Hashable]

    def missed(self, spent: Beginning) -> Tuple[Hashable, ...]:
        """The pools that have lost fewer than they should."""
        lost = Counter()
        for name, count in spent.gone.items():
            lost[self.pools.get(name)] += count
        return tuple(pool for pool, count in self.counts.items() if lost[pool] < count)

    def target(self, spent: Beginning) -> RateTarget:
        """What became of it."""
        total = sum(len(group.channels) for group in spent.grouping)
        return RateTarget(self.name, self.wanted, sum(spent.gone.values()) / total, not self.missed(spent))


def asked_by_rate(beginning: Beginning, config: Mapping[str, Any]) -> Asked:
    """What `prune_rate` asks for, a number or one by patterns, of the network before anything went."""
    grouping, rate = beginning.grouping, config["prune_rate"]
    rates = rate_of_groups("make_plan", "prune_rate", grouping, rate, otherwise=0.0)
    pools = pools_of(config["ranking"], beginning.graph, grouping)
    amounts = Counter()
    for group in grouping:
        amounts[pools[group.name]] += rates[group.name] * len(group.channels)
    total = sum(len(group.channels) for group in grouping)
    return Asked("prune_rate", sum(amounts.values()) / total if isinstance(rate, Mapping) else rate,
                 {pool: rounded_down(amount) for pool, amount in amounts.items()}, pools)


def asked_by_counts(name: str, grouping: Grouping, counts: Mapping[str, int]) -> Asked:
    """The same, where it is decided for each group by itself; groups without an entry are asked for nothing."""
    total = sum(len(group.channels) for group in grouping)
    return Asked(name, sum(counts.values()) / total, counts, {group.name: group.name for group in grouping})


def held_back(asked: Asked, spent: Beginning, grouping: Grouping, importance: Mapping[str, np.ndarray],
              config: Mapping[str, Any], plan: PruningPlan) -> Tuple[str, ...]:
    """
    Why a rate was missed, in sentences: one for each reason, with the groups that it holds.

    Args:
        asked (Asked): How many channels were to go.
        spent (Beginning): How many went, this plan's included.
        grouping (Grouping): What the plan was made of.
        importance (Mapping): Name of a group -> the scores that it was made by; groups without an entry had none.
        config (Mapping): With `max_rate`, `round_to`, `round` and `min_width`.
        plan (PruningPlan): The plan.

    Returns:
        tuple of str, empty where all is met.
    """
    missed, removed = set(asked.missed(spent)), removed_channels(grouping, plan)
    caps = rate_of_groups("make_plan", "max_rate", spent.grouping, config["max_rate"], otherwise=1.0)
    left: Dict[str, list] = {}
    for group in grouping:
        left.setdefault(spent.origin(group), []).append(group)
    held: Dict[str, list] = {}
    for first in spent.grouping:
        if asked.pools[first.name] not in missed:
            continue
        if first.name not in left:
            reason = "what an earlier step left"
        elif spent.gone.get(first.name, 0) >= cap_of(first, caps[first.name]):
            reason = "'max_rate'"
        else:
            reason = next(filter(None, (_holds(group, importance.get(group.name), config, removed)
                                        for group in left[first.name])), None)
        if reason:
            held.setdefault(reason, []).append(first.name)
    return tuple(f"{asked.name} {asked.wanted:.4g} is not reached, held back by {reason}: {', '.join(names)}"
                 for reason, names in held.items())


def _holds(group: ChannelGroup, scores: Optional[np.ndarray], config: Mapping[str, Any], removed: np.ndarray
           ) -> Optional[str]:
    """What keeps a group from losing one channel more, but for its cap; None if nothing does."""
    if scores is None:
        return "missing scores"
    order, lost = removable_first(group, scores), int(np.isin(group.channels, removed).sum())
    if lost >= len(order):
        return "the filters that every layer keeps"
    for reason, multiple, least in (("'round_to'", config["round_to"], 1), ("'min_width'", 1, config["min_width"]),
                                    ("'round_to' and 'min_width'", config["round_to"], config["min_width"])):
        if round_counts(group, order, lost + 1, multiple, least, config["round"]) <= lost:
            return reason
    return None
