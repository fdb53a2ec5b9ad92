"""What stands in for a sample: controls and knockoffs of inputs (`Sampler`), and of features (`FeatureSampler`)."""
import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Sequence, Union

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.base.config import OneOf, Whole, check_value
from golden_stick.base.devices import rank
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.base.inputs import first_inputs, length_of, shown
from golden_stick.cells.replay import tapped
from golden_stick.cells.wrappers import copy_network
from golden_stick.knockoffs.second_order import METHODS, Moments, RunningMoments, SecondOrder, moments_of
from golden_stick.scop.scales import FullPrecision

__all__ = ["DRAWS", "FeatureSampler", "FeatureSite", "GaussianSampler", "GeneratorSampler", "NoiseSampler",
           "PermutationSampler", "Sampler", "SamplerOption", "as_sampler", "moments_at"]


# How the names of parameters end that count draws.
DRAWS = "draws"


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

    def __init__(self) -> None:
        super().__init__(auto_prefix=False)
        self.seed: Optional[int] = None  # of its draws, if it has one

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


class StandardNormal(FullPrecision):
    """
    Standard normal numbers, float32, of the shape of what it is given, drawn anew each time.

    They follow from the seed, from the rank of the process and from how often numbers were drawn, which is a parameter:
    a training that goes on from a checkpoint draws what it would have drawn. On devices other than CPUs MindSpore's own
    generator draws, whose state stays out of reach.

    Source: Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, 2011, https://doi.org/10.1145/2063384.2063405
    """

    def __init__(self, name: str, seed: int):
        super().__init__()
        self.draws = Parameter(Tensor(0, ms.int32), name=f"mixing.{name}{DRAWS}", requires_grad=False)
        self.assign, self.on_host = ops.Assign(), ms.get_context("device_target") == "CPU"
        self.normal = _on_host(seed) if self.on_host else ops.StandardNormal(seed=seed, seed2=1 + rank())

    def construct(self, like):
        if not self.on_host:
            return self.normal(like.shape)
        made = self.normal(like, self.draws + 0)
        self.assign(self.draws, self.draws + 1)
        return ops.stop_gradient(made)


def _on_host(seed: int) -> ops.Custom:
    """An operator that numpy computes: of what the numbers are to be like, and how often numbers were drawn."""
    def normal(like: np.ndarray, draws: np.ndarray) -> np.ndarray:
        key = np.random.SeedSequence((seed, rank())).generate_state(2, np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, int(draws)]))
        return generator.standard_normal(like.shape, np.float32)

    return ops.Custom(normal, lambda like, _: like, ms.float32, func_type="pyfunc")


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
        self.normal = StandardNormal("sampler.", seed)

    def construct(self, x):
        axes = (0,) + tuple(range(2, x.ndim))
        mean = x.mean(axes, True)
        deviation = ops.sqrt(((x - mean) ** 2).mean(axes, True))
        return (self.normal(x) * deviation + mean).astype(x.dtype)


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
        self.normal = StandardNormal("sampler.", seed)

    def construct(self, x):
        z = self.normal(ops.zeros((x.shape[0], self.latent_size), ms.float32))
        made = self.generator(x, z) if self.sees_data else self.generator(z)
        return made.astype(x.dtype)


