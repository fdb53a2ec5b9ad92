"""`SCOP`: pruning by scientific control."""
import warnings
import weakref
from contextlib import suppress
from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.train import Callback

from golden_stick.base.config import Option, level_of_user, with_options
from golden_stick.base.devices import summed
from golden_stick.base.errors import ArgumentError, NothingToPruneError, StateError
from golden_stick.base.files import PathLike, network_digest
from golden_stick.cells.wrappers import OriginalNames, copy_network
from golden_stick.comp_algo import AlgorithmCallback, add_algorithm
from golden_stick.deploy.checkpoints import read_checkpoint
from golden_stick.graph.groups import ParameterSlice
from golden_stick.graph.layers import scales_after
from golden_stick.graph.plan import count_macs, removed_channels
from golden_stick.prune.budget import PruningTask, Selection, nothing_removed, request_by_counts, shrunk_by
from golden_stick.prune.options import SCOP_OPTIONS
from golden_stick.prune.plan import Widths, caps_of, plan_of_counts
from golden_stick.prune.pruner import Findings, Pruner
from golden_stick.scop.phase import FeaturePhase, InputPhase
from golden_stick.scop.report import (
    DESCRIPTION,
    ScaleHistory,
    ScaleSummary,
    conditions_of,
    describe_sampler,
    description_in,
    encoded_description,
    findings_of,
    rank_correlation,
    unselected_channels,
)
from golden_stick.scop.samplers import DRAWS, FeatureSampler, SamplerOption
from golden_stick.scop.scales import SCALE_INIT, WHOLE, Mixing

__all__ = ["SCOP"]


# How parameters end that stand for the scales of a layer.
_OF_SCALES = (".real_scale", ".frozen_scale", ".squared_gradients")
# At this rank correlation with |gamma|, the scores are |gamma|.
_SAME = 0.95
_DIGITS = 16  # of a digest that a phase holds


