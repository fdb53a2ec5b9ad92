"""What was pruned, what was not, and why."""
from golden_stick.report.picture import draw
from golden_stick.report.report import LayerReport, RateTarget, Report, Target

__all__ = ["LayerReport", "RateTarget", "Report", "Target", "draw"]
