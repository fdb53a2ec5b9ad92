"""Digests: what tells whether two samples, data sets or networks are the same. SHA-256, in hexadecimal digits."""
import hashlib
import itertools
from typing import TYPE_CHECKING, Iterable, Tuple, Union

import numpy as np

if TYPE_CHECKING:
    from mindspore import nn

__all__ = ["digest_of", "digest_of_samples", "network_digest", "sample_digests"]


_SAMPLE_DIGITS = 16  # enough to tell samples apart


def digest_of(parts: Iterable[Union[str, np.ndarray]]) -> str:
    """
    One digest of all parts in their order: of texts, and of the numbers of arrays.

    Args:
        parts (Iterable): What arrays are, their types and shapes, must stand before them as texts.

    Returns:
        str, 64 hexadecimal digits.
    """
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return whole.hexdigest()


def sample_digests(images: np.ndarray, labels: np.ndarray) -> Tuple[str, ...]:
    """
    One digest for each image with its label, of its type, shape and numbers.

    Args:
        images (numpy.ndarray): Shape (N, ...).
        labels (numpy.ndarray): Whole numbers, shape (N,).

    Returns:
        tuple[str], 16 hexadecimal digits each.
    """
    return tuple(digest_of((f"{image.dtype.str} {image.shape} {int(label)} ", image))[:_SAMPLE_DIGITS]
                 for image, label in zip(images, labels))


def digest_of_samples(samples: Iterable[str]) -> str:
    """One digest for many samples, whatever their order."""
    return digest_of(["\n".join(sorted(samples))])


def network_digest(network: "nn.Cell") -> str:
    """The digest of a network's class and of its parameters' names, types, shapes and values."""
    parameters = sorted(network.get_parameters(), key=lambda item: item.name)
    parts = ((f"\n{item.name} {item.dtype} {tuple(item.shape)} ", item.asnumpy()) for item in parameters)
    return digest_of(itertools.chain([type(network).__name__], itertools.chain.from_iterable(parts)))
