"""
What is computed from weights alone before data meet it: their transpose, a part, a normalized form.

Data carry channels along one axis; a weight has something on each: filters, channels, taps. So its axes are followed
one by one. What moves numbers is done to each by the rule that data go by; what computes unites positions that meet.
"""
from dataclasses import replace
from typing import Any, List, Optional

from golden_stick.graph.flow import Face, Faces, Flow, Labeled, Rule, axes_of, zero_as_first
from golden_stick.graph.ir import Constant, Node, flatten
from golden_stick.graph.rules import arithmetic

__all__ = ["moved", "pointwise", "reduced"]


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
        if face and face.zero and rule.flow in (arithmetic.reduced_sum, arithmetic.sum_of_powers):
            flow.bare.update(face.keys)
        elif face:
            flow.labels.fix(face.labels, f"a weight is computed from all of it ({flow.place(node)})")
    faces = tuple(face and replace(face, zero=face.zero and rule.zero([True])) for face in faces)
    if rule.flow in (arithmetic.sum_of_powers, arithmetic.along_axes):
        return [faces]
    kept = tuple(None if axis in axes else face for axis, face in enumerate(faces))
    return [kept if len(shape) == len(faces) else tuple(face for axis, face in enumerate(kept) if axis not in axes)
            for shape in node.shapes]
