"""Entanglement from sums: what it is, against sums over single records, and what it leaves out."""

import math

import pytest
import torch

from fedunlearn.methods import (
    Moments,
    chance_entanglement,
    class_entanglement_score,
    entanglement_score,
)


def blob(records, at=0.0, seed=0, features=8):
    rng = torch.Generator().manual_seed(seed)
    return at + torch.randn(records, features, generator=rng)


def moments(features, labels=None, classes=3):
    labels = torch.zeros(len(features), dtype=torch.int64) if labels is None else labels
    return Moments.of(features, labels, classes)


def direct(one, other):
    """The definition, record by record, with the midpoint of both means."""
    first, second = one.double().mean(0), other.double().mean(0)
    middle = (first + second) / 2
    spread = (one - first).square().sum(1).mean() + (other - second).square().sum(1).mean()
    apart = ((first - middle).square().sum() + (second - middle).square().sum()) / 2
    return float(spread / apart)


@pytest.mark.parametrize("sizes", [(500, 500), (700, 3), (2, 90)])
@pytest.mark.parametrize("at", [0.0, 1.0, 30.0])
def test_sums_give_what_the_records_give(sizes, at):
    one, other = blob(sizes[0]), blob(sizes[1], at, seed=1)
    found = entanglement_score(moments(one), moments(other))
    assert found == pytest.approx(direct(one, other), rel=1e-5)
    assert entanglement_score(moments(other), moments(one)) == pytest.approx(found)


def test_far_blobs_are_not_entangled_and_equal_distributions_are():
    near = moments(blob(2000))
    assert entanglement_score(near, moments(blob(2000, 10.0, seed=1))) < 1
    assert entanglement_score(near, moments(blob(2000, 0.0, seed=1))) > 1000
    assert entanglement_score(near, near) == math.inf
    assert math.isnan(entanglement_score(near, moments(blob(0))))


def test_chance_alone_gives_what_the_docstring_says():
    wide = [
        entanglement_score(moments(blob(40, 0, s, 200)), moments(blob(10, 0, 99 + s, 200)))
        for s in range(30)
    ]
    # V of few records falls short of the distribution's by 1/n: (1 - 1/40 + 1 - 1/10) / 2
    wanted = chance_entanglement(40, 10) * 0.9375
    assert sum(wide) / len(wide) == pytest.approx(wanted, rel=0.05)


def test_parts_add_up_to_the_whole_and_leave_again():
    labels = torch.arange(60) % 3
    features = blob(60)
    parts = [moments(features[rows], labels[rows]) for rows in torch.arange(60).split([5, 25, 30])]
    whole, total = moments(features, labels), Moments.total(parts)
    for name in ("count", "sum", "square"):
        torch.testing.assert_close(getattr(total, name), getattr(whole, name))
    assert total.records == 60
    told = {name: getattr(total, name).float() for name in ("count", "sum", "square")}
    assert entanglement_score(Moments.read(told), parts[0]) == pytest.approx(
        entanglement_score(total, parts[0]), rel=1e-4
    )


def test_other_shares_of_the_same_classes_entangle_only_within_classes():
    """Label skew: classes far apart, each the same at both clients, whose shares differ."""

    def client(shares, seed):
        labels = torch.repeat_interleave(torch.arange(3), torch.tensor(shares))
        return moments(blob(len(labels), seed=seed) + 20.0 * labels[:, None], labels)

    skewed, other = client((180, 15, 5), 1), client((5, 15, 180), 2)
    alike = client((180, 15, 5), 3)
    raw = entanglement_score(skewed, other), entanglement_score(skewed, alike)
    assert raw[0] < raw[1] / 100
    within = class_entanglement_score(skewed, other), class_entanglement_score(skewed, alike)
    assert within[0] > 10 * raw[0]
    # of the same size as where the shares are the same: only the numbers of records matter there
    assert 0.2 < within[0] / within[1] < 5


def test_a_class_that_differs_shows_within_classes():
    labels = torch.arange(300) % 3
    one = moments(blob(300), labels)
    same, moved = (
        moments(blob(300, seed=5) + shift * (labels == 1)[:, None], labels) for shift in (0.0, 9.0)
    )
    assert class_entanglement_score(one, moved) < class_entanglement_score(one, same)


def test_single_records_of_a_class_tell_nothing_within_it():
    few = moments(blob(3), torch.tensor([0, 1, 2]))
    assert math.isnan(class_entanglement_score(few, moments(blob(9), torch.arange(9) % 3)))


def test_equal_records_have_no_spread_below_zero():
    one = moments(torch.full((7, 8), 0.1 + 1e4))
    other = moments(torch.full((7, 8), 0.3))
    assert 0 <= entanglement_score(one, other) < 1e-6
