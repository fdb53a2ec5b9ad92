"""`pruning_card`: all that one should know of a pruned network, in one record and on one page."""
import json
import shlex
import sys
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
from mindspore import nn

from golden_stick.base.digests import now
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.files import versions, whole_file
from golden_stick.bench.benchmark import Benchmark
from golden_stick.bench.clock import machine_facts
from golden_stick.certify.card_page import page_of
from golden_stick.certify.certificate import Certificate
from golden_stick.certify.equivalence import PairedCounts
from golden_stick.certify.fingerprints import DataFingerprint, network_digest
from golden_stick.knockoffs.exchangeability import Exchangeability
from golden_stick.prune.report import Report

__all__ = ["MISSING", "absences", "missing", "not_run", "Accuracy", "DataUse", "FROM_SCRATCH", "STAGES", "check_given",
           "accuracies", "data_uses", "discordance_of", "fine_tuning_of", "latency_of", "memory_of", "other_criteria",
           "origin", "run_facts", "automatic_statement", "control_of", "scales_of", "selector_of", "PruningCard",
           "pruning_card"]


MISSING, _NOT_RUN = "not measured", "not run"


def missing(how: str) -> str:
    """What stands on a card where something was not measured: that, and what to call to measure it."""
    return f"{MISSING}: {how}"


def not_run(how: str) -> str:
    """The same, of an experiment."""
    return f"{_NOT_RUN}: {how}"


def absences(record: Mapping[str, Any], place: Tuple[str, ...] = ()) -> Iterator[str]:
    """Every absence in a record, with where it stands."""
    for key, value in record.items():
        here = (*place, str(key))
        if isinstance(value, Mapping):
            yield from absences(value, here)
        elif isinstance(value, str) and value.startswith((f"{MISSING}:", f"{_NOT_RUN}:")):
            yield f"{', '.join(here).replace('_', ' ')}: {value}"


# What a card asks accuracies of, in this order; others can be given besides.
STAGES = ("original", "pruned", "statistics re-estimated", "fine-tuned")
FROM_SCRATCH = "from scratch"


@dataclass(frozen=True)
class Accuracy:
    """
    One accuracy, measured with several seeds, each at the end of its last epoch.

    Args:
        what (str): ``'original'``, ``'pruned'`` (before anything else), ``'statistics re-estimated'``,
            ``'fine-tuned'``, ``'from scratch'`` (the slim architecture, trained from new weights with the same budget),
            or in words.
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
        """Plain data, fit for JSON."""
        several = len(self.values) > 1
        return {"text": str(self), "mean": float(np.mean(self.values)), "values": list(self.values),
                "deviation": float(np.std(self.values, ddof=1)) if several else missing("with one seed: take several"),
                "seeds": len(self.values), "data": self.data, "chosen by these images": self.chosen}


@dataclass(frozen=True)
class DataUse:
    """
    Data on a card.

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
        """Plain data, fit for JSON."""
        known = isinstance(self.data, DataFingerprint)
        return {
            "data": "by its digest" if known else str(self.data),
            "digest": self.data.digest if known else missing("give golden_stick.certify.fingerprint(data)"),
            "images": self.data.images if known else missing("give golden_stick.certify.fingerprint(data)"),
            "preprocessing": missing("give golden_stick.certify.DataUse(data, preprocessing='...')")
            if self.preprocessing is None else self.preprocessing,
            "lossless": missing("give golden_stick.certify.DataUse(data, lossless=True or False)")
            if self.lossless is None else self.lossless,
        }


# What an argument of a card must be, for those that can be told by their type, and how to say it.
_KINDS = {
    "base": (Mapping, "a dict"), "fine_tuning": (Mapping, "a dict"), "seeds": (Mapping, "a dict"),
    "data": (Mapping, "a dict of splits"), "accuracy": ((list, tuple), "a list of golden_stick.certify.Accuracy"),
    "latency": (Benchmark, "what golden_stick.benchmark returned"),
    "certificate": (Certificate, "what golden_stick.certify returned"),
    "discordance": (PairedCounts, "what golden_stick.certify.compare_predictions returned"),
    "knockoffs": (Exchangeability, "what golden_stick.exchangeability returned"), "seconds": (Real, "a number"),
}


