"""
ONNX files from our own graph. THE table of ONNX: operator -> the rule that writes it.

An operator without a rule is an error that names it: nothing is written that is only probably right.
"""
from typing import Callable, Dict, Tuple

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.deploy.onnx.mixing import MIXING
from golden_stick.deploy.onnx.moving import MOVING
from golden_stick.deploy.onnx.places import PLACES
from golden_stick.deploy.onnx.pointwise import POINTWISE
from golden_stick.deploy.onnx.spatial import SPATIAL

__all__ = ["ONNX_RULES", "add_onnx_rule"]


_RULES: Tuple[Tuple[Callable, str], ...] = (*POINTWISE, *MIXING, *MOVING, *PLACES, *SPATIAL)
ONNX_RULES: Dict[str, Callable] = {operator: rule for rule, operators in _RULES for operator in operators.split()}


def add_onnx_rule(operator: str, rule: Callable) -> None:
    """
    Teach the ONNX export an operator of your own.

    Args:
        operator (str): MindSpore's name of the primitive, as `golden-stick trace` prints it.
        rule (Callable): Takes a :class:`golden_stick.deploy.onnx.writer.Writer` and a
            :class:`golden_stick.graph.ir.Node`, and returns the name of the ONNX value that is the node's output, or a
            tuple of names. `writer.of(value)` names an input, `writer.emit(operator, names, **attributes)` adds an
            ONNX node and names its output.

    Raises:
        ArgumentTypeError: If `operator` is not a str, or `rule` cannot be called.
        ArgumentError: If the operator has a rule already.

    Examples:
        >>> from golden_stick.deploy.onnx import add_onnx_rule
        >>> add_onnx_rule("MyActivation", lambda writer, node: writer.emit("Relu", [writer.of(node.inputs[0])]))
    """
    if not isinstance(operator, str):
        raise ArgumentTypeError(f"For 'add_onnx_rule', 'operator' must be a str, but got {type(operator).__name__}.")
    if not callable(rule):
        raise ArgumentTypeError(f"For 'add_onnx_rule', 'rule' must be a function, but got {type(rule).__name__}.")
    if operator in ONNX_RULES:
        raise ArgumentError(f"For 'add_onnx_rule', 'operator' must be one without a rule, but got '{operator}'.")
    ONNX_RULES[operator] = rule
