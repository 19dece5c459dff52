"""Sun: which tensors move in which round, where noise falls, and what is sent back."""

from collections import OrderedDict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from fedunlearn.checks import Refused
from fedunlearn.history import Needs
from fedunlearn.methods import drawn_tensors, freeing, with_noise
from fedunlearn.models import Layout
from fedunlearn.unlearning import Ledger, Request
from strategies.sun import Sun
from tests.support.unlearned import curve
from tests.support.world import World, without_leavers

NET = nn.Sequential(
    OrderedDict(
        conv=nn.Conv2d(1, 4, 3),
        norm=nn.GroupNorm(2, 4),
        downsample=nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.GroupNorm(2, 4)),
        fc=nn.Linear(4, 3),
    )
)
LAYOUT = Layout.of(NET)
ORDINARY = {"conv.weight", "conv.bias", "downsample.0.weight", "fc.weight", "fc.bias"}
NORMS = {"norm.weight", "norm.bias", "downsample.1.weight", "downsample.1.bias"}


class TestTensorsByLot:
    def test_are_a_share_rounded_up_and_never_normalisations(self):
        """Public code takes those beside a shortcut, whose names hold no bn, for ordinary ones."""
        seen = set()
        for seed in range(30):
            drawn = drawn_tensors(LAYOUT, 0.3, np.random.default_rng(seed))
            assert len({part.name for part in drawn}) == 2  # of five
            seen |= {part.name for part in drawn}
        assert seen == ORDINARY
        every = drawn_tensors(LAYOUT, 1.0, np.random.default_rng(0))
        assert {part.name for part in every} == ORDINARY

    def test_move_with_all_normalisations_and_nothing_else(self):
        drawn = drawn_tensors(LAYOUT, 0.3, np.random.default_rng(1))
        mask = freeing(LAYOUT, drawn)
        moving = {part.name for part in LAYOUT.parts if mask.moving[part.slice].all()}
        assert moving == {part.name for part in drawn} | NORMS
        assert mask.free == sum(part.size for part in LAYOUT.parts if part.name in moving)

    def test_noise_is_relative_to_each_tensor_and_falls_on_those_named(self):
        weights = torch.ones(LAYOUT.size)
        big, small = LAYOUT.parts[0], next(p for p in LAYOUT.parts if p.name == "fc.weight")
        weights[big.slice] = 100.0
        noisy = with_noise(weights, [big, small], 0.5, np.random.default_rng(0)) - weights
        plain = torch.from_numpy(np.random.default_rng(0).standard_normal(LAYOUT.size)).float()
        for part, size in ((big, 50.0), (small, 0.5)):
            torch.testing.assert_close(
                noisy[part.slice], size * plain[part.slice], rtol=1e-3, atol=1e-4
            )
            noisy[part.slice] = 0
        assert not noisy.any()


HALF = Sun(masked=4, share=0.5, noised=0.0, free=2)
"""One of the world's two tensors, [2] and [4], moves in each of the first rounds."""


def test_one_tensor_moves_in_a_round_as_it_would_alone_and_the_other_keeps_its_bits():
    world = World()
    models, _ = curve(HALF, [1], world)
    assert len(models) == HALF.length(Request(frozenset({1}), 6)) == 6
    for before, after in pairwise(models[:4]):
        expected = world.formula([0, 2, 3], 1, before)
        parts = slice(0, 2), slice(2, 6)
        moved = [part for part in parts if not torch.equal(before[part], after[part])]
        assert len(moved) == 1
        torch.testing.assert_close(after[moved[0]], expected[moved[0]], rtol=1e-4, atol=1e-5)
    for before, after in pairwise(models[3:]):
        expected = world.formula([0, 2, 3], 1, before)
        torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)


def test_what_was_drawn_before_gets_no_noise():
    """Where all tensors move in the first round, none is left for noise."""
    loud = Sun(masked=3, share=1.0, noised=1.0, std=9.0, free=1)
    found, _ = curve(loud, [1])
    silent, _ = curve(replace(loud, noised=0.0), [1])
    assert all(map(torch.equal, found[:1], silent[:1]))
    world = World()
    for before, after in pairwise(found):
        expected = world.formula([0, 2, 3], 1, before)
        torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)


def test_what_is_drawn_later_gets_noise_once():
    found, _ = curve(replace(HALF, noised=1.0, std=5.0), [1])
    silent, _ = curve(HALF, [1])
    assert torch.equal(found[0], silent[0])
    assert not torch.allclose(found[3], silent[3])


def test_only_what_may_move_is_sent_back():
    world, ledger = World(), Ledger()
    with world.open() as clients:
        course = world.trained(clients)
        asked = replace(without_leavers(clients, [1], HALF.needs), ledger=ledger)
        list(HALF.unlearn(Request(frozenset({1}), 6), course.history, asked))
    sent = [charge.bytes_up for charge in ledger]
    assert len(sent) == 6 * 3
    assert set(sent[: 4 * 3]) <= {4 * 2, 4 * 4}
    assert set(sent[4 * 3 :]) == {4 * 6}


def test_what_is_declared_and_refused():
    assert Sun().needs == Needs(remaining=True, masks=True)
    with pytest.raises(Refused, match=r"Sun\.share must be a number above 0 and at most 1"):
        Sun(share=0)
    with pytest.raises(Refused, match=r"Sun\.free must be a whole number of at least 1"):
        Sun(free=0)
