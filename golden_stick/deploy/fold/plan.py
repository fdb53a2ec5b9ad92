"""
Where in a traced graph a batch normalization can become part of a layer beside it, or why it cannot; and what `fold`
did of it, as plain data: the step of a recipe, and the report.
"""
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Set, Tuple, Union

import numpy as np

from golden_stick.graph.flow import number
from golden_stick.graph.ir import Constant, Graph, Node, Owner, Parameter, Result, Value, flatten
from golden_stick.graph.layers import CONVOLUTION, EMBEDDING, LAYERS, NORMALIZATIONS, NORMALIZERS, OPERATORS, Layer

__all__ = ["CannotFold", "FoldedNormalization", "KeptNormalization", "Folding", "FusedLayer", "FusedNormalization",
           "Fusion", "find_fusions"]


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

    def with_paths(self, change: Callable[[str], str]) -> "Folding":
        """The folding of a network whose Cells have other paths."""
        return Folding(
            tuple(replace(item, normalization=change(item.normalization), layers=tuple(map(change, item.layers)))
                  for item in self.folded),
            tuple(replace(item, normalization=change(item.normalization)) for item in self.kept))

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
        return self.kind.form.filter_axis == 1


@dataclass(frozen=True)
class FusedNormalization:
    """A batch normalization in evaluation: the Cell's path, and names of gamma, beta, mean and variance."""

    path: str
    parameters: Tuple[str, ...]
    epsilon: float


@dataclass(frozen=True, eq=False)
class Fusion:
    """A normalization, and the layers before or after it where it goes."""

    normalization: FusedNormalization
    # Beside each, which channel of the normalization reads each of its channels, or is read by each of its inputs.
    layers: Tuple[Tuple[FusedLayer, np.ndarray], ...]
    before: bool


# Channel numbers: an array of a tensor's shape that says which channel stands at every place.
_RESHAPES = frozenset({"Reshape", "Flatten", "ExpandDims", "Squeeze"})


def _moved(node: Node, channels: np.ndarray) -> np.ndarray:
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


def _spread(channels: np.ndarray, axis: int, shape: Tuple[int, ...]) -> np.ndarray:
    """Channel numbers along an axis, as an array of a tensor's shape."""
    lengths = [1] * len(shape)
    lengths[axis] = -1
    return np.broadcast_to(channels.reshape(lengths), shape)


def _along(channels: np.ndarray, axis: int) -> Optional[np.ndarray]:
    """Channel numbers along an axis, if they are the same at every place of the others."""
    rows = np.moveaxis(channels, axis, 0).reshape(channels.shape[axis], -1)
    return rows[:, 0].copy() if (rows == rows[:, :1]).all() else None


def _places(channels: np.ndarray, axis: int, count: int) -> np.ndarray:
    """For each of `count` channel numbers, where along an axis it stands; -1 if nowhere or at more than one place."""
    positions = _spread(np.arange(channels.shape[axis]), axis, channels.shape)
    found = np.full(count, -1)
    found[channels] = positions
    found[channels[found[channels] != positions]] = -1
    return found


class CannotFold(Exception):
    """Why a normalization stays where it is. Never leaves this package."""


# What multiplies by the weight of a layer.
_MAKERS = frozenset(name for name, operator in OPERATORS.items() if operator.form is not EMBEDDING)


def find_fusions(graph: Graph, objection: Callable[[Fusion], str]) -> Tuple[Tuple[Fusion, ...], Dict[str, str]]:
    """Where every normalization goes, one by one, if the Cells have no objection; and path -> reason of the others."""
    search = _Search(graph)
    waiting = [node for node in graph.nodes
               if node.operator in NORMALIZERS and NORMALIZERS[node.operator].over == "batch"]
    chosen: List[Fusion] = []
    reasons: Dict[str, str] = {}
    while True:
        left = []
        for node in waiting:
            try:
                chosen.append(search.fusion(node, objection))
                search.gone.add(node.number)
                reasons.pop(_place(node), None)
            except CannotFold as reason:
                left.append(node)
                reasons[_place(node)] = str(reason)
        # One that stands behind another may go once that one is gone.
        if len(left) in (0, len(waiting)):
            return tuple(chosen), reasons
        waiting = left


