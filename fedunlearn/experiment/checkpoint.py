"""What a run needs to go on after it was killed: one file, replaced as a whole at each stage."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fedunlearn import files, sealed_files
from fedunlearn.experiment.checkpointed_rounds import StateFiles
from fedunlearn.experiment.seed_references import SeedReferences
from fedunlearn.files import DamagedFile
from fedunlearn.history import History
from fedunlearn.results import MODELS_FOLDER, SHARED_TRAINING
from fedunlearn.unlearning import FederationState

VERSION = "6"
"""Of the format; a checkpoint of another one is refused."""

HISTORY = "history"
"""The folder in that of a run which holds its stored rounds."""

PLAIN = "plain"
"""The name of the tensor that holds JSON: the format's own metadata is kept short."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a seed is at: the shared training, the branch of one strategy, or nothing any more."""

    strategy: str
    """Whose branch it is; `SHARED_TRAINING` for the training that all start from."""


TRAINING, DONE = Stage(SHARED_TRAINING), Stage("")


class Original(NamedTuple):
    """The model that a strategy was given at a request."""

    seed: int
    strategy: str
    request: int
    model_hash: str


class Noted(NamedTuple):
    """What a strategy had noted once a request was served (`history.notes`)."""

    seed: int
    strategy: str
    request: int
    notes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Notes:
    """What certificates and requests.csv need to know of all seeds of a run so far."""

    originals: tuple[Original, ...] = ()
    noted: tuple[Noted, ...] = ()
    erased: tuple[Mapping[str, Any], ...] = ()
    """What was removed for each seed and request, and what a search then found."""

    def with_original(self, original: Original) -> "Notes":
        """Add the model before one more request."""
        return replace(self, originals=(*self.originals, original))

    def with_noted(self, noted: Noted) -> "Notes":
        """Add what a strategy had noted once a request was served, if it was anything."""
        return replace(self, noted=(*self.noted, noted)) if noted.notes else self

    def with_erased(self, note: Mapping[str, Any]) -> "Notes":
        """Add what was removed for one more request."""
        return replace(self, erased=(*self.erased, note))


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands within a stage; everything random follows from the seed."""

    references: SeedReferences
    """The retrained models of the seed so far."""
    stage: Stage
    shared: FederationState
    """Where the stages to come start: where the shared training ended; untrained for none."""
    current: FederationState
    """Where the federation stands in this stage."""
    purging: Mapping[str, Any] | None = None
    """What is being removed from the disk for the latest request; see `erasure`."""
    summary: Sequence[Mapping[str, Any]] = ()
    """The rows of the run's summary so far."""
    notes: Notes = field(default_factory=Notes)
    began: tuple[int, int] = (0, 0)
    """Bytes of metrics.csv and ledger.csv when this stage began."""
    sizes: tuple[int, int] = (0, 0)
    """Bytes of metrics.csv and ledger.csv that belong to finished work."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each file of the run as it was written, of the two tables up to ``sizes``."""

    @property
    def seed(self) -> int:
        """Whose models these are."""
        return self.references.seed


