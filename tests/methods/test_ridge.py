"""Sums over records are told from what no records sum to."""

import pytest
import torch
from torch.nn import functional

from fedunlearn.local import ridge_sums


def sums(features, labels, classes):
    inputs = functional.pad(features.double(), (0, 1), value=1.0)
    return inputs.T @ torch.cat([inputs, functional.one_hot(labels, classes).double()], 1)


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
@pytest.mark.parametrize("records", [1, 2, 40, 3000])
def test_true_sums_pass_however_many_and_however_large(records, scale):
    rng = torch.Generator().manual_seed(records)
    features = scale * torch.randn(records, 30, generator=rng).clamp(min=0)
    features[:, 3] = features[:, 2]  # so that no sum is definite
    total = sums(features, torch.randint(7, (records,), generator=rng), 7)
    assert ridge_sums.fault(total, records) == ""
    assert ridge_sums.fault(total + total, 2 * records) == ""
    assert ridge_sums.fault(total, records + 1) != ""


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_change_of_any_one_number_by_what_rounding_never_makes_is_seen(scale):
    rng = torch.Generator().manual_seed(1)
    total = sums(scale * torch.randn(4, 5, generator=rng), torch.tensor([0, 1, 1, 2]), 3)
    for row in range(6):
        for column in range(9):
            if row == column < 5:
                continue  # a longer feature would be possible
            changed = total.clone()
            changed[row, column] += 1e-4 * total.abs().max()
            assert ridge_sums.fault(changed, 4) != "", (row, column)
    for row in range(5):
        changed = total.clone()
        changed[row, row] -= 1.01 * total[row, row]
        assert "not positive semidefinite" in ridge_sums.fault(changed, 4)
