"""`pruning_card`: all that one should know of a pruned network, in one record and on one page."""
import json
import sys
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from mindspore import nn

from golden_stick.bench.result import machine_facts
from golden_stick.certify.certificate import Certificate
from golden_stick.certify.fingerprints import DataFingerprint, network_digest
from golden_stick.certify.records import versions
from golden_stick.deploy.files import whole_file
from golden_stick.errors import ArgumentError, ArgumentTypeError
from golden_stick.report import Report

__all__ = ["Accuracy", "PruningCard", "pruning_card"]

# What a card has room for, and what it says where there is nothing.
_PARTS = (("base", "where the original network comes from"), ("data", "which data were used for what"),
          ("accuracy", "accuracy before and after"), ("fine_tuning", "how it was fine-tuned"),
          ("controls", "what other criteria do at the same widths"), ("latency", "latency"),
          ("certificate", "a certified bound on the drop in accuracy"))
_CONVENTION = ("MACs are multiply-accumulates of convolutions and products of matrices for one sample, FLOPs twice as "
               "many; parameters without moving statistics")


@dataclass(frozen=True)
class Accuracy:
    """
    One accuracy, measured with several seeds, each at the end of its last epoch.

    Args:
        what (str): Such as ``'original'``, ``'pruned'``, ``'statistics re-estimated'``, ``'fine-tuned'``.
        values (tuple[float]): One for each seed, in [0, 1].
        data (str): Of which images, such as ``'test'``.
    """

    what: str
    values: Tuple[float, ...]
    data: str

    def __str__(self) -> str:
        spread = f" ± {np.std(self.values, ddof=1):.4f}" if len(self.values) > 1 else ""
        return f"{np.mean(self.values):.4f}{spread} (n = {len(self.values)}, {self.data})"


@dataclass(frozen=True)
class PruningCard:
    """
    What `pruning_card` gathered.

    Args:
        record (Mapping): Plain data, fit for JSON.
    """

    record: Mapping[str, Any]

    def save(self, path: str) -> Tuple[str, str]:
        """
        Write the card as JSON and as Markdown.

        Args:
            path (str): Where, without an ending.

        Returns:
            tuple[str], both paths.

        Raises:
            CheckpointError: If a file cannot be written there.
        """
        with whole_file("pruning_card", f"{path}.json") as record, whole_file("pruning_card", f"{path}.md") as page:
            with open(record, "w", encoding="utf-8") as file:
                json.dump(self.record, file, indent=1)
            with open(page, "w", encoding="utf-8") as file:
                file.write(f"{self}\n")
        return f"{path}.json", f"{path}.md"

    def __str__(self) -> str:
        found = self.record
        lines = ["# Pruning card", "", f"Made {found['date']} by `{found['command']}`.", "",
                 f"**Guaranteed:** {found['guarantee']}", "", "## Networks", "",
                 f"* original: {found['networks']['original']}", f"* slim: {found['networks']['slim']}",
                 f"* algorithm: {found['algorithm']}, {json.dumps(found['config'])}", "",
                 "| | before | after | kept | removed |", "|---|---|---|---|---|"]
        for name in ("parameters", "macs"):
            size = found[name]
            lines.append(f"| {name} | {size['before']:,} | {size['after']:,} | {size['kept']:.1%} | "
                         f"{size['removed']:.1%} |")
        lines += ["", f"{_CONVENTION}. Sums of feature maps: `{found['config'].get('residual')}`.", "", "## Widths", "",
                  "| layer | before | after |", "|---|---|---|"]
        lines += [f"| {layer['path']} | {layer['before']} | {layer['after']} |" for layer in found["widths"]]
        for key, title in _PARTS:
            if found[key]:
                lines += ["", f"## {title[0].upper()}{title[1:]}", "", *_listed(found[key])]
        lines += ["", "## Notes of the run", "", *[f"* {note}" for note in found["notes"]],
                  "", "## Not tested", "", *[f"* {item}" for item in found["not_tested"]],
                  "", "## Machine and versions", "", *_listed(found["machine"])]
        return "\n".join(lines)


