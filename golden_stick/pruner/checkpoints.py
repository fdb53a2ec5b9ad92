"""What checkpoints of MindSpore Golden Stick's SCOP hold, of both its phases: weights, scales, and filters kept."""
from dataclasses import replace
from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

import numpy as np
from mindspore import nn

from golden_stick.base.errors import CheckpointError
from golden_stick.graph.plan import PruningPlan
from golden_stick.prune.budget import PruningTask, Selection
from golden_stick.prune.plan import Widths, caps_of, group_importance, plan_of_counts
from golden_stick.prune.pruner import Pruner

__all__ = ["Migrated"]

_SCALE, _KEPT = ".kfscale", ".out_index"


class Migrated(Pruner):
    """
    A pruner by such a checkpoint. Of a knockoff phase, ``|gamma| * (2 * scale - 1)`` scores the filters, and the
    configuration says how many go; of fine-tuning, just those go that its masks took out, so that a sum keeps its width
    (``"residual": "scatter"``). Layers of which it says nothing stay, unless they share channels with others.
    """

    def __init__(self, config: Optional[Mapping[str, Any]], values: Mapping[str, np.ndarray]):
        #: Whether it is of fine-tuning, and not of a knockoff phase.
        self.tuned = any(name.endswith(_KEPT) for name in values)
        super().__init__({**({"residual": "scatter"} if self.tuned else {}), **(config or {})})
        self._values = dict(values)
        self._marks: Dict[str, np.ndarray] = {}  # weight of a convolution -> its scales, or the filters that it keeps
        self._gammas: Dict[str, np.ndarray] = {}

    def translate(self, network: nn.Cell) -> Mapping[str, np.ndarray]:
        """
        The values by the names of the network that the algorithm was applied to.

        Raises:
            CheckpointError: If there are scales or masks of layers that the network has not.
        """
        for conv, normalization, prefixes in _wrapped(network):
            mark, prefix = next((pair for pair in zip((_SCALE, _KEPT), prefixes)
                                 if pair[1] + pair[0] in self._values), ("", ""))
            if mark:
                self._marks[conv.weight.name] = self._values.pop(prefix + mark).reshape(-1)
                for part, cell in (("conv.", conv), ("bn.", normalization)):
                    for name, parameter in cell.parameters_and_names():
                        if prefix + part + name in self._values:
                            self._values[parameter.name] = self._values.pop(prefix + part + name)
                self._gammas[conv.weight.name] = self._values[normalization.gamma.name]
        left = [name for name in self._values if name.endswith((_SCALE, _KEPT))]
        if left:
            raise CheckpointError(f"For '{type(self).__name__}', the checkpoint must be of a phase of the network, but "
                                  f"holds '{left[0]}', for which the network has no convolution with a batch "
                                  f"normalization as its next child.")
        return self._values

    def score_filters(self, task: PruningTask) -> Dict[str, np.ndarray]:
        """By weights of convolutions: scores by their scales; or 1 for what is kept, and 0 for the rest."""
        scores = {}
        for name in task.filters.keys() & self._marks.keys():
            gamma, mark = np.abs(self._gammas[name].astype(np.float64)), self._marks[name]
            scores[name] = (np.isin(np.arange(len(gamma)), mark).astype(np.float64) if self.tuned
                            else gamma * (2.0 * mark - 1.0))
        return scores

    def prepare(self, task: PruningTask) -> Tuple[nn.Cell, Selection]:
        """As every pruner; where filters are known, by the plan that takes them out."""
        return super().prepare(replace(task, plan=self._plan(task)) if self.tuned else task)

    def _plan(self, task: PruningTask) -> PruningPlan:
        scores = self.score_filters(task)
        votes = {group.name: group_importance(group, scores, "max", "none") for group in task.grouping}
        importance = {name: vote for name, vote in votes.items() if vote is not None}
        plan = plan_of_counts(task.grouping, importance, {name: int((vote <= 0).sum()) for name, vote in
                                                          importance.items()}, caps_of(task.grouping, 1.0), Widths())
        kept = {(axis.parameter, axis.axis): axis.kept for axis in plan.axes}
        for name, item in task.filters.items():
            every = np.arange(len(item.channels))
            if kept.get((name, item.axis), tuple(every)) != tuple(np.intersect1d(every, self._marks.get(name, every))):
                raise CheckpointError(f"For '{type(self).__name__}', just the filters must go that the masks took out, "
                                      f"but those of '{name}' share channels with others that stay: set 'residual' to "
                                      f"'scatter', or take the checkpoint of the first phase.")
        return plan


def _wrapped(network: nn.Cell) -> Iterator[Tuple[nn.Conv2d, nn.Cell, Tuple[str, str]]]:
    """
    Each convolution whose next child is a normalization, and the prefixes that its parameters have in both phases: made
    by `str.strip` with the name of a parameter, which takes its letters off both ends.
    """
    for _, parent in network.cells_and_names():
        children = list(parent._cells.values())
        for conv, after in zip(children, children[1:]):
            if isinstance(conv, nn.Conv2d) and isinstance(after, (nn.BatchNorm2d, nn.SyncBatchNorm)):
                last = "weight" if conv.bias is None else "bias"
                first = conv.weight.name[:-len("weight")]
                first = f"{first}{last}".strip(last)
                yield conv, after, (first, f"{first}bn.beta".strip("beta"))
