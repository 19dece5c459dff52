"""What a measure is called, which way is good, and where it ends, as people see it."""

from fedunlearn.results import card_or_plain, unit

ALL_SEEDS = "all"
"""Stands for a seed where all are meant together."""

ENDLESS = 1e300
"""Stands for no bound where infinity cannot: in JSON."""


def label(metric: str) -> str:
    """Return what a metric is called, with its unit."""
    name = card_or_plain(metric).label
    return f"{name} (%)" if unit(metric) == 100 else name


def direction(metric: str) -> str:
    """Say which value is best."""
    goals = {"higher": "higher is better", "lower": "lower is better"}
    return goals.get(better(metric), "goal: as retrained")


def better(metric: str) -> str:
    """Return ``higher``, ``lower`` or ``retrained``, which is also the goal of unknown metrics."""
    return card_or_plain(metric).better


def bounds(metric: str) -> tuple[float, float]:
    """Return the least and the greatest value there can be, in the unit shown."""
    card = card_or_plain(metric)
    ends = (unit(metric) * end for end in (card.lower_bound, card.upper_bound))
    low, high = (max(-ENDLESS, min(ENDLESS, end)) for end in ends)
    return low, high


def digits(metric: str) -> int:
    """Return the decimals that matter."""
    return 1 if unit(metric) == 100 else 3