@with_options
class SCOP(Pruner):
    """
    Pruning by scientific control: a filter that a control can stand in for is redundant.

    `apply` returns the network of the knockoff phase. Every sample is joined by a control, convolutions and dense
    layers mix the two with one scale per filter, and only the scales are trained. `convert` scores the filters by
    the squared gradients of single samples' losses by the scales, met along the way: how much the answers hang on the
    filter. It removes the lowest of every group, and returns the slim network.

    Source: Tang et al., `SCOP: Scientific Control for Reliable Neural Network Pruning
    <https://arxiv.org/abs/2010.10732>`_, NeurIPS 2020.

    Note:
        The paper mixes all layers at once (``"mixing": "joint"``). A trained network then starts far off its
        data. By default one block mixes at a time: the layers between two points that all data must pass. The paper
        also lets the branches of a sum lose different channels: ``"residual": "scatter"``.

        The published score is ``"score": "gamma"``: ``|gamma| * (2 * scale - 1)``, with gamma 1 where no normalization
        follows. docs/scop.md says what either is worth.

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
        if self.settings["prune_rate"] == "auto":
            if (config or {}).get("score") == "fisher":
                raise ArgumentError("For 'SCOP', 'score' must be 'gamma' or 'scale' where 'prune_rate' is 'auto', for "
                                    "knockoff+ goes by signs, but got 'fisher', which has none.")
            if "score" not in (config or {}):
                self.settings = {**self.settings, "score": "gamma"}
        self._phase: Any = None
        self._trained: Dict[str, bool] = {}  # parameter name -> requires_grad in the user's network
        self._held: Dict[str, Parameter] = {}  # what the phase has besides the user's network
        self._evaluated: Tuple[bytes, Sequence[int]] = b"", ()  # scales, and the channels that would go by them
        self._history = ScaleHistory()

    @property
    def normalizer(self) -> str:
        """What the scores of a layer are divided by: squared gradients have one unit in all layers."""
        one_unit = self.settings["score"] == "fisher" and self.settings["normalizer"] == "auto"
        return "none" if one_unit else super().normalizer

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration, defaults included; a sampler by its name."""
        sampler = self.settings["sampler"]
        return {**super().config, "sampler": sampler if isinstance(sampler, str) else sampler.name}

    def callbacks(self, *args: Any, summary_dir: Optional[PathLike] = None, **kwargs: Any) -> List[Callback]:
        """
        As of every algorithm. `summary_dir` is a folder for MindInsight: median and deciles of the scales after each
        step are written there as scalars. It may be that of a SummaryCollector. Default: ``None``, none.
        """
        summary = [] if summary_dir is None else [ScaleSummary(summary_dir, self._history)]
        return [*super().callbacks(*args, **kwargs), *summary]

    def main_callback(self) -> Callback:
        """As of every algorithm; and steps are counted as the optimizer counts them, and a training that is going to be
        too short is refused."""
        return _PhaseCallback(self)

    def after_step(self) -> None:
        """
        Put the scales in their places, and count the step if the optimizer has moved any: it can be called after each
        pass as well. `callbacks` sees to it; a loop of one's own calls it after each step of the optimizer.
        """
        _ = self.applied
        values = {name: parameter.asnumpy() for name, parameter in self._held.items()}
        settled = self._recorded(values).settled(values)
        for name, value in settled.items():
            self._assign(name, value)
        self._history.add((value for name, value in settled.items() if name.endswith(".real_scale")),
                          self._steps_made() if "mixing.step" in self._held else None)

    def _assign(self, name: str, value: Any) -> None:
        if not np.array_equal(self._held[name].asnumpy(), value):
            # Not set_data: in PyNative mode that would cut the parameter off from its optimizer.
            ops.assign(self._held[name], Tensor(value, self._held[name].dtype))

    def _steps_made(self) -> int:
        """How many steps the optimizer has made, as far as blocks take turns; else 0."""
        return int(self._held["mixing.step"].asnumpy()) if "mixing.step" in self._held else 0

    def _count_steps(self, steps: int) -> None:
        """Told that the optimizer has made so many steps, some of which may have moved no scale."""
        if steps > self._steps_made() and "mixing.step" in self._held:
            self._assign("mixing.step", steps)

    def before_training(self, steps: int) -> None:
        """
        Refuse a training of so many steps that does not give every block its turn. `callbacks` sees to it; a loop of
        one's own can call it.

        Raises:
            StateError: If there are too few, those that were made before counted in.
        """
        self.after_step()
        mixing, made = self._recorded({name: item.asnumpy() for name, item in self._held.items()}), self._steps_made()
        if made + steps < mixing.steps:
            turns = mixing.steps // mixing.turn_steps
            shorter = f"set 'turn_steps' to {steps // turns}" if steps >= turns and not made else "lower 'turn_steps'"
            before = f" after {made:,}" if made else ""
            raise StateError(f"For 'SCOP', every block must have had its turn before 'convert', which takes "
                             f"{mixing.steps:,} steps of the optimizer, but this training has {steps:,}{before}: train "
                             f"longer, {shorter}, or set 'mixing' to 'joint'.")

    def _before_evaluation(self) -> None:
        """Have the network of the phase give in evaluation what it would, were it pruned by the scales as they are."""
        values = self._values(self.applied.network, {})
        scales = self._scales(values)
        seen = b"".join(item.tobytes() for found in (scales, self._statistics(values)) for item in found.values())
        gone = self._evaluated[1]
        if seen != self._evaluated[0]:
            gone = self._going(values) if not all((scale == SCALE_INIT).all() for scale in scales.values()) else ()
            self._evaluated = seen, gone
        self._phase.gates.close(gone)

    def _going(self, values: Mapping[str, np.ndarray]) -> Sequence[int]:
        """The channels that would be removed by these values; none where knockoff+ selects nothing, or of no number."""
        if any(np.isnan(scale).any() for scale in self._scales(values).values()):
            return ()
        with suppress(StateError):
            return removed_channels(self.applied.task.grouping,
                                    self._selection(self._evaluation_task(), values).plan).tolist()
        return ()

    def _evaluation_task(self) -> PruningTask:
        """The task, with a target that need not be measured for each evaluation: the MACs of what was measured."""
        task, plan = self.applied.task, self.applied.selection.plan
        if task.config["target_latency"] is None:
            return task
        share = count_macs(shrunk_by(task, plan)) / count_macs(task.graph)
        return replace(task, config={**task.config, "target_latency": None, "target_macs": share})

    def filter_scores(self) -> Dict[str, np.ndarray]:
        """
        The scores of the filters, as they stand.

        Returns:
            dict, name of a layer's weight -> float64, shape (filters,). Higher is more important.

        Raises:
            StateError: Before `apply`.
        """
        return self._scores(self._values(self.applied.network, {}))

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
        self._names = OriginalNames.of(network)
        self._trained = {parameter.name: parameter.requires_grad for parameter in network.get_parameters()}
        inner = copy_network(network)
        for parameter in inner.get_parameters():
            parameter.requires_grad = False
        applied = phase.build(inner)
        fit = [parameter for parameter in applied.get_parameters() if parameter.name not in self._trained
               and not parameter.name.startswith("mixing.") and not parameter.name.endswith(_OF_SCALES)]
        description = {**describe_sampler(phase.sampler, fit), "mixing": phase.mixing.unit,
                       "network": network_digest(network)[:_DIGITS]}
        applied.description = Parameter(Tensor(encoded_description(description)), name=DESCRIPTION, requires_grad=False)
        self._held = {item.name: item for item in applied.get_parameters() if item.name not in self._trained}
        for name in self._held:
            if name.endswith(DRAWS):
                self._assign(name, 0)  # a sampler may have served another phase before
        ms.ms_memory_recycle()
        undecided = self.settings["prune_rate"] == "auto"
        return applied, nothing_removed(task) if undecided else self.choose(task, self.score_filters(task))

    def score_filters(self, task: PruningTask) -> Dict[str, np.ndarray]:
        """Zeros, for the filters that the phase is going to score."""
        return {name: np.zeros(len(item.channels)) for name, item in self._scored(task).items()}

    def _scored(self, task: PruningTask) -> Dict[str, ParameterSlice]:
        return {name: item for name, item in task.filters.items() if name in self._phase.layers}

    def apply_task(self, task: PruningTask) -> nn.Cell:
        """The network of the knockoff phase, which knows whom to ask what it is to give in evaluation."""
        applied = super().apply_task(task)
        applied.before_evaluation = _Weakly(self)
        return applied

    def restore(self, network: nn.Cell, loaded: Mapping[str, np.ndarray]) -> Tuple[nn.Cell, Dict[str, np.ndarray]]:
        """A copy of the original with the phase's weights, and the values of all parameters, the scales among them.

        Of the original: what mixed precision has done to the network of the phase is not wanted in the slim one. What
        processes have summed up of their samples becomes one sum.
        """
        plain, values = self._names.copy(self.applied.task.network), self._values(network, loaded)
        values.update({name: summed(values[name]) for name in sorted(values) if name.endswith(_OF_SCALES[-1])})
        for parameter in plain.get_parameters():
            parameter.requires_grad = self._trained[parameter.name]
            parameter.set_data(Tensor(values[parameter.name], parameter.dtype))
        ms.ms_memory_recycle()
        return plain, values

    def _loaded(self, network: nn.Cell, path: str) -> Mapping[str, np.ndarray]:
        parameters = self.applied.names.parameters(network)
        return read_checkpoint("SCOP", parameters, path, [*filter(_of_schedule, parameters)]) if path else {}

    def _values(self, network: nn.Cell, loaded: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """The parameters of the phase by name, or what was loaded instead, after the optimizer's last step."""
        values = {**self.applied.names.values(network), **loaded}
        if loaded:
            # A checkpoint of another schedule, or none.
            values = {name: value for name, value in values.items() if name in loaded or not _of_schedule(name)}
        mixing = self._recorded(values)
        return {**values, **mixing.settled(values)} if mixing.takes_turns else values

    def _recorded(self, values: Mapping[str, np.ndarray]) -> Mixing:
        unit = description_in(values).get("mixing", self._phase.mixing.unit)
        return self._phase.mixing.recorded(values, unit)

    def _scales(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        return self._phase.scales(self._recorded(values), values)

    def select(self, values: Mapping[str, np.ndarray]) -> Selection:
        """What goes, by the trained scales."""
        return self.reselect(self.applied.task, values)

    def reselect(self, task: PruningTask, values: Mapping[str, np.ndarray]) -> Selection:
        """What would go with another budget, by the trained scales."""
        self._check_trained(values)
        return self._selection(task, values)

    def _selection(self, task: PruningTask, values: Mapping[str, np.ndarray]) -> Selection:
        if self.settings["prune_rate"] != "auto":
            return self.choose(task, self._scores(values))
        importance, counts = unselected_channels(task.grouping, self._statistics(values), task.config["fdr"])
        plan = plan_of_counts(task.grouping, importance, counts, caps_of(task.grouping, task.config["max_rate"]),
                              Widths.of(task.config))
        return Selection(plan, self._scores(values), importance,
                         request_by_counts("prune_rate auto", task.grouping, counts))

    def _check_trained(self, values: Mapping[str, np.ndarray]) -> None:
        scales = self._scales(values)
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
        mixing = self._recorded(values)
        made = int(values["mixing.step"]) if mixing.takes_turns else 0
        if made < mixing.steps:
            raise StateError(f"For 'SCOP', every block must have had its turn before 'convert', which takes "
                             f"{mixing.steps:,} steps of training, but there were {made:,}: train longer, lower "
                             f"'turn_steps', or set 'mixing' to 'joint'. Passes whose gradients are summed up are one.")

    def _gammas(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Weight name -> |gamma| behind each of its filters, where a normalization follows."""
        return {weight: np.abs(gamma.astype(np.float64))
                for weight, gamma in scales_after(self.applied.task.graph, values).items()}

    def _statistics(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """
        Weight name -> importance of its filters by each draw, shape (draws, filters), as the option `score` says.

        ``|gamma| * (s - (1 - s))``, negative where the knockoff does better, is that of the paper and its released
        code; gamma is 1 without one.
        """
        if self.settings["score"] == "fisher":
            return self._squares(values)
        gammas = self._gammas(values) if self.settings["score"] == "gamma" else {}
        return {weight: gammas.get(weight, 1.0) * (2.0 * scale.astype(np.float64) - 1.0)
                for weight, scale in self._scales(values).items()}

    def _squares(self, values: Mapping[str, np.ndarray], half: slice = WHOLE) -> Dict[str, np.ndarray]:
        return self._phase.squared_gradients(self._recorded(values), values, half)

    def _scores(self, values: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        return {weight: rows.mean(axis=0) for weight, rows in self._statistics(values).items()}

    def findings(self, values: Mapping[str, np.ndarray]) -> Findings:
        """What the knockoff phase was, and what became of the scales."""
        correlation = rank_correlation(self._scores(values), self._gammas(values))
        if correlation >= _SAME:
            warnings.warn(f"For 'SCOP', scores must tell more than |gamma| to be of use, but their rank correlation "
                          f"with it is {correlation:.2f}: criterion 'bn_scale' gives the same for nothing.",
                          stacklevel=level_of_user())
        held_out, sampler, mixing = self.settings["held_out"], description_in(values), self._recorded(values)
        for key in ("mixing", "network"):
            sampler.pop(key, None)
        weights = {name: np.moveaxis(values[name], item.axis, 0)
                   for name, item in self._scored(self.applied.task).items()}
        conditions = conditions_of(self.settings["fdr"], held_out, sampler["name"], mixing, self._statistics(values),
                                   weights) if self.settings["prune_rate"] == "auto" else ()
        halves = [self._squares(values, slice(half, half + 1)) for half in (0, 1)]
        stability = rank_correlation(*({name: rows.mean(axis=0) for name, rows in half.items()} for half in halves))
        return findings_of(held_out, sampler, mixing, self._scales(values), correlation, stability, conditions,
                           self._history.rows)

    def unscored(self, task: PruningTask) -> Mapping[str, str]:
        """Groups that the phase has no scales for, and why."""
        return {group.name: self._phase.why_unscored(group) for group in task.grouping
                if not any(item.parameter in self._phase.layers for item in group.filters)}


def _of_schedule(name: str) -> bool:
    """Whether a parameter is there only where blocks take turns, or says what can be told without it."""
    return name.endswith(".frozen_scale") or name.startswith("mixing.") and name != DESCRIPTION


class _Weakly:
    """Calls `_before_evaluation` of an algorithm, which it does not keep alive; copies of a network share it."""

    def __init__(self, algorithm: SCOP):
        self._algorithm = weakref.ref(algorithm)

    def __call__(self) -> None:
        algorithm = self._algorithm()
        if algorithm is not None:
            algorithm._before_evaluation()


class _PhaseCallback(AlgorithmCallback):
    """
    Tells an algorithm how many steps the optimizer has made: also those that moved nothing, at a learning rate of zero
    or where no gradient is.
    """

    def __init__(self, algorithm: SCOP):
        super().__init__(algorithm)
        self._phase, self._before, self._counted_before, self._epochs = algorithm, 0, 0, 0
        self._optimizers: List[nn.Optimizer] = []

    def on_train_begin(self, run_context: Any) -> None:
        super().on_train_begin(run_context)
        told = run_context.original_args()
        roots = [cell for cell in (told.get("train_network"), told.get("optimizer")) if isinstance(cell, nn.Cell)]
        self._optimizers = [cell for root in roots for _, cell in root.cells_and_names()
                            if isinstance(cell, nn.Optimizer)]
        self._before, self._counted_before, self._epochs = self._phase._steps_made(), self._counted(), 0

    def on_train_step_end(self, run_context: Any) -> None:
        super().on_train_step_end(run_context)
        self._phase._count_steps(self._before + self._counted() - self._counted_before)

    def on_train_epoch_end(self, run_context: Any) -> None:
        """Refuse what turns out to be too short, gradients being summed up over several passes."""
        told, made = run_context.original_args(), self._phase._steps_made() - self._before
        self._epochs += 1
        if 2 * made <= told.cur_step_num:
            self._phase.before_training(made * (told.epoch_num - self._epochs) // self._epochs)

    def _counted(self) -> int:
        """The least of what the optimizers have counted: one may be wrapped in another."""
        return min((int(optimizer.global_step.asnumpy()[0]) for optimizer in self._optimizers), default=0)


add_algorithm("scop", SCOP)
