"""Budgets: what was asked for, the plan that meets it, and what held it back."""
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Callable, Dict, Hashable, List, Mapping, Optional, Tuple, cast

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import ArgumentError
from golden_stick.criteria.table import filter_rows
from golden_stick.graph.groups import ChannelGroup, Grouping, ParameterSlice
from golden_stick.graph.ir import Graph
from golden_stick.graph.plan import PruningPlan, count_macs, count_parameters, plan_without, removed_channels, shrink
from golden_stick.prune.plan import (
    Rates,
    Widths,
    caps_of,
    group_importance,
    make_plan,
    plan_of_rates,
    rates_of,
    removable_first,
    rounded_down,
)
from golden_stick.prune.report import RateTarget, Target

__all__ = ["BUDGETS", "BudgetBaseline", "COUNTED", "PruningTask", "RateRequest", "Selection", "TARGETS", "check_budget",
           "choose", "counted", "least_left", "macs_left", "most_removed", "nothing_removed", "outcome",
           "pools_of", "refuse_unreachable", "request_by_counts", "shrunk_by", "trial_of"]

# What a target counts, of the slim network's graph; latency is measured instead.
COUNTED: Mapping[str, Callable[[Graph], int]] = {"target_macs": count_macs, "target_params": count_parameters}
_MEASURED = "target_latency"
TARGETS = (*COUNTED, _MEASURED)
BUDGETS = ("prune_rate", *TARGETS, "max_drop")

# The largest rate: floor(rate * channels) is all of them but for those that every layer keeps.
_ALL = 1.0 - 1e-12
_PRECISION = 1e-6
# Each measurement costs a compilation, and says no more than this about a rate.
_PRECISION_MEASURED = 1 / 64
# Slimming for trial takes so much where it is not known yet how much will go.
_TRIAL = 0.5


@dataclass(frozen=True, eq=False)
class BudgetBaseline:
    """A network before anything was removed, what could be removed of it, and how much is by now."""

    network: nn.Cell
    graph: Graph
    grouping: Grouping
    removed: Mapping[str, int] = field(default_factory=dict)  # name of a group -> how many of its channels

    @property
    def channels(self) -> int:
        """How many channels could be removed."""
        return sum(len(group.channels) for group in self.grouping)

    def after(self, grouping: Grouping, plan: PruningPlan) -> "BudgetBaseline":
        """The same, with one more plan carried out; `grouping` is what it was made for."""
        removed, now = Counter(self.removed), removed_channels(grouping, plan)
        for group in grouping:
            removed[self.origin(group)] += int(np.isin(group.channels, now).sum())
        return replace(self, removed=removed)

    def origin(self, group: ChannelGroup) -> str:
        """The name of the group that a group is left of. Scattering changes paths, not names of parameters."""
        made = {item.parameter for item in group.filters}
        return next((first.name for first in self.grouping
                     if any(item.parameter in made for item in first.filters)), group.name)


@dataclass(frozen=True, eq=False)
class PruningTask:
    """What is to be pruned, and by how much: all that `apply` finds out before anything is decided."""

    network: nn.Cell  # the user's; it is not to be changed
    inputs: Tuple[Tensor, ...]  # what it was traced with
    graph: Graph
    grouping: Grouping
    config: Mapping[str, Any]  # with 'auto' resolved where it can be
    baseline: BudgetBaseline  # what the budget is a fraction of: this network, or an earlier one that it is left of
    notes: Tuple[str, ...] = ()  # what reports say of all this
    data: Any = None  # batches to score filters by
    loss: Optional[Callable] = None  # of the network's output and the rest of a batch
    plan: Optional[PruningPlan] = None  # what goes, where it is known beforehand and scores do not decide
    goal: Optional[Mapping[str, Any]] = None  # in a step of several: what of `config` differs in the end
    noise: bool = True  # whether `inputs` are noise, and not what the user gave
    compiled: Optional[Graph] = None  # of the network that was slimmed for trial

    @property
    def filters(self) -> Dict[str, ParameterSlice]:
        """Weight name -> its filters, for every layer that makes channels which can be removed."""
        return {item.parameter: item for group in self.grouping for item in group.filters}

    def filter_weights(self) -> Dict[str, np.ndarray]:
        """Weight name -> float, shape (filters, numbers of a filter), for each of `filters`."""
        values = {parameter.name: parameter for parameter in self.network.get_parameters()}
        return {name: filter_rows(values[name].asnumpy(), item.axis) for name, item in self.filters.items()}


