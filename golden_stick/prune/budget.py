"""Budgets: what was asked for, the plan that meets it, and what held it back."""
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Hashable, Mapping, Optional, Tuple

import numpy as np
from mindspore import nn

from golden_stick.base.errors import ArgumentError
from golden_stick.graph.cost import count_macs, count_parameters, shrink
from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.graph.ir import Graph
from golden_stick.graph.plan import PruningPlan, removed_channels
from golden_stick.prune.plan import make_plan, plan_of_rates
from golden_stick.prune.ranking import (
    cap_of,
    pools_of,
    rate_of_groups,
    removable_first,
    round_counts,
    rounded_down,
)
from golden_stick.prune.report import RateTarget, Target

__all__ = ["BudgetBaseline", "TARGETS", "Budgeted", "check_budget", "measure", "plan_for", "shrunk_by", "trial_of",
           "RateRequest", "request_by_counts", "request_by_rate", "shortfall_reasons"]


@dataclass(frozen=True, eq=False)
class BudgetBaseline:
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

    def after(self, grouping: Grouping, plan: PruningPlan) -> "BudgetBaseline":
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


# What a target counts, of the slim network's graph; latency is measured instead.
_COUNTED: Mapping[str, Callable[[Graph], int]] = {"target_macs": count_macs, "target_params": count_parameters}
_MEASURED = "target_latency"
TARGETS = (*_COUNTED, _MEASURED)

_WIDTHS = ("round_to", "min_width", "round")

# The largest rate: floor(rate * channels) is all of them but for those that every layer keeps.
_ALL = 1.0 - 1e-12
_PRECISION = 1e-6
# Each measurement costs a compilation, and says no more than this about a rate.
_PRECISION_MEASURED = 1 / 64
# Slimming for trial takes so much where it is not known yet how much will go.
_TRIAL = 0.5


@dataclass(frozen=True)
class Budgeted:
    """
    A plan and how it met the target of a configuration.

    Args:
        plan (PruningPlan): The plan.
        cost (float): What was measured when the plan was chosen, in the unit of the target; None without a target.
        exhausted (bool): Whether the plan removes all it may, and misses the target all the same.
    """

    plan: PruningPlan
    cost: Optional[float] = None
    exhausted: bool = False


def check_budget(owner: str, given: Mapping[str, Any]) -> None:
    """
    Raise where keys of a configuration contradict each other.

    Raises:
        ArgumentError: If more than one of a rate and the targets is given, or rates by pattern with channels that are
            ranked together.
    """
    budgets = [key for key in ("prune_rate", *TARGETS) if given.get(key) is not None]
    if len(budgets) > 1:
        raise ArgumentError(f"For '{owner}', the budget must be one of 'prune_rate', 'target_macs', 'target_params' "
                            f"and 'target_latency', but got {' and '.join(repr(key) for key in budgets)}.")
    if isinstance(given.get("prune_rate"), Mapping) and given.get("ranking", "local") != "local":
        raise ArgumentError(f"For '{owner}', 'ranking' must be 'local' where 'prune_rate' is a dict, but got "
                            f"{given['ranking']!r}: cap single layers by 'max_rate' instead.")


def trial_of(config: Mapping[str, Any]) -> Dict[str, Any]:
    """What to remove for trial, as arguments of `make_plan`: every layer that may lose channels loses some."""
    rate = config["prune_rate"]
    if rate is None or isinstance(rate, str):
        rate = _TRIAL
    elif config["ranking"] != "local":
        rate = max(_TRIAL, rate)
    return {**_arguments(config), "prune_rate": rate}


def plan_for(graph: Graph, grouping: Grouping, importance: Mapping[str, np.ndarray],
             config: Mapping[str, Any], latency: Callable[[PruningPlan], float],
             baseline: Optional[BudgetBaseline] = None) -> Budgeted:
    """
    The plan that a configuration asks for.

    A target is met by one rate for all pools, the least that does, found by bisection: a larger rate never costs more.

    Args:
        graph (Graph): The traced network.
        grouping (Grouping): What can be removed.
        importance (Mapping): Name of a group -> float, shape (channels of the group,).
        config (Mapping): With the keys of every pruner that say how much goes.
        latency (Callable): The latency with a plan carried out, as a fraction of the original's.
        baseline (BudgetBaseline): What the budget is a fraction of, where part of it is spent. Default: ``None``, the
            network of `graph`.

    Returns:
        Budgeted; its plan removes all it may if the target cannot be met.
    """
    pools = pools_of(config["ranking"], graph, grouping)

    def plan_of(rate: Any) -> PruningPlan:
        if baseline is None:
            return make_plan(grouping, importance, rate, pools=pools, **_arguments(config))
        widths = {key: config[key] for key in _WIDTHS}
        return plan_of_rates(grouping, importance, **baseline.shares(grouping, rate, config), **widths)

    key = _target_of(config)
    if key is None:
        return Budgeted(plan_of(config["prune_rate"]))
    if key == _MEASURED:
        return _mildest(plan_of, latency, config[key], _PRECISION_MEASURED)
    whole = _COUNTED[key](baseline.graph if baseline else graph)
    return _mildest(plan_of, lambda plan: _COUNTED[key](shrunk_by(graph, grouping, plan)) / whole, config[key],
                    _PRECISION)


