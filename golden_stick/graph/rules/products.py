"""Rules of operators that sum channels up and make new ones: convolutions and products of matrices."""
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from golden_stick.graph.flow import Flow, number
from golden_stick.graph.ir import Node, Parameter, Value, flatten
from golden_stick.graph.layers import CONVOLUTION, DENSE, OPERATORS, TRANSPOSED
from golden_stick.graph.rules.pointwise import CHANNELS_FIRST
from golden_stick.graph.types import CHANNEL, FILTER, INPUT, Labeled

__all__ = ["convolution", "transposed_convolution", "matrix_product", "dense_product", "einsum", "einsum_letters",
           "embedding"]


_COMPUTED = "the weight is computed, not a parameter"


def _unfit(flow: Flow, node: Node, weight: Parameter) -> str:
    """Why a convolution cannot be followed; '' if it can."""
    if len(node.shapes[0]) != len(weight.shape):
        return "a single sample, whose channels are on axis 0"
    if node.operator == "Convolution" and number(node.inputs[6]):
        return "a convolution that is transposed by a switch"
    axes, layout = flow.of(node.inputs[0]).axes, node.attributes.get("format", "NCHW")
    return "" if axes in ((), (1,)) and layout in CHANNELS_FIRST else "the channel axis is not axis 1"


def _bias(flow: Flow, node: Node, made: np.ndarray) -> None:
    """The bias that some operators add."""
    at = OPERATORS[node.operator].bias
    bias = node.inputs[at] if at is not None and len(node.inputs) > at else None
    if isinstance(bias, Parameter):
        flow.bind(bias, 0, made, CHANNEL)
    elif bias is not None and flow.graph.shape(bias) == made.shape:
        flow.labels.fix(made, f"meets a constant or computed vector ({flow.place(node)})")


