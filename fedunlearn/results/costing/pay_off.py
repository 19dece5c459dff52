"""After how many requests a strategy has earned what training stored and gathered for it.

For n requests, strategy s costs ``E_s + n R_s`` and retraining ``E_r + n R_r``: E is paid once, R
for each request and taken to be the mean over the requests of the run. With the extra cost
X = E_s - E_r and the saving S = R_r - R_s, the strategy is the cheaper one from

    n* = floor(X / S) + 1   for X >= 0 and S > 0
    n* = 0                  for X < 0 and S >= 0
    n* = inf                otherwise

requests on. Ordinary training costs both the same and is left out. Four costs are compared, each by
itself:

    cost           unit      E, once                              R, for a request
    time           s         gathering                            time to forget
    bytes          B         stored, and sent in gathering        sent, down and up
    client_epochs  epochs    gathering                            client epochs
    money          currency  GB stored * gb_month * months,       GB sent * gb_sent + hours * prices
                             gathering

Gathering is what clients are asked before round 1 for strategies that declare statistics. Stored is
what the strategy's largest request needed.
"""

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from fedunlearn.results import RETRAIN, SHARED_TRAINING, Run
from fedunlearn.results.costing.devices import Devices
from fedunlearn.results.costing.distributions import Floats
from fedunlearn.results.costing.prices import Prices
from fedunlearn.results.costing.table import HIGH, LOW, served
from fedunlearn.results.costing.times import SERVER_ID, times

GB, HOUR = 1e9, 3600.0

COSTS = ("time", "bytes", "client_epochs", "money")
"""What is compared, each by itself."""


def requests_needed(extra: Floats | float, saving: Floats | float) -> Floats:
    """Return n*, from how many requests on ``extra < n saving`` holds; inf: from none."""
    extra, saving = np.broadcast_arrays(np.asarray(extra, float), np.asarray(saving, float))
    pays = np.full(extra.shape, np.inf)
    with np.errstate(over="ignore"):  # so many requests are infinitely many
        np.divide(extra, saving, out=pays, where=saving > 0)
    pays = np.where(np.isfinite(pays), np.floor(pays) + 1, pays)
    pays = np.where((extra < 0) & (saving >= 0), 0.0, pays)
    return np.where(np.isnan(extra) | np.isnan(saving), np.nan, pays)


def break_even(
    run: Run, devices: Devices, prices: Prices, gathering: Collection[str] = ()
) -> pd.DataFrame:
    """Return a row for each strategy but retraining, and each of the four costs.

    ``extra`` and ``saving`` are means over seeds and draws of devices, ``requests`` is the n* of
    these means; ``requests_low`` and ``requests_high`` are 5 % and 95 % quantiles of the n* of
    single seeds and draws. ``gathering`` names the strategies that declare statistics.
    """
    paid = served(run, devices)
    paid = paid.assign(
        time=paid["seconds"],
        bytes=paid["bytes_down"] + paid["bytes_up"],
    )
    paid = paid.assign(money=_money(paid, prices))
    where = [name for name in ("run", "seed", "draw") if name in paid]
    columns = {**dict.fromkeys(COSTS, "mean"), "store_bytes": "max"}
    each = paid.groupby([*where, "strategy"], sort=False).agg(columns).reset_index()
    once = _of(_gathered(run, devices, prices), each, where)
    once[~each["strategy"].isin(list(gathering))] = 0.0
    once["bytes"] += each["store_bytes"]
    once["money"] += each["store_bytes"] / GB * prices.gb_month * prices.months
    retrained = (each["strategy"] == RETRAIN).to_numpy()
    extra = once - _of(once[retrained].join(each[where]), each, where)
    saving = _of(each[retrained], each, where) - each[list(COSTS)]
    return pd.DataFrame(_rows(each, extra, saving, prices), columns=_columns(each))


def _of(values: pd.DataFrame, rows: pd.DataFrame, where: list[str]) -> pd.DataFrame:
    """Return the costs in ``values`` that have the same run, seed and draw as each of ``rows``."""
    costs = values.set_index(where)[list(COSTS)]
    return costs.reindex(pd.MultiIndex.from_frame(rows[where])).set_axis(rows.index)


def _money(paid: pd.DataFrame, prices: Prices) -> pd.Series:
    """Return what sending and working cost; ``bytes`` are those sent."""
    return (
        paid["bytes"] / GB * prices.gb_sent
        + paid["device_seconds"] / HOUR * prices.device_hour
        + paid["server_seconds"] / HOUR * prices.server_hour
    )


def _gathered(run: Run, devices: Devices, prices: Prices) -> pd.DataFrame:
    """Return what gathering cost if anybody asked for it: the four costs, by seed and draw.

    It comes first in round 1 of training, where each client is asked once for it.
    """
    ledger = run.ledger
    run_column = ["run"] if "run" in ledger else []
    begins = (
        (ledger["strategy"] == SHARED_TRAINING) & (ledger["request"] == 0) & (ledger["round"] == 1)
    )
    clients = ledger[begins & (ledger["client"] != SERVER_ID)]
    asked = clients.drop_duplicates([*run_column, "seed", "client"])
    held = run.clients.groupby([*run_column, "seed", "client"])["train"].sum().rename("held")
    asked = asked.join(held, on=[*run_column, "seed", "client"])
    asked = asked.assign(
        bytes=asked["bytes_down"] + asked["bytes_up"],
        client_epochs=asked["samples"] / asked["held"],
    )
    sums = asked.groupby([*run_column, "seed"], as_index=False)[["bytes", "client_epochs"]].sum()
    took = times(asked, devices).merge(sums, on=[*run_column, "seed"])
    return took.assign(time=took["seconds"], money=_money(took, prices))


def _columns(table: pd.DataFrame) -> list[str]:
    run_column = ["run"] if "run" in table else []
    numbers = ("extra", "saving", "requests", "requests_low", "requests_high")
    return [*run_column, "strategy", "cost", "unit", *numbers]


def _rows(
    each: pd.DataFrame, extra: pd.DataFrame, saving: pd.DataFrame, prices: Prices
) -> Iterator[dict[str, object]]:
    units = {"time": "s", "bytes": "B", "client_epochs": "epochs", "money": prices.currency}
    where = [name for name in ("run", "strategy") if name in each]
    for names, rows in each[each["strategy"] != RETRAIN].groupby(where, sort=False):
        for cost in COSTS:
            more, less = (table.loc[rows.index, cost].to_numpy() for table in (extra, saving))
            needed = requests_needed(more, less)
            low, high = np.quantile(needed, (LOW, HIGH), method="inverted_cdf")
            yield {
                **dict(zip(where, names, strict=True)),
                "cost": cost,
                "unit": units[cost],
                "extra": float(more.mean()),
                "saving": float(less.mean()),
                "requests": float(requests_needed(more.mean(), less.mean())),
                "requests_low": float(low),
                "requests_high": float(high),
            }
