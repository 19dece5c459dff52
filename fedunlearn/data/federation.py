"""Who holds what: the arrays that a `Scenario` describes."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from fedunlearn.data.changes import Change, Held, erasures
from fedunlearn.data.checking import check_values
from fedunlearn.data.dataset import Dataset, DatasetSource, Records, Shards
from fedunlearn.data.division import Division, divide
from fedunlearn.data.holdings import Holdings
from fedunlearn.data.natural import ByOwner, read
from fedunlearn.data.parts import ClientId
from fedunlearn.data.scenario import Scenario, rng_of
from fedunlearn.data.scopes import Everything, Scope
from fedunlearn.models import Network, PartlyFrozen, Vector, feature_store
from fedunlearn.randomness import Stream


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
    """What each client has to train on, planted records included."""
    holdings: Holdings
    """Which of these it holds, by round, and what requests take of them."""
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
        """Return the record sets that evaluators look at; `Snapshot` says what each one is.

        ``leavers`` forget all that they hold; those of a request are `request_sets`.
        """
        gone = {c: torch.ones(len(self.train[c]), dtype=torch.bool) for c in leavers}
        return self._sets(gone, Everything(), dict.fromkeys(retained))

    def request_sets(self, number: int) -> dict[str, Records]:
        """Return the sets of request ``number``, from 1; of everybody where nobody ever asks.

        They hold what it takes, and what those keep who then take part.
        """
        if not erasures(self.scenario.changes):
            return self.evaluation_sets(frozenset(), frozenset(range(self.clients)))
        change = self.erasure(number)
        erased = self.holdings.erased(number)
        retained = self.holdings.present(change.after, number)
        scopes = {client: change.scope if client in erased else None for client in retained}
        sets = self._sets(erased, change.scope, scopes)
        for earlier in range(1, number):
            sets |= self._earlier_sets(earlier, Held(change.after, number))
        return sets

    def member_sets(self, number: int) -> dict[str, Records]:
        """Return what each who takes part after request ``number`` then trains on."""
        now = Held(self.erasure(number).after, number)
        shards = self.holdings.shards(self.train, now)
        present = sorted(self.holdings.present(now.round, number))
        return {f"members/{client}": shards[client] for client in present}

    def _earlier_sets(self, number: int, now: Held) -> dict[str, Records]:
        """Return what request ``number`` took and nobody holds ``now``, and its probes."""
        scope = self.erasure(number).scope
        gone = {c: m & ~self.holdings.mask(c, now) for c, m in self.holdings.erased(number).items()}
        gone = {c: mask for c, mask in gone.items() if bool(mask.any())}
        if not gone:
            return {}
        records = Records.joined([self.train[c].take(mask) for c, mask in gone.items()])
        away = [c for c in gone if not bool(self.holdings.mask(c, now).any())]
        probes = (
            list(self._probes(away, self.source.dataset).values()) if scope.probed and away else []
        )
        triggered = {f"earlier_triggered/{number}": Records.joined(probes)} if probes else {}
        return {f"earlier/{number}": records, **triggered}

    def erasure(self, number: int) -> Change:
        """Return request ``number``, from 1."""
        return erasures(self.scenario.changes)[number - 1]

    def kept(self, number: int, device: str = "cpu") -> Shards:
        """Return what clients train on when request ``number``, from 1, has been served.

        Of those who do not take part then it is no matter what it says.
        """
        return held_shards(self.scenario, device, Held(self.erasure(number).after, number))

    def verification_sets(self, number: int) -> dict[str, Records]:
        """Return what the server may test models of request ``number`` on, from 1.

        That are its own records, which it has labelled, as ``labelled``; and as ``triggered``, or
        ``triggered/<client>`` for each of several, those of other classes with the trigger that a
        client who asks hands over, labelled as what it stands for. Whoever plants no trigger, or
        keeps records with it, has none: nothing that the server sees would tell.
        """
        labelled, erased = self._labelled, self.holdings.erased(number)
        told = [c for c in sorted(erased) if not bool((self.source.planted[c] & ~erased[c]).any())]
        marked = self._probes(told, replace(self.source.dataset, test=labelled))
        return {"labelled": self.server_records(), **marked}

    def server_records(self) -> Records:
        """Return the server's own records with the labels that it gave them for its tests."""
        return self._seen(self._labelled)

    @property
    def _labelled(self) -> Records:
        """The same before a frozen part of the model looked at it."""
        return Records(self.source.proxy, self.source.proxy_labels)

    def earlier_verification_sets(self, number: int) -> dict[str, Records]:
        """Return those ``triggered`` sets of all who asked before request ``number``, from 1.

        Whoever holds records with its trigger when the request comes is left out: a model may
        well know that trigger.
        """
        now = Held(self.erasure(number).after, number - 1)
        asked = {c for earlier in range(1, number) for c in self.holdings.erased(earlier)}
        away = [
            c
            for c in sorted(asked)
            if not bool((self.source.planted[c] & self.holdings.mask(c, now)).any())
        ]
        return self._probes(away, replace(self.source.dataset, test=self._labelled))

    def _sets(
        self,
        erased: Mapping[ClientId, Tensor],
        scope: Scope,
        retained: Mapping[ClientId, Scope | None],
    ) -> dict[str, Records]:
        """Return the sets of `evaluation_sets`.

        ``erased`` marks what is to be forgotten; ``retained`` are those who then take part, each
        with the scope in which it had something erased.
        """
        sets = {"test": self.dataset.test}
        if erased:
            gone = sorted(erased)
            sets["forget"] = Records.joined([self.train[c].take(erased[c]) for c in gone])
            clean = [erased[c] & ~self.source.planted[c] for c in gone]
            sets["forget_clean"] = Records.joined(
                [self.train[c].take(mask) for c, mask in zip(gone, clean, strict=True)]
            )
            held = [self.heldout[c].take(_like(scope, self.heldout[c])) for c in gone]
            sets["forget_heldout"] = Records.joined(held)
            sets |= self._probes(gone, self.source.dataset) if scope.probed else {}
        kept = {client: self._kept(client, retained[client]) for client in sorted(retained)}
        return sets | {f"retained/{client}": records for client, records in kept.items()}

    def _probes(self, clients: Sequence[ClientId], dataset: Dataset) -> dict[str, Records]:
        """Return the test sets that show whether the probes of ``clients`` still work."""
        orders = [self.scenario.leavers.index(c) for c in clients if c in self.scenario.leavers]
        planted = self.scenario.planting.sets(dataset, orders)
        return {self._of_client(name): self._seen(each) for name, each in planted.items()}

    def _kept(self, client: ClientId, erased: Scope | None) -> Records:
        """Return the held-out records that are not like those ``erased``; all, if all are."""
        heldout = self.heldout[client]
        other = None if erased is None else ~_like(erased, heldout)
        return heldout if other is None or not bool(other.any()) else heldout.take(other)

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


