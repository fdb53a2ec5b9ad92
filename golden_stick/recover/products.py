"""
Products in a graph: of data and a weight, wherever code takes that from, and of the channels that two of these make, as
queries meet keys.
"""
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional, Set, Tuple

import numpy as np

from golden_stick.graph.flow import number
from golden_stick.graph.ir import Constant, Graph, Node, Parameter, Result, Value, flatten
from golden_stick.graph.rules import RULES, arithmetic, shapes

__all__ = ["Meeting", "Product", "meetings_of", "products_of"]


@dataclass(frozen=True, eq=False)
class Product:
    """
    Data times a weight of two axes, or a part of one: code may have split or turned it.

    Args:
        weight (Parameter): What the weight is, or is taken from.
        owner, path (str): The paths of the Cell that holds it, and of the one that computes the product.
        data (Value): What is multiplied with it.
        axis (int): The axis of the weight along which its filters lie.
        rows (numpy.ndarray): Where they lie on it.
        bias (tuple): The name of what is added, and where the filters lie in that; None if nothing is.
    """

    weight: Parameter
    owner: str
    path: str
    data: Value
    axis: int
    rows: np.ndarray
    bias: Optional[Tuple[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Meeting:
    """
    Two products whose channels are multiplied with each other and summed up, head by head, and not read besides.

    `own` and `other`, of shape (heads, width), are the channels of the first and of the second that meet.
    """

    first: Product
    second: Product
    own: np.ndarray
    other: np.ndarray


def products_of(graph: Graph) -> Dict[int, Product]:
    """Number of the node that computes it -> the product."""
    moving, readers = graph.moving(), graph.consumers()
    found: Dict[int, Product] = {}
    for node in graph.nodes:
        operands = _operands(graph, node)
        if operands is None or node.number not in moving:
            continue
        (data, turned), (value, other_turned) = operands
        origin = _origin(graph, value)
        if turned or origin is None or len(origin[0].shape) != 2 or not origin[0].owners:
            continue
        weight, places = origin
        across, along = np.divmod(places if other_turned else places.T, weight.shape[1])
        if len({item.path for item in weight.owners}) > 1 or across.ndim != 2:
            continue
        for axis, rows, columns in ((0, across, along), (1, along, across)):
            if (rows == rows[:, :1]).all() and (columns == np.arange(weight.shape[1 - axis])).all():
                found[node.number] = Product(weight, weight.owners[0].path, node.scope, data, axis, rows[:, 0],
                                             _bias(graph, node, readers))
    return found


def _operands(graph: Graph, node: Node) -> Optional[Tuple[Tuple[Value, bool], Tuple[Value, bool]]]:
    """What a product multiplies, and whether it turns that: the last axis of the first is summed up otherwise."""
    flow = RULES[node.operator].flow if node.operator in RULES else None
    if flow is arithmetic.dense_product:
        return (node.inputs[0], False), (node.inputs[1], True)
    if flow is not arithmetic.matrix_product or min(len(graph.shape(value)) for value in node.inputs[:2]) < 2:
        return None
    turned = [bool(number(node.inputs[at])) if len(node.inputs) > at else False for at in (2, 3)]
    return (node.inputs[0], turned[0]), (node.inputs[1], turned[1])


def _origin(graph: Graph, value: Value) -> Optional[Tuple[Parameter, np.ndarray]]:
    """The parameter that a value is a part of, and where in that each of its numbers stands; None if it is none."""
    if isinstance(value, Parameter):
        return value, np.arange(np.prod(value.shape, dtype=int)).reshape(value.shape)
    if not isinstance(value, Result):
        return None
    node = graph.nodes[value.node]
    origin = _origin(graph, node.inputs[0]) if node.inputs else None
    places = _moved(graph, node, value.index, origin[1]) if origin else None
    return (origin[0], places) if origin and places is not None else None


def _moved(graph: Graph, node: Node, index: int, places: np.ndarray) -> Optional[np.ndarray]:
    """Where the numbers of a node's output were in its first input, if it does no more than move them."""
    flow, shape = RULES[node.operator].flow if node.operator in RULES else None, node.shapes[index]
    if flow is shapes.reshape:
        return places.reshape(shape)
    if flow is shapes.transpose:
        return places.transpose(number(node.inputs[1]))
    if flow is shapes.split:
        axis, parts = (number(item) for item in node.inputs[1:3])
        return np.split(places, parts, axis)[index]
    if flow is shapes.unstack:
        return places.take(index, number(node.inputs[1]) if len(node.inputs) > 1 else node.attributes["axis"])
    if flow is shapes.strided_slice:
        return _sliced(node, places)
    return places if node.operator in ("Cast", "Identity") else None


def _sliced(node: Node, places: np.ndarray) -> Optional[np.ndarray]:
    begin, end, strides, begin_mask, end_mask, ellipsis, new_axis, shrink = (number(item) for item in node.inputs[1:9])
    if ellipsis or new_axis:
        return None
    return places[tuple(begin[at] if shrink >> at & 1 else
                        slice(None if begin_mask >> at & 1 else begin[at], None if end_mask >> at & 1 else end[at],
                              strides[at]) for at in range(len(begin)))]


def _bias(graph: Graph, node: Node, readers: Mapping[Result, Tuple[int, ...]]) -> Optional[Tuple[str, np.ndarray]]:
    """What a product's own Cell adds to it."""
    if RULES[node.operator].flow is arithmetic.dense_product:
        origin = _origin(graph, node.inputs[2]) if len(node.inputs) > 2 else None
        return (origin[0].name, origin[1]) if origin else None
    value = Result(node.number)
    while len(readers.get(value, ())) == 1 and readers[value][0] >= 0:
        reader = graph.nodes[readers[value][0]]
        if reader.scope != node.scope:
            return None
        if _adds(reader):
            origins = [_origin(graph, item) for item in _others(reader, value)]
            single = origins[0] if len(origins) == 1 else None
            return (single[0].name, single[1]) if single and single[1].shape == node.shapes[0][-1:] else None
        if RULES.get(reader.operator, RULES["Add"]).flow is not shapes.reshape:
            return None
        value = Result(reader.number)
    return None


def _adds(node: Node) -> bool:
    return node.operator == "BiasAdd" or node.operator in RULES and RULES[node.operator].flow is arithmetic.residual_sum


def _others(node: Node, value: Value) -> List[Value]:
    """What is added to a value, and not how."""
    return [item for item in flatten(node.inputs[:2]) if item != value]


Channels = Tuple[int, np.ndarray]  # the node of a product, and which of its filters each number of a feature map is


def meetings_of(graph: Graph, products: Mapping[int, Product]) -> Tuple[Meeting, ...]:
    """In the order of execution."""
    origins: Dict[Result, Channels] = {}
    read: Dict[int, Dict[int, Set[int]]] = {at: {} for at in products}  # of each product and channel, the nodes
    met: List[Tuple[Node, Channels, Channels]] = []
    last = {value: node.number for node in graph.nodes for value in flatten(node.inputs) if isinstance(value, Result)}
    outputs = set(flatten(graph.outputs))
    for node in graph.nodes:
        for value in flatten(node.inputs):
            if value in origins and (value in outputs or not _made(graph, node, {}, origins)):
                for channel in np.unique(origins[value][1]).tolist():
                    read[origins[value][0]].setdefault(channel, set()).add(-1 if value in outputs else node.number)
        origins.update(_made(graph, node, products, origins))
        if node.number not in products:
            met.extend(_sides(graph, node, origins))
        for value in [item for item in origins if last.get(item, 0) <= node.number]:
            del origins[value]
    pairs = [(node, products[first[0]], products[second[0]], _heads(first[1], second[1])) for node, first, second in met
             if all(nodes == {node.number} for side in (first, second)
                    for nodes in map(read[side[0]].get, np.unique(side[1]).tolist()))]
    return tuple(Meeting(first, second, *heads) for _, first, second, heads in pairs if heads is not None)


def _sides(graph: Graph, node: Node, origins: Mapping[Result, Channels]) -> Iterator[Tuple[Node, Channels, Channels]]:
    """What meets in a node, if anything does, with the channels that are summed up last."""
    operands = _operands(graph, node)
    if operands is not None and all(value in origins for value, _ in operands):
        (first, turned), (second, other_turned) = operands
        sides = [(origins[value][0], np.moveaxis(origins[value][1], axis, -1))  # type: ignore[index]
                 for value, axis in ((first, -2 if turned else -1), (second, -1 if other_turned else -2))]
        yield node, sides[0], sides[1]


def _made(graph: Graph, node: Node, products: Mapping[int, Product], origins: Mapping[Result, Channels]
          ) -> Dict[Result, Channels]:
    """What a node gives of the channels of one product: those it makes, or only moves, scales as a whole, or shifts."""
    if node.number in products:
        channels = np.broadcast_to(np.arange(node.shapes[0][-1], dtype=np.int32), node.shapes[0])
        return {Result(node.number): (node.number, channels)}
    values = flatten(node.inputs)
    data = [value for value in values if value in origins]
    if len(data) != 1:
        return {}
    source, places = origins[data[0]]  # type: ignore[index]
    rest = _others(node, data[0])
    bias = _origin(graph, rest[0]) if _adds(node) and len(rest) == 1 else None
    if bias and graph.nodes[source].scope == node.scope and bias[1].size == node.shapes[0][-1]:
        return {Result(node.number): (source, places)}
    scaled = node.operator == "Mul" or node.operator in ("Muls", "Div", "Divs", "RealDiv") and values[0] == data[0]
    if scaled and len(rest) == 1 and isinstance(rest[0], Constant) and np.size(rest[0].value) == 1:
        return {Result(node.number): (source, places)}
    if node.inputs[0] != data[0]:
        return {}
    moved = {Result(node.number, index): _moved(graph, node, index, places) for index in range(len(node.shapes))}
    return {value: (source, item) for value, item in moved.items() if item is not None}


def _heads(first: np.ndarray, second: np.ndarray) -> Optional[Tuple[np.ndarray, np.ndarray]]:
    """The channels of each head, where they are the same for all samples and places, and of no other head."""
    if (first != first[..., :1, :]).any() or (second != second[..., :1, :]).any():
        return None
    rows = [item[..., 0, :].reshape(-1, item.shape[-1]) for item in (first, second)]
    if len(rows[0]) != len(rows[1]):
        return None
    both = np.unique(np.concatenate(rows, 1), axis=0)
    own, other = np.split(both, 2, 1)
    return None if any(len(np.unique(item)) < item.size for item in (own, other)) else (own, other)