class Checkpoint:
    """The folder of a run's checkpoint."""

    def __init__(self, root: Path, run: str = "") -> None:
        """Use ``checkpoint`` in the run's folder ``root``; ``run`` tells it from all others."""
        self.run = run
        self.folder = root / "checkpoint"
        self._spoken_of = (root / "metrics.csv", root / "ledger.csv", root / MODELS_FOLDER, root)
        self.path = self.folder / "state.safetensors"
        self._histories = root / HISTORY
        self._states = StateFiles(root, self.folder / "rounds")

    def save(self, state: RunState) -> None:
        """Replace the checkpoint; then delete the files of rounds that nothing refers to any more.

        Raises `Refused` where the disk refuses; then the one before stays.
        """
        tensors: dict[str, Tensor] = {}
        states: dict[str, Any] = {}
        for name, one in (("shared", state.shared), ("current", state.current)):
            parts, states[name] = self._states.describe(one)
            tensors |= {f"{name}.{part}": tensor for part, tensor in parts.items()}
        for (request, phase), weights in state.references.models.items():
            tensors[f"reference.{request}.{phase}"] = weights
        plain = {
            "seed": state.seed,
            "stage": state.stage.strategy,
            "states": states,
            "purging": state.purging,
            "reference_values": [*state.references.values.items()],
            "summary": list(state.summary),
            "originals": list(state.notes.originals),
            "noted": list(state.notes.noted),
            "erased": list(state.notes.erased),
            "began": state.began,
            "sizes": state.sizes,
            "checksums": dict(state.checksums),
        }
        text = json.dumps(plain).encode()
        tensors[PLAIN] = torch.frombuffer(bytearray(text), dtype=torch.int8)
        files.settle(self._spoken_of)  # what a checkpoint speaks of is there before it
        sealed_files.write(self.path, tensors, {"version": VERSION, "run": self.run})
        self._states.sweep(states.values(), self._histories / f"seed{state.seed}")

    def load(self) -> "Loaded | None":
        """Return what was saved last; None where nothing was. Raises `DamagedFile`."""
        if not self.path.exists():
            return None
        stamp, metadata = sealed_files.verify(self.path)
        if metadata.get("version") != VERSION:
            raise DamagedFile(self.path, f"its format is not {VERSION}")
        if metadata.get("run") != self.run:
            raise DamagedFile(self.path, "it belongs to another run")
        tensors = {name: held.clone() for name, held in sealed_files.read(self.path, stamp).items()}
        plain = json.loads(tensors.pop(PLAIN).numpy().tobytes())
        return Loaded(self._states, tensors, plain)

    def sweep(self, loaded: "Loaded") -> None:
        """Delete the rounds that a killed process wrote after ``loaded``: nothing refers to them.

        Else a purge would find them as well, and a certificate name what no other run deletes.
        """
        states = loaded.plain["states"].values()
        self._states.sweep(states, self._histories / f"seed{loaded.seed}")

    def clear(self) -> None:
        """Delete the checkpoint: the run is finished."""
        files.remove(self.folder)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint as it was read; its states wait until there is a federation again."""

    files: StateFiles
    tensors: Mapping[str, Tensor]
    plain: Mapping[str, Any]

    @property
    def seed(self) -> int:
        """The seed at which the run stood."""
        return int(self.plain["seed"])

    @property
    def summary(self) -> list[dict[str, Any]]:
        """The rows of the summary."""
        return list(self.plain["summary"])

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of metrics.csv and ledger.csv that belong to finished work."""
        metrics, ledger = self.plain["sizes"]
        return metrics, ledger

    @property
    def checksums(self) -> dict[str, str]:
        """The SHA-256 of each file of the run as it was written."""
        return dict(self.plain["checksums"])

    def state(self, empty: History) -> RunState:
        """Rebuild all of it; ``empty`` is the history before round 1 of the seed.

        Raises `DamagedFile` for a round that is not as it was written.
        """
        return RunState(
            references=self._references,
            stage=Stage(self.plain["stage"]),
            shared=self._state("shared", empty),
            current=self._state("current", empty),
            purging=self.plain["purging"],
            summary=self.summary,
            notes=Notes(
                originals=tuple(Original(*each) for each in self.plain["originals"]),
                noted=tuple(Noted(*each) for each in self.plain["noted"]),
                erased=tuple(self.plain["erased"]),
            ),
            began=tuple(self.plain["began"]),
            sizes=self.sizes,
            checksums=self.checksums,
        )

    @property
    def _references(self) -> SeedReferences:
        models = {
            (int(request), phase): weights
            for name, weights in self.tensors.items()
            if name.startswith("reference.")
            for _, request, phase in [name.split(".")]
        }
        values = dict(self.plain["reference_values"])
        return SeedReferences(self.seed, models, values)  # type: ignore[arg-type]

    def _state(self, name: str, empty: History) -> FederationState:
        mine = {
            part.removeprefix(f"{name}."): tensor
            for part, tensor in self.tensors.items()
            if part.startswith(f"{name}.")
        }
        plain = self.plain["states"][name]
        # a process that was killed while it purged has rewritten some of the rounds
        return self.files.restore(mine, plain, empty, purging=self.plain["purging"] is not None)
