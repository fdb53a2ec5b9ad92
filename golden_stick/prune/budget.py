"""Budgets: the plan that meets a rate, or the mildest one that meets a target of MACs, parameters or latency."""
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import numpy as np

from golden_stick.errors import ArgumentError
from golden_stick.graph.cost import count_macs, count_parameters
from golden_stick.graph.groups import Grouping
from golden_stick.graph.ir import Graph
from golden_stick.graph.shrink import shrink
from golden_stick.prune.beginning import Beginning
from golden_stick.prune.plan import PruningPlan, make_plan, plan_of_rates, removed_channels
from golden_stick.prune.ranking import pools_of
from golden_stick.report import Target

__all__ = ["TARGETS", "Budgeted", "check_budget", "measure", "plan_for", "shrunk_by", "trial_of"]

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
             beginning: Optional[Beginning] = None) -> Budgeted:
    """
    The plan that a configuration asks for.

    A target is met by one rate for all pools, the least that does, found by bisection: a larger rate never costs more.

    Args:
        graph (Graph): The traced network.
        grouping (Grouping): What can be removed.
        importance (Mapping): Name of a group -> float, shape (channels of the group,).
        config (Mapping): With the keys of every pruner that say how much goes.
        latency (Callable): The latency with a plan carried out, as a fraction of the original's.
        beginning (Beginning): What the budget is a fraction of, where part of it is spent. Default: ``None``, the
            network of `graph`.

    Returns:
        Budgeted; its plan removes all it may if the target cannot be met.
    """
    pools = pools_of(config["ranking"], graph, grouping)

    def plan_of(rate: Any) -> PruningPlan:
        if beginning is None:
            return make_plan(grouping, importance, rate, pools=pools, **_arguments(config))
        widths = {key: config[key] for key in _WIDTHS}
        return plan_of_rates(grouping, importance, **beginning.shares(grouping, rate, config), **widths)

    key = _target_of(config)
    if key is None:
        return Budgeted(plan_of(config["prune_rate"]))
    if key == _MEASURED:
        return _mildest(plan_of, latency, config[key], _PRECISION_MEASURED)
    whole = _COUNTED[key](beginning.graph if beginning else graph)
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
