"""manifest.json, the file that says what a run is made of: the one place where it is read.

It holds the SHA-256 of itself, so that a damaged one is not taken for another run's.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedunlearn import files
from fedunlearn.checks import Refused

MANIFEST_FILE = "manifest.json"
"""The file that says what a run is made of, and whether it is finished."""

SEAL = "sha256"
"""Its last line: the SHA-256 of all else that it says."""

PARTS: Mapping[str, tuple[type, str]] = {
    "status": (str, "text"),
    "seeds": (list, "a list"),
    "versions": (dict, "a mapping"),
    "split_sha256": (dict, "a mapping"),
    "config": (dict, "a mapping"),
    "overrides": (list, "a list"),
    "owners": (dict, "a mapping"),
}
"""What is read of it, and what that is."""


class Unfinished(Refused):
    """A run that did not get to its end, so that its tables do not say what came of it."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what the manifest of the run in ``folder`` says.

    Raises `Refused` where it cannot be read, and where it is not as it was written.
    """
    path = folder / MANIFEST_FILE
    content = files.read_json(path, "a run's manifest")
    if not isinstance(content, dict) or not content.keys() & {SEAL, "files", *PARTS}:
        raise Refused(f"{path} is not the manifest of a run: bring back an intact copy.")
    if SEAL in content and content.pop(SEAL) != _seal(content):
        raise Refused(
            f"{path} is not as the run wrote it: it was changed or damaged, and its SHA-256 is "
            "another one. Bring back an intact copy. If you changed it on purpose, delete the "
            f'line "{SEAL}" at its end.'
        )
    for name, (kind, words) in PARTS.items():
        if name in content and not isinstance(content[name], kind):
            raise Refused(f'{path} holds a "{name}" that is not {words}: bring back a copy.')
    return content


def listed_owners(content: Mapping[str, object]) -> dict[int, str]:
    """Return what people call each client in a run whose data set names owners; else nothing."""
    owners = content.get("owners")
    named = owners.items() if isinstance(owners, dict) else ()
    return {int(client): str(name) for client, name in named if str(client).isdecimal()}


def manifest_text(content: Mapping[str, object]) -> str:
    """Return ``content`` as JSON with its own SHA-256, as `read_manifest` takes it."""
    sealed = {**content, SEAL: _seal(content)}
    return f"{json.dumps(sealed, indent=2, ensure_ascii=False)}\n"


def require_finished(folder: Path, manifest: Mapping[str, object]) -> None:
    """Raise `Unfinished` for a run whose manifest says that it works still, or failed."""
    status = manifest.get("status", "finished")
    if status != "finished":
        raise Unfinished(
            f"The run in {folder} is not finished (its status is {status}), so its files do not "
            f"say what came of it. Go on with it by run={folder}, then ask again."
        )


def _seal(content: Mapping[str, object]) -> str:
    read_back = json.loads(json.dumps(content))  # makes every key a string, so that they sort
    text = json.dumps(read_back, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
