"""Distances to retraining on a scale of their own: 0 is another retrained model, 1 is no change."""

import math

import pandas as pd

from fedunlearn.results.before_after import ends
from fedunlearn.results.metric_cards import CARDS
from fedunlearn.results.references import mean_of_others

WHERE = ["seed", "strategy", "request", "metric"]
"""What one deletion and one distance is."""


def normalised(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each request, strategy and distance, with means over seeds.

    ``metrics`` is metrics.csv of a run's folder (`load`). The columns are ``request, strategy,
    metric``; the ``distance`` of the last model to the retrained one, that of the ``original``
    model before the request, and the ``floor``, the mean of the further retrained models of the
    same seed; ``normalised = (distance - floor) / (original - floor)``, no less than 0, whose
    sample standard deviation over seeds is ``normalised_sd``; and ``seeds``. For a further
    retrained model the floor is the mean of the others of them. ``floor`` and ``normalised`` are
    nan where the seed has no further retrained models, and ``normalised`` also where the original
    is no farther than they are: such a distance sees nothing of the deletion. That is how it goes
    with weights, since further retrained models start from another first model.
    """
    distances = [name for name, card in CARDS.items() if card.distance]
    distance_table = ends(metrics[metrics["metric"].isin(distances)], WHERE).reset_index()
    distance_table = distance_table.rename(columns={"before": "original", "after": "distance"})
    distance_table["floor"] = mean_of_others(
        distance_table, ["seed", "request", "metric"], "distance"
    )
    lengths = (distance_table[column].tolist() for column in ("distance", "original", "floor"))
    distance_table["normalised"] = [above_floor(*each) for each in zip(*lengths, strict=True)]
    grouped = distance_table.groupby(["request", "strategy", "metric"], sort=False)
    table = grouped[["distance", "original", "floor", "normalised"]].mean()
    table["normalised_sd"] = grouped["normalised"].std()
    table["seeds"] = grouped.size()
    return table.reset_index()


def above_floor(distance: float, original: float, floor: float) -> float:
    """Return ``(d - d_floor) / (d_o - d_floor)``, no less than 0.

    ``distance`` d is that of a model to the retrained one by any measure, ``original`` d_o that of
    the model before the request, ``floor`` d_floor that of a second retrained model. 0 is as close
    as another retrained model, 1 is where nothing happened; there is no upper bound. It is nan
    where the original is no farther than the floor: the measure sees nothing of the deletion then.
    """
    room = original - floor
    return max(0.0, (distance - floor) / room) if room > 0 else math.nan
