"""Forgetting against rounds, between the retrained models."""

import json
from typing import Any

import altair as alt
import pandas as pd

from fedunlearn.results import GREY_COLOUR, INK_COLOUR, RETRAIN, SHARED_TRAINING
from fedunlearn.results.frames import ALL_SEEDS, LEAD_ROUNDS, digits, direction, label
from fedunlearn.results.report.cells import Cell, Table, number
from fedunlearn.results.report.charts.chart import Chart, Choice, Controls, finished, heading, named
from fedunlearn.results.report.theme import BAND, CONTEXT

TRAINED = "training"
"""What the line of the rounds before a request is called."""


def against_rounds(
    curves: pd.DataFrame, bands: pd.DataFrame, metric: Choice, controls: Controls, last: int
) -> Chart:
    """Draw each metric from the last rounds of training to round ``last`` after the request."""
    metrics = [name for name, _ in metric.options]
    goals = json.dumps({name: direction(name) for name in metrics})
    title = heading(metric.named(), f"{goals}[{metric.param}]")
    text = (
        "Line chart of the chosen measure against rounds since the request, a line a strategy, "
        "thin ones for single seeds, with a shaded band where retrained models lie. Its final "
        "values are in the table below and in the table of all measures."
    )

    def drawn(legend: alt.Legend | None) -> dict[str, Any]:
        layers = alt.layer(
            *_goal(metric, controls), *_lines(metric, controls, last, legend)
        ).add_params(metric.parameter(), *controls.parameters)
        layers = layers.resolve_scale(color="independent", shape="independent")
        data = {"bands": bands, "curves": curves, "request": pd.DataFrame({"x": [0]})}
        return finished(layers, data, title=title, height=340, description=text)

    return Chart(
        name="forgetting",
        title="Forgetting against rounds",
        alt=text,
        spec=drawn(None),
        legend=drawn(controls.legend()),
        table=table(curves, metrics[0]),
    )


def _goal(metric: Choice, controls: Controls) -> list[alt.Chart]:
    """Shade the band of retrained models, and name it."""
    base = named("bands").transform_filter(f"{controls.served} && datum.metric == {metric.param}")
    y: dict[str, Any] = {"scale": alt.Scale(zero=False, nice=True), "title": None}
    tips = [
        alt.Tooltip(f"{name}:Q", format=".3~f", title=f"retrained: {name}")
        for name in ("low", "mean", "high")
    ]
    return [
        base.mark_rect(color=BAND).encode(y=alt.Y("low:Q", **y), y2="high:Q", tooltip=tips),
        base.mark_rule(color=INK_COLOUR, strokeDash=[6, 4]).encode(
            y=alt.Y("mean:Q", **y), tooltip=tips
        ),
        base.mark_text(align="right", baseline="bottom", dx=-4, dy=-3, text="retrained").encode(
            y=alt.Y("mean:Q", **y), x=alt.value("width")
        ),
    ]


