"""Charts as files: SVG, PDF and PNG, without a browser or a network."""

from pathlib import Path

import vl_convert
from altair import SCHEMA_VERSION

from fedunlearn import files
from fedunlearn.results import INK_COLOUR
from fedunlearn.results.report.charts.chart import WIDTH, Chart, Spec

VERSION = SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
"""Of Vega-Lite, as Altair writes it."""

SCALE = 2.0
"""Pixels of a PNG for each one of the page."""

AVOIDED = [f"{layer}_marks" for layer in ("upright", "across", "front", "retrained")]
"""The marks of layers that no name covers."""


def bundle() -> str:
    """Return the JavaScript of Vega, Vega-Lite and Vega-Embed, for a page without a network."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VERSION))


def placed(spec: Spec) -> Spec:
    """Return a chart whose layer ``names`` is placed beside the layer ``picked``; others as is.

    Vega's label transform, which Vega-Lite does not reach, lets no name cover another or a mark;
    one that finds no room is left out, and one that takes half the chart is shortened.
    """
    if not any(layer.get("name") == "names" for layer in spec.get("layer", [])):
        return spec
    compiled: Spec = vl_convert.vegalite_to_vega(spec, vl_version=VERSION)
    (names,) = (mark for mark in compiled["marks"] if mark["name"] == "names_marks")
    told = names["encode"]["update"]["text"]["signal"]
    names["from"] = {"data": "picked_marks"}
    text = {
        "text": {"signal": told.replace("datum", "datum.datum")},
        "fill": {"value": INK_COLOUR},
        "fontSize": {"value": 12},
        "limit": {"signal": "width / 2"},
    }
    names["encode"] = {"update": text}
    names["transform"] = [
        {
            "type": "label",
            "size": {"signal": "[width, height]"},
            "anchor": ["right", "top-right", "left", "top-left", "top", "bottom-right"],
            "offset": [3],
            "avoidMarks": [mark["name"] for mark in compiled["marks"] if mark["name"] in AVOIDED],
        }
    ]
    return compiled


def export(chart: Chart, folder: Path) -> list[Path]:
    """Write ``report-<name>.svg``, ``.pdf`` and ``.png`` as the page opens; return the files."""
    svg = vl_convert.vegalite_to_svg(_on_paper(chart), vl_version=VERSION)
    content = {
        "svg": svg.encode(),
        "pdf": vl_convert.svg_to_pdf(svg),
        "png": vl_convert.svg_to_png(svg, scale=SCALE),
    }
    return [files.write(folder / f"report-{chart.name}.{kind}", content[kind]) for kind in content]


def _on_paper(chart: Chart) -> Spec:
    """Return the chart without the page's inputs, as wide as a column of text.

    Where it has a legend, that stands for ``names``, which only a browser can place.
    """
    spec = chart.legend or chart.spec
    params = [{k: v for k, v in p.items() if k != "bind"} for p in spec.get("params", [])]
    paper = {**spec, "width": WIDTH, "params": params}
    if chart.legend:
        paper["layer"] = [layer for layer in spec["layer"] if layer.get("name") != "names"]
    return paper
