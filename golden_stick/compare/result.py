"""
What a comparison measured: trials, their mean and spread over the seeds, and these as a table, a page, a figure; and
the folder that it is kept in while it runs.
"""
import io
import json
import math
import os
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

import mindspore as ms
from mindspore import nn

from golden_stick.base.display import markdown_table, table
from golden_stick.base.errors import ArgumentError, CheckpointError, DependencyError, StateError, first_line
from golden_stick.base.files import make_folder, whole_file, write_json
from golden_stick.base.inputs import progress
from golden_stick.cells.wrappers import copy_network
from golden_stick.deploy.slim_network import load_slim, save_slim

__all__ = ["UNPRUNED", "UNTOUCHED", "Comparison", "Spread", "Store", "Summary", "Trial", "draw", "name_of",
           "need_matplotlib", "write_figure"]


UNPRUNED, UNTOUCHED = "unpruned", "as it came"
_STATES = ("pruned", "recovered", "finetuned", "test")
_HEAD = ("criterion", "MACs left", "parameters left", "pruned", "recovered", "fine-tuned", "test")
_CURVES = (("pruned", "right after pruning"), ("recovered", "after the recovery"))
_LEGEND = ("right after pruning", "recovered", "fine-tuned", "test split")


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
        recovered (float): The same, after the recovery.
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
    recovered: float
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
        """What `to_dict` gave."""
        return Trial(**{**record, "notes": tuple(record["notes"])})


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
        given = list(values)
        known = [value for value in given if value is not None]
        if not known or len(known) < len(given):
            return None
        return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))

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
        pruned, recovered, finetuned, test (Spread): Accuracies; None where not measured.
    """

    criterion: str
    prune_rate: Optional[float]
    macs: float
    parameters: float
    pruned: Spread
    recovered: Spread
    finetuned: Optional[Spread]
    test: Optional[Spread]

    @property
    def chosen_by(self) -> float:
        """Mean accuracy on the validation split in the last state: never on the test split."""
        return (self.finetuned or self.recovered).mean


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
        trials: Dict[Tuple[str, Optional[float]], List[Trial]] = {}
        for trial in self.trials:
            trials.setdefault((trial.criterion, trial.prune_rate), []).append(trial)
        return [Summary(*kind, *(statistics.fmean(getattr(trial, size) for trial in of_kind) / self.base[size]
                                 for size in ("macs", "parameters")),
                        *(Spread.of(getattr(trial, state) for trial in of_kind) for state in _STATES))
                for kind, of_kind in trials.items()]

    def ranked(self) -> List[Summary]:
        """The criteria at the budget, the unpruned network aside, by accuracy on the validation split, best first."""
        return sorted((item for item in self.summary() if item.prune_rate is None and item.criterion != UNPRUNED),
                      key=lambda item: -item.chosen_by)

    def unpruned(self) -> List[Summary]:
        """The unpruned network with the same fine-tuning, in a list of one."""
        return [item for item in self.summary() if item.criterion == UNPRUNED]

    def curves(self) -> Dict[str, List[Summary]]:
        """Criterion -> its points of the one-shot curve, by rate."""
        points: Dict[str, List[Summary]] = {}
        for item in sorted(self.summary(), key=lambda item: item.prune_rate or 0.0):
            if item.prune_rate is not None:
                points.setdefault(item.criterion, []).append(item)
        return points

    def to_dict(self) -> Dict[str, Any]:
        """All of it, fit for JSON, the summary included."""
        return {"kind": "golden_stick comparison", "config": dict(self.config), "base": dict(self.base),
                "data": dict(self.data), "trials": [trial.to_dict() for trial in self.trials],
                "summary": [asdict(item) for item in self.summary()]}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> "Comparison":
        """What `to_dict` gave."""
        trials = tuple(Trial.from_dict(trial) for trial in record["trials"])
        return Comparison(record["config"], record["base"], record["data"], trials)

    def __str__(self) -> str:
        return "\n".join([table(_HEAD, self._rows()), "", *self._notes(), *self._reported()])

    def to_markdown(self) -> str:
        """A page: the table at the budget, the one-shot curves, and what the numbers are."""
        parts = ["# Criteria compared", "", *markdown_table(_HEAD, self._rows()), "", " ".join(self._notes()), ""]
        if self._reported():
            parts += ["What the reports say, at the budget:", "", *[f"* {line}" for line in self._reported()], ""]
        curves = self.curves()
        for state, title in _CURVES if curves else ():
            head = ("criterion", *(f"rate {rate:g}" for rate in self.config["rates"]))
            rows = [(criterion, *(getattr(item, state) for item in items)) for criterion, items in curves.items()]
            parts += [f"One shot, accuracy on the validation split {title}, in %:", "", *markdown_table(head, rows), ""]
        return "\n".join([*parts, f"Asked for: `{json.dumps(dict(self.config))}`", ""])

    def _reported(self) -> List[str]:
        """What the reports at the budget say besides: each note once, with criterion and seeds."""
        seeds: Dict[str, Dict[str, List[int]]] = {}
        for trial in self.trials:
            for note in trial.notes if trial.prune_rate is None else ():
                seeds.setdefault(trial.criterion, {}).setdefault(note, []).append(trial.seed)
        return [f"{criterion}, {'seed' if len(of_note) == 1 else 'seeds'} {', '.join(map(str, of_note))}: {note}"
                for criterion, notes in seeds.items() for note, of_note in notes.items()]

    def _missed(self) -> List[str]:
        """A sentence about trials that did not reach their budget or rate, if there are any."""
        missed: Dict[str, List[str]] = {}
        for trial in self.trials:
            if trial.met is False:
                at = "the budget" if trial.prune_rate is None else f"rate {trial.prune_rate:g}"
                missed.setdefault(f"{trial.criterion} at {at}", []).append(str(trial.seed))
        kinds = "; ".join(f"{kind} (seeds {', '.join(seeds)})" for kind, seeds in missed.items())
        return [f"NOT reached: {kinds}."] if missed else []

    def _rows(self) -> List[List[str]]:
        came = {key: "" if self.base[key] is None else f"{100 * self.base[key]:.2f}" for key in ("validation", "test")}
        rows = [[UNTOUCHED, "1.000", "1.000", came["validation"], "", "", came["test"]]]
        for item in self.unpruned() + self.ranked():
            rows.append([item.criterion, f"{item.macs:.3f}", f"{item.parameters:.3f}",
                         *(str(getattr(item, state) or "") for state in _STATES)])
        return rows

    def _notes(self) -> List[str]:
        seeds, images = len(self.config["seeds"]), self.data["validation"]["images"]
        best = self.ranked()[0].chosen_by
        error = 100 * math.sqrt(best * (1 - best) / images)
        notes = [f"Accuracy in %, mean ± standard deviation over {seeds} seeds." if seeds > 1 else
                 "Accuracy in %, one seed: nothing is known about the spread.",
                 f"All columns but the last: validation split, {images:,} images, the same for all; the standard "
                 f"error of one accuracy of {100 * best:.2f} on them is {error:.2f} points.",
                 "Rows by accuracy on the validation split.", *self._missed()]
        if self.data["test"]:
            last = "after the last epoch" if self.config["epochs"] else "after the recovery"
            notes.append(f"Test split: {self.data['test']['images']:,} images, taken once, {last}; nothing was chosen "
                         f"by it.")
        return notes


def need_matplotlib(owner: str) -> ModuleType:
    """The package matplotlib. Imported when needed: only those who draw need it, and it takes a second to import."""
    try:
        import matplotlib.figure  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise DependencyError(f"For '{owner}', the figure needs matplotlib, which must be installed, but is not: the "
                              f"extra golden-stick[reports] brings it.") from error
    return matplotlib


def draw(comparison: Comparison, path: str) -> None:
    """
    Draw accuracies over rates, and at the budget, with the standard deviation over seeds as bars.

    Args:
        comparison (Comparison): Of :func:`golden_stick.compare`.
        path (str): The file, whose name ends in .svg, .png or .pdf.

    Raises:
        ArgumentError: If the name ends otherwise.
        DependencyError: If matplotlib is not installed.
        CheckpointError: If the file cannot be written.
    """
    def paint(figure: Any) -> None:
        panels = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
        if curves:
            _draw_curves(panels[0], comparison)
        _draw_budget(panels[-1], comparison)

    curves = comparison.curves()
    write_figure("compare", path, (11 if curves else 6.5, 4.8), paint)


def write_figure(owner: str, path: str, size: Tuple[float, float], paint: Callable[[Any], None]) -> None:
    """Write a figure of so many inches, which `paint` paints, for the caller `owner`; the same gives the same file."""
    kind = os.path.splitext(path)[1][1:]
    if kind not in ("svg", "png", "pdf"):
        raise ArgumentError(f"For '{owner}', the figure must be a file of one of the kinds svg, png, pdf, but got "
                            f"'{path}'.")
    matplotlib = need_matplotlib(owner)
    figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
    paint(figure)
    drawn = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "golden_stick"}):
        figure.savefig(drawn, format=kind, **({"metadata": {"Date": None}} if kind == "svg" else {}))
    with whole_file(owner, path) as temporary, open(temporary, "wb") as file:
        file.write(drawn.getvalue())


def _draw_curves(axes: Any, comparison: Comparison) -> None:
    base = 100 * comparison.base["validation"]
    for number, (criterion, items) in enumerate(comparison.curves().items()):
        rates = [item.prune_rate for item in items]
        colour = "black" if criterion == "random" else f"C{number % 10}"
        axes.plot([0.0, *rates], [base, *(100 * item.pruned.mean for item in items)], ":", color=colour, linewidth=0.8)
        axes.errorbar(rates, [100 * item.recovered.mean for item in items],
                      yerr=_deviations([item.recovered for item in items]), marker="o", markersize=3, color=colour,
                      label=criterion, capsize=2, linewidth=1.2)
    axes.set(xlabel="prune rate", ylabel="accuracy, validation split, %",
             title="one shot: dotted as pruned, solid after the recovery")
    axes.legend(fontsize=7)
    axes.title.set_fontsize(9)


def _draw_budget(axes: Any, comparison: Comparison) -> None:
    asked = ", ".join(f"{key} {value}" for key, value in comparison.config["budget"].items())
    items = comparison.unpruned() + comparison.ranked()
    for marker, state, label in zip("os^D", _STATES, _LEGEND):
        rows = [row for row, item in enumerate(items) if getattr(item, state) is not None]
        values = [getattr(items[row], state) for row in rows]
        if rows:
            axes.errorbar([100 * value.mean for value in values], rows, xerr=_deviations(values), fmt=marker,
                          markersize=5, capsize=2, label=label)
    axes.axvline(100 * comparison.base["validation"], color="grey", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(items)), [item.criterion for item in items])
    axes.invert_yaxis()
    axes.set(xlabel="accuracy, % (dashed: the network as it came, validation split)",
             title=f"at the budget: {asked}; seeds: {len(comparison.config['seeds'])}")
    axes.legend(fontsize=7)
    axes.title.set_fontsize(9)


def _deviations(values: List[Spread]) -> List[float]:
    return [100 * (value.deviation or 0.0) for value in values]


_RECORD, _PAGE, _NETWORKS, _FIGURES = "comparison.json", "comparison.md", "networks", ("svg", "png")


class Store:
    """
    Where trials and networks are kept: in a folder, or without one in memory. `begun` is the comparison without trials;
    a folder of one that asks for something else is refused.
    """

    def __init__(self, folder: Optional[str], network: nn.Cell, begun: Comparison):
        self._folder, self._network = folder or "", network
        self._identity = json.loads(json.dumps({"config": begun.config, "base": begun.base, "data": begun.data}))
        self._networks: Dict[str, nn.Cell] = {}
        self.trials: List[Trial] = []
        self.finished: Optional[Comparison] = None
        if folder:
            # Now, not at the end of hours.
            need_matplotlib("compare")
            make_folder("compare", folder)
            make_folder("compare", os.path.join(folder, _NETWORKS))
            self._resume(os.path.join(folder, _RECORD))

    def done(self, criterion: str, seed: int) -> bool:
        """Whether the trials of a criterion and seed are there, the last of them, at the budget, included."""
        return any((trial.criterion, trial.seed, trial.prune_rate) == (criterion, seed, None) for trial in self.trials)

    def add(self, trials: List[Trial], network: nn.Cell) -> None:
        """Keep the trials of one criterion and seed, and the network at the budget."""
        self.trials.extend(trials)
        name = name_of(trials[-1])
        if not self._folder:
            self._networks[name] = network
            return
        path = os.path.join(self._folder, _NETWORKS, name)
        if _shapes(network) == _shapes(self._network):
            with whole_file("compare", f"{path}.ckpt") as temporary:
                ms.save_checkpoint(network, temporary)
        else:
            save_slim(network, f"{path}.safetensors")
        self._write({**self._identity, "complete": False, "trials": [trial.to_dict() for trial in self.trials]})

    def networks(self) -> Dict[str, nn.Cell]:
        """The networks at the budget, by criterion and seed."""
        if not self._folder:
            return self._networks
        return {name_of(trial): self._load(trial) for trial in self.trials if trial.prune_rate is None}

    @progress("writing the comparison")
    def finish(self, comparison: Comparison) -> None:
        """Write the whole result: JSON, page and figures."""
        if not self._folder:
            return
        with whole_file("compare", os.path.join(self._folder, _PAGE)) as temporary:
            Path(temporary).write_text(comparison.to_markdown(), encoding="utf-8")
        for kind in _FIGURES:
            draw(comparison, os.path.join(self._folder, f"comparison.{kind}"))
        self._write({**comparison.to_dict(), "complete": True})

    def _resume(self, path: str) -> None:
        if not os.path.exists(path):
            return
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            complete, identity = record["complete"], {key: record[key] for key in self._identity}
            self.trials = [Trial.from_dict(trial) for trial in record["trials"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"For 'compare', '{path}' must be a comparison that was begun here, but it is "
                                  f"damaged or another file: {first_line(error)}") from error
        different = [key for key, value in self._identity.items() if not _agree(identity[key], value)]
        if different:
            raise StateError(f"For 'compare', 'folder' must be new or hold the same comparison, but '{path}' has "
                             f"another '{different[0]}': take another folder.")
        if complete:
            self.finished = Comparison.from_dict(record)

    def _write(self, record: Mapping[str, Any]) -> None:
        write_json("compare", os.path.join(self._folder, _RECORD), record, indent=1)

    def _load(self, trial: Trial) -> nn.Cell:
        path, network = os.path.join(self._folder, _NETWORKS, name_of(trial)), copy_network(self._network)
        if os.path.isfile(f"{path}.safetensors"):
            return load_slim(network, f"{path}.safetensors")
        if not os.path.isfile(f"{path}.ckpt"):
            raise CheckpointError(f"For 'compare', the network '{path}' of a trial that was made must be there, but it "
                                  f"is missing: take another folder.")
        ms.load_param_into_net(network, ms.load_checkpoint(f"{path}.ckpt"))
        return network


def name_of(trial: Trial) -> str:
    """The name that the network of a trial at the budget is kept under."""
    return f"{trial.criterion}-seed{trial.seed}"


def _shapes(network: nn.Cell) -> Dict[str, Any]:
    return {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}


def _agree(kept: Any, wanted: Any) -> bool:
    """Equal, but for what is only known at the end, which is None before it."""
    if isinstance(kept, dict) and isinstance(wanted, dict):
        return set(kept) == set(wanted) and all(_agree(kept[key], wanted[key]) for key in wanted)
    return wanted is None or kept == wanted
