"""Images of 16 x 16 pixels in four disjoint sets: photographs, or textures where there are none."""
import sys
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "resnet_cifar10"))

from data import load_splits  # noqa: E402

__all__ = ["CLASSES", "batches", "load_sets"]

CLASSES = 10
Images = Tuple[np.ndarray, np.ndarray]
# Of the training images: what the scales are fitted on, and what is looked at while choosing.
_CONTROL, _VALIDATION = 5000, 5000


def load_sets(path: Optional[str], count: int, seed: int) -> Dict[str, Images]:
    """
    Images, float32 of shape (N, 3, 16, 16), and labels, int32.

    Args:
        path (str): Folder or archive of CIFAR-10 as images, see examples/resnet_cifar10/data.py; None for textures.
        count (int): Training images, at most.
        seed (int): Of the split.

    Returns:
        dict, with ``'train'``, ``'control'``, ``'validation'`` and ``'test'``.
    """
    if path is None:
        sizes = {"train": count, "control": count // 2, "validation": count // 2, "test": count // 2}
        return {name: _textures(size, seed * 10 + number) for number, (name, size) in enumerate(sizes.items())}
    splits = load_splits("images", path, 0.2, seed)
    held = [splits.validation.take(slice(start, start + size)) for start, size in ((0, _CONTROL),
                                                                                  (_CONTROL, _VALIDATION))]
    sets = {"train": splits.train.take(slice(0, count)), "control": held[0], "validation": held[1],
            "test": splits.test}
    return {name: (_halved(split.images), split.labels) for name, split in sets.items()}


def batches(images: Images, size: int, seed: Optional[int] = None) -> Iterator[Images]:
    """Whole batches, in the order of a seed, mirrored at random; or all of them in their own order."""
    inputs, labels = images
    if seed is None:
        for start in range(0, len(labels), size):
            yield inputs[start:start + size], labels[start:start + size]
        return
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    for start in range(0, len(order) - size + 1, size):
        index = order[start:start + size]
        chosen, mirror = inputs[index], generator.random(size) < 0.5
        chosen[mirror] = chosen[mirror][..., ::-1]
        yield chosen, labels[index]


def _halved(images: np.ndarray) -> np.ndarray:
    """(N, 32, 32, 3) of bytes to (N, 3, 16, 16), about standard."""
    means = images.reshape(len(images), 16, 2, 16, 2, 3).mean((2, 4), dtype=np.float32)
    return np.ascontiguousarray(((means / 255 - 0.47) / 0.25).transpose(0, 3, 1, 2), np.float32)


def _textures(count: int, seed: int) -> Images:
    """Gratings of a direction and colour for each class, in noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, CLASSES, count).astype(np.int32)
    angle, shift = np.pi * labels / CLASSES, generator.uniform(0, 2 * np.pi, count)
    rows, columns = np.mgrid[:16, :16]
    along = (np.cos(angle)[:, None, None] * rows + np.sin(angle)[:, None, None] * columns) * 0.9
    waves = np.sin(along + shift[:, None, None])
    colours = np.stack([np.cos(2 * np.pi * (labels / CLASSES + channel / 3)) for channel in range(3)], 1)
    images = waves[:, None] * (1 + 0.5 * colours[:, :, None, None]) + 0.6 * generator.normal(size=(count, 3, 16, 16))
    return images.astype(np.float32), labels
