"""Forgetting against utility: one point a strategy, each with its name beside it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, DrawingArea, HPacker, TextArea, VPacker

from fedunlearn.results import CARDS, GREY_COLOUR, INK_COLOUR, RETRAIN, looks_of
from fedunlearn.results.frames import probe, shown_points
from fedunlearn.results.plots.placement import Numbers, clusters, place
from fedunlearn.results.plots.request_tables import RequestTables
from fedunlearn.results.plots.style import NARROW, PLOT_STYLE, within


def of_request(tables: RequestTables) -> Figure | None:
    """Return `tradeoff` where strategies can be compared, and few are."""
    if tables.at_a_glance or not tables.comparable:
        return None
    return tradeoff(tables.summary)


@rc_context(PLOT_STYLE)
def tradeoff(summary: pd.DataFrame) -> Figure:
    """Draw what is left of the leaver against test accuracy, a point a strategy.

    ``summary`` holds the rows of one request. Upwards is the distance ``|value - retrained|`` of
    attack success, or of the accuracy on the leaver's records where no probe took; bars are a
    standard deviation over seeds to either side. Up to the distance of retrained models from each
    other, the ground is shaded: nobody can be told to do better.
    """
    figure = Figure(figsize=(NARROW, 2.8), layout="constrained")
    axes = figure.subplots()
    points, marks = shown_points(summary).to_dict("index"), list[Mark]()
    for strategy, look in looks_of(summary["strategy"]).items():
        if strategy in points:
            point = points[strategy]
            at = np.array([point["utility"], point["distance"]])
            spread = np.array([point["utility_sd"], point["sd"]])
            name, size = ("retrained", 9) if strategy == RETRAIN else (strategy, 5.5)
            form: dict[str, Any] = {"color": look.colour, "marker": look.marker}
            form["markersize"] = size
            up = [[min(spread[1], at[1])], [min(spread[1], 100 - at[1])]]  # of shares
            across = [[min(spread[0], at[0])], [min(spread[0], 100 - at[0])]]
            bars: dict[str, Any] = {"elinewidth": 1, "linestyle": "none", "clip_on": False}
            axes.errorbar(at[0], at[1], up, across, **bars, **form)
            marks.append(Mark(name, at, spread, form))
    if RETRAIN in points:
        axes.axhspan(0, points[RETRAIN]["distance"], color=INK_COLOUR, alpha=0.08, linewidth=0)
    axes.set_xlabel("Test accuracy (%), higher is better")
    axes.set_ylabel(f"{CARDS[probe(summary)].label}:\npoints from retrained, lower is better")
    axes.grid()
    axes.margins(0.12)
    axes.set_xlim(within(*axes.get_xlim(), 3, (0, 100)))
    axes.set_ylim(0, min(100, max(5, axes.get_ylim()[1])))
    _name(figure, axes, marks)
    return figure


@dataclass(frozen=True)
class Mark:
    """A strategy's point in the trade-off, its spread in both directions, and its looks."""

    name: str
    at: Numbers
    spread: Numbers
    form: dict[str, Any]


def _name(figure: Figure, axes: Axes, marks: list[Mark]) -> None:
    """Write names beside marks where they cover nothing; marks that overlap share a list."""
    figure.draw_without_rendering()
    inches = axes.transData - figure.dpi_scale_trans
    at = np.array([mark.at for mark in marks])
    spread = np.array([mark.spread for mark in marks])
    centres = 72 * inches.transform(at)
    arms = [np.abs(72 * inches.transform(at + spread * way) - centres) + 1 for way in np.eye(2)]
    halves = [np.full_like(centres, 5), *arms]
    obstacles = [np.concatenate([centres - half, centres + half], axis=1) for half in halves]
    groups = [sorted(group, key=lambda n: -at[n, 1]) for group in clusters(centres, within=8)]
    middles = np.array([centres[group].mean(axis=0) for group in groups])
    boxes = [_named(axes, [marks[n] for n in group]) for group in groups]
    sizes = 72 / figure.dpi * np.array([box.get_window_extent().size for box in boxes]) + 4
    frame = 72 / figure.dpi * np.array(axes.get_window_extent().extents)
    places = place(middles, sizes, frame, np.concatenate(obstacles))
    for box, middle, where in zip(boxes, middles, places, strict=True):
        box.xybox = tuple((where[:2] + where[2:]) / 2 - middle)
        away = np.linalg.norm(np.clip(middle, where[:2], where[2:]) - middle)
        if box.arrow_patch is not None:
            box.arrow_patch.set_visible(bool(away > 10))


def _named(axes: Axes, marks: list[Mark]) -> AnnotationBbox:
    """Return the name of one mark, or a framed list of several with a sample of each."""
    rows: list[Artist] = [TextArea(mark.name) for mark in marks]
    if len(marks) > 1:
        rows = [
            HPacker(children=[_sample(mark), name], align="center", pad=0, sep=2)
            for mark, name in zip(marks, rows, strict=True)
        ]
    box = AnnotationBbox(
        VPacker(children=rows, pad=0, sep=1),
        np.mean([mark.at for mark in marks], axis=0),
        (0, 0),
        boxcoords="offset points",
        frameon=len(marks) > 1,
        pad=0.3 if len(marks) > 1 else 0,
        bboxprops={"edgecolor": "0.8", "linewidth": 0.5},
        arrowprops={"arrowstyle": "-", "color": GREY_COLOUR, "linewidth": 0.5, "shrinkB": 5},
        annotation_clip=False,
    )
    box.set_in_layout(False)
    axes.add_artist(box)
    return box


def _sample(mark: Mark) -> DrawingArea:
    area = DrawingArea(5, 5)
    area.add_artist(Line2D([2.5], [2.5], **{**mark.form, "markersize": 4}))
    return area
