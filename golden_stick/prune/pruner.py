"""`Pruner`: what pruning algorithms have in common. Trace, group, score, plan, slim, verify; a subclass only scores."""
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, Dict, Iterable, Mapping, Optional, Sequence, Tuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from golden_stick.base.config import OneOf, check_value, in_own_name, with_options
from golden_stick.base.devices import from_first
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, VerifyError
from golden_stick.base.inputs import as_tensors, describe, leading_inputs, progress
from golden_stick.bench.latency import latency_ratio
from golden_stick.bench.widths import best_multiple
from golden_stick.cells.slim import Verification, compare, recipe_of, slim, verify
from golden_stick.cells.trace import find_inputs, trace_for
from golden_stick.cells.wrappers import (
    PLAN,
    OriginalNames,
    TemporaryCell,
    copy_network,
    decoded,
    encoded,
    evaluate,
    masked_network,
    unwrap_cells,
)
from golden_stick.comp_algo import (
    Applied,
    CompAlgo,
    check_network,
    refuse_apart,
    refuse_trained_apart,
    warn_of_optimizers,
)
from golden_stick.deploy.checkpoints import read_checkpoint
from golden_stick.deploy.slim_file import Reconstruction
from golden_stick.graph.ir import Graph
from golden_stick.graph.plan import PruningPlan, count_macs, count_parameters, untouched_by
from golden_stick.prune.budget import (
    BUDGETS,
    BudgetBaseline,
    PruningTask,
    Selection,
    check_budget,
    choose,
    counted,
    macs_left,
    most_removed,
    outcome,
    shrunk_by,
)
from golden_stick.prune.drop import Evaluate, checked_evaluate, score_of, smallest_within, trusted_score
from golden_stick.prune.options import PRUNER_OPTIONS, RECOVERIES
from golden_stick.prune.report import (
    Report,
    check_prunable,
    layer_reports,
    notes_on_heads,
    notes_on_unreached,
    notes_on_widths,
    refuse_inputs,
    refuse_random,
    score_ranges,
)
from golden_stick.prune.trial import surviving_groups, trace_slim, with_hidden
from golden_stick.recover.reconstruct import solved
from golden_stick.recover.statistics import named_batch, reestimate

__all__ = ["AppliedPruning", "Findings", "Pruner"]


@dataclass(frozen=True, eq=False)
class AppliedPruning(Applied):
    """What `apply` leaves for `convert`."""

    task: PruningTask
    selection: Selection  # what was chosen by then
    names: OriginalNames  # of the parameters of `network`


@dataclass(frozen=True)
class Findings:
    """What an algorithm has to say of its own, for a report."""

    notes: Tuple[str, ...] = ()  # in sentences
    control: Mapping[str, Any] = field(default_factory=dict)  # what a scientific control was and found, as plain data


@dataclass(frozen=True, eq=False)
class _Found:
    """What a search chose, and the slim network after its recovery, with what is to be said of that."""

    selection: Selection
    recovered: Tuple[nn.Cell, Tuple[str, ...]]


