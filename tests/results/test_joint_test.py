"""The test on all measures at once: closed forms, invariances, and how often it errs."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedunlearn.checks import Refused
from fedunlearn.results.joint_test import told_apart


def drawn(rng, seeds=3, references=3, measures=4, shift=0.0, shared=0.5):
    """Models of a normal family whose measures hang together; the strategy's are shifted."""
    common = rng.normal(size=(seeds, references + 1, 1)) * math.sqrt(shared)
    own = rng.normal(size=(seeds, references + 1, measures)) * math.sqrt(1 - shared)
    models = common + own + 3 * rng.normal(size=(seeds, 1, measures))
    models[:, 0] += shift
    names = [f"m{place}" for place in range(measures)]
    return (
        {name: models[:, 0, place] for place, name in enumerate(names)},
        {name: models[:, 1:, place] for place, name in enumerate(names)},
    )


def by_hand(values, references):
    """The same by loops over all arrangements, from the definition."""
    seeds, models = len(next(iter(values.values()))), 1 + next(iter(references.values())).shape[1]
    gaps = {name: [] for name in values}
    for chosen in product(range(models), repeat=seeds):
        for name in values:
            together = [[values[name][s], *references[name][s]] for s in range(seeds)]
            one = [
                row[c] - sum(v for k, v in enumerate(row) if k != c) / (models - 1)
                for row, c in zip(together, chosen, strict=True)
            ]
            gaps[name].append(abs(sum(one) / seeds))
    scaled = {n: np.array(g) / math.sqrt(np.mean(np.square(g))) for n, g in gaps.items()}
    largest = np.max(list(scaled.values()), axis=0)
    return {name: np.mean(largest >= sizes[0] - 1e-9) for name, sizes in scaled.items()}


@pytest.mark.parametrize(("seeds", "references"), [(1, 1), (2, 4), (3, 3)])
def test_it_is_its_definition(seeds, references):
    for draw in range(5):
        values, others = drawn(np.random.default_rng(draw), seeds, references, 3, shift=draw)
        p, adjusted = told_apart(values, others)
        assert adjusted == pytest.approx(by_hand(values, others))
        assert p == min(adjusted.values())


def test_one_measure_alone_is_the_test_of_exchanging_it():
    from fedunlearn.results.permutation_test import exchange

    values, others = drawn(np.random.default_rng(5), measures=1, shift=1.5)
    p, adjusted = told_apart(values, others)
    assert p == adjusted["m0"] == exchange(values["m0"], others["m0"]).p_value


@given(st.integers(0, 2**32), st.floats(-3, 3), st.floats(0.01, 100))
@settings(deadline=None, max_examples=30)
def test_units_do_not_matter_nor_what_all_models_of_a_seed_share(seed, moved, scale):
    values, others = drawn(np.random.default_rng(seed), shift=1.0)
    other_units = {name: -scale * own + moved for name, own in values.items()}
    in_them = {name: -scale * own + moved for name, own in others.items()}
    assert told_apart(other_units, in_them)[1] == pytest.approx(told_apart(values, others)[1])


def test_a_copy_of_a_measure_changes_nothing():
    values, others = drawn(np.random.default_rng(3), shift=1.5)
    twice = told_apart({**values, "copy": values["m0"]}, {**others, "copy": others["m0"]})
    assert twice[0] == told_apart(values, others)[0]
    assert twice[1]["copy"] == twice[1]["m0"]


def test_what_is_the_same_for_all_models_tells_nothing():
    values, others = drawn(np.random.default_rng(3), shift=1.5)
    constant = {"c": np.zeros(3)}, {"c": np.zeros((3, 3))}
    p, adjusted = told_apart({**values, **constant[0]}, {**others, **constant[1]})
    assert p == told_apart(values, others)[0]
    assert adjusted["c"] == 1
    assert told_apart(*constant) == (1, {"c": 1})
    assert told_apart({}, {}) == (1, {})
    per_seed = {"c": np.arange(3.0)}, {"c": np.repeat(np.arange(3.0)[:, None], 3, axis=1)}
    assert told_apart(*per_seed) == (1, {"c": 1})


def test_a_seed_that_has_no_number_does_not_count():
    values, others = drawn(np.random.default_rng(4), seeds=4, measures=1, shift=3)
    values["m0"][2] = np.nan
    p, _ = told_apart(values, others)
    rows = [0, 1, 3]
    assert p == told_apart({"m0": values["m0"][rows]}, {"m0": others["m0"][rows]})[0]
    assert told_apart({"m": np.full(3, np.nan)}, {"m": np.ones((3, 3))}) == (1, {"m": 1})


def test_far_away_models_are_the_most_extreme_arrangement():
    values, others = drawn(np.random.default_rng(1), shift=50)
    p, adjusted = told_apart(values, others)
    assert p == pytest.approx(1 / 4**3)
    assert set(adjusted.values()) == {p}


@pytest.mark.parametrize(
    ("values", "references"),
    [
        ({"a": np.zeros(3)}, {"b": np.zeros((3, 3))}),
        ({"a": np.zeros(3)}, {"a": np.zeros(3)}),
        ({"a": np.zeros(3)}, {"a": np.zeros((2, 3))}),
        ({"a": np.zeros(3)}, {"a": np.zeros((3, 0))}),
        ({"a": np.zeros(3), "b": np.zeros(2)}, {"a": np.zeros((3, 2)), "b": np.zeros((2, 2))}),
    ],
)
def test_what_does_not_fit_is_a_sentence(values, references):
    with pytest.raises(Refused, match="measure"):
        told_apart(values, references)


@pytest.mark.parametrize(
    ("seeds", "references"), [(3, 3), pytest.param(10, 5, marks=pytest.mark.slow)]
)
def test_retrained_models_are_told_apart_no_oftener_than_said(seeds, references):
    """Binomial: 400 draws at 5 % have more than 33 with a chance of less than a thousandth."""
    rng = np.random.default_rng(0)
    draws = 400 if seeds == 3 else 60
    told = sum(
        told_apart(*drawn(rng, seeds, references, measures=12))[0] <= 0.05 for _ in range(draws)
    )
    assert told <= stats.binom.isf(1e-3, draws, 0.05)


def test_a_shift_is_found_where_holm_finds_nothing():
    """3 seeds x 3 references, 12 measures: the smallest p-value there can be is 1/64, times 12."""
    rng = np.random.default_rng(0)
    found = [told_apart(*drawn(rng, measures=12, shift=3.0))[0] <= 0.05 for _ in range(100)]
    assert np.mean(found) > 0.8
    assert 12 / 4**3 > 0.05
