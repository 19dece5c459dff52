"""Whether a folder holds the run that is asked for, so that another process may go on with it."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedunlearn.checks import Refused
from fedunlearn.results import MANIFEST_FILE, read_manifest, require_this_version

log = logging.getLogger(__name__)

FREE = {"resume", "overwrite", "checkpoint", "figures", "minimise", "logger", "signing_key"}
"""Parts of the configuration that no number depends on."""


def finished(folder: Path) -> bool:
    """Whether the run in ``folder`` is through."""
    return bool(_manifest(folder)["status"] == "finished")


def require_free(folder: Path, *, below: bool = False) -> None:
    """Raise `Refused` where a finished run lies in ``folder``, or ``below`` it."""
    manifests = folder.rglob(MANIFEST_FILE) if below else [folder / MANIFEST_FILE]
    for path in sorted(manifests):
        if path.exists() and not _stopped(path):
            raise Refused(
                f"{path.parent} holds a finished run, which would be lost. Choose another folder "
                "with hydra.run.dir=FOLDER (hydra.sweep.dir=FOLDER for a multirun), show this one "
                f"with run={folder}, or replace it with overwrite=true."
            )


def identity(manifest: Mapping[str, Any]) -> str:
    """Return a SHA-256 of what a run's numbers depend on, but for data, versions and code."""
    config = {name: part for name, part in manifest["config"].items() if name not in FREE}
    text = json.dumps([manifest["seeds"], config], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _stopped(manifest: Path) -> bool:
    """Whether a run surely did not get to its end: what cannot be read may have."""
    try:
        return read_manifest(manifest.parent).get("status") in ("running", "failed")
    except Refused:
        return False


def require_same(folder: Path, manifest: Mapping[str, object]) -> None:
    """Raise `Refused` unless the run in ``folder`` is the one that ``manifest`` describes.

    Another commit of the code only brings a warning: most of them change no number.
    """
    begun, now = _manifest(folder), json.loads(json.dumps(manifest))
    for part in ("seeds", "split_sha256", "timeline_sha256", "cohorts_sha256", "versions"):
        if begun.get(part) != now[part]:
            raise Refused(
                f"{folder} holds a run with other {WORDS[part]}: {begun.get(part)}, and here it "
                f"would be {now[part]}. Start anew in another folder."
            )
    differing = _differing(begun["config"], now["config"])
    if differing:
        raise Refused(
            f"{folder} holds a run with another configuration of {', '.join(differing)}. Start "
            "anew in another folder."
        )
    if begun.get("commit") != now["commit"]:
        log.warning(
            "The run in %s was begun with another commit of the code (%s); if that changed a "
            "number, start anew.",
            folder,
            begun.get("commit"),
        )


WORDS = {
    "seeds": "seeds",
    "split_sha256": "data",
    "timeline_sha256": "requests",
    "cohorts_sha256": "cohorts",
    "versions": "versions of its packages",
}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    names = (one.keys() | other.keys()) - FREE
    return sorted(name for name in names if one.get(name) != other.get(name))


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if not {"status", "config"} <= manifest.keys():
        raise Refused(f"{folder / MANIFEST_FILE} is not the manifest of a run to go on with.")
    require_this_version(folder, manifest.get("versions"))
    return manifest
