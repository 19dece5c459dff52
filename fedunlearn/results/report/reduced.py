"""Before and after a request, with reductions in per cent: what had to go, and what had to stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fedunlearn.results import RETRAIN, Goals, Run, card_or_plain, load_requests, reductions, unit
from fedunlearn.results.frames import better, digits, label, measured
from fedunlearn.results.report.cells import NO_NUMBER, Cell, Table, number

CAPTIONS = {True: "What was to be forgotten", False: "What was to stay"}
"""By whether a measure is one for which retraining is the goal."""


def reduced(run: Run, order: Sequence[str]) -> list[Table]:
    """Return two tables for each request, a row a strategy: chief measures before and after."""
    table, asked = reductions(run.metrics), _asked(run)
    chief = [n for n in measured(run.summary) if card_or_plain(n).chief or n in asked.wanted]
    found = []
    for request in sorted(set(run.summary["request"])):
        mine = table[table["request"] == request]
        for goes, caption in CAPTIONS.items():
            names = [n for n in chief if asked.goes.get(n, better(n) == "retrained") == goes]
            if names:
                found.append(_table(mine, [RETRAIN, *order], names, request, caption, asked))
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """The goals of a run's configuration, and what became of them."""

    wanted: Mapping[str, str]
    """By measure, in words."""
    goes: Mapping[str, bool]
    """By measure: whether it was to be forgotten."""
    missed: Mapping[tuple[int, str], Sequence[Sequence[str]]]
    """By request and strategy: what each seed's model missed."""

    def reached(self, request: int, strategy: str, name: str) -> str:
        """Say whether models reached what was asked of a measure; nothing where nothing was."""
        seeds = self.missed.get((request, strategy), ())
        if name not in self.wanted or not seeds:
            return ""
        failed = sum(any(each.startswith(f"{name}: ") for each in one) for one in seeds)
        if failed and len(seeds) > 1:
            return f" ✗ {failed} of {len(seeds)}"
        return " ✗" if failed else " ✓"


def _asked(run: Run) -> _Asked:
    config = run.manifest.get("config")
    part = config.get("certificate") if isinstance(config, Mapping) else None
    read = part if isinstance(part, Mapping) else {}
    goals = Goals.of(read.get("targets", ()), read.get("utilities", ()))
    if not goals:
        return _Asked({}, {}, {})
    missed: dict[tuple[int, str], list[list[str]]] = {}
    each = load_requests(run.folder).drop_duplicates(["seed", "strategy", "request"])
    for row in each.to_dict("records"):
        missed.setdefault((row["request"], row["strategy"]), []).append(row["missed"].split("; "))
    return _Asked(
        {goal.measure: goal.words for goal in goals},
        {goal.measure: goal in goals.targets for goal in goals},
        missed,
    )


def _table(
    served: pd.DataFrame,
    order: Sequence[str],
    names: Sequence[str],
    request: int,
    caption: str,
    asked: _Asked,
) -> Table:
    rows = [
        (
            Cell(each),
            *(_cell(served, each, name, asked.reached(request, each, name)) for name in names),
        )
        for each in order
    ]
    goals = "; ".join(f"{label(n)} {asked.wanted[n]}" for n in names if n in asked.wanted)
    return Table(
        name=f"{'forgotten' if caption == CAPTIONS[True] else 'kept'}-{request}",
        caption=f"{caption}, before and after request {request}",
        headings=("Strategy", *map(label, names)),
        rows=tuple(rows),
        notes=(
            "Means over seeds before the request and after recovery; in brackets by how many per "
            "cent of its value before a measure fell, or grew where that is negative. The goal "
            f"is the reduction in the row {RETRAIN}.",
            *([f"Asked for: {goals}. ✓ reached it, ✗ missed it (seeds)."] if goals else []),
        ),
    )


def _cell(served: pd.DataFrame, strategy: str, name: str, reached: str) -> Cell:
    mine = served[(served["strategy"] == strategy) & (served["metric"] == name)]
    if mine.empty:
        return Cell(NO_NUMBER)
    before, after, reduction = (float(mine[at].iloc[0]) for at in ("before", "after", "reduction"))
    shown = [number(unit(name) * value, digits(name)) for value in (before, after)]
    fell = number(reduction, 0)
    per_cent = "" if fell == NO_NUMBER else " %"
    return Cell(f"{shown[0]} → {shown[1]} ({fell}{per_cent}){reached}")
