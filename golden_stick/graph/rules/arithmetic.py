"""Rules of operators that compute: number by number, over channels that they sum up, or over those that they mix."""
from typing import Dict, List, Optional, Sequence, Set, Tuple, Union

import numpy as np

from golden_stick.graph.flow import CHANNEL, FILTER, INPUT, Flow, Labeled, Site, axes_of, is_data, number
from golden_stick.graph.ir import Constant, Input, Node, Parameter, Result, Value, flatten
from golden_stick.graph.layers import CONVOLUTION, DENSE, LAYERS, NORMALIZATIONS, NORMALIZERS, OPERATORS, TRANSPOSED

__all__ = ["CHANNELS_FIRST", "MIXES", "along_axes", "channel_parameters", "control_flow", "convolution",
           "dense_product", "einsum", "einsum_letters", "elementwise", "first_input", "group_normalization",
           "layer_normalization", "lstm", "matrix_product", "recurrent", "reduced_sum", "reduction", "residual_sum",
           "sampled", "spatial", "sum_of_powers", "transposed_convolution"]


CHANNELS_FIRST = ("NCHW", "NCDHW")


def elementwise(flow: Flow, node: Node) -> np.ndarray:
    """Position by position: channels that meet belong together; an axis of length 1 is broadcast and binds nothing."""
    if flow.rejected_readings[node.number]:
        flow.pin(node)
    shape, values = node.shapes[0], flatten(node.inputs)
    rank = len(shape)
    carriers = [(value, flow.of(value)) for value in values if is_data(value)]
    axes = {axis + rank - len(seen.shape) for _, seen in carriers for axis in seen.axes}
    if len(axes) > 1:
        return flow.barrier(node, "channels of two axes meet")
    if not axes:
        return _of_parameters(flow, node, values)
    axis = axes.pop()
    lead = next(seen.labels for _, seen in carriers if seen.axes).ravel()
    for value in values:
        seen = flow.of(value)
        own = axis - rank + len(seen.shape)
        if own < 0 or seen.shape[own] == 1:
            flow.hold(value)
        elif flow.is_weight(value):
            flow.bind(value, own, lead, CHANNEL)
        elif seen.axes:
            flow.labels.unite(lead, seen.labels.ravel())
        elif flow.fills(node, value):
            flow.reads(node, lead)
        else:
            what = ("a constant" if isinstance(value, Constant) else
                    "the network's input" if isinstance(value, Input) else "a tensor that keeps its width")
            flow.labels.fix(lead, f"meets {what} ({flow.place(node)})")
    return flow.on(axis, lead, rank)


def _of_parameters(flow: Flow, node: Node, values: Tuple[Value, ...]) -> np.ndarray:
    """No feature map with channels takes part: a vector of weights, scaled or shifted, is still one."""
    vectors = [value for value in values if isinstance(value, Parameter)]
    others = [value for value in values if not isinstance(value, Parameter)]
    if len(vectors) == 1 and vectors[0].shape == node.shapes[0] and all(isinstance(item, Constant) for item in others):
        return flow.of_vector(vectors[0]).labels
    return flow.barrier(node, "nothing to prune meets a parameter")


def residual_sum(flow: Flow, node: Node) -> np.ndarray:
    """A sum. Where two feature maps of different channels meet, the residual policy decides."""
    operands = [(value, flow.of(value)) for value in flatten(node.inputs) if is_data(value)]
    maps = [seen.labels for _, seen in operands if seen.axes]
    if flow.residual == "group" or not maps or any(seen.shape != node.shapes[0] for _, seen in operands):
        return elementwise(flow, node)
    if len(operands) == 1 or (len(maps) == len(operands) and all(np.array_equal(maps[0], other) for other in maps)):
        return elementwise(flow, node)
    if flow.rejected_readings[node.number]:
        flow.pin(node)
    stream = f"residual stream that keeps its width ({flow.place(node)})"
    if flow.residual == "scatter":
        # The paper prunes the block's convolutions and leaves the shortcut alone: the deepest operand is the branch.
        branch, seen = max(operands, key=lambda operand: flow.depth(operand[0]))
        site = _scatter_site(flow, branch) if seen.axes == (1,) else None
        if site is not None:
            flow.scatters.append(Site(site, len(seen.shape) - 2, seen.labels.ravel()))
            operands = [operand for operand in operands if operand[0] != branch]
    for _, seen in operands:
        flow.labels.fix(seen.labels, stream)
    return flow.none(node.shapes[0])