def _place(node: Node) -> str:
    """The path of the Cell that holds the node's scale, or else where the node stands."""
    parameter = node.inputs[NORMALIZERS[node.operator].gamma]
    if isinstance(parameter, Parameter) and len(parameter.owners) == 1:
        return parameter.owners[0].path
    return node.scope or str(node.number)


class _Search:
    """Questions to one graph. `gone` are the normalizations that compute nothing any more."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._readers = graph.consumers()
        self._uses = Counter(value.name for node in graph.nodes for value in flatten(node.inputs)
                             if isinstance(value, Parameter))
        self._uses.update(value.name for value in flatten(graph.outputs) if isinstance(value, Parameter))
        self.gone: Set[int] = set()

    def fusion(self, node: Node, objection: Callable[[Fusion], str]) -> Fusion:
        """Where a normalization goes: into the layers before it, or else into those after it."""
        normalization = self._normalization(node)
        reasons, objections = [], []
        for find, before in ((self._before, True), (self._after, False)):
            try:
                fusion = Fusion(normalization, find(node), before)
            except CannotFold as reason:
                reasons.append(str(reason))
                continue
            objections.append(objection(fusion))
            if not objections[-1]:
                return fusion
        raise CannotFold(objections[0] if objections else f"before it: {reasons[0]}; after it: {reasons[1]}")

    def _normalization(self, node: Node) -> FusedNormalization:
        operator = NORMALIZERS[node.operator]
        held = [self._held(node.inputs[at], "one of its parameters {}") for at in
                (operator.gamma, operator.beta, operator.mean, operator.variance) if at is not None]
        owners = [owner for _, owner in held]
        kind = NORMALIZATIONS.get(owners[0].kind)
        wanted = kind and [kind.gamma, kind.beta, kind.mean, kind.variance]
        if len({owner.path for owner in owners}) > 1 or [owner.attribute for owner in owners] != wanted:
            raise CannotFold(f"its parameters are held by a '{owners[0].kind}', a Cell of another kind")
        if operator.argument(node, "training"):
            raise CannotFold("it normalizes by the statistics of the batch")
        return FusedNormalization(owners[0].path, tuple(name for name, _ in held),
                                  float(operator.argument(node, "epsilon")))

    def _held(self, value: Value, what: str) -> Tuple[str, Owner]:
        """The name of a parameter that is read once, and the one Cell that holds it; `what` is for messages."""
        if not isinstance(value, Parameter):
            raise CannotFold(what.format("is computed, or written in the code"))
        if self._uses[value.name] > 1:
            raise CannotFold(what.format("is read more than once"))
        if len(value.owners) != 1:
            raise CannotFold(what.format("belongs to several Cells" if value.owners else "belongs to no Cell"))
        return value.name, value.owners[0]

    def _before(self, node: Node) -> Tuple[Tuple[FusedLayer, np.ndarray], ...]:
        """The layers whose channels the normalization reads, and nothing else."""
        layers: List[Tuple[FusedLayer, int]] = []
        numbers = self._origins(node.inputs[0], layers, ())
        read = _places(numbers, 1, sum(count for _, count in layers))
        taken = []
        for layer, count in layers:
            channels, read = read[:count], read[count:]
            if channels.min() < 0:
                raise CannotFold(f"'{layer.path}', whose channels are mixed, cut or changed on the way")
            taken.append((layer, channels))
        return tuple(taken)

    def _origins(self, value: Value, layers: List[Tuple[FusedLayer, int]], biases: Tuple[str, ...]) -> np.ndarray:
        """Which channel stands at every place, counted through all layers, which are appended; `biases` come after."""
        if not isinstance(value, Result):
            raise CannotFold("numbers written in the code" if isinstance(value, Constant) else
                             "an input of the network, or a parameter")
        maker = self._graph.nodes[value.node]
        if len(self._readers[value]) > 1:
            raise CannotFold(f"'{maker.operator}', which something else reads too")
        if maker.operator in _MAKERS:
            return self._channels(maker, layers, biases)
        if maker.operator == "Concat":
            try:
                parts = [self._origins(part, layers, biases) for part in flatten(maker.inputs[:-1])]
            except CannotFold as reason:
                raise CannotFold(f"'Concat' of {reason}") from reason
            return np.concatenate(parts, number(maker.inputs[-1]))
        if not self._passes(maker):
            raise CannotFold(f"'{maker.operator}'")
        if maker.operator == "BiasAdd" and isinstance(maker.inputs[1], Parameter):
            biases += (maker.inputs[1].name,)
        return _moved(maker, self._origins(maker.inputs[0], layers, biases))

    def _channels(self, node: Node, layers: List[Tuple[FusedLayer, int]], biases: Tuple[str, ...]) -> np.ndarray:
        """Numbers for the channels of a layer, which is appended to `layers`."""
        layer = self._layer(node)
        if any(name != layer.bias for name in biases):
            raise CannotFold(f"'{layer.path}', whose channels are mixed, cut or changed on the way")
        axis, shape = layer.kind.form.channel_axis, node.shapes[0]
        first = sum(count for _, count in layers)
        layers.append((layer, shape[axis]))
        return _spread(np.arange(first, first + shape[axis]), axis, shape)

    def _after(self, node: Node) -> Tuple[Tuple[FusedLayer, np.ndarray], ...]:
        """The layers that read the normalization, and nothing else."""
        shape = node.shapes[0]
        layers: List[Tuple[FusedLayer, np.ndarray]] = []
        waiting = [(Result(node.number), _spread(np.arange(shape[1]), 1, shape))]
        while waiting:
            value, channels = waiting.pop()
            for at in self._readers.get(value, (-1,)):
                if at < 0:
                    raise CannotFold("an output of the network")
                reader = self._graph.nodes[at]
                if reader.operator in _MAKERS:
                    layers.append(self._reading_layer(reader, value, channels))
                elif reader.inputs[0] == value and self._passes(reader) and reader.operator != "BiasAdd":
                    waiting.append((Result(at), _moved(reader, channels)))
                else:
                    raise CannotFold(f"'{reader.operator}'")
        return tuple(layers)

    def _reading_layer(self, node: Node, value: Value, channels: np.ndarray) -> Tuple[FusedLayer, np.ndarray]:
        layer = self._layer(node)
        if layer.transposed:
            raise CannotFold(f"'{layer.path}', a transposed convolution, whose outputs do not all read as many inputs")
        padding = OPERATORS[node.operator].argument(node, "padding", "unknown")
        if layer.kind.form is CONVOLUTION and (isinstance(padding, str) or np.any(padding)):
            raise CannotFold(f"'{layer.path}', a convolution with zero padding")
        read = _along(channels, layer.kind.form.channel_axis) if node.inputs[0] == value else None
        if read is None:
            raise CannotFold(f"'{layer.path}', whose inputs are mixed on the way")
        return layer, read

    def _passes(self, node: Node) -> bool:
        """Whether an operator puts the numbers of one tensor elsewhere or adds a bias. A slice leaves some."""
        moves = node.operator in _RESHAPES or node.operator == "Transpose" or _index(node) is not None
        bias = node.operator == "BiasAdd" and isinstance(node.inputs[1], Parameter)
        return moves or bias or node.number in self.gone

    def _layer(self, node: Node) -> FusedLayer:
        operator = OPERATORS[node.operator]
        name, owner = self._held(node.inputs[operator.weight], f"'{node.operator}', whose weight {{}}")
        kind = LAYERS.get(owner.kind)
        turned = node.operator == "MatMul" and [bool(number(value)) for value in node.inputs[2:4]] != [False, True]
        # A convolution of mint takes a single sample as well, whose channels are on axis 0.
        single = operator.form.channel_axis == 1 and len(node.shapes[0]) != len(self._graph.parameter(name).shape)
        if kind is None or node.operator not in kind.operators or owner.attribute != kind.weight or turned or single:
            raise CannotFold(f"'{owner.path}', a Cell of another kind ('{owner.kind}')")
        bias = next((item for item in self._graph.parameters if kind.bias
                     and (owner.path, kind.bias) in [(one.path, one.attribute) for one in item.owners]), None)
        if bias is not None:
            self._held(bias, f"'{owner.path}', whose bias {{}}")
        return FusedLayer(owner.path, kind, name, bias.name if bias else None, operator.argument(node, "group", 1))