def _mildest(plan_of: Callable[[float], PruningPlan], cost_of: Callable[[PruningPlan], float], limit: float,
             precision: float) -> Budgeted:
    low, high, plan = 0.0, _ALL, plan_of(_ALL)
    best = Budgeted(plan, cost_of(plan))
    if not best.cost <= limit:
        return Budgeted(plan, best.cost, exhausted=True)
    while high - low > precision:
        middle = (low + high) / 2
        plan = plan_of(middle)
        found = Budgeted(plan, cost_of(plan))
        if found.cost <= limit:
            high, best = middle, found
        else:
            low = middle
    return best


def measure(config: Mapping[str, Any], before: Graph, after: Graph,
            budgeted: Optional[Budgeted]) -> Tuple[Target, ...]:
    """What became of the target of a configuration, if it has one. Measured anew, a latency would be another one."""
    key = _target_of(config)
    if key is None:
        return ()
    reached = budgeted.cost if key == _MEASURED else _COUNTED[key](after) / _COUNTED[key](before)
    return (Target(key, config[key], reached, reached <= config[key], budgeted.exhausted),)


def shrunk_by(graph: Graph, grouping: Grouping, plan: PruningPlan) -> Graph:
    """The graph with the shapes that a plan leaves."""
    return shrink(graph, grouping, removed_channels(grouping, plan))


def _arguments(config: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: config[key] for key in (*_WIDTHS, "max_rate")}


def _target_of(config: Mapping[str, Any]) -> Optional[str]:
    return next((key for key in TARGETS if config[key] is not None), None)


@dataclass(frozen=True, eq=False)
class RateRequest:
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

    def missed(self, remaining: BudgetBaseline) -> Tuple[Hashable, ...]:
        """The pools that have lost fewer than they should."""
        lost = Counter()
        for name, count in remaining.gone.items():
            lost[self.pools.get(name)] += count
        return tuple(pool for pool, count in self.counts.items() if lost[pool] < count)

    def target(self, remaining: BudgetBaseline) -> RateTarget:
        """What became of it."""
        total = sum(len(group.channels) for group in remaining.grouping)
        return RateTarget(self.name, self.wanted, sum(remaining.gone.values()) / total, not self.missed(remaining))


def request_by_rate(baseline: BudgetBaseline, config: Mapping[str, Any]) -> RateRequest:
    """What `prune_rate` asks for, a number or one by patterns, of the network before anything went."""
    grouping, rate = baseline.grouping, config["prune_rate"]
    rates = rate_of_groups("make_plan", "prune_rate", grouping, rate, otherwise=0.0)
    pools = pools_of(config["ranking"], baseline.graph, grouping)
    amounts = Counter()
    for group in grouping:
        amounts[pools[group.name]] += rates[group.name] * len(group.channels)
    total = sum(len(group.channels) for group in grouping)
    return RateRequest("prune_rate", sum(amounts.values()) / total if isinstance(rate, Mapping) else rate,
                 {pool: rounded_down(amount) for pool, amount in amounts.items()}, pools)


def request_by_counts(name: str, grouping: Grouping, counts: Mapping[str, int]) -> RateRequest:
    """The same, where it is decided for each group by itself; groups without an entry are asked for nothing."""
    total = sum(len(group.channels) for group in grouping)
    return RateRequest(name, sum(counts.values()) / total, counts, {group.name: group.name for group in grouping})


def shortfall_reasons(request: RateRequest, remaining: BudgetBaseline, grouping: Grouping,
                      importance: Mapping[str, np.ndarray], config: Mapping[str, Any], plan: PruningPlan
                      ) -> Tuple[str, ...]:
    """
    Why a rate was missed, in sentences: one for each reason, with the groups that it holds.

    Args:
        request (RateRequest): How many channels were to go.
        remaining (BudgetBaseline): How many went, this plan's included.
        grouping (Grouping): What the plan was made of.
        importance (Mapping): Name of a group -> the scores that it was made by; groups without an entry had none.
        config (Mapping): With `max_rate`, `round_to`, `round` and `min_width`.
        plan (PruningPlan): The plan.

    Returns:
        tuple of str, empty where all is met.
    """
    missed, removed = set(request.missed(remaining)), removed_channels(grouping, plan)
    caps = rate_of_groups("make_plan", "max_rate", remaining.grouping, config["max_rate"], otherwise=1.0)
    left: Dict[str, list] = {}
    for group in grouping:
        left.setdefault(remaining.origin(group), []).append(group)
    held: Dict[str, list] = {}
    for first in remaining.grouping:
        if request.pools[first.name] not in missed:
            continue
        if first.name not in left:
            reason = "what an earlier step left"
        elif remaining.gone.get(first.name, 0) >= cap_of(first, caps[first.name]):
            reason = "'max_rate'"
        else:
            reason = next(filter(None, (_holds(group, importance.get(group.name), config, removed)
                                        for group in left[first.name])), None)
        if reason:
            held.setdefault(reason, []).append(first.name)
    return tuple(f"{request.name} {request.wanted:.4g} is not reached, held back by {reason}: {', '.join(names)}"
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
