"""
`sensitivity`: what accuracy is left when one group of channels alone is pruned, at one rate after the other; and rates
made from that for a budget.
"""
import glob
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from mindspore import Tensor, nn

from golden_stick.base.config import FRACTION, Interval, OneOf, check_value, in_own_name
from golden_stick.base.devices import refuse_several
from golden_stick.base.display import markdown_table
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, StateError
from golden_stick.base.files import digest_of, make_folder, network_digest, read_record, whole_file, write_record
from golden_stick.base.inputs import describe, leading_inputs, shown
from golden_stick.comp_algo import check_network, unwarned_of_optimizers
from golden_stick.compare.result import need_matplotlib, write_figure
from golden_stick.graph.groups import ChannelGroup, Grouping
from golden_stick.graph.plan import PruningPlan, count_macs, count_parameters
from golden_stick.prune.budget import BUDGETS, PruningTask, shrunk_by
from golden_stick.prune.drop import alike, checked_evaluate, score_of, trusted_score
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.options import RECOVERIES
from golden_stick.prune.plan import Widths, make_plan

__all__ = ["Curve", "Sensitivity", "draw_sensitivity", "sensitivity"]


_KIND, _RECORD, _PAGE, _FIGURES = "golden_stick sensitivity", "sensitivity.json", "sensitivity.md", ("svg", "png")
# How much goes is what is tried; ranked together, a group's rate would not be its own.
_TRIED = (*BUDGETS, "ranking", "max_rate")
_COUNTED = {"target_macs": count_macs, "target_params": count_parameters}
_DIGITS = 4  # of a rate
_BISECTIONS = 30


@dataclass(frozen=True)
class Curve:
    """
    Accuracies of a network that loses channels of one group alone, or of several that share layers.

    Args:
        layers (tuple[str]): Paths of the layers that lose filters.
        patterns (tuple[str]): What `prune_rate` calls the group by.
        accuracies (tuple[float]): At each of the rates, as `evaluate` gave them.
    """

    layers: Tuple[str, ...]
    patterns: Tuple[str, ...]
    accuracies: Tuple[float, ...] = ()

    def largest_rate(self, rates: Tuple[float, ...], base: float, least: float) -> float:
        """The largest rate at which the accuracy is not below `least` yet, on straight lines between those measured."""
        last_rate, last = 0.0, base
        for rate, accuracy in zip(rates, self.accuracies):
            # Of a network that recovers at a higher rate, nothing is believed.
            accuracy = min(accuracy, last)
            if accuracy < least:
                return last_rate + (rate - last_rate) * (last - least) / (last - accuracy)
            last_rate, last = rate, accuracy
        return last_rate


