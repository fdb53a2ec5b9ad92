"""The certificate: what was shown about which networks with which images, as a JSON file and a page to read."""
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from golden_stick.base.errors import ArgumentError, CheckpointError, first_line
from golden_stick.base.files import write_page
from golden_stick.certify.prior_use import OnFreshImages

__all__ = ["Certificate", "CertifiedNetwork"]


_KIND = "golden_stick certificate"
_VERSION = 1


@dataclass(frozen=True)
class CertifiedNetwork:
    """
    A network in a certificate: the base, or a candidate against it.

    Args:
        name (str): As the caller named it.
        digest (str): Of its class and parameters.
        parameters (int): How many numbers it holds.
        accuracy (float): Observed, in [0, 1].
        lost (int): Images that only this candidate gets wrong; 0 for the base.
        gained (int): Images that only the base gets wrong; 0 for the base.
        p_value (float, None): None for the base, and for what stands behind the first candidate that failed.
        certified (bool): Whether its drop is certified to be below the bound.
    """

    name: str
    digest: str
    parameters: int
    accuracy: float
    lost: int = 0
    gained: int = 0
    p_value: Optional[float] = None
    certified: bool = False


@dataclass(frozen=True)
class Certificate(OnFreshImages):
    """
    What `certify` found.

    Args:
        max_drop (float): The bound on the drop in accuracy, as a fraction.
        confidence (float): The probability, at least, with which no certified candidate breaks it, in (0, 1).
        base (CertifiedNetwork): The network that candidates are measured against.
        candidates (tuple[CertifiedNetwork]): In the order of testing.
        order (str): Who or what fixed that order.
        data (str): Digest of the images and labels.
        images (int): How many.
        repeated (int): How many of them are copies of others among them.
        used_before (tuple[str]): Earlier uses of any of the images that are known of.
        ledger (str, None): Name of the ledger that earlier uses were looked up in; None if there was none.
        command (str): What was run.
        versions (Mapping): Name of a library -> its version.
        date (str): When, as the caller or the clock says.
    """

    promise = "THE CONFIDENCE"

    max_drop: float
    confidence: float
    base: CertifiedNetwork
    candidates: Tuple[CertifiedNetwork, ...]
    order: str
    data: str
    images: int
    repeated: int
    used_before: Tuple[str, ...]
    ledger: Optional[str]
    command: str
    versions: Mapping[str, str]
    date: str

    @property
    def certified(self) -> Optional[str]:
        """Name of the smallest certified candidate, the one with the fewest parameters; None if none passed."""
        passed = [item for item in self.candidates if item.certified]
        return min(passed, key=lambda item: item.parameters).name if passed else None

    def _shown(self) -> str:
        bound = f"{100 * self.max_drop:g} percentage points"
        if self.certified is None:
            return f"No candidate is certified to lose less than {bound} of accuracy."
        return (f"'{self.certified}' loses less than {bound} of the accuracy of '{self.base.name}', with a confidence "
                f"of {self.confidence:.6g}, on images drawn like the {self.images:,} of this one.")

    def __str__(self) -> str:
        return self.to_markdown()

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {"kind": _KIND, "version": _VERSION, "statement": self.statement, "certified": self.certified,
                "holds": self.holds, **asdict(self)}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> "Certificate":
        """
        The certificate that `to_dict` made `record` of.

        Raises:
            ArgumentError: If `record` is of another kind or version, or says of itself what its numbers do not.
        """
        if (record.get("kind"), record.get("version")) != (_KIND, _VERSION):
            raise ArgumentError(f"For 'Certificate', 'record' must be of kind '{_KIND}', version {_VERSION}, but got "
                                f"'{record.get('kind')}', version {record.get('version')}.")
        fields = {key: record[key] for key in Certificate.__dataclass_fields__}
        fields["base"] = CertifiedNetwork(**fields["base"])
        fields["candidates"] = tuple(CertifiedNetwork(**item) for item in fields["candidates"])
        fields["used_before"] = tuple(fields["used_before"])
        found = Certificate(**fields)
        for key in ("statement", "certified", "holds"):
            if record[key] != getattr(found, key):
                raise ArgumentError(f"For 'Certificate', '{key}' in 'record' must follow from its numbers, but got "
                                    f"{record[key]!r} in place of {getattr(found, key)!r}.")
        return found

    def to_markdown(self) -> str:
        """A page to read."""
        lines = ["# Certificate", "", f"**{self.statement}**", ""]
        lines += [f"* Used before: {use}." for use in self.used_before]
        lines += ["| network | parameters | accuracy | drop, points | only it is wrong | only the base is wrong "
                  "| p-value | |", "|---|---|---|---|---|---|---|---|",
                  f"| {self.base.name} (base) | {self.base.parameters:,} | {self.base.accuracy:.4f} | | | | | |"]
        lines += [self._row(item) for item in self.candidates]
        names = [f"* {item.name}: `{item.digest}`" for item in (self.base, *self.candidates)]
        where = f"the ledger `{self.ledger}`" if self.ledger else \
            "no ledger: that nothing else used the images before rests on the caller's word alone"
        return "\n".join([
            *lines, "",
            f"A p-value of at most {1 - self.confidence:.6g} rejects \"the drop is {100 * self.max_drop:g} points or "
            "more\", by an exact test; candidates were tested in this order "
            f"({self.order}), up to the first that failed.", "",
            f"Images: {self.images:,}, {self.repeated:,} of them copies of others; digest `{self.data}`. Earlier uses "
            f"were looked up in what the caller declared, and in {where}.",
            "", "Digests of the networks:", "", *names,
            "", f"Command: `{self.command}`", "",
            f"Versions: {', '.join(f'{name} {version}' for name, version in self.versions.items())}. "
            f"Date: {self.date}.", "",
            "The guarantee is about images drawn independently like these, one test each time; it does not cover other "
            "data, other measures than accuracy, or a choice of networks or bounds made after a look at these images.",
            ""])

    def _row(self, item: CertifiedNetwork) -> str:
        drop = 100 * (item.lost - item.gained) / self.images
        verdict = "certified" if item.certified else "not tested" if item.p_value is None else "not certified"
        verdict += "" if self.holds else ", on used data"
        p_value = "" if item.p_value is None else f"{item.p_value:.4f}"
        return (f"| {item.name} | {item.parameters:,} | {item.accuracy:.4f} | {drop:+.2f} | {item.lost} "
                f"| {item.gained} | {p_value} | {verdict} |")

    def save(self, path: str) -> str:
        """
        Write the JSON file, and the page with the ending ``.md`` beside it.

        Args:
            path (str): Where to write; the ending ``.json`` is added if it is missing.

        Returns:
            str, the path of the JSON file.

        Raises:
            CheckpointError: If a file cannot be written there.
        """
        stem = path[:-len(".json")] if path.endswith(".json") else path
        write_page("certify", stem, self.to_dict(), self.to_markdown())
        return f"{stem}.json"

    @staticmethod
    def load(path: str) -> "Certificate":
        """
        Read what `save` wrote.

        Raises:
            CheckpointError: If the file is missing, damaged, or of another kind.
        """
        try:
            return Certificate.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"For 'Certificate', '{os.path.basename(path)}' must be a certificate, but it is "
                                  f"damaged or another file: {first_line(error)}") from error
