"""TensorBoard: a curve a metric, in the folder ``tensorboard`` of the run."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedunlearn import files
from fedunlearn.experiment.loggers.log import numbers, require
from fedunlearn.experiment.loggers.round_numbers import RoundNumbers
from fedunlearn.unlearning import Moment

FOLDER = "tensorboard"

FIGURES = "figures"


@dataclass(frozen=True, slots=True)
class TensorBoard:
    """Write event files; ``tensorboard --logdir`` shows those of a run, or of many."""

    def __post_init__(self) -> None:
        """Raise `Refused` unless TensorBoard is installed."""
        require("tensorboard", "tensorboard")

    def start(self, run: Path, settings: Mapping[str, object], *, resumed: bool) -> "Events":
        """Begin anew: a run's folder has one log, which the next run in it replaces."""
        files.remove(run / FOLDER)
        with _writer(run / FOLDER) as writer:
            text = json.dumps(settings, indent=2, default=str, ensure_ascii=False)
            writer.add_text("settings", "\n".join(f"    {line}" for line in text.splitlines()))
        return Events(run / FOLDER)

    def figures(self, run: Path, drawn: Sequence[Path]) -> None:
        """Add each PNG file as an image of its name."""
        files.remove(run / FOLDER / FIGURES)
        with _writer(run / FOLDER / FIGURES) as writer:
            for file in drawn:
                if file.suffix == ".png":
                    pixels = np.asarray(Image.open(file).convert("RGB"))
                    writer.add_image(file.stem, pixels, dataformats="HWC")


@dataclass(slots=True)
class Events(AbstractContextManager[Any]):
    """Event files below ``folder``: in ``seed0/federaser/request1/unlearn``, say.

    TensorBoard draws what has one name into one chart, with a colour a folder: so each metric is
    a chart of all seeds, strategies and phases over the run's global rounds. Values are float32.
    """

    folder: Path
    rounds: RoundNumbers = field(default_factory=RoundNumbers)
    writers: dict[str, Any] = field(default_factory=dict)
    """The writer of the latest place: nobody writes to two at a time."""

    def __exit__(self, *error: object) -> None:
        """Write what still waits."""
        self._close()

    def metrics(
        self, seed: int, strategy: str, moment: Moment, values: Mapping[str, float]
    ) -> None:
        """Add one point to the curve of each metric; one without a value gets none."""
        writer = self._at(f"seed{seed}/{strategy}/request{moment.request}/{moment.phase}")
        number = self.rounds.number(seed, strategy, moment)
        for name, value in numbers(values).items():
            writer.add_scalar(name, value, number)

    def summary(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add the numbers of each row as ``summary/<column>``, over the number of the request."""
        for row in rows:
            writer = self._at(f"seed{row['seed']}/{row['strategy']}/summary")
            for name, value in numbers(row).items():
                writer.add_scalar(f"summary/{name}", value, row["request"])
        self._close()

    def _at(self, place: str) -> Any:
        if place not in self.writers:
            self._close()
            self.writers[place] = _writer(self.folder / place)
        return self.writers[place]

    def _close(self) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()


def _writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # takes seconds

    return SummaryWriter(folder)
