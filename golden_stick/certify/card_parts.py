"""The parts of a pruning card, each as plain data: what is known, and of all else how to measure it."""
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np

from golden_stick.bench.result import Benchmark
from golden_stick.certify.card_inputs import FROM_SCRATCH, STAGES, Accuracy, DataUse
from golden_stick.certify.card_words import missing, not_run
from golden_stick.certify.certificate import Certificate
from golden_stick.certify.sequence import Comparison
from golden_stick.report import Report

__all__ = ["accuracies", "data_uses", "discordance_of", "fine_tuning_of", "latency_of", "memory_of", "other_criteria",
           "origin", "run_facts"]

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


def discordance_of(discordance: Optional[Comparison], certificate: Optional[Certificate], digest: str
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
