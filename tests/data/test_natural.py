"""Clients by nature: who is one, what each holds, and that names stay with people."""

import logging
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedunlearn.checks import Refused
from fedunlearn.data import (
    ByOwner,
    Dataset,
    Digits,
    Natural,
    NoPlanting,
    Owners,
    Records,
    Scenario,
    build_federation,
)
from fedunlearn.data.natural import reserve
from fedunlearn.models import Mlp
from tests.support.record_kinds import NAMES, Synthetic


@dataclass(frozen=True)
class Numbered:
    """Records that are their own numbers, held by owners of these sizes."""

    sizes: tuple[int, ...]

    def load(self) -> Dataset:
        """Make the data set; records of owners are mixed."""
        total = sum(self.sizes)
        order = torch.randperm(total, generator=torch.Generator().manual_seed(1))
        of = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))
        records = Records(torch.arange(total).float()[:, None], torch.arange(total) % 2)
        names = tuple(f"owner {number}" for number in range(len(self.sizes)))
        return Dataset(records, records, ("a", "b"), owners=Owners(of[order], names))


def federation(sizes, natural, seed=0, proxy=0.1):
    source = Numbered(sizes)
    scenario = Scenario(source, natural.of(source), NoPlanting(), Mlp((2,)), (), seed, 0.2, proxy)
    return build_federation(scenario)


def held(here, client):
    sides = here.train[client], here.heldout[client]
    return sorted(int(n) for side in sides for n in side.inputs)


sizes = st.lists(st.integers(1, 40), min_size=2, max_size=9).map(tuple)


@given(sizes, st.integers(2, 12), st.booleans(), st.sampled_from([0, 0.1, 0.5]), st.integers(0, 9))
def test_each_client_holds_its_owners_records_but_the_server_s_share(
    sizes, minimum, merge, proxy, seed
):
    natural = Natural(minimum=minimum, merge=merge)
    large = [owner for owner, size in enumerate(sizes) if size >= minimum]
    small = [owner for owner, size in enumerate(sizes) if size < minimum]
    together = sum(sizes[owner] for owner in small)
    expected = [(owner,) for owner in large]
    expected += [tuple(small)] if merge and together >= minimum else []
    if len(expected) < 2:
        with pytest.raises(Refused, match="a federation needs two"):
            federation(sizes, natural)
        return
    here = federation(sizes, natural, seed, proxy)
    of = here.dataset.owners.of.numpy()
    assert here.scenario.partition.members == tuple(expected)
    assert len(here.owners) == here.clients == len(expected)
    everybody = [int(n) for n in here.proxy.flatten()]
    for client, owners in enumerate(expected):
        mine, size = held(here, client), sum(sizes[owner] for owner in owners)
        assert set(of[mine]) <= set(owners)
        assert len(mine) == size - min(round(proxy * size), size - 2)
        everybody += mine
    assert sorted(everybody) == np.flatnonzero(np.isin(of, sum(expected, ()))).tolist()


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=60), st.floats(0, 0.9))
def test_the_server_s_share_is_taken_from_everybody(holders, share):
    holders = np.array([*holders, 0])
    servers, parts = reserve(holders, share, np.random.default_rng(0))
    for client, part in enumerate(parts):
        owned = np.flatnonzero(holders == client)
        given = set(owned.tolist()) - set(part.tolist())
        assert len(given) == min(round(share * len(owned)), max(0, len(owned) - 2))
        assert given == set(owned.tolist()) & set(servers.tolist())
    assert not set(servers.tolist()) & set(np.flatnonzero(holders < 0).tolist())


def test_a_client_is_the_same_owner_under_every_seed():
    first, second = (federation((30, 20, 25, 40), Natural(clients=3), seed) for seed in (0, 1))
    assert first.owners == second.owners
    assert held(first, 0) != held(second, 0)


def test_who_takes_part_is_drawn_or_named():
    source = Numbered((30, 20, 5, 40, 50))
    drawn = {Natural(clients=3, seed=seed).of(source).names for seed in range(20)}
    assert len(drawn) > 1
    assert not any("owner 2" in names for names in drawn)
    assert all(names == tuple(sorted(names)) for names in drawn)
    named = Natural(owners=["owner 3", "owner 1"]).of(source)
    assert named == ByOwner(((1,), (3,)), ("owner 1", "owner 3"))


def test_those_left_out_are_counted_and_named(caplog):
    with caplog.at_level(logging.WARNING):
        Natural(minimum=11).of(Numbered((30, 4, 20, 6)))
    assert "2 of 4 owners" in caplog.text
    assert "(owner 1 and owner 3), 10 records" in caplog.text


@pytest.mark.parametrize(
    ("natural", "source", "sentence"),
    [
        (Natural(), Digits(), r"dataset=Digits names no owners. Choose another partition"),
        (Natural(clients=4), Numbered((30, 30, 30, 3)), r"clients=4 is more than the 3 owners"),
        (Natural(minimum=50), Numbered((30, 60)), r"leaves 1 of the 2 owners .* of one 60"),
        (Natural(owners=("owner",)), Numbered((30, 60)), r"owners names 'owner'.*did you mean"),
    ],
)
def test_what_cannot_be_is_refused(natural, source, sentence):
    with pytest.raises(Refused, match=sentence):
        natural.of(source)


def test_owners_that_changed_are_refused():
    source = Synthetic("table")
    settled = Natural().of(source)
    assert settled.names == NAMES
    scenario = Scenario(Digits(), settled, NoPlanting(), Mlp((2,)), (), 0)
    with pytest.raises(Refused, match="no longer names the owners"):
        build_federation(scenario)
    with pytest.raises(Refused, match="client 4, but the federation has clients 0 to 3"):
        replace(scenario, dataset=source, leavers=(4,))
