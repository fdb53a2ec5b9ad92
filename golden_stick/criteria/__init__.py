"""Criteria: how much a filter matters. One table of small functions; `add_criterion` takes one's own."""
from golden_stick.criteria.table import CRITERIA, Criterion, FilterStatistics, add_criterion

__all__ = ["CRITERIA", "Criterion", "FilterStatistics", "add_criterion"]
