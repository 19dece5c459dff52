"""The first hour with fedunlearn, from its wheel alone in an empty folder: commands and output.

`python -m benchmarks.first_hour docs/first-hour.md` builds the wheel, installs it into an
environment of its own, carries out every step of `benchmarks.first_hour_steps` in one empty folder,
and writes what was typed, what was printed and how long it took. A step that fails ends it.
"""

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.first_hour_steps import STEPS, Step

ROOT = Path(__file__).parents[1]

LIMIT = 900
"""Seconds after which a step is given up."""

INTRODUCTION = """\
# The first hour

What a stranger types and sees, from the wheel alone in an empty folder. This page was made by doing
it (`python -m benchmarks.first_hour docs/first-hour.md`), so each command works as it stands;
output is shortened at `…`, and seconds are processor time (the demo's are spread over the cores, so
that it takes less where nothing else runs).\
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the steps and write the page."""
    (page,) = sys.argv[1:] if arguments is None else arguments
    with tempfile.TemporaryDirectory() as place:
        built, folder = Path(place, "built"), Path(place, "here")
        folder.mkdir()
        subprocess.run(["uv", "build", "--quiet", "--wheel", "--out-dir", built, ROOT], check=True)
        python = Path(place, "venv/bin/python")
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, place + "/venv"])
        (wheel,) = built.glob("*.whl")
        pins = ["--constraints", ROOT / "constraints.txt"]
        began = time.perf_counter()
        install = ["uv", "pip", "install", "--quiet", "--python", python, *pins, wheel]
        subprocess.run(install, check=True)
        seconds = time.perf_counter() - began
        told = [INTRODUCTION, installed(wheel.name, seconds)]
        for step in STEPS:
            print(step.title, flush=True)
            told.append("\n\n".join(_told(step, folder, python.parent)))
    Path(page).write_text("\n\n".join(told) + "\n", encoding="utf-8")


def installed(wheel: str, seconds: float) -> str:
    """Return the section about installing; what is downloaded lay in a cache."""
    return (
        "## Install\n\nPython 3.11 or newer, and an environment of its own:\n\n"
        f"```\npython -m venv .venv && . .venv/bin/activate\npip install {wheel}\n```\n\n"
        f"*{seconds:.0f} seconds with uv, where the packages had been downloaded before.*"
    )


def _told(step: Step, folder: Path, binaries: Path) -> Iterator[str]:
    """Carry out a step in ``folder``, and yield what the page says of it."""
    yield f"## {step.title}"
    yield step.text
    for name, content in step.files().items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        yield f"`{name}`:\n\n```{'python' if file.suffix == '.py' else 'yaml'}\n{content}```"
    for command in step.commands:
        said, seconds = _run(command, folder, binaries, refused=step.refused)
        shown = shortened(said, step.shown)
        yield f"```\n$ {command}\n{shown}\n```\n\n*{_spoken(seconds)}.*"
    if step.then:
        yield step.then


def _run(command: str, folder: Path, binaries: Path, *, refused: bool) -> tuple[str, float]:
    """Return what a command printed, without names of this machine, and its processor's seconds."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    before = _processor_seconds()
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT,
    )
    seconds = _processor_seconds() - before
    if ran.returncode not in ((0, 2) if refused else (0,)):
        raise SystemExit(f"{command}\nended with code {ran.returncode}:\n{ran.stdout}")
    text = ran.stdout.replace(f"{binaries.parent}", ".venv").replace(f"{folder}/", "")
    return re.sub(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", "2026-11-30_12-00-00", text), seconds


def _processor_seconds() -> float:
    """Return the seconds of CPU of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shortened(text: str, shown: tuple[str, ...]) -> str:
    """Return the paragraphs of ``text`` that contain one of ``shown``; all if none is named."""
    text = re.sub(r"(^\[\d+ of \d+ rounds.*\n)+", "…\n", text, flags=re.MULTILINE)
    paragraphs = re.split(r"\n\s*\n", text.strip("\n")) if text.strip() else []
    if not shown:
        return "\n\n".join(paragraphs).rstrip()
    kept: list[str] = []
    for paragraph in paragraphs:
        if any(part in paragraph for part in shown):
            kept.append("\n".join(line.rstrip() for line in paragraph.splitlines()))
        elif not kept or kept[-1] != "…":
            kept.append("…")
    return "\n".join(kept)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{max(round(seconds), 1)} seconds" if seconds >= 1.5 else "one second"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


if __name__ == "__main__":
    main()
