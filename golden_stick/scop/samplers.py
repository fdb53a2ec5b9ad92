"""Samplers: what stands in for a sample in the knockoff phase. Each is a Cell from a batch to a batch of its shape."""
import inspect
from dataclasses import dataclass
from typing import Any, Optional, Tuple

from mindspore import nn, ops

from golden_stick.errors import ArgumentError, ArgumentTypeError
from golden_stick.prune.copying import copy_network

__all__ = ["SAMPLERS", "GeneratorSampler", "NoiseSampler", "PermutationSampler", "Sampler",
           "SamplerOption", "StoredSampler", "as_sampler"]


class Sampler(nn.Cell):
    """
    Base of the samplers. One of your own overrides `construct` and `name`.

    Inputs:
        - **x** (Tensor) - A batch, samples along axis 0.

    Outputs:
        Tensor, of the shape and type of `x`: for each sample, what stands in for it.

    Supported Platforms:
        ``CPU``
    """

    name = "sampler"

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.seed = None  # of its draws, if it has one

    def check_fitted(self) -> None:
        """Refuse a sampler that must know the data first, and does not. Most need nothing."""

    def construct(self, x):
        raise NotImplementedError


class PermutationSampler(Sampler):
    """
    The sample that follows in the batch, the first for the last: never the sample itself.

    An independent draw from the data, if they are shuffled. That is a *control*: it knows nothing of the label, but a
    part of a sample cannot be swapped with a part of its control unnoticed.

    Inputs:
        - **x** (Tensor) - A batch, samples along axis 0, at least two.

    Outputs:
        Tensor, of the shape and type of `x`.

    Supported Platforms:
        ``CPU``
    """

    name = "permutation"

    def construct(self, x):
        return ops.concat((x[1:], x[:1]))


class NoiseSampler(Sampler):
    """
    White noise of the batch's mean and deviation, channel by channel: the ablation. What ranks filters as well with
    noise as with a control owes nothing to the control.

    Args:
        seed (int): Of the noise. Default: 0.

    Inputs:
        - **x** (Tensor) - A batch of shape (samples, channels, ...).

    Outputs:
        Tensor, of the shape and type of `x`.

    Supported Platforms:
        ``CPU``
    """

    name = "noise"

    def __init__(self, seed: int = 0):
        super().__init__()
        self.seed = seed
        self.normal = ops.StandardNormal(seed=seed, seed2=1)

    def construct(self, x):
        axes = (0,) + tuple(range(2, x.ndim))
        mean = x.mean(axes, True)
        deviation = ops.sqrt(((x - mean) ** 2).mean(axes, True))
        return (self.normal(x.shape) * deviation + mean).astype(x.dtype)


class GeneratorSampler(Sampler):
    """
    A generator of yours, as the SCOP paper trains one: ``G(z)``, or ``G(x, z)`` that also sees the sample.

    Args:
        generator (nn.Cell): Its `construct` takes z, or x and z; it returns what has the shape of x. It is copied and
            not trained.
        latent_size (int): z has shape (samples, latent_size), standard normal. Default: 128.
        seed (int): Of z. Default: 0.

    Raises:
        ArgumentTypeError: If `generator` is not a Cell.
        ArgumentError: If its `construct` takes neither one nor two arguments.

    Inputs:
        - **x** (Tensor) - A batch, samples along axis 0.

    Outputs:
        Tensor, of the shape and type of `x`.

    Supported Platforms:
        ``CPU``
    """

    name = "generator"

    def __init__(self, generator: nn.Cell, latent_size: int = 128, seed: int = 0):
        super().__init__()
        if not isinstance(generator, nn.Cell):
            raise ArgumentTypeError(f"For 'GeneratorSampler', 'generator' must be a Cell, but got "
                                    f"{type(generator).__name__}.")
        count = len(inspect.signature(generator.construct).parameters)
        if count not in (1, 2):
            raise ArgumentError(f"For 'GeneratorSampler', the generator's 'construct' must take z, or x and z, but it "
                                f"takes {count} arguments.")
        self.generator = copy_network(generator).set_train(False)
        for parameter in self.generator.get_parameters():
            parameter.requires_grad = False
            parameter.name = f"sampler.{parameter.name}"
        self.sees_data, self.latent_size, self.seed = count == 2, latent_size, seed
        self.normal = ops.StandardNormal(seed=seed, seed2=1)

    def construct(self, x):
        z = self.normal((x.shape[0], self.latent_size))
        made = self.generator(x, z) if self.sees_data else self.generator(z)
        return made.astype(x.dtype)


class StoredSampler(PermutationSampler):
    """
    Stands for the sampler of a phase that is trained: the phase can be converted from its checkpoint, whatever its
    inputs.

    Args:
        name (str): Of the sampler that the scales were trained with, or that it is not known.

    Inputs:
        - **x** (Tensor) - A batch, samples along axis 0, at least two.

    Outputs:
        Tensor, of the shape and type of `x`.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, name: str):
        super().__init__()
        self.name = name


SAMPLERS = {"permutation": PermutationSampler, "noise": NoiseSampler}


@dataclass(frozen=True)
class SamplerOption:
    """What a configuration accepts as a sampler: a name, a Sampler, or an object of another kind that is one."""

    other: type

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        if isinstance(value, (Sampler, self.other)) or isinstance(value, str) and value in SAMPLERS:
            return None
        return "value" if isinstance(value, str) else "type"

    def __str__(self) -> str:
        return (f"{', '.join(map(repr, SAMPLERS))}, or a sampler of golden_stick.scop: GaussianSampler().fit(data), "
                f"FeatureSampler(data), GeneratorSampler(cell), or a Sampler of your own")


def as_sampler(value: Any, inputs: Tuple[Any, ...]) -> Sampler:
    """
    The sampler that a configuration names, fit for a network with these inputs.

    Raises:
        ArgumentError: If a network has several inputs, which only a permutation keeps together.
        StateError: If it was never fitted.
    """
    made = SAMPLERS[value]() if isinstance(value, str) else value
    made.check_fitted()
    if len(inputs) != 1 and not isinstance(made, PermutationSampler):
        raise ArgumentError(f"For 'SCOP', 'sampler' must be 'permutation' for a network of {len(inputs)} inputs, which "
                            f"belong together, but got '{made.name}'.")
    return made
