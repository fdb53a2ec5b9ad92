"""
What every kind of layer and of normalization is, said once: labels, costs, criteria, slimming, the knockoff phase,
folding and export all read it here.

A `Layer` is a kind of Cell, with the operators that read its weight. An `Operator` says where such an operator holds
its arguments. A `Normalization` is a kind of Cell that shifts and scales channels.
"""
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Tuple, Union

from golden_stick.graph.ir import Graph, Parameter, Result

__all__ = ["CONVOLUTION", "DENSE", "EMBEDDING", "FILTERS", "GROUPS", "INPUTS", "LAYERS", "NORMALIZATIONS", "OPERATORS",
           "TRANSPOSED", "Form", "Layer", "Normalization", "Operator", "normalization_after"]

# The widths that attributes of a Cell and arguments of its primitive hold.
INPUTS = "inputs"  # channels that it reads
FILTERS = "filters"  # channels that it makes
GROUPS = "groups"  # groups of channels that it works on one by one


@dataclass(frozen=True)
class Form:
    """
    How a weight is laid out.

    Args:
        name (str): Of the form, for messages.
        filter_axis (int): The weight's axis that makes channels.
        input_axis (int): The weight's axis that sums channels up; None if it sums none.
        channel_axis (int): The axis of the channels in what the Cell reads and makes.
    """

    name: str
    filter_axis: int
    input_axis: Optional[int]
    channel_axis: int


CONVOLUTION = Form("convolution", 0, 1, 1)  # (C_out, C_in / group, *kernel)
TRANSPOSED = Form("transposed convolution", 1, 0, 1)  # (C_in, C_out / group, *kernel)
DENSE = Form("dense layer", 0, 1, -1)  # (C_out, C_in)
EMBEDDING = Form("embedding", 1, None, -1)  # (vocabulary, C_out)


@dataclass(frozen=True)
class Operator:
    """
    An operator that multiplies by the weight of a layer.

    Its arguments are given by name where they are attributes of the primitive, by number where they are inputs.

    Args:
        name (str): MindSpore's name of the primitive.
        form (Form): How its weight is laid out.
        group (Union[str, int, None]): The number of groups.
        stride (Union[str, int, None]): The stride.
        padding (Union[str, int, None]): The padding.
        dilation (Union[str, int, None]): The dilation.
        bias (int): The bias, if the operator adds it. Default: ``None``.
        onnx (str): ONNX's name.
    """

    name: str
    form: Form
    onnx: str
    group: Union[str, int, None] = None
    stride: Union[str, int, None] = None
    padding: Union[str, int, None] = None
    dilation: Union[str, int, None] = None
    bias: Optional[int] = None


@dataclass(frozen=True)
class Layer:
    """
    A kind of Cell with a weight that makes channels.

    Args:
        cell (str): The class, as ``'nn.Conv2d'`` or ``'mint.nn.Linear'``.
        form (Form): How its weight is laid out.
        operators (tuple[str]): What reads the weight.
        spatial (int): How many axes follow the channels' in what the Cell reads; 0 where they are the last.
        widths (Mapping): Attribute of the Cell -> the width that it holds.
        primitive (Mapping): Argument of the Cell's primitive -> the width that it holds; empty if it holds none.
        primitive_at (str): The attribute that holds the primitive.
        weight (str): The attribute of the weight.
        bias (str): The attribute of the bias, which is None in a Cell without one; '' if the kind has none.
    """

    cell: str
    form: Form
    operators: Tuple[str, ...]
    spatial: int
    widths: Mapping[str, str]
    primitive: Mapping[str, str]
    primitive_at: str = ""
    weight: str = "weight"
    bias: str = "bias"


@dataclass(frozen=True)
class Normalization:
    """
    A kind of Cell that shifts and scales every channel.

    Args:
        cell (str): The class, as ``'nn.BatchNorm2d'``.
        over (str): What mean and variance are taken of: ``'batch'`` (constants in evaluation), ``'layer'``,
            ``'group'`` or ``'instance'``.
        operators (tuple[str]): What computes it.
        gamma (str): The attribute of the scale.
        beta (str): The attribute of the shift.
        mean (str): The attribute of the moving mean; '' if there is none.
        variance (str): The attribute of the moving variance; '' if there is none.
        epsilon (str): The attribute of epsilon.
        widths (tuple[str]): The attributes that hold the number of channels.
    """

    cell: str
    over: str
    operators: Tuple[str, ...]
    gamma: str
    beta: str
    mean: str
    variance: str
    epsilon: str
    widths: Tuple[str, ...]


_ATTRIBUTES = {"group": "group", "stride": "stride", "padding": "pad_list", "dilation": "dilation"}
_MINT = {"bias": 2, "stride": 3, "padding": 4, "dilation": 5, "group": 6}

OPERATORS: Dict[str, Operator] = {operator.name: operator for operator in (
    *(Operator(name, CONVOLUTION, "Conv", **_ATTRIBUTES) for name in ("Conv2D", "Conv3D")),
    *(Operator(name, CONVOLUTION, "Conv", **_MINT) for name in ("Conv1DExt", "Conv2DExt", "Conv3DExt")),
    *(Operator(name, TRANSPOSED, "ConvTranspose", **_ATTRIBUTES)
      for name in ("Conv2DTranspose", "Conv2DBackpropInput", "Conv3DTranspose")),
    # Input 5 is what is added to the output's size.
    Operator("ConvTranspose2D", TRANSPOSED, "ConvTranspose", bias=2, stride=3, padding=4, group=6, dilation=7),
    Operator("Dense", DENSE, "MatMul", bias=2),
)}


