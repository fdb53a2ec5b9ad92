"""Tables of text cells: in aligned columns, and as Markdown."""
from typing import List, Sequence

__all__ = ["aligned", "markdown"]


def aligned(rows: Sequence[Sequence[str]]) -> List[str]:
    """One line a row; the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [(row[0].ljust(widths[0]) + "".join(f"  {cell.rjust(width)}" for cell, width in zip(row[1:], widths[1:]))
             ).rstrip() for row in rows]


def markdown(rows: Sequence[Sequence[str]]) -> List[str]:
    """The same; the first row is the head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *lines[1:]]
