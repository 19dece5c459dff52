"""What a chart is, and the parameters by which a page's inputs steer it."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from fedunlearn.results.frames import ALL_SEEDS
from fedunlearn.results.report.cells import Table
from fedunlearn.results.report.picks import Pick
from fedunlearn.results.report.theme import theme

WIDTH = 640
"""Pixels that a figure in a file is wide; on a page it takes the width there is."""

LABEL = 22
"""Letters of a row's name in a line: on a telephone more of them leave no room for the chart."""

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """A list to choose one thing from."""

    param: str
    """The name of the Vega parameter and the id of the input."""
    label: str
    options: tuple[tuple[str, str], ...]
    """Value and text of each; the first is chosen when the page opens."""

    def parameter(self) -> alt.Parameter:
        """Return the parameter that follows the input."""
        bind = alt.BindDirect(element=f"#{self.param}", event="change")
        return alt.param(name=self.param, value=self.options[0][0], bind=bind)

    def named(self) -> str:
        """Return the expression of the chosen option's text."""
        return f"{json.dumps(dict(self.options))}[{self.param}]"


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure of the report."""

    name: str
    """Of its files and its element."""
    title: str
    alt: str
    """What somebody who does not see it should know."""
    spec: Spec
    table: Table | None = None
    """The numbers behind it."""
    legend: Spec | None = None
    """The same for paper, with a legend of those that stand out."""


@dataclass(frozen=True, slots=True)
class Controls:
    """The inputs that all charts of a page obey: seed, request and strategies."""

    picks: tuple[Pick, ...]
    seed: Choice
    request: Choice

    @classmethod
    def of(cls, picks: Sequence[Pick], seeds: Sequence[int], requests: Sequence[int]) -> "Controls":
        """Return the inputs for these; all seeds together and the last request come first."""
        every = [(ALL_SEEDS, "all seeds together")] if len(seeds) > 1 else []
        seed = Choice("seed", "Seed", (*every, *((str(one), f"seed {one}") for one in seeds)))
        last_first = sorted(requests, reverse=True)
        named = tuple((str(one), f"request {one}") for one in last_first)
        return cls(tuple(picks), seed, Choice("request", "Request", named))

    @property
    def parameters(self) -> list[alt.Parameter]:
        """All of them, for a chart that obeys them."""
        inputs = [
            alt.param(
                name=pick.param,
                value="1" if pick.shown else "0",
                bind=alt.BindDirect(element=f"#{pick.param}", event="change"),
            )
            for pick in self.picks
        ]
        return [self.seed.parameter(), self.request.parameter(), *inputs]

    @property
    def served(self) -> str:
        """The expression that is true of rows of the chosen request and seed."""
        return f"datum.request == {self.request.param} && datum.seed == {self.seed.param}"

    @property
    def picked(self) -> str:
        """The expression that is true of rows whose strategy is picked."""
        pairs = ", ".join(f"{json.dumps(pick.name)}: {pick.param}" for pick in self.picks)
        return f"({{{pairs}}})[datum.strategy] == '1'"

    @property
    def dropped(self) -> str:
        """The expression that is true of rows whose strategy is there and not picked."""
        pairs = ", ".join(f"{json.dumps(pick.name)}: {pick.param}" for pick in self.picks)
        return f"({{{pairs}}})[datum.strategy] == '0'"

    def colour(self, legend: alt.Legend | None) -> alt.Color:
        """Return the colours of strategies."""
        return alt.Color(
            "strategy:N",
            scale=self._scale([one.look.colour for one in self.picks]),
            legend=legend,
            title=None,
        )

    def shape(self, legend: alt.Legend | None) -> alt.Shape:
        """Return the marks of strategies."""
        return alt.Shape(
            "strategy:N",
            scale=self._scale([one.look.symbol for one in self.picks]),
            legend=legend,
            title=None,
        )

    def legend(self) -> alt.Legend:
        """Return the legend of those that stand out."""
        shown = [pick.name for pick in self.picks if pick.shown]
        return alt.Legend(values=shown, orient="bottom", columns=4, symbolOpacity=1)

    def _scale(self, values: list[str]) -> alt.Scale:
        return alt.Scale(domain=[pick.name for pick in self.picks], range=values)


def named(name: str) -> alt.Chart:
    """Return a chart of the data that `finished` is handed under this name."""
    return alt.Chart(alt.NamedData(name=name))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows as JSON has them: numbers of five digits, None for no number."""
    columns = {str(name): [_short(value) for value in table[name].tolist()] for name in table}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def finished(
    chart: alt.LayerChart | alt.FacetChart,
    data: Mapping[str, pd.DataFrame],
    *,
    title: Any,
    height: int,
    description: str,
) -> Spec:
    """Return a chart's specification, as wide as its place on the page."""
    made = chart.properties(
        width="container",
        height=height,
        title=title,
        description=description,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    )
    spec: Spec = made.to_dict(validate=False)
    datasets = {name: records(table) for name, table in data.items()}
    return {**spec, "config": theme(), "datasets": datasets}


def heading(text: str, below: str) -> Any:
    """Return a title of two lines, both given as expressions."""
    return alt.Title(alt.ExprRef(f"[{text}, {below}]"))


def folded(name: str) -> list[str]:
    """Return a name in lines of at most `LABEL` letters, broken behind brackets and commas."""
    lines = [""]
    for part in re.findall(rf"[^(,]{{1,{LABEL - 1}}}[(,]?|[(,]", name):
        if lines[-1] and len(lines[-1] + part) > LABEL:
            lines.append("")
        lines[-1] += part
    return lines


def rows_of(names: Iterable[str], *, grid: bool = False) -> tuple[alt.Axis, int]:
    """Return the axis of a chart with a row a name, none of them cut, and the chart's height."""
    lines = {name: folded(name) for name in dict.fromkeys(names)}
    most = max(map(len, lines.values()), default=1)
    axis = alt.Axis(grid=grid, labelExpr=f"{json.dumps(lines)}[datum.label]", labelLimit=0)
    return axis, max(25, 13 * most + 2) * len(lines) + 10


def steps(most: float) -> list[float]:
    """Return where an axis from 0 to ``most`` has values that is stretched near 0 (symlog)."""
    if most >= 2:
        wide = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
        return [value for value in wide if value <= most]
    if not most > 0:
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(most))
    step = next(share * size for share in (0.2, 0.5, 1, 2) if most <= 5.5 * share * size)
    return [round(place * step, 10) for place in range(int(most / step + 1e-9) + 1)]
