"""Plain values in, rows out: every simulation and many tests go through `run`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console

from fedunlearn import files
from fedunlearn.data import Federation, build_federation
from fedunlearn.experiment.cache import Cache
from fedunlearn.experiment.certificate_drafts import drafts
from fedunlearn.experiment.checkpoint import HISTORY, Checkpoint, Loaded, Notes
from fedunlearn.experiment.checkpoint_schedule import CheckpointSchedule
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.measuring import Measuring
from fedunlearn.experiment.prepared import Prepared, prepare
from fedunlearn.experiment.progress import Progress
from fedunlearn.experiment.resume import finished, identity, require_free, require_same
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.experiment.run_log import run_log
from fedunlearn.experiment.seed_run import SeedRun
from fedunlearn.experiment.shared_stages import Sharing, facts
from fedunlearn.flower import Connection
from fedunlearn.locks import alone
from fedunlearn.results import (
    CHECKSUMS_KEY,
    MANIFEST_FILE,
    MODELS_FOLDER,
    TABLE_FILES,
    Case,
    answers,
    judge,
    load,
    load_clients,
    load_metrics,
    load_verdicts,
    misses,
    remove_derived,
    request_rows,
    require_written,
    with_gaps,
)
from fedunlearn.results.certificates import chain, sign
from fedunlearn.threads import cores, pool
from fedunlearn.unlearning import FedAvg

LOCK = ".lock"
"""Held by the process that works in a run's folder."""

log = logging.getLogger(__name__)


def run(
    experiment: Experiment,
    seeds: Sequence[int],
    path: Path,
    config: Mapping[str, object],
    console: Console,
    *,
    resume: bool = False,
    overwrite: bool = False,
    overrides: Sequence[str] = (),
) -> pd.DataFrame:
    """Run ``experiment`` once a seed, write the results into ``path``, and return the summary.

    ``config`` goes to the manifest, as do ``overrides`` of the command line. With ``resume``, go on
    where a killed run in ``path`` stood; what it finished is not done again; with ``overwrite``, a
    finished one is replaced. Raises `Refused` for whatever cannot be done, before any training
    starts, and where another process works in ``path``.
    """
    torch.set_num_threads(1)  # cores are used by threads that each play a client
    prepared = prepare(experiment, seeds)
    experiment = prepared.experiment
    manifest = {**prepared.manifest(config), "overrides": list(overrides)}
    with alone(path / LOCK, str(path)):
        checkpoint, loaded = Checkpoint(path, identity(manifest)), None
        begun = resume and (path / MANIFEST_FILE).exists()
        if begun:
            require_same(path, manifest)
            if finished(path):
                require_written(path)
                checkpoint.clear()
                return load(path).summary
            loaded = checkpoint.load()
        _sweep(path, checkpoint, loaded, overwrite=overwrite)
        with run_log(path, console, resumed=resume):
            if begun and loaded is None:
                log.warning("%s holds no checkpoint: the run begins anew.", checkpoint.folder)
            _announce(prepared, console)
            work = _Work(prepared, path, config, manifest, console, checkpoint)
            rows = work.carried_out(loaded, resumed=resume)
        checkpoint.clear()
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Work:
    """A run that may begin: nothing in its folder is in its way."""

    prepared: Prepared
    path: Path
    config: Mapping[str, object]
    manifest: Mapping[str, object]
    console: Console
    checkpoint: Checkpoint

    def carried_out(self, loaded: Loaded | None, *, resumed: bool) -> list[dict[str, Any]]:
        """Do what there is to do from where ``loaded`` stood; return the summary's rows."""
        experiment, needed = self.prepared.experiment, self.prepared.needed_bytes
        sizes, checksums = (None, None) if loaded is None else (loaded.sizes, loaded.checksums)
        length = len(self.prepared.scenarios) * experiment.length
        with (
            experiment.logger.start(self.path, self.config, resumed=resumed) as log,
            RunFolder(self.path, needed, sizes, checksums, log) as folder,
            Progress(length, self.console) as progress,
            pool(cores()) as threads,
            _status(folder, self.manifest),
        ):
            running = Running(self.prepared, folder, progress, threads, self.checkpoint)
            notes = running.seeds(loaded)
            rows = running.conclude(notes, self.config)
            log.summary(rows)
        return rows


