"""How tables look on the terminal, all of them alike."""

import os
import sys
from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table

from fedunlearn.results.branches import RETRAIN

TABLE_WIDTH = 100
"""Columns that every table fits into, and that it gets where the output is no terminal."""


def terminal_table(
    first: str, numbers: Iterable[str] = (), *, title: str | None = None, gap: int = 1
) -> Table:
    """Return a table without rows: a column ``first`` that never wraps, and ``numbers`` behind it.

    These stand to the right. ``gap`` blanks are between columns.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False)
    table.show_edge = False
    table.add_column(first, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def marked(strategy: str) -> tuple[str, str]:
    """Return the name of a strategy's row and its style: retraining, the goal, stands out."""
    return (f"► {strategy}", "bold") if strategy == RETRAIN else (strategy, "")


class PersistentConsole(Console):
    """A console that falls silent where nobody reads it any more: the work goes on."""

    def on_broken_pipe(self) -> None:
        """Drop this and all further output, where rich would end the program."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def plain_console() -> Console:
    """Return a console that marks nothing up by itself and is wide enough for every table."""
    return wide_enough(PersistentConsole(highlight=False, markup=False))


def wide_enough(console: Console) -> Console:
    """Give a console that is no terminal `TABLE_WIDTH` columns, and return it."""
    if not console.is_terminal:
        console.width = TABLE_WIDTH
    return console
