"""
Which layers of a slim network read something else than they did in the original, how each of them sums up, what is
added to what it gives, as in residual networks, and what it is multiplied by, as queries are by keys.
"""
import math
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from golden_stick.criteria.least_squares import Geometry, geometry_of
from golden_stick.deploy.fold.plan import find_fusions
from golden_stick.graph.ir import Constant, Graph, Input, Node, Owner, Parameter, Result, flatten, segments_of
from golden_stick.graph.layers import (
    CONVOLUTION,
    DENSE,
    EMBEDDING,
    FILTERS,
    NORMALIZATIONS,
    NORMALIZERS,
    OPERATORS,
    TRANSPOSED,
    layer_of,
)
from golden_stick.graph.rules import RULES
from golden_stick.graph.rules.arithmetic import residual_sum
from golden_stick.recover.products import Meeting, Product, products_of

__all__ = ["Addend", "BiasPlace", "Keys", "Reader", "readers_of"]

Kept = Mapping[str, Mapping[int, Sequence[int]]]  # parameter -> axis -> the positions in the original that are left


@dataclass(frozen=True, eq=False)
class BiasPlace:
    """The parameter that a layer's bias is set in: its own, or the moving mean behind it, which is subtracted."""

    parameter: str
    sign: int = 1
    channels: Optional[np.ndarray] = None  # where the layer's channels stand in it; None if it has no others


@dataclass(frozen=True, eq=False)
class Keys:
    """
    The layer whose channels those of another are multiplied by, head by head, where nothing else is done with either.

    Args:
        weight, cell (str): Its weight, and the path of its Cell below the one that holds that weight.
        own, other (numpy.ndarray): Shape (heads, width): channels of the layer in the original, and those of the keys
            that they meet.
        kept (numpy.ndarray): Of the original's keys, those that are left.
    """

    weight: str
    cell: str
    own: np.ndarray
    other: np.ndarray
    kept: np.ndarray


@dataclass(frozen=True)
class Addend:
    """
    A feature map that is added to what a layer gives.

    Args:
        path, call (str, int): The Cell, and which of its calls, that reads it first or gives it.
        enters (bool): Whether the Cell reads it.
        normalization (tuple): Names of scale and variance of a batch normalization between the layer and the sum, and
            its epsilon; None if there is none.
    """

    path: str
    call: int
    enters: bool
    normalization: Optional[Tuple[str, str, float]]


@dataclass(frozen=True, eq=False)
class Reader:
    """
    A layer or normalization that reads what pruning changed.

    Args:
        name (str): The name of its weight, of a normalization its beta.
        path (str): The path of its Cell.
        stretch (int): As in `segments_of`.
        geometry (Geometry): How it sums up.
        columns, width (int): How many numbers a filter sums up, and how many channels there are.
        places (int): Of how many places of one batch it gives these channels, over all its calls.
        mixes (bool): Whether its weight is solved; False for what works channel by channel, where only a bias is.
        calls (int): How often it runs.
        kept (numpy.ndarray): Which channels of the original's output are left; None for all.
        bias (BiasPlace): None if there is none.
        addend (Addend): What is added to what it gives; None if nothing is, or it cannot be seen.
        part (Product): Where code reads the weight: the part of it that the Cell reads; None for all of it.
        keys (Keys): What it is multiplied by, if channels of both have gone; None if nothing is.
        reason (str): Why it cannot be solved; empty if it can.
    """

    name: str
    path: str
    stretch: int
    geometry: Geometry
    columns: int
    width: int
    places: int
    mixes: bool
    calls: int
    kept: Optional[np.ndarray]
    bias: Optional[BiasPlace]
    addend: Optional[Addend] = None
    part: Optional[Product] = None
    keys: Optional[Keys] = None
    reason: str = ""

    @property
    def cell(self) -> str:
        """The path of its Cell below the one that holds its weight; '' for that one."""
        return self.path[len(self.part.owner):] if self.part else ""


