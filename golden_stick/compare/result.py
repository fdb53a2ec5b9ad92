"""What a comparison found: frozen data, a table, a figure."""
import json
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np

from golden_stick.deploy.files import whole_file
from golden_stick.errors import CheckpointError, DependencyError, first_line

__all__ = ["CriteriaComparison", "Trial"]

_KIND = "golden_stick comparison"


@dataclass(frozen=True)
class Trial:
    """
    One criterion with one seed. Accuracies are fractions of the validation images, but for `test`.

    Args:
        criterion (str): Its name.
        seed (int): The seed.
        macs, parameters (float): What is left after pruning to the budget, as fractions of the original.
        one_shot (float): Accuracy after pruning to the budget.
        calibrated (float): After the statistics of normalizations were re-estimated.
        tuned (float): After fine-tuning, at the end of its last epoch.
        curve (tuple[tuple[float]]): At each rate of the one-shot curve: accuracy before and after re-estimation.
        test (float): Of the fine-tuned network on the test images; None before they were looked at.
    """

    criterion: str
    seed: int
    macs: float
    parameters: float
    one_shot: float
    calibrated: float
    tuned: float
    curve: Tuple[Tuple[float, float], ...] = ()
    test: Optional[float] = None


@dataclass(frozen=True)
class CriteriaComparison:
    """
    Criteria side by side.

    Args:
        settings (Mapping): What it was run with.
        original (float): Accuracy of the network on the validation images.
        trials (tuple[Trial]): Every criterion with every seed.
        original_test (float): Accuracy of the network on the test images; None without any.
    """

    settings: Mapping[str, Any]
    original: float
    trials: Tuple[Trial, ...]
    original_test: Optional[float] = None

    def of(self, criterion: str) -> Tuple[Trial, ...]:
        """The trials of a criterion."""
        return tuple(trial for trial in self.trials if trial.criterion == criterion)

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {"kind": _KIND, **asdict(self), "trials": [asdict(trial) for trial in self.trials]}

    def save(self, path: str) -> str:
        """
        Write `to_dict` as JSON; returns the path.

        Raises:
            CheckpointError: If the file cannot be written there.
        """
        with whole_file("compare", path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.to_dict(), file, indent=1)
        return path

    @staticmethod
    def load(path: str) -> "CriteriaComparison":
        """
        Read what `save` wrote.

        Raises:
            CheckpointError: If the file is missing or not such a file.
        """
        try:
            with open(path, encoding="utf-8") as file:
                record = json.load(file)
            trials = tuple(Trial(**{**item, "curve": tuple(map(tuple, item["curve"]))}) for item in record["trials"])
            # A file of another kind has no settings under this one's name.
            settings = {_KIND: record["settings"]}[record["kind"]]
            return CriteriaComparison(settings, record["original"], trials, record["original_test"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"For 'compare', '{path}' must be a comparison that 'save' wrote, but it is not: "
                                  f"{first_line(error)}") from error

    def __str__(self) -> str:
        rates = self.settings["rates"]
        heads = ["criterion", "MACs left", "one-shot", "calibrated", "fine-tuned"]
        heads += ["test"] * (self.original_test is not None) + [f"{rate:.0%} removed" for rate in rates]
        lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for criterion in dict.fromkeys(trial.criterion for trial in self.trials):
            trials = self.of(criterion)
            cells = [criterion] + [_spread(trials, key) for key in ("macs", "one_shot", "calibrated", "tuned")]
            cells += [_spread(trials, "test")] * (self.original_test is not None)
            cells += [_of(trials, lambda trial, place=place: trial.curve[place][1]) for place in range(len(rates))]
            lines.append("| " + " | ".join(cells) + " |")
        before = f"Original: {self.original:.4f} of the validation images right"
        before += "" if self.original_test is None else f", {self.original_test:.4f} of the test images"
        seeds = len(self.settings["seeds"])
        return "\n".join([*lines, "", f"{before}. Accuracies after pruning to {dict(self.settings['budget'])}: mean ± "
                          f"standard deviation over {seeds} seed{'s' * (seeds > 1)}; the last columns without "
                          f"fine-tuning, statistics re-estimated. Fine-tuned: {self.settings['epochs']} epochs, the "
                          f"last one's accuracy."])

    def draw(self, path: str) -> str:
        """
        Draw the one-shot curves, and what fine-tuning makes of the budget; returns the path.

        Raises:
            DependencyError: If matplotlib is not installed.
            CheckpointError: If the file cannot be written.
        """
        try:
            # Not at the top: only those who draw need it, and it takes a second to import.
            from matplotlib.figure import Figure  # pylint: disable=import-outside-toplevel
        except ImportError as error:
            raise DependencyError("For 'compare', matplotlib must be installed to draw, but it is not: "
                                  "pip install 'golden-stick[reports]'.") from error
        figure = Figure(figsize=(10, 4.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        names = list(dict.fromkeys(trial.criterion for trial in self.trials))
        for number, name in enumerate(names):
            means = [np.mean([trial.curve[place][1] for trial in self.of(name)])
                     for place in range(len(self.settings["rates"]))]
            left.plot([0, *self.settings["rates"]], [self.original, *means], marker="o", color=f"C{number % 10}",
                      label=name, linestyle=("-", "--", ":")[number // 10 % 3])
            tuned = [trial.tuned for trial in self.of(name)]
            right.errorbar(number, np.mean(tuned), np.std(tuned), marker="o", capsize=4, color=f"C{number % 10}")
        left.set(xlabel="fraction of channels removed", ylabel="validation accuracy, not fine-tuned")
        left.legend(fontsize="small")
        right.set_xticks(range(len(names)), names, rotation=45, ha="right")
        right.axhline(self.original, color="grey", linewidth=0.8)
        right.set(ylabel=f"validation accuracy, fine-tuned, {dict(self.settings['budget'])}")
        with whole_file("compare", path) as temporary:
            figure.savefig(temporary, format=path.rpartition(".")[2])
        return path


def _spread(trials: Tuple[Trial, ...], key: str) -> str:
    return _of(trials, lambda trial: getattr(trial, key))


def _of(trials: Tuple[Trial, ...], read: Callable[[Trial], float]) -> str:
    values: List[float] = [read(trial) for trial in trials]
    return f"{np.mean(values):.4f} ± {np.std(values):.4f}"
