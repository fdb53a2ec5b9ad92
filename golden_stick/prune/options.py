"""
THE table of a pruner's options: what each is, its default, and what it accepts. Configurations are checked by it, the
docstrings of the algorithms are completed by it, and the command line offers it, without MindSpore.
"""
from typing import Mapping

from golden_stick.base.config import FRACTION, Either, Interval, NOfM, OneOf, Option, PerPattern, Switch, Whole
from golden_stick.criteria.table import CRITERIA, NORMALIZERS
from golden_stick.graph.flow import HEAD_POLICIES, NORMALIZATION_POLICIES, RESIDUAL_POLICIES
from golden_stick.prune.plan import PRICES, RANKINGS, REDUCTIONS, ROUNDINGS

__all__ = ["COMPARISON_OPTIONS", "ONE_SHOT_OPTIONS", "POLICIES", "PRUNER_OPTIONS", "RECOVERIES", "SCOP_OPTIONS",
           "UNSTRUCTURED_OPTIONS"]


# What may follow slimming.
RECOVERIES = ("weights", "statistics", "none")

PRUNER_OPTIONS: Mapping[str, Option] = {
    "prune_rate": Option(0.4, PerPattern(Interval(0.0, 1.0)), "fraction of each group's removable channels to remove, "
                         "in [0, 1); or pattern of layers' paths -> fraction, such as {\"layer1.*\": 0.2, \"*\": 0.4}: "
                         "the first that fits any layer of a group is the group's, and groups that none fits stay"),
    **{f"target_{key}": Option(None, FRACTION, f"instead of a rate: the fraction of the original {what} to be left, "
                               f"in (0, 1); the least rate that meets it is found")
       for key, what in (("macs", "MACs"), ("params", "parameters"), ("latency", "latency, measured here,"))},
    "max_drop": Option(None, Interval(0.0, 1e9), "instead of a rate: the smallest network is found that, after its "
                       "recovery, loses no more of what the `evaluate` of `convert` gives, in its unit"),
    "ranking": Option("local", OneOf(RANKINGS), "channels that are ranked together: local (a group's), global (all) or "
                      "isomorphic (of groups of the same topology)"),
    "per": Option("channel", OneOf(PRICES), "what scores are compared by where channels of several groups are ranked "
                  "together: channel, as they are; macs or params, over the share of the network's MACs or parameters "
                  "that goes with the channel"),
    "max_rate": Option(1.0, PerPattern(Interval(0.0, 1.0, closed=True)), "no group loses more than this fraction, in "
                       "[0, 1], whatever the ranking; or pattern -> fraction"),
    "reduction": Option("mean", OneOf(REDUCTIONS), "how the scores of the filters that make a channel become one: "
                        "mean, sum, max or norm, of scores that are not negative"),
    "normalizer": Option("auto", OneOf(("auto",) + NORMALIZERS), "what a layer's scores are divided by before layers "
                         "are compared: their mean, sum or max magnitude, or none; auto is what suits the criterion"),
    "residual": Option("group", OneOf(RESIDUAL_POLICIES), "what becomes of feature maps that are added up: group (they "
                       "lose the same channels), scatter (the sum keeps its width, branches shrink) or keep"),
    "normalization": Option("exact", OneOf(NORMALIZATION_POLICIES), "channels that a layer or group normalization "
                            "takes mean and variance of: exact, they stay, but for whole groups; approximate, they can "
                            "go, and the report says by how much the slim network differs"),
    "heads": Option("width", OneOf(HEAD_POLICIES), "what an attention loses: width (the same positions of every head) "
                    "or whole (heads); where the code forbids the one, the other is taken"),
    "round_to": Option(1, Either(Whole(1), OneOf(("auto",))), "layers that shrink keep a multiple of so many filters; "
                       "auto: of the number that this machine likes"),
    "runtime": Option(None, OneOf(("onnx", "mindspore")), "what is to run the slim network, and is measured for "
                      "target_latency and round_to auto: onnx, which is ONNX Runtime, or mindspore. Where it is left "
                      "out, latency is MindSpore's, and auto takes ONNX Runtime if it is installed"),
    "round": Option("up", OneOf(ROUNDINGS), "to which multiple widths go: up, down or nearest"),
    "min_width": Option(1, Whole(1), "every layer keeps so many filters, or all that it has"),
}
POLICIES = ("residual", "heads", "normalization")

