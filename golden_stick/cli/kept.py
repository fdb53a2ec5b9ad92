"""Which positions of the original a slim file's parameters kept, in words: as ranges, in full or shortened."""
import difflib
from typing import Any, Dict, List, Mapping, Sequence

from golden_stick.errors import CheckpointError

__all__ = ["as_ranges", "kept_lines", "kept_of", "shortened"]

# What a line has room for beside names and numbers.
_ROOM = 56


def kept_of(file: Any) -> Dict[str, Dict[str, Any]]:
    """
    Parameter of a slim file -> axis, as text -> its length in the original and the positions kept there. Axes that are
    whole, and parameters that are whole, have no axis.
    """
    from golden_stick.prune.plan import PruningPlan
    lengths: Dict[Any, int] = {}
    for step in file.steps:
        for axis in step.axes if isinstance(step, PruningPlan) else ():
            lengths.setdefault((axis.parameter, axis.axis), axis.size)
    return {name: {str(axis): {"of": lengths[name, axis], "positions": list(positions)}
                   for axis, positions in sorted(file.kept.get(name, {}).items())} for name in file.values}


def as_ranges(positions: Sequence[int]) -> List[str]:
    """Ascending numbers as ranges: 0, 1, 2, 5 are ``['0-2', '5']``."""
    runs: List[List[int]] = []
    for position in positions:
        if runs and position == runs[-1][1] + 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs]


def shortened(ranges: Sequence[str]) -> str:
    """As many ranges as a line has room for, and the last."""
    text = ", ".join(ranges)
    if len(text) <= _ROOM:
        return text
    first = text[:_ROOM].rpartition(",")[0]
    return f"{first}, ... {ranges[-1]}"


def kept_lines(record: Mapping[str, Any], names: Sequence[str], say: Any) -> List[str]:
    """
    A line for each axis that lost positions, and for each parameter that lost none.

    Args:
        record (Mapping): Of `inspection`, of a slim file.
        names (Sequence[str]): The parameters to speak of.
        say (Callable): Ranges -> text.

    Returns:
        list[str].

    Raises:
        CheckpointError: If the file has no such parameter.
    """
    rows = []
    for name in names:
        if name not in record["kept"]:
            near = difflib.get_close_matches(name, record["kept"], n=1, cutoff=0.0)
            raise CheckpointError(f"For 'golden-stick', '--parameter' must be a parameter of '{record['file']}', but "
                                  f"got '{name}': the nearest name there is '{near[0] if near else ''}'.")
        known = record["original_shapes"] is None or name in record["original_shapes"]
        axes = record["kept"][name]
        rows += [(f"{name} axis {axis}", f"{len(found['positions'])} of {found['of']}: "
                  f"{say(as_ranges(found['positions']))}") for axis, found in axes.items()]
        if not known:
            rows.append((name, "not in the original: a folding made it"))
        elif not axes:
            rows.append((name, "whole"))
    wide = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:<{wide}}  {text}" for name, text in rows]
