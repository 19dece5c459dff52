"""MLflow: a run for each seed and strategy, below one for the folder, in a local store."""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from fedunlearn import checks, files
from fedunlearn.checks import Refused, short
from fedunlearn.experiment.loggers.log import flat, noted, numbers, require, run_name
from fedunlearn.experiment.loggers.round_numbers import RoundNumbers
from fedunlearn.locks import in_turn
from fedunlearn.unlearning import Moment

NOTE = "mlflow.txt"
"""The file in a run's folder that holds the id of its run in the store."""

PARENT = "mlflow.parentRunId"
"""MLflow's own tag of a run below another."""

MOST = 100
"""Parameters, and with them metrics, that MLflow takes at a time."""

LONGEST = 500
"""Characters of a setting that are kept."""


@dataclass(frozen=True, slots=True)
class MlFlow:
    """Write to the store at ``uri``: a folder, a database such as ``sqlite:///f.db``, a server."""

    uri: str = "outputs/mlruns"
    """Where the store is: a folder, a database such as sqlite:///outputs/mlflow.db, or a server."""
    experiment: str = "fedunlearn"
    """MLflow's name for a group of runs."""

    def __post_init__(self) -> None:
        """Raise `Refused` unless MLflow is installed and the store has a name."""
        checks.fields(self)
        for name in ("uri", "experiment"):
            if not getattr(self, name):
                raise checks.field_refused(self, name, " must not be empty.")
        require("mlflow", "mlflow")

    def start(self, run: Path, settings: Mapping[str, object], *, resumed: bool) -> "Runs":
        """Begin a run in the store; with ``resumed``, what was begun for this folder is deleted."""
        parameters = {key(name): text for name, text in flat(settings).items()}
        with _usable(self.uri):
            client = self._client()
            if resumed:
                _forget(client, run)
            group = self._group(client)
            parent = _begin(client, group, f"{run.parent.name}/{run.name}", {}, parameters)
        files.write(run / NOTE, f"{parent}\n".encode())
        return Runs(client, group, parent, parameters)

    def figures(self, run: Path, drawn: Sequence[Path]) -> None:
        """Add each file to the run of the folder."""
        client, parent = self._client(), noted(run / NOTE)
        for file in drawn if parent else ():
            client.log_artifact(parent, str(file), "figures")

    def _client(self) -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        if self._folder is not None:  # which MLflow keeps up, but wants to be asked for
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow import MlflowClient  # takes seconds

        return MlflowClient(self.uri)

    def _group(self, client: Any) -> str:
        """Return the id of the experiment, which the first run makes."""
        folder = self._folder
        turn = nullcontext() if folder is None else in_turn(folder.with_name(f".{folder.name}"))
        with turn:
            group = client.get_experiment_by_name(self.experiment)
            return str(group.experiment_id if group else client.create_experiment(self.experiment))

    @property
    def _folder(self) -> Path | None:
        scheme, separator, path = self.uri.partition("://")
        if separator and scheme != "file":
            return None
        return Path(path if separator else self.uri)


@dataclass(slots=True)
class Runs(AbstractContextManager[Any]):
    """The runs of one folder; those below it are made as their first models come."""

    client: Any
    group: str
    parent: str
    parameters: Mapping[str, str]
    rounds: RoundNumbers = field(default_factory=RoundNumbers)
    children: dict[tuple[int, str], str] = field(default_factory=dict)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Say of all runs that they are finished, or that they failed."""
        for run in (*self.children.values(), self.parent):
            self.client.set_terminated(run, "FINISHED" if kind is None else "FAILED")

    def metrics(
        self, seed: int, strategy: str, moment: Moment, values: Mapping[str, float]
    ) -> None:
        """Add the metrics of one model as ``request1/unlearn/<metric>``, over the global round.

        A metric of a part, of one client say, is ``<metric>.<part>`` there.
        """
        place = f"request{moment.request}/{moment.phase}"
        number = self.rounds.number(seed, strategy, moment)
        self._add(seed, strategy, place, numbers(values), number)

    def summary(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Add the numbers of each row as ``request1/summary/<column>``."""
        for row in rows:
            seed, strategy, request = (row[name] for name in ("seed", "strategy", "request"))
            assert isinstance(seed, int)
            assert isinstance(request, int)
            self._add(seed, str(strategy), f"request{request}/summary", numbers(row), request)

    def _add(
        self, seed: int, strategy: str, place: str, values: Mapping[str, float], step: int
    ) -> None:
        from mlflow.entities import Metric

        if (seed, strategy) not in self.children:
            tags = {"seed": str(seed), "strategy": strategy, PARENT: self.parent}
            name = run_name(seed, strategy)
            self.children[seed, strategy] = _begin(
                self.client, self.group, name, tags, self.parameters
            )
        now = time.time_ns() // 1_000_000
        logged = (Metric(f"{place}/{key(n)}", value, now, step) for n, value in values.items())
        for some in _portions(logged):
            self.client.log_batch(self.children[seed, strategy], metrics=some)


def key(name: str) -> str:
    """Return ``name`` as MLflow takes it.

    A store of files has a file a name: none may be a folder of others, as ``a`` is of ``a/1``.
    """
    return re.sub(r"[^\w. -]", "_", name.replace("/", "."))


@contextmanager
def _usable(uri: str) -> Iterator[None]:
    """Raise `Refused` where the store at ``uri`` cannot be begun in."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (ImportError, MlflowException) as error:
        raise Refused(
            f"logger.uri={short(uri)} cannot be used as a store ({files.reason(error)}). Name a "
            "folder, or a database such as sqlite:///outputs/mlflow.db, which needs: pip install "
            "sqlalchemy alembic"
        ) from error


def _begin(
    client: Any, group: str, name: str, tags: Mapping[str, str], parameters: Mapping[str, str]
) -> str:
    from mlflow.entities import Param

    run = str(client.create_run(group, run_name=name, tags=dict(tags)).info.run_id)
    for some in _portions(Param(name, text[:LONGEST]) for name, text in parameters.items()):
        client.log_batch(run, params=some)
    return run


def _forget(client: Any, folder: Path) -> None:
    parent = noted(folder / NOTE)
    if not parent:
        return
    group = client.get_run(parent).info.experiment_id
    below = client.search_runs([group], f"tags.`{PARENT}` = '{parent}'", max_results=10_000)
    for run in (parent, *(child.info.run_id for child in below)):
        client.delete_run(run)


def _portions(items: Iterable[Any]) -> Iterator[list[Any]]:
    left = iter(items)
    while some := list(islice(left, MOST)):
        yield some
