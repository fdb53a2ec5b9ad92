"""What is compared: criteria and algorithms by name, their settings, and the slim network that each makes."""
import difflib
import itertools
import os
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import mindspore as ms
from mindspore import nn

import golden_stick.prune.unstructured  # noqa: F401, an algorithm is known by its name once it is imported
from golden_stick.base.config import Interval, Whole, check_config, check_value
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, StateError
from golden_stick.base.inputs import shown
from golden_stick.comp_algo import ALGORITHMS, CompAlgo, unwarned_of_optimizers
from golden_stick.compare.training import Batch, default_optimizer, train
from golden_stick.criteria.table import CRITERIA
from golden_stick.prune.budget import TARGETS
from golden_stick.prune.one_shot import OneShot
from golden_stick.prune.options import COMPARISON_OPTIONS
from golden_stick.prune.pruner import Pruner
from golden_stick.scop.pruner import SCOP

__all__ = ["CONTROL", "Candidate", "SCOP_NAME", "Settings", "candidates_of", "check_settings"]


SCOP_NAME, CONTROL = "scop", "random"


@dataclass(frozen=True)
class Settings:
    """The arguments of :func:`golden_stick.compare` of these names, checked."""

    criteria: Tuple[str, ...]
    budget: Mapping[str, Any]
    rates: Tuple[float, ...]
    seeds: Tuple[int, ...]
    epochs: int
    calibration_batches: int
    recovery: str
    knockoff_steps: int
    knockoff_learning_rate: float
    scop: Mapping[str, Any]
    loss: Callable
    optimizer: Callable[[nn.Cell, int], nn.Optimizer]

    def algorithm(self, name: str, seed: int, rate: Optional[float] = None) -> CompAlgo:
        """The algorithm of that name, or `OneShot` with the criterion of that name, at a rate, or at the budget."""
        config = dict(self.budget)
        if rate is not None:
            config = {key: value for key, value in config.items() if key not in TARGETS}
            config["prune_rate"] = rate
        if name in CRITERIA:
            return OneShot({**config, "criterion": name, "seed": seed})
        made_by = ALGORITHMS[name]
        drawn = {"seed": seed} if "seed" in made_by.options else {}
        return made_by({**config, **drawn, **(self.scop if name == SCOP_NAME else {})})

    def to_dict(self) -> Dict[str, Any]:
        """What can be written down; two comparisons of the same dict ask for the same, but for code."""
        plain = {key: value if isinstance(value, (str, int, float)) else str(value) for key, value in self.scop.items()}
        told = {**vars(self), "scop": plain, "loss": _name_of(self.loss), "optimizer": _name_of(self.optimizer)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}


def check_settings(criteria: Union[str, Sequence[str]], budget: Mapping[str, Any], rates: Sequence[float],
                   seeds: Union[int, Sequence[int]], scop: Optional[Mapping[str, Any]], held_out: bool,
                   loss: Optional[Callable], optimizer: Optional[Callable], **numbers: Any) -> Settings:
    """The settings, defaults filled in; `held_out` says whether there are data of their own for SCOP's scales."""
    names = _criteria(criteria)
    _check_budget(budget)
    numbers = dict(check_config("compare", numbers, COMPARISON_OPTIONS))
    for name, value in (("loss", loss), ("optimizer", optimizer)):
        if value is not None and not callable(value):
            raise ArgumentTypeError(f"For 'compare', '{name}' must be something to call, but got "
                                    f"{type(value).__name__}.")
    learning_rate = numbers.pop("learning_rate")
    settings = Settings(
        names, dict(budget), _rates(rates), _seeds(seeds), scop=_scop(scop or {}, names, held_out),
        loss=loss or nn.CrossEntropyLoss(), optimizer=optimizer or default_optimizer(learning_rate), **numbers)
    for name in names:
        settings.algorithm(name, 0)
    return settings


def _criteria(criteria: Union[str, Sequence[str]]) -> Tuple[str, ...]:
    names = (criteria,) if isinstance(criteria, str) else tuple(criteria)
    # The criteria stand for OneShot.
    known = (*CRITERIA, *(name for name in ALGORITHMS if name != "oneshot"))
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
            raise ArgumentError(f"For 'compare', every criterion must be one of {', '.join(known)}, but got {name!r}"
                                f"{f': did you mean {near[0]!r}?' if near else '.'}")
    # The control is always there: a criterion that does no better than chance says nothing.
    return tuple(dict.fromkeys((*names, CONTROL)))


def _check_budget(budget: Mapping[str, Any]) -> None:
    check_config("compare", budget, {key: option for key, option in OneShot.options.items()
                                     if key not in ("criterion", "seed", "max_drop")})
    if not any(budget.get(key) is not None for key in ("prune_rate", *TARGETS)):
        raise ArgumentError(f"For 'compare', 'budget' must say how much goes, by one of prune_rate, "
                            f"{', '.join(TARGETS)}, but got {dict(budget)}.")


