"""
Least squares of a layer: rows of what it reads and gives, sums over these, the weights solved from the sums, and what
it costs to leave columns out.
"""
import math
from dataclasses import dataclass
from typing import Dict, Optional, Sequence, Tuple

import numpy as np

from golden_stick.base.devices import gathered, ranks, summed
from golden_stick.graph.ir import Graph, Parameter, flatten
from golden_stick.graph.layers import DENSE, OPERATORS, TRANSPOSED, Form, layer_of, spatial_numbers

__all__ = ["Geometry", "Moments", "Regression", "geometry_of", "refitted", "removal_costs"]


@dataclass(frozen=True)
class Geometry:
    """
    How a layer sums up: in `group` groups, over windows of `kernel` numbers.

    `begin` is what is padded before each spatial axis; dense layers have no spatial axes.
    """

    form: Form
    kernel: Tuple[int, ...] = ()
    stride: Tuple[int, ...] = ()
    dilation: Tuple[int, ...] = ()
    begin: Tuple[int, ...] = ()
    group: int = 1

    def matrix(self, weight: np.ndarray) -> np.ndarray:
        """A weight as float64, shape (groups, columns, filters of a group)."""
        taps = math.prod(self.kernel)
        if self.form is TRANSPOSED:
            parts = weight.reshape(self.group, -1, weight.shape[1], taps).transpose(0, 1, 3, 2)
            return parts.reshape(self.group, -1, weight.shape[1]).astype(np.float64)
        return weight.reshape(self.group, len(weight) // self.group, -1).transpose(0, 2, 1).astype(np.float64)

    def columns(self, channels: np.ndarray) -> np.ndarray:
        """The channel of every column, (groups, columns), from those along the axis of the weight that sums up."""
        groups = channels.reshape(self.group, -1) if self.form is TRANSPOSED else np.tile(channels, (self.group, 1))
        return np.repeat(groups, math.prod(self.kernel), axis=1)

    def weight(self, matrix: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """The weight of that shape whose `matrix` it is."""
        if self.form is TRANSPOSED:
            taps = math.prod(self.kernel)
            return matrix.reshape(self.group, -1, taps, shape[1]).transpose(0, 1, 3, 2).reshape(shape)
        return matrix.transpose(0, 2, 1).reshape(shape)

    def rows_given(self, array: np.ndarray, places: np.ndarray, channels: Optional[np.ndarray] = None) -> np.ndarray:
        """What a layer gave at some of its places, of some channels: shape (places, groups, filters of a group)."""
        last = array if self.form is DENSE else np.moveaxis(array, 1, -1)
        rows = last.reshape(-1, last.shape[-1])[places]
        rows = rows if channels is None else rows[:, channels]
        return rows.reshape(len(places), self.group, -1)

    def rows_read(self, array: np.ndarray, places: np.ndarray, output: Sequence[int]) -> np.ndarray:
        """What a layer reads for some of the places of what it gives, whose shape is `output`: (places, groups,
        columns)."""
        if self.form is DENSE:
            return array.reshape(-1, array.shape[-1])[places][:, None]
        rank, samples, channels = len(self.kernel), array.shape[0], array.shape[1]
        array = array.reshape(samples, channels, *(1,) * (rank - array.ndim + 2), *array.shape[2:])
        stride, begin, taps = self.stride, self.begin, np.indices(self.kernel).reshape(rank, -1)
        if self.form is TRANSPOSED:
            # As a plain one, over numbers that stand apart, with the kernel the other way round.
            apart = np.zeros((samples, channels, *((size - 1) * step + 1 for size, step in
                                                   zip(array.shape[2:], stride))), array.dtype)
            apart[(..., *(slice(None, None, step) for step in stride))] = array
            begin = tuple(spread * (width - 1) - cut
                          for spread, width, cut in zip(self.dilation, self.kernel, begin))
            array, stride, taps = apart, (1,) * rank, np.array(self.kernel)[:, None] - 1 - taps
        output = (*(1,) * (rank - len(output) + 2), *output[2:])
        array = self._padded(array, stride, begin, output)
        size = array.shape[2:]
        flat = array.reshape(samples, channels, -1).transpose(0, 2, 1).reshape(-1, channels)
        sample, place = np.divmod(places, math.prod(output))
        starts = np.stack(np.unravel_index(place, output)) * np.array(stride)[:, None]
        spread = taps * np.array(self.dilation)[:, None]
        at = np.ravel_multi_index(tuple(starts[:, :, None] + spread[:, None]), size)
        rows = flat[at + (sample * math.prod(size))[:, None]]
        rows = rows.reshape(len(places), -1, self.group, channels // self.group)
        return rows.transpose(0, 2, 3, 1).reshape(len(places), self.group, -1)

    def _padded(self, array: np.ndarray, stride: Sequence[int], begin: Sequence[int], output: Sequence[int]
                ) -> np.ndarray:
        """With zeros, or without what is cut off, around it: as many numbers as the windows read."""
        widths = [(0, 0), (0, 0)]
        for size, step, first, spread, width, made in zip(array.shape[2:], stride, begin, self.dilation, self.kernel,
                                                          output):
            widths.append((max(first, 0), max((made - 1) * step + spread * (width - 1) + 1 - first - size, 0)))
        cuts = (slice(None), slice(None), *(slice(max(-first, 0), None) for first in begin))
        return np.pad(array, widths)[cuts]


def geometry_of(graph: Graph, weight: Parameter) -> Optional[Geometry]:
    """How the layer of a weight sums up; None if code reads the weight, or several layers do."""
    kind, calls = layer_of(weight), [node for node in graph.nodes if weight in flatten(node.inputs)]
    if kind is None or not calls or any(
            call.operator not in kind.operators or OPERATORS[call.operator].form is not kind.form
            or call.inputs[OPERATORS[call.operator].weight] != weight for call in calls):
        return None
    if kind.form is DENSE:
        return Geometry(DENSE)
    node, operator = calls[0], OPERATORS[calls[0].operator]
    rank = len(node.shapes[0]) - 2
    stride, dilation = (spatial_numbers(operator.argument(node, item, 1), rank) for item in ("stride", "dilation"))
    padding = operator.argument(node, "padding", 0)
    begin = tuple(padding[0:2 * rank:2]) if isinstance(operator.padding, str) else spatial_numbers(padding, rank)
    return Geometry(kind.form, weight.shape[2:], stride, dilation, begin,
                    operator.argument(node, "group", 1))


class Moments:
    """
    Sums over rows of what a layer reads, (rows, groups, columns), and of what it is to give, (rows, groups, filters).

    They are taken about an origin, and in float64: of numbers far from zero, differences would drown otherwise.
    """

    def __init__(self, reads: np.ndarray, gives: np.ndarray):
        self._from, self._to = reads, gives  # the origin: (groups, columns) and (groups, filters)
        groups, columns = reads.shape
        self._reads = np.zeros((groups, columns + 1, columns + 1))
        self._both = np.zeros((groups, columns + 1, gives.shape[1]))
        self._gives = 0.0

    def add(self, reads: np.ndarray, gives: np.ndarray) -> None:
        """Count these rows."""
        shifted = reads.astype(np.float64) - self._from
        rows = np.concatenate([shifted, np.ones((*shifted.shape[:2], 1))], 2).transpose(1, 0, 2)
        wanted = (gives.astype(np.float64) - self._to).transpose(1, 0, 2)
        self._reads += rows.transpose(0, 2, 1) @ rows
        self._both += rows.transpose(0, 2, 1) @ wanted
        self._gives += float(np.square(wanted).sum())

    def join(self, other: "Moments") -> None:
        """Count the rows of another about the same origin."""
        self._reads += other._reads
        self._both += other._both
        self._gives += other._gives

    def add_others(self) -> None:
        """Count the rows of all processes, about the origin of the first."""
        if ranks() == 1:
            return
        reads, gives = gathered(self._from)[0], gathered(self._to)[0]
        moved = np.tile(np.eye(reads.shape[1] + 1), (len(reads), 1, 1))
        moved[:, -1, :-1] = self._from - reads
        shift = self._to - gives
        self._gives += float((2 * self._both[:, -1] * shift + self._reads[:, -1, -1:] * np.square(shift)).sum())
        self._both = moved.transpose(0, 2, 1) @ (self._both + self._reads[:, :, -1:] * shift[:, None])
        self._reads = moved.transpose(0, 2, 1) @ self._reads @ moved
        self._from, self._to = reads, gives
        self._reads, self._both = summed(self._reads), summed(self._both)
        self._gives = float(summed(np.array(self._gives)))

    @property
    def count(self) -> int:
        """How many rows there were."""
        return int(self._reads[0, -1, -1])

    @property
    def finite(self) -> bool:
        """Whether all that was counted are numbers."""
        return bool(np.isfinite(self._reads).all() and np.isfinite(self._both).all() and np.isfinite(self._gives))

    def mean(self) -> np.ndarray:
        """Of what is read: (groups, columns)."""
        return self._reads[:, -1, :-1] / self.count + self._from

    def covariance(self) -> np.ndarray:
        """Of what is read: (groups, columns, columns)."""
        mean = self._reads[:, :-1, -1] / self.count
        return self._reads[:, :-1, :-1] / self.count - mean[:, :, None] * mean[:, None]

    def spread(self) -> float:
        """What there is to explain: the sum of squares of what is given, about its mean."""
        return self._gives - float(np.square(self._both[:, -1]).sum()) / max(self.count, 1)

    def error(self, matrix: np.ndarray, bias: np.ndarray) -> float:
        """The sum of squares that a matrix, (groups, columns, filters), and a bias, (groups, filters), leave."""
        shift = bias + np.einsum("gn,gnf->gf", self._from, matrix) - self._to
        whole = np.concatenate([matrix, shift[:, None]], 1)
        return max(self._gives + float(np.sum(whole * (self._reads @ whole - 2 * self._both))), 0.0)

    def bias(self, matrix: np.ndarray) -> np.ndarray:
        """The best bias beside a matrix."""
        reads, gives = (sums / self.count for sums in (self._reads[:, -1, :-1], self._both[:, -1]))
        return gives + self._to - np.einsum("gn,gnf->gf", reads + self._from, matrix)

    def solve(self, matrix: np.ndarray, damping: float, bias: Optional[np.ndarray]) -> np.ndarray:
        """
        The matrix that explains best what is given, held near `matrix` by `damping` times the mean square of what is
        read. Where no bias can be set, `bias` is the one that stays; the origin must be zero then.
        """
        reads, both = self._reads[:, :-1, :-1] / self.count, self._both[:, :-1] / self.count
        mean = self._reads[:, :-1, -1] / self.count
        gives = self._both[:, -1] / self.count if bias is None else bias
        both = both - mean[:, :, None] * gives[:, None]
        if bias is None:
            reads = reads - mean[:, :, None] * mean[:, None]
        diagonal = np.einsum("gnn->gn", reads).mean(1)
        damped = reads + (damping * np.maximum(diagonal, np.finfo(float).tiny))[:, None, None] * np.eye(reads.shape[1])
        return matrix + np.linalg.solve(damped, both - reads @ matrix)


@dataclass(frozen=True, eq=False)
class Regression:
    """
    What a layer, or a group of one, gives as a linear function of what it reads.

    Args:
        covariance (numpy.ndarray): Of what it reads, (columns, columns).
        matrix (numpy.ndarray): (columns, filters), each filter times the root of what its error counts.
        channels (numpy.ndarray): int64, (columns,): whose channel a column is, or -1.
    """

    covariance: np.ndarray
    matrix: np.ndarray
    channels: np.ndarray


# A fraction of the mean variance of what a layer reads, by which its weights are held near those that they were.
_DAMPING = 1e-4


def _damped(covariance: np.ndarray, damping: float) -> np.ndarray:
    size = damping * np.trace(covariance) / len(covariance)
    return covariance + max(size, np.finfo(float).tiny) * np.eye(len(covariance))


def refitted(covariance: np.ndarray, matrix: np.ndarray, gone: np.ndarray, damping: float = _DAMPING) -> np.ndarray:
    """A matrix, (columns, filters), whose columns that are `gone` are zero, and whose others make up for them."""
    damped, left = _damped(covariance, damping), ~gone
    found = np.zeros(matrix.shape)
    found[left] = np.linalg.solve(damped[np.ix_(left, left)], damped[left] @ matrix)
    return found


class _Remaining:
    """A regression from which channels go one by one, while all that is left of its matrix is refitted."""

    def __init__(self, regression: Regression, channels: np.ndarray, damping: float):
        self._inverse = np.linalg.inv(_damped(regression.covariance, damping))
        self._matrix = regression.matrix.astype(np.float64)
        self._columns: Dict[int, np.ndarray] = {
            channel: columns for channel in channels.tolist()
            if len(columns := np.flatnonzero(regression.channels == channel))}

    def costs(self) -> Dict[int, float]:
        """By how much the error rises when a channel that is left goes next: tr(W_p^T ((H^-1)_pp)^-1 W_p)."""
        found: Dict[int, float] = {}
        for size in {len(columns) for columns in self._columns.values()}:
            channels = [channel for channel, columns in self._columns.items() if len(columns) == size]
            at = np.stack([self._columns[channel] for channel in channels])
            rows = self._matrix[at]
            solved = np.linalg.solve(self._inverse[at[:, :, None], at[:, None]], rows)
            found.update(zip(channels, (rows * solved).sum((1, 2)).tolist()))
        return found

    def remove(self, channel: int) -> None:
        """Refit what is left without a channel."""
        at = self._columns.pop(channel, None)
        if at is not None:
            factor = np.linalg.solve(self._inverse[np.ix_(at, at)], self._inverse[at]).T
            self._matrix -= factor @ self._matrix[at]
            self._inverse -= factor @ self._inverse[at]


def removal_costs(regressions: Sequence[Regression], channels: np.ndarray, damping: float = _DAMPING
                  ) -> np.ndarray:
    """
    By how much the error of all regressions rises with each of some channels, float64, of their shape: the cheapest
    goes first, all that is left is refitted by least squares, and so on. A channel counts no less than those before it.

    The block form of the optimal brain surgeon, Hassibi and Stork 1992, `Second Order Derivatives for Network Pruning
    <https://proceedings.neurips.cc/paper/1992/hash/303ed4c69846ab36c2904d3ba8573050-Abstract.html>`_, for the squared
    error of each layer. `damping`, a fraction of the mean variance of what is read, holds weights near what they were.
    """
    remaining = [_Remaining(regression, channels, damping) for regression in regressions]
    left, found, least = channels.tolist(), np.zeros(len(channels)), 0.0
    place = {channel: index for index, channel in enumerate(left)}
    while left:
        totals = dict.fromkeys(left, 0.0)
        for one in remaining:
            for channel, cost in one.costs().items():
                totals[channel] += cost
        first = min(left, key=totals.__getitem__)
        found[place[first]] = least = max(least, totals[first])
        left.remove(first)
        for one in remaining:
            one.remove(first)
    return found
