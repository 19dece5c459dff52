"""Gradients of single records, summed up as they come: all of them would take [records, d]."""

import torch
from torch import Tensor
from torch.func import grad, vmap

from fedunlearn.local.objectives import Objective
from fedunlearn.models import Net, Vector

BUDGET = 2**28
"""Bytes of the single gradients that exist at a time; one record of each client always does."""


def moments(
    objective: Objective,
    network: Net,
    weights: Tensor,
    buffers: Tensor,
    images: Tensor,
    labels: Tensor,
    shares: Tensor,
    sent: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return ``sum_i s_i g_i`` and ``sum_i s_i g_i * g_i`` for each of k clients, both [k, p].

    ``g_i`` is the gradient of record i's loss, ``s_i`` its share in ``shares`` [k, n]. Client j has
    ``weights[j]`` [p] and ``buffers[j]``, and the records ``images[j]`` [n, *shape] with
    ``labels[j]``; ``sent`` is [m, d] for all, or [k, m, d].
    """

    def loss(trained: Vector, fixed: Vector, image: Tensor, label: Tensor, sent: Tensor) -> Tensor:
        whole = torch.cat([trained, fixed])
        return objective(network, whole, image[None], label[None], sent).squeeze(0)

    of_one = vmap(grad(loss), in_dims=(None, None, 0, 0, None), randomness="different")
    models = 0 if sent.dim() == 3 else None
    of_all = vmap(of_one, in_dims=(0, 0, 0, 0, models), randomness="different")
    first, second = torch.zeros_like(weights), torch.zeros_like(weights)
    most = max(1, BUDGET // weights.nbytes)
    for start in range(0, shares.shape[1], most):
        rows = slice(start, start + most)
        single = of_all(weights, buffers, images[:, rows], labels[:, rows], sent)
        first += torch.einsum("kn,knp->kp", shares[:, rows], single)
        second += torch.einsum("kn,knp->kp", shares[:, rows], single.square_())
    return first, second
