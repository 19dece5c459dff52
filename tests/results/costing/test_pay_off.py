"""From how many requests on a strategy is cheaper than retraining: by hand, in all four costs."""

import numpy as np
import pandas as pd
import pytest

from fedunlearn.checks import Refused
from fedunlearn.results import Run
from fedunlearn.results.costing import (
    Constant,
    Devices,
    Kind,
    Lognormal,
    Prices,
    Server,
    break_even,
    costs_table,
)
from fedunlearn.results.costing.pay_off import requests_needed
from tests.support.charges import charges

PRICES = Prices(
    currency="EUR", gb_month=2.0, months=3.0, gb_sent=5.0, device_hour=3600.0, server_hour=7200.0
)
PLAIN = Devices(pace=1.0, draws=2, prices=PRICES)
GB = 10**9


def case(strategy, *, seed=0, request=1, down=0, up=0, epochs=0.0, stored=0, rounds=1):
    return {
        "seed": seed,
        "strategy": strategy,
        "request": request,
        "clients": "0",
        "probe": "",
        "bytes_down": down,
        "bytes_up": up,
        "client_epochs": epochs,
        "samples": 0,
        "rounds": rounds,
        "seconds": 99.0,
        "store_bytes": stored,
    }


def run(cases, ledger, held=None, tmp_path=None):
    clients = pd.DataFrame(
        [
            {"seed": 0, "client": client, "label": label, "train": count, "heldout": 0}
            for client, counts in (held or {}).items()
            for label, count in counts.items()
        ],
        columns=["seed", "client", "label", "train", "heldout"],
    )
    return Run(tmp_path, pd.DataFrame(), ledger, pd.DataFrame(cases), clients, {})


def of(table, strategy, *columns):
    rows = table[table["strategy"] == strategy].set_index("cost")
    return {cost: tuple(rows.loc[cost, list(columns)]) for cost in rows.index}


class TestRequestsNeeded:
    @pytest.mark.parametrize(
        ("extra", "saving", "needed"),
        [
            (10.0, 3.0, 4),
            (9.0, 3.0, 4),  # after three they cost the same
            (8.0, 3.0, 3),
            (0.0, 3.0, 1),
            (0.0, 0.0, np.inf),
            (1.0, 0.0, np.inf),
            (1.0, -1.0, np.inf),
            (0.0, -1.0, np.inf),
            (-1.0, 0.0, 0),
            (-1.0, 2.0, 0),
            (-1.0, -2.0, np.inf),  # cheaper for a while, but not from some number on
            (1e300, 1e-300, np.inf),
            (np.nan, 1.0, np.nan),
            (1.0, np.nan, np.nan),
            (-1.0, np.nan, np.nan),
        ],
    )
    def test_by_hand(self, extra, saving, needed):
        np.testing.assert_equal(float(requests_needed(extra, saving)), float(needed))

    def test_it_is_the_first_number_from_which_the_total_stays_below(self):
        rng = np.random.default_rng(0)
        extra, saving = rng.integers(-40, 40, 500), rng.integers(-9, 9, 500)
        n = np.arange(100)[:, None]
        below = extra < n * saving
        stays = np.flip(np.logical_and.accumulate(np.flip(below, 0)), 0)
        first = np.where(stays.any(0), stays.argmax(0), np.inf)
        np.testing.assert_array_equal(requests_needed(extra, saving), first)


