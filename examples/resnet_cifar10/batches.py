"""From images to batches: augmentation, normalization, and the `mindspore.dataset` that serves them."""
from typing import Tuple

import mindspore.dataset as dataset
import numpy as np
from data import Split, Splits

__all__ = ["normalize", "augment", "training_data", "evaluation_batches"]

_PADDING = 4


def normalize(images: np.ndarray, splits: Splits) -> np.ndarray:
    """(N, 32, 32, 3) uint8 -> (N, 3, 32, 32) float32, (x / 255 - mean) / std."""
    mean, std = np.array(splits.mean, np.float32), np.array(splits.std, np.float32)
    return np.ascontiguousarray(((images.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))


def augment(images: np.ndarray, generator: np.random.Generator, mirror: bool) -> np.ndarray:
    """Crop each image at random out of itself padded by 4 pixels of zero, and mirror half of them if `mirror`."""
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0)))
    tops, lefts = generator.integers(0, 2 * _PADDING + 1, (2, count, 1, 1))
    rows, columns = tops + np.arange(height)[None, :, None], lefts + np.arange(width)[None, None, :]
    crops = padded[np.arange(count)[:, None, None], rows, columns]
    if mirror:
        flipped = generator.random(count) < 0.5
        crops[flipped] = crops[flipped, :, ::-1]
    return crops


class _Epochs:
    """What `GeneratorDataset` iterates over: every pass is another epoch."""

    def __init__(self, split: Split, splits: Splits, batch_size: int, seed: int, shard: Tuple[int, int]):
        self._split, self._splits, self._batch_size = split, splits, batch_size
        self._seed, self._shard, self._epoch = seed, shard, -1
        self._steps = len(split) // (batch_size * shard[1])
        if self._steps < 1:
            raise ValueError(f"For 'training_data', 'batch_size' must be at most {len(split) // shard[1]}, the images "
                             f"there are for each device, but got {batch_size}.")

    def __len__(self) -> int:
        return self._steps

    def __iter__(self):
        self._epoch += 1
        rank, ranks = self._shard
        order = np.random.default_rng((self._seed, self._epoch)).permutation(len(self._split))
        for step in range(self._steps):
            start = (step * ranks + rank) * self._batch_size
            batch = self._split.take(order[start:start + self._batch_size])
            generator = np.random.default_rng((self._seed, self._epoch, step, rank))
            yield normalize(augment(batch.images, generator, self._splits.mirror), self._splits), batch.labels


def training_data(splits: Splits, batch_size: int, seed: int, limit: int = 0, shard: Tuple[int, int] = (0, 1)):
    """
    Shuffled, augmented batches of the training split; the last partial batch is left out.

    Args:
        splits (Splits): The data.
        batch_size (int): Images per batch and device.
        seed (int): Order and augmentation follow from it, the epoch and the step.
        limit (int): Use only so many training images; 0 for all. Default: ``0``.
        shard (tuple[int]): Rank of this device, and number of devices. Default: ``(0, 1)``.

    Returns:
        mindspore.dataset.GeneratorDataset with the columns image, float32 (N, 3, 32, 32), and label, int32 (N,).

    Raises:
        ValueError: If there are fewer images than one batch takes.
    """
    split = splits.train.take(slice(limit)) if limit else splits.train
    epochs = _Epochs(split, splits, batch_size, seed, shard)
    return dataset.GeneratorDataset(epochs, ["image", "label"], shuffle=False, python_multiprocessing=False)


def evaluation_batches(split: Split, splits: Splits, batch_size: int = 256):
    """Every image of a split once, in order, as (image, label) arrays; the last batch may be smaller."""
    for start in range(0, len(split), batch_size):
        batch = split.take(slice(start, start + batch_size))
        yield normalize(batch.images, splits), batch.labels
