"""Where an attack happens: the federation at one request, and what models say of its records."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fedunlearn.attacks.games import Asked, Said
from fedunlearn.attacks.shadow_models import Pool, Shadows
from fedunlearn.checks import Refused
from fedunlearn.data import Federation, Records
from fedunlearn.evaluators import confidence
from fedunlearn.models import Vector, logits

POPULATION = 2000
"""So many test records at most are what RMIA compares with."""

Tell = Callable[[int], object]
"""Is told how many shadow models have been trained since it was told last."""


@dataclass(frozen=True)
class Target:
    """Where one request was served: who was there, and what each leaver held."""

    here: Federation
    number: int
    """The request, from 1."""
    present: frozenset[int]
    """Who had not left before."""
    pools: tuple[Pool, ...]
    device: torch.device

    @cached_property
    def asked(self) -> Asked:
        """What is known of the records that attacks are about."""
        clients = [np.full(len(pool.asked), pool.client) for pool in self.pools]
        return Asked(
            labels=self._records.labels.numpy(),
            member=torch.cat([pool.member for pool in self.pools]).numpy(),
            clients=np.concatenate(clients),
            population=self._population.labels.numpy(),
        )

    def require_both_sides(self) -> None:
        """Raise `Refused` where there are no members, or nobody to compare them with."""
        member = self.asked.member
        if member.all() or not member.any():
            raise Refused(
                f"The clients who leave at request {self.number} have {member.sum()} training "
                f"records that were not poisoned, and {(~member).sum()} comparable held-out ones; "
                "an attack needs some of both. Plant less, or hold out more."
            )

    def said(self, shadows: Shadows, tell: Tell) -> Said:
        """Train shadow models and return what they say; their weights are forgotten."""
        asked, population = list[Any](), list[Any]()
        known = self.asked
        for weights in shadows.trained():
            for model in weights:
                logits, of_population = self.logits(model)
                asked.append(confidence(logits, known.labels))
                population.append(confidence(of_population, known.population))
            tell(len(weights))
        return Said(np.stack(asked), np.stack(population))

    def logits(self, weights: Vector) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return a model's logits of the records asked for, and of the population."""
        return self._said(weights, self._records), self._said(weights, self._population)

    @cached_property
    def _records(self) -> Records:
        return Records.joined([pool.asked for pool in self.pools])

    @cached_property
    def _population(self) -> Records:
        test = self.here.dataset.test
        return Records(test.images[:POPULATION], test.labels[:POPULATION])

    def _said(self, weights: Vector, records: Records) -> npt.NDArray[Any]:
        rows = logits(self.here.network.arranging, weights.to(self.device), [records.images])
        array: npt.NDArray[Any] = rows.cpu().numpy()
        return array
