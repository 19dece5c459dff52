"""Devices are drawn as scipy draws, and a ledger by hand takes the time that a hand computes."""

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fedunlearn.checks import Refused
from fedunlearn.results.costing import Constant, Devices, Kind, Lognormal, Server
from fedunlearn.results.costing import times as module
from fedunlearn.results.costing.times import time_to_forget
from fedunlearn.unlearning import ledger as ledgers
from tests.support.charges import charges

SPREAD = Kind(
    download=Lognormal(20e6, 0.8),
    upload=Lognormal(5e6, 0.7),
    latency=Lognormal(0.2, 0.5),
    speed=Lognormal(0.3, 0.6),
)


def alike(download=None, upload=None, latency=None, speed=None, **others):
    """All devices the same, drawn once; one record a second unless ``pace`` says otherwise."""
    values = [None if value is None else Constant(value) for value in (download, upload)]
    kind = Kind(1, *values, *(None if v is None else Constant(v) for v in (latency, speed)))
    return Devices(**{"kinds": {"all": kind}, "pace": 1.0, "draws": 1, **others})


def seconds(ledger, devices):
    (found,) = time_to_forget(ledger, devices)["seconds"]
    return found


HAND = charges(
    ("unlearn", 1, 0, 100, 50, 8),
    ("unlearn", 1, 1, 100, 50, 3),
    ("unlearn", 2, 1, 100, 50, 20),
    ("recover", 1, 2, 1000, 500, 1),
    ("train", 9, 2, 10**9, 10**9, 10**6),
)


class TestDraws:
    def test_a_lognormal_s_quantiles_are_scipy_s(self):
        shares = np.linspace(0.001, 0.999, 997)
        expected = stats.lognorm(0.7, scale=3.0).ppf(shares)
        np.testing.assert_allclose(Lognormal(3.0, 0.7).at(shares), expected, rtol=1e-12)
        assert (Lognormal(3.0, 0.0).at(shares) == 3.0).all()
        assert Constant(4).at(shares).tolist() == [4.0] * 997

    def test_devices_follow_their_distributions_independently(self):
        devices, n = Devices({"any": SPREAD}), 4000
        fleet = devices.fleet(0, np.zeros(n, int), np.arange(n))
        drawn = {name: getattr(fleet, name) for name in ("download", "upload", "latency", "speed")}
        for name, values in drawn.items():
            expected = getattr(SPREAD, name)
            law = stats.lognorm(expected.sigma, scale=expected.median)
            assert stats.kstest(values, law.cdf).pvalue > 0.001
        correlations = np.corrcoef(np.log(list(drawn.values()))) - np.eye(4)
        assert np.abs(correlations).max() < 4 / np.sqrt(n)

    def test_kinds_have_their_shares_and_each_client_all_of_its_kind(self):
        kinds = {
            "slow": Kind(3, Constant(1.0), Constant(2.0), Constant(3.0), Constant(4.0)),
            "fast": Kind(1, Constant(10.0), Constant(20.0), Constant(30.0), Constant(40.0)),
            "none": Kind(0, Constant(100.0)),
        }
        n = 4000
        fleet = Devices(kinds).fleet(0, np.zeros(n, int), np.arange(n))
        slow = fleet.download == 1.0
        assert stats.binomtest(int(slow.sum()), n, 0.75).pvalue > 0.001
        for times, values in ((1, fleet.download), (2, fleet.upload)):
            assert (values == np.where(slow, 1.0, 10.0) * times).all()
        for times, values in ((3, fleet.latency), (4, fleet.speed)):
            assert (values == np.where(slow, 1.0, 10.0) * times).all()

    def test_what_is_not_given_costs_nothing(self):
        fleet = Devices().fleet(0, np.zeros(3, int), np.arange(3))
        assert (fleet.download == np.inf).all()
        assert (fleet.upload == np.inf).all()
        assert (fleet.latency == 0).all()
        assert (fleet.speed == 1).all()

    def test_a_device_is_a_function_of_draw_seed_and_client_alone(self):
        devices = Devices({"any": SPREAD})

        def speeds(draw, *who):
            seeds, clients = (np.array(part) for part in zip(*who, strict=True))
            return devices.fleet(draw, seeds, clients).speed.tolist()

        everybody = speeds(0, (0, 0), (0, 1), (0, 2), (5, 2), (5, 0))
        assert speeds(0, (5, 0)) + speeds(0, (0, 2), (5, 2)) == [
            everybody[4],
            everybody[2],
            everybody[3],
        ]
        assert len({*everybody, *speeds(1, (0, 0), (5, 2))}) == 7

    @pytest.mark.parametrize(
        "wrong",
        [
            lambda: Constant(0),
            lambda: Lognormal(-1, 0.1),
            lambda: Lognormal(1, -0.1),
            lambda: Lognormal(1, float("inf")),
            lambda: Kind(share=-1),
            lambda: Server(download=0),
            lambda: Server(upload=-1),
            lambda: Server(speed=0),
            lambda: Devices(kinds={}),
            lambda: Devices(kinds={"a": Kind(share=0)}),
            lambda: Devices(pace=0),
            lambda: Devices(draws=0),
        ],
    )
    def test_what_cannot_be_is_refused(self, wrong):
        with pytest.raises(Refused, match=r"must (be|name)"):
            wrong()


