"""What is known of each metric, by name. A new metric is one entry in `all_metrics`."""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from fedunlearn.results.all_metrics import METRIC_CARDS
from fedunlearn.results.metric_card import Card

_BY_NAME = {card.name: card for card in METRIC_CARDS}

CARDS: Mapping[str, Card] = MappingProxyType(_BY_NAME)
"""Every metric by name, in the order in which tables show them."""

PLANTED_METRIC = next(card.name for card in METRIC_CARDS if card.planted)
"""The metric by which a planted backdoor is said to have taken, or not."""

PART_SEPARATOR = "/"
"""Stands before the client or the layer of which alone a number is: ``retained_accuracy/3``."""


def overall(values: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that are not of one client or of one layer alone."""
    return {name: value for name, value in values.items() if PART_SEPARATOR not in name}


def card(name: str) -> Card:
    """Return the card of a metric, also of one client or one layer; raises KeyError for others."""
    whole, part, which = name.partition(PART_SEPARATOR)
    base = CARDS[whole]
    return replace(base, name=name, label=f"{base.label}: {which}") if part else base


def card_or_plain(name: str) -> Card:
    """Return the card of a metric; for one without, a card that knows nothing but the name.

    That one is a plain number without bounds, whose goal is the retrained model's value.
    """
    if name.partition(PART_SEPARATOR)[0] in CARDS:
        return card(name)
    return Card(
        name=name,
        label=name.replace("_", " "),
        better="retrained",
        lower_bound=-math.inf,
        upper_bound=math.inf,
        meaning="",
    )
