"""What was pruned, what was not, and why: as a text, as data and as a figure."""
import io
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.display import table
from golden_stick.base.errors import ArgumentError, DependencyError, NothingToPruneError, TraceError, first_line
from golden_stick.base.files import PathLike, whole_file
from golden_stick.base.inputs import describe_with_types
from golden_stick.cells.wrappers import evaluate, own_fault
from golden_stick.deploy.slim_file import Reconstruction
from golden_stick.graph.groups import Grouping, ParameterSlice
from golden_stick.graph.ir import Graph, Shape
from golden_stick.graph.plan import PruningPlan, Untouched, cause_and_place, first_three, remedy_of
from golden_stick.prune.page import record_of_result, write_page_of

__all__ = ["LayerReport", "RateTarget", "Report", "Target", "check_prunable", "layer_reports", "notes_on_heads",
           "notes_on_unreached", "notes_on_widths", "draw", "refuse_inputs", "refuse_random", "score_ranges"]


@dataclass(frozen=True)
class LayerReport:
    """One layer: filters before and after, how many of them always stay, why, and the layers that shrink with it."""

    path: str
    before: int
    after: int
    fixed: int
    reasons: Tuple[str, ...]
    shares_with: Tuple[str, ...]
    weight: str = ""  # the parameter that holds the filters


@dataclass(frozen=True)
class Target:
    """
    A budget asked for, such as ``'target_macs'``: fraction of the original wanted, what was reached, and if enough.
    """

    name: str
    wanted: float
    reached: float
    met: bool

    def __str__(self) -> str:
        verdict = "reached" if self.met else "NOT reached"
        return f"{self.name} {self.wanted:g}: {verdict}: {self.reached:.4f} of the original"


@dataclass(frozen=True)
class RateTarget(Target):
    """
    A rate asked for: the fraction of all removable channels that was to go, rounded down, and that went; and the least
    that removes a channel.
    """

    least: float = 0.0

    def __str__(self) -> str:
        if self.wanted and not self.reached:
            why = (f"it is less than one channel even of the most that are ranked together: set {self.least:.4g} or "
                   f"more, or rank more channels together by 'ranking'" if self.met else "what held it back is below")
            return f"{self.name} {self.wanted:.4g}: NOTHING was removed: {why}"
        return (f"{self.name} {self.wanted:.4g}: {'reached' if self.met else 'NOT reached'}: {self.reached:.4f} of the "
                f"removable channels are gone")


