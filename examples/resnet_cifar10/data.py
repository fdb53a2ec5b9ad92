"""
Images to train and test on, from three sources: CIFAR-10's binary files, a folder or archive of images, the digits.

The validation images are cut from the training images by a seeded permutation. The test images stay apart.
"""
import io
import os
import zipfile
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, Optional, Tuple

import numpy as np
from tqdm import tqdm

__all__ = ["Split", "Splits", "load_splits", "SOURCES"]

_SIZE = 32
_RECORD = 1 + 3 * _SIZE * _SIZE  # a label and an image, as https://www.cs.toronto.edu/~kriz/cifar.html describes
_ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Split:
    """Images, uint8 of shape (N, 32, 32, 3), and labels, int32 of shape (N,)."""

    images: np.ndarray
    labels: np.ndarray

    def take(self, index) -> "Split":
        """Those samples, in that order."""
        return Split(self.images[index], self.labels[index])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """
    A data set.

    Args:
        train, validation, test (Split): Disjoint.
        mean, std (tuple[float]): Of each colour, for images in [0, 1]; what networks are given is
            (x / 255 - mean) / std.
        classes (int): Number of classes.
        mirror (bool): Whether a mirrored image still shows the same class.
    """

    train: Split
    validation: Split
    test: Split
    mean: Tuple[float, float, float]
    std: Tuple[float, float, float]
    classes: int
    mirror: bool


def load_splits(source: str, path: Optional[str] = None, validation_size: float = 0.1, seed: int = 0) -> Splits:
    """
    Load a data set and cut the validation images from the training images.

    Args:
        source (str): ``'cifar10-binary'``, a folder with ``data_batch_1.bin`` ... ``test_batch.bin``; ``'images'``, a
            folder or .zip of ``train/<class>/<name>.jpg`` and ``test/<class>/<name>.jpg`` (or .png) of 32x32 pixels;
            ``'digits'``, scikit-learn's handwritten digits, enlarged from 8x8, which need no path.
        path (str): Where it is. Default: ``None``.
        validation_size (float): Fraction of the training images to validate on, in (0, 1). Default: ``0.1``.
        seed (int): Of the permutation that chooses them. Default: ``0``.

    Returns:
        Splits.

    Raises:
        ValueError: If an argument is out of range, or the files are missing or not as described.
    """
    if source not in SOURCES:
        raise ValueError(f"For 'load_splits', 'source' must be one of {sorted(SOURCES)}, but got {source!r}.")
    if not 0 < validation_size < 1:
        raise ValueError(f"For 'load_splits', 'validation_size' must be in (0, 1), but got {validation_size}.")
    if source != "digits" and (path is None or not os.path.exists(path)):
        raise ValueError(f"For 'load_splits', 'path' must be an existing file or folder, but got {path!r}.")
    train, test = SOURCES[source](path)
    order = np.random.default_rng(seed).permutation(len(train))
    count = max(1, round(validation_size * len(train)))
    # Statistics in wide use for CIFAR-10 weights (ImageNet's); the digits are grey, half of each pixel is about right.
    mean, std = ((0.5,) * 3, (0.5,) * 3) if source == "digits" else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return Splits(train.take(order[count:]), train.take(order[:count]), test, mean, std,
                  classes=int(max(train.labels.max(), test.labels.max())) + 1, mirror=source != "digits")


def _binary(path: str) -> Tuple[Split, Split]:
    files = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    arrays = []
    for name in files:
        full = os.path.join(path, name)
        if not os.path.isfile(full):
            raise ValueError(f"For 'load_splits', 'path' must be a folder with {name}, but got {path!r}.")
        data = np.fromfile(full, np.uint8)
        if data.size == 0 or data.size % _RECORD:
            raise ValueError(
                f"For 'load_splits', {name} must hold records of {_RECORD} bytes, but got {data.size} bytes."
            )
        arrays.append(data.reshape(-1, _RECORD))
        if arrays[-1][:, 0].max() > 9:
            raise ValueError(f"For 'load_splits', labels in {name} must be 0 to 9, but got {arrays[-1][:, 0].max()}.")
    return _records(np.concatenate(arrays[:-1])), _records(arrays[-1])


def _records(records: np.ndarray) -> Split:
    images = records[:, 1:].reshape(-1, 3, _SIZE, _SIZE).transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images), records[:, 0].astype(np.int32))


def _images(path: str) -> Tuple[Split, Split]:
    if os.path.isdir(path):
        return _decode(dict(_folder(path)), path)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"For 'load_splits', 'path' must be a folder or a .zip archive, but got {path!r}.")
    with zipfile.ZipFile(path) as archive:
        members = {name: (lambda name=name: archive.read(name)) for name in archive.namelist()}
        return _decode(members, path)


def _folder(path: str) -> Iterator[Tuple[str, Callable[[], bytes]]]:
    for folder, _, names in os.walk(path):
        for name in names:
            full = os.path.join(folder, name)
            yield os.path.relpath(full, path).replace(os.sep, "/"), lambda full=full: _bytes(full)


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _decode(members: Dict[str, Callable[[], bytes]], path: str) -> Tuple[Split, Split]:
    found = {"train": [], "test": []}
    for name in sorted(members):
        parts = name.split("/")
        if len(parts) == 3 and parts[0] in found and name.lower().endswith(_ENDINGS):
            found[parts[0]].append((parts[1], name))
    for split, items in found.items():
        if not items:
            raise ValueError(f"For 'load_splits', 'path' must hold {split}/<class>/<name>.jpg, but {path!r} has none.")
    names = sorted({kind for kind, _ in found["train"]})
    unknown = sorted({kind for kind, _ in found["test"]} - set(names))
    if unknown:
        raise ValueError(f"For 'load_splits', every class must have training images, but {unknown[0]!r} has none.")
    return tuple(_split(split, found[split], names, members) for split in ("train", "test"))


def _split(split: str, items, names, members) -> Split:
    images = np.empty((len(items), _SIZE, _SIZE, 3), np.uint8)
    shown = tqdm(items, desc=f"reading {split} images", unit="image", leave=False, disable=None)
    for row, (_, name) in enumerate(shown):
        images[row] = _image(name, members[name]())
    return Split(images, np.array([names.index(kind) for kind, _ in items], np.int32))


def _image(name: str, data: bytes) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            array = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"For 'load_splits', '{name}' must be an image, but could not be read: {error}") from error
    if array.shape != (_SIZE, _SIZE, 3):
        raise ValueError(f"For 'load_splits', '{name}' must be of {_SIZE}x{_SIZE} pixels, but got "
                         f"{array.shape[1]}x{array.shape[0]}.")
    return array


def _digits(path: Optional[str]) -> Tuple[Split, Split]:
    """1,797 digits of 8x8 pixels and 17 grey levels, each pixel made a square of 4x4; the last fifth is for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    data = Split(np.repeat(grey[..., None], 3, axis=3), digits.target.astype(np.int32))
    # The digits of one writer follow each other: cut, not shuffled, so that writers of the test split are new.
    cut = len(data) * 4 // 5
    return data.take(slice(cut)), data.take(slice(cut, None))


SOURCES = {"cifar10-binary": _binary, "images": _images, "digits": _digits}
