"""What a sweep's settings do to forgetting, utility and bytes, and the Pareto front over runs."""

from typing import Any

import altair as alt
import pandas as pd

from fedunlearn.results import GREY_COLOUR, INK_COLOUR, LEAVER_COLOUR, PLAIN_COLOUR
from fedunlearn.results.frames import digits, label, numeric, wide_range
from fedunlearn.results.report.cells import Cell, Table, number, with_best
from fedunlearn.results.report.charts.chart import Chart, Choice, finished, heading, named
from fedunlearn.results.report.charts.tradeoffs import UTILITY
from fedunlearn.results.report.multirun import Sweep
from fedunlearn.results.report.theme import CONTEXT

FEW = 8
"""Up to so many values, each stands on the axis."""

FRONT, LINE = LEAVER_COLOUR, PLAIN_COLOUR

OUTCOMES = {
    "distance": "Distance from retrained",
    "change": "Accuracy: points above retrained",
    "sent": "Megabytes sent",
}
"""What each setting is drawn against."""


def fronts(sweep: Sweep, measure: Choice) -> Chart:
    """Draw every setting by what it forgot and what accuracy it kept; the front stands out."""
    names = [name for name, _ in measure.options]
    title = heading(measure.named(), "'distance from retrained, 0 is best'")
    now = named("tried").transform_filter(f"datum.metric == {measure.param}")
    x = alt.X(
        "change:Q",
        title="Test accuracy: points above retrained, higher is better",
        scale=alt.Scale(type="symlog", constant=1, padding=14, nice=False),
        axis=UTILITY.axis(sweep.tried),
    )
    y = alt.Y("distance:Q", title=None, scale=alt.Scale(type="symlog", constant=1, domainMin=0))
    tips = [alt.Tooltip("setting:N"), alt.Tooltip("strategy:N"), *_numbers()]
    on, off = (now.transform_filter(test) for test in ("datum.front", "!datum.front"))
    size = alt.Size("sent:Q", title="MB sent", scale=alt.Scale(range=[40, 400], zero=True),
                    legend=alt.Legend(orient="bottom"))  # fmt: skip
    layers = [
        named("goal").mark_rule(color=INK_COLOUR, strokeDash=[2, 3]).encode(x="x:Q"),
        off.mark_circle(color=CONTEXT, opacity=1, stroke=GREY_COLOUR, strokeWidth=0.6).encode(
            x=x, y=y, size=size, tooltip=tips, href="href:N"
        ),
        on.properties(name="picked")
        .mark_circle(color=FRONT, opacity=0.9)
        .encode(x=x, y=y, size=size, tooltip=tips, href="href:N"),
        on.properties(name="names")
        .mark_text(align="left", dx=9)
        .encode(x=x, y=y, text="setting:N"),
    ]
    first = sweep.tried[sweep.tried["metric"] == names[0]]
    count = int(first["front"].sum())
    text = (
        f"Scatter chart of {len(first)} settings: distance from retrained against test accuracy, "
        f"larger marks for more bytes. {count} are on the Pareto front of all three, in colour."
    )
    layered = alt.layer(*layers).add_params(measure.parameter())
    data = {"tried": _told(sweep), "goal": pd.DataFrame({"x": [0]})}
    spec = finished(layered, data, title=title, height=380, description=text)
    return Chart("front", "The Pareto front over runs", text, spec, index(sweep, names[0]))