@dataclass(frozen=True)
class Report:
    """
    What an algorithm did.

    Args:
        algorithm (str): Its name.
        config (Mapping): Its configuration, defaults included.
        step (str): ``'apply'`` or ``'convert'``.
        inputs (str): Shapes of the inputs that the network was traced with.
        layers (tuple[LayerReport]): Every layer with filters.
        without_rule (tuple[str]): Operators that have no rule, and where. Nothing that they read is pruned.
        parameters_before, parameters_after (int): Numbers in the weights, moving statistics left out.
        macs_before, macs_after (int): Multiply-accumulates for one sample.
        largest_difference (float): Between the outputs of the masked network and the slim one; None before `convert`.
        output_scale (float): Largest output of the masked network; None before `convert`.
        checked_on (tuple[str]): What the two were compared on: where they are furthest apart, the numbers are of.
        notes (tuple[str]): What the user should know besides.
        targets (tuple[Target]): What became of the budget: a RateTarget where it is a rate.
        control (Mapping): What a scientific control was and what it found, as plain data; empty where there was none.
        reconstruction (Reconstruction): How the layers were solved anew; None if they were not.
        shapes (Mapping): Name of every parameter of the network -> its shape before and after.
        untouched (tuple[Untouched]): Those whose shape stays, by why: with those that shrink, they are all there are.
        chosen (Mapping): What of `config` differs from the defaults.
        scores (Mapping): Name of a weight -> what the scores of its filters that ``stay`` and that ``go`` range over:
            least, quartiles and largest; nothing where no filter does.
    """

    algorithm: str
    config: Mapping[str, Any]
    step: str
    inputs: str
    layers: Tuple[LayerReport, ...]
    without_rule: Tuple[str, ...]
    parameters_before: int
    parameters_after: int
    macs_before: int
    macs_after: int
    largest_difference: Optional[float] = None
    output_scale: Optional[float] = None
    checked_on: Tuple[str, ...] = ()
    notes: Tuple[str, ...] = ()
    targets: Tuple[Target, ...] = ()
    control: Mapping[str, Any] = field(default_factory=dict)
    reconstruction: Optional[Reconstruction] = None
    shapes: Mapping[str, Tuple[Shape, Shape]] = field(default_factory=dict)
    untouched: Tuple[Untouched, ...] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Tuple[float, ...]]] = field(default_factory=dict)

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {
            "kind": "golden_stick report", "algorithm": self.algorithm, "config": dict(self.config), "step": self.step,
            "inputs": self.inputs,
            "layers": [asdict(layer) for layer in self.layers], "barriers": list(self.without_rule),
            "parameters": {"before": self.parameters_before, "after": self.parameters_after},
            "macs": {"before": self.macs_before, "after": self.macs_after},
            "largest_difference": self.largest_difference, "output_scale": self.output_scale,
            "checked_on": list(self.checked_on), "notes": list(self.notes),
            "targets": [asdict(target) for target in self.targets], "control": dict(self.control),
            "reconstruction": self.reconstruction.to_dict() if self.reconstruction else None,
            "shapes": {name: list(map(list, pair)) for name, pair in self.shapes.items()},
            "untouched": [asdict(item) for item in self.untouched],
            "scores": {name: {kind: list(five) for kind, five in found.items()} for name, found in self.scores.items()},
        }

    def to_html(self, path: PathLike, *results: Any) -> str:
        """
        Write all of it as one page of HTML that needs nothing else, with figures, for a phone as well. With it on the
        page stand `results`, at most one of each of what :func:`golden_stick.certify`, :func:`golden_stick.benchmark`,
        :func:`golden_stick.compare`, :func:`golden_stick.sensitivity` and :func:`golden_stick.pruning_card` returned.

        Args:
            path (Union[str, PathLike]): Where to write.

        Returns:
            str, the path.

        Raises:
            ArgumentTypeError: If `path` is no path, or a result something else.
            ArgumentError: If there are two results of a kind.
            CheckpointError: If the file cannot be written there.
        """
        title = f"{self.algorithm}: what was pruned, and what stays"
        return write_page_of("to_html", path, title, map(record_of_result, (self, *results)))

    def __str__(self) -> str:
        shrunk = sum(before != after for before, after in self.shapes.values())
        lines = [f"{self.algorithm} after '{self.step}': {shrunk} of {len(self.shapes)} parameters shrink",
                 f"parameters  {_change(self.parameters_before, self.parameters_after)}",
                 f"MACs        {_change(self.macs_before, self.macs_after)}", *map(str, self.targets)]
        if self.largest_difference is not None:
            lines.append(f"largest difference between masked and slim outputs: {self.largest_difference:.3g} "
                         f"(largest output {self.output_scale:.3g}), checked on {' and '.join(self.checked_on)}")
        lines.append(f"inputs {self.inputs}, config {dict(self.chosen)}" + ("" if self.chosen else ", all defaults"))
        lines += self._table()
        if self.without_rule:
            lines.append("operators without a rule, not pruned across: " + "; ".join(self.without_rule))
        return "\n".join((*lines, *self.notes, *([str(self.reconstruction)] if self.reconstruction else [])))

    def _table(self) -> List[str]:
        """A line for every layer and every other parameter of two or more dimensions; and each cause, said once."""
        causes: Dict[str, List[str]] = {}  # cause -> the places where it holds
        known = {layer.weight for layer in self.layers}
        why = {name: item.reasons for item in self.untouched for name in item.parameters}
        rows = [(layer.path, str(layer.before), str(layer.after), str(layer.fixed or ""),
                 layer.reasons or why.get(layer.weight, ()), layer.shares_with) for layer in self.layers]
        rows += [(name, str(before), str(after), "", why.get(name, ()), ())
                 for name, (before, after) in self.shapes.items() if name not in known and len(before) > 1]
        left, cells = max((len(row[1]) for row in rows), default=0), []
        for path, before, after, fixed, reasons, others in rows:
            remarks = [f"with {first_three(others)}"] if others else []
            for cause, place in map(cause_and_place, reasons):
                places = causes.setdefault(cause, [])
                places += [place] * (place not in places)
                remarks.append(f"[{list(causes).index(cause) + 1}]")
            cells.append((path, f"{before:>{left}} -> {after}", fixed, " ".join(dict.fromkeys(remarks))))
        vectors = [before != after for before, after in self.shapes.values() if len(before) < 2]
        head = ("layer or parameter", "filters or shape", "fixed", "shares channels with, why fixed [see below]")
        lines = [table(head, cells, words=(0, 1, 3))]
        lines += [f"vectors besides: {len(vectors)}, of which {sum(vectors)} shrink"] if vectors else []
        return lines + [f"[{number}] {cause}{f' ({first_three(places)})' if any(places) else ''}: {remedy_of(cause)}"
                        for number, (cause, places) in enumerate(causes.items(), 1)]


