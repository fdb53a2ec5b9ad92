"""`certify`: the smallest candidate whose accuracy drop is below a bound, and the certificate that says so."""
import json
import os
import shlex
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from mindspore import Tensor, nn
from scipy import special

from golden_stick.base.config import FRACTION, Interval, check_value, in_own_name
from golden_stick.base.display import markdown_table
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, StateError, first_line
from golden_stick.base.files import network_digest, now, versions, write_page
from golden_stick.base.inputs import length_of, shown
from golden_stick.cells.wrappers import evaluation
from golden_stick.certify.drop import PairedCounts, certify_in_sequence, compare_predictions
from golden_stick.certify.prior_use import DataFingerprint, OnFreshImages, digested_batches, fingerprint_of, known_uses
from golden_stick.graph.plan import parameters_in

__all__ = ["Certificate", "CertifiedNetwork", "certify", "refuse_chance", "right_answers", "scores_of"]


_KIND = "golden_stick certificate"
_VERSION = 1
_LEDGER = "golden_stick_ledger.json"
_BASE = "base"
# A network that is no better than one answer for all images looks better with this probability at most.
_CHANCE = 0.05
_BASE_REMEDY, _REMEDY = "load the weights that it was trained to", "recover or fine-tune it first, or leave it out"


@dataclass(frozen=True)
class CertifiedNetwork:
    """
    A network in a certificate: the base, or a candidate against it.

    Args:
        name (str): As the caller named it.
        digest (str): Of its class and parameters.
        parameters (int): Numbers in its weights, moving statistics left out.
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
        head, *rows = self.rows()
        lines += markdown_table(head, rows, words=(0, len(head) - 1))
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

    def rows(self) -> List[Tuple[str, ...]]:
        """A table of the networks, its head first."""
        return [("network", "parameters", "accuracy", "drop, points", "only it is wrong", "only the base is wrong",
                 "p-value", "verdict"),
                (f"{self.base.name} (base)", f"{self.base.parameters:,}", f"{self.base.accuracy:.4f}", *[""] * 5),
                *map(self._row, self.candidates)]

    def _row(self, item: CertifiedNetwork) -> Tuple[str, ...]:
        drop = 100 * (item.lost - item.gained) / self.images
        verdict = "certified" if item.certified else "not tested" if item.p_value is None else "not certified"
        verdict += "" if self.holds else ", on used data"
        p_value = "" if item.p_value is None else f"{item.p_value:.4f}"
        return (item.name, f"{item.parameters:,}", f"{item.accuracy:.4f}", f"{drop:+.2f}", str(item.lost),
                str(item.gained), p_value, verdict)

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
        stem = path.removesuffix(".json")
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


@in_own_name
def certify(base: nn.Cell, candidates: Union[Mapping[str, nn.Cell], Sequence[nn.Cell]], data: Any,
            max_drop: float = 0.01, confidence: float = 0.9, *, order: Optional[Sequence[str]] = None,
            used: Sequence[Any] = (), reuse: str = "refuse", path: Optional[str] = None,
            ledger: Optional[str] = None, command: Optional[str] = None, date: Optional[str] = None) -> Certificate:
    """
    The smallest candidate whose drop in accuracy is below a bound, with the confidence that is asked for.

    Candidates are tested by an exact test, in an order that no image has a say in, until the first that fails (Learn
    then Test, Angelopoulos et al., <https://arxiv.org/abs/2110.01052>). If the images are drawn independently and were
    used for nothing before (not to train, prune, fine-tune or choose any of the networks, or the bound), the
    probability that a certified candidate's accuracy is truly lower by `max_drop` or more is at most
    ``1 - confidence``. docs/certificates.md says what that covers and what not.

    Where one of the networks is not clearly better than the most frequent label, given to all images, that is an error
    before any of them is compared, and the images stay unused.

    Args:
        base (nn.Cell): The network to compare with: takes images, gives :math:`(N, classes)`, or that first.
        candidates (Union[Mapping, Sequence]): Name -> slim network; networks without names are called
            ``'candidate 1'`` and so on.
        data (Iterable): A `mindspore.dataset` object whose first columns are images and labels, or an iterable of
            ``(images, labels)``; batched, taken once.
        max_drop (float): The bound on the drop, as a fraction of all images, in [0, 1). Default: ``0.01``.
        confidence (float): In (0, 1). Default: ``0.9``.
        order (Sequence[str]): All names, in the order of testing. Default: ``None``, by the number of parameters,
            the most first; of equal ones, as given.
        used (Sequence): What was used to train or choose: data sets, their fingerprints (`fingerprint`), or files of
            those. Images that `data` shares with them are found. Default: none.
        reuse (str): What happens if an image was used before. ``'refuse'``: an error. ``'declare'``: a certificate that
            says that its confidence does not hold. Default: ``'refuse'``.
        path (str): Where to write the certificate, as JSON and, beside it, as a page; no file may stand there.
            Default: ``None``, nowhere.
        ledger (str): File that lists the images used to certify, which is read, and added to before the result is
            known. Default: ``None``, ``golden_stick_ledger.json`` beside `path`, or none without a path: the statement
            then says that only what is declared is known.
        command (str): What to write down as the command. Default: ``None``, that of this process.
        date (str): What to write down as the date. Default: ``None``, now, in UTC.

    Returns:
        Certificate. Its `certified` is the name of the smallest certified candidate, or None.

    Raises:
        ArgumentTypeError: If a network is not a Cell, `candidates` neither mapping nor sequence, or a batch no pair.
        ArgumentError: If there is no candidate or no image, a value is out of range, `order` does not name each
            candidate once, a file stands at `path`, or an output is not of shape :math:`(N, classes)` and finite.
        StateError: If an image was used before, unless `reuse` is ``'declare'``; or if a network is near chance.
        CheckpointError: If the ledger or a fingerprint is damaged, or a file cannot be written.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import mindspore as ms
        >>> import numpy as np
        >>> import golden_stick as gs
        >>> from mindspore import Tensor, nn
        >>> net = nn.Dense(4, 3, has_bias=False)
        >>> images = Tensor(np.random.randn(2000, 4), ms.float32)
        >>> certificate = gs.certify(net, {"itself": net}, [(images, net(images).argmax(1))])
        >>> print(certificate.certified)
        itself
    """
    networks = _networks(base, candidates)
    names = _order(networks, order)
    check_value("certify", "max_drop", max_drop, Interval(0.0, 1.0))
    check_value("certify", "confidence", confidence, FRACTION)
    if path is not None:
        path = f"{path.removesuffix('.json')}.json"
        if os.path.exists(path) or os.path.exists(f"{path.removesuffix('.json')}.md"):
            raise ArgumentError(f"For 'certify', 'path' must be a new file, but a certificate or page stands at "
                                f"'{path}' already.")
        if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise CheckpointError(f"For 'certify', the folder of 'path' must exist, but got '{path}'.")
        ledger = os.path.join(os.path.dirname(path), _LEDGER) if ledger is None else ledger
    known = known_uses("certify", used, ledger, reuse)
    right, images, labels = right_answers("certify", networks, data, known.check)
    for name, found in right.items():
        refuse_chance("certify", name, found, labels, _BASE_REMEDY if name == _BASE else _REMEDY)
    date = date or now()
    # Before anybody can see a result: what failed has used the images as well.
    earlier = known.record(images, f"certificate '{os.path.basename(path)}'" if path else "a certificate", date)
    comparisons = certify_in_sequence([compare_predictions(right[_BASE], right[name]) for name in names],
                                      max_drop, confidence)
    certificate = Certificate(
        max_drop=float(max_drop), confidence=float(confidence), base=_record(_BASE, networks, right),
        candidates=tuple(_record(name, networks, right, item) for name, item in zip(names, comparisons)),
        order="by number of parameters, the most first" if order is None else "declared by the caller",
        data=images.digest, images=images.images, repeated=images.images - len(images.samples),
        used_before=earlier, ledger=known.name, command=command or shlex.join(sys.argv), versions=versions(), date=date,
    )
    if path is not None:
        certificate.save(path)
    return certificate


def _networks(base: nn.Cell, candidates: Any) -> Dict[str, nn.Cell]:
    if isinstance(candidates, (list, tuple)):
        candidates = {f"candidate {number}": network for number, network in enumerate(candidates, 1)}
    if not isinstance(candidates, Mapping):
        raise ArgumentTypeError(f"For 'certify', 'candidates' must be a dict or a list of networks, but got "
                                f"{type(candidates).__name__}.")
    if not candidates or _BASE in candidates:
        raise ArgumentError(f"For 'certify', 'candidates' must name at least one network, none of them '{_BASE}', but "
                            f"got {list(candidates)}.")
    networks = {_BASE: base, **candidates}
    for name, network in networks.items():
        if not isinstance(network, nn.Cell):
            raise ArgumentTypeError(f"For 'certify', every network must be a Cell, but '{name}' is a "
                                    f"{type(network).__name__}.")
    return networks


def _order(networks: Mapping[str, nn.Cell], order: Optional[Sequence[str]]) -> Tuple[str, ...]:
    names = tuple(name for name in networks if name != _BASE)
    if order is None:
        return tuple(sorted(names, key=lambda name: -_size(networks[name])))
    if sorted(order) != sorted(names):
        raise ArgumentError(f"For 'certify', 'order' must name each candidate once, but got {list(order)} for "
                            f"{list(names)}.")
    return tuple(order)


def refuse_chance(owner: str, name: str, right: np.ndarray, labels: np.ndarray, remedy: str = _BASE_REMEDY) -> None:
    """
    Refuse a network that may answer no better than the most frequent label alone, by an exact test of the images where
    only one of the two is right. What it answers is not told: the images are to be as good as unseen.
    """
    kinds, counts = np.unique(labels, return_counts=True)
    constant = labels == kinds[counts.argmax()]
    better, worse = int((right & ~constant).sum()), int((constant & ~right).sum())
    # The probability of so many wins or more, were each as likely as a loss.
    if not better or special.betainc(better, worse + 1, 0.5) > _CHANCE:
        raise StateError(f"For '{owner}', '{name}' must be right clearly more often than the most frequent label, "
                         f"given to all {len(labels):,} images, but may not be: {remedy}, and prepare the images as "
                         f"for its training. They are not used up: nothing was compared.")


def _size(network: nn.Cell) -> int:
    return parameters_in({parameter.name: parameter.shape for parameter in network.get_parameters()})


def _record(name: str, networks: Mapping[str, nn.Cell], right: Mapping[str, np.ndarray],
            item: Optional[PairedCounts] = None) -> CertifiedNetwork:
    network = networks[name]
    compared = () if item is None else (item.lost, item.gained, item.p_value, item.certified)
    return CertifiedNetwork(name, network_digest(network), _size(network), float(right[name].mean()), *compared)


def right_answers(owner: str, networks: Mapping[str, nn.Cell], data: Any, check: Optional[Callable] = None,
                  data_name: str = "data") -> Tuple[Dict[str, np.ndarray], DataFingerprint, np.ndarray]:
    """
    Whether each network, in evaluation, is right on each image, by name; the fingerprint of the data, of which `check`
    gets the digests of each batch before any network sees it; and the labels. The class is that of the largest output,
    the first where there are several.
    """
    seen: List[str] = []
    truth: List[np.ndarray] = []
    right: Dict[str, List[np.ndarray]] = {name: [] for name in networks}
    with ExitStack() as stack:
        for network in networks.values():
            stack.enter_context(evaluation(network))
        for images, labels in shown(digested_batches(owner, data, seen, check, data_name), "batches",
                                    length_of(data)):
            tensor = Tensor(images)
            truth.append(labels)
            for name, network in networks.items():
                right[name].append(_classes(owner, name, network(tensor), len(labels)) == labels)
    return {name: np.concatenate(parts) for name, parts in right.items()}, fingerprint_of(seen), \
        np.concatenate(truth)


def scores_of(output: Any) -> np.ndarray:
    """What a network gives, or gives first."""
    return (output[0] if isinstance(output, (tuple, list)) else output).asnumpy()


def _classes(owner: str, name: str, output: Any, images: int) -> np.ndarray:
    values = scores_of(output)
    if values.ndim != 2 or len(values) != images or values.shape[1] < 2:
        raise ArgumentError(f"For '{owner}', the output of '{name}' must be of shape (images, classes), but got "
                            f"{values.shape} for {images} images.")
    if not np.isfinite(values).all():
        raise ArgumentError(f"For '{owner}', the output of '{name}' must be finite, but some of it is not; after "
                            f"training, lower the learning rate.")
    return values.argmax(1)
