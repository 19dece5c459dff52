"""A run's summary as one table for people, and the sentences that tell how to read it."""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain

import pandas as pd
from rich.table import Table

from fedunlearn.results.branches import RETRAIN, RETRAIN_AGAIN
from fedunlearn.results.columns import GAP_SUFFIX
from fedunlearn.results.looks import in_order
from fedunlearn.results.metric_cards import CARDS, card_or_plain
from fedunlearn.results.references import (
    as_one_reference,
    further_references,
)
from fedunlearn.results.terminal import marked, terminal_table
from fedunlearn.results.wording import (
    DID_NOT_TAKE,
    MINUS_SIGN,
    NOBODY_NAMED,
    all_wishes,
    amount,
    percent,
    then,
    unit,
)

COSTS: dict[str, Callable[[pd.DataFrame], float]] = {
    "Client\nepochs": lambda rows: rows["client_epochs"].mean(),
    "MB\nsent": lambda rows: (rows["bytes_down"] + rows["bytes_up"]).mean() / 1e6,
    "\nRounds": lambda rows: rows["rounds"].mean(),
    "MB\nstored": lambda rows: rows["store_bytes"].mean() / 1e6,
}
"""The headings of the costs, and what stands below them: means over seeds."""


def printed_summary(summary: pd.DataFrame, owners: Mapping[int, str] = NOBODY_NAMED) -> Table:
    """Return a row a strategy and request: what it kept, forgot and cost, next to retraining.

    Values are means over seeds, with the sample standard deviation where there are several; in
    parentheses stands the mean difference from the retrained models. The row of retraining holds
    all references of all seeds; the row below it, where there are several a seed, the further ones,
    with the mean size of a reference's difference from the others. 100 columns are enough.
    """
    if summary.empty:
        return Table()
    table = terminal_table("\nStrategy", first_to_go=list(reversed(COSTS)))
    headings = {name: card.heading for name, card in CARDS.items() if card.heading}
    metrics = [name for name in headings if name in summary and summary[name].notna().any()]
    table.title = _title(summary, owners)
    cases = dict(iter(_told(summary).groupby(["request", "strategy"])))
    cells = [_aligned([_measured(rows, name) for rows in cases.values()]) for name in metrics]
    for name, column in zip(metrics, cells, strict=True):
        parts = chain.from_iterable(re.split(r"\n| (?=\()", cell) for cell in column)
        least = max(map(len, (*parts, *headings[name].splitlines())))
        table.add_column(headings[name], overflow="fold", min_width=least)
    for heading in COSTS:
        table.add_column(heading, justify="right", no_wrap=True)
    measured = {case: [column[n] for column in cells] for n, case in enumerate(cases)}
    for request, rows in summary.groupby("request"):
        if summary["request"].nunique() > 1:
            table.add_row(f"Request {request}", style="italic")
        for strategy in in_order(rows["strategy"]):
            costs = [amount(cost(cases[request, strategy])) for cost in COSTS.values()]
            name, style = marked(strategy)
            table.add_row(name, *measured[request, strategy], *costs, style=style)
            if strategy == RETRAIN and (request, RETRAIN_AGAIN) in cases:
                table.add_row(RETRAIN_AGAIN, *measured[request, RETRAIN_AGAIN])
        table.add_section()
    return table


def summary_notes(summary: pd.DataFrame) -> list[str]:
    """Return sentences on how to read the table: the goal, the probe, and what was saved."""
    if summary.empty:
        return []
    partial = dict.fromkeys(asked.note for asked in all_wishes(summary))
    return [*_goal(summary), *filter(None, partial), *_probe(summary), *_savings(summary)]


def _told(summary: pd.DataFrame) -> pd.DataFrame:
    """Put all references into the row of retraining, and the further ones into one of their own."""
    again = summary[further_references(summary)].assign(strategy=RETRAIN_AGAIN)
    whole = summary.assign(strategy=as_one_reference(summary["strategy"]))
    return pd.concat([whole, again], ignore_index=True)


def _title(summary: pd.DataFrame, owners: Mapping[int, str]) -> str:
    left = then([asked.left for asked in all_wishes(summary, owners)])
    seeds = summary["seed"].nunique()
    means = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    return f"{left[0].upper()}{left[1:]}; {means}"


def _measured(rows: pd.DataFrame, name: str) -> tuple[str, str]:
    """Write a metric's value and, in parentheses, its difference from the retrained model's."""
    if card_or_plain(name).planted:
        rows = rows[rows["probe"] != DID_NOT_TAKE]
        if rows.empty:
            return DID_NOT_TAKE, ""
    digits = 1 if percent(name) else 2
    values, gaps = unit(name) * rows[name], unit(name) * rows[f"{name}{GAP_SUFFIX}"]
    value = f"{values.mean(skipna=False):.{digits}f}"
    spread = f" ±{values.std():.{digits}f}" if len(rows) > 1 else ""
    difference = f"({gaps.mean(skipna=False):+z.{digits}f})".replace("-", MINUS_SIGN)
    if (rows["strategy"] == RETRAIN_AGAIN).all():
        difference = f"(±{gaps.abs().mean(skipna=False):.{digits}f})"
    # The differences of a seed's references from each other add up to nothing.
    is_goal = (rows["strategy"] == RETRAIN).all() and abs(gaps.mean()) < 1e-9
    return f"{value}{spread}", "" if is_goal else difference


def _aligned(cells: list[tuple[str, str]]) -> list[str]:
    """Put differences beside the values, or below them where a spread takes their place."""
    value_width, gap_width = (max(map(len, column)) for column in zip(*cells, strict=True))
    if any("±" in value for value, _ in cells):
        return [f"{value:>{value_width}}\n{gap}".rstrip() for value, gap in cells]
    return [f"{value:>{value_width}} {gap:>{gap_width}}".rstrip() for value, gap in cells]


def _goal(summary: pd.DataFrame) -> Iterator[str]:
    again = ""
    if further_references(summary).any():
        again = (
            f" Row {RETRAIN_AGAIN!r}: further models retrained with other first models and "
            "other luck, and how far one of them is from the others on average (±): as good as it "
            "gets."
        )
    yield (
        "► The goal is the retrain row, not zero: that model never saw the leaver. In parentheses: "
        f"difference from it, in percentage points (AUC: as a number); 0 is best.{again}"
    )
    yield (
        "Leaver's records: accuracy on what the leaver trained on. Costs are those of unlearning "
        "and recovery; MB stored is what training had to keep for the strategy."
    )


def _probe(summary: pd.DataFrame) -> Iterator[str]:
    failed = summary.loc[summary["probe"] == DID_NOT_TAKE, "seed"].unique()
    if len(failed):
        seeds = ", ".join(map(str, failed))
        yield (
            f"The probe did not take ({'seed' if len(failed) == 1 else 'seeds'} {seeds}): attack "
            "success fell by less than 50 points from the original to the retrained model, so it "
            "cannot tell forgetting from remembering and is left out there. Plant more or train "
            "longer."
        )


def _savings(summary: pd.DataFrame) -> Iterator[str]:
    """Compare client epochs, where both sides spent any."""
    told = summary[~further_references(summary)]
    epochs = told.groupby("strategy", sort=False)["client_epochs"].mean().to_dict()
    full = epochs.pop(RETRAIN, 0.0)
    saved = {name: full / spent for name, spent in epochs.items() if spent > 0 and full > 0}
    if saved:
        listed = ", ".join(f"{name} {ratio:.1f} times" for name, ratio in saved.items())
        yield f"Speed-up over retraining, in client epochs: {listed}."
