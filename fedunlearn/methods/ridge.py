"""Ridge regression onto the classes, from the sums that clients make (`local.ridge_sums`).

(A + lambda I) V = B
"""

import torch
from torch import Tensor


def solve(total: Tensor, penalty: float) -> Tensor:
    """Return V [f + 1, classes] for sums [f + 1, f + 1 + classes] and lambda ``penalty`` > 0."""
    size = len(total)
    regular = total[:, :size] + penalty * torch.eye(size, dtype=total.dtype)
    solution: Tensor = torch.linalg.solve(regular, total[:, size:])
    return solution
