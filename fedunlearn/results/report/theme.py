"""How the charts of a report look beside what strategies do: axes, type and shades."""

from typing import Any

from fedunlearn.results import INK_COLOUR

CONTEXT, BAND = "#C9C9C9", "#E9E4D4"
"""Strategies that are not picked, and the retrained band."""

SHADES = ["#F4F7FA", "#0B4F8A"]
"""The ends of a heat map's scale, from the lighter to the darker one."""

DEEP = 0.745
"""Share of the way to the darker one from which on white is read better than black: both at
4.6:1."""

PLAIN_NUMBER = ",.6~r"
"""How d3 writes a number on an axis: up to six digits, and never with an exponent."""


def theme() -> dict[str, Any]:
    """Return Vega-Lite's settings: quiet axes, and type that is readable at any width."""
    font = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
    return {
        "background": "#FFFFFF",
        "font": font,
        "view": {"stroke": None},
        "padding": 4,
        "numberFormat": PLAIN_NUMBER,
        "axis": {
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelColor": INK_COLOUR,
            "titleColor": INK_COLOUR,
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
            "color": INK_COLOUR,
            "offset": 10,
        },
        "text": {"fontSize": 12, "color": INK_COLOUR},
    }
