"""What a person sees while a run works: rounds, time left, accuracy, forgetting, megabytes."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Column

from fedunlearn.results import CARDS
from fedunlearn.unlearning import Clock, Moment

SECONDS_BETWEEN_LINES = 3.0
"""Where the output is no terminal, a line appears this often, and at the end of each phase."""

PHASES = {"train": "training", "unlearn": "unlearning", "recover": "recovery"}


class Progress:
    """A bar over all rounds of a run on a terminal; now and then a line elsewhere."""

    def __init__(self, rounds: int, console: Console, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._rounds = rounds
        self._done = 0
        self._console = console
        self._started = self._printed = self._clock()
        self._latest: dict[str, float] = {}
        self._line = ""
        self._bar = Bar(
            TextColumn("{task.description:<20}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10, table_column=Column(no_wrap=True)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[facts]}"),  # the one that a narrow terminal may wrap
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=rounds, facts="")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def advance(
        self, seed: int, strategy: str, moment: Moment, values: Mapping[str, float], sent: int
    ) -> None:
        """Count one round; ``values`` are its metrics, ``sent`` the branch's bytes so far."""
        self._done += 1
        self._latest.update(values)
        named = [
            f"{card.progress} {_written(self._latest[name], percent=card.percent)}"
            for name, card in CARDS.items()
            if card.progress and name in self._latest
        ]
        facts = ", ".join([*named, f"{sent / 1e6:.1f} MB"])
        what = f"seed {seed} {strategy} {PHASES[moment.phase]}"
        self._bar.update(
            self._task, description=f"seed {seed} {strategy}", completed=self._done, facts=facts
        )
        self._line = f"{what}, round {moment.round}: {facts}"
        if self._clock() - self._printed > SECONDS_BETWEEN_LINES:
            self.say()

    def say(self) -> None:
        """Where no bar is shown, print the latest round as a line, once."""
        if self._console.is_terminal or not self._line:
            return
        self._printed = self._clock()
        spent = self._printed - self._started
        left = spent / self._done * max(0, self._rounds - self._done)
        place = f"{self._done} of {self._rounds} rounds, about {left:.0f} s left"
        self._console.print(
            f"[{place}] {self._line}", soft_wrap=True, highlight=False, markup=False
        )
        self._line = ""


def _written(value: float, *, percent: bool) -> str:
    return f"{100 * value:.1f}%" if percent else f"{value:.2f}"
