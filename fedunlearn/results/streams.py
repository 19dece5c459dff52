"""What a stream of requests came to with each strategy: cost, time to forget, and answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from fedunlearn.results.answer_table import SAID, multiple_of_retraining, points_of_accuracy
from fedunlearn.results.branches import RETRAIN
from fedunlearn.results.looks import in_order
from fedunlearn.results.margins import UTILITY_METRIC
from fedunlearn.results.references import further_references
from fedunlearn.results.run_files import load_requests
from fedunlearn.results.terminal import marked, terminal_table
from fedunlearn.results.wording import amount, span

BADNESS = (
    "as retrained",
    "nothing to forget",
    "undecided",
    "no verdict",
    "damaged",
    "remembers",
    "broken",
)
"""The answers from the best to the worst."""

SECONDS = "seconds_to_forget"
"""The column of requests with modelled seconds."""

STREAM_LEGEND = (
    "Forgetting: rounds from asking to being forgotten, mean and longest; a round of unlearning or "
    "recovery counts as one of training. Time, longest: the same on the configured devices. Work, "
    "bytes: of the whole stream, as multiples of one retraining's on average. Accuracy: points on "
    "test records next to retraining, mean and worst request."
)
"""How to read `printed_stream`."""


def stream_requests(folder: Path, manifest: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return requests.csv of a run that served several requests of a stream; None of others."""
    config = manifest.get("config")
    withdrawal = config.get("withdrawal") if isinstance(config, Mapping) else None
    if not isinstance(withdrawal, Mapping) or withdrawal.get("stream") is None:
        return None
    requests = load_requests(folder)
    return requests if requests["request"].nunique() > 1 else None


def stream_table(
    summary: pd.DataFrame, requests: pd.DataFrame, answers: pd.DataFrame
) -> pd.DataFrame:
    """Return a row a strategy, retraining first, over all requests and seeds.

    ``work`` and ``bytes`` are those of the whole stream over those of one retraining, the mean over
    the requests. Where requests have modelled seconds (`costing.with_seconds`), ``seconds_mean``
    and ``seconds_longest`` are theirs. ``as_retrained`` is the share of requests with that answer,
    ``worst`` the worst answer of all and ``worst_requests`` how many have it; both are empty of
    retraining.
    """
    sent = summary["bytes_down"] + summary["bytes_up"]
    shown = summary.assign(bytes=sent)[~further_references(summary)]
    one = shown[shown["strategy"] == RETRAIN][["client_epochs", "bytes"]].mean()
    gap = f"{UTILITY_METRIC}_gap"
    rows = []
    for strategy in in_order(shown["strategy"]):
        mine = shown[shown["strategy"] == strategy]
        asked = requests[requests["strategy"] == strategy]
        times = asked["rounds_to_forget"]
        seconds = asked.get(SECONDS)
        whole = mine.groupby("seed")[["client_epochs", "bytes"]].sum().mean()
        gaps = mine.groupby("request")[gap].mean() if gap in mine else pd.Series(dtype="float64")
        said = answers.loc[answers["strategy"] == strategy, "answer"]
        worst = max(said, key=BADNESS.index, default="")
        rows.append(
            {
                "strategy": strategy,
                "requests": mine["request"].nunique(),
                "forgetting_mean": times.mean(),
                "forgetting_longest": times.max(),
                **({} if seconds is None else _modelled(seconds)),
                "work": whole["client_epochs"] / one["client_epochs"],
                "bytes": whole["bytes"] / one["bytes"],
                "accuracy_gap_mean": gaps.mean(),
                "accuracy_gap_worst": gaps.min(),
                "as_retrained": (said == "as retrained").mean(),
                "worst": worst,
                "worst_requests": int((said == worst).sum()),
            }
        )
    return pd.DataFrame(rows)


def _modelled(seconds: pd.Series) -> dict[str, float]:
    return {"seconds_mean": seconds.mean(), "seconds_longest": seconds.max()}


def printed_stream(table: pd.DataFrame) -> Table:
    """Return `stream_table` for a terminal of 100 columns."""
    count = int(table["requests"].max())
    timed = "seconds_mean" in table
    headings = ["Forgetting\nmean", "\nlongest", *(["\nTime", "\nLongest"] if timed else [])]
    headings += ["\nWork", "\nBytes", "Accuracy\nmean", "\nworst"]
    printed = terminal_table(
        "\nStrategy",
        [*headings, "As\nretrained"],
        title=f"The stream: {count} requests",
        first_to_go=("\nBytes", "\nlongest", "\nLongest"),
    )
    printed.add_column("\nWorst answer", no_wrap=True, min_width=16)
    for row in table.to_dict("records"):
        retrained = row["strategy"] == RETRAIN
        name, style = marked(row["strategy"])
        printed.add_row(
            name,
            amount(row["forgetting_mean"]),
            amount(row["forgetting_longest"]),
            *((span(row["seconds_mean"]), span(row["seconds_longest"])) if timed else ()),
            multiple_of_retraining(row["work"]),
            multiple_of_retraining(row["bytes"]),
            "" if retrained else points_of_accuracy(100 * row["accuracy_gap_mean"]),
            "" if retrained else points_of_accuracy(100 * row["accuracy_gap_worst"]),
            "" if retrained else f"{100 * row['as_retrained']:.0f} %",
            worst_answer(row["worst"], row["worst_requests"]),
            style=style,
        )
    return printed


def worst_answer(answer: str, requests: int) -> str:
    """Write the worst answer and how many requests have it; nothing where there is none."""
    return f"{SAID[answer]} ({requests})" if answer else ""
