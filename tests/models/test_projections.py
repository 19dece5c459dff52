"""Directions without what others share, against plain linear algebra in float64."""

import pytest
import torch

from fedunlearn.models import deflect, orthogonal, projections


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosines(vector, rows):
    vector, rows = vector.double(), rows.double()
    return (rows @ vector / rows.norm(dim=1) / vector.norm()).abs()


def nearly_parallel(spread):
    """Gradients as retained clients send them: one direction, and little of their own."""
    return drawn(1, 500, seed=1) + spread * drawn(8, 500, seed=2)


class TestOrthogonal:
    @pytest.mark.parametrize(
        "rows",
        [
            drawn(7, 500),
            nearly_parallel(1e-2),
            nearly_parallel(1e-4),
            nearly_parallel(1e-5),
            drawn(7, 500) * torch.logspace(-12, 6, 7)[:, None],
        ],
        ids=["random", "parallel", "very parallel", "almost twins", "of all lengths"],
    )
    def test_is_orthogonal_to_every_row_and_as_long_as_before(self, rows):
        """Also where little is left of the vector, or it lies where rows differ from each other."""
        far = drawn(500, seed=3) / 500**0.5
        for inside, share in ((rows[0], 0.5), (rows[0], 3e-3), (rows[0] - rows[1], 1e-2)):
            vector = inside / inside.norm() + share * far
            assert cosines(vector, rows).max() > 1e-4
            direction = orthogonal(vector, rows)
            assert cosines(direction, rows).max() < 1e-6
            torch.testing.assert_close(direction.norm(), vector.norm())

    def test_is_its_formula(self):
        vector, rows = drawn(40, seed=3), drawn(5, 40)
        v, g = vector.double(), rows.double()
        expected = v - g.T @ torch.linalg.pinv(g @ g.T) @ g @ v
        expected *= v.norm() / expected.norm()
        torch.testing.assert_close(orthogonal(vector, rows), expected.float())
        assert torch.dot(orthogonal(vector, rows), vector) > 0

    def test_twins_and_clients_who_did_not_move_count_for_nothing(self):
        vector, rows = drawn(40, seed=3), drawn(3, 40)
        more = torch.cat([rows, rows[:1], torch.zeros(2, 40), -2 * rows[1:2]])
        torch.testing.assert_close(orthogonal(vector, more), orthogonal(vector, rows))

    @pytest.mark.parametrize("scale", [1e-12, 1e-5, 1e8])
    def test_scale_does_not_matter(self, scale):
        """Public code cuts eigenvalues off at 1e-6, whatever the length of the gradients."""
        vector, rows = drawn(500, seed=3), nearly_parallel(1e-2)
        expected = orthogonal(vector, rows)
        torch.testing.assert_close(orthogonal(vector, scale * rows), expected)
        torch.testing.assert_close(orthogonal(scale * vector, rows) / scale, expected)
        one = rows * torch.ones(8, 1).index_fill_(0, torch.tensor([2]), scale)
        torch.testing.assert_close(orthogonal(vector, one), expected)

    @pytest.mark.parametrize(("rest", "found"), [(0.0, False), (3e-4, False), (3e-3, True)])
    def test_what_is_left_of_nothing_is_nothing(self, rest, found):
        rows = drawn(5, 40)
        own = orthogonal(drawn(40, seed=3), rows)
        vector = rows[0] + rows[1]
        vector = vector / vector.norm() + rest * own / own.norm()
        assert bool(orthogonal(vector, rows).any()) == found

    def test_ends_of_the_range(self):
        vector = drawn(40)
        assert torch.equal(orthogonal(vector, torch.zeros(0, 40)), vector)
        assert not orthogonal(torch.zeros(40), drawn(3, 40, seed=1)).any()
        assert not orthogonal(vector, drawn(41, 40, seed=1)).any()


class TestDeflect:
    def test_is_its_formula_in_place(self):
        rows, along = drawn(6, 50), drawn(50, seed=4)
        before, a = rows.double(), along.double()
        expected = before - torch.outer(before @ a / a.square().sum(), a)
        expected *= before.norm(dim=1, keepdim=True) / expected.norm(dim=1, keepdim=True)
        deflect(rows, along)
        torch.testing.assert_close(rows, expected.float())
        assert cosines(along, rows).max() < 1e-6

    def test_no_direction_leaves_every_bit(self):
        rows = drawn(6, 50)
        same = rows.clone()
        deflect(rows, torch.zeros(50))
        assert torch.equal(rows, same)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_rows_along_it_vanish_and_zero_rows_stay(self, sign):
        along = drawn(50, seed=4)
        rows = torch.stack([sign * 3 * along, torch.zeros(50), drawn(50)])
        deflect(rows, along)
        assert not rows[:2].any()
        torch.testing.assert_close(rows[2].norm(), drawn(50).norm())

    def test_nobody_is_in_the_round(self):
        rows = torch.zeros(0, 50)
        deflect(rows, drawn(50))
        assert rows.shape == (0, 50)


def test_blocks_do_not_matter(monkeypatch):
    vector, rows, along = drawn(500, seed=3), nearly_parallel(1e-2), drawn(500, seed=5)
    turned, direction = rows.clone(), orthogonal(vector, rows)
    deflect(turned, along)
    monkeypatch.setattr(projections, "BLOCK", 37)
    torch.testing.assert_close(orthogonal(vector, rows), direction)
    deflect(rows, along)
    torch.testing.assert_close(rows, turned)
