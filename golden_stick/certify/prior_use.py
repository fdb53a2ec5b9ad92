"""What data are recognized by, and what is known of earlier uses of them: what is declared, and what a ledger lists."""
import os
from dataclasses import dataclass
from typing import Any, Callable, ClassVar, Collection, Dict, FrozenSet, Iterable, Iterator, List, Optional, Tuple

import numpy as np

from golden_stick.base.config import OneOf, check_value
from golden_stick.base.errors import ArgumentError, CheckpointError, StateError, first_line
from golden_stick.base.files import digest_of_samples, now, read_record, sample_digests, write_record
from golden_stick.base.inputs import labelled_batches, length_of, shown

__all__ = ["DataFingerprint", "DataUse", "KnownUses", "OnFreshImages", "digested_batches", "fingerprint",
           "fingerprint_of", "known_uses", "overlaps", "read_ledger"]


_FINGERPRINT = "golden_stick data fingerprint"
_LEDGER = "golden_stick ledger"


@dataclass(frozen=True)
class DataFingerprint:
    """
    What a data set is recognized by.

    Args:
        digest (str): Of all samples, whatever their order.
        images (int): Number of samples, repeated ones counted each time.
        samples (frozenset[str]): The digest of each sample, 16 hexadecimal digits.
    """

    digest: str
    images: int
    samples: FrozenSet[str]

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
        write_record("fingerprint", path, _FINGERPRINT,
                     {"digest": self.digest, "images": self.images, "samples": sorted(self.samples)})
        return path

    @staticmethod
    def load(path: str) -> "DataFingerprint":
        """
        Read what `save` wrote.

        Raises:
            CheckpointError: If the file is missing or not such a file.
        """
        record = read_record("fingerprint", path, _FINGERPRINT)
        try:
            samples = frozenset(str(item) for item in record["samples"])
            return DataFingerprint(str(record["digest"]), int(record["images"]), samples)
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"For 'fingerprint', every field of the fingerprint '{os.path.basename(path)}' must "
                                  f"be whole, but one is damaged: {first_line(error)}") from error


