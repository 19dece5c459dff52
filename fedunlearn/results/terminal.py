"""How tables look on the terminal, all of them alike."""

import os
import sys
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import replace

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table

from fedunlearn.results.branches import RETRAIN

TABLE_WIDTH = 100
"""Columns that every table fits into, and that it gets where the output is no terminal."""


NAME_WIDTH = 22
"""Columns to which names are cut where a terminal is too narrow for the table."""

UNBOUNDED = 10_000
"""Columns that no table reaches."""

FEWEST_COLUMNS = 2
"""So many columns stay, however narrow a terminal is."""


class FittedTable(Table):
    """A table that gives up columns rather than break a number on a narrow terminal.

    First columns with a ``min_width`` fold to it, then names are cut to `NAME_WIDTH`, then columns
    go: those of ``first_to_go`` in this order, then the others from the right. A line below says
    which went.
    """

    first_to_go: Sequence[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table as it fits."""
        room = min(options.max_width, self.width or options.max_width)
        shown = copy(self)
        shown.columns = list(self.columns)
        shown.width = None if self.width is None else room
        if _width(shown, console, options) > room:
            shown.columns = [_folded(column) for column in shown.columns]
        if _width(shown, console, options) > room:
            shown.columns[0] = replace(shown.columns[0], max_width=NAME_WIDTH, overflow="ellipsis")
        gone = []
        while _width(shown, console, options) > room and len(shown.columns) > FEWEST_COLUMNS:
            headings = [str(column.header) for column in shown.columns]
            going = next((name for name in self.first_to_go if name in headings), headings[-1])
            gone.append(" ".join(going.split()))
            shown.columns.pop(headings.index(going))
            shown.columns = [replace(one, _index=n) for n, one in enumerate(shown.columns)]
        if gone:
            shown.caption = f"No room for: {', '.join(gone)}"
        yield from Table.__rich_console__(shown, console, options)


def _folded(column: Column) -> Column:
    """Return a column at its least width; one without such a width, or a flexible one, as it is."""
    rigid = column.min_width is not None and column.ratio is None
    return replace(column, width=column.min_width) if rigid else column


def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
    """Return the columns that a table takes if nothing wraps; flexible ones at their least."""
    rigid = copy(table)
    rigid.width = None
    rigid.columns = [
        replace(column, ratio=None, max_width=column.min_width) if column.ratio else column
        for column in table.columns
    ]
    return Measurement.get(console, options.update(width=UNBOUNDED), rigid).maximum


def terminal_table(
    first: str,
    numbers: Iterable[str] = (),
    *,
    title: str | None = None,
    gap: int = 1,
    first_to_go: Sequence[str] = (),
) -> FittedTable:
    """Return a table without rows: a column ``first`` that never wraps, and ``numbers`` behind it.

    These stand to the right. ``gap`` blanks are between columns. Where a terminal is too narrow,
    the columns ``first_to_go`` go in this order, then the others from the right.
    """
    table = FittedTable(title=title, box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False)
    table.show_edge = False
    table.first_to_go = first_to_go
    table.add_column(first, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def marked(strategy: str) -> tuple[str, str]:
    """Return the name of a strategy's row and its style: retraining, the goal, stands out."""
    return (f"► {strategy}", "bold") if strategy == RETRAIN else (strategy, "")


class PersistentConsole(Console):
    """A console that falls silent where nobody reads it any more: the work goes on."""

    def on_broken_pipe(self) -> None:
        """Drop this and all further output, where rich would end the program."""
        self.quiet = True
        discard_output()


def discard_output() -> None:
    """Send standard output nowhere, lest Python complain of what is left to flush at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain_console() -> Console:
    """Return a console that marks nothing up by itself and is wide enough for every table."""
    return wide_enough(PersistentConsole(highlight=False, markup=False))


def wide_enough(console: Console) -> Console:
    """Give a console that is no terminal `TABLE_WIDTH` columns, and return it."""
    if not console.is_terminal:
        console.width = TABLE_WIDTH
    return console
