"""Slim networks by each criterion, all from the same batches."""
import difflib
import itertools
import os
import tempfile
import warnings
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import mindspore as ms
from mindspore import nn

from golden_stick.base.config import Interval, Whole, check_config, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.compare.training import Batch, default_optimizer, train
from golden_stick.criteria.table import CRITERIA
from golden_stick.prune.budget import TARGETS
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.report import Report
from golden_stick.scop.pruner import SCOP

__all__ = ["CONTROL", "SCOP_NAME", "Settings", "check_settings", "slim_networks"]


SCOP_NAME, CONTROL = "scop", "random"
_OWN = ("criterion", "seed")


@dataclass(frozen=True)
class Settings:
    """
    The arguments of :func:`golden_stick.compare` of these names, checked.

    Args:
        criteria (tuple[str]): Without repetition, ``'random'`` among them.
        budget (Mapping): Keys of every pruner, at the budget.
        rates (tuple[float]): Points of the one-shot curves.
        seeds (tuple[int]): At least one.
        epochs, calibration_batches, knockoff_steps (int): How much of each.
        knockoff_learning_rate (float): Of Adam on SCOP's scales.
        scop (Mapping): Keys of SCOP besides.
        loss (Callable): Of outputs and labels.
        optimizer (Callable): Of a network and a number of steps.
        described (str): How `optimizer` is written down.
    """

    criteria: Tuple[str, ...]
    budget: Mapping[str, Any]
    rates: Tuple[float, ...]
    seeds: Tuple[int, ...]
    epochs: int
    calibration_batches: int
    knockoff_steps: int
    knockoff_learning_rate: float
    scop: Mapping[str, Any]
    loss: Callable
    optimizer: Callable[[nn.Cell, int], nn.Optimizer]
    described: str

    def config_at(self, rate: Optional[float]) -> Dict[str, Any]:
        """The keys of a pruner at a rate, or at the budget for None: all others stay."""
        if rate is None:
            return dict(self.budget)
        kept = {key: value for key, value in self.budget.items() if key not in ("prune_rate", *TARGETS)}
        return {**kept, "prune_rate": rate}

    def to_dict(self) -> Dict[str, Any]:
        """What can be written down; two comparisons of the same dict ask for the same, but for code."""
        return {"criteria": list(self.criteria), "budget": dict(self.budget), "rates": list(self.rates),
                "seeds": list(self.seeds), "epochs": self.epochs, "calibration_batches": self.calibration_batches,
                "knockoff_steps": self.knockoff_steps, "knockoff_learning_rate": self.knockoff_learning_rate,
                "scop": {key: str(value) if not isinstance(value, (str, int, float)) else value
                         for key, value in self.scop.items()},
                "loss": _name(self.loss), "optimizer": self.described}


def check_settings(criteria: Union[str, Sequence[str]], budget: Mapping[str, Any], rates: Sequence[float],
                   seeds: Union[int, Sequence[int]], epochs: int, calibration_batches: int, knockoff_steps: int,
                   knockoff_learning_rate: float, scop: Optional[Mapping[str, Any]], held_out: bool,
                   loss: Optional[Callable], optimizer: Optional[Callable], learning_rate: float) -> Settings:
    """
    The settings, defaults filled in; `held_out` says whether there are data of their own for SCOP's scales.

    Raises:
        ArgumentTypeError: If a value is of another type.
        ArgumentError: If a criterion or a key is unknown, or a value out of range.
    """
    names = _criteria(criteria)
    _check_budget(budget)
    scop = _scop({} if scop is None else scop, budget, SCOP_NAME in names, held_out)
    for name, value, low in (("epochs", epochs, 0), ("calibration_batches", calibration_batches, 1),
                             ("knockoff_steps", knockoff_steps, 1)):
        check_value("compare", name, value, Whole(low))
    for name, value in (("learning_rate", learning_rate), ("knockoff_learning_rate", knockoff_learning_rate)):
        check_value("compare", name, value, Interval(0.0, 10.0))
    for name, value in (("loss", loss), ("optimizer", optimizer)):
        if value is not None and not callable(value):
            raise ArgumentTypeError(f"For 'compare', '{name}' must be something to call, but got "
                                    f"{type(value).__name__}.")
    described = (f"Momentum 0.9 (Nesterov), rate from {learning_rate:g} along half a cosine, weight decay 0.0005"
                 if optimizer is None else _name(optimizer))
    return Settings(names, dict(budget), _rates(rates), _seeds(seeds), int(epochs), int(calibration_batches),
                    int(knockoff_steps), float(knockoff_learning_rate), scop, loss or nn.CrossEntropyLoss(),
                    optimizer or default_optimizer(learning_rate), described)