class KnockoffChange(FullPrecision):
    """
    What second-order knockoffs of vectors are more than the vectors, float32, drawn anew each time.

    `law` is that of a `SecondOrder`. Its arrays are parameters whose names begin with `name`, so that a checkpoint of
    the phase holds what its knockoffs were drawn from.
    """

    def __init__(self, name: str, law: Sequence[np.ndarray], seed: int):
        super().__init__()
        self.mean, self.deviation, self.shift, self.root = (
            Parameter(Tensor(np.ascontiguousarray(array, np.float32)), name=f"{name}{key}", requires_grad=False)
            for key, array in zip(("mean", "deviation", "shift", "root"), law))
        self.normal = StandardNormal(name, seed)

    def construct(self, rows):
        standard = (rows.astype(ms.float32) - self.mean) / self.deviation
        noise = ops.matmul(self.normal(standard), self.root)
        return (noise - ops.matmul(standard, self.shift)) * self.deviation


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

    Inputs:
        - **x** (Tensor) - Images, shape (samples, channels, height, width), or vectors, shape (samples, variables).

    Outputs:
        Tensor, of the shape and type of `x`.

    Supported Platforms:
        ``CPU``
    """

    name = "gaussian"

    def __init__(self, method: str = "mvr", grid: int = 4, seed: int = 0):
        super().__init__()
        self.method, self.grid, self.seed = method, grid, seed
        self.change: Optional[KnockoffChange] = None

    def fit(self, data: Iterable, progress: Optional[Callable[[int], None]] = None) -> "GaussianSampler":
        """
        Take the moments of a data set, in one pass.

        Args:
            data (Iterable): Batches: Tensors or arrays, or tuples that begin with one.
            progress (Callable): Called with the number of samples seen after every batch. Default: ``None``.

        Returns:
            GaussianSampler, this one.

        Raises:
            ArgumentTypeError: If a batch is neither a Tensor nor an array, nor begins with one.
            ArgumentError: If there are too few samples, or the grid does not divide their height and width.
        """
        batches = shown(first_inputs("GaussianSampler", data), "batches looked at", length_of(data))
        coarse = (self._coarse(batch.asnumpy().astype(np.float64)) for batch in batches)
        law = SecondOrder(moments_of(coarse, progress), self.method).law
        self.change = KnockoffChange("sampler.", law, int(self.seed or 0))
        return self

    def check_fitted(self) -> None:
        """
        Refuse a sampler that knows no data.

        Raises:
            StateError: If nothing was fitted.
        """
        if self.change is None:
            raise StateError("For 'GaussianSampler', 'fit' must be called with the training data first, but it was "
                             "not: GaussianSampler().fit(data).")

    def construct(self, x):
        if x.ndim == 2:
            return x + self.change(x).astype(x.dtype)
        blocks = self._blocks(x)
        change = self.change(blocks.mean((3, 5)).reshape((x.shape[0], -1)))
        change = change.reshape((x.shape[0], x.shape[1], self.grid, 1, self.grid, 1)).astype(x.dtype)
        return (blocks + change).reshape(x.shape)

    def _blocks(self, x):
        """Images, Tensor or array, with the place in a block along axes 3 and 5."""
        samples, channels, height, width = x.shape
        grid = self.grid
        return x.reshape((samples, channels, grid, height // grid, grid, width // grid))

    def _coarse(self, array: np.ndarray) -> np.ndarray:
        if array.ndim == 2:
            return array
        if array.ndim != 4 or array.shape[2] % self.grid or array.shape[3] % self.grid:
            raise ArgumentError(f"For 'GaussianSampler', samples must be vectors, or images whose height and width are "
                                f"multiples of 'grid', {self.grid}, but got shape {array.shape}.")
        return self._blocks(array).mean((3, 5)).reshape(len(array), -1)


@dataclass(frozen=True)
class FeatureSite:
    """Where the input of a Cell has its channels."""

    width: int  # how many there are
    trailing: int  # how many axes are behind theirs
    repeats: int = 1  # how many neighbours on that axis are one channel's, as a flattened map has them

    def vectors(self, array: np.ndarray, positions: int, generator: np.random.Generator) -> np.ndarray:
        """The channels at some positions of each sample, at random, shape (samples times positions, channels)."""
        trailing = self.trailing
        if self.repeats > 1:
            array, trailing = array.reshape(*array.shape[:-1], -1, self.repeats), 1
        array = np.moveaxis(array, array.ndim - 1 - trailing, -1)
        array = array.reshape(len(array), -1, self.width)
        chosen = generator.integers(0, array.shape[1], (len(array), min(positions, array.shape[1])))
        return np.take_along_axis(array, chosen[:, :, None], 1).reshape(-1, self.width)


class FeatureSampler:
    """
    Second-order knockoffs of features: at every layer, of the vector of its channels after their activation.

    Where images have no second-order knockoffs that differ from them, the channels of a layer have: they can be told
    from one another much less. `apply` runs the network once over the data and takes the moments; they stand among the
    parameters of the knockoff phase, and so in its checkpoints.

    Source: Candes et al., *Panning for gold*, 2018, https://arxiv.org/abs/1610.02351

    Args:
        data (Iterable): Batches: what the network takes, and what else there is, which is not read. Arrays or Tensors;
            or a `mindspore.dataset` object. Data for training, not for testing. None where a phase is only converted
            from its checkpoint, which holds what the moments were taken for; such a phase cannot be trained.
        method (str): How far each channel's knockoff is from it: ``'equi'``, ``'sdp'`` or ``'mvr'``. Default:
            ``'mvr'``.
        positions (int): How many positions of each sample's feature map are taken, at random. Default: 16.
        seed (int): Of the positions and the draws. Default: 0.

    Raises:
        ArgumentTypeError: If `method` is not a str, or `positions` or `seed` not an int.
        ArgumentError: If `method` is none of these, `positions` less than 1 or `seed` less than 0.
    """

    name = "feature"

    def __init__(self, data: Optional[Iterable], method: str = "mvr", positions: int = 16, seed: int = 0):
        check_value("FeatureSampler", "method", method, OneOf(tuple(METHODS)))
        check_value("FeatureSampler", "positions", positions, Whole(1))
        check_value("FeatureSampler", "seed", seed, Whole(0))
        self.data, self.method, self.positions, self.seed = data, method, positions, seed


def moments_at(sampler: FeatureSampler, network: nn.Cell, sites: Mapping[str, FeatureSite]) -> Dict[str, Moments]:
    """Path -> mean and covariance of the channels that enter a Cell; without data, of channels that never vary."""
    if sampler.data is None:
        return {path: Moments(np.zeros(site.width), np.zeros((site.width, site.width)), 2)
                for path, site in sites.items()}
    running, generator = {path: RunningMoments() for path in sites}, np.random.default_rng((sampler.seed, rank()))

    def see(path: str, array: np.ndarray) -> None:
        running[path].update(sites[path].vectors(array, sampler.positions, generator))

    with tapped(network, {path: partial(see, path) for path in sites}, {}) as shows:
        batches = first_inputs("FeatureSampler", sampler.data)
        for batch in shown(batches, "batches for the moments of features", length_of(sampler.data)):
            shows(batch)
    for item in running.values():
        item.add_others()
    if not all(item.count for item in running.values()):
        raise ArgumentError("For 'FeatureSampler', 'data' must hold batches for the network, but got none.")
    return {path: item.moments() for path, item in running.items()}


_BY_NAME = {"permutation": PermutationSampler, "noise": NoiseSampler}


class SamplerOption:
    """What a configuration accepts as a sampler: a name, a Sampler, or a FeatureSampler."""

    def check(self, value: Any) -> Optional[str]:
        """The reason why `value` is refused, or None."""
        if isinstance(value, (Sampler, FeatureSampler)) or isinstance(value, str) and value in _BY_NAME:
            return None
        return "value" if isinstance(value, str) else "type"

    def __str__(self) -> str:
        return (f"{', '.join(map(repr, _BY_NAME))}, or a sampler of golden_stick.scop: GaussianSampler().fit(data), "
                f"FeatureSampler(data), GeneratorSampler(cell), or a Sampler of your own")


def as_sampler(value: Union[str, Sampler], inputs: int) -> Sampler:
    """The sampler that a configuration names, fitted, for a network with so many inputs: of several, only a permutation
    keeps them together."""
    sampler = _BY_NAME[value]() if isinstance(value, str) else value
    sampler.check_fitted()
    if inputs != 1 and not isinstance(sampler, PermutationSampler):
        raise ArgumentError(f"For 'SCOP', 'sampler' must be 'permutation' for a network of {inputs} inputs, which "
                            f"belong together, but got '{sampler.name}'.")
    return sampler
