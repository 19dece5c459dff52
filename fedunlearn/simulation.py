"""One seed of an experiment: one training, then one branch a strategy, measured as they go."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from fedunlearn import files
from fedunlearn.clients import Connection, GridClients
from fedunlearn.data.dataset import Records
from fedunlearn.evaluators.snapshot import Snapshot
from fedunlearn.federation import Federation
from fedunlearn.history import ClientId, History
from fedunlearn.layout import Vector
from fedunlearn.ledger import Ledger, Phase
from fedunlearn.progress import Progress
from fedunlearn.proxy import Proxy
from fedunlearn.results import RunFolder, gaps
from fedunlearn.runs import RETRAIN, SHARED
from fedunlearn.settings import Experiment
from fedunlearn.stores import Keeper, opened, purged
from fedunlearn.strategy import UnlearningStrategy
from fedunlearn.timeline import Course, Step, Steps, forget, train

PROBE_MARGIN = 0.5
"""A backdoor probe took if attack success falls by this much from the original to retraining."""


@dataclass(frozen=True)
class Measured:
    """One model and its metrics."""

    step: Step
    values: dict[str, float]


@dataclass
class Simulation:
    """One seed; writes its rows while it works."""

    experiment: Experiment
    here: Federation
    connection: Connection
    folder: RunFolder
    progress: Progress
    pool: Executor
    """Evaluates batches side by side."""
    retrained: dict[tuple[int, Phase], Snapshot] = field(default_factory=dict)
    """The reference of each request, by phase: retraining's last model, and that after recovery."""
    retrained_values: dict[int, dict[str, float]] = field(default_factory=dict)
    """The metrics of the reference at the end of each request."""
    sets: dict[int, dict[str, Records]] = field(default_factory=dict)
    """The records that are looked at for each request, on the device that measures."""
    originals: dict[int, Snapshot] = field(default_factory=dict)
    """The model before each request: that of the first is the same for every strategy."""

    @property
    def device(self) -> torch.device:
        """Where models are measured and proxy data lie."""
        return torch.device(self.experiment.engine.device)

    def run(self) -> Iterator[dict[str, object]]:
        """Train once, serve the requests with each strategy, and yield rows of the summary."""
        self._write_clients()
        requests = self.experiment.requests
        last = requests[0].after if requests else self.experiment.training.rounds
        ledger = Ledger()
        with self._keeper("training") as keep:
            history = History(self.here.network.layout, self.here.initial, self.here.initial)
            start = Course(replace(history, keep=keep), frozenset(range(self.here.clients)))
            steps = train(start, self._clients(ledger), last, self.experiment.needs)
            course, _ = self._follow(steps, SHARED, ledger)
        self._save(SHARED, 0, course.history.final)
        branches = self.experiment.branches if requests else {}
        for name, strategy in branches.items():
            # What all branches read is purged once the last one has read it.
            yield from self._branch(name, strategy, course, last=name == list(branches)[-1])

    def _branch(
        self, name: str, strategy: UnlearningStrategy, course: Course, *, last: bool
    ) -> Iterator[dict[str, object]]:
        """Serve all requests with one strategy, with training between them and after them."""
        needs, recovery = strategy.needs, self.experiment.recovery
        ledger = Ledger()
        clients = self._clients(ledger)
        with ExitStack() as stack:
            trained = stack.enter_context(self._keeper(name))
            for number, request in enumerate(self.experiment.requests, start=1):
                steps = train(_keeping(course, trained), clients, request.after, needs)
                course, _ = self._follow(steps, name, ledger)
                stored = course.history.select(strategy.needs, course.round).nbytes
                before = course.history
                if recovery.rounds or needs.replaces:
                    recovered = stack.enter_context(self._keeper(f"{name}/recovery{number}"))
                    course = _keeping(course, recovered)
                steps = forget(course, request.clients, strategy, recovery, clients, needs)
                course, measured = self._follow(steps, name, ledger)
                if last:
                    history = purged(course.history, before, request.clients)
                    course = replace(course, history=history)
                self._save(name, number, course.history.final)
                if name == RETRAIN:
                    self._refer(number, measured)
                yield {
                    "seed": self.here.scenario.seed,
                    "strategy": name,
                    "request": number,
                    "clients": "+".join(str(client) for client in sorted(request.clients)),
                    "probe": self._probe(number, measured),
                    **measured[-1].values,
                    **gaps(measured[-1].values, self.retrained_values[number]),
                    **self._costs(ledger.of(number)),
                    "rounds": len(measured) - 1,
                    "store_bytes": stored,
                }
            rounds = self.experiment.training.rounds
            self._follow(train(_keeping(course, trained), clients, rounds, needs), name, ledger)
        if not last:
            files.remove(self._stored / name)

    def _keeper(self, place: str) -> AbstractContextManager[Keeper]:
        """Open a folder for kept rounds, where they do not stay in memory."""
        nbytes = self.experiment.stored_bytes(self.here.network.layout.size)
        return opened(self.experiment.keep, self._stored / place, nbytes)

    @property
    def _stored(self) -> Path:
        return self.folder.path / "history" / f"seed{self.here.scenario.seed}"

    def _follow(self, steps: Steps, name: str, ledger: Ledger) -> tuple[Course, list[Measured]]:
        """Take all steps; measure and record each."""
        seed, measured = self.here.scenario.seed, list[Measured]()
        charged = len(ledger.charges)
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                self.progress.say()
                return stop.value, measured
            values = self._measure(step) if self.experiment.measures(step.moment) else {}
            if values:
                measured.append(Measured(step, values))
                self.folder.metrics(seed, name, step.moment, values)
            self.folder.charges(seed, name, ledger.charges[charged:])
            charged = len(ledger.charges)
            sent = ledger.bytes_down + ledger.bytes_up
            self.progress.advance(seed, name, step.moment, values, sent)

    def _measure(self, step: Step) -> dict[str, float]:
        """Measure one model; comparisons with retraining are for the request being served."""
        model = self._snapshot(step)
        retrained = self.retrained.get((step.moment.request, step.moment.phase))
        values: dict[str, float] = {}
        for evaluator in self.experiment.evaluation.measures:
            values |= evaluator(model, retrained)
        return values

    def _snapshot(self, step: Step) -> Snapshot:
        """Show a model the records of the latest request's leavers, or of the first to come."""
        requests = self.experiment.requests
        number = max(1, step.moment.request)
        if number not in self.sets:
            leavers = requests[number - 1].clients if requests else frozenset[ClientId]()
            gone = {client for request in requests[:number] for client in request.clients}
            sets = self.here.evaluation_sets(leavers, set(range(self.here.clients)) - gone)
            self.sets[number] = {name: held.to(self.device) for name, held in sets.items()}
        known = self.originals.get(number)
        if known is not None and known.weights is step.weights:
            return known
        shown = Snapshot(
            network=self.here.network,
            weights=step.weights,
            sets=self.sets[number],
            initial=self.here.initial,
            batch_size=self.experiment.evaluation.batch_size,
            each=self.pool.map,
        )
        if step.moment.phase == "unlearn" and step.moment.round == 0:
            self.originals[number] = shown
        return shown

    def _refer(self, number: int, measured: list[Measured]) -> None:
        """Keep the reference of a request, for strategies at the same stage to compare with."""
        for reached in measured:  # of each phase, the last stays
            self.retrained[number, reached.step.moment.phase] = self._snapshot(reached.step)
        self.retrained_values[number] = measured[-1].values

    def _probe(self, number: int, measured: list[Measured]) -> str:
        """Say whether the planted probe can tell forgetting from remembering."""
        name = "attack_success_rate"
        if name not in measured[0].values:
            return ""
        fell = measured[0].values[name] - self.retrained_values[number][name]
        return "took" if fell >= PROBE_MARGIN else "did not take"

    def _costs(self, ledger: Ledger) -> dict[str, float]:
        records = {client: len(self.here.train[client]) for client in range(self.here.clients)}
        return {
            "bytes_down": ledger.bytes_down,
            "bytes_up": ledger.bytes_up,
            "client_epochs": ledger.client_epochs(records),
            "samples": ledger.samples,
            "seconds": ledger.seconds,
        }

    def _clients(self, ledger: Ledger) -> GridClients:
        """Return all clients, charging ``ledger``."""
        seed = self.here.scenario.seed
        return GridClients(
            connection=self.connection,
            training=self.experiment.training,
            seed=seed,
            ledger=ledger,
            ids=frozenset(range(self.here.clients)),
            unlabelled=Proxy(self.here.network, self.here.proxy.to(self.device), ledger, seed),
        )

    def _write_clients(self) -> None:
        here = self.here
        train_counts, heldout_counts = (
            here.label_counts(records) for records in (here.train, here.heldout)
        )
        self.folder.clients(here.scenario.seed, here.dataset.classes, train_counts, heldout_counts)

    def _save(self, name: str, request: int, weights: Vector) -> None:
        label = f"seed{self.here.scenario.seed}-{name}-request{request}"
        self.folder.model(label, self.here.network.layout, weights)


def _keeping(course: Course, keep: Keeper) -> Course:
    """Let the rounds to come go to ``keep``."""
    return replace(course, history=replace(course.history, keep=keep))