def _scatter_site(flow: Flow, value: Value) -> Optional[str]:
    """Path of the Cell whose output is `value` and nothing else, read by one node only; else None."""
    if not isinstance(value, Result) or len(flow.consumers.get(value, ())) != 1:
        return None
    node = flow.graph.nodes[value.node]
    held = [item for item in node.inputs if isinstance(item, Parameter) and item.owners]
    if not held or len(held[0].owners) != 1:
        return None
    owner = held[0].owners[0]
    readers = [other for other in flow.graph.nodes if other.operator == node.operator and held[0] in other.inputs]
    # A Cell that runs twice would scatter both of its outputs, and only one of them is known to need it.
    known = owner.kind in LAYERS or owner.kind in NORMALIZATIONS and NORMALIZATIONS[owner.kind].over == "batch"
    return owner.path if known and len(readers) == 1 else None


def channel_parameters(flow: Flow, node: Node) -> Union[np.ndarray, Labeled]:
    """Batch normalization, bias, PReLU: every parameter holds one number per channel of axis 1, or one for all."""
    data = flow.of(node.inputs[0])
    if node.attributes.get("format", "NCHW") not in CHANNELS_FIRST:
        return flow.barrier(node, "the channel axis is not axis 1")
    if data.axes not in ((), (1,)):
        # What can go lies along another axis, whose positions are all treated alike; but none of them is zero then.
        return Labeled(data.labels, data.shape)
    channels = data.along(1)
    for value in node.inputs[1:]:
        if isinstance(value, Parameter) and value.shape == (len(channels),):
            flow.bind(value, 0, channels, CHANNEL)
        elif isinstance(value, Parameter):
            flow.hold(value)
        elif is_data(value) and flow.of(value).axes:
            flow.labels.unite(channels, flow.of(value).labels.ravel())
        elif flow.graph.shape(value) == (len(channels),):
            flow.labels.fix(channels, f"meets a constant or computed vector ({flow.place(node)})")
    return flow.on(1, channels, len(data.shape))


def spatial(flow: Flow, node: Node) -> np.ndarray:
    """Pooling and resizing work on every channel of axis 1 alone."""
    data = flow.of(node.inputs[0])
    if data.axes not in ((), (1,)) or node.attributes.get("format", "NCHW") not in CHANNELS_FIRST:
        return flow.barrier(node, "the channel axis is not axis 1")
    return data.labels


def sampled(flow: Flow, node: Node) -> np.ndarray:
    """Samples of every channel of axis 1, all at the places that the other inputs say; of groups, each at its own."""
    for value in node.inputs[1:]:
        if is_data(value):
            flow.labels.fix(flow.of(value).labels, f"says where channels are read ({flow.place(node)})")
        elif isinstance(value, Parameter):
            flow.hold(value)
    labels = spatial(flow, node)
    parts = flow.of(node.inputs[0]).along(1).reshape(node.attributes.get("deformable_groups", 1), -1)
    flow.labels.unite(parts[:1], parts)
    return labels


def first_input(flow: Flow, node: Node) -> np.ndarray:
    """One number to one number: activations, casts, dropout in evaluation."""
    return flow.of_vector(node.inputs[0]).labels


