"""A line on the error stream that says how far a long work is, where somebody is watching."""
import sys
from typing import Iterable, Iterator, Optional, TypeVar

__all__ = ["shown"]


Item = TypeVar("Item")


def shown(items: Iterable[Item], what: str, total: Optional[int] = None) -> Iterator[Item]:
    """The same items; a terminal's error stream counts them as `what`, such as ``'batches'``."""
    stream = sys.stderr if sys.stderr.isatty() else None
    for number, item in enumerate(items, 1):
        yield item
        if stream:
            stream.write(f"\r{number:,}{f' of {total:,}' if total else ''} {what} ")
            stream.flush()
    if stream:
        stream.write("\n")
