"""What a server can tell of each client by the updates that it sends, and how suspicious that is.

In a round the server sends w and client k answers with D_k, trained on n_k records. With S = mean
of all D_j and S_-k = mean of the others', both weighted by n_j, and loss and accuracy on records of
the server that it has labelled:

    length_k         |D_k| / median of the others' lengths
    cosine_k         cos(D_k, S_-k)
    own_loss_k       loss(w + D_k) - the median of that of the others
    loss_without_k   loss(w + S_-k) - loss(w + S)             below 0: the round is better without k
    accuracy_gain_k  accuracy(w + S_-k) - accuracy(w + S)     above 0: the same

Leaving one out is the first step of the Shapley values of Wang, Rausch, Zhang, Jia, Song. A
principled approach to data valuation for federated learning. 2020, arXiv 2009.06192.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from fedunlearn.data import ClientId, Records
from fedunlearn.history import Updates
from fedunlearn.models import LEAST_LENGTH, Network, Vector, lengths, logits, mean

LOOKS = ("length", "cosine", "own_loss", "loss_without", "accuracy_gain")
"""What is told of each client, the means over the rounds in which others trained as well."""

SUSPICIOUS = {"cosine": -1, "own_loss": 1, "loss_without": -1}
"""By which of them clients are ranked, and which sign is suspicious."""


def looks(
    network: Network, before: Vector, updates: Updates, records: Records
) -> list[dict[str, Any]]:
    """Return the row of each client of a round: its number, and all of `LOOKS`.

    ``before`` [d] is the model that was sent out, ``records`` the server's. A client who trained
    alone has no row: there is nobody to compare it with.
    """
    count = len(updates.clients)
    if count < 2:
        return []
    sizes = lengths(updates.deltas)
    whole = _measured(network, before + mean(updates.deltas, updates.examples), records)
    own = [_measured(network, before + delta, records)[0] for delta in updates.deltas]
    rows = []
    for place, client in enumerate(updates.clients):
        others = torch.arange(count) != place
        rest = mean(updates.deltas[others], updates.examples[others])
        loss, accuracy = _measured(network, before + rest, records)
        direction = nn.functional.cosine_similarity(updates.deltas[place], rest, dim=0)
        rows.append(
            {
                "client": client,
                "length": float(sizes[place] / sizes[others].median().clamp(min=LEAST_LENGTH)),
                "cosine": float(direction),
                "own_loss": own[place] - float(torch.tensor(own)[others].median()),
                "loss_without": loss - whole[0],
                "accuracy_gain": accuracy - whole[1],
            }
        )
    return rows


def ranked(rows: Iterable[dict[str, Any]], clients: Sequence[ClientId]) -> pd.DataFrame:
    """Return a row for each of ``clients``, the most suspicious first.

    ``rows`` are `looks` of all rounds. ``suspicion`` is the mean over `SUSPICIOUS` of the share of
    clients that are less suspicious by it, in [0, 1]; ``rounds`` in how many a client was
    compared with others. One that never was is last, without numbers.
    """
    seen = pd.DataFrame(list(rows), columns=["client", *LOOKS])
    means = seen.groupby("client")[list(LOOKS)].mean().reindex(list(clients))
    shares = [(sign * means[name]).rank() for name, sign in SUSPICIOUS.items()]
    compared = max(1, int(means["cosine"].notna().sum()) - 1)
    table = means.assign(
        suspicion=(sum(shares) / len(shares) - 1) / compared,
        rounds=seen["client"].value_counts().reindex(list(clients), fill_value=0),
    )
    table = table.sort_values("suspicion", ascending=False, kind="stable").reset_index()
    return table.assign(rank=range(1, len(table) + 1))


def record_losses(network: Network, weights: Vector, records: Records) -> Tensor:
    """Return the cross-entropy of each record [n] on a model [d]: a wrong label has a high one."""
    found = logits(network, weights, [records.inputs]).double()
    return nn.functional.cross_entropy(found, records.labels, reduction="none")


def found_first(scores: Sequence[float], wanted: Sequence[bool]) -> float:
    """Return how often one who is wanted has a higher score than one who is not; ties count half.

    That is the area under the ROC curve; nan where either side is empty.
    """
    ranks, hits = pd.Series(scores, dtype="float64").rank(), pd.Series(wanted, dtype="bool")
    inside = int(hits.sum())
    outside = len(hits) - inside
    if not inside or not outside:
        return float("nan")
    return float((ranks[hits].sum() - inside * (inside + 1) / 2) / (inside * outside))


def _measured(network: Network, weights: Vector, records: Records) -> tuple[float, float]:
    """Return loss and accuracy of a model [d]."""
    found = logits(network, weights.to(records.inputs.device), [records.inputs]).double()
    right = (found.argmax(dim=1) == records.labels).double().mean()
    return float(nn.functional.cross_entropy(found, records.labels)), float(right)
