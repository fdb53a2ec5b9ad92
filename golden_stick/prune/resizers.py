"""What brings the attributes of a Cell in line with its parameters, once they have shrunk: one function a class."""
from typing import Callable, Dict, Mapping

from mindspore import mint, nn

from golden_stick.errors import ArgumentTypeError

__all__ = ["resizer_of", "add_resizer"]

Resizer = Callable[[nn.Cell], None]


def resizer_of(cell: nn.Cell) -> Resizer:
    """The function to call once the parameters of a Cell have shrunk; to be asked for before they do."""
    if isinstance(cell, _CONVOLUTIONS):
        return _resize_depthwise if cell.group == cell.in_channels > 1 else _resize_convolution
    if isinstance(cell, _TRANSPOSED):
        return _resize_transposed_depthwise if cell.group == cell.in_channels > 1 else _resize_transposed
    return next((resize for kind, resize in reversed(_RESIZERS.items()) if isinstance(cell, kind)), _leave)


def add_resizer(kind: type, resize: Resizer) -> None:
    """
    Teach golden_stick a Cell of your own that holds its width in an attribute.

    Cells that read the shapes of their parameters, or hold no parameters themselves, need none.

    Args:
        kind (type): The class, a subclass of `nn.Cell`. Subclasses of it are resized alike.
        resize (Callable): Takes the Cell, whose parameters have shrunk already, and sets its attributes.

    Raises:
        ArgumentTypeError: If `kind` is not a class of Cells, or `resize` cannot be called.

    Examples:
        >>> from golden_stick.prune import add_resizer
        >>> from mindspore import nn
        >>> class Scale(nn.Cell):
        ...     pass
        >>> add_resizer(Scale, lambda cell: setattr(cell, "width", cell.weight.shape[0]))
    """
    if not (isinstance(kind, type) and issubclass(kind, nn.Cell)):
        raise ArgumentTypeError(f"For 'add_resizer', 'kind' must be a class of Cells, but got {kind!r}.")
    if not callable(resize):
        raise ArgumentTypeError(f"For 'add_resizer', 'resize' must be a function, but got {type(resize).__name__}.")
    _RESIZERS[kind] = resize


def _resize_convolution(cell: nn.Cell) -> None:
    cell.out_channels = cell.weight.shape[0]
    cell.in_channels = cell.weight.shape[1] * cell.group
    _renew_primitive(cell, {"out_channel": cell.out_channels})


def _resize_depthwise(cell: nn.Cell) -> None:
    multiplier = cell.out_channels // cell.group
    cell.out_channels = cell.weight.shape[0]
    cell.in_channels = cell.group = cell.out_channels // multiplier
    _renew_primitive(cell, {"out_channel": cell.out_channels, "group": cell.group})


def _resize_transposed(cell: nn.Cell) -> None:
    cell.in_channels, cell.out_channels = cell.weight.shape[0], cell.weight.shape[1] * cell.group
    _renew_transposed(cell)


def _resize_transposed_depthwise(cell: nn.Cell) -> None:
    cell.in_channels = cell.group = cell.weight.shape[0]
    cell.out_channels = cell.group * cell.weight.shape[1]
    _renew_transposed(cell)


def _renew_transposed(cell: nn.Cell) -> None:
    # MindSpore names the width of what a transposed convolution reads after what a plain one makes.
    widths = {"out_channel": cell.in_channels, "group": cell.group}
    if isinstance(cell, nn.Conv3dTranspose):
        widths = {"in_channel": cell.in_channels, "out_channel": cell.out_channels, "group": cell.group}
    _renew_primitive(cell, widths)


def _renew_primitive(cell: nn.Cell, arguments: Mapping[str, int]) -> None:
    """A new primitive, not a changed one: a copy of a changed one would be made from its old arguments."""
    name = next(name for name in ("conv2d", "conv3d", "conv2d_transpose", "conv3d_transpose") if hasattr(cell, name))
    old = getattr(cell, name)
    setattr(cell, name, type(old)(**{**old.init_attrs, **arguments}))


def _resize_dense(cell: nn.Cell) -> None:
    cell.out_channels, cell.in_channels = cell.weight.shape


def _resize_linear(cell: nn.Cell) -> None:
    cell.out_features, cell.in_features = cell.weight.shape


def _resize_mint_convolution(cell: nn.Cell) -> None:
    depthwise = cell.groups == cell.in_channels > 1
    multiplier = cell.out_channels // cell.groups
    cell.out_channels = cell.weight.shape[0]
    if depthwise:
        cell.groups = cell.out_channels // multiplier
    cell.in_channels = cell.weight.shape[1] * cell.groups


def _resize_batch_normalization(cell: nn.Cell) -> None:
    cell.num_features = cell.gamma.shape[0]


def _resize_layer_normalization(cell: nn.Cell) -> None:
    cell.normalized_shape = tuple(cell.gamma.shape)


def _resize_group_normalization(cell: nn.Cell) -> None:
    cell.num_channels = cell.gamma.shape[0]


def _resize_embedding(cell: nn.Cell) -> None:
    cell.embedding_size = cell.embedding_table.shape[1]


def _leave(cell: nn.Cell) -> None:
    """A Cell of the user's own, which reads the shapes of its parameters; slimming for trial finds out if not."""


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.Conv1dTranspose, nn.Conv2dTranspose, nn.Conv3dTranspose)
# The last that fits is taken, so that what users add comes first.
_RESIZERS: Dict[type, Resizer] = {
    nn.Dense: _resize_dense,
    nn.BatchNorm1d: _resize_batch_normalization,
    nn.BatchNorm2d: _resize_batch_normalization,
    nn.LayerNorm: _resize_layer_normalization,
    nn.GroupNorm: _resize_group_normalization,
    nn.Embedding: _resize_embedding,
    mint.nn.Linear: _resize_linear,
    mint.nn.Conv2d: _resize_mint_convolution,
}