@dataclass(frozen=True, eq=False)
class RateRequest:
    """How many channels are to go, of each pool."""

    name: str  # what asks for it
    wanted: float  # how many they are, as a fraction of all that can go
    counts: Mapping[Any, int]  # pool -> how many of its channels
    pools: Mapping[str, Hashable]  # name of a group -> its pool

    def lost(self, remaining: BudgetBaseline) -> Counter:
        """Pool -> how many of its channels are gone."""
        lost: Counter = Counter()
        for name, count in remaining.removed.items():
            lost[self.pools.get(name)] += count
        return lost

    def missed(self, remaining: BudgetBaseline) -> Tuple[Hashable, ...]:
        """The pools that have lost fewer than they should."""
        lost = self.lost(remaining)
        return tuple(pool for pool, count in self.counts.items() if lost[pool] < count)

    def target(self, remaining: BudgetBaseline) -> RateTarget:
        """What became of it."""
        sizes: Counter = Counter()
        for group in remaining.grouping:
            sizes[self.pools.get(group.name)] += len(group.channels)
        return RateTarget(self.name, self.wanted, sum(remaining.removed.values()) / remaining.channels,
                          not self.missed(remaining), math.ceil(1e4 / max(sizes.values())) / 1e4)


def request_by_counts(name: str, grouping: Grouping, counts: Mapping[str, int]) -> RateRequest:
    """A request where it is decided for each group by itself; groups without an entry are asked for nothing."""
    total = sum(len(group.channels) for group in grouping)
    return RateRequest(name, sum(counts.values()) / total, counts, {group.name: group.name for group in grouping})


def _request_by_rate(baseline: BudgetBaseline, config: Mapping[str, Any]) -> RateRequest:
    """What `prune_rate` asks for, a number or one by patterns, of the network before anything went."""
    grouping, rate = baseline.grouping, config["prune_rate"]
    rates = rates_of("make_plan", "prune_rate", grouping, rate)
    pools = pools_of(config["ranking"], baseline.graph, grouping)
    amounts: Dict[Hashable, float] = defaultdict(float)
    for group in grouping:
        amounts[pools[group.name]] += rates[group.name] * len(group.channels)
    wanted = sum(amounts.values()) / baseline.channels if isinstance(rate, Mapping) else rate
    return RateRequest("prune_rate", wanted, {pool: rounded_down(amount) for pool, amount in amounts.items()}, pools)


@dataclass(frozen=True, eq=False)
class Selection:
    """A plan, and how it was chosen."""

    plan: PruningPlan
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)  # weight name -> the scores of its filters
    importance: Mapping[str, np.ndarray] = field(default_factory=dict)  # name of a group with scores -> its channels'
    request: Optional[RateRequest] = None  # how many channels a rate asked for, where one did
    cost: Optional[float] = None  # what was measured when the plan was chosen, of the target if there was one
    drop: Optional[Target] = None  # what the search for a drop found, if that was the budget


def nothing_removed(task: PruningTask) -> Selection:
    """For an algorithm that has not decided anything yet."""
    return Selection(plan_without(task.grouping, ()))


def check_budget(owner: str, given: Mapping[str, Any]) -> None:
    """Refuse more than one of a rate and the targets, and rates by pattern of channels that are ranked together."""
    budgets = [key for key in BUDGETS if given.get(key) is not None]
    if len(budgets) > 1:
        raise ArgumentError(f"For '{owner}', the budget must be one of {', '.join(map(repr, BUDGETS[:-1]))} and "
                            f"'{BUDGETS[-1]}', but got {' and '.join(map(repr, budgets))}.")
    if isinstance(given.get("prune_rate"), Mapping) and given.get("ranking", "local") != "local":
        raise ArgumentError(f"For '{owner}', 'ranking' must be 'local' where 'prune_rate' is a dict, but got "
                            f"{given['ranking']!r}: cap single layers by 'max_rate' instead.")


