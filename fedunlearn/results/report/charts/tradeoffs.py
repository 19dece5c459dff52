"""Forgetting against what it costs: utility, client epochs, bytes; with the Pareto front."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import pandas as pd

from fedunlearn.results import GREY_COLOUR, INK_COLOUR, unit
from fedunlearn.results.frames import ALL_SEEDS, bounds, digits, label
from fedunlearn.results.report.cells import NO_NUMBER, Cell, Table, number
from fedunlearn.results.report.charts.chart import (
    Chart,
    Choice,
    Controls,
    finished,
    heading,
    named,
    steps,
)
from fedunlearn.results.report.theme import CONTEXT

ALL_OF_THEM = 50
"""Of an axis's own values; Vega thins them out to its count of ticks."""


@dataclass(frozen=True, slots=True)
class Against:
    """What forgetting is drawn against."""

    name: str
    column: str
    axis_title: str
    title: str
    step: Literal["step-before", "step-after"]
    """Which way the front runs: before where more is better, after where less is."""
    spread: bool = False

    def scale(self) -> alt.Scale:
        """Return the scale: from nothing for a cost, stretched around retraining for utility."""
        stretched = alt.Scale(type="symlog", constant=1, padding=14, nice=False)
        return stretched if self.spread else alt.Scale(zero=True, nice=True)

    def axis(self, points: pd.DataFrame) -> alt.Axis:
        """Return the axis; one that is stretched needs its own values."""
        if not self.spread:
            return alt.Axis()
        least, most = float(points[self.column].min()), float(points[self.column].max())
        ticks = steps(max(-least, most))
        values = [*(-step for step in reversed(ticks) if step > 0), *ticks]
        return alt.Axis(values=values, tickCount=ALL_OF_THEM)


UTILITY = Against(
    "utility",
    "change",
    "Test accuracy: points above retrained, higher is better",
    "utility",
    "step-before",
    spread=True,
)

EPOCHS = Against("epochs", "client_epochs", "Client epochs", "client epochs", "step-after")

SENT = Against("sent", "sent", "Megabytes sent and received", "bytes", "step-after")


def against(
    what: Against,
    points: pd.DataFrame,
    goal: pd.DataFrame,
    measure: Choice,
    controls: Controls,
) -> Chart:
    """Draw the distance from retraining against something, a point a strategy.

    ``measure`` chooses among metrics that have a gap. ``goal`` has the columns
    ``request, seed, x, strategy``: where retraining itself stands, at distance 0.
    """
    measures = [name for name, _ in measure.options]
    names = {name: label(name).removesuffix(" (%)") for name in measures}
    ends = {name: "points " if unit(name) == 100 else "" for name in measures}
    title = heading(
        f"{json.dumps(names)}[{measure.param}]",
        f"{json.dumps(ends)}[{measure.param}] + 'from retrained, 0 is best'",
    )
    text = (
        f"Scatter chart of the distance from retraining against {what.title}, a point a strategy; "
        f"a dashed line joins the Pareto front. {_front_in_words(points, what, measures)}"
    )

    def drawn(legend: alt.Legend | None) -> dict[str, Any]:
        layers = _layers(what, points, measure, controls, legend)
        layered = alt.layer(*layers).add_params(measure.parameter(), *controls.parameters)
        layered = layered.resolve_scale(color="independent", shape="independent")
        data = {"points": _columns(what, points), "goal": goal}
        return finished(layered, data, title=title, height=320, description=text)

    return Chart(
        name=f"tradeoff-{what.name}",
        title=f"Forgetting against {what.title}",
        alt=text,
        spec=drawn(None),
        legend=drawn(controls.legend()),
        table=_table(what, points, measures[0]),
    )


def _layers(
    what: Against,
    points: pd.DataFrame,
    measure: Choice,
    controls: Controls,
    legend: alt.Legend | None,
) -> list[alt.Chart]:
    """Return the front, the dropped strategies, retraining, and those picked with their names."""
    chosen = f"{controls.served} && datum.metric == {measure.param}"
    there = named("points").transform_filter(chosen)
    there = there.transform_filter(f"isValid(datum.distance) && isValid(datum.{what.column})")
    mine = there.transform_filter(controls.picked)
    served = named("goal").transform_filter(controls.served)
    reference = served.transform_filter(controls.picked)
    x = alt.X(f"{what.column}:Q", title=what.axis_title, scale=what.scale(), axis=what.axis(points))
    y = _distance(points, measure.param)
    tips = _tips()
    return [
        there.transform_filter(f"datum.front_{what.name}")
        .properties(name="front")
        .mark_line(color=GREY_COLOUR, strokeDash=[5, 4], strokeWidth=1.2, interpolate=what.step)
        .encode(x=x, y=y, order=alt.Order(f"{what.column}:Q")),
        there.transform_filter(controls.dropped)
        .properties(name="grey")
        .mark_point(filled=True, color=CONTEXT, opacity=1, size=50)
        .encode(x=x, y=y, tooltip=tips, href="href:N"),
        served.mark_rule(color=CONTEXT, strokeDash=[2, 3]).encode(x=alt.X("x:Q")),
        reference.properties(name="goal_rule")
        .mark_rule(color=INK_COLOUR, strokeDash=[2, 3])
        .encode(x=alt.X("x:Q")),
        *_whiskers(what, mine, _farthest(measure), controls, x, y),
        mine.properties(name="picked")
        .mark_point(filled=True, size=110, opacity=1)
        .encode(
            x=x, y=y, color=controls.colour(legend), shape=controls.shape(legend),
            tooltip=tips, href="href:N",
        ),
        reference.properties(name="retrained")
        .mark_text(align="right", baseline="top", dx=-4, text="retrained")
        .encode(x=alt.X("x:Q"), y=alt.value(0)),
        # last: names know only of marks before them
        mine.properties(name="names")
        .mark_text(align="left", dx=9, dy=-7)
        .encode(x=x, y=y, text="strategy:N"),
    ]  # fmt: skip


