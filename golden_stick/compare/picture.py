"""The figure of a comparison: one-shot curves, and each criterion at the budget."""
import io
import os
from typing import Any, List

from golden_stick.base.errors import ArgumentError, DependencyError
from golden_stick.base.files import whole_file
from golden_stick.compare.result import Comparison, Spread

__all__ = ["draw", "need_matplotlib"]


_FORMATS = ("svg", "png", "pdf")
_STATES = (("pruned", "right after pruning"), ("recalibrated", "statistics re-estimated"), ("finetuned", "fine-tuned"),
           ("test", "test split"))
_MARKERS = "os^D"


def need_matplotlib() -> Any:
    """
    The package matplotlib. Imported when needed: only those who draw need it, and it takes a second to import.

    Raises:
        DependencyError: If it is not installed.
    """
    try:
        import matplotlib.figure  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise DependencyError("For 'compare', the figure needs matplotlib, which must be installed, but is not: the "
                              "extra golden-stick[reports] brings it.") from error
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
    kind = os.path.splitext(path)[1][1:]
    if kind not in _FORMATS:
        raise ArgumentError(f"For 'compare', the figure must be a file of one of the kinds "
                            f"{', '.join(_FORMATS)}, but got '{path}'.")
    matplotlib = need_matplotlib()
    curves = comparison.curves()
    figure = matplotlib.figure.Figure(figsize=(11 if curves else 6.5, 4.8), layout="constrained")
    panels = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
    if curves:
        _draw_curves(panels[0], comparison)
    _draw_budget(panels[-1], comparison)
    drawn = io.BytesIO()
    # The same comparison gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "golden_stick"}):
        figure.savefig(drawn, format=kind, **({"metadata": {"Date": None}} if kind == "svg" else {}))
    with whole_file("compare", path) as temporary, open(temporary, "wb") as file:
        file.write(drawn.getvalue())


def _draw_curves(axes: Any, comparison: Comparison) -> None:
    base = 100 * comparison.base["validation"]
    for number, (criterion, items) in enumerate(comparison.curves().items()):
        rates = [item.prune_rate for item in items]
        colour = "black" if criterion == "random" else f"C{number % 10}"
        axes.plot([0.0, *rates], [base, *(100 * item.pruned.mean for item in items)], ":", color=colour, linewidth=0.8)
        axes.errorbar(rates, [100 * item.recalibrated.mean for item in items],
                      yerr=_deviations([item.recalibrated for item in items]), marker="o", markersize=3, color=colour,
                      label=criterion, capsize=2, linewidth=1.2)
    axes.set(xlabel="prune rate", ylabel="accuracy, validation split, %",
             title="one shot: dotted as pruned, solid with statistics re-estimated")
    axes.legend(fontsize=7)
    axes.title.set_fontsize(9)


def _draw_budget(axes: Any, comparison: Comparison) -> None:
    asked = ", ".join(f"{key} {value}" for key, value in comparison.config["budget"].items())
    items = comparison.unpruned() + comparison.ranked()
    for marker, (name, label) in zip(_MARKERS, _STATES):
        shown = [(row, getattr(item, name)) for row, item in enumerate(items) if getattr(item, name) is not None]
        if shown:
            axes.errorbar([100 * value.mean for _, value in shown], [row for row, _ in shown],
                          xerr=_deviations([value for _, value in shown]), fmt=marker, markersize=5, capsize=2,
                          label=label)
    axes.axvline(100 * comparison.base["validation"], color="grey", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(items)), [item.criterion for item in items])
    axes.invert_yaxis()
    axes.set(xlabel="accuracy, % (dashed: the network as it came, validation split)",
             title=f"at the budget: {asked}; seeds: {len(comparison.config['seeds'])}")
    axes.legend(fontsize=7)
    axes.title.set_fontsize(9)


def _deviations(values: List[Spread]) -> List[float]:
    return [100 * (value.deviation or 0.0) for value in values]
