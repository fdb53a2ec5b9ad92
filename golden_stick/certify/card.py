"""`pruning_card`: all that one should know of a pruned network, in one record and on one page."""
import json
import shlex
import sys
from dataclasses import asdict, dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from mindspore import nn

from golden_stick.bench.result import Benchmark, machine_facts
from golden_stick.certify.card_control import automatic_statement, control_of, scales_of, selector_of
from golden_stick.certify.card_inputs import Accuracy, check_given
from golden_stick.certify.card_page import page_of
from golden_stick.certify.card_parts import (
    accuracies,
    data_uses,
    discordance_of,
    fine_tuning_of,
    latency_of,
    memory_of,
    origin,
    other_criteria,
    run_facts,
)
from golden_stick.certify.card_words import absences, missing
from golden_stick.certify.certificate import Certificate
from golden_stick.certify.fingerprints import network_digest
from golden_stick.certify.records import versions
from golden_stick.certify.sequence import Comparison
from golden_stick.deploy.files import whole_file
from golden_stick.errors import ArgumentError, ArgumentTypeError
from golden_stick.knockoffs.exchangeability import Exchangeability
from golden_stick.report import Report
from golden_stick.uses import now

__all__ = ["PruningCard", "pruning_card"]

_CONVENTION = ("MACs are multiply-accumulates of convolutions and products of matrices for one sample, FLOPs twice as "
               "many; parameters without moving statistics. Sums of feature maps: {}")
_NEVER_TESTED = ("other data than those named here", "other measures than accuracy: single classes, robustness, "
                 "calibration of probabilities", "other hardware and batch sizes than those named here")


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
        return page_of(self.record)


