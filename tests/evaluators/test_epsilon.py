"""Epsilon of attacks: by hand, by the closed form of two Gaussians, and under what changes none."""

import numpy as np
import pytest
from scipy.stats import norm

from fedunlearn.evaluators.epsilon import CAP, epsilon, epsilon_interval, epsilons
from tests.support.gaussian_confidences import closed_form, draws, side

DELTA = 0.1


def test_epsilon_by_hand():
    fpr, fnr = np.array([0.25, 0.5, 0.1, 0.9]), np.array([0.5, 0.25, 0.1, 0.9])
    # 1 - 0.1 - 0.25 = 0.65 over 0.5, and 1 - 0.1 - 0.5 = 0.4 over 0.25: the second is larger
    expected = [np.log(0.4 / 0.25), np.log(0.4 / 0.25), np.log(0.8 / 0.1), 0]
    assert epsilon(fpr, fnr, DELTA) == pytest.approx(expected, rel=1e-12)


def test_no_error_is_infinite_and_one_missing_error_does_not_count():
    zero, some = np.array([0.0]), np.array([0.25])
    assert epsilon(zero, zero)[0] == np.inf
    assert np.isnan(epsilon(zero, some)[0])
    assert np.isnan(epsilon(some, zero)[0])


def test_the_threshold_attack_by_hand():
    # Ours have the larger median. From 2 on: all of theirs below but 2.5, all of ours but 1.
    ours, theirs = side([1, 2, 3, 4]), side([0, 0.5, 0.7, 2.5])
    # Cuts with both errors: (FNR, FPR) = (1/4, 1/4) between 1 and 2.5, (2/4, 1/4) below 2.5.
    found = epsilons(ours, theirs, ["threshold"], DELTA)
    assert found == pytest.approx([np.log((1 - DELTA - 0.25) / 0.25)])
    assert epsilons(theirs, ours, ["threshold"], DELTA) == pytest.approx(found)


def test_the_interval_attack_sees_what_no_threshold_sees():
    # Ours lie between theirs: every threshold errs on half of theirs or of ours.
    ours, theirs = side([-1, -0.1, 0.1, 9]), side([-9, -8, 0, 9.5])
    # [-0.1, 0.1] takes 2 of ours and 1 of theirs; [-1, 0.1] 3 of ours and 1 of theirs.
    wide = epsilons(ours, theirs, ["threshold"], DELTA)
    inside = epsilons(ours, theirs, ["interval"], DELTA)
    assert wide == pytest.approx([np.log((1 - DELTA - 0.5) / 0.25)])
    # Both ranges are wide: the right end lies within 2 of 9, so all of ours above -1 are taken,
    # with theirs 0 (and 9.5, if the end lies beyond): FNR 0 is discarded, FNR 1/4 is not.
    assert inside == pytest.approx([np.log((1 - DELTA - 0.25) / 0.25)])


def test_an_interval_must_be_about_as_wide_as_the_narrower_side():
    # Theirs span 10 around ours' two clusters, which lie 20 apart: no interval of 8 to 12
    # that ends near 5 separates, although [9, 11] would take half of ours and none of theirs.
    theirs = side(np.linspace(-5, 5, 11))
    ours = side([-10.0] * 5 + [10.0] * 5 + [0.5])
    # In [-5, 5] lie all of theirs and one of ours: FPR is 1/11 with FNR 0, and not counted;
    # leaving out the lowest of theirs gives FNR 1/11, FPR 1/11.
    expected = np.log((1 - DELTA - 1 / 11) / (1 / 11))
    assert epsilons(ours, theirs, ["interval"], DELTA) == pytest.approx([expected])
    far = side([-10.0] * 5 + [30.0] * 5 + [20.0])
    assert epsilons(far, theirs, ["interval"], DELTA) == [CAP]


def best_interval(ours, theirs, margin):
    """Epsilon of the best interval of the competition's family, whose ends are tried one by one.

    Values are whole numbers, so that ends at all halves meet every case.
    """
    narrow, wide = sorted([ours, theirs], key=np.ptp)
    width, top = np.ptp(narrow), narrow.max()
    ends = [
        (right - width + off, right)
        for right in np.arange(top - margin, top + margin + 0.5, 0.5)
        for off in np.arange(-margin, margin + 0.5, 0.5)
    ]
    left, right = np.array(ends).T[..., None]
    fnr = 1 - ((left <= narrow) & (narrow <= right)).mean(axis=1)
    fpr = ((left <= wide) & (wide <= right)).mean(axis=1)
    return np.fmax.reduce(epsilon(fpr, fnr, DELTA), initial=0)


@pytest.mark.parametrize("margin", [1, 4])
def test_the_interval_attack_agrees_with_trying_all_ends(monkeypatch, margin):
    monkeypatch.setattr("fedunlearn.evaluators.epsilon.MARGIN", margin)
    rng = np.random.default_rng(20 + margin)
    for _ in range(400):  # few models, so that single ones decide
        ours = rng.integers(-9, 10, 4).astype(float)
        theirs = np.concatenate([rng.integers(-25, 0, 3), rng.integers(3, 25, 3)]).astype(float)
        if np.ptp(ours) == np.ptp(theirs):
            continue
        found = epsilons(side(ours), side(theirs), ["interval"], DELTA)
        assert found == pytest.approx([min(best_interval(ours, theirs, margin), CAP)])


