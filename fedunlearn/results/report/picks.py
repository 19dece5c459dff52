"""Which strategies stand out when a report opens, and the inputs that pick them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fedunlearn.results import Look, is_reference, looks_of

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
    """Return the pick of each strategy but the references; ``leading`` ones stand out.

    Where there are few, all stand out. Those that do have different colours, as `looks_of` says.
    """
    names = [name for name in dict.fromkeys(strategies) if not is_reference(name)]
    shown = set(names) if len(names) <= SHOWN else set(list(leading)[:SHOWN])
    looks = looks_of(names, leading)
    return [
        Pick(name, param=f"pick_{number}", look=looks[name], shown=name in shown)
        for number, name in enumerate(names)
    ]
