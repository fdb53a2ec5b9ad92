"""Layers solved one after the other, from what they read by then, towards what they gave in the original."""
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.devices import gathered, ranks, summed
from golden_stick.base.inputs import shown
from golden_stick.cells.replay import Replay
from golden_stick.cells.slim import recipe_of
from golden_stick.cells.trace import owners
from golden_stick.criteria.least_squares import Moments
from golden_stick.deploy.slim_file import SolvedLayer
from golden_stick.graph.layers import DENSE
from golden_stick.recover.readers import Keys, Reader
from golden_stick.recover.statistics import named_batch

__all__ = ["Rows", "Solver", "kept_aside"]

# Rows for each column that is solved for, and at least, where there are so many.
_ROWS, _LEAST = 256, 4096
# Fractions of the mean square of what a layer reads that hold its weights near those it had.
_DAMPINGS = (1e-8, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
# So far may a layer be off what its weights say, as a fraction of its largest number: its roundings.
_OFF = 1e-2


def kept_aside(samples: np.ndarray) -> np.ndarray:
    """Which samples, counted through all batches, are kept aside: what is solved with the others is judged by them."""
    return samples % 8 == 1


@dataclass(frozen=True, eq=False)
class _Given:
    """The shape of what a layer gave in a call, which places are looked at, which are kept aside, and what it gave."""

    shape: Tuple[int, ...]
    places: np.ndarray
    aside: np.ndarray
    rows: np.ndarray


class Rows:
    """
    What the original gave, at so many places of each layer as there is room for; `samples` are those of all processes,
    of which each has such room.
    """

    def __init__(self, readers: Sequence[Reader], batches: Sequence[Tuple[Tensor, ...]], samples: int, room: float):
        self._readers, self.batches = readers, batches
        self._sizes = [batch[0].shape[0] for batch in batches]
        self._first = np.cumsum([0, *self._sizes])
        self._samples = samples
        self._wanted = self._share(room * ranks())
        # By layer, batch and call; and by layer and batch, what was added to what it gave.
        self.given: Dict[Tuple[int, int, int], _Given] = {}
        self.added: Dict[Tuple[int, int], np.ndarray] = {}
        self._keys: Dict[int, np.ndarray] = {}  # layer -> products of its keys with one another, (heads, width, width)

    def _share(self, room: float) -> np.ndarray:
        """How many rows of each layer there is room for, in bytes: as many for each column."""
        columns, width, places = (np.array([getattr(reader, name) for reader in self._readers], float)
                                  for name in ("columns", "width", "places"))
        each = 4 * width * [2 if reader.addend else 1 for reader in self._readers]
        there, rows = places * self._samples / self._sizes[0], float(_ROWS)
        while True:
            wanted = np.minimum(np.maximum(rows * columns, rows * _LEAST / _ROWS), there)
            if wanted @ each <= room or rows < 1:
                return wanted
            rows *= 0.9

    def watch(self, owner: str, original: nn.Cell) -> None:
        """Run the original, and keep the rows."""
        held, names = owners(original), recipe_of(original).names.parameters(original)
        replay = Replay(original, self.batches, 0)
        with replay.entered():
            for batch in shown(range(len(self.batches)), "batches of the original", len(self.batches)):
                enters: Dict[str, List[Any]] = {}
                leaves: Dict[str, List[Any]] = {}
                for index, reader in enumerate(self._readers):
                    if not reader.reason:
                        path = held[names[reader.name].name][0].path + reader.cell
                        leaves.setdefault(path, []).append(partial(self._keep, index, batch))
                    if reader.keys:
                        path = held[names[reader.keys.weight].name][0].path + reader.keys.cell
                        leaves.setdefault(path, []).append(partial(self._count_keys, index))
                    if reader.addend:
                        table = enters if reader.addend.enters else leaves
                        table.setdefault(reader.addend.path, []).append(partial(self._keep_added, index, batch))
                with named_batch(owner, self.batches[batch]):
                    replay.run(batch, enters, leaves)
        for index in self._keys:
            self._keys[index] = summed(self._keys[index])
        for (index, batch, call), given in self.given.items():
            reader = self._readers[index]
            if reader.keys:
                mix = _towards_keys(reader.keys, self._keys[index], given.rows.shape[-1], reader.kept)
                self.given[index, batch, call] = replace(given, rows=given.rows @ mix)

    def _count_keys(self, index: int, _: int, array: np.ndarray) -> None:
        keys = self._readers[index].keys
        assert keys is not None
        heads = array.reshape(-1, array.shape[-1])[:, keys.other].astype(np.float64).transpose(1, 0, 2)
        self._keys[index] = self._keys.get(index, 0.0) + heads.transpose(0, 2, 1) @ heads

    def _keep(self, index: int, batch: int, call: int, array: np.ndarray) -> None:
        places, count = self._places(index, batch, call, array)
        samples = self._first[batch] + places * self._sizes[batch] // count
        reader = self._readers[index]
        rows = reader.geometry.rows_given(array, places, None if reader.keys else reader.kept)
        self.given[index, batch, call] = _Given(array.shape, places, kept_aside(samples), rows)

    def _keep_added(self, index: int, batch: int, call: int, array: np.ndarray) -> None:
        reader = self._readers[index]
        if reader.addend and call == reader.addend.call:
            places, _ = self._places(index, batch, 0, array)
            self.added[index, batch] = reader.geometry.rows_given(array, places, reader.kept)

    def _places(self, index: int, batch: int, call: int, array: np.ndarray) -> Tuple[np.ndarray, int]:
        """The places, drawn alike for arrays of one shape, and of how many."""
        reader = self._readers[index]
        count = array.size // array.shape[-1 if reader.geometry.form is DENSE else 1]
        wanted = math.ceil(self._wanted[index] * self._sizes[batch] / self._samples / reader.calls)
        if count <= wanted:
            return np.arange(count), count
        return np.sort(np.random.default_rng((index, batch, call)).choice(count, wanted, replace=False)), count


def _towards_keys(keys: Keys, products: np.ndarray, width: int, kept: Optional[np.ndarray]) -> np.ndarray:
    """
    What queries are to be multiplied by so that, with the keys that are left, they give nearly what all of them gave.

    Head by head, keys that are gone are nearly sums of those that are left, K = L B. So Q K' is nearly (Q B') L'.
    """
    matrix, columns = np.eye(width), np.arange(width) if kept is None else kept
    for own, other, product in zip(keys.own, keys.other, products):
        left = np.isin(other, keys.kept)
        # With next to no damping: keys may be alike.
        inner = product[np.ix_(left, left)]
        inner = inner + 1e-6 * np.trace(inner) / max(len(inner), 1) * np.eye(len(inner))
        matrix[np.ix_(own, own[left])] = np.linalg.solve(inner, product[left]).T
    return matrix[:, columns]


class Solver:
    """Solves the layers of a network that `replay` runs; `rows` are of the original."""

    def __init__(self, network: nn.Cell, replay: Replay, rows: Rows):
        self._replay, self._rows = replay, rows
        self._parameters = {parameter.name: parameter for parameter in network.get_parameters()}

    def layers(self, readers: Sequence[Reader], known: Sequence[SolvedLayer] = ()) -> Iterator[SolvedLayer]:
        """Solve them, in their order; the first ones are `known`, whose weights the network has by now."""
        stretch = None
        for index, reader in enumerate(shown(readers, "layers solved", len(readers))):
            if index < len(known):
                yield known[index]
                continue
            if not reader.reason and reader.stretch != stretch:
                self._replay.advance(reader.path)
                stretch = reader.stretch
            yield self._solve(index, reader)

    def _solve(self, index: int, reader: Reader) -> SolvedLayer:
        reason = reader.reason or ("" if reader.mixes or reader.bias else "it mixes no channels, and has no bias")
        if reason:
            return SolvedLayer(reader.path, "nothing", reason=reason)
        sums = _Sums(reader, *self._now(reader))
        for batch in range(len(self._rows.batches)):
            self._look(index, batch, reader, sums)
        sums.add_others()
        layer, matrix, bias = sums.solve()
        if layer.change != "nothing":
            self._write(reader, matrix, bias)
        return layer

    def _value(self, name: str) -> np.ndarray:
        return self._parameters[name].asnumpy().astype(np.float64)

    def _weight(self, reader: Reader) -> np.ndarray:
        part, value = reader.part, self._value(reader.name)
        return value if part is None else np.moveaxis(value, part.axis, 0)[part.rows]

    def _now(self, reader: Reader) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """
        The matrix and the bias that a layer has, and what its channels are multiplied by before something is added to
        them. Of what works channel by channel, a matrix and a bias that change nothing.
        """
        groups, scale = reader.geometry.group, np.ones(reader.width)
        if not reader.mixes:
            return np.ones((groups, 1, 1)), np.zeros((groups, 1)), scale.reshape(groups, -1)
        own = reader.bias is not None and reader.bias.sign > 0
        bias = self._value(reader.bias.parameter) if reader.bias and own else np.zeros(reader.width)
        bias = bias[reader.bias.channels] if reader.bias and own and reader.bias.channels is not None else bias
        if reader.addend and reader.addend.normalization:
            gamma, variance, epsilon = reader.addend.normalization
            scale = self._value(gamma) / np.sqrt(self._value(variance) + epsilon)
        return (reader.geometry.matrix(self._weight(reader)), bias.reshape(groups, -1), scale.reshape(groups, -1))

    def _look(self, index: int, batch: int, reader: Reader, sums: "_Sums") -> None:
        """Run a batch as far as a layer, and count what it reads, and what it shall give."""
        geometry = reader.geometry
        read: Dict[int, np.ndarray] = {}
        made: Dict[int, np.ndarray] = {}
        added: Dict[int, np.ndarray] = {}
        returns = not reader.mixes or batch == 0
        enters: Dict[str, List[Any]] = {reader.path: [read.__setitem__]} if reader.mixes else {}
        leaves: Dict[str, List[Any]] = {reader.path: [made.__setitem__]} if returns else {}
        if reader.addend:
            table = enters if reader.addend.enters else leaves
            table.setdefault(reader.addend.path, []).append(added.__setitem__)
        self._replay.run(batch, enters, leaves, ((reader.path, reader.calls - 1), returns))
        for call in range(reader.calls):
            given = self._rows.given[index, batch, call]
            shift: Optional[np.ndarray] = None
            if reader.addend and reader.addend.call in added and (index, batch) in self._rows.added:
                now = geometry.rows_given(added[reader.addend.call], given.places)
                if now.shape == given.rows.shape:
                    shift = self._rows.added[index, batch] - now.astype(np.float64)
            if reader.mixes:
                rows = geometry.rows_read(read[call], given.places, given.shape)
                if returns:
                    sums.compare(rows, geometry.rows_given(made[call], given.places))
            else:
                rows = geometry.rows_given(made[call], given.places)
            sums.add(rows, given.rows, shift, given.aside)

    def _write(self, reader: Reader, matrix: np.ndarray, bias: np.ndarray) -> None:
        if reader.mixes:
            weight, part = self._parameters[reader.name], reader.part
            solved = reader.geometry.weight(matrix, self._weight(reader).shape)
            if part is not None:
                rows, solved = solved, self._value(reader.name)
                np.moveaxis(solved, part.axis, 0)[part.rows] = rows
            weight.set_data(Tensor(solved, weight.dtype))
        if reader.bias is None:
            return
        held, values = self._parameters[reader.bias.parameter], self._value(reader.bias.parameter)
        at = np.arange(len(values)) if reader.bias.channels is None else reader.bias.channels
        own = reader.mixes and reader.bias.sign > 0
        values[at] = bias.ravel() if own else values[at] + reader.bias.sign * bias.ravel()
        held.set_data(Tensor(values, held.dtype))


class _Sums:
    """Sums over what a layer reads and shall give, and what follows for its `matrix` and `bias`."""

    def __init__(self, reader: Reader, matrix: np.ndarray, bias: np.ndarray, scale: np.ndarray):
        self._reader, self._matrix, self._bias, self._scale = reader, matrix, bias, scale
        self._fit: Optional[Moments] = None
        self._off = 0.0

    def compare(self, reads: np.ndarray, gives: np.ndarray) -> None:
        """Note how far what a layer gives is off what its weights say."""
        said = (reads.transpose(1, 0, 2) @ self._matrix).transpose(1, 0, 2) + self._bias
        scale = np.abs(gives).max(initial=0.0) or 1.0
        self._off = max(self._off, float(np.nan_to_num(np.abs(said - gives), nan=np.inf).max(initial=0.0) / scale))

    def add(self, reads: np.ndarray, gives: np.ndarray, shift: Optional[np.ndarray], aside: np.ndarray) -> None:
        """Count rows; `shift` is what the sum behind the layer lacks besides."""
        gives = gives * self._scale
        wanted = gives if shift is None else gives + shift
        if self._fit is None:
            free = self._reader.bias is not None
            origin = reads.mean(0, np.float64) * free, wanted.mean(0, np.float64) * free
            self._fit, self._aside = Moments(*origin), Moments(*origin)
            self._own = Moments(origin[0][:, :0], origin[1])
        self._fit.add(reads[~aside], wanted[~aside])
        self._aside.add(reads[aside], wanted[aside])
        self._own.add(reads[aside][:, :, :0], gives[aside])

    def add_others(self) -> None:
        """Count the rows of all processes."""
        assert self._fit is not None
        self._off = max(map(float, gathered(np.array(self._off))))
        for moments in (self._fit, self._aside, self._own):
            moments.add_others()

    def solve(self) -> Tuple[SolvedLayer, np.ndarray, np.ndarray]:
        """What lowers the error most on the samples kept aside, and the matrix and the bias, from all samples."""
        fit, aside, path = self._fit, self._aside, self._reader.path
        assert fit is not None
        numbers = fit.count and aside.count and fit.finite and aside.finite
        if not numbers or self._off > _OFF:
            reason = "it gives something else than its weights say" if numbers else "what it reads or gave is no number"
            return SolvedLayer(path, "nothing", reason=reason), self._matrix, self._bias
        scaled = self._matrix * self._scale[:, None], self._bias * self._scale
        free = self._reader.bias is not None
        dampings = _DAMPINGS if self._reader.mixes else ()
        tried: List[Tuple[str, Optional[float]]] = [("nothing", None)]
        tried += [("shift", None)] * free + [("weights", damping) for damping in dampings]
        errors = [aside.error(*self._made(fit, change, damping, *scaled)) for change, damping in tried]
        best = int(np.argmin(errors))
        change, damping = tried[best]
        spread = self._own.spread() or 1.0
        layer = SolvedLayer(path, change, errors[0] / spread, errors[best] / spread, damping)
        fit.join(aside)
        matrix, bias = self._made(fit, change, damping, *scaled)
        # A channel that is multiplied by next to nothing says nothing of its weights.
        live = np.abs(self._scale) > 1e-6 * np.abs(self._scale).max()
        scale = np.where(live, self._scale, 1.0)
        return (layer, np.where(live[:, None], matrix / scale[:, None], self._matrix),
                np.where(live, bias / scale, self._bias))

    def _made(self, fit: Moments, change: str, damping: Optional[float], matrix: np.ndarray, bias: np.ndarray
              ) -> Tuple[np.ndarray, np.ndarray]:
        free = self._reader.bias is not None
        if change == "nothing":
            return matrix, bias
        if damping is not None:
            matrix = fit.solve(matrix, damping, None if free else bias)
        return matrix, fit.bias(matrix) if free else bias
