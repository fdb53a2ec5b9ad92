"""
What every kind of layer and of normalization is, said once: labels, costs, criteria, slimming, the knockoff phase,
folding and export all read it here.

A `Layer` is a kind of Cell with a weight that makes channels, a `Normalization` one that shifts and scales them. An
`Operator` or `Normalizer` is what such a Cell calls, and says where that holds its arguments. `Owner.kind` is the name
of a kind: ``'nn.Conv2d'``, ``'mint.nn.Linear'``, or ``'my_package.MyLayer'`` for one that a user has added.
"""
import math
from dataclasses import dataclass, replace
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.graph.ir import Constant, Graph, Node, Parameter, Result

__all__ = ["CONVOLUTION", "DENSE", "EMBEDDING", "FILTERS", "GROUPS", "INPUTS", "LAYERS", "NORMALIZATIONS",
           "NORMALIZERS", "OPERATORS", "TRANSPOSED", "Form", "Layer", "Normalization", "Normalizer", "Operator",
           "add_layer", "layer_of", "name_of_class", "normalization_after", "scales_after", "spatial_numbers"]

# The widths that attributes of a Cell and arguments of its primitive hold.
INPUTS = "inputs"  # channels that it reads
FILTERS = "filters"  # channels that it makes
GROUPS = "groups"  # groups of channels that it works on one by one
PARTS = "parts"  # the filters of one group


@dataclass(frozen=True)
class Form:
    """How a weight is laid out: its axes that make and that sum channels, the channels' in what the Cell reads."""

    name: str  # for messages
    filter_axis: int
    input_axis: Optional[int]  # None if it sums none
    channel_axis: int
    onnx: str  # ONNX's name of the operator


# Where there are groups, axis 1 of a weight is that of one of them.
CONVOLUTION = Form("convolution", 0, 1, 1, "Conv")  # (C_out, C_in / group, *kernel)
TRANSPOSED = Form("transposed convolution", 1, 0, 1, "ConvTranspose")  # (C_in, C_out / group, *kernel)
DENSE = Form("dense layer", 0, 1, -1, "MatMul")  # (C_out, C_in)
EMBEDDING = Form("embedding", 1, None, -1, "Gather")  # (vocabulary, C_out)


def _argument(node: Node, at: Union[str, int, None], otherwise: Any) -> Any:
    if isinstance(at, str):
        return node.attributes.get(at, otherwise)
    value = node.inputs[at] if at is not None and at < len(node.inputs) else None
    return value.value if isinstance(value, Constant) and value.value is not None else otherwise


def spatial_numbers(numbers: Union[int, Sequence[int]], rank: int) -> Tuple[int, ...]:
    """One number for each of the last `rank` axes, from one for all or one for every axis."""
    given = (numbers,) if isinstance(numbers, int) else tuple(numbers)
    return given[-rank:] if len(given) >= rank else given * rank


@dataclass(frozen=True)
class Operator:
    """
    An operator that multiplies by the weight of a layer, or reads its rows.

    Its arguments are given by name where they are attributes of the primitive, by number where they are inputs.
    """

    name: str  # MindSpore's, of the primitive
    form: Form
    group: Union[str, int, None] = None
    stride: Union[str, int, None] = None
    padding: Union[str, int, None] = None
    dilation: Union[str, int, None] = None
    bias: Optional[int] = None
    weight: int = 1

    def argument(self, node: Node, name: str, otherwise: Any = None) -> Any:
        """What a node says of ``'group'``, ``'stride'``, ``'padding'`` or ``'dilation'``."""
        return _argument(node, getattr(self, name), otherwise)


@dataclass(frozen=True)
class Normalizer:
    """An operator that normalizes, and the numbers of its inputs; None where it has no such input."""

    name: str  # MindSpore's, of the primitive
    over: str  # as in `Normalization`
    gamma: int = 1
    beta: int = 2
    mean: Optional[int] = None
    variance: Optional[int] = None
    training: Optional[int] = None  # whether it normalizes by the statistics of the batch
    epsilon: Optional[int] = None

    @property
    def statistics(self) -> Tuple[int, ...]:
        """The inputs that are moving statistics."""
        return tuple(at for at in (self.mean, self.variance) if at is not None)

    def argument(self, node: Node, name: str, otherwise: Any = None) -> Any:
        """What a node says of ``'training'`` or ``'epsilon'``."""
        return _argument(node, getattr(self, name), otherwise)