def _weight(flow: Flow, node: Node) -> Union[Value, np.ndarray]:
    """The weight of a convolution, or the barrier that stands where it cannot be followed."""
    weight, data = node.inputs[1], flow.of(node.inputs[0])
    axes = data.axes
    if not flow.is_weight(weight):
        computed = isinstance(weight, Result) and weight.node in flow.moving
        return flow.barrier(node, "the weight is computed from what the network reads" if computed else
                            "the weight is computed, not a parameter")
    if len(node.shapes[0]) != len(flow.graph.shape(weight)):
        return flow.barrier(node, "a single sample, whose channels are on axis 0")
    if node.operator == "Convolution" and number(node.inputs[6]):
        return flow.barrier(node, "a convolution that is transposed by a switch")
    if node.attributes.get("format", "NCHW") not in CHANNELS_FIRST:
        return flow.barrier(node, "the channel axis is not axis 1")
    if axes not in ((), (1,)):
        # What it makes has channels of its own all the same.
        flow.labels.fix(data.labels, f"the channel axis is not axis 1 ({flow.place(node)})")
    return weight


def _bias(flow: Flow, node: Node, made: np.ndarray) -> None:
    """The bias that some operators add."""
    at = OPERATORS[node.operator].bias
    bias = node.inputs[at] if at is not None and len(node.inputs) > at else None
    if isinstance(bias, Parameter):
        flow.bind(bias, 0, made, CHANNEL)
    elif bias is not None and flow.of(bias).axes:
        flow.labels.unite(flow.of(bias).labels.ravel(), made)
    elif bias is not None and flow.graph.shape(bias) == made.shape:
        flow.labels.fix(made, f"meets a constant or computed vector ({flow.place(node)})")


def convolution(flow: Flow, node: Node) -> Union[np.ndarray, Labeled]:
    """`weight` is (C_out, C_in / group, ...). Groups lose equal positions; a depthwise filter goes with its channel."""
    data, weight = flow.of(node.inputs[0]), _weight(flow, node)
    if isinstance(weight, np.ndarray):
        return weight
    group, source = OPERATORS[node.operator].argument(node, "group", 1), data.along(1)
    filters = flow.graph.shape(weight)[0]
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
    return Labeled(flow.on(1, made, len(node.shapes[0])), node.shapes[0], flow.is_zero_with(weight, 0))


def transposed_convolution(flow: Flow, node: Node) -> Union[np.ndarray, Labeled]:
    """`weight` is (C_in, C_out / group, ...). Every group makes its channels by the same axis of the weight."""
    data, weight = flow.of(node.inputs[0]), _weight(flow, node)
    if isinstance(weight, np.ndarray):
        return weight
    group, source = OPERATORS[node.operator].argument(node, "group", 1), data.along(1)
    filters = flow.graph.shape(weight)[1]
    if group == len(source) and group > 1:
        # Every channel has filters of its own: they go with it, and none of a channel's filters goes alone.
        flow.bind(weight, 0, source, CHANNEL)
        made = np.repeat(source, filters)
    else:
        parts = source.reshape(group, -1)
        flow.labels.unite(parts[:1], parts)
        flow.sum_up(weight, 0, source, TRANSPOSED)
        own = flow.labels.fresh(filters)
        flow.bind(weight, 1, own, FILTER)
        made = np.tile(own, group)
    _bias(flow, node, made)
    return Labeled(flow.on(1, made, len(node.shapes[0])), node.shapes[0], flow.is_zero_with(weight, 1))


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
    learned = _learned(flow, operands, result)
    seen = [learned if learned and not at else flow.of(value) for at, (value, _) in enumerate(operands)]
    labels: Dict[str, List[Tuple[Labeled, np.ndarray]]] = {}
    for item, (_, letters) in zip(seen, operands):
        for axis in item.axes:
            labels.setdefault(letters[axis], []).append((item, item.labels.ravel()))
    for (value, letters), (other, _) in zip(operands, operands[::-1]):
        if isinstance(other, Parameter) and letters[-1] not in (*labels, *result) and flow.fills(node, value):
            # Zeros that a weight sums up, such as the state that a recurrent layer begins with.
            own = flow.labels.fresh(flow.graph.shape(value)[-1])
            flow.reads(node, own)
            labels[letters[-1]] = [(Labeled(own, own.shape), own)]
    weights = [item for item in operands[bool(learned):] if flow.is_weight(item[0])]
    # A weight that holds several matrices, such as those of experts, makes channels by its last free axis alone.
    free = ([letter for letter in letters if letter in result and sum(letter in other for _, other in operands) == 1]
            for _, letters in weights)
    making = {max(letters, key=result.index) for letters in free if letters}
    made: Dict[str, Labeled] = {}
    for letter in sorted({letter for _, letters in operands for letter in letters}):
        holders, own_weights = ([(value, letters.index(letter)) for value, letters in items if letter in letters]
                                for items in (operands, weights))
        if letter in making:
            own = flow.labels.fresh(flow.graph.shape(own_weights[0][0])[own_weights[0][1]])
            flow.bind(*own_weights[0], own, FILTER)
            made[letter] = Labeled(own, own.shape, flow.is_zero_with(*own_weights[0]))
        elif letter in labels:
            # In a Dense layer, the columns of the first operand are the Cell's input; turned, they are not.
            plain = operands[0][1][-1] == letter
            found = _meet(flow, node, holders, own_weights, labels[letter], (letter not in result, plain))
            made.update({letter: found} if letter in result else {})
        else:
            for weight, axis in own_weights:
                still = np.zeros(flow.graph.shape(weight)[axis], np.int64)
                flow.bind(weight, axis, still, CHANNEL if letter in result else INPUT)
    return _one_axis(flow, node, made, result)


