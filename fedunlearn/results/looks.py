"""How a strategy looks wherever it is shown: its place, its colour, its mark, and what dashes say.

The terminal, the figures and the report take all of it from here. Each colour has a contrast of at
least 4.5:1 against white.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedunlearn.results.branches import RETRAIN, RETRAIN_AGAIN, reference_number

PALETTE = (
    *("#0072B2", "#543C0C", "#007848", "#C04A00"),
    *("#CC00A8", "#480C48", "#5460F0", "#0C00FC"),
)
"""Of strategies, and of whatever else a picture counts up: blue, brown, green, orange, magenta,
plum, periwinkle, ultramarine. Any two are at least 20 apart in CIE L*a*b*, also as somebody sees
them who has no red or no green cones."""

INK_COLOUR, GREY_COLOUR, UNTOUCHED = "#1A1A1A", "#5A5A5A", "#737373"
"""Text and retraining; what belongs to no strategy; the model that forgets nothing."""

LEAVER_COLOUR, PLAIN_COLOUR = PALETTE[3], PALETTE[0]
"""Marks of those who leave, or of what stands out; and of what all strategies share."""

PHASE_DASHES: Mapping[str, tuple[float, ...]] = {"train": (), "unlearn": (), "recover": (1, 1)}
"""How a line is dashed in each phase, in widths of the line: on, off; nothing for a whole line."""

GOAL_DASHES = (5, 3)
"""How the line is dashed that retraining reached, in widths of the line."""

MARKERS: Mapping[str, str] = {
    "circle": "o",
    "square": "s",
    "triangle-down": "v",
    "triangle-up": "^",
    "diamond": "D",
    "triangle-right": ">",
    "triangle-left": "<",
    "star": "*",
    "saltire": "X",
}
"""Shapes, and what matplotlib calls each."""

PATHS: Mapping[str, str] = {
    "circle": "M6 1.5a4.5 4.5 0 1 0 .01 0z",
    "square": "M2 2h8v8H2z",
    "triangle-down": "M6 11L1 1.5h10z",
    "triangle-up": "M6 1l5 9.5H1z",
    "diamond": "M6 .5L11.5 6 6 11.5.5 6z",
    "triangle-right": "M11 6L1.5 11V1z",
    "triangle-left": "M1 6l9.5-5v10z",
    "star": "M6 .5l1.4 3.9 4.1.1-3.3 2.5 1.2 4L6 8.7 2.6 11l1.2-4L.5 4.5l4.1-.1z",
    "saltire": "M3 1l3 3 3-3 2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z",
}
"""Shapes, and the path of each in an SVG of 12 by 12."""

MARKER_SHAPES = tuple(MARKERS)[:7]
"""Of strategies: one fewer than colours, so that both together tell 56 strategies apart."""

FAMILIAR = ("federaser", "finetune", "subtraction", "fedaccum")
"""They have the first colours wherever they are, as in the figures of the documentation."""


@dataclass(frozen=True, slots=True)
class Look:
    """A strategy's colour and mark."""

    colour: str
    shape: str

    @property
    def marker(self) -> str:
        """What matplotlib calls the mark."""
        return MARKERS[self.shape]

    @property
    def path(self) -> str:
        """The mark as the path of an SVG of 12 by 12."""
        return PATHS[self.shape]

    @property
    def symbol(self) -> str:
        """What Vega calls the mark; the path of one that it has no name for, in [-1, 1]."""
        return DRAWN.get(self.shape, self.shape)


DRAWN: Mapping[str, str] = {
    "saltire": "M-.5-1L0-.5L.5-1L1-.5L.5 0L1 .5L.5 1L0 .5L-.5 1L-1 .5L-.5 0L-1-.5Z",
    "star": "M0-1L.24-.32L.95-.31L.38.12L.59.81L0 .4L-.59.81L-.38.12L-.95-.31L-.24-.32Z",
}
"""Shapes that Vega has no name for, as paths in [-1, 1]."""

FIXED = {
    RETRAIN: Look(INK_COLOUR, "star"),
    RETRAIN_AGAIN: Look(GREY_COLOUR, "star"),
    "none": Look(UNTOUCHED, "saltire"),
}
"""What a comparison measures with looks the same in every run."""


def in_order(strategies: Iterable[str]) -> list[str]:
    """Return each strategy once: retraining first, the others as they come.

    Further references of a seed are left out: `RETRAIN` stands for all of them.
    """
    names = [name for name in dict.fromkeys(strategies) if reference_number(name) <= 1]
    return sorted(names, key=lambda name: name != RETRAIN)


def looks_of(strategies: Iterable[str], leading: Iterable[str] = ()) -> dict[str, Look]:
    """Return the look of each of a run's strategies, as `in_order` has them.

    It depends on which strategies there are and not on their order. As many strategies as there
    are `PALETTE` all have different ones. Of more, the first ``leading`` ones have; beyond that no
    two have the same colour and the same mark.
    """
    names = in_order(strategies)
    free = sorted(set(names) - set(FIXED))
    if len(free) > len(PALETTE):
        first = [name for name in dict.fromkeys(leading) if name in free]
        places = {name: n for n, name in enumerate(dict.fromkeys([*first, *free]))}
    else:
        places = {name: FAMILIAR.index(name) for name in free if name in FAMILIAR}
        strange = [name for name in free if name not in FAMILIAR]
        last_first = [*range(len(FAMILIAR), len(PALETTE)), *range(len(FAMILIAR))]
        rest = (place for place in last_first if place not in places.values())
        places |= dict(zip(strange, rest, strict=False))
    given = {
        name: Look(PALETTE[place % len(PALETTE)], MARKER_SHAPES[place % len(MARKER_SHAPES)])
        for name, place in places.items()
    }
    return {name: (FIXED | given)[name] for name in names}