def _convolution(dimensions: int, operators: str, primitive_at: str) -> Layer:
    return Layer(f"nn.Conv{dimensions}d", CONVOLUTION, tuple(operators.split()), dimensions,
                 {"in_channels": INPUTS, "out_channels": FILTERS, "group": GROUPS},
                 {"out_channel": FILTERS, "group": GROUPS}, primitive_at)


def _transposed(dimensions: int, operators: str, primitive: Mapping[str, str], primitive_at: str) -> Layer:
    return Layer(f"nn.Conv{dimensions}dTranspose", TRANSPOSED, tuple(operators.split()), dimensions,
                 {"in_channels": INPUTS, "out_channels": FILTERS, "group": GROUPS}, primitive, primitive_at)


_MINT_WIDTHS = {"in_channels": INPUTS, "out_channels": FILTERS, "groups": GROUPS}
# MindSpore names the width of what a transposed convolution reads after what a plain one makes.
_TURNED = {"out_channel": INPUTS, "group": GROUPS}

LAYERS: Dict[str, Layer] = {layer.cell: layer for layer in (
    _convolution(1, "Conv2D", "conv2d"),
    _convolution(2, "Conv2D", "conv2d"),
    _convolution(3, "Conv3D", "conv3d"),
    _transposed(1, "Conv2DBackpropInput Conv2DTranspose", _TURNED, "conv2d_transpose"),
    _transposed(2, "Conv2DTranspose Conv2DBackpropInput", _TURNED, "conv2d_transpose"),
    _transposed(3, "Conv3DTranspose", {"in_channel": INPUTS, "out_channel": FILTERS, "group": GROUPS},
                "conv3d_transpose"),
    Layer("nn.Dense", DENSE, ("MatMul", "Dense"), 0, {"in_channels": INPUTS, "out_channels": FILTERS}, {}),
    Layer("nn.Embedding", EMBEDDING, ("Gather",), 0, {"embedding_size": FILTERS}, {}, weight="embedding_table",
          bias=""),
    *(Layer(f"mint.nn.Conv{size}d", CONVOLUTION, (f"Conv{size}DExt",), size, _MINT_WIDTHS, {}) for size in (1, 2, 3)),
    Layer("mint.nn.ConvTranspose2d", TRANSPOSED, ("ConvTranspose2D",), 2, _MINT_WIDTHS, {}),
    Layer("mint.nn.Linear", DENSE, ("Dense",), 0, {"in_features": INPUTS, "out_features": FILTERS}, {}),
)}


def _of_nn(cell: str, over: str, operator: str, epsilon: str, *widths: str, statistics: bool = False) -> Normalization:
    mean, variance = ("moving_mean", "moving_variance") if statistics else ("", "")
    return Normalization(f"nn.{cell}", over, (operator,), "gamma", "beta", mean, variance, epsilon, widths)


def _of_mint(cell: str, over: str, operator: str, *widths: str, statistics: bool = False) -> Normalization:
    mean, variance = ("running_mean", "running_var") if statistics else ("", "")
    return Normalization(f"mint.nn.{cell}", over, (operator,), "weight", "bias", mean, variance, "eps", widths)


NORMALIZATIONS: Dict[str, Normalization] = {kind.cell: kind for kind in (
    *(_of_nn(cell, "batch", "BatchNorm", "eps", "num_features", statistics=True)
      for cell in ("BatchNorm1d", "BatchNorm2d", "SyncBatchNorm")),
    *(_of_nn(f"InstanceNorm{size}d", "instance", "InstanceNorm", "eps", "num_features", statistics=True)
      for size in (1, 2, 3)),
    _of_nn("LayerNorm", "layer", "LayerNorm", "epsilon", "normalized_shape"),
    _of_nn("GroupNorm", "group", "GroupNorm", "eps", "num_channels"),
    *(_of_mint(f"BatchNorm{size}d", "batch", "BatchNormExt", "num_features", statistics=True) for size in (1, 2, 3)),
    _of_mint("SyncBatchNorm", "batch", "BatchNormExt", "num_features", statistics=True),
    _of_mint("LayerNorm", "layer", "LayerNormExt", "normalized_shape"),
    _of_mint("GroupNorm", "group", "GroupNorm", "num_channels"),
)}

_CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "MatMul"})
# What may stand between a convolution and its normalization without changing which channel is which.
_BETWEEN = frozenset({"BiasAdd", "Squeeze", "Reshape"})


def normalization_after(graph: Graph) -> Dict[str, str]:
    """Name of a weight -> name of the scale (gamma) of the batch normalization that reads what the weight makes."""
    found: Dict[str, str] = {}
    maker: Dict[Result, str] = {}
    for node in graph.nodes:
        if node.operator in _CONVOLUTIONS and isinstance(node.inputs[1], Parameter):
            maker[Result(node.number)] = node.inputs[1].name
        source = node.inputs[0] if node.inputs else None
        weight = maker.get(source) if isinstance(source, Result) else None
        if weight is None:
            continue
        if node.operator in _BETWEEN:
            maker[Result(node.number)] = weight
        elif node.operator == "BatchNorm" and isinstance(node.inputs[1], Parameter):
            found.setdefault(weight, node.inputs[1].name)
    return found
