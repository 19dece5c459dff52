"""The headline of a report: who left which federation."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fedunlearn.results import NOBODY_NAMED, all_wishes, retrained_rows, then, unlearned_rows

NUMERALS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def title(summary: pd.DataFrame, owners: Mapping[int, str] = NOBODY_NAMED) -> str:
    """Return who left, and how many strategies tried to forget them."""
    if summary.empty:
        return "No request was served"
    left = then([asked.left for asked in all_wishes(summary, owners)])
    count = unlearned_rows(summary)["strategy"].nunique()
    tried = "strategy" if count == 1 else "strategies"
    shown = NUMERALS[count] if count < len(NUMERALS) else str(count)
    return f"{left[0].upper()}{left[1:]}: what {shown} {tried} forgot"


def setting(summary: pd.DataFrame, config: Mapping[str, Any]) -> str:
    """Return the federation in a line: data, clients, model, training, seeds, references."""
    clients = config.get("partition", {}).get("clients")
    rounds = config.get("training", {}).get("rounds")
    seeds = list(dict.fromkeys(summary["seed"]))
    compared = retrained_rows(summary)["strategy"].nunique()
    parts = [
        _class(config.get("dataset")),
        f"{clients} clients" if clients else "",
        _class(config.get("partition")),
        _class(config.get("planting")).replace("Nothing", ""),
        _class(config.get("model")),
        f"{rounds} rounds of training" if rounds else "",
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
        f"{compared} retrained models a seed" if compared > 1 else "1 retrained model a seed",
    ]
    return " · ".join(part for part in parts if part)


def _class(part: Any) -> str:
    target = part.get("_target_", "") if isinstance(part, Mapping) else ""
    return str(target).rpartition(".")[2]
