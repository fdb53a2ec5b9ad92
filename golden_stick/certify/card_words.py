"""How a pruning card says that something is absent."""
from typing import Any, Iterator, Mapping, Tuple

__all__ = ["MISSING", "absences", "missing", "not_run"]

MISSING, _NOT_RUN = "not measured", "not run"


def missing(how: str) -> str:
    """What stands on a card where something was not measured: that, and what to call to measure it."""
    return f"{MISSING}: {how}"


def not_run(how: str) -> str:
    """The same, of an experiment."""
    return f"{_NOT_RUN}: {how}"


def absences(record: Mapping[str, Any], place: Tuple[str, ...] = ()) -> Iterator[str]:
    """Every absence in a record, with where it stands."""
    for key, value in record.items():
        here = (*place, str(key))
        if isinstance(value, Mapping):
            yield from absences(value, here)
        elif isinstance(value, str) and value.startswith((f"{MISSING}:", f"{_NOT_RUN}:")):
            yield f"{', '.join(here).replace('_', ' ')}: {value}"
