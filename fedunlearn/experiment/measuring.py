"""What is measured of one seed: every model as it comes about, next to the retrained ones."""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch

from fedunlearn.data import Federation, Records
from fedunlearn.evaluators import Evaluator, Snapshot
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.progress import Progress
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.experiment.seed_references import SeedReferences
from fedunlearn.results import PLANTED_METRIC, overall
from fedunlearn.unlearning import FederationState, Ledger, Moment, Phase, Step, Steps

PROBE_MARGIN = 0.5
"""A backdoor probe took if attack success falls by this much from the original to retraining."""


@dataclass(frozen=True)
class MeasuredModel:
    """One model and its metrics."""

    step: Step
    values: dict[str, float]


@dataclass
class Measuring:
    """Measures the models of one seed and writes the rows of metrics.csv and ledger.csv."""

    experiment: Experiment
    federation: Federation
    folder: RunFolder
    progress: Progress
    pool: Executor
    """Evaluates batches side by side."""
    retrained: dict[tuple[int, Phase], Snapshot] = field(default_factory=dict)
    """The reference of each request, by phase: retraining's last model, and that after recovery."""
    retrained_values: dict[int, dict[str, float]] = field(default_factory=dict)
    """The metrics of the reference at the end of each request."""
    sets: dict[int, dict[str, Records]] = field(default_factory=dict)
    """The records that models are measured on for each request, on the device that measures."""
    originals: dict[int, Snapshot] = field(default_factory=dict)
    """The model before each request: that of the first is the same for every strategy."""

    @property
    def seed(self) -> int:
        """The seed whose models these are."""
        return self.federation.scenario.seed

    @property
    def references(self) -> SeedReferences:
        """The retrained models of this seed so far."""
        models = {key: snapshot.weights for key, snapshot in self.retrained.items()}
        return SeedReferences(self.seed, models, dict(self.retrained_values))

    def follow(
        self, steps: Steps, name: str, ledger: Ledger
    ) -> tuple[FederationState, list[MeasuredModel]]:
        """Take all steps of the branch ``name``; measure and record each.

        Returns where the federation then stands, and the models that were measured.
        """
        measured = list[MeasuredModel]()
        charged = len(ledger.charges)
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                return stop.value, self._completed(name, measured)
            wanted = self.experiment.measures(step.moment)
            values = self._measure(step, self.experiment.evaluation.measures) if wanted else {}
            if values:
                measured.append(MeasuredModel(step, values))
                self.folder.metrics(self.seed, name, step.moment, values)
            self.folder.charges(self.seed, name, ledger.charges[charged:])
            charged = len(ledger.charges)
            sent = ledger.bytes_down + ledger.bytes_up
            self.progress.advance(self.seed, name, step.moment, values, sent)

    def refer(self, request: int, measured: list[MeasuredModel]) -> None:
        """Keep the reference of a request, for strategies at the same stage to compare with."""
        for each in measured:  # of each phase, the last stays
            self.retrained[request, each.step.moment.phase] = self._snapshot(each.step)
        self.retrained_values[request] = measured[-1].values

    def restore(self, references: SeedReferences) -> None:
        """Take up the references, and their metrics, where another process left them.

        Raises ValueError for those of another seed: its models are no reference here.
        """
        if references.seed != self.seed:
            raise ValueError(f"References of seed {references.seed} in seed {self.seed}.")
        values = references.values
        self.retrained_values |= {request: dict(each) for request, each in values.items()}
        for (request, phase), weights in references.models.items():
            if (request, phase) not in self.retrained:
                step = Step(Moment(phase, request, 1), weights)
                self.retrained[request, phase] = self._snapshot(step)

    def row(
        self,
        name: str,
        number: int,
        measured: list[MeasuredModel],
        ledger: Ledger,
    ) -> dict[str, Any]:
        """Return the row of summary.csv for request ``number``, as the branch ``name`` served it.

        ``store_bytes`` is left to the caller.
        """
        return {
            "seed": self.seed,
            "strategy": name,
            "request": number,
            "clients": "+".join(map(str, sorted(self.federation.holdings.asking(number)))),
            "probe": self._probe(number, measured),
            **overall(measured[-1].values),
            **self._costs(ledger.of(number)),
            "rounds": len(measured) - 1,
            "scope": self.federation.erasure(number).scope.words,
        }

    def _completed(self, name: str, measured: list[MeasuredModel]) -> list[MeasuredModel]:
        """Run the expensive evaluators on the model before a request and the last of each phase."""
        last = {each.step.moment.phase: place for place, each in enumerate(measured)}
        completed = list(measured)
        for place in sorted({0, *last.values()}) if "unlearn" in last else ():
            step = measured[place].step
            values = self._measure(step, self.experiment.evaluation.final)
            self.folder.metrics(self.seed, name, step.moment, values)
            completed[place] = MeasuredModel(step, measured[place].values | values)
        return completed

    def _measure(self, step: Step, evaluators: Iterable[Evaluator]) -> dict[str, float]:
        """Measure one model; comparisons with retraining are for the request being served."""
        model = self._snapshot(step)
        retrained = self.retrained.get((step.moment.request, step.moment.phase))
        values: dict[str, float] = {}
        for evaluator in evaluators:
            values |= evaluator(model, retrained)
        return values

    def _snapshot(self, step: Step) -> Snapshot:
        """Show a model the records of the latest request's leavers, or of the first to come."""
        number = max(1, step.moment.request)
        original = self.originals.get(number)
        if original is not None and original.weights is step.weights:
            return original
        snapshot = Snapshot(
            network=self.federation.network,
            weights=step.weights,
            sets=self._sets(number),
            initial=self.federation.initial,
            batch_size=self.experiment.evaluation.batch_size,
            each=self.pool.map,
            original=original,
            further=partial(self.federation.member_sets, number),
        )
        if step.moment.phase == "unlearn" and step.moment.round == 0:
            snapshot = replace(snapshot, original=snapshot)
            self.originals[number] = snapshot
        return snapshot

    def _sets(self, number: int) -> dict[str, Records]:
        """Return the records that models are measured on for a request, from 1."""
        if number not in self.sets:
            sets = self.federation.request_sets(number)
            device = torch.device(self.experiment.engine.device)
            self.sets[number] = {name: records.to(device) for name, records in sets.items()}
        return self.sets[number]

    def _probe(self, number: int, measured: list[MeasuredModel]) -> str:
        """Say whether the planted probe can tell forgetting from remembering."""
        if PLANTED_METRIC not in measured[0].values:
            return ""
        fell = measured[0].values[PLANTED_METRIC] - self.retrained_values[number][PLANTED_METRIC]
        return "took" if fell >= PROBE_MARGIN else "did not take"

    def _costs(self, ledger: Ledger) -> dict[str, float]:
        return {
            "bytes_down": ledger.bytes_down,
            "bytes_up": ledger.bytes_up,
            "client_epochs": ledger.client_epochs,
            "samples": ledger.samples,
            "seconds": ledger.seconds,
        }
