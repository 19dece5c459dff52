"""A data set once it is divided: arrays, and nothing of a net."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data.dataset import Dataset, Records, Shards
from fedunlearn.data.natural import ByOwner, read, reserve
from fedunlearn.data.parts import Parts, holdout
from fedunlearn.data.scenario import Scenario, rng_of
from fedunlearn.randomness import Stream


@dataclass(frozen=True)
class Division:
    """The records of every client and of the server; `Federation` says what each part is."""

    dataset: Dataset
    train: Shards
    planted: tuple[Tensor, ...]
    clean: tuple[Records, ...]
    heldout: tuple[Records, ...]
    proxy: Tensor
    proxy_labels: Tensor
    """Of the server's records, [n]; only a server that verifies is told them."""

    def seen(self, look: Callable[[Tensor], Tensor]) -> "Division":
        """Return the same with ``look(inputs)`` [n, ...] for all inputs [n, *shape]."""

        def of(records: Records) -> Records:
            return Records(look(records.inputs), records.labels)

        dataset = replace(
            self.dataset, train=of(self.dataset.train), test=of(self.dataset.test), levels=()
        )
        return Division(
            dataset=dataset,
            train=Shards(of(self.train.records), self.train.bounds),
            planted=self.planted,
            clean=tuple(map(of, self.clean)),
            heldout=tuple(map(of, self.heldout)),
            proxy=look(self.proxy),
            proxy_labels=self.proxy_labels,
        )


def divide(scenario: Scenario) -> Division:
    """Divide the records, and plant among those of the leavers."""
    dataset = read(scenario.dataset)
    servers, rest, parts = _divided(scenario, dataset)
    splits = [
        holdout(part, scenario.heldout, rng_of(scenario, Stream.HELDOUT, client))
        for client, part in enumerate(parts)
    ]
    training = [rest.take(torch.from_numpy(members)) for members, _ in splits]
    planted = {
        client: scenario.planting.poison(
            training[client], place, rng_of(scenario, Stream.PLANTING, client)
        )
        for place, client in enumerate(scenario.leavers)
    }
    train = Shards.of([planted.get(client, records) for client, records in enumerate(training)])
    marks = [
        ~unchanged(records, train[client])
        if client in planted
        else torch.zeros(len(records), dtype=torch.bool)
        for client, records in enumerate(training)
    ]
    clean = [
        train[client].take(~mark) if client in planted else train[client]
        for client, mark in enumerate(marks)
    ]
    return Division(
        dataset=dataset,
        train=train,
        planted=tuple(marks),
        clean=tuple(clean),
        heldout=tuple(rest.take(torch.from_numpy(others)) for _, others in splits),
        proxy=servers.inputs,
        proxy_labels=servers.labels,
    )


def _divided(scenario: Scenario, dataset: Dataset) -> tuple[Records, Records, Parts]:
    """Return the server's records, the other ones, and which of these each client holds."""
    train, rng = dataset.train, rng_of(scenario, Stream.RESERVE)
    if isinstance(scenario.partition, ByOwner):
        if dataset.owners is None:
            raise Refused("The data set no longer names the owners that it had; read it anew.")
        holders = scenario.partition.holders(dataset.owners)
        servers, parts = reserve(holders, scenario.proxy, rng)
        return train.take(servers), train, parts
    order = torch.from_numpy(rng.permutation(len(train)))
    reserved = round(scenario.proxy * len(order))
    rest = train.take(order[reserved:])
    parts = scenario.partition(rest.labels.numpy(), rng_of(scenario, Stream.PARTITION))
    return train.take(order[:reserved]), rest, parts


def unchanged(before: Records, after: Records) -> Tensor:
    """Mark the records that planting left alone, [n] bool."""
    inputs = (before.inputs == after.inputs).flatten(1).all(dim=1)
    return inputs & (before.labels == after.labels)
