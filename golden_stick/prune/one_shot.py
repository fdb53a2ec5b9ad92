"""`OneShot`: prune at once, by a criterion computed from the weights or from data."""
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.config import OneOf, Option, Whole
from golden_stick.base.errors import ArgumentError
from golden_stick.cells.wrappers import TemporaryCell, masked_network, unwrap_cells
from golden_stick.criteria.statistics import collect
from golden_stick.criteria.table import CRITERIA, FilterStatistics
from golden_stick.graph.groups import Grouping, ParameterSlice
from golden_stick.graph.ir import Graph
from golden_stick.graph.layers import scales_after
from golden_stick.graph.plan import PruningPlan
from golden_stick.prune.pruner import Pruner

__all__ = ["OneShot"]


class OneShot(Pruner):
    """
    Pruning at once, by a criterion.

    `apply` returns the masked network: of the original size, with the removed channels contributing nothing. `convert`
    turns it into the slim network, which gives the same outputs. Fine-tune the slim one: it walks the same path at a
    fraction of the price.

    Args:
        config (dict): Keys, besides those of every pruner (:class:`golden_stick.prune.Pruner`):

            - **criterion** (str) - From the weights: ``'l1'``, ``'l2'``: norm of a filter's weights; ``'bn_scale'``:
              magnitude of the scale of the normalization behind it; ``'fpgm'``: distance to the other filters;
              ``'lamp'``: share of the layer's norm; ``'random'``. From data: ``'taylor'``, ``'hessian'``: what the loss
              changes by without the filter, estimated to first and second order; ``'activation'``: mean magnitude of
              the channel. `golden_stick.criteria` has the sources, and adds one's own. Default: ``'l1'``.
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
        "criterion": Option("l1", OneOf(CRITERIA)),
        "seed": Option(0, Whole(0)),
    }

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        super().__init__(config)
        self._chosen: Optional[PruningPlan] = None
        self._filter_scores: Dict[str, np.ndarray] = {}
        self._data: Tuple[Any, Optional[Callable]] = (None, None)

    def apply(self, network: nn.Cell, inputs: Any = None, data: Any = None,
              loss: Optional[Callable] = None) -> nn.Cell:
        """
        The masked network, made from a copy: `network` itself is not changed.

        Args:
            network (nn.Cell): The trained network.
            inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only
                argument. Default: ``None``, it is found out where possible.
            data (Iterable): For criteria that look at data: batches, each a tuple, list or dict of the network's inputs
                and then what `loss` takes besides; or a `mindspore.dataset` object. Training data, not test data.
                Default: ``None``.
            loss (Callable): For ``'taylor'`` and ``'hessian'``: takes the network's output and the rest of a batch.
                A mean over the batch, such as `nn.CrossEntropyLoss()`. Default: ``None``.

        Returns:
            nn.Cell.

        Raises:
            ArgumentError: If the criterion needs data or a loss and none is given; and all that
                :meth:`golden_stick.prune.Pruner.apply` raises.
        """
        self._data = (data, loss)
        try:
            return super().apply(network, inputs)
        finally:
            self._data = (None, None)

    def filter_scores(self) -> Dict[str, np.ndarray]:
        """
        The scores that the filters were chosen by.

        Returns:
            dict, name of a weight -> float, shape (filters,). Higher is more important.

        Raises:
            StateError: Before `apply`.
        """
        self._applied()
        return dict(self._filter_scores)

    def _prepare(self, network: nn.Cell, graph: Graph, grouping: Grouping) -> nn.Cell:
        criterion = CRITERIA[self._config["criterion"]]
        seen = {}
        if criterion.needs != "nothing":
            name = type(self).__name__
            seen = collect(name, criterion.needs, network, graph, grouping, *self._data)
        values = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
        self._filter_scores = self._scores(graph, grouping, values, seen)
        self._chosen = self._plan(grouping, self._filter_scores)
        return masked_network(network, self._chosen)

    def _normalizer(self) -> str:
        own = CRITERIA[self._config["criterion"]].normalizer
        return own if self._config["normalizer"] == "auto" else self._config["normalizer"]

    def _scores(self, graph: Graph, grouping: Grouping, values: Mapping[str, np.ndarray],
                seen: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        criterion, generator = CRITERIA[self._config["criterion"]], np.random.default_rng(self._config["seed"])
        scales = scales_after(graph, values)
        scores = {}
        for item in (item for group in grouping for item in group.filters):
            def rows(array: np.ndarray, axis: int = item.axis) -> np.ndarray:
                return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)

            weight, scale = rows(values[item.parameter]), scales.get(item.parameter)
            found = {criterion.needs: seen[item.parameter]} if seen else {}
            if criterion.needs == "squared_gradients":
                found = {criterion.needs: rows(seen[item.parameter])}
            statistics = FilterStatistics(weight, scale, generator, **found)
            scores[item.parameter] = self._checked(criterion.score(statistics), item)
        return scores

    def _checked(self, scores: Any, item: ParameterSlice) -> np.ndarray:
        scores = np.asarray(scores)
        if scores.shape != (len(item.channels),) or not np.isfinite(scores).all():
            raise ArgumentError(f"For 'OneShot', 'criterion' {self._config['criterion']!r} must give one finite "
                                f"score for each filter of '{item.parameter}', but got shape {scores.shape}.")
        return scores

    def _restore(self, applied: nn.Cell, loaded: Mapping[str, np.ndarray]) -> Tuple[nn.Cell, Dict[str, np.ndarray]]:
        plain = self._names.copy(applied)
        unwrap_cells(plain, TemporaryCell)
        for parameter in plain.get_parameters():
            if parameter.name in loaded:
                parameter.set_data(Tensor(loaded[parameter.name], parameter.dtype))
        ms.ms_memory_recycle()
        return plain, {parameter.name: parameter.asnumpy() for parameter in plain.get_parameters()}

    def _planned(self) -> PruningPlan:
        return self._chosen

    def _final_plan(self, values: Mapping[str, np.ndarray]) -> PruningPlan:
        return self._chosen
