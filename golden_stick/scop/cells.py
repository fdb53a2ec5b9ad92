"""
The Cells of SCOP: knockoffs enter with the batch, or layer by layer, and every controlled layer mixes them in. In
evaluation, gates hide what would go, were the network pruned by its scales as they are.
"""
import warnings
from functools import partial
from typing import Callable, Dict, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.cells.wrappers import TemporaryCell
from golden_stick.graph.groups import CellSite, Grouping
from golden_stick.scop.samplers import PermutationSampler, Sampler
from golden_stick.scop.scales import BlockSchedule, FullPrecision, RealScale

__all__ = ["Gates", "KnockoffInput", "KnockoffLayer", "Scaled", "gates_of"]


class MixingLayer(TemporaryCell):
    """
    Base of the layers that mix. Automatic mixed precision rewrites what stands in a Cell's own class, and the Cells
    that it calls there: in a base, scales are out of its reach. And it cannot tell a base from a Cell in use, so no
    class here is both.
    """

    def __init__(self, cell: nn.Cell, scale: RealScale, axis: int = 1):
        super().__init__()
        self.cell = cell
        self.scale = scale
        self.times = Scaled(axis)

    def mixed(self, real, knockoff):
        """Both halves, the real one mixed."""
        knockoff, scale = ops.stop_gradient(knockoff), self.scale()
        other = knockoff.astype(ms.float32)
        made = other + self.times(real.astype(ms.float32) - other, scale, self.scale.drawn(),
                                  self.scale.squared_gradients)
        return ops.concat((made.astype(real.dtype), knockoff))


class KnockoffLayer(MixingLayer):
    r"""
    A layer whose real features are mixed with those of the knockoffs: of a convolution, plain or transposed, of one to
    three dimensions, or a dense layer.

    In training the batch holds :math:`N` real samples followed by their :math:`N` knockoffs. The real half of the
    layer's output becomes

    .. math::
        \hat{A}_{n,c} = s_c A_{n,c} + (1 - s_c) \tilde{A}_{n,c}, \qquad 0 \le s_c \le 1

    where :math:`A_{n,c}` is the channel that filter :math:`c` makes of real sample :math:`n`, and
    :math:`\tilde{A}_{n,c}` the one it makes of that sample's knockoff. The knockoff half passes on unmixed, so that
    the next layer finds knockoffs of its own. In evaluation the Cell is the layer.

    Source: Tang et al., `SCOP: Scientific Control for Reliable Neural Network Pruning
    <https://arxiv.org/abs/2010.10732>`_, NeurIPS 2020.

    Note:
        The scales are put back into [0, 1] before each use in training, inside the graph, so that it happens in sink
        mode and in any training loop. Only the last step can leave them outside: `after_step` of the algorithm, which
        its callbacks call, puts them back.

        No gradient flows into the knockoff half: with the normalization statistics of the trained network it does not
        depend on any scale. So the backward pass runs over half of the batch.

    Args:
        cell (nn.Cell): The layer. It is used, not copied; its parameters keep their names.
        scale (RealScale): Its scales, one for each filter. Where a filter makes a channel in each of several groups, as
            in a transposed convolution, they share its scale.
        axis (int): The axis of the channels in what the layer makes: 1 for convolutions, -1 for dense layers.
            Default: 1.

    Inputs:
        - **x** (Tensor) - What the layer takes: in training, of :math:`2N` samples along axis 0; in evaluation, of
          any number.

    Outputs:
        Tensor, what the layer makes of as many samples.

    Supported Platforms:
        ``CPU``
    """

    def construct(self, x):
        if not self.training:
            return self.cell(x)
        real, knockoff = ops.split(x, x.shape[0] // 2)
        return self.mixed(self.cell(real), self.cell(knockoff))


class Scaled(FullPrecision):
    """
    Features times one number for each channel: of `features`, `scale`, and what a `RealScale` gives as `drawn` and has
    as `squared_gradients`, the parameter `squares`.

    The gradient is written out: MindSpore's own way to sum over pixels on the CPU takes ten times as long as a sum over
    the rows of a matrix. And only there the gradients of single samples are met, whose squares are summed up.
    """

    def __init__(self, axis: int):
        super().__init__()
        self.axis = axis
        self.add = ops.AssignAdd()

    # Not as an attribute: MindSpore takes no parameter in the code of a gradient but as an input.
    def construct(self, features, scale, drawn, squares):
        return self._spread(scale, features) * features

    def bprop(self, features, scale, drawn, squares, out, dout):
        """The gradients of the inputs, from that of the output."""
        rows, samples, size = 1, features.shape[0], scale.shape[0]
        for length in features.shape[:self.axis]:
            rows = rows * length
        sums = (dout * features).reshape((rows * features.shape[self.axis], -1)).sum(1)
        # Several channels of a filter, one in each group, stand apart by the number of filters.
        of_samples = sums.reshape((samples, -1, size)).sum(1)
        # A loss is a mean over samples; one that overflowed says nothing.
        found = (of_samples * of_samples).sum(0) * samples
        known = ops.isfinite(found)
        sums = ops.stack((ops.where(known, found, ops.zeros_like(found)), known.astype(found.dtype)))
        drawn = drawn.reshape((-1, 1))
        first = (squares[0, 1] <= squares[1, 1]).astype(found.dtype) * drawn
        halves = ops.stack((first, drawn - first))
        self.add(squares, ops.expand_dims(halves, 1) * sums.reshape((2, 1, size)))
        return (self._spread(scale, features) * dout, of_samples.sum(0).astype(scale.dtype), ops.zeros_like(drawn),
                ops.zeros_like(squares))

    def _spread(self, scale, features):
        """One number for each channel, at every place. Spelled out, a product with it is quicker on the CPU."""
        axis = self.axis % features.ndim
        groups = features.shape[axis] // scale.shape[0]
        if groups > 1:
            scale = ops.tile(scale, (groups,))
        shape = (1,) * axis + (-1,) + (1,) * (features.ndim - axis - 1)
        return ops.broadcast_to(scale.reshape(shape).astype(features.dtype), features.shape)


class PhaseNetwork(TemporaryCell):
    """
    The network of a knockoff phase: what is inside stays in evaluation, but for the Cells of SCOP.

    `before_evaluation`, where it is set, is called whenever the network is put into evaluation. Once the phase is
    `over`, that is the warning to who trains it.
    """

    def __init__(self, network: nn.Cell, schedule: Optional[BlockSchedule]):
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.before_evaluation: Optional[Callable[[], None]] = None
        self.over = ""
        self.network.set_train(False)

    def add_flags_recursive(self, **flags):
        """Pass flags on, the training flag to the Cells of SCOP alone: the rest of the network stays in evaluation."""
        self.add_flags(**flags)
        if flags.get("training") and self.over:
            warnings.warn(self.over, stacklevel=4)
        inner = {**flags, "training": False} if "training" in flags else flags
        self.network.add_flags_recursive(**inner)
        if "training" in flags:
            for _, cell in self.network.cells_and_names():
                if isinstance(cell, TemporaryCell):
                    cell.add_flags(training=flags["training"])
            if not flags["training"] and self.before_evaluation is not None:
                self.before_evaluation()
        return self

    def begin(self):
        """Count the optimizer's steps, before a pass of training."""
        if self.training and self.schedule is not None:
            self.schedule()

    def construct(self, *inputs):
        self.begin()
        return self.network(*inputs)


class PhaseOfOneInput(PhaseNetwork):
    """A `PhaseNetwork` whose network takes one input: automatic mixed precision cannot rewrite calls with a star."""

    def construct(self, x):
        self.begin()
        return self.network(x)


class _Halves(PhaseNetwork):
    """What is real and what is knockoff in a batch; out of reach as in a `MixingLayer`."""

    def counted(self, x):
        """How many samples there are; the schedule is told of the pass."""
        count = x.shape[0]
        if count < 2:
            raise ValueError(
                "For 'KnockoffInput', a batch must have at least 2 samples in training, each being the control of "
                "another, but got 1: leave out a last batch of one by batch(size, drop_remainder=True)."
            )
        self.begin()
        return count

    def doubled(self, item, count):
        """A batch and its knockoffs."""
        # What has no row for each sample, such as a mask or a temperature, goes for the knockoffs as well.
        if item.ndim == 0 or item.shape[0] != count:
            return item
        knockoff = self.sampler(item)
        if knockoff.shape != item.shape:
            raise ValueError(f"For 'KnockoffInput', the sampler must give knockoffs of the shape of the samples, "
                             f"{item.shape}, but got {knockoff.shape}.")
        return ops.concat((item, knockoff))

    def real_half(self, output, count):
        """What the network gives for the real samples."""
        if isinstance(output, dict):
            named = {}
            for key, item in output.items():
                named[key] = self.real_half(item, count)
            return named
        if isinstance(output, (tuple, list)):
            return tuple([self.real_half(item, count) for item in output])
        if output.ndim == 0 or output.shape[0] % (2 * count) != 0:
            raise ValueError(f"For 'KnockoffInput', every output of the network must have as many rows for each sample "
                             f"along axis 0, but for {count} samples and as many knockoffs one has shape "
                             f"{output.shape}: compute the loss outside, or take a FeatureSampler.")
        return output[:output.shape[0] // 2]


class KnockoffInput(_Halves):
    """
    A network that meets every sample together with a knockoff of it, and answers for the real one alone.

    In training, a sampler makes the knockoffs: by default, the knockoff of a sample is the one that follows it in the
    batch. That is a control in the sense of the paper's released code, not a knockoff in the sense of its Definition 1.
    The network inside stays in evaluation all the while, so that normalizations use the statistics of the trained
    network and dropout is off.

    In evaluation the Cell is the network; in a phase of `SCOP`, without the filters that would go as things stand.

    Source: Tang et al., `SCOP: Scientific Control for Reliable Neural Network Pruning
    <https://arxiv.org/abs/2010.10732>`_, NeurIPS 2020.

    Args:
        network (nn.Cell): The network, with `KnockoffLayer` in it. Its parameters keep their names.
        sampler (Sampler): Makes the knockoffs of a batch. Default: ``None``, a `PermutationSampler`.
        schedule (BlockSchedule): Counts every step of training. Default: ``None``, all layers mix at once.

    Inputs:
        - **inputs** (Tensor) - One or more, samples along axis 0 of the first, at least two of them in training. Those
          that have another number of rows are the same for all samples.

    Outputs:
        What the network gives for the real samples: a Tensor, or a tuple, list or dict of them.

    Raises:
        ValueError: If in training a batch of one sample is met, the sampler gives another shape, or an output has not
            as many rows for each sample.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, network: nn.Cell, sampler: Optional[Sampler] = None, schedule: Optional[BlockSchedule] = None):
        super().__init__(network, schedule)
        self.sampler = PermutationSampler() if sampler is None else sampler

    def construct(self, *inputs):
        if not self.training:
            return self.network(*inputs)
        count = self.counted(inputs[0])
        # Not in the call itself: mixed precision cannot rewrite that.
        doubled = [self.doubled(item, count) for item in inputs]
        return self.real_half(self.network(*doubled), count)


class OneKnockoffInput(KnockoffInput):
    """A `KnockoffInput` whose network takes one input, as `PhaseOfOneInput`."""

    def construct(self, x):
        if not self.training:
            return self.network(x)
        count = self.counted(x)
        return self.real_half(self.network(self.doubled(x, count)), count)


class Gates:
    """Which of the removable channels of a grouping are there in evaluation, as a parameter of the network."""

    name = "mixing.kept"

    def __init__(self, grouping: Grouping):
        self._channels = np.concatenate([group.channels for group in grouping])
        # The last is of all channels that cannot be removed.
        self.parameter = Parameter(Tensor(np.ones(len(self._channels) + 1), ms.float32), name=self.name,
                                   requires_grad=False)

    def places(self, channels: np.ndarray) -> np.ndarray:
        """Where in the parameter channels stand."""
        order = np.argsort(self._channels)
        places = order[np.searchsorted(self._channels, channels, sorter=order) % len(order)]
        return np.where(self._channels[places] == channels, places, len(order))

    def close(self, channels: Sequence[int]) -> None:
        """Have evaluation go without these channels, and with all others."""
        ops.assign(self.parameter, Tensor(np.append(~np.isin(self._channels, list(channels)), True), ms.float32))


class _EvaluationGate(TemporaryCell):
    """A Cell that in evaluation does not see channels that are to go, which reach it as zero, or does not show them."""

    def __init__(self, cell: nn.Cell, gates: Gates, before: Optional[CellSite], after: Optional[CellSite]):
        super().__init__()
        self.cell, self.kept = cell, gates.parameter
        (self.before, self.shape_before), (self.after, self.shape_after) = (
            self._places(gates, site) for site in (before, after))

    @staticmethod
    def _places(gates: Gates, site: Optional[CellSite]) -> Tuple[Optional[Tensor], Tuple[int, ...]]:
        return (None, ()) if site is None else (Tensor(gates.places(site.channels), ms.int32),
                                                (-1,) + (1,) * site.trailing)

    def construct(self, x):
        if self.training:
            return self.cell(x)
        if self.before is not None:
            x = x * ops.gather(self.kept, self.before, 0).reshape(self.shape_before).astype(x.dtype)
        x = self.cell(x)
        if self.after is not None:
            x = x * ops.gather(self.kept, self.after, 0).reshape(self.shape_after).astype(x.dtype)
        return x


def gates_of(grouping: Grouping) -> Tuple[Gates, Dict[str, Callable[[nn.Cell], nn.Cell]]]:
    """Gates, open until `close` is called; and by path what wraps the Cells at which the masked network has masks."""
    gates = Gates(grouping)
    before, after = ({site.path: site for site in sites} for sites in (grouping.masks, grouping.scatters))
    return gates, {path: partial(_EvaluationGate, gates=gates, before=before.get(path), after=after.get(path))
                   for path in {**before, **after}}
