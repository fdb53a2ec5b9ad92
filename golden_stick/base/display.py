"""Tables: as text, drawn on a terminal, or in Markdown."""
import contextlib
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Iterable, Iterator, List, Sequence

__all__ = ["drawn_tables", "markdown_table", "table"]


_drawn: ContextVar[bool] = ContextVar("drawn", default=False)
_LONG, _GAP = 24, 2  # a word that is no longer stays whole; blanks between columns


@contextmanager
def drawn_tables() -> Iterator[None]:
    """In the block, tables are drawn as wide as the terminal is, if standard output is one and rich is installed."""
    token = _drawn.set(sys.stdout.isatty())
    try:
        yield
    finally:
        _drawn.reset(token)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], words: Sequence[int] = (0,)) -> str:
    """
    Rows under their heads, in columns: words on the left in the columns of these numbers, elsewhere numbers on the
    right. Text that is the same everywhere, but in a block of `drawn_tables`.
    """
    cells = [list(map(str, row)) for row in rows]
    if _drawn.get():
        with contextlib.suppress(ImportError):
            return _drawing(head, cells, words)
    widths = [max(map(len, column)) for column in zip(head, *cells)]
    return "\n".join("  ".join(cell.ljust(width) if at in words else cell.rjust(width) for at, (cell, width) in
                               enumerate(zip(row, widths))).rstrip() for row in (head, *cells))


def _drawing(head: Sequence[str], cells: Sequence[Sequence[str]], words: Sequence[int]) -> str:
    from rich import box, console, text  # not at the top: a terminal alone needs it
    from rich import table as tables
    drawn, least = tables.Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)), 0
    for at, name in enumerate(head):
        column = (name, *(row[at] for row in cells))
        if at in words:
            narrow = min(_LONG, max(len(word) for cell in column for word in cell.split() or ("",)))
            drawn.add_column(text.Text(name), overflow="fold", min_width=narrow)
        else:  # a number is never folded; its head is, at blanks
            narrow = max(map(len, (*name.split(), *column[1:])), default=0)
            drawn.add_column(text.Text(name.replace(" ", "\n")), justify="right", no_wrap=True)
        least += narrow + _GAP
    for row in cells:
        drawn.add_row(*map(text.Text, row))
    # What does not fit, the terminal breaks as any line.
    terminal = console.Console(file=sys.stdout)
    terminal.width = max(terminal.width, least)
    with terminal.capture() as captured:
        terminal.print(drawn)
    return captured.get().rstrip("\n")


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]], words: Sequence[int] = (0,)) -> List[str]:
    """The same as lines of Markdown."""
    first, *others = [f"| {' | '.join(map(str, row))} |".replace("|  |", "| |") for row in (head, *rows)]
    return [first, f"|{'|'.join('---' if at in words else '---:' for at in range(len(head)))}|", *others]
