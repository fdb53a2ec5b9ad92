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
    """The digest of texts and arrays in their order; types and shapes of arrays must stand before them as texts."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return whole.hexdigest()


def sample_digests(images: np.ndarray, labels: np.ndarray) -> Tuple[str, ...]:
    """One digest for each of (N, ...) images with its label, a whole number: of its type, shape and numbers."""
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
