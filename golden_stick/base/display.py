"""What is shown: how far something is, on a terminal; and tables, as text, drawn on a terminal, or in Markdown."""
import contextlib
import sys
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence, TypeVar

__all__ = ["drawn_tables", "hidden_progress", "markdown_table", "progress", "shown", "table"]

Item = TypeVar("Item")
# The display that is open, if any; and whether none is to be.
_open: List[Any] = []
_PAUSE = 0.1  # seconds from one look of it to the next
_hidden: ContextVar[bool] = ContextVar("hidden", default=False)


def shown(items: Iterable[Item], what: str, total: Optional[int] = None) -> Iterator[Item]:
    """The same items; a terminal counts them as `what`, such as ``'batches'``, with rate and time left: `progress`."""
    with progress(what, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def hidden_progress() -> Iterator[None]:
    """No counts in the block."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)


@contextmanager
def progress(what: str, total: Optional[int] = None) -> Iterator[Callable[[], None]]:
    """
    A line on a terminal's error stream during the block, under those that are there: what is going on, and, where the
    function that the block gets is called after each of `total` steps, how far it is, how fast, and the time left.
    """
    if _hidden.get() or not sys.stderr.isatty():
        yield lambda: None
        return
    begun, last, number = time.perf_counter(), 0.0, 0
    with _line(what, total) as show:
        def advance() -> None:
            nonlocal last, number
            number, seconds = number + 1, time.perf_counter() - begun
            if seconds - last > _PAUSE or number == total:
                last = seconds
                left = f" of {total:,}, {seconds * (total - number) / number:,.0f} s left" if total else ""
                show(number, f"{number:,}{left}, {number / seconds:.3g}/s")

        yield advance


@contextmanager
def _line(what: str, total: Optional[int]) -> Iterator[Callable[[int, str], None]]:
    """What shows how many are done, and words about it."""
    try:
        import rich.progress  # not at the top: a terminal alone needs it
    except ImportError:
        # Each line in the place of the one before, and nothing in the end.
        print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)
        try:
            yield lambda number, words: print(f"\r\x1b[K{what}: {words}", end="", file=sys.stderr, flush=True)
        finally:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        return
    if not _open:
        columns = (rich.progress.TextColumn("{task.description}", markup=False), rich.progress.BarColumn(),
                   rich.progress.TextColumn("{task.fields[words]}", markup=False))
        # Refreshed by hand: a thread that did so would take time from what is timed.
        _open.append(rich.progress.Progress(
            *columns, console=rich.console.Console(file=sys.stderr), transient=True, auto_refresh=False,
            redirect_stdout=sys.stdout.isatty()))
        _open[0].start()
    display = _open[0]
    task = display.add_task(what, total=total, words="")
    display.refresh()
    try:
        yield lambda number, words: display.update(task, completed=number, words=words, refresh=True)
    finally:
        display.remove_task(task)
        if not display.tasks:
            _open.pop().stop()


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
