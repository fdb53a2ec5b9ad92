"""ONNX files from our own graph: one operator, one rule, all of them in one table."""
from golden_stick.deploy.onnx.table import ONNX_RULES, add_onnx_rule

__all__ = ["ONNX_RULES", "add_onnx_rule"]
