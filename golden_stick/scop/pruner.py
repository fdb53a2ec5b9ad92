"""`SCOP`: pruning by scientific control."""
import warnings
from typing import Any, Dict, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from golden_stick.base.config import Option, with_options
from golden_stick.base.errors import ArgumentError, NothingToPruneError, StateError
from golden_stick.cells.wrappers import TemporaryCell, copy_network, unwrap_cells
from golden_stick.comp_algo import add_algorithm
from golden_stick.graph.groups import ParameterSlice
from golden_stick.graph.layers import scales_after
from golden_stick.prune.budget import PruningTask, Selection, nothing_removed, request_by_counts
from golden_stick.prune.options import SCOP_OPTIONS
from golden_stick.prune.plan import Widths, caps_of, plan_of_counts
from golden_stick.prune.pruner import Findings, Pruner
from golden_stick.scop.phase import FeaturePhase, InputPhase
from golden_stick.scop.report import (
    DESCRIPTION,
    conditions_of,
    describe_sampler,
    description_in,
    encoded_description,
    findings_of,
    rank_correlation,
    unselected_channels,
)
from golden_stick.scop.samplers import FeatureSampler, SamplerOption
from golden_stick.scop.scales import SCALE_INIT, RealScale

__all__ = ["SCOP"]


# At this rank correlation with |gamma|, the scores are |gamma|.
_SAME = 0.95


