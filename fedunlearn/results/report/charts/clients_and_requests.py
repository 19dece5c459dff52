"""The federation and what it keeps: label map, timeline of requests, store, who pays."""

import json
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from fedunlearn.results import (
    GREY_COLOUR,
    LEAVER_COLOUR,
    NOBODY_NAMED,
    PLAIN_COLOUR,
    Wish,
)
from fedunlearn.results.frames import LabelCounts, label_counts
from fedunlearn.results.report.cells import Cell, Table, number
from fedunlearn.results.report.charts.chart import Chart, Controls, finished, named, rows_of
from fedunlearn.results.report.theme import CONTEXT, DEEP, SHADES

MANY = 2500
"""Beyond so many cells of the label map its table is left to clients.csv."""


def label_map(
    clients: pd.DataFrame, summary: pd.DataFrame, owners: Mapping[int, str] = NOBODY_NAMED
) -> Chart:
    """Draw how many records of each label every client trains on, under the first seed."""
    label_table = label_counts(clients, summary, owners)
    labels, numbers = list(label_table.counts.index), label_table.clients
    text = (
        f"Heat map of training records: {len(labels)} labels by {len(numbers)} clients under seed "
        f"{label_table.seed}; {label_table.asked.left}."
    )
    leavers = sorted(label_table.leavers & set(numbers))
    data = {"records": label_table.records, "leavers": pd.DataFrame({"client": leavers})}
    height = max(140, 22 * min(len(labels), 25))
    layers = alt.layer(*_cells(label_table, labels))
    spec = finished(layers, data, title="", height=height, description=text)
    table = _held(label_table) if label_table.counts.size <= MANY else None
    return Chart("label-map", "Who holds what", text, spec, table)


def _cells(label_table: LabelCounts, labels: list[str]) -> list[alt.Chart]:
    """Draw a cell a client and label, the darker the more records.

    Where there are few, their numbers are written into them. A mark is above who asks.
    """
    most, few = float(label_table.most), label_table.few
    axis = alt.Axis(labelAngle=0, orient="bottom", title=f"Client; ▼ {_mark(label_table)}")
    x = alt.X("client:O", axis=axis)
    y = alt.Y("label:N", sort=labels, title="Label")
    fill = alt.Color(
        "train:Q", scale=alt.Scale(type="sqrt", range=SHADES, domain=[0, most],
                         interpolate="rgb"),
        title="Records", legend=None if few else alt.Legend(orient="bottom", gradientLength=200),
    )  # fmt: skip
    tips = [
        alt.Tooltip("called:N", title="client") if label_table.owners else alt.Tooltip("client:O"),
        alt.Tooltip("label:N"),
        alt.Tooltip("train:Q", title="records"),
    ]
    base = named("records")
    layers = [base.mark_rect(stroke="white").encode(x=x, y=y, color=fill, tooltip=tips)]
    if few:
        ink = alt.condition(
            f"datum.train > {DEEP**2 * most}", alt.value("white"), alt.value("black")
        )
        counts = base.transform_filter("datum.train > 0").mark_text(fontSize=11)
        layers.append(counts.encode(x=x, y=y, text="train:Q", color=ink))
    mark = named("leavers").mark_point(shape="triangle-down", filled=True, size=70, opacity=1)
    return [*layers, mark.encode(x=x, y=alt.value(-8), color=alt.value(LEAVER_COLOUR))]


def _mark(labels: LabelCounts) -> str:
    """Say what a mark at a client means."""
    return "leaves" if labels.asked.whole else "has records erased"


def _held(labels: LabelCounts) -> Table:
    """Return the records of each client: a column a label, and their sum."""
    return Table(
        name="labels",
        caption=f"Training records of each client, seed {labels.seed}",
        headings=("Client", *(f"label {name}" for name in labels.counts.index), "all"),
        rows=tuple(
            (
                Cell(f"{client}{f' ({_mark(labels)})' if client in labels.leavers else ''}"),
                *(Cell(number(float(held), 0)) for held in column),
                Cell(number(float(column.sum()), 0)),
            )
            for client, column in labels.counts.items()
        ),
    )


def timeline(
    requests: pd.DataFrame, rounds: int, owners: Mapping[int, str] = NOBODY_NAMED
) -> Chart:
    """Draw training as a line and each request on it."""
    asked = [
        Wish(str(clients), str(scope), owners).what
        for clients, scope in zip(requests["clients"], requests["scope"], strict=True)
    ]
    left = requests.assign(who=asked)
    x = alt.X(
        "after:Q", title="Training round", scale=alt.Scale(domain=[0, rounds], nice=False),
        axis=alt.Axis(format="d", tickMinStep=1, grid=False),
    )  # fmt: skip
    whole = pd.DataFrame({"after": [0], "end": [rounds]})
    late = f"datum.after > {0.6 * rounds}"
    together = left.groupby("after", sort=False)["who"].agg(", then ".join).reset_index()
    label = named("together").mark_text(baseline="bottom", dy=-12)
    layers = [
        named("training").mark_rule(color=CONTEXT, strokeWidth=6).encode(x=x, x2="end:Q"),
        named("left")
        .mark_point(shape="triangle-down", filled=True, size=140, opacity=1, color=LEAVER_COLOUR)
        .encode(x=x, tooltip=["request:O", "who:N", "after:Q"]),
        label.transform_filter(late)
        .encode(x=x, text="who:N")
        .mark_text(align="right", baseline="bottom", dy=-12, dx=8),
        label.transform_filter(f"!({late})")
        .encode(x=x, text="who:N")
        .mark_text(align="left", baseline="bottom", dy=-12, dx=-8),
    ]
    told = [f"{row['who']} after round {row['after']}" for _, row in left.iterrows()]
    text = f"Timeline of {rounds} training rounds; to be forgotten: {', '.join(told)}."
    rows = tuple(
        (Cell(f"request {row['request']}"), Cell(row["who"]), Cell(str(row["after"])))
        for _, row in left.iterrows()
    )
    caption = "What was to be forgotten, and after which training round"
    table = Table(
        "requests", caption, ("Request", "To be forgotten", "After round"), rows, numeric=False
    )
    data = {"left": left, "together": together, "training": whole}
    spec = finished(alt.layer(*layers), data, title="", height=70, description=text)
    return Chart("timeline", "Requests", text, spec, table)


