"""Criteria compared: on one network, one budget, one stream of batches, with equal fine-tuning."""
from golden_stick.compare.compare import compare
from golden_stick.compare.result import Comparison, Spread, Summary, Trial, draw

__all__ = ["Comparison", "Spread", "Summary", "Trial", "compare", "draw"]
