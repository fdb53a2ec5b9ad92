"""`GaussianSampler`: second-order knockoffs of images."""
import os
from typing import Callable, Iterable, Optional

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, ops

from golden_stick.errors import ArgumentError, StateError
from golden_stick.inputs import first_inputs
from golden_stick.knockoffs.second_order import SecondOrder, moments_of
from golden_stick.progress import shown
from golden_stick.scop.samplers import Sampler
from golden_stick.uses import noted

__all__ = ["GaussianSampler"]


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
        self.normal = ops.StandardNormal(seed=seed, seed2=1)
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
            ArgumentTypeError: If a batch is neither a Tensor nor an array, nor begins with one.
            ArgumentError: If there are too few samples, or the grid does not divide their height and width.
        """
        batches = noted(first_inputs("GaussianSampler", data), "the moments of a GaussianSampler")
        batches = shown(batches, "batches looked at")
        coarse = (self._coarse(batch.asnumpy().astype(np.float64)) for batch in batches)
        sampler = SecondOrder(moments_of(coarse, progress), self.method)
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
        # Parameters, so that a checkpoint of the phase holds what its knockoffs were drawn from.
        self.mean, self.deviation, self.shift, self.root = (
            Parameter(Tensor(np.ascontiguousarray(item, np.float32)), name=f"sampler.{name}", requires_grad=False)
            for name, item in (("mean", mean), ("deviation", deviation), ("shift", shift), ("root", root)))
        self.fitted = True

    def _coarse(self, array: np.ndarray) -> np.ndarray:
        if array.ndim == 2:
            return array
        if array.ndim != 4 or array.shape[2] % self.grid or array.shape[3] % self.grid:
            raise ArgumentError(f"For 'GaussianSampler', samples must be vectors, or images whose height and width are "
                                f"multiples of 'grid', {self.grid}, but got shape {array.shape}.")
        samples, channels, height, width = array.shape
        blocks = array.reshape(samples, channels, self.grid, height // self.grid, self.grid, width // self.grid)
        return blocks.mean((3, 5)).reshape(samples, -1)
