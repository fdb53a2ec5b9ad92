"""`certify`: the smallest candidate whose accuracy drop is below a bound, with a confidence that one can rely on."""
import os
import shlex
import sys
from contextlib import ExitStack
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.config import Interval, check_value
from golden_stick.base.digests import network_digest, sample_digests
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.files import now, versions
from golden_stick.base.inputs import labelled_batches
from golden_stick.base.progress import shown
from golden_stick.cells.wrappers import evaluation
from golden_stick.certify.certificate import Certificate, CertifiedNetwork
from golden_stick.certify.drop import PairedCounts, certify_in_sequence, compare_predictions
from golden_stick.certify.prior_use import DataFingerprint, fingerprint_of, known_uses

__all__ = ["certify", "right_answers"]


_LEDGER = "golden_stick_ledger.json"
_BASE = "base"


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
        StateError: If an image was used before, unless `reuse` is ``'declare'``.
        CheckpointError: If the ledger or a fingerprint is damaged, or a file cannot be written.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> import numpy as np
        >>> from mindspore import nn
        >>> net = nn.Dense(4, 3)
        >>> images, labels = np.random.rand(2000, 4).astype(np.float32), np.random.randint(0, 3, 2000)
        >>> certificate = gs.certify(net, {"itself": net}, [(images, labels)])
        >>> print(certificate.certified)
        itself
    """
    networks = _networks(base, candidates)
    names = _order(networks, order)
    check_value("certify", "max_drop", max_drop, Interval(0.0, 1.0))
    check_value("certify", "confidence", confidence, Interval(1e-6, 1.0))
    path = path if path is None or path.endswith(".json") else f"{path}.json"
    _check_free(path)
    ledger = os.path.join(os.path.dirname(path), _LEDGER) if ledger is None and path is not None else ledger
    known = known_uses("certify", used, ledger, reuse)
    right, images = right_answers(networks, data, known.check)
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


def _size(network: nn.Cell) -> int:
    return sum(int(np.prod(parameter.shape)) for parameter in network.get_parameters())


def _check_free(path: Optional[str]) -> None:
    if path is not None and (os.path.exists(path) or os.path.exists(f"{path[:-len('.json')]}.md")):
        raise ArgumentError(f"For 'certify', 'path' must be a new file, but a certificate or page stands at '{path}' "
                            f"already.")


def _record(name: str, networks: Mapping[str, nn.Cell], right: Mapping[str, np.ndarray],
            item: Optional[PairedCounts] = None) -> CertifiedNetwork:
    network = networks[name]
    compared = () if item is None else (item.lost, item.gained, item.p_value, item.certified)
    return CertifiedNetwork(name, network_digest(network), _size(network), float(right[name].mean()), *compared)


def right_answers(networks: Mapping[str, nn.Cell], data: Any,
                  check: Callable[[Sequence[str]], None]) -> Tuple[Dict[str, np.ndarray], DataFingerprint]:
    """
    Whether each network, in evaluation, is right on each image, by name; and the fingerprint of the data. The class is
    that of the largest output, the first where there are several. `check` is called with the digests of each batch
    before any network sees it, and raises to stop.

    Raises:
        ArgumentError: If there is no image, or a network's output is not finite or of another shape.
    """
    seen: List[str] = []
    right: Dict[str, List[np.ndarray]] = {name: [] for name in networks}
    with ExitStack() as stack:
        for network in networks.values():
            stack.enter_context(evaluation(network))
        for images, labels in shown(labelled_batches("certify", data), "batches"):
            samples = sample_digests(images, labels)
            check(samples)
            seen.extend(samples)
            tensor = Tensor(images)
            for name, network in networks.items():
                right[name].append(_classes(name, network(tensor), len(labels)) == labels)
    if not seen:
        raise ArgumentError("For 'certify', 'data' must hold at least one image, but got none.")
    return {name: np.concatenate(parts) for name, parts in right.items()}, fingerprint_of(seen)


def _classes(name: str, output: Any, images: int) -> np.ndarray:
    values = (output[0] if isinstance(output, (tuple, list)) else output).asnumpy()
    if values.ndim != 2 or len(values) != images or values.shape[1] < 2:
        raise ArgumentError(f"For 'certify', the output of '{name}' must be of shape (images, classes), but got "
                            f"{values.shape} for {images} images.")
    if not np.isfinite(values).all():
        raise ArgumentError(f"For 'certify', the output of '{name}' must be finite, but some of it is not.")
    return values.argmax(1)