def _change(before: int, after: int) -> str:
    removed = 100 * (1 - after / before) if before else 0.0
    return f"{before:,} -> {after:,} ({removed:.1f} % removed)"


def check_prunable(owner: str, grouping: Grouping) -> None:
    """Refuse a network that can lose nothing, for the caller `owner`."""
    if not grouping.groups:
        reasons = [f"{layer.path}: {layer.reasons[0]}" for layer in grouping.fixed] or [
            f"{name}: {reasons[0]}" for name, reasons in grouping.kept.items()]
        why = "; ".join(dict.fromkeys(reasons[:3])) or "no convolution or dense layer was found"
        raise NothingToPruneError(f"For '{owner}', 'network' must have a channel that can be removed, but got none "
                                  f"({why}).")


_DRAWING = ("Dropout", "Rand", "Normal", "Uniform", "Bernoulli", "Multinomial", "Poisson", "Gamma")


def refuse_random(name: str, network: nn.Cell, graph: Graph, tensors: Tuple[Tensor, ...]) -> None:
    """Refuse a network that is random in evaluation, before anything is trained: no check of it could pass."""
    # What may draw, by name or by what MindSpore says of it: whether it does, two runs tell.
    drawing = [str(node) for node in graph.nodes if node.attributes.get("side_effect_hidden")
               or any(word in node.operator for word in _DRAWING)]
    fault = own_fault(network, tensors) if drawing else ""
    if fault:
        raise ArgumentError(f"For '{name}', 'network' must give the same for the same inputs, but {fault} "
                            f"({', '.join(drawing[:3])}).")


def refuse_inputs(name: str, network: nn.Cell, tensors: Tuple[Tensor, ...]) -> None:
    """Where the network itself does not run on the inputs, they are to blame, and no number in its code."""
    try:
        evaluate(network, tensors)
    except Exception as error:  # pylint: disable=broad-except
        said = first_line(error)
        lacking = "Unsupported op" in said or "unregistered" in said
        remedy = ("Prune it where it runs, or write it by operators that this device has, as matmul" if lacking else
                  "If it reads indices, give it Tensors of int32 (on the command line: --inputs 1,32:int32)")
        raise TraceError(f"For '{name}', '{type(network).__name__}' must run on 'inputs' of "
                         f"{describe_with_types(tensors)}, but it does not: {said}. {remedy}.") from error


def layer_reports(grouping: Grouping, plan: PruningPlan, unscored: Mapping[str, str]) -> Tuple[LayerReport, ...]:
    """
    Every layer with filters: what a plan leaves of it, what always stays and why, and what shrinks with it. `unscored`
    says of groups, by name, why they have no scores and stay.
    """
    after = {layer.path: layer.after for layer in plan.layers}
    fixed = {layer.path: layer for layer in grouping.fixed}
    layers = {}
    for group in grouping:
        for item, path in zip(group.filters, group.layers):
            others = tuple(dict.fromkeys(other for other in group.layers if other != path))
            stays = fixed.pop(path, None)
            reasons = (stays.reasons if stays else ()) + tuple(filter(None, (unscored.get(group.name),)))
            layers[path] = LayerReport(path, len(item.channels), after.get(path, len(item.channels)),
                                       stays.fixed if stays else 0, reasons, others, item.parameter)
    for path, layer in fixed.items():
        layers[path] = LayerReport(path, layer.filters, layer.filters, layer.fixed, layer.reasons, (), layer.weight)
    return tuple(layers.values())