def _lines(
    metric: Choice,
    controls: Controls,
    last: int,
    legend: alt.Legend | None,
) -> list[alt.Chart]:
    """Draw training in grey, and those picked in their colours: seeds thin, retraining on top."""
    base = _means(metric, controls)
    scale = alt.Scale(domain=[-LEAD_ROUNDS - 0.4, last + 0.4], nice=False)
    axis = alt.Axis(tickMinStep=1, format="d", grid=False)
    x = alt.X("x:Q", scale=scale, axis=axis, title="Rounds since the request")
    y = alt.Y("mean:Q", scale=alt.Scale(zero=False, nice=True), title=None)
    tips = _tips()
    dash = alt.StrokeDash(
        "phase:N",
        scale=alt.Scale(domain=["train", "unlearn", "recover"], range=[[1, 0], [1, 0], [3, 3]]),
        legend=None,
    )
    rest = base.transform_filter(controls.dropped)
    shared = base.transform_filter("datum.phase == 'train'")
    picked = f"datum.phase != 'train' && {controls.picked}"
    mine, seeds = (table.transform_filter(picked) for table in (base, _seeds(metric, controls)))
    goal, others = (
        mine.transform_filter(f"datum.strategy {sign} {json.dumps(RETRAIN)}")
        for sign in ("==", "!=")
    )
    colour = controls.colour(None)
    return [
        named("request").mark_rule(color=GREY_COLOUR).encode(x=x),
        rest.mark_line(color=CONTEXT, strokeWidth=1, clip=True).encode(
            x=x, y=y, detail=["strategy:N", "phase:N"], tooltip=tips
        ),
        shared.mark_line(color=GREY_COLOUR, strokeWidth=2, clip=True).encode(
            x=x, y=y, detail="strategy:N", tooltip=tips
        ),
        seeds.properties(name="seeds")
        .mark_line(strokeWidth=0.8, opacity=0.4, clip=True)
        .encode(x=x, y=alt.Y("value:Q"), color=colour, detail=["seed:N", "phase:N"]),
        others.mark_line(strokeWidth=2.5, clip=True).encode(
            x=x, y=y, color=colour, strokeDash=dash, tooltip=tips
        ),
        goal.properties(name="retraining")
        .mark_line(color=INK_COLOUR, strokeWidth=1.2, clip=True)
        .encode(x=x, y=y, strokeDash=dash, tooltip=tips),
        mine.mark_point(filled=True, size=46, opacity=1, clip=True).encode(
            x=x, y=y, color=controls.colour(legend), shape=controls.shape(legend), tooltip=tips
        ),
    ]


def _means(metric: Choice, controls: Controls) -> alt.Chart:
    """Return the chosen measure's mean over seeds at each ``x``, and its standard deviation."""
    seed = controls.seed.param
    chosen = f"({seed} == '{ALL_SEEDS}' || datum.seed == {seed})"
    return _values(metric, controls, chosen).transform_aggregate(
        mean="mean(value)", sd="stdev(value)", groupby=["strategy", "phase", "x"]
    )


def _seeds(metric: Choice, controls: Controls) -> alt.Chart:
    """Return the chosen measure of every seed, where all are chosen together."""
    return _values(metric, controls, f"{controls.seed.param} == '{ALL_SEEDS}'")


def _values(metric: Choice, controls: Controls, chosen: str) -> alt.Chart:
    """Return the values of the chosen measure and request where ``chosen`` is true."""
    return (
        named("curves")
        .transform_filter(f"datum.request == {controls.request.param} && {chosen}")
        .transform_calculate(value=f"datum[{metric.param}]")
        .transform_filter("isValid(datum.value) && isFinite(datum.value)")
    )


def _tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("strategy:N"),
        alt.Tooltip("phase:N"),
        alt.Tooltip("x:Q", title="round since the request"),
        alt.Tooltip("mean:Q", format=".3~f", title="value"),
        alt.Tooltip("sd:Q", format=".2~f", title="sd over seeds"),
    ]


def table(curves: pd.DataFrame, metric: str) -> Table:
    """Return one metric of the last request at up to seven rounds, means over seeds."""
    rows = curves[curves["request"] == curves["request"].max()] if len(curves) else curves
    mean = rows[rows["phase"] != "train"].groupby(["strategy", "x"], sort=False)[metric].mean()
    wide = mean.unstack("x").sort_index(axis=1)
    columns = list(wide)
    step = max(1, -(-(len(columns) - 1) // 6))
    chosen = sorted({*columns[::step], *columns[-1:]})
    return Table(
        name="forgetting-rounds",
        caption=f"{label(metric)} by rounds since the request, means over seeds",
        headings=("Strategy", *(f"round {x}" for x in chosen)),
        rows=tuple(
            (
                Cell(str(strategy)),
                *(Cell(number(float(values[x]), digits(metric))) for x in chosen),
            )
            for strategy, values in wide.iterrows()
            if strategy != SHARED_TRAINING
        ),
    )
