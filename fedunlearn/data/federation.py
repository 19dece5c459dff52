"""Who holds what: a `Scenario` says it in a few values, `Federation` is the arrays themselves."""

from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fedunlearn import checks, randomness
from fedunlearn.checks import Refused
from fedunlearn.data.checking import check_values
from fedunlearn.data.dataset import Dataset, DatasetSource, Records, Shards
from fedunlearn.data.division import Division
from fedunlearn.data.natural import ByOwner, read, reserve
from fedunlearn.data.partitions import Partition
from fedunlearn.data.parts import HELDOUT, PROXY, ClientId, Parts, holdout
from fedunlearn.data.planting import Planting
from fedunlearn.models import Build, Network, PartlyFrozen, Vector, feature_store
from fedunlearn.randomness import Stream


@dataclass(frozen=True)
class Scenario:
    """All that determines who holds which records: hashable, small enough to send anywhere."""

    dataset: DatasetSource
    partition: Partition | ByOwner
    """A `Natural` one is `ByOwner` here: `Natural.of` the data set."""
    planting: Planting
    model: Build
    leavers: tuple[ClientId, ...]
    """In the order in which they leave: the i-th is planted with the i-th pattern."""
    seed: int
    heldout: float = 0.2
    """Share of each client's records that it does not train on."""
    proxy: float = 0.1
    """Share of the training records that the server owns, unlabelled; no client has them."""
    split: int | None = None
    """The seed of who holds what, and of what is planted there; None takes ``seed``."""

    def __post_init__(self) -> None:
        """Raise `Refused` for values outside their range."""
        checks.whole("seed", self.seed, at_least=0)
        if self.split is not None:
            checks.whole("split", self.split, at_least=0)
        checks.require("heldout", HELDOUT, self.heldout)
        checks.require("proxy", PROXY, self.proxy)
        for client in self.leavers:
            if not 0 <= client < self.partition.clients:
                raise Refused(
                    f"withdrawal.clients names client {client}, but the federation has clients "
                    f"0 to {self.partition.clients - 1} (partition.clients="
                    f"{self.partition.clients})."
                )


@dataclass(frozen=True)
class Federation:
    """The records of every client and of the server, and the net that the clients train."""

    scenario: Scenario
    network: Network
    initial: Vector
    """The model before round 1, [d]."""
    dataset: Dataset
    """As it was read; its test records are the server's."""
    train: Shards
    """What each client trains on, planted records included."""
    clean: tuple[Records, ...]
    """The same without planted records."""
    heldout: tuple[Records, ...]
    """Records of each client that nobody trains on."""
    proxy: Tensor
    """The server's unlabelled inputs, [n, *shape]."""
    source: Division
    """The same before a frozen part of the model looked at it; else the same."""

    @property
    def clients(self) -> int:
        """How many clients there are."""
        return len(self.train)

    @property
    def owners(self) -> tuple[str, ...]:
        """What people call each client, by its number; empty where clients have no names."""
        partition = self.scenario.partition
        return partition.names if isinstance(partition, ByOwner) else ()

    def label_counts(self, records: Iterable[Records]) -> np.ndarray:
        """Count labels: [clients, classes]."""
        return np.stack(
            [
                np.bincount(held.labels.numpy(), minlength=len(self.dataset.classes))
                for held in records
            ]
        )

    def evaluation_sets(
        self, leavers: Set[ClientId], retained: Set[ClientId]
    ) -> dict[str, Records]:
        """Return the record sets that evaluators look at; `Snapshot` says what each one is."""
        sets = {"test": self.dataset.test}
        if leavers:
            gone = sorted(leavers)
            sets["forget"] = Records.joined([self.train[client] for client in gone])
            sets["forget_clean"] = Records.joined([self.clean[client] for client in gone])
            sets["forget_heldout"] = Records.joined([self.heldout[client] for client in gone])
            orders = [self.scenario.leavers.index(client) for client in gone]
            planted = self.scenario.planting.sets(self.source.dataset, orders)
            sets |= {self._of_client(name): self._seen(each) for name, each in planted.items()}
        return sets | {f"retained/{client}": self.heldout[client] for client in sorted(retained)}

    def _seen(self, records: Records) -> Records:
        """Return what the frozen part of the model, if there is one, makes of ``records``."""
        model = self.scenario.model
        if not isinstance(model, PartlyFrozen):
            return records
        return Records(feature_store(model)(records.inputs), records.labels)

    def _of_client(self, name: str) -> str:
        """Name a planted set ``<kind>/<order>`` after the client who is the order-th to leave."""
        kind, of_one, order = name.partition("/")
        return f"{kind}/{self.scenario.leavers[int(order)]}" if of_one else name


