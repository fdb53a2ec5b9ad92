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
_FIRST_INPUT = "return flow.of(node.inputs[0]).labels\n\n\ndef _table"


def _rule(what, old, new="pass"):
    return Mutant(what, "graph/rules.py", old, new, GRAPH)


def _flow(what, old, new="pass"):
    return Mutant(what, "graph/flow.py", old, new, GRAPH)


def _labels(what, old, new="pass"):
    return Mutant(what, "graph/labels.py", old, new, GRAPH)


RULE_MUTANTS = (
    _rule("elementwise: what meets is not united", "flow.labels.unite(lead, seen.labels.ravel())"),
    _rule("elementwise: a constant of channel width fixes nothing",
          'flow.labels.fix(lead, f"meets {what} ({flow.place(node)})")'),
    _rule("elementwise: parameters are not bound", "flow.bind(value, own, lead, CHANNEL)"),
    _rule("elementwise: an axis of length 1 binds", "if own < 0 or seen.shape[own] == 1:", "if own < 0:"),
    _rule("elementwise: channels of two axes may meet", "if len(axes) > 1:", "if False:"),
    _rule("residual_sum: scatter takes the shallow operand", "branch, seen = max(", "branch, seen = min("),
    _rule("residual_sum: keep behaves as group", 'if flow.residual == "group" or', 'if flow.residual != "scatter" or'),
    _rule("residual_sum: the stream is not fixed", "flow.labels.fix(seen.labels, stream)"),
    _rule("residual_sum: a map added to itself is a stream", "if len(operands) == 1 or (", "if False and ("),
    _rule("convolution: groups of the input are not united", "flow.labels.unite(parts[:1], parts)"),
    _rule("convolution: groups of the output are not united",
          "flow.labels.unite(made.reshape(group, -1)[:1], made.reshape(group, -1))"),
    _rule("convolution: the multiplier runs outermost", "made = np.repeat(source,", "made = np.tile(source,"),
    _rule("convolution: grouped ones are plain", "if group == len(source) and group > 1:",
          "if group == len(source) and group > 1 and filters == group:"),
    _rule("convolution: the input is not masked", "flow.mask_input(node, weight, source, _CONVOLUTION_CELLS)"),
    _rule("convolution: the input axis is not bound", "flow.bind(weight, 1, parts[0], INPUT)"),
    _rule("convolution: channels last is accepted",
          'return flow.barrier(node, "the channel axis is not axis 1")\n    group,', "pass\n    group,"),
    _rule("matrix_product: the weight is read the other way", "(0, 1) if weight_turned else (1, 0)",
          "(1, 0) if weight_turned else (0, 1)"),
    _rule("matrix_product: the input is not masked", "flow.mask_input(node, weight, source, _DENSE_CELLS)"),
    _rule("matrix_product: the input axis is not bound", "flow.bind(weight, input_axis, source, INPUT)"),
    _rule("matrix_product: turned data is taken as it is", "or turned or data.axes not in", "or data.axes not in"),
    _rule("channel_parameters: vectors are not bound", "flow.bind(value, 0, channels, CHANNEL)"),
    _rule("channel_parameters: a constant vector fixes nothing",
          'flow.labels.fix(channels, f"meets a constant or computed vector ({flow.place(node)})")'),
    _rule("spatial: channels last is accepted",
          'return flow.barrier(node, "the channel axis is not axis 1")\n    return data', "pass\n    return data"),
    _rule("along_one_axis: softmax over the channels passes", "axis % len(data.shape) in data.axes:", "False:"),
    _rule("reduction: a sum over the channels passes", "if axes & set(data.axes):", "if False:"),
    _rule("reduction: axes are not counted from the end", "axes = {axis % rank for axis in axes}",
          "axes = {max(axis, 0) for axis in axes}"),
    _rule("reshape: labels run backwards", "inner = full.reshape(", "inner = np.flip(full).reshape("),
    _rule("reshape: channels may be split", "if sum(size > 1 for size in labels.shape) > 1:", "if False:"),
    _rule("transpose: the order is inverted", "np.transpose(flow.of(node.inputs[0]).labels, number(node.inputs[1]))",
          "np.transpose(flow.of(node.inputs[0]).labels, np.argsort(number(node.inputs[1])))"),
    _rule("concat: parts in the wrong order", "for item in seen]), len(node.shapes[0])",
          "for item in seen[::-1]]), len(node.shapes[0])"),
    _rule("concat: along another axis passes", "or any(item.axes not in ((), (axis,)) for item in seen)", ""),
    _rule("strided_slice: the end of a slice is not looked at", "if not (whole_begin and whole_end and",
          "if not (whole_begin and"),
    _rule("strided_slice: a stride over the channels passes", "and strides[axis] == 1) or shrink", ") or shrink"),
    _rule("strided_slice: dropped axes stay", "return np.squeeze(data.labels, dropped) if dropped else data.labels",
          "return data.labels"),
    _rule("pad: padded channels can go", "for edge in edges:", "for edge in ():"),
    _rule("pad: all of it goes behind", "(edges[0], data.labels.ravel(), edges[1])",
          "(data.labels.ravel(), edges[0], edges[1])"),
    _rule("pad: pairs count from the first axis", "+ pairs[::-1]", "+ pairs"),
    _rule("first_input: labels are lost", _FIRST_INPUT, "return flow.none(node.shapes[0])\n\n\ndef _table"),
)

