"""What the records of a class count in a step: given by class, or balanced for each client."""

from typing import Literal

import torch
from torch import Tensor

from fedunlearn import checks
from fedunlearn.checks import Positive, Refused

ClassWeights = Literal["balanced"] | tuple[Positive, ...]
"""A weight for each class, or ``balanced``: n / (C n_y) of a client with n records of C classes,
n_y of them of the record's own class."""


def checked(made: object, weights: ClassWeights | None) -> ClassWeights | None:
    """Return the weights of ``made``, a list as a tuple; raise `Refused` for what are none."""
    if weights is None or weights == "balanced":
        return weights
    if not isinstance(weights, list | tuple) or not weights:
        shown = checks.shown(weights)
        rest = f" must be balanced, a list of a number for each class, or null, not {shown}."
        raise checks.field_refused(made, "class_weights", rest)
    for place, weight in enumerate(weights):
        if wrong := checks.Number(above=0).wrong(weight):
            raise checks.field_refused(made, f"class_weights[{place}]", wrong)
    return tuple(weights)


def weighed(labels: Tensor, weights: ClassWeights) -> Tensor:
    """Return what each record of one client counts, [n] float64; ``labels`` [n] are its own.

    Raises `Refused` for a label without a weight.
    """
    if weights == "balanced":
        counts = torch.bincount(labels).double()
        return (len(labels) / (counts.count_nonzero() * counts))[labels]
    if len(labels) and int(labels.max()) >= len(weights):
        raise Refused(
            f"class_weights has {len(weights)} numbers, but there is a record of class "
            f"{int(labels.max())}, counted from 0. List a number for each class."
        )
    return torch.tensor(weights, dtype=torch.float64, device=labels.device)[labels]


def shares(counts: Tensor) -> Tensor:
    """Return each record's share of its batch, ``u_i / sum_j u_j`` [..., n], of what each counts.

    A step then minimises ``sum_i u_i l_i / sum_i u_i``, as torch's CrossEntropyLoss with weights.
    """
    return counts / counts.sum(dim=-1, keepdim=True)
