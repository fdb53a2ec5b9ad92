"""`pruning_card`: all that one should know of a pruned network, as a record and as a page; what is absent is said."""
import json
import shlex
import sys
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from mindspore import nn

from golden_stick.base.display import markdown_table
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.files import network_digest, now, versions, write_page
from golden_stick.bench.benchmark import Benchmark
from golden_stick.bench.clock import machine_facts
from golden_stick.certify.certify import Certificate
from golden_stick.certify.drop import PairedCounts
from golden_stick.certify.prior_use import DataFingerprint, DataUse
from golden_stick.knockoffs.exchangeability import Exchangeability
from golden_stick.prune.budget import BUDGETS
from golden_stick.prune.report import Report

__all__ = ["Accuracy", "PruningCard", "pruning_card"]


@dataclass(frozen=True)
class Accuracy:
    """
    One accuracy, measured with several seeds, each at the end of its last epoch.

    Args:
        what (str): ``'original'``, ``'pruned'`` (before anything else), ``'recovered'`` (layers solved anew, or
            statistics re-estimated), ``'fine-tuned'``, ``'from scratch'`` (the slim architecture, trained from new
            weights with the same budget), or in words.
        values (tuple[float]): One for each seed, in [0, 1].
        data (str): Of which images, such as ``'test'``.
        chosen (str): What was chosen by these images. Default: ``'nothing: it is that of the last epoch'``.
    """

    what: str
    values: Tuple[float, ...]
    data: str
    chosen: str = "nothing: it is that of the last epoch"

    def __str__(self) -> str:
        spread = f" ± {np.std(self.values, ddof=1):.4f}" if len(self.values) > 1 else ""
        return f"{np.mean(self.values):.4f}{spread} (n = {len(self.values)}, {self.data})"

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON; with one seed, the deviation is None."""
        return {"text": str(self), "mean": float(np.mean(self.values)), "values": list(self.values),
                "deviation": float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None,
                "seeds": len(self.values), "data": self.data, "chosen by these images": self.chosen}


@dataclass(frozen=True)
class PruningCard:
    """
    What `pruning_card` gathered.

    Args:
        record (Mapping): Plain data, fit for JSON. Where something was not measured, it says so, and what to call.
        parts (tuple[str]): What of the record stands on the page, which `str` gives. Default: what was measured of
            sizes, accuracy and latency.
    """

    record: Mapping[str, Any]
    parts: Tuple[str, ...] = ("sizes", "accuracy", "latency", "absent")

    def in_full(self) -> "PruningCard":
        """The same with all of the record on its page, as what must be reported of a pruned network."""
        return replace(self, parts=tuple(_SECTIONS))

    def save(self, path: str) -> Tuple[str, str]:
        """
        Write the card as JSON, all of it, and its page as Markdown.

        Args:
            path (str): Where, without an ending.

        Returns:
            tuple[str], both paths.

        Raises:
            CheckpointError: If a file cannot be written there.
        """
        write_page("pruning_card", path, self.record, f"{self}\n")
        return f"{path}.json", f"{path}.md"

    def __str__(self) -> str:
        record = self.record
        sizes = [[name, f"{size['before']:,}", f"{size['after']:,}", f"{size['kept']:.1%}", f"{size['removed']:.1%}"]
                 for name, size in (("parameters", record["parameters"]), ("macs", record["macs"]))]
        own_form = {
            "sizes": markdown_table(("", "before", "after", "kept", "removed"), sizes),
            "networks": [*_listed(record["networks"]),
                         f"* algorithm: {record['algorithm']}, {json.dumps(record['config'])}"],
            "convention": [f"{record['convention']}."],
            "widths": markdown_table(("layer", "before", "after"), [layer.values() for layer in record["widths"]]),
            "latency": _listed(_times(record["latency"])),
            "absent": [f"{len(record['not_tested'])} things, which the JSON file beside this page names."],
        }
        lines = ["# Pruning card", "", f"Made {record['date']} by `{record['command']}`.", "",
                 f"**Guaranteed:** {record['guarantee']}"]
        for name in self.parts:
            part = own_form[name] if name in own_form else _listed(record[name])
            if "absent" in self.parts:
                part = [line for line in part if _NOT_MEASURED not in line]
            if part:
                lines += ["", f"## {_SECTIONS.get(name, _ABSENT)}", "", *part]
        return "\n".join(lines)


_NOT_MEASURED, _ABSENT = "not measured: ", "Not tested"
# Part of a card -> its title on the page, in the order of the page in full.
_SECTIONS = {
    "networks": "Networks", "sizes": "Sizes", "convention": "What was counted", "widths": "Widths", "base": "Origin",
    "data": "Data", "accuracy": "Accuracy", "discordance": "Paired discordance of predictions",
    "fine_tuning": "Fine-tuning", "controls": "Other criteria", "latency": "Latency",
    "peak_memory": "Peak memory: bytes by which the process grew while each was loaded and first run, in this order",
    "selector": "Selector and guarantee", "control": "Scientific control", "scales": "Scales of the control",
    "certificate": "Certificate", "run": "Run", "notes": "Notes of the run", "not_tested": _ABSENT,
    "machine": "Machine and versions",
}


def _listed(part: Any) -> List[str]:
    """A part of the record as a list of Markdown."""
    if isinstance(part, str):
        return [part]
    if isinstance(part, Mapping):
        return [f"* {key}: {_inline(value)}" for key, value in part.items()]
    return [f"* {_inline(item)}" for item in part] or ["None."]


def _inline(value: Any) -> str:
    """A value on one line; numbers and words as they are, and of a mapping its own text where it has one."""
    if isinstance(value, Mapping):
        told = ("text", "values", "mean", "deviation", "seeds") if "text" in value else ()
        rest = [f"{key}: {_inline(item)}" for key, item in value.items() if key not in told]
        return "; ".join([value["text"], *rest] if told else rest) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _times(part: Any) -> Any:
    """Times of a benchmark, one line each; what each call took stays in the record."""
    if isinstance(part, str):
        return part
    hardware = {"on": part["machine"], "rounds": part["rounds"], "busy with other processes": part["foreign_load"]}
    return {**hardware, **{
        f"{item['name']}, {item['runtime']}, batch {item['batch_size']}, "
        f"{'all' if item['threads'] is None else item['threads']} threads":
        item["reason"] or f"{1e3 * item['latency']:.3g} ms (quartiles "
        f"{', '.join(f'{1e3 * second:.3g}' for second in item['quartiles'])})" for item in part["measurements"]}}


# What a card asks accuracies of, in this order; others can be given besides.
_STAGES = ("original", "pruned", "recovered", "fine-tuned")
_FROM_SCRATCH = "from scratch"
# Criteria of a comparison that a card asks for, and the states of a network in it, the last first.
_CRITERIA = ("random", "l1", "taylor")
_STATES = ("test", "finetuned", "recovered")
# Conditions without which a selection by knockoff+ has no rate. The others say what it is worth.
_NEEDED = ("C3", "C4", "C5", "C6")
_NEVER_TESTED = ("other data than those named here", "other measures than accuracy: single classes, robustness, "
                 "calibration of probabilities", "other hardware and batch sizes than those named here")

_BENCHMARK = "give latency=gs.benchmark({'original': original, 'slim': slim}, inputs)"
_COMPARE = "give controls=gs.compare(original, inputs, ['l1', 'taylor'], budget, ...)"
_CERTIFY = "give certificate=gs.certify(original, {'slim': slim}, held_out_data)"
_FINGERPRINT = "give golden_stick.certify.fingerprint(data)"
_SEVERAL = "golden_stick.certify.Accuracy('{}', values of all seeds, 'test')"
# Place on a card -> what to do if nothing stands there, {} being the place's last name; * is any name.
_HINTS = {
    "base/source": "give base={'source': '...', 'licence': '...'}",
    "base/accuracy, measured here": f"give accuracy=[{_SEVERAL.replace('{}', 'original')}], measured here",
    "data": "give data={'train': golden_stick.certify.DataUse(golden_stick.certify.fingerprint(data), preprocessing, "
            "lossless), 'test': ...}",
    "data/*/digest": _FINGERPRINT, "data/*/images": _FINGERPRINT,
    "data/*/preprocessing": "give golden_stick.certify.DataUse(data, preprocessing='...')",
    "data/*/lossless": "give golden_stick.certify.DataUse(data, lossless=True or False)",
    "accuracy/*": f"give accuracy=[{_SEVERAL}, ...]", "accuracy/*/deviation": "with one seed: take several",
    "discordance": "give discordance=golden_stick.certify.compare_predictions(original_right, slim_right), bool arrays",
    "fine_tuning/*": "give fine_tuning={'{}': ...}",
    "fine_tuning/epochs × images": "give fine_tuning={'epochs': ..., 'images': ...}",
    "fine_tuning/equal for all": f"{_COMPARE}, with the same epochs and learning rate",
    "controls/*": _COMPARE, "controls/*/widths": f"no widths were written down: {_COMPARE}, run again",
    f"controls/{_FROM_SCRATCH}": "train the slim architecture from new weights with the budget of fine-tuning, and "
                                 f"give accuracy=[{_SEVERAL}]",
    f"controls/{_FROM_SCRATCH}/deviation": "with one seed: take several",
    "latency": _BENCHMARK, "peak_memory": f"{_BENCHMARK}, on Linux", "selector/eps, delta": _CERTIFY,
    "control/exchangeability": "give knockoffs=gs.exchangeability(images, sampler(images), labels); without it, no "
                               "draw is called a knockoff",
    "control/exchangeability/labels leak, p": "give labels to gs.exchangeability",
    "scales": "call 'convert' before 'report'", "certificate": _CERTIFY,
    "run/seeds/training": "give seeds={'training': ...}",
    "run/wall time, seconds": "give seconds=..., of the whole run",
}


def pruning_card(report: Report, original: nn.Cell, slim: nn.Cell, base: Optional[Mapping[str, Any]] = None,
                 data: Optional[Mapping[str, Any]] = None, accuracy: Sequence[Accuracy] = (),
                 fine_tuning: Optional[Mapping[str, Any]] = None, controls: Any = None,
                 latency: Optional[Benchmark] = None, certificate: Optional[Certificate] = None,
                 command: Optional[str] = None, date: Optional[str] = None, *,
                 discordance: Optional[PairedCounts] = None, knockoffs: Optional[Exchangeability] = None,
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
        discordance (PairedCounts): Of golden_stick.certify.compare_predictions, of both networks' answers. Default:
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
    _check_types(locals())
    digests = {"original": network_digest(original), "slim": network_digest(slim)}
    if certificate is not None:
        _check_certificate(certificate, **digests)
    compared = None if controls is None else controls.to_dict()
    if compared is not None and compared["base"]["digest"] != digests["original"]:
        raise ArgumentError("For 'pruning_card', 'controls' must be a comparison of 'original', but compares another "
                            "network, or other weights.")
    measured = {item.what: item for item in accuracy}
    own_seeds = {"criterion": report.config.get("seed"), "control": report.control.get("seed")}
    record = {
        "kind": "golden_stick pruning card", "command": command or shlex.join(sys.argv), "date": date or now(),
        "networks": digests, **_of_report(report),
        "base": {"source": None, **(base or {}), "digest": digests["original"],
                 "accuracy, measured here": str(measured[_STAGES[0]]) if _STAGES[0] in measured else None},
        "data": {split: (item if isinstance(item, DataUse) else DataUse(item)).to_dict()
                 for split, item in (data or {}).items()} or None,
        "accuracy": {**dict.fromkeys(_STAGES), **{what: item.to_dict() for what, item in measured.items()}},
        "discordance": _discordance(discordance, certificate, digests["slim"]),
        "fine_tuning": _fine_tuning(fine_tuning or {}, compared),
        "controls": {**_other_criteria(compared, report), _FROM_SCRATCH: measured[_FROM_SCRATCH].to_dict()
                     if _FROM_SCRATCH in measured else None},
        "latency": latency and latency.to_dict(),
        "peak_memory": {item.name: item.memory for item in (latency.measurements if latency else ())
                        if item.memory is not None} or None,
        "selector": _selector(report, knockoffs, certificate), **_control(report, knockoffs),
        "certificate": certificate and certificate.to_dict(),
        "run": {"seeds": {"training": None, **{key: seed for key, seed in own_seeds.items() if seed is not None},
                          **(seeds or {})}, "wall time, seconds": seconds},
        "guarantee": _guarantee(report, certificate, knockoffs), "machine": machine_facts(versions()),
    }
    absent: List[str] = []
    record = _with_hints(record, (), absent)
    return PruningCard({**json.loads(json.dumps(record, default=str)), "not_tested": [*absent, *_NEVER_TESTED]})


def _with_hints(value: Any, place: Tuple[str, ...], absent: List[str]) -> Any:
    """A part of a record with what to do in place of all that is absent; `absent` is told of it."""
    if isinstance(value, Mapping):
        return {key: _with_hints(item, (*place, str(key)), absent) for key, item in value.items()}
    patterns = ("/".join(place), "/".join((*place[:-1], "*")), "/".join((*place[:1], "*", *place[2:])))
    hint = next((_HINTS[pattern] for pattern in patterns if pattern in _HINTS), None)
    if value is not None or hint is None:
        return value
    text = f"{_NOT_MEASURED}{hint.replace('{}', place[-1])}"
    absent.append(f"{', '.join(place).replace('_', ' ')}: {text}")
    return text


# What an argument of a card must be, where its type tells, and how to say it.
_KINDS: Mapping[str, Tuple[Any, str]] = {
    "report": (Report, "the Report of an algorithm"), "original": (nn.Cell, "a Cell"), "slim": (nn.Cell, "a Cell"),
    "base": (Mapping, "a dict"), "fine_tuning": (Mapping, "a dict"), "seeds": (Mapping, "a dict"),
    "data": (Mapping, "a dict of splits"), "accuracy": ((list, tuple), "a list of golden_stick.certify.Accuracy"),
    "latency": (Benchmark, "what golden_stick.benchmark returned"),
    "certificate": (Certificate, "what golden_stick.certify returned"),
    "discordance": (PairedCounts, "what golden_stick.certify.compare_predictions returned"),
    "knockoffs": (Exchangeability, "what golden_stick.exchangeability returned"), "seconds": (Real, "a number"),
}


def _check_types(given: Mapping[str, Any]) -> None:
    for name, (kinds, words) in _KINDS.items():
        missing = given[name] is None and name not in ("report", "original", "slim")
        _require(missing or isinstance(given[name], kinds), name, words, given[name])
    for item in given["accuracy"] or ():
        _require(isinstance(item, Accuracy), "accuracy", _KINDS["accuracy"][1], item)
    for split, item in (given["data"] or {}).items():
        _require(isinstance(item, (str, DataUse, DataFingerprint)), f"data['{split}']",
                 "a DataUse or DataFingerprint of golden_stick.certify, or words", item)
    # Comparisons are made above this module, so that it cannot name their class.
    _require(given["controls"] is None or hasattr(given["controls"], "to_dict"), "controls",
             "what golden_stick.compare returned", given["controls"])


def _require(holds: bool, name: str, words: str, value: Any) -> None:
    if not holds:
        raise ArgumentTypeError(f"For 'pruning_card', '{name}' must be {words}, but got {type(value).__name__}.")


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


def _of_report(report: Report) -> Dict[str, Any]:
    """What the report of the pruning knows: sizes, widths, and what became of the budget."""
    told = report.to_dict()
    return {
        **{key: told[key] for key in ("algorithm", "config", "inputs", "targets", "notes")},
        "parameters": _size(report.parameters_before, report.parameters_after),
        "macs": _size(report.macs_before, report.macs_after),
        "convention": "MACs are multiply-accumulates of convolutions and products of matrices for one sample, FLOPs "
                      "twice as many; parameters without moving statistics. Sums of feature maps: "
                      f"`{report.config.get('residual')}`",
        "widths": [{key: layer[key] for key in ("path", "before", "after")} for layer in told["layers"]],
    }


def _size(before: int, after: int) -> Dict[str, Any]:
    return {"before": before, "after": after, "kept": after / before, "removed": 1 - after / before}


def _discordance(counts: Optional[PairedCounts], certificate: Optional[Certificate], slim: str
                 ) -> Optional[Dict[str, Any]]:
    """What was told, or else what the certificate says of the slim network, by its digest."""
    data = "of the images that were given"
    if counts is None and certificate is not None:
        item = next(item for item in certificate.candidates if item.digest == slim)
        counts, data = PairedCounts(item.lost, item.gained, certificate.images), "of the certificate's images"
    return None if counts is None else {
        "only slim is wrong (b)": counts.lost, "only the original is wrong (c)": counts.gained,
        "images": counts.images, "rate": (counts.lost + counts.gained) / counts.images, "data": data}


def _fine_tuning(given: Mapping[str, Any], compared: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    told = {**dict.fromkeys(("epochs", "learning rate", "images")), **given}
    known = all(isinstance(told[key], Real) for key in ("epochs", "images"))
    told["epochs × images"] = told["epochs"] * told["images"] if known else None
    told["equal for all"] = None
    if compared is not None:
        others = {key: compared["config"].get(key.replace(" ", "_")) for key in ("epochs", "learning rate")}
        words = ", ".join(f"{key} {value}" for key, value in others.items())
        told["equal for all"] = (
            f"yes: {words}; the criteria were trained on the same batches, which 'compare' checks"
            if all(told[key] == value for key, value in others.items()) else f"NO: the criteria had {words}")
    return told


def _other_criteria(compared: Optional[Mapping[str, Any]], report: Report) -> Dict[str, Any]:
    """What other criteria do, and whether at the widths of the slim network."""
    trials: Dict[str, List[Mapping[str, Any]]] = {}
    for trial in compared["trials"] if compared else ():
        if trial["prune_rate"] is None:
            trials.setdefault(trial["criterion"], []).append(trial)
    told: Dict[str, Any] = dict.fromkeys(_CRITERIA)
    for name, items in trials.items():
        state = next(state for state in _STATES if all(item[state] is not None for item in items))
        values = Accuracy(name, tuple(item[state] for item in items), "test" if state == "test" else "validation")
        told[name] = {"accuracy": str(values), "seeds": [item["seed"] for item in items],
                      "macs": float(np.mean([item["macs"] for item in items]))}
        if name != "unpruned":
            told[name]["widths"] = _same_widths(items, report)
    return told


def _same_widths(trials: Sequence[Mapping[str, Any]], report: Report) -> Optional[str]:
    """Whether criteria removed as many filters of every layer as the slim network lost: only then do they differ in
    nothing but which."""
    wanted = {layer.path: layer.after for layer in report.layers}
    if not all(trial.get("widths") for trial in trials):
        return None
    other = {path for trial in trials for path in {*wanted, *trial["widths"]}
             if trial["widths"].get(path) != wanted.get(path)}
    if not other:
        return f"the same in all {len(wanted)} layers"
    return f"NOT the same: {len(other)} of {len(wanted)} layers differ, such as '{min(other)}'"


def _selector(report: Report, knockoffs: Optional[Exchangeability], certificate: Optional[Certificate]
              ) -> Dict[str, Any]:
    told: Dict[str, Any] = {
        "budget": {key: report.config[key] for key in BUDGETS if report.config.get(key) is not None},
        "reached": [str(target) for target in report.targets],
        "statement": "the caller chose how much goes: by itself, that guarantees nothing",
        "eps, delta": certificate and {"eps": certificate.max_drop, "delta": 1 - certificate.confidence}}
    if report.config.get("prune_rate") == "auto":
        told.update(q=report.config["fdr"], statement=_automatic_statement(report, knockoffs))
    return told


def _automatic_statement(report: Report, knockoffs: Optional[Exchangeability]) -> str:
    """The guarantee of ``"prune_rate": "auto"``, with the conditions that it stands on and what is known of them."""
    holds = {**dict.fromkeys(_NEEDED), **{item["name"]: item["holds"] for item in report.control.get("conditions", ())}}
    if knockoffs is not None and knockoffs.verdict == "control":
        holds["C6"] = False
    broken, unknown = (", ".join(name for name in _NEEDED if holds[name] is state) for state in (False, None))
    tested = ", but for tests that found C6 not broken" if knockoffs is not None and "C6" in unknown else ""
    standing = (f"THEY DO NOT: {broken} broken, so nothing is guaranteed here." if broken else
                f"Nobody checked {unknown}{tested}: the guarantee rests on them." if unknown else
                "They were checked, as far as they can be.")
    rule = "e-values of knockoff+ in several draws" if report.config.get("draws", 1) > 1 else "knockoff+"
    return (f"Of the filters that {rule} selects to stay, the expected share of null ones (that tell nothing of the "
            f"label, given the other channels of their layer) is at most q = {report.config['fdr']:g}, if "
            f"{', '.join(_NEEDED)} hold. {standing} Nothing is said of filters wrongly removed, nor of accuracy, nor "
            f"of filters that stay for other reasons.")


# What stands on the page -> its name in the record that it is taken from.
_TESTS = {"verdict": "verdict", "pairs": "samples", "variables": "variables", "gap of covariances (g1)": "moment_gap",
          "gap of covariances across (g2)": "cross_gap", "self-correlation": "self_correlation",
          "all swapped, p": "full_swap", "some swapped, p": "partial_swap", "labels leak, p": "label_leak"}
_SCALES = {"scales": "scales", "histogram, ten bins from 0 to 1": "histogram", "share below 0.5": "below_half",
           "share above 0.99": "above_0.99", "rank correlation with |gamma|": "rank_correlation"}
_SETTINGS = ("method", "grid", "positions", "fit", "draws", "mixing", "blocks", "turn_steps")


def _control(report: Report, knockoffs: Optional[Exchangeability]) -> Dict[str, Any]:
    """What the scales were trained against, and what they became."""
    facts, undefined = report.control, "not defined: no layer has differing |gamma|"
    if not facts and "sampler" not in report.config:
        return dict.fromkeys(("control", "scales"), f"none: {report.algorithm} compares filters with no control")
    kind = facts.get("sampler", report.config.get("sampler"))
    tests = knockoffs and {
        **{label: getattr(knockoffs, name) for label, name in _TESTS.items()},
        "two-sample test": "by permutation, of energy distances and covariances; no classifier was trained"}
    control = {"kind": f"{kind}: a {knockoffs.verdict if knockoffs else 'control'}",
               "data of the scales": "held out, as the configuration states" if facts.get("held_out") else
                                     "may have trained the weights: 'held_out' is not set",
               **{key: facts[key] for key in _SETTINGS if key in facts}, "exchangeability": tests}
    return {"control": control, "scales": {label: undefined if facts[name] is None else facts[name]
                                           for label, name in _SCALES.items()} if facts else None}


def _guarantee(report: Report, certificate: Optional[Certificate], knockoffs: Optional[Exchangeability]) -> str:
    """What was checked, in a few sentences."""
    exact = (f"before fine-tuning, the slim network's outputs differed from the masked network's by at most "
             f"{report.largest_difference:.3g} of outputs up to {report.output_scale:.3g}, on random inputs"
             if report.largest_difference is not None else "nothing was compared yet")
    selected = f" {_automatic_statement(report, knockoffs)}" if report.config.get("prune_rate") == "auto" else ""
    return f"{exact}.{selected} {certificate.statement if certificate else 'Nothing is guaranteed of its accuracy.'}"
