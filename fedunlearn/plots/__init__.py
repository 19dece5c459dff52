"""The figures of a run, from its files alone: no model is touched.

Each function takes tables as in `runs.Run` and returns a matplotlib Figure; `draw` writes all.
"""

import io
from collections.abc import Iterator
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from fedunlearn import files
from fedunlearn.plots.cost import cost
from fedunlearn.plots.curves import probe
from fedunlearn.plots.forgetting import forgetting, panels
from fedunlearn.plots.labels import labels
from fedunlearn.plots.style import STYLE
from fedunlearn.plots.tradeoff import tradeoff
from fedunlearn.runs import GAP, RETRAIN, Run, load

__all__ = ["cost", "draw", "forgetting", "labels", "tradeoff"]


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
        if panels(summary):
            yield f"forgetting{ending}", forgetting(run.metrics, summary)
        wanted = {"test_accuracy", f"{probe(summary)}{GAP}"}
        if RETRAIN in set(summary["strategy"]) and wanted <= set(summary):
            yield f"tradeoff{ending}", tradeoff(summary)
        yield f"cost{ending}", cost(summary)
    if len(run.clients):
        yield "labels", labels(run.clients, run.summary)