@dataclass
class Running:
    """A run at work: what all its seeds share."""

    prepared: Prepared
    folder: RunFolder
    progress: Progress
    threads: Executor
    checkpoint: Checkpoint
    summary: list[dict[str, object]] = field(default_factory=list)

    def seeds(self, loaded: Loaded | None) -> Notes:
        """Simulate one seed after another, from the one at which ``loaded`` stood.

        Returns the notes of all seeds.
        """
        experiment, notes = self.prepared.experiment, Notes()
        self.summary += [] if loaded is None else loaded.summary
        for seed, scenario in self.prepared.scenarios.items():
            federation = build_federation(scenario)
            self.folder.clients(
                seed,
                federation.dataset.classes,
                federation.label_counts(federation.train),
                federation.label_counts(federation.heldout),
            )
            if loaded is not None and loaded.seed != seed:
                continue  # it was finished before
            saved, loaded = loaded, None

            def job(
                connection: Connection,
                federation: Federation = federation,
                saved: Loaded | None = saved,
            ) -> None:
                nonlocal notes
                notes = self._seed_run(federation, connection).run(notes, saved)

            experiment.engine.run(scenario, job, experiment.kinds)
        return notes

    def conclude(self, notes: Notes, config: Mapping[str, object]) -> list[dict[str, Any]]:
        """Judge all models, write what was found, certify it, and return the summary's rows."""
        experiment, folder = self.prepared.experiment, self.folder
        rows = with_gaps(self.summary)
        folder.summary(rows)
        table, owners = pd.DataFrame(rows), dict(enumerate(self.prepared.owners))
        folder.verdicts(judge(table, experiment.margins).to_dict("records"))
        judged = answers(table, load_clients(folder.path), experiment.margins, owners)
        folder.answers(judged.to_dict("records"))
        folder.require_intact()
        drafted = experiment, self.summary, judged, notes, config, folder.checksums, owners
        certificates = list(drafts(*drafted))
        verified = {each.case: each.forgotten for each in certificates}
        asked, recovery = experiment.asked, experiment.recovery.rounds
        noted = {Case(*each[:3]): each.notes for each in notes.noted}
        approves = experiment.thresholds.approves
        missed = self._missed(rows)
        folder.requests(request_rows(rows, asked, recovery, verified, approves, noted, missed))
        issued = chain.issue(folder.path, certificates)
        if experiment.signing_key is not None and issued:
            sign(folder.path, experiment.signing_key, issued, folder.checksums)
        return rows

    def _missed(self, rows: Sequence[Mapping[str, Any]]) -> dict[Case, tuple[str, ...]]:
        """Return the goals that each row of the summary missed."""
        goals, path = self.prepared.experiment.thresholds.goals, self.folder.path
        return misses(goals, rows, load_metrics(path), load_verdicts(path)) if goals else {}

    def _seed_run(self, federation: Federation, connection: Connection) -> SeedRun:
        experiment = self.prepared.experiment
        measuring = Measuring(experiment, federation, self.folder, self.progress, self.threads)
        return SeedRun(
            experiment=experiment,
            federation=federation,
            connection=connection,
            folder=self.folder,
            measuring=measuring,
            schedule=CheckpointSchedule(self.checkpoint, experiment.checkpoint),
            summary=self.summary,
            sharing=self._sharing(federation),
        )

    def _sharing(self, federation: Federation) -> Sharing | None:
        experiment, seed = self.prepared.experiment, federation.scenario.seed
        if experiment.cache is None:
            return None
        return Sharing(
            Cache(experiment.cache),
            self.folder,
            self.folder.path / HISTORY / f"seed{seed}" / "training",
            facts(experiment, seed, self.prepared.splits[seed], self.prepared.engine),
            self.summary,
        )


def _sweep(path: Path, checkpoint: Checkpoint, loaded: Loaded | None, *, overwrite: bool) -> None:
    """Remove what must not be there when the run begins, or goes on where ``loaded`` stood."""
    if loaded is not None:
        checkpoint.sweep(loaded)
    else:
        if not overwrite:
            require_free(path)
        _clear(path, checkpoint)
    files.remove_partials(path)


def _announce(prepared: Prepared, console: Console) -> None:
    """Say what was chosen, and where a replay of plain averages meets training that was none."""
    experiment = prepared.experiment
    replaying = [name for name, s in experiment.strategies.items() if s.needs.updates]
    if replaying and experiment.training.server != FedAvg():
        log.warning(
            "Updates are replayed as plain averages (by %s), but training.server takes other "
            "steps: results will differ from the papers'.",
            ", ".join(replaying),
        )
    for sentence in filter(None, (prepared.budget, prepared.engine)):
        console.print(sentence, highlight=False, soft_wrap=True)


def _clear(path: Path, checkpoint: Checkpoint) -> None:
    """Delete what an earlier run in ``path`` leaves that this one does not replace."""
    checkpoint.clear()
    for changed in remove_derived(path):
        log.warning("%s is of the run before, but stays: it was changed since.", changed)
    files.remove(path / HISTORY)
    for name in TABLE_FILES:
        files.remove(path / name)
    for name in (chain.CERTIFICATES_FOLDER, MODELS_FOLDER):
        _remove_cases(path / name)


def _remove_cases(folder: Path) -> None:
    """Delete the files in ``folder`` that are named after cases; others are somebody's own."""
    for place in list(folder.glob("seed*-*-request*.*")):
        files.remove(place)
    if folder.is_dir() and not any(folder.iterdir()):
        files.remove(folder)


@contextmanager
def _status(folder: RunFolder, manifest: Mapping[str, object]) -> Iterator[None]:
    """Keep the manifest's status: that the run works, and how it ended."""
    folder.manifest({"status": "running", **manifest})
    try:
        yield
    except BaseException:
        folder.manifest({"status": "failed", **manifest})
        raise
    head = chain.read(folder.path).head
    ended = {CHECKSUMS_KEY: folder.checksums, chain.HEAD_KEY: head}
    folder.manifest({"status": "finished", **manifest, **ended})