@with_options
class Pruner(CompAlgo):
    """
    Base of the pruning algorithms. A subclass scores filters, by `score_filters`; that is all it must do.

    One that trains a network of its own kind before it can score also has `prepare`, which makes that network,
    `restore`, which makes it a plain one again, and `select`, which chooses at `convert`. `unscored` and `findings` say
    more in the report.

    Args:
        config (dict): Keys of every pruner:

            {options}
    """

    options = PRUNER_OPTIONS
    applied: AppliedPruning
    report: Report
    #: Whether the weights of the network to prune stay as they are while what `apply` returns is trained.
    weights_rest = False

    def __init__(self, config: Optional[Mapping[str, Any]] = None):
        super().__init__(config)
        check_budget(type(self).__name__, config or {})
        if any(self.settings[key] is not None for key in BUDGETS[1:]):
            self.settings = {**self.settings, "prune_rate": None}

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
            StateError: If `apply` was called before, `network` is itself the result of an `apply`, or it, or what goes,
                is not the same in all processes.
            TraceError: If MindSpore cannot compile the network for these inputs.
            SlimError: If the network would not survive being slimmed, for example by a number in its code.
        """
        return self.apply_task(self.find_task(network, inputs))

    @in_own_name
    def find_task(self, network: nn.Cell, inputs: Any) -> PruningTask:
        """
        What is to be pruned, after slimming for trial: the first half of `apply`. Whoever knows more, such as data, a
        plan, or an earlier network whose budget counts, puts it into the task for `apply_task`.
        """
        self.refuse_second_apply()
        name, notes, config = type(self).__name__, [], self.settings
        check_network(name, network)
        given = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        noise = not any(isinstance(item, Tensor) for item in given)
        if inputs is None:
            inputs = find_inputs(name, network)
            notes.append(f"inputs were not given: taken as {describe(inputs)}")
        tensors = as_tensors(name, inputs)
        graph = trace_for(name, network, tensors)
        refuse_random(name, network, graph, tensors)
        if config["round_to"] == "auto":
            # Measured once, so that `apply` and `convert` cannot differ.
            widths = best_multiple(config["runtime"])
            config = {**config, "round_to": from_first(widths.multiple)}
            notes.append(f"round_to 'auto': {widths}")
        whole = with_hidden(name, network, tensors, graph)
        grouping, compiled = surviving_groups(name, network, whole, tensors, config)
        check_prunable(name, grouping)
        notes.extend(notes_on_heads(grouping, config["heads"]) + notes_on_unreached(network, whole))
        return PruningTask(network, tensors, graph, grouping, config, BudgetBaseline(network, graph, grouping),
                           tuple(notes), noise=noise, compiled=compiled)

    @in_own_name
    def apply_task(self, task: PruningTask) -> nn.Cell:
        """The network to train: the second half of `apply`."""
        applied, selection = self.prepare(task)
        self._refuse_differing_plans(selection.plan)
        self.report = self._make_report("apply", task, selection, shrunk_by(task, selection.plan), {}, Findings())
        self.applied = AppliedPruning(applied, task.inputs, task, selection, OriginalNames.of(applied))
        return applied

    @in_own_name
    def convert(self, net_opt: nn.Cell, ckpt_path: str = "", calibration_data: Any = None,
                recovery: Optional[str] = None, evaluate: Optional[Evaluate] = None) -> nn.Cell:
        """
        The slim network, checked against the masked one: both must give the same for a batch of noise (or the inputs
        that `apply` was given), and for a batch of the calibration data where there are any. Recovery follows.

        With the budget `max_drop`, about six networks are made, recovered and evaluated, to find the smallest one
        within it, to a 64th of the MACs: the report says what each gave. `apply` then masks nothing.

        Args:
            net_opt (nn.Cell): The network that `apply` returned, trained. It is not changed.
            ckpt_path (str): A checkpoint of it, whose values are used. Default: ``""``, those `net_opt` has.
            calibration_data (Iterable): Batches of training data, inputs first, for `recovery`; labels are not read.
                Default: ``None``.
            recovery (str): What follows slimming. ``'weights'``: the layers are solved anew, so that they give what
                they gave in the original: :func:`golden_stick.reconstruct`. ``'statistics'``: the statistics of batch
                normalizations are re-estimated. ``'none'``. Default: ``None``, which is ``'weights'`` where there are
                calibration data, but ``'statistics'`` where the weights were trained after `apply`, and ``'none'``
                without data.
            evaluate (Callable): With the budget `max_drop`: takes a network, in evaluation, and returns a number, the
                higher the better, on validation data: neither test data nor those of calibration. Default: ``None``.

        Returns:
            nn.Cell, of the class of the original network.

        Raises:
            ArgumentTypeError: If `net_opt` is not a Cell or `ckpt_path` not a str, or `evaluate` cannot be called or
                gives no number.
            ArgumentError: If `recovery` is none of these, needs calibration data and there are none, or is
                ``'weights'`` where the weights were trained after `apply`; if the data hold too few samples; if
                `evaluate` is there without the budget `max_drop`, or the other way round, changes the network or gives
                another number for the same one; or if no network that was tried is within the drop.
            StateError: If `apply` was not called, `net_opt` is not what it returned, or it, or what goes, is not the
                same in all processes: each must call `convert`.
            CheckpointError: If the checkpoint cannot be read or belongs to another network.
            SlimError: If the network does not survive being slimmed.
            VerifyError: If the slim network gives other outputs than the masked one.
        """
        self._check_convert(net_opt, ckpt_path, calibration_data, recovery, evaluate)
        task, found = self.applied.task, None
        plain, values = self.restore(net_opt, self._loaded(net_opt, ckpt_path))
        refuse_trained_apart(type(self).__name__, values)
        if evaluate is not None:
            if calibration_data is not None:
                calibration_data = list(leading_inputs(type(self).__name__, calibration_data, len(task.inputs)))
            found = self._search(plain, values, calibration_data, recovery, evaluate)
        selection = found.selection if found else self.select(values)
        self._refuse_differing_plans(selection.plan)
        with progress("slimming"):
            smaller = slim(plain, selection.plan)
        # Compiled before it is run: a shape that does not fit is then an error of the compiler, not of a kernel.
        graph = task.compiled if task.compiled and _is_of(smaller, task.compiled) else trace_slim(
            type(self).__name__, smaller, task.inputs)
        batches = iter(()) if calibration_data is None else leading_inputs(
            type(self).__name__, calibration_data, len(task.inputs))
        first = tuple(islice(batches, 1))
        checked = self._check(task, masked_network(plain, selection.plan), smaller, first)
        findings = self.findings(values)
        notes = tuple(f"not equal to the masked network: channels of {place} were removed"
                      for place in task.grouping.inexact)
        if calibration_data is not None:
            smaller, more = found.recovered if found else self._recovered(smaller, plain, chain(first, batches),
                                                                          recovery)
            notes += more
        smaller.set_train(False)
        report = self._make_report("convert", task, selection, graph, checked,
                                   replace(findings, notes=findings.notes + notes))
        last = recipe_of(smaller).steps[-1]
        self.report = replace(report, reconstruction=last if isinstance(last, Reconstruction) else None)
        names = {parameter.name for parameter in task.network.get_parameters()}
        warn_of_optimizers(type(self).__name__, (
            *task.network.get_parameters(), *(item for item in net_opt.get_parameters() if item.name in names)))
        return smaller

    def _search(self, plain: nn.Cell, values: Mapping[str, np.ndarray], batches: Any, recovery: Optional[str],
                measure: Evaluate) -> "_Found":
        """The smallest network within the drop, by the values that `restore` gave."""
        name, task = type(self).__name__, self.applied.task
        least = counted(task, "target_macs", self.reselect(most_removed(task), values).plan)

        def attempt(share: float) -> Tuple[float, float, _Found]:
            selection = self.reselect(macs_left(task, share), values)
            smaller = slim(plain, selection.plan)
            made = (smaller, ()) if batches is None else self._recovered(smaller, plain, batches, recovery)
            left = counted(task, "target_macs", selection.plan)
            return left, score_of(name, measure, made[0]), _Found(selection, made)

        base = trusted_score(name, measure, plain)
        target, found = smallest_within(name, self.settings["max_drop"], base, least, attempt)
        return replace(found, selection=replace(found.selection, drop=target))

    @progress("recovering")
    def _recovered(self, smaller: nn.Cell, plain: nn.Cell, batches: Iterable[Tuple[Tensor, ...]],
                   recovery: Optional[str]) -> Tuple[nn.Cell, Tuple[str, ...]]:
        """The slim network after its recovery, and what is to be said of that; `plain` is what it was made of."""
        name = type(self).__name__
        notes: Tuple[str, ...] = ()
        if recovery in (None, "weights"):
            original = plain if self.weights_rest else _untrained(plain, self.applied.task.network)
            if original is not None:
                return solved(name, "calibration_data", smaller, original, batches), ()
            if recovery:
                raise ArgumentError(f"For '{name}', 'recovery' must be 'statistics' or 'none' where the weights were "
                                    f"trained after 'apply', but got 'weights', which would undo that.")
            recovery, notes = "statistics", ("layers are not reconstructed: their weights were trained after 'apply'",)
        if recovery == "statistics":
            count = reestimate(name, "calibration_data", smaller, batches)
            notes += (f"statistics of normalizations re-estimated on {count} batches",)
        return smaller, notes

    @progress("checking the slim network")
    def _check(self, task: PruningTask, masked: nn.Cell, smaller: nn.Cell, batches: Sequence[Tuple[Tensor, ...]]
               ) -> Mapping[str, Verification]:
        """What the two networks were compared on -> how far they are apart."""
        check = compare if task.grouping.inexact else verify
        kind = "a batch of noise" if task.noise else "the inputs given"
        try:
            checked = {f"{kind} {describe(task.inputs)}": check(masked, smaller, task.inputs)}
        except VerifyError:
            refuse_inputs(type(self).__name__, task.network, task.inputs)
            raise
        for batch in batches:
            with named_batch(type(self).__name__, batch):
                evaluate(smaller, batch)
            checked[f"a batch of the calibration data {describe(batch)}"] = check(masked, smaller, batch)
        return checked

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
        if task.plan is None:
            selection = self.choose(task, self.score_filters(task))
        else:
            shrunk = {axis.parameter for axis in task.plan.axes}
            selection = Selection(replace(task.plan, untouched=untouched_by(task.grouping, shrunk)))
        masked = masked_network(task.network, selection.plan)
        # Checkpoints of the masked network tell how it was masked: its other parameters are those of the original. Why
        # others stay names lines of code, and must not make checkpoints differ that are alike.
        masked.pruning_plan = Parameter(Tensor(encoded({"algorithm": type(self).__name__, "config": self.config,
                                                        "plan": replace(selection.plan, untouched=()).to_dict()})),
                                        name=PLAN, requires_grad=False)
        return masked, selection

    def restore(self, network: nn.Cell, loaded: Mapping[str, np.ndarray]) -> Tuple[nn.Cell, Dict[str, np.ndarray]]:
        """
        A plain copy of what `apply` returned, after its training; and the values of all parameters by name. Values that
        were `loaded` from a checkpoint go before those of `network`. Here: the Cells that `apply` put in are taken out.
        """
        plain = self.applied.names.copy(network)
        if hasattr(plain, "pruning_plan"):
            del plain.pruning_plan
        unwrap_cells(plain, TemporaryCell)
        for parameter in plain.get_parameters():
            if parameter.name in loaded:
                parameter.set_data(Tensor(loaded[parameter.name], parameter.dtype))
        ms.ms_memory_recycle()
        return plain, {parameter.name: parameter.asnumpy() for parameter in plain.get_parameters()}

    def select(self, values: Mapping[str, np.ndarray]) -> Selection:
        """What `convert` carries out, by the trained values that `restore` gave. Here: what was chosen at `apply`."""
        return self.applied.selection

    def reselect(self, task: PruningTask, values: Mapping[str, np.ndarray]) -> Selection:
        """What `convert` would carry out with another budget. Here: by the scores of `apply`."""
        return self.choose(task, self.applied.selection.scores)

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

    @progress("choosing channels")
    def choose(self, task: PruningTask, scores: Mapping[str, np.ndarray]) -> Selection:
        """What is to go within the budget of a task, by scores as of `score_filters`."""
        def latency(plan: PruningPlan) -> float:
            return from_first(latency_ratio(slim(task.network, plan), task.baseline.network, task.inputs, owner=name,
                                            runtime=task.config["runtime"] or "mindspore"))

        name = type(self).__name__
        return choose(name, task, scores, self.normalizer, latency)

    def _refuse_differing_plans(self, plan: PruningPlan) -> None:
        refuse_apart(type(self).__name__, "what is pruned", (
            (f"axis {item.axis} of {item.parameter}", np.array(item.kept)) for item in plan.axes),
                     "give all the same configuration and seeds, and scores that do not hang on a process")

    def _loaded(self, network: nn.Cell, path: str) -> Mapping[str, np.ndarray]:
        if not path:
            return {}
        parameters = self.applied.names.parameters(network)
        masked_by = parameters.pop(PLAN, None)
        loaded = read_checkpoint(type(self).__name__, parameters, path)
        if masked_by is None:
            return loaded
        stored = loaded.get(PLAN, loaded.get(masked_by.name))
        if stored is None:
            raise CheckpointError(f"For '{type(self).__name__}', the checkpoint must hold '{PLAN}', which tells how "
                                  f"the network was masked, but '{path}' does not: it is of another network.")
        plan, other = (PruningPlan.from_dict(decoded(array)["plan"]) for array in (masked_by.asnumpy(), stored))
        if plan != other:
            places = sorted({axis.parameter for axis in {*plan.axes} ^ {*other.axes}})
            raise CheckpointError(f"For '{type(self).__name__}', the checkpoint must be of a network that was masked "
                                  f"as this one, but '{path}' keeps other positions of {', '.join(places[:3])}.")
        return loaded

    def _check_convert(self, net_opt: nn.Cell, ckpt_path: str, data: Any, recovery: Optional[str],
                       evaluate: Optional[Evaluate]) -> None:
        name = type(self).__name__
        if evaluate is not None:
            checked_evaluate(name, evaluate)
        if (evaluate is None) != (self.settings["max_drop"] is None):
            raise ArgumentError(f"For '{name}', the budget 'max_drop' and an 'evaluate' for 'convert' must stand "
                                f"together, but got {'only the budget' if evaluate is None else 'no such budget'}: "
                                f"convert(network, evaluate=...).")
        if recovery is not None:
            check_value(name, "recovery", recovery, OneOf(RECOVERIES))
        if recovery not in (None, "none") and data is None:
            raise ArgumentError(f"For '{name}', 'recovery' {recovery!r} must stand with 'calibration_data', but there "
                                f"are none.")
        self.refuse_other_network(net_opt)
        if not isinstance(ckpt_path, str):
            raise ArgumentTypeError(f"For '{name}', 'ckpt_path' must be a str, but got {type(ckpt_path).__name__}.")

    def _make_report(self, step: str, task: PruningTask, selection: Selection, graph: Graph,
                     checked: Mapping[str, Verification], findings: Findings) -> Report:
        targets, shortfall = outcome(task, selection, graph)
        layers = layer_reports(task.grouping, selection.plan, self.unscored(task))
        worst = max(checked.values(), key=lambda verification: verification.relative_difference, default=None)
        chosen = {key: value for key, value in self.config.items()
                  if value is not None and value != self.options[key].default}
        return Report(
            algorithm=type(self).__name__, config=self.config, step=step, inputs=describe(task.inputs),
            layers=layers,
            without_rule=task.grouping.without_rule,
            parameters_before=count_parameters(task.graph), parameters_after=count_parameters(graph),
            macs_before=count_macs(task.graph), macs_after=count_macs(graph),
            largest_difference=worst.largest_difference if worst else None,
            output_scale=worst.output_scale if worst else None, checked_on=tuple(checked),
            notes=(*findings.notes, *shortfall, *task.notes, *notes_on_widths(layers, self.settings)), targets=targets,
            control=findings.control, shapes=selection.plan.shapes(task.graph), untouched=selection.plan.untouched,
            chosen=chosen, scores=score_ranges(selection.scores, task.filters, selection.plan),
        )


def _is_of(network: nn.Cell, graph: Graph) -> bool:
    """Whether a graph is that of a network, of which it is known that it differs from it in widths if in anything."""
    return {(item.name, tuple(item.shape)) for item in network.get_parameters()} == {
        (item.name, item.shape) for item in (*graph.parameters, *graph.unread)}


def _untrained(plain: nn.Cell, before: nn.Cell) -> Optional[nn.Cell]:
    """A network with the values that it had before `apply`; None if training has changed them, and not zeros alone."""
    values = {path: parameter.asnumpy() for path, parameter in before.parameters_and_names()}
    original = copy_network(plain)
    for path, parameter in original.parameters_and_names():
        now, then = parameter.asnumpy(), values.get(path)
        # Where no mask can stand, `apply` has written zeros.
        if then is None or now.shape != then.shape or not ((now == then) | (now == 0)).all():
            return None
        parameter.set_data(Tensor(then, parameter.dtype))
    return original
