"""Where in a traced graph a batch normalization can become part of a layer beside it, or why it cannot."""
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Set, Tuple, Union

import numpy as np

from golden_stick.graph.flow import number
from golden_stick.graph.ir import Graph, Node, Owner, Parameter, Result, Value, flatten

__all__ = ["Layer", "Normalization", "Site", "find_sites"]

# Operator -> kinds of Cells that call it with their own weight.
_LAYERS = {"Conv2D": ("Conv2d", "Conv1d"), "Conv3D": ("Conv3d",), "Conv2DTranspose": ("Conv2dTranspose",),
           "Conv2DBackpropInput": ("Conv1dTranspose", "Conv2dTranspose"), "Conv3DTranspose": ("Conv3dTranspose",),
           "MatMul": ("Dense",), "Dense": ("Linear",)}
_DENSE = frozenset({"MatMul", "Dense"})
_TRANSPOSED = frozenset({"Conv2DTranspose", "Conv2DBackpropInput", "Conv3DTranspose"})
_NORMALIZATIONS = ("BatchNorm1d", "BatchNorm2d")
_OPERATORS = ("BatchNorm", "BatchNormExt")
# What moves numbers to other places of a tensor, and neither changes nor loses one.
_MOVES = frozenset({"Reshape", "Flatten", "ExpandDims", "Squeeze", "Transpose"})


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer: the Cell's path, its parameters' names, and how the weight's axes are meant."""

    path: str
    weight: str
    bias: Optional[str]
    group: int
    transposed: bool


@dataclass(frozen=True)
class Normalization:
    """A batch normalization in evaluation: the Cell's path, its parameters' names, and epsilon."""

    path: str
    gamma: str
    beta: str
    mean: str
    variance: str
    epsilon: float


@dataclass(frozen=True, eq=False)
class Site:
    """
    A normalization, and where it goes.

    Args:
        normalization (Normalization): What goes.
        layers (tuple[tuple[Layer, numpy.ndarray]]): Where it goes, with channel numbers. For the one layer before it:
            which of the layer's channels each channel of the normalization reads. For layers after it: which channel
            of the normalization each of the layer's inputs reads.
        before (bool): Whether the layer stands before the normalization.
    """

    normalization: Normalization
    layers: Tuple[Tuple[Layer, np.ndarray], ...]
    before: bool


def find_sites(graph: Graph, unfit: Callable[[Site], str]) -> Tuple[Tuple[Site, ...], Dict[str, str]]:
    """
    Where every normalization goes, in an order in which they can go one by one; and path -> reason of those that stay.

    Args:
        graph (Graph): A traced network.
        unfit (Callable): What the Cells have against a site; an empty str if nothing.

    Returns:
        tuple, of a tuple of Site and a dict.
    """
    search = _Search(graph)
    waiting = [node for node in graph.nodes if node.operator in _OPERATORS]
    sites: List[Site] = []
    reasons: Dict[str, str] = {}
    while True:
        left = []
        for node in waiting:
            site = search.site(node)
            reason = site if isinstance(site, str) else unfit(site)
            if reason:
                left.append(node)
                reasons[_place(node)] = reason
            else:
                search.gone.add(node.number)
                sites.append(site)
                reasons.pop(_place(node), None)
        # One that stands behind another may go once that one is gone.
        if len(left) in (0, len(waiting)):
            return tuple(sites), reasons
        waiting = left


def _place(node: Node) -> str:
    """The path of the Cell that holds the node's first parameter, or else where the node stands."""
    parameter = node.inputs[1]
    owned = isinstance(parameter, Parameter) and len(parameter.owners) == 1
    return parameter.owners[0].path if owned else node.scope or str(node.number)


