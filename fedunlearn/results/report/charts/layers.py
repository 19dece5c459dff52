"""Where in the net a strategy's model differs from the retrained one: CKA, layer by layer."""

import altair as alt
import pandas as pd

from fedunlearn.results import PART_SEPARATOR, RETRAIN, RETRAIN_AGAIN, further_references
from fedunlearn.results.frames import ALL_SEEDS
from fedunlearn.results.report.cells import NO_NUMBER, Cell, Table, measure
from fedunlearn.results.report.charts.chart import Chart, Choice, Controls, finished, named, rows_of
from fedunlearn.results.report.theme import DEEP, SHADES

RECORDS = {"forget_cka": "the leaver's training records", "test_cka": "test records"}
"""On which records layers are compared, by the metric's name."""

FEW = 12
"""Up to so many layers a cell has room for its number."""


def alike(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return ``request, seed, strategy, records, layer, cka``: each layer's similarity in the end.

    Retrained models beside the first one are `RETRAIN_AGAIN` together, the floor that no strategy
    need pass. Rows of seed ``all`` are means over seeds. Empty where no layers were measured.
    """
    split = metrics["metric"].str.split(PART_SEPARATOR, n=1, expand=True, regex=False)
    split = split.reindex(columns=[0, 1]).set_axis(["records", "layer"], axis=1)
    rows = metrics[["request", "seed", "strategy", "value"]].join(split)
    rows = rows[rows["records"].isin(list(RECORDS)) & rows["layer"].notna()]
    ends = rows.drop_duplicates(
        ["request", "seed", "strategy", "records", "layer"], keep="last"
    ).rename(columns={"value": "cka"})
    ends["strategy"] = ends["strategy"].mask(further_references(ends), RETRAIN_AGAIN)
    ends = ends[ends["strategy"] != RETRAIN].assign(seed=ends["seed"].astype(str))
    keys = ["request", "seed", "strategy", "records", "layer"]
    rows = pd.concat([ends.assign(seed=ALL_SEEDS), ends])
    return rows.groupby(keys, sort=False)["cka"].mean().reset_index()


def choice(similarity: pd.DataFrame) -> Choice:
    """Return the choice of records."""
    there = set(similarity["records"])
    options = tuple((name, said) for name, said in RECORDS.items() if name in there)
    return Choice("compared", "Compared on", options)


def layers(
    similarity: pd.DataFrame, compared: Choice, controls: Controls, order: list[str]
) -> Chart:
    """Draw a row a strategy and a column a layer; ``similarity`` is that of `alike`."""
    columns = list(dict.fromkeys(similarity["layer"]))
    chosen = f"{controls.served} && datum.records == {compared.param}"
    base = named("similarity").transform_filter(chosen)
    least = min(0.9, float(similarity["cka"].min()))
    x = alt.X(
        "layer:N", sort=columns, title="Layer, from the first to the last",
        axis=alt.Axis(labelAngle=0 if len(columns) <= FEW else -60, labelLimit=120),
    )  # fmt: skip
    axis, height = rows_of(similarity["strategy"])
    y = alt.Y("strategy:N", sort=[RETRAIN_AGAIN, *order], title=None, axis=axis)
    fill = alt.Color(
        "cka:Q",
        scale=alt.Scale(range=SHADES[::-1], domain=[least, 1], interpolate="rgb"),
        title="CKA; 1: as retrained",
        legend=alt.Legend(orient="bottom", gradientLength=200),
    )
    tips = ["strategy:N", "layer:N", alt.Tooltip("cka:Q", format=".3f")]
    drawn = [base.mark_rect(stroke="white").encode(x=x, y=y, color=fill, tooltip=tips)]
    if len(columns) <= FEW:
        dark = least + (1 - DEEP) * (1 - least)
        ink = alt.condition(f"datum.cka < {dark}", alt.value("white"), alt.value("black"))
        written = base.mark_text(fontSize=11)
        drawn.append(written.encode(x=x, y=y, text=alt.Text("cka:Q", format=".2f"), color=ink))
    text = (
        f"Heat map of CKA similarity to the retrained model: {similarity['strategy'].nunique()} "
        f"rows by {len(columns)} layers."
    )
    layered = alt.layer(*drawn).add_params(*controls.parameters[:2], compared.parameter())
    data = {"similarity": similarity}
    spec = finished(layered, data, title="", height=height, description=text)
    return Chart("layers", "Layer by layer", text, spec)


def table(similarity: pd.DataFrame, compared: Choice, order: list[str]) -> Table:
    """Return the similarities of the last request on the first choice of records."""
    records, said = compared.options[0]
    rows = similarity[
        (similarity["request"] == similarity["request"].max())
        & (similarity["seed"] != ALL_SEEDS)
        & (similarity["records"] == records)
    ]
    columns = list(dict.fromkeys(rows["layer"]))
    there = [name for name in (RETRAIN_AGAIN, *order) if name in set(rows["strategy"])]
    cells = {key: measure(part["cka"], 3) for key, part in rows.groupby(["strategy", "layer"])}
    return Table(
        name="layers",
        caption=f"CKA similarity to the retrained model on {said}, layer by layer",
        headings=("Strategy", *(f"layer {name}" for name in columns)),
        rows=tuple(
            (Cell(name), *(cells.get((name, layer), Cell(NO_NUMBER)) for layer in columns))
            for name in there
        ),
    )
