"""One seed of an experiment: one training, then one branch a strategy, saved as it goes.

`SeedRun` knows where the seed stands: what is trained, branched, saved and erased. `Measuring`
knows what is measured of it.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedunlearn import files
from fedunlearn.data import Federation
from fedunlearn.experiment.branch_start import (
    all_clients,
    before_training,
    recorded_by,
    with_first_model,
)
from fedunlearn.experiment.checkpoint import (
    DONE,
    HISTORY,
    TRAINING,
    Loaded,
    Noted,
    Notes,
    Original,
    RunState,
    Stage,
)
from fedunlearn.experiment.checkpoint_schedule import CheckpointSchedule
from fedunlearn.experiment.erasure import Erasure, prints_of
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.measuring import Measuring
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.experiment.seed_references import SeedReferences
from fedunlearn.experiment.shared_stages import Sharing, reference_kind
from fedunlearn.flower import Connection
from fedunlearn.history import Needs, RecordRound, opened
from fedunlearn.models import Vector, model_hash
from fedunlearn.results import RETRAIN, SHARED_TRAINING, Case, is_reference, with_gaps
from fedunlearn.unlearning import (
    FedAvg,
    FederationState,
    Request,
    ScopedClients,
    UnlearningStrategy,
    forget,
    train,
)


@dataclass
class SeedRun:
    """One seed; writes its rows while it works."""

    experiment: Experiment
    federation: Federation
    connection: Connection
    folder: RunFolder
    measuring: Measuring
    schedule: CheckpointSchedule
    summary: list[dict[str, Any]]
    """The rows of the whole run so far."""
    sharing: Sharing | None = None
    """Where work is shared with other runs."""

    def run(self, notes: Notes, saved: Loaded | None = None) -> Notes:
        """Train once and serve the requests with each strategy, or go on from where it was saved.

        Rows are added to ``summary`` and written as they come. Returns ``notes``, which are those
        of the seeds before, with those of this seed.
        """
        state = self._start(notes) if saved is None else saved.state(self._untrained.history)
        self.measuring.restore(state.references)
        while state.stage != DONE:
            state = self._next(state)
        return state.notes

    def _start(self, notes: Notes) -> RunState:
        start = self._untrained
        none = SeedReferences(self._seed)
        return RunState(none, TRAINING, start, start, notes=notes, began=self.folder.sizes)

    def _next(self, state: RunState) -> RunState:
        """Carry out the rest of a stage, and return the beginning of the next one."""
        if state.stage == TRAINING:
            state = self._once("training", state, self._train_shared)
            # What a policy left out of a window goes with the next checkpoint.
            self._save_state(state, now=self.experiment.policy.window > 1)
            return self._beginning(replace(state, shared=state.current))
        if self._following(state.stage) == DONE:
            return replace(self._branch(state, last=True), stage=DONE)
        name = state.stage.strategy
        if is_reference(name):
            state = self._once(reference_kind(name), state, self._branch)
            self.measuring.restore(state.references)
        else:
            state = self._branch(state)
        state = self._beginning(state)
        # Only a checkpoint that no longer names its rounds lets them go.
        self._save_state(state, now=True)
        files.remove(self._stored / name)
        return state

    def _following(self, stage: Stage) -> Stage:
        """Return the stage after ``stage``: all branches in order, then nothing more."""
        branches = self.experiment.branches if self.experiment.requests else {}
        stages = [TRAINING, *map(Stage, branches), DONE]
        return stages[stages.index(stage) + 1]

    def _beginning(self, state: RunState) -> RunState:
        """Return where the stage after that of ``state`` begins: where shared training ended."""
        stage = self._following(state.stage)
        return replace(state, stage=stage, current=state.shared, began=self.folder.sizes)

    def _once(self, kind: str, state: RunState, work: Callable[[RunState], RunState]) -> RunState:
        """Do ``work``, or read what it comes to where another run shared it."""
        return work(state) if self.sharing is None else self.sharing.once(kind, state, work)

    def _train_shared(self, state: RunState) -> RunState:
        """Train up to the first request."""
        requests = self.experiment.requests
        last = requests[0].after if requests else self.experiment.training.rounds
        with self._recorder("training") as record:
            clients = self._clients(SHARED_TRAINING)
            state = self._trained(state, clients, last, record, self.experiment.needs)
            self._save_model(SHARED_TRAINING, 0, state.current.history.final)
        return state

    def _branch(self, state: RunState, *, last: bool = False) -> RunState:
        """Serve all requests with one strategy, with training between them and after them.

        What all branches read is purged once the ``last`` one has read it.
        """
        name, requests = state.stage.strategy, self.experiment.requests
        strategy = self.experiment.branches[name]
        needs = strategy.needs
        state = replace(state, current=with_first_model(state.current, self.federation, name))
        clients = self._clients(name)
        with ExitStack() as stack:
            record = stack.enter_context(self._recorder(name))
            if state.purging is not None:  # killed in the middle of it
                state = self._erased(state)
            for request in requests[state.current.request :]:
                state = self._trained(state, clients, request.after, record, needs)
                if last:
                    prints = prints_of(self.federation, state)
                    state = replace(state, shared=self._untrained)  # none is to start from it
                    state = self._forgotten(state, strategy, request, clients, stack)
                    state = self._erased(self._erasure.due(state, prints))
                else:
                    state = self._forgotten(state, strategy, request, clients, stack)
                    self._save_state(state)
            return self._trained(state, clients, self.experiment.training.rounds, record, needs)

    def _forgotten(
        self,
        state: RunState,
        strategy: UnlearningStrategy,
        request: Request,
        clients: ScopedClients,
        stack: ExitStack,
    ) -> RunState:
        """Serve one request and recover, and add the row of the summary."""
        current, name, number = state.current, state.stage.strategy, state.current.request + 1
        needs, recovery = strategy.needs, self.experiment.recovery
        stored = current.history.select(needs, current.round).nbytes
        if recovery.rounds or needs.replaces:
            record = stack.enter_context(self._recorder(f"{name}/recovery{number}"))
            current = recorded_by(record, current)
        served = self.federation.holdings.asking(number), strategy, recovery, clients, needs
        members = self.federation.holdings.since(number)
        steps = forget(current, *served, request.scope, members)
        current, measured = self.measuring.follow(steps, name, clients.ledger)
        self._save_model(name, number, current.history.final)
        if name == RETRAIN:
            self.measuring.refer(number, measured)
        row = self.measuring.row(name, number, measured, clients.ledger)
        self.summary.append({**row, "store_bytes": stored})
        self.folder.summary(with_gaps(self.summary))
        before = model_hash(self.federation.network.layout, measured[0].step.weights)
        notes = state.notes.with_original(Original(self._seed, name, number, before))
        notes = notes.with_noted(Noted(self._seed, name, number, current.history.notes))
        return replace(
            state,
            current=current,
            notes=notes,
            references=self.measuring.references,
        )

    def _trained(
        self, state: RunState, clients: ScopedClients, last: int, record: RecordRound, needs: Needs
    ) -> RunState:
        """Train up to round ``last``, saving now and then."""
        state = replace(state, current=recorded_by(record, state.current))
        # What has a memory would start afresh with each part.
        training = self.experiment.training
        stateless = training.server == FedAvg() and training.correction is None
        while state.current.round < last:
            until = state.current.round + 1 if stateless else last
            steps = train(state.current, clients, until, needs)
            current, _ = self.measuring.follow(steps, state.stage.strategy, clients.ledger)
            state = replace(state, current=current)
            self._save_state(state)
        self.measuring.progress.say()
        return state

    @property
    def _erasure(self) -> Erasure:
        """What removes who left, and shows that it did."""
        cache = self.experiment.cache
        roots = {"checkpoint": self.schedule.checkpoint, "strategies": self.experiment.branches}
        caches = () if cache is None else (cache,)
        return Erasure(self.folder.path, self._stored, caches, roots)

    def _erased(self, state: RunState) -> RunState:
        """Remove who left from the disk; between the two checkpoints it is done until it is."""
        self._save_state(state, now=True)
        state = self._erasure.carried_out(state)
        self._save_state(state, now=True)
        return state

    def _save_state(self, state: RunState, *, now: bool = False) -> None:
        """Write the checkpoint, unless it was written a moment ago."""
        state = replace(state, summary=self.summary)
        state = replace(state, sizes=self.folder.sizes, checksums=self.folder.checksums)
        self.schedule.save(state, now=now)

    def _save_model(self, name: str, request: int, weights: Vector) -> None:
        case = Case(self._seed, name, request)
        self.folder.model(case, self.federation.network.layout, weights)

    def _clients(self, name: str) -> ScopedClients:
        return all_clients(self.experiment, self.federation, self.connection, name)

    def _recorder(self, place: str) -> AbstractContextManager[RecordRound]:
        """Open a folder for kept rounds, where they do not stay in memory."""
        nbytes = self.experiment.stored_bytes(self.federation.network.layout.size)
        return opened(self.experiment.store, self._stored / place, nbytes)

    @property
    def _seed(self) -> int:
        return self.federation.scenario.seed

    @property
    def _untrained(self) -> FederationState:
        return before_training(self.federation, self.experiment.policy)

    @property
    def _stored(self) -> Path:
        return self.folder.path / HISTORY / f"seed{self._seed}"
