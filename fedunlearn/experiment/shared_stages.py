"""Work that several runs would do alike is done by one and read by the others."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedunlearn import files
from fedunlearn.experiment.cache import Cache, Entry, Taken, code_hash
from fedunlearn.experiment.checkpoint import TRAINING, Notes, RunState
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.provenance import versions
from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.history import History, RecordedRound, file_of, on_disk, round_files
from fedunlearn.results import MODELS_FOLDER, RETRAIN, Case, reference_name, with_gaps
from fedunlearn.unlearning import FederationState, changes


@dataclass(frozen=True)
class Sharing:
    """What one seed of a run has in common with runs that differ in their strategies only."""

    cache: Cache
    folder: RunFolder
    rounds: Path
    """Where the rounds of the shared training go, in the run's folder."""
    facts: Mapping[str, Mapping[str, Any]]
    """All that the shared training depends on, and all that the reference does, by kind."""
    rows: list[dict[str, Any]]
    """The rows of the run's summary."""

    def once(self, kind: str, state: RunState, work: Callable[[RunState], RunState]) -> RunState:
        """Return the end of the stage of ``state``, by ``work`` or by reading what another did.

        ``kind`` is one of `facts`.
        """
        entry = self.cache.entry(kind, self.facts[kind])
        with entry.turn():
            if entry.complete and state.began == self.folder.sizes:
                return self._taken(entry.take(), state)
            state = replace(work(state), sizes=self.folder.sizes)
            if not entry.complete:
                self._put(entry, state)
            return state

    def _put(self, entry: Entry, state: RunState) -> None:
        """Fill an entry with the training, or with a reference's models, rows and metrics."""
        case = (state.seed, state.stage.strategy)
        none = untrained(state.current)
        result = replace(
            state,
            shared=none,
            current=state.current if state.stage == TRAINING else none,
            summary=[row for row in self.rows if (row["seed"], row["strategy"]) == case],
            notes=Notes(originals=tuple(o for o in state.notes.originals if o[:2] == case)),
            checksums={},
        )
        written = {Path(name): checksum for name, checksum in self.folder.checksums.items()}
        saved = {
            path: Case.parse(path.stem) for path in written if path.parent.name == MODELS_FOLDER
        }
        models = {
            path.name: written[path]
            for path, each in saved.items()
            if (each.seed, each.strategy) == case
        }
        entry.put(result, self.folder.path, models)

    def _taken(self, taken: Taken, state: RunState) -> RunState:
        """Go on from an entry; its rounds, rows and models become those of the run's folder."""
        entry = taken.loaded.state(untrained(state.current).history)
        self.folder.copied(taken.metrics, taken.ledger, taken.models)
        self.rows.extend(map(dict, entry.summary))
        self.folder.summary(with_gaps(self.rows))
        history = self._linked(entry.current.history)
        originals = (*state.notes.originals, *entry.notes.originals)
        return replace(
            entry,
            shared=state.shared,
            current=replace(entry.current, history=history),
            began=state.began,
            notes=replace(state.notes, originals=originals),
        )

    def _linked(self, history: History) -> History:
        """Give the rounds of an entry a second name in the run's folder, which may replace them."""
        return replace(history, rounds=tuple(self._named(kept) for kept in history.rounds))

    def _named(self, kept: RecordedRound) -> RecordedRound:
        stored = on_disk(kept)
        if stored is None:
            return kept
        path = file_of(self.rounds, stored.number)
        files.link(stored.path, path)
        linked = round_files.open_round(path).only(set(stored.clients))
        return replace(linked, has_updates=stored.has_updates, has_model=stored.has_model)


def untrained(state: FederationState) -> FederationState:
    """Return where the federation stood before round 1."""
    history = state.history
    first = History(history.layout, history.initial, history.initial, policy=history.policy)
    return FederationState(first, state.present, since=state.since)


def facts(experiment: Experiment, seed: int, split: str, engine: str) -> dict[str, dict[str, Any]]:
    """Return all that the training before the first request depends on, and each reference.

    ``split`` is the hash of the data as they are divided, ``engine`` what carries out the work:
    batches of clients round otherwise than clients alone.
    """
    parts = ("dataset", "partition", "planting", "model", "training", "evaluation")
    values = ("store", "policy", "budget", "heldout", "proxy")
    training = {
        **{name: repr(getattr(experiment, name)) for name in (*parts, *values)},
        "changes": repr(changes(experiment.requests, experiment.joins)),
        "statistics": experiment.needs.statistics,
        "seed": seed,
        "split": seed if experiment.split is None else experiment.split,
        "split_sha256": split,
        "engine": engine,
        "versions": versions(),
        "code_sha256": code_hash(),
    }
    reference = {
        **training,
        "reference": repr(experiment.reference),
        "recovery": repr(experiment.recovery),
        "strategy_sha256": code_hash(Path(inspect.getfile(type(experiment.reference)))),
    }
    names = [reference_name(n) for n in range(1, experiment.references + 1)]
    return {"training": training, **{reference_kind(name): reference for name in names}}


def reference_kind(name: str) -> str:
    """Return under which kind of `facts` the reference ``name`` is shared."""
    return f"reference{name.removeprefix(RETRAIN)}"
