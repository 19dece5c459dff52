"""What a multirun tried: its settings, and what each reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from fedunlearn.checks import Refused
from fedunlearn.results import Unfinished, load, overrides_of
from fedunlearn.results.frames import ALL_SEEDS, pareto_front, settings_of, tradeoff_points, varied


@dataclass(frozen=True, slots=True)
class Sweep:
    """The runs of a multirun as one table."""

    settings: Sequence[str]
    """What was varied, by the names of overrides; that of most values comes first."""
    tried: pd.DataFrame
    """A row for each setting, strategy and measure: ``strategy, metric``, the settings,
    ``distance, change, utility, client_epochs, sent`` as in `tradeoff_points`, means over runs of
    equal settings, of which there are ``runs``; ``name``, ``href`` and ``front``, whether it is on
    the Pareto front of distance, lost accuracy and bytes sent."""
    unfinished: Sequence[str]
    """Runs without a result."""


def sweep(folder: Path, runs: Sequence[Path]) -> Sweep:
    """Read all runs of a multirun; raises `Refused` where none of them has a result."""
    parts, unfinished, known = [], [], dict[str, None]()
    for run in runs:
        name = run.relative_to(folder).as_posix()
        try:
            loaded = load(run)
        except Unfinished:
            unfinished.append(name)
            continue
        table = tradeoff_points(loaded.summary, run)
        if table.empty:
            unfinished.append(name)
            continue
        last = table[(table["seed"] == ALL_SEEDS) & (table["request"] == table["request"].max())]
        page = "report.html" if (run / "report.html").is_file() else ""
        # a strategy is a column of its own, also where several were tried
        own = {key: value for key, value in overrides(run).items() if key not in last}
        known |= dict.fromkeys(own)
        parts.append(last.assign(name=name, href=f"{quote(name)}/{page}", **own))
    if not parts:
        raise Refused(f"{folder} holds no run that is finished, so there is nothing to report.")
    everything = pd.concat(parts, ignore_index=True)
    settings = varied(everything[list(known)])
    return Sweep(settings, _tried(everything, settings), unfinished)


def overrides(run: Path) -> dict[str, str]:
    """Return what was set on the command line, or by a sweeper: values by their names."""
    return settings_of(overrides_of(run))


def _tried(everything: pd.DataFrame, settings: list[str]) -> pd.DataFrame:
    """Average over runs of equal settings, and find the front of each measure."""
    keys = [*settings, "strategy", "metric"]
    grouped = everything.groupby(keys, sort=False, dropna=False)
    means = grouped[["distance", "change", "utility", "client_epochs", "sent"]].mean()
    table = means.join(grouped[["name", "href"]].first())
    table = table.join(grouped.size().rename("runs")).reset_index()
    table["lost"] = -table["change"]
    parts = [part for _, part in table.groupby("metric")]
    fronts = [pareto_front(part, ["distance", "lost", "sent"]) for part in parts]
    table["front"] = pd.concat(fronts).reindex(table.index)
    return table.drop(columns="lost")
