"""Digests: what tells whether two samples are the same."""
import datetime
import hashlib
import threading
from dataclasses import dataclass
from typing import AbstractSet, Any, Dict, FrozenSet, Iterable, Iterator, Optional, Set, Tuple

import numpy as np

__all__ = ["EarlierUse", "UsedData", "claim", "earlier_uses", "forget_used_data", "image_digest", "image_digests",
           "note", "noted", "now"]


# Used for what, when, and the digest of a whole data set; that is empty where batches come one after the other.
Key = Tuple[str, str, str]


@dataclass(frozen=True)
class EarlierUse:
    """Samples that were used before: how many, for what, when, and the digest of all data of that use, if known."""

    images: int
    used_for: str
    date: str
    digest: str = ""


class UsedData:
    """A record of used samples. Any number of threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._uses: Dict[Key, Set[str]] = {}
        self._first: Dict[str, str] = {}  # used for what -> date of the first time

    def add(self, samples: Iterable[str], used_for: str, date: Optional[str] = None, digest: str = "") -> None:
        """Samples, by their digests, were used; without a date, together with all that were used for the same."""
        with self._lock:
            date = date or self._first.setdefault(used_for, now())
            self._uses.setdefault((used_for, date, digest), set()).update(samples)

    def earlier(self, samples: AbstractSet[str]) -> Tuple[EarlierUse, ...]:
        """Every use of any of these samples, oldest first."""
        with self._lock:
            counts = {key: len(samples & known) for key, known in self._uses.items()}
        return tuple(EarlierUse(count, *key) for key, count in counts.items() if count)

    def claim(self, samples: AbstractSet[str], own: Iterable[str], used_for: str, date: str, digest: str
              ) -> Tuple[EarlierUse, ...]:
        """Add the samples `own`, and return the earlier uses of `samples`: in one step, so that of two threads with the
        same data the second is told of the first."""
        with self._lock:
            found = self.earlier(samples)
            self.add(own, used_for, date, digest)
        return found

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._uses.clear()
            self._first.clear()


_PROCESS = UsedData()


def note(images: Any, used_for: str) -> None:
    """Add a batch of images, an array or a Tensor, to the record of this process."""
    _PROCESS.add(image_digests(images), used_for)


def noted(batches: Iterable[Any], used_for: str) -> Iterator[Any]:
    """The same batches, arrays or Tensors; each is added to the record of this process."""
    for batch in batches:
        note(batch, used_for)
        yield batch


def earlier_uses(samples: FrozenSet[str]) -> Tuple[EarlierUse, ...]:
    """Every use of any of these samples in this process, by digests with labels or without."""
    return _PROCESS.earlier(samples)


def claim(samples: FrozenSet[str], own: Iterable[str], used_for: str, date: str, digest: str
          ) -> Tuple[EarlierUse, ...]:
    """As `UsedData.claim`, in the record of this process."""
    return _PROCESS.claim(samples, own, used_for, date, digest)


def forget_used_data() -> None:
    """
    Forget which data were used in this process. Ledgers stay.

    For tests and simulations, whose data are drawn anew. A certificate that comes after it knows nothing of what came
    before it.
    """
    _PROCESS.forget()


def image_digests(images: Any) -> Tuple[str, ...]:
    """One digest for each image, of its type, shape and numbers, without a label: 16 hexadecimal digits each."""
    array = np.asarray(images.asnumpy() if hasattr(images, "asnumpy") else images)
    if not array.ndim:
        return ()
    return tuple(map(image_digest, array))


def image_digest(image: np.ndarray, *more: Any) -> str:
    """A digest of one image, of its type, shape and numbers, and of what else is told: 16 hexadecimal digits."""
    head = " ".join([image.dtype.str, str(image.shape), *map(str, more), ""]).encode()
    return hashlib.sha256(head + np.ascontiguousarray(image).tobytes()).hexdigest()[:16]


def now() -> str:
    """Date and time, to the minute, in UTC."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
