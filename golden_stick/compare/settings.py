"""What a comparison of criteria is run with."""
from dataclasses import asdict, dataclass, field
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Tuple

from golden_stick.config import Fraction, Interval, OneOf, Whole, check_value
from golden_stick.criteria import CRITERIA
from golden_stick.errors import ArgumentError, ArgumentTypeError

__all__ = ["ComparisonData", "ComparisonSettings"]

SCOP_NAME = "scop"


@dataclass(frozen=True)
class ComparisonData:
    """
    The data of a comparison, each a function, so that everybody gets the same batches in the same order.

    Args:
        train (Callable): Takes a seed, gives batches of images and labels in an order of that seed.
        validation (Callable): Takes nothing, gives batches. All but the last column of the table come from them.
        test (Callable): Takes nothing, gives batches: asked for once, at the end. Default: ``None``, no last column.
    """

    train: Callable[[int], Iterable]
    validation: Callable[[], Iterable]
    test: Optional[Callable[[], Iterable]] = None

    def __post_init__(self):
        for name in ("train", "validation", "test"):
            value = getattr(self, name)
            if not callable(value) and not (name == "test" and value is None):
                raise ArgumentTypeError(f"For 'ComparisonData', '{name}' must be a function that gives batches, but "
                                        f"got {type(value).__name__}.")


@dataclass(frozen=True)
class ComparisonSettings:
    """
    What a comparison does.

    Args:
        criteria (tuple[str]): Names of golden_stick's criteria, and ``'scop'``. ``'random'`` is added: it is what all
            must beat.
        budget (Mapping): Configuration of the pruning after which is fine-tuned, such as ``{"target_macs": 0.5}``.
        rates (tuple[float]): Where the one-shot curve is taken, without fine-tuning. Default: none.
        seeds (tuple[int]): Of the order of batches, of ``'random'`` and of the knockoff phase. Default: ``(0, 1, 2)``.
        epochs (int): Of fine-tuning. Default: 1.
        learning_rate (float): Of fine-tuning, by momentum 0.9; a cosine takes it to zero. Default: 0.01.
        weight_decay (float): Of fine-tuning. Default: 5e-4.
        scop (Mapping): Configuration of SCOP besides the budget. Default: none.
        scop_steps (int): Of its knockoff phase, by Adam. Default: 200.
        scop_learning_rate (float): Default: 0.01.
        look (int): Batches of training data that criteria from data look at. Default: 8.
        calibration (int): Batches of training data that statistics are re-estimated on. Default: 10.

    Raises:
        ArgumentTypeError: If a value is of another type.
        ArgumentError: If a criterion is unknown or a value out of range.
    """

    criteria: Tuple[str, ...]
    budget: Mapping[str, Any]
    rates: Tuple[float, ...] = ()
    seeds: Tuple[int, ...] = (0, 1, 2)
    epochs: int = 1
    learning_rate: float = 0.01
    weight_decay: float = 5e-4
    scop: Mapping[str, Any] = field(default_factory=dict)
    scop_steps: int = 200
    scop_learning_rate: float = 0.01
    look: int = 8
    calibration: int = 10

    def __post_init__(self):
        if not self.criteria or not self.seeds:
            raise ArgumentError("For 'compare', 'criteria' and 'seeds' must name at least one each, but one is empty.")
        for name in self.criteria:
            check_value("compare", "criteria", name, OneOf((*CRITERIA, SCOP_NAME)))
        for rate in self.rates:
            check_value("compare", "rates", rate, Fraction())
        for name in ("epochs", "scop_steps", "look", "calibration"):
            check_value("compare", name, getattr(self, name), Whole(1))
        for name in ("learning_rate", "scop_learning_rate", "weight_decay"):
            check_value("compare", name, getattr(self, name), Interval(0.0, float("inf")))
        named = tuple(dict.fromkeys((*self.criteria, "random")))
        object.__setattr__(self, "criteria", named)

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        return {**asdict(self), **{key: list(getattr(self, key)) for key in ("criteria", "rates", "seeds")}}