def store(kept: pd.DataFrame, order: list[str]) -> Chart:
    """Draw what training had to keep for each strategy by each request: the store's growth."""
    final = kept.sort_values("after").drop_duplicates("strategy", keep="last")
    several = kept["request"].nunique() > 1
    tips = [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("after:Q", title="training rounds"),
        alt.Tooltip("stored:Q", format=",.2~f", title="MB kept"),
    ]
    axis, height = rows_of(final["strategy"])
    y = alt.Y("strategy:N", sort=order, title=None, axis=axis)
    bars = named("final").mark_bar(color=PLAIN_COLOUR, height={"band": 0.6}).encode(
        x=alt.X("stored:Q", title="Megabytes kept by the last request"), y=y, tooltip=tips
    )  # fmt: skip
    ends = named("final").mark_text(align="left", dx=4).encode(
        x="stored:Q", y=y, text=alt.Text("stored:Q", format=",.2~f")
    )  # fmt: skip
    layers: Any = alt.layer(bars, ends)
    if several:
        marks = named("grown")
        ticks = marks.mark_tick(color="white", thickness=2, height=12)
        layers = alt.layer(bars, ticks.encode(x="stored:Q", y=y, tooltip=tips), ends)
    most = final.iloc[int(final["stored"].to_numpy().argmax())]
    text = (
        "Bar chart of the megabytes that the server kept for each strategy; the most for "
        f"{most['strategy']}, {number(float(most['stored']), 1)} MB."
    )
    rows = tuple(
        (
            Cell(str(row["strategy"])),
            Cell(f"request {row['request']}"),
            Cell(number(float(row["after"]), 0)),
            Cell(number(float(row["stored"]), 2)),
            Cell(number(float(row["per_round"]), 3)),
        )
        for _, row in kept.iterrows()
    )
    headings = ("Strategy", "By", "Training rounds", "MB kept", "MB a round")
    table = Table("store", "What training kept for each strategy", headings, rows)
    data = {"final": final, "grown": kept}
    spec = finished(layers, data, title="", height=height, description=text)
    return Chart("store", "The store's growth", text, spec, table)


def harm(paid: pd.DataFrame, controls: Controls, order: list[str]) -> Chart:
    """Draw each remaining client's change in accuracy, a mark a client and a row a strategy.

    ``paid`` has the columns of `fedunlearn.results.who_pays`; accuracies are fractions.
    """
    shown = paid[["request", "strategy", "client", "before", "after", "retrained", "similarity"]]
    shown = shown.assign(change=100 * paid["change"])
    base = named("paid").transform_filter(f"datum.request == {controls.request.param}")
    axis, height = rows_of(paid["strategy"], grid=True)
    y = alt.Y("strategy:N", sort=order, title=None, axis=axis)
    x = alt.X("change:Q", title=["Change in accuracy (points),", "from before to after forgetting"])
    tips = [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("called:N", title="client"),
        alt.Tooltip("change:Q", format="+.1f", title="change (points)"),
        alt.Tooltip("before:Q", format=".1%"),
        alt.Tooltip("after:Q", format=".1%"),
        alt.Tooltip("retrained:Q", format=".1%"),
        alt.Tooltip("similarity:Q", format=".2f", title="similarity to the leaver"),
    ]
    worst = base.transform_window(
        rank="rank()", sort=[alt.SortField("change")], groupby=["strategy"]
    ).transform_filter("datum.rank == 1 && datum.change < 0")
    layers = [
        named("nothing").mark_rule(color=GREY_COLOUR).encode(x="x:Q"),
        base.mark_tick(thickness=2, color=PLAIN_COLOUR, opacity=0.7).encode(x=x, y=y, tooltip=tips),
        worst.mark_point(
            shape="diamond", filled=True, color=LEAVER_COLOUR, size=70, opacity=1
        ).encode(x=x, y=y, tooltip=tips),
    ]
    text = (
        "Strip chart of each remaining client's change in accuracy, a row a strategy; a diamond "
        "marks the client who lost most."
    )
    layered = alt.layer(*layers).add_params(*controls.parameters[:2])
    data = {"paid": shown, "nothing": pd.DataFrame({"x": [0]})}
    spec = finished(layered, data, title="", height=height, description=text)
    return Chart("harm", "Who pays", text, spec, worst_off(paid))


def worst_off(paid: pd.DataFrame) -> Table:
    """Return who lost most with each strategy in the last request, and whom that client is like."""
    last = paid[paid["request"] == paid["request"].max()].dropna(subset=["change"])
    rows = []
    for strategy, case in last.groupby("strategy", sort=False):
        row = case.loc[case["change"].idxmin()]
        values = [100 * float(row[name]) for name in ("before", "after", "retrained", "change")]
        rows.append(
            (
                Cell(str(strategy)),
                Cell(json.dumps(int(row["client"]))),
                *(Cell(number(value, 1)) for value in values),
                Cell(number(float(row["similarity"]), 2)),
            )
        )
    return Table(
        name="who-pays",
        caption="The remaining client who lost most accuracy with each strategy (%)",
        headings=("Strategy", "Client", "Before", "After", "Retrained", "Change", "Similarity"),
        rows=tuple(rows),
    )