def _learned(flow: Flow, operands: Tuple[Tuple[Value, str], ...], result: str) -> Optional[Labeled]:
    """What a weight is that another is multiplied by, such as queries that are learned: data, whose last axis it makes
    itself. None where data meet weights."""
    value, letters = operands[0]
    if len(operands) < 2 or letters[-1] in result or not all(flow.is_weight(item) for item, _ in operands):
        return None
    axis, face = len(letters) - 1, flow.faces(value)[-1]
    if face is None:
        return None
    flow.bind(value, axis, face.labels, FILTER)
    return Labeled(flow.on(axis, face.labels, len(letters)), flow.graph.shape(value), face.zero)


def _meet(flow: Flow, node: Node, holders: Sequence[Tuple[Value, int]], weights: Sequence[Tuple[Value, int]],
          carriers: Sequence[Tuple[Labeled, np.ndarray]], summed: Tuple[bool, bool]) -> Labeled:
    """What the operands that have an axis, some of them weights, say of the channels that others carry along it.
    `summed`: whether these are summed up, and are the columns of the first operand."""
    lead = carriers[0][1]
    for _, other in carriers[1:]:
        flow.labels.unite(lead, other)
    wide = [item for item in holders if flow.graph.shape(item[0])[item[1]] > 1]
    if len(wide) > len(carriers) + len(weights):
        flow.labels.fix(lead, f"meets a tensor that keeps its width ({flow.place(node)})")
    for weight, axis in weights:
        if summed[0]:
            flow.sum_up(weight, axis, lead, DENSE if summed[1] else None)
        elif flow.graph.shape(weight)[axis] > 1:
            flow.bind(weight, axis, lead, CHANNEL)
        else:
            flow.hold(weight)
    if not weights:
        flow.attended.append(lead)
    if summed[0] and not weights:
        flow.sum_up_values(node, [seen for seen, _ in carriers], lead)
    return Labeled(lead, lead.shape, bool(weights) or any(seen.zero for seen, _ in carriers))