class TestTimeToForget:
    def test_a_round_takes_its_slowest_client_and_rounds_add_up(self):
        """8 bits a byte; training is no part of it."""
        devices = alike(download=400.0, upload=100.0, latency=0.5, speed=2.0)
        first = max(0.5 + 2 + 8 / 2 + 4, 0.5 + 2 + 3 / 2 + 4)
        second, third = 0.5 + 2 + 20 / 2 + 4, 0.5 + 20 + 1 / 2 + 40
        (found,) = time_to_forget(HAND, devices).to_dict("records")
        assert found["seconds"] == pytest.approx(first + second + third, rel=1e-14)
        busy = first + (0.5 + 2 + 3 / 2 + 4) + second + third
        assert found["device_seconds"] == pytest.approx(busy, rel=1e-14)
        assert found["server_seconds"] == 0
        assert (found["seed"], found["strategy"], found["request"]) == (0, "s", 1)

    def test_each_part_of_an_exchange_counts_by_itself(self):
        row = charges(("unlearn", 1, 0, 100, 50, 8))
        assert seconds(row, alike()) == 8
        assert seconds(row, alike(speed=4.0)) == 2
        assert seconds(row, alike(pace=16.0)) == 0.5
        assert seconds(row, alike(latency=3.0)) == 11
        assert seconds(row, alike(download=10.0)) == 88
        assert seconds(row, alike(upload=10.0)) == 48

    def test_with_unlimited_bandwidth_only_work_is_left(self):
        assert seconds(HAND, alike()) == 8 + 20 + 1

    def test_the_clients_of_an_exchange_share_the_server_s_line(self):
        """100 bytes down to each of two: 800 bits at half the line, 50 up at half of the other."""
        both = charges(("unlearn", 1, 0, 100, 50, 0), ("unlearn", 1, 4, 100, 50, 0))
        alone = charges(("unlearn", 1, 0, 100, 50, 0))
        server = Server(upload=400.0, download=100.0)
        assert seconds(both, alike(server=server)) == 2 * 800 / 400 + 2 * 400 / 100
        assert seconds(alone, alike(server=server)) == 800 / 400 + 400 / 100
        slower = alike(download=100.0, upload=25.0, server=server)
        assert seconds(both, slower) == 800 / 100 + 400 / 25  # their own lines are narrower
        assert seconds(both, alike(server=Server(upload=400.0))) == 4
        assert seconds(both, alike(server=Server(download=100.0))) == 8

    def test_rounds_do_not_share_a_line_with_each_other(self):
        rounds = charges(("unlearn", 1, 0, 100, 0, 0), ("unlearn", 2, 1, 100, 0, 0))
        phases = charges(("unlearn", 1, 0, 100, 0, 0), ("recover", 1, 1, 100, 0, 0))
        for ledger in (rounds, phases):
            assert seconds(ledger, alike(server=Server(upload=400.0))) == 2 + 2

    def test_who_is_asked_twice_in_a_round_waits_for_the_others_in_between(self):
        twice = charges(
            ("unlearn", 1, 0, 100, 0, 5),
            ("unlearn", 1, 1, 100, 0, 1),
            ("unlearn", 1, 0, 100, 0, 2),
            ("unlearn", 1, 1, 100, 0, 7),
        )
        assert seconds(twice, alike()) == 5 + 7
        assert seconds(twice, alike(latency=1.0)) == 5 + 7 + 2
        lined = alike(server=Server(upload=400.0))
        assert seconds(twice, lined) == 2 * 4 + 5 + 7

    def test_the_server_s_work_comes_on_top_at_its_own_speed(self):
        """A round of the server alone waits for nobody."""
        server = charges(
            ("unlearn", 1, 0, 0, 0, 6), ("unlearn", 1, -1, 0, 0, 8), ("unlearn", 2, -1, 0, 0, 4)
        )
        (found,) = time_to_forget(server, alike(server=Server(speed=4.0))).to_dict("records")
        assert (found["seconds"], found["server_seconds"]) == (6 + 3, 3)
        assert found["device_seconds"] == 6
        assert module.SERVER_ID == ledgers.SERVER_ID
        assert seconds(server[server["client"] < 0], alike()) == 12

    def test_twice_as_fast_is_half_the_time(self):
        def devices(fast):
            kind = Kind(
                1,
                Lognormal(fast * 2e3, 0.8),
                Lognormal(fast * 1e3, 0.7),
                Lognormal(0.2 / fast, 0.5),
                Lognormal(fast * 0.3, 0.6),
            )
            server = Server(fast * 4e3, fast * 3e3, fast * 2)
            return Devices({"any": kind}, server, pace=10.0, draws=5)

        mixed = pd.concat([HAND, charges(("unlearn", 1, -1, 0, 0, 30))])
        slow, fast = (time_to_forget(mixed, devices(by)) for by in (1, 2))
        for name in ("seconds", "device_seconds", "server_seconds"):
            np.testing.assert_allclose(fast[name], slow[name] / 2, rtol=1e-12)
        assert slow["seconds"].nunique() == 5

    def test_clients_may_swap_places_with_their_devices(self, monkeypatch):
        """Rows may come in any order of clients; only a client's own order means something."""
        swap = {0: 2, 1: 0, 2: 1, -1: -1}
        twice = charges(("unlearn", 1, 1, 40, 20, 9), ("recover", 1, 1, 10, 10, 2))
        ledger = pd.concat([HAND, twice], ignore_index=True)
        swapped = ledger.assign(client=ledger["client"].map(swap)).sort_values(
            ["phase", "round", "client"], ascending=[True, False, True], kind="stable"
        )
        devices = Devices({"any": SPREAD}, Server(1e3, 2e3), pace=10.0, draws=3)
        before = time_to_forget(ledger, devices)
        drawn = Devices.fleet

        def follows(self, draw, seeds, clients):
            back = {new: old for old, new in swap.items()}
            return drawn(self, draw, seeds, np.array([back[client] for client in clients]))

        monkeypatch.setattr(Devices, "fleet", follows)
        after = time_to_forget(swapped, devices)
        np.testing.assert_allclose(after["seconds"], before["seconds"], rtol=1e-12)

    def test_only_those_who_were_asked_count(self):
        """A slow device that no round of the request asks slows nothing."""
        devices = Devices({"any": SPREAD}, pace=10.0, draws=4)
        few = charges(("unlearn", 1, 0, 100, 50, 8), ("unlearn", 2, 3, 100, 50, 8))
        elsewhere = charges(("unlearn", 1, 7, 10**6, 10**6, 10**5), request=2)
        both = time_to_forget(pd.concat([few, elsewhere]), devices)
        first = both[both["request"] == 1]["seconds"].to_numpy()
        assert (first == time_to_forget(few, devices)["seconds"].to_numpy()).all()

    def test_cases_are_kept_apart_and_devices_are_the_client_s_in_each_strategy(self):
        rows = [("unlearn", 1, 0, 100, 50, 8), ("unlearn", 1, 1, 100, 50, 8)]
        cases = [(0, "a", 1), (0, "b", 1), (0, "a", 2), (1, "a", 1)]
        ledger = pd.concat(
            charges(*rows, seed=seed, strategy=name, request=n) for seed, name, n in cases
        )
        devices = Devices({"any": SPREAD}, pace=10.0, draws=3)
        found = time_to_forget(ledger, devices)
        assert len(found) == 4 * 3
        each = found.set_index(["seed", "strategy", "request", "draw"])["seconds"].to_dict()
        for draw in range(3):
            same = {each[(*case, draw)] for case in cases[:3]}
            assert len(same) == 1
            assert each[(1, "a", 1, draw)] not in same

    def test_runs_are_kept_apart_and_share_their_devices(self):
        one = charges(("unlearn", 1, 0, 100, 50, 8))
        ledger = pd.concat([one.assign(run="x"), one.assign(run="y", samples=16)])
        found = time_to_forget(ledger, alike()).set_index("run")["seconds"]
        assert found.to_dict() == {"x": 8, "y": 16}
        devices = Devices({"any": SPREAD}, pace=10.0, draws=1)
        same = time_to_forget(pd.concat([one.assign(run="x"), one.assign(run="y")]), devices)
        assert same["seconds"].nunique() == 1

    def test_nobody_asked_is_no_row(self):
        for ledger in (HAND[:0], HAND[HAND["phase"] == "train"]):
            found = time_to_forget(ledger, Devices())
            assert found.empty
            assert "seconds" in found


