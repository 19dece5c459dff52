"""What updates tell of their clients, in closed forms, and how clients are ranked by it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fedunlearn.attacks import LOOKS, Suspects
from fedunlearn.attacks.suspicion import found_first, looks, ranked, record_losses
from fedunlearn.checks import Refused
from fedunlearn.data import Records
from fedunlearn.history import Updates
from fedunlearn.models import Mlp, Network
from tests.support.small_experiment import SMALL

NETWORK = Network(Mlp((4,)), (1, 2, 2), 3)


def federation(seed=0, clients=(0, 1, 2, 3)):
    generator = torch.Generator().manual_seed(seed)
    before = torch.randn(NETWORK.layout.size, generator=generator)
    deltas = torch.randn(len(clients), NETWORK.layout.size, generator=generator)
    records = Records(
        torch.randn(20, 1, 2, 2, generator=generator),
        torch.randint(0, 3, (20,), generator=generator),
    )
    return before, Updates(tuple(clients), deltas, torch.tensor([5, 10, 20, 40])), records


def loss(weights, records):
    logits = NETWORK(weights, records.inputs)
    return torch.nn.functional.cross_entropy(logits, records.labels).item()


def test_every_number_is_its_formula():
    before, sent, records = federation()
    (row,) = (row for row in looks(NETWORK, before, sent, records) if row["client"] == 2)
    others, counts = sent.deltas[[0, 1, 3]], torch.tensor([5.0, 10.0, 40.0])
    rest = (others * (counts / 55)[:, None]).sum(dim=0)
    whole = (sent.deltas * (sent.examples / 75)[:, None]).sum(dim=0)
    own = [loss(before + delta, records) for delta in sent.deltas]
    mine = sent.deltas[2]
    assert row["length"] == pytest.approx(float(mine.norm() / others.norm(dim=1).median()))
    assert row["cosine"] == pytest.approx(float(mine @ rest / mine.norm() / rest.norm()), abs=1e-6)
    assert row["own_loss"] == pytest.approx(own[2] - sorted([own[0], own[1], own[3]])[1], rel=1e-4)
    gained = loss(before + rest, records) - loss(before + whole, records)
    assert row["loss_without"] == pytest.approx(gained, rel=1e-3, abs=1e-6)


def test_clients_who_send_the_same_are_equally_suspicious():
    before, sent, records = federation()
    alike = replace(sent, deltas=sent.deltas[:1].expand(4, -1).clone())
    rows = looks(NETWORK, before, alike, records)
    for row in rows:
        expected = {"length": 1, "cosine": 1, "own_loss": 0, "loss_without": 0, "accuracy_gain": 0}
        assert {name: row[name] for name in LOOKS} == pytest.approx(expected, abs=1e-6)


def test_who_trained_alone_is_compared_with_nobody_and_comes_last():
    before, sent, records = federation()
    assert looks(NETWORK, before, sent.only({2}), records) == []
    table = ranked(looks(NETWORK, before, sent.only({0, 1, 3}), records), [0, 1, 2, 3])
    assert table["client"].iloc[-1] == 2
    assert np.isnan(table["suspicion"].iloc[-1])
    assert list(table["rounds"]) == [1, 1, 1, 0]
    assert table["suspicion"].iloc[:3].between(0, 1).all()


def test_numbers_of_clients_are_only_names():
    before, sent, records = federation()
    names = {0: 7, 1: 3, 2: 9, 3: 1}
    order = sorted(range(4), key=names.get)
    other = Updates(
        tuple(names[c] for c in order), sent.deltas[order], sent.examples[torch.tensor(order)]
    )
    plain = ranked(looks(NETWORK, before, sent, records), range(4)).set_index("client")
    named = ranked(looks(NETWORK, before, other, records), sorted(names.values()))
    named = named.set_index("client")
    for client, name in names.items():
        for column in (*LOOKS, "suspicion"):
            assert plain.loc[client, column] == pytest.approx(named.loc[name, column], abs=1e-6)


def test_who_is_worst_by_everything_has_suspicion_one_and_who_is_best_none():
    rows = [
        {"client": c, "length": 1.0, "accuracy_gain": 0.0}
        | {"cosine": -c, "own_loss": c, "loss_without": -c}
        for c in range(5)
    ]
    table = ranked(rows, range(5))
    assert list(table["client"]) == [4, 3, 2, 1, 0]
    assert list(table["suspicion"]) == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_pairs_are_counted_with_ties_by_halves():
    rng = np.random.default_rng(0)
    scores, wanted = rng.integers(0, 4, 30), rng.random(30) < 0.4
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[wanted] for b in scores[~wanted]
    ]
    assert found_first(list(scores), list(wanted)) == pytest.approx(np.mean(pairs))
    assert np.isnan(found_first([1.0, 2.0], [True, True]))


def test_a_record_s_loss_is_that_of_its_own_label():
    before, _, records = federation()
    losses = record_losses(NETWORK, before, records)
    assert losses.mean() == pytest.approx(loss(before, records), rel=1e-5)
    assert losses[3] == pytest.approx(loss(before, records.take(torch.tensor([3]))), rel=1e-5)


def test_without_records_of_the_server_nothing_is_told():
    run = SimpleNamespace(folder="outputs/run")
    with pytest.raises(Refused, match="no records \\(proxy=0\\)"):
        Suspects(replace(SMALL, strategies={}, proxy=0.0), run)
