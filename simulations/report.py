"""`fedunlearn report FOLDER …`: a page, Markdown, LaTeX tables and figures of finished runs."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from fedunlearn import results
from fedunlearn.checks import Refused
from fedunlearn.results import MANIFEST_FILE, PersistentConsole, read_manifest
from fedunlearn.results import report as pages

from .configured import build
from .cost import chosen
from .guard import sentences
from .offered import require_offered

if TYPE_CHECKING:
    from fedunlearn.unlearning import UnlearningStrategy

DEVICES = ("silos", "phones")
"""Of conf/devices: those on which the time to forget is told."""


def main() -> None:
    """Write the report of every folder named, and say where its page lies."""
    parser = argparse.ArgumentParser(prog="fedunlearn report", description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path, help="a run, or a multirun of several")
    folders: list[Path] = parser.parse_args().folder
    console = PersistentConsole(highlight=False, markup=False)
    with sentences():
        for folder in folders:
            results.find_runs(folder)
            page, *others = pages.write(folder, declared(folder))
            console.print(str(page), soft_wrap=True)
            console.print(f"  and {len(others)} files beside it: report.md, tables/, figures/")


def declared(folder: Path) -> pages.Declared:
    """Return what a run's configuration says; of a multirun's, nothing.

    Strategies that this version does not know, or no longer with these values, are left out.
    """
    from .docs_tables import idea, stored, workers

    manifest = folder / MANIFEST_FILE
    content = read_manifest(folder) if manifest.exists() else {}
    config = content.get("config", {})
    strategies = config.get("strategies", {})
    if not isinstance(strategies, dict):
        raise Refused(f"{manifest} holds no configuration with strategies by name.")
    methods: dict[str, UnlearningStrategy] = {}
    for name, part in strategies.items():
        with suppress(Refused):
            require_offered(part, manifest)
            methods[name] = build(f"strategy={name}", OmegaConf.create(part))
    devices = {name: chosen([f"devices={name}"]) for name in DEVICES} if config else {}
    return pages.Declared(
        capabilities=[
            pages.Capability(
                name, idea(name, one), stored(one.needs), workers(one.needs), one.guarantee
            )
            for name, one in methods.items()
        ],
        gathering=frozenset(name for name, one in methods.items() if one.needs.statistics),
        devices=devices,
    )
