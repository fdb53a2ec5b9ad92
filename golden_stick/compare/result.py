"""What a comparison found: frozen trials, and their mean and spread over the seeds."""
import json
import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

__all__ = ["aligned", "markdown", "UNPRUNED", "UNTOUCHED", "Comparison", "Spread", "Summary", "Trial", "standard_error"]


def aligned(rows: Sequence[Sequence[str]]) -> List[str]:
    """One line a row; the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [(row[0].ljust(widths[0]) + "".join(f"  {cell.rjust(width)}" for cell, width in zip(row[1:], widths[1:]))
             ).rstrip() for row in rows]


def markdown(rows: Sequence[Sequence[str]]) -> List[str]:
    """The same; the first row is the head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *lines[1:]]


UNPRUNED, UNTOUCHED = "unpruned", "as it came"
_STATES = ("pruned", "recalibrated", "finetuned", "test")
_HEAD = ("criterion", "MACs left", "parameters left", "pruned", "re-estimated", "fine-tuned", "test")
_CURVES = (("pruned", "right after pruning"), ("recalibrated", "after re-estimation of statistics"))


@dataclass(frozen=True)
class Trial:
    """
    One criterion with one seed, pruned once. Accuracies are fractions of the images.

    Args:
        criterion (str): Its name; ``'unpruned'`` for the network as it came.
        seed (int): Of the order of the batches, and of criteria that draw.
        prune_rate (float): Of a point of the one-shot curve; None at the budget.
        macs (int): Multiply-accumulates of the slim network, for the inputs of the comparison.
        parameters (int): Numbers in its weights.
        pruned (float): Accuracy on the validation split, right after pruning.
        recalibrated (float): The same, after the statistics of normalizations were re-estimated.
        finetuned (float): The same, after the last epoch of fine-tuning; None where there was none.
        test (float): Accuracy on the test split of the last state; None where there is no test split, and on curves.
        calibrated_on, finetuned_on (str): Digests of the batches, in their order; empty where there were none.
        met (bool): Whether the budget or rate was reached; None where there was none, or it was not written down.
        notes (tuple[str]): What the report of the pruning says besides.
        widths (Mapping): Path of a layer -> filters that it has left; empty but at the budget, and where it was not
            written down.
    """

    criterion: str
    seed: int
    prune_rate: Optional[float]
    macs: int
    parameters: int
    pruned: float
    recalibrated: float
    finetuned: Optional[float] = None
    test: Optional[float] = None
    calibrated_on: str = ""
    finetuned_on: str = ""
    met: Optional[bool] = None
    notes: Tuple[str, ...] = ()
    widths: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {**asdict(self), "notes": list(self.notes)}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> "Trial":
        """What `to_dict` gave, now or before trials had notes and widths."""
        return Trial(**{**record, "notes": tuple(record.get("notes", ()))})


@dataclass(frozen=True)
class Spread:
    """
    A measure over seeds.

    Args:
        mean (float): The mean.
        deviation (float): Standard deviation of the sample (its square divided by count - 1); None for one seed.
        count (int): Number of seeds.
    """

    mean: float
    deviation: Optional[float]
    count: int

    @staticmethod
    def of(values: Iterable[Optional[float]]) -> Optional["Spread"]:
        """Of these values; None unless all of them are there."""
        values = list(values)
        if not values or any(value is None for value in values):
            return None
        return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))

    def __str__(self) -> str:
        """In percent."""
        return f"{100 * self.mean:.2f}" + ("" if self.deviation is None else f" ± {100 * self.deviation:.2f}")


@dataclass(frozen=True)
class Summary:
    """
    One criterion at the budget, or at one rate, over all seeds; the fields are those of `Trial`.

    Args:
        criterion (str): Its name.
        prune_rate (float): None at the budget.
        macs, parameters (float): Fraction of the original network's that is left, mean over seeds.
        pruned, recalibrated, finetuned, test (Spread): Accuracies; None where not measured.
    """

    criterion: str
    prune_rate: Optional[float]
    macs: float
    parameters: float
    pruned: Spread
    recalibrated: Spread
    finetuned: Optional[Spread]
    test: Optional[Spread]

    @property
    def chosen_by(self) -> float:
        """Mean accuracy on the validation split in the last state: never on the test split."""
        return (self.finetuned or self.recalibrated).mean


