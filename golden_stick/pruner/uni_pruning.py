"""`UniPruner`: training that zeroes the least channels again and again. And layers with masks, zeroed or cut."""
import os
from types import SimpleNamespace
from typing import Any, Sequence, Tuple, Type, Union

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.train import Callback

from golden_stick.base.config import FRACTION, OfType, Option, Whole, with_options
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.cells.slim import resize
from golden_stick.cells.wrappers import copy_network
from golden_stick.comp_algo import AlgorithmCallback, Applied, CompAlgo, unwarned_of_optimizers, warn_of_optimizers
from golden_stick.graph.plan import KeptAxis
from golden_stick.prune.one_shot import OneShot

__all__ = ["MaskedCell", "MaskedConv2d", "MaskedDense", "UniPruner"]

Shape = Union[int, Sequence[int], None]


@with_options
class UniPruner(CompAlgo):
    """
    Train as usual, but let the channels that matter least become zeros every few epochs; then cut them off.

    Channels are ranked over all layers by the squared norm of their weights, each layer's divided by its largest, and
    as many go as bring the parameters down to `target_sparsity`. They may grow again before the next time; the last
    one is at the end of training, so that `convert` removes what does nothing. `apply` returns the network itself:
    it is trained, and zeroed, as it is.

    Args:
        config (dict): Keys, besides `save_mindir` and `save_mindir_path`:

            {options}

    Raises:
        ArgumentTypeError: If `config` is not a dict, or a value is of another type.
        ArgumentError: If a key is unknown, or a value out of range.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> from golden_stick.pruner import UniPruner
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> algorithm = UniPruner({"target_sparsity": 0.6, "pruning_step": 2, "filter_lower_threshold": 2,
        ...                        "input_size": (1, 3, 16, 16)})
        >>> net = algorithm.apply(net)
        >>> algorithm.zero()
        >>> print(algorithm.convert(net)[0].weight.shape)
        (4, 3, 3, 3)
    """

    options = {
        "prune_flag": Option(1, Whole(0, 1), "0: nothing is zeroed"),
        "target_sparsity": Option(0.5, FRACTION, "the fraction of the parameters that is left, in (0, 1)"),
        "frequency": Option(9, Whole(1), "epochs from one zeroing to the next"),
        "pruning_step": Option(32, Whole(1), "layers that shrink keep a multiple of so many filters"),
        "filter_lower_threshold": Option(32, Whole(1), "every layer keeps so many filters, or all that it has"),
        "input_size": Option((16, 3, 224, 224), OfType((tuple, list), "a shape"), "the shape that `construct` takes"),
        "exp_name": Option("", OfType((str,), "a str"), "name of a folder in `output_path`, and of checkpoints in it"),
        "output_path": Option("", OfType((str,), "a str"), "a folder for a checkpoint of each zeroing; empty: none"),
        "rank": Option(0, Whole(0), "of this process, in the names of checkpoints"),
        "device_target": Option("CPU", OfType((str,), "a str"), "taken, not used: MindSpore's context says it"),
    }

    def apply(self, network: nn.Cell, inputs: Any = None) -> nn.Cell:
        """
        Find out what can be removed; `network` itself is returned, and changed in training alone. `inputs` are what
        `construct` takes, where that is not one Tensor of the shape `input_size`. Raises what `OneShot.apply` raises.
        """
        self.refuse_second_apply()
        inputs = tuple(self.settings["input_size"]) if inputs is None else inputs
        self._pruner = self._one_shot()
        self._task = self._pruner.find_task(network, inputs)
        self.applied = Applied(network, inputs)
        return network

    @property
    def graph_anaylzer(self) -> SimpleNamespace:
        """Under the name that scripts ask for: `groups` of channels, those that stay and the inputs among them."""
        return SimpleNamespace(groups=(*self._task.grouping, *self._task.grouping.fixed, *self._task.graph.inputs))

    def _one_shot(self) -> OneShot:
        told = self.settings
        return OneShot({"criterion": "l2", "normalizer": "max", "ranking": "global", "round": "nearest",
                        "target_params": told["target_sparsity"], "round_to": told["pruning_step"],
                        "min_width": told["filter_lower_threshold"]})

    def zero(self) -> None:
        """Let the channels that matter least be zeros. `callbacks` sees to it; a loop of one's own calls it."""
        parameters = {parameter.name: parameter for parameter in self.applied.network.trainable_params()}
        plan = self._pruner.choose(self._task, self._pruner.score_filters(self._task)).plan
        for axis in (axis for axis in plan.axes if axis.parameter in parameters):
            stays = np.isin(np.arange(axis.size), axis.kept).reshape((-1,) + (1,) * (
                parameters[axis.parameter].ndim - axis.axis - 1))
            values = parameters[axis.parameter].asnumpy() * stays
            # Not set_data: in PyNative mode that would cut the parameter off from its optimizer.
            ops.assign(parameters[axis.parameter], Tensor(values, parameters[axis.parameter].dtype))

    def main_callback(self) -> Callback:
        """For `Model.train`: it zeroes before every `frequency`-th epoch, from the first, and after the last."""
        _ = self.applied
        return _Zeroing(self)

    def convert(self, net_opt: nn.Cell, ckpt_path: str = "") -> nn.Cell:
        """
        The slim network, checked against the masked one: what is zero goes first. `net_opt` is not changed, but for a
        checkpoint at `ckpt_path`. Raises what `apply` and `convert` of `OneShot` raise.
        """
        network, pruner = super().convert(net_opt, ckpt_path), self._one_shot()
        inputs = self.applied.inputs if self.is_applied else tuple(self.settings["input_size"])
        with unwarned_of_optimizers():
            slim = pruner.convert(pruner.apply(network, inputs))
        warn_of_optimizers(type(self).__name__, network.get_parameters())
        self.report = pruner.report
        return slim


