"""What each strategy's requests cost, as one table: totals of the ledger, and time to forget."""

import numpy as np
import pandas as pd

from fedunlearn.results import RETRAIN, Run, further_references, in_order
from fedunlearn.results.costing.devices import Devices
from fedunlearn.results.costing.times import cases, time_to_forget

LOW, HIGH = 0.05, 0.95
"""The quantiles over seeds and draws of devices that stand beside a mean."""

TOTALS = ("rounds", "client_epochs", "bytes_down", "bytes_up", "store_bytes")
"""Columns of summary.csv that are shown as means over seeds."""

TIMES = ("seconds", "device_seconds", "server_seconds")


def costs_table(run: Run, devices: Devices) -> pd.DataFrame:
    """Return a row for each request and strategy, retraining first.

    ``rounds``, ``client_epochs``, ``bytes_down``, ``bytes_up`` and ``store_bytes`` are means over
    ``seeds``; ``seconds`` is the time to forget (see `times`), ``relative`` the same divided by
    retraining's on the same devices under the same seed, nan where that is 0; both are means over
    seeds and draws, with 5 % and 95 % quantiles as ``_low`` and ``_high``. ``device_hours`` are the
    hours in which clients' devices are busy, added up over them. Further references are left out.
    """
    paid = served(run, devices)
    request = [name for name in cases(paid) if name not in ("seed", "strategy")]
    rows = []
    for where, at in paid.groupby(request, sort=False):
        for strategy in in_order(at["strategy"]):
            these = at[at["strategy"] == strategy]
            rows.append(
                {
                    **dict(zip(request, where, strict=True)),
                    "strategy": strategy,
                    "clients": these["clients"].iloc[0],
                    "seeds": these["seed"].nunique(),
                    **{name: these[name].mean() for name in TOTALS},
                    **_spread(these, "seconds"),
                    **_spread(these, "relative"),
                    "device_hours": these["device_seconds"].mean(skipna=False) / 3600,
                }
            )
    return pd.DataFrame(rows)


def served(run: Run, devices: Devices) -> pd.DataFrame:
    """Return the summary's rows, each once for every draw of devices, with the times of `times`.

    Rows for which nobody worked have times of 0. ``relative`` is as in `costs_table`.
    """
    shown = run.summary[~further_references(run.summary)]
    keys = cases(shown)
    draws = pd.DataFrame({"draw": np.arange(devices.draws)})
    paid = shown.merge(draws, how="cross")
    drawn = time_to_forget(run.ledger, devices).set_index([*keys, "draw"])[list(TIMES)]
    took = drawn.reindex(pd.MultiIndex.from_frame(paid[[*keys, "draw"]]), fill_value=0.0)
    paid = paid.drop(columns=list(TIMES), errors="ignore").assign(
        **{name: took[name].to_numpy() for name in TIMES}
    )
    same = [*(name for name in keys if name != "strategy"), "draw"]
    full = paid[paid["strategy"] == RETRAIN].set_index(same)["seconds"]
    longest = full.reindex(pd.MultiIndex.from_frame(paid[same])).to_numpy()
    relative = np.full(len(paid), np.nan)
    np.divide(paid["seconds"].to_numpy(), longest, out=relative, where=longest > 0)
    return paid.assign(relative=relative)


def _spread(rows: pd.DataFrame, name: str) -> dict[str, float]:
    values = rows[name].to_numpy(float)
    low, high = np.quantile(values, (LOW, HIGH))
    return {name: float(values.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