def readers_of(graph: Graph, kept: Kept, shapes: Mapping[str, Sequence[int]], counts: Mapping[str, int],
               met: Sequence[Tuple[Meeting, Meeting]] = ()) -> Tuple[Reader, ...]:
    """
    Those of a slim network's graph, in an order of execution. `kept` says what pruning has left of the original's
    parameters, which had these `shapes`; `counts` how often every Cell of the slim network is called; `met` which
    products meet in the original, and where in the slim network.
    """
    search = _Search(graph, kept, shapes, counts, met)
    found = [search.normalization(weight) if node.operator in NORMALIZERS else search.layer(weight, node)
             for weight, node in search.changed()]
    readers = list({(item.path, item.name, item.reason): item for item in found if item is not None}.values())
    means = {reader.bias.parameter for reader in readers if reader.bias and reader.bias.sign < 0}
    behind = {owner.path for item in graph.parameters if item.name in means for owner in item.owners}
    known = {reader.name for reader in readers}
    return (*(reader for reader in readers if reader.path not in behind),
            *(_left_out(item, "its weight is read by code of its own") for item in graph.parameters
              if item.name not in known and len(item.shape) > 1 and search.lost_inputs(item)))


def _left_out(weight: Parameter, reason: str) -> Reader:
    path = (weight.owners[0].path if weight.owners else "") or weight.name
    return Reader(weight.name, path, 0, Geometry(DENSE), 0, 0, 0, False, 0, None, None, reason=reason)


