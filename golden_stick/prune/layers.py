"""The layers of a network: whether any can lose channels, and how a report lists them."""
from typing import Mapping, Tuple

from golden_stick.errors import NothingToPruneError
from golden_stick.graph.groups import Grouping
from golden_stick.prune.plan import PruningPlan
from golden_stick.report import LayerReport

__all__ = ["check_prunable", "layer_reports"]


def check_prunable(owner: str, grouping: Grouping) -> None:
    """
    Refuse a network that can lose nothing, for the caller `owner`.

    Raises:
        NothingToPruneError: If there is no group.
    """
    if grouping.groups:
        return
    reasons = tuple(dict.fromkeys(f"{layer.path}: {layer.reasons[0]}" for layer in grouping.fixed))[:3]
    why = "; ".join(reasons) if reasons else "no convolution or dense layer was found"
    raise NothingToPruneError(f"For '{owner}', 'network' must have a channel that can be removed, but got none "
                              f"({why}).")


def layer_reports(grouping: Grouping, plan: PruningPlan, unscored: Mapping[str, str]) -> Tuple[LayerReport, ...]:
    """
    Every layer with filters: what a plan leaves of it, what always stays and why, and what shrinks with it.

    Args:
        grouping (Grouping): What can be removed.
        plan (PruningPlan): What is.
        unscored (Mapping): Name of a group that stays without scores -> why it has none.

    Returns:
        tuple of LayerReport.
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
                                       stays.fixed if stays else 0, reasons, others)
    for path, layer in fixed.items():
        layers[path] = LayerReport(path, layer.filters, layer.filters, layer.fixed, layer.reasons, ())
    return tuple(layers.values())
