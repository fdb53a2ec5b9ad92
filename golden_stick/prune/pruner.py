"""`Pruner`: what pruning algorithms have in common. Trace, group, score, plan, slim, verify; a subclass only scores."""
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.errors import ArgumentTypeError, SlimError, StateError, TraceError
from golden_stick.base.inputs import as_tensors, describe
from golden_stick.bench.latency import latency_ratio
from golden_stick.bench.widths import best_multiple
from golden_stick.cells.networks import OriginalNames
from golden_stick.cells.slim import slim
from golden_stick.cells.trace import find_inputs, trace
from golden_stick.cells.verify import Verification, compare, verify
from golden_stick.cells.wrappers import TemporaryCell, check_network, masked_network, unwrap_cells
from golden_stick.comp_algo import Applied, CompAlgo
from golden_stick.deploy.checkpoints import read_checkpoint
from golden_stick.graph.cost import count_macs, count_parameters
from golden_stick.graph.ir import Graph
from golden_stick.graph.plan import PruningPlan
from golden_stick.prune.budget import (
    TARGETS,
    BudgetBaseline,
    PruningTask,
    Selection,
    check_budget,
    choose,
    outcome,
    shrunk_by,
)
from golden_stick.prune.options import PRUNER_OPTIONS
from golden_stick.prune.report import Report, check_prunable, layer_reports, notes_on_unreached
from golden_stick.prune.trial import surviving_groups
from golden_stick.recover.statistics import calibrate

__all__ = ["AppliedPruning", "Findings", "Pruner"]


@dataclass(frozen=True, eq=False)
class AppliedPruning(Applied):
    """
    What `apply` leaves for `convert`.

    Args:
        network (nn.Cell): What `apply` returned.
        inputs (tuple[Tensor]): What the network was traced with.
        task (PruningTask): What is to be pruned, and by how much.
        selection (Selection): What was chosen at `apply`.
        names (OriginalNames): Of the parameters of `network`.
    """

    task: PruningTask
    selection: Selection
    names: OriginalNames


@dataclass(frozen=True)
class Findings:
    """
    What an algorithm has to say of its own, for a report.

    Args:
        notes (tuple[str]): In sentences. Default: none.
        control (Mapping): What a scientific control was and what it found, as plain data. Default: there was none.
    """

    notes: Tuple[str, ...] = ()
    control: Mapping[str, Any] = field(default_factory=dict)


