"""What a caller tells a pruning card: accuracies, and how data were used."""
from dataclasses import dataclass
from numbers import Real
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from golden_stick.bench.result import Benchmark
from golden_stick.certify.card_words import missing
from golden_stick.certify.certificate import Certificate
from golden_stick.certify.fingerprints import DataFingerprint
from golden_stick.certify.sequence import Comparison
from golden_stick.errors import ArgumentTypeError
from golden_stick.knockoffs.exchangeability import Exchangeability

__all__ = ["Accuracy", "DataUse", "FROM_SCRATCH", "STAGES", "check_given"]

# What a card asks accuracies of, in this order; others can be given besides.
STAGES = ("original", "pruned", "statistics re-estimated", "fine-tuned")
FROM_SCRATCH = "from scratch"


@dataclass(frozen=True)
class Accuracy:
    """
    One accuracy, measured with several seeds, each at the end of its last epoch.

    Args:
        what (str): ``'original'``, ``'pruned'`` (before anything else), ``'statistics re-estimated'``,
            ``'fine-tuned'``, ``'from scratch'`` (the slim architecture, trained from new weights with the same budget),
            or in words.
        values (tuple[float]): One for each seed, in [0, 1].
        data (str): Of which images, such as ``'test'``.
        chosen (str): What was chosen by these images. Default: ``'nothing: it is that of the last epoch'``.
    """

    what: str
    values: Tuple[float, ...]
    data: str
    chosen: str = "nothing: it is that of the last epoch"

    def __str__(self) -> str:
        spread = f" ± {np.std(self.values, ddof=1):.4f}" if len(self.values) > 1 else ""
        return f"{np.mean(self.values):.4f}{spread} (n = {len(self.values)}, {self.data})"

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        several = len(self.values) > 1
        return {"text": str(self), "mean": float(np.mean(self.values)), "values": list(self.values),
                "deviation": float(np.std(self.values, ddof=1)) if several else missing("with one seed: take several"),
                "seeds": len(self.values), "data": self.data, "chosen by these images": self.chosen}


@dataclass(frozen=True)
class DataUse:
    """
    Data on a card.

    Args:
        data (Union[DataFingerprint, str]): What :func:`golden_stick.certify.fingerprint` gives, or words.
        preprocessing (str): What was done to the images before they arrived. Default: ``None``, not told.
        lossless (bool): Whether the images are those of the source, with no lossy step (such as JPEG) between.
            Default: ``None``, not told.
    """

    data: Any
    preprocessing: Optional[str] = None
    lossless: Optional[bool] = None

    def to_dict(self) -> Dict[str, Any]:
        """Plain data, fit for JSON."""
        known = isinstance(self.data, DataFingerprint)
        return {
            "data": "by its digest" if known else str(self.data),
            "digest": self.data.digest if known else missing("give golden_stick.certify.fingerprint(data)"),
            "images": self.data.images if known else missing("give golden_stick.certify.fingerprint(data)"),
            "preprocessing": missing("give golden_stick.certify.DataUse(data, preprocessing='...')")
            if self.preprocessing is None else self.preprocessing,
            "lossless": missing("give golden_stick.certify.DataUse(data, lossless=True or False)")
            if self.lossless is None else self.lossless,
        }


# What an argument of a card must be, for those that can be told by their type, and how to say it.
_KINDS = {
    "base": (Mapping, "a dict"), "fine_tuning": (Mapping, "a dict"), "seeds": (Mapping, "a dict"),
    "data": (Mapping, "a dict of splits"), "accuracy": ((list, tuple), "a list of golden_stick.certify.Accuracy"),
    "latency": (Benchmark, "what golden_stick.benchmark returned"),
    "certificate": (Certificate, "what golden_stick.certify returned"),
    "discordance": (Comparison, "what golden_stick.certify.compare_predictions returned"),
    "knockoffs": (Exchangeability, "what golden_stick.exchangeability returned"), "seconds": (Real, "a number"),
}


def check_given(**given: Any) -> None:
    """
    Check what a caller gives a card; None is not given.

    Raises:
        ArgumentTypeError: If anything is of another type than it must be.
    """
    for name, value in given.items():
        kinds, words = _KINDS.get(name, (object, ""))
        _require(value is None or isinstance(value, kinds), name, words, value)
    for item in given["accuracy"] or ():
        _require(isinstance(item, Accuracy), "accuracy", _KINDS["accuracy"][1], item)
    for split, item in (given["data"] or {}).items():
        _require(isinstance(item, (str, DataUse, DataFingerprint)), f"data['{split}']",
                 "a DataUse or DataFingerprint of golden_stick.certify, or words", item)
    # Comparisons are made above this module, so that it cannot name their class.
    _require(given["controls"] is None or callable(getattr(given["controls"], "to_dict", None)), "controls",
             "what golden_stick.compare returned", given["controls"])


def _require(holds: bool, name: str, words: str, value: Any) -> None:
    if not holds:
        raise ArgumentTypeError(f"For 'pruning_card', '{name}' must be {words}, but got {type(value).__name__}.")