def trial_of(owner: str, grouping: Grouping, config: Mapping[str, Any]) -> PruningPlan:
    """What is removed for trial: every layer that may lose channels loses some. Patterns that fit none are refused."""
    rate = config["prune_rate"]
    if rate is None or isinstance(rate, str):
        rate = _TRIAL
    elif config["ranking"] != "local":
        rate = max(_TRIAL, rate)
    for key, rates in (("prune_rate", rate), ("max_rate", config["max_rate"])):
        rates_of(owner, key, grouping, rates)
    scores = {group.name: np.arange(len(group.channels), dtype=float) for group in grouping}
    return make_plan(grouping, scores, rate, config["round_to"], config["min_width"], config["round"],
                     config["max_rate"])


def pools_of(ranking: str, graph: Graph, grouping: Grouping) -> Dict[str, Hashable]:
    """
    Name of a group -> the pool in which its channels are ranked, for one of `RANKINGS`.

    Source of the last: Fang et al., `Isomorphic Pruning for Vision Models <https://arxiv.org/abs/2407.04616>`_, ECCV
    2024.
    """
    if ranking == "isomorphic":
        return {group.name: _topology(graph, grouping, group) for group in grouping}
    return {group.name: group.name if ranking == "local" else "" for group in grouping}


def _topology(graph: Graph, grouping: Grouping, group: ChannelGroup) -> Hashable:
    """What is alike in groups of one topology: which operators their channels pass, and which parameters hold them."""
    held: Counter = Counter()
    for item in grouping.slices:
        if np.isin(item.channels, group.channels).any():
            parameter = graph.parameter(item.parameter)
            owner = parameter.owners[0] if parameter.owners else None
            held[item.role, item.axis, owner and owner.kind, owner and owner.attribute, parameter.shape[2:]] += 1
    passed: Counter = Counter()
    for node, outputs in zip(graph.nodes, grouping.outputs):
        if any(np.isin(channels, group.channels).any() for shrinking in outputs for _, channels in shrinking):
            passed[node.operator] += 1
    return frozenset(held.items()), frozenset(passed.items())


def choose(owner: str, task: PruningTask, scores: Mapping[str, np.ndarray], normalizer: str,
           latency: Callable[[PruningPlan], float]) -> Selection:
    """
    The plan that a configuration asks for. A target that cannot be met is refused, with what can be; one that earlier
    steps have put out of reach takes all that may go.

    A target is met by one rate for all pools, the least that does, found by bisection: a larger rate never costs more.
    Layers without `scores` have no say, and groups of such layers stay. `latency` gives that with a plan carried out,
    as a fraction of the original's.
    """
    config, grouping = task.config, task.grouping
    importance = {group.name: of_channels / _prices(task, group) for group in grouping if (
        of_channels := group_importance(group, scores, config["reduction"], normalizer, owner)) is not None}
    base = Selection(nothing_removed(task).plan, scores, importance)
    if config["max_drop"] is not None:
        return base  # decided at `convert`, by what is left of the accuracy
    most: Dict[str, int] = {}
    if task.goal is not None:
        final = replace(task, config={**config, **task.goal}, goal=None)
        gone = removed_channels(grouping, choose(owner, final, scores, normalizer, latency).plan)
        most = {group.name: int(np.isin(group.channels, gone).sum()) for group in grouping}
    plan_of = partial(_plan_at, task, importance, most)
    target = _target_of(config)
    if target is None:
        return replace(base, plan=plan_of(config["prune_rate"]), request=_request_by_rate(task.baseline, config))
    cost_of, precision = (latency, _PRECISION_MEASURED) if target == _MEASURED else (
        partial(counted, task, target), _PRECISION)
    floor = replace(base, plan=plan_of(_ALL), cost=cost_of(plan_of(_ALL)))
    if task.baseline.grouping is not grouping and not cast(float, floor.cost) <= config[target]:
        # What an earlier step left, as where branches were scattered: the training since then is not to be lost.
        return floor
    refuse_unreachable(owner, target, config[target], cast(float, floor.cost), config["runtime"] or "mindspore")
    return _mildest(floor, plan_of, cost_of, config[target], precision)