class Pruner(CompAlgo):
    """
    Base of the pruning algorithms. A subclass scores filters, by `score_filters`; that is all it must do.

    One that trains a network of its own kind before it can score also has `prepare`, which makes that network,
    `restore`, which makes it a plain one again, and `select`, which chooses at `convert`. `unscored` and `findings` say
    more in the report.

    Args:
        config (dict): Keys of every pruner:

            - **prune_rate** (Union[float, dict]) - Fraction of each group's removable channels to remove, in [0, 1);
              or pattern of layer paths -> fraction, such as ``{"layer1.*": 0.2, "*": 0.4}``. The first pattern that
              fits any layer of a group is the group's; groups that none fits stay. Default: 0.4.
            - **target_macs**, **target_params**, **target_latency** (float) - Instead of a rate: the fraction of the
              original MACs, parameters or latency that is left, in (0, 1). The least rate that meets it is found; the
              report says what was reached. Latency is measured on this machine, of graphs compiled for `inputs`.
              Default: none.
            - **ranking** (str) - Which channels are ranked together: ``'local'``, those of a group; ``'global'``, all;
              ``'isomorphic'``, those of groups of the same topology (`Fang et al. 2024
              <https://arxiv.org/abs/2407.04616>`_). Default: ``'local'``.
            - **max_rate** (Union[float, dict]) - No group loses more than this fraction, in [0, 1], whatever the
              ranking; or pattern -> fraction. Default: 1.0.
            - **reduction** (str) - How the scores of the filters that make a channel become one: ``'mean'``,
              ``'sum'``, ``'max'`` or ``'norm'``, of scores that are not negative. Default: ``'mean'``.
            - **normalizer** (str) - What a layer's scores are divided by before layers are compared: their ``'mean'``,
              ``'sum'`` or ``'max'`` magnitude, or ``'none'``. Default: ``'auto'``, what suits the criterion.
            - **residual** (str) - What becomes of feature maps that are added up: ``'group'``, ``'scatter'`` or
              ``'keep'``, see :func:`golden_stick.find_groups`. Default: ``'group'``.
            - **normalization** (str) - What becomes of channels that a layer or group normalization takes mean and
              variance of: ``'exact'``, they stay; ``'approximate'``, they can go, and the report says by how much the
              slim network differs. Default: ``'exact'``.
            - **heads** (str) - What an attention loses: ``'width'``, the same positions of every head, or ``'whole'``,
              heads. Where the code forbids the one, the other is taken. Default: ``'width'``.
            - **round_to** (Union[int, str]) - Layers that shrink keep a multiple of so many filters; ``'auto'``: of the
              number that this machine likes, see :func:`golden_stick.bench.widths.best_multiple`. Default: 1.
            - **round** (str) - To which multiple widths go: ``'up'``, ``'down'`` or ``'nearest'``. Default: ``'up'``.
            - **min_width** (int) - Every layer keeps so many filters, or all that it has. Default: 1.
    """

    options = PRUNER_OPTIONS
    applied: AppliedPruning
    report: Report

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        super().__init__(config)
        check_budget(type(self).__name__, config or {})
        if any(self.settings[key] is not None for key in TARGETS):
            self.settings = {**self.settings, "prune_rate": None}
        self._baseline: Optional[BudgetBaseline] = None

    def set_baseline(self, baseline: Optional[BudgetBaseline]) -> None:
        """Let the budget be a fraction of an earlier network, part of which is gone; to be called before `apply`."""
        self._baseline = baseline

    def remaining(self) -> BudgetBaseline:
        """
        What the budget is a fraction of, and how much of it is gone with the plan of `apply`.

        Raises:
            StateError: Before `apply`.
        """
        task = self.applied.task
        return task.baseline.after(task.grouping, self.applied.selection.plan)

    def apply(self, network: nn.Cell, inputs: Any = None) -> nn.Cell:
        """
        The network to train, made from a copy: `network` itself is not changed.

        Before anything is trained, the network is slimmed once for trial, so that one that cannot be is refused here.

        Args:
            network (nn.Cell): The trained network.
            inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only
                argument. Default: ``None``: what `network.set_inputs` was given, or else the first usual image size
                that the network compiles for; the report says which.

        Returns:
            nn.Cell.

        Raises:
            ArgumentTypeError: If `network` is not a Cell, or `inputs` neither Tensors nor a shape.
            ArgumentError: If `inputs` is left out and cannot be found out, or a parameter of `network` holds NaN.
            NothingToPruneError: If no channel of the network can be removed.
            StateError: If `apply` was called before, or `network` is itself the result of an `apply`.
            TraceError: If MindSpore cannot compile the network for these inputs.
            SlimError: If the network would not survive being slimmed, for example by a number in its code.
        """
        return self.apply_task(self.find_task(network, inputs))

    def find_task(self, network: nn.Cell, inputs: Any, data: Any = None, loss: Optional[Callable] = None
                  ) -> PruningTask:
        """
        What is to be pruned, after slimming for trial: the first half of `apply`.

        Args:
            network (nn.Cell): As of `apply`.
            inputs (Union[Tensor, tuple[Tensor], tuple[int]]): As of `apply`.
            data (Iterable): What an `apply` that takes data was given. Default: ``None``.
            loss (Callable): What an `apply` that takes a loss was given. Default: ``None``.

        Returns:
            PruningTask.
        """
        self.refuse_second_apply()
        name, notes, config = type(self).__name__, [], self.settings
        check_network(name, network)
        if inputs is None:
            inputs = find_inputs(name, network)
            notes.append(f"inputs were not given: taken as {describe(inputs)}")
        tensors = as_tensors(name, inputs)
        graph = trace(network, tensors)
        if config["round_to"] == "auto":
            # Measured once, so that `apply` and `convert` cannot differ.
            widths = best_multiple()
            config = {**config, "round_to": widths.multiple}
            notes.append(f"round_to 'auto': {widths}")
        grouping = surviving_groups(name, network, graph, tensors, config)
        check_prunable(name, grouping)
        notes.extend(notes_on_unreached(network, graph))
        return PruningTask(network, tensors, graph, grouping, config,
                           self._baseline or BudgetBaseline(network, graph, grouping), tuple(notes), data, loss)

    def apply_task(self, task: PruningTask) -> nn.Cell:
        """The network to train: the second half of `apply`."""
        applied, selection = self.prepare(task)
        self.report = self._make_report("apply", task, selection, shrunk_by(task, selection.plan))
        self.applied = AppliedPruning(applied, task.inputs, task, selection, OriginalNames.of(applied))
        return applied

    def convert(self, net_opt: nn.Cell, ckpt_path: str = "", calibration_data: Any = None) -> nn.Cell:
        """
        The slim network, proven equal to the masked one.

        Args:
            net_opt (nn.Cell): The network that `apply` returned, trained. It is not changed.
            ckpt_path (str): A checkpoint of it, whose values are used. Default: ``""``, those `net_opt` has.
            calibration_data (Iterable): Batches of training data, inputs first, on which the statistics of batch
                normalizations are re-estimated after slimming. Default: ``None``, they stay as they are.

        Returns:
            nn.Cell, of the class of the original network.

        Raises:
            ArgumentTypeError: If `net_opt` is not a Cell or `ckpt_path` not a str.
            StateError: If `apply` was not called, or `net_opt` is not what it returned.
            CheckpointError: If the checkpoint cannot be read or belongs to another network.
            SlimError: If the network does not survive being slimmed.
            VerifyError: If the slim network gives other outputs than the masked one.
        """
        self._check_convert(net_opt, ckpt_path)
        task = self.applied.task
        plain, values = self.restore(net_opt, self._loaded(net_opt, ckpt_path))
        selection = self.select(values)
        smaller = slim(plain, selection.plan)
        # Traced before it is run: a shape that does not fit is then an error of the compiler, not of a kernel.
        graph = self._trace_slim(smaller, task.inputs)
        check = compare if task.grouping.inexact else verify
        verification = check(masked_network(plain, selection.plan), smaller, task.inputs)
        findings = self.findings(values)
        notes = tuple(f"not equal to the masked network: channels of {place} were removed"
                      for place in task.grouping.inexact)
        if calibration_data is not None:
            count = calibrate(smaller, calibration_data, len(task.inputs))
            notes += (f"statistics of normalizations re-estimated on {count} batches",)
        smaller.set_train(False)
        self.report = self._make_report("convert", task, selection, graph, verification,
                                        replace(findings, notes=findings.notes + notes))
        return smaller

    # What a subclass says -------------------------------------------------------------------------------------------

    @abstractmethod
    def score_filters(self, task: PruningTask) -> Mapping[str, np.ndarray]:
        """
        The scores by which filters are chosen at `apply`.

        Args:
            task (PruningTask): What is to be pruned. `task.filter_weights()` has the weights of all filters.

        Returns:
            dict, weight name -> float, shape (filters,), for the weights in `task.filters`. Higher means keep. Layers
            without an entry have no say, and stay if none of those that they share channels with has scores.
        """

    def prepare(self, task: PruningTask) -> Tuple[nn.Cell, Selection]:
        """
        The network that `apply` returns, made from a copy of `task.network`; and what is chosen by then.

        Here: the masked network, by the scores of `score_filters`.
        """
        selection = self.choose(task, self.score_filters(task))
        return masked_network(task.network, selection.plan), selection

    def restore(self, network: nn.Cell, loaded: Mapping[str, np.ndarray]) -> Tuple[nn.Cell, Dict[str, np.ndarray]]:
        """
        A plain copy of what `apply` returned, after its training; and the values of all parameters by name.

        Here: the Cells that `apply` put in are taken out.

        Args:
            network (nn.Cell): What `apply` returned.
            loaded (Mapping): Parameter name -> value, of a checkpoint: these go before those of `network`.
        """
        plain = self.applied.names.copy(network)
        unwrap_cells(plain, TemporaryCell)
        for parameter in plain.get_parameters():
            if parameter.name in loaded:
                parameter.set_data(Tensor(loaded[parameter.name], parameter.dtype))
        ms.ms_memory_recycle()
        return plain, {parameter.name: parameter.asnumpy() for parameter in plain.get_parameters()}

    def select(self, values: Mapping[str, np.ndarray]) -> Selection:
        """What `convert` carries out, by the trained values that `restore` gave. Here: what was chosen at `apply`."""
        return self.applied.selection

    def unscored(self, task: PruningTask) -> Mapping[str, str]:
        """Names of groups that get no scores, and why. Here: none."""
        return {}

    def findings(self, values: Mapping[str, np.ndarray]) -> Findings:
        """What the report of `convert` says besides, by the trained values that `restore` gave. Here: nothing."""
        return Findings()

    @property
    def normalizer(self) -> str:
        """What the scores of a layer are divided by, as configured: of `golden_stick.criteria.NORMALIZERS`."""
        return "mean" if self.settings["normalizer"] == "auto" else self.settings["normalizer"]

    # What all share -------------------------------------------------------------------------------------------------

    def choose(self, task: PruningTask, scores: Mapping[str, np.ndarray]) -> Selection:
        """What is to go within the budget of a task, by scores as of `score_filters`."""
        def latency(plan: PruningPlan) -> float:
            return latency_ratio(slim(task.network, plan), task.baseline.network, task.inputs)

        return choose(task, scores, self.normalizer, latency)

    def _trace_slim(self, smaller: nn.Cell, tensors: Tuple[Tensor, ...]) -> Graph:
        try:
            return trace(smaller, tensors)
        except TraceError as error:
            raise SlimError(
                f"For '{type(self).__name__}', the slim network must compile, but a number in the network's code does "
                f"not fit its new widths. Take it from the input's shape instead. MindSpore says: {error}"
            ) from error

    def _loaded(self, network: nn.Cell, path: str) -> Mapping[str, np.ndarray]:
        if not path:
            return {}
        return read_checkpoint(type(self).__name__, self.applied.names.parameters(network), path)

    def _check_convert(self, net_opt: nn.Cell, ckpt_path: str) -> None:
        name = type(self).__name__
        if not isinstance(net_opt, nn.Cell):
            raise ArgumentTypeError(f"For '{name}', 'net_opt' must be a Cell, but got {type(net_opt).__name__}.")
        if not isinstance(ckpt_path, str):
            raise ArgumentTypeError(f"For '{name}', 'ckpt_path' must be a str, but got {type(ckpt_path).__name__}.")
        if not self.is_applied:
            raise StateError(f"For '{name}', 'apply' must be called before 'convert', but it was not.")
        if net_opt is not self.applied.network:
            raise StateError(f"For '{name}', 'net_opt' must be the network that 'apply' returned, but got another one.")

    def _make_report(self, step: str, task: PruningTask, selection: Selection, graph: Graph,
                     verification: Optional[Verification] = None, findings: Optional[Findings] = None) -> Report:
        findings = findings or Findings()
        targets, shortfall = outcome(task, selection, graph)
        return Report(
            algorithm=type(self).__name__, config=self.config, step=step, inputs=describe(task.inputs),
            layers=layer_reports(task.grouping, selection.plan, self.unscored(task)),
            without_rule=task.grouping.without_rule,
            parameters_before=count_parameters(task.graph), parameters_after=count_parameters(graph),
            macs_before=count_macs(task.graph), macs_after=count_macs(graph),
            largest_difference=verification.largest_difference if verification else None,
            output_scale=verification.output_scale if verification else None,
            notes=findings.notes + shortfall + task.notes, targets=targets, control=findings.control,
        )
