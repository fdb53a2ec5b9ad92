"""
One ONNX file for all sizes.

A network is traced at several sizes of what is free, the batch above all, and every trace is written. Where the files
differ by whole numbers only, every number that differs is computed in the file, from a free size or from the length of
an axis that is there; where they differ otherwise, the sizes are fixed, and the reason is named.
"""
import itertools
import math
from fractions import Fraction
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from golden_stick.deploy.onnx.writer import Writer

__all__ = ["FixedSizes", "merge"]


# Of what counts, one number for each trace.
Numbers = Tuple[int, ...]
# times * the product of some lengths, plus a number, divided by another without a rest.
Form = Tuple[Tuple[Numbers, ...], int, int, int]

# Arrays of more numbers than this are no shapes.
_FEW = 64
# What ONNX takes for "to the end".
_END = 2 ** 63 - 1
_WINDOWS = ("Conv", "MaxPool", "AveragePool")


class FixedSizes(Exception):
    """Why a network takes one size only. Never leaves this package."""


def merge(writers: Sequence[Writer]) -> Writer:
    """The first of writers that have run at several sizes, made to write for any."""
    return _Merger(writers).run()


def _affine(numbers: Numbers, base: Numbers) -> Optional[Tuple[int, int]]:
    """Whole `times` and `plus` such that numbers are ``times * base + plus``."""
    other = next((at for at, size in enumerate(base) if size != base[0]), 0)
    times = Fraction(numbers[other] - numbers[0], (base[other] - base[0]) or 1)
    plus = numbers[0] - times * base[0]
    fits = times.denominator == 1 and all(number == times * size + plus for number, size in zip(numbers, base))
    return (int(times), int(plus)) if fits else None


def _product(lengths: Sequence[Numbers]) -> Numbers:
    return tuple(map(math.prod, zip(*lengths)))


