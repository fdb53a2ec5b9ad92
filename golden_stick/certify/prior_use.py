"""What is known of earlier uses of data: what the caller declares, what a ledger lists, what this process saw."""
import os
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from golden_stick.base.config import OneOf, check_value
from golden_stick.base.digests import EarlierUse, claim, earlier_uses, now
from golden_stick.base.errors import CheckpointError, StateError, first_line
from golden_stick.base.files import read_record, write_record
from golden_stick.certify.fingerprints import DataFingerprint, fingerprint

__all__ = ["Overlap", "read_ledger", "add_to_ledger", "declared_uses", "overlaps", "KnownUses", "OnFreshImages",
           "known_uses", "with_caveats"]


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


@dataclass(frozen=True)
class KnownUses:
    """
    Earlier uses of data, and what becomes of images that are among them.

    Args:
        owner (str): Who asks, for messages.
        declared (tuple[DataFingerprint]): What the caller says was used.
        listed (tuple[dict]): What the ledger lists.
        ledger (str, None): Path of the ledger; None if there is none.
        reuse (str): ``'refuse'`` or ``'declare'``.
    """

    owner: str
    declared: Tuple[DataFingerprint, ...]
    listed: Tuple[Dict[str, Any], ...]
    ledger: Optional[str]
    reuse: str

    @property
    def name(self) -> Optional[str]:
        """Name of the ledger's file; None if there is none."""
        return None if self.ledger is None else os.path.basename(self.ledger)

    def check(self, data: DataFingerprint) -> None:
        """
        Look for images that were used before, before any network sees them.

        Raises:
            StateError: If there is one, unless that is to be declared.
        """
        self._refuse(data, self._overlaps(data, earlier_uses(data.digests)))

    def record(self, data: DataFingerprint, used_for: str, date: Optional[str] = None) -> Tuple[str, ...]:
        """
        Write down that images are used now, which must come before anybody can see a result.

        Returns:
            tuple[str], their earlier uses.

        Raises:
            StateError: If another thread has used them meanwhile, unless that is to be declared.
            CheckpointError: If the ledger is damaged or cannot be written.
        """
        date = date or now()
        if self.ledger is not None:
            add_to_ledger(self.ledger, data, used_for, date)
        found = self._overlaps(data, claim(data.digests, data.samples, used_for, date, data.digest))
        self._refuse(data, found)
        return tuple(map(str, found))

    def _overlaps(self, data: DataFingerprint, seen: Sequence[EarlierUse]) -> Tuple[Overlap, ...]:
        listed = {(use["used_for"], use["date"], use["digest"]) for use in self.listed}
        here = tuple(Overlap(use.images, f"{use.used_for} on {use.date}, in this process") for use in seen
                     if (use.used_for, use.date, use.digest) not in listed)
        return overlaps(data, self.declared, self.listed) + here

    def _refuse(self, data: DataFingerprint, found: Sequence[Overlap]) -> None:
        if found and self.reuse == "refuse":
            raise StateError(f"For '{self.owner}', 'data' must be images that nothing has used before, but of "
                             f"{data.images:,} looked at it has {'; '.join(map(str, found))}: take others, or give "
                             f"reuse='declare' for a result that says so.")


class OnFreshImages:
    """What is claimed on images that nothing has used before. `used_before` lists their earlier uses."""

    used_before: Tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether what is claimed holds: not on images that were used before."""
        return not self.used_before


def known_uses(owner: str, used: Any, ledger: Optional[str], reuse: str) -> KnownUses:
    """
    Gather what is known of earlier uses, but for this process, which is asked each time.

    Args:
        owner (str): Who asks, for messages.
        used (Sequence): Data sets, fingerprints, or files of fingerprints.
        ledger (str, None): Path of a ledger.
        reuse (str): ``'refuse'`` or ``'declare'``.

    Returns:
        KnownUses.

    Raises:
        ArgumentError: If `reuse` is neither.
        CheckpointError: If the ledger or a fingerprint is damaged.
    """
    check_value(owner, "reuse", reuse, OneOf(("refuse", "declare")))
    listed = tuple(read_ledger(ledger)) if ledger is not None else ()
    declared = declared_uses(used if isinstance(used, (list, tuple)) else (used,))
    return KnownUses(owner, declared, listed, None if ledger is None else os.fspath(ledger), reuse)


def with_caveats(text: str, used_before: Sequence[str], ledger: Optional[str], what: str) -> str:
    """
    A statement with all that limits it: that its data were used before, or that little is known of that.

    Args:
        text (str): The statement.
        used_before (Sequence[str]): Earlier uses that are known of.
        ledger (str, None): The ledger that was looked into.
        what (str): What does not hold on used data.

    Returns:
        str.
    """
    text = f"THIS DATA WAS USED BEFORE: {what} DOES NOT HOLD. {text}" if used_before else text
    return text if ledger else (f"{text} No ledger was kept: of earlier uses of these images, only those by "
                                f"golden_stick in this process and those declared are known.")