def _scop(scop: Mapping[str, Any], budget: Mapping[str, Any], compared: bool, held_out: bool) -> Dict[str, Any]:
    """The keys that only SCOP has."""
    if held_out and not compared:
        raise ArgumentError(f"For 'compare', 'scales_data' must stand with the criterion '{SCOP_NAME}', but it is not "
                            f"among 'criteria'.")
    if not compared:
        return dict(scop)
    for key in scop:
        if key in SCOP.options and key in OneShot.options:
            raise ArgumentError(f"For 'compare', 'scop' must hold keys that only SCOP has, but got {key!r}: set it "
                                f"in 'budget', for all criteria.")
    if "held_out" in scop:
        # The scales would be trained on batches of the training data all the same.
        raise ArgumentError("For 'compare', 'scop' must not hold 'held_out', but it does: give data that the weights "
                            "have not seen as 'scales_data' instead.")
    SCOP({**budget, **scop})
    return {**scop, "held_out": True} if held_out else dict(scop)


def _criteria(criteria: Union[str, Sequence[str]]) -> Tuple[str, ...]:
    names = (criteria,) if isinstance(criteria, str) else tuple(criteria)
    known = (*CRITERIA, SCOP_NAME)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
            raise ArgumentError(f"For 'compare', every criterion must be one of {', '.join(known)}, but got {name!r}"
                                f"{f': did you mean {near[0]!r}?' if near else '.'}")
    # The control is always there: a criterion that does no better than chance says nothing.
    return tuple(dict.fromkeys((*names, CONTROL)))


def _check_budget(budget: Mapping[str, Any]) -> None:
    shared = {key: option for key, option in OneShot.options.items() if key not in _OWN}
    check_config("compare", budget, shared)
    if not any(budget.get(key) is not None for key in ("prune_rate", *TARGETS)):
        raise ArgumentError(f"For 'compare', 'budget' must say how much goes, by one of prune_rate, "
                            f"{', '.join(TARGETS)}, but got {dict(budget)}.")
    OneShot(budget)


def _rates(rates: Sequence[float]) -> Tuple[float, ...]:
    for rate in rates:
        check_value("compare", "rates", rate, Interval(0.0, 1.0))
    return tuple(sorted({float(rate) for rate in rates}))


def _seeds(seeds: Union[int, Sequence[int]]) -> Tuple[int, ...]:
    if not isinstance(seeds, (list, tuple, range)):
        check_value("compare", "seeds", seeds, Whole(1))
        return tuple(range(seeds))
    for seed in seeds:
        check_value("compare", "seeds", seed, Whole(0))
    found = tuple(dict.fromkeys(int(seed) for seed in seeds))
    if not found:
        raise ArgumentError("For 'compare', 'seeds' must be a number of seeds or hold at least one, but got none.")
    return found


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


Made = Tuple[Optional[float], nn.Cell, Report]


def slim_networks(network: nn.Cell, inputs: Any, criterion: str, seed: int, settings: Settings,
                  calibration: List[Batch], scales: List[Batch]) -> List[Made]:
    """
    The slim networks of one criterion and seed: at every rate of the curve, and at the budget.

    Args:
        network (nn.Cell): The trained network; it is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): As of every pruner's `apply`.
        criterion (str): Its name.
        seed (int): Of criteria that draw.
        settings (Settings): What is asked for.
        calibration (list): What criteria look at.
        scales (list): What SCOP's scales are trained on, in turn.

    Returns:
        list of (rate or None for the budget, slim network, report).

    Raises:
        ArgumentError: If SCOP's scales would not all be trained in so many steps.
    """
    if criterion == SCOP_NAME:
        return _by_scop(network, inputs, settings, scales)
    found = []
    for rate in (*settings.rates, None):
        algorithm = OneShot({**settings.config_at(rate), "criterion": criterion, "seed": seed})
        seen = {} if CRITERIA[criterion].needs == "nothing" else {"data": calibration, "loss": settings.loss}
        slim = algorithm.convert(algorithm.apply(network, inputs, **seen))
        found.append((rate, slim, algorithm.report))
    return found


def _by_scop(network: nn.Cell, inputs: Any, settings: Settings, scales: List[Batch]) -> List[Made]:
    """One knockoff phase; its scales are scored at every rate."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        trained = os.path.join(folder, "scales.ckpt")
        _train_scales(network, inputs, settings, scales, trained)
        for rate in (*settings.rates, None):
            algorithm = SCOP({**settings.config_at(rate), **settings.scop})
            slim = algorithm.convert(algorithm.apply(network, inputs), ckpt_path=trained)
            found.append((rate, slim, algorithm.report))
    return found


def _train_scales(network: nn.Cell, inputs: Any, settings: Settings, scales: List[Batch], path: str) -> None:
    algorithm = SCOP({**settings.config_at(None), **settings.scop})
    phase = algorithm.apply(network, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            algorithm.before_training(settings.knockoff_steps)
        except UserWarning as warning:
            raise ArgumentError(f"For 'compare', 'knockoff_steps' must be enough for SCOP, but it warns: {warning}"
                                ) from warning
    batches = itertools.islice(itertools.cycle(scales), settings.knockoff_steps)
    optimizer = nn.Adam(phase.trainable_params(), settings.knockoff_learning_rate)
    train(phase, batches, algorithm.loss(settings.loss), optimizer, algorithm.after_step)
    ms.save_checkpoint(phase, path)
