"""What lies in the offline files of Weights & Biases: records in the format of LevelDB's logs."""

import json
import struct
import time
from dataclasses import dataclass, field

BLOCK = 32_768
HEADER = 7
"""Bytes before the first chunk of a file, and of the header of each chunk."""


@dataclass
class OfflineRun:
    """One run as W&B's own records tell it."""

    name: str = ""
    group: str = ""
    config: dict = field(default_factory=dict)
    history: list = field(default_factory=list)
    """A mapping for each call of log(), in order."""
    summary: dict = field(default_factory=dict)
    exit_code: int | None = None


def ended(folder, seconds=30):
    """Return the runs in the folder that W&B was given, by name, once all are written.

    What W&B's own process holds when a run is finished, it writes a moment later.
    """
    until = time.monotonic() + seconds
    found = _runs(folder)
    while any(run.exit_code is None for run in found.values()):
        assert time.monotonic() < until
        time.sleep(0.05)
        found = _runs(folder)
    return found


def _runs(folder):
    found = [_read(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]
    assert len({run.name for run in found}) == len(found)
    return {run.name: run for run in found}


def _read(path):
    from wandb.proto.wandb_internal_pb2 import Record

    run = OfflineRun()
    for content in _contents(path.read_bytes()):
        record = Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.name, run.group = record.run.display_name, record.run.run_group
            run.config |= _items(record.run.config.update)
        elif kind == "config":
            run.config |= _items(record.config.update)
        elif kind == "history":
            run.history.append(_items(record.history.item))
        elif kind == "summary":
            run.summary |= _items(record.summary.update)
        elif kind == "exit":
            run.exit_code = record.exit.exit_code
    return run


def _items(items):
    named = ((item.key or "/".join(item.nested_key), item.value_json) for item in items)
    return {name: json.loads(value) for name, value in named if name[0] != "_"}


def _contents(data):
    """Yield each record: chunks of type 1 are whole, others go from 2 by 3 to 4."""
    place, parts = HEADER, []
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts.append(data[place + HEADER : place + HEADER + length])
        place += HEADER + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []
