"""A budget of bytes: what is picked, that it fits, and what cannot be."""

import sys
from dataclasses import replace

import pytest
import torch

from fedunlearn.checks import Refused
from fedunlearn.data import build_federation
from fedunlearn.experiment.estimate import Pace, estimate
from fedunlearn.history import (
    AsNeeded,
    Demand,
    Drift,
    Every,
    InMemory,
    Needs,
    OnDisk,
    Round,
    Updates,
    encodings,
    fit,
)
from fedunlearn.history.budget import FILE, ROW
from fedunlearn.history.byte_amounts import parse, written
from fedunlearn.history.round_files import write
from fedunlearn.simulations import estimate as entry
from fedunlearn.unlearning import Plain, Request
from strategies.fedaccum import FedAccum
from strategies.federaser import FedEraser
from tests.support.waves import PACE, WAVES

SIZE, COHORT = 1000, 10
TIGHT = 30_000
"""Bytes: too few for every round of `WAVES` as int8."""
UPDATES = Needs(updates=True)


def demand(*needs, rounds=24, first=24):
    return Demand(needs or (UPDATES,), SIZE, COHORT, range(1, rounds + 1), first)


def picked(budget, *needs, store=OnDisk(), policy=AsNeeded(), **more):
    plan = fit(budget, store, policy, demand(*needs, **more))
    return plan.store.encoding, plan.policy, plan.sentence


class TestParse:
    @pytest.mark.parametrize(
        ("text", "nbytes"),
        [
            ("2GB", 2e9),
            ("500 MB", 5e8),
            ("1.5 GiB", 1.5 * 2**30),
            ("3k", 3e3),
            ("12 b", 12),
            ("2tb", 2e12),
            (7, 7),
            (2.5e9, 2.5e9),
            ("1e9", 1e9),
        ],
    )
    def test_amounts(self, text, nbytes):
        assert parse(text) == nbytes

    @pytest.mark.parametrize(
        "text", ["", "GB", "two GB", "-1GB", 0, "0 MB", "2 XB", "2 iB", True, None, 1e30, "2GB!"]
    )
    def test_nonsense(self, text):
        with pytest.raises(Refused, match=r"history.budget must be an amount such as 2GB"):
            parse(text)

    def test_written_in_a_unit_that_suits(self):
        assert [written(n) for n in (12, 2500, 16.2e6, 89.4e9)] == [
            "12 bytes",
            "2.5 kB",
            "16.2 MB",
            "89.4 GB",
        ]


class TestFit:
    def test_the_order_of_preference(self):
        whole = demand().nbytes("float32", AsNeeded())
        found = [picked(whole / by)[:2] for by in (1, 1.001, 1.9, 2.1, 3.5, 4.5, 8, 16)]
        assert found == [
            ("float32", AsNeeded()),
            ("bfloat16", AsNeeded()),
            ("bfloat16", AsNeeded()),
            ("int8", AsNeeded()),
            ("int8", AsNeeded()),
            ("int8", Every(2)),
            ("int8", Every(4)),
            ("int8", Every(8)),
        ]

    def test_every_pick_is_the_first_that_fits(self):
        previous = None
        for budget in range(50_000, 1_100_000, 10_000):
            encoding, policy, _ = picked(budget)
            takes = demand().nbytes(encoding, policy)
            assert takes <= budget
            if previous not in (None, (encoding, policy)):
                assert demand().nbytes(encoding, policy) > budget - 10_000
            previous = encoding, policy

    def test_bytes_are_counted_from_what_is_stored(self):
        both = Needs(updates=True, models=True, every=2)
        one = 10 * (SIZE + 4) + 4 * SIZE + FILE + ROW * 10
        assert demand(both, rounds=7).nbytes("int8", AsNeeded()) == 4 * SIZE + 4 * one
        few = 6 * (SIZE + 4) + 4 * SIZE + FILE + ROW * 10
        drift = Drift(5, 0.6, 0.6)
        assert demand(both, rounds=7).nbytes("int8", drift) == 4 * SIZE + 5 * few

    @pytest.mark.parametrize("encoding", [*encodings.SIMPLE, "topk-0.1"])
    @pytest.mark.parametrize("clients", [1, 100])
    def test_a_file_takes_no_more_than_is_allowed_for(self, tmp_path, encoding, clients):
        chosen = encodings.of(encoding)
        sent = Updates(
            tuple(range(10**6, 10**6 + clients)),
            torch.randn(clients, 50),
            torch.full((clients,), 10**6),
        )
        done = Round(10**6, sent, 10**9, torch.randn(50))
        stored = write(tmp_path / "round.safetensors", done, chosen)
        assert stored.path.stat().st_size <= stored.nbytes + FILE + ROW * clients

    def test_coarser_than_what_is_asked_for_only(self):
        whole = demand().nbytes("bfloat16", AsNeeded())
        assert picked(whole, store=OnDisk(encoding="bfloat16"))[0] == "bfloat16"
        assert picked(whole - 1, store=OnDisk(encoding="bfloat16"))[0] == "int8"
        topk = OnDisk(encoding="topk-0.1")
        assert picked(demand().nbytes("topk-0.1", Every(2)), store=topk)[:2] == (
            "topk-0.1",
            Every(2),
        )

    def test_encoded_rounds_do_not_stay_in_memory_as_they_are(self):
        whole = demand().nbytes("float32", AsNeeded())
        store = OnDisk(limit=1e9)
        assert fit(whole, store, AsNeeded(), demand()).store == store
        assert fit(whole - 1, store, AsNeeded(), demand()).store.limit == 0

    def test_an_interval_is_widened_in_multiples_of_the_strategies_own(self):
        needs = Needs(updates=True, every=3)
        whole = demand(needs).nbytes("int8", AsNeeded())
        assert picked(whole - 1, needs)[1] == Every(6)
        half = demand(needs).nbytes("int8", Every(2))
        assert picked(half - 1, needs, policy=Every(2))[1] == Every(12)

    def test_every_strategy_keeps_a_round_before_the_first_request(self):
        needs = (UPDATES, Needs(updates=True, every=3))
        ways = {picked(b, *needs, first=7)[1] for b in range(140_000, 900_000, 5_000)}
        assert ways == {AsNeeded(), Every(2)}  # with one in 4, the second would see one in 12
        with pytest.raises(Refused, match=r"one round in 2 as int8"):
            picked(100_000, *needs, first=7)

    def test_rounds_are_left_out_only_where_that_is_allowed(self):
        least = demand().nbytes("int8", AsNeeded())
        with pytest.raises(Refused, match=r"every round as int8, the least"):
            picked(least - 1, replace(UPDATES, complete=True))
        drift = Drift(5, 0.6, 0.7)
        enough = demand().nbytes("int8", drift)
        assert picked(enough, policy=drift)[:2] == ("int8", drift)
        with pytest.raises(Refused, match=r"what the policy chooses as int8, the least"):
            picked(enough - 1, policy=drift)

    def test_models_are_not_encoded(self):
        models = Needs(models=True)
        assert picked(demand(models).nbytes("float32", AsNeeded()) - 1, models)[:2] == (
            "float32",
            Every(2),
        )

    def test_the_sentence_says_what_was_picked_and_what_was_not(self):
        whole = demand().nbytes("float32", AsNeeded())
        assert picked(whole)[2] == (
            "history.budget=992.4 kB is enough for every round as float32: 992.4 kB."
        )
        assert picked(whole / 5)[2] == (
            "history.budget=198.5 kB is less than every round as float32: 992.4 kB. Kept is one "
            "round in 2 as int8: 138.7 kB; strategies see no more than that."
        )
        assert "store no rounds" in picked(1, Needs())[2]

    def test_too_small_names_the_smallest(self):
        with pytest.raises(Refused, match=r"5.0 kB is too small: one round in 16 as int8, .* 26"):
            picked(5_000)


