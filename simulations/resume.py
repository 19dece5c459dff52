"""`run=FOLDER`: the command line with which a killed run, or multirun, was begun."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fedunlearn import files
from fedunlearn.checks import Refused

from .offered import offered

MULTIRUN = "multirun.yaml"
"""Hydra's own file in the folder of a multirun."""


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _sources(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(source, dict) and _words([source.get("path"), source.get("provider")])
        for source in value
    )


NEEDED: Mapping[str, Callable[[Any], bool]] = {
    "job.name": lambda value: isinstance(value, str),
    "overrides.hydra": _words,
    "overrides.task": _words,
    "runtime.cwd": lambda value: isinstance(value, str),
    "runtime.config_sources": _sources,
}
"""What is read of Hydra's file, and whether it is that."""

OWN = ("hydra.run.dir=", "hydra.sweep.dir=", "hydra.mode=", "resume=", "overwrite=")
"""Overrides that say where and how, which is said anew."""


def begun(command: str, arguments: list[str]) -> list[str]:
    """Return ``arguments`` or, where they are ``run=FOLDER``, those that began the run in it.

    Goes to the folder in which the command was given then, for relative paths. Raises `Refused`
    where ``FOLDER`` holds no run of ``command``, or where more is given than the folder.
    """
    named = [argument for argument in arguments if argument.startswith("run=")]
    if not named:
        return arguments
    if len(arguments) > 1:
        raise Refused(
            "run=FOLDER goes on with a run as it was configured: leave out everything else."
        )
    folder = Path(named[0].removeprefix("run=")).expanduser().absolute()
    many = (folder / MULTIRUN).is_file()
    hydra = _hydra(folder / MULTIRUN if many else folder / ".hydra" / "hydra.yaml")
    begun_by = hydra["job"]["name"].replace("_", "-")
    if begun_by != command:
        raise Refused(f"{folder} was begun by another command: fedunlearn {begun_by} run={folder}")
    overrides = [*hydra["overrides"]["hydra"], *hydra["overrides"]["task"]]
    kept = [override for override in overrides if not override.startswith(OWN)]
    place = f"hydra.{'sweep' if many else 'run'}.dir={folder}"
    directory = next(
        (
            ["--config-dir", source["path"]]
            for source in hydra["runtime"]["config_sources"]
            if source["provider"] == "command-line"
        ),
        [],
    )
    there = Path(hydra["runtime"]["cwd"])
    _require_trusted(folder, kept, [there, *map(Path, directory[1:])])
    _go(there)
    return [*directory, *(["-m"] if many else []), *kept, place, "resume=true"]


def _require_trusted(folder: Path, overrides: Iterable[str], places: Iterable[Path]) -> None:
    """Raise `Refused` where a run's folder would bring code with it.

    It may name classes that a configuration on this machine offers, and folders outside itself.
    """
    again = "Repeat the command that began the run, with hydra.run.dir=FOLDER resume=true."
    targets = offered()
    for override in overrides:
        if override.lstrip("+~").startswith("hydra.searchpath"):
            raise Refused(f"The run in {folder} was begun with {override}. {again}")
        for target in re.findall(r"_target_['\"]?\s*[=:]\s*['\"]?([\w.]+)", override):
            if target not in targets:
                raise Refused(
                    f"The run in {folder} was begun with {override}, but no configuration on this "
                    f"machine offers {target}: what lies in a folder runs no code. {again}"
                )
    for place in places:
        if place.resolve().is_relative_to(folder.resolve()):
            raise Refused(
                f"The run in {folder} reads its configuration from {place}, within itself: what "
                f"lies in a folder runs no code. {again}"
            )


def _hydra(path: Path) -> Any:
    if not path.exists():
        raise Refused(
            f"{path} is not there, so no run was begun there. Give the command that begins it."
        )
    found = files.read_yaml(path, "the configuration of a run that was begun")
    part = found.get("hydra", found) if isinstance(found, dict) else None
    wrong = next((key for key, fits in NEEDED.items() if not fits(_at(part, key))), None)
    if wrong is not None:
        raise Refused(
            f"{path} does not say with hydra.{wrong} how the run was begun: it was cut off or "
            "changed. Repeat the command that began the run, with hydra.run.dir=FOLDER resume=true."
        )
    return part


def _at(part: Any, key: str) -> Any:
    for name in key.split("."):
        part = part.get(name) if isinstance(part, dict) else None
    return part


def _go(folder: Path) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise Refused(
            f"The run was begun in {folder}, which is gone ({error.strerror}); relative paths in "
            "its configuration mean nothing elsewhere."
        ) from error