def pruning_card(report: Report, original: nn.Cell, slim: nn.Cell, base: Optional[Mapping[str, Any]] = None,
                 data: Optional[Mapping[str, Any]] = None, accuracy: Sequence[Accuracy] = (),
                 fine_tuning: Optional[Mapping[str, Any]] = None, controls: Any = None, latency: Any = None,
                 certificate: Optional[Certificate] = None, command: Optional[str] = None, date: Optional[str] = None
                 ) -> PruningCard:
    """
    The card of a pruned network. What is not given stands on it as not tested.

    Args:
        report (Report): Of the algorithm, after `convert`.
        original (nn.Cell): The network before.
        slim (nn.Cell): The network after, fine-tuned if it was.
        base (Mapping): Where the original comes from: source, licence, how it was trained. Default: ``None``.
        data (Mapping): Purpose -> data, such as ``{"train": fingerprint(data), "test": "CIFAR-10, lossless"}``: a
            DataFingerprint of :func:`golden_stick.certify.fingerprint`, or words. Default: ``None``.
        accuracy (Sequence[Accuracy]): Before and after. Default: none.
        fine_tuning (Mapping): Epochs, learning rate, images and what else. Default: ``None``.
        controls (Comparison): Of criteria side by side, at the same budget; its `to_dict` is taken. Default: ``None``.
        latency (BenchmarkResult): Of :func:`golden_stick.benchmark`. Default: ``None``.
        certificate (Certificate): Of :func:`golden_stick.certify`. Default: ``None``.
        command (str): What made the network. Default: ``None``, the command line of this process.
        date (str): Default: ``None``, now.

    Returns:
        PruningCard.

    Raises:
        ArgumentTypeError: If `report` is not a Report, or a network not a Cell.
        ArgumentError: If `certificate` is of other networks.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> algo = gs.OneShot({"prune_rate": 0.5})
        >>> slim = algo.convert(algo.apply(net, inputs=(1, 3, 16, 16)))
        >>> card = gs.pruning_card(algo.report, net, slim)
        >>> print(card.record["macs"]["kept"])
        0.5
    """
    for name, value, kind in (("report", report, Report), ("original", original, nn.Cell), ("slim", slim, nn.Cell)):
        if not isinstance(value, kind):
            raise ArgumentTypeError(f"For 'pruning_card', what stands as '{name}' must be a {kind.__name__}, but got "
                                    f"{type(value).__name__}.")
    if certificate is not None:
        _check_certificate(certificate, original, slim)
    given: Dict[str, Any] = {
        "base": dict(base or {}), "data": {purpose: _of_data(value) for purpose, value in (data or {}).items()},
        "accuracy": [{**asdict(item), "text": str(item)} for item in accuracy], "fine_tuning": dict(fine_tuning or {}),
        **{key: None if value is None else value.to_dict() for key, value in (
            ("controls", controls), ("latency", latency), ("certificate", certificate))}}
    record = {
        "kind": "golden_stick pruning card", "command": command or " ".join(sys.argv),
        "date": date or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "networks": {"original": network_digest(original), "slim": network_digest(slim)},
        "algorithm": report.algorithm, "config": dict(report.config), "inputs": report.inputs,
        "parameters": _size(report.parameters_before, report.parameters_after),
        "macs": _size(report.macs_before, report.macs_after),
        "widths": [{"path": layer.path, "before": layer.before, "after": layer.after} for layer in report.layers],
        "targets": [asdict(target) for target in report.targets], "notes": list(report.notes),
        "guarantee": _guarantee(report, certificate), **given,
        "not_tested": [text for key, text in _PARTS if not given[key]] + ["other data than those named here"],
        "machine": machine_facts(versions()),
    }
    return PruningCard(json.loads(json.dumps(record, default=str)))


def _guarantee(report: Report, certificate: Optional[Certificate]) -> str:
    """What is proven, in one sentence."""
    exact = (f"before fine-tuning, the slim network's outputs differed from the masked network's by at most "
             f"{report.largest_difference:.3g} of outputs up to {report.output_scale:.3g}, on random inputs"
             if report.largest_difference is not None else "nothing was compared yet")
    return f"{exact}. {certificate.statement if certificate else 'Nothing is guaranteed of its accuracy.'}"


def _check_certificate(certificate: Certificate, original: nn.Cell, slim: nn.Cell) -> None:
    """A certificate speaks of two networks with their weights, and of no others."""
    if certificate.base.digest != network_digest(original):
        raise ArgumentError(f"For 'pruning_card', 'certificate' must be of 'original' as its base, but is of another "
                            f"network, or of other weights, '{certificate.base.name}'.")
    certified = [item.name for item in certificate.candidates if item.digest == network_digest(slim)]
    if not certified:
        raise ArgumentError(f"For 'pruning_card', 'certificate' must have 'slim' among its candidates, but has "
                            f"{', '.join(repr(item.name) for item in certificate.candidates)}, all of them other "
                            f"networks or of other weights.")
    if certificate.certified not in (None, *certified):
        raise ArgumentError(f"For 'pruning_card', what 'certificate' certifies must be 'slim', but is "
                            f"'{certificate.certified}'.")


def _size(before: int, after: int) -> Dict[str, Any]:
    return {"before": before, "after": after, "kept": after / before, "removed": 1 - after / before}


def _of_data(value: Any) -> Any:
    return {"digest": value.digest, "images": value.images} if isinstance(value, DataFingerprint) else str(value)


def _listed(part: Any) -> List[str]:
    """A part of the record as a list of Markdown."""
    if isinstance(part, Mapping):
        return [f"* {key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in part.items()]
    return [f"* {item['what']}: {item['text']}" for item in part]
