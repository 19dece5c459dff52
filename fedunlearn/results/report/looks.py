"""How a report looks: one colour and mark a strategy, and who stands out when it opens."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedunlearn.results import is_reference

COLOURS = ("#0072B2", "#C04A00", "#00795A", "#AA3377", "#7A5C00", "#332288", "#3A7D8C")
"""Told apart without red or green, and each at least 4.5:1 against white."""

SHAPES: Mapping[str, str] = {
    "circle": "M6 1.5a4.5 4.5 0 1 0 .01 0z",
    "square": "M2 2h8v8H2z",
    "triangle-up": "M6 1l5 9.5H1z",
    "diamond": "M6 .5L11.5 6 6 11.5.5 6z",
    "triangle-down": "M6 11L1 1.5h10z",
    "cross": "M4.3 1h3.4v3.3H11v3.4H7.7V11H4.3V7.7H1V4.3h3.3z",
    "triangle-right": "M11 6L1.5 11V1z",
    "triangle-left": "M1 6l9.5-5v10z",
}
"""Vega's names of marks, and each as the path of an SVG of 12 by 12."""

INK, GREY, CONTEXT, BAND = "#1A1A1A", "#5A5A5A", "#C9C9C9", "#E9E4D4"
"""Text and retraining, what stands beside it, strategies not picked, the retrained band."""

SHADES = ["#F4F7FA", "#0B4F8A"]
"""The ends of a heat map's scale, from the lighter to the darker one."""

DEEP = 0.745
"""Share of the way to the darker one from which on white is read better than black: both at
4.6:1."""

SHOWN = 6
"""So many strategies stand out when a report opens; more lines than that nobody follows."""


@dataclass(frozen=True, slots=True)
class Look:
    """A strategy's input on the page, its colour and mark, and whether it stands out."""

    name: str
    param: str
    """The name of the Vega parameter that tells whether it is picked, and its input's id."""
    colour: str
    shape: str
    shown: bool

    @property
    def path(self) -> str:
        """The mark as the path of an SVG of 12 by 12."""
        return SHAPES[self.shape]


def looks(strategies: Sequence[str], leading: Collection[str]) -> list[Look]:
    """Return the look of each strategy but the references; ``leading`` ones stand out.

    Where there are few, all stand out. Those that do have different colours; no two strategies
    have the same colour and the same mark, up to 56 of them.
    """
    names = [name for name in dict.fromkeys(strategies) if not is_reference(name)]
    shown = set(names) if len(names) <= SHOWN else set(list(leading)[:SHOWN])
    first = sorted(names, key=lambda name: name not in shown)
    shapes = list(SHAPES)
    places = {name: place for place, name in enumerate(first)}
    return [
        Look(
            name=name,
            param=f"pick_{number}",
            colour=COLOURS[places[name] % len(COLOURS)],
            shape=shapes[places[name] % len(shapes)],
            shown=name in shown,
        )
        for number, name in enumerate(names)
    ]


def theme() -> dict[str, Any]:
    """Return Vega-Lite's settings: quiet axes, and type that is readable at any width."""
    font = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
    return {
        "background": "#FFFFFF",
        "font": font,
        "view": {"stroke": None},
        "padding": 4,
        "axis": {
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelColor": INK,
            "titleColor": INK,
            "gridColor": "#ECECEC",
            "domainColor": "#8A8A8A",
            "tickColor": "#8A8A8A",
            "titlePadding": 8,
            "labelOverlap": "greedy",
        },
        "axisX": {"tickCount": {"expr": "max(2, ceil(width / 70))"}},
        "axisY": {"tickCount": 6},
        "legend": {"labelFontSize": 12, "titleFontSize": 12, "labelLimit": 260},
        "header": {"labelFontSize": 12, "titleFontSize": 12},
        "title": {
            "anchor": "start",
            "fontSize": 13,
            "fontWeight": 600,
            "lineHeight": 17,
            "color": INK,
            "offset": 10,
        },
        "text": {"fontSize": 12, "color": INK},
    }