class _Zeroing(AlgorithmCallback):
    """When a `UniPruner` zeroes."""

    def __init__(self, algorithm: UniPruner):
        super().__init__(algorithm)
        self._pruner = algorithm
        told = algorithm.settings
        #: Where checkpoints are, under the name that scripts ask for.
        self.output_path = os.path.realpath(os.path.join(told["output_path"], told["exp_name"]))

    def on_train_epoch_begin(self, run_context: Any) -> None:
        epoch = run_context.original_args().cur_epoch_num
        if (epoch - 1) % self._pruner.settings["frequency"] == 0:
            self._zero(epoch)

    def on_train_epoch_end(self, run_context: Any) -> None:
        told = run_context.original_args()
        if told.cur_epoch_num == told.epoch_num:
            self._zero(told.cur_epoch_num)

    def _zero(self, epoch: int) -> None:
        told = self._pruner.settings
        if not told["prune_flag"]:
            return
        self._pruner.zero()
        if told["output_path"]:
            os.makedirs(self.output_path, exist_ok=True)
            name = f"{told['exp_name']}_zeroed_rank{told['rank']}_epoch{epoch}.ckpt"
            ms.save_checkpoint(self._pruner.applied.network, os.path.join(self.output_path, name))


class MaskedCell(nn.Cell):
    """
    A layer, with a mask of its inputs and one of its outputs: 1 where a channel stays, 0 where it goes.

    Args:
        handler (nn.Cell): The layer. It is used, not copied.
        in_mask_shape (Union[int, tuple[int], list[int]]): Shape of the mask of inputs. Default: ``None``, as many as
            the layer's `in_channels`.
        out_mask_shape (Union[int, tuple[int], list[int]]): Shape of the mask of outputs. Default: ``None``, as many as
            the layer's `out_channels`.

    Inputs:
        - **inputs** (Tensor) - What the layer takes.

    Outputs:
        Tensor, what the layer gives. The masks have no say in it before `zeroing` or `prune`.

    Raises:
        ArgumentTypeError: If `handler` is not of the right class, or a shape is none.
        ArgumentError: If a shape holds a number below 1.

    Supported Platforms:
        ``CPU``
    """

    kind: Type[nn.Cell] = nn.Cell

    def __init__(self, handler: nn.Cell, in_mask_shape: Shape = None, out_mask_shape: Shape = None):
        super().__init__()
        if not isinstance(handler, self.kind):
            raise ArgumentTypeError(f"For '{type(self).__name__}', 'handler' must be a {self.kind.__name__}, but got "
                                    f"{type(handler).__name__}.")
        self.handler = handler
        self.in_mask = self._ones("in", in_mask_shape)
        self.out_mask = self._ones("out", out_mask_shape)

    def _ones(self, side: str, given: Any) -> Parameter:
        shape = getattr(self.handler, f"{side}_channels", None) if given is None else given
        if not isinstance(shape, (int, tuple, list)):
            raise ArgumentTypeError(f"For '{type(self).__name__}', '{side}_mask_shape' must be an int, or a tuple or "
                                    f"list of such, but got {type(shape).__name__}.")
        if np.less(shape, 1).any():
            raise ArgumentError(f"For '{type(self).__name__}', '{side}_mask_shape' must be of numbers of at least 1, "
                                f"but got {shape}.")
        return Parameter(Tensor(np.ones(shape, np.int8)), name=f"{side}_mask", requires_grad=False)

    def set_in_mask(self, in_mask: np.ndarray) -> None:
        """Set the mask of inputs: int8, of the shape that it has."""
        self._set("in_mask", in_mask)

    def set_out_mask(self, out_mask: np.ndarray) -> None:
        """Set the mask of outputs: int8, of the shape that it has."""
        self._set("out_mask", out_mask)

    def _set(self, name: str, mask: np.ndarray) -> None:
        held = getattr(self, name)
        if mask.dtype != np.int8 or mask.shape != held.shape:
            raise ArgumentError(f"For '{type(self).__name__}', '{name}' must be int8 of shape {held.shape}, but got "
                                f"{mask.dtype} of shape {mask.shape}.")
        held.set_data(Tensor(mask))

    def _kept(self) -> Tuple[np.ndarray, np.ndarray]:
        """Positions of the outputs and inputs that stay: axes 0 and 1 of the weight."""
        return np.flatnonzero(self.out_mask.asnumpy()), np.flatnonzero(self.in_mask.asnumpy())

    def _parameters(self) -> Sequence[Parameter]:
        return [item for item in (self.handler.weight, self.handler.bias) if item is not None]

    def zeroing(self) -> None:
        """Zeros for the weights of what the masks take away, and for its bias."""
        for parameter in self._parameters():
            values, kept = np.zeros(parameter.shape, np.float32), np.ix_(*self._kept()[:parameter.ndim])
            values[kept] = parameter.asnumpy()[kept]
            parameter.set_data(Tensor(values, parameter.dtype))

    def prune(self) -> nn.Cell:
        """The layer without what the masks take away: a new one, which is `handler` from now on."""
        # A copy: MindSpore remembers the shapes of one that has run.
        self.handler = copy_network(self.handler)
        kept = self._kept()
        cuts = {item.name: tuple(KeptAxis(item.name, axis, item.shape[axis], tuple(kept[axis].tolist()))
                                 for axis in range(min(item.ndim, 2))) for item in self._parameters()}
        values = {item.name: item.asnumpy()[np.ix_(*kept[:item.ndim])] for item in self._parameters()}
        resize(self.handler, values, cuts)
        ms.ms_memory_recycle()
        return self.handler

    def construct(self, *inputs: Tensor) -> Tensor:
        return self.handler(*inputs)


class MaskedConv2d(MaskedCell):
    __doc__ = (MaskedCell.__doc__ or "").replace("A layer,", "A convolution,")
    kind = nn.Conv2d


class MaskedDense(MaskedCell):
    __doc__ = (MaskedCell.__doc__ or "").replace("A layer,", "A dense layer,")
    kind = nn.Dense
