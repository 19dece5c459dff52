"""The compact L-BFGS product against BFGS written out as matrices, and the pairs it is made of."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from fedunlearn.methods import Secants, lbfgs, secant_estimates
from fedunlearn.methods.lbfgs import product
from fedunlearn.methods.secant_estimates import Rows

D = 8


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def hessian(seed=0):
    """Return a positive definite matrix whose eigenvalues differ by a factor of 30."""
    basis = torch.linalg.qr(torch.randn(D, D, generator=rng(seed), dtype=torch.float64)).Q
    return basis @ torch.diag(torch.logspace(-1, 0.5, D, dtype=torch.float64)) @ basis.T


def steps(count, seed=1):
    return torch.randn(count, D, generator=rng(seed), dtype=torch.float64)


def bfgs(pairs):
    """Return the matrix that BFGS makes of c I, pair by pair."""
    last, change = pairs[-1]
    matrix = (last @ change) / (last @ last) * torch.eye(D, dtype=torch.float64)
    for step, change in pairs:
        image = matrix @ step
        matrix = (
            matrix
            - torch.outer(image, image) / (step @ image)
            + torch.outer(change, change) / (step @ change)
        )
    return matrix


class TestProduct:
    @pytest.mark.parametrize("count", [1, 2, 3, 5])
    def test_is_the_bfgs_matrix_times_the_vector(self, count):
        moved = steps(count)
        changes = moved @ hessian()
        matrix = bfgs(list(zip(moved, changes, strict=True)))
        for vector in steps(3, seed=2):
            found = product(moved, changes, vector)
            torch.testing.assert_close(found, matrix @ vector, rtol=1e-8, atol=1e-8)

    def test_only_the_last_secant_is_exact(self):
        moved = steps(2)
        changes = moved @ hessian()
        torch.testing.assert_close(product(moved, changes, moved[1]), changes[1])
        off = (product(moved, changes, moved[0]) - changes[0]).norm() / changes[0].norm()
        assert off > 0.01

    def test_is_the_exact_hessian_in_the_span_of_conjugate_steps(self):
        matrix, moved = hessian(), steps(3)
        for row in range(1, 3):
            for earlier in moved[:row].clone():
                moved[row] -= (
                    (moved[row] @ matrix @ earlier) / (earlier @ matrix @ earlier) * earlier
                )
        vector = torch.tensor([0.3, -2.0, 1.5], dtype=torch.float64) @ moved
        found = product(moved, moved @ matrix, vector)
        assert (found - matrix @ vector).norm() < 1e-6 * (matrix @ vector).norm()

    @pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
    def test_float32_and_lengths_of_any_size_do_not_matter(self, size):
        moved = steps(3) * torch.tensor([[size], [1.0], [1 / size]])
        changes, vector = moved @ hessian(), steps(1, seed=2)[0]
        exact = bfgs(list(zip(moved, changes, strict=True))) @ vector
        found = product(moved.float(), changes.float(), vector.float())
        torch.testing.assert_close(found, exact.float(), rtol=1e-4, atol=1e-4)

    def test_steps_along_one_line_give_its_curvature(self):
        line = steps(1)[0]
        moved = torch.stack([line, 2 * line, -line])
        found = product(moved.float(), 0.7 * moved.float(), 3 * line.float())
        torch.testing.assert_close(found, 2.1 * line.float())

    def test_curvature_that_is_not_positive_is_left_out(self):
        moved = steps(3)
        changes = moved @ hessian()
        changes[1] *= -1
        vector = steps(1, seed=2)[0]
        keep = [0, 2]
        torch.testing.assert_close(
            product(moved, changes, vector), product(moved[keep], changes[keep], vector)
        )
        changes[2] *= -1  # the scale comes from the last pair that is left
        torch.testing.assert_close(
            product(moved, changes, vector), product(moved[:1], changes[:1], vector)
        )
        assert product(moved[1:], changes[1:], vector) is None

    def test_a_step_that_changed_nothing_is_left_out(self):
        moved = steps(3)
        changes = moved @ hessian()
        changes[1] = 0
        vector = steps(1, seed=2)[0]
        torch.testing.assert_close(
            product(moved, changes, vector), product(moved[[0, 2]], changes[[0, 2]], vector)
        )

    def test_nearly_orthogonal_pairs_are_noise(self):
        step, change = torch.eye(D)[0], torch.eye(D)[1]
        slight = torch.stack([change + 1e-5 * step])
        assert product(step[None], slight, step) is None
        clear = torch.stack([change + 1e-2 * step])
        torch.testing.assert_close(product(step[None], clear, step), clear[0])

    def test_gradients_that_do_not_change_have_no_curvature(self):
        assert not product(steps(2), torch.zeros(2, D, dtype=torch.float64), steps(1)[0]).any()

    def test_what_is_not_finite_is_no_pair(self):
        assert product(steps(1), torch.full((1, D), torch.inf).double(), steps(1)[0]) is None
        assert product(steps(1), torch.full((1, D), torch.nan).double(), steps(1)[0]) is None

    def test_is_positive_along_every_direction(self):
        moved = steps(4)
        changes = moved @ hessian() + 0.05 * steps(4, seed=5)
        for vector in steps(20, seed=6):
            assert product(moved, changes, vector) @ vector > 0

    def test_chunks_change_nothing(self, monkeypatch):
        moved, vector = steps(3), steps(1, seed=2)[0]
        whole = product(moved, moved @ hessian(), vector)
        monkeypatch.setattr(lbfgs, "CHUNK", 3)
        torch.testing.assert_close(product(moved, moved @ hessian(), vector), whole)


@contextmanager
def seen(memory=2):
    """Four rounds, in which client 7 was asked always and client 3 in the first and last."""
    moved = steps(4).float()
    changes = {7: moved @ hessian().float(), 3: moved @ hessian(1).float()}
    with Secants(memory, D) as found:
        for round_ in range(4):
            for client in (3, 7):
                if client == 7 or round_ in (0, 3):
                    found.remember(client, round_, moved[round_], changes[client][round_])
        yield found, moved, changes


class TestSecants:
    @pytest.mark.parametrize("limit", [secant_estimates.BYTES, 1], ids=["memory", "disk"])
    def test_each_client_has_its_own_last_pairs(self, monkeypatch, limit):
        monkeypatch.setattr(secant_estimates, "BYTES", limit)
        vector = steps(1, seed=2)[0].float()
        with seen() as (found, moved, changes):
            for client, rounds in ((7, [2, 3]), (3, [0, 3])):
                torch.testing.assert_close(
                    found.product(client, vector),
                    product(moved[rounds], changes[client][rounds], vector),
                )

    def test_what_nobody_saw_is_unknown_but_no_way_needs_no_pairs(self):
        with Secants(2, D) as nothing:
            assert nothing.product(1, torch.ones(D)) is None
            assert not nothing.product(1, torch.zeros(D)).any()

    def test_a_round_s_step_is_written_once_and_rows_are_used_again(self, monkeypatch):
        written = {}
        real = Rows.write

        def write(self, row, vector):
            written.setdefault(id(self), []).append(row)
            real(self, row, vector)

        monkeypatch.setattr(Rows, "write", write)
        with seen():
            assert list(written.values()) == [[0, 1, 2, 3], [0, 1, 2, 1, 3, 2]]

    def test_the_end_of_the_block_closes_the_files(self):
        with seen() as (found, *_):
            pass
        with pytest.raises(ValueError, match="closed"):
            found.product(7, torch.ones(D))

    def test_rows_come_back_as_they_went(self):
        rows = Rows(D)
        kept = torch.from_numpy(np.arange(3 * D, dtype=np.float32)).view(3, D)
        for row in (2, 0, 1):
            rows.write(row, kept[row])
        assert torch.equal(rows.read([1, 2]), kept[1:])
        rows.close()
