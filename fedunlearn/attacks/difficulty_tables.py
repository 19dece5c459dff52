"""The tables of difficulty: rows of clients, of pairs of them, of proxies and of records."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from fedunlearn.attacks import memorization
from fedunlearn.attacks.memorization import Bank, Floats, Memorization
from fedunlearn.attacks.proxies import SIGNS, Watched, rising
from fedunlearn.attacks.rankings import Clustered, agreement, reachable, spearman
from fedunlearn.attacks.subset_banks import Ground
from fedunlearn.checks import Refused
from fedunlearn.evaluators import Estimate
from fedunlearn.methods import (
    Moments,
    chance_entanglement,
    class_entanglement_score,
    entanglement_score,
)
from fedunlearn.models import FORWARD_BATCH
from fedunlearn.results import DIFFICULTY_COLUMNS, PROXY_COLUMNS

MEMORISED = 0.5
"""Memorization from which on a record counts as memorised."""


def moments_of(ground: Ground, seen: Watched) -> list[Moments] | None:
    """Return what each client would answer of its features; None where a net has no last layer."""
    network, classes = ground.federation.network, ground.federation.network.classes
    try:
        _ = network.head
    except Refused:
        return None
    weights = seen.weights.to(ground.records.labels.device)
    with torch.no_grad():
        parts = [
            network.features(weights, network.arranged(part))
            for part in torch.split(ground.records.inputs, FORWARD_BATCH)
        ]
    features, owner = torch.cat(parts).cpu(), torch.from_numpy(ground.owner)
    labels = ground.records.labels.cpu()
    return [
        Moments.of(features[owner == place], labels[owner == place], classes)
        for place in range(len(ground.present))
    ]


def client_rows(
    ground: Ground,
    seen: Watched,
    by_clients: Bank,
    by_records: Bank,
    alone: Memorization,
    moments: list[Moments] | None,
) -> pd.DataFrame:
    """Return a row a client; ``alone`` is its memorization by models without just this one."""
    clients = memorization.of_clients(by_clients)
    records = memorization.means_over_clients(by_records)
    each = memorization.of_records(by_records).value
    table = pd.DataFrame(
        {
            "client": ground.present,
            "records": np.bincount(ground.owner),
            "planted": np.bincount(ground.owner, ground.planted),
            "memorization": clients.value,
            "memorization_se": clients.error,
            "left_out": alone.value,
            "left_out_se": alone.error,
            "record_memorization": records.value,
            "record_memorization_se": records.error,
            "memorised_share": _client_means(ground.owner, (each > MEMORISED).astype(np.float64)),
            **_entangled(moments, len(ground.present)),
            **{name: _client_means(ground.owner, values) for name, values in seen.proxies.items()},
        }
    )
    return table[list(DIFFICULTY_COLUMNS)]


def _entangled(moments: list[Moments] | None, clients: int) -> dict[str, Floats]:
    """Return the entanglement of each client with all others, and that by chance would be."""
    if moments is None:
        nothing = np.full(clients, np.nan)
        names = ("entanglement", "entanglement_by_chance", "class_entanglement")
        return dict.fromkeys(names, nothing)
    rest = [Moments.total([other for other in moments if other is not mine]) for mine in moments]
    both = list(zip(moments, rest, strict=True))
    return {
        "entanglement": np.array([entanglement_score(*each) for each in both]),
        "entanglement_by_chance": np.array(
            [chance_entanglement(mine.records, others.records) for mine, others in both]
        ),
        "class_entanglement": np.array([class_entanglement_score(*each) for each in both]),
    }


def pair_rows(ground: Ground, moments: list[Moments] | None) -> pd.DataFrame:
    """Return a row for each two clients: how entangled they are."""
    rows = []
    for place, mine in enumerate(moments or []):
        for other, theirs in enumerate((moments or [])[:place]):
            rows.append(
                {
                    "client": ground.present[other],
                    "other": ground.present[place],
                    "entanglement": entanglement_score(theirs, mine),
                    "class_entanglement": class_entanglement_score(theirs, mine),
                }
            )
    columns = ["client", "other", "entanglement", "class_entanglement"]
    return pd.DataFrame(rows, columns=columns).sort_values(["client", "other"], ignore_index=True)


def proxy_rows(ground: Ground, seen: Watched, bank: Bank, clients: pd.DataFrame) -> pd.DataFrame:
    """Judge each proxy by the memorization of records, of clients, and by what was planted."""
    truth, together = memorization.of_records(bank).value, Clustered(ground.owner)
    halves, planted = agreement(bank), ground.planted

    def told(values: Floats) -> Estimate:
        some = planted.any() and not planted.all()
        return together.auc(values, planted) if some else Estimate(np.nan, np.nan, np.nan)

    rows = [
        ("record_memorization", 1, reachable(halves), np.nan, np.nan, np.nan, np.nan, told(truth))
    ]
    for name, values in seen.proxies.items():
        found = together.spearman(values, truth)
        own = together.within(values, truth)
        means = spearman(clients[name].to_numpy(), clients["memorization"].to_numpy())
        ends = (found.value, found.low, found.high)
        rows.append((name, SIGNS[name], *ends, own, means, told(rising(name, values))))
    return pd.DataFrame(
        [(*row[:-1], row[-1].value, row[-1].low, row[-1].high) for row in rows],
        columns=list(PROXY_COLUMNS),
    )


def record_rows(ground: Ground, seen: Watched, by_clients: Bank, by_records: Bank) -> pd.DataFrame:
    """Return a row a record: what the two banks say of it, and its proxies."""
    own, presence = memorization.of_records(by_records), memorization.of_records(by_clients)
    sizes = np.bincount(ground.owner)
    return pd.DataFrame(
        {
            "client": np.array(ground.present)[ground.owner],
            "record": np.concatenate([np.arange(size) for size in sizes]),
            "fingerprint": ground.fingerprints,
            "label": ground.records.labels.cpu().numpy(),
            "planted": ground.planted,
            "memorization": own.value,
            "memorization_se": own.error,
            "client_memorization": presence.value,
            "client_memorization_se": presence.error,
            **{name: seen.proxies[name] for name in SIGNS},
        }
    )


def _client_means(owner: npt.NDArray[np.int64], values: Floats) -> Floats:
    """Return the means over each client's records; nan where one of them has no value."""
    means: Floats = np.bincount(owner, values) / np.bincount(owner)
    return means
