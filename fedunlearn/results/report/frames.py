"""The tables behind the charts of a report, from a run's tables."""

import math
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from fedunlearn.results import CARDS, GAP, PART, Case, further_references, unit, unlearned_rows
from fedunlearn.results.plots import around, probe
from fedunlearn.results.report.naming import ALL_SEEDS, better
from fedunlearn.results.report.pareto import front

UTILITY = "test_accuracy"
"""What forgetting is drawn against."""


def measured(summary: pd.DataFrame) -> list[str]:
    """Return the metrics of a summary in the order of the glossary, those without a card last."""
    names = [name.removesuffix(GAP) for name in map(str, summary) if name.endswith(GAP)]
    names += [name for name in CARDS if name in summary]
    there = [name for name in dict.fromkeys(names) if name in summary]
    there = [name for name in there if PART not in name and summary[name].notna().any()]
    return sorted(there, key=lambda name: list(CARDS).index(name) if name in CARDS else 999)


def curves(metrics: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return one row for each request, seed, strategy, phase and ``x``, a column a metric.

    ``x`` counts rounds since the request, as in `fedunlearn.results.plots.around`; values are in
    the unit in which people see them. Recovery starts where unlearning ended, and each line where
    training left the model, so that lines hang together.
    """
    metrics = metrics[~further_references(metrics)]
    parts = []
    for request in sorted(set(metrics["request"]) - {0}):
        for seed, rows in metrics.groupby("seed"):
            points = around(rows[rows["metric"].isin(names)], request)
            parts.append(points.assign(request=request, seed=str(seed)))
    keys = ["request", "seed", "strategy", "phase", "x"]
    if not parts:
        return pd.DataFrame(columns=[*keys, *names])
    table = pd.concat(parts).pivot_table("mean", keys, "metric", sort=False).reset_index()
    recovering = set(table.loc[table["phase"] == "recover", "strategy"])
    unlearnt = table[(table["phase"] == "unlearn") & table["strategy"].isin(recovering)]
    joints = unlearnt.loc[unlearnt.groupby(["request", "seed", "strategy"])["x"].idxmax()]
    table = pd.concat([table, joints.assign(phase="recover")], ignore_index=True)
    return table.sort_values([*keys[:3], "x"], kind="stable", ignore_index=True)


def forgetting(summary: pd.DataFrame) -> list[str]:
    """Return the metrics that tell what is left of the leaver, the most telling one first.

    Those for which retraining is the goal, and which have a gap to it.
    """
    first = probe(summary)
    names = [
        name
        for name in measured(summary)
        if f"{name}{GAP}" in summary
        and summary[f"{name}{GAP}"].notna().any()
        and better(name) == "retrained"
    ]
    return sorted(names, key=lambda name: name != first)


def points(summary: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return where each strategy ends: one row for each request, seed, strategy and measure.

    ``distance`` is the mean of ``|value - retrained|``, ``utility`` that of the test accuracy in
    percent and ``change`` that of its difference from retraining's in points, with their sample
    standard deviations ``sd`` and ``utility_sd``; ``passes`` are client epochs, ``sent`` and
    ``stored`` are megabytes. ``front_utility``, ``front_passes`` and ``front_sent`` say whether
    the point is on the Pareto front of distance and each. ``href`` leads to the run's files,
    relative to its ``folder``. Rows of seed ``all`` are means over seeds.
    """
    rows = []
    by_seed = ((str(seed), part) for seed, part in summary.groupby("seed"))
    for seed, part in ((ALL_SEEDS, summary), *by_seed):
        cases = unlearned_rows(part).groupby(["request", "strategy"], sort=False)
        for (request, strategy), case in cases:
            cost = {
                "request": request,
                "seed": seed,
                "strategy": strategy,
                "utility": 100 * case[UTILITY].mean() if UTILITY in case else math.nan,
                "change": 100 * case[f"{UTILITY}{GAP}"].mean() if UTILITY in case else math.nan,
                "utility_sd": 100 * case[f"{UTILITY}{GAP}"].std() if UTILITY in case else math.nan,
                "passes": case["client_epochs"].mean(),
                "sent": (case["bytes_down"] + case["bytes_up"]).mean() / 1e6,
                "stored": case["store_bytes"].mean() / 1e6,
                "href": link(folder, Case(case["seed"].iloc[0], str(strategy), int(str(request)))),
            }
            for metric in forgetting(summary[summary["request"] == request]):
                gap = unit(metric) * case[f"{metric}{GAP}"].abs()
                rows.append(
                    {**cost, "metric": metric, "distance": gap.mean(skipna=False), "sd": gap.std()}
                )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table["lost"] = -table["change"]
    groups = [group for _, group in table.groupby(["request", "seed", "metric"])]
    for against, column in (("utility", "lost"), ("passes", "passes"), ("sent", "sent")):
        found = pd.concat([front(case, ["distance", column]) for case in groups])
        table[f"front_{against}"] = found.reindex(table.index)
    return table.drop(columns="lost")


def link(folder: Path, case: Case) -> str:
    """Return the file to open for one model, relative to the run's folder: the most telling."""
    for place in (case.certificate_file, case.model_file):
        if (folder / place).is_file():
            return quote(place)
    return "./"


def leading(summary: pd.DataFrame) -> list[str]:
    """Return the strategies in the order in which a reader should see them.

    First the trained model as it stayed, ``none``; then those on the Pareto front of forgetting
    and utility in the last request, nearest to retraining first; then the others in that order.
    """
    table = points(summary, Path())
    names = list(dict.fromkeys(unlearned_rows(summary)["strategy"]))
    if table.empty:
        return names
    last = table[(table["seed"] == ALL_SEEDS) & (table["request"] == table["request"].max())]
    last = last[last["metric"] == last["metric"].iloc[0]].set_index("strategy")
    order = last.sort_values("distance", kind="stable").index
    ahead = [name for name in order if last.loc[name, "front_utility"]]
    listed = [name for name in ("none",) if name in names]
    return list(dict.fromkeys([*listed, *ahead, *order, *names]))


def requests(summary: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return who left when: columns ``request, clients, after``, a row a request.

    ``after`` is the last training round before it, the same for all strategies.
    """
    training = metrics[metrics["phase"] == "train"]
    rows = []
    for request, served in summary.groupby("request"):
        before = training.loc[training["request"] < request, "round"]
        rows.append((request, served["clients"].iloc[0], before.max()))
    return pd.DataFrame(rows, columns=["request", "clients", "after"])


def stored(summary: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the megabytes that training kept for each strategy by each request; seeds' means.

    Columns ``request, strategy, after, stored, per_round``: ``after`` rounds of training.
    """
    shown = summary[~further_references(summary)]
    found = shown.groupby(["request", "strategy"], sort=False)["store_bytes"].mean() / 1e6
    table = found.rename("stored").reset_index()
    table = table.merge(requests(summary, metrics)[["request", "after"]], on="request")
    return table.assign(per_round=table["stored"] / table["after"])
