"""A line on the error stream that says how far a long work is, where somebody is watching."""
import sys
from typing import Iterable, Iterator, Optional, TypeVar

__all__ = ["shown"]


Item = TypeVar("Item")


def shown(items: Iterable[Item], what: str, total: Optional[int] = None) -> Iterator[Item]:
    """
    The same items; a terminal's error stream counts them.

    Args:
        items (Iterable): Whatever is worked through.
        what (str): What is counted, such as ``'batches'``.
        total (int): How many there will be. Default: ``None``, unknown.

    Returns:
        Iterator.
    """
    stream = sys.stderr if sys.stderr.isatty() else None
    for number, item in enumerate(items, 1):
        yield item
        if stream:
            stream.write(f"\r{number:,}{f' of {total:,}' if total else ''} {what} ")
            stream.flush()
    if stream:
        stream.write("\n")
