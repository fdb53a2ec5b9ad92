"""Ways to get the ground floor wrong: each rule, and each step from labels to groups, once or more."""
from typing import NamedTuple


class Mutant(NamedTuple):
    """In `file` of the package, `old` (which stands there once) becomes `new`; some test in `tests` must fail."""

    what: str
    file: str
    old: str
    new: str
    tests: str


GRAPH = "tests/graph"


def _in(file):
    def mutant(what, old, new="pass"):
        return Mutant(what, f"graph/rules/{file}.py", old, new, GRAPH)
    return mutant


_pointwise, _products, _shapes, _mixing = _in("pointwise"), _in("products"), _in("shapes"), _in("mixing")


def _flow(what, old, new="pass"):
    return Mutant(what, "graph/flow.py", old, new, GRAPH)


def _labels(what, old, new="pass"):
    return Mutant(what, "graph/labels.py", old, new, GRAPH)


RULE_MUTANTS = (
    _pointwise("elementwise: what meets is not united", "flow.labels.unite(lead, seen.labels.ravel())"),
    _pointwise("elementwise: a constant of channel width fixes nothing",
               'flow.labels.fix(lead, f"meets {what} ({flow.place(node)})")'),
    _pointwise("elementwise: parameters are not bound", "flow.bind(value, own, lead, CHANNEL)"),
    _pointwise("elementwise: an axis of length 1 binds", "if own < 0 or seen.shape[own] == 1:", "if own < 0:"),
    _pointwise("elementwise: channels of two axes may meet", "if len(axes) > 1:", "if False:"),
    _pointwise("residual_sum: scatter takes the shallow operand", "branch, seen = max(", "branch, seen = min("),
    _pointwise("residual_sum: keep behaves as group", 'if flow.residual == "group" or',
               'if flow.residual != "scatter" or'),
    _pointwise("residual_sum: the stream is not fixed", "flow.labels.fix(seen.labels, stream)"),
    _pointwise("residual_sum: a map added to itself is a stream", "if len(operands) == 1 or (", "if False and ("),
    _pointwise("channel_parameters: vectors are not bound", "flow.bind(value, 0, channels, CHANNEL)"),
    _pointwise("channel_parameters: a constant vector fixes nothing",
               'flow.labels.fix(channels, f"meets a constant or computed vector ({flow.place(node)})")'),
    _pointwise("channel_parameters: zero is kept along another axis", "return Labeled(data.labels, data.shape)",
               "return Labeled(data.labels, data.shape, data.zero)"),
    _pointwise("spatial: channels last is accepted",
               'return flow.barrier(node, "the channel axis is not axis 1")\n    return data.labels',
               "pass\n    return data.labels"),
    _pointwise("first_input: labels are lost", "return flow.of_vector(node.inputs[0]).labels",
               "return flow.none(node.shapes[0])"),
    _products("convolution: groups of the input are not united",
              "flow.labels.unite(parts[:1], parts)\n        flow.sum_up(weight, 1,", "flow.sum_up(weight, 1,"),
    _products("convolution: groups of the output are not united",
              "flow.labels.unite(made.reshape(group, -1)[:1], made.reshape(group, -1))"),
    _products("convolution: the multiplier runs outermost", "made = np.repeat(source, filters // group)",
              "made = np.tile(source, filters // group)"),
    _products("convolution: the input is neither masked nor bound",
              "flow.sum_up(weight, 1, parts[0], _CONVOLUTION_CELLS, entering=source)"),
    _products("convolution: the mask covers one group", "_CONVOLUTION_CELLS, entering=source)", "_CONVOLUTION_CELLS)"),
    _products("_readable: channels last is accepted", "and layout in CHANNELS_FIRST", ""),
    _products("transposed_convolution: groups of the input are not united",
              "flow.labels.unite(parts[:1], parts)\n        flow.sum_up(weight, 0,", "flow.sum_up(weight, 0,"),
    _products("transposed_convolution: groups make one channel after the other", "made = np.tile(own, group)",
              "made = np.repeat(own, group)"),
    _products("transposed_convolution: depthwise ones are plain",
              "if group == len(source) and group > 1:\n        # Every", "if False:\n        # Every"),
    _products("einsum_letters: axes under dots are the first ones", "spare[len(spare) - count:]", "spare[:count]"),
    _products("einsum: a diagonal is an axis", "len(set(term)) < len(term)", "False"),
    _products("matrix_product: the weight is read the other way", '("nk" if other_turned else "kn")',
              '("kn" if other_turned else "nk")'),
    _products("matrix_product: turned data is taken as it is", '("km" if turned else "mk")', '"mk"'),
    _products("dense_product: the bias is not bound", "    _bias(flow, node, made.labels.ravel() if",
              "    (made.labels if"),
    _products("_meet: operands are not united", "flow.labels.unite(lead, other)"),
    _products("_meet: a tensor without channels fixes nothing",
              'flow.labels.fix(lead, f"meets a tensor that keeps its width ({flow.place(node)})")'),
    _products("_meet: weights that sum up are not bound",
              "flow.sum_up(weight, axis, lead, _DENSE_CELLS if plain else {})"),
    _products("_meet: a product without weights needs no zeros",
              "flow.sum_up_values(node, [seen for seen, _ in carriers], lead)"),
    _products("_meet: the rows of a tied weight may shrink",
              "flow.bind(weight, axis, np.zeros(weight.shape[axis], np.int64), INPUT)"),
    _products("_one_axis: two axes may lose channels",
              'flow.labels.fix(item.labels, f"channels of two axes meet ({flow.place(node)})")'),
    _products("embedding: the table is not bound", "flow.bind(table, 1, made, FILTER)"),
    _shapes("reshape: labels run backwards", "inner = full.reshape(", "inner = full[::-1].reshape("),
    _shapes("reshape: split channels are not united",
            "flow.labels.unite(rows[:1], rows)\n    if node.operator", "if node.operator"),
    _shapes("reshape: a number that was refuted is tried for ever", "axis = readings[refuted]", "axis = readings[0]"),
    _shapes("_readings: the open axis is not preferred", "(axis != open_axis, -freedom[axis], -axis)",
            "(-freedom[axis], -axis)"),
    _shapes("transpose: the order is inverted", "return np.transpose(flow.of_vector(node.inputs[0]).labels, number(",
            "return np.transpose(flow.of_vector(node.inputs[0]).labels, np.argsort("
            "number(node.inputs[1]))) if True else (number("),
    _shapes("concat: parts in the wrong order", "[item.along(axis) for item in seen]",
            "[item.along(axis) for item in seen[::-1]]"),
    _shapes("stack: the new axis is not counted", "own + (axis <= own)", "own"),
    _shapes("unstack: channels may be taken apart", "if data.axes == (axis,):\n        flow.barrier",
            "if False:\n        flow.barrier"),
    _shapes("split: parts are not united", "flow.labels.unite(rows[:1], rows)\n    return tuple(", "return tuple("),
    _shapes("strided_slice: the end of a slice is not looked at", "if single or (first, last) != (0, size):",
            "if single or first != 0:"),
    _shapes("strided_slice: a stride over the channels passes", "single = strides[axis] != 1 or shrink >> axis & 1",
            "single = shrink >> axis & 1"),
    _shapes("strided_slice: dropped axes stay", "return np.squeeze(labels, dropped) if dropped else labels",
            "return labels"),
    _shapes("_part: parts are not united", "flow.labels.unite(rows[:1], rows)\n    return rows[first",
            "return rows[first"),
    _shapes("gather: channels may be picked", "if axis is None or axis % rank == own or flow.of",
            "if axis is None or flow.of"),
    _shapes("tile: copies go one by one", "np.tile(data.labels.ravel(), multiples[axis])",
            "flow.labels.fresh(data.shape[data.axes[0]] * multiples[axis])"),
    _shapes("broadcast_to: axes come last", "data.labels.reshape((1,) * (rank - len(data.shape)) + data.labels.shape)",
            "data.labels.reshape(data.labels.shape + (1,) * (rank - len(data.shape)))[::-1]"),
    _shapes("reverse: labels are not turned round", "return np.flip(data.labels, tuple(axes & set(data.axes)))",
            "return data.labels"),
    _shapes("roll: channels may be rolled", "if axes & set(data.axes):", "if False:"),
    _shapes("pad: padded channels can go", "flow.labels.fix(edge, f", "str(f"),
    _shapes("pad: all of it goes behind", "(edges[0], data.labels.ravel(), edges[1])",
            "(data.labels.ravel(), edges[0], edges[1])"),
    _shapes("_padding: pairs count from the first axis", "[(0, 0)] * (rank - len(pairs)) + pairs[::-1]",
            "pairs + [(0, 0)] * (rank - len(pairs))"),
    _mixing("along_axes: softmax over the channels passes",
            "return flow.barrier(node, _MIXES) if _axes(node, len(data.shape)) & set(data.axes) else data.labels",
            "return data.labels"),
    _mixing("sum_of_powers: a norm of what is not zero passes",
            "flow.sum_up_values(node, [data], data.labels.ravel())\n    return data.labels",
                                "pass\n    return data.labels"),
    _mixing("reduction: a mean over the channels passes",
            "return flow.barrier(node, _MIXES) if axes & set(data.axes) else _without", "return _without"),
    _mixing("reduced_sum: a sum of what is not zero passes",
            "flow.sum_up_values(node, [data], data.labels.ravel())\n        return flow.none",
            "return flow.none"),
    _mixing("layer_normalization: channels may go", "if not flow.approximate:", "if False:"),
    _mixing("group_normalization: channels may go", "if not flow.approximate or data.axes != (1,):", "if False:"),
    _mixing("group_normalization: groups are not united", "flow.labels.unite(rows[:1], rows)"),
    _mixing("recurrent: what is read may go", 'return flow.weights_stay(node, "a recurrent layer, whose widths stay")',
            "return flow.none(node.shapes[0])"),
    _mixing("control_flow: what is read may go",
            'return flow.weights_stay(node, "enters control flow that a tensor\'s values decide")',
            "return flow.none(node.shapes[0])"),
)

