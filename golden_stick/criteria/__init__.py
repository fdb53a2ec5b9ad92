"""Criteria: how much a filter matters. One table of small functions; `add_criterion` takes one's own."""
from golden_stick.criteria.evidence import Evidence
from golden_stick.criteria.table import CRITERIA, Criterion, add_criterion

__all__ = ["CRITERIA", "Criterion", "Evidence", "add_criterion"]
