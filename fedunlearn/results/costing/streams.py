"""How long people of a stream wait for being forgotten, on other devices.

As in rounds (`requests_table`), but in the seconds of `times`: with d_r those of training round r,
clock(x) = sum of d_r up to x and within a round in proportion, and u_q those of serving request q,

    clock(served) - clock(arrived)  +  sum of u_q of earlier requests after the same round  +  u

Means over draws of devices.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fedunlearn.results import SECONDS, SHARED_TRAINING
from fedunlearn.results.costing.devices import Devices, Kind, Server
from fedunlearn.results.costing.distributions import Constant, Lognormal
from fedunlearn.results.costing.prices import Prices
from fedunlearn.results.costing.times import SERVING, times

CLASSES: tuple[Callable[..., object], ...] = (Devices, Kind, Server, Constant, Lognormal, Prices)
"""What a run's configuration may name for its devices to be read without building anything else."""


def modelled_devices(manifest: Mapping[str, Any]) -> Devices | None:
    """Return the devices that a run's configuration describes.

    None where it describes none (devices=none), and where a class is not one of ours.
    """
    config = manifest.get("config")
    part = config.get("devices") if isinstance(config, Mapping) else None
    try:
        found = _made(part)
    except (KeyError, TypeError, ValueError):
        return None
    return found if isinstance(found, Devices) and found != Devices() else None


def with_seconds(
    requests: pd.DataFrame, ledger: pd.DataFrame, devices: Devices | None
) -> pd.DataFrame:
    """Return rows of requests.csv with the column `SECONDS`; themselves without devices."""
    if devices is None:
        return requests
    took = _by_moment(ledger, devices)
    found = pd.Series(np.nan, index=requests.index)
    for (seed, strategy), mine in requests.groupby(["seed", "strategy"], sort=False):
        own = took[(took["seed"] == seed) & took["strategy"].isin([strategy, SHARED_TRAINING])]
        training = own[own["phase"] == "train"].groupby("round")["seconds"].sum()
        last = int(max(mine["served"].max(), training.index.max() if len(training) else 0))
        each = training.reindex(range(1, last + 1), fill_value=0.0).to_numpy()
        clock = np.concatenate([[0.0], np.cumsum(each)])
        served, arrived = (
            np.interp(mine[at], np.arange(last + 1), clock) for at in ("served", "arrived")
        )
        serving = own[own["phase"].isin(SERVING)].groupby("request")["seconds"].sum()
        found[mine.index] = served - arrived + _queued(mine, serving)
    return requests.assign(**{SECONDS: found})


def _queued(mine: pd.DataFrame, serving: pd.Series) -> np.ndarray:
    """Return the seconds of each row's own request and of those before it after the same round."""
    each = mine.drop_duplicates("request").sort_values("request").set_index("request")["served"]
    spent = serving.reindex(each.index, fill_value=0.0).groupby(each).cumsum()
    return spent.reindex(mine["request"]).to_numpy()


def _by_moment(ledger: pd.DataFrame, devices: Devices) -> pd.DataFrame:
    """Return the seconds of every round of every phase, the mean over draws."""
    keys = ["seed", "strategy", "request", "phase", "round"]
    groups = ledger.groupby(keys, sort=False)
    moments = groups.size().index.to_frame(index=False)
    each = times(ledger.assign(request=groups.ngroup()), devices)
    return moments.assign(seconds=each.groupby("request")["seconds"].mean())


def _made(part: object) -> object:
    """Build what a mapping with a ``_target_`` describes; KeyError for a class that is not ours."""
    if not isinstance(part, Mapping):
        return part
    inside = {name: _made(value) for name, value in part.items() if name != "_target_"}
    if "_target_" not in part:
        return inside
    known = {f"fedunlearn.results.costing.{cls.__name__}": cls for cls in CLASSES}
    return known[str(part["_target_"])](**inside)
