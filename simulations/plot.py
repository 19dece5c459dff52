"""`fedunlearn plot FOLDER …`: the figures of finished runs again, from their files alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fedunlearn import results
from fedunlearn.checks import Refused
from fedunlearn.results import plots


def main() -> None:
    """Draw the figures of every run in the folders named."""
    parser = argparse.ArgumentParser(prog="fedunlearn plot", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="a run, or a multirun of several")
    console = results.PersistentConsole()
    try:
        for folder in parser.parse_args().folder:
            runs = results.find_runs(folder)
            drawn = [figure for run in runs for figure in plots.draw(run)]
            drawn += plots.draw_many(folder) if runs != [folder] else []
            for figure in drawn:
                console.print(str(figure), highlight=False, soft_wrap=True)
    except Refused as refusal:
        sys.stderr.write(f"{refusal}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