def _like(scope: Scope, heldout: Records) -> Tensor:
    """Mark which held-out records are like those of a scope, [n] bool."""
    return torch.from_numpy(scope.like(heldout))


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
    source, model = divide(scenario), scenario.model
    here = source.seen(feature_store(model)) if isinstance(model, PartlyFrozen) else source
    network = Network(model, here.dataset.shape, len(here.dataset.classes))

    def rng(client: ClientId, order: int) -> np.random.Generator:
        return rng_of(scenario, Stream.SCOPE, client, order)

    return Federation(
        scenario=scenario,
        network=network,
        initial=network.initial(scenario.seed),
        dataset=here.dataset,
        train=here.train,
        holdings=Holdings.of(scenario.changes, source.train, source.planted, rng),
        clean=here.clean,
        heldout=here.heldout,
        proxy=here.proxy,
        source=source,
    )


def checked_federation(scenario: Scenario) -> Federation:
    """Return `build_federation`, once what its leavers will be measured on is built as well.

    Misfits show before training: raises `Refused` for all that `build_federation` refuses, for
    inputs out of their range, and for a planting that the test records do not allow.
    """
    _check_values(scenario.dataset)
    here = build_federation(scenario)
    requests = range(1, len(erasures(scenario.changes)) + 1)
    for number in requests:
        here.request_sets(number)
    if not requests:
        here.evaluation_sets(frozenset(scenario.leavers), frozenset())
    return here


@lru_cache(maxsize=1)
def shards_on(scenario: Scenario, device: str) -> Shards:
    """Return what the clients have to train on, moved to ``device`` once."""
    return build_federation(scenario).train.to(torch.device(device))


def held_shards(scenario: Scenario, device: str, held: Held) -> Shards:
    """Return what clients may see on ``device`` as ``held`` says; `shards_on` where that is all."""
    holdings = build_federation(scenario).holdings
    if not holdings.touched:
        return shards_on(scenario, device)
    return _held_shards(scenario, device, holdings.stage(held))


@lru_cache(maxsize=4)
def _held_shards(scenario: Scenario, device: str, held: Held) -> Shards:
    return build_federation(scenario).holdings.shards(shards_on(scenario, device), held)