def check_given(**given: Any) -> None:
    """
    Check what a caller gives a card; None is not given.

    Raises:
        ArgumentTypeError: If anything is of another type than it must be.
    """
    for name, value in given.items():
        kinds, words = _KINDS.get(name, (object, ""))
        _require(value is None or isinstance(value, kinds), name, words, value)
    for item in given["accuracy"] or ():
        _require(isinstance(item, Accuracy), "accuracy", _KINDS["accuracy"][1], item)
    for split, item in (given["data"] or {}).items():
        _require(isinstance(item, (str, DataUse, DataFingerprint)), f"data['{split}']",
                 "a DataUse or DataFingerprint of golden_stick.certify, or words", item)
    # Comparisons are made above this module, so that it cannot name their class.
    _require(given["controls"] is None or callable(getattr(given["controls"], "to_dict", None)), "controls",
             "what golden_stick.compare returned", given["controls"])


def _require(holds: bool, name: str, words: str, value: Any) -> None:
    if not holds:
        raise ArgumentTypeError(f"For 'pruning_card', '{name}' must be {words}, but got {type(value).__name__}.")


_BENCHMARK = "latency=gs.benchmark({'original': original, 'slim': slim}, inputs)"
_COMPARE = "controls=gs.compare(original, inputs, ['l1', 'taylor'], budget, ...)"
# Section of a comparison's criteria that a card asks for by name.
_SIMPLE = ("random", "l1", "taylor")
_LAST = ("test", "finetuned", "recalibrated")


def origin(base: Optional[Mapping[str, Any]], digest: str, accuracy: Sequence[Accuracy]) -> Dict[str, Any]:
    """Where the original comes from, its digest, and its accuracy as measured here."""
    measured = [str(item) for item in accuracy if item.what == STAGES[0]]
    how = missing("give accuracy=[golden_stick.certify.Accuracy('original', (value,), 'test')], measured here")
    return {"source": missing("give base={'source': '...', 'licence': '...'}"), **(base or {}), "digest": digest,
            "accuracy, measured here": measured[0] if measured else how}


def data_uses(data: Optional[Mapping[str, Any]]) -> Union[str, Dict[str, Any]]:
    """What data served which purpose (their split), and what was done to them before."""
    if not data:
        return missing("give data={'train': golden_stick.certify.DataUse(golden_stick.certify.fingerprint(data), "
                       "preprocessing, lossless), 'test': ...}")
    return {split: (value if isinstance(value, DataUse) else DataUse(value)).to_dict() for split, value in data.items()}


def memory_of(latency: Optional[Benchmark]) -> Union[str, Dict[str, int]]:
    """Peak memory of each network, in bytes, as the benchmark saw it."""
    found = {item.name: item.memory for item in latency.measurements if item.memory is not None} if latency else {}
    return found or missing(f"give {_BENCHMARK}, on Linux")


def latency_of(latency: Optional[Benchmark]) -> Union[str, Dict[str, Any]]:
    """Times with hardware, batch sizes and threads."""
    return missing(f"give {_BENCHMARK}") if latency is None else latency.to_dict()


def accuracies(given: Sequence[Accuracy]) -> Dict[str, Any]:
    """What was measured at every stage, by its name."""
    found: Dict[str, Any] = {
        stage: missing(f"give accuracy=[golden_stick.certify.Accuracy('{stage}', values of all seeds, 'test'), ...]")
        for stage in STAGES}
    found.update({item.what: item.to_dict() for item in given})
    return found


def discordance_of(discordance: Optional[PairedCounts], certificate: Optional[Certificate], digest: str
                   ) -> Union[str, Dict[str, Any]]:
    """On how many images only one of the two networks is right: told, or else from the certificate."""
    if discordance is not None:
        return _discordance(discordance.lost, discordance.gained, discordance.images, "of the images that were given")
    for item in certificate.candidates if certificate else ():
        if item.digest == digest:
            return _discordance(item.lost, item.gained, certificate.images, "of the certificate's images")
    return missing("give discordance=golden_stick.certify.compare_predictions(original_right, slim_right), bool arrays")


def _discordance(lost: int, gained: int, images: int, data: str) -> Dict[str, Any]:
    return {"only slim is wrong (b)": lost, "only the original is wrong (c)": gained, "images": images,
            "rate": (lost + gained) / images, "data": data}


