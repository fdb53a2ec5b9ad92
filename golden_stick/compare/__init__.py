"""Criteria side by side, at one budget and with equal fine-tuning."""
from golden_stick.compare.compare import compare
from golden_stick.compare.result import CriteriaComparison, Trial
from golden_stick.compare.settings import ComparisonData, ComparisonSettings

__all__ = ["CriteriaComparison", "ComparisonData", "ComparisonSettings", "Trial", "compare"]
