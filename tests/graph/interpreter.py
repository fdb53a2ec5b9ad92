"""
An oracle: a graph computed with numpy, masked and slim. If the labels are right, both give the same.

Operators that work number by number, or on each channel alone, are played by one function of their kind: the labels
cannot tell them apart. It maps 0 to 0 only where the table says so, so that a channel hidden in the wrong place shows.
"""
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, Mapping, Optional, Set

import numpy as np

from golden_stick.graph.flow import Flow, number
from golden_stick.graph.groups import Grouping, find_groups
from golden_stick.graph.ir import Constant, Graph, Input, Node, Parameter, Result, Solution, flatten
from golden_stick.graph.layers import OPERATORS
from golden_stick.graph.plan import KeptChannels, PruningPlan
from golden_stick.graph.rules import RULES
from golden_stick.graph.rules.arithmetic import _unpacked
from golden_stick.prune.plan import make_plan
from tests.graph.build import walk

REDUCTIONS = {"ReduceMean": np.mean, "MeanExt": np.mean, "ReduceMax": np.max, "ReduceMin": np.min,
              "ReduceProd": np.prod}


def activation(data: np.ndarray, keeps_zero: bool = False) -> np.ndarray:
    """Without the steepness that would blow roundings up."""
    return data / np.hypot(data, 1.0) if keeps_zero else np.hypot(data, 0.5)


def keeps_zero(node: Node, operands: int = 1) -> bool:
    return RULES[node.operator].zero([True] + [False] * (operands - 1))


def opaque(data: np.ndarray) -> np.ndarray:
    """Any function that mixes all positions of all axes but the first."""
    flat = data.reshape(len(data), -1)
    return (np.cumsum(flat, 1) / flat.shape[1]).reshape(data.shape)