WALK_MUTANTS = (
    _flow("an operator without a rule passes", "made = self.barrier(node, f\"operator '{node.operator}' has no rule\")",
          "made = self.of(node.inputs[0]).labels"),
    _flow("an operator without a rule is not reported", "self.without_rule.append(node)"),
    _flow("outputs are not fixed", 'self.labels.fix(self.of(value).labels, "output of the network")'),
    _flow("parameters that others read may shrink", "if name in self._held:", "if False:"),
    _flow("a second binding is not united", "self.labels.unite(self.bindings[key].labels, labels)"),
    _flow("a branch that is read twice is scattered", "or len(self._consumers.get(value, ())) != 1:", ":"),
    _flow("a Cell that runs twice is scattered", "in _CELLS_WITH_OUTPUT and len(readers) == 1 else",
          "in _CELLS_WITH_OUTPUT else"),
    _flow("a reader that cannot be masked is let through",
          "self.labels.fix(labels, f\"read by a Cell", "str(f\"read by a Cell"),
    _flow("depth counts no layers", "self.depth(deepest)) + bool(owned)", "self.depth(deepest)) + 1"),
    _labels("unions are forgotten", "edges = np.concatenate(pairs, axis=1) if pairs else", "edges ="),
    _labels("a union with a fixed label fixes nothing", "fixed[classes[half.max(axis=0)]] = True"),
    _labels("the fixed label joins what it fixes", "inner = edges[:, (edges != FIXED).all(axis=0)]", "inner = edges"),
    _labels("a single channel can be removed", "if count < 2:", "if count < 1:"),
    _labels("fixing spreads to one member only", "members = np.unique(classes[labels])", "members = np.unique(labels)"),
    Mutant("layers that share channels are not ranked together", "graph/groups.py", "merged[second] = first", "pass",
           GRAPH),
    Mutant("an unknown residual policy is accepted", "graph/groups.py", "if residual not in RESIDUAL_POLICIES:",
           "if False:", GRAPH),
    Mutant("masks are listed for nothing", "graph/groups.py", "if (channels >= 0).any():\n            sites",
           "if True:\n            sites", GRAPH),
    Mutant("cost is that of the whole batch", "graph/cost.py", "return total // graph.inputs[0].shape[0]",
           "return total", GRAPH),
    Mutant("moving statistics count as parameters", "graph/cost.py", "if item.name not in buffers", "", GRAPH),
    Mutant("a bias hides the normalization", "graph/walk.py", '"BiasAdd", "Squeeze"', '"Squeeze"', GRAPH),
)
