"""Ridge regression onto the classes: its sums add up over records, and leave again by subtraction.

    A = sum_i x_i x_i^T,    B = sum_i x_i y_i^T,    (A + lambda I) V = B

with x_i the features of a record and a 1 for the bias, y_i one-hot. All of it is float64.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fedunlearn.models import FORWARD_BATCH, Network, Vector


def sums(network: Network, weights: Vector, images: Tensor, labels: Tensor) -> Tensor:
    """Return A and B side by side, [f + 1, f + 1 + classes] float64.

    ``images`` is [n, c, h, w], ``labels`` [n], ``weights`` [d] the model that makes the features.
    """
    total = torch.zeros(network.head.sums, dtype=torch.float64, device=weights.device)
    classes = network.head.bias.size
    with torch.no_grad():
        for seen, wanted in zip(
            torch.split(images, FORWARD_BATCH), torch.split(labels, FORWARD_BATCH), strict=True
        ):
            features = network.features(weights, network.arranged(seen)).double()
            inputs = functional.pad(features, (0, 1), value=1.0)
            total += inputs.T @ torch.cat([inputs, functional.one_hot(wanted, classes).double()], 1)
    return total


def solve(total: Tensor, penalty: float) -> Tensor:
    """Return V [f + 1, classes] for sums [f + 1, f + 1 + classes] and lambda ``penalty`` > 0."""
    size = len(total)
    regular = total[:, :size] + penalty * torch.eye(size, dtype=total.dtype)
    solution: Tensor = torch.linalg.solve(regular, total[:, size:])
    return solution
