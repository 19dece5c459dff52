"""One kept training round in one file: written, verified, and rewritten without a client.

The file holds the clients and their examples [k] int64, the encoded updates [k, ...], the
broadcast model [d] float32, and in its metadata the numbers that are no tensors.
"""

import re
from collections.abc import Mapping, Set
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from fedunlearn import sealed_files
from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.files import DamagedFile, Disk
from fedunlearn.history import encodings
from fedunlearn.history.encodings import Encoding, Unencodable
from fedunlearn.history.rounds import Round
from fedunlearn.history.stored_round import BROADCAST, UPDATES, StoredRound, at
from fedunlearn.sealed_files import DISK, Stamp

VERSION = "1"
"""Of the format; a file of another one is refused."""

CLIENTS = "clients"

EXAMPLES = "examples"


def described(
    path: Path, done: Round, encoding: Encoding, stamp: Stamp | Future[Stamp]
) -> StoredRound:
    """Return the round that reads ``done`` from ``path``, once it is written there."""
    updates, model = done.updates, done.broadcast
    size = updates.deltas.shape[1]
    return StoredRound(
        path=path,
        stamp=stamp,
        number=done.number,
        cohort_examples=done.cohort_examples,
        encoding=encoding,
        d=size if model is None else model.numel(),
        rows=tuple(range(len(updates.clients))),
        clients=updates.clients,
        examples=tuple(updates.examples.tolist()),
        has_updates=size > 0,
        has_model=model is not None,
        held=len(updates.clients),
    )


def write(path: Path, done: Round, encoding: Encoding, disk: Disk = DISK) -> StoredRound:
    """Write ``done`` whole or not at all, and return only once the disk has it.

    Raises `Refused` where ``encoding`` cannot represent an update, or where the disk refuses.
    """
    sent, model = done.updates, done.broadcast
    d = sent.deltas.shape[1]
    if len(sent.deltas) != len(sent.clients):
        raise ValueError(f"{len(sent.deltas)} updates are not those of {len(sent.clients)} clients")
    tensors = {CLIENTS: torch.tensor(sent.clients, dtype=torch.int64), EXAMPLES: sent.examples}
    if d:
        try:
            encoded = encoding.encode(sent.deltas)
        except Unencodable as error:
            raise Refused(
                f"Round {done.number}: the updates of clients {[*at(sent.clients, error.rows)]} "
                f"cannot be stored as {error.reason}. The encoding float32 stores anything."
            ) from error
        tensors |= {f"{UPDATES}{name}": tensor for name, tensor in encoded.items()}
    if model is not None:
        tensors[BROADCAST] = model
        d = model.numel()
    facts = {"number": done.number, "cohort_examples": done.cohort_examples, "d": d}
    return _save(_understood(path, Stamp(0, 0, 0), encoding, facts, tensors), tensors, disk)


def open_round(path: Path) -> StoredRound:
    """Verify a file from its first byte to its last, and return what it holds.

    Raises `DamagedFile` unless it is what `write` or `rewrite_without` wrote.
    """
    stamp, metadata = sealed_files.verify(path)
    tensors = sealed_files.read(path, stamp)
    try:
        if metadata.pop("version", "") != VERSION:
            raise ValueError(f"its format is not {VERSION}, the one that this version reads")
        encoding = encodings.of(metadata.pop("encoding", ""))
        return _understood(path, stamp, encoding, _numbers(metadata), tensors)
    except ValueError as error:
        raise DamagedFile(path, error) from error


def rewrite_without(stored: StoredRound, clients: Set[ClientId], disk: Disk = DISK) -> StoredRound:
    """Remove the rows of ``clients`` from the file itself, and show what ``stored`` shows.

    The file is verified once more; then a new one takes its place in one step, and the old bytes
    are unlinked. Other views of it raise `DamagedFile` from then on.
    """
    whole = open_round(stored.path)
    remaining = whole.without(clients)
    if remaining.clients != whole.clients:
        tensors = sealed_files.read(whole.path, whole.verified)
        model = {BROADCAST: tensors.pop(BROADCAST)} if whole.has_model else {}
        chosen = encodings.select(tensors, remaining.rows)
        rows = tuple(range(len(remaining.rows)))
        remaining = _save(replace(remaining, rows=rows, held=len(rows)), chosen | model, disk)
    return replace(
        remaining.only(set(stored.clients)),
        has_updates=stored.has_updates,
        has_model=stored.has_model,
    )


def _save(stored: StoredRound, tensors: Mapping[str, Tensor], disk: Disk) -> StoredRound:
    metadata = {
        "version": VERSION,
        "encoding": stored.encoding.name,
        "number": str(stored.number),
        "cohort_examples": str(stored.cohort_examples),
        "d": str(stored.d),
    }
    return replace(stored, stamp=sealed_files.write(stored.path, tensors, metadata, disk))


def _numbers(metadata: Mapping[str, str]) -> dict[str, int]:
    """Read what a file says in digits; raises ValueError unless it says just that."""
    wanted = metadata.keys() == {"number", "cohort_examples", "d"}
    if not wanted or not all(re.fullmatch("[0-9]{1,18}", text) for text in metadata.values()):
        raise ValueError("it lacks the numbers of a round")
    return {name: int(text) for name, text in metadata.items()}


def _understood(
    path: Path,
    stamp: Stamp,
    encoding: Encoding,
    numbers: Mapping[str, int],
    tensors: Mapping[str, Tensor],
) -> StoredRound:
    """Return the round that these tensors are; raises ValueError where they are none."""
    parts, nothing = dict(tensors), torch.empty(0)
    clients, examples = parts.pop(CLIENTS, nothing), parts.pop(EXAMPLES, nothing)
    listed = (torch.int64, (clients.numel(),))
    if any((part.dtype, tuple(part.shape)) != listed for part in (clients, examples)):
        raise ValueError("it does not say whose updates it holds")
    stored = StoredRound(
        path=path,
        stamp=stamp,
        number=numbers["number"],
        cohort_examples=numbers["cohort_examples"],
        encoding=encoding,
        d=numbers["d"],
        rows=tuple(range(len(clients))),
        clients=tuple(clients.tolist()),
        examples=tuple(examples.tolist()),
        has_model=BROADCAST in parts,
        has_updates=len(parts) > (BROADCAST in parts),
        held=len(clients),
    )
    if (
        stored.number < 1
        or any(later <= earlier for earlier, later in pairwise((-1, *stored.clients)))
        or min(stored.examples, default=0) < 0
        or sum(stored.examples) > stored.cohort_examples
    ):
        raise ValueError("its clients, examples or numbers are not those of a round")
    model = parts.pop(BROADCAST, None)
    if model is not None and (model.dtype, *model.shape) != (torch.float32, stored.d):
        raise ValueError(f"its model is not {stored.d} numbers")
    if not all(name.startswith(UPDATES) for name in parts):
        raise ValueError("it holds tensors that a round does not have")
    if stored.has_updates:
        updates = {name.removeprefix(UPDATES): tensor for name, tensor in parts.items()}
        encodings.check(encoding, updates, len(clients), stored.d)
    return stored
