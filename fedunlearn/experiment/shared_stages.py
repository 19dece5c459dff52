"""Work that several runs would do alike is done by one and read by the others."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedunlearn import files
from fedunlearn.experiment.cache import Cache, Entry, Taken, code_hash
from fedunlearn.experiment.checkpoint import RunState
from fedunlearn.experiment.experiment import Experiment
from fedunlearn.experiment.provenance import versions
from fedunlearn.experiment.run_folder import RunFolder, with_gaps
from fedunlearn.history import History, Kept, file_of, on_disk, round_files
from fedunlearn.results import RETRAIN, reference_name


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

    def once(self, kind: str, at: RunState, work: Callable[[RunState], RunState]) -> RunState:
        """Return where ``work`` leads from ``at``, by doing it or by reading what another did.

        ``kind`` is one of `facts`.
        """
        entry = self.cache.entry(kind, self.facts[kind])
        with entry.turn():
            if entry.complete and at.began == self.folder.sizes:
                return self._taken(entry.take(), at)
            at = replace(work(at), sizes=self.folder.sizes)
            if not entry.complete:
                self._put(entry, at)
            return at

    def _put(self, entry: Entry, at: RunState) -> None:
        mine = (at.seed, at.strategy)
        own = replace(
            at,
            shared=None,
            summary=[row for row in self.rows if (row["seed"], row["strategy"]) == mine],
            originals=[original for original in at.originals if original[:2] == mine],
            erased=(),
        )
        label = f"seed{at.seed}-{at.strategy}-request*.safetensors"
        models = (self.folder.path / "models").glob(label)
        entry.put(own, self.folder.path, sorted(path.name for path in models))

    def _taken(self, taken: Taken, at: RunState) -> RunState:
        assert at.current is not None
        empty = replace(at.current.history, final=at.current.history.initial, rounds=())
        found = taken.loaded.state(empty)
        self.folder.copied(taken.metrics, taken.ledger)
        for name, content in taken.models.items():
            files.write(self.folder.path / "models" / name, content)
        self.rows.extend(map(dict, found.summary))
        self.folder.summary(with_gaps(self.rows))
        current = found.current
        if current is not None:
            current = replace(current, history=self._linked(current.history))
        return replace(
            found,
            shared=at.shared,
            current=current,
            began=at.began,
            originals=[*at.originals, *found.originals],
            erased=at.erased,
        )

    def _linked(self, history: History) -> History:
        """Give the rounds of an entry a second name in the run's folder, which may replace them."""
        return replace(history, rounds=tuple(self._named(kept) for kept in history.rounds))

    def _named(self, kept: Kept) -> Kept:
        stored = on_disk(kept)
        if stored is None:
            return kept
        path = file_of(self.rounds, stored.number)
        files.link(stored.path, path)
        here = round_files.open_round(path).only(set(stored.clients))
        return replace(here, keeps_updates=stored.keeps_updates, keeps_model=stored.keeps_model)


def facts(experiment: Experiment, seed: int, split: str, engine: str) -> dict[str, dict[str, Any]]:
    """Return all that the training before the first request depends on, and each reference.

    ``split`` is the hash of the data as they are divided, ``engine`` what carries out the work:
    batches of clients round otherwise than clients by themselves.
    """
    parts = ("dataset", "partition", "planting", "model", "training", "evaluation")
    kept = ("keep", "policy", "budget", "heldout", "proxy")
    training = {
        **{name: repr(getattr(experiment, name)) for name in (*parts, *kept)},
        "requests": [[sorted(request.clients), request.after] for request in experiment.requests],
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
