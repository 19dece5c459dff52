"""run.log: what a run said and warned of, line by line with times, for people to read."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console, ConsoleRenderable, RenderHook
from rich.control import Control
from rich.text import Text

from fedunlearn import files
from fedunlearn.results import TABLE_WIDTH

RUN_LOG = "run.log"
"""The file in a run's folder: it holds times, so no checksum is kept of it and nothing reads it."""


@contextmanager
def run_log(folder: Path, console: Console, *, resumed: bool) -> Iterator[None]:
    """Keep run.log while the run in ``folder`` works: its start, how it ended, and all between.

    With ``resumed`` it grows on, else it begins anew. Raises `Refused` where it cannot be written.
    """
    with copied_to_log(folder, console, anew=not resumed) as lines:
        lines.add("The run goes on." if resumed else "The run starts.")
        try:
            yield
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            lines.add(f"The run stopped: {reason}")
            raise
        lines.add("The run is finished.")


@contextmanager
def copied_to_log(folder: Path, console: Console, *, anew: bool = False) -> Iterator["Lines"]:
    """Copy to run.log what ``console`` prints as lines, and the warnings of all libraries."""
    path = folder / RUN_LOG
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w" if anew else "a", encoding="utf-8")
    except OSError as error:
        raise files.unwritable(path, error) from error
    lines = Lines(stream)
    handler = _Handler(lines)
    logging.getLogger().addHandler(handler)
    console.push_render_hook(_Copy(lines))
    try:
        with _warnings_to(lines):
            yield lines
    finally:
        console.pop_render_hook()
        logging.getLogger().removeHandler(handler)
        stream.close()


@dataclass
class Lines:
    """Lines with the time of each, in UTC. A disk that takes no more of them stops no run."""

    stream: TextIO
    plain: Console = field(
        default_factory=lambda: Console(
            file=io.StringIO(),
            width=TABLE_WIDTH,
            force_terminal=False,
            force_jupyter=False,  # which would show the lines in the notebook
            color_system=None,
        )
    )

    def add(self, text: str) -> None:
        """Add each line of ``text`` that is not empty."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        kept = (line.rstrip() for line in text.splitlines())
        with suppress(OSError):
            self.stream.write("".join(f"{now} {line}\n" for line in kept if line))
            self.stream.flush()

    def render(self, said: ConsoleRenderable) -> None:
        """Add what a console was given to print, without colours; tables keep their width."""
        with self.plain.capture() as rendered:
            self.plain.print(said, soft_wrap=isinstance(said, Text))
        self.add(rendered.get())


@dataclass
class _Copy(RenderHook):
    """Adds what is printed to the lines; a bar that moves is none of it."""

    lines: Lines

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        for said in renderables:
            if not isinstance(said, Control):
                self.lines.render(said)
        return renderables


class _Handler(logging.Handler):
    """Adds warnings and errors of all loggers to the lines."""

    def __init__(self, lines: Lines) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.add(f"{record.levelname}: {record.getMessage()}")


@contextmanager
def _warnings_to(lines: Lines) -> Iterator[None]:
    """Add what `warnings` shows as well."""
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        lines.add(f"WARNING: {category.__name__}: {message}")
        before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
