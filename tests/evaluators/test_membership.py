import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from fedunlearn.evaluators import Membership
from tests.support.evaluated import hits, randomly, records, saying


def _auc(members, others, **more):
    sets = {"forget_clean": members, "forget_heldout": others, **more}
    return Membership()(saying(sets), None)["membership_auc"]


def test_the_same_records_on_both_sides_give_one_half():
    held = randomly(40, seed=0)
    assert _auc(held, held) == 0.5


def test_records_that_a_threshold_separates_give_one_and_swapped_zero():
    assert _auc(hits(6, 0), hits(0, 9)) == 1
    assert _auc(hits(0, 9), hits(6, 0)) == 0


def test_identical_distributions_give_one_half_up_to_chance():
    n, m, repeats = 50, 30, 40
    areas = [_auc(randomly(n, seed=2 * i), randomly(m, seed=2 * i + 1)) for i in range(repeats)]
    sd = math.sqrt((n + m + 1) / (12 * n * m))
    assert abs(np.mean(areas) - 0.5) < 4 * sd / math.sqrt(repeats)
    assert np.std(areas) == pytest.approx(sd, rel=0.4)


def test_it_equals_scikit_learn_with_the_negative_loss_as_score():
    members, others = randomly(30, seed=0, spread=1.0), randomly(20, seed=1, spread=3.0)
    scores = [
        -functional.cross_entropy(held.inputs.flatten(1), held.labels, reduction="none").numpy()
        for held in (members, others)
    ]
    expected = roc_auc_score([1] * 30 + [0] * 20, np.concatenate(scores))
    assert _auc(members, others) == pytest.approx(expected, abs=1e-12)


def test_poisoned_records_do_not_count():
    members, others = randomly(30, seed=0), randomly(20, seed=1)
    assert _auc(members, others, forget=hits(99, 0)) == _auc(members, others)


def test_without_members_or_others_there_is_no_area():
    some, none = randomly(5, seed=0), records([], [])
    for sets in (
        {},
        {"forget_clean": some},
        {"forget_heldout": some},
        {"forget_clean": some, "forget_heldout": none},
        {"forget_clean": none, "forget_heldout": some},
    ):
        assert Membership()(saying(sets), None) == {}