def _scop(scop: Mapping[str, Any], names: Sequence[str], held_out: bool) -> Dict[str, Any]:
    if SCOP_NAME not in names:
        if held_out:
            raise ArgumentError(f"For 'compare', 'scales_data' must stand with the criterion '{SCOP_NAME}', but it is "
                                f"not among 'criteria'.")
        return dict(scop)
    for key in scop:
        if key in OneShot.options and key in SCOP.options:
            raise ArgumentError(f"For 'compare', 'scop' must hold keys that only SCOP has, but got {key!r}: set it "
                                f"in 'budget', for all criteria.")
    if "held_out" in scop:
        # The scales would be trained on batches of the training data all the same.
        raise ArgumentError("For 'compare', 'scop' must not hold 'held_out', but it does: give data that the weights "
                            "have not seen as 'scales_data' instead.")
    return {**scop, "held_out": True} if held_out else dict(scop)


def _rates(rates: Sequence[float]) -> Tuple[float, ...]:
    for rate in rates:
        check_value("compare", "rates", rate, Interval(0.0, 1.0))
    return tuple(sorted({float(rate) for rate in rates}))


def _seeds(seeds: Any) -> Tuple[int, ...]:
    if not isinstance(seeds, (list, tuple, range)):
        check_value("compare", "seeds", seeds, Whole(1))
        return tuple(range(seeds))
    for seed in seeds:
        check_value("compare", "seeds", seed, Whole(0))
    if not seeds:
        raise ArgumentError("For 'compare', 'seeds' must be a number of seeds or hold at least one, but got none.")
    return tuple(dict.fromkeys(int(seed) for seed in seeds))


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


class Candidate(NamedTuple):
    """What is measured and fine-tuned, at a rate of the curve or at the budget (None), with the report of its pruning;
    what makes of it the network that is kept; and the one towards which its layers can be solved anew."""

    rate: Optional[float]
    network: nn.Cell
    report: Any = None
    finish: Callable[[nn.Cell], nn.Cell] = lambda network: network
    original: Optional[nn.Cell] = None


@unwarned_of_optimizers()
def candidates_of(network: nn.Cell, inputs: Any, name: str, seed: int, settings: Settings,
                  calibration: List[Batch], scales: List[Batch]) -> List[Candidate]:
    """
    The networks of one criterion or algorithm and seed, at every rate of the curve and at the budget. An algorithm that
    trains what it applies, in turn on `scales`, does so once for all rates.
    """
    made = []
    with tempfile.TemporaryDirectory() as folder:
        trained = ""
        if settings.algorithm(name, seed).trains_phase:
            trained = os.path.join(folder, "phase.ckpt")
            _train_phase(settings.algorithm(name, seed), network, inputs, settings, calibration, scales, trained)
        for rate in (*settings.rates, None):
            algorithm = settings.algorithm(name, seed, rate)
            applied = _apply(algorithm, network, inputs, settings, calibration)
            slim, report = applied if algorithm.tunes_applied else algorithm.convert(applied, ckpt_path=trained), None
            # An algorithm may say nothing of what it did.
            with suppress(StateError):
                report = algorithm.report
            # Weights that a phase has trained are no longer the original's.
            rests = isinstance(algorithm, Pruner) and (algorithm.weights_rest or not algorithm.trains_phase)
            made.append(Candidate(rate, slim, report, algorithm.convert) if algorithm.tunes_applied else
                        Candidate(rate, slim, report, original=network if rests else None))
    return made


def _apply(algorithm: CompAlgo, network: nn.Cell, inputs: Any, settings: Settings, calibration: List[Batch]) -> nn.Cell:
    seen = {"data": calibration, "loss": settings.loss} if algorithm.takes_data else {}
    return algorithm.apply(network, inputs, **seen)


def _train_phase(algorithm: CompAlgo, network: nn.Cell, inputs: Any, settings: Settings, calibration: List[Batch],
                 scales: List[Batch], path: str) -> None:
    """Train what the algorithm applies, at the budget, and save it."""
    phase = _apply(algorithm, network, inputs, settings, calibration)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            algorithm.before_training(settings.knockoff_steps)
        except (StateError, UserWarning) as warning:
            raise ArgumentError(f"For 'compare', 'knockoff_steps' must be enough for {type(algorithm).__name__}, but "
                                f"it warns: {warning}") from warning
    batches = shown(itertools.islice(itertools.cycle(scales), settings.knockoff_steps), "steps before converting",
                    settings.knockoff_steps)
    optimizer = nn.Adam(phase.trainable_params(), settings.knockoff_learning_rate)
    train(phase, batches, algorithm.loss(settings.loss), optimizer, algorithm.after_step)
    ms.save_checkpoint(phase, path)
