"""Where each strategy ends: its distance from retraining against what it costs."""

import math
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from fedunlearn.results import (
    GAP_SUFFIX,
    UTILITY_METRIC,
    Case,
    as_one_reference,
    retrained_rows,
    unit,
    unlearned_rows,
)
from fedunlearn.results.frames.measures import forgetting_measures, probe
from fedunlearn.results.frames.naming import ALL_SEEDS
from fedunlearn.results.frames.pareto import pareto_front


def tradeoff_points(summary: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return where each strategy ends: one row for each request, seed, strategy and measure.

    ``distance`` is the mean of ``|value - retrained|``, ``utility`` that of the test accuracy in
    percent and ``change`` that of its difference from retraining's in points, with their sample
    standard deviations ``sd``, ``utility_sd`` and ``change_sd``; ``client_epochs`` are means,
    ``sent`` and ``stored`` are megabytes. ``front_utility``, ``front_epochs`` and ``front_sent``
    say whether the point is on the Pareto front of distance and each. ``href`` leads to the run's
    files, relative to its ``folder``. Rows of seed ``all`` are means over seeds.
    """
    table = _ends(unlearned_rows(summary), summary)
    if table.empty:
        return table
    cases = zip(table.pop("first_seed"), table["strategy"], table["request"], strict=True)
    table["href"] = [link(folder, Case(*case)) for case in cases]
    table["lost"] = -table["change"]
    groups = [group for _, group in table.groupby(["request", "seed", "metric"])]
    for against, column in (("utility", "lost"), ("epochs", "client_epochs"), ("sent", "sent")):
        front = pd.concat([pareto_front(group, ["distance", column]) for group in groups])
        table[f"front_{against}"] = front.reindex(table.index)
    return table.drop(columns="lost")


def retrained_points(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the same columns of retraining, all references as one, but for fronts and ``href``.

    Its distance is that of one reference from the others of its seed: the floor, and zero where
    there is one a seed.
    """
    retrained = retrained_rows(summary)
    named = retrained.assign(strategy=as_one_reference(retrained["strategy"]))
    return _ends(named, summary).drop(columns="first_seed", errors="ignore")


def shown_points(summary: pd.DataFrame) -> pd.DataFrame:
    """Return one request's points of all seeds in its most telling measure, by strategy.

    Retraining is one of them. Those without both numbers are left out; where there is one seed,
    spreads are 0.
    """
    points = pd.concat([retrained_points(summary), tradeoff_points(summary, Path())])
    points = points[(points["seed"] == ALL_SEEDS) & (points["metric"] == probe(summary))]
    points = points.dropna(subset=["distance", "utility"]).set_index("strategy")
    spreads = ["sd", "utility_sd", "change_sd"]
    return points.assign(**{name: points[name].fillna(0.0) for name in spreads})


def _ends(rows: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Return the ends of ``rows`` in the measures that ``summary`` has for each request."""
    ends = []
    by_seed = ((str(seed), part) for seed, part in rows.groupby("seed"))
    for seed, part in ((ALL_SEEDS, rows), *by_seed):
        cases = part.groupby(["request", "strategy"], sort=False)
        for (request, strategy), case in cases:
            at = {"request": request, "seed": seed, "strategy": strategy, **_costs(case)}
            for metric in forgetting_measures(summary[summary["request"] == request]):
                gap = unit(metric) * case[f"{metric}{GAP_SUFFIX}"].abs()
                end = {"metric": metric, "distance": gap.mean(skipna=False), "sd": gap.std()}
                ends.append({**at, **end})
    return pd.DataFrame(ends)


def _costs(case: pd.DataFrame) -> dict[str, float]:
    """Return what forgetting cost, as means over seeds."""
    measured = UTILITY_METRIC in case
    value, gap = (
        100 * case[name] if measured else pd.Series([math.nan])
        for name in (UTILITY_METRIC, UTILITY_METRIC + GAP_SUFFIX)
    )
    return {
        "utility": value.mean(),
        "utility_sd": value.std(),
        "change": gap.mean(),
        "change_sd": gap.std(),
        "client_epochs": case["client_epochs"].mean(),
        "sent": (case["bytes_down"] + case["bytes_up"]).mean() / 1e6,
        "stored": case["store_bytes"].mean() / 1e6,
        "first_seed": case["seed"].iloc[0],
    }


def link(folder: Path, case: Case) -> str:
    """Return the file to open for one model, relative to the run's folder: the most telling."""
    for place in (case.certificate_file, case.model_file):
        if (folder / place).is_file():
            return quote(place)
    return "./"


def leading_strategies(summary: pd.DataFrame) -> list[str]:
    """Return the strategies in the order in which a reader should see them.

    First the trained model as it stayed, ``none``; then those on the Pareto front of forgetting
    and utility in the last request, nearest to retraining first; then the others in that order.
    """
    table = tradeoff_points(summary, Path())
    names = list(dict.fromkeys(unlearned_rows(summary)["strategy"]))
    if table.empty:
        return names
    last = table[(table["seed"] == ALL_SEEDS) & (table["request"] == table["request"].max())]
    last = last[last["metric"] == last["metric"].iloc[0]].set_index("strategy")
    order = last.sort_values("distance", kind="stable").index
    ahead = [name for name in order if last.loc[name, "front_utility"]]
    listed = [name for name in ("none",) if name in names]
    return list(dict.fromkeys([*listed, *ahead, *order, *names]))
