"""`Pruner`: what pruning algorithms have in common. Trace, group, score, plan, slim, verify; a subclass only scores."""
from abc import abstractmethod
from typing import Any, Dict, Mapping, Optional, Tuple

import mindspore as ms
import numpy as np
from mindspore import nn

from golden_stick.base.errors import ArgumentTypeError, SlimError, StateError, TraceError
from golden_stick.base.inputs import as_tensors, describe
from golden_stick.bench.latency import latency_ratio
from golden_stick.bench.widths import WidthAdvice, best_multiple
from golden_stick.cells.networks import OriginalNames
from golden_stick.cells.slim import slim
from golden_stick.cells.trace import find_inputs, trace
from golden_stick.cells.verify import Verification, compare, verify
from golden_stick.cells.wrappers import check_network, masked_network
from golden_stick.comp_algo import CompAlgo
from golden_stick.deploy.checkpoints import read_checkpoint
from golden_stick.graph.cost import count_macs, count_parameters
from golden_stick.graph.groups import Grouping
from golden_stick.graph.ir import Graph
from golden_stick.graph.plan import PruningPlan
from golden_stick.prune.budget import (
    TARGETS,
    BudgetBaseline,
    Budgeted,
    RateRequest,
    check_budget,
    measure,
    plan_for,
    request_by_rate,
    shortfall_reasons,
    shrunk_by,
    trial_of,
)
from golden_stick.prune.options import PRUNER_OPTIONS
from golden_stick.prune.plan import group_importance
from golden_stick.prune.report import Report, check_prunable, layer_reports, notes_on_unreached
from golden_stick.prune.trial import surviving_groups
from golden_stick.recover.statistics import calibrate

__all__ = ["Pruner"]


