"""Shadow models of a federation: the same training, with and without what a request takes.

Two kinds answer two questions. `with_halves`: everybody who asks trains on a random half of the
records in question, and a twin on the other half, so that each record is IN half of the models and
OUT of the others, whether the federation itself trained on it or held it out. `without`: these
records never were. What clients keep who ask, all models train on.

Both come from the reference bank (`bank`), with seeds that no training has.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedunlearn import checks, randomness
from fedunlearn.attacks.training_bank import Member, train_bank
from fedunlearn.checks import Refused
from fedunlearn.data import ClientId, Federation, Records, Shards, unchanged
from fedunlearn.local import ChunkedTrainer, Threads, Trainer
from fedunlearn.randomness import Stream, drawn_seed
from fedunlearn.unlearning import Training

AT_ONCE = 128
"""Clients that train together in one call: enough to fill it, few enough to see it get on."""


@dataclass(frozen=True)
class Pool:
    """What a request takes from one client, as an attack on its membership sees it."""

    client: ClientId
    always: Records
    """Poisoned ones of them: every model with the client's halves trains on them, and nobody asks
    for them."""
    candidates: Records
    """Whose membership is asked for, [n]."""
    member: Tensor
    """Which of these the federation trained on, [n] bool; the client held out the others."""
    kept: Records
    """What the client keeps, and every model trains on; nothing where it leaves."""


@dataclass(frozen=True)
class Shadows:
    """Models to be trained: who they are, and on what."""

    members: tuple[Member, ...]
    trainer: Trainer
    training: Training
    rounds: int
    held: npt.NDArray[np.bool_]
    """Which model trains on which record of all pools, one pool after another, [models, n]."""

    def trained(self) -> Iterator[Tensor]:
        """Yield the last models, [m, d] each time, in the order of ``members``."""
        several = max(1, -(-AT_ONCE // max(len(member.clients) for member in self.members)))
        for first in range(0, len(self.members), several):
            batch = self.members[first : first + several]
            yield train_bank(batch, self.trainer, self.training, self.rounds)


@dataclass(frozen=True)
class Setup:
    """What all shadow models of a federation have in common."""

    federation: Federation
    pools: Sequence[Pool]
    """What the request takes from each who asks."""
    present: Collection[ClientId]
    """Who takes part in training, those who ask among them."""
    trainer: Trainer
    """Of what clients keep once the request is served: `Federation.kept`."""
    training: Training

    @classmethod
    def at(
        cls, federation: Federation, number: int, trainer: Trainer, training: Training
    ) -> "Setup":
        """Return what is common at request ``number``, from 1; ``trainer`` knows all records.

        Raises `Refused` where clients joined on the way to it: a shadow model has the same clients
        from its first round to its last.
        """
        after = federation.erasure(number).after
        for change in federation.scenario.changes:
            if change.kind != "erase" and 0 < change.after < after:
                raise Refused(
                    f"Clients {list(change.clients)} join after round {change.after} of this run, "
                    f"before request {number}. Shadow models have the same clients in all rounds, "
                    "so they would not be what was trained: attack a run without such joins."
                )
        device = trainer.shards.records.labels.device
        return cls(
            federation,
            pools(federation, number),
            federation.holdings.present(after, number - 1),
            _over(trainer, federation.kept(number, str(device))),
            training,
        )

    @property
    def others(self) -> frozenset[ClientId]:
        """Who is present and does not ask."""
        return frozenset(self.present) - {pool.client for pool in self.pools}

    @property
    def remaining(self) -> frozenset[ClientId]:
        """Who is present and does not leave: the others, and who asks but keeps some records."""
        return self.others | {pool.client for pool in self.pools if len(pool.kept)}


def pools(federation: Federation, number: int) -> tuple[Pool, ...]:
    """Return what request ``number``, from 1, takes: unpoisoned training records as members.

    The others are held out, and like those that the scope chooses. Planting chooses whom it
    poisons by the label, say, so that what it leaves alone is no fair sample any more. The others
    are therefore those held-out records that it would have left alone: under a model that never
    saw either, no attack can tell members from others.
    """
    kept = federation.kept(number)
    return tuple(
        _pool(federation, number, client, erased, kept[client])
        for client, erased in federation.holdings.erased(number).items()
    )


def with_halves(setup: Setup, rounds: int, count: int) -> Shadows:
    """Return ``count`` models of the clients present, those who ask with half a pool each.

    Models 2i and 2i + 1 are twins: what one leaves out of a pool the other trains on. Raises
    `Refused` for an odd number of models, and for clients of whose pool a half is nothing.
    """
    checks.whole("The number of shadow models", count, at_least=2)
    if count % 2:
        raise Refused(f"Shadow models come in pairs of twins, so {count} of them cannot be.")
    seeds, total = _seeds(setup.federation, count, 0), len(setup.federation.train)
    extra: list[Records] = []
    masks, members = [], []
    for number, seed in enumerate(seeds):
        rng = randomness.rng(seeds[number - number % 2], Stream.SHADOW_HALVES)
        chosen = [_half(pool, rng, number % 2 == 1) for pool in setup.pools]
        owners = range(total + len(extra), total + len(extra) + len(setup.pools))
        extra += [
            Records.joined([pool.kept, pool.always, pool.candidates.take(mask)])
            for pool, mask in zip(setup.pools, chosen, strict=True)
        ]
        members.append(
            Member(setup.federation.network.initial(seed), seed, setup.others | set(owners))
        )
        masks.append(torch.cat(chosen).numpy())
    for pool, records in zip([*setup.pools] * count, extra, strict=True):
        if not len(records):
            raise Refused(
                f"Client {pool.client} holds {len(pool.candidates)} records that were not "
                "poisoned; half of them is none, so no shadow model can be trained on it."
            )
    # The halves are further clients; as many are asked in a round as without them.
    device = setup.trainer.shards.records.labels.device
    shards = Shards.of([*setup.trainer.shards, *(records.to(device) for records in extra)])
    size = setup.training.cohort_size(total)
    return Shadows(
        members=tuple(members),
        trainer=_over(setup.trainer, shards),
        training=replace(setup.training, cohort=size / len(shards)),
        rounds=rounds,
        held=np.stack(masks),
    )


def without(setup: Setup, rounds: int, count: int) -> Shadows:
    """Return ``count`` models without what the request takes: retrained references.

    Raises `Refused` where nobody would be left.
    """
    checks.whole("The number of shadow models", count, at_least=1)
    rest = setup.remaining
    if not rest:
        raise Refused("Every client has left by this request, so nothing can be retrained.")
    seeds = _seeds(setup.federation, count, 1)
    members = tuple(Member(setup.federation.network.initial(seed), seed, rest) for seed in seeds)
    candidates = sum(len(pool.candidates) for pool in setup.pools)
    return Shadows(
        members, setup.trainer, setup.training, rounds, np.zeros((count, candidates), np.bool_)
    )


def _pool(
    federation: Federation, number: int, client: ClientId, erased: Tensor, kept: Records
) -> Pool:
    train, others = federation.train[client], federation.source.heldout[client]
    planted = federation.source.planted[client]
    rows = torch.from_numpy(federation.erasure(number).scope.like(others))
    if bool(planted.any()):
        rng = randomness.rng(federation.scenario.seed, Stream.SHADOW_PLANTING, client)
        order = federation.scenario.leavers.index(client)
        try:
            poisoned = federation.scenario.planting.poison(others, order, rng)
        except Refused:  # too few to plant anything: all would have been left alone
            poisoned = others
        rows &= unchanged(others, poisoned)
    members, others = train.take(erased & ~planted), federation.heldout[client].take(rows)
    stays = client in federation.holdings.present(federation.erasure(number).after, number)
    return Pool(
        client=client,
        always=train.take(erased & planted),
        candidates=Records.joined([members, others]),
        member=torch.arange(len(members) + len(others)) < len(members),
        kept=kept if stays else train.take(torch.zeros_like(erased)),
    )


def _half(pool: Pool, rng: np.random.Generator, other: bool) -> Tensor:
    """Mark a random half of a pool, or with ``other`` what that leaves, [n] bool."""
    first = torch.zeros(len(pool.candidates), dtype=torch.bool)
    chosen = rng.permutation(len(pool.candidates))[: len(pool.candidates) // 2]
    first[torch.from_numpy(chosen)] = True
    return ~first if other else first


def _seeds(federation: Federation, count: int, kind: int) -> list[int]:
    """Return seeds of shadow models, other ones for each federation and kind.

    The models of another request start from the same.
    """
    seed = federation.scenario.seed
    return [drawn_seed(seed, Stream.SHADOW, kind, number) for number in range(count)]


def _over(trainer: Trainer, shards: Shards) -> Trainer:
    assert isinstance(trainer, ChunkedTrainer | Threads)
    return replace(trainer, shards=shards)