def _one_axis(flow: Flow, node: Node, made: Dict[str, Labeled], result: str) -> Labeled:
    """Channels can go along one axis of a tensor only: that of a weight, or the last; another if that leaves none."""
    order = sorted(made, key=result.index, reverse=True)
    shape = node.shapes[0]
    if not order:
        return Labeled(flow.none(shape), shape)
    kept = order[min(flow.rejected_readings[node.number], len(order) - 1)]
    if len(order) > 1:
        flow.splits[node.number] = (made[kept].labels, flow.rejected_readings[node.number] + 1 < len(order))
    for letter, item in made.items():
        if letter != kept:
            flow.labels.fix(item.labels, f"channels of two axes meet ({flow.place(node)})")
    return Labeled(flow.on(result.index(kept), made[kept].labels, len(shape)), shape, made[kept].zero)


MIXES = "mixes the channels"
_STATISTICS = frozenset({"ReduceMean", "MeanExt", "ReduceStd", "VarMean", "Var", "Std"})
_STATISTICS_CHANGE = "normalized over the channels, whose mean and variance would change"


def along_axes(flow: Flow, node: Node) -> np.ndarray:
    """Softmax, a running sum ... mix the positions of one axis, which must not be that of the channels."""
    data = flow.of(node.inputs[0])
    return flow.barrier(node, MIXES) if axes_of(node, len(data.shape)) & set(data.axes) else data.labels


def sum_of_powers(flow: Flow, node: Node) -> np.ndarray:
    """Division by a norm: over the channels, it is exact where a removed channel is zero."""
    data = flow.of(node.inputs[0])
    if axes_of(node, len(data.shape)) & set(data.axes):
        flow.sum_up_values(node, [data], data.labels.ravel())
    return data.labels


def reduction(flow: Flow, node: Node) -> np.ndarray:
    """A mean, maximum ... over axes that are not the channels'; or that of a normalization by hand."""
    data = flow.of(node.inputs[0])
    axes = axes_of(node, len(data.shape))
    if not axes & set(data.axes):
        return _without(data.labels, axes, node)
    by_hand = node.operator in _STATISTICS and flow.graph.meets_again(node, flow.consumers)
    if not by_hand or not flow.approximate:
        return flow.barrier(node, _STATISTICS_CHANGE if by_hand else MIXES)
    flow.inexact.append((flow.place(node), data.labels.ravel()))
    return flow.none(node.shapes[0])


def reduced_sum(flow: Flow, node: Node) -> np.ndarray:
    """A sum or norm over any axes; over the channels, it is exact where a removed channel is zero."""
    data = flow.of(node.inputs[0])
    axes = axes_of(node, len(data.shape), 2 if node.operator == "LinalgVectorNorm" else 1)
    if axes & set(data.axes):
        flow.sum_up_values(node, [data], data.labels.ravel())
        return flow.none(node.shapes[0])
    return _without(data.labels, axes, node)


def _without(labels: np.ndarray, axes: Set[int], node: Node) -> np.ndarray:
    return labels if len(node.shapes[0]) == labels.ndim else np.squeeze(labels, tuple(sorted(axes)))


def layer_normalization(flow: Flow, node: Node) -> np.ndarray:
    """Mean and variance over the last axes. Over channels they change with every one that goes."""
    data = flow.of(node.inputs[0])
    rank = len(data.shape)
    parameters = [value for value in node.inputs[1:] if isinstance(value, Parameter)]
    first = rank - max((len(value.shape) for value in parameters), default=rank)
    learned = flow.is_weight(node.inputs[0])
    if not any(axis >= first for axis in data.axes) and not learned:
        return data.labels
    if not flow.approximate or learned:
        return flow.barrier(node, _STATISTICS_CHANGE)
    for value in parameters:
        flow.bind(value, data.axes[0] - first, data.labels.ravel(), CHANNEL)
    flow.inexact.append((flow.place(node), data.labels.ravel()))
    return data.labels