@dataclass(frozen=True)
class Sensitivity:
    """
    Of :func:`golden_stick.sensitivity`; `str` of it is a table.

    Args:
        config (Mapping): What was asked for: the keys of `OneShot`, the inputs, recovery, and digests of the data.
        network (str): The digest of the network.
        base (float): Accuracy of the network as it came, as `evaluate` gave it.
        rates (tuple[float]): The rates that were measured, ascending.
        curves (tuple[Curve]): One for each group, in the network's order.
        stayed (tuple[str]): Layers of groups that cannot lose a channel at any of the rates.
    """

    config: Mapping[str, Any]
    network: str
    base: float
    rates: Tuple[float, ...]
    curves: Tuple[Curve, ...] = ()
    stayed: Tuple[str, ...] = ()

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {"kind": _KIND, **asdict(self)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> "Sensitivity":
        """The result that `to_dict` made `data` of."""
        curves = tuple(Curve(**{key: tuple(value) for key, value in curve.items()}) for curve in data["curves"])
        return Sensitivity(data["config"], data["network"], data["base"], tuple(data["rates"]), curves,
                           tuple(data["stayed"]))

    def to_markdown(self) -> str:
        """A page with the table."""
        head = ("layers", *(f"{rate:g}" for rate in self.rates))
        rows = [(_named(curve), *(f"{accuracy:.4g}" for accuracy in curve.accuracies)) for curve in self.curves]
        stayed = [f"Cannot lose a channel at any of these rates: {', '.join(self.stayed)}.", ""] if self.stayed else []
        return "\n".join(["# Sensitivity", "", f"What `evaluate` gives when one group alone loses a fraction of its "
                          f"channels; {self.base:.4g} before.", "", *markdown_table(head, rows), "", *stayed])

    __str__ = to_markdown

    def budget_rates(self, network: nn.Cell, inputs: Any, budget: Mapping[str, float]) -> Dict[str, float]:
        """
        Rates that meet a budget: each group loses as much as it can without falling below one accuracy, the same for
        all groups, measured one at a time.

        Where the budget is met before any group loses accuracy, the largest rates without loss are scaled down.

        Args:
            network (nn.Cell): The network that was measured.
            inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only
                argument.
            budget (dict): ``{"target_macs": fraction}`` or ``{"target_params": fraction}``: what is to be left at most,
                in (0, 1).

        Returns:
            dict, pattern of a layer's path -> rate: what `OneShot` takes as ``prune_rate``, with the other keys that
            the sensitivity was measured with.

        Raises:
            ArgumentTypeError: If a value is not a number.
            ArgumentError: If there is not one target, it is out of range or not met at the highest rates measured, or
                `network` is another one.
            StateError: If not every group was measured.
        """
        if len(budget) != 1 or not set(budget) <= set(_COUNTED):
            raise ArgumentError(f"For 'budget_rates', 'budget' must hold one key of {', '.join(_COUNTED)}, but got "
                                f"{', '.join(budget) or 'none'}.")
        (name, target), = budget.items()
        check_value("budget_rates", name, target, FRACTION)
        if any(len(curve.accuracies) < len(self.rates) for curve in self.curves):
            raise StateError("For 'budget_rates', the sensitivity must be complete, but it was interrupted: call "
                             "'sensitivity' again with the same folder.")
        if network_digest(network) != self.network:
            raise ArgumentError("For 'budget_rates', 'network' must be the one whose sensitivity was measured, but got "
                                "another one, or other weights.")
        task = OneShot(self.config["oneshot"]).find_task(network, inputs)
        whole = _COUNTED[name](task.graph)

        def left(severity: float) -> float:
            return _COUNTED[name](shrunk_by(task, _plan(task, self._rates_at(severity)))) / whole

        if left(2.0) > target:
            raise ArgumentError(f"For 'budget_rates', '{name}' must be at least {left(2.0):.4f}, which is left at the "
                                f"highest rates that were measured, but got {target}: measure higher ones.")
        mild, severe = 0.0, 2.0
        for _ in range(_BISECTIONS):
            middle = (mild + severe) / 2
            mild, severe = (mild, middle) if left(middle) <= target else (middle, severe)
        return self._rates_at(severe)

    def _rates_at(self, severity: float) -> Dict[str, float]:
        """Up to 1, fractions of the largest rates without loss; from there to 2, down to the lowest accuracy of all."""
        lowest = min([self.base, *(accuracy for curve in self.curves for accuracy in curve.accuracies)])
        least = self.base - max(0.0, severity - 1.0) * (self.base - lowest)
        return {pattern: round(min(1.0, severity) * curve.largest_rate(self.rates, self.base, least), _DIGITS)
                for curve in self.curves for pattern in curve.patterns}


def _plan(task: PruningTask, rates: Mapping[str, float]) -> Any:
    """A plan of these rates, whatever the scores: costs are the same."""
    return make_plan(task.grouping, {group.name: np.zeros(len(group.channels)) for group in task.grouping}, rates,
                     **vars(Widths.of(task.config)))


def _named(curve: Curve) -> str:
    more = len(curve.layers) - 1
    return f"{curve.layers[0] or 'the network'}{f' and {more} more' if more else ''}"


def draw_sensitivity(sensitivity: Sensitivity, path: str) -> None:
    """
    Draw accuracies over rates, one line for each group.

    Args:
        sensitivity (Sensitivity): Of :func:`golden_stick.sensitivity`.
        path (str): The file, whose name ends in .svg, .png or .pdf.

    Raises:
        ArgumentError: If the name ends otherwise.
        DependencyError: If matplotlib is not installed.
        CheckpointError: If the file cannot be written.
    """
    def paint(figure: Any) -> None:
        axes = figure.subplots()
        styles = ["-", "--", ":", "-."]
        for number, curve in enumerate(sensitivity.curves):
            points = sensitivity.rates[:len(curve.accuracies)]
            axes.plot([0.0, *points], [sensitivity.base, *curve.accuracies], styles[number // 10 % len(styles)],
                      color=f"C{number % 10}", marker="o", markersize=3, linewidth=1.2, label=_named(curve))
        axes.set(xlabel="prune rate of one group, all others whole", ylabel="what evaluate gives")
        axes.legend(fontsize=6, ncols=1 + len(sensitivity.curves) // 20)

    write_figure("sensitivity", path, (8, 5), paint)


@in_own_name
def sensitivity(network: nn.Cell, inputs: Any, evaluate: Callable[[nn.Cell], float],
                config: Optional[Mapping[str, Any]] = None, rates: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9), *,
                data: Any = None, loss: Optional[Callable] = None, calibration_data: Any = None,
                recovery: Optional[str] = None, folder: Optional[str] = None) -> Sensitivity:
    """
    Accuracy over prune rate, group by group: one loses channels, and all others stay whole.

    Groups are those of :class:`golden_stick.OneShot`: layers that must lose the same channels. Groups that share a
    layer are pruned together, since a rate is given by layer. Every slim network is checked against the masked one, as
    `convert` does.

    Args:
        network (nn.Cell): The trained network. It is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only argument.
        evaluate (Callable): Takes a network, in evaluation, and returns a number: the higher, the better. On validation
            data, not on test data. It is tried first: it must give the same number twice and leave the network as it
            is.
        config (dict): Keys of `OneShot`, such as ``{"criterion": "taylor"}``; none that says how much goes.
            Default: ``None``.
        rates (Sequence[float]): Fractions of a group's channels, in (0, 1). Default: 0.1, 0.3, 0.5, 0.7 and 0.9.
        data (Iterable): Batches that the criterion looks at, as of `OneShot.apply`. Default: ``None``.
        loss (Callable): The loss that it looks at. Default: ``None``.
        calibration_data (Iterable): Batches for what follows slimming, as of `convert`; they are held in memory.
            Default: ``None``.
        recovery (str): What follows slimming, as of `convert`. Default: ``None``.
        folder (str): Where results are kept while they come: sensitivity.json, and at the end sensitivity.md and
            figures (matplotlib). The same call goes on where the last one was interrupted. Default: ``None``.

    Returns:
        Sensitivity, which prints as a table; `budget_rates` of it makes rates for `OneShot`.

    Raises:
        ArgumentTypeError: If `network` is not a Cell, `evaluate` cannot be called or gives no number, or a rate is
            none.
        ArgumentError: If `evaluate` gives NaN or infinity, another number when it is asked again, or changes the
            network; a rate or `recovery` is out of range, or `config` says how much goes; and all that `OneShot` says.
        StateError: If `folder` holds a sensitivity that was asked for otherwise, or there are several processes.
        CheckpointError: If `folder` cannot be written to, or what it holds cannot be read.
        DependencyError: If there is a `folder`, but matplotlib is not installed.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import numpy as np
        >>> import golden_stick as gs
        >>> from mindspore import Tensor, nn
        >>> net = nn.SequentialCell(nn.Dense(4, 16), nn.ReLU(), nn.Dense(16, 3))
        >>> images = Tensor(np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32))
        >>> answers = net(images).asnumpy().argmax(1)
        >>> def evaluate(network):
        ...     return (network(images).asnumpy().argmax(1) == answers).mean()
        >>> found = gs.sensitivity(net, (1, 4), evaluate, rates=(0.25, 0.5))
        >>> print(found.base, found.curves[0].layers, len(found.curves[0].accuracies))
        1.0 ('0',) 2
        >>> rates = found.budget_rates(net, (1, 4), {"target_macs": 0.75})
        >>> slim = gs.OneShot({"prune_rate": rates}).apply(net, (1, 4))
    """
    refuse_several("sensitivity")
    check_network("sensitivity", network)
    checked_evaluate("sensitivity", evaluate)
    if recovery is not None:
        check_value("sensitivity", "recovery", recovery, OneOf(RECOVERIES))
    seen, calibration = (None if given is None else list(leading_inputs("sensitivity", given))
                         for given in (data, calibration_data))
    settings = _one_shot(config)
    task = replace(OneShot(settings).find_task(network, inputs), data=seen, loss=loss)
    trials = _Trials(settings, task, evaluate, OneShot(settings).score_filters(task), calibration, recovery)
    asked = {"oneshot": dict(settings), "inputs": describe(task.inputs), "recovery": recovery, "data": _digest(seen),
             "calibration_data": _digest(calibration)}
    base = trusted_score("sensitivity", evaluate, network)
    found = Sensitivity(asked, network_digest(network), base, _checked(rates))
    store = _Store(folder, found)
    units = _units(task.grouping)
    for curve in shown(units, "groups", len(units)):
        plans = [trials.plan(curve, rate) for rate in found.rates]
        if not plans[-1].axes:
            found = replace(found, stayed=found.stayed + curve.layers)
            continue
        curve = replace(curve, accuracies=store.accuracies(curve))
        while len(curve.accuracies) < len(plans):
            curve = replace(curve, accuracies=(*curve.accuracies, trials.accuracy(plans, curve, found.base)))
            store.write(replace(found, curves=(*found.curves, curve)))
        found = replace(found, curves=(*found.curves, curve))
    store.finish(found)
    return found


@dataclass(frozen=True, eq=False)
class _Trials:
    """How networks that lose channels of one group are made and measured."""

    config: Mapping[str, Any]
    task: PruningTask
    evaluate: Callable[[nn.Cell], float]
    scores: Mapping[str, np.ndarray]
    calibration: Optional[List[Tuple[Tensor, ...]]]
    recovery: Optional[str]

    def plan(self, curve: Curve, rate: float) -> PruningPlan:
        """What goes at a rate of one group."""
        config = {**self.task.config, "prune_rate": dict.fromkeys(curve.patterns, rate)}
        return OneShot(self.config).choose(replace(self.task, config=config), self.scores).plan

    @unwarned_of_optimizers()
    def accuracy(self, plans: List[PruningPlan], curve: Curve, base: float) -> float:
        """At the next rate: what is known of the same plan, or what the slim network shows, after its recovery."""
        plan = plans[len(curve.accuracies)]
        known = [base] if not plan.axes else [accuracy for before, accuracy in zip(plans, curve.accuracies)
                                              if before == plan]
        if known:
            return known[0]
        algorithm = OneShot(self.config)
        masked = algorithm.apply_task(replace(self.task, plan=plan))
        return score_of("sensitivity", self.evaluate, algorithm.convert(masked, calibration_data=self.calibration,
                                                                        recovery=self.recovery))


def _one_shot(config: Optional[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The configuration of all trials, checked; as plain data."""
    settings = OneShot(config).settings
    for key in config or {}:
        if key in _TRIED:
            raise ArgumentError(f"For 'sensitivity', 'config' must leave to it which channels go and how many, but got "
                                f"{key!r}.")
    return {key: settings[key] for key in config or {}}


def _checked(rates: Sequence[float]) -> Tuple[float, ...]:
    if not isinstance(rates, (list, tuple)) or not rates:
        raise ArgumentTypeError(f"For 'sensitivity', 'rates' must be a list of at least one rate, but got {rates!r}.")
    for rate in rates:
        check_value("sensitivity", "rates", rate, Interval(0.0, 1.0, open=True))
    return tuple(sorted({float(rate) for rate in rates}))


def _units(grouping: Grouping) -> List[Curve]:
    """The groups, those that share layers together, as curves without points."""
    units: List[List[ChannelGroup]] = []
    for group in grouping:
        shared = [unit for unit in units if any({*group.layers} & {*other.layers} for other in unit)]
        joined = [other for unit in shared for other in unit]
        units = [unit for unit in units if unit not in shared] + [[*joined, group]]
    return [Curve(tuple(dict.fromkeys(path for group in unit for path in group.layers)),
                  tuple(dict.fromkeys(glob.escape(group.layers[0]) for group in unit))) for unit in units]


def _digest(batches: Optional[List[Tuple[Tensor, ...]]]) -> Optional[str]:
    """A digest of batches in their order."""
    def parts() -> Iterator[Any]:
        for batch in batches or ():
            for array in (item.asnumpy() for item in batch):
                yield f"{array.dtype.str} {array.shape} "
                yield array

    return None if batches is None else digest_of(parts())


class _Store:
    """The folder that results are kept in while they come; without one, nothing is kept."""

    def __init__(self, folder: Optional[str], begun: Sensitivity):
        self._folder, self._path = folder, os.path.join(folder or "", _RECORD)
        self._known: Dict[Tuple[str, ...], Tuple[float, ...]] = {}
        if not folder:
            return
        need_matplotlib("sensitivity")
        make_folder("sensitivity", folder)
        if os.path.exists(self._path):
            record = read_record("sensitivity", self._path, _KIND)
            try:
                kept = Sensitivity.from_dict(record)
            except (KeyError, TypeError) as error:
                raise CheckpointError(f"For 'sensitivity', '{self._path}' must be a sensitivity that was begun here, "
                                      f"but it is damaged: it lacks or does not know {error}.") from error
            different = [key for key in ("config", "network", "rates") if getattr(kept, key) != getattr(begun, key)]
            different += [] if alike(kept.base, begun.base) else ["base"]
            if different:
                raise StateError(f"For 'sensitivity', 'folder' must be new or hold the same sensitivity, but "
                                 f"'{self._path}' has another '{different[0]}': take another folder.")
            self._known = {curve.layers: curve.accuracies for curve in kept.curves}

    def accuracies(self, curve: Curve) -> Tuple[float, ...]:
        """What is known of a group."""
        return self._known.get(curve.layers, ())

    def write(self, found: Sensitivity) -> None:
        """Keep what was measured by now."""
        if self._folder:
            write_record("sensitivity", self._path, _KIND, found.to_dict())

    def finish(self, found: Sensitivity) -> None:
        """Write all of it, and page and figures."""
        if self._folder:
            self.write(found)
            with whole_file("sensitivity", os.path.join(self._folder, _PAGE)) as temporary:
                Path(temporary).write_text(found.to_markdown(), encoding="utf-8")
            for kind in _FIGURES:
                draw_sensitivity(found, os.path.join(self._folder, f"sensitivity.{kind}"))
