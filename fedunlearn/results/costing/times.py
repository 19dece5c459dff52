"""How long the exchanges of a ledger would take on other devices.

The server asks clients in synchronous exchanges: it sends a model to each of them, they work, and
it waits for all. With 8 D_k bits for client k, 8 U_k bits back and n_k records processed,

    t_k = l_k + 8 D_k / min(d_k, S/m) + n_k / (v_k p) + 8 U_k / min(u_k, R/m)
    T   = sum over exchanges of max_k t_k, plus n_0 / (v_0 p_0) for the records of the server

d_k, u_k are the client's bit/s down and up, l_k its latency in seconds, v_k its speed; S and R are
what the server sends and receives in bit/s, divided equally among the m clients of an exchange,
whether or not each of them can use its part. p is the pace, in records a second, of a device of
speed 1, v_0 and p_0 are the server's; a pace that is not given is what the simulator measured, the
median over a strategy's rows. What clients do at the same time takes the longest time, and
a client who is asked twice in a round has two exchanges: the second begins when everybody has
answered the first. The server's aggregation is not in the ledger and takes no time here.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedunlearn.results.costing.devices import Devices, Fleet, Ints
from fedunlearn.results.costing.distributions import Floats

SERVER_ID = -1
"""`ledger.SERVER_ID`, whose module would bring torch along."""

SERVING = ("unlearn", "recover")
"""The phases in which a request is served."""


def time_to_forget(ledger: pd.DataFrame, devices: Devices) -> pd.DataFrame:
    """Return how long each request of a ledger takes to serve, recovery included.

    ``ledger`` has the columns of ledger.csv, and ``run`` before them where there are several. A row
    each for run, ``seed``, ``strategy``, ``request`` and ``draw`` of devices, with ``seconds``
    (T above), ``device_seconds`` (the t_k of all exchanges added up) and ``server_seconds``. A
    request for which nobody worked has no row.
    """
    return times(ledger[ledger["phase"].isin(SERVING)], devices)


def times(ledger: pd.DataFrame, devices: Devices) -> pd.DataFrame:
    """Return what `time_to_forget` does, of all rows whatever their phase."""
    keys = cases(ledger)
    groups = ledger.groupby(keys, sort=False)
    case, each_case = groups.ngroup().to_numpy(), groups.size().index.to_frame(index=False)
    server = (ledger["client"] == SERVER_ID).to_numpy()
    each = _seconds_each(ledger, server, devices)
    records = ledger["samples"].to_numpy(float)
    served = np.bincount(
        case[server], (records * each)[server] / devices.server.speed, len(each_case)
    )
    asked = _Asked.of(ledger[~server], case[~server], each[~server], devices)
    drawn = []
    for draw in range(devices.draws):
        took = asked.seconds(devices.fleet(draw, asked.seeds, asked.clients))
        drawn.append(
            each_case.assign(
                draw=draw,
                seconds=asked.waited(took, len(each_case)) + served,
                device_seconds=np.bincount(asked.case, took, len(each_case)),
                server_seconds=served,
            )
        )
    return pd.concat(drawn, ignore_index=True)


def cases(table: pd.DataFrame) -> list[str]:
    """Return the columns that tell one served request from another."""
    return [*(["run"] if "run" in table else []), "seed", "strategy", "request"]


def _seconds_each(ledger: pd.DataFrame, server: np.ndarray, devices: Devices) -> Floats:
    """Return 1 / p for every row: seconds a record of a device of speed 1."""
    if devices.pace is not None:
        return np.full(len(ledger), 1 / devices.pace)
    by = [ledger[name] for name in ("run", "strategy") if name in ledger]
    worked = ledger["samples"] > 0
    each = ledger["seconds"].where(worked) / ledger["samples"].where(worked)
    # Not the mean: whatever is asked first warms up, and takes many times as long.
    typical = each.groupby([*by, server], sort=False).transform("median")
    return typical.where(worked, 0.0).to_numpy(float)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What clients were asked, a row an answer, [n], those of one exchange side by side."""

    case: Ints
    begins: Ints
    """Where each exchange begins."""
    who: Ints
    """Which of ``seeds`` and ``clients`` answered."""
    seeds: Ints
    clients: Ints
    down: Floats
    """Bits sent."""
    up: Floats
    work: Floats
    """Seconds of a device of speed 1."""
    most_down: Floats
    """Bit/s that the server has for this client."""
    most_up: Floats

    @classmethod
    def of(cls, ledger: pd.DataFrame, case: Ints, each: Floats, devices: Devices) -> "_Asked":
        """Find the exchanges in the clients' rows of a ledger."""
        pairs = ledger.groupby(["seed", "client"], sort=False)
        client = pairs.ngroup().to_numpy()
        when = pd.DataFrame({"case": case, "phase": ledger["phase"].to_numpy()})
        when["round"], when["client"] = ledger["round"].to_numpy(), client
        moment = when.groupby(["case", "phase", "round"], sort=False).ngroup()
        again = when.assign(moment=moment).groupby(["moment", "client"], sort=False).cumcount()
        order = np.lexsort((again.to_numpy(), moment.to_numpy()))
        exchange = np.stack([moment.to_numpy(), again.to_numpy()])[:, order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (exchange[:, 1:] != exchange[:, :-1]).any(axis=0)
        begins = np.flatnonzero(new)
        together = np.diff(begins, append=len(order))
        shared = np.repeat(together, together).astype(float)
        server, who = devices.server, pairs.size().index.to_frame(index=False)
        return cls(
            case=case[order],
            begins=begins,
            who=client[order],
            seeds=who["seed"].to_numpy(np.int64),
            clients=who["client"].to_numpy(np.int64),
            down=8 * ledger["bytes_down"].to_numpy(float)[order],
            up=8 * ledger["bytes_up"].to_numpy(float)[order],
            work=(ledger["samples"].to_numpy(float) * each)[order],
            most_down=(server.upload or np.inf) / shared,
            most_up=(server.download or np.inf) / shared,
        )

    def seconds(self, fleet: Fleet) -> Floats:
        """Return t_k, [n]."""
        down = self.down / np.minimum(fleet.download[self.who], self.most_down)
        up = self.up / np.minimum(fleet.upload[self.who], self.most_up)
        took: Floats = fleet.latency[self.who] + down + self.work / fleet.speed[self.who] + up
        return took

    def waited(self, took: Floats, cases: int) -> Floats:
        """Return the sum over exchanges of the longest time, for each case."""
        longest = np.maximum.reduceat(took, self.begins) if len(took) else took
        return np.bincount(self.case[self.begins], longest, cases).astype(np.float64)