@lru_cache(maxsize=2)
def _check_values(source: DatasetSource) -> None:
    """Look at the values of each data set's inputs once a process."""
    check_values(read(source), source)


@lru_cache(maxsize=2)
def build_federation(scenario: Scenario) -> Federation:
    """Divide the data as ``scenario`` says; equal scenarios give equal federations.

    Where the first part of the model is frozen, all records are what it makes of them. Raises
    `Refused` for a partition, a probe or a model that the data do not allow.
    """
    source, model = _division(scenario), scenario.model
    here = source.seen(feature_store(model)) if isinstance(model, PartlyFrozen) else source
    network = Network(model, here.dataset.shape, len(here.dataset.classes))
    return Federation(
        scenario=scenario,
        network=network,
        initial=network.initial(scenario.seed),
        dataset=here.dataset,
        train=here.train,
        clean=here.clean,
        heldout=here.heldout,
        proxy=here.proxy,
        source=source,
    )


def _division(scenario: Scenario) -> Division:
    """Divide the records, and plant among those of the leavers."""
    dataset = read(scenario.dataset)
    proxy, rest, parts = _divided(scenario, dataset)
    splits = [
        holdout(part, scenario.heldout, _rng(scenario, Stream.HELDOUT, client))
        for client, part in enumerate(parts)
    ]
    training = [rest.take(torch.from_numpy(members)) for members, _ in splits]
    planted = {
        client: scenario.planting.poison(
            training[client], place, _rng(scenario, Stream.PLANTING, client)
        )
        for place, client in enumerate(scenario.leavers)
    }
    train = Shards.of([planted.get(client, records) for client, records in enumerate(training)])
    clean = [
        records.take(unchanged(records, planted[client])) if client in planted else train[client]
        for client, records in enumerate(training)
    ]
    return Division(
        dataset=dataset,
        train=train,
        clean=tuple(clean),
        heldout=tuple(rest.take(torch.from_numpy(others)) for _, others in splits),
        proxy=proxy,
    )


def _divided(scenario: Scenario, dataset: Dataset) -> tuple[Tensor, Records, Parts]:
    """Return the server's inputs, the other records, and which of these each client holds."""
    train, rng = dataset.train, _rng(scenario, Stream.RESERVE)
    if isinstance(scenario.partition, ByOwner):
        if dataset.owners is None:
            raise Refused("The data set no longer names the owners that it had; read it anew.")
        holders = scenario.partition.holders(dataset.owners)
        servers, parts = reserve(holders, scenario.proxy, rng)
        return train.inputs[servers], train, parts
    order = torch.from_numpy(rng.permutation(len(train)))
    reserved = round(scenario.proxy * len(order))
    rest = train.take(order[reserved:])
    parts = scenario.partition(rest.labels.numpy(), _rng(scenario, Stream.PARTITION))
    return train.inputs[order[:reserved]], rest, parts


def checked_federation(scenario: Scenario) -> Federation:
    """Return `build_federation`, once what its leavers will be measured on is built as well.

    Misfits show before training: raises `Refused` for all that `build_federation` refuses, for
    inputs out of their range, and for a planting that the test records do not allow.
    """
    _check_values(scenario.dataset)
    here = build_federation(scenario)
    here.evaluation_sets(frozenset(scenario.leavers), frozenset())
    return here


@lru_cache(maxsize=1)
def shards_on(scenario: Scenario, device: str) -> Shards:
    """Return what the clients train on, moved to ``device`` once."""
    return build_federation(scenario).train.to(torch.device(device))


def _rng(scenario: Scenario, stream: Stream, *more: int) -> np.random.Generator:
    divided_by = scenario.seed if scenario.split is None else scenario.split
    return randomness.rng(divided_by, stream, *more)


def unchanged(before: Records, after: Records) -> Tensor:
    """Mark the records that planting left alone, [n] bool."""
    inputs = (before.inputs == after.inputs).flatten(1).all(dim=1)
    return inputs & (before.labels == after.labels)