class _Search:
    """Questions to the graph of a slim network."""

    def __init__(self, graph: Graph, kept: Kept, shapes: Mapping[str, Sequence[int]], counts: Mapping[str, int],
                 met: Sequence[Tuple[Meeting, Meeting]]):
        self._graph, self._kept, self._shapes, self._counts = graph, kept, shapes, counts
        self._stretches, self._products, self._moving = segments_of(graph), products_of(graph), graph.moving()
        self._met = {(now.first.path, int(now.first.rows[0])): (before, now) for before, now in met
                     if now.own.shape[1] < before.own.shape[1]}
        fusions, _ = find_fusions(graph, lambda fusion: "")
        self._means: Dict[str, BiasPlace] = {}  # weight -> the moving mean behind it
        for fusion in fusions:
            for layer, channels in fusion.layers if fusion.before else ():
                self._means.setdefault(layer.weight, BiasPlace(fusion.normalization.parameters[2], -1, channels))

    def changed(self) -> List[Tuple[Parameter, Node]]:
        """Weights of layers, and betas of normalizations, that meet something else than in the original; and where."""
        changed: Set[int] = set()
        found: Dict[Any, Tuple[Parameter, Node]] = {}
        for node in self._graph.nodes:
            product, weight = self._products.get(node.number), _weight(node)
            coded = weight is None and product is not None
            weight = product.weight if product and weight is None else weight
            # A product of two feature maps has no weight: whether it lost channels does not show.
            if any(isinstance(value, Result) and value.node in changed for value in flatten(node.inputs)) \
                    or node.operator in OPERATORS and weight is None \
                    or weight is not None and node.operator in OPERATORS and self.lost_inputs(weight, product) \
                    or product is not None and self._keys(product) is not None:
                changed.add(node.number)
                if weight is not None:
                    found.setdefault(node.number if coded else weight, (weight, node))
        return list(found.values())

    def lost_inputs(self, weight: Parameter, product: Optional[Product] = None) -> bool:
        """Whether pruning has shortened the axis of a weight that sums up; any axis where that is not known."""
        axes, kind = self._kept.get(weight.name, {}), layer_of(weight)
        if kind is None and product is not None:
            return 1 - product.axis in axes
        return bool(axes) if kind is None else kind.form.input_axis in axes

    def layer(self, weight: Parameter, node: Node) -> Reader:
        """What is known of a layer that a node computes."""
        product = self._products.get(node.number)
        if product is not None and layer_of(weight) is None:
            return self._coded(product, node)
        kind, geometry = layer_of(weight), geometry_of(self._graph, weight)
        calls = [other for other in self._graph.nodes if weight in flatten(other.inputs)]
        if kind is None or geometry is None:
            return _left_out(weight, "its weight is read by code, or by several layers")
        path = weight.owners[0].path
        if self._counts.get(path) != len(calls):
            return _left_out(weight, "its weight is read by code, not by its own Cell")
        bias = next((BiasPlace(item.name) for item in self._graph.parameters
                     if kind.bias and Owner(path, kind.cell, kind.bias) in item.owners), self._means.get(weight.name))
        depthwise = geometry.group > 1 and weight.shape[0] == geometry.group
        widths = kind.widths_of(weight.shape, geometry.group)
        columns = math.prod(weight.shape) // widths[FILTERS]
        addend = _addend_of(self._graph, node, self._counts) if len(calls) == 1 and not depthwise else None
        places = sum(math.prod(call.shapes[0]) for call in calls) // widths[FILTERS]
        return Reader(weight.name, path, self._stretches.get(weight.name, 0), geometry, columns, widths[FILTERS],
                      places, not depthwise, len(calls), self._channels(weight, geometry), bias, addend,
                      keys=self._keys(product) if product else None)

    def _coded(self, product: Product, node: Node) -> Reader:
        """What is known of a product with a weight that code reads, in a Cell that does nothing else."""
        outer = product.data
        while isinstance(outer, Result) and _within(self._graph.nodes[outer.node], product.path) \
                and self._graph.nodes[outer.node].operator == "Reshape":
            outer = self._graph.nodes[outer.node].inputs[0]
        read = {value for item in self._graph.nodes if _within(item, product.path) for value in flatten(item.inputs)
                if isinstance(value, Input) or isinstance(value, Result) and value.node in self._moving
                and not _within(self._graph.nodes[value.node], product.path)}
        others = [item for item in self._products.values() if item.weight is product.weight and item is not product]
        # The reshaping may stand in the Cell beside it, which reads the same.
        wide = self._graph.shape(outer)[-1:] != (product.weight.shape[1 - product.axis],)
        if read not in ({outer}, {product.data}) or wide or any(set(item.rows) & set(product.rows) for item in others) \
                or self._counts.get(product.path) != 1 or not f"{product.path}.".startswith(f"{product.owner}."):
            return _left_out(product.weight, "its weight is read by code that does more with it, or with what it reads")
        width, columns = len(product.rows), product.weight.shape[1 - product.axis]
        return Reader(product.weight.name, product.path, self._stretches.get(product.weight.name, 0), Geometry(DENSE),
                      columns, width, math.prod(node.shapes[0]) // width, True, 1, self._filters(product),
                      BiasPlace(product.bias[0], 1, product.bias[1].ravel()) if product.bias else None,
                      part=product, keys=self._keys(product))

    def _filters(self, product: Product) -> Optional[np.ndarray]:
        """Which filters of a product in the original its slim one has; parts of one weight are of one width."""
        axes = self._kept.get(product.weight.name, {})
        if product.axis not in axes:
            return None
        parts = len(axes[product.axis]) // len(product.rows)
        width = self._shapes[product.weight.name][product.axis] // parts
        return np.array(axes[product.axis])[product.rows] % width

    def _keys(self, product: Product) -> Optional[Keys]:
        before, now = self._met.get((product.path, int(product.rows[0])), (None, None))
        if before is None or now is None:
            return None
        kept = self._filters(now.second)
        cell = now.second.path[len(now.second.owner):]
        return Keys(now.second.weight.name, cell, before.own, before.other, kept) if kept is not None else None

    def _channels(self, weight: Parameter, geometry: Geometry) -> Optional[np.ndarray]:
        """Which channels of what a layer gave in the original its slim one gives."""
        axes = self._kept.get(weight.name, {})
        if geometry.form is not TRANSPOSED:
            return np.array(axes[0]) if 0 in axes else None
        # A filter makes a channel in each group; where every input is a group of its own, groups go with inputs.
        alone, shape = weight.shape[0] == geometry.group, self._shapes[weight.name]
        groups = axes.get(0, range(shape[0])) if alone else range(geometry.group)
        return (np.array(groups)[:, None] * shape[1] + np.array(axes.get(1, range(shape[1])))).ravel()

    def normalization(self, beta: Parameter) -> Optional[Reader]:
        """What is known of a normalization; None if it is none of a known kind, with a number for each channel."""
        owner = beta.owners[0] if len(beta.owners) == 1 else None
        kind = NORMALIZATIONS.get(owner.kind) if owner else None
        calls = [node for node in self._graph.nodes if beta in node.inputs]
        if owner is None or kind is None or owner.attribute != kind.beta or len(beta.shape) != 1 \
                or self._counts.get(owner.path) != len(calls):
            return None
        axes = self._kept.get(beta.name, {})
        width, form = beta.shape[0], DENSE if kind.over == "layer" else CONVOLUTION
        places = sum(math.prod(call.shapes[0]) for call in calls) // width
        return Reader(beta.name, owner.path, self._stretches.get(beta.name, 0), Geometry(form, group=width), 1, width,
                      places, False, len(calls), np.array(axes[0]) if 0 in axes else None, BiasPlace(beta.name))