class TestPace:
    def test_it_is_what_the_simulator_measured_for_each_strategy_s_work(self):
        """a: 0.1, 0.25 and 9 s a record, the last of which warmed up; b: 0.5, on the server 2."""
        cheap = charges(
            ("unlearn", 1, 0, 0, 0, 1, 9.0),
            ("unlearn", 2, 0, 0, 0, 10, 1.0),
            ("unlearn", 3, 0, 0, 0, 20, 5.0),
            strategy="a",
        )
        dear = charges(
            ("unlearn", 1, 0, 0, 0, 10, 5.0), ("unlearn", 1, -1, 0, 0, 8, 16.0), strategy="b"
        )
        devices = alike(pace=None, speed=2.0, server=Server(speed=4.0))
        found = time_to_forget(pd.concat([cheap, dear]), devices).set_index("strategy")["seconds"]
        assert found.to_dict() == {"a": 31 * 0.25 / 2, "b": 10 * 0.5 / 2 + 8 * 2 / 4}

    def test_runs_were_measured_each_by_itself(self):
        one = charges(("unlearn", 1, 0, 0, 0, 10, 1.0)).assign(run="x")
        ledger = pd.concat([one, one.assign(run="y", seconds=3.0)])
        found = time_to_forget(ledger, alike(pace=None)).set_index("run")["seconds"]
        assert found.to_dict() == {"x": 1, "y": 3}

    def test_seeds_are_measured_together(self):
        ledger = pd.concat(
            charges(("unlearn", 1, 0, 0, 0, 10, took), seed=seed)
            for seed, took in enumerate((1.0, 3.0))
        )
        assert time_to_forget(ledger, alike(pace=None))["seconds"].tolist() == [2, 2]

    def test_work_that_nobody_timed_takes_an_unknown_time_unless_a_pace_is_given(self):
        row = charges(("unlearn", 1, 0, 0, 0, 10), ("unlearn", 2, 0, 0, 0, 10))
        assert np.isnan(seconds(row, alike(pace=None)))
        assert seconds(row, alike(pace=5.0)) == 4
        timed = pd.concat([row, charges(("unlearn", 3, 0, 0, 0, 10, 1.0))])
        assert seconds(timed, alike(pace=None)) == pytest.approx(3)

    def test_no_work_takes_no_time(self):
        row = charges(("unlearn", 1, 0, 100, 0, 0, 0.0), ("unlearn", 2, 1, 0, 0, 10, 1.0))
        assert seconds(row[:1], alike(pace=None, download=100.0)) == 8
        assert seconds(row, alike(pace=None, download=100.0)) == 8 + 1


def test_a_million_rows_take_seconds():
    clients, rounds = 1000, 1000
    ledger = pd.DataFrame(
        {
            "seed": 0,
            "strategy": "s",
            "request": 1,
            "phase": "unlearn",
            "round": np.repeat(np.arange(rounds), clients) + 1,
            "client": np.tile(np.arange(clients), rounds),
            "bytes_down": 10**6,
            "bytes_up": 10**6,
            "samples": 100,
            "seconds": 0.1,
        }
    )
    devices = Devices({"any": SPREAD}, draws=2)
    began = time.process_time()
    found = time_to_forget(ledger, devices)
    assert time.process_time() - began < 10
    fleet = devices.fleet(0, np.zeros(clients, int), np.arange(clients))
    each = fleet.latency + 8e6 / fleet.download + 8e6 / fleet.upload + 0.1 / fleet.speed
    assert found["seconds"][0] == pytest.approx(rounds * each.max(), rel=1e-9)
    assert found["device_seconds"][0] == pytest.approx(rounds * each.sum(), rel=1e-9)
    assert len(ledger) == 10**6
