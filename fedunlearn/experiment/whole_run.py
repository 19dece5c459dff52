"""Plain values in, rows out: every simulation and many tests go through `run`."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from rich.console import Console

from fedunlearn import files
from fedunlearn.data import Federation, Scenario, build_federation, checked_federation
from fedunlearn.experiment.cache import Cache
from fedunlearn.experiment.certificates import drafts
from fedunlearn.experiment.checkpoint import HISTORY, Checkpoint, Loaded, Notes
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.measuring import Measuring
from fedunlearn.experiment.progress import Progress
from fedunlearn.experiment.provenance import commit, schedule_hash, split_hash, versions
from fedunlearn.experiment.resume import finished, require_same
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.experiment.seed_run import SeedRun
from fedunlearn.experiment.shared_stages import Sharing, facts
from fedunlearn.flower import Connection
from fedunlearn.locks import alone
from fedunlearn.results import MANIFEST, judge, load, with_gaps
from fedunlearn.results.certificates import chain
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
) -> pd.DataFrame:
    """Run ``experiment`` once a seed, write the results into ``path``, and return the summary.

    ``config`` goes to the manifest. With ``resume``, go on where a killed run in ``path`` stood;
    what it finished is not done again. Raises `Refused` for whatever cannot be done, before any
    training starts, and where another process works in ``path``.
    """
    torch.set_num_threads(1)  # cores are used by threads that each play a client
    scenarios = experiment.scenarios(seeds)
    splits = {}
    for seed, scenario in scenarios.items():
        here = checked_federation(scenario)
        splits[seed] = split_hash(here)
    _warn_of_server_steps(experiment)
    size = here.network.layout.size  # the same for every seed
    experiment, picked = experiment.within_budget(size)
    if picked:
        console.print(picked, highlight=False, soft_wrap=True)
    clients, training = experiment.partition.clients, experiment.training
    engine = experiment.engine.describe(scenario)
    console.print(engine, highlight=False, soft_wrap=True)
    manifest = {
        "status": "running",
        "seeds": list(seeds),
        "commit": commit(),
        "versions": versions(),
        "split_sha256": splits,
        "engine": engine,
        "budget": picked,
        "cohorts_sha256": {seed: schedule_hash(training, clients, seed) for seed in seeds},
        "config": config,
    }
    stored = experiment.stored_bytes(size)
    # At one time there are the rounds that all strategies share and those of one strategy; what is
    # in memory is in the checkpoint as well, which goes with each seed.
    needed = len(seeds) * experiment.models_stored * size * 4
    needed += stored * (len(seeds) + 1 if experiment.store.on_disk(stored) else 2)
    with alone(path / LOCK, str(path)):
        checkpoint, loaded = Checkpoint(path), None
        if resume and (path / MANIFEST).exists():
            require_same(path, manifest)
            if finished(path):
                return load(path).summary
            loaded = checkpoint.load()
        if loaded is None:
            checkpoint.clear()
            files.remove(path / HISTORY)
            files.remove(path / chain.FOLDER)
        files.remove_partials(path)
        sizes = None if loaded is None else loaded.sizes
        with (
            experiment.logger.start(path, config, resumed=resume) as log,
            RunFolder(path, needed, sizes, log) as folder,
            Progress(len(seeds) * experiment.length, console) as progress,
            pool(cores()) as threads,
        ):
            running = Running(experiment, folder, progress, threads, checkpoint, splits, engine)
            folder.manifest(manifest)
            try:
                notes = running.seeds(scenarios, loaded)
                rows = with_gaps(running.summary)
                log.summary(rows)
                folder.verdicts(judge(pd.DataFrame(rows)).to_dict("records"))
                chain.issue(path, drafts(experiment, path, running.summary, notes, config))
            except BaseException:
                folder.manifest({**manifest, "status": "failed"})
                raise
            folder.manifest({**manifest, "status": "finished"})
            checkpoint.clear()
    return pd.DataFrame(rows)


@dataclass
class Running:
    """A run at work: what all its seeds share."""

    experiment: Experiment
    folder: RunFolder
    progress: Progress
    threads: Executor
    checkpoint: Checkpoint
    splits: Mapping[int, str]
    """The hash of each seed's data."""
    engine: str
    """What carries out the work, in words."""
    summary: list[dict[str, object]] = field(default_factory=list)

    def seeds(self, scenarios: Mapping[int, Scenario], loaded: Loaded | None) -> Notes:
        """Simulate one seed after another, from the one at which ``loaded`` stood.

        Returns the notes of all seeds.
        """
        notes = Notes()
        self.summary += [] if loaded is None else loaded.summary
        for seed, scenario in scenarios.items():
            here = build_federation(scenario)
            self.folder.clients(
                seed,
                here.dataset.classes,
                here.label_counts(here.train),
                here.label_counts(here.heldout),
            )
            if loaded is not None and loaded.seed != seed:
                continue  # it was finished before
            saved, loaded = loaded, None

            def job(
                connection: Connection, here: Federation = here, saved: Loaded | None = saved
            ) -> None:
                nonlocal notes
                notes = self._seed_run(here, connection).run(notes, saved)

            self.experiment.engine.run(scenario, job, self.experiment.kinds)
        return notes

    def _seed_run(self, federation: Federation, connection: Connection) -> SeedRun:
        measuring = Measuring(self.experiment, federation, self.folder, self.progress, self.threads)
        return SeedRun(
            experiment=self.experiment,
            federation=federation,
            connection=connection,
            folder=self.folder,
            measuring=measuring,
            checkpoint=self.checkpoint,
            summary=self.summary,
            sharing=self._sharing(federation),
        )

    def _sharing(self, here: Federation) -> Sharing | None:
        experiment, seed = self.experiment, here.scenario.seed
        if experiment.cache is None:
            return None
        return Sharing(
            Cache(experiment.cache),
            self.folder,
            self.folder.path / HISTORY / f"seed{seed}" / "training",
            facts(experiment, seed, self.splits[seed], self.engine),
            self.summary,
        )


def _warn_of_server_steps(experiment: Experiment) -> None:
    """Say where a replay of plain averages meets training that was none."""
    replaying = [name for name, s in experiment.strategies.items() if s.needs.updates]
    if replaying and experiment.training.server != FedAvg():
        log.warning(
            "Updates are replayed as plain averages (by %s), but training.server takes other "
            "steps: results will differ from the papers'.",
            ", ".join(replaying),
        )
