"""Which strategies stand out when a report opens, and the inputs that pick them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fedunlearn.results import RETRAIN, Look, is_reference, looks_of

SHOWN = 6
"""So many strategies stand out when a report opens; more lines than that nobody follows."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A strategy's input on the page, its look, and whether it stands out."""

    name: str
    param: str
    """The name of the Vega parameter that tells whether it is picked, and its input's id."""
    look: Look
    shown: bool


def picks(strategies: Sequence[str], leading: Collection[str]) -> list[Pick]:
    """Return the pick of retraining, then of each strategy; ``leading`` ones stand out.

    Retraining does, and where there are few, all do; those have different colours, as `looks_of`
    says. References of a seed are one.
    """
    names = [name for name in dict.fromkeys(strategies) if not is_reference(name)]
    shown = set(names) if len(names) <= SHOWN else set(list(leading)[:SHOWN])
    looks = looks_of([RETRAIN, *names], leading)
    return [
        Pick(name, param=f"pick_{number}", look=looks[name], shown=name in {RETRAIN, *shown})
        for number, name in enumerate([RETRAIN, *names])
    ]
