"""Which measures a picture shows, and which of them tells most."""

import pandas as pd

from fedunlearn.results import CARDS, DID_NOT_TAKE, GAP_SUFFIX, PART_SEPARATOR, PLANTED_METRIC
from fedunlearn.results.frames.naming import better


def probe(summary: pd.DataFrame) -> str:
    """Return the metric that tells best what is left of the leaver: attack success if it took."""
    took = (summary["probe"] != DID_NOT_TAKE).all()
    planted = f"{PLANTED_METRIC}{GAP_SUFFIX}" in summary
    return PLANTED_METRIC if planted and took else "forget_accuracy"


def measured(summary: pd.DataFrame) -> list[str]:
    """Return the metrics of a summary in the order of the glossary, those without a card last."""
    names = [
        name.removesuffix(GAP_SUFFIX) for name in map(str, summary) if name.endswith(GAP_SUFFIX)
    ]
    names += [name for name in CARDS if name in summary]
    there = [name for name in dict.fromkeys(names) if name in summary]
    there = [name for name in there if PART_SEPARATOR not in name and summary[name].notna().any()]
    return sorted(there, key=lambda name: list(CARDS).index(name) if name in CARDS else 999)


def forgetting_measures(summary: pd.DataFrame) -> list[str]:
    """Return the metrics that tell what is left of the leaver, the most telling one first.

    Those for which retraining is the goal, and which have a gap to it.
    """
    first = probe(summary)
    names = [
        name
        for name in measured(summary)
        if f"{name}{GAP_SUFFIX}" in summary
        and summary[f"{name}{GAP_SUFFIX}"].notna().any()
        and better(name) == "retrained"
    ]
    return sorted(names, key=lambda name: name != first)
