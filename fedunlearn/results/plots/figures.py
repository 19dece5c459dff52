"""The figures of a run, from its files alone: no model is touched.

Each function takes tables as in `Run` and returns a matplotlib Figure; `draw` writes all.

A new figure of a request is one file here and one line in `FIGURES`. What it shows is computed in
`frames`, once for it and for a chart of `report` that shows the same: rows and their order, names,
goals and intervals; colours and marks are those of `looks_of`. Here is only how matplotlib draws.
"""

import io
from collections.abc import Iterable, Iterator
from importlib import import_module
from itertools import product
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from fedunlearn import files
from fedunlearn.results import (
    Run,
    load,
    load_verdicts,
    note_derived,
    retrained_rows,
    stream_requests,
    unlearned_rows,
    write_index,
)
from fedunlearn.results.costing import modelled_devices, with_seconds
from fedunlearn.results.plots.label_map import labels
from fedunlearn.results.plots.membership_map import memberships
from fedunlearn.results.plots.request_tables import RequestTables
from fedunlearn.results.plots.sensitivity import sensitivity
from fedunlearn.results.plots.streams import of_stream
from fedunlearn.results.plots.style import PLOT_STYLE

FIGURES = {
    "overview": "crowd",
    "forgetting": "against_rounds",
    "tradeoff": "tradeoffs",
    "cost": "costs",
}
"""The figures of a request in their order, and the file here whose `of_request` draws each: from
`RequestTables`, or None where there is nothing to draw."""

MANY = 12
"""Of more requests than these only the last has figures of its own: there would be hundreds."""


def draw(folder: Path) -> list[Path]:
    """Draw all figures of a run and return their files, ``figures/<name>.svg`` and ``.png``.

    Raises `Refused` where the run cannot be read or a figure cannot be written.
    """
    return written(folder, _figures(load(folder)))


def draw_many(folder: Path) -> list[Path]:
    """Draw what the swept settings of a multirun do, ``figures/sensitivity.svg`` and ``.png``.

    There is one a strategy and request; nothing where no number was swept. Writes index.csv again,
    so that runs of a sweep that was stopped are in it. Raises as `draw`.
    """
    text = {"overrides": "str", "strategy": "str", "clients": "str", "probe": "str"}
    index = pd.read_csv(write_index(folder), dtype=text, keep_default_na=False, na_values=[""])
    index["overrides"] = index["overrides"].fillna("")
    return written(folder, _sensitivities(index.dropna(subset="strategy")))


def written(folder: Path, figures: Iterable[tuple[str, Figure]]) -> list[Path]:
    """Write figures by their names into the folder ``figures``, and list them as derived."""
    paths = []
    with rc_context(PLOT_STYLE):
        for name, figure in figures:
            for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                content = io.BytesIO()
                figure.savefig(content, format=kind, metadata=metadata)
                file = folder / "figures" / f"{name}.{kind}"
                paths.append(files.write(file, content.getvalue()))
    note_derived(folder, paths)
    return paths


def _sensitivities(index: pd.DataFrame) -> Iterator[tuple[str, Figure]]:
    strategies = unlearned_rows(index)["strategy"].unique()
    for strategy, (request, rows) in product(strategies, index.groupby("request")):
        ending = f"-{strategy}" if len(strategies) > 1 else ""
        ending += f"-request{request}" if request != 1 else ""
        drawn = sensitivity(pd.concat([retrained_rows(rows), rows[rows["strategy"] == strategy]]))
        if drawn is not None:
            yield f"sensitivity{ending}", drawn


def _figures(run: Run) -> Iterator[tuple[str, Figure]]:
    written = (run.folder / "verdicts.csv").exists()  # not before a run is through
    verdicts = load_verdicts(run.folder) if written else None
    last = run.summary["request"].max()
    many = run.summary["request"].nunique() > MANY
    for request, summary in run.summary.groupby("request"):
        ending = f"-request{request}" if request != 1 else ""
        if many and request != last:
            continue
        tables = RequestTables(run.metrics, summary, verdicts, run.owners)
        for name, module in FIGURES.items():
            figure = import_module(f"{__package__}.{module}").of_request(tables)
            if figure is not None:
                yield f"{name}{ending}", figure
    there = memberships(run)
    if there is not None:
        yield "membership", there
    requests = stream_requests(run.folder, run.manifest) if written else None
    if requests is not None:
        timed = with_seconds(requests, run.ledger, modelled_devices(run.manifest))
        yield from of_stream(run.metrics, timed)
    if len(run.clients):
        yield "labels", labels(run.clients, run.summary, run.owners)
