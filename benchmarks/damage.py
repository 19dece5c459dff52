"""Damage single files of a folder, and see what every command that reads it makes of that.

`python -m benchmarks.damage --cases 5000` ends with a table: for each command and kind of damage,
how often it was refused in a sentence, and how often the damage meant nothing. Anything else, a
traceback or another result than that of the whole folder, is listed, and the exit code is 1.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.damaged_folders import make
from benchmarks.damages import damage, kinds, restored
from benchmarks.folder_commands import SHARES, SUITED, Ended, carried_out

REFUSED, SAME, ANYTHING = "refused", "same", "read"
ANEW = "holds no checkpoint: the run begins anew"
"""Said where a checkpoint was deleted: the run trains from its beginning, to the same files."""
READ = 0.9
"""The share of cases that damage a file which the command opens."""

FAULTS = ("traceback", "wrong load", "no file named")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one case."""

    case: int
    folder: str
    command: str
    file: str
    kind: str
    outcome: str
    said: str


class Bench:
    """Pristine folders in ``root``; copies of them in ``work`` are damaged."""

    def __init__(
        self, root: Path, work: Path, suited: Mapping[str, Sequence[str]] = SUITED
    ) -> None:
        self.root, self.work, self.suited = root, work, suited
        self._whole: dict[tuple[str, str], Ended] = {}

    def case(self, number: int) -> Result:
        """Carry out the case of this number: folder, command, file and damage follow from it."""
        rng = random.Random(number)
        folder = rng.choice([name for name in self.suited if (self.root / name).exists()])
        commands = self.suited[folder]
        (command,) = rng.choices(commands, [SHARES.get(name, 1.0) for name in commands])
        expected = self._undamaged(folder, command)
        place = self._copied(folder)
        files = sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file())
        read = [file for file in files if file.as_posix() in expected.opened]
        if read and rng.random() < READ:
            files = read
        file = rng.choice([file for file in files if file.suffix])
        kind = rng.choice(kinds(place / file))
        damage(place / file, kind, rng, self._alike(folder, file))
        ended = carried_out(command, place, self.root / folder)
        outcome = _outcome(ended, expected, place, file, read=folder == "open")
        said = ended.trace or ended.said
        return Result(number, folder, command, file.as_posix(), kind, outcome, said)

    def _undamaged(self, folder: str, command: str) -> Ended:
        if (folder, command) not in self._whole:
            self._whole[folder, command] = ended = carried_out(
                command, self._copied(folder), self.root / folder
            )
            if ended.trace:
                sys.stderr.write(f"{command} of a whole {folder}:\n{ended.trace}\n")
        return self._whole[folder, command]

    def _copied(self, folder: str) -> Path:
        place = self.work / folder
        restored(self.root / folder, place)
        return place

    def _alike(self, folder: str, file: Path) -> list[Path]:
        """Return files of the same kind of another run: that of the same name, if any."""
        other = self.root / "other" / folder
        if (other / file).is_file():
            return [other / file]
        return sorted(other.rglob(f"*{file.suffix}")) if file.suffix else []


def _outcome(ended: Ended, expected: Ended, place: Path, file: Path, *, read: bool) -> str:
    if ended.trace:
        return "traceback"
    if ended.code:
        names = {file.name, file.stem, str(place)}
        return REFUSED if any(name in ended.said for name in names) else "no file named"
    if ended.content == expected.content or ANEW in ended.said:
        return SAME
    return ANYTHING if read else "wrong load"


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out the cases of the command line; exit with 1 if one of them shows a fault."""
    parser = argparse.ArgumentParser(prog="benchmarks.damage", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000, help="so many")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--root", type=Path, required=True, help="where whole folders are made")
    parser.add_argument("--work", type=Path, required=True, help="where copies are damaged")
    parser.add_argument("--out", type=Path, help="a line of JSON a case; what is there is kept")
    options = parser.parse_args(arguments)
    make(options.root)
    bench, results, began = Bench(options.root, options.work), list[Result](), time.monotonic()
    for number in range(options.first, options.first + options.cases):
        result = bench.case(number)
        results.append(result)
        if options.out:
            with options.out.open("a") as stream:
                stream.write(json.dumps(vars_of(result)) + "\n")
        if result.outcome in FAULTS:
            sys.stderr.write(f"{vars_of(result)}\n")
    print(summary(results), f"{time.monotonic() - began:.0f} seconds", sep="\n\n")
    sys.exit(any(result.outcome in FAULTS for result in results))


def vars_of(result: Result) -> dict[str, object]:
    """Return a result as plain values."""
    return {name: getattr(result, name) for name in Result.__slots__}


def summary(results: Sequence[Result]) -> str:
    """Return a row a command and one a kind of damage: how often each outcome came."""
    outcomes = (REFUSED, SAME, ANYTHING, *FAULTS)
    tables = []
    for heading in ("command", "folder", "kind"):
        counts = Counter((str(getattr(r, heading)), r.outcome) for r in results)
        names = sorted({name for name, _ in counts})
        rows = [[name, *(str(counts[name, one]) for one in outcomes)] for name in names]
        tables.append(report.table([heading, *outcomes], rows))
    return "\n\n".join(tables)


if __name__ == "__main__":
    main()
