import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from fedunlearn.evaluators import accuracy, losses
from fedunlearn.evaluators.scores import auc, mean_loss, overlap
from fedunlearn.models import NO_PREDICTION, predictions


@pytest.fixture
def said():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, 5, generator=generator)
    return logits, torch.randint(5, (200,), generator=generator)


def test_accuracy_equals_scikit_learn(said):
    logits, labels = said
    assert accuracy(logits, labels) == accuracy_score(labels.numpy(), logits.numpy().argmax(1))


def test_mean_loss_equals_scikit_learn(said):
    logits, labels = said
    probabilities = logits.double().softmax(dim=1).numpy()
    expected = log_loss(labels.numpy(), probabilities, labels=range(5))
    assert mean_loss(logits, labels) == pytest.approx(expected, rel=1e-12)


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes():
    assert mean_loss(torch.zeros(3, 7), torch.tensor([0, 3, 6])) == pytest.approx(math.log(7))


def test_one_confident_error_costs_the_gap_between_the_logits():
    logits = torch.tensor([[0.0, 1000.0]])
    assert mean_loss(logits, torch.tensor([0])) == 1000


def test_losses_tell_sure_records_apart():
    logits = torch.tensor([[20.0, 0.0], [25.0, 0.0]])
    sure, surer = losses(logits, torch.tensor([0, 0])).tolist()
    assert sure == pytest.approx(math.log1p(math.exp(-20)), rel=1e-6)
    assert surer == pytest.approx(math.log1p(math.exp(-25)), rel=1e-4)


def test_a_constant_added_to_the_logits_changes_nothing(said):
    logits, labels = said
    logits = logits.double()
    moved = logits + torch.linspace(-50, 50, len(logits)).double()[:, None]
    assert accuracy(moved, labels) == accuracy(logits, labels)
    torch.testing.assert_close(losses(moved, labels), losses(logits, labels))


def test_renaming_the_classes_changes_nothing(said):
    logits, labels = said
    order = torch.tensor([3, 0, 4, 1, 2])
    renamed = torch.argsort(order)[labels]
    assert accuracy(logits[:, order], renamed) == accuracy(logits, labels)
    assert mean_loss(logits[:, order], renamed) == pytest.approx(mean_loss(logits, labels))


def test_a_model_without_numbers_predicts_nothing():
    logits = torch.tensor([[math.nan, 1.0], [2.0, 1.0]])
    assert predictions(logits).tolist() == [NO_PREDICTION, 0]
    assert accuracy(logits, torch.tensor([0, 0])) == 0.5
    assert math.isnan(mean_loss(logits, torch.tensor([0, 0])))
    assert math.isnan(auc(losses(logits, torch.tensor([0, 0])), torch.zeros(3)))


@pytest.mark.parametrize("ties", [False, True])
def test_auc_equals_scikit_learn(ties):
    rng = np.random.default_rng(1)
    positive, negative = rng.normal(0.4, 1, 60), rng.normal(0, 1, 35)
    if ties:
        positive, negative = positive.round(), negative.round()
    truth = np.r_[np.ones(60), np.zeros(35)]
    expected = roc_auc_score(truth, np.r_[positive, negative])
    found = auc(torch.from_numpy(positive), torch.from_numpy(negative))
    assert found == pytest.approx(expected, abs=1e-12)


def test_auc_counts_pairs_and_half_of_the_ties():
    # Of the pairs (2,1) (2,2) (3,1) (3,2), three are in order and one is a tie.
    assert auc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0])) == 3.5 / 4


def test_auc_of_swapped_sides_adds_up_to_one():
    one = torch.randn(31, generator=torch.Generator().manual_seed(2)).round(decimals=1)
    other = torch.randn(17, generator=torch.Generator().manual_seed(3)).round(decimals=1)
    assert auc(one, other) + auc(other, one) == pytest.approx(1, abs=1e-12)


def test_auc_depends_on_the_order_of_scores_only():
    generator = torch.Generator().manual_seed(4)
    one, other = torch.randn(31, generator=generator), torch.randn(17, generator=generator)
    assert auc(one.exp(), other.exp()) == auc(one, other)


def test_scores_of_no_records_are_refused():
    nothing, no_labels = torch.empty(0, 3), torch.empty(0, dtype=torch.int64)
    for score in (accuracy, mean_loss):
        with pytest.raises(ValueError, match="no records"):
            score(nothing, no_labels)
    for sides in ((torch.empty(0), torch.ones(2)), (torch.ones(2), torch.empty(0))):
        with pytest.raises(ValueError, match="no records"):
            auc(*sides)


class TestOverlap:
    def test_it_is_one_for_equal_shares_and_zero_for_no_label_in_common(self):
        assert overlap(torch.tensor([1, 3, 0]), torch.tensor([10, 30, 0])) == pytest.approx(1)
        assert overlap(torch.tensor([5, 0, 2]), torch.tensor([0, 9, 0])) == 0

    def test_it_is_what_both_have(self):
        ours, theirs = torch.tensor([2, 2, 0]), torch.tensor([1, 2, 1])
        assert overlap(ours, theirs) == overlap(theirs, ours) == pytest.approx(0.25 + 0.5)

    def test_it_is_one_minus_the_total_variation_distance(self):
        generator = torch.Generator().manual_seed(0)
        ours, theirs = torch.randint(1, 30, (2, 10), generator=generator)
        distance = (ours / ours.sum() - theirs / theirs.sum()).abs().sum() / 2
        assert overlap(ours, theirs) == pytest.approx(1 - float(distance), abs=1e-6)

    @pytest.mark.parametrize("counts", [([0, 0], [1, 2]), ([1, 2], [0, 0])])
    def test_nobody_s_labels_are_refused(self, counts):
        with pytest.raises(ValueError, match="cannot be compared"):
            overlap(*(torch.tensor(each) for each in counts))
