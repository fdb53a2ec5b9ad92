"""
THE table of a pruner's options: what each is, its default, and what it accepts. Configurations are checked by it, and
the command line offers it, without MindSpore.
"""
from typing import Mapping

from golden_stick.base.config import Either, Fraction, Interval, OneOf, Option, PerPattern, Whole
from golden_stick.criteria.table import CRITERIA, NORMALIZERS
from golden_stick.graph.types import HEAD_POLICIES, NORMALIZATION_POLICIES, RESIDUAL_POLICIES
from golden_stick.prune.plan import RANKINGS, REDUCTIONS, ROUNDINGS

__all__ = ["ONE_SHOT_OPTIONS", "POLICIES", "PRUNER_OPTIONS"]


PRUNER_OPTIONS: Mapping[str, Option] = {
    "prune_rate": Option(0.4, PerPattern(Interval(0.0, 1.0)), "fraction of channels to remove, or a JSON object of "
                         "patterns of layers' paths, such as '{\"layer1.*\": 0.2, \"*\": 0.4}'"),
    **{f"target_{key}": Option(None, Fraction(), f"fraction of the original {what} to be left, instead of a rate")
       for key, what in (("macs", "MACs"), ("params", "parameters"), ("latency", "latency here"))},
    "ranking": Option("local", OneOf(RANKINGS), "channels that are ranked together: local (a group's), global (all) or "
                      "isomorphic (of groups of the same topology)"),
    "max_rate": Option(1.0, PerPattern(Interval(0.0, 1.0, closed=True)), "no group loses more than this fraction; "
                       "number or a JSON object of patterns"),
    "reduction": Option("mean", OneOf(REDUCTIONS), "of the scores of the filters that make a channel: mean, sum, max "
                        "or norm"),
    "normalizer": Option("auto", OneOf(("auto",) + NORMALIZERS), "what a layer's scores are divided by: mean, sum, max "
                         "or none; auto is what suits the criterion"),
    "residual": Option("group", OneOf(RESIDUAL_POLICIES), "what becomes of feature maps that are added up: group (they "
                       "lose the same channels), scatter (the sum keeps its width, branches shrink) or keep"),
    "normalization": Option("exact", OneOf(NORMALIZATION_POLICIES), "exact or approximate: whether channels that a "
                            "layer or group normalization takes mean and variance of stay or may go"),
    "heads": Option("width", OneOf(HEAD_POLICIES), "width or whole: what an attention loses"),
    "round_to": Option(1, Either(Whole(1), OneOf(("auto",))), "layers that shrink keep a multiple of so many filters; "
                       "auto: of the number that this machine likes"),
    "round": Option("up", OneOf(ROUNDINGS), "to which multiple of --round-to widths go: up, down or nearest"),
    "min_width": Option(1, Whole(1), "of the layers that shrink"),
}
POLICIES = ("residual", "heads", "normalization")

ONE_SHOT_OPTIONS: Mapping[str, Option] = {
    **PRUNER_OPTIONS,
    "criterion": Option("l1", OneOf(CRITERIA), "what a filter matters by; taylor, hessian and activation look at data"),
    "seed": Option(0, Whole(0), "of the criterion random"),
}
