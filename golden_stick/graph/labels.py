"""
Labels as numbers: what is said of them is only collected, and the conclusions are drawn once, at the end, so that a
graph of n operators costs about n steps however densely it is connected.
"""
from dataclasses import dataclass
from typing import Dict, List, Mapping, Tuple

import numpy as np

__all__ = ["FIXED", "Labels", "Solution", "components"]


FIXED = 0


@dataclass(frozen=True, eq=False)
class Solution:
    """What the statements amount to."""

    classes: np.ndarray  # int64: label -> smallest label of its class
    fixed: np.ndarray  # bool: label -> whether its class must stay
    reasons: Mapping[int, Tuple[str, ...]]  # class -> texts that say why it is fixed, first reason first

    def removable(self, labels: np.ndarray) -> np.ndarray:
        """bool, shape of `labels`: True where the channel can be removed."""
        return ~self.fixed[labels]

    def why_fixed(self, labels: np.ndarray) -> Tuple[str, ...]:
        """The distinct reasons that fix any of `labels`, in the order in which they arose."""
        members = np.unique(self.classes[labels]).tolist()
        return tuple(dict.fromkeys(reason for member in members for reason in self.reasons.get(member, ())))


class Labels:
    """Makes labels and collects what is said of them."""

    def __init__(self) -> None:
        self._count = 1
        self._unions = [np.zeros((2, 0), np.int64)]
        self._fixed: List[Tuple[np.ndarray, str]] = []

    @property
    def count(self) -> int:
        """The next label."""
        return self._count

    def fresh(self, count: int) -> np.ndarray:
        """`count` new labels, int64, shape (count,). A single channel cannot be removed, so one alone is fixed."""
        if count < 2:
            return np.zeros(count, np.int64)
        self._count += count
        return np.arange(self._count - count, self._count, dtype=np.int64)

    def unite(self, first: np.ndarray, second: np.ndarray) -> None:
        """Say that labels of two arrays (broadcast to each other) are kept or removed together."""
        self._unions.append(np.stack(np.broadcast_arrays(first, second)).reshape(2, -1))

    def fix(self, labels: np.ndarray, reason: str) -> None:
        """Say that these labels must stay, and why."""
        labels = np.unique(labels)
        if labels.any():
            self._fixed.append((labels, reason))

    def solve(self) -> Solution:
        """Draw the conclusions."""
        # FIXED takes no part in the classes: two streams that are both united with it have nothing else in common.
        edges = np.concatenate(self._unions, axis=1)
        classes = components(self._count, edges[:, (edges != FIXED).all(axis=0)])
        fixed = np.zeros(self._count, bool)
        half = edges[:, (edges == FIXED).any(axis=0)]
        fixed[classes[half.max(axis=0)]] = True
        reasons: Dict[int, Tuple[str, ...]] = {}
        for labels, reason in self._fixed:
            members = np.unique(classes[labels])
            fixed[members] = True
            for member in members[members != FIXED]:
                reasons[int(member)] = reasons.get(int(member), ()) + (reason,)
        for member in np.setdiff1d(classes[half.max(axis=0)], FIXED).tolist():
            reasons.setdefault(member, ("belongs together with a channel that always stays",))
        fixed[FIXED] = True
        return Solution(classes, fixed[classes], reasons)


def components(count: int, edges: np.ndarray) -> np.ndarray:
    """Smallest member of every element's connected component, by hooking and pointer jumping."""
    parent = np.arange(count, dtype=np.int64)
    while edges.size:
        low, high = np.sort(parent[edges], axis=0)
        different = low != high
        if not different.any():
            break
        edges = edges[:, different]
        np.minimum.at(parent, high[different], low[different])
        while True:
            grand = parent[parent]
            if np.array_equal(grand, parent):
                break
            parent = grand
    return parent
