"""How fast this machine is at the parts of an experiment, from a short measurement."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import torch

from fedunlearn.data import Federation, build_federation, checked_federation
from fedunlearn.evaluators import Snapshot
from fedunlearn.experiment import Experiment
from fedunlearn.experiment.estimate.dry_clients import NUDGE
from fedunlearn.experiment.estimate.throughput import measure
from fedunlearn.local import LocalWork
from fedunlearn.threads import cores, pool
from fedunlearn.unlearning import Clock, Ledger, ProxyData

ROUND = 5.0
"""Rounds that would take more seconds are timed with fewer epochs."""

BACKWARD = 3.0
"""So many times the forward pass is a guess at what training takes, to choose those epochs."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast this machine is at the parts of an experiment."""

    start: float
    """Seconds until clients can be asked."""
    samples: float
    """Records that clients process in a second, all of them together."""
    epochs: int
    """Of the rounds that were timed."""
    rounds: int
    """That were timed."""
    evaluation: float
    """Seconds in which a model is measured."""
    distilled: dict[str, float] = field(default_factory=dict)
    """Seconds a record on the server, by the work it was asked to do."""

    @classmethod
    def of(
        cls, experiment: Experiment, seeds: Sequence[int], clock: Clock = time.perf_counter
    ) -> "Pace":
        """Time a few rounds and the measuring of a model, under the first seed.

        Raises `Refused` for seeds that cannot be run, before anything is timed.
        """
        scenarios = experiment.scenarios(seeds)
        for scenario in scenarios.values():
            checked_federation(scenario)
        torch.set_num_threads(1)  # as in a run
        training, scenario = experiment.training, scenarios[seeds[0]]
        federation = build_federation(scenario)
        evaluation, forward = _evaluating(experiment, federation, clock)
        share = training.cohort_size(federation.clients) / federation.clients
        epoch = BACKWARD * forward * share * sum(map(len, federation.train))
        epochs = max(1, min(training.work.epochs, int(ROUND / epoch)))
        timed = replace(training, work=replace(training.work, epochs=epochs))
        speed = measure(experiment.engine, scenario, timed, clock=clock)
        return cls(speed.start, speed.samples, epochs, len(speed.rounds), evaluation)

    def distilling(self, proxy: ProxyData, work: LocalWork) -> float:
        """Return the seconds that a record takes, timed on two batches when first asked."""
        if repr(work) not in self.distilled:
            few = replace(proxy, inputs=proxy.inputs[: 2 * work.batch_size], ledger=Ledger())
            model = proxy.network.initial(proxy.seed)
            for timed in (replace(work, epochs=1), work):  # the first one warms up
                few.distil(model, model, timed, round=1)
            last = few.ledger.charges[-1]
            self.distilled[repr(work)] = last.seconds / last.samples
        return self.distilled[repr(work)]

    def describe(self) -> str:
        """Say how seconds come about."""
        server = ", and the server distilled two batches" if self.distilled else ""
        return (
            f"Seconds are expected from a short measurement here: clients trained {self.rounds} "
            f"rounds of {self.epochs} epoch{'s' * (self.epochs > 1)} ({self.samples:,.0f} "
            f"samples/s), a model was measured ({self.evaluation:.2g} s){server}. Reading data, "
            "writing files and drawing figures come on top."
        )


def _evaluating(
    experiment: Experiment, federation: Federation, clock: Clock
) -> tuple[float, float]:
    """Return the seconds in which a run measures one model, and their part for one record."""
    device = torch.device(experiment.engine.device)
    sets = {name: records.to(device) for name, records in federation.request_sets(1).items()}
    batch_size, times = experiment.evaluation.batch_size, list[float]()
    with pool(cores()) as threads:
        reference: Snapshot | None = None
        while len(times) < 4 and sum(times) < 1:
            began, weights = clock(), federation.initial + NUDGE
            model = Snapshot(
                federation.network, weights, sets, federation.initial, batch_size, threads.map
            )
            for evaluator in experiment.evaluation.measures:
                evaluator(model, reference or model)
            times.append(clock() - began)
            reference = model
    seconds = median(times[1:] or times)  # the first one warms up, where there are others
    return seconds, seconds / sum(map(len, sets.values()))
