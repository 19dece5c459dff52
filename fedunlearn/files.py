"""Files that are either whole or absent, and sentences for when a disk refuses."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedunlearn.checks import Refused


@dataclass(frozen=True, slots=True)
class Disk:
    """The calls by which a file lasts and gets its name."""

    sync: Callable[[int], None] = os.fsync
    """Returns once the disk has all of an open file or folder."""
    rename: Callable[[Path, Path], object] = os.replace
    """Gives a file its name, in place of the one that has it."""


def write(path: Path, content: bytes) -> Path:
    """Write ``path`` whole or not at all: a temporary file beside it, then a rename.

    Raises `Refused` where that fails, for a full disk, say; what stood there before is kept.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def settle(paths: Iterable[Path], disk: Disk = Disk()) -> None:
    """Return once the disk has those of the files and folders ``paths`` that are there.

    A folder holds names: without this a power cut may take away a file that was written before.
    Raises `Refused` where the disk refuses.
    """
    for path in paths:
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            disk.sync(handle)
        except OSError as error:
            raise unwritable(path, error) from error
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits; raises OSError if it is unreadable."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path, what: str) -> Any:
    """Return what a JSON file says; ``what`` it should be is said in the sentence.

    Raises `Refused` where it cannot be read: absent, a folder, no UTF-8, no JSON, too deep.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"{path} cannot be read as {what} ({reason(error)}).") from error


def read_yaml(path: Path, what: str) -> Any:
    """Return what a YAML file says; ``what`` it should be is said in the sentence.

    Raises `Refused` as `read_json` does.
    """
    import yaml  # of use to few commands

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise Refused(f"{path} cannot be read as {what} ({reason(error)}).") from error


def reason(error: Exception) -> str:
    """Return why a file cannot be read, in few words and on one line."""
    said = error.strerror if isinstance(error, OSError) else None
    if isinstance(error, RecursionError):
        said = "it nests too deeply"
    return (said or str(error).strip().partition("\n")[0] or "unknown").rstrip(".:")


def remove(path: Path) -> None:
    """Delete a file or a folder with all that is in it; raises `Refused` where that fails."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def link(source: Path, target: Path) -> None:
    """Give the file ``source`` a second name, or copy it where the disk has no links.

    Files of a history are replaced, never changed, so that the one name does not feel what becomes
    of the other. Raises `Refused` where neither works.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
    except OSError as error:
        raise unwritable(target, error) from error


def remove_partials(folder: Path) -> None:
    """Delete what a killed process left half written; raises `Refused` where that fails."""
    for path in folder.rglob(".*.partial"):
        remove(path)


def unwritable(path: Path, error: OSError) -> Refused:
    """Return the sentence that tells which file could not be written, and why."""
    return Refused(
        f"{path} cannot be written: {error.strerror or error}. Free space or rights there, or "
        "choose another folder with hydra.run.dir=FOLDER (hydra.sweep.dir=FOLDER for a multirun)."
    )


class DamagedFile(Refused):
    """A file that cannot be trusted; the message says which, why, and what to do."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(
            f"{path} cannot be used: {str(reason).rstrip('.')}. Delete it and train again, or "
            "bring back an intact copy."
        )


MARGIN = 16 * 2**20
"""Bytes that must be free on the disk besides those that a run says it needs."""


def free_bytes(folder: Path) -> int:
    """Return the bytes that are free on the disk of ``folder``, which must exist."""
    return shutil.disk_usage(folder).free


def require_space(
    folder: Path, needed_bytes: int = 0, free_on: Callable[[Path], int] = free_bytes
) -> None:
    """Raise `Refused` unless ``folder`` can be made and take ``needed_bytes``; leave no trace.

    ``free_on`` tells the free bytes on the disk of a folder.
    """
    standing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        free = free_on(standing)
        with tempfile.TemporaryFile(dir=standing):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error
    needed = needed_bytes + MARGIN
    if free < needed:
        raise Refused(
            f"{folder} needs {needed / 1e6:,.0f} MB, but only {free / 1e6:,.0f} MB are free on "
            "that disk. Free some, or choose another folder with "
            "hydra.run.dir=FOLDER (hydra.sweep.dir=FOLDER for a multirun)."
        )
