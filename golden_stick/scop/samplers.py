"""Samplers: what stands in for a sample in the knockoff phase. Each is a Cell from a batch to a batch of its shape."""
import inspect
import os
from typing import Any, Callable, Iterable, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from golden_stick.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.knockoffs.second_order import SecondOrder, moments_of
from golden_stick.prune.copying import copy_network

__all__ = ["SAMPLERS", "GaussianSampler", "GeneratorSampler", "NoiseSampler", "PermutationSampler", "Sampler",
           "SamplerOption", "as_sampler"]


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

    def construct(self, x):
        raise NotImplementedError


class PermutationSampler(Sampler):
    """
    The sample that follows in the batch, the first for the last: never the sample itself.

    An independent draw from the data, if they are shuffled. That is a *control*: it knows nothing of the label, but a
    part of a sample cannot be swapped with a part of its control unnoticed.
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
    """

    name = "noise"

    def __init__(self, seed: int = 0):
        super().__init__()
        self.normal = ops.StandardNormal(seed=seed)

    def construct(self, x):
        axes = (0,) + tuple(range(2, x.ndim))
        mean = x.mean(axes, True)
        deviation = ops.sqrt(((x - mean) ** 2).mean(axes, True))
        return (self.normal(x.shape) * deviation + mean).astype(x.dtype)


class GaussianSampler(Sampler):
    """
    Second-order knockoffs of coarse pixels: Model-X knockoffs as far as means and covariances tell.

    Images are averaged over a grid of blocks; the averages get second-order knockoffs, and each block is shifted by
    what its average changed. So the coarse picture is exchangeable with that of its knockoff up to the second moment,
    and the detail within blocks stays. Whether that is enough for a data set, `golden_stick.exchangeability` tells.

    Source: Candes et al., *Panning for gold*, 2018, https://arxiv.org/abs/1610.02351

    Args:
        method (str): How far each variable's knockoff is from it: ``'equi'``, ``'sdp'`` or ``'mvr'``. Default:
            ``'mvr'``.
        grid (int): Blocks along height and along width, which must be multiples of it. Samples that are vectors are
            taken as they are. Default: 4.
        seed (int): Of the draws. Default: 0.

    Raises:
        ArgumentError: If `method` is unknown.
    """

    name = "gaussian"

    def __init__(self, method: str = "mvr", grid: int = 4, seed: int = 0):
        super().__init__()
        self.method, self.grid = method, grid
        self.normal = ops.StandardNormal(seed=seed)
        self.fitted = False
        self.mean = self.deviation = self.shift = self.root = None

    def fit(self, data: Iterable, progress: Optional[Callable[[int], None]] = None) -> "GaussianSampler":
        """
        Take the moments of a data set, in one pass.

        Args:
            data (Iterable): Batches: Tensors or arrays, or tuples that begin with one.
            progress (Callable): Called with the number of samples seen after every batch. Default: ``None``.

        Returns:
            GaussianSampler, this one.

        Raises:
            ArgumentError: If there are too few samples, or the grid does not divide their height and width.
        """
        sampler = SecondOrder(moments_of((self._coarse(batch) for batch in data), progress), self.method)
        self._take(sampler.moments.mean, *sampler.parts())
        return self

    def save(self, path: str) -> str:
        """
        Write what was fitted to a file of numpy's.

        Returns:
            str, the path.

        Raises:
            StateError: If nothing was fitted.
        """
        self.check_fitted()
        path = path if path.endswith(".npz") else f"{path}.npz"
        np.savez(path, method=self.method, grid=self.grid, **{
            key: getattr(self, key).asnumpy() for key in ("mean", "deviation", "shift", "root")})
        return path

    @classmethod
    def load(cls, path: str, seed: int = 0) -> "GaussianSampler":
        """
        What `save` wrote.

        Returns:
            GaussianSampler.

        Raises:
            ArgumentError: If the file is missing.
        """
        if not os.path.isfile(path):
            raise ArgumentError(f"For 'GaussianSampler', 'path' must be a file that 'save' wrote, but got '{path}'.")
        with np.load(path) as stored:
            made = cls(str(stored["method"]), int(stored["grid"]), seed)
            made._take(stored["mean"], stored["deviation"], stored["shift"], stored["root"])
        return made

    def check_fitted(self) -> None:
        """
        Refuse a sampler that knows no data.

        Raises:
            StateError: If nothing was fitted.
        """
        if not self.fitted:
            raise StateError("For 'GaussianSampler', 'fit' must be called with the training data first, but it was "
                             "not: GaussianSampler().fit(data).")

    def construct(self, x):
        if x.ndim == 2:
            return x + self._change(x).astype(x.dtype)
        samples, channels, height, width = x.shape
        grid = self.grid
        blocks = x.reshape((samples, channels, grid, height // grid, grid, width // grid))
        change = self._change(blocks.mean((3, 5)).reshape((samples, -1)))
        change = change.reshape((samples, channels, grid, 1, grid, 1)).astype(x.dtype)
        return (blocks + change).reshape(x.shape)

    def _change(self, rows):
        standard = (rows.astype(ms.float32) - self.mean) / self.deviation
        noise = ops.matmul(self.normal(standard.shape), self.root)
        return (noise - ops.matmul(standard, self.shift)) * self.deviation

    def _take(self, mean, deviation, shift, root) -> None:
        self.mean, self.deviation, self.shift, self.root = (
            Tensor(np.ascontiguousarray(item, np.float32)) for item in (mean, deviation, shift, root))
        self.fitted = True

    def _coarse(self, batch: Any) -> np.ndarray:
        first = batch[0] if isinstance(batch, (tuple, list)) else batch
        array = np.asarray(first.asnumpy() if isinstance(first, Tensor) else first, np.float64)
        if array.ndim == 2:
            return array
        if array.ndim != 4 or array.shape[2] % self.grid or array.shape[3] % self.grid:
            raise ArgumentError(f"For 'GaussianSampler', samples must be vectors, or images whose height and width are "
                                f"multiples of 'grid', {self.grid}, but got shape {array.shape}.")
        samples, channels, height, width = array.shape
        blocks = array.reshape(samples, channels, self.grid, height // self.grid, self.grid, width // self.grid)
        return blocks.mean((3, 5)).reshape(samples, -1)


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
        self.sees_data, self.latent_size = count == 2, latent_size
        self.normal = ops.StandardNormal(seed=seed)

    def construct(self, x):
        z = self.normal((x.shape[0], self.latent_size))
        made = self.generator(x, z) if self.sees_data else self.generator(z)
        return made.astype(x.dtype)


SAMPLERS = {"permutation": PermutationSampler, "noise": NoiseSampler}


class SamplerOption:
    """What a configuration accepts as a sampler: a name, or a Sampler."""

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        if isinstance(value, Sampler) or isinstance(value, str) and value in SAMPLERS:
            return None
        return "value" if isinstance(value, str) else "type"

    def __str__(self) -> str:
        return f"{', '.join(map(repr, SAMPLERS))} or a Sampler, such as GaussianSampler().fit(data)"


def as_sampler(value: Any, inputs: Tuple[Any, ...]) -> Sampler:
    """
    The sampler that a configuration names, fit for a network with these inputs.

    Raises:
        ArgumentError: If a network has several inputs, which only a permutation keeps together.
        StateError: If it was never fitted.
    """
    made = SAMPLERS[value]() if isinstance(value, str) else value
    if isinstance(made, GaussianSampler):
        made.check_fitted()
    if len(inputs) != 1 and not isinstance(made, PermutationSampler):
        raise ArgumentError(f"For 'SCOP', 'sampler' must be 'permutation' for a network of {len(inputs)} inputs, which "
                            f"belong together, but got '{made.name}'.")
    return made
