"""`SCOP`: pruning by scientific control."""
from typing import Any, Dict, List, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.config import Option
from golden_stick.errors import ArgumentError, NothingToPruneError, StateError
from golden_stick.graph.groups import Grouping
from golden_stick.graph.ir import Graph
from golden_stick.graph.walk import normalization_after
from golden_stick.prune.cells import replace_cells, unwrap_cells
from golden_stick.prune.copying import copy_network
from golden_stick.prune.plan import PruningPlan
from golden_stick.prune.pruner import Pruner
from golden_stick.scop.cells import SCALE_INIT, KnockoffConv, KnockoffInput
from golden_stick.scop.samplers import Sampler, SamplerOption, as_sampler
from golden_stick.scop.selection import rank_correlation, scop_importance

__all__ = ["SCOP"]


class SCOP(Pruner):
    """
    Pruning by scientific control: a filter that a control sample can stand in for is redundant.

    `apply` returns the network of the knockoff phase. Every sample is joined by a control, each convolution mixes the
    two with one scale per filter, and only the scales are trained. `convert` scores the filters by
    ``|gamma| * (2 * scale - 1)``, removes the lowest of every group, and returns the slim network.

    Source: Tang et al., `SCOP: Scientific Control for Reliable Neural Network Pruning
    <https://arxiv.org/abs/2010.10732>`_, NeurIPS 2020.

    Note:
        All convolutions mix at once, as published. With the default sampler the control is an independent sample (the
        next one of the shuffled batch). The report gives the rank correlation of the scores with ``|gamma|``: near 1,
        the scores say no more than ``|gamma|`` does.

    Args:
        config (dict): Keys:

            - **prune_rate** (float) - Fraction of each group's removable channels to remove, in [0, 1). Default: 0.4.
            - **residual** (str) - What becomes of feature maps that are added up: ``'group'``, ``'scatter'`` (the
              paper's) or ``'keep'``, see :func:`golden_stick.find_groups`. Default: ``'group'``.
            - **sampler** (Union[str, Sampler]) - What stands in for a sample: ``'permutation'``, the next one of the
              batch; ``'noise'``; or a Sampler, such as ``GaussianSampler().fit(data)``, ``GeneratorSampler(cell)`` or
              one of your own. Default: ``'permutation'``.

    Raises:
        ArgumentTypeError: If `config` is not a dict, or a value is of another type.
        ArgumentError: If a key is unknown, or a value out of range.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> algo = gs.SCOP({"prune_rate": 0.5})
        >>> phase = algo.apply(net, inputs=(1, 3, 16, 16))
        >>> print([parameter.name for parameter in phase.trainable_params()])
        ['0.real_scale']
        >>> optimizer = nn.Adam(phase.trainable_params(), learning_rate=0.05)
        >>> step = ms.value_and_grad(lambda x: (phase(x) ** 2).mean(), None, optimizer.parameters)
        >>> _ = phase.set_train()
        >>> for _ in range(3):
        ...     loss, gradients = step(ms.Tensor(np.random.rand(4, 3, 16, 16), ms.float32))
        ...     _ = optimizer(gradients)
        ...     algo.after_step()
        >>> slim = algo.convert(phase)
        >>> print(slim[0].weight.shape)
        (4, 3, 3, 3)
    """

    options = {**Pruner.options, "sampler": Option("permutation", SamplerOption())}

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        super().__init__(config)
        self._controlled: Dict[str, str] = {}  # weight name -> path of its convolution
        self._normalizations: Dict[str, str] = {}  # weight name -> gamma name
        self._trained: Dict[str, bool] = {}  # parameter name -> requires_grad in the user's network

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration, defaults included; a sampler by its name."""
        sampler = self._config["sampler"]
        return {**super().config, "sampler": sampler.name if isinstance(sampler, Sampler) else sampler}

    def after_step(self) -> None:
        """Put the scales back into [0, 1]. `callbacks` sees to it; a loop of one's own calls it after each step."""
        for parameter in self._scales():
            values = parameter.asnumpy()
            inside = np.clip(values, 0.0, 1.0)
            if not np.array_equal(values, inside):
                # Not set_data: in PyNative mode that would cut the parameter off from its optimizer.
                ops.assign(parameter, Tensor(inside))

    def _scales(self) -> List[Parameter]:
        network, _ = self._applied()
        return [cell.real_scale for _, cell in network.cells_and_names() if isinstance(cell, KnockoffConv)]

    def _prepare(self, network: nn.Cell, graph: Graph, grouping: Grouping) -> nn.Cell:
        self._controlled = _controlled(graph, grouping)
        self._normalizations = normalization_after(graph)
        if not self._controlled:
            raise NothingToPruneError(
                "For 'SCOP', 'network' must have an nn.Conv2d whose filters can be removed, but got none: "
                "use 'OneShot' for networks of dense layers."
            )
        sampler = as_sampler(self._config["sampler"], graph.inputs)
        self._trained = {parameter.name: parameter.requires_grad for parameter in network.get_parameters()}
        inner = copy_network(network)
        for parameter in inner.get_parameters():
            parameter.requires_grad = False
        replace_cells(inner, {
            path: lambda conv, path=path: KnockoffConv(conv, path) for path in self._controlled.values()
        })
        ms.ms_memory_recycle()
        return KnockoffInput(inner, sampler)

    def _restore(self, applied: nn.Cell, loaded: Mapping[str, np.ndarray]) -> Tuple[nn.Cell, Dict[str, np.ndarray]]:
        scales = {parameter.name: loaded.get(parameter.name, parameter.asnumpy()) for parameter in self._scales()}
        plain = copy_network(applied.network)
        unwrap_cells(plain, (KnockoffConv,))
        for parameter in plain.get_parameters():
            parameter.requires_grad = self._trained[parameter.name]
            if parameter.name in loaded:
                parameter.set_data(Tensor(loaded[parameter.name], parameter.dtype))
        ms.ms_memory_recycle()
        return plain, {**scales, **{parameter.name: parameter.asnumpy() for parameter in plain.get_parameters()}}

    def _planned(self) -> PruningPlan:
        # Which filters go is not known before the knockoff phase, but how many is.
        return self._plan(self._grouping, {weight: np.zeros(self._size(weight)) for weight in self._controlled})

    def _size(self, weight: str) -> int:
        return self._graph.parameter(weight).shape[0]

    def _final_plan(self, values: Mapping[str, np.ndarray]) -> PruningPlan:
        scales = {weight: values[f"{path}.real_scale"] for weight, path in self._controlled.items()}
        for weight, scale in scales.items():
            # Written so that NaN fails.
            if not ((scale >= 0) & (scale <= 1)).all():
                raise ArgumentError(
                    f"For 'SCOP', the scales '{self._controlled[weight]}.real_scale' must be in [0, 1], but got values "
                    f"from {scale.min():.4g} to {scale.max():.4g}: train with 'callbacks()', or call 'after_step()' "
                    f"after each step of your own loop."
                )
        if all((scale == SCALE_INIT).all() for scale in scales.values()):
            raise StateError(
                f"For 'SCOP', the scales must be trained before 'convert', but all of them are still {SCALE_INIT}: "
                f"run the knockoff phase, or give its checkpoint as 'ckpt_path'."
            )
        return self._plan(self._grouping, self._scores(values))

    def _scores(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        return {
            weight: scop_importance(values[f"{path}.real_scale"], values.get(self._normalizations.get(weight)))
            for weight, path in self._controlled.items()
        }

    def _notes(self, values: Mapping[str, np.ndarray]) -> Tuple[str, ...]:
        gammas = {weight: values[gamma] for weight, gamma in self._normalizations.items() if weight in self._controlled}
        correlation = rank_correlation(self._scores(values), gammas)
        if np.isnan(correlation):
            return ("rank correlation of the scores with |gamma|: not defined, no layer has differing |gamma|",)
        return (f"rank correlation of the scores with |gamma|, median over layers: {correlation:.2f}",)

    @staticmethod
    def _wrappers() -> Tuple[type, ...]:
        return Pruner._wrappers() + (KnockoffConv, KnockoffInput)


def _controlled(graph: Graph, grouping: Grouping) -> Dict[str, str]:
    """Weight name -> path of its convolution, for every nn.Conv2d with filters that can be removed."""
    found = {}
    for group in grouping:
        for item in group.filters:
            owners = graph.parameter(item.parameter).owners
            if owners and owners[0].kind == "Conv2d" and owners[0].attribute == "weight":
                found[item.parameter] = owners[0].path
    return found