class _Merger:

    def __init__(self, writers: Sequence[Writer]):
        self._writers, self._first = writers, writers[0]
        self._nodes = [writer.nodes for writer in writers]
        self._same: List[Dict[str, str]] = [{} for _ in writers]  # the name of each value in the first
        self._shapes: Dict[str, List[Any]] = {}  # of each value of the first, in every trace
        self._lengths: Dict[Numbers, Tuple[str, int]] = {}  # which axis of which value is so long
        self._free: Dict[Numbers, str] = {}
        self._made: Dict[Any, str] = {}
        for inputs in zip(*(writer.inputs for writer in writers)):
            self._see(inputs)
            for axis, numbers in enumerate(zip(*(writer.shapes[name] for writer, name in zip(writers, inputs)))):
                if len(set(numbers)) > 1 and numbers not in self._free:
                    self._free[numbers] = self._name(axis, len(writers[0].shapes[inputs[0]]))
        self._what = "the batch size" if list(self._free.values()) == ["batch"] else "the size"

    def _name(self, axis: int, rank: int) -> str:
        wanted = "batch" if not axis else ("height", "width")[axis - rank] if axis >= rank - 2 > 1 else f"axis{axis}"
        count = sum(name.rstrip("0123456789") == wanted for name in self._free.values())
        return f"{wanted}{count + 1}" if count else wanted

    def run(self) -> Writer:
        if len({tuple(operator for operator, *_ in nodes) for nodes in self._nodes}) > 1:
            raise FixedSizes(f"the network computes in another way when {self._what} changes")
        self._first.nodes = []
        for nodes in zip(*self._nodes):
            self._node(nodes)
        outputs = list(zip(*(writer.outputs for writer in self._writers)))
        self._first.outputs = [self._read(names, "an output") for names in outputs]
        for name, names in zip(self._first.outputs, outputs):
            self._shapes[name] = [writer.shapes.get(item) for writer, item in zip(self._writers, names)]
        self._first.lengths = self._text
        return self._first

    def _text(self, name: str) -> List[Any]:
        """The shape of a value, in which free sizes have names."""
        return [numbers[0] if len(set(numbers)) == 1 else self._word(numbers, f"{name}.{axis}")
                for axis, numbers in enumerate(zip(*self._shapes[name]))]

    def _word(self, numbers: Numbers, otherwise: str) -> str:
        if numbers in self._free:
            return self._free[numbers]
        lines = ((_affine(numbers, base), name) for base, name in self._free.items())
        return next((f"{line[0]} * {name} + {line[1]}" for line, name in lines if line), otherwise)

    def _see(self, names: Sequence[str]) -> None:
        """One value has these names in the traces: its axes can be measured from here on."""
        shapes = self._shapes[names[0]] = [writer.shapes.get(name) for writer, name in zip(self._writers, names)]
        for same, name in zip(self._same, names):
            same[name] = names[0]
        if None not in shapes and len(set(map(len, shapes))) == 1:
            for axis, numbers in enumerate(zip(*shapes)):
                if len(set(numbers)) > 1:
                    self._lengths.setdefault(numbers, (names[0], axis))

    def _node(self, nodes: Sequence[tuple]) -> None:
        operator, given, names, _ = nodes[0]
        place = f"'{names[0].rpartition('/')[0]}'"
        if len({len(inputs) for _, inputs, _, _ in nodes}) > 1 or len({len(made) for _, _, made, _ in nodes}) > 1:
            raise FixedSizes(f"{place} is called in another way when {self._what} changes")
        inputs = [self._read([node[1][at] for node in nodes], place, operator, at, nodes) for at in range(len(given))]
        self._first.nodes.append((operator, inputs, names, self._attributes(nodes, place)))
        for made in zip(*(node[2] for node in nodes)):
            self._see(made)

    def _read(self, names: Sequence[str], place: str, operator: str = "", at: int = 0, nodes: Sequence[tuple] = ()
              ) -> str:
        """The one name of an input that has these in the traces; a constant that differs is computed."""
        arrays = [writer.arrays[name] for writer, name in zip(self._writers, names) if name in writer.arrays]
        if len(arrays) < len(names):
            found = {same.get(name, name) for same, name in zip(self._same, names)}
            if len(found) > 1:
                raise FixedSizes(f"{place} reads something else when {self._what} changes")
            return found.pop()
        if all(array is arrays[0] or np.array_equal(array, arrays[0]) for array in arrays):
            return names[0]
        if (operator, at) == ("Slice", 2):
            arrays = self._to_the_end(arrays, nodes)
        few = 1 if arrays[0].dtype.kind == "f" else _FEW
        if len({array.shape for array in arrays}) == 1 and arrays[0].size <= few and all(
                np.array_equal(array, np.rint(array)) for array in arrays):
            return self._vector(arrays, place, (operator, at) == ("Reshape", 1))
        return self._large(arrays, place)

    def _to_the_end(self, arrays: Sequence[np.ndarray], nodes: Sequence[tuple]) -> List[np.ndarray]:
        """The ends of a slice, of which those at the end of an axis are written so."""
        made = [array.copy() for array in arrays]
        shapes = [writer.shapes.get(node[1][0]) for writer, node in zip(self._writers, nodes)]
        axes = [writer.arrays[node[1][3]] for writer, node in zip(self._writers, nodes)]
        for place in range(len(made[0])) if None not in shapes else ():
            if all(shape[axis[place]] == array[place]  # type: ignore[index]
                   for shape, axis, array in zip(shapes, axes, arrays)):
                for array in made:
                    array[place] = _END
        return made

    def _vector(self, arrays: Sequence[np.ndarray], place: str, is_shape: bool = False) -> str:
        """An array of whole numbers, of which some are computed; of a shape, one can be left to the reader."""
        first, shape, kind = self._first, arrays[0].shape, arrays[0].dtype.name
        numbers = [tuple(map(int, several)) for several in zip(*(array.ravel() for array in arrays))]
        free = [at for at, several in enumerate(numbers) if len(set(several)) > 1]
        if is_shape and len(free) == 1 and not any(several[0] in (0, -1) for several in numbers):
            numbers[free[0]], free = (-1,), []
        if not free:
            return first.constant(np.asarray([several[0] for several in numbers], kind).reshape(shape))
        key = (tuple(numbers), shape, kind)
        if key not in self._made:
            pieces = [self._size(several, place) if len(set(several)) > 1 else first.vector(several[:1])
                      for several in numbers]
            made = pieces[0] if len(pieces) == 1 else first.emit("Concat", pieces, axis=0)
            made = made if len(shape) == 1 else first.emit("Reshape", [made, first.vector(shape)])
            self._made[key] = made if kind == "int64" else first.cast(made, kind)
        return self._made[key]

    def _size(self, numbers: Numbers, place: str) -> str:
        """A number as a tensor of one, computed from lengths that are known."""
        if numbers not in self._made:
            form = next(self._forms(numbers), None)
            if form is None:
                raise FixedSizes(f"a number in the code of {place} does not grow evenly with {self._what}: "
                                 f"{', '.join(map(str, numbers))}")
            lengths, times, plus, divisor = form
            made = self._length(lengths[0])
            steps = [*(("Mul", self._length(length)) for length in lengths[1:]),
                     *((operator, self._first.vector([number])) for operator, number, idle in
                       (("Mul", times, 1), ("Add", plus, 0), ("Div", divisor, 1)) if number != idle)]
            for operator, other in steps:
                made = self._first.emit(operator, [made, other])
            self._made[numbers] = made
        return self._made[numbers]

    def _length(self, numbers: Numbers) -> str:
        if ("length", numbers) not in self._made:
            name, axis = self._lengths[numbers]
            shape = self._made.setdefault(("shape", name), "") or self._first.emit("Shape", [name])
            self._made["shape", name] = shape
            self._made["length", numbers] = self._first.emit("Gather", [shape, self._first.vector([axis])], axis=0)
        return self._made["length", numbers]

    def _forms(self, numbers: Numbers) -> Iterator[Form]:
        """What numbers can be, the plainest first. Of two traces, a line through both says nothing of other lengths."""
        free, known = list(self._free), list(self._lengths)
        if len(numbers) == 2:
            yield from (((base,), *line, 1) for base in free for line in [_affine(numbers, base)] if line)
            return
        if numbers in self._lengths:
            yield (numbers,), 1, 0, 1
        products = [several for count in (1, 2, 3) for several in itertools.combinations(known, count)]
        for wanted in (lambda line: line[1] == 0, bool):
            for several in products:
                line = _affine(numbers, _product(several))
                if line and wanted(line):
                    yield several, *line, 1
            if wanted is bool:
                continue
        for base, divisor in itertools.product(known, range(2, _FEW)):
            for plus in (0, divisor - 1):
                if all(number == (size + plus) // divisor for number, size in zip(numbers, base)):
                    yield (base,), 1, plus, divisor

    def _large(self, arrays: Sequence[np.ndarray], place: str) -> str:
        """An array of one row again and again, or one that counts along its axes."""
        first, one = self._first, arrays[0]
        free = [axis for axis in range(one.ndim) if any(array.shape[axis] != one.shape[axis] for array in arrays)
                ] if len({array.ndim for array in arrays}) == 1 else []
        if free:
            sizes = [np.asarray(array.shape, np.int64) for array in arrays]
            row = one[tuple(slice(0, 1) if axis in free else slice(None) for axis in range(one.ndim))]
            if all((array == row).all() for array in arrays):
                return first.emit("Expand", [first.constant(row), self._vector(sizes, place)])
            steps = _steps(one)
            if steps and all(_steps(array) == steps for array in arrays):
                return self._counted(steps, one, sizes, place)
        what = "an array" if one.ndim else "a number"
        raise FixedSizes(f"{what} in the code of {place} depends on {self._what} and does not grow evenly with it")

    def _counted(self, steps: Tuple[float, ...], one: np.ndarray, shapes: Sequence[np.ndarray], place: str) -> str:
        """An array that grows by one step along each of its axes."""
        first, kind = self._first, one.dtype.name
        made = first.constant(one.ravel()[:1].reshape((1,) * one.ndim))
        for axis, step in enumerate(steps):
            size = first.squeeze(self._vector([shape[axis:axis + 1] for shape in shapes], place), [0])
            zero, unit = (first.constant(np.asarray(number, np.int64)) for number in (0, 1))
            places = first.cast(first.emit("Range", [zero, size, unit]), kind)
            places = first.emit("Mul", [places, first.constant(np.asarray(step, kind))])
            others = [at for at in range(one.ndim) if at != axis]
            made = first.emit("Add", [made, first.unsqueeze(places, others) if others else places])
        return made

    def _attributes(self, nodes: Sequence[tuple], place: str) -> Dict[str, Any]:
        attributes = nodes[0][3]
        for key in attributes:
            if any(node[3].get(key) != attributes[key] for node in nodes):
                made = self._any_padding(nodes) if key == "pads" and nodes[0][0] in _WINDOWS else None
                if made is None:
                    raise FixedSizes(f"'{key}' of {place} depends on {self._what}")
                return made
        return attributes

    def _any_padding(self, nodes: Sequence[tuple]) -> Optional[Dict[str, Any]]:
        """Attributes of a window that give the paddings and the lengths of all traces; None if there are none."""
        operator, inputs, _, attributes = nodes[0]
        given, made = ([writer.shapes.get(node[at][0]) for writer, node in zip(self._writers, nodes)] for at in (1, 2))
        if None in given or None in made or any(node[3].keys() != attributes.keys() for node in nodes):
            return None
        rank = len(attributes["strides"])
        kernel = attributes.get("kernel_shape") or self._first.arrays[inputs[1]].shape[2:]
        spread = attributes.get("dilations", (1,) * rank)
        widths = [space * (width - 1) + 1 for space, width in zip(spread, kernel)]
        pads = [node[3]["pads"] for node in nodes]
        begin, most = pads[0][:rank], tuple(map(max, *(item[rank:] for item in pads)))
        rest = {key: value for key, value in attributes.items() if key != "pads"}
        axes = [axis for one, two, item in zip(given, made, pads)
                for axis in zip(one[2:], two[2:], widths, attributes["strides"], item, begin)]  # type: ignore[index]
        if all(count == -(-size // step) and low == max((count - 1) * step + width - size, 0) // 2
               for size, count, width, step, low, _ in axes):
            return {**rest, "auto_pad": "SAME_UPPER"}
        for ends, ceil in itertools.product((most, begin), (0, 1) if operator != "Conv" else (0,)):
            if all(low == first and count == (size + first + end - width + ceil * (step - 1)) // step + 1
                   for (size, count, width, step, low, first), end in zip(axes, itertools.cycle(ends))):
                return {**rest, "pads": (*begin, *ends), **({"ceil_mode": 1} if ceil else {})}
        return None


def _steps(array: np.ndarray) -> Optional[Tuple[float, ...]]:
    """By how much an array grows along each axis, if it does so evenly everywhere."""
    if not array.ndim or not array.size or array.dtype.kind not in "iuf":
        return None
    steps = [np.diff(array, axis=axis) for axis in range(array.ndim)]
    if any(step.size and not (step == step.ravel()[0]).all() for step in steps):
        return None
    return tuple(float(step.ravel()[0]) if step.size else 0.0 for step in steps)
