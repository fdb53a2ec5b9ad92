"""A picture of a report: every layer as a bar, those that share channels in one colour."""
import io
import os
from typing import Dict, List

from golden_stick.deploy.files import whole_file
from golden_stick.errors import ArgumentError, DependencyError
from golden_stick.report.report import LayerReport, Report

__all__ = ["draw"]

_FORMATS = ("svg", "png", "pdf")
_INCHES_PER_LAYER = 0.22


def draw(report: Report, path: str) -> None:
    """
    Draw what each layer had and has, and which layers share channels.

    A bar is as long as the layer had filters: full what it kept, pale what it lost, hatched what always stays. Layers
    that share channels have one colour.

    Args:
        report (Report): Of an algorithm, after `apply` or `convert`.
        path (str): The file, whose name ends in .svg, .png or .pdf.

    Raises:
        ArgumentError: If the name ends otherwise.
        DependencyError: If matplotlib is not installed.
        CheckpointError: If the file cannot be written.

    Examples:
        >>> import os, tempfile
        >>> import golden_stick as gs
        >>> from golden_stick.report import draw
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> algo = gs.OneShot({"prune_rate": 0.5})
        >>> masked = algo.apply(net, inputs=(1, 3, 16, 16))
        >>> path = os.path.join(tempfile.mkdtemp(), "groups.svg")
        >>> draw(algo.report, path)
        >>> print(os.path.getsize(path) > 0)
        True
    """
    kind = os.path.splitext(path)[1][1:]
    if kind not in _FORMATS:
        raise ArgumentError(f"For 'draw', 'path' must end in one of {', '.join(_FORMATS)}, but got '{path}'.")
    try:
        # Not at the top: only those who draw need it, and it takes a second to import.
        from matplotlib.figure import Figure  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise DependencyError("For 'draw', matplotlib must be installed, but it is not: "
                              "pip install 'golden-stick[reports]'.") from error
    layers, colours = report.layers, _colours(report.layers)
    figure = Figure(figsize=(9, 1.2 + _INCHES_PER_LAYER * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    for row, layer in enumerate(layers):
        colour = f"C{colours[layer.path] % 10}"
        axes.barh(row, layer.before, color=colour, alpha=0.25)
        axes.barh(row, layer.after, color=colour)
        if layer.fixed:
            axes.barh(row, layer.fixed, fill=False, hatch="////", edgecolor="white", linewidth=0)
        axes.text(layer.before, row, f" {layer.before} → {layer.after}", va="center", fontsize=7)
    axes.set_yticks(range(len(layers)), [layer.path for layer in layers], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("filters: kept (full), removed (pale), always stay (hatched); one colour shares channels")
    axes.set_title(f"{report.algorithm} after '{report.step}': parameters {report.parameters_before:,} → "
                   f"{report.parameters_after:,}, MACs {report.macs_before:,} → {report.macs_after:,}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind)
    with whole_file("draw", path) as temporary, open(temporary, "wb") as file:
        file.write(drawn.getvalue())


def _colours(layers: List[LayerReport]) -> Dict[str, int]:
    """Path of a layer -> number of its group, counted in order of appearance."""
    numbers: Dict[str, int] = {}
    for layer in layers:
        known = [numbers[other] for other in layer.shares_with if other in numbers]
        numbers[layer.path] = known[0] if known else len(set(numbers.values()))
    return numbers
