"""What the budget of several prunings in turn is a fraction of: the network before the first of them."""
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Dict, Mapping

import numpy as np
from mindspore import nn

from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.graph.ir import Graph
from golden_stick.prune.plan import PruningPlan, removed_channels
from golden_stick.prune.ranking import cap_of, pools_of, rate_of_groups, rounded_down

__all__ = ["Beginning"]


@dataclass(frozen=True, eq=False)
class Beginning:
    """
    A network before anything was removed, and how much of it is gone.

    Args:
        network (nn.Cell): The network.
        graph (Graph): Its graph.
        grouping (Grouping): What could be removed of it.
        gone (Mapping): Name of a group of `grouping` -> how many of its channels are removed by now.
    """

    network: nn.Cell
    graph: Graph
    grouping: Grouping
    gone: Mapping[str, int]

    def after(self, grouping: Grouping, plan: PruningPlan) -> "Beginning":
        """The same, with one more plan carried out; `grouping` is what it was made for."""
        gone, removed = dict(self.gone), removed_channels(grouping, plan)
        for group in grouping:
            name = self.origin(group)
            gone[name] = gone.get(name, 0) + int(np.isin(group.channels, removed).sum())
        return replace(self, gone=gone)

    def shares(self, grouping: Grouping, rate: float, config: Mapping[str, Any]) -> Dict[str, Dict[str, Any]]:
        """
        What `plan_of_rates` must be told, so that as much is gone afterwards as one pruning at `rate` would take.

        Args:
            grouping (Grouping): What can be removed by now.
            rate (float): Of all that could be removed at first.
            config (Mapping): With `ranking` and `max_rate`, which is of the first network too.

        Returns:
            dict with `rates`, `most` and `pools`, each by the name of a group of `grouping`.
        """
        pools = pools_of(config["ranking"], self.graph, self.grouping)
        caps = rate_of_groups("make_plan", "max_rate", self.grouping, config["max_rate"], otherwise=1.0)
        spared = {group.name: max(0, cap_of(group, caps[group.name]) - self.gone.get(group.name, 0))
                  for group in self.grouping}
        origins = {group.name: self.origin(group) for group in grouping}
        pool_of = {name: pools.get(origin, name) for name, origin in origins.items()}
        wanted, gone, there = Counter(), Counter(), Counter()
        for group in self.grouping:
            wanted[pools[group.name]] += rate * len(group.channels)
            gone[pools[group.name]] += self.gone.get(group.name, 0)
        for group in grouping:
            there[pool_of[group.name]] += len(group.channels)
        # Counted from the first network each time: what rounding down left is taken in a later step.
        share = {pool: max(0, rounded_down(wanted[pool]) - gone[pool]) / size for pool, size in there.items()}
        return {"rates": {name: share[pool] for name, pool in pool_of.items()}, "pools": pool_of,
                "most": {group.name: spared.get(origins[group.name], 0) / len(group.channels) for group in grouping}}

    def origin(self, group: ChannelGroup) -> str:
        """The name of the group that a group is left of. Scattering changes paths, not names of parameters."""
        made = {item.parameter for item in group.filters}
        return next((first.name for first in self.grouping
                     if any(item.parameter in made for item in first.filters)), group.name)
