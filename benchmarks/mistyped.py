"""What a hundred mistyped, contradictory or stopped command lines say, and what they cost.

`python -m benchmarks.mistyped --page docs/results/mistyped.md` gives each of `LINES` in a folder of
its own and writes what came of it: exit code, the sentence and seconds of CPU. It ends
with 1 where one prints a traceback or more than a sentence, or takes more than a second of CPU
though no data had to be read.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks.mistyped_lines import LINES, Line

LONGEST = 120
"""Seconds after which a command is given up."""

MOST = 1.0
"""Seconds of CPU that a refusal may take."""

ROOT = Path(__file__).parents[1]

STOPPED = 130

PROGRAM = ("timeout", "--foreground", str(LONGEST), sys.executable, "-m", "fedunlearn")


@dataclass(frozen=True)
class Said:
    """What came of one command line."""

    code: int
    error: str
    seconds: float
    """Of CPU."""

    def fault(self, line: Line) -> str:
        """Return what is wrong with it; empty if nothing is."""
        allowed = {STOPPED} if line.stop else {0} if line.unread else {2}
        if "Traceback" in self.error:
            return "traceback"
        if self.code not in allowed:
            return f"code {self.code}"
        usage = self.error.startswith("usage:")
        if len(self.error.strip().splitlines()) > 1 and not (line.data or usage):
            return "more than one line"
        return "slow" if self.seconds > MOST and not line.data else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Give every line, print a row of each, and write the page if asked to."""
    parser = argparse.ArgumentParser(prog="benchmarks.mistyped", description=__doc__)
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="write the table")
    parser.add_argument("--kind", help="only lines of one kind")
    options = parser.parse_args(arguments)
    told = []
    for line in LINES:
        if options.kind in (None, line.kind):
            found = said(line)
            told.append((line, found))
            mark = found.fault(line).upper() or "ok"
            print(f"{mark:8} {found.seconds:5.2f} s  {line.words}\n{'':18}{found.error.strip()}")
    if options.page:
        options.page.write_text(page(told), encoding="utf-8")
    return int(any(found.fault(line) for line, found in told))


def said(line: Line) -> Said:
    """Give one command line in a new folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        line.prepare(folder)
        with (folder.parent / f"{folder.name}.err").open("w+", encoding="utf-8") as errors:
            os.unlink(errors.name)
            process = _started(line, folder, errors.fileno())
            if line.stop is not None:
                _wait(process, folder / line.stop.file if line.stop.file else None)
                process.send_signal(line.stop.number)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            errors.seek(0)
            text = errors.read().replace(f"{folder}", "FOLDER")
    seconds = used.ru_utime + used.ru_stime
    return Said(process.returncode, text.replace(f"{ROOT}", "PACKAGE"), seconds)


def _started(line: Line, folder: Path, errors: int) -> "subprocess.Popen[bytes]":
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    read, write = os.pipe()
    os.close(read)
    try:
        return subprocess.Popen(
            [*PROGRAM, *shlex.split(line.words)],
            cwd=folder,
            env=environment,
            stdout=write if line.unread else subprocess.DEVNULL,
            stderr=errors,
        )
    finally:
        os.close(write)


def _wait(process: "subprocess.Popen[bytes]", file: Path | None) -> None:
    """Wait until ``file`` has lines, or a moment if there is none to wait for."""
    end = time.monotonic() + (LONGEST if file else 0.3)
    while time.monotonic() < end and process.poll() is None:
        if file is not None and file.is_file() and file.stat().st_size:
            return
        time.sleep(0.05)


def page(told: Iterable[tuple[Line, Said]]) -> str:
    """Return the page: a table of each kind."""
    told = list(told)
    quick = [found.seconds for line, found in told if not line.data]
    parts = [
        "# Mistyped commands",
        f"What {len(told)} command lines say that are mistyped, contradictory, stopped, or read by "
        "nobody, each given in an empty folder (`python -m benchmarks.mistyped`). Each is refused "
        "with exit code 2, in one sentence (all bad files of a folder are listed), before anything "
        "is trained or written; one that is "
        f"stopped ends with {STOPPED}, and a reader that goes away stops no run. Where no data "
        f"must be read that takes at most {max(quick):.1f} seconds of CPU, with Python's start.",
        f"{report.machine()} FOLDER is where the command was given, PACKAGE "
        "where fedunlearn is installed.",
    ]
    for kind in dict.fromkeys(line.kind for line, _ in told):
        rows = [_row(line, found) for line, found in told if line.kind == kind]
        head = "| fedunlearn … | code | says | CPU seconds |\n|---|---:|---|---:|"
        parts.append("\n".join([f"## {kind.capitalize()}", "", head, *rows]))
    return "\n\n".join(parts) + "\n"


def _row(line: Line, found: Said) -> str:
    lines = (" ".join(one.split()) for one in found.error.strip().splitlines())
    sentence = "<br>".join(one.replace("|", "\\|").replace("<", "&lt;") for one in lines)
    cells = (
        f"`{line.words}`".replace("|", "\\|"),
        str(found.code),
        sentence.replace("*", "\\*") or "(nothing)",
        f"{found.seconds:.2f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
