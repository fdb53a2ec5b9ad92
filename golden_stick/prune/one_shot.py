"""`OneShot`: prune at once, by a criterion computed from the weights or from data."""
from dataclasses import replace
from typing import Any, Callable, Dict, FrozenSet, Mapping, Optional

import numpy as np
from mindspore import nn

from golden_stick.base.config import with_options
from golden_stick.base.errors import ArgumentError
from golden_stick.comp_algo import add_algorithm
from golden_stick.criteria.statistics import collect
from golden_stick.criteria.table import CRITERIA, Criterion, FilterStatistics
from golden_stick.graph.layers import scales_after
from golden_stick.graph.plan import PruningPlan
from golden_stick.prune.budget import PruningTask
from golden_stick.prune.options import ONE_SHOT_OPTIONS
from golden_stick.prune.pruner import Pruner

__all__ = ["OneShot"]


@with_options
class OneShot(Pruner):
    """
    Pruning at once, by a criterion.

    `apply` returns the masked network: of the original size, with the removed channels contributing nothing. `convert`
    turns it into the slim network, which gives the same outputs. Fine-tune the slim one: it walks the same path at a
    fraction of the price.

    Args:
        config (dict): Keys, besides those of every pruner (:class:`golden_stick.prune.Pruner`):

            {options}

            The criteria from the weights: ``'l1'``, ``'l2'``: norm of a filter's weights; ``'bn_scale'``: magnitude of
            the scale of the normalization behind it; ``'fpgm'``: distance to the other filters; ``'lamp'``: share of
            the layer's norm; ``'random'``. From data: ``'taylor'``, ``'hessian'``: what the loss changes by without the
            filter, estimated to first and second order; ``'activation'``: mean magnitude of the channel;
            ``'reconstruction'``: what it is missed by when the layers that read it are solved anew, as `convert` does
            with calibration data: best with ``"ranking": "global"``, ``"per": "macs"`` and a target of MACs.
            `golden_stick.criteria` has the sources, and adds one's own.

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

    options = ONE_SHOT_OPTIONS
    _scored: FrozenSet[str] = frozenset()  # the weights that a criterion from data could judge

    @property
    def takes_data(self) -> bool:
        """Whether the criterion looks at data, so that `apply` takes `data` and `loss`."""
        return self._criterion.needs != "nothing"

    @property
    def normalizer(self) -> str:
        """What the scores of a layer are divided by: the criterion's own unless the configuration says another."""
        return self._criterion.normalizer if self.settings["normalizer"] == "auto" else self.settings["normalizer"]

    @property
    def _criterion(self) -> Criterion:
        return CRITERIA[self.settings["criterion"]]

    def apply(self, network: nn.Cell, inputs: Any = None, data: Any = None, loss: Optional[Callable] = None,
              plan: Optional[PruningPlan] = None) -> nn.Cell:
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
            plan (PruningPlan): What goes, made for this network before, as a checkpoint of a masked one holds it: no
                criterion is asked then. Default: ``None``.

        Returns:
            nn.Cell.

        Raises:
            ArgumentError: If the criterion needs data or a loss and none is given; and all that
                :meth:`golden_stick.prune.Pruner.apply` raises.
        """
        return self.apply_task(replace(self.find_task(network, inputs), data=data, loss=loss, plan=plan))

    def filter_scores(self) -> Dict[str, np.ndarray]:
        """
        The scores that the filters were chosen by.

        Returns:
            dict, name of a weight -> float, shape (filters,). Higher is more important.

        Raises:
            StateError: Before `apply`.
        """
        return dict(self.applied.selection.scores)

    def score_filters(self, task: PruningTask) -> Dict[str, np.ndarray]:
        """
        The scores of the criterion.

        Raises:
            ArgumentError: If they are not one finite number for each filter.
        """
        criterion, generator = self._criterion, np.random.default_rng(self.settings["seed"])
        seen: Mapping[str, np.ndarray] = {}
        if self.takes_data:
            seen = collect(type(self).__name__, criterion.needs, task.network, task.graph, task.grouping, task.data,
                           task.loss)
            self._scored = frozenset(seen)
        values = {parameter.name: parameter.asnumpy() for parameter in task.network.get_parameters()}
        scales = scales_after(task.graph, values)
        scores = {}
        for name, weight in task.filter_weights().items():
            if seen and name not in seen:
                continue  # its channels are read in a way that the criterion cannot judge
            of_data = {criterion.needs: seen[name]} if seen else {}
            statistics = FilterStatistics(weight, scales.get(name), generator, **of_data)
            scores[name] = given = np.asarray(criterion.score(statistics))
            if given.shape != (len(weight),) or not np.isfinite(given).all():
                raise ArgumentError(f"For 'OneShot', 'criterion' {self.settings['criterion']!r} must give one finite "
                                    f"score for each filter of '{name}', but got shape {given.shape}.")
        return scores


    def unscored(self, task: PruningTask) -> Mapping[str, str]:
        """Groups whose channels the criterion cannot judge."""
        return {group.name: f"the criterion '{self.settings['criterion']}' sees no layer that sums these channels up"
                for group in task.grouping if self._scored and not any(
                    item.parameter in self._scored for item in group.filters)}


add_algorithm("oneshot", OneShot)