def convolution(flow: Flow, node: Node) -> np.ndarray:
    """`weight` is (C_out, C_in / group, ...). Groups lose equal positions; a depthwise filter goes with its channel."""
    data, weight = flow.of(node.inputs[0]), node.inputs[1]
    if not isinstance(weight, Parameter):
        return flow.weights_stay(node, _COMPUTED)
    reason = _unfit(flow, node, weight)
    if reason:
        return flow.barrier(node, reason)
    group, filters, source = OPERATORS[node.operator].argument(node, "group", 1), weight.shape[0], data.along(1)
    if group == len(source) and group > 1:
        made = np.repeat(source, filters // group)
        flow.bind(weight, 0, made, CHANNEL)
    else:
        parts = source.reshape(group, -1)
        flow.labels.unite(parts[:1], parts)
        flow.sum_up(weight, 1, parts[0], CONVOLUTION, entering=source)
        made = flow.labels.fresh(filters)
        flow.labels.unite(made.reshape(group, -1)[:1], made.reshape(group, -1))
        flow.bind(weight, 0, made, FILTER)
    _bias(flow, node, made)
    return flow.on(1, made, len(node.shapes[0]))


def transposed_convolution(flow: Flow, node: Node) -> np.ndarray:
    """`weight` is (C_in, C_out / group, ...). Every group makes its channels by the same axis of the weight."""
    data, weight = flow.of(node.inputs[0]), node.inputs[1]
    if not isinstance(weight, Parameter):
        return flow.weights_stay(node, _COMPUTED)
    reason = _unfit(flow, node, weight)
    if reason:
        return flow.barrier(node, reason)
    group, source = OPERATORS[node.operator].argument(node, "group", 1), data.along(1)
    if group == len(source) and group > 1:
        # Every channel has filters of its own: they go with it, and none of a channel's filters goes alone.
        flow.bind(weight, 0, source, CHANNEL)
        made = np.repeat(source, weight.shape[1])
    else:
        parts = source.reshape(group, -1)
        flow.labels.unite(parts[:1], parts)
        flow.sum_up(weight, 0, source, TRANSPOSED)
        own = flow.labels.fresh(weight.shape[1])
        flow.bind(weight, 1, own, FILTER)
        made = np.tile(own, group)
    _bias(flow, node, made)
    return flow.on(1, made, len(node.shapes[0]))


def matrix_product(flow: Flow, node: Node) -> Labeled:
    """`x @ y`, either turned where the node says so: columns of x and rows of y are summed up."""
    first, second = node.inputs[:2]
    turned, other_turned = (bool(number(node.inputs[at])) if len(node.inputs) > at else False for at in (2, 3))
    ranks = [len(flow.graph.shape(value)) for value in (first, second)]
    if min(ranks) < 2:
        return Labeled(flow.barrier(node, "a product with a vector"), node.shapes[0])
    letters = ["".join(chr(ord("A") + axis) for axis in range(max(ranks) - rank, max(ranks) - 2)) for rank in ranks]
    left = letters[0] + ("km" if turned else "mk")
    right = letters[1] + ("nk" if other_turned else "kn")
    return _contract(flow, node, ((first, left), (second, right)), max(letters, key=len) + "mn")


def dense_product(flow: Flow, node: Node) -> Labeled:
    """mint's dense layer: `x @ weight.T + bias` over the last axis of x, whatever its rank."""
    rows = "".join(chr(ord("A") + axis) for axis in range(len(flow.graph.shape(node.inputs[0])) - 1))
    made = _contract(flow, node, ((node.inputs[0], rows + "k"), (node.inputs[1], "nk")), rows + "n")
    _bias(flow, node, made.labels.ravel() if made.axes else flow.none((1,)))
    return made


def einsum(flow: Flow, node: Node) -> Labeled:
    """A sum of products written in letters, such as ``'bqc,bkc->bqk'``."""
    values = flatten(node.inputs)
    terms, result = einsum_letters(node.attributes["equation"], [len(flow.graph.shape(value)) for value in values])
    if any(len(set(term)) < len(term) for term in terms):
        return Labeled(flow.barrier(node, "reads the diagonal of a tensor"), node.shapes[0])
    return _contract(flow, node, tuple(zip(values, terms)), result)


def einsum_letters(equation: str, ranks: Sequence[int]) -> Tuple[List[str], str]:
    """One letter an axis for each operand, and those of the result; axes under dots get letters of their own."""
    written, arrow, result = equation.replace(" ", "").partition("->")
    terms = written.split(",")
    if not arrow:
        joined = written.replace(",", "").replace(".", "")
        dots = "..." if "." in written else ""
        result = dots + "".join(sorted(letter for letter in set(joined) if joined.count(letter) == 1))
    hidden = [rank - len(term.replace(".", "")) for rank, term in zip(ranks, terms)]
    spare = "".join(chr(ord("\u0391") + axis) for axis in range(max(hidden)))
    # Operands with fewer axes under the dots have the last ones, as in broadcasting.
    terms = [term.replace("...", spare[len(spare) - count:]) for term, count in zip(terms, hidden)]
    return terms, result.replace("...", spare)


def _contract(flow: Flow, node: Node, operands: Tuple[Tuple[Value, str], ...], result: str) -> Labeled:
    """
    A product of tensors whose axes are named by letters; those missing in `result` are summed up.

    A letter that operands share is one axis: its channels belong together. Free axes of a weight make channels.
    """
    labels: Dict[str, List[Tuple[Labeled, np.ndarray]]] = {}
    for value, letters in operands:
        seen = flow.of(value)
        for axis in seen.axes:
            labels.setdefault(letters[axis], []).append((seen, seen.labels.ravel()))
    made: Dict[str, Labeled] = {}
    for letter in sorted({letter for _, letters in operands for letter in letters}):
        found = _meet(flow, node, operands, letter, labels.get(letter, ()), letter not in result)
        if found is not None and letter in result:
            made[letter] = found
    return _one_axis(flow, node, made, result)


def _meet(flow: Flow, node: Node, operands: Tuple[Tuple[Value, str], ...], letter: str,
          carriers: Sequence[Tuple[Labeled, np.ndarray]], summed: bool) -> Optional[Labeled]:
    """What the operands that have this axis say of its channels; None if nothing can be removed there."""
    holders = [(value, letters.index(letter)) for value, letters in operands if letter in letters]
    size = max(flow.graph.shape(value)[axis] for value, axis in holders)
    weights = [(value, axis) for value, axis in holders if isinstance(value, Parameter)]
    if not carriers:
        if len(weights) == 1 == len(holders) and not summed and len(weights[0][0].shape) == 2:
            own = flow.labels.fresh(size)
            flow.bind(*weights[0], own, FILTER)
            return Labeled(own, (size,), True)
        for weight, axis in weights:
            if summed:
                flow.bind(weight, axis, np.zeros(weight.shape[axis], np.int64), INPUT)
            else:
                flow.hold(weight)
        return None
    lead = carriers[0][1]
    for _, other in carriers[1:]:
        flow.labels.unite(lead, other)
    wide = [item for item in holders if flow.graph.shape(item[0])[item[1]] > 1]
    if len(wide) > len(carriers) + len(weights):
        flow.labels.fix(lead, f"meets a tensor that keeps its width ({flow.place(node)})")
    for weight, axis in weights:
        # In a Dense layer, the columns of the first operand are the Cell's input; turned, they are not.
        plain = operands[0][1][-1] == letter
        if summed:
            flow.sum_up(weight, axis, lead, DENSE if plain else None)
        elif weight.shape[axis] > 1:
            flow.bind(weight, axis, lead, CHANNEL)
        else:
            flow.hold(weight)
    if not weights:
        flow.attended.append(lead)
    if summed and not weights:
        flow.sum_up_values(node, [seen for seen, _ in carriers], lead)
    return Labeled(lead, (size,), bool(weights) or any(seen.zero for seen, _ in carriers))


def _one_axis(flow: Flow, node: Node, made: Dict[str, Labeled], result: str) -> Labeled:
    """Channels can go along one axis of a tensor only: that of a weight, or the last; another if that leaves none."""
    order = sorted(made, key=result.index, reverse=True)
    shape = node.shapes[0]
    if not order:
        return Labeled(flow.none(shape), shape)
    kept = order[min(flow.rejected_readings(node), len(order) - 1)]
    if len(order) > 1:
        flow.splits[node.number] = (made[kept].labels, flow.rejected_readings(node) + 1 < len(order))
    for letter, item in made.items():
        if letter != kept:
            flow.labels.fix(item.labels, f"channels of two axes meet ({flow.place(node)})")
    return Labeled(flow.on(result.index(kept), made[kept].labels, len(shape)), shape, made[kept].zero)


def embedding(flow: Flow, node: Node) -> np.ndarray:
    """A table of vectors, read by row: it makes the channels of the last axis."""
    table, shape = node.inputs[OPERATORS[node.operator].weight], node.shapes[0]
    if not isinstance(table, Parameter) or len(table.shape) != 2 or (
            node.operator == "Gather" and number(node.inputs[2]) != 0):
        return flow.barrier(node, "a table that is not read by its rows")
    made = flow.labels.fresh(table.shape[1])
    flow.bind(table, 1, made, FILTER)
    return flow.on(len(shape) - 1, made, len(shape))
