"""Images of 16x16 pixels and 10 classes: CIFAR-10 made smaller, or coloured gratings drawn here."""
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

import numpy as np

__all__ = ["CLASSES", "SHARES", "SIZE", "Images", "batches", "draw_gratings", "load", "split"]

SIZE, CLASSES = 16, 10
# Of the training images: those that train the weights; those that the weights have not seen, on which scales are
# trained and criteria look; those on which filters are tested one at a time; and those on which what is found is tested
# together. The test images stay apart.
SHARES = {"weights": 0.6, "control": 0.2, "validation": 0.05, "together": 0.05}
_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "resnet_cifar10"


@dataclass(frozen=True, eq=False)
class Images:
    """float32 images of shape (N, 3, 16, 16), int32 labels of shape (N,)."""

    pixels: np.ndarray
    labels: np.ndarray

    def take(self, index) -> "Images":
        """Those samples, in that order."""
        return Images(self.pixels[index], self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)


def load(path: Optional[str], synthetic: int = 4000) -> Tuple[Images, Images]:
    """
    Images to divide, and test images.

    Args:
        path (str): Folder or .zip of ``train/<class>/<name>.jpg`` and ``test/<class>/<name>.jpg``, 32x32 pixels. Each
            square of four becomes its mean, and every second test image is used. None: `synthetic` gratings, and half
            as many to test.
        synthetic (int): How many. Default: 4000.
    """
    if path is None:
        drawn = draw_gratings(synthetic + synthetic // 2, np.random.default_rng(0))
        return drawn.take(slice(synthetic)), drawn.take(slice(synthetic, None))
    sys.path.insert(0, str(_EXAMPLE))
    from data import load_splits

    splits = load_splits("images", path, validation_size=0.1, seed=0)
    known = np.concatenate([splits.train.images, splits.validation.images])
    labels = np.concatenate([splits.train.labels, splits.validation.labels])
    # Files are sorted by class: every second one of the test images leaves the classes as they are.
    test = splits.test.take(slice(None, None, 2))
    return (Images(_smaller(known, splits.mean, splits.std), labels),
            Images(_smaller(test.images, splits.mean, splits.std), test.labels))


def _smaller(images: np.ndarray, mean, std) -> np.ndarray:
    halves = images.reshape(len(images), SIZE, 2, SIZE, 2, 3).mean((2, 4), dtype=np.float32)
    return np.ascontiguousarray(((halves / 255 - mean) / std).transpose(0, 3, 1, 2), np.float32)


def draw_gratings(count: int, generator: np.random.Generator) -> Images:
    """Waves of random phase in noise: the class sets their direction, and which two colours they mix."""
    labels = generator.integers(0, CLASSES, count).astype(np.int32)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    angle = (np.pi * labels / CLASSES)[:, None, None]
    phase = generator.uniform(0, 2 * np.pi, (count, 1, 1))
    wave = np.sin(0.9 * (rows * np.cos(angle) + columns * np.sin(angle)) + phase)
    colour = np.eye(3)[labels % 3] - 0.5 * np.eye(3)[(labels + 1) % 3]
    pixels = wave[:, None] * colour[:, :, None, None] + generator.normal(0, 1.0, (count, 3, SIZE, SIZE))
    return Images(pixels.astype(np.float32), labels)


def split(known: Images, seed: int) -> Dict[str, Images]:
    """Disjoint parts of the images by `SHARES`, other ones for every seed."""
    order = np.random.default_rng(seed).permutation(len(known))
    ends = np.cumsum([round(share * len(known)) for share in SHARES.values()])
    return {name: known.take(order[end - round(share * len(known)):end])
            for (name, share), end in zip(SHARES.items(), ends)}


def batches(images: Images, size: int, generator: Optional[np.random.Generator] = None
            ) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """Whole batches, once; with a generator, shuffled and each image mirrored or not."""
    order = np.arange(len(images)) if generator is None else generator.permutation(len(images))
    for start in range(0, len(order) - size + 1, size):
        index = order[start:start + size]
        pixels = images.pixels[index]
        if generator is not None:
            flipped = generator.random(size) < 0.5
            pixels[flipped] = pixels[flipped, :, :, ::-1]
        yield pixels, images.labels[index]
