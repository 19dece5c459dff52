"""`fedunlearn cost FOLDER …`: what finished runs would cost outside the simulator.

Network and devices are those of the run's configuration, or, given overrides of Hydra's as in
`devices=phones devices.draws=50`, those of conf/devices. Writes costs.csv and break_even.csv.
"""

import argparse
from pathlib import Path

import pandas as pd
from hydra import initialize_config_dir
from rich.console import Console

from fedunlearn import files
from fedunlearn.checks import Refused
from fedunlearn.results import MANIFEST, Run, find_runs, load, plain_console
from fedunlearn.results.costing import (
    BREAK_EVEN_LEGEND,
    COSTS_LEGEND,
    Devices,
    break_even,
    break_even_printed,
    costs_printed,
    costs_table,
)
from fedunlearn.unlearning import UnlearningStrategy

from .configured import build
from .guard import CONF, composed, sentences
from .offered import require_offered


def main() -> None:
    """Print and write the costs of every run in the folders named."""
    parser = argparse.ArgumentParser(prog="fedunlearn cost", description=__doc__)
    words = "a run, or a multirun of several; devices=phones, devices.draws=50, …"
    parser.add_argument("words", nargs="+", metavar="FOLDER", help=words)
    given: list[str] = parser.parse_args().words
    console = plain_console()
    with sentences():
        overrides = [word for word in given if "=" in word and not Path(word).exists()]
        devices = chosen(overrides) if overrides else None
        folders = [Path(word) for word in given if word not in overrides]
        if not folders:
            raise Refused("Name the folder of a run: fedunlearn cost outputs/demo devices=phones")
        for folder in folders:
            for found in find_runs(folder):
                _show(console, load(found), devices)


def chosen(overrides: list[str]) -> Devices:
    """Compose what conf/devices and ``overrides`` say; raise `Refused` for what is wrong."""
    others = [word for word in overrides if not word.startswith(("devices=", "devices."))]
    if others:
        raise Refused(
            f"fedunlearn cost trains nothing: {others[0]} would change nothing. It takes "
            "devices=… and devices.…=… only."
        )
    with initialize_config_dir(CONF, version_base="1.3"):
        made: Devices = build("devices", composed(overrides).devices)
    return made


def devices_of(run: Run) -> Devices:
    """Return the devices of a run's own configuration; runs older than those cost no network."""
    part = _config(run).get("devices")
    require_offered(part, run.folder / MANIFEST)
    made: Devices = Devices() if part is None else build("devices", part)
    return made


def gathering(run: Run) -> frozenset[str]:
    """Return the strategies of a run for which clients gathered statistics before training."""
    require_offered(_config(run).get("strategies", {}), run.folder / MANIFEST)
    strategies: dict[str, UnlearningStrategy] = {
        name: build(f"strategy={name}", part)
        for name, part in _config(run).get("strategies", {}).items()
    }
    return frozenset(name for name, found in strategies.items() if found.needs.statistics)


def _config(run: Run) -> dict[str, dict[str, object]]:
    config = run.manifest.get("config", {})
    return config if isinstance(config, dict) else {}


def _show(console: Console, run: Run, devices: Devices | None) -> None:
    """Print and write both tables of one run."""
    if run.summary.empty:
        raise Refused(f"{run.folder} has served no request yet, so there is nothing to count.")
    there = devices or devices_of(run)
    costs = costs_table(run, there)
    requests = break_even(run, there, there.prices, gathering(run))
    console.print(str(run.folder), soft_wrap=True)
    console.print(costs_printed(costs), COSTS_LEGEND, "", sep="\n")
    console.print(break_even_printed(requests), BREAK_EVEN_LEGEND, "", sep="\n")
    for name, table in (("costs", costs), ("break_even", requests)):
        console.print(str(_written(run.folder / f"{name}.csv", table)), soft_wrap=True)


def _written(path: Path, table: pd.DataFrame) -> Path:
    return files.write(path, table.to_csv(index=False, lineterminator="\n").encode())
