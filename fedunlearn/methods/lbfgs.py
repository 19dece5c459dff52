"""Curvature from what was seen of it: the L-BFGS approximation of a Hessian, times a vector."""

import torch
from torch import Tensor

from fedunlearn.models import Vector

CHUNK = 2**18
"""Coordinates whose products are taken at once, in float64."""

RIDGE = 1e-12
"""Added to the small system, whose entries are of the order of 1: away from singular ones."""

CURVATURE = 1e-3
"""Pairs whose cosine is smaller are left out: along them the curvature is negative, or noise."""


def product(steps: Tensor, changes: Tensor, vector: Vector) -> Vector | None:
    """Return B v, where B is what BFGS makes of c I by m pairs, oldest first.

    ``steps`` S [m, d] are changes of the model, ``changes`` Y [m, d] those of the gradient along
    them, ``vector`` v is [d]. In compact form, with rows as columns,

        B = c I - [c S  Y] [c S'S  L; L'  -D]^-1 [c S'; Y'],    c = y_m's_m / s_m's_m

    where D is the diagonal of S'Y and L what lies strictly below it. B is symmetric and positive
    definite, and ``B s_m = y_m`` for the last pair alone. Pairs without positive curvature are left
    out: None if there is no other. Where no gradient changed at all, B = 0.

    Byrd, Nocedal, Schnabel. Representations of quasi-Newton matrices and their use in limited
    memory methods. Mathematical Programming 63, 1994.
    """
    dots = _products(torch.cat([steps, changes, vector[None]]))
    count = len(steps)
    squares, curvature = dots.diagonal(), dots.diagonal(count)[:count]
    if not squares[count:-1].any():
        return torch.zeros_like(vector)
    least = CURVATURE * (squares[:count] * squares[count:-1]).sqrt()
    used = torch.nonzero((curvature > 0) & (curvature >= least)).flatten()
    if not len(used):
        return None
    scale = curvature[used[-1]] / squares[used[-1]]
    # In units of the steps' lengths and of c all entries are curvatures relative to the last.
    rows = torch.cat([used, used + count, torch.tensor([2 * count])])
    units = squares[used].sqrt()
    units = torch.cat([units, units * scale, torch.ones(1)])
    dots = dots[rows][:, rows] / (units[:, None] * units)
    weights = torch.zeros(2 * count + 1, dtype=torch.float64)
    weights[rows] = -scale * torch.cat([_solved(dots), -torch.ones(1)]) / units
    return weights.to(vector.dtype) @ torch.cat([steps, changes, vector[None]])


def _solved(dots: Tensor) -> Tensor:
    """Return p [2 m] of ``B v = c (v - [S Y] p)`` from the products of all rows of S, Y and v."""
    count = len(dots) // 2
    across = dots[:count, count:-1]
    below = across.tril(-1)
    system = torch.cat(
        [
            torch.cat([dots[:count, :count], below], dim=1),
            torch.cat([below.T, -torch.diag(across.diagonal())], dim=1),
        ]
    )
    ridge = torch.full((2 * count,), RIDGE, dtype=torch.float64)
    ridge[count:] *= -1  # the first half of the system is positive, the second negative
    solved: Tensor = torch.linalg.solve(system + torch.diag(ridge), dots[:-1, -1])
    return solved


def _products(rows: Tensor) -> Tensor:
    """Return the inner products of all rows [n, d], [n, n] float64."""
    dots = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for part in torch.split(rows, CHUNK, dim=1):
        wide = part.double()
        dots += wide @ wide.T
    return dots