_CRITERION: Mapping[str, Option] = {
    "criterion": Option("l1", OneOf(CRITERIA), "what a filter matters by; taylor, hessian, activation and "
                        "reconstruction look at data"),
    "seed": Option(0, Whole(0), "of the criterion random"),
}
ONE_SHOT_OPTIONS: Mapping[str, Option] = {**PRUNER_OPTIONS, **_CRITERION}

# But for `sampler`, which may be a Cell.
SCOP_OPTIONS: Mapping[str, Option] = {
    **PRUNER_OPTIONS,
    "prune_rate": Option(0.4, Either(PerPattern(Interval(0.0, 1.0)), OneOf(("auto",))), "as of every pruner; or auto: "
                         "what knockoff+ does not select goes, see docs/scop.md for what that guarantees and what not; "
                         "where it selects nothing, `convert` raises a StateError"),
    "reduction": Option("mean", OneOf([name for name in REDUCTIONS if name != "norm"]), "as of every pruner, but for "
                        "norm, which would turn negative scores round"),
    "fdr": Option(0.1, FRACTION, "with prune_rate auto: the false discovery rate among the filters kept, in (0, 1)"),
    "draws": Option(1, Whole(1), "how many sets of scales are trained, each against draws of its own; scores are their "
                    "means, and prune_rate auto is derandomized over them"),
    "mixing": Option("blocks", OneOf(("blocks", "layers", "joint")), "what mixes at a time in the knockoff phase: "
                     "blocks, layers or joint, which is all"),
    "score": Option("fisher", OneOf(("fisher", "gamma", "scale")), "what filters are ranked by: fisher, the mean of "
                    "a sample's squared gradient by the filter's scale, over the phase, in one unit for all layers; "
                    "gamma, as published, the scale of the normalization behind times that of the knockoff phase, "
                    "which prune_rate auto takes; or scale, the latter alone: see docs/scop.md"),
    "turn_steps": Option(10, Whole(1), "steps of training until the next block mixes; after the last, the first does "
                         "again"),
    "held_out": Option(False, Switch(), "whether the scales are trained on data that the weights have not seen; only "
                       "you know, and the report says what you said"),
}

UNSTRUCTURED_OPTIONS: Mapping[str, Option] = {
    "prune_rate": Option(0.4, PerPattern(Interval(0.0, 1.0)), "fraction of the weights to become zero, in [0, 1); or "
                         "pattern of layers' paths -> fraction: the first that fits a layer is its own, and layers "
                         "that none fits stay as they are"),
    "n_of_m": Option(None, NOfM(), "instead of a rate: N:M, such as 2:4. Of every M weights in a row along a layer's "
                     "inputs, N stay"),
    "saliency": Option("magnitude", OneOf(("magnitude", "gradient")), "what a single weight matters by: its magnitude, "
                       "or that of weight times gradient of the loss, from data"),
    "ranking": Option("local", OneOf(("local", "global")), "weights that are ranked together: local (a layer's) or "
                      "global (all that have the same rate or pattern)"),
}

# Of `golden_stick.compare`, which prunes by several criteria.
COMPARISON_OPTIONS: Mapping[str, Option] = {
    "epochs": Option(1, Whole(0), "of fine-tuning"),
    "learning_rate": Option(0.01, Interval(0.0, 10.0), "of fine-tuning, at its begin"),
    "calibration_batches": Option(8, Whole(1), "batches that criteria and the recovery look at"),
    "recovery": Option("weights", OneOf(RECOVERIES), "what follows slimming, as of `convert`: weights (layers are "
                       "solved anew), statistics (of normalizations, re-estimated) or none"),
    "knockoff_steps": Option(200, Whole(1), "steps on the scales of scop"),
    "knockoff_learning_rate": Option(0.01, Interval(0.0, 10.0), "of Adam on the scales of scop"),
}
