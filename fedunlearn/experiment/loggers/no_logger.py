"""No log beside the run's own files."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedunlearn.unlearning import Moment


class Silent(AbstractContextManager[Any]):
    """A log that takes everything and keeps nothing."""

    def __exit__(self, *error: object) -> None:
        """End nothing."""

    def metrics(
        self, seed: int, strategy: str, moment: Moment, values: Mapping[str, float]
    ) -> None:
        """Keep nothing."""

    def summary(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Keep nothing."""


@dataclass(frozen=True, slots=True)
class NoLogger:
    """Log nowhere."""

    def start(self, run: Path, settings: Mapping[str, object], *, resumed: bool) -> Silent:
        """Return a log that keeps nothing."""
        return Silent()

    def figures(self, run: Path, files: Sequence[Path]) -> None:
        """Keep nothing."""
