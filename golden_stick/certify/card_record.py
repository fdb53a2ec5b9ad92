"""What stands on a pruning card, as a record and as a page to read."""
import json
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

import numpy as np

from golden_stick.base.files import write_page
from golden_stick.certify.prior_use import DataFingerprint

__all__ = ["Accuracy", "DataUse", "PruningCard"]


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
        """Plain data, fit for JSON; with one seed, the deviation is None."""
        return {"text": str(self), "mean": float(np.mean(self.values)), "values": list(self.values),
                "deviation": float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None,
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
        """Plain data, fit for JSON; None where it was not told."""
        known = isinstance(self.data, DataFingerprint)
        return {"data": "by its digest" if known else str(self.data), "digest": self.data.digest if known else None,
                "images": self.data.images if known else None, "preprocessing": self.preprocessing,
                "lossless": self.lossless}


@dataclass(frozen=True)
class PruningCard:
    """
    What `pruning_card` gathered.

    Args:
        record (Mapping): Plain data, fit for JSON. Where something was not measured, it says so, and what to call.
    """

    record: Mapping[str, Any]

    def save(self, path: str) -> Tuple[str, str]:
        """
        Write the card as JSON and as Markdown.

        Args:
            path (str): Where, without an ending.

        Returns:
            tuple[str], both paths.

        Raises:
            CheckpointError: If a file cannot be written there.
        """
        write_page("pruning_card", path, self.record, f"{self}\n")
        return f"{path}.json", f"{path}.md"

    def __str__(self) -> str:
        record = self.record
        sizes = [[name, f"{size['before']:,}", f"{size['after']:,}", f"{size['kept']:.1%}", f"{size['removed']:.1%}"]
                 for name, size in (("parameters", record["parameters"]), ("macs", record["macs"]))]
        own_form = {
            "networks": [*_listed(record["networks"]),
                         f"* algorithm: {record['algorithm']}, {json.dumps(record['config'])}", "",
                         *_table(["", "before", "after", "kept", "removed"], sizes), "", f"{record['convention']}."],
            "widths": _table(["layer", "before", "after"], [layer.values() for layer in record["widths"]]),
            "latency": _listed(_times(record["latency"])),
        }
        lines = ["# Pruning card", "", f"Made {record['date']} by `{record['command']}`.", "",
                 f"**Guaranteed:** {record['guarantee']}"]
        for name, title in _SECTIONS.items():
            lines += ["", f"## {title}", "", *(own_form[name] if name in own_form else _listed(record[name]))]
        return "\n".join(lines)


# Part of a card -> its title on the page, in the order of the page.
_SECTIONS = {
    "networks": "Networks", "widths": "Widths", "base": "Origin", "data": "Data", "accuracy": "Accuracy",
    "discordance": "Paired discordance of predictions", "fine_tuning": "Fine-tuning", "controls": "Other criteria",
    "latency": "Latency",
    "peak_memory": "Peak memory: bytes by which the process grew while each was loaded and first run, in this order",
    "selector": "Selector and guarantee", "control": "Scientific control", "scales": "Scales of the control",
    "certificate": "Certificate", "run": "Run", "notes": "Notes of the run", "not_tested": "Not tested",
    "machine": "Machine and versions",
}


def _table(head: List[str], rows: Iterable[Iterable[Any]]) -> List[str]:
    return [f"| {' | '.join(map(str, row))} |".replace("|  |", "| |")
            for row in (head, ["---"] * len(head), *rows)]


def _listed(part: Any) -> List[str]:
    """A part of the record as a list of Markdown."""
    if isinstance(part, str):
        return [part]
    if isinstance(part, Mapping):
        return [f"* {key}: {_inline(value)}" for key, value in part.items()]
    return [f"* {_inline(item)}" for item in part] or ["None."]


def _inline(value: Any) -> str:
    """A value on one line; numbers and words as they are, and of a mapping its own text where it has one."""
    if isinstance(value, Mapping):
        told = ("text", "values", "mean", "deviation", "seeds") if "text" in value else ()
        rest = [f"{key}: {_inline(item)}" for key, item in value.items() if key not in told]
        return "; ".join([value["text"], *rest] if told else rest) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _times(part: Any) -> Any:
    """Times of a benchmark, one line each; what each call took stays in the record."""
    if isinstance(part, str):
        return part
    hardware = {"on": part["machine"], "rounds": part["rounds"], "busy with other processes": part["foreign_load"]}
    return {**hardware, **{
        f"{item['name']}, {item['runtime']}, batch {item['batch_size']}, "
        f"{'all' if item['threads'] is None else item['threads']} threads":
        item["reason"] or f"{1e3 * item['latency']:.3g} ms (quartiles "
        f"{', '.join(f'{1e3 * second:.3g}' for second in item['quartiles'])})" for item in part["measurements"]}}
