"""`run=FOLDER`: the command line with which a killed run, or multirun, was begun."""

import os
from pathlib import Path
from typing import Any

import yaml

from fedunlearn.checks import Refused

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
    _go(Path(hydra["runtime"]["cwd"]))
    return [*directory, *(["-m"] if many else []), *kept, place, "resume=true"]


def _hydra(path: Path) -> Any:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        return found.get("hydra", found)
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
