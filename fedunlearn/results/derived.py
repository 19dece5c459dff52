"""What commands wrote into a folder after its run: figures, a report, costs, attacks.

``derived.json`` lists them by their paths with their SHA-256. So the next reader knows that they
are as they were written, and whoever replaces the run, which of them were made from it.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.results.checksums import listed_paths

DERIVED = "derived.json"
"""The file that lists them."""


def note_derived(folder: Path, written: Iterable[Path]) -> None:
    """List files that a command has just written below ``folder``; others stay listed.

    Raises `Refused` where the list that is there cannot be read.
    """
    sums = {path.relative_to(folder).as_posix(): files.sha256(path) for path in written}
    text = json.dumps(dict(sorted({**_listed(folder), **sums}.items())), indent=2)
    files.write(folder / DERIVED, f"{text}\n".encode())


def read_derived(folder: Path, name: str) -> bytes | None:
    """Return a file that a command wrote into ``folder``; None where none did.

    Raises `Refused` where it is not as it was written, is gone, or is not listed.
    """
    path, wanted = folder / name, _listed(folder).get(name)
    if wanted is None and not path.exists():
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"it cannot be read: {files.reason(error)}") from error
    if hashlib.sha256(content).hexdigest() != wanted:
        raise Refused(f"its SHA-256 is not the one that {folder / DERIVED} lists")
    return content


def remove_derived(folder: Path) -> list[Path]:
    """Delete what commands wrote into ``folder`` and is as it was written; return what stays.

    That are files that were changed since: they are not only ours. Folders that are empty then go,
    too. Raises `Refused` where the list cannot be read.
    """
    listed, changed = _listed(folder), list[Path]()
    for name, wanted in listed.items():
        path = folder / name
        if path.is_file() and files.sha256(path) != wanted:
            changed.append(path)
        elif path.is_file():
            files.remove(path)
    for place in sorted({(folder / name).parent for name in listed} - {folder}, reverse=True):
        if place.is_dir() and not any(place.iterdir()):
            files.remove(place)
    files.remove(folder / DERIVED)
    return changed


def _listed(folder: Path) -> dict[str, str]:
    path = folder / DERIVED
    if not path.exists():
        return {}
    try:
        return listed_paths(path, files.read_json(path, "a list of files"))
    except Refused as error:
        raise Refused(
            f"{error} It lists what commands made of the run: delete it, and let those write "
            "again whose files are read (`fedunlearn attack`)."
        ) from error
