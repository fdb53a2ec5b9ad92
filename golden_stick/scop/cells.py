"""The Cells of SCOP: knockoffs enter with the batch, and every controlled convolution mixes them in."""
from typing import Optional

from mindspore import nn, ops

from golden_stick.cells.wrappers import TemporaryCell
from golden_stick.scop.samplers import PermutationSampler, Sampler
from golden_stick.scop.scales import BlockSchedule, RealScale

__all__ = ["AbsorbedNormalization", "KnockoffConv", "KnockoffConvNormalized", "KnockoffInput", "MixedFeatures",
           "PhaseNetwork"]


class MixedFeatures(nn.Cell):
    r"""
    Feature maps mixed with those of the knockoffs: :math:`s_c A_{n,c} + (1 - s_c) \tilde{A}_{n,c}`.

    The gradient is written out: MindSpore's own way to sum over pixels on the CPU takes ten times as long as a sum over
    the rows of a matrix.

    Inputs:
        - **real** (Tensor) - :math:`A`, of shape :math:`(N, C, H, W)`.
        - **knockoff** (Tensor) - :math:`\tilde{A}`, of the same shape. No gradient flows into it.
        - **scale** (Tensor) - :math:`s`, of shape :math:`(C)`.

    Outputs:
        Tensor, of the shape of `real`.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self):
        super().__init__(auto_prefix=False)

    def construct(self, real, knockoff, scale):
        return knockoff + _over_pixels(scale, real) * (real - knockoff)

    def bprop(self, real, knockoff, scale, out, dout):
        """The gradients of the inputs, from that of the output."""
        rows = (dout * (real - knockoff)).reshape((real.shape[0] * real.shape[1], -1))
        of_scale = rows.sum(1).reshape(real.shape[:2]).sum(0).astype(scale.dtype)
        return _over_pixels(scale, real) * dout, ops.zeros_like(knockoff), of_scale


def _over_pixels(scale, features):
    """One number for each channel, at every pixel. Spelled out, a product with it is quicker on the CPU."""
    return ops.broadcast_to(scale.reshape((1, -1, 1, 1)).astype(features.dtype), features.shape)


class KnockoffConv(TemporaryCell):
    r"""
    A convolution whose real feature maps are mixed with those of the knockoffs.

    In training the batch holds :math:`N` real samples followed by their :math:`N` knockoffs. The real half of the
    convolution's output becomes

    .. math::
        \hat{A}_{n,c} = s_c A_{n,c} + (1 - s_c) \tilde{A}_{n,c}, \qquad 0 \le s_c \le 1

    where :math:`A_{n,c}` is the feature map that filter :math:`c` makes of real sample :math:`n`, and
    :math:`\tilde{A}_{n,c}` the one it makes of that sample's knockoff. The knockoff half passes on unmixed, so that
    the next layer finds knockoffs of its own. In evaluation the Cell is the convolution.

    Source: Tang et al., `SCOP: Scientific Control for Reliable Neural Network Pruning
    <https://arxiv.org/abs/2010.10732>`_, NeurIPS 2020.

    Note:
        The scales are put back into [0, 1] before each use in training, inside the graph, so that it happens in sink
        mode and in any training loop. Only the last step can leave them outside: `after_step` of the algorithm, which
        its callbacks call, puts them back.

        No gradient flows into the knockoff half: with the normalization statistics of the trained network it does not
        depend on any scale. So the backward pass runs over half of the batch.

    Args:
        conv (nn.Conv2d): The convolution, with :math:`C_{out}` filters. It is used, not copied; its parameters keep
            their names.
        scale (RealScale): Its scales.

    Inputs:
        - **x** (Tensor) - In training, shape :math:`(2N, C_{in}, H, W)`; in evaluation, :math:`(N, C_{in}, H, W)`.

    Outputs:
        Tensor, of shape :math:`(2N, C_{out}, H_{out}, W_{out})` in training, :math:`(N, C_{out}, H_{out}, W_{out})` in
        evaluation.

    Supported Platforms:
        ``CPU``
    """

    # Whether a network in training has this Cell in training too, see `PhaseNetwork`.
    mixes = True

    def __init__(self, conv: nn.Conv2d, scale: RealScale):
        super().__init__()
        self.cell = conv
        self.scale = scale
        self.mix = MixedFeatures()

    def construct(self, x):
        if not self.training:
            return self.cell(x)
        real, knockoff = ops.split(x, x.shape[0] // 2)
        return self.mixed(self.cell(real), self.cell(knockoff))

    def mixed(self, real, knockoff):
        """Both halves, the real one mixed."""
        knockoff = ops.stop_gradient(knockoff)
        return ops.concat((self.mix(real, knockoff, self.scale()), knockoff))


class KnockoffConvNormalized(KnockoffConv):
    """
    A `KnockoffConv` that in training also does what the batch normalization behind it does.

    In evaluation that normalization multiplies each channel by a number and adds another, which commutes with mixing.
    Done by the weights, it costs nothing per pixel. The normalization itself stands aside, see `AbsorbedNormalization`.

    Args:
        conv (nn.Conv2d): The convolution.
        scale (RealScale): Its scales.
        normalization (nn.BatchNorm2d): The normalization, which reads this convolution alone. Used, not copied.

    Inputs:
        - **x** (Tensor) - As of `KnockoffConv`.

    Outputs:
        Tensor, as of `KnockoffConv`; normalized in training.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, conv: nn.Conv2d, scale: RealScale, normalization: nn.BatchNorm2d):
        super().__init__(conv, scale)
        self.gamma, self.beta = normalization.gamma, normalization.beta
        self.mean, self.variance = normalization.moving_mean, normalization.moving_variance
        self.epsilon = normalization.eps

    def construct(self, x):
        if not self.training:
            return self.cell(x)
        factor = self.gamma * ops.rsqrt(self.variance + self.epsilon)
        bias = self.cell.bias if self.cell.has_bias else 0.0
        shift = (self.beta + (bias - self.mean) * factor).astype(x.dtype)
        weight = (self.cell.weight * factor.reshape((-1, 1, 1, 1))).astype(x.dtype)
        real, knockoff = ops.split(x, x.shape[0] // 2)
        mixed = self.mixed(self.cell.conv2d(real, weight), self.cell.conv2d(knockoff, weight))
        return ops.bias_add(mixed, shift)


class AbsorbedNormalization(TemporaryCell):
    """
    A normalization that the convolution before it does in training, and that does it itself in evaluation.

    Args:
        normalization (nn.BatchNorm2d): The normalization. Used, not copied.

    Inputs:
        - **x** (Tensor) - What the normalization takes.

    Outputs:
        Tensor, of the shape of `x`.

    Supported Platforms:
        ``CPU``
    """

    mixes = True

    def __init__(self, normalization: nn.BatchNorm2d):
        super().__init__()
        self.cell = normalization

    def construct(self, x):
        return x if self.training else self.cell(x)


class PhaseNetwork(TemporaryCell):
    """
    Base of the networks of a knockoff phase: the network inside stays in evaluation, but for the Cells of SCOP.

    Args:
        network (nn.Cell): The network. Its parameters keep their names.
        clock (BlockSchedule): Ticks in every step of training, or None: all layers mix at once.

    Inputs:
        - **inputs** (Tensor) - What the network takes.

    Outputs:
        What the network gives.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, network: nn.Cell, clock: Optional[BlockSchedule]):
        super().__init__()
        self.network = network
        self.clock = clock
        self.network.set_train(False)

    def add_flags_recursive(self, **flags):
        """Pass flags on, the training flag to the Cells of SCOP alone: the rest of the network stays in evaluation."""
        self.add_flags(**flags)
        inner = {**flags, "training": False} if "training" in flags else flags
        self.network.add_flags_recursive(**inner)
        if "training" in flags:
            for _, cell in self.network.cells_and_names():
                if getattr(type(cell), "mixes", False):
                    cell.add_flags(training=flags["training"])
        return self


class KnockoffInput(PhaseNetwork):
    """
    A network that meets every sample together with a knockoff of it, and answers for the real one alone.

    In training, a sampler makes the knockoffs: by default, the knockoff of a sample is the one that follows it in the
    batch. That is a control in the sense of the paper's released code, not a knockoff in the sense of its Definition 1.
    The network inside stays in evaluation all the while, so that normalizations use the statistics of the trained
    network and dropout is off.

    In evaluation the Cell is the network.

    Source: Tang et al., `SCOP: Scientific Control for Reliable Neural Network Pruning
    <https://arxiv.org/abs/2010.10732>`_, NeurIPS 2020.

    Args:
        network (nn.Cell): The network, with `KnockoffConv` in it. Its parameters keep their names.
        sampler (Sampler): Makes the knockoffs of a batch. Default: ``None``, a `PermutationSampler`.
        clock (BlockSchedule): Ticks in every step of training. Default: ``None``, all layers mix at once.

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

    def __init__(self, network: nn.Cell, sampler: Optional[Sampler] = None, clock: Optional[BlockSchedule] = None):
        super().__init__(network, clock)
        self.sampler = PermutationSampler() if sampler is None else sampler

    def construct(self, *inputs):
        if not self.training:
            return self.network(*inputs)
        count = inputs[0].shape[0]
        if count < 2:
            raise ValueError(
                "For 'KnockoffInput', a batch must have at least 2 samples in training, each being the control of "
                "another, but got 1: leave out a last batch of one by batch(size, drop_remainder=True)."
            )
        doubled = ()
        if self.clock is not None:
            self.clock()
        for item in inputs:
            doubled = doubled + (self._doubled(item, count),)
        return self._real_half(self.network(*doubled), count)

    def _doubled(self, item, count):
        # What has no row for each sample, such as a mask or a temperature, goes for the knockoffs as well.
        if item.ndim == 0 or item.shape[0] != count:
            return item
        knockoff = self.sampler(item)
        if knockoff.shape != item.shape:
            raise ValueError(f"For 'KnockoffInput', the sampler must give knockoffs of the shape of the samples, "
                             f"{item.shape}, but got {knockoff.shape}.")
        return ops.concat((item, knockoff))

    def _real_half(self, output, count):
        if isinstance(output, dict):
            named = {}
            for key, item in output.items():
                named[key] = self._real_half(item, count)
            return named
        if isinstance(output, (tuple, list)):
            halves = ()
            for item in output:
                halves = halves + (self._real_half(item, count),)
            return halves
        if output.ndim == 0 or output.shape[0] % (2 * count) != 0:
            raise ValueError(f"For 'KnockoffInput', every output of the network must have as many rows for each sample "
                             f"along axis 0, but for {count} samples and as many knockoffs one has shape "
                             f"{output.shape}: compute the loss outside, or take a FeatureSampler.")
        return output[:output.shape[0] // 2]
