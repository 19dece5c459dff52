"""The sections of a run's report, in the order in which they are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from fedunlearn.results import RETRAIN, RETRAIN_AGAIN, Wish, in_order, is_reference, retrained_rows
from fedunlearn.results.frames import (
    ALL_SEEDS,
    curves_by_seed,
    forgetting_measures,
    horizon,
    label,
    leading_strategies,
    measured,
    probe,
    request_times,
    retrained_bands,
    stored_by_request,
    tradeoff_points,
)
from fedunlearn.results.report import facts
from fedunlearn.results.report.answers import Answer, answer
from fedunlearn.results.report.cells import Table
from fedunlearn.results.report.charts import attacked, layers
from fedunlearn.results.report.charts.chart import Chart, Choice, Controls
from fedunlearn.results.report.charts.clients_and_requests import harm, label_map, store, timeline
from fedunlearn.results.report.charts.forgetting_curves import against_rounds
from fedunlearn.results.report.charts.tradeoffs import EPOCHS, SENT, UTILITY, against
from fedunlearn.results.report.evidence import Evidence
from fedunlearn.results.report.picks import picks
from fedunlearn.results.report.reduced import reduced
from fedunlearn.results.report.spans import spans
from fedunlearn.results.report.standings import everything, in_rank, standings
from fedunlearn.results.report.streamed import streamed


@dataclass(frozen=True, slots=True)
class RequestSection:
    """What came of one request."""

    request: int
    asked: Wish
    answers: Sequence[Answer]
    table: Table
    measures: Table


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what is said below it, and charts and tables."""

    name: str
    title: str
    text: str = ""
    charts: Sequence[Chart] = ()
    choices: Sequence[Choice] = ()
    """Inputs that its charts obey."""
    tables: Sequence[Table] = ()
    lead: bool = False
    """Whether the first of its charts takes the whole width."""
    folded: bool = False
    """Whether its tables are shown on demand: long ones, for looking things up."""


@dataclass(frozen=True, slots=True)
class Report:
    """All of a report, before it is written in any format."""

    served: Sequence[RequestSection]
    controls: Controls
    picking: Sequence[Section]
    """Those whose charts obey the inputs for strategies, seed and request."""
    rest: Sequence[Section]
    glossary: Sequence[tuple[str, str]]

    @property
    def charts(self) -> list[Chart]:
        """All charts, in order."""
        return [chart for section in (*self.picking, *self.rest) for chart in section.charts]

    @property
    def tables(self) -> list[Table]:
        """The tables for papers: the standings, then those of the sections."""
        standings = [table for served in self.served for table in (served.table, served.measures)]
        sections = (*self.picking, *self.rest)
        return standings + [table for section in sections for table in section.tables]


def report(evidence: Evidence) -> Report:
    """Arrange what is known of a run."""
    summary = evidence.run.summary
    order = [name for name in in_order(summary["strategy"]) if not is_reference(name)]
    requests = sorted(set(summary["request"]))
    controls = Controls.of(
        picks(order, leading_strategies(summary)), sorted(set(summary["seed"])), requests
    )
    return Report(
        served=[served(evidence, request) for request in requests],
        controls=controls,
        picking=list(_steered(evidence, controls, order)),
        rest=[section for section in _others(evidence, controls, order) if section],
        glossary=facts.glossary(measured(summary)),
    )


def served(evidence: Evidence, request: int) -> RequestSection:
    """Return the answers and the tables of one request."""
    summary, verdicts, answers = evidence.run.summary, evidence.verdicts, evidence.answers
    mine, owners = summary[summary["request"] == request], evidence.run.owners
    chief = probe(mine)
    order = in_rank(summary, answers, request, chief)
    rows = answers[answers["request"] == request].set_index("strategy", drop=False)
    ranked = [name for name in (RETRAIN_AGAIN, *order) if name in rows.index]
    return RequestSection(
        request=request,
        asked=Wish.of(mine, owners),
        answers=[answer(rows.loc[name].to_dict(), summary, chief, owners) for name in ranked],
        table=standings(summary, verdicts, order, request, owners),
        measures=everything(summary, verdicts, order, request, owners),
    )


def _steered(evidence: Evidence, controls: Controls, order: list[str]) -> Iterator[Section]:
    """Yield the sections whose charts follow the inputs."""
    yield from _rounds(evidence, controls)
    yield from _costs(evidence, controls)
    yield _harm(evidence, controls, order)
    yield from _looked_into(evidence, controls, order)


def _rounds(evidence: Evidence, controls: Controls) -> Iterator[Section]:
    """Yield the curves against rounds, where there are any."""
    summary = evidence.run.summary
    first, *_ = chief = forgetting_measures(summary) or [""]
    metrics = measured(summary)
    metrics.sort(key=lambda name: (name != first, name not in chief))
    curves = curves_by_seed(evidence.run.metrics, metrics)
    if len(curves):
        metric = Choice("metric", "Measure", tuple((name, label(name)) for name in metrics))
        band = retrained_bands(summary, evidence.verdicts, metrics)
        yield Section(
            "rounds",
            "Forgetting against rounds",
            "The shaded band is where retrained models lie: the goal, from whichever side a "
            "line comes. Thick lines are means over seeds, thin ones single seeds; dotted ones are "
            "the ordinary rounds that follow unlearning.",
            [against_rounds(curves, band, metric, controls, horizon(curves))],
            [metric],
        )