@dataclass(frozen=True)
class DataUse:
    """
    Data on a card: which, and how they came.

    Args:
        data (Union[DataFingerprint, str]): What :func:`golden_stick.certify.fingerprint` gives, or words.
        preprocessing (str): What was done to the images before they arrived. Default: ``None``, not told.
        lossless (bool): Whether the images are those of the source, with no lossy step (such as JPEG) between.
            Default: ``None``, not told.
    """

    data: Any
    preprocessing: Optional[str] = None
    lossless: Optional[bool] = None

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON; None where it was not told."""
        known = isinstance(self.data, DataFingerprint)
        return {"data": "by its digest" if known else str(self.data), "digest": self.data.digest if known else None,
                "images": self.data.images if known else None, "preprocessing": self.preprocessing,
                "lossless": self.lossless}


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
    samples: List[str] = []
    for _ in shown(digested_batches("fingerprint", data, samples), "batches", length_of(data)):
        pass
    return fingerprint_of(samples)


def digested_batches(owner: str, data: Any, seen: List[str], check: Optional[Callable] = None,
                     name: str = "data") -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    """
    Images and labels of each batch of what the owner calls `name`. Their digests go to `check`, which raises to stop,
    and then into `seen`, before anybody gets the batch.
    """
    for images, labels in labelled_batches(owner, data):
        samples = sample_digests(images, labels)
        if check is not None:
            check(samples)
        seen.extend(samples)
        yield images, labels
    if not seen:
        raise ArgumentError(f"For '{owner}', '{name}' must hold at least one image, but got none.")


def fingerprint_of(samples: Collection[str]) -> DataFingerprint:
    """The fingerprint of samples, by their digests."""
    return DataFingerprint(digest_of_samples(samples), len(samples), frozenset(samples))


def read_ledger(path: str) -> List[Dict[str, Any]]:
    """The uses that a ledger holds, oldest first; none if there is no file yet. Another file is never overwritten."""
    if not os.path.exists(path):
        return []
    record = read_record("certify", path, _LEDGER)
    try:
        return [{"used_for": str(use["used_for"]), "date": str(use["date"]), "digest": str(use["digest"]),
                 "images": int(use["images"]), "samples": list(use["samples"])} for use in record["uses"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"For 'certify', every use in the ledger '{os.path.basename(path)}' must be whole, but "
                              f"one is damaged: {first_line(error)}") from error


Use = Tuple[FrozenSet[str], str]  # digests of samples, and what they were used for, in words


def _listed(uses: Iterable[Dict[str, Any]]) -> Tuple[Use, ...]:
    return tuple((frozenset(use["samples"]), f"{use['used_for']} on {use['date']}") for use in uses)


def overlaps(samples: Collection[str], uses: Iterable[Use]) -> Tuple[str, ...]:
    """Every earlier use of any of the samples, known by their digests, in words."""
    counts = [(len(used.intersection(samples)), used_for) for used, used_for in uses]
    return tuple(f"{count:,} images that were used before, for {used_for}" for count, used_for in counts if count)


@dataclass(frozen=True)
class KnownUses:
    """Earlier uses of data, and what becomes of images that are among them."""

    owner: str  # who asks, for messages
    declared: Tuple[Use, ...]  # what the caller says was used
    listed: Tuple[Use, ...]  # what the ledger lists
    ledger: Optional[str]  # its path; None if there is none
    reuse: str  # 'refuse' or 'declare'

    @property
    def name(self) -> Optional[str]:
        """Name of the ledger's file; None if there is none."""
        return None if self.ledger is None else os.path.basename(self.ledger)

    def check(self, samples: Collection[str]) -> None:
        """Refuse images that were used before, unless that is to be declared, before any network sees them."""
        self._refuse(samples, overlaps(samples, self.declared + self.listed))

    def record(self, data: DataFingerprint, used_for: str, date: Optional[str] = None) -> Tuple[str, ...]:
        """
        Write down that images are used now, which must come before anybody can see a result. Gives their earlier uses,
        and refuses them if another process has used them meanwhile, unless that is to be declared.
        """
        uses = [] if self.ledger is None else read_ledger(self.ledger)
        earlier = overlaps(data.samples, self.declared + _listed(uses))
        self._refuse(data.samples, earlier)
        if self.ledger is not None:
            use = {"used_for": used_for, "date": date or now(), "digest": data.digest, "images": data.images,
                   "samples": sorted(data.samples)}
            write_record("certify", self.ledger, _LEDGER, {"uses": [*uses, use]})
        return earlier

    def _refuse(self, samples: Collection[str], earlier: Collection[str]) -> None:
        if earlier and self.reuse == "refuse":
            raise StateError(f"For '{self.owner}', 'data' must be images that nothing has used before, but of "
                             f"{len(samples):,} looked at it has {'; '.join(earlier)}: take others, or give "
                             f"reuse='declare' for a result that says so.")


def known_uses(owner: str, used: Any, ledger: Optional[str], reuse: str) -> KnownUses:
    """Gather what is known of earlier uses: `used` holds data sets, fingerprints, or files of fingerprints."""
    check_value(owner, "reuse", reuse, OneOf(("refuse", "declare")))
    path = None if ledger is None else os.fspath(ledger)
    declared = tuple((_fingerprint(item).samples, f"the data given as 'used' (number {number})")
                     for number, item in enumerate(used if isinstance(used, (list, tuple)) else (used,), 1))
    return KnownUses(owner, declared, _listed(read_ledger(path)) if path is not None else (), path, reuse)


def _fingerprint(item: Any) -> DataFingerprint:
    if isinstance(item, (str, os.PathLike)):
        return DataFingerprint.load(os.fspath(item))
    return item if isinstance(item, DataFingerprint) else fingerprint(item)


class OnFreshImages:
    """What is claimed on images that nothing has used before."""

    used_before: Tuple[str, ...]  # earlier uses that are known of
    ledger: Optional[str]  # what they were looked up in
    promise: ClassVar[str]  # what does not hold on images that were used before

    @property
    def holds(self) -> bool:
        """Whether what is claimed holds: not on images that were used before."""
        return not self.used_before

    @property
    def statement(self) -> str:
        """What is shown; with a warning where that does not hold, and where no ledger tells of other uses."""
        text = self._shown() if self.holds else (f"THIS DATA WAS USED BEFORE: {self.promise} DOES NOT HOLD. "
                                                 f"{self._shown()}")
        return text if self.ledger else (f"{text} No ledger was kept: of earlier uses of these images, only those "
                                         f"declared are known.")

    def _shown(self) -> str:
        """What is shown if no image was used before."""
        raise NotImplementedError
