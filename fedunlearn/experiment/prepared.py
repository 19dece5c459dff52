"""All that is known of a run before it trains: what cannot be done is refused here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedunlearn.data import Scenario, checked_federation
from fedunlearn.experiment import compatible
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.provenance import (
    commit,
    schedule_hash,
    split_hash,
    timeline_hash,
    versions,
)
from fedunlearn.models import try_model


@dataclass(frozen=True, slots=True)
class Prepared:
    """An experiment whose data were read and whose parts are chosen."""

    experiment: Experiment
    """With a store and a policy that fit its budget."""
    scenarios: Mapping[int, Scenario]
    """By seed, in the order in which they are run."""
    splits: Mapping[int, str]
    """The hash of each seed's data."""
    size: int
    """Numbers of a model."""
    engine: str
    """What carries out the work, in words."""
    budget: str
    """How the budget is kept, in words; empty where there is none."""
    owners: tuple[str, ...] = ()
    """What people call each client, where the data set names owners."""

    @property
    def needed_bytes(self) -> int:
        """Bytes on the disk that the run takes at most."""
        experiment, seeds = self.experiment, len(self.scenarios)
        stored = experiment.stored_bytes(self.size)
        # At one time there are the rounds that all strategies share and those of one strategy; what
        # is in memory is in the checkpoint as well, which goes with each seed.
        histories = seeds + 1 if experiment.store.on_disk(stored) else 2
        return seeds * experiment.models_stored * self.size * 4 + stored * histories

    def manifest(self, config: Mapping[str, object]) -> dict[str, Any]:
        """Return what manifest.json says of the run, but for its status."""
        clients, training = self.experiment.partition.clients, self.experiment.training
        return {
            "seeds": list(self.scenarios),
            "commit": commit(),
            "versions": versions(),
            "split_sha256": self.splits,
            "timeline_sha256": timeline_hash(self.experiment.requests, self.experiment.joins),
            "engine": self.engine,
            "budget": self.budget,
            "cohorts_sha256": {
                seed: schedule_hash(training, clients, seed) for seed in self.scenarios
            },
            "config": config,
            **({"owners": dict(enumerate(self.owners))} if self.owners else {}),
        }


def prepare(experiment: Experiment, seeds: Sequence[int]) -> Prepared:
    """Read the data of all seeds, try the model on them, and choose what is left open.

    Raises `Refused` for whatever cannot be done.
    """
    scenarios = experiment.scenarios(seeds)
    splits: dict[int, str] = {}
    for seed, scenario in scenarios.items():
        federation = checked_federation(scenario)
        splits[seed] = split_hash(federation)
        for name, strategy in experiment.branches.items():
            compatible.strategy_and_markers(name, strategy.needs, federation)
    parts = {**experiment.branches, "training": experiment.training}
    compatible.work_and_data(parts, federation)
    compatible.optimizers_and_model(parts, federation.network)
    experiment.needs.check(federation.network.layout)
    images = federation.dataset.train.inputs[:2]
    try_model(federation.network, images, experiment.engine.device)  # the same for every seed
    size = federation.network.layout.size
    experiment, budget = experiment.within_budget(size)
    return Prepared(
        experiment=experiment,
        scenarios=scenarios,
        splits=splits,
        size=size,
        engine=experiment.engine.describe(scenario),
        budget=budget,
        owners=federation.owners,
    )