@with_options
class SCOP(Pruner):
    """
    Pruning by scientific control: a filter that a control can stand in for is redundant.

    `apply` returns the network of the knockoff phase. Every sample is joined by a control, convolutions and dense
    layers mix the two with one scale per filter, and only the scales are trained. `convert` scores the filters by
    ``|gamma| * (2 * scale - 1)``, with gamma 1 where no normalization follows, removes the lowest of every group, and
    returns the slim network.

    Source: Tang et al., `SCOP: Scientific Control for Reliable Neural Network Pruning
    <https://arxiv.org/abs/2010.10732>`_, NeurIPS 2020.

    Note:
        The paper mixes all layers at once (``"mixing": "joint"``). A trained network then starts far off its
        data. By default one block mixes at a time: the layers between two points that all data must pass. The paper
        also lets the branches of a sum lose different channels: ``"residual": "scatter"``.

        The report gives the rank correlation of the scores with ``|gamma|``. Near 1, a warning says that the scores
        tell no more than ``|gamma|`` does.

    Args:
        config (dict): Keys, besides those of every pruner (:class:`golden_stick.prune.Pruner`):

            {options}

    Raises:
        ArgumentTypeError: If `config` is not a dict, or a value is of another type.
        ArgumentError: If a key is unknown, a value out of range, or two contradict each other.

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

    options = {**SCOP_OPTIONS, "sampler": Option("permutation", SamplerOption(),
                                                 "what stands in for a sample, by default the next one of the batch: "
                                                 f"{SamplerOption()}")}
    trains_phase = True
    weights_rest = True

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        super().__init__(config)
        if "fdr" in (config or {}) and self.settings["prune_rate"] != "auto":
            raise ArgumentError(f"For 'SCOP', 'fdr' must stand with 'prune_rate' 'auto', but got 'prune_rate' "
                                f"{self.settings['prune_rate']!r}.")
        self._phase: Any = None
        self._trained: Dict[str, bool] = {}  # parameter name -> requires_grad in the user's network

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration, defaults included; a sampler by its name."""
        sampler = self.settings["sampler"]
        return {**super().config, "sampler": sampler if isinstance(sampler, str) else sampler.name}

    def after_step(self) -> None:
        """Put the scales in their places. `callbacks` sees to it; a loop of one's own calls it after each step."""
        for _, cell in self.applied.network.cells_and_names():
            if not isinstance(cell, RealScale):
                continue
            scales = cell.corrected()
            for parameter in cell.parameters():
                if not np.array_equal(parameter.asnumpy(), scales):
                    # Not set_data: in PyNative mode that would cut the parameter off from its optimizer.
                    ops.assign(parameter, Tensor(scales))

    def before_training(self, steps: int) -> None:
        """Warn if a training of so many steps does not give every block its turn."""
        needed = self._phase.mixing.steps() if self._phase else 0
        if steps < needed:
            warnings.warn(f"For 'SCOP', every block must have had its turn before 'convert', which takes {needed:,} "
                          f"steps, but this training has {steps:,}: train longer, or lower 'turn_steps'.", stacklevel=2)

    def filter_scores(self) -> Dict[str, np.ndarray]:
        """
        The scores of the filters, as they stand.

        Returns:
            dict, name of a layer's weight -> float64, shape (filters,). Higher is more important.

        Raises:
            StateError: Before `apply`.
        """
        return self._scores(self.applied.names.values(self.applied.network))

    def prepare(self, task: PruningTask) -> Tuple[nn.Cell, Selection]:
        """
        The network of the knockoff phase. Which filters go is not known before it; how many is, for a rate.

        Raises:
            NothingToPruneError: If no layer whose filters can be removed can be mixed.
        """
        kind = FeaturePhase if isinstance(self.settings["sampler"], FeatureSampler) else InputPhase
        network, phase = task.network, kind(task.graph, task.grouping, self.settings)
        if not phase.layers:
            reasons = "; ".join(f"{group.name} {phase.why_unscored(group)}" for group in task.grouping)
            raise NothingToPruneError(f"For 'SCOP', 'network' must have a layer whose filters can be removed and have "
                                      f"knockoffs, but got none ({reasons}): use 'OneShot'.")
        self._phase = phase
        self._trained = {parameter.name: parameter.requires_grad for parameter in network.get_parameters()}
        inner = copy_network(network)
        for parameter in inner.get_parameters():
            parameter.requires_grad = False
        applied = phase.build(inner)
        fit = [parameter for parameter in applied.get_parameters() if parameter.name not in self._trained
               and not parameter.name.startswith("mixing.") and not parameter.name.endswith("_scale")]
        applied.description = Parameter(Tensor(encoded_description(describe_sampler(phase.sampler, fit))),
                                        name=DESCRIPTION, requires_grad=False)
        ms.ms_memory_recycle()
        undecided = self.settings["prune_rate"] == "auto"
        return applied, nothing_removed(task) if undecided else self.choose(task, self.score_filters(task))

    def score_filters(self, task: PruningTask) -> Dict[str, np.ndarray]:
        """Zeros, for the filters that the phase is going to score."""
        return {name: np.zeros(len(item.channels)) for name, item in self._scored(task).items()}

    def _scored(self, task: PruningTask) -> Dict[str, ParameterSlice]:
        return {name: item for name, item in task.filters.items() if name in self._phase.layers}

    def restore(self, network: nn.Cell, loaded: Mapping[str, np.ndarray]) -> Tuple[nn.Cell, Dict[str, np.ndarray]]:
        """A plain copy of the network inside, and the values of all parameters, the scales among them."""
        names = self.applied.names
        plain = names.copy(network.network, "network.")
        unwrap_cells(plain, TemporaryCell)
        for parameter in plain.get_parameters():
            parameter.requires_grad = self._trained[parameter.name]
            if parameter.name in loaded:
                parameter.set_data(Tensor(loaded[parameter.name], parameter.dtype))
        ms.ms_memory_recycle()
        return plain, {**names.values(network), **loaded}

    def select(self, values: Mapping[str, np.ndarray]) -> Selection:
        """What goes, by the trained scales."""
        self._check_trained(values)
        task, scores = self.applied.task, self._scores(values)
        if self.settings["prune_rate"] != "auto":
            return self.choose(task, scores)
        importance, counts = unselected_channels(task.grouping, self._statistics(values), task.config["fdr"])
        plan = plan_of_counts(task.grouping, importance, counts, caps_of(task.grouping, task.config["max_rate"]),
                              Widths.of(task.config))
        return Selection(plan, scores, importance, request_by_counts("prune_rate auto", task.grouping, counts))

    def _check_trained(self, values: Mapping[str, np.ndarray]) -> None:
        scales = self._phase.scales(values)
        for weight, scale in scales.items():
            name = f"{self._phase.layers[weight]}.real_scale"
            if np.isnan(scale).any():
                raise ArgumentError(f"For 'SCOP', the scales '{name}' must be numbers, but some are NaN: look at the "
                                    f"loss and the data of the knockoff phase.")
            if not ((scale >= 0) & (scale <= 1)).all():
                raise ArgumentError(f"For 'SCOP', the scales '{name}' must be in [0, 1], but got values from "
                                    f"{scale.min():.4g} to {scale.max():.4g}: train with 'callbacks()', or call "
                                    f"'after_step()' after each step of your own loop.")
        if all((scale == SCALE_INIT).all() for scale in scales.values()):
            raise StateError(
                f"For 'SCOP', the scales must be trained before 'convert', but all of them are still {SCALE_INIT}: "
                f"run the knockoff phase with an optimizer of its 'trainable_params()' on samples that differ, or give "
                f"its checkpoint as 'ckpt_path'."
            )
        if not self._phase.mixing.takes_turns:
            return
        # The turns of a phase that is loaded may have had another length than this configuration's.
        needed, made = self._phase.mixing.steps(int(values["mixing.turn_steps"])), int(values["mixing.step"])
        if made < needed:
            raise StateError(f"For 'SCOP', every block must have had its turn before 'convert', which takes {needed:,} "
                             f"steps of training, but there were {made:,}: train longer, lower 'turn_steps', or set "
                             f"'mixing' to 'joint'.")

    def _gammas(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Weight name -> |gamma| behind each of its filters, where a normalization follows."""
        return {weight: np.abs(gamma.astype(np.float64))
                for weight, gamma in scales_after(self.applied.task.graph, values).items()}

    def _statistics(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """
        Weight name -> importance of its filters by each draw, ``|gamma| * (s - (1 - s))``, shape (draws, filters).

        Negative where the knockoff does better. As in the paper and its released code; gamma is 1 without one.
        """
        gammas = self._gammas(values)
        return {weight: gammas.get(weight, 1.0) * (2.0 * scale.astype(np.float64) - 1.0)
                for weight, scale in self._phase.scales(values).items()}

    def _scores(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        return {weight: rows.mean(axis=0) for weight, rows in self._statistics(values).items()}

    def findings(self, values: Mapping[str, np.ndarray]) -> Findings:
        """What the knockoff phase was, and what became of the scales."""
        correlation = rank_correlation(self._scores(values), self._gammas(values))
        if correlation >= _SAME:
            warnings.warn(f"For 'SCOP', scores must tell more than |gamma| to be of use, but their rank correlation "
                          f"with it is {correlation:.2f}: criterion 'bn_scale' gives the same for nothing.",
                          stacklevel=4)
        held_out, sampler, mixing = self.settings["held_out"], description_in(values), self._phase.mixing
        weights = {name: np.moveaxis(values[name], item.axis, 0)
                   for name, item in self._scored(self.applied.task).items()}
        conditions = conditions_of(self.settings["fdr"], held_out, sampler["name"], mixing, self._statistics(values),
                                   weights) if self.settings["prune_rate"] == "auto" else ()
        return findings_of(held_out, sampler, mixing, self._phase.scales(values), correlation, conditions)

    def unscored(self, task: PruningTask) -> Mapping[str, str]:
        """Groups that the phase has no scales for, and why."""
        return {group.name: self._phase.why_unscored(group) for group in task.grouping
                if not any(item.parameter in self._phase.layers for item in group.filters)}


add_algorithm("scop", SCOP)
