"""What `fedunlearn doctor` tells: the machine, a federation, and how fast engines train it."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib import metadata
from statistics import median
from typing import Literal

import torch
from rich.table import Table

import fedunlearn
from fedunlearn.data import Federation
from fedunlearn.experiment.estimate.throughput import LEAST, MOST, SECONDS, Speed
from fedunlearn.flower import Engine, Local
from fedunlearn.results import terminal_table, who
from fedunlearn.threads import cores
from fedunlearn.unlearning import Training

MODES: tuple[Literal["workers", "cohort", "halves"], ...] = ("workers", "cohort", "halves")
"""The modes of the local engine between which engine.mode=auto chooses."""

PROCEDURE = (
    f"Each mode trains one round to warm up, then up to {MOST} within about {SECONDS:.0f} seconds, "
    f"but at least {LEAST}. Medians count; a sample is one record in one epoch."
)
"""How `measure` works, in plain words."""

MARGIN = 1.1
"""Speeds nearer to each other than by this factor count as the same."""


def local(engine: Engine) -> Local:
    """Return the local engine as configured, or as it is by default where another is."""
    return engine if isinstance(engine, Local) else Local()


def contenders(engine: Engine) -> dict[str, Engine]:
    """Return what is measured, by name: the modes of `local`, and ``engine`` if it is another."""
    engines: dict[str, Engine] = {mode: replace(local(engine), mode=mode) for mode in MODES}
    if not isinstance(engine, Local):
        engines[type(engine).__name__.lower()] = engine
    return engines


def auto(local: Local, federation: Federation) -> tuple[str, str]:
    """Return the mode that engine.mode=auto picks for a federation, and why."""
    return replace(local, mode="auto").choice(federation.network)


def machine() -> dict[str, str]:
    """Say in a few lines what this process computes with."""
    gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    seen = [
        f"cuda:{n}: {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for n, gpu in enumerate(gpus)
    ]
    return {
        "Versions": (
            f"Python {platform.python_version()}, torch {metadata.version('torch')}, "
            f"Flower {metadata.version('flwr')}, fedunlearn {fedunlearn.__version__}"
        ),
        "Cores": f"{cores()} that this process may use",
        "GPUs": "\n".join(seen) or "none that torch sees",
        "Ray": _ray(),
    }


def _ray() -> str:
    try:
        return f"{metadata.version('ray')}, for engine=ray"
    except metadata.PackageNotFoundError:
        return "not installed; engine=ray needs it: pip install 'flwr[simulation]'"


def described(federation: Federation, training: Training) -> dict[str, str]:
    """Say in a few lines who trains what."""
    records = sorted(len(held) for held in federation.train)
    cohort = training.cohort_size(federation.clients)
    whom = f"of whom {cohort:,} train" if cohort < federation.clients else "all of whom train"
    return {
        "Clients": f"{federation.clients:,}, {whom} in a round",
        "Records": (
            f"{records[0]:,} to {records[-1]:,} a client, median {median(records):,.0f}; "
            f"epochs a round: {training.work.epochs}"
        ),
        "Model": f"{federation.network.layout.parameters.stop:,} parameters",
        "Planted": _planted(federation),
    }


def _planted(federation: Federation) -> str:
    leavers = sorted(federation.scenario.leavers)
    held = sum(len(federation.train[client]) for client in leavers)
    planted = held - sum(len(federation.clean[client]) for client in leavers)
    if not planted:
        return "nothing"
    name = type(federation.scenario.planting).__name__
    asked = who("+".join(map(str, leavers)), dict(enumerate(federation.owners)))
    return f"{name} in {planted:,} of {held:,} records of {asked}"


def facts(title: str, values: Mapping[str, str]) -> Table:
    """Return ``values`` by name, below a heading."""
    table = _table(title)
    table.add_column()
    for name, value in values.items():
        table.add_row(name, value)
    return table


def speed_table(speeds: Mapping[str, Speed], pick: str, local: Local) -> Table:
    """Return a row a contender; ``pick``, which engine.mode=auto takes, is marked."""
    threads = local.workers or cores()
    headings = ("Seconds a round", "Samples/s", "Rounds measured")
    table = _table(f"Mode on {local.device}, {threads} thread{'s' * (threads > 1)}", headings)
    for name, speed in speeds.items():
        label, style = (f"► {name} (auto)", "bold") if name == pick else (name, "")
        cells = f"{speed.seconds:#.3g}", f"{speed.samples:,.0f}", str(len(speed.rounds))
        table.add_row(label, *cells, style=style)
    return table


def _table(first: str, numbers: Iterable[str] = ()) -> Table:
    """Return a table whose first column is as wide in all of them."""
    table = terminal_table(first, numbers, gap=2)
    table.columns[0].min_width = 24
    return table


def verdict(pick: str, why: str, speeds: Mapping[str, Speed], mode: str = "auto") -> str:
    """Say what engine.mode=auto picks and why, and whether the measurement agrees.

    Of the other modes, the fastest counts.
    ``mode`` is what the configuration says instead, if it does.
    """
    other = max(speeds.keys() & set(MODES) - {pick}, key=lambda mode: speeds[mode].samples)
    gain = speeds[pick].samples / speeds[other].samples
    picks = f"engine.mode=auto picks {pick}: {why}"
    if gain * MARGIN < 1:
        verb = "keep" if mode == other else "set"
        return (
            f"{picks}; but measured here {other} is {1 / gain:.1f}x as fast: "
            f"{verb} engine.mode={other}."
        )
    if gain <= MARGIN:
        return f"{picks}; measured here {other} is as fast, within {MARGIN - 1:.0%}."
    against = f" The configuration sets engine.mode={other}: leave it out." if mode == other else ""
    return f"{picks}; measured here it is {gain:.1f}x as fast as {other}.{against}"


def aside(name: str, speeds: Mapping[str, Speed]) -> str:
    """Compare the engine ``name``, which is not the local one, with the faster of its modes."""
    best = max(MODES, key=lambda mode: speeds[mode].samples)
    gain = speeds[name].samples / speeds[best].samples
    compared = (
        f"{gain:.1f}x as fast as {best}"
        if gain >= 1
        else f"slower than {best}, which is {1 / gain:.1f}x as fast"
    )
    return f"engine={name} took {speeds[name].start:.1f} s to start; after that it is {compared}."
