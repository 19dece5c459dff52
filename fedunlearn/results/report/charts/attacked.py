"""What membership attacks found in each strategy's models, next to the retrained ones."""

import altair as alt
import pandas as pd

from fedunlearn.results import (
    GREY_COLOUR,
    INK_COLOUR,
    PLAIN_COLOUR,
    RETRAIN,
    RETRAIN_AGAIN,
    SHARED_TRAINING,
    SHOWN_ATTACKS,
    attack_notes,
    told_name,
)
from fedunlearn.results.frames import ALL_SEEDS
from fedunlearn.results.report.cells import NO_NUMBER, Cell, Table, measure
from fedunlearn.results.report.charts.chart import Chart, Choice, Controls, finished, named, rows_of

BEFORE = "before"
"""What the model before unlearning is called."""

NAMES = {
    "loss": "Loss threshold",
    "entropy": "Entropy",
    "modified_entropy": "Modified entropy",
    "lira": "LiRA",
    "lira_offline": "LiRA, offline",
    "rmia": "RMIA",
    "rmia_offline": "RMIA, offline",
    "lira_retrained": "LiRA, against retrained models",
    "u_lira": "U-LiRA, against retrained models",
}
"""What attacks are called, the most telling ones of each kind last."""


def areas(attacks: pd.DataFrame) -> pd.DataFrame:
    """Return the areas under the curve: ``request, seed, strategy, attack, value, low, high``.

    ``attack`` names the level as well. ``low`` and ``high`` are the 95 % interval; in rows of seed
    ``all``, which are means, they are the least and the greatest value of a seed. Retrained models
    beside the first one are `RETRAIN_AGAIN` together; the model before is called `BEFORE`.
    """
    rows = attacks[attacks["statistic"] == "auc"].dropna(subset=["value"])
    rows = rows.assign(
        attack=rows["attack"] + "/" + rows["level"],
        strategy=[_shown(name) for name in rows["strategy"]],
        seed=rows["seed"].astype(str),
    )
    columns = ["request", "seed", "strategy", "attack", "value", "low", "high"]
    keys, measures = ["request", "strategy", "attack"], ["value", "low", "high"]
    single = rows.groupby([*keys, "seed"], sort=False)[measures].mean().reset_index()
    seeds = single.groupby(keys, sort=False)["value"]
    means = pd.DataFrame({"value": seeds.mean(), "low": seeds.min(), "high": seeds.max()})
    together = means.reset_index().assign(seed=ALL_SEEDS)
    return pd.concat([together, single], ignore_index=True)[columns]


def _shown(strategy: str) -> str:
    return BEFORE if strategy == SHARED_TRAINING else told_name(strategy)


def choice(attacks: pd.DataFrame) -> Choice:
    """Return the choice of an attack: LiRA on records first, where it was made."""
    there = dict.fromkeys(attacks["attack"])
    ranked = sorted(there, key=lambda name: (name != "lira/record", *_place(name)))
    return Choice("attack", "Attack", tuple((name, _called(name)) for name in ranked))


def attacked(attacks: pd.DataFrame, attack: Choice, controls: Controls, order: list[str]) -> Chart:
    """Draw each strategy's area under the curve with its interval; ``attacks`` is of `areas`."""
    base = named("areas").transform_filter(f"{controls.served} && datum.attack == {attack.param}")
    rows = [RETRAIN, RETRAIN_AGAIN, BEFORE, *order]
    axis, height = rows_of(attacks["strategy"], grid=True)
    y = alt.Y("strategy:N", sort=rows, title=None, axis=axis)
    x = alt.X(
        "value:Q", scale=alt.Scale(domain=[0, 1]),
        title=["Area under the curve (0.5: chance);", "lines: 95 % interval, or range over seeds"],
    )  # fmt: skip
    numbers = [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")]
    tips = ["strategy:N", *numbers]
    colour = alt.condition(
        f"datum.strategy == '{RETRAIN}' || datum.strategy == '{RETRAIN_AGAIN}'",
        alt.value(INK_COLOUR),
        alt.value(PLAIN_COLOUR),
    )
    layers = [
        named("chance").mark_rule(color=GREY_COLOUR, strokeDash=[4, 3]).encode(x="x:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.5).encode(
            x=alt.X("low:Q"), x2="high:Q", y=y, color=colour, tooltip=tips
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=x, y=y, color=colour, tooltip=tips
        ),
    ]
    text = (
        "Dot chart of how well an attack tells the leaver's records from others, a row a model; "
        "retrained models come first, and 0.5 is chance."
    )
    layered = alt.layer(*layers).add_params(*controls.parameters[:2], attack.parameter())
    data = {"areas": attacks, "chance": pd.DataFrame({"x": [0.5]})}
    spec = finished(layered, data, title="", height=height, description=text)
    return Chart("attacked", "Attacks", text, spec)


def table(attacks: pd.DataFrame, order: list[str]) -> Table:
    """Return what each attack found in the last request, in mean and spread over seeds."""
    rows = attacks[attacks["request"] == attacks["request"].max()]
    rows = rows.assign(strategy=rows["strategy"].map(told_name))
    values = rows.groupby(["attack", "level", "statistic", "strategy"])["value"]
    cases = {key: measure(part, 2) for key, part in values}
    there = {key[:3] for key in cases}
    shown = {key: heading for key, heading in SHOWN_ATTACKS.items() if key in there}
    first = (RETRAIN, RETRAIN_AGAIN, SHARED_TRAINING)
    listed = [name for name in (*first, *order) if name in set(rows["strategy"])]
    return Table(
        name="attacks",
        caption="Membership attacks: area under the curve, and true positives at 1 % false ones",
        headings=("Strategy", *(heading.replace("\n", " ") for heading in shown.values())),
        rows=tuple(
            (
                Cell(BEFORE if name == SHARED_TRAINING else name),
                *(cases.get((*key, name), Cell(NO_NUMBER)) for key in shown),
            )
            for name in listed
        ),
        notes=tuple(note.removeprefix("► ") for note in attack_notes(rows)),
    )


def _called(attack: str) -> str:
    name, level = attack.split("/")
    return f"{NAMES.get(name, name)} ({'each client' if level == 'client' else 'each record'})"


def _place(attack: str) -> tuple[bool, int]:
    name, level = attack.split("/")
    return level == "client", [*NAMES].index(name) if name in NAMES else len(NAMES)
