"""
Where in a traced graph a batch normalization can become part of a layer beside it, or why it cannot; and what `fold`
did of it, as plain data: the step of a recipe, and the report.
"""
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple, Union

import numpy as np

from golden_stick.deploy.fold.channels import along, data_movement, moved, places, spread
from golden_stick.graph.flow import number
from golden_stick.graph.ir import Constant, Graph, Node, Owner, Parameter, Result, Value, flatten
from golden_stick.graph.layers import (
    CONVOLUTION,
    DENSE,
    EMBEDDING,
    LAYERS,
    NORMALIZATIONS,
    NORMALIZERS,
    OPERATORS,
    TRANSPOSED,
    Layer,
)

__all__ = ["FoldedNormalization", "KeptNormalization", "Folding", "FusedLayer", "FusedNormalization", "Fusion",
           "find_fusions"]


@dataclass(frozen=True)
class FoldedNormalization:
    """The normalization at the path `normalization` is now part of `layers`: those before it, or all that read it."""

    normalization: str
    layers: Tuple[str, ...]


@dataclass(frozen=True)
class KeptNormalization:
    """The normalization at the path `normalization` stays, and why."""

    normalization: str
    reason: str


@dataclass(frozen=True)
class Folding:
    """
    What `fold` did.

    Args:
        folded (tuple[FoldedNormalization]): The normalizations that are gone, in the order in which they went.
        kept (tuple[KeptNormalization]): Those that stay.
    """

    folded: Tuple[FoldedNormalization, ...]
    kept: Tuple[KeptNormalization, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.folded)} of {len(self.folded) + len(self.kept)} batch normalizations folded"]
        lines += [f"  {item.normalization} -> {', '.join(item.layers)}" for item in self.folded]
        return "\n".join(lines + [f"  {item.normalization} stays: {item.reason}" for item in self.kept])

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Folding":
        """The folding that `to_dict` wrote."""
        return cls(
            tuple(FoldedNormalization(item["normalization"], tuple(item["layers"])) for item in values["folded"]),
            tuple(KeptNormalization(**item) for item in values["kept"]),
        )


@dataclass(frozen=True)
class FusedLayer:
    """A convolution or dense layer: the Cell's path and kind, its parameters' names, and its groups."""

    path: str
    kind: Layer
    weight: str
    bias: Optional[str]
    group: int

    @property
    def transposed(self) -> bool:
        """Whether its filters stand on axis 1."""
        return self.kind.form is TRANSPOSED