def pruning_card(report: Report, original: nn.Cell, slim: nn.Cell, base: Optional[Mapping[str, Any]] = None,
                 data: Optional[Mapping[str, Any]] = None, accuracy: Sequence[Accuracy] = (),
                 fine_tuning: Optional[Mapping[str, Any]] = None, controls: Any = None,
                 latency: Optional[Benchmark] = None, certificate: Optional[Certificate] = None,
                 command: Optional[str] = None, date: Optional[str] = None, *,
                 discordance: Optional[Comparison] = None, knockoffs: Optional[Exchangeability] = None,
                 seeds: Optional[Mapping[str, int]] = None, seconds: Optional[float] = None) -> PruningCard:
    """
    The card of a pruned network. What is not given stands on it as not measured, with what to call to measure it.

    Args:
        report (Report): Of the algorithm, after `convert`.
        original (nn.Cell): The network before.
        slim (nn.Cell): The network after, fine-tuned if it was.
        base (Mapping): Where the original comes from: ``source``, and licence, how it was trained. Default: ``None``.
        data (Mapping): Split -> data, such as ``{"train": DataUse(fingerprint(data), "scaled to [0, 1]", True)}``: a
            DataUse or DataFingerprint of golden_stick.certify, or words. Default: ``None``.
        accuracy (Sequence[Accuracy]): Before and after, and from scratch. Default: none.
        fine_tuning (Mapping): ``epochs``, ``learning rate``, ``images`` and what else. Default: ``None``.
        controls (Comparison): Of criteria side by side, by :func:`golden_stick.compare`; the card says which of them
            have the same widths as `slim`. Default: ``None``.
        latency (Benchmark): Of :func:`golden_stick.benchmark`; peak memory is taken from it. Default: ``None``.
        certificate (Certificate): Of :func:`golden_stick.certify`. Default: ``None``.
        command (str): What made the network. Default: ``None``, the command line of this process.
        date (str): Default: ``None``, now.
        discordance (Comparison): Of golden_stick.certify.compare_predictions, of both networks' answers. Default:
            ``None``, that of the certificate.
        knockoffs (Exchangeability): Of :func:`golden_stick.exchangeability`, of the draws of SCOP's sampler. Default:
            ``None``; then they are called controls.
        seeds (Mapping): What was drawn -> seed, such as ``{"training": 0}``. Default: ``None``, those of the algorithm.
        seconds (float): Wall time of the run. Default: ``None``.

    Returns:
        PruningCard.

    Raises:
        ArgumentTypeError: If `report` is not a Report, a network not a Cell, or anything else of another type.
        ArgumentError: If `certificate` or `controls` is of other networks.

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
    check_given(base=base, data=data, accuracy=accuracy, fine_tuning=fine_tuning, controls=controls, latency=latency,
                certificate=certificate, discordance=discordance, knockoffs=knockoffs, seeds=seeds, seconds=seconds)
    digests = {"original": network_digest(original), "slim": network_digest(slim)}
    if certificate is not None:
        _check_certificate(certificate, **digests)
    if controls is not None and controls.to_dict()["base"]["digest"] != digests["original"]:
        raise ArgumentError("For 'pruning_card', 'controls' must be a comparison of 'original', but compares another "
                            "network, or other weights.")
    record: Dict[str, Any] = {
        "kind": "golden_stick pruning card", "command": command or shlex.join(sys.argv), "date": date or now(),
        "networks": digests, **_of_report(report), "base": origin(base, digests["original"], accuracy),
        "data": data_uses(data), "accuracy": accuracies(accuracy),
        "discordance": discordance_of(discordance, certificate, digests["slim"]),
        "fine_tuning": fine_tuning_of(fine_tuning, controls),
        "controls": other_criteria(controls, report, accuracy), "latency": latency_of(latency),
        "peak_memory": memory_of(latency), "selector": selector_of(report, knockoffs, certificate),
        "control": control_of(report, knockoffs), "scales": scales_of(report),
        "certificate": certificate.to_dict() if certificate else missing(
            "give certificate=gs.certify(original, {'slim': slim}, held_out_data)"),
        "run": run_facts(report, seeds, seconds), "guarantee": _guarantee(report, certificate, knockoffs),
        "machine": machine_facts(versions()),
    }
    record["not_tested"] = [*absences(record), *_NEVER_TESTED]
    return PruningCard(json.loads(json.dumps(record, default=str)))


def _of_report(report: Report) -> Dict[str, Any]:
    """What the report of the pruning knows: sizes, widths, and what became of the budget."""
    return {
        "algorithm": report.algorithm, "config": dict(report.config), "inputs": report.inputs,
        "parameters": _size(report.parameters_before, report.parameters_after),
        "macs": _size(report.macs_before, report.macs_after),
        "convention": _CONVENTION.format(f"`{report.config.get('residual')}`"),
        "widths": [{"path": layer.path, "before": layer.before, "after": layer.after} for layer in report.layers],
        "targets": [asdict(target) for target in report.targets], "notes": list(report.notes),
    }


def _guarantee(report: Report, certificate: Optional[Certificate], knockoffs: Optional[Exchangeability]) -> str:
    """What is proven, in a few sentences."""
    exact = (f"before fine-tuning, the slim network's outputs differed from the masked network's by at most "
             f"{report.largest_difference:.3g} of outputs up to {report.output_scale:.3g}, on random inputs"
             if report.largest_difference is not None else "nothing was compared yet")
    selected = f" {automatic_statement(report, knockoffs)}" if report.config.get("prune_rate") == "auto" else ""
    return f"{exact}.{selected} {certificate.statement if certificate else 'Nothing is guaranteed of its accuracy.'}"


def _check_certificate(certificate: Certificate, original: str, slim: str) -> None:
    """A certificate speaks of two networks with their weights, and of no others; both by their digests."""
    if certificate.base.digest != original:
        raise ArgumentError(f"For 'pruning_card', 'certificate' must be of 'original' as its base, but is of another "
                            f"network, or of other weights, '{certificate.base.name}'.")
    certified = [item.name for item in certificate.candidates if item.digest == slim]
    if not certified:
        raise ArgumentError(f"For 'pruning_card', 'certificate' must have 'slim' among its candidates, but has "
                            f"{', '.join(repr(item.name) for item in certificate.candidates)}, all of them other "
                            f"networks or of other weights.")
    if certificate.certified not in (None, *certified):
        raise ArgumentError(f"For 'pruning_card', what 'certificate' certifies must be 'slim', but is "
                            f"'{certificate.certified}'.")


def _size(before: int, after: int) -> Dict[str, Any]:
    return {"before": before, "after": after, "kept": after / before, "removed": 1 - after / before}
