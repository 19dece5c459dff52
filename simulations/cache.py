"""`fedunlearn cache ls|rm|verify`: look at the trainings that runs share."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.table import Table

from fedunlearn import experiment
from fedunlearn.checks import Refused
from fedunlearn.results import PersistentConsole

from .guard import sentences

USAGE = "usage: fedunlearn cache ls FOLDER | verify FOLDER | rm FOLDER ENTRY… | rm FOLDER --all"


def main() -> None:
    """Do what the command line says; an entry may be named by the first letters of its name."""
    _, *arguments = sys.argv
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(f"{USAGE}\n")
        return
    with sentences():
        if len(arguments) < 2 or arguments[0] not in ("ls", "rm", "verify"):
            raise Refused(USAGE)
        verb, folder, *names = arguments
        cache = experiment.require(Path(folder).expanduser())
        console = PersistentConsole(highlight=False)
        if verb == "ls":
            console.print(listed(cache))
        elif verb == "verify":
            for entry in cache.entries():
                cache.verify(entry)
                console.print(f"{entry.folder.name} is whole.")
        else:
            for entry in named(cache, names):
                cache.remove(entry)
                console.print(f"{entry.folder.name} is gone.")


def listed(cache: experiment.Cache) -> Table:
    """Return a row an entry: its name, the seed, what was trained, and its megabytes."""
    table = Table("Entry", "Seed", "Data", "Model", "MB", box=None, padding=(0, 2, 0, 0))
    for entry in cache.entries():
        facts = entry.facts
        data, model = (str(facts[name]).partition("(")[0] for name in ("dataset", "model"))
        name, seed = entry.folder.name[:18], str(facts["seed"])
        table.add_row(name, seed, data, model, f"{experiment.nbytes(entry) / 1e6:.1f}")
    return table


def named(cache: experiment.Cache, names: list[str]) -> list[experiment.Entry]:
    """Return the entries that ``names`` name; raise `Refused` for one that names none."""
    entries = cache.entries()
    if names == ["--all"]:
        return entries
    chosen = []
    for name in names:
        alike = [entry for entry in entries if entry.folder.name.startswith(name)]
        if len(alike) != 1:
            what = "no entry" if not alike else f"{len(alike)} entries"
            raise Refused(f"{name} names {what} of {cache.folder}; fedunlearn cache ls lists them.")
        chosen += alike
    if not chosen:
        raise Refused(USAGE)
    return chosen
