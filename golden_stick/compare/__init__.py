"""Criteria compared: on one network, one budget, one stream of batches, with equal fine-tuning; and rates, by group."""
from golden_stick.compare.compare import compare
from golden_stick.compare.result import Comparison, Spread, Summary, Trial, draw
from golden_stick.compare.sensitivity import Curve, Sensitivity, draw_sensitivity

__all__ = ["Comparison", "Curve", "Sensitivity", "Spread", "Summary", "Trial", "compare", "draw", "draw_sensitivity"]
