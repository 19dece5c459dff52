"""`fedunlearn cost FOLDER …`: what finished runs would cost outside the simulator.

Network and devices are those of the run's configuration, or, given overrides of Hydra's as in
`devices=phones devices.draws=50`, those of conf/devices. Writes costs.csv and break_even.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hydra import initialize_config_dir
from rich.console import Console

from fedunlearn import files, results
from fedunlearn.checks import Refused
from fedunlearn.results import costing

from .configured import build
from .guard import CONF, composed, sentences
from .offered import require_offered

if TYPE_CHECKING:
    import pandas as pd

    from fedunlearn.unlearning import UnlearningStrategy


def main() -> None:
    """Print and write the costs of every run in the folders named."""
    parser = argparse.ArgumentParser(prog="fedunlearn cost", description=__doc__)
    words = "a run, or a multirun of several; devices=phones, devices.draws=50, …"
    parser.add_argument("words", nargs="+", metavar="FOLDER", help=words)
    given: list[str] = parser.parse_args().words
    console = results.plain_console()
    with sentences():
        overrides = [word for word in given if "=" in word and not Path(word).exists()]
        devices = chosen(overrides) if overrides else None
        folders = [Path(word) for word in given if word not in overrides]
        if not folders:
            raise Refused("Name the folder of a run: fedunlearn cost outputs/demo devices=phones")
        for folder in folders:
            for run_folder in results.find_runs(folder):
                _show(console, results.load(run_folder), devices)


def chosen(overrides: list[str]) -> costing.Devices:
    """Compose what conf/devices and ``overrides`` say; raise `Refused` for what is wrong."""
    others = [word for word in overrides if not word.startswith(("devices=", "devices."))]
    if others:
        raise Refused(
            f"fedunlearn cost trains nothing: {others[0]} would change nothing. It takes "
            "devices=… and devices.…=… only."
        )
    with initialize_config_dir(CONF, version_base="1.3"):
        made: costing.Devices = build("devices", composed(overrides).devices)
    return made


def devices_of(run: results.Run) -> costing.Devices:
    """Return the devices of a run's own configuration; runs older than those cost no network."""
    part = _config(run).get("devices")
    require_offered(part, run.folder / results.MANIFEST_FILE)
    where = f"{run.folder / results.MANIFEST_FILE}: devices"
    made: costing.Devices = costing.Devices() if part is None else build(where, part)
    return made


def gathering(run: results.Run) -> frozenset[str]:
    """Return the strategies of a run for which clients gathered statistics before training."""
    require_offered(_config(run).get("strategies", {}), run.folder / results.MANIFEST_FILE)
    strategies: dict[str, UnlearningStrategy] = {
        name: build(f"{run.folder / results.MANIFEST_FILE}: strategy={name}", part)
        for name, part in _config(run).get("strategies", {}).items()
    }
    return frozenset(name for name, found in strategies.items() if found.needs.statistics)


def _config(run: results.Run) -> dict[str, dict[str, object]]:
    config = run.manifest.get("config", {})
    strategies = config.get("strategies", {}) if isinstance(config, dict) else {}
    if not isinstance(config, dict) or not isinstance(strategies, dict):
        raise Refused(
            f"{run.folder / results.MANIFEST_FILE} holds no configuration with strategies by name."
        )
    return config


def _show(console: Console, run: results.Run, devices: costing.Devices | None) -> None:
    """Print and write both tables of one run."""
    if run.summary.empty:
        raise Refused(f"{run.folder} has served no request yet, so there is nothing to count.")
    there = devices or devices_of(run)
    costs = costing.costs_table(run, there)
    requests = costing.break_even(run, there, there.prices, gathering(run))
    console.print(str(run.folder), soft_wrap=True)
    console.print(costing.costs_printed(costs), costing.COSTS_LEGEND, "", sep="\n")
    stream = results.stream_requests(run.folder, run.manifest)
    if stream is not None:
        timed = costing.with_seconds(stream, run.ledger, there)
        table = results.stream_table(run.summary, timed, results.load_answers(run.folder))
        console.print(results.printed_stream(table), results.STREAM_LEGEND, "", sep="\n")
    console.print(costing.break_even_printed(requests), costing.BREAK_EVEN_LEGEND, "", sep="\n")
    for name, table in (("costs", costs), ("break_even", requests)):
        console.print(str(_written(run.folder / f"{name}.csv", table)), soft_wrap=True)


def _written(path: Path, table: pd.DataFrame) -> Path:
    files.write(path, table.to_csv(index=False, lineterminator="\n").encode())
    results.note_derived(path.parent, [path])
    return path
