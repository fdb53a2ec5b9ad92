"""`distill`: a slim network trained on the answers of a teacher, besides the labels."""
import math
from typing import Any, Callable, Optional

from mindspore import nn, ops

from golden_stick.base.config import Interval, Whole, check_value, in_own_name
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.cells.wrappers import copy_network

__all__ = ["Distillation", "distill"]


class _Teacher(nn.Cell):
    """A network that gives no gradients and stays in evaluation, whatever is trained around it."""

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.set_train(False)

    def add_flags_recursive(self, **flags: Any) -> nn.Cell:
        """Pass flags on, but no training flag other than False."""
        return super().add_flags_recursive(**{**flags, **({"training": False} if "training" in flags else {})})

    def construct(self, *inputs):
        return self.network(*inputs)


class Distillation(nn.Cell):
    r"""
    The loss of a batch, to be minimized: what :func:`golden_stick.distill` returns.

    .. math::
        (1 - w) \, L(s, y) + w \, T^2 \, \mathrm{KL}(\mathrm{softmax}(t / T) \,\|\, \mathrm{softmax}(s / T))

    with the logits :math:`s` of the slim network and :math:`t` of the teacher, summed over classes, and the mean over
    all else.

    Args:
        slim, teacher (nn.Cell): The networks; neither is copied here, and all of `slim` is trained.
        loss (Callable): :math:`L`, or None.
        temperature, weight (float): :math:`T` and :math:`w`.
        inputs (int): How many items at the beginning of a batch the networks take.
        logits (Callable): Takes what a network gives and returns its logits, or None.

    Inputs:
        - **batch** (Tensor) - The items of a batch: the inputs of the networks, then what the loss takes besides.

    Outputs:
        Tensor of float32, a scalar.

    Raises:
        ValueError: If the logits of the two have other shapes, or no axis 1 of at least two classes.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, slim: nn.Cell, teacher: nn.Cell, loss: Optional[Callable], temperature: float, weight: float,
                 inputs: int, logits: Optional[Callable]):
        # Parameters keep the names that they have in the slim network.
        super().__init__(auto_prefix=False)
        self.slim, self.teacher, self.loss, self.logits = slim, _Teacher(teacher), loss, logits
        self.temperature, self.weight, self.inputs = temperature, weight, inputs

    def construct(self, *batch):
        output, wanted = self.slim(*batch[:self.inputs]), self.teacher(*batch[:self.inputs])
        logits = output
        if self.logits is not None:
            logits, wanted = self.logits(output), self.logits(wanted)
        if logits.shape != wanted.shape or logits.ndim < 2 or logits.shape[1] < 2:
            raise ValueError("For 'distill', the logits of slim network and teacher must have one shape, with two "
                             "classes or more along axis 1, but they have not: 'logits' can pick them.")
        given = ops.log_softmax(logits.float() / self.temperature, 1)
        wanted = ops.stop_gradient(ops.log_softmax(wanted.float() / self.temperature, 1))
        soft = self.temperature ** 2 * (ops.exp(wanted) * (wanted - given)).sum(1).mean()
        if self.weight == 1.0:
            return soft
        return self.weight * soft + (1.0 - self.weight) * self.loss(output, *batch[self.inputs:]).float()


@in_own_name
def distill(slim: nn.Cell, teacher: nn.Cell, loss: Optional[Callable] = None, temperature: float = 4.0,
            weight: float = 0.9, inputs: int = 1, logits: Optional[Callable] = None) -> Distillation:
    """
    A Cell that gives the loss to fine-tune a slim network by: that of the labels, and how far its answers are from
    those of a teacher, most often the original network.

    Train it as it is: ``Model(cell, optimizer=optimizer).train(...)``, or by a loop of your own. `slim` itself is
    trained, keeps its names, and needs nothing of the Cell afterwards. The teacher is a copy in evaluation, whose
    parameters are none of `trainable_params()`.

    Source: Hinton et al., `Distilling the Knowledge in a Neural Network <https://arxiv.org/abs/1503.02531>`_, 2015,
    with the divergence in the place of the cross entropy, from which it differs by a constant: it is 0 where both
    networks answer alike.

    Args:
        slim (nn.Cell): The network to train.
        teacher (nn.Cell): The network to learn from. It is not changed.
        loss (Callable): Takes the output of `slim` and the rest of a batch. A mean over the batch, such as
            `nn.CrossEntropyLoss()`. Default: ``None``, where `weight` is 1: labels are not needed then.
        temperature (float): What logits are divided by, over 0: the higher, the more is learnt of classes that are
            unlikely. Default: 4.0.
        weight (float): Of the teacher's answers, in [0, 1]; the labels have the rest. Default: 0.9.
        inputs (int): How many items at the beginning of a batch the networks take. Default: 1.
        logits (Callable): Takes what a network gives and returns its logits, with classes along axis 1, for networks
            that give more than these. `loss` gets all of it. Default: ``None``, a network gives its logits.

    Returns:
        :class:`golden_stick.recover.distill.Distillation`, a Cell that takes the items of a batch and gives a scalar.

    Raises:
        ArgumentTypeError: If a network is not a Cell, `loss` or `logits` cannot be called, or a number is none.
        ArgumentError: If a number is out of range, or there is no `loss` and `weight` is below 1.
        SlimError: If the teacher cannot be copied.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import numpy as np
        >>> import golden_stick as gs
        >>> from mindspore import Tensor, nn
        >>> net = nn.SequentialCell(nn.Dense(4, 16), nn.ReLU(), nn.Dense(16, 3))
        >>> algo = gs.OneShot({"prune_rate": 0.5})
        >>> slim = algo.convert(algo.apply(net, inputs=(1, 4)))
        >>> cell = gs.distill(slim, net, nn.CrossEntropyLoss())
        >>> step = nn.TrainOneStepCell(cell, nn.Adam(cell.trainable_params(), 1e-3))
        >>> images, labels = Tensor(np.ones((8, 4), np.float32)), Tensor(np.arange(8, dtype=np.int32) % 3)
        >>> print(step(images, labels).shape, [item.name for item in cell.trainable_params()][:2])
        () ['0.weight', '0.bias']
    """
    for name, network in (("slim", slim), ("teacher", teacher)):
        if not isinstance(network, nn.Cell):
            raise ArgumentTypeError(f"For 'distill', slim network and teacher must be Cells, but '{name}' is a "
                                    f"{type(network).__name__}.")
    for name, function in (("loss", loss), ("logits", logits)):
        if function is not None and not callable(function):
            raise ArgumentTypeError(f"For 'distill', '{name}' must be something that takes outputs, but got "
                                    f"{type(function).__name__}.")
    for name, value, constraint in (("temperature", temperature, Interval(0.0, math.inf, open=True)),
                                    ("weight", weight, Interval(0.0, 1.0, closed=True)), ("inputs", inputs, Whole(1))):
        check_value("distill", name, value, constraint)
    if loss is None and weight < 1:
        raise ArgumentError(f"For 'distill', 'weight' must be 1 where there is no 'loss' for the labels, but got "
                            f"{weight!r}.")
    copied = copy_network(teacher, "distill")
    for parameter in copied.get_parameters():
        # Graph mode refuses two parameters of one name.
        parameter.name, parameter.requires_grad = f"teacher.{parameter.name}", False
    return Distillation(slim, copied, loss, float(temperature), float(weight), int(inputs), logits)
