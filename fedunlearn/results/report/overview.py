"""The report of a multirun: which settings are worth it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedunlearn.results import unit
from fedunlearn.results.frames import digits, label
from fedunlearn.results.report import facts
from fedunlearn.results.report.answers import utility_words
from fedunlearn.results.report.cells import Table, number
from fedunlearn.results.report.charts.chart import Chart, Choice
from fedunlearn.results.report.charts.sweeps import OUTCOMES, fronts, index, swept
from fedunlearn.results.report.multirun import Sweep, sweep
from fedunlearn.results.report.sections import Section

MOST = 6
"""So many settings are drawn, those first that take most values."""


@dataclass(frozen=True, slots=True)
class Overview:
    """All of a multirun's report, before it is written in any format."""

    title: str
    setting: str
    sentences: Sequence[str]
    sections: Sequence[Section]
    glossary: Sequence[tuple[str, str]]

    @property
    def charts(self) -> list[Chart]:
        """All charts, in order."""
        return [chart for section in self.sections for chart in section.charts]

    @property
    def tables(self) -> list[Table]:
        """All tables, in order."""
        return [table for section in self.sections for table in section.tables]


def overview(folder: Path, runs: Sequence[Path]) -> Overview:
    """Arrange what is known of a multirun; raises `Refused` where no run has a result."""
    swept_runs = sweep(folder, runs)
    metrics = list(dict.fromkeys(swept_runs.tried["metric"]))
    measure = Choice("measure", "Measure", tuple((name, label(name)) for name in metrics))
    front = Section(
        "front",
        "The Pareto front over runs",
        "No setting beats a coloured one in forgetting, accuracy and bytes at once; the larger "
        "a mark, the more bytes were sent. Scales are stretched near retraining. Click a mark to "
        "open its run.",
        [fronts(swept_runs, measure)],
        [measure],
        [index(swept_runs, metrics[0])],
    )
    parts = [
        Section(
            f"sweep-{place}",
            f"What {name} does",
            "",
            [swept(swept_runs, name, outcome, measure, str(place)) for outcome in OUTCOMES],
        )
        for place, name in enumerate(swept_runs.settings[:MOST])
    ]
    return Overview(
        title=f"{len(runs)} runs, {swept_runs.tried.drop_duplicates('name').shape[0]} settings",
        setting=f"varied: {', '.join(swept_runs.settings) or 'nothing'}",
        sentences=list(sentences(swept_runs, metrics[0])),
        sections=[front, *parts],
        glossary=facts.glossary(metrics),
    )


def sentences(tried: Sweep, metric: str) -> list[str]:
    """Return the answer: who is nearest to retraining, who is most accurate, who is cheapest."""
    rows = tried.tried[tried.tried["metric"] == metric]
    told = []
    mark = " points" if unit(metric) == 100 else ""
    for column, sign, words in (
        ("distance", 1, "is nearest to retraining"),
        ("change", -1, "keeps most accuracy"),
        ("sent", 1, "sends least"),
    ):
        complete = rows.dropna(subset=[column])
        if complete.empty:
            continue
        best = complete.iloc[int((sign * complete[column]).to_numpy().argmin())]
        settings = ", ".join(f"{name}={best[name]}" for name in tried.settings) or best["strategy"]
        told.append(
            f"{settings} {words} (run {best['name']}): "
            f"{number(float(best['distance']), digits(metric))}{mark} from retrained "
            f"({label(metric).removesuffix(' (%)').lower()}), "
            f"{utility_words(float(best['change']))}, {number(float(best['sent']), 1)} MB sent."
        )
    count = int(rows["front"].sum())
    told.append(f"{count} of {len(rows)} settings are on the Pareto front of all three.")
    if tried.unfinished:
        told.append(f"Without a result, and left out: {', '.join(tried.unfinished)}.")
    return told
