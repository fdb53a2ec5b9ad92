"""Where in a traced graph a batch normalization can become part of a layer beside it, or why it cannot."""
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Set, Tuple, Union

import numpy as np

from golden_stick.graph.flow import number
from golden_stick.graph.ir import Constant, Graph, Node, Owner, Parameter, Result, Value, flatten

__all__ = ["data_movement", "moved", "spread", "along", "places", "Layer", "Normalization", "Fusion", "find_fusions"]


_RESHAPES = frozenset({"Reshape", "Flatten", "ExpandDims", "Squeeze"})


def data_movement(node: Node) -> bool:
    """Whether an operator puts the numbers of one tensor elsewhere: it changes and adds none. A slice leaves some."""
    return node.operator in _RESHAPES or node.operator == "Transpose" or _index(node) is not None


def moved(node: Node, channels: np.ndarray) -> np.ndarray:
    """Channel numbers behind an operator: one that moves them, or one that leaves each where it is."""
    if node.operator == "Transpose":
        return np.transpose(channels, number(node.inputs[1]))
    index = _index(node)
    return channels.reshape(node.shapes[0]) if index is None else channels[index]


def _index(node: Node) -> Optional[Tuple[Union[slice, int], ...]]:
    """What a slice takes, as numpy would write it; None for other operators and for slices that insert axes."""
    if node.operator != "StridedSlice":
        return None
    begin, end, strides, open_begin, open_end, ellipsis, inserted, single = (number(value) for value in node.inputs[1:])
    if begin is None or end is None or strides is None or ellipsis or inserted:
        return None
    return tuple(begin[axis] if single >> axis & 1 else
                 slice(None if open_begin >> axis & 1 else begin[axis], None if open_end >> axis & 1 else end[axis],
                       strides[axis]) for axis in range(len(begin)))


def spread(channels: np.ndarray, axis: int, shape: Tuple[int, ...]) -> np.ndarray:
    """Channel numbers along an axis, as an array of a tensor's shape."""
    lengths = [1] * len(shape)
    lengths[axis] = -1
    return np.broadcast_to(channels.reshape(lengths), shape)


def along(channels: np.ndarray, axis: int) -> Optional[np.ndarray]:
    """Channel numbers along an axis, if they are the same at every place of the others."""
    rows = np.moveaxis(channels, axis, 0).reshape(channels.shape[axis], -1)
    return rows[:, 0].copy() if (rows == rows[:, :1]).all() else None


def places(channels: np.ndarray, axis: int, count: int) -> np.ndarray:
    """For each of `count` channel numbers, where along an axis it stands; -1 if nowhere or at more than one place."""
    positions = spread(np.arange(channels.shape[axis]), axis, channels.shape)
    found = np.full(count, -1)
    found[channels] = positions
    found[channels[found[channels] != positions]] = -1
    return found


# Operator -> kinds of Cells that call it with their own weight.
_LAYERS = {"Conv2D": ("nn.Conv2d", "nn.Conv1d"), "Conv3D": ("nn.Conv3d",), "Conv2DTranspose": ("nn.Conv2dTranspose",),
           "Conv2DBackpropInput": ("nn.Conv1dTranspose", "nn.Conv2dTranspose"),
           "Conv3DTranspose": ("nn.Conv3dTranspose",), "MatMul": ("nn.Dense",), "Dense": ("mint.nn.Linear",)}
_DENSE = frozenset({"MatMul", "Dense"})
_TRANSPOSED = frozenset({"Conv2DTranspose", "Conv2DBackpropInput", "Conv3DTranspose"})
_NORMALIZATIONS = ("nn.BatchNorm1d", "nn.BatchNorm2d")
_OPERATORS = ("BatchNorm", "BatchNormExt")


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
class Fusion:
    """
    A normalization, and where it goes.

    Args:
        normalization (Normalization): What goes.
        layers (tuple[tuple[Layer, numpy.ndarray]]): Where it goes, with channel numbers. For layers before it: which
            channel of the normalization reads each of the layer's channels. For layers after it: which channel of the
            normalization each of the layer's inputs reads.
        before (bool): Whether the layers stand before the normalization.
    """

    normalization: Normalization
    layers: Tuple[Tuple[Layer, np.ndarray], ...]
    before: bool


def find_fusions(graph: Graph, unfit: Callable[[Fusion], str]) -> Tuple[Tuple[Fusion, ...], Dict[str, str]]:
    """
    Where every normalization goes, in an order in which they can go one by one; and path -> reason of those that stay.

    Args:
        graph (Graph): A traced network.
        unfit (Callable): What the Cells have against a site; an empty str if nothing.

    Returns:
        tuple, of a tuple of Fusion and a dict.
    """
    search = _Search(graph)
    waiting = [node for node in graph.nodes if node.operator in _OPERATORS]
    sites: List[Fusion] = []
    reasons: Dict[str, str] = {}
    while True:
        left = []
        for node in waiting:
            choice = search.sites(node)
            reason, site = (choice, None) if isinstance(choice, str) else _chosen(choice, unfit)
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


