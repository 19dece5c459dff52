"""What `fedunlearn.simulate` returns: the tables of a run, its figures and its report."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from fedunlearn import results
from fedunlearn.checks import Refused, nearest

if TYPE_CHECKING:
    import pandas as pd


def _shown(path: Path) -> Path:
    """Return a path relative to where the user stands, where that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


@dataclass(frozen=True)
class Picture(os.PathLike[str]):
    """A figure as a file, which a notebook shows."""

    file: Path
    """A PNG; beside it lies the same as SVG."""

    def __fspath__(self) -> str:
        return str(self.file)

    def __repr__(self) -> str:
        return f"Picture({_shown(self.file)})"

    def _repr_png_(self) -> bytes:
        return self.file.read_bytes()


@dataclass(frozen=True)
class Simulation:
    """A finished run: its tables as data frames, read from the files in `folder`.

    Printed, or as the last line of a notebook's cell, it shows the answers. ``Simulation(folder)``
    opens a run again, whoever made it.
    """

    folder: Path
    """Where all files of the run lie."""

    @cached_property
    def answers(self) -> pd.DataFrame:
        """A row for each strategy and request: forgotten or not, and at what cost (answers.csv)."""
        return results.load_answers(self.folder)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """A row for each strategy and metric: gap to retraining, p-value (verdicts.csv)."""
        return results.load_verdicts(self.folder)

    @cached_property
    def _run(self) -> results.Run:
        return results.load(self.folder)

    @property
    def summary(self) -> pd.DataFrame:
        """A row for each seed, strategy and request: final metrics, gaps, costs (summary.csv)."""
        return self._run.summary

    @property
    def metrics(self) -> pd.DataFrame:
        """Every metric of every round: seed, strategy, request, phase, round, metric, value."""
        return self._run.metrics

    @property
    def ledger(self) -> pd.DataFrame:
        """What every round cost each client: bytes, samples, seconds (ledger.csv)."""
        return self._run.ledger

    def plot(self, name: str | None = None) -> Picture:
        """Draw all figures into ``figures/`` of the folder and return the first, or the one named.

        Names are those of the files, such as ``forgetting`` or ``tradeoff``. Raises `Refused` where
        there is none of that name.
        """
        from fedunlearn.results import plots

        drawn = {file.stem: file for file in plots.draw(self.folder) if file.suffix == ".png"}
        name = next(iter(drawn), "") if name is None else name
        if name not in drawn:
            raise Refused(f"There is no figure {name}{nearest(name, drawn)}")
        return Picture(drawn[name])

    def report(self) -> Path:
        """Write the report into the folder, and return its page: report.html.

        Markdown, LaTeX tables and figures lie beside it.
        """
        from fedunlearn.results import report as pages

        from .report import declared

        return pages.write(self.folder, declared(self.folder))[0]

    def __str__(self) -> str:
        """Write the answers as the command line prints them."""
        place = _shown(self.folder)
        if self.answers.empty:
            return f"Nobody has left.\nResults are in {place}"
        owners = results.listed_owners(results.read_manifest(self.folder))
        leavers = results.then([asked.what for asked in results.all_wishes(self.summary, owners)])
        text = io.StringIO()
        console = Console(
            file=text, width=results.TABLE_WIDTH, color_system=None, force_jupyter=False
        )
        console.print(results.printed_answers(self.answers, leavers))
        return f"{text.getvalue()}Results are in {place}"

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        """Let a notebook show what ``print`` does."""
        printer.text(str(self))  # type: ignore[attr-defined]