def _weight(node: Node) -> Optional[Parameter]:
    """What a layer multiplies with, or a normalization adds."""
    if node.operator in OPERATORS and OPERATORS[node.operator].form is not EMBEDDING:
        value = node.inputs[OPERATORS[node.operator].weight]
    elif node.operator in NORMALIZERS:
        value = node.inputs[NORMALIZERS[node.operator].beta]
    else:
        return None
    return value if isinstance(value, Parameter) else None


def _addend_of(graph: Graph, layer: Node, counts: Mapping[str, int]) -> Optional[Addend]:
    """
    What is added to what a node gives, with nothing between them but a bias and a batch normalization; None if nothing
    is, or it cannot be seen. `counts` says how often every Cell is called.
    """
    readers, value, normalization = graph.consumers(), Result(layer.number), None
    while len(readers.get(value, ())) == 1 and readers[value][0] >= 0:
        node = graph.nodes[readers[value][0]]
        if node.operator in RULES and RULES[node.operator].flow is residual_sum:
            others = [item for item in flatten(node.inputs) if not isinstance(item, Constant) and item != value]
            other = others[0] if len(others) == 1 else None
            if isinstance(other, Result) and graph.shape(other) == graph.shape(value) == node.shapes[0]:
                place = _place(graph, other, counts)
                return place and Addend(*place, normalization)
            # A bias may be a sum of its own.
            if not isinstance(other, Parameter):
                return None
            value = Result(node.number)
            continue
        if node.operator != "BiasAdd":
            normalization = _normalization(node) if normalization is None else None
            if normalization is None:
                return None
        value = Result(node.number)
    return None


def _normalization(node: Node) -> Optional[Tuple[str, str, float]]:
    operator = NORMALIZERS.get(node.operator)
    if operator is None or operator.over != "batch" or operator.variance is None:
        return None
    gamma, variance = node.inputs[operator.gamma], node.inputs[operator.variance]
    if not isinstance(gamma, Parameter) or not isinstance(variance, Parameter):
        return None
    return gamma.name, variance.name, float(operator.argument(node, "epsilon", 1e-5))


def _place(graph: Graph, value: Result, counts: Mapping[str, int]) -> Optional[Tuple[str, int, bool]]:
    """A Cell, the outermost one, and which of its calls, that gives a value; or one that reads it first."""
    readers = graph.consumers()
    parts = graph.nodes[value.node].scope.split(".")
    for path in (".".join(parts[:size]) for size in range(1, len(parts) + 1)):
        given = [node.number for node in graph.nodes if _within(node, path) and any(
            at < 0 or not _within(graph.nodes[at], path)
            for at in readers.get(Result(node.number), ()))]
        if len(given) == counts.get(path, 0) and value.node in given and value.index == 0:
            return path, given.index(value.node), False
    for number in readers.get(value, ()):
        path = graph.nodes[number].scope if number >= 0 else ""
        read = {item for node in graph.nodes if _within(node, path) for item in flatten(node.inputs)
                if isinstance(item, Result) and not _within(graph.nodes[item.node], path)}
        if path and counts.get(path) == 1 and read == {value}:
            return path, 0, True
    return None


def _within(node: Node, path: str) -> bool:
    return node.scope == path or node.scope.startswith(f"{path}.")
