"""Folders are read by the version that made them: columns and files may mean another thing."""

from collections.abc import Mapping
from pathlib import Path

from fedunlearn import __version__
from fedunlearn.checks import Refused


def require_this_version(what: Path, made_with: object) -> None:
    """Raise `Refused` if ``made_with``, versions by package, names another one of fedunlearn.

    ``what`` is the folder or file that is read.
    """
    theirs = made_with.get("fedunlearn") if isinstance(made_with, Mapping) else None
    if theirs is not None and theirs != __version__:
        raise Refused(
            f"{what} was made by fedunlearn {theirs}, and this is fedunlearn {__version__}: read "
            "it with that version, or make it anew."
        )