WALK_MUTANTS = (
    _flow("computed weights have no name", "isinstance(value, Parameter) and len(value.shape) > 1", "False"),
    _flow("an operator without a rule passes", "made, zero = self.barrier(",
          "made, zero = self.of(node.inputs[0]).labels, str("),
    _flow("an operator without a rule is not reported", "self.without_rule.append(node)"),
    _flow("outputs are not fixed", 'self.labels.fix(self.of(value).labels, "output of the network")'),
    _flow("parameters that others read may shrink", "if name in self._held:", "if False:"),
    _flow("a second binding is not united", "self.labels.unite(self.bindings[key].labels, labels)"),
    _flow("a branch that is read twice is scattered", "or len(self._consumers.get(value, ())) != 1:", ":"),
    _flow("a Cell that runs twice is scattered", "in _CELLS_WITH_OUTPUT and len(readers) == 1 else",
          "in _CELLS_WITH_OUTPUT else"),
    _flow("a reader that cannot be masked has no zeros either", "if kind not in trailing or again:", "if again:"),
    _flow("what is summed up without zeros may go", "if any(operand.zero for operand in operands):", "if True:"),
    _flow("layers that make summed up channels have no zeros", "self.zeroed.append(labels)"),
    _flow("depth counts no layers", "self.depth(deepest)) + bool(owned)", "self.depth(deepest)) + 1"),
    _labels("unions are forgotten", "edges = np.concatenate(pairs, axis=1) if pairs else", "edges ="),
    _labels("a union with a fixed label fixes nothing", "fixed[classes[half.max(axis=0)]] = True"),
    _labels("the fixed label joins what it fixes", "inner = edges[:, (edges != FIXED).all(axis=0)]", "inner = edges"),
    _labels("a single channel can be removed", "if count < 2:", "if count < 1:"),
    _labels("fixing spreads to one member only", "members = np.unique(classes[labels])", "members = np.unique(labels)"),
    Mutant("layers that share channels are not ranked together", "graph/groups.py", "merged[second] = first", "pass",
           GRAPH),
    Mutant("an unknown policy is accepted", "graph/groups.py", "if policy not in known:",
           "if False:", GRAPH),
    Mutant("masks are listed for nothing", "graph/groups.py", "if (channels >= 0).any():\n            sites",
           "if True:\n            sites", GRAPH),
    Mutant("cost is that of the whole batch", "graph/cost.py", "return total // graph.inputs[0].shape[0]",
           "return total", GRAPH),
    Mutant("moving statistics count as parameters", "graph/cost.py", "if item.name not in buffers", "", GRAPH),
    Mutant("a bias hides the normalization", "graph/walk.py", '"BiasAdd", "Squeeze"', '"Squeeze"', GRAPH),
)