def most_removed(task: PruningTask) -> PruningTask:
    """The same task, with a budget that takes all that may go."""
    return replace(task, config={**task.config, "max_drop": None, "prune_rate": _ALL})


def macs_left(task: PruningTask, share: float) -> PruningTask:
    """The same task, with a share of the MACs for its budget."""
    return replace(task, config={**task.config, "max_drop": None, "target_macs": share})


def _prices(task: PruningTask, group: ChannelGroup) -> np.ndarray:
    """What scores of channels are divided by: the share of the network's costs that goes with each, or 1."""
    if task.config["per"] == "channel" or task.config["ranking"] == "local":
        return np.ones(len(group.channels))
    count = COUNTED[f"target_{task.config['per']}"]
    total, kinds = max(count(task.graph), 1), np.zeros(len(group.channels), np.int64)
    # It is the same for channels that stand as often in every place.
    for item in task.grouping.slices:
        stands = (item.channels[:, None] == group.channels).sum(0)
        kinds = np.unique(np.stack([kinds, stands]), axis=1, return_inverse=True)[1].reshape(-1)
    shares = [1.0 - count(shrink(task.graph, task.grouping, group.channels[kinds == kind][:1])) / total
              for kind in range(kinds.max() + 1)]
    return np.maximum(np.array(shares)[kinds], 1.0 / total)


def counted(task: PruningTask, target: str, plan: PruningPlan) -> float:
    """What a plan leaves of what a target counts, as a fraction of the baseline."""
    return COUNTED[target](shrunk_by(task, plan)) / COUNTED[target](task.baseline.graph)


def refuse_unreachable(owner: str, target: str, wanted: float, least: float, runtime: str = "") -> None:
    """Refuse a target below what is left where every layer keeps as little as it may."""
    # Written so that NaN fails: every comparison with it is False.
    if not least <= wanted:
        measured = (f": measured with 'runtime' {runtime!r}, batch and size as in 'inputs'; another runtime, or larger "
                    f"'inputs', may gain more") if target == _MEASURED else ""
        raise ArgumentError(f"For '{owner}', '{target}' must be in [{math.ceil(least * 1e4) / 1e4:g}, 1) for this "
                            f"network, since so much is left where every layer keeps no more than 'min_width', "
                            f"'round_to' and 'max_rate' make it, but got {wanted:g}{measured}.")


def least_left(task: PruningTask, target: str) -> float:
    """What is left of what a target counts where as much goes as may."""
    scores = {name: np.zeros(len(item.channels)) for name, item in task.filters.items()}
    importance = {group.name: cast(np.ndarray, group_importance(group, scores)) for group in task.grouping}
    return counted(task, target, _plan_at(task, importance, {}, _ALL))


def _plan_at(task: PruningTask, importance: Mapping[str, np.ndarray], most: Mapping[str, int], rate: Rates
             ) -> PruningPlan:
    """The plan at a rate; counted from the baseline each time: what rounding down left is taken in a later step. No
    group loses more than it has an entry for in `most`."""
    config, grouping, baseline = task.config, task.grouping, task.baseline
    request = _request_by_rate(baseline, {**config, "prune_rate": rate})
    caps, widths = caps_of(baseline.grouping, config["max_rate"]), Widths.of(config)
    if baseline.grouping is grouping:
        return plan_of_rates(grouping, importance, rates_of("make_plan", "prune_rate", grouping, rate),
                             {name: min(cap, most.get(name, cap)) for name, cap in caps.items()}, request.pools, widths)
    origins = {group.name: baseline.origin(group) for group in grouping}
    pool_of = {name: request.pools.get(origin, name) for name, origin in origins.items()}
    lost = request.lost(baseline)
    left: Counter = Counter()
    for group in grouping:
        left[pool_of[group.name]] += len(group.channels)
    share = {pool: max(0, request.counts.get(pool, 0) - lost[pool]) / size for pool, size in left.items()}
    caps = {name: max(0, caps.get(origin, 0) - baseline.removed.get(origin, 0)) for name, origin in origins.items()}
    return plan_of_rates(grouping, importance, {name: share[pool] for name, pool in pool_of.items()},
                         {name: min(cap, most.get(name, cap)) for name, cap in caps.items()}, pool_of, widths)


