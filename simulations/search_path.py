"""Where configurations and classes are looked for: ours first, then the user's own folder.

A name that fedunlearn has keeps its meaning: a user's file of that name is passed over, and told.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from fedunlearn.__main__ import admit
from fedunlearn.checks import Refused, nearest, short

CONF = Path(__file__).resolve().parents[1] / "conf"
"""Our configuration: beside simulations/ in a checkout as in a wheel."""


_OWN: ContextVar[Path | None] = ContextVar("own", default=None)


def own_folder() -> Path:
    """Return the user's own folder: the working directory, unless `looking_in` names another."""
    return _OWN.get() or Path.cwd()


@contextmanager
def looking_in(folder: Path) -> Iterator[None]:
    """Let ``folder`` be the user's own; what lies in it can be imported from now on.

    Raises `Refused` where there is none, and where it hides our strategies.
    """
    if not folder.is_dir():
        raise Refused(f"own={folder} is not a folder on this machine.")
    try:
        admit(str(folder))
    except SystemExit as refusal:
        raise Refused(str(refusal)) from None
    token = _OWN.set(folder)
    try:
        yield
    finally:
        _OWN.reset(token)


class WorkingDirectory(SearchPathPlugin):
    """Lets Hydra look into ``conf/`` of the user's own folder, behind ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder, if there is one."""
        for folder in folders()[1:]:
            search_path.append("working-directory", f"file://{folder}")


def register() -> None:
    """Make the plugin known to Hydra; once more does nothing."""
    Plugins.instance().register(WorkingDirectory)


def folders() -> list[Path]:
    """Return where configurations are looked for, the first first."""
    user_conf = own_folder() / "conf"
    return [CONF, user_conf] if user_conf.is_dir() and user_conf.resolve() != CONF else [CONF]


def looked(group: str) -> str:
    """Return a sentence that says where the files of ``group`` were looked for, and what to do."""
    known, user_folder = folders(), own_folder()
    seen = " and ".join(f"{folder}/{group}" for folder in known)
    absent = "" if len(known) > 1 or user_folder / "conf" == CONF else " (there is no conf/ here)"
    return f"Looked in {seen}{absent}; your own is conf/{group}/NAME.yaml in {user_folder}."


def passed_over() -> Iterator[str]:
    """Yield a sentence for each of the user's files whose name fedunlearn has itself."""
    strategies = CONF.parent / "strategies"
    if not strategies.is_dir():
        strategies = CONF.parents[1] / "strategies"
    user_strategies = own_folder() / "strategies"
    pairs = [(folder, CONF, "*.yaml") for folder in folders()[1:]]
    if user_strategies.is_dir() and user_strategies.resolve() != strategies:
        pairs.append((user_strategies, strategies, "*.py"))
    for folder, ours, pattern in pairs:
        for path in sorted(folder.rglob(pattern)):
            name = path.relative_to(folder)
            if (ours / name).is_file():
                yield (
                    f"{folder.name}/{name} of this folder is passed over: fedunlearn has one of "
                    "that name. Give yours another."
                )


def not_found(error: BaseException) -> str | None:
    """Return what is wrong with the ``_target_`` that ``error`` says cannot be located.

    Nothing for any other error.
    """
    located = re.search(r"Error locating target '([^']+)'", str(error))
    if located is None:
        return None
    target = located[1]
    module, _, name = target.rpartition(".")
    if not module:
        return f"{short(target)} names no module. Write _target_: module.Class."
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        parent = ".".join(parts[:count])
        try:
            known = find_spec(parent) is not None
        except ValueError:  # a module that was made by hand has no spec
            known = parent in sys.modules
        except Exception as inside:
            return f"{target} is not found, for {parent} cannot be imported: {inside}."
        if not known:
            return f"{target} is not found: {_no_module(parent)}"
    try:
        package = import_module(module)
    except Exception as inside:
        return f"{target} is not found, for {module} cannot be imported: {inside}."
    file = getattr(package, "__file__", None) or next(iter(package.__path__))
    public = [one for one in dir(package) if not one.startswith("_")]
    return f"{target} is not found: {file} has no {name}{nearest(name, public)}"


def _no_module(name: str) -> str:
    """Say where a module was looked for, and how to supply it."""
    parent, _, last = name.rpartition(".")
    if parent:
        places = [str(place) for place in getattr(import_module(parent), "__path__", [])]
        if not places:
            return f"{parent} is a file and holds no module {last}. Correct _target_."
        seen = " and ".join(places)
        return f"there is no module {last} in {seen}. Write {last}.py, or correct _target_."
    return (
        f"there is no module {name} among the installed packages or in {own_folder()}. "
        f"Write {name}.py there, install what holds it, or correct _target_."
    )
