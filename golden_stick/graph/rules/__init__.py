"""What every operator does to labels: one rule an operator, all of them in one table."""
from golden_stick.graph.rules.table import RULES, add_rule

__all__ = ["RULES", "add_rule"]
