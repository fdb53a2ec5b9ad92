"""The report of a run: frozen data, a text for people and a dict for programs."""
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple

__all__ = ["LayerReport", "RateTarget", "Report", "Target"]


@dataclass(frozen=True)
class LayerReport:
    """One layer: filters before and after, how many of them always stay, why, and the layers that shrink with it."""

    path: str
    before: int
    after: int
    fixed: int
    reasons: Tuple[str, ...]
    shares_with: Tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """
    A budget asked for, such as ``'target_macs'``: fraction of the original wanted, what was reached, if enough; and
    whether it was missed although all was removed that may be.
    """

    name: str
    wanted: float
    reached: float
    met: bool
    exhausted: bool = False

    def __str__(self) -> str:
        why = ", no more can be removed under this configuration" if self.exhausted else ""
        verdict = "reached" if self.met else f"NOT reached{why}"
        return f"{self.name} {self.wanted:g}: {verdict}: {self.reached:.4f} of the original"


@dataclass(frozen=True)
class RateTarget(Target):
    """A rate asked for: the fraction of all removable channels that was to go, rounded down, and that went."""

    def __str__(self) -> str:
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
        notes (tuple[str]): What the user should know besides.
        targets (tuple[Target]): What became of the budget: a RateTarget where it is a rate.
        control (Mapping): What a scientific control was and what it found, as plain data; empty where there was none.
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
    notes: Tuple[str, ...] = ()
    targets: Tuple[Target, ...] = ()
    control: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {
            "algorithm": self.algorithm,
            "config": dict(self.config),
            "step": self.step,
            "inputs": self.inputs,
            "layers": [asdict(layer) for layer in self.layers],
            "barriers": list(self.without_rule),
            "parameters": {"before": self.parameters_before, "after": self.parameters_after},
            "macs": {"before": self.macs_before, "after": self.macs_after},
            "largest_difference": self.largest_difference,
            "output_scale": self.output_scale,
            "notes": list(self.notes),
            "targets": [asdict(target) for target in self.targets],
            "control": dict(self.control),
        }

    def __str__(self) -> str:
        width = max([len("layer")] + [len(layer.path) for layer in self.layers])
        lines = [f"{self.algorithm} after '{self.step}', inputs {self.inputs}, config {dict(self.config)}",
                 f"{'layer':<{width}}  filters         fixed  shares channels with / why fixed"]
        for layer in self.layers:
            remarks = list(layer.reasons)
            if layer.shares_with:
                more = f" and {len(layer.shares_with) - 3} more" if len(layer.shares_with) > 3 else ""
                remarks.insert(0, f"with {', '.join(layer.shares_with[:3])}{more}")
            lines.append(f"{layer.path:<{width}}  {layer.before:>5} -> {layer.after:<5}  {layer.fixed:>5}  "
                         f"{'; '.join(remarks)}".rstrip())
        lines.append(f"parameters  {_change(self.parameters_before, self.parameters_after)}")
        lines.append(f"MACs        {_change(self.macs_before, self.macs_after)}")
        lines.extend(str(target) for target in self.targets)
        if self.without_rule:
            lines.append("operators without a rule, not pruned across: " + "; ".join(self.without_rule))
        if self.largest_difference is not None:
            lines.append(f"largest difference between masked and slim outputs: {self.largest_difference:.3g} "
                         f"(largest output {self.output_scale:.3g})")
        lines.extend(self.notes)
        return "\n".join(lines)


def _change(before: int, after: int) -> str:
    removed = 100 * (1 - after / before) if before else 0.0
    return f"{before:,} -> {after:,} ({removed:.1f} % removed)"
