"""Whether the files of a run are those that it wrote: their SHA-256 stand in its manifest."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from fedunlearn.checks import Refused
from fedunlearn.results.manifest import MANIFEST_FILE, SEAL, read_manifest

CHECKSUMS_KEY = "files"
"""The part of manifest.json that holds the SHA-256 of every file that a certificate, a verdict or
an answer speaks of, by its path in the run's folder; there once the run is finished."""

TABLE_FILES = (
    "metrics.csv",
    "summary.csv",
    "verdicts.csv",
    "answers.csv",
    "requests.csv",
    "ledger.csv",
    "clients.csv",
)
"""The tables that a run itself writes; those of later commands are not listed."""


def listed_checksums(folder: Path, manifest: object) -> dict[str, str]:
    """Return the SHA-256 of each file that the manifest of the run in ``folder`` lists.

    Empty for a run that is not finished. Raises `Refused` for a list that is none.
    """
    listed = manifest.get(CHECKSUMS_KEY, {}) if isinstance(manifest, Mapping) else {}
    return listed_paths(folder / MANIFEST_FILE, listed, f' under "{CHECKSUMS_KEY}"')


def listed_paths(source: Path, listed: object, where: str = "") -> dict[str, str]:
    """Return ``listed``, SHA-256 by paths, as it stands in ``source``.

    Raises `Refused` for what lists no files, or files outside the folder.
    """
    if not isinstance(listed, Mapping) or not all(map(_inside, listed, listed.values())):
        raise Refused(
            f"{source} does not list files by their paths and SHA-256{where}: bring back an intact "
            "copy."
        )
    return dict(listed)


def require_written(folder: Path, *, absent: Collection[str] = ()) -> dict[str, str]:
    """Return the listed checksums of a finished run; its files have them, or are ``absent``.

    Raises `Refused`, naming it, for a file that is not as it was written, and for one of
    `TABLE_FILES` or a model that lies there and is not listed.
    """
    path = folder / MANIFEST_FILE
    listed = listed_checksums(folder, read_manifest(folder))
    for name, wanted in listed.items():
        if name not in absent or (folder / name).exists():
            require_checksum(folder / name, wanted)
    models = [place.relative_to(folder).as_posix() for place in folder.glob("models/*")]
    for name in (*TABLE_FILES, *models):
        if name not in listed and (folder / name).exists():
            raise Refused(
                f"{path} lists no SHA-256 of {name}, so that nothing shows that it is what the run "
                "wrote. Bring back an intact copy of both."
            )
    return listed


def require_checksum(path: Path, wanted: str) -> None:
    """Raise `Refused` unless ``path`` is a file with this SHA-256."""
    try:
        with path.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise Refused(
            f"{path} cannot be read ({error.strerror or error}), but the run wrote it. Bring it "
            "back, or run again in another folder."
        ) from error
    if actual != wanted:
        raise unlike_written(path)


def unlike_written(path: Path) -> Refused:
    """Return the sentence that a file is not what the run wrote, and how to go on."""
    return Refused(
        f"{path} is not as the run wrote it: it was changed, damaged or replaced, and its SHA-256 "
        "is another one. Bring back an intact copy, or run again in another folder. If you "
        f'changed it on purpose, delete its line under "{CHECKSUMS_KEY}" in {MANIFEST_FILE}, and '
        f'the line "{SEAL}" at the end of that: what is read then is not what was measured, and '
        "`fedunlearn verify` will say so."
    )


def _inside(name: object, checksum: object) -> bool:
    place = PurePosixPath(str(name))
    return isinstance(checksum, str) and not place.is_absolute() and ".." not in place.parts
