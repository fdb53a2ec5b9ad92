"""What a walk over the graph finds out: labels of tensors, axes of parameters, places for masks. And what a rule is."""
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Sequence, Tuple, Union

import numpy as np

from golden_stick.graph.ir import Node, Parameter, Shape

__all__ = ["FILTER", "INPUT", "CHANNEL", "RESIDUAL_POLICIES", "NORMALIZATION_POLICIES", "HEAD_POLICIES", "NUMBER",
           "WIDTH", "Rule", "Labeled", "Binding", "Site"]


# What an axis of a parameter is to the operator that reads it.
FILTER = "filter"  # weight[i] makes channel i
INPUT = "input"  # channel i is summed up by this axis
CHANNEL = "channel"  # one number (or filter) for channel i alone, as in a bias or a normalization

RESIDUAL_POLICIES = ("group", "scatter", "keep")
NORMALIZATION_POLICIES = ("exact", "approximate")
HEAD_POLICIES = ("width", "whole")

# Why a channel stays that the code cannot do without, once slimming for trial has shown it.
NUMBER = "a number written in the code fits these widths only"
WIDTH = "a number that the code computes from a width enters the results"


@dataclass(frozen=True, eq=False)
class Labeled:
    """
    What is known of a tensor.

    Args:
        labels (numpy.ndarray): int64, of the tensor's rank, every axis as long as the tensor's or 1.
        shape (tuple[int]): Its shape.
        zero (bool): Whether a removed channel is exactly zero here once the layers that make it give zero.
    """

    labels: np.ndarray
    shape: Shape
    zero: bool = False

    @property
    def axes(self) -> Tuple[int, ...]:
        """The axes along which labels differ: at most one for what rules put out."""
        return tuple(axis for axis, size in enumerate(self.labels.shape) if size > 1)

    def along(self, axis: int) -> np.ndarray:
        """Labels along one axis, shape (shape[axis],); zeros where the labels lie along another."""
        if self.axes in ((), (axis,)):
            return np.broadcast_to(self.labels.ravel(), (self.shape[axis],))
        return np.zeros(self.shape[axis], np.int64)


@dataclass(frozen=True, eq=False)
class Binding:
    """Axis `axis` of a parameter carries these labels, int64, shape (parameter.shape[axis],)."""

    parameter: Parameter
    axis: int
    role: str
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Site:
    """What enters (or leaves) the Cell at `path` carries `labels` on an axis that is followed by `trailing` others."""

    path: str
    trailing: int
    labels: np.ndarray


class Rule(NamedTuple):
    """
    What one operator does.

    Args:
        flow (Callable): Takes the flow and the node; returns the labels of the first output, a tuple with those of
            every output, or a `Labeled` where it knows more than `zero` can say.
        zero (Callable): Takes one bool per operand (whether removable channels are there, and zero when removed) and
            returns whether they are zero in the outputs.
    """

    flow: Callable[[Any, Node], Union[np.ndarray, Tuple[np.ndarray, ...], Labeled]]
    zero: Callable[[Sequence[bool]], bool]