class TestBreakEven:
    def test_four_costs_by_hand(self):
        """The strategy stores 2 GB more, and asks two clients and the server in place of three."""
        cases = [
            case("retrain", down=3 * GB, up=GB, epochs=30.0, stored=GB),
            case("saver", down=GB, up=GB // 2, epochs=2.0, stored=3 * GB),
        ]
        ledger = pd.concat(
            [
                charges(*[("unlearn", 1, k, GB, 0, 10 + k) for k in range(3)], strategy="retrain"),
                charges(("unlearn", 1, 0, GB, 0, 4), ("recover", 1, 1, 0, 0, 1), strategy="saver"),
                charges(("unlearn", 1, -1, 0, 0, 2), strategy="saver"),
            ]
        )
        found = break_even(run(cases, ledger), PLAIN, PRICES)
        assert set(found["strategy"]) == {"saver"}
        full = 4 * 5 + 3600 * (10 + 11 + 12) / 3600
        paid = 1.5 * 5 + 3600 * (4 + 1) / 3600 + 7200 * 2 / 3600
        columns = ("unit", "extra", "saving", "requests", "requests_low", "requests_high")
        rows = of(found, "saver", *columns)
        assert rows["time"] == ("s", 0, 12 - (4 + 1 + 2), 1, 1, 1)
        assert rows["bytes"] == ("B", 2 * GB, 2.5 * GB, 1, 1, 1)
        assert rows["client_epochs"] == ("epochs", 0, 28, 1, 1, 1)
        money = 2 * 2 * 3
        assert rows["money"][:3] == pytest.approx(("EUR", money, full - paid))
        assert rows["money"][3:] == (1, 1, 1)
        dear = Prices(gb_month=2.0, months=12.0, gb_sent=5.0, device_hour=3600.0, server_hour=7200)
        longer = of(break_even(run(cases, ledger), PLAIN, dear), "saver", "extra", "requests")
        assert longer["money"] == (48, np.floor(48 / (full - paid)) + 1)
        assert longer["bytes"] == (2 * GB, 1)

    def test_storing_may_never_pay(self):
        cases = [
            case("retrain", down=10, stored=1),
            case("worse", down=30, stored=100),
            case("equal", down=10, stored=1),
            case("lean", down=9, stored=0),
        ]
        found = break_even(run(cases, charges()), PLAIN, PRICES)
        for strategy, needed in (("worse", np.inf), ("equal", np.inf), ("lean", 0)):
            assert of(found, strategy, "requests")["bytes"] == (needed,)
            assert of(found, strategy, "requests", "saving")["time"] == (np.inf, 0)

    def test_a_request_costs_the_mean_over_requests_and_the_store_serves_the_largest(self):
        cases = [
            case("retrain", down=100, stored=5, request=1),
            case("retrain", down=300, stored=5, request=2),
            case("saver", down=20, stored=905, request=1),
            case("saver", down=40, stored=505, request=2),
        ]
        found = of(break_even(run(cases, charges()), PLAIN, PRICES), "saver", "extra", "saving")
        assert found["bytes"] == (900, 200 - 30)

    def test_gathering_is_paid_once_by_those_who_asked_for_it(self):
        """Client 1 is not in round 1's cohort; client 2 failed when everybody was asked."""
        ledger = pd.concat(
            [
                charges(
                    ("train", 1, 0, 100, 30, 6),
                    ("train", 1, 1, 100, 30, 4),
                    ("train", 1, 0, 100, 100, 60),
                    ("train", 2, 0, 100, 100, 60),
                    ("train", 2, 1, 100, 100, 40),
                    ("train", 2, 2, 100, 100, 70),
                    strategy="shared",
                    request=0,
                ),
                charges(("unlearn", 1, 1, 100, 100, 40), strategy="retrain"),
            ]
        )
        cases = [
            case("retrain", down=100, up=100, epochs=10.0),
            case("ridge"),
            case("none"),
        ]
        made = run(cases, ledger, {0: {"a": 1, "b": 2}, 1: {"a": 4}})
        found = break_even(made, PLAIN, PRICES, {"ridge"})
        rows = of(found, "ridge", "extra", "saving", "requests")
        assert rows["time"] == (6, 40, 1)
        assert rows["bytes"] == (260, 200, 2)
        assert rows["client_epochs"] == (6 / 3 + 4 / 4, 10, 1)
        assert rows["money"][0] == pytest.approx(260 / GB * 5 + 10)
        assert {extra for (extra,) in of(found, "none", "extra").values()} == {0}
        alone = break_even(made, PLAIN, PRICES)
        assert {extra for (extra,) in of(alone, "ridge", "extra").values()} == {0}

    def test_seeds_and_draws_spread_it(self):
        """Over 21 seeds all but two need one request; the mean saves nothing."""
        cases = []
        for seed in range(21):
            cases.append(case("retrain", seed=seed, down=100))
            cases.append(case("mixed", seed=seed, down=2000 if seed < 2 else 10))
        found = break_even(run(cases, charges()), PLAIN, PRICES)
        rows = of(found, "mixed", "saving", "requests", "requests_low", "requests_high")
        assert rows["bytes"] == ((19 * 90 - 2 * 1900) / 21, np.inf, 1, np.inf)
        first = [row for row in cases if row["seed"] != 0]
        first = break_even(run(first, charges()), PLAIN, PRICES)
        assert of(first, "mixed", "requests_low", "requests_high")["bytes"] == (1, 1)

    def test_devices_differ_from_draw_to_draw(self):
        """Retraining asks a fast device, the strategy one that is slow as often as not."""
        ledger = pd.concat(
            [
                charges(("unlearn", 1, 0, 0, 0, 10), strategy="retrain"),
                charges(("unlearn", 1, 1, 0, 0, 10), strategy="other"),
            ]
        )
        kinds = {"slow": Kind(1, speed=Constant(1.0)), "fast": Kind(1, speed=Constant(2.0))}
        devices = Devices(kinds, pace=1.0, draws=60)
        found = break_even(run([case("retrain"), case("other")], ledger), devices, PRICES)
        assert of(found, "other", "requests_low", "requests_high")["time"] == (1, np.inf)

    def test_several_runs_are_told_apart(self):
        cases = pd.DataFrame([case("retrain", down=10), case("s", down=4, stored=18)])
        both = pd.concat([cases.assign(run="x"), cases.assign(run="y", store_bytes=0)])
        ledger = charges(("unlearn", 1, 0, 0, 0, 10), strategy="retrain")
        ledger = pd.concat([ledger.assign(run="x"), ledger.assign(run="y", samples=30)])
        clients = pd.DataFrame(columns=["run", "seed", "client", "label", "train", "heldout"])
        made = Run(None, pd.DataFrame(), ledger, both, clients, {})
        found = break_even(made, PLAIN, PRICES)
        assert list(found["run"].unique()) == ["x", "y"]
        each = found.set_index(["run", "cost"])
        assert each.loc[("x", "bytes"), "requests"] == 4
        assert each.loc[("y", "bytes"), "requests"] == 1
        assert each.loc[("x", "time"), "saving"] == 10
        assert each.loc[("y", "time"), "saving"] == 30
        costs = costs_table(made, PLAIN).set_index(["run", "strategy"])
        assert costs.loc[("y", "retrain"), "seconds"] == 30

    def test_nothing_served_is_no_row(self):
        made = run(pd.DataFrame([case("s")])[:0], charges())
        assert break_even(made, PLAIN, PRICES).empty
        assert costs_table(made, PLAIN).empty

    @pytest.mark.parametrize(
        "name", ["gb_month", "months", "gb_sent", "device_hour", "server_hour"]
    )
    def test_prices_are_not_negative(self, name):
        with pytest.raises(Refused, match=name):
            Prices(**{name: -0.1})
        assert getattr(Prices(**{name: 0}), name) == 0


class TestCostsTable:
    CASES = (
        case("s", seed=0, down=1, up=5, epochs=2.0, stored=7, rounds=3),
        case("s", seed=1, down=3, up=6, epochs=4.0, stored=9, rounds=4),
        case("retrain", seed=0, down=10, epochs=8.0),
        case("retrain", seed=1, down=20, epochs=8.0),
        case("retrain-2", seed=0, down=99),
        case("none", seed=0),
        case("none", seed=1),
    )
    LEDGER = pd.concat(
        [
            charges(("unlearn", 1, 0, 0, 0, 10), strategy="retrain", seed=0),
            charges(("unlearn", 1, 0, 0, 0, 20), strategy="retrain", seed=1),
            charges(("unlearn", 1, 0, 0, 0, 99), strategy="retrain-2", seed=0),
            charges(("unlearn", 1, 0, 0, 0, 5), strategy="s", seed=0),
            charges(("recover", 1, 0, 0, 0, 4), strategy="s", seed=1),
        ]
    )

    def test_means_over_seeds_beside_retraining(self):
        found = costs_table(run(self.CASES, self.LEDGER), PLAIN)
        assert found["strategy"].tolist() == ["retrain", "s", "none"]
        rows = found.set_index("strategy").to_dict("index")
        s, none = rows["s"], rows["none"]
        totals = ("seeds", "rounds", "client_epochs", "bytes_down", "bytes_up", "store_bytes")
        assert [s[name] for name in totals] == [2, 3.5, 3, 2, 5.5, 8]
        assert (s["seconds"], s["relative"]) == (4.5, (5 / 10 + 4 / 20) / 2)
        assert (s["seconds_low"], s["seconds_high"]) == tuple(
            np.quantile([4, 4, 5, 5], (0.05, 0.95))
        )
        assert (s["relative_low"], s["relative_high"]) == tuple(
            np.quantile([0.2, 0.2, 0.5, 0.5], (0.05, 0.95))
        )
        assert s["device_hours"] == 4.5 / 3600
        assert (none["seconds"], none["relative"]) == (0, 0)
        assert (rows["retrain"]["seconds"], rows["retrain"]["relative"]) == (15, 1)
        assert (s["request"], s["clients"]) == (1, "0")

    def test_ratios_are_taken_on_the_same_devices(self):
        devices = Devices({"any": Kind(speed=Lognormal(1.0, 1.0))}, pace=1.0, draws=9)
        s = costs_table(run(self.CASES, self.LEDGER), devices).set_index("strategy").loc["s"]
        np.testing.assert_allclose((s["relative_low"], s["relative_high"]), (0.2, 0.5), rtol=1e-12)
        assert s["seconds_high"] > 2 * s["seconds_low"]

    def test_requests_stand_apart_and_nothing_is_divided_by_nothing(self):
        cases = [case("retrain"), case("s"), case("retrain", request=2), case("s", request=2)]
        ledger = charges(("unlearn", 1, 0, 0, 0, 5), strategy="s", request=2)
        found = costs_table(run(cases, ledger), PLAIN).set_index(["request", "strategy"])
        assert found["seconds"].tolist() == [0, 0, 0, 5]
        assert found["relative"].isna().all()

    def test_the_server_s_share_is_not_busy_devices(self):
        ledger = charges(("unlearn", 1, -1, 0, 0, 36), strategy="s")
        devices = Devices(pace=1.0, draws=1, server=Server(speed=2.0))
        row = costs_table(run([case("retrain"), case("s")], ledger), devices).set_index("strategy")
        assert row.loc["s", "seconds"] == 18
        assert row.loc["s", "device_hours"] == 0
