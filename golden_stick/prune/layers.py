"""The layers of a network: whether any can lose channels, and how a report lists them."""
from typing import Mapping, Tuple

from mindspore import nn

from golden_stick.errors import NothingToPruneError
from golden_stick.graph.groups import Grouping
from golden_stick.graph.ir import Graph
from golden_stick.prune.plan import PruningPlan
from golden_stick.report import LayerReport

__all__ = ["check_prunable", "layer_reports", "notes_on_unreached"]

_NAMED = 3


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


def notes_on_unreached(network: nn.Cell, graph: Graph) -> Tuple[str, ...]:
    """What a report says of parameters that the traced graph, which is that of evaluation, does not read."""
    read = {parameter.name for parameter in graph.parameters}
    names = [parameter.name for parameter in network.get_parameters() if parameter.name not in read]
    if not names:
        return ()
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (f"evaluation does not reach {', '.join(names[:_NAMED])}{more}, which stay as they are: a branch for "
            f"training alone no longer fits if it reads what was pruned, so leave it out of fine-tuning",)
