"""The marker test: exact probabilities, its two kinds of error, and what a snapshot gives."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import binom

from fedunlearn.checks import Refused
from fedunlearn.evaluators import MarkerTest
from fedunlearn.evaluators.verification import (
    DOUBT,
    decoy_p_value,
    power,
    queries_needed,
    verification_p_value,
)
from tests.support.evaluated import CLASSES, records, saying

TARGET = 2


def test_the_p_value_by_hand():
    # No base hit of 9: the rate is at most 1 - DOUBT^(1/9) with confidence 1 - DOUBT.
    bound = 1 - DOUBT ** (1 / 9)
    assert verification_p_value(3, 3, 0, 9) == pytest.approx(bound**3 + DOUBT)
    assert verification_p_value(1, 3, 0, 9) == pytest.approx(1 - (1 - bound) ** 3 + DOUBT)
    slack = verification_p_value(3, 3, 0, 9, slack=0.1)
    assert slack == pytest.approx((bound + 0.1) ** 3 + DOUBT)
    assert verification_p_value(0, 3, 0, 9) == 1
    assert verification_p_value(3, 3, 9, 9, slack=0.5) == 1
    with pytest.raises(ValueError, match="no test"):
        verification_p_value(0, 0, 1, 9)
    with pytest.raises(ValueError, match="no test"):
        verification_p_value(0, 3, 0, 0)


@pytest.mark.slow
def test_a_server_that_deleted_is_rarely_accused():
    # Exactly: over all outcomes of 40 marked and 40 plain queries at the same rate.
    hits = np.arange(41)
    p = np.array([[verification_p_value(h, 40, b, 40) for b in hits] for h in hits])
    for rate, alpha in itertools.product((0.01, 0.1, 0.5), (0.001, 0.01, 0.05)):
        chance = np.outer(binom.pmf(hits, 40, rate), binom.pmf(hits, 40, rate))
        assert chance[p <= alpha].sum() <= alpha, (rate, alpha)


def test_a_server_that_did_not_is_found():
    rng = np.random.default_rng(0)
    marked, plain = rng.binomial(100, 0.6, 200), rng.binomial(100, 0.05, 200)
    p = [verification_p_value(int(h), 100, int(b), 100) for h, b in zip(marked, plain, strict=True)]
    assert max(p) < 0.001


def test_decoys_rank_the_marker():
    assert decoy_p_value(9, [1, 2, 3, 4]) == 0.2
    assert decoy_p_value(3, [1, 2, 3, 4]) == 0.6
    assert decoy_p_value(0, [1, 2, 3, 4]) == 1
    with pytest.raises(ValueError, match="no test"):
        decoy_p_value(3, [])


def test_power_by_hand():
    # Of 2 queries at base 0.1: two hits have chance 0.01, one or more 0.19. At 5 % only two alarm.
    assert power(2, 0.1, 0.8) == pytest.approx(0.8**2)
    assert power(2, 0.1, 0.8, alpha=0.2) == pytest.approx(1 - 0.2**2)
    assert power(2, 0.1, 0.1) == pytest.approx(0.01)


def test_queries_needed_is_the_first_that_suffices():
    needed = queries_needed(0.1, 0.6, alpha=1e-3, beta=1e-3)
    assert needed == 30
    assert power(needed, 0.1, 0.6, 1e-3) >= 0.999
    assert all(power(fewer, 0.1, 0.6, 1e-3) < 0.999 for fewer in range(1, needed))
    assert queries_needed(0.1, 0.12) > queries_needed(0.1, 0.6)
    with pytest.raises(ValueError, match="no more often"):
        queries_needed(0.2, 0.2)
    with pytest.raises(ValueError, match="do not suffice"):
        queries_needed(0.2, 0.2001)


def said(*classes):
    return 5.0 * torch.eye(CLASSES)[torch.tensor(classes)]


def world(marked, **more):
    """Test records of which 4 are of the target class, and 20 others; one is taken for it."""
    test = records(said(*[TARGET] * 5, *[0] * 19), [TARGET] * 4 + [0] * 20)
    sets = {name: records(said(*c), [TARGET] * len(c)) for name, c in {**more}.items()}
    return saying({"test": test, "triggered": records(said(*marked), [TARGET] * 20), **sets})


def test_the_evaluator_counts_the_trigger_and_the_plain_images():
    found = MarkerTest(slack=0.02)(world([TARGET] * 15 + [0] * 5), None)
    expected = verification_p_value(15, 20, 1, 20, 0.02)
    assert found == {"verification_p_value": pytest.approx(expected)}
    unknown = MarkerTest()(world([TARGET] + [0] * 19), None)
    assert unknown["verification_p_value"] > 0.9


def test_several_triggers_share_the_error():
    known, unknown = [TARGET] * 15 + [0] * 5, [0] * 20
    one = saying({**world(known).sets})
    sets = {"test": one.sets["test"], "triggered/0": one.sets["triggered"]}
    sets["triggered/1"] = records(said(*unknown), [TARGET] * 20)
    both = MarkerTest()(saying(sets), None)["verification_p_value"]
    alone = MarkerTest()(one, None)["verification_p_value"]
    assert both == pytest.approx(2 * alone)
    sets["triggered/0"] = sets["triggered/1"]
    assert MarkerTest()(saying(sets), None) == {"verification_p_value": 1}


def test_without_a_trigger_there_is_no_test():
    assert MarkerTest()(saying({"test": records(said(0, 1), [0, 1])}), None) == {}


def test_a_model_that_says_no_numbers_has_no_p_value():
    test = world([TARGET] * 20).sets["test"]
    nothing = records([[float("nan")] * CLASSES] * 20, [TARGET] * 20)
    sets = {"test": test, "triggered/0": nothing, "triggered/1": records(said(*[0] * 20), [2] * 20)}
    assert np.isnan(MarkerTest()(saying(sets), None)["verification_p_value"])


def test_slack_out_of_range_is_refused():
    with pytest.raises(Refused, match=r"MarkerTest\.slack must be"):
        MarkerTest(slack=-0.1)
