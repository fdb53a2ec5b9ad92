"""
Rules of operators that only move numbers: on labels, they are the numpy functions of the same name; and how weights go
through operators before data meet them.
"""
from dataclasses import replace
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from golden_stick.graph.flow import FILTER, NUMBER, Face, Faces, Flow, Labeled, Rule, axes_of, number, zero_as_first
from golden_stick.graph.ir import Constant, Node, Parameter, Value, components, flatten
from golden_stick.graph.layers import OPERATORS
from golden_stick.graph.rules.arithmetic import MIXES, along_axes, reduced_sum, sum_of_powers

__all__ = ["reshape", "transpose", "concat", "stack", "unstack", "split", "strided_slice", "slice_of", "embedding",
           "gather", "tile", "repeat", "channel_shuffle", "top", "unfold", "gated", "broadcast_to", "reverse", "roll",
           "pad", "depth_to_space", "space_to_depth", "moved", "pointwise", "reduced"]


def reshape(flow: Flow, node: Node) -> np.ndarray:
    """
    Labels are reshaped as the data are.

    Where the channel axis is split, as for the heads of an attention or a channel shuffle, one of the new axes carries
    the channels and equal positions along the others belong together. Which one the code can do without is not visible
    in the graph: the one that leaves most freedom is taken first, and the next if slimming for trial refutes it.
    """
    data, shape = flow.of_vector(node.inputs[0]), node.shapes[0]
    if not data.axes:
        return flow.none(shape)
    source, target = _block(data.shape, shape, data.axes[0])
    full = np.broadcast_to(data.labels, tuple(size if axis in source else 1 for axis, size in enumerate(data.shape)))
    inner = full.reshape([shape[axis] for axis in target])
    readings = _readings(inner, _open_axis(node, target))
    if node.number in flow.whole and len(readings) > 1:
        # The heads stand before their width.
        readings.sort(key=sorted(readings)[-2].__ne__)
    rejected_readings = flow.rejected_readings[node.number] if node.operator == "Reshape" else 0
    if rejected_readings >= len(readings):
        return flow.barrier(node, NUMBER, f"to {number(node.inputs[1])}")
    axis = readings[rejected_readings]
    rows = np.moveaxis(inner, axis, -1).reshape(-1, inner.shape[axis])
    flow.labels.unite(rows[:1], rows)
    if node.operator == "Reshape":
        flow.reads(node, *_rows(inner, axis), *_rows(full.reshape([data.shape[own] for own in source]),
                                                     data.axes[0] - source[0]))
    if len(readings) > 1:
        flow.splits[node.number] = (rows[0], rejected_readings + 1 < len(readings))
        flow.heads_lose[node.number] = "whole" if axis == sorted(readings)[-2] else "width"
    return flow.on(target[axis], rows[0], len(shape))


