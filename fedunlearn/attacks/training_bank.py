"""The reference bank: many trainings of one federation side by side, seeds x clients at once.

An audit compares a model with many that never saw the leaver: retrained references, shadow models.
They differ in their seed and in who takes part, so that their clients fill one cohort together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedunlearn.checks import Refused
from fedunlearn.data import ClientId
from fedunlearn.local import CohortWork, Trainer
from fedunlearn.models import Vector, mean
from fedunlearn.randomness import Stream, entropy
from fedunlearn.unlearning import Training, absent, cohort

HOST_BUDGET = 2**30
"""Bytes of the matrices of one call: further members wait for their turn."""


@dataclass(frozen=True, slots=True)
class Member:
    """One training of a bank."""

    initial: Vector
    """The model before round 1, [d]."""
    seed: int
    clients: frozenset[ClientId]
    """Who takes part: for a reference, all but the leavers."""


def train_bank(
    members: Sequence[Member], trainer: Trainer, training: Training, rounds: int
) -> Tensor:
    """Train R members for ``rounds`` rounds and return their last models, [R, d].

    Row i is what ordinary training gives with the seed, the first model and the clients of
    ``members[i]``, up to rounding. Nothing is charged: a reference is the audit's cost, not the
    federation's. Raises ValueError for a member without clients, and `Refused` for a correction.
    """
    if training.correction is not None:
        raise Refused(
            "Models trained side by side, as attacks take them, know no training.correction: its "
            "vectors are each federation's own. Attack a run without one."
        )
    if not all(member.clients for member in members):
        raise ValueError("A member of the bank has no clients, so there is nothing to train.")
    if not members:
        return torch.empty(0, 0)
    size = training.cohort_size(len(trainer.shards))
    most = max(1, HOST_BUDGET // (3 * size * members[0].initial.nbytes))
    batches = (members[first : first + most] for first in range(0, len(members), most))
    return torch.cat([_together(batch, trainer, training, size, rounds) for batch in batches])


def _together(
    members: Sequence[Member], trainer: Trainer, training: Training, size: int, rounds: int
) -> Tensor:
    """Train as many members as one call takes."""
    weights = [member.initial for member in members]
    states = [training.server.start(model) for model in weights]
    for number in range(1, rounds + 1):
        cohorts = [_replying(member, size, training.dropout, number) for member in members]
        rows = [(row, client) for row, clients in enumerate(cohorts) for client in clients]
        if not rows:
            continue
        work = CohortWork(
            starts=torch.stack([weights[row] for row, _ in rows]),
            clients=[client for _, client in rows],
            work=training.work,
            round=number,
            seeds=[entropy(members[r].seed, Stream.CLIENT, 0, number, c) for r, c in rows],
        )
        trained = trainer.train(work)
        split = torch.split(trained.weights, [len(clients) for clients in cohorts])
        for place, (clients, models) in enumerate(zip(cohorts, split, strict=True)):
            if not clients:
                continue
            examples = torch.tensor([len(trainer.shards.span(client)) for client in clients])
            update = mean(models - weights[place], examples)
            weights[place], states[place] = training.server.step(
                weights[place], update, states[place]
            )
    return torch.stack(weights)


def _replying(member: Member, size: int, dropout: float, round: int) -> list[ClientId]:
    """Return who of a member's cohort replies."""
    asked = cohort(member.clients, size, member.seed, round)
    away = absent(asked, dropout, member.seed, round)
    return [client for client in asked if client not in away]