@dataclass(frozen=True)
class Comparison:
    """
    The result of :func:`golden_stick.compare`.

    Args:
        config (Mapping): All that was asked for.
        base (Mapping): The network as it came: ``macs``, ``parameters``, accuracies ``validation`` and ``test`` (None
            without a test split), and ``digest`` of its weights.
        data (Mapping): ``validation`` and ``test``, each with ``images`` and ``digest``; test is None where not given.
        trials (tuple[Trial]): In the order in which they were made.
    """

    config: Mapping[str, Any]
    base: Mapping[str, Any]
    data: Mapping[str, Any]
    trials: Tuple[Trial, ...]

    def summary(self) -> List[Summary]:
        """Every criterion at the budget and at every rate, in the order of the trials."""
        kinds = dict.fromkeys((trial.criterion, trial.prune_rate) for trial in self.trials)
        return [self._summary([trial for trial in self.trials if (trial.criterion, trial.prune_rate) == kind])
                for kind in kinds]

    def ranked(self) -> List[Summary]:
        """The criteria at the budget, the unpruned network aside, by accuracy on the validation split, best first."""
        found = [item for item in self.summary() if item.prune_rate is None and item.criterion != UNPRUNED]
        return sorted(found, key=lambda item: -item.chosen_by)

    def unpruned(self) -> List[Summary]:
        """The unpruned network with the same fine-tuning, in a list of one."""
        return [item for item in self.summary() if item.criterion == UNPRUNED]

    def curves(self) -> Dict[str, List[Summary]]:
        """Criterion -> its points of the one-shot curve, by rate."""
        found: Dict[str, List[Summary]] = {}
        for item in self.summary():
            if item.prune_rate is not None:
                found.setdefault(item.criterion, []).append(item)
        return {name: sorted(items, key=lambda item: item.prune_rate) for name, items in found.items()}

    def to_dict(self) -> Dict[str, Any]:
        """All of it, fit for JSON, the summary included."""
        return {"config": dict(self.config), "base": dict(self.base), "data": dict(self.data),
                "trials": [trial.to_dict() for trial in self.trials],
                "summary": [asdict(item) for item in self.summary()]}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> "Comparison":
        """What `to_dict` gave."""
        trials = tuple(Trial.from_dict(trial) for trial in record["trials"])
        return Comparison(record["config"], record["base"], record["data"], trials)

    def _summary(self, trials: List[Trial]) -> Summary:
        def over(name: str) -> Optional[Spread]:
            return Spread.of(getattr(trial, name) for trial in trials)

        return Summary(trials[0].criterion, trials[0].prune_rate, over("macs").mean / self.base["macs"],
                       over("parameters").mean / self.base["parameters"],
                       *(over(name) for name in _STATES))

    def __str__(self) -> str:
        return "\n".join([*aligned(self._rows()), "", *self._notes(), *self._told()])

    def to_markdown(self) -> str:
        """A page: the table at the budget, the one-shot curves, and what the numbers are."""
        parts = ["# Criteria compared", "", *markdown(self._rows()), "", " ".join(self._notes()), ""]
        if self._told():
            parts += ["What the reports say, at the budget:", "", *[f"* {line}" for line in self._told()], ""]
        curves = self.curves()
        for name, title in _CURVES if curves else ():
            head = ["criterion", *(f"rate {rate:g}" for rate in self.config["rates"])]
            rows = [[criterion, *(str(getattr(item, name)) for item in items)] for criterion, items in curves.items()]
            parts += [f"One shot, accuracy on the validation split {title}, in %:", "", *markdown([head, *rows]), ""]
        return "\n".join([*parts, f"RateRequest for: `{json.dumps(dict(self.config))}`", ""])

    def _told(self) -> List[str]:
        """What the reports at the budget say besides: each note once, with criterion and seeds."""
        seeds: Dict[Tuple[str, str], List[int]] = {}
        for trial in self.trials:
            for note in trial.notes if trial.prune_rate is None else ():
                seeds.setdefault((trial.criterion, note), []).append(trial.seed)
        order = list(dict.fromkeys(criterion for criterion, _ in seeds))
        return [f"{criterion}, {'seed' if len(found) == 1 else 'seeds'} {', '.join(map(str, found))}: {note}"
                for (criterion, note), found in sorted(seeds.items(), key=lambda item: order.index(item[0][0]))]

    def _missed(self) -> List[str]:
        """A sentence about trials that did not reach their budget or rate, if there are any."""
        missed: Dict[str, List[str]] = {}
        for trial in self.trials:
            if trial.met is False:
                at = "the budget" if trial.prune_rate is None else f"rate {trial.prune_rate:g}"
                missed.setdefault(f"{trial.criterion} at {at}", []).append(str(trial.seed))
        kinds = "; ".join(f"{kind} (seeds {', '.join(found)})" for kind, found in missed.items())
        return [f"NOT reached: {kinds}."] if missed else []

    def _rows(self) -> List[List[str]]:
        came = {key: "" if self.base[key] is None else f"{100 * self.base[key]:.2f}" for key in ("validation", "test")}
        rows = [list(_HEAD), [UNTOUCHED, "1.000", "1.000", came["validation"], "", "", came["test"]]]
        for item in self.unpruned() + self.ranked():
            rows.append([item.criterion, f"{item.macs:.3f}", f"{item.parameters:.3f}",
                         *("" if getattr(item, name) is None else str(getattr(item, name)) for name in _STATES)])
        return rows

    def _notes(self) -> List[str]:
        seeds, images = len(self.config["seeds"]), self.data["validation"]["images"]
        best = self.ranked()[0].chosen_by
        error = 100 * standard_error(best, images)
        notes = [f"Accuracy in %, mean ± standard deviation over {seeds} seeds." if seeds > 1 else
                 "Accuracy in %, one seed: nothing is known about the spread.",
                 f"All columns but the last: validation split, {images:,} images, the same for all; the standard "
                 f"error of one accuracy of {100 * best:.2f} on them is {error:.2f} points.",
                 "Rows by accuracy on the validation split.", *self._missed()]
        if self.data["test"]:
            last = "after the last epoch" if self.config["epochs"] else "after re-estimation"
            notes.append(f"Test split: {self.data['test']['images']:,} images, taken once, {last}; nothing was chosen "
                         f"by it.")
        return notes


def standard_error(accuracy: float, images: int) -> float:
    """Of an accuracy that was measured on so many independent images: the square root of ``p (1 - p) / n``."""
    return math.sqrt(accuracy * (1 - accuracy) / images)