def score_ranges(scores: Mapping[str, np.ndarray], filters: Mapping[str, ParameterSlice], plan: PruningPlan
                 ) -> Dict[str, Dict[str, Tuple[float, ...]]]:
    """The `scores` of a report, of those by which a plan was chosen; none of layers whose scores are all zero yet."""
    kept = {(axis.parameter, axis.axis): list(axis.kept) for axis in plan.axes}
    found = {}
    for name, values in scores.items():
        stays = np.zeros(len(values), bool)
        stays[kept.get((name, filters[name].axis), slice(None))] = True
        found[name] = {kind: tuple(map(float, np.quantile(part, (0, 0.25, 0.5, 0.75, 1)))) if part.size else ()
                       for kind, part in (("stay", values[stays]), ("go", values[~stays]))}
    return {name: ranges for name, ranges in found.items() if np.any(scores[name])}


def notes_on_heads(grouping: Grouping, heads: str) -> Tuple[str, ...]:
    """What a report says of attentions whose code cannot lose what the option 'heads' asks for."""
    if not grouping.other_heads:
        return ()
    what, instead, remedy = (
        ("whole heads", "the same positions of every head", "-1 for the number of heads and a number for their width")
        if heads == "whole" else
        ("the same positions of every head", "whole heads", "-1 for the width of a head and a number for how many"))
    return (f"'heads' {heads!r} is NOT honoured at {first_three(grouping.other_heads)}: the code there cannot lose "
            f"{what}, so {instead} go; write {remedy} to change that",)


def notes_on_unreached(network: nn.Cell, graph: Graph) -> Tuple[str, ...]:
    """What a report says of parameters that the traced graph, which is that of evaluation, does not read."""
    read = {parameter.name for parameter in graph.parameters}
    names = [parameter.name for parameter in network.get_parameters() if parameter.name not in read]
    if not names:
        return ()
    return (f"evaluation does not reach {first_three(names)}, which stay as they are: a branch for "
            f"training alone no longer fits if it reads what was pruned, so leave it out of fine-tuning",)


# AVX2 works on 8 numbers of float32 at once, and NEON on twice 4; ONNX Runtime lays channels out in such blocks.
_BLOCK = 8


def notes_on_widths(layers: Sequence[LayerReport], settings: Mapping[str, Any]) -> Tuple[str, ...]:
    """
    What a report says of layers that have lost a multiple of channels which processors like, where nothing is measured:
    fewer MACs may then take more time. MindSpore's time grows smoothly with the width.
    """
    runtime, measured = settings["runtime"], settings["target_latency"] is not None
    shrunk = [layer for layer in layers if layer.after < layer.before]
    off = [layer.path for layer in shrunk if layer.before % _BLOCK == 0 and layer.after % _BLOCK]
    if not off or settings["round_to"] == "auto" or runtime == "mindspore" or runtime == "onnx" and measured:
        return ()
    return (f"{len(off)} of {len(shrunk)} layers that lost filters have no multiple of {_BLOCK} any more "
            f"({first_three(off)}): ONNX Runtime and its like work on blocks of channels, and may run them no faster "
            f"than before, or slower. Set 'round_to' to {_BLOCK} or to 'auto', which measures what this machine likes, "
            f"or 'target_latency', with the 'runtime' that is meant",)


_FORMATS = ("svg", "png", "pdf")
_INCHES_PER_LAYER = 0.22


def draw(report: Report, path: str) -> None:
    """
    Draw what each layer had and has, as .svg, .png or .pdf. A bar is as long as the layer had filters: full what it
    kept, pale what it lost, hatched what always stays. Layers that share channels have one colour.
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


def _colours(layers: Sequence[LayerReport]) -> Dict[str, int]:
    """Path of a layer -> number of its group, counted in order of appearance."""
    numbers: Dict[str, int] = {}
    for layer in layers:
        known = [numbers[other] for other in layer.shares_with if other in numbers]
        numbers[layer.path] = known[0] if known else len(set(numbers.values()))
    return numbers