@dataclass(frozen=True)
class Layer:
    """A kind of Cell with a weight that makes channels."""

    cell: str  # its name
    form: Form
    operators: Tuple[str, ...]  # what reads the weight
    spatial: int  # how many axes follow the channels' in what the Cell reads; 0 where they are the last
    widths: Mapping[str, str]  # attribute of the Cell -> the width that it holds
    primitive: Mapping[str, str]  # argument of the Cell's primitive -> the width that it holds
    primitive_at: str = ""  # the attribute that holds the primitive
    weight: str = "weight"  # an attribute, as the next
    bias: str = "bias"  # None in a Cell without one; '' if the kind has none

    def attribute(self, width: str) -> str:
        """The attribute that holds a width; '' if none does."""
        return next((name for name, held in self.widths.items() if held == width), "")

    def widths_of(self, shape: Sequence[int], group: int = 1) -> Dict[str, int]:
        """The widths of a Cell whose weight has this shape."""
        totals = (shape[0], shape[1] * group)
        inputs = totals[0 if self.form.input_axis is None else self.form.input_axis]
        filters = totals[self.form.filter_axis]
        return {INPUTS: inputs, FILTERS: filters, GROUPS: group, PARTS: filters // group}


@dataclass(frozen=True)
class Normalization:
    """A kind of Cell that shifts and scales every channel; '' where it has no such attribute."""

    cell: str  # its name
    over: str  # what mean and variance are taken of: 'batch' (constants in evaluation), 'layer', 'group', 'instance'
    width: str  # the attribute of the number of channels, of a layer normalization their shape
    gamma: str
    beta: str
    mean: str = ""
    variance: str = ""
    groups: str = ""  # the attribute of how many groups of channels there are


_ATTRIBUTES: Dict[str, Any] = {"group": "group", "stride": "stride", "padding": "pad_list", "dilation": "dilation"}
_MINT: Dict[str, Any] = {"bias": 2, "stride": 3, "padding": 4, "dilation": 5, "group": 6}

OPERATORS: Dict[str, Operator] = {operator.name: operator for operator in (
    *(Operator(name, CONVOLUTION, **_ATTRIBUTES) for name in ("Conv2D", "Conv3D")),
    *(Operator(name, CONVOLUTION, **_MINT) for name in ("Conv1DExt", "Conv2DExt", "Conv3DExt")),
    # What mint makes of a padding that is 'same'. Input 6 is whether it is transposed, 7 what is added to the output.
    Operator("Convolution", CONVOLUTION, **{**_MINT, "group": 8}),
    *(Operator(name, TRANSPOSED, **_ATTRIBUTES) for name in ("Conv2DTranspose", "Conv2DBackpropInput",
                                                             "Conv3DTranspose")),
    # Input 5 is what is added to the output's size.
    Operator("ConvTranspose2D", TRANSPOSED, bias=2, stride=3, padding=4, group=6, dilation=7),
    # Either side of a product may be turned, and either may be the weight: its rule finds out.
    *(Operator(name, DENSE) for name in ("MatMul", "MatMulExt", "BatchMatMul", "BatchMatMulExt")),
    Operator("Dense", DENSE, bias=2),
    Operator("Gather", EMBEDDING, weight=0),
    Operator("Embedding", EMBEDDING),
)}

NORMALIZERS: Dict[str, Normalizer] = {normalizer.name: normalizer for normalizer in (
    Normalizer("BatchNorm", "batch", mean=3, variance=4, training=5, epsilon=6),
    Normalizer("BatchNormExt", "batch", mean=3, variance=4, training=5, epsilon=7),
    Normalizer("InstanceNorm", "instance", mean=3, variance=4),
    *(Normalizer(name, "layer", epsilon=5) for name in ("LayerNorm", "LayerNormV3")),
    Normalizer("LayerNormExt", "layer", gamma=2, beta=3, epsilon=4),
    Normalizer("GroupNorm", "group", gamma=2, beta=3, epsilon=4),
)}


def _convolution(dimensions: int, operators: str, at: str, primitive: Mapping[str, str], turned: str = "") -> Layer:
    return Layer(f"nn.Conv{dimensions}d{turned}", TRANSPOSED if turned else CONVOLUTION, tuple(operators.split()),
                 dimensions, {"in_channels": INPUTS, "out_channels": FILTERS, "group": GROUPS}, primitive, at)


_MINT_WIDTHS = {"in_channels": INPUTS, "out_channels": FILTERS, "groups": GROUPS}
_PRIMITIVE = {"out_channel": FILTERS, "group": GROUPS}
# MindSpore names the width of what a transposed convolution reads after what a plain one makes.
_TURNED = {"out_channel": INPUTS, "group": GROUPS}

LAYERS: Dict[str, Layer] = {layer.cell: layer for layer in (
    _convolution(1, "Conv2D", "conv2d", _PRIMITIVE),
    _convolution(2, "Conv2D", "conv2d", _PRIMITIVE),
    # In groups, it calls its primitive for one after the other.
    _convolution(3, "Conv3D", "conv3d", {"out_channel": PARTS}),
    _convolution(1, "Conv2DBackpropInput Conv2DTranspose", "conv2d_transpose", _TURNED, "Transpose"),
    _convolution(2, "Conv2DTranspose Conv2DBackpropInput", "conv2d_transpose", _TURNED, "Transpose"),
    _convolution(3, "Conv3DTranspose", "conv3d_transpose",
                 {"in_channel": INPUTS, "out_channel": FILTERS, "group": GROUPS}, "Transpose"),
    Layer("nn.Dense", DENSE, ("MatMul", "Dense"), 0, {"in_channels": INPUTS, "out_channels": FILTERS}, {}),
    Layer("nn.Embedding", EMBEDDING, ("Gather",), 0, {"embedding_size": FILTERS}, {}, weight="embedding_table",
          bias=""),
    *(Layer(f"mint.nn.Conv{size}d", CONVOLUTION, (f"Conv{size}DExt", "Convolution"), size, _MINT_WIDTHS, {})
      for size in (1, 2, 3)),
    Layer("mint.nn.ConvTranspose2d", TRANSPOSED, ("ConvTranspose2D",), 2, _MINT_WIDTHS, {}),
    Layer("mint.nn.Linear", DENSE, ("Dense",), 0, {"in_features": INPUTS, "out_features": FILTERS}, {}),
    Layer("mint.nn.Embedding", EMBEDDING, ("Embedding",), 0, {"embedding_dim": FILTERS}, {}, bias=""),
)}


_NN = ("gamma", "beta", "moving_mean", "moving_variance")
_OF_MINT = ("weight", "bias", "running_mean", "running_var")

# A BatchNorm3d of nn holds a BatchNorm2d.
NORMALIZATIONS: Dict[str, Normalization] = {item.cell: item for item in (
    *(Normalization(f"nn.{name}", "batch", "num_features", *_NN)
      for name in ("BatchNorm1d", "BatchNorm2d", "SyncBatchNorm")),
    *(Normalization(f"nn.InstanceNorm{size}d", "instance", "num_features", *_NN) for size in (1, 2, 3)),
    Normalization("nn.LayerNorm", "layer", "normalized_shape", *_NN[:2]),
    Normalization("nn.GroupNorm", "group", "num_channels", *_NN[:2], groups="num_groups"),
    *(Normalization(f"mint.nn.{name}", "batch", "num_features", *_OF_MINT)
      for name in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")),
    Normalization("mint.nn.LayerNorm", "layer", "normalized_shape", *_OF_MINT[:2]),
    Normalization("mint.nn.GroupNorm", "group", "num_channels", *_OF_MINT[:2], groups="num_groups"),
)}


def add_layer(cell: type, like: str, weight: str = "", bias: Optional[str] = None, spatial: Optional[int] = None,
              widths: Optional[Mapping[str, str]] = None, operators: Sequence[str] = ()) -> None:
    """
    Teach golden_stick a layer of your own.

    Its filters are then masked where it reads them, scored, mixed by SCOP, slimmed with the attributes that hold their
    number, and folded with the normalization beside it, as those of MindSpore's layers are. That holds for subclasses
    too that inherit `construct` unchanged. Call it before the network is traced; a second call replaces the first.

    Args:
        cell (type): The class, a subclass of `nn.Cell`.
        like (str): The kind of layer that it is like, such as ``'nn.Conv2d'``, ``'nn.Dense'`` or ``'mint.nn.Linear'``:
            its weight is laid out alike. What is not given below is as it is there.
        weight (str): The attribute of the weight. Default: ``''``, that of `like`.
        bias (str): The attribute of the bias, which must be None in a Cell without one, and used where it is not;
            ``''`` for a class that has none. Default: ``None``, that of `like`.
        spatial (int): How many axes follow that of the channels in what the Cell reads. Default: ``None``, as in
            `like`.
        widths (Mapping): Attribute of the Cell -> the width that it holds: ``'inputs'``, ``'filters'`` or
            ``'groups'``. Default: ``None``, those of `like` that a Cell has.
        operators (Sequence): MindSpore's names of the operators that read the weight, as `golden-stick trace` prints
            them. One that has no rule needs one: :func:`golden_stick.graph.rules.add_rule`. Default: those of `like`.

    Raises:
        ArgumentTypeError: If `cell` is not a class of Cells.
        ArgumentError: If `like` is no kind of layer, or `widths` holds anything but the three widths.

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import Parameter, nn, ops
        >>> class Head(nn.Cell):
        ...     def __init__(self, inputs, classes):
        ...         super().__init__()
        ...         self.inputs, self.classes = inputs, classes
        ...         self.matrix = Parameter(ops.ones((classes, inputs)), name="matrix")
        ...     def construct(self, x):
        ...         return ops.dense(x, self.matrix)
        >>> gs.add_layer(Head, like="mint.nn.Linear", weight="matrix", bias="",
        ...              widths={"inputs": "inputs", "classes": "filters"})
    """
    if not isinstance(cell, type) or not hasattr(cell, "construct"):
        raise ArgumentTypeError(f"For 'add_layer', 'cell' must be a class of Cells, but got {cell!r}.")
    if like not in LAYERS:
        raise ArgumentError(f"For 'add_layer', 'like' must be one of {', '.join(map(repr, LAYERS))}, but got {like!r}.")
    model = LAYERS[like]
    held = dict(model.widths if widths is None else widths)
    if not set(held.values()) <= {INPUTS, FILTERS, GROUPS}:
        raise ArgumentError(f"For 'add_layer', 'widths' must hold '{INPUTS}', '{FILTERS}' and '{GROUPS}' alone, but "
                            f"got {held}.")
    LAYERS[name_of_class(cell)] = replace(
        model, cell=name_of_class(cell), weight=weight or model.weight, bias=model.bias if bias is None else bias,
        spatial=model.spatial if spatial is None else spatial, operators=tuple(operators) or model.operators,
        widths=held)


def name_of_class(cell: type) -> str:
    """The name of a kind that `add_layer` was given."""
    return f"{cell.__module__}.{cell.__qualname__}"


def layer_of(parameter: Parameter) -> Optional[Layer]:
    """The kind of layer that has a parameter for its weight; None if it is not one Cell's, or that is no such layer."""
    if len(parameter.owners) != 1:
        return None
    layer = LAYERS.get(parameter.owners[0].kind)
    return layer if layer and layer.weight == parameter.owners[0].attribute else None


def normalization_after(graph: Graph) -> Dict[str, str]:
    """Name of a weight -> name of the scale (gamma) of the normalization that reads what the weight makes, if that has
    one number for each channel. Only a bias may stand between them."""
    scales: Dict[str, str] = {}
    made: Dict[Result, Tuple[str, Optional[int]]] = {}  # what a weight makes: its name, and the channels' axis
    for node in graph.nodes:
        operator, normalizer, shape = OPERATORS.get(node.operator), NORMALIZERS.get(node.operator), node.shapes[0]
        weight = node.inputs[operator.weight] if operator else None
        if operator and isinstance(weight, Parameter):
            made[Result(node.number)] = weight.name, operator.form.channel_axis % len(shape)
        source = node.inputs[0] if node.inputs and isinstance(node.inputs[0], Result) else Result(-1)
        name, axis = made.get(source, ("", None))
        if axis is None:
            continue
        if node.operator in ("BiasAdd", "Squeeze", "Reshape", "Cast"):
            made[Result(node.number)] = name, _same_axis(graph.shape(source), axis, shape)
        elif normalizer and axis == (len(shape) - 1 if normalizer.over == "layer" else 1):
            gamma = node.inputs[normalizer.gamma]
            if isinstance(gamma, Parameter) and gamma.shape == (shape[axis],):
                scales.setdefault(name, gamma.name)
    return scales


def _same_axis(before: Sequence[int], axis: int, after: Sequence[int]) -> Optional[int]:
    """Where an axis of a tensor is after a reshape; None if it is split or joined with others."""
    return next((place for place, size in enumerate(after)
                 if size == before[axis] and math.prod(after[:place]) == math.prod(before[:axis])), None)


def scales_after(graph: Graph, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """
    Name of a weight -> the scale of the normalization behind it, one number for each filter; `values` by name.

    The filters of a transposed convolution in groups make a channel in each: theirs is the mean magnitude.
    """
    transposed = {node.inputs[1].name: node.inputs[1].shape[1] for node in graph.nodes
                  if node.operator in OPERATORS and OPERATORS[node.operator].form is TRANSPOSED
                  and isinstance(node.inputs[1], Parameter)}
    scales = {weight: values[gamma] for weight, gamma in normalization_after(graph).items()}
    return {weight: scale if transposed.get(weight, len(scale)) == len(scale)
            else np.abs(scale).reshape(-1, transposed[weight]).mean(0) for weight, scale in scales.items()}