def swept(sweep: Sweep, setting: str, outcome: str, measure: Choice, place: str) -> Chart:
    """Draw one outcome against one setting: a point a run, and the mean of each value."""
    numbers = numeric(sweep.tried[setting])
    stretched = numbers is not None and numbers.min() > 0 and wide_range(list(numbers))
    data = _told(sweep).assign(value=sweep.tried[setting] if numbers is None else numbers)
    scale = alt.Scale(type="log", padding=12) if stretched else alt.Scale(zero=False, padding=12)
    kind: dict[str, Any] = {"scale": scale} if numbers is not None else {}
    axis = alt.Axis(labelAngle=0)
    if numbers is not None:
        few = numbers.nunique() <= FEW
        ticks: dict[str, Any] = {"values": sorted(set(numbers))} if few else {}
        axis = alt.Axis(grid=False, **ticks)
    x = alt.X(f"value:{'O' if numbers is None else 'Q'}", title=setting, axis=axis, **kind)
    y = alt.Y(f"{outcome}:Q", title=None, scale=alt.Scale(zero=outcome != "change"))
    now = named("tried").transform_filter(f"datum.metric == {measure.param}")
    tips = [alt.Tooltip("setting:N"), alt.Tooltip("strategy:N"), *_numbers()]
    layers = [
        now.transform_aggregate(mean=f"mean({outcome})", groupby=["value"])
        .mark_line(color=CONTEXT)
        .encode(x=x, y=alt.Y("mean:Q")),
        now.transform_filter("!datum.front")
        .mark_circle(color=LINE, opacity=0.75, size=60)
        .encode(x=x, y=y, tooltip=tips, href="href:N"),
        now.transform_filter("datum.front")
        .mark_point(shape="diamond", filled=True, color=FRONT, opacity=0.9, size=90)
        .encode(x=x, y=y, tooltip=tips, href="href:N"),
    ]
    title = OUTCOMES[outcome]
    text = f"Scatter chart of {title.lower()} against {setting}, a point a setting."
    layered = alt.layer(*layers).add_params(measure.parameter())
    spec = finished(layered, {"tried": data}, title="", height=190, description=text)
    return Chart(f"sweep-{place}-{outcome}", title, text, spec)


def index(sweep: Sweep, metric: str) -> Table:
    """Return every setting with what it reached, nearest to retraining first."""
    rows = sweep.tried[sweep.tried["metric"] == metric].sort_values("distance", kind="stable")
    columns = {
        f"{label(metric)}: distance": ("distance", digits(metric), 1),
        "Accuracy above retrained": ("change", 1, -1),
        "Client epochs": ("client_epochs", 1, 1),
        "MB sent": ("sent", 1, 1),
    }
    cells = [
        with_best([Cell(number(float(v), places)) for v in rows[name]], list(sign * rows[name]))
        for name, places, sign in columns.values()
    ]
    listed = list(zip(*cells, strict=True))
    return Table(
        name="index",
        caption="All runs, the nearest to retraining first; ◆ is on the Pareto front",
        headings=("Run", "Strategy", *sweep.settings, "Runs", *columns),
        rows=tuple(
            (
                Cell(f"{row['name']}{' ◆' if row['front'] else ''}", href=str(row["href"])),
                Cell(str(row["strategy"])),
                *(Cell(str(row[setting])) for setting in sweep.settings),
                Cell(str(row["runs"])),
                *listed[place],
            )
            for place, (_, row) in enumerate(rows.iterrows())
        ),
    )


def _told(sweep: Sweep) -> pd.DataFrame:
    """Return the table with each row's settings in words."""
    several = sweep.tried["strategy"].nunique() > 1
    short = {setting: setting.rpartition(".")[2] for setting in sweep.settings}
    words = [
        ", ".join(
            [
                *([str(row["strategy"])] if several else []),
                *(f"{short[name]} {row[name]}" for name in sweep.settings if name != "strategy"),
            ]
        )
        for row in sweep.tried.to_dict("records")
    ]
    names = ["strategy", "metric", "distance", "change", "client_epochs", "sent", "href", "front"]
    return sweep.tried[names].assign(setting=words)


def _numbers() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("distance:Q", format=".3~f", title="from retrained"),
        alt.Tooltip("change:Q", format="+.1f", title="points above retrained"),
        alt.Tooltip("client_epochs:Q", format=",.1~f", title="client epochs"),
        alt.Tooltip("sent:Q", format=",.2~f", title="MB sent"),
    ]