def _chosen(sites: Tuple[Fusion, ...], unfit: Callable[[Fusion], str]) -> Tuple[str, Fusion]:
    """The first site that nothing is against, with an empty str; or else the first, with what is against it."""
    objections = [(unfit(site), site) for site in sites]
    return next((item for item in objections if not item[0]), objections[0])


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

    def sites(self, node: Node) -> Union[Tuple[Fusion, ...], str]:
        """Where a normalization can go, before places after it; or why nowhere."""
        normalization = self._normalization(node)
        if isinstance(normalization, str):
            return normalization
        before, after = self._before(node), self._after(node)
        found = tuple(Fusion(normalization, layers, layers is before) for layers in (before, after)
                      if not isinstance(layers, str))
        return found or f"before it: {before}; after it: {after}"

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

    def _before(self, node: Node) -> Union[Tuple[Tuple[Layer, np.ndarray], ...], str]:
        """The layers whose channels the normalization reads, and nothing else; or why it is not so."""
        layers: List[Tuple[Layer, int]] = []
        numbers = self._origins(node.inputs[0], layers, ())
        if isinstance(numbers, str):
            return numbers
        read = places(numbers, 1, sum(count for _, count in layers))
        found = []
        for layer, count in layers:
            channels, read = read[:count], read[count:]
            if channels.min() < 0:
                return f"'{layer.path}', whose channels are mixed, cut or changed on the way"
            found.append((layer, channels))
        return tuple(found)

    def _origins(self, value: Value, layers: List[Tuple[Layer, int]], biases: Tuple[str, ...]
                 ) -> Union[np.ndarray, str]:
        """
        Which channel of which layer stands at every place of a tensor, or why that cannot be said.

        Layers are appended to `layers`, with how many channels they have: channels are counted through all of them.
        `biases` are those that are added further on.
        """
        if not isinstance(value, Result):
            return "numbers written in the code" if isinstance(value, Constant) else \
                "an input of the network, or a parameter"
        maker = self._graph.nodes[value.node]
        if len(self._readers[value]) > 1:
            return f"'{maker.operator}', which something else reads too"
        if maker.operator in _LAYERS:
            return self._channels(maker, layers, biases)
        if maker.operator == "Concat":
            parts = [self._origins(part, layers, biases) for part in flatten(maker.inputs[:-1])]
            why = next((part for part in parts if isinstance(part, str)), "")
            return f"'Concat' of {why}" if why else np.concatenate(parts, number(maker.inputs[-1]))
        if not self._passes(maker):
            return f"'{maker.operator}'"
        added = (maker.inputs[1].name,) if maker.operator == "BiasAdd" else ()
        numbers = self._origins(maker.inputs[0], layers, biases + added)
        return numbers if isinstance(numbers, str) else moved(maker, numbers)

    def _channels(self, node: Node, layers: List[Tuple[Layer, int]], biases: Tuple[str, ...]
                  ) -> Union[np.ndarray, str]:
        """Numbers for the channels of a layer, which is appended to `layers`."""
        layer = self._layer(node)
        if isinstance(layer, str):
            return layer
        if any(name != layer.bias for name in biases):
            return f"'{layer.path}', whose channels are mixed, cut or changed on the way"
        axis, shape = -1 if node.operator in _DENSE else 1, node.shapes[0]
        first = sum(count for _, count in layers)
        layers.append((layer, shape[axis]))
        return spread(np.arange(first, first + shape[axis]), axis, shape)

    def _after(self, node: Node) -> Union[Tuple[Tuple[Layer, np.ndarray], ...], str]:
        """The layers that read the normalization, and nothing else; or why it is not so."""
        shape = node.shapes[0]
        found: List[Tuple[Layer, np.ndarray]] = []
        waiting = [(Result(node.number), spread(np.arange(shape[1]), 1, shape))]
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
                    waiting.append((Result(reader.number), moved(reader, channels)))
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
        read = along(channels, -1 if node.operator in _DENSE else 1) if node.inputs[0] == value else None
        return f"'{layer.path}', whose inputs are mixed on the way" if read is None else (layer, read)

    def _passes(self, node: Node) -> bool:
        bias = node.operator == "BiasAdd" and isinstance(node.inputs[1], Parameter)
        return data_movement(node) or bias or node.number in self.gone

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
