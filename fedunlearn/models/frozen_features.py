"""What a frozen part makes of records: computed once a record, by content, and kept."""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from fedunlearn import files

log = logging.getLogger(__name__)

BATCH = 64
"""Records of a pass; the last one is filled up, so that all passes are alike."""


PIECE = 16 * BATCH
"""Records after which what is computed is written down: whoever is stopped goes on from there."""


@runtime_checkable
class PartlyFrozen(Protocol):
    """A model whose first part never trains: what trains is given what that part makes of records.

    Called with a shape, it builds what follows the frozen part.
    """

    @property
    def digest(self) -> str:
        """What determines the frozen part, as a SHA-256."""

    def frozen(self, inputs: Tensor) -> Tensor:
        """Return what the frozen part makes of ``inputs`` [n, *shape], each record by itself."""


class FeatureStore:
    """Features by the SHA-256 of their record, in memory and, if wanted, in a folder.

    The folder holds files of named tensors, ``records`` [n, 32] uint8 and ``features`` [n, ...];
    each process adds files and changes none. Damaged ones are refused by name.
    """

    def __init__(self, look: Callable[[Tensor], Tensor], name: str, folder: Path | None) -> None:
        """Read what is in ``folder``; ``look`` computes what is not, ``name`` is said of it."""
        self._look, self._name, self._folder = look, name, folder
        self._rows: dict[bytes, Tensor] = {}
        self._turn = threading.Lock()
        for path in sorted(folder.glob("*.safetensors")) if folder else ():
            self._read(path)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the features [n, ...] of ``inputs`` [n, ...]."""
        if not len(inputs):
            return self(inputs.new_zeros(1, *inputs.shape[1:]))[:0]
        keys = [hashlib.sha256(each.numpy().tobytes()).digest() for each in inputs.contiguous()]
        with self._turn:
            missing = {key: row for row, key in enumerate(keys) if key not in self._rows}
            if missing:
                self._add(list(missing), inputs[list(missing.values())])
            return torch.stack([self._rows[key] for key in keys])

    def _add(self, keys: list[bytes], inputs: Tensor) -> None:
        started = time.perf_counter()
        tell = log.warning if len(keys) > PIECE else log.info
        kept = f"it is kept in {self._folder}" if self._folder else "model.cache=FOLDER keeps it"
        tell("Computing what %s makes of %s records, once: %s.", self._name, f"{len(keys):,}", kept)
        for begin in range(0, len(keys), PIECE):
            piece = keys[begin : begin + PIECE]
            features = self._computed(inputs[begin : begin + PIECE])
            self._rows.update(zip(piece, features, strict=True))
            if self._folder:
                self._keep(self._folder, piece, features)
        tell("Computed it in %.0f s.", time.perf_counter() - started)

    def _keep(self, folder: Path, keys: list[bytes], features: Tensor) -> None:
        from safetensors.torch import save

        records = torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8).view(-1, 32)
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:32]
        content = save({"records": records, "features": features})
        files.write(folder / f"{name}.safetensors", content)

    @torch.inference_mode()
    def _computed(self, inputs: Tensor) -> Tensor:
        parts = []
        for begin in range(0, len(inputs), BATCH):
            batch = inputs[begin : begin + BATCH]
            filled = torch.cat([batch, batch[-1:].expand(BATCH - len(batch), *batch.shape[1:])])
            parts.append(self._look(filled)[: len(batch)].clone())
        return torch.cat(parts)

    def _read(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            held = load_file(path)
            pairs = zip(held["records"], held["features"], strict=True)
            self._rows.update((key.numpy().tobytes(), row) for key, row in pairs)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise files.DamagedFile(path, error) from error


@lru_cache(maxsize=2)
def feature_store(model: PartlyFrozen) -> FeatureStore:
    """Return the store of a model's frozen part, one a process."""
    folder = getattr(model, "cache", None)
    name = getattr(model, "net", type(model).__name__)
    place = Path(folder).expanduser() / "features" / model.digest[:32] if folder else None
    return FeatureStore(model.frozen, f"the frozen part of {name}", place)