def other_criteria(controls: Any, report: Report, accuracy: Sequence[Accuracy]) -> Dict[str, Any]:
    """What other criteria do, whether at the same widths, and what the slim architecture does from scratch."""
    scratch = [item.to_dict() for item in accuracy if item.what == FROM_SCRATCH]
    trials: Dict[str, List[Mapping[str, Any]]] = {}
    for trial in controls.to_dict()["trials"] if controls is not None else ():
        if trial["prune_rate"] is None:
            trials.setdefault(trial["criterion"], []).append(trial)
    found: Dict[str, Any] = {name: missing(f"give {_COMPARE}") for name in _SIMPLE}
    found.update({name: _of_trials(items, report) for name, items in trials.items()})
    found[FROM_SCRATCH] = scratch[0] if scratch else not_run(
        "train the slim architecture from new weights with the budget of fine-tuning, and give "
        "accuracy=[golden_stick.certify.Accuracy('from scratch', values, 'test')]")
    return found


def _of_trials(trials: Sequence[Mapping[str, Any]], report: Report) -> Dict[str, Any]:
    state = next(name for name in _LAST if all(trial[name] is not None for trial in trials))
    split = "test" if state == "test" else "validation"
    told = Accuracy(trials[0]["criterion"], tuple(trial[state] for trial in trials), split)
    record = {"accuracy": str(told), "seeds": [trial["seed"] for trial in trials],
              "macs": float(np.mean([trial["macs"] for trial in trials]))}
    if trials[0]["criterion"] != "unpruned":
        record["widths"] = _same_widths(trials, report)
    return record


def _same_widths(trials: Sequence[Mapping[str, Any]], report: Report) -> str:
    """Whether criteria removed as many filters of every layer as the slim network lost: only then do they differ in
    nothing but which."""
    wanted = {layer.path: layer.after for layer in report.layers}
    if not all(trial.get("widths") for trial in trials):
        return missing(f"no widths were written down: give {_COMPARE}, run again")
    other = {path for trial in trials for path in {*wanted, *trial["widths"]}
             if trial["widths"].get(path) != wanted.get(path)}
    if not other:
        return f"the same in all {len(wanted)} layers"
    return f"NOT the same: {len(other)} of {len(wanted)} layers differ, such as '{min(other)}'"


def fine_tuning_of(given: Optional[Mapping[str, Any]], controls: Any) -> Dict[str, Any]:
    """How much training the slim network had after pruning, and whether the others had the same."""
    keys = ("epochs", "learning rate", "images")
    found = {key: missing(f"give fine_tuning={{'{key}': ...}}") for key in keys}
    found.update(given or {})
    numbers = [found["epochs"], found["images"]]
    known = all(isinstance(number, (int, float)) for number in numbers)
    found["epochs × images"] = numbers[0] * numbers[1] if known else missing(
        "give fine_tuning={'epochs': ..., 'images': ...}")
    found["equal for all"] = _equal_budgets(found, controls)
    return found


def _equal_budgets(found: Mapping[str, Any], controls: Any) -> str:
    if controls is None:
        return missing(f"give {_COMPARE}, with the same epochs and learning rate")
    config = controls.to_dict()["config"]
    others = {"epochs": config.get("epochs"), "learning rate": config.get("learning_rate")}
    told = ", ".join(f"{key} {value}" for key, value in others.items())
    if all(found[key] == value for key, value in others.items()):
        return f"yes: {told}; the criteria were trained on the same batches, which 'compare' checks"
    return f"NO: the criteria had {told}"


def run_facts(report: Report, seeds: Optional[Mapping[str, int]], seconds: Optional[float]) -> Dict[str, Any]:
    """Seeds and wall time."""
    own: Dict[str, Any] = {} if "seed" not in report.config else {"criterion": report.config["seed"]}
    if report.control.get("seed") is not None:
        own["control"] = report.control["seed"]
    return {"seeds": {"training": missing("give seeds={'training': ...}"), **own, **(seeds or {})},
            "wall time, seconds": missing("give seconds=..., of the whole run") if seconds is None else seconds}


_NONE = "none: {} compares filters with no control"
_BUDGETS = ("prune_rate", "target_macs", "target_params", "target_latency")
# Conditions without which a selection by knockoff+ has no rate. The others say what it is worth.
_NEEDED = ("C3", "C4", "C5", "C6")