class TestExperiment:
    def test_the_rounds_of_recoveries_count(self):
        size = build_federation(WAVES.scenario(0)).network.layout.size
        store = OnDisk()
        with_recovery = replace(WAVES, store=store, budget=1e9)
        without = replace(with_recovery, recovery=Plain(rounds=1), requests=())
        found = [e.within_budget(size)[1].rsplit(": ", 1)[1] for e in (with_recovery, without)]
        assert float(found[0].split()[0]) > float(found[1].split()[0])

    def test_what_a_cache_holds_besides_counts(self, tmp_path):
        alone = replace(WAVES, store=OnDisk(), budget=1e9, strategies={"fedaccum": FedAccum()})
        size = build_federation(alone.scenario(0)).network.layout.size
        found = [e.within_budget(size)[1] for e in (alone, replace(alone, cache=tmp_path))]
        written_each = [float(said.rsplit(": ", 1)[1].split()[0]) for said in found]
        assert written_each[1] > 1.15 * written_each[0]  # a model for each five updates

    def test_what_fits_is_an_experiment_without_a_budget(self):
        tight = replace(WAVES, store=OnDisk(), budget=TIGHT, requests=(Request(frozenset({1}), 7),))
        size = build_federation(tight.scenario(0)).network.layout.size
        fitted, sentence = tight.within_budget(size)
        assert (fitted.store.encoding, fitted.policy, fitted.budget) == ("int8", Every(2), None)
        assert "one round in 2 as int8" in sentence
        assert fitted.within_budget(size) == (fitted, "")
        assert replace(WAVES, store=OnDisk()).within_budget(size)[1] == ""

    def test_the_estimate_is_of_what_is_picked(self):
        tight = replace(
            WAVES,
            store=OnDisk(),
            budget=TIGHT,
            requests=(Request(frozenset({1}), 7),),
            strategies={"fedaccum": FedAccum(), "federaser": FedEraser(interval=2)},
            recovery=Plain(rounds=1),
        )
        costs = estimate(tight, (0,), PACE)
        size = build_federation(tight.scenario(0)).network.layout.size
        shared = costs[costs.strategy == "shared"].store_bytes.iloc[0]
        assert shared == 4 * size + 4 * encodings.of("int8").nbytes(5, size)
        assert shared <= TIGHT
        accumulated = costs[(costs.strategy == "fedaccum") & (costs.phase == "unlearn")]
        assert accumulated.store_bytes.iloc[0] < shared  # the block of round 7 is not complete

    @pytest.mark.parametrize("store", [InMemory(), InMemory(updates=False)])
    def test_memory_has_no_encodings(self, store):
        with pytest.raises(Refused, match=r"set history=auto or history=disk"):
            replace(WAVES, store=store, budget=1e9, strategies={})

    def test_a_budget_is_a_positive_number(self):
        with pytest.raises(Refused, match=r"history.budget must be a number above 0"):
            replace(WAVES, store=OnDisk(), budget=0)


def test_the_command_shows_what_is_picked(monkeypatch, capsys):
    monkeypatch.setattr(Pace, "of", lambda *_: replace(PACE, samples=1e9))
    arguments = ["model=mlp", "training.rounds=8", "strategies=[fedaccum]", "seeds=[0]"]
    for budget, sentence in (("500kB", "Kept is every round as bfloat16"), ("9GB", "is enough")):
        argv = ["fedunlearn estimate", *arguments, f"history.budget={budget}"]
        monkeypatch.setattr(sys, "argv", argv)
        entry.main()
        shown = " ".join(capsys.readouterr().out.split())
        assert sentence in shown
