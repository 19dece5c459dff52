import io
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from fedunlearn.experiment.run_folder import RunFolder
from fedunlearn.results.plots import draw
from fedunlearn.results.plots.tradeoffs import tradeoff
from fedunlearn.unlearning import Moment
from tests.support.simulated_runs import simulated, summary_row


def test_a_run_with_two_requests_gets_every_figure_of_each(tmp_path, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, stream, **form: stream.write(b"drawn"))
    written = draw(simulated(tmp_path, ("retrain", "none"), leavers=("0", "1+3")))
    names = [
        f"{name}{end}" for end in ("", "-request2") for name in ("forgetting", "tradeoff", "cost")
    ]
    assert [file.name for file in written] == [
        f"{name}.{kind}" for name in [*names, "labels"] for kind in ("svg", "png")
    ]
    assert all(file.parent == tmp_path / "figures" and file.read_bytes() for file in written)


def only_svg(figure, stream, savefig=Figure.savefig, **form):
    """Save time where pixels are not looked at."""
    if form["format"] == "svg":
        savefig(figure, stream, **form)


def test_the_same_files_give_the_same_pictures_whose_text_is_text(tmp_path, monkeypatch):
    simulated(tmp_path, ("retrain", "federaser"), seeds=(0, 1), recovery=2)
    first = {file: file.read_bytes() for file in draw(tmp_path)}
    monkeypatch.setattr(Figure, "savefig", only_svg)
    draw(tmp_path)
    for file, content in first.items():
        if file.suffix == ".svg":
            assert file.read_bytes() == content
            assert b"dc:date" not in content
            assert any(
                node.tag.endswith("}text") for node in ElementTree.fromstring(content).iter()
            )
        else:  # pixels follow from the figure; neither date nor version is kept next to them
            assert set(Image.open(io.BytesIO(content)).info) == {"dpi"}
    drawn = (tmp_path / "figures" / "forgetting.svg").read_text()
    assert "client 0 leaves" in drawn
    assert "federaser" in drawn


def test_without_a_request_only_the_labels_are_drawn(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.manifest({})
        folder.clients(0, ["cat"], np.array([[3]]), np.array([[1]]))
    assert [file.name for file in draw(tmp_path)] == ["labels.svg", "labels.png"]


def test_metrics_that_nobody_measured_leave_out_their_figures(tmp_path):
    first, costs = summary_row(0, "retrain", 1, "0", "")
    with RunFolder(tmp_path) as folder:
        folder.manifest({})
        folder.metrics(0, "retrain", Moment("unlearn", 1, 0), {"weight_distance": 1.0})
        folder.summary([{**first, "weight_distance": 1.0, "weight_distance_gap": 0.0, **costs}])
    assert [file.name for file in draw(tmp_path)] == ["cost.svg", "cost.png"]


def test_drawing_leaves_matplotlib_as_it_was(one):
    before = dict(mpl.rcParams)
    tradeoff(one.summary)
    assert dict(mpl.rcParams) == before
