"""The configuration keys of every pruner; the docstring of `Pruner` tells what they mean."""
from typing import Mapping

from golden_stick.config import Either, Fraction, Interval, OneOf, Option, PerPattern, Whole
from golden_stick.criteria.table import NORMALIZERS
from golden_stick.graph.findings import HEAD_POLICIES, NORMALIZATION_POLICIES, RESIDUAL_POLICIES
from golden_stick.prune.importance import REDUCTIONS
from golden_stick.prune.ranking import RANKINGS, ROUNDINGS

__all__ = ["PRUNER_OPTIONS"]

PRUNER_OPTIONS: Mapping[str, Option] = {
    "prune_rate": Option(0.4, PerPattern(Interval(0.0, 1.0))),
    "target_macs": Option(None, Fraction()),
    "target_params": Option(None, Fraction()),
    "target_latency": Option(None, Fraction()),
    "ranking": Option("local", OneOf(RANKINGS)),
    "max_rate": Option(1.0, PerPattern(Interval(0.0, 1.0, closed=True))),
    "reduction": Option("mean", OneOf(REDUCTIONS)),
    "normalizer": Option("auto", OneOf(("auto",) + NORMALIZERS)),
    "residual": Option("group", OneOf(RESIDUAL_POLICIES)),
    "normalization": Option("exact", OneOf(NORMALIZATION_POLICIES)),
    "heads": Option("width", OneOf(HEAD_POLICIES)),
    "round_to": Option(1, Either(Whole(1), OneOf(("auto",)))),
    "round": Option("up", OneOf(ROUNDINGS)),
    "min_width": Option(1, Whole(1)),
}