def control_of(report: Report, knockoffs: Optional[Exchangeability]) -> Union[str, Dict[str, Any]]:
    """The kind of control, which is a knockoff only where that was tested, and the tests."""
    facts = report.control
    if not facts and "sampler" not in report.config:
        return _NONE.format(report.algorithm)
    found = {
        "kind": f"{facts.get('sampler', report.config['sampler'])}: a {knockoffs.verdict if knockoffs else 'control'}",
        "data of the scales": "held out, as the configuration states" if facts.get("held_out") else
                              "may have trained the weights: 'held_out' is not set",
        **{key: facts[key] for key in ("method", "grid", "positions", "fit", "draws", "mixing", "blocks", "turn_steps")
           if key in facts},
    }
    if knockoffs is None:
        return {**found, "exchangeability": missing(
            "give knockoffs=gs.exchangeability(images, sampler(images), labels); without it, no draw is called a "
            "knockoff")}
    return {**found, "exchangeability": {
        "verdict": knockoffs.verdict, "pairs": knockoffs.samples, "variables": knockoffs.variables,
        "gap of covariances (g1)": knockoffs.moment_gap, "gap of covariances across (g2)": knockoffs.cross_gap,
        "self-correlation": knockoffs.self_correlation, "all swapped, p": knockoffs.full_swap,
        "some swapped, p": knockoffs.partial_swap,
        "labels leak, p": missing("give labels to gs.exchangeability") if knockoffs.label_leak is None else
        knockoffs.label_leak,
        "two-sample test": "by permutation, of energy distances and covariances; no classifier was trained"}}


def scales_of(report: Report) -> Union[str, Dict[str, Any]]:
    """What became of the scales, and whether the scores say more than ``|gamma|``."""
    facts = report.control
    if not facts:
        return _NONE.format(report.algorithm) if "sampler" not in report.config else \
            missing("call 'convert' before 'report'")
    return {"scales": facts["scales"], "histogram, ten bins from 0 to 1": facts["histogram"],
            "share below 0.5": facts["below_half"], "share above 0.99": facts["above_0.99"],
            "rank correlation with |gamma|": "not defined: no layer has differing |gamma|"
            if facts["rank_correlation"] is None else facts["rank_correlation"]}


def selector_of(report: Report, knockoffs: Optional[Exchangeability], certificate: Optional[Certificate]
                ) -> Dict[str, Any]:
    """What decided how much goes, and exactly what that guarantees."""
    automatic = report.config.get("prune_rate") == "auto"
    by = {key: report.config[key] for key in _BUDGETS if report.config.get(key) is not None}
    found: Dict[str, Any] = {"budget": by, "reached": [str(target) for target in report.targets]}
    if automatic:
        found["q"] = report.config["fdr"]
    found["statement"] = automatic_statement(report, knockoffs) if automatic else (
        "the caller chose how much goes: by itself, that guarantees nothing")
    found["eps, delta"] = missing("give certificate=gs.certify(original, {'slim': slim}, held_out_data)") \
        if certificate is None else {"eps": certificate.max_drop, "delta": 1 - certificate.confidence}
    return found


def automatic_statement(report: Report, knockoffs: Optional[Exchangeability]) -> str:
    """The guarantee of ``"prune_rate": "auto"``, with the conditions that it stands on and what is known of them."""
    q = report.config["fdr"]
    rule = "e-values of knockoff+ in several draws" if report.config.get("draws", 1) > 1 else "knockoff+"
    promise = (f"Of the filters that {rule} selects to stay, the expected share of null ones (that tell nothing of the "
               f"label, given the other channels of their layer) is at most q = {q:g}, if {', '.join(_NEEDED)} hold")
    limits = "Nothing is said of filters wrongly removed, nor of accuracy, nor of filters that stay for other reasons."
    return f"{promise}. {_standing(report.control.get('conditions', ()), knockoffs)} {limits}"


def _standing(conditions: Any, knockoffs: Optional[Exchangeability]) -> str:
    known: Dict[str, Mapping[str, Any]] = {item["name"]: item for item in conditions if item["name"] in _NEEDED}
    holds = {name: known[name]["holds"] if name in known else None for name in _NEEDED}
    if knockoffs is not None and knockoffs.verdict == "control":
        holds["C6"] = False
    broken: List[str] = [name for name in _NEEDED if holds[name] is False]
    unknown: List[str] = [name for name in _NEEDED if holds[name] is None]
    tested = ", but for tests that found C6 not broken" if knockoffs is not None and "C6" in unknown else ""
    if broken:
        return f"THEY DO NOT: {', '.join(broken)} broken, so nothing is guaranteed here."
    if unknown:
        return f"Nobody checked {', '.join(unknown)}{tested}: the guarantee rests on them."
    return "They were checked, as far as they can be."


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
        controls (PairedCounts): Of criteria side by side, by :func:`golden_stick.compare`; the card says which of them
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
