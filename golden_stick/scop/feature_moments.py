"""`FeatureSampler`, and the means and covariances of channels that its knockoffs need."""
from typing import Any, Dict, Iterable, Mapping, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn

from golden_stick.config import OneOf, Whole, check_value
from golden_stick.errors import ArgumentError
from golden_stick.evaluation import evaluation
from golden_stick.inputs import first_inputs
from golden_stick.knockoffs.second_order import METHODS, Moments, RunningMoments
from golden_stick.progress import shown
from golden_stick.prune.cells import replace_cells
from golden_stick.prune.copying import copy_network
from golden_stick.uses import noted

__all__ = ["FeatureSampler", "StoredFeatures", "moments_at"]


class FeatureSampler:
    """
    Second-order knockoffs of features: at every layer, of the vector of its channels after their activation.

    Where images have no second-order knockoffs that differ from them, the channels of a layer have: they can be told
    from one another much less. `apply` runs the network once over the data and takes the moments; they stand among the
    parameters of the knockoff phase, and so in its checkpoints.

    Source: Candes et al., *Panning for gold*, 2018, https://arxiv.org/abs/1610.02351

    Args:
        data (Iterable): Batches: what the network takes, and what else there is, which is not read. Arrays or Tensors;
            or a `mindspore.dataset` object. Data for training, not for testing.
        method (str): How far each channel's knockoff is from it: ``'equi'``, ``'sdp'`` or ``'mvr'``. Default:
            ``'mvr'``.
        positions (int): How many positions of each sample's feature map are taken, at random. Default: 16.
        seed (int): Of the positions and the draws. Default: 0.

    Raises:
        ArgumentTypeError: If `method` is not a str, or `positions` or `seed` not an int.
        ArgumentError: If `method` is none of these, `positions` less than 1 or `seed` less than 0.
    """

    name = "feature"

    def __init__(self, data: Iterable, method: str = "mvr", positions: int = 16, seed: int = 0):
        check_value("FeatureSampler", "method", method, OneOf(tuple(METHODS)))
        check_value("FeatureSampler", "positions", positions, Whole(1))
        check_value("FeatureSampler", "seed", seed, Whole(0))
        self.data, self.method, self.positions, self.seed = data, method, positions, seed

    def moments(self, network: nn.Cell, sites: Mapping[str, Tuple[int, int]], widths: Mapping[str, int]
                ) -> Dict[str, Moments]:
        """The moments of the channels that enter Cells: `moments_at`; `widths` says how many channels there are."""
        return moments_at(network, self, sites)


class StoredFeatures(FeatureSampler):
    """
    A `FeatureSampler` for a phase whose checkpoint is there, and holds what the moments were taken for.

    Without data it takes none: the phase can be converted from its checkpoint, but not trained.
    """

    def __init__(self):
        super().__init__(())

    def moments(self, network: nn.Cell, sites: Mapping[str, Tuple[int, int]], widths: Mapping[str, int]
                ) -> Dict[str, Moments]:
        """Moments of channels that never vary, in the place of those in the checkpoint."""
        return {path: Moments(np.zeros(width), np.zeros((width, width)), 2) for path, width in widths.items()}


class _Tap(nn.Cell):
    """Hands what enters a Cell to a function. PyNative mode only."""

    def __init__(self, cell: nn.Cell, see: Any):
        super().__init__(auto_prefix=False)
        self.cell, self.see = cell, see

    def construct(self, x):
        self.see(x)
        return self.cell(x)


def moments_at(network: nn.Cell, sampler: FeatureSampler, sites: Mapping[str, Tuple[int, int]]) -> Dict[str, Moments]:
    """
    Means and covariances of the channels that enter Cells.

    Args:
        network (nn.Cell): The network. It is not changed.
        sampler (FeatureSampler): Where the data are.
        sites (Mapping): Path of a Cell -> how many axes are behind the channels', and how many neighbours on that axis
            are one channel's.

    Returns:
        dict, path -> Moments.

    Raises:
        ArgumentError: If there are no data.
    """
    running = {path: RunningMoments() for path in sites}
    generator = np.random.default_rng(sampler.seed)

    def see(path: str):
        trailing, repeats = sites[path]
        return lambda x: running[path].update(_rows(x.asnumpy(), trailing, repeats, sampler.positions, generator))

    tapped = copy_network(network)
    replace_cells(tapped, {path: lambda cell, path=path: _Tap(cell, see(path)) for path in sites})
    ms.ms_memory_recycle()
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        with evaluation(tapped):
            batches = noted(first_inputs("FeatureSampler", sampler.data), "the moments of a FeatureSampler")
            for batch in shown(batches, "batches for the moments of features"):
                tapped(batch)
    finally:
        ms.set_context(mode=mode)
    if not all(item.count for item in running.values()):
        raise ArgumentError("For 'FeatureSampler', 'data' must hold batches for the network, but got none.")
    return {path: item.moments() for path, item in running.items()}


def _rows(array: np.ndarray, trailing: int, repeats: int, positions: int, generator: np.random.Generator) -> np.ndarray:
    """Vectors of channels at some positions of each sample, shape (samples times positions, channels)."""
    if repeats > 1:
        array, trailing = array.reshape(*array.shape[:-1], -1, repeats), 1
    array = np.moveaxis(array, array.ndim - 1 - trailing, -1)
    array = array.reshape(len(array), -1, array.shape[-1])
    chosen = generator.integers(0, array.shape[1], (len(array), min(positions, array.shape[1])))
    return np.take_along_axis(array, chosen[:, :, None], 1).reshape(-1, array.shape[-1])
