"""One seed of an experiment: one training, then one branch a strategy, measured as they go."""

import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from fedunlearn import files
from fedunlearn.data import ClientId, Federation, Records
from fedunlearn.evaluators import Evaluator, Snapshot
from fedunlearn.experiment.checkpoint import HISTORY, Checkpoint, Loaded, RunState
from fedunlearn.experiment.erasure import Erasure
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.progress import Progress
from fedunlearn.experiment.references import first_model, training_seed
from fedunlearn.experiment.run_folder import RunFolder, with_gaps
from fedunlearn.experiment.shared_stages import Sharing, reference_kind
from fedunlearn.flower import Connection, GridClients
from fedunlearn.history import History, Keeper, Needs, opened
from fedunlearn.history.audit import Fingerprints, taken
from fedunlearn.models import Vector, model_hash
from fedunlearn.results import RETRAIN, SHARED, is_reference, overall
from fedunlearn.unlearning import (
    Access,
    FedAvg,
    FederationState,
    Ledger,
    Moment,
    Phase,
    Proxy,
    Request,
    Step,
    Steps,
    UnlearningStrategy,
    forget,
    train,
)

PATIENCE = 20
"""A checkpoint that took a second is not written again for so many: at most 5 % of the time."""

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
    checkpoint: Checkpoint
    summary: list[dict[str, Any]]
    """The rows of the whole run so far."""
    sharing: Sharing | None = None
    """Where work is shared with other runs."""
    retrained: dict[tuple[int, Phase], Snapshot] = field(default_factory=dict)
    """The reference of each request, by phase: retraining's last model, and that after recovery."""
    retrained_values: dict[int, dict[str, float]] = field(default_factory=dict)
    """The metrics of the reference at the end of each request."""
    sets: dict[int, dict[str, Records]] = field(default_factory=dict)
    """The records that are looked at for each request, on the device that measures."""
    originals: dict[int, Snapshot] = field(default_factory=dict)
    """The model before each request: that of the first is the same for every strategy."""
    due: float = -math.inf
    """When the next checkpoint is to be written, on the clock."""

    @property
    def device(self) -> torch.device:
        """Where models are measured and proxy data lie."""
        return torch.device(self.experiment.engine.device)

    def run(self, before: RunState, saved: Loaded | None = None) -> RunState:
        """Train once and serve the requests with each strategy, or go on from where it was saved.

        Rows are added to ``summary`` and written as they come; what is returned adds the notes of
        this seed to those of the seed ``before``.
        """
        network, everybody = self.here.network, frozenset(range(self.here.clients))
        initial, policy = self.here.initial, self.experiment.policy
        empty = History(network.layout, initial, initial, policy=policy)
        seed, start = self.here.scenario.seed, FederationState(empty, everybody)
        at = replace(before, seed=seed, strategy=SHARED, shared=None, current=start)
        if saved is not None:
            at = saved.state(empty)
            self._remember(at)
        else:
            at = replace(at, began=self.folder.sizes)
        branches = self.experiment.branches if self.experiment.requests else {}
        if at.strategy == SHARED:
            at = self._once("training", at, self._train_shared)
            # What a policy left out of a window goes with the next checkpoint.
            self._keep_state(at, now=policy.window > 1)
            at = replace(at, shared=at.current)
        names = list(branches)
        for name in names[names.index(at.strategy) if at.strategy in names else 0 :]:
            if at.strategy != name:
                at = replace(at, strategy=name, current=at.shared, began=self.folder.sizes)
            if at.current is None:  # the strategy was through before
                continue
            if name == names[-1]:
                at = self._branch(at, last=True)
            elif is_reference(name):
                at = self._once(reference_kind(name), at, self._branch)
                self._remember(at)
            else:
                at = self._branch(at)
        return at

    def _once(self, kind: str, at: RunState, work: Callable[[RunState], RunState]) -> RunState:
        """Do ``work``, or read what it comes to where another run shared it."""
        return work(at) if self.sharing is None else self.sharing.once(kind, at, work)

    def _train_shared(self, at: RunState) -> RunState:
        """Train up to the first request."""
        requests = self.experiment.requests
        last = requests[0].after if requests else self.experiment.training.rounds
        ledger, needs = Ledger(), self.experiment.needs
        with self._keeper("training") as keep:
            at = self._trained(at, self._clients(ledger, SHARED), last, keep, needs)
            assert at.current is not None
            self._save(SHARED, 0, at.current.history.final)
        return at

    def _branch(self, at: RunState, *, last: bool = False) -> RunState:
        """Serve all requests with one strategy, with training between them and after them.

        What all branches read is purged once the ``last`` one has read it.
        """
        name = at.strategy
        at = self._beginning(at)
        current, strategy = at.current, self.experiment.branches[name]
        needs = strategy.needs
        clients = self._clients(Ledger(), name)
        with ExitStack() as stack:
            trained = stack.enter_context(self._keeper(name))
            if at.purging is not None:  # killed in the middle of it
                at = self._erased(at)
            while current is not None and current.request < len(self.experiment.requests):
                request = self.experiment.requests[current.request]
                at = self._trained(at, clients, request.after, trained, needs)
                if last:
                    prints = self._prints(at, request)
                    at = self._forgotten(
                        replace(at, shared=None), strategy, request, clients, stack
                    )
                    at = self._erased(self.erasure.due(at, request, prints))
                else:
                    at = self._forgotten(at, strategy, request, clients, stack)
                    self._keep_state(at)
                current = at.current
            at = self._trained(at, clients, self.experiment.training.rounds, trained, needs)
        at = replace(at, current=None)
        if not last:
            # Only a checkpoint that no longer names its rounds lets them go.
            self._keep_state(at, now=True)
            files.remove(self._stored / name)
        return at

    def _beginning(self, at: RunState) -> RunState:
        """Let the history begin with the first model of the branch, be it new or read again."""
        assert at.current is not None
        history = replace(at.current.history, initial=first_model(self.here, at.strategy))
        return replace(at, current=replace(at.current, history=history))

    def _forgotten(
        self,
        at: RunState,
        strategy: UnlearningStrategy,
        request: Request,
        clients: GridClients,
        stack: ExitStack,
    ) -> RunState:
        """Serve one request and recover, and add the row of the summary."""
        assert at.current is not None
        current, name, number = at.current, at.strategy, at.current.request + 1
        needs, recovery = strategy.needs, self.experiment.recovery
        stored = current.history.select(needs, current.round).nbytes
        if recovery.rounds or needs.replaces:
            recovered = stack.enter_context(self._keeper(f"{name}/recovery{number}"))
            current = _keeping(current, recovered)
        steps = forget(current, request.clients, strategy, recovery, clients, needs)
        current, measured = self._follow(steps, name, clients.ledger)
        self._save(name, number, current.history.final)
        if name == RETRAIN:
            self._refer(number, measured)
        row = {
            "seed": self.here.scenario.seed,
            "strategy": name,
            "request": number,
            "clients": "+".join(str(client) for client in sorted(request.clients)),
            "probe": self._probe(number, measured),
            **overall(measured[-1].values),
            **self._costs(clients.ledger.of(number)),
            "rounds": len(measured) - 1,
            "store_bytes": stored,
        }
        before = model_hash(self.here.network.layout, measured[0].step.weights)
        original = (self.here.scenario.seed, name, number, before)
        self.summary.append(row)
        self.folder.summary(with_gaps(self.summary))
        return replace(
            at,
            current=current,
            originals=[*at.originals, original],
            references={key: shown.weights for key, shown in self.retrained.items()},
            reference_values=self.retrained_values,
        )

    def _trained(
        self, at: RunState, clients: GridClients, last: int, keep: Keeper, needs: Needs
    ) -> RunState:
        """Train up to round ``last``, saving now and then."""
        assert at.current is not None
        current = _keeping(at.current, keep)
        # An optimizer with a memory would start afresh with each part.
        stateless = self.experiment.training.server == FedAvg()
        while current.round < last:
            until = current.round + 1 if stateless else last
            steps = train(current, clients, until, needs)
            current, _ = self._follow(steps, at.strategy, clients.ledger)
            at = replace(at, current=current)
            self._keep_state(at)
        self.progress.say()
        return at

    @property
    def erasure(self) -> Erasure:
        """What removes who left, and shows that it did."""
        cache = self.experiment.cache
        roots = {"checkpoint": self.checkpoint, "strategies": self.experiment.branches}
        caches = () if cache is None else (cache,)
        return Erasure(self.folder.path, self._stored, caches, roots)

    def _prints(self, at: RunState, request: Request) -> Fingerprints:
        assert at.current is not None
        records = {client: self.here.train[client].images for client in request.clients}
        return taken(at.current.history, request.clients, records)

    def _erased(self, at: RunState) -> RunState:
        """Remove who left from the disk; between the two checkpoints it is done until it is."""
        self._keep_state(at, now=True)
        at = self.erasure.carried_out(at)
        self._keep_state(at, now=True)
        return at

    def _keep_state(self, at: RunState, *, now: bool = False) -> None:
        """Write the checkpoint, unless it was written a moment ago."""
        began, pause = time.monotonic(), self.experiment.checkpoint
        if now or began >= self.due:
            self.checkpoint.save(replace(at, summary=self.summary, sizes=self.folder.sizes))
            took = time.monotonic() - began
            self.due = began + (max(pause, PATIENCE * took) if pause else 0)

    def _remember(self, at: RunState) -> None:
        """Take up the references where another process left them."""
        self.retrained_values |= {k: dict(v) for k, v in at.reference_values.items()}
        for (number, phase), weights in at.references.items():
            if (number, phase) in self.retrained:
                continue
            step = Step(Moment(phase, number, 1), weights)
            self.retrained[number, phase] = self._snapshot(step)

    def _keeper(self, place: str) -> AbstractContextManager[Keeper]:
        """Open a folder for kept rounds, where they do not stay in memory."""
        nbytes = self.experiment.stored_bytes(self.here.network.layout.size)
        return opened(self.experiment.keep, self._stored / place, nbytes)

    @property
    def _stored(self) -> Path:
        return self.folder.path / HISTORY / f"seed{self.here.scenario.seed}"

    def _follow(
        self, steps: Steps, name: str, ledger: Ledger
    ) -> tuple[FederationState, list[Measured]]:
        """Take all steps; measure and record each."""
        seed, measured = self.here.scenario.seed, list[Measured]()
        charged = len(ledger.charges)
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                return stop.value, self._completed(name, measured)
            wanted = self.experiment.measures(step.moment)
            values = self._measure(step, self.experiment.evaluation.measures) if wanted else {}
            if values:
                measured.append(Measured(step, values))
                self.folder.metrics(seed, name, step.moment, values)
            self.folder.charges(seed, name, ledger.charges[charged:])
            charged = len(ledger.charges)
            sent = ledger.bytes_down + ledger.bytes_up
            self.progress.advance(seed, name, step.moment, values, sent)

    def _completed(self, name: str, measured: list[Measured]) -> list[Measured]:
        """Add to the model before a request and to the last of each phase what is dear to know."""
        last = {reached.step.moment.phase: place for place, reached in enumerate(measured)}
        found = list(measured)
        for place in sorted({0, *last.values()}) if "unlearn" in last else ():
            step, known = measured[place].step, measured[place].values
            values = self._measure(step, self.experiment.evaluation.final)
            self.folder.metrics(self.here.scenario.seed, name, step.moment, values)
            found[place] = Measured(step, known | values)
        return found

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
            original=known,
        )
        if step.moment.phase == "unlearn" and step.moment.round == 0:
            shown = replace(shown, original=shown)
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

    def _clients(self, ledger: Ledger, name: str) -> GridClients:
        """Return all clients as the branch ``name`` asks them, charging ``ledger``."""
        seed = training_seed(self.here.scenario.seed, name)
        return GridClients(
            connection=self.connection,
            training=self.experiment.training,
            seed=seed,
            ledger=ledger,
            access=Access(frozenset(range(self.here.clients))),
            unlabelled=Proxy(self.here.network, self.here.proxy.to(self.device), ledger, seed),
        )

    def _save(self, name: str, request: int, weights: Vector) -> None:
        label = f"seed{self.here.scenario.seed}-{name}-request{request}"
        self.folder.model(label, self.here.network.layout, weights)


def _keeping(current: FederationState, keep: Keeper) -> FederationState:
    """Let the rounds to come go to ``keep``."""
    return replace(current, history=replace(current.history, keep=keep))
