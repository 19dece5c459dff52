"""Plain values in, rows out: every simulation and many tests go through `run`."""

import logging
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from rich.console import Console

from fedunlearn.clients import Connection
from fedunlearn.engines import cores
from fedunlearn.federation import Federation, federation, possible
from fedunlearn.pools import pool
from fedunlearn.progress import Progress
from fedunlearn.provenance import commit, schedule_hash, split_hash, versions
from fedunlearn.results import RunFolder
from fedunlearn.server_optimizers import Average
from fedunlearn.settings import Experiment
from fedunlearn.simulation import Simulation

log = logging.getLogger(__name__)


def run(
    experiment: Experiment,
    seeds: Sequence[int],
    open_folder: Callable[[int], RunFolder],
    config: Mapping[str, object],
    console: Console,
) -> pd.DataFrame:
    """Run ``experiment`` once a seed, write the results, and return the summary.

    ``open_folder`` opens the run's folder, given the bytes that it will need; ``config`` goes to
    the manifest. Raises `Refused` for whatever cannot be done, before any training starts.
    """
    torch.set_num_threads(1)  # cores are used by threads that each play a client
    scenarios = experiment.scenarios(seeds)
    splits = {}
    for seed, scenario in scenarios.items():
        here = possible(scenario)
        splits[seed] = split_hash(here)
    _warn_of_server_steps(experiment)
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
        "cohorts_sha256": {seed: schedule_hash(training, clients, seed) for seed in seeds},
        "config": config,
    }
    size = here.network.layout.size  # the same for every seed
    stored = experiment.stored_bytes(size)
    # At one time there are the rounds that all strategies share and those of one strategy.
    needed = len(seeds) * experiment.models_stored * size * 4
    needed += (len(seeds) + 1) * stored * experiment.keep.on_disk(stored)
    summary: list[dict[str, object]] = []
    with (
        open_folder(needed) as folder,
        Progress(len(seeds) * experiment.length, console) as progress,
        pool(cores()) as threads,
    ):
        folder.manifest(manifest)
        try:
            for scenario in scenarios.values():
                here = federation(scenario)

                def job(connection: Connection, here: Federation = here) -> None:
                    simulation = Simulation(experiment, here, connection, folder, progress, threads)
                    for row in simulation.run():
                        summary.append(row)
                        folder.summary(summary)

                experiment.engine.run(scenario, job)
        except BaseException:
            folder.manifest({**manifest, "status": "failed"})
            raise
        folder.manifest({**manifest, "status": "finished"})
    return pd.DataFrame(summary)


def _warn_of_server_steps(experiment: Experiment) -> None:
    """Say where a replay of plain averages meets training that was none."""
    replaying = [name for name, s in experiment.strategies.items() if s.needs.updates]
    if replaying and experiment.training.server != Average():
        log.warning(
            "Updates are replayed as plain averages (by %s), but training.server takes other "
            "steps: results will differ from the papers'.",
            ", ".join(replaying),
        )