def _rows(block: np.ndarray, axis: int) -> List[np.ndarray]:
    """Labels along the axis of a block that carries channels, and along it and all behind: widths that code names."""
    behind = np.cumprod(block.shape[::-1])[block.ndim - 1 - axis:].tolist()
    own = np.moveaxis(block, axis, -1).reshape(-1, block.shape[axis])[0]
    # Heads may share an axis with samples: they come again and again.
    once = next(size for size in (*np.flatnonzero(own[1:] == own[0]) + 1, len(own))
                if len(own) % size == 0 and np.array_equal(own, np.tile(own[:size], len(own) // size)))
    return [own, own[:once], *(block.reshape(-1, size)[0] for size in behind)]


def _open_axis(node: Node, target: range) -> int:
    """Which axis of the target, counted within it, the code leaves open by a -1; -1 if none."""
    wanted = number(node.inputs[1]) if node.operator == "Reshape" and len(node.inputs) > 1 else None
    if wanted is None or np.ndim(wanted) != 1 or -1 not in tuple(wanted):
        return -1
    axis = tuple(wanted).index(-1)
    return target.index(axis) if axis in target else -1


def _readings(inner: np.ndarray, open_axis: int) -> List[int]:
    """The axes that may carry the channels: the open one first, then those that leave most channels independent."""
    varying = [axis for axis, size in enumerate(inner.shape)
               if size > 1 and (inner != inner.take([0], axis)).any()]
    if len(varying) < 2:
        return varying or [max(range(inner.ndim), key=lambda axis: inner.shape[axis])]
    freedom = {axis: _classes_along(inner, axis) for axis in varying}
    useful = [axis for axis in varying if freedom[axis] > 1] or varying[:1]
    return sorted(useful, key=lambda axis: (axis != open_axis, -freedom[axis], -axis))


def _classes_along(inner: np.ndarray, axis: int) -> int:
    """How many classes are left if equal positions along an axis are united over all others."""
    rows = np.moveaxis(inner, axis, -1).reshape(-1, inner.shape[axis])
    names, numbers = np.unique(rows, return_inverse=True)
    numbers = numbers.reshape(rows.shape)
    edges = np.stack(np.broadcast_arrays(numbers[:1], numbers)).reshape(2, -1)
    return len(np.unique(components(len(names), edges)))


def _block(old: Sequence[int], new: Sequence[int], axis: int) -> Tuple[range, range]:
    """The smallest ranges of old and new axes, around `axis`, that hold the same number of elements."""
    starts_old = np.cumprod((1,) + tuple(old))
    starts_new = np.cumprod((1,) + tuple(new))
    low = max(i for i in range(axis + 1) if starts_old[i] in starts_new)
    high = min(i for i in range(axis + 1, len(old) + 1) if starts_old[i] in starts_new)
    begin = int(np.flatnonzero(starts_new == starts_old[low]).max())
    end = int(np.flatnonzero(starts_new == starts_old[high]).min())
    return range(low, high), range(begin, end)


def transpose(flow: Flow, node: Node) -> np.ndarray:
    """Labels are transposed as the data are."""
    return np.transpose(flow.of_vector(node.inputs[0]).labels, number(node.inputs[1]))


def concat(flow: Flow, node: Node) -> np.ndarray:
    """Labels are concatenated as the data are, along the channel axis; along another, equal channels meet."""
    values, axis = flatten(node.inputs[:-1]), number(node.inputs[-1])
    seen = [flow.of(value) for value in values]
    rank = len(node.shapes[0])
    axis %= rank
    axes = {own for item in seen for own in item.axes}
    if any(isinstance(value, Parameter) and value not in flow.shown for value in values) or len(axes) > 1:
        return flow.barrier(node, "joins parameters, or channels of two axes")
    if axes <= {axis}:
        rows = [_joined(flow, node, value, item.along(axis)) for value, item in zip(values, seen)]
        return flow.on(axis, np.concatenate(rows), rank)
    return _meet(flow, node, seen, axes.pop(), rank)


def _joined(flow: Flow, node: Node, value: Value, labels: np.ndarray) -> np.ndarray:
    """Labels of a value that is joined with others: new ones for zeros that the code makes, such as the state that a
    recurrent layer begins with, since it may make them as wide as what is joined there later."""
    if labels.any() or not flow.uniform(value):
        return labels
    # One label more than needed, as in `pad`.
    own = flow.labels.fresh(len(labels) + 1)[:-1]
    if flow.rejected_readings[node.number]:
        flow.labels.fix(own, f"joined with a tensor whose width is written in the code ({flow.place(node)})")
    else:
        flow.reads(node, own)
    return own


def _meet(flow: Flow, node: Node, seen: Sequence[Labeled], axis: int, rank: int) -> np.ndarray:
    """Tensors side by side: their channels on `axis` belong together."""
    lead = next(item.labels for item in seen if item.axes).ravel()
    for item in seen:
        if item.axes:
            flow.labels.unite(lead, item.labels.ravel())
        else:
            flow.labels.fix(lead, f"meets a tensor that keeps its width ({flow.place(node)})")
    return flow.on(axis, lead, rank)


def stack(flow: Flow, node: Node) -> np.ndarray:
    """Tensors one after the other along a new axis: their channels belong together."""
    seen = [flow.of(value) for value in flatten(node.inputs)]
    rank = len(node.shapes[0])
    axes = {own for item in seen for own in item.axes}
    axis = node.attributes["axis"] % rank
    if len(axes) != 1:
        return flow.barrier(node, "stacks channels of two axes") if axes else flow.none(node.shapes[0])
    own = axes.pop()
    return _meet(flow, node, seen, own + (axis <= own), rank)


def unstack(flow: Flow, node: Node) -> Tuple[np.ndarray, ...]:
    """Every output is one position of the axis that goes."""
    data = flow.of(node.inputs[0])
    axis = (number(node.inputs[1]) if len(node.inputs) > 1 else node.attributes["axis"]) % len(data.shape)
    if data.axes == (axis,):
        flow.barrier(node, "takes the channels apart")
        return tuple(flow.none(shape) for shape in node.shapes)
    return (np.squeeze(data.labels, axis),) * len(node.shapes)


def split(flow: Flow, node: Node) -> Tuple[np.ndarray, ...]:
    """Equal parts stay equal: the same positions of every part belong together."""
    data = flow.of_vector(node.inputs[0])
    axis, parts = (number(value) for value in node.inputs[1:3])
    axis %= len(data.shape)
    if data.axes != (axis,):
        return (data.labels,) * len(node.shapes)
    if flow.rejected_readings[node.number]:
        flow.barrier(node, NUMBER, f"into {parts} parts")
        return tuple(flow.none(shape) for shape in node.shapes)
    rows = data.labels.reshape(parts, -1)
    flow.reads(node, data.labels.ravel(), rows[0])
    flow.labels.unite(rows[:1], rows)
    return tuple(flow.on(axis, row, len(data.shape)) for row in rows)


def strided_slice(flow: Flow, node: Node) -> np.ndarray:
    """
    A slice of other axes passes. One of the channels may be any part, such as a half, or as many as an attribute says.

    That its ends move with the width is not visible in the graph; slimming for trial shows whether they do.
    """
    data = flow.of_vector(node.inputs[0])
    if not data.axes:
        return flow.none(node.shapes[0])
    begin, end, strides, begin_mask, end_mask, ellipsis, new_axis, shrink = (number(v) for v in node.inputs[1:9])
    axis, labels = data.axes[0], data.labels
    if ellipsis or new_axis:
        return flow.barrier(node, "a slice that inserts axes")
    if axis < len(begin):
        size = data.shape[axis]
        first = 0 if begin_mask >> axis & 1 else _position(begin[axis], size)
        last = size if end_mask >> axis & 1 else _position(end[axis], size)
        single = strides[axis] != 1 or shrink >> axis & 1
        if single or (first, last) != (0, size):
            part = None if single else _part(flow, node, data.along(axis), axis, first, last)
            if part is None:
                return flow.barrier(node, "cuts the channels at a number that is written in the code",
                                    f"[{first}:{last}] of {size}")
            labels = flow.on(axis, part, len(data.shape))
    dropped = tuple(i for i in range(len(data.shape)) if shrink >> i & 1)
    return np.squeeze(labels, dropped) if dropped else labels


def slice_of(flow: Flow, node: Node) -> np.ndarray:
    """A slice by where it begins and how long it is: of all of an axis, or of a part of the channels."""
    data = flow.of_vector(node.inputs[0])
    begin, size = (number(value) for value in node.inputs[1:3])
    if not data.axes or begin is None or size is None:
        return flow.barrier(node, "a slice whose place is computed") if data.axes else flow.none(node.shapes[0])
    axis = data.axes[0]
    first, width = begin[axis], node.shapes[0][axis]
    if width == data.shape[axis] and not flow.rejected_readings[node.number]:
        flow.reads(node, data.labels.ravel())
        return data.labels
    part = _part(flow, node, data.labels.ravel(), axis, first, first + width)
    if part is None:
        return flow.barrier(node, "cuts the channels at a number that is written in the code")
    return flow.on(axis, part, len(data.shape))


def depth_to_space(flow: Flow, node: Node) -> np.ndarray:
    """Channel `i * C + c` becomes place i of channel c: a channel's places go together."""
    data, block = flow.of(node.inputs[0]), node.attributes["block_size"]
    if data.axes not in ((), (1,)):
        return flow.barrier(node, "the channel axis is not axis 1")
    rows = data.along(1).reshape(block * block, -1)
    flow.labels.unite(rows[:1], rows)
    return flow.on(1, rows[0], 4)


def space_to_depth(flow: Flow, node: Node) -> np.ndarray:
    """Place i of channel c becomes channel `i * C + c`."""
    data = flow.of(node.inputs[0])
    if data.axes not in ((), (1,)):
        return flow.barrier(node, "the channel axis is not axis 1")
    return flow.on(1, np.tile(data.along(1), node.attributes["block_size"] ** 2), 4)


def _position(value: int, size: int) -> int:
    return min(max(value + size if value < 0 else value, 0), size)


def _part(flow: Flow, node: Node, labels: np.ndarray, axis: int, first: int, last: int) -> Optional[np.ndarray]:
    """Labels of a part, whose positions are united with those of the others if all are equal; None if the number stays
    as it is."""
    width = last - first
    if flow.rejected_readings[node.number] or width < 1:
        return None
    part, counted = labels[first:last], [labels[:first], labels[:last], labels[last:]]
    if not len(labels) % width and not first % width:
        rows = labels.reshape(-1, width)
        flow.labels.unite(rows[:1], rows)
        part, counted = rows[first // width], [labels]
    flow.reads(node, part, *(row for row in counted if len(row)))
    if first:
        flow.counts[node.number] = 1, axis, labels[:first]
    return part


def embedding(flow: Flow, node: Node) -> np.ndarray:
    """A table of vectors, read by row: it makes the channels of the last axis."""
    table, shape = node.inputs[OPERATORS[node.operator].weight], node.shapes[0]
    if not flow.is_weight(table) or len(flow.graph.shape(table)) != 2 or (
            node.operator == "Gather" and number(node.inputs[2]) != 0):
        return flow.barrier(node, "a table that is not read by its rows")
    made = flow.labels.fresh(flow.graph.shape(table)[1])
    flow.bind(table, 1, made, FILTER)
    return flow.on(len(shape) - 1, made, len(shape))


def gather(flow: Flow, node: Node) -> np.ndarray:
    """Reads positions of one axis, which must not be that of the channels; from a weight, it reads vectors."""
    if flow.is_weight(node.inputs[0]):
        return embedding(flow, node)
    data, axis = flow.of(node.inputs[0]), number(node.inputs[2])
    if not data.axes:
        return flow.none(node.shapes[0])
    own, rank = data.axes[0], len(data.shape)
    if axis is None or axis % rank == own or flow.of(node.inputs[1]).axes:
        return flow.barrier(node, "reads channels by numbers that are written in the code")
    indices = len(node.shapes[0]) - rank + 1
    return flow.on(own if own < axis % rank else own + indices - 1, data.labels.ravel(), len(node.shapes[0]))


def tile(flow: Flow, node: Node) -> np.ndarray:
    """Copies side by side: a channel goes with all its copies."""
    data, multiples = flow.of_vector(node.inputs[0]), tuple(int(item) for item in np.ravel(number(node.inputs[1])))
    rank = len(node.shapes[0])
    if not data.axes:
        return flow.none(node.shapes[0])
    multiples = (1,) * (rank - len(multiples)) + multiples
    axis = data.axes[0] + rank - len(data.shape)
    return flow.on(axis, np.tile(data.labels.ravel(), multiples[axis]), rank)


def repeat(flow: Flow, node: Node) -> np.ndarray:
    """Every position several times, one copy beside the other: a channel goes with all its copies."""
    data, times, axis = flow.of(node.inputs[0]), number(node.inputs[1]), number(node.inputs[2])
    if data.axes and axis is None:
        return flow.barrier(node, "repeats numbers over all axes")
    along = data.axes and axis % len(data.shape) == data.axes[0]
    return np.repeat(data.labels, times, data.axes[0]) if along else data.labels


def channel_shuffle(flow: Flow, node: Node) -> np.ndarray:
    """Groups of channels, one of each in turn: equal positions of the groups belong together."""
    data, groups = flow.of(node.inputs[0]), node.attributes.get("group") or number(node.inputs[1])
    if data.axes != (1,):
        return flow.barrier(node, "the channel axis is not axis 1") if data.axes else data.labels
    rows = data.labels.reshape(groups, -1)
    flow.labels.unite(rows[:1], rows)
    return flow.on(1, rows.T.ravel(), len(data.shape))


def top(flow: Flow, node: Node) -> np.ndarray:
    """The largest along an axis, which must not be that of the channels."""
    data = flow.of(node.inputs[0])
    axis = (number(node.inputs[2]) if node.operator == "TopkExt" else -1) % len(data.shape)
    return flow.barrier(node, MIXES) if axis in data.axes else data.labels


def unfold(flow: Flow, node: Node) -> np.ndarray:
    """The pixels of every window, channel by channel: a channel goes with all of its own."""
    data = flow.of(node.inputs[0])
    if data.axes != (1,):
        return flow.barrier(node, "the channel axis is not axis 1") if data.axes else flow.none(node.shapes[0])
    times = node.shapes[0][1] // data.shape[1]
    return flow.on(1, np.repeat(data.labels.ravel(), times), len(node.shapes[0]))


def gated(flow: Flow, node: Node) -> np.ndarray:
    """One half of an axis times a function of the other: equal positions of the halves belong together."""
    data, axis = flow.of(node.inputs[0]), number(node.inputs[1])
    if data.axes != (axis % len(data.shape),):
        return data.labels
    halves = data.labels.reshape(2, -1)
    flow.labels.unite(halves[:1], halves)
    return flow.on(data.axes[0], halves[0], len(data.shape))


def broadcast_to(flow: Flow, node: Node) -> np.ndarray:
    """New axes come first, axes of length 1 grow; the channels stay as they are."""
    data, rank = flow.of_vector(node.inputs[0]), len(node.shapes[0])
    if data.axes and flow.rejected_readings[node.number]:
        return flow.barrier(node, NUMBER, f"to {number(node.inputs[1])}")
    if data.axes:
        flow.reads(node, data.labels.ravel())
    return data.labels.reshape((1,) * (rank - len(data.shape)) + data.labels.shape)


def reverse(flow: Flow, node: Node) -> np.ndarray:
    """The last becomes the first: so do its labels."""
    data = flow.of(node.inputs[0])
    return np.flip(data.labels, tuple(axes_of(node, len(data.shape)) & set(data.axes)))


def roll(flow: Flow, node: Node) -> np.ndarray:
    """Turned round by a number of positions: exact on axes other than the channels' only."""
    data = flow.of(node.inputs[0])
    if axes_of(node, len(data.shape), 2) & set(data.axes):
        return flow.barrier(node, "rolls the channels by a number that is written in the code")
    return data.labels


def pad(flow: Flow, node: Node) -> np.ndarray:
    """Padded channels are as many as the code says: they stay. Padding of other axes passes."""
    data = flow.of(node.inputs[0])
    rank = len(data.shape)
    if not data.axes:
        return data.labels
    axis = data.axes[0]
    before, after = _padding(node, rank)[axis]
    if before == after == 0:
        return data.labels
    mode = node.attributes.get("mode", "constant" if node.operator in ("Pad", "PadV3") else node.operator)
    if mode != "constant" or min(before, after) < 0:
        return flow.barrier(node, f"pads the channels in mode '{mode}', or by a negative number")
    # One label more than needed: a single fresh one would be the unnamed FIXED, and the report would lack its reason.
    edges = [flow.labels.fresh(count + 1)[:count] for count in (before, after)]
    for edge in edges:
        flow.labels.fix(edge, f"padded with a number of channels that is written in the code ({flow.place(node)})")
    return flow.on(axis, np.concatenate((edges[0], data.labels.ravel(), edges[1])), rank)


def _padding(node: Node, rank: int) -> List[Tuple[int, ...]]:
    """(before, after) per axis. PadV3 counts pairs from the last axis, Pad and MirrorPad from the first."""
    paddings: Any = node.attributes["paddings"] if node.operator == "Pad" else number(node.inputs[1])
    if np.ndim(paddings) == 2:
        return [tuple(pair) for pair in paddings]
    flat = [int(item) for item in np.ravel(paddings)]
    pairs = [tuple(flat[i:i + 2]) for i in range(0, len(flat), 2)]
    return [(0, 0)] * (rank - len(pairs)) + pairs[::-1]


# Data carry channels along one axis; a weight has something on each: filters, channels, taps. So its axes are followed
# one by one. What moves numbers is done to each by the rule that data go by; what computes unites positions that meet.


def moved(flow: Flow, node: Node, rule: Rule) -> List[Faces]:
    """Transpose, reshape, split ... : the labels of one axis after the other are moved as those of data are."""
    made: List[List[Optional[Face]]] = [[None] * len(shape) for shape in node.shapes]
    sources = {value: flow.faces(value) for value in flatten(node.inputs) if not isinstance(value, Constant)}
    for axis in range(max(map(len, sources.values()))):
        faces = {value: of_value[axis] for value, of_value in sources.items() if axis < len(of_value)}
        seen = [face for face in faces.values() if face]
        if not seen:
            continue
        keys, zero = tuple(dict.fromkeys(key for face in seen for key in face.keys)), all(face.zero for face in seen)
        flow.shown = {value: _shown(flow, value, axis, sources[value]) for value in sources}
        labels: Any = rule.flow(flow, node)
        flow.shown = {}
        for row, shape, found in zip(made, node.shapes, labels if isinstance(labels, tuple) else (labels,)):
            item = Labeled(found, shape)
            for target in item.axes:
                joined = row[target]
                if joined:
                    # As channels of data that are joined with others: one axis can go, the other stays.
                    flow.labels.fix(joined.labels, f"channels of two axes meet ({flow.place(node)})")
                row[target] = Face(item.along(target), keys, zero)
    return [tuple(row) for row in made]


def _shown(flow: Flow, value: Any, axis: int, faces: Faces) -> Labeled:
    shape = flow.graph.shape(value)
    face = faces[axis] if axis < len(faces) else None
    if face is None:
        return Labeled(flow.none(shape), shape)
    return Labeled(flow.on(axis, face.labels, len(shape)), shape, face.zero)


def pointwise(flow: Flow, node: Node, rule: Rule) -> List[Faces]:
    """Number by number: positions that meet belong together."""
    shape, values = node.shapes[0], flatten(node.inputs)
    row: List[Optional[Face]] = []
    for axis in range(len(shape)):
        place = {at: axis - len(shape) + len(flow.graph.shape(value)) for at, value in enumerate(values)}
        wide = [at for at, own in place.items() if own >= 0 and flow.graph.shape(values[at])[own] > 1]
        faces = [None if isinstance(values[at], Constant) else flow.faces(values[at])[place[at]] for at in wide]
        seen = [face for face in faces if face]
        for face in seen:
            flow.labels.unite(seen[0].labels, face.labels)
            if len(seen) < len(wide):
                flow.labels.fix(face.labels, f"meets a constant or computed tensor ({flow.place(node)})")
        if not seen:
            row.append(None)
            continue
        zeros = [bool(at in wide and seen[0].zero) for at in range(len(values))]
        # Where both sides of a division go to zero, nobody knows what it gives.
        zero = all(zeros[at] for at in wide) and rule.zero(zeros) and not (rule.zero is zero_as_first and len(wide) > 1)
        row.append(Face(seen[0].labels, tuple(dict.fromkeys(key for face in seen for key in face.keys)), zero))
    return [tuple(row)] * len(node.shapes)


def reduced(flow: Flow, node: Node, rule: Rule) -> List[Faces]:
    """A mean, a norm ... of each filter: what it is taken over stays, but in a sum, where removed numbers are zero."""
    faces = flow.faces(node.inputs[0])
    axes = axes_of(node, len(faces))
    for face in (faces[axis] for axis in axes):
        if face and face.zero and rule.flow in (reduced_sum, sum_of_powers):
            flow.bare.update(face.keys)
        elif face:
            flow.labels.fix(face.labels, f"a weight is computed from all of it ({flow.place(node)})")
    faces = tuple(face and replace(face, zero=face.zero and rule.zero([True])) for face in faces)
    if rule.flow in (sum_of_powers, along_axes):
        return [faces]
    kept = tuple(None if axis in axes else face for axis, face in enumerate(faces))
    return [kept if len(shape) == len(faces) else tuple(face for axis, face in enumerate(kept) if axis not in axes)
            for shape in node.shapes]
