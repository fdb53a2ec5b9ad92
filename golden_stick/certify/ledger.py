"""The ledger: which images were used to certify before. It is written before a result can be seen."""
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Tuple

from golden_stick.certify.fingerprints import DataFingerprint, fingerprint
from golden_stick.certify.records import read_record, write_record
from golden_stick.errors import CheckpointError, first_line

__all__ = ["Overlap", "read_ledger", "add_to_ledger", "declared_uses", "overlaps"]

_KIND = "golden_stick ledger"


@dataclass(frozen=True)
class Overlap:
    """Images that were used before: how many, and for what."""

    images: int
    used_for: str

    def __str__(self) -> str:
        return f"{self.images:,} images that were used before, for {self.used_for}"


def read_ledger(path: str) -> List[Dict[str, Any]]:
    """
    The uses that a ledger holds, oldest first; none if there is no file yet.

    Raises:
        CheckpointError: If the file is not a ledger. It is never overwritten then.
    """
    if not os.path.exists(path):
        return []
    record = read_record("certify", path, _KIND)
    try:
        return [{"used_for": str(use["used_for"]), "date": str(use["date"]), "digest": str(use["digest"]),
                 "images": int(use["images"]), "samples": list(use["samples"])} for use in record["uses"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"For 'certify', every use in the ledger '{os.path.basename(path)}' must be whole, but "
                              f"one is damaged: {first_line(error)}") from error


def add_to_ledger(path: str, data: DataFingerprint, used_for: str, date: str) -> None:
    """
    Write down that data were used.

    Raises:
        CheckpointError: If the file is not a ledger or cannot be written.
    """
    uses = read_ledger(path) + [{"used_for": used_for, "date": date, "digest": data.digest, "images": data.images,
                                 "samples": sorted(data.samples)}]
    write_record("certify", path, _KIND, {"uses": uses})


def declared_uses(used: Iterable[Any]) -> Tuple[DataFingerprint, ...]:
    """The fingerprints of what the caller says was used: fingerprints, files of them, or data sets."""
    found = []
    for item in used:
        if isinstance(item, (str, os.PathLike)):
            item = DataFingerprint.load(os.fspath(item))
        found.append(item if isinstance(item, DataFingerprint) else fingerprint(item))
    return tuple(found)


def overlaps(data: DataFingerprint, declared: Iterable[DataFingerprint], uses: Iterable[Dict[str, Any]]
             ) -> Tuple[Overlap, ...]:
    """Every earlier use of any of the images, by what the caller declares and by the ledger."""
    found = [Overlap(len(data.samples & item.samples), f"the data given as 'used' (number {number})")
             for number, item in enumerate(declared, 1)]
    found += [Overlap(len(data.samples.intersection(use["samples"])), f"{use['used_for']} on {use['date']}")
              for use in uses]
    return tuple(item for item in found if item.images)
