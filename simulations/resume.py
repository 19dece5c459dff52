"""`run=FOLDER`: the command line with which a killed run, or multirun, was begun."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from fedunlearn.checks import Refused

from .offered import offered

MULTIRUN = "multirun.yaml"
"""Hydra's own file in the folder of a multirun."""

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
    if hydra["job"]["name"] != command:
        raise Refused(
            f"{folder} was begun by another command: fedunlearn {hydra['job']['name']} run={folder}"
        )
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
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return content.get("hydra", content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError) as error:
        raise Refused(f"{path} cannot be read ({error}), so no run was begun there.") from error


def _go(folder: Path) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise Refused(
            f"The run was begun in {folder}, which is gone ({error.strerror}); relative paths in "
            "its configuration mean nothing elsewhere."
        ) from error
