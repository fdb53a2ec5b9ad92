"""`OneShot`: prune at once, by a criterion computed from the weights."""
from typing import Any, Dict, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.config import OneOf, Option, Whole
from golden_stick.graph.groups import Grouping
from golden_stick.graph.ir import Graph
from golden_stick.graph.walk import normalization_after
from golden_stick.prune.cells import masked_network, unwrap_cells
from golden_stick.prune.copying import copy_network
from golden_stick.prune.importance import CRITERIA
from golden_stick.prune.plan import PruningPlan
from golden_stick.prune.pruner import Pruner

__all__ = ["OneShot"]


class OneShot(Pruner):
    """
    Pruning at once, by a criterion that needs no data.

    `apply` returns the masked network: of the original size, with the removed channels contributing nothing. `convert`
    turns it into the slim network, which gives the same outputs. Fine-tune the slim one: it walks the same path at a
    fraction of the price.

    Args:
        config (dict): Keys, besides those of every pruner (`prune_rate`, `residual`):

            - **criterion** (str) - ``'l1'``, ``'l2'``: norm of a filter's weights; ``'bn_scale'``: magnitude of the
              scale of the normalization behind it; ``'random'``. Default: ``'l1'``.
            - **seed** (int) - Of the criterion ``'random'``. Default: 0.

    Raises:
        ArgumentTypeError: If `config` is not a dict, or a value is of another type.
        ArgumentError: If a key is unknown, or a value out of range.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> algo = gs.OneShot({"criterion": "l1", "prune_rate": 0.5})
        >>> masked = algo.apply(net, inputs=(1, 3, 16, 16))
        >>> slim = algo.convert(masked)
        >>> print(slim[0].weight.shape)
        (4, 3, 3, 3)
    """

    options = {
        **Pruner.options,
        "criterion": Option("l1", OneOf(tuple(CRITERIA))),
        "seed": Option(0, Whole(0)),
    }

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        super().__init__(config)
        self._chosen: Optional[PruningPlan] = None

    def _prepare(self, network: nn.Cell, graph: Graph, grouping: Grouping) -> nn.Cell:
        values = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
        self._chosen = self._plan(grouping, self._scores(graph, grouping, values))
        return masked_network(network, self._chosen)

    def _scores(self, graph: Graph, grouping: Grouping, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        criterion, generator = CRITERIA[self._config["criterion"]], np.random.default_rng(self._config["seed"])
        normalizations = normalization_after(graph)
        scores = {}
        for item in (item for group in grouping for item in group.filters):
            weight = np.moveaxis(values[item.parameter], item.axis, 0)
            scale = values.get(normalizations.get(item.parameter))
            scores[item.parameter] = criterion(weight.reshape(len(weight), -1), scale, generator)
        return scores

    def _restore(self, applied: nn.Cell, loaded: Mapping[str, np.ndarray]) -> Tuple[nn.Cell, Dict[str, np.ndarray]]:
        plain = copy_network(applied)
        unwrap_cells(plain, self._wrappers())
        for parameter in plain.get_parameters():
            if parameter.name in loaded:
                parameter.set_data(Tensor(loaded[parameter.name], parameter.dtype))
        ms.ms_memory_recycle()
        return plain, {parameter.name: parameter.asnumpy() for parameter in plain.get_parameters()}

    def _planned(self) -> PruningPlan:
        return self._chosen

    def _final_plan(self, values: Mapping[str, np.ndarray]) -> PruningPlan:
        return self._chosen