def _costs(evidence: Evidence, controls: Controls) -> Iterator[Section]:
    """Yield what forgetting costs in accuracy, epochs and bytes, where both were measured."""
    run = evidence.run
    points = tradeoff_points(run.summary, run.folder)
    measures = forgetting_measures(run.summary)
    if not points.empty and measures:
        measure = Choice("measure", "Measure", tuple((name, label(name)) for name in measures))
        charts = [
            against(what, points, goals(run.summary, what.column), measure, controls)
            for what in (UTILITY, EPOCHS, SENT)
        ]
        yield Section(
            "tradeoffs",
            "Forgetting against what it costs",
            "Each point is a strategy; the nearer to the bottom, the nearer to a model that "
            "never saw the leaver. No strategy beats one on the dashed front in both "
            "respects. Scales are stretched near retraining, where the differences are that "
            "matter. Click a point to open its certificate or model.",
            charts,
            [measure],
            lead=True,
        )


def _harm(evidence: Evidence, controls: Controls, order: list[str]) -> Section:
    """Return what forgetting did to each client who stays, or that nobody measured it."""
    if evidence.paid.empty:
        return Section(
            "harm",
            "Who pays",
            "This run did not measure the accuracy of each client who stays, so that it "
            "cannot be told whom forgetting hurt.",
        )
    return Section(
        "harm",
        "Who pays",
        "How accuracy changed for each client who stays: a tick is a client, and the diamond the "
        "one who lost most, if anybody lost. The mean hides whom forgetting hurts: often those "
        f"whose data are most like the leaver's.{_divided(evidence)}",
        [harm(evidence.paid, controls, [RETRAIN, *order])],
    )


def _looked_into(evidence: Evidence, controls: Controls, order: list[str]) -> Iterator[Section]:
    """Yield what only some runs hold: layer by layer, and under attack."""
    similarity = layers.alike(evidence.run.metrics)
    if len(similarity):
        compared = layers.choice(similarity)
        yield Section(
            "layers",
            "Layer by layer",
            "How alike each layer represents the same records in the strategy's and in the "
            f"retrained model (CKA). The row {RETRAIN_AGAIN} shows how alike two retrained models "
            "are; a dark cell tells where in the net a strategy left its mark.",
            [layers.layers(similarity, compared, controls, order)],
            [compared],
            tables=[layers.table(similarity, compared, order)],
            folded=True,
        )
    if len(evidence.attacks):
        areas = attacked.areas(evidence.attacks)
        attack = attacked.choice(areas)
        yield Section(
            "attacks",
            "Under attack",
            "Whether somebody who holds the model can tell that the leaver's records were in it. "
            f"The models {RETRAIN} and {RETRAIN_AGAIN} never saw them and show what chance looks "
            "like here; only what lies beyond their lines is a trace.",
            [attacked.attacked(areas, attack, controls, order)],
            [attack],
            tables=[attacked.table(evidence.attacks, order)],
            folded=True,
        )


def _divided(evidence: Evidence) -> str:
    """Warn of means over clients who share nothing but a number."""
    several = evidence.run.summary["seed"].nunique() > 1
    if not several or evidence.config.get("split") is not None:
        return ""
    return (
        " These are means over seeds, each of which divided the data anew, so that a client is "
        "somebody else in each: `split=0` keeps them the same."
    )


def goals(summary: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return where retraining stands on an axis: columns ``request, seed, x, strategy``."""
    retrained = retrained_rows(summary)
    values = {
        "change": lambda rows: 0.0 * rows["rounds"],
        "client_epochs": lambda rows: rows["client_epochs"],
        "sent": lambda rows: (rows["bytes_down"] + rows["bytes_up"]) / 1e6,
    }[column](retrained)
    each = retrained.assign(x=values, seed=retrained["seed"].astype(str))
    single = each.groupby(["request", "seed"])["x"].mean().reset_index()
    mean = each.groupby("request")["x"].mean().reset_index().assign(seed=ALL_SEEDS)
    return pd.concat([mean, single], ignore_index=True)[["request", "seed", "x"]].assign(
        strategy=RETRAIN
    )


def _others(evidence: Evidence, controls: Controls, order: list[str]) -> list[Section | None]:
    """Return the sections that stand as they are."""
    run = evidence.run
    left = request_times(run.summary, run.metrics)
    rounds = run.metrics.loc[run.metrics["phase"] == "train", "round"].max()
    listed = facts.capabilities(evidence.declared.capabilities)
    timed = spans(run, evidence.declared, order)
    proofs = facts.certified(evidence.certificates)
    stream = streamed(run, evidence.answers)
    return [
        Section("stream", "The stream", tables=stream) if stream else None,
        Section("reductions", "Before and after", tables=reduced(run, order), folded=True)
        if order
        else None,
        Section(
            "store",
            "The store's growth",
            "What training had to keep so that a strategy can work later, for as long as nobody "
            "leaves.",
            [store(stored_by_request(run.summary, run.metrics), [RETRAIN, *order])],
        ),
        Section(
            "time",
            "Time to forget, and when it pays",
            "What the ledger's bytes and records would take on other devices, and from how many "
            "requests on a strategy costs less than retraining, what training stored and gathered "
            "for it included.",
            tables=timed,
        )
        if timed
        else None,
        Section("timeline", "The requests", "", [timeline(left, int(rounds), run.owners)]),
        Section("labels", "Who holds what", "", [label_map(run.clients, run.summary, run.owners)])
        if len(run.clients)
        else None,
        Section("certificates", "Certificates", "", tables=[proofs]) if proofs.rows else None,
        Section("strategies", "The strategies", "", tables=[listed]) if listed.rows else None,
        Section("settings", "The settings", "", tables=[facts.settings(run.manifest)], folded=True),
    ]
