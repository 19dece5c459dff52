"""The figures of a run, from its files alone: no model is touched.

Each function takes tables as in `runs.Run` and returns a matplotlib Figure; `draw` writes all.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, DrawingArea, HPacker, TextArea, VPacker
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from fedunlearn import files
from fedunlearn.curves import Spread, around, goal, horizon, probe, tradeoffs
from fedunlearn.evaluators.cards import METRICS, Card
from fedunlearn.placement import Numbers, clusters, place
from fedunlearn.runs import GAP, RETRAIN, SHARED, Run, load
from fedunlearn.style import GREY, LEAVER, NARROW, STYLE, WIDE, looks
from fedunlearn.wording import amount, leave, percent, unit, who

PANELS = ("test_accuracy", "forget_accuracy", "attack_success_rate", "membership_auc")
"""The metrics of the forgetting figure, where there are any."""

PHASES = ("train", "unlearn", "recover")

RECOVERY: dict[str, Any] = {"linestyle": (0, (1, 1)), "markerfacecolor": "white"}
"""How recovery is told from unlearning."""

DIRECTION = {
    "higher": "higher is better",
    "lower": "lower is better",
    "retrained": "goal: as retrained",
}


def draw(folder: Path) -> list[Path]:
    """Draw all figures of a run and return their files, ``figures/<name>.svg`` and ``.png``.

    Raises `Refused` where the run cannot be read or a figure cannot be written.
    """
    written = []
    with rc_context(STYLE):
        for name, figure in _figures(load(folder)):
            for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
                content = io.BytesIO()
                figure.savefig(content, format=kind, metadata=metadata)
                file = folder / "figures" / f"{name}.{kind}"
                written.append(files.write(file, content.getvalue()))
    return written


def _figures(run: Run) -> Iterator[tuple[str, Figure]]:
    for request, summary in run.summary.groupby("request"):
        ending = f"-request{request}" if request != 1 else ""
        if _panels(summary):
            yield f"forgetting{ending}", forgetting(run.metrics, summary)
        wanted = {"test_accuracy", f"{probe(summary)}{GAP}"}
        if RETRAIN in set(summary["strategy"]) and wanted <= set(summary):
            yield f"tradeoff{ending}", tradeoff(summary)
        yield f"cost{ending}", cost(summary)
    if len(run.clients):
        yield "labels", labels(run.clients, run.summary)


def _panels(summary: pd.DataFrame) -> list[str]:
    target = summary[summary["strategy"] == RETRAIN]
    return [name for name in PANELS if name in summary and target[name].notna().any()]


@rc_context(STYLE)
def forgetting(metrics: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw metrics against rounds since a request, one line a strategy, next to retraining.

    ``summary`` holds the rows of that request. Lines are means over seeds, shading is a standard
    deviation to either side; what the retrained model reached goes through the whole panel.
    """
    curves = around(metrics, int(summary["request"].iloc[0]))
    shown = _panels(summary)
    look = looks(summary["strategy"])
    rows = math.ceil(len(shown) / 2)
    figure = Figure(figsize=(WIDE, 1.9 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False).flatten()
    for axes, name in zip(panels, shown, strict=False):
        lines = curves[curves["metric"] == name]
        for strategy, (colour, marker) in {SHARED: (GREY, ""), **look}.items():
            mine = lines[lines["strategy"] == strategy]
            _line(axes, mine, colour, marker)
            if strategy != RETRAIN:  # its spread is that of the goal
                _shade(axes, mine, colour, METRICS[name])
        _goal(axes, goal(summary, name), METRICS[name])
        _frame(axes, curves, name)
        _mark_request(axes, who(summary["clients"].iloc[0]))
    for axes in panels[max(0, len(shown) - 2) : len(shown)]:
        axes.set_xlabel("Rounds since the request", labelpad=12)
    keys = _keys(curves, look, summary["seed"].nunique())
    if len(shown) % 2:
        panels[-1].axis("off")
        panels[-1].legend(handles=keys, loc="center left", ncols=2)
    else:
        _legend(figure, keys)
    return figure


def _legend(figure: Figure, keys: list[Artist]) -> None:
    """Put the legend above the panels, in as many columns as there is room for."""
    for columns in range(6, 0, -1):
        even = math.ceil(len(keys) / math.ceil(len(keys) / columns))
        legend = figure.legend(handles=keys, loc="outside upper left", ncols=even)
        if legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _line(axes: Axes, rows: pd.DataFrame, colour: str, marker: str) -> None:
    """Draw training thin, unlearning up to a full marker, recovery dotted up to a hollow one."""
    training, unlearning, recovery = (rows[rows["phase"] == phase] for phase in PHASES)
    if len(recovery):
        recovery = pd.concat([unlearning.tail(1), recovery])
    for part, form in (
        (training, {"linewidth": 0.8}),
        (unlearning, {"marker": marker}),
        (recovery, {"marker": marker, **RECOVERY}),
    ):
        if len(part):
            axes.plot(part["x"], part["mean"], color=colour, markevery=[-1], **form)


def _shade(axes: Axes, rows: pd.DataFrame, colour: str, card: Card) -> None:
    """Shade a standard deviation to either side of the mean, as far as there are such values."""
    for _, part in rows.groupby("phase"):
        if part["sd"].any():
            low, high = _within(card, part["mean"] - part["sd"], part["mean"] + part["sd"])
            axes.fill_between(part["x"], low, high, color=colour, alpha=0.15, linewidth=0)


def _goal(axes: Axes, reached: Spread, card: Card) -> None:
    """Draw what the retrained model reached through the whole panel, named at its end."""
    low, high = _within(card, reached.mean - reached.sd, reached.mean + reached.sd)
    axes.axhspan(low, high, color="black", alpha=0.12, linewidth=0)
    axes.axhline(reached.mean, color="black", linewidth=0.8, linestyle=(0, (5, 3)))
    end = (1, reached.mean), (3, 0), ("axes fraction", "data"), "offset points"
    axes.annotate("retrained", *end, va="center")


def _within(card: Card, *values: Any) -> list[Any]:
    """Cut values off where the metric ends."""
    bounds = (unit(card.name) * card.lower_bound, unit(card.name) * card.upper_bound)
    return [np.clip(value, *bounds) for value in values]


def _frame(axes: Axes, curves: pd.DataFrame, name: str) -> None:
    """Set title, limits and ticks."""
    card = METRICS[name]
    axes.set_title(f"{card.label} (%)" if percent(name) else card.label, pad=12)
    corner = (0, 1), (0, 3), "axes fraction", "offset points"
    axes.annotate(DIRECTION[card.better], *corner, color=GREY)
    axes.grid(axis="y")
    axes.set_xlim(curves["x"].min() - 0.4, horizon(curves) + 0.4)
    axes.set_ylim(_widened(*axes.get_ylim(), 0.03 * unit(name)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _widened(low: float, high: float, least: float) -> tuple[float, float]:
    """Let an axis span ``least`` at least, so that small differences look small."""
    missing = max(0, least - (high - low)) / 2
    return low - missing, high + missing


def _mark_request(axes: Axes, leavers: str) -> None:
    """Draw the moment of the request and name it below the axis."""
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.annotate(
        f"{leavers} {leave(leavers)}", (0, 0), (0, -14), ("data", "axes fraction"), "offset points",
        ha="center", va="top", fontsize=7,
    )  # fmt: skip


def _keys(curves: pd.DataFrame, look: dict[str, tuple[str, str]], seeds: int) -> list[Artist]:
    """Return the entries of the legend."""
    last, end = horizon(curves), curves.loc[curves["strategy"] == RETRAIN, "x"].max()
    late = {RETRAIN: f"{RETRAIN} (until round {end})"} if end > last else {}
    keys: list[Artist] = [
        Line2D([], [], color=colour, marker=marker, label=late.get(name, name))
        for name, (colour, marker) in look.items()
    ]
    if (curves["phase"] == "recover").any():
        keys.append(Line2D([], [], color=GREY, marker="o", label="recovery", **RECOVERY))
    if seeds > 1:
        keys.append(Patch(color=GREY, alpha=0.3, linewidth=0, label=f"± sd of {seeds} seeds"))
    return keys


@rc_context(STYLE)
def tradeoff(summary: pd.DataFrame) -> Figure:
    """Draw what is left of the leaver against test accuracy, a point a strategy.

    ``summary`` holds the rows of one request. Upwards is the distance ``|value - retrained|`` of
    attack success, or of the accuracy on the leaver's records where no probe took; bars are a
    standard deviation over seeds to either side.
    """
    figure = Figure(figsize=(NARROW, 2.8), layout="constrained")
    axes = figure.subplots()
    points, marks = tradeoffs(summary), list[Mark]()
    for strategy, (colour, marker) in looks(summary["strategy"]).items():
        if strategy in points:
            x, y = points[strategy]
            name, size = ("retrained", 9) if strategy == RETRAIN else (strategy, 5.5)
            form: dict[str, Any] = {"color": colour, "marker": marker, "markersize": size}
            up = [[min(y.sd, y.mean)], [y.sd]]  # no distance is below zero
            bars: dict[str, Any] = {"elinewidth": 1, "linestyle": "none", "clip_on": False}
            axes.errorbar(x.mean, y.mean, up, x.sd, **bars, **form)
            at, spread = np.array([x.mean, y.mean]), np.array([x.sd, y.sd])
            marks.append(Mark(name, at, spread, form))
    axes.set_xlabel("Test accuracy (%), higher is better")
    axes.set_ylabel(f"{METRICS[probe(summary)].label}:\npoints from retrained, lower is better")
    axes.grid()
    axes.margins(0.12)
    left, right = _widened(*axes.get_xlim(), 3)
    axes.set_xlim(left, min(101, right))
    axes.set_ylim(0, max(5, axes.get_ylim()[1]))
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
        arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkB": 5},
        annotation_clip=False,
    )
    box.set_in_layout(False)
    axes.add_artist(box)
    return box


def _sample(mark: Mark) -> DrawingArea:
    area = DrawingArea(5, 5)
    area.add_artist(Line2D([2.5], [2.5], **{**mark.form, "markersize": 4}))
    return area


@rc_context(STYLE)
def cost(summary: pd.DataFrame) -> Figure:
    """Draw what a request cost: client epochs, bytes sent, bytes stored; means over seeds.

    ``summary`` holds the rows of that request. Scales with a wide range are logarithmic.
    """
    look = looks(summary["strategy"])
    costs = {
        "Client epochs": summary["client_epochs"],
        "Sent (MB)": (summary["bytes_down"] + summary["bytes_up"]) / 1e6,
        "Stored (MB)": summary["store_bytes"] / 1e6,
    }
    figure = Figure(figsize=(WIDE, 0.19 * len(look) + 0.45), layout="constrained")
    panels = figure.subplots(1, len(costs), sharey=True)
    for axes, (title, values) in zip(panels, costs.items(), strict=True):
        means = values.groupby(summary["strategy"]).mean()[list(look)]
        paid = means[means > 0]
        logarithmic = len(paid) > 0 and paid.max() > 1000 * paid.min()
        start = paid.min() / 2 if logarithmic else 0.0
        lengths = (means - start).clip(lower=0)
        axes.barh(list(look), lengths, left=start, color=[colour for colour, _ in look.values()])
        for row, value in enumerate(means):
            end = (max(value, start), row)
            axes.annotate(amount(value), end, (3, 0), textcoords="offset points", va="center")
        if logarithmic:
            axes.set_xscale("log")
        axes.set_title(f"{title}, log scale" if logarithmic else title)
        axes.margins(x=0.2)
        axes.set_xlim(left=start)
        axes.xaxis.set_visible(False)
        axes.tick_params(left=False)
        axes.spines["bottom"].set_visible(False)
    panels[0].invert_yaxis()
    return figure


@rc_context(STYLE)
def labels(clients: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw how many records of each label every client trains on, and who leaves.

    The first seed is shown: every seed divides the records anew. An empty cell is zero.
    """
    seed = clients["seed"].min()
    table = clients[clients["seed"] == seed].pivot_table("train", "label", "client", sort=False)
    names, numbers = list(table.index), list(table.columns)
    few = len(numbers) <= 20
    width = NARROW if len(numbers) <= 8 else WIDE
    figure = Figure(figsize=(width, min(4.5, 0.17 * len(names) + 0.9)), layout="constrained")
    axes = figure.subplots()
    norm = PowerNorm(0.5, vmin=0, vmax=table.max(axis=None))  # shows small counts, too
    mesh = axes.pcolormesh(
        table.where(table > 0), cmap="Blues", norm=norm, edgecolors="white",
        linewidth=0.5 if few else 0, rasterized=table.size > 2000,
    )  # fmt: skip
    if few:
        _write_counts(axes, table)
        totals = [f"{number}\n{total:.0f}" for number, total in table.sum().items()]
        axes.set_xticks(np.arange(len(numbers)) + 0.5, totals)
        axes.set_xlabel("Client, and how many records it trains on")
    else:
        figure.colorbar(mesh, label="Records", pad=0.01, fraction=0.05)
        axes.set_xticks(np.arange(0, len(numbers), 10) + 0.5, numbers[::10])
        axes.set_xlabel("Client")
    step = math.ceil(len(names) / 25)
    axes.set_yticks(np.arange(0, len(names), step) + 0.5, names[::step])
    axes.set_ylabel("Label")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"Training records (seed {seed})", pad=12)
    _mark_leavers(axes, numbers, summary)
    return figure


def _write_counts(axes: Axes, table: pd.DataFrame) -> None:
    dark = 0.4 * table.to_numpy().max()
    for (row, column), count in np.ndenumerate(table.to_numpy()):
        if count:
            colour = "white" if count > dark else "black"
            place = (column + 0.5, row + 0.5)
            axes.text(*place, f"{count:.0f}", color=colour, ha="center", va="center")


def _mark_leavers(axes: Axes, numbers: list[int], summary: pd.DataFrame) -> None:
    """Point at the columns of those who leave, and name them."""
    gone = {int(client) for left in summary["clients"] for client in left.split("+") if client}
    if not gone:
        return
    leavers = who("+".join(str(client) for client in sorted(gone)))
    places = [place + 0.5 for place, client in enumerate(numbers) if client in gone]
    axes.plot(
        places, [1.02] * len(places), "v", color=LEAVER, clip_on=False,
        transform=axes.get_xaxis_transform(), label=f"{leavers} {leave(leavers)}",
    )  # fmt: skip
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1.03), borderpad=0, handletextpad=0.2)
