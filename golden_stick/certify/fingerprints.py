"""Fingerprints of samples, data sets and networks: what tells whether two are the same, or overlap."""
import hashlib
import os
from dataclasses import dataclass, field
from typing import Any, FrozenSet, Iterable, Iterator, List, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.digests import image_digest, image_digests
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, first_line
from golden_stick.base.files import read_record, write_record
from golden_stick.base.progress import shown

__all__ = ["DataFingerprint", "SamplesSeen", "fingerprint", "sample_digests", "digest_of_samples", "network_digest",
           "labelled_batches"]


_KIND = "golden_stick data fingerprint"


@dataclass(frozen=True)
class DataFingerprint:
    """
    What a data set is recognized by.

    Args:
        digest (str): Of all samples, whatever their order.
        images (int): Number of samples, repeated ones counted each time.
        samples (frozenset[str]): The digest of each sample, 16 hexadecimal digits.
        unlabelled (frozenset[str]): The same of images without their labels, for uses that did not know the labels;
            empty where it was read from a file.
    """

    digest: str
    images: int
    samples: FrozenSet[str]
    unlabelled: FrozenSet[str] = field(default=frozenset(), compare=False, repr=False)

    @property
    def digests(self) -> FrozenSet[str]:
        """All that a sample may be known by, with its label and without."""
        return self.samples | self.unlabelled

    def save(self, path: str) -> str:
        """
        Write it as JSON.

        Args:
            path (str): Where to write; the folder must exist.

        Returns:
            str, the path.

        Raises:
            CheckpointError: If the file cannot be written there.
        """
        write_record("fingerprint", path, _KIND,
                     {"digest": self.digest, "images": self.images, "samples": sorted(self.samples)})
        return path

    @staticmethod
    def load(path: str) -> "DataFingerprint":
        """
        Read what `save` wrote.

        Raises:
            CheckpointError: If the file is missing or not such a file.
        """
        record = read_record("fingerprint", path, _KIND)
        try:
            samples = frozenset(str(item) for item in record["samples"])
            return DataFingerprint(str(record["digest"]), int(record["images"]), samples)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"For 'fingerprint', every field of the fingerprint '{os.path.basename(path)}' must "
                                  f"be whole, but one is damaged: {first_line(error)}") from error


class SamplesSeen:
    """Batches as they come, and the fingerprint of all of them."""

    def __init__(self):
        self._samples: List[str] = []
        self._unlabelled: List[str] = []

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, images: np.ndarray, labels: np.ndarray) -> DataFingerprint:
        """Add a batch; returns the fingerprint of the batch alone."""
        samples, unlabelled = sample_digests(images, labels), image_digests(images)
        self._samples.extend(samples)
        self._unlabelled.extend(unlabelled)
        return DataFingerprint(digest_of_samples(samples), len(samples), frozenset(samples), frozenset(unlabelled))

    def fingerprint(self) -> DataFingerprint:
        """Of all batches."""
        return DataFingerprint(digest_of_samples(self._samples), len(self._samples), frozenset(self._samples),
                               frozenset(self._unlabelled))


def fingerprint(data: Any) -> DataFingerprint:
    """
    The fingerprint of a data set: of its images as they arrive here, after all preprocessing, with their labels.

    Two data sets are found to overlap only where an image has the same numbers and the same label in both: let the
    training data pass through the preprocessing of the certification data, without augmentation.

    Args:
        data (Iterable): A `mindspore.dataset` object whose first columns are images and labels, or an iterable of
            ``(images, labels)``, batched.

    Returns:
        DataFingerprint.

    Raises:
        ArgumentTypeError: If a batch is not a pair of Tensors or arrays.
        ArgumentError: If there is no sample, or a batch has not one label for each image.

    Examples:
        >>> import numpy as np
        >>> from golden_stick.certify import fingerprint
        >>> images, labels = np.arange(12.0).reshape(4, 3), np.array([0, 1, 0, 1])
        >>> whole, half = fingerprint([(images, labels)]), fingerprint([(images[:2], labels[:2])])
        >>> print(whole.images, len(whole.samples & half.samples))
        4 2
    """
    seen = SamplesSeen()
    for images, labels in shown(labelled_batches("fingerprint", data), "batches"):
        seen.add(images, labels)
    if not seen:
        raise ArgumentError("For 'fingerprint', 'data' must hold at least one image, but got none.")
    return seen.fingerprint()


def sample_digests(images: np.ndarray, labels: np.ndarray) -> Tuple[str, ...]:
    """
    One digest for each image with its label, of their shapes and numbers.

    Args:
        images (numpy.ndarray): Shape (N, ...).
        labels (numpy.ndarray): Whole numbers, shape (N,).

    Returns:
        tuple[str], 16 hexadecimal digits each.
    """
    return tuple(image_digest(image, int(label)) for image, label in zip(images, labels))


def digest_of_samples(samples: Iterable[str]) -> str:
    """One digest for many samples, whatever their order."""
    return hashlib.sha256("\n".join(sorted(samples)).encode()).hexdigest()


def network_digest(network: nn.Cell) -> str:
    """The digest of a network's class and of its parameters' names, types, shapes and values."""
    whole = hashlib.sha256(type(network).__name__.encode())
    for parameter in sorted(network.get_parameters(), key=lambda item: item.name):
        whole.update(f"\n{parameter.name} {parameter.dtype} {tuple(parameter.shape)} ".encode())
        whole.update(np.ascontiguousarray(parameter.asnumpy()).tobytes())
    return whole.hexdigest()


def labelled_batches(owner: str, data: Any) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """
    Images and labels of each batch, as arrays; labels in shape (N,).

    Args:
        owner (str): Name of the caller, for messages.
        data (Iterable): See `fingerprint`.

    Returns:
        Iterator[tuple[numpy.ndarray, numpy.ndarray]].

    Raises:
        ArgumentTypeError: If `data` cannot be iterated, or a batch is not a pair of Tensors or arrays.
        ArgumentError: If a batch has not one whole number as the label of each image.
    """
    if hasattr(data, "create_tuple_iterator"):
        data = data.create_tuple_iterator(num_epochs=1, output_numpy=True)
    if not hasattr(data, "__iter__") or isinstance(data, (str, bytes)):
        raise ArgumentTypeError(f"For '{owner}', 'data' must be a data set or an iterable of (images, labels), "
                                f"but got {type(data).__name__}.")
    for batch in data:
        batch = tuple(batch.values()) if isinstance(batch, dict) else batch
        if not isinstance(batch, (tuple, list)) or len(batch) < 2 or not all(
                isinstance(item, (Tensor, np.ndarray)) for item in batch[:2]):
            raise ArgumentTypeError(f"For '{owner}', a batch of 'data' must be images and labels, Tensors or arrays, "
                                    f"but got {type(batch).__name__}.")
        images, labels = (item.asnumpy() if isinstance(item, Tensor) else item for item in batch[:2])
        labels = labels.reshape(len(labels), -1)[:, 0] if labels.ndim and labels.size == len(labels) else labels
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ArgumentError(f"For '{owner}', a batch of 'data' must have one whole number as label for each image, "
                                f"but got {labels.dtype} labels of shape {labels.shape} for images of shape "
                                f"{images.shape}.")
        yield images, labels
