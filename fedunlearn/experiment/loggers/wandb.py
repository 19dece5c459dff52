"""Weights & Biases: a run for each seed and strategy, in one group for the folder."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from fedunlearn import checks, files
from fedunlearn.experiment.loggers.log import flat, noted, numbers, require, run_name
from fedunlearn.experiment.loggers.round_numbers import RoundNumbers
from fedunlearn.unlearning import Moment

FOLDER = "wandb"
"""Where W&B writes, in the run's folder."""

NOTE = "wandb.txt"
"""The file in a run's folder that makes the ids of its runs its own."""

STEP = "global_round"
"""The axis of all curves. W&B's own step never goes back, but a model may be measured later."""

LONGEST = 128
"""Characters of a name that W&B takes."""


@dataclass(frozen=True, slots=True)
class WeightsAndBiases:
    """Write offline runs, which ``wandb sync`` sends, or send them at once."""

    project: str = "fedunlearn"
    """W&B's name for a group of runs."""
    mode: Literal["offline", "online"] = "offline"
    """offline writes to wandb/ in the run's folder and nothing leaves the machine; online sends."""

    def __post_init__(self) -> None:
        """Raise `Refused` unless W&B is installed and the project has a name."""
        checks.fields(self)
        if not self.project:
            raise checks.field_refused(self, "project", " must not be empty.")
        require("wandb", "wandb")

    def start(self, run: Path, settings: Mapping[str, object], *, resumed: bool) -> "WandbRuns":
        """Begin anew; with ``resumed`` under the ids of before, so that W&B replaces its runs."""
        files.remove(run / FOLDER)
        if not (resumed and noted(run / NOTE)):
            files.write(run / NOTE, f"{secrets.token_hex(8)}\n".encode())
        return WandbRuns(self, run, flat(settings))

    def figures(self, run: Path, drawn: Sequence[Path]) -> None:
        """Add each PNG file to a run ``figures`` of the same group."""
        images = [file for file in drawn if file.suffix == ".png"]
        if not images or not noted(run / NOTE):
            return
        import wandb  # takes seconds

        for earlier in (run / FOLDER).glob(f"*-{_id(run, 'figures')}"):
            files.remove(earlier)
        with self.begin(run, "figures", {}) as figures:
            figures.log({file.stem: wandb.Image(str(file)) for file in images})

    def begin(self, run: Path, name: str, config: Mapping[str, object]) -> Any:
        """Return a run of W&B that holds what is logged to it, and nothing about the machine."""
        import wandb  # takes seconds

        quiet = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
        )
        begun = wandb.init(
            project=self.project,
            group=f"{run.parent.name}/{run.name}"[-LONGEST:],
            name=name[:LONGEST],
            id=_id(run, name),
            dir=str(run),
            mode=self.mode,
            config=dict(config),
            reinit="create_new",
            settings=quiet,
        )
        begun.define_metric("*", step_metric=STEP)
        return begun


@dataclass(slots=True)
class WandbRuns(AbstractContextManager[Any]):
    """The runs of one folder, each made as its first model comes."""

    logger: WeightsAndBiases
    folder: Path
    settings: Mapping[str, str]
    rounds: RoundNumbers = field(default_factory=RoundNumbers)
    runs: dict[tuple[int, str], Any] = field(default_factory=dict)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say of all runs that they are finished, or that they failed."""
        for run in self.runs.values():
            run.finish(exit_code=0 if kind is None else 1)

    def metrics(
        self, seed: int, strategy: str, moment: Moment, values: Mapping[str, float]
    ) -> None:
        """Add the metrics of one model as ``request1/unlearn/<metric>``, over the global round."""
        place = f"request{moment.request}/{moment.phase}"
        named = {f"{place}/{name}": value for name, value in numbers(values).items()}
        number = self.rounds.number(seed, strategy, moment)
        self._run(seed, strategy).log({STEP: number, **named})

    def summary(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add the numbers of each row to the run's summary as ``request1/summary/<column>``."""
        for row in rows:
            seed, strategy, request = (row[name] for name in ("seed", "strategy", "request"))
            assert isinstance(seed, int)
            named = {f"request{request}/summary/{k}": value for k, value in numbers(row).items()}
            self._run(seed, str(strategy)).summary.update(named)

    def _run(self, seed: int, strategy: str) -> Any:
        if (seed, strategy) not in self.runs:
            config = {**self.settings, "seed": seed, "strategy": strategy}
            name = run_name(seed, strategy)
            self.runs[seed, strategy] = self.logger.begin(self.folder, name, config)
        return self.runs[seed, strategy]


def _id(folder: Path, name: str) -> str:
    """Return the id of the run ``name``: the same when a killed run goes on, else another."""
    return hashlib.sha256(f"{noted(folder / NOTE)} {name}".encode()).hexdigest()[:16]