def _mildest(best: Selection, plan_of: Callable[[float], PruningPlan], cost_of: Callable[[PruningPlan], float],
             limit: float, precision: float) -> Selection:
    low, high = 0.0, _ALL
    while high - low > precision:
        middle = (low + high) / 2
        plan = plan_of(middle)
        cost = cost_of(plan)
        if cost <= limit:
            high, best = middle, replace(best, plan=plan, cost=cost)
        else:
            low = middle
    return best


def shrunk_by(task: PruningTask, plan: PruningPlan) -> Graph:
    """The graph with the shapes that a plan leaves."""
    return shrink(task.graph, task.grouping, removed_channels(task.grouping, plan))


def _target_of(config: Mapping[str, Any]) -> Optional[str]:
    return next((key for key in TARGETS if config[key] is not None), None)


def outcome(task: PruningTask, selection: Selection, graph: Graph) -> Tuple[Tuple[Target, ...], Tuple[str, ...]]:
    """What became of the budget, by the graph of the slim network; and why a rate was missed, in sentences."""
    if selection.drop is not None:
        return (selection.drop,), ()
    key, config = _target_of(task.config), task.config
    remaining = task.baseline.after(task.grouping, selection.plan)
    if selection.request is not None:
        return (selection.request.target(remaining),), _shortfall_reasons(task, selection, selection.request, remaining)
    if key is None or (key == _MEASURED and selection.cost is None):
        return (), ()
    # Measured anew, a latency would be another one.
    count = COUNTED.get(key)
    reached = count(graph) / count(task.baseline.graph) if count else cast(float, selection.cost)
    return (Target(key, config[key], reached, reached <= config[key]),), ()


def _shortfall_reasons(task: PruningTask, selection: Selection, request: RateRequest, remaining: BudgetBaseline
                       ) -> Tuple[str, ...]:
    """Why a rate was missed: a sentence for each reason, with the groups that it holds."""
    missed, removed = set(request.missed(remaining)), removed_channels(task.grouping, selection.plan)
    caps = caps_of(remaining.grouping, task.config["max_rate"])
    left: Dict[str, List[ChannelGroup]] = {}
    for group in task.grouping:
        left.setdefault(remaining.origin(group), []).append(group)
    held: Dict[str, List[str]] = {}
    for first in remaining.grouping:
        if request.pools[first.name] not in missed:
            continue
        if first.name not in left:
            reason: Optional[str] = "what an earlier step left"
        elif remaining.removed.get(first.name, 0) >= caps[first.name]:
            reason = "'max_rate'"
        else:
            reason = next(filter(None, (_limit(group, selection.importance.get(group.name), Widths.of(task.config),
                                               removed) for group in left[first.name])), None)
        if reason:
            held.setdefault(reason, []).append(first.name)
    return tuple(f"{request.name} {request.wanted:.4g} is not reached, held back by {reason}: {', '.join(names)}"
                 for reason, names in held.items())


def _limit(group: ChannelGroup, importance: Optional[np.ndarray], widths: Widths, removed: np.ndarray
           ) -> Optional[str]:
    """What keeps a group from losing one channel more, but for its cap; None if nothing does."""
    if importance is None:
        return "missing scores"
    order, lost = removable_first(group, importance), int(np.isin(group.channels, removed).sum())
    if lost >= len(order):
        return "the filters that every layer keeps"
    for reason, allowed in (("'round_to'", replace(widths, min_width=1)), ("'min_width'", replace(widths, round_to=1)),
                            ("'round_to' and 'min_width'", widths)):
        if allowed.nearest(group, order, lost + 1) <= lost:
            return reason
    return None