def _distance(points: pd.DataFrame, param: str) -> alt.Y:
    """Return the axis of distances, stretched near 0, with values for each measure."""
    most = points.groupby("metric")["distance"].max()
    values = json.dumps({str(name): steps(float(far)) for name, far in most.items()})
    return alt.Y(
        "distance:Q",
        title=None,
        scale=alt.Scale(type="symlog", constant=1, domainMin=0),
        axis=alt.Axis(
            values=alt.ExprRef(f"{values}[{param}]"),
            labelOverlap=False,
            tickCount=ALL_OF_THEM,
        ),
    )


def _tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("distance:Q", format=".3~f", title="from retrained"),
        alt.Tooltip("sd:Q", format=".2~f", title="sd over seeds"),
        alt.Tooltip("utility:Q", format=".1f", title="test accuracy (%)"),
        alt.Tooltip("change:Q", format="+.1f", title="points above retrained"),
        alt.Tooltip("client_epochs:Q", format=",.1~f", title="client epochs"),
        alt.Tooltip("sent:Q", format=",.2~f", title="MB sent"),
    ]


def _farthest(measure: Choice) -> str:
    """Return the expression of how far from retraining the chosen measure can be."""
    ends = {name: bounds(name) for name, _ in measure.options}
    widths = {name: most - least for name, (least, most) in ends.items()}
    return f"{json.dumps(widths)}[{measure.param}]"


def _whiskers(
    what: Against, mine: alt.Chart, farthest: str, controls: Controls, x: alt.X, y: alt.Y
) -> list[alt.Chart]:
    """Draw a standard deviation to either side of each point that is picked, up to ``farthest``."""
    bars = mine.transform_calculate(
        low="max(0, datum.distance - (isValid(datum.sd) ? datum.sd : 0))",
        high=f"min({farthest}, datum.distance + (isValid(datum.sd) ? datum.sd : 0))",
        left=f"datum.{what.column} - (isValid(datum.change_sd) ? datum.change_sd : 0)",
        right=f"datum.{what.column} + (isValid(datum.change_sd) ? datum.change_sd : 0)",
    )
    faint: dict[str, Any] = {"strokeWidth": 1.2, "opacity": 0.6}
    colour = controls.colour(None)
    upright = bars.properties(name="upright").mark_rule(**faint)
    drawn = [upright.encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)]
    if what.spread:
        across = bars.properties(name="across").mark_rule(**faint)
        drawn.append(across.encode(x=alt.X("left:Q"), x2="right:Q", y=y, color=colour))
    return drawn


def _columns(what: Against, points: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that one chart needs."""
    names = ["request", "seed", "metric", "strategy", "distance", "sd", "href", "utility", "change"]
    names += [
        "client_epochs",
        "sent",
        f"front_{what.name}",
        *(["change_sd"] if what.spread else []),
    ]
    return points[names]


def _shown(points: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return the points that the page opens with."""
    seed = ALL_SEEDS if ALL_SEEDS in set(points["seed"]) else points["seed"].iloc[0]
    last = points["request"].max()
    shown: pd.DataFrame = points[
        (points["seed"] == seed) & (points["request"] == last) & (points["metric"] == measure)
    ]
    return shown


def _front_in_words(points: pd.DataFrame, what: Against, measures: list[str]) -> str:
    shown = _shown(points, measures[0])
    names = list(shown.loc[shown[f"front_{what.name}"], "strategy"])
    if not names:
        return "No strategy is on the front, as none has both numbers."
    return f"On the front, by {label(measures[0])}: {', '.join(names)}."


def _table(what: Against, points: pd.DataFrame, measure: str) -> Table:
    """Return the points that the page opens with, those on the front marked."""
    shown = _shown(points, measure).sort_values("distance", kind="stable")
    rows = tuple(
        (
            Cell(str(row["strategy"]), href=str(row["href"])),
            Cell(
                number(row["distance"], digits(measure)),
                number(row["sd"], digits(measure)).strip(NO_NUMBER),
            ),
            Cell(number(row[what.column], 1)),
            Cell("yes" if row[f"front_{what.name}"] else NO_NUMBER),
        )
        for _, row in shown.iterrows()
    )
    return Table(
        name=f"tradeoff-{what.name}",
        caption=f"{label(measure)}: distance from retraining against {what.title}",
        headings=("Strategy", "Distance", what.axis_title.partition(",")[0], "Pareto front"),
        rows=rows,
    )