class Pruner(CompAlgo):
    """
    Base of the pruning algorithms. A subclass prepares the network to train, restores it, and scores filters.

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
    _optional: Tuple[str, ...] = ()  # parameters of the applied network that a checkpoint need not hold

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        super().__init__(config)
        check_budget(type(self).__name__, config or {})
        if any(self._config[key] is not None for key in TARGETS):
            self._config = {**self._config, "prune_rate": None}
        self._network: Optional[nn.Cell] = None
        self._names = OriginalNames({})
        self._inputs: Tuple[ms.Tensor, ...] = ()
        self._original: Optional[nn.Cell] = None
        self._graph: Optional[Graph] = None
        self._grouping: Optional[Grouping] = None
        self._widths: Optional[WidthAdvice] = None
        self._beginning: Optional[BudgetBaseline] = None
        self._budgeted: Optional[Budgeted] = None
        self._importance: Mapping[str, np.ndarray] = {}
        self._unreached: Tuple[str, ...] = ()  # what reports say of parameters that evaluation does not read

    def set_baseline(self, baseline: Optional[BudgetBaseline]) -> None:
        """Let the budget be a fraction of an earlier network, part of which is gone; to be called before `apply`."""
        self._beginning = baseline

    def remaining(self) -> BudgetBaseline:
        """
        What the budget is a fraction of, and how much of it is gone with the plan of `apply`.

        Raises:
            StateError: Before `apply`.
        """
        self._applied()
        return self._first().after(self._grouping, self._planned())

    def _first(self) -> BudgetBaseline:
        return self._beginning or BudgetBaseline(self._original, self._graph, self._grouping, {})

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
        name = type(self).__name__
        if self._network is not None:
            raise StateError(f"For '{name}', 'apply' must be called once, but it was called before: make a new {name}.")
        check_network(name, network)
        notes: Tuple[str, ...] = ()
        if inputs is None:
            inputs = find_inputs(name, network)
            notes = (f"inputs were not given: taken as {describe(inputs)}",)
        tensors = as_tensors(name, inputs)
        graph = trace(network, tensors)
        policies = {key: self._config[key] for key in ("residual", "normalization", "heads")}
        grouping = surviving_groups(name, network, graph, tensors, trial_of(self._resolved_config()), **policies)
        check_prunable(name, grouping)
        self._original, self._inputs, self._graph, self._grouping = network, tensors, graph, grouping
        self._unreached = notes_on_unreached(network, graph)
        applied = self._prepare(network, graph, grouping)
        plan = self._planned()
        self._report = self._make_report("apply", plan, shrunk_by(graph, grouping, plan), None, notes)
        self._network = applied
        self._names = OriginalNames.of(applied)
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
        network = self._check_convert(net_opt, ckpt_path)
        loaded = self._loaded(network, ckpt_path)
        plain, values = self._restore(network, loaded)
        plan = self._final_plan(values)
        smaller = slim(plain, plan)
        # Traced before it is run: a shape that does not fit is then an error of the compiler, not of a kernel.
        graph = self._trace_slim(smaller, self._inputs)
        check = compare if self._grouping.inexact else verify
        verification = check(masked_network(plain, plan), smaller, self._inputs)
        notes = self._notes(values) + tuple(f"not equal to the masked network: channels of {place} were removed"
                                            for place in self._grouping.inexact)
        if calibration_data is not None:
            count = calibrate(smaller, calibration_data, len(self._inputs))
            notes += (f"statistics of normalizations re-estimated on {count} batches",)
        smaller.set_train(False)
        self._report = self._make_report("convert", plan, graph, verification, notes)
        return smaller

    # What a subclass says -------------------------------------------------------------------------------------------

    @abstractmethod
    def _prepare(self, network: nn.Cell, graph: Graph, grouping: Grouping) -> nn.Cell:
        """The network to train, made from a copy of `network`."""

    @abstractmethod
    def _restore(self, applied: nn.Cell, loaded: Mapping[str, np.ndarray]) -> Tuple[nn.Cell, Dict[str, np.ndarray]]:
        """A plain copy of the trained network, and every parameter's value by name, `loaded` ones first."""

    @abstractmethod
    def _planned(self) -> PruningPlan:
        """The plan, as far as it stands after `apply`."""

    @abstractmethod
    def _final_plan(self, values: Mapping[str, np.ndarray]) -> PruningPlan:
        """The plan that `convert` carries out."""

    def _notes(self, values: Mapping[str, np.ndarray]) -> Tuple[str, ...]:
        """What the report should say besides."""
        return ()

    def _unscored(self) -> Mapping[str, str]:
        """Names of groups that get no scores, and why."""
        return {}

    # What all share -------------------------------------------------------------------------------------------------

    def _plan(self, grouping: Grouping, scores: Mapping[str, np.ndarray]) -> PruningPlan:
        """A plan from scores by weight name."""
        found = {group.name: group_importance(group, scores, self._config["reduction"], self._normalizer())
                 for group in grouping}
        self._importance = {name: importance for name, importance in found.items() if importance is not None}
        self._budgeted = plan_for(self._graph, grouping, self._importance, self._resolved_config(), self._latency_of,
                                  self._beginning)
        return self._budgeted.plan

    def _latency_of(self, plan: PruningPlan) -> float:
        """Latency with a plan carried out, as a fraction of the original's, measured here and now."""
        return latency_ratio(slim(self._original, plan), self._first().network, self._inputs)

    def _rate_request(self) -> Optional[RateRequest]:
        """How many channels a rate asks for; None where there is none, or it is not known yet."""
        return request_by_rate(self._first(), self._config) if self._config["prune_rate"] is not None else None

    def _resolved_config(self) -> Mapping[str, Any]:
        """The configuration with 'auto' resolved, once, so that apply and convert cannot differ."""
        if self._config["round_to"] != "auto":
            return self._config
        self._widths = self._widths or best_multiple()
        return {**self._config, "round_to": self._widths.multiple}

    def _normalizer(self) -> str:
        """What the scores of a layer are divided by."""
        return "mean" if self._config["normalizer"] == "auto" else self._config["normalizer"]

    def _trace_slim(self, smaller: nn.Cell, tensors: Tuple[ms.Tensor, ...]) -> Graph:
        try:
            return trace(smaller, tensors)
        except TraceError as error:
            raise SlimError(
                f"For '{type(self).__name__}', the slim network must compile, but a number in the network's code does "
                f"not fit its new widths. Take it from the input's shape instead. MindSpore says: {error}"
            ) from error

    def _applied(self) -> Tuple[nn.Cell, Tuple[ms.Tensor, ...]]:
        if self._network is None:
            raise StateError(f"For '{type(self).__name__}', 'apply' must be called first, but it was not.")
        return self._network, self._inputs

    def _loaded(self, network: nn.Cell, path: str) -> Mapping[str, np.ndarray]:
        if not path:
            return {}
        return read_checkpoint(type(self).__name__, self._names.parameters(network), path, self._optional)

    def _check_convert(self, net_opt: nn.Cell, ckpt_path: str) -> nn.Cell:
        name = type(self).__name__
        if not isinstance(net_opt, nn.Cell):
            raise ArgumentTypeError(f"For '{name}', 'net_opt' must be a Cell, but got {type(net_opt).__name__}.")
        if not isinstance(ckpt_path, str):
            raise ArgumentTypeError(f"For '{name}', 'ckpt_path' must be a str, but got {type(ckpt_path).__name__}.")
        if self._network is None:
            raise StateError(f"For '{name}', 'apply' must be called before 'convert', but it was not.")
        if net_opt is not self._network:
            raise StateError(f"For '{name}', 'net_opt' must be the network that 'apply' returned, but got another one.")
        return net_opt

    def _make_report(self, step: str, plan: PruningPlan, graph: Graph, verification: Optional[Verification],
                     notes: Tuple[str, ...]) -> Report:
        targets = measure(self._config, self._first().graph, graph, self._budgeted)
        request, remaining = self._rate_request(), self._first().after(self._grouping, plan)
        if request is not None:
            targets += (request.target(remaining),)
            notes += shortfall_reasons(request, remaining, self._grouping, self._importance, self._resolved_config(),
                                       plan)
        return Report(
            algorithm=type(self).__name__, config=self.config, step=step, inputs=describe(self._inputs),
            layers=layer_reports(self._grouping, plan, self._unscored()), without_rule=self._grouping.without_rule,
            parameters_before=count_parameters(self._graph), parameters_after=count_parameters(graph),
            macs_before=count_macs(self._graph), macs_after=count_macs(graph),
            largest_difference=verification.largest_difference if verification else None,
            output_scale=verification.output_scale if verification else None,
            notes=notes + self._unreached + ((f"round_to 'auto': {self._widths}",) if self._widths else ()),
            targets=targets, control=self._control(),
        )