@dataclass(frozen=True)
class FusedNormalization:
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
        normalization (FusedNormalization): What goes.
        layers (tuple[tuple[FusedLayer, numpy.ndarray]]): Where it goes, with channel numbers. For layers before it:
            which channel of the normalization reads each of the layer's channels. For layers after it: which channel of
            the normalization each of the layer's inputs reads.
        before (bool): Whether the layers stand before the normalization.
    """

    normalization: FusedNormalization
    layers: Tuple[Tuple[FusedLayer, np.ndarray], ...]
    before: bool


# What multiplies by the weight of a layer.
_MAKERS = frozenset(name for name, operator in OPERATORS.items() if operator.form is not EMBEDDING)


def find_fusions(graph: Graph, unfit: Callable[[Fusion], str]) -> Tuple[Tuple[Fusion, ...], Dict[str, str]]:
    """
    Where every normalization goes, in an order in which they can go one by one; and path -> reason of those that stay.

    Args:
        graph (Graph): A traced network.
        unfit (Callable): What the Cells have against a fusion; an empty str if nothing.

    Returns:
        tuple, of a tuple of Fusion and a dict.
    """
    search = _Search(graph)
    waiting = [node for node in graph.nodes
               if node.operator in NORMALIZERS and NORMALIZERS[node.operator].over == "batch"]
    chosen: List[Fusion] = []
    reasons: Dict[str, str] = {}
    while True:
        left = []
        for node in waiting:
            possible = search.fusions(node)
            if not isinstance(possible, str):
                objections = [unfit(fusion) for fusion in possible]
                possible = objections[0] if all(objections) else possible[objections.index("")]
            if isinstance(possible, str):
                left.append(node)
                reasons[_place(node)] = possible
            else:
                search.gone.add(node.number)
                chosen.append(possible)
                reasons.pop(_place(node), None)
        # One that stands behind another may go once that one is gone.
        if len(left) in (0, len(waiting)):
            return tuple(chosen), reasons
        waiting = left


def _place(node: Node) -> str:
    """The path of the Cell that holds the node's first parameter, or else where the node stands."""
    parameter = node.inputs[NORMALIZERS[node.operator].gamma]
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

    def fusions(self, node: Node) -> Union[Tuple[Fusion, ...], str]:
        """Where a normalization can go, before places after it; or why nowhere."""
        normalization = self._normalization(node)
        if isinstance(normalization, str):
            return normalization
        before, after = self._before(node), self._after(node)
        possible = tuple(Fusion(normalization, layers, layers is before) for layers in (before, after)
                         if not isinstance(layers, str))
        return possible or f"before it: {before}; after it: {after}"

    def _normalization(self, node: Node) -> Union[FusedNormalization, str]:
        operator = NORMALIZERS[node.operator]
        values = [node.inputs[at] for at in (operator.gamma, operator.beta, operator.mean, operator.variance)]
        owners = [self._owner(value) for value in values]
        why = next((owner for owner in owners if isinstance(owner, str)), "")
        if why:
            return f"one of its parameters {why}"
        kind = NORMALIZATIONS.get(owners[0].kind)
        wanted = () if kind is None else (kind.gamma, kind.beta, kind.mean, kind.variance)
        if len({owner.path for owner in owners}) > 1 or tuple(owner.attribute for owner in owners) != wanted:
            return f"its parameters are held by a '{owners[0].kind}', a Cell of another kind"
        if operator.argument(node, "training"):
            return "it normalizes by the statistics of the batch"
        names = [value.name for value in values]
        return FusedNormalization(owners[0].path, *names, float(operator.argument(node, "epsilon")))

    def _owner(self, value: Value) -> Union[Owner, str]:
        """The one Cell that holds a parameter which is read once, or what is wrong with it."""
        if not isinstance(value, Parameter):
            return "is computed, or written in the code"
        if self._uses[value.name] > 1:
            return "is read more than once"
        if len(value.owners) != 1:
            return "belongs to several Cells" if value.owners else "belongs to no Cell"
        return value.owners[0]

    def _before(self, node: Node) -> Union[Tuple[Tuple[FusedLayer, np.ndarray], ...], str]:
        """The layers whose channels the normalization reads, and nothing else; or why it is not so."""
        layers: List[Tuple[FusedLayer, int]] = []
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

    def _origins(self, value: Value, layers: List[Tuple[FusedLayer, int]], biases: Tuple[str, ...]
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
        if maker.operator in _MAKERS:
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

    def _channels(self, node: Node, layers: List[Tuple[FusedLayer, int]], biases: Tuple[str, ...]
                  ) -> Union[np.ndarray, str]:
        """Numbers for the channels of a layer, which is appended to `layers`."""
        layer = self._layer(node)
        if isinstance(layer, str):
            return layer
        if any(name != layer.bias for name in biases):
            return f"'{layer.path}', whose channels are mixed, cut or changed on the way"
        axis, shape = layer.kind.form.channel_axis, node.shapes[0]
        first = sum(count for _, count in layers)
        layers.append((layer, shape[axis]))
        return spread(np.arange(first, first + shape[axis]), axis, shape)

    def _after(self, node: Node) -> Union[Tuple[Tuple[FusedLayer, np.ndarray], ...], str]:
        """The layers that read the normalization, and nothing else; or why it is not so."""
        shape = node.shapes[0]
        found: List[Tuple[FusedLayer, np.ndarray]] = []
        waiting = [(Result(node.number), spread(np.arange(shape[1]), 1, shape))]
        while waiting:
            value, channels = waiting.pop()
            for reader in self._readers.get(value, (-1,)):
                if reader < 0:
                    return "an output of the network"
                reader = self._graph.nodes[reader]
                if reader.operator in _MAKERS:
                    layer = self._reading_layer(reader, value, channels)
                    if isinstance(layer, str):
                        return layer
                    found.append(layer)
                elif reader.inputs[0] == value and self._passes(reader) and reader.operator != "BiasAdd":
                    waiting.append((Result(reader.number), moved(reader, channels)))
                else:
                    return f"'{reader.operator}'"
        return tuple(found)

    def _reading_layer(self, node: Node, value: Value, channels: np.ndarray
                       ) -> Union[Tuple[FusedLayer, np.ndarray], str]:
        layer = self._layer(node)
        if isinstance(layer, str):
            return layer
        if layer.transposed:
            return f"'{layer.path}', a transposed convolution, whose outputs do not all read as many inputs"
        padding = OPERATORS[node.operator].argument(node, "padding", "unknown")
        if layer.kind.form is CONVOLUTION and (isinstance(padding, str) or np.any(padding)):
            return f"'{layer.path}', a convolution with zero padding"
        read = along(channels, layer.kind.form.channel_axis) if node.inputs[0] == value else None
        return f"'{layer.path}', whose inputs are mixed on the way" if read is None else (layer, read)

    def _passes(self, node: Node) -> bool:
        bias = node.operator == "BiasAdd" and isinstance(node.inputs[1], Parameter)
        return data_movement(node) or bias or node.number in self.gone

    def _layer(self, node: Node) -> Union[FusedLayer, str]:
        operator = OPERATORS[node.operator]
        weight = node.inputs[operator.weight]
        owner = self._owner(weight)
        if isinstance(owner, str):
            return f"'{node.operator}', whose weight {owner}"
        kind = LAYERS.get(owner.kind)
        turned = node.operator == "MatMul" and [bool(number(value)) for value in node.inputs[2:4]] != [False, True]
        # A convolution of mint takes a single sample as well, whose channels are on axis 0.
        single = operator.form is not DENSE and len(node.shapes[0]) != len(weight.shape)
        if kind is None or node.operator not in kind.operators or owner.attribute != kind.weight or turned or single:
            return f"'{owner.path}', a Cell of another kind ('{owner.kind}')"
        bias = next((item for item in self._graph.parameters
                     if kind.bias and Owner(owner.path, owner.kind, kind.bias) in item.owners), None)
        if bias is not None and isinstance(self._owner(bias), str):
            return f"'{owner.path}', whose bias {self._owner(bias)}"
        return FusedLayer(owner.path, kind, weight.name, bias.name if bias else None,
                          operator.argument(node, "group", 1))