def convolve(data: np.ndarray, weight: np.ndarray, group: int) -> np.ndarray:
    """Without padding and stride, by its definition, over any number of spatial axes."""
    axes = tuple(range(2, data.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(data, weight.shape[2:], axes)
    channels, filters = data.shape[1] // group, weight.shape[0] // group
    made = [np.tensordot(windows[:, part * channels:(part + 1) * channels],
                         weight[part * filters:(part + 1) * filters],
                         [(1, *(axis + len(axes) for axis in axes)), range(1, weight.ndim)])
            for part in range(group)]
    return np.moveaxis(np.concatenate(made, -1), -1, 1)


def along_channels(vector: np.ndarray, rank: int) -> np.ndarray:
    return vector.reshape((-1,) + (1,) * (rank - 2))


@dataclass
class Machine:
    """
    Runs a graph on full-size or slim parameters.

    Args:
        flow (Flow): Labels of every value, for the shapes that a slim reshape gives.
        solution (Solution): Classes of the labels.
        removed (set[int]): Classes that are gone; empty in the masked run, where `hide` does it.
        parameters (Mapping): Name -> array, sliced already.
        enter, leave (Callable): What happens to the input and the output of the Cell at a path.
    """

    flow: Flow
    solution: Solution
    removed: Set[int]
    parameters: Mapping[str, np.ndarray]
    enter: Callable[[str, np.ndarray], np.ndarray]
    leave: Callable[[str, np.ndarray], np.ndarray]

    def run(self, graph: Graph, data: Mapping[str, np.ndarray]) -> list:
        self.values: Dict[Result, np.ndarray] = {}
        self.data = data
        last = {self.path(node): node.number for node in graph.nodes if self.path(node) is not None}
        for node in graph.nodes:
            made = getattr(self, f"run_{RULES[node.operator].flow.__name__}")(node) if node.operator in RULES else \
                np.cumsum(self.read(node.inputs[0]), 1)
            if last.get(self.path(node)) == node.number:
                made = self.leave(self.path(node), made)
            for index, array in enumerate(made if isinstance(made, list) else [made]):
                self.values[Result(node.number, index)] = array
        return [self.read(value) for value in graph.outputs]

    @staticmethod
    def path(node: Node) -> Optional[str]:
        owned = [value for value in node.inputs if isinstance(value, Parameter) and value.owners]
        return owned[0].owners[0].path if owned else None

    def read(self, value):
        if isinstance(value, tuple):
            return [self.read(item) for item in value]
        if isinstance(value, Constant):
            return value.value
        if isinstance(value, Input):
            return self.data[value.name]
        return self.parameters[value.name] if isinstance(value, Parameter) else self.values[value]

    def slim_shape(self, node: Node) -> tuple:
        shape = list(node.shapes[0])
        for axis, labels in self.flow.shrinking(Result(node.number)):
            shape[axis] -= int(np.isin(self.solution.classes[labels], list(self.removed)).sum())
        return tuple(shape)

    def moved(self, node, ends):
        """Ends of a slice, as code has them that takes them from widths: they move with the channels before them."""
        value, made = node.inputs[0], []
        held = isinstance(value, Parameter)
        for axis, (at, size) in enumerate(zip(ends, self.flow.graph.shape(value))):
            face = self.flow.bindings.get((value.name, axis)) if held else self.flow.faces(value)[axis]
            at = int(at) % size if at < 0 else min(int(at), size)
            made.append(int((~np.isin(self.solution.classes[face.labels], list(self.removed)))[:at].sum()) if face
                        else at)
        return made

    def run_first_input(self, node):
        return activation(self.read(node.inputs[0]), keeps_zero(node))

    def run_spatial(self, node):
        data = self.read(node.inputs[0])
        mean = data.mean(tuple(range(2, data.ndim)), keepdims=True)
        return np.broadcast_to(activation(mean, keeps_zero(node)), data.shape[:2] + node.shapes[0][2:])

    run_sampled = run_spatial

    def run_elementwise(self, node):
        first, second = ([self.read(value) for value in node.inputs] + [0.5])[:2]
        zero = RULES[node.operator].zero
        if zero([False, True]):
            return first * second
        if zero([True, False]):
            return first / (np.abs(second) + 1.0)
        return first - 0.5 * second if zero([True, True]) else np.hypot(first, second + 0.5)

    def run_residual_sum(self, node):
        found = [self.read(value) for value in node.inputs]
        return sum(found[0]) if node.operator == "AddN" else found[0] + found[1]

    def run_convolution(self, node):
        data, weight = self.read(node.inputs[0]), self.read(node.inputs[1])
        group = self.groups(node)
        depthwise = group > 1 and group == self.flow.graph.shape(node.inputs[0])[1]
        data = self.enter(self.path(node), data)
        return self.biased(node, convolve(data, weight, data.shape[1] if depthwise else group))

    def run_embedding(self, node):
        return self.read(node.inputs[1])[self.read(node.inputs[0])]

    def groups(self, node):
        return OPERATORS[node.operator].argument(node, "group", 1)

    def biased(self, node, made):
        if len(node.inputs) < 3 or not isinstance(node.inputs[2], Parameter):
            return made
        bias = self.read(node.inputs[2])
        return made + (bias if node.operator == "Dense" else along_channels(bias, made.ndim))

    def run_transposed_convolution(self, node):
        """With a kernel of 1, each input channel spreads over its group's filters."""
        data, weight = self.enter(self.path(node), self.read(node.inputs[0])), self.read(node.inputs[1])
        depthwise = self.groups(node) == self.flow.graph.shape(node.inputs[0])[1] > 1
        group = data.shape[1] if depthwise else self.groups(node)
        parts = zip(np.split(data, group, 1), np.split(weight.reshape(weight.shape[:2]), group))
        return self.biased(node, np.concatenate([np.einsum("nc...,cf->nf...", *part) for part in parts], 1))

    def run_matrix_product(self, node):
        data, weight = self.read(node.inputs[0]), self.read(node.inputs[1])
        turned, weight_turned = ([self.read(value) for value in node.inputs[2:4]] + [False, False])[:2]
        data = np.swapaxes(data, -1, -2) if turned else data
        data = self.enter(self.path(node), data)
        return data @ (np.swapaxes(weight, -1, -2) if weight_turned else weight)

    def run_dense_product(self, node):
        data = self.enter(self.path(node), self.read(node.inputs[0]))
        return self.biased(node, data @ self.read(node.inputs[1]).T)

    def run_einsum(self, node):
        return np.einsum(node.attributes["equation"], *(self.read(value) for value in flatten(node.inputs)))

    def run_channel_parameters(self, node):
        data, vectors = self.read(node.inputs[0]), [self.read(value) for value in node.inputs[1:]]
        vectors = [along_channels(vector, data.ndim) for vector in vectors if isinstance(vector, np.ndarray)]
        if node.operator == "BatchNorm":
            scale, shift, mean, variance = vectors
            return (data - mean) / np.sqrt(variance + 1.0) * scale + shift
        if node.operator in ("BatchNormExt", "InstanceNorm"):
            return data * vectors[0] + vectors[1]
        return data + vectors[0] if node.operator == "BiasAdd" else np.where(data > 0, data, vectors[0] * data)

    def run_along_axes(self, node):
        data = np.exp(self.read(node.inputs[0]))
        axis = node.attributes.get("axis", self.read(node.inputs[1]) if len(node.inputs) > 1 else None)
        return data / data.sum(axis[0] if isinstance(axis, tuple) else axis, keepdims=True)

    def run_reduction(self, node):
        data, axes = self.read(node.inputs[0]), self.read(node.inputs[1])
        kept = len(node.shapes[0]) == data.ndim
        return REDUCTIONS.get(node.operator, np.sum)(data, axis=axes if axes != () else None, keepdims=kept)

    def run_reshape(self, node):
        if len(node.shapes[0]) == 3 and node.shapes[0][1:] == (1, 1):  # packs a weight
            return self.read(node.inputs[0]).reshape(-1, 1, 1)
        return self.read(node.inputs[0]).reshape(self.slim_shape(node))

    def run_transpose(self, node):
        return np.transpose(self.read(node.inputs[0]), self.read(node.inputs[1]))

    def run_reduced_sum(self, node):
        data = self.read(node.inputs[0])
        kept = len(node.shapes[0]) == data.ndim
        norm = node.operator in ("LpNorm", "LinalgVectorNorm")
        axes = self.read(node.inputs[2]) if node.operator == "LinalgVectorNorm" else self.axes(node)
        made = np.sum(data ** 2 if norm else data, axis=axes, keepdims=kept)
        return np.sqrt(made) if norm else made

    def run_sum_of_powers(self, node):
        data = self.read(node.inputs[0])
        return data / np.sqrt(np.sum(data ** 2, axis=self.axes(node), keepdims=True) + 0.1)

    def axes(self, node):
        axes = node.attributes.get("axis", self.read(node.inputs[1]) if len(node.inputs) > 1 else ())
        return tuple(axes) if np.ndim(axes) and np.size(axes) else None if axes == () else axes

    def run_layer_normalization(self, node):
        data, scale = self.read(node.inputs[0]), self.read(node.inputs[1])
        axes = tuple(range(data.ndim - scale.ndim, data.ndim))
        return (data - data.mean(axes, keepdims=True)) / (1 + data.std(axes, keepdims=True)) * scale

    def run_group_normalization(self, node):
        data, count, scale, shift = (self.read(value) for value in node.inputs)
        count = count * data.shape[1] // self.flow.graph.shape(node.inputs[0])[1]
        rows = data.reshape(len(data), count, -1)
        rows = (rows - rows.mean(2, keepdims=True)) / (1 + rows.std(2, keepdims=True))
        return rows.reshape(data.shape) * along_channels(scale, data.ndim) + along_channels(shift, data.ndim)

    def run_lstm(self, node):
        """From its weights, which the slim graph packs anew."""
        if len(node.inputs) < 4:
            return opaque(self.read(node.inputs[0]))
        data, hidden, cell = (self.read(value) for value in node.inputs[:3])
        inputs, states, *bias = ([self.read(item) for item in items] for items in _unpacked(self.flow, node.inputs[3]))
        width = states[0].shape[1]
        hidden, cell, made = hidden[0, :, :width], cell[0, :, :width], []
        for entering in data:
            gates = entering @ inputs[0].T + hidden @ states[0].T + sum(map(sum, bias))
            enter, forget, new, out = np.split(np.tanh(gates), 4, 1)
            cell = forget * cell + enter * new
            hidden = out * np.tanh(cell)
            made.append(hidden)
        return [np.stack(made), hidden[None], cell[None], np.zeros((1, 1)), np.zeros((1, 1))]

    def run_slice_of(self, node):
        data, begin, size = (self.read(value) for value in node.inputs)
        ends = self.moved(node, np.add(begin, size))
        return data[tuple(slice(*pair) for pair in zip(self.moved(node, begin), ends))]

    def run_depth_to_space(self, node):
        (n, c, h, w), b = self.read(node.inputs[0]).shape, node.attributes["block_size"]
        data = self.read(node.inputs[0]).reshape(n, b, b, c // b ** 2, h, w)
        return data.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b ** 2, h * b, w * b)

    def run_space_to_depth(self, node):
        (n, c, h, w), b = self.read(node.inputs[0]).shape, node.attributes["block_size"]
        data = self.read(node.inputs[0]).reshape(n, c, h // b, b, w // b, b)
        return data.transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b ** 2, h // b, w // b)

    def run_recurrent(self, node):
        return opaque(self.read(node.inputs[0]))

    def run_control_flow(self, node):
        return opaque(self.read(node.inputs[0]))

    def run_stack(self, node):
        return np.stack(self.read(node.inputs[0]), node.attributes["axis"])

    def run_unstack(self, node):
        data, axis = self.read(node.inputs[0]), node.attributes["axis"]
        return list(np.moveaxis(data, axis, 0))

    def run_split(self, node):
        return np.split(self.read(node.inputs[0]), self.read(node.inputs[2]), self.read(node.inputs[1]))

    def run_gather(self, node):
        return np.take(*(self.read(value) for value in node.inputs[:3]))

    def run_tile(self, node):
        return np.tile(self.read(node.inputs[0]), self.read(node.inputs[1]))

    def run_repeat(self, node):
        return np.repeat(self.read(node.inputs[0]), self.read(node.inputs[1]), self.read(node.inputs[2]))

    def run_channel_shuffle(self, node):
        data = self.read(node.inputs[0])
        groups = data.reshape(len(data), self.read(node.inputs[1]), -1, *data.shape[2:])
        return groups.swapaxes(1, 2).reshape(data.shape)

    def run_unfold(self, node):
        data = self.read(node.inputs[0])
        windows = np.lib.stride_tricks.sliding_window_view(data, (2, 2), (2, 3))  # (N, C, 3, 3, 2, 2)
        return windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(data), 4 * data.shape[1], -1)

    def run_gated(self, node):
        one, two = np.split(self.read(node.inputs[0]), 2, self.read(node.inputs[1]))
        return one * activation(two)

    def run_top(self, node):
        data, count = (self.read(value) for value in node.inputs[:2])
        axis = self.read(node.inputs[2]) if node.operator == "TopkExt" else -1
        return [np.sort(data, axis).take(range(-count, 0), axis), np.argsort(data, axis).take(range(-count, 0), axis)]

    def run_broadcast_to(self, node):
        return np.broadcast_to(self.read(node.inputs[0]), self.slim_shape(node))

    def run_reverse(self, node):
        return np.flip(self.read(node.inputs[0]), node.attributes["axis"])

    def run_roll(self, node):
        return np.roll(self.read(node.inputs[0]), node.attributes["shift"], node.attributes["axis"])

    def run_concat(self, node):
        return np.concatenate(self.read(node.inputs[0]), self.read(node.inputs[1]))

    def run_strided_slice(self, node):
        data = self.read(node.inputs[0])
        begin, end, strides, begin_mask, end_mask, ellipsis, new_axis, shrink = (number(v) for v in node.inputs[1:9])
        begin, end = self.moved(node, begin), self.moved(node, end)
        index = []
        for axis in range(len(begin)):
            if ellipsis >> axis & 1 or new_axis >> axis & 1:
                index.append(Ellipsis if ellipsis >> axis & 1 else np.newaxis)
            else:
                whole = slice(None if begin_mask >> axis & 1 else begin[axis],
                              None if end_mask >> axis & 1 else end[axis], strides[axis])
                index.append(begin[axis] if shrink >> axis & 1 else whole)
        return data[tuple(index)]

    def run_pad(self, node):
        data, paddings = self.read(node.inputs[0]), node.attributes.get("paddings")
        if node.operator == "MirrorPad":
            paddings = self.read(node.inputs[1])
        elif paddings is None:
            flat = np.ravel(self.read(node.inputs[1])).tolist()
            pairs = list(zip(flat[::2], flat[1::2]))
            paddings = [(0, 0)] * (data.ndim - len(pairs)) + pairs[::-1]
        cut = tuple(slice(max(-before, 0), size - max(-after, 0))
                    for size, (before, after) in zip(data.shape, paddings))
        usual = {"Refl": "reflect", "Repl": "edge"}.get(node.operator[:4], "constant")
        mode = node.attributes.get("mode", usual).lower()
        return np.pad(data[cut], [(max(before, 0), max(after, 0)) for before, after in paddings], mode)


def _hide(sites: Iterable[KeptChannels]) -> Callable[[str, np.ndarray], np.ndarray]:
    by_path = {site.path: site for site in sites}

    def hide(path, data):
        if path not in by_path:
            return data
        mask = np.zeros(by_path[path].size)
        mask[list(by_path[path].kept)] = 1.0
        return data * mask.reshape((-1,) + (1,) * by_path[path].trailing)
    return hide


def _widen(sites: Iterable[KeptChannels]) -> Callable[[str, np.ndarray], np.ndarray]:
    by_path = {site.path: site for site in sites}

    def widen(path, data):
        if path not in by_path:
            return data
        wide = np.zeros((data.shape[0], by_path[path].size) + data.shape[2:])
        wide[:, list(by_path[path].kept)] = data
        return wide
    return widen


def removed_channels(grouping: Grouping, plan: PruningPlan) -> Set[int]:
    """The channels that a plan removes, read off the axes that it cuts."""
    kept = {(axis.parameter, axis.axis): axis.kept for axis in plan.axes}
    gone = [np.delete(item.channels, kept[item.parameter, item.axis])
            for item in grouping.slices if (item.parameter, item.axis) in kept]
    return {int(channel) for channels in gone for channel in channels}


def assert_masked_equals_slim(graph: Graph, residual: str = "group", seed: int = 0) -> Grouping:
    """Remove random channels from a graph with random weights and compare; returns what `find_groups` found."""
    generator = np.random.default_rng(seed)
    flow, grouping = walk(graph, residual), find_groups(graph, residual)
    scores = {group.name: generator.random(len(group.channels)) for group in grouping}
    plan = make_plan(grouping, scores, generator.uniform(0.3, 0.9))
    full = {item.name: generator.uniform(0.2, 1.0, item.shape) for item in graph.parameters}
    slim, hidden = dict(full), dict(full)
    for axis in plan.zeros:
        keep = np.zeros(axis.size)
        keep[list(axis.kept)] = 1.0
        array = hidden[axis.parameter]
        hidden[axis.parameter] = array * keep.reshape((-1,) + (1,) * (array.ndim - axis.axis - 1))
    for axis in plan.axes:
        slim[axis.parameter] = slim[axis.parameter].take(axis.kept, axis.axis)
    data = {item.name: generator.normal(size=item.shape) for item in graph.inputs}
    solution, gone = flow.labels.solve(), removed_channels(grouping, plan)
    masked = Machine(flow, solution, set(), hidden, _hide(plan.masks), _hide(plan.scatters))
    smaller = Machine(flow, solution, gone, slim, lambda path, array: array, _widen(plan.scatters))
    for one, other in zip(masked.run(graph, data), smaller.run(graph, data)):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)
    return grouping