def test_the_gaussian_attack_weighs_spread_and_shift():
    # The same mean: only the spread tells, on both flanks, of which a threshold takes one.
    ours, theirs = draws(1, 400, 9, spread=0.4), draws(2, 400, 9)
    both, one = (epsilons(ours, theirs, [name], 0.3) for name in ("gaussian", "threshold"))
    assert (both > one).all()
    assert (both - one).mean() > 0.5


def test_the_best_attack_counts():
    ours, theirs = draws(3, 12, 9), draws(4, 12, 9, shift=0.7)
    each = [epsilons(ours, theirs, [name]) for name in ("threshold", "interval", "gaussian")]
    assert epsilons(ours, theirs) == pytest.approx(np.max(each, axis=0))


@pytest.mark.parametrize("shift", [0.3, 0.6, 1.0])
def test_two_gaussians_give_the_closed_form_within_intervals(shift):
    true = closed_form(shift, DELTA)
    models = 2000
    # By Neyman and Pearson the best attack is a threshold; find it, and count on fresh models.
    cuts = np.linspace(-6, 6, 4001)
    fnr, fpr = norm.cdf(cuts - shift), norm.sf(cuts)
    cut = cuts[np.nanargmax(np.log(np.maximum(1 - DELTA - fpr, 1e-12)) - np.log(fnr))]
    inside = 0
    for seed in range(100):
        ours, theirs = draws(seed, models, shift=shift), draws(1000 + seed, models)
        low, high = epsilon_interval(
            int((theirs >= cut).sum()), models, int((ours < cut).sum()), models, delta=DELTA
        )
        inside += low <= true <= high
    assert inside >= 95
    # All thresholds together find it, and a little more, since they are chosen on the data.
    found = epsilons(draws(5, models, 20, shift), draws(6, models, 20), ["threshold"], DELTA)
    assert true - 0.1 < found.mean() < true + 0.35


def test_intervals_by_hand():
    low, high = epsilon_interval(0, 10, 0, 10)
    assert high == np.inf
    bound = 1 - 0.0125 ** (1 / 10)  # Clopper-Pearson for no error of 10, at half of 5 %
    assert low == pytest.approx(np.log((1 - 1e-5 - bound) / bound))
    assert epsilon_interval(10, 10, 10, 10)[0] == 0


@pytest.mark.parametrize("change", [np.exp, lambda x: x**3, lambda x: 5 * x - 2])
def test_thresholds_do_not_mind_monotone_transforms(change):
    ours, theirs = draws(7, 20, 30), draws(8, 20, 30, 0.5)
    plain = epsilons(ours, theirs, ["threshold"])
    keep = epsilons(change(ours), change(theirs), ["threshold"])
    moved = keep != plain
    # The rule for what is peaked is about ranges, which exp and cubes stretch.
    assert (keep[moved] == CAP).all()
    assert moved.mean() < 0.2


def test_the_order_of_models_and_of_records_does_not_matter():
    rng = np.random.default_rng(9)
    ours, theirs = draws(10, 15, 40), draws(11, 18, 40, 0.5)
    plain, order = epsilons(ours, theirs), rng.permutation(40)
    mixed = epsilons(rng.permutation(ours)[:, order], rng.permutation(theirs)[:, order])
    assert mixed == pytest.approx(plain[order], abs=1e-12)


def test_neither_does_which_side_is_called_unlearned():
    ours, theirs = draws(12, 15, 40), draws(13, 15, 40, 0.5)
    assert epsilons(ours, theirs) == pytest.approx(epsilons(theirs, ours), abs=1e-12)


def test_records_in_parts_are_the_same(monkeypatch):
    ours, theirs = draws(14, 9, 21), draws(15, 9, 21)
    whole = epsilons(ours, theirs)
    monkeypatch.setattr("fedunlearn.evaluators.epsilon.CHUNK", 18**2 * 4)
    assert (epsilons(ours, theirs) == whole).all()


def test_ties_are_never_separated():
    # Only 0 and 1 occur: the one cut errs on 1 of 4 of ours and 1 of 4 of theirs.
    ours, theirs = side([1, 1, 1, 0]), side([0, 0, 0, 1])
    expected = [np.log((1 - DELTA - 0.25) / 0.25)]
    assert epsilons(ours, theirs, ["threshold"], DELTA) == pytest.approx(expected)
    assert epsilons(ours, theirs, ["interval"], DELTA) == pytest.approx(expected)


def test_what_is_separate_peaked_or_no_number_is_capped_and_equals_are_not():
    spread = [0.0, 1, 2, 3]
    for ours in ([5, 6, 7, 8], [1.001, 1.002, 1.003, 1.004], [1, 1, 1, 1], [0, 1, 2, np.nan]):
        assert epsilons(side(ours), side(spread)) == [CAP]
        assert epsilons(side(spread), side(ours)) == [CAP]
    assert epsilons(side([2, 2, 2]), side([2, 2, 2])) == [0]
    assert epsilons(side([2, 2, 2]), side([3, 3, 3])) == [CAP]
    assert epsilons(side(spread), side(spread)) < 0.5


def test_sides_that_cannot_be_compared_raise():
    with pytest.raises(ValueError, match="two models or more"):
        epsilons(draws(0, 1, 3), draws(0, 5, 3))
    with pytest.raises(ValueError, match="same records"):
        epsilons(draws(0, 5, 3), draws(0, 5, 4))