class _Search:
    """Questions to one graph. `gone` are the normalizations that compute nothing any more."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._readers = graph.consumers()
        self._uses = Counter(value.name for node in graph.nodes for value in flatten(node.inputs)
                             if isinstance(value, Parameter))
        self._uses.update(value.name for value in flatten(graph.outputs) if isinstance(value, Parameter))
        self.gone: Set[int] = set()

    def site(self, node: Node) -> Union[Site, str]:
        normalization = self._normalization(node)
        if isinstance(normalization, str):
            return normalization
        before = self._before(node)
        if not isinstance(before, str):
            return Site(normalization, (before,), True)
        after = self._after(node)
        if isinstance(after, str):
            return f"before it: {before}; after it: {after}"
        return Site(normalization, after, False)

    def _normalization(self, node: Node) -> Union[Normalization, str]:
        if node.operator == "BatchNormExt":
            return "an operator of mint, which is not folded"
        owners = [self._owner(value) for value in node.inputs[1:5]]
        why = next((owner for owner in owners if isinstance(owner, str)), "")
        if why:
            return f"one of its parameters {why}"
        if len({owner.path for owner in owners}) > 1 or owners[0].kind not in _NORMALIZATIONS:
            return f"its parameters are held by a '{owners[0].kind}', a Cell of another kind"
        if number(node.inputs[5]):
            return "it normalizes by the statistics of the batch"
        names = [value.name for value in node.inputs[1:5]]
        return Normalization(owners[0].path, *names, float(number(node.inputs[6])))

    def _owner(self, value: Value) -> Union[Owner, str]:
        """The one Cell that holds a parameter which is read once, or what is wrong with it."""
        if not isinstance(value, Parameter):
            return "is computed, or written in the code"
        if self._uses[value.name] > 1:
            return "is read more than once"
        if len(value.owners) != 1:
            return "belongs to several Cells" if value.owners else "belongs to no Cell"
        return value.owners[0]

    def _before(self, node: Node) -> Union[Tuple[Layer, np.ndarray], str]:
        """The layer whose channels the normalization reads, or why there is none."""
        between, value = [], node.inputs[0]
        while True:
            if not isinstance(value, Result):
                return "an input of the network, or a parameter"
            maker = self._graph.nodes[value.node]
            if len(self._readers[value]) > 1:
                return f"'{maker.operator}', which something else reads too"
            if maker.operator in _LAYERS:
                break
            if not self._passes(maker):
                return f"'{maker.operator}'"
            between.append(maker)
            value = maker.inputs[0]
        layer = self._layer(maker)
        if isinstance(layer, str):
            return layer
        foreign = [item for item in between if item.operator == "BiasAdd" and item.inputs[1].name != layer.bias]
        axis, shape = -1 if maker.operator in _DENSE else 1, maker.shapes[0]
        channels = _spread(np.arange(shape[axis]), axis, shape)
        for item in reversed(between):
            channels = _moved(item, channels)
        read = _along(channels, 1)
        if foreign or read is None or len(np.unique(read)) < len(read):
            return f"'{layer.path}', whose channels are mixed or changed on the way"
        return layer, read

    def _after(self, node: Node) -> Union[Tuple[Tuple[Layer, np.ndarray], ...], str]:
        """The layers that read the normalization, and nothing else; or why it is not so."""
        shape = node.shapes[0]
        found: List[Tuple[Layer, np.ndarray]] = []
        waiting = [(Result(node.number), _spread(np.arange(shape[1]), 1, shape))]
        while waiting:
            value, channels = waiting.pop()
            for reader in self._readers.get(value, (-1,)):
                if reader < 0:
                    return "an output of the network"
                reader = self._graph.nodes[reader]
                if reader.operator in _LAYERS:
                    layer = self._reading_layer(reader, value, channels)
                    if isinstance(layer, str):
                        return layer
                    found.append(layer)
                elif reader.inputs[0] == value and self._passes(reader) and reader.operator != "BiasAdd":
                    waiting.append((Result(reader.number), _moved(reader, channels)))
                else:
                    return f"'{reader.operator}'"
        return tuple(found)

    def _reading_layer(self, node: Node, value: Value, channels: np.ndarray) -> Union[Tuple[Layer, np.ndarray], str]:
        layer = self._layer(node)
        if isinstance(layer, str):
            return layer
        if node.operator in _TRANSPOSED:
            return f"'{layer.path}', a transposed convolution, whose outputs do not all read as many inputs"
        if node.operator not in _DENSE and any(node.attributes.get("pad_list", (1,))):
            return f"'{layer.path}', a convolution with zero padding"
        read = _along(channels, -1 if node.operator in _DENSE else 1) if node.inputs[0] == value else None
        return f"'{layer.path}', whose inputs are mixed on the way" if read is None else (layer, read)

    def _passes(self, node: Node) -> bool:
        bias = node.operator == "BiasAdd" and isinstance(node.inputs[1], Parameter)
        return node.operator in _MOVES or bias or node.number in self.gone

    def _layer(self, node: Node) -> Union[Layer, str]:
        weight = node.inputs[1]
        owner = self._owner(weight)
        if isinstance(owner, str):
            return f"'{node.operator}', whose weight {owner}"
        turned = node.operator == "MatMul" and [bool(number(value)) for value in node.inputs[2:4]] != [False, True]
        if owner.kind not in _LAYERS[node.operator] or turned:
            return f"'{owner.path}', a Cell of another kind ('{owner.kind}')"
        bias = next((item for item in self._graph.parameters
                     if Owner(owner.path, owner.kind, "bias") in item.owners), None)
        if bias is not None and isinstance(self._owner(bias), str):
            return f"'{owner.path}', whose bias {self._owner(bias)}"
        return Layer(owner.path, weight.name, bias.name if bias else None, node.attributes.get("group", 1),
                     node.operator in _TRANSPOSED)


def _spread(channels: np.ndarray, axis: int, shape: Tuple[int, ...]) -> np.ndarray:
    """Channel numbers as an array of a tensor's shape."""
    along = [1] * len(shape)
    along[axis] = -1
    return np.broadcast_to(channels.reshape(along), shape)


def _moved(node: Node, channels: np.ndarray) -> np.ndarray:
    """Channel numbers behind an operator that only moves them."""
    if node.operator == "Transpose":
        return np.transpose(channels, number(node.inputs[1]))
    return channels.reshape(node.shapes[0])


def _along(channels: np.ndarray, axis: int) -> Optional[np.ndarray]:
    """Channel numbers along an axis, if they are the same at every place of the others."""
    rows = np.moveaxis(channels, axis, 0).reshape(channels.shape[axis], -1)
    return rows[:, 0].copy() if (rows == rows[:, :1]).all() else None