def group_normalization(flow: Flow, node: Node) -> np.ndarray:
    """Mean and variance over groups of channels: whole groups can go; of one channel, those of its group change."""
    data, count = flow.of(node.inputs[0]), number(node.inputs[1])
    if not data.axes:
        return data.labels
    if data.axes != (1,) or (count == 1 and not flow.approximate) or flow.rejected_readings[node.number]:
        return flow.barrier(node, "normalized over groups of channels, whose mean and variance would change")
    channels = data.labels.ravel()
    rows = channels.reshape(count, -1)
    scale = node.inputs[NORMALIZERS["GroupNorm"].gamma]
    if flow.approximate:
        flow.labels.unite(rows[:1], rows)
        flow.inexact.append((flow.place(node), channels))
    else:
        flow.labels.unite(rows[:, :1], rows)
        flow.counts[node.number] = 1, None, rows[:, 0]
        flow.reads(node, rows[:, 0])
        if isinstance(scale, Parameter) and scale.owners and scale.owners[0].kind in NORMALIZATIONS:
            flow.attributes.append((scale.owners[0], NORMALIZATIONS[scale.owners[0].kind].groups, rows[:, 0]))
    for value in node.inputs[2:]:
        if isinstance(value, Parameter):
            flow.bind(value, 0, channels, CHANNEL)
    return data.labels


def lstm(flow: Flow, node: Node) -> Union[np.ndarray, Tuple[np.ndarray, ...]]:
    """MindSpore's, of one layer and direction: its weights are packed into one, four gates beneath each other."""
    data, packed = flow.of(node.inputs[0]), _unpacked(flow, node.inputs[3]) if len(node.inputs) == 4 else []
    if not packed or node.attributes.get("proj_size") or data.axes not in ((), (2,)):
        return flow.barrier(node, "a recurrent layer, whose widths stay")
    hidden = flow.labels.fresh(node.shapes[0][2])
    gates = np.tile(hidden, 4)
    for state in node.inputs[1:3]:
        seen = flow.of(state)
        if seen.axes == (2,):
            flow.labels.unite(hidden, seen.labels.ravel())
        elif not seen.axes and flow.fills(node, state):
            flow.reads(node, hidden)
        else:
            flow.labels.fix(hidden, f"begins with a state that keeps its width ({flow.place(node)})")
    for (weight,), entering in zip(packed[:2], (data.along(2), hidden)):
        flow.bind(weight, 0, gates, FILTER)
        flow.sum_up(weight, 1, entering, None)
    for bias in packed[2] if len(packed) == 3 else ():
        flow.bind(bias, 0, gates, CHANNEL)
    states = tuple(flow.on(2, hidden, 3) for _ in range(3))
    return states + tuple(flow.none(shape) for shape in node.shapes[3:])


def _unpacked(flow: Flow, value: Value) -> List[Tuple[Parameter, ...]]:
    """The weights that are joined in one: weights of inputs, of the hidden state, biases; empty if it is otherwise."""
    found: List[Tuple[Parameter, ...]] = []
    values = [value]
    while values:
        value = values.pop(0)
        node = flow.graph.nodes[value.node] if isinstance(value, Result) else None
        if isinstance(value, Parameter):
            found.append((value,))
        elif node and node.operator == "Concat":
            values = [*flatten(node.inputs[:-1]), *values]
        elif node and node.operator in ("Reshape", "Cast"):
            values.insert(0, node.inputs[0])
        elif node and node.operator == "Add" and all(isinstance(item, Parameter) for item in node.inputs):
            found.append(tuple(item for item in node.inputs if isinstance(item, Parameter)))
        else:
            return []
    ranks = [len(item.shape) for items in found for item in items[:1]]
    return found if ranks in ([2, 2], [2, 2, 1]) else []


def recurrent(flow: Flow, node: Node) -> np.ndarray:
    """LSTM, GRU and the like hold all weights in one, and read their own outputs: their widths stay."""
    return flow.barrier(node, "a recurrent layer, whose widths stay")


def control_flow(flow: Flow, node: Node) -> np.ndarray:
    """A branch or loop: what it reads stays, and so do the weights in it."""
    return flow.barrier(node, "enters control flow that a tensor's values decide")
