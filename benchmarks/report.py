"""What every benchmark takes on the command line, prints and writes."""

import argparse
import csv
import datetime
import io
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from fedunlearn import files
from fedunlearn.threads import cores


def command_line(description: str, repetitions: int) -> argparse.ArgumentParser:
    """Return a parser of the options that all benchmarks share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="write every repetition")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw into a .png or .svg")
    parser.add_argument(
        "--repetitions", type=_counting, default=repetitions, metavar="N", help="how many to keep"
    )
    return parser


def machine(device: str | None = None) -> str:
    """Return a sentence about what the numbers were measured with."""
    names = {"torch": "torch", "Flower": "flwr", "Ray": "ray"}
    libraries = ", ".join(f"{name} {version(package)}" for name, package in names.items())
    parts = [f"{cores()} cores", f"Python {platform.python_version()}", libraries]
    if device is not None and device.startswith("cuda"):
        import torch

        parts.insert(1, torch.cuda.get_device_name(device))
    return f"Measured on {datetime.date.today():%d %B %Y}: {', '.join(parts)}."


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table: the first column stands left, the others right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float) -> str:
    """Write a number with three digits that count."""
    return f"{float(f'{value:.3g}'):,.10g}"


def goal(wanted: float, reached: float, *, at_most: bool = False) -> tuple[str, str, str]:
    """Return the cells ``wanted``, ``reached`` and ``met`` of a table of goals."""
    met = reached <= wanted if at_most else reached >= wanted
    sign = "≤" if at_most else "≥"
    return f"{sign} {number(wanted)}", number(reached), "yes" if met else "no"


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under their columns."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerows([columns, *rows])
    files.write(path, content.getvalue().encode())


def _counting(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("keep at least one repetition")
    return count
